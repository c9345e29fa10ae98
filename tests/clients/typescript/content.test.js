// Collections, temporary content and exports, OAuth clients and tokens in a user's name.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { createQlikApi } from "@qlik/api";
import { all, answered, fresh, names, refused, sandbox, tenant } from "./sandbox.js";

let about, api;
before(async () => ({ about, api } = await tenant()));

test("collections", async () => {
  const made = [];
  for (const name of ["fleet", "costs", "routes"]) {
    made.push(await answered(api.collections.createCollection({ name, type: "private" }), 201));
  }
  assert.deepEqual(names(await all(api.collections.getCollections({ limit: 2, type: "private" }), 2)), ["costs", "fleet", "routes"]);
  const [fleet] = made;
  await answered(api.collections.updateCollection(fleet.id, { name: "fleet", description: "lorries" }));
  assert.equal((await answered(api.collections.getCollection(fleet.id))).description, "lorries");
  const app = await answered(api.apps.createApp({ attributes: { name: "Fleet" } }));
  const found = await answered(api.items.getItems({ resourceType: "app", resourceId: app.attributes.id }));
  await answered(api.collections.addCollectionItem(fleet.id, { id: found.data[0].id }), 201);
  assert.deepEqual(names((await answered(api.collections.getCollectionItems(fleet.id))).data), ["Fleet"]);
  await answered(api.collections.deleteCollectionItem(fleet.id, found.data[0].id), 204);
  await answered(api.collections.deleteCollection(fleet.id), 204);
  await refused(api.collections.getCollection(fleet.id, fresh), 404);
});

test("an app goes out and comes in again", async () => {
  const app = await answered(api.apps.importApp({ name: "Fleet" }, JSON.stringify({ description: "v1" })));
  const exported = await api.apps.exportApp(app.attributes.id, {});
  assert.ok([200, 201].includes(exported.status));
  const id = exported.headers.get("location").split("/").pop().split("?")[0];
  const file = await answered(api.tempContents.getTempFileDetails(id));
  assert.ok(file.Size > 0 || file.size > 0, JSON.stringify(file));
  const again = await answered(api.apps.importApp({ fileId: id, name: "Fleet again" }));
  assert.equal(again.attributes.description, "v1");
  await refused(api.apps.importApp({ fileId: "nothing", name: "x" }), 404);
});

test("OAuth clients", async () => {
  const clients = api.oauthClients;
  const grants = ["client_credentials", "urn:qlik:oauth:user-impersonation"];
  const given = { appType: "web", clientName: "server", allowedScopes: ["user_default"], allowedGrantTypes: grants };
  const made = await answered(clients.createOAuthClient(given), 201);
  await answered(clients.createOAuthClient({ ...given, clientName: "other" }), 201);
  assert.equal((await answered(clients.getOAuthClients({ limit: 20 }))).data.length, 2);
  await answered(clients.patchOAuthClient(made.clientId, [{ op: "replace", path: "/description", value: "ours" }]), 204);
  assert.equal((await answered(clients.getOAuthClient(made.clientId))).description, "ours");
  await answered(clients.publishOAuthClient(made.clientId), 201);
  await answered(clients.patchOAuthClientConnectionConfig(made.clientId, [{ op: "replace", path: "/consentMethod", value: "trusted" }]), 204);
  await answered(api.users.createUser({ subject: "hb|ada", name: "Ada", status: "active" }), 201);
  // As an embedding server does it: the toolkit asks for a token in Ada's name.
  const hostConfig = {
    host: `${sandbox.url}/${about.hostnames[0]}`, authType: "oauth2", noCache: true,
    clientId: made.clientId, clientSecret: made.clientSecret, subject: "hb|ada",
  };
  assert.equal((await answered(createQlikApi({ hostConfig }).users.getMyUser())).name, "Ada");
  await refused(clients.deleteOAuthClient(made.clientId), 400);
  await answered(clients.deleteOAuthClient(made.clientId, { headers: { "qlik-confirm-delete": made.clientId } }), 204);
  await refused(clients.getOAuthClient(made.clientId, fresh), 404);
});

test("an app is loaded by the clock", async () => {
  const { tasks } = api.scheduling;
  const app = await answered(api.apps.createApp({ attributes: { name: "Scheduled" } }));
  const resourceId = app.attributes.id;
  const reload = { name: "app-reload", functionRef: { refName: "app.reload", arguments: { appId: resourceId, partial: false } } };
  const states = [{ name: "reload", type: "EVENT", end: true, onEvents: [{ eventRefs: ["time-schedule"], actions: [reload] }] }];
  const start = { schedule: { recurrence: "RRULE:FREQ=HOURLY;BYMINUTE=0;BYSECOND=0" } };
  const made = [];
  for (const name of ["hourly", "daily", "weekly"]) {
    made.push(await answered(tasks.createTask({}, { name, specVersion: "1.16.0", states, start }), 201));
  }
  const [hourly] = made;
  assert.deepEqual([hourly.enabled, hourly.resourceId], [false, resourceId]);
  assert.deepEqual(names(await all(tasks.getTasks({ limit: 2, resourceId }), 2)), ["daily", "hourly", "weekly"]);
  const enabled = await answered(tasks.patchTask(hourly.id, [{ op: "replace", path: "/enabled", value: true }]));
  assert.equal(enabled.enabled, true);
  assert.deepEqual(names((await answered(tasks.getTasks({ filter: "enabled eq true" }))).data), ["hourly"]);
  await refused(tasks.getTaskLastRun(hourly.id), 404);
  await answered(tasks.startTask(hourly.id, {}));
  const run = await answered(tasks.getTaskLastRun(hourly.id, fresh));
  assert.equal(run.triggeredBy, "manual");
  assert.ok((await answered(tasks.getTaskRunLog(hourly.id, run.id))).logContent);
  await refused(tasks.createTask({}, { name: "empty", specVersion: "1.16.0" }), 400);
  await answered(tasks.deleteTask(hourly.id), 204);
  await refused(tasks.getTask(hourly.id, fresh), 404);
});

test("data files and data connections", async () => {
  const files = api.dataFiles;
  const space = (await answered(api.spaces.createSpace({ name: "Data", type: "shared" }), 201)).id;
  const connectionId = (await answered(files.getDataFilesConnections({ spaceId: space }))).data[0].id;
  const csv = (text) => new Blob([text], { type: "text/csv" });
  const file = await answered(files.uploadDataFile({ Json: { name: "rates/eu.csv", connectionId }, File: csv("a,b\n") }), 201);
  assert.deepEqual([file.size, file.folderPath], [4, "rates"]);
  for (const name of ["b.csv", "c.csv"]) {
    await answered(files.uploadDataFile({ Json: { name, connectionId }, File: csv("x") }), 201);
  }
  assert.deepEqual(names(await all(files.getDataFiles({ connectionId, limit: 2 }), 2)), ["b.csv", "c.csv", "rates/eu.csv"]);
  await refused(files.uploadDataFile({ Json: { name: "b.csv", connectionId }, File: csv("x") }), 409);
  const anew = await answered(files.reuploadDataFile(file.id, { Json: { connectionId }, File: csv("longer\n") }), 201);
  assert.deepEqual([anew.size, anew.spaceId], [7, space]);
  // What is too large for one request goes ahead as temporary content.
  const ahead = await api.tempContents.uploadTempFile({ filename: "large.csv" }, csv("much more\n"));
  const tempContentFileId = ahead.headers.get("location").split("/").pop();
  const large = await answered(files.uploadDataFile({ Json: { name: "large.csv", connectionId, tempContentFileId } }), 201);
  assert.equal(large.size, 10);
  assert.equal((await answered(files.getDataFilesQuotas(fresh))).size, 19);
  // Without a connection a file goes to the personal space.
  await answered(files.reuploadDataFile(large.id, { Json: { name: "large.csv" }, File: csv("mine") }), 201);
  assert.deepEqual(names((await answered(files.getDataFiles({}, fresh))).data), ["large.csv"]);
  await answered(files.deleteDataFile(file.id), 204);
  await refused(files.getDataFile(file.id, fresh), 404);

  const connections = api.dataConnections;
  const connectionProperties = { host: "db.harbour.example", password: "quay-side" };
  const given = { qName: "Orders", datasourceID: "postgres", space, connectionProperties };
  const made = await answered(connections.createDataConnection(given), 201);
  await refused(connections.createDataConnection(given), 409);
  await answered(connections.patchDataConnection(made.qID, {}, [{ op: "replace", path: "/qName", value: "Sales" }]), 204);
  const told = await answered(connections.getDataConnection(made.qID, {}, fresh));
  assert.equal(told.qName, "Sales");
  assert.ok(!JSON.stringify(told).includes("quay-side"));
  await answered(connections.deleteDataConnection(made.qID, {}), 204);
  await refused(connections.getDataConnection(made.qID, {}, fresh), 404);
});
