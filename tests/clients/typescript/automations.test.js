// Automations, their runs and their connections, in both generations of the API.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { all, answered, fresh, names, refused, tenant } from "./sandbox.js";

let api;
before(async () => ({ api } = await tenant()));

/** Waits for the end of a run: the sandbox's own clock is the real one here. */
async function ended(read) {
  for (;;) {
    const run = await answered(read());
    if (["finished", "failed", "stopped"].includes(run.status)) return run;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

test("automations and runs", async () => {
  const { automations: old, workflows: { automations: workflows } } = api;
  const made = [];
  for (const name of ["Greet", "Tidy", "Tell"]) {
    made.push(await answered(workflows.createAutomation({ name, workspace: { blocks: [], variables: [] } }), 201));
  }
  assert.deepEqual(names(await all(old.getAutomations({ limit: 2 }), 2)), ["Greet", "Tell", "Tidy"]);
  const [greet] = made;
  assert.deepEqual(names((await answered(workflows.getAutomations({ filter: 'name eq "Greet"' }))).data), ["Greet"]);
  const next = { name: "Greet", description: "Says hello", workspace: { blocks: [{ id: "A" }] } };
  await answered(workflows.updateAutomation(greet.id, next));
  const read = await answered(old.getAutomation(greet.id, fresh));
  assert.deepEqual([read.description, read.workspace, read.runMode], ["Says hello", next.workspace, "manual"]);
  const run = await answered(workflows.createAutomationRun(greet.id, { context: "api" }), 201);
  assert.equal((await ended(() => workflows.getAutomationRun(greet.id, run.id, fresh))).status, "finished");
  assert.equal((await answered(old.getAutomationRuns(greet.id, {}, fresh))).data.length, 1);
  await answered(workflows.disableAutomation(greet.id), 204);
  await refused(workflows.createAutomationRun(greet.id, { context: "api" }), 400);
  await answered(workflows.enableAutomation(greet.id), 204);
  const copy = await answered(workflows.copyAutomation(greet.id, { name: "Greet again" }), 201);
  await answered(workflows.deleteAutomation(copy.id), 204);
  await refused(workflows.getAutomation(copy.id, fresh), 404);
  await refused(workflows.createAutomation({ name: "" }), 400);
});

test("automation connections", async () => {
  const { automationConnections: old } = api;
  const { automationConnections: workflows, automationConnectors: connectors } = api.workflows;
  const [airtable] = (await answered(connectors.getAutomationConnectors({ filter: 'name eq "Airtable"' }))).data;
  const params = [{ name: "api_key", value: "k1" }];
  const given = { name: "table", connectorId: airtable.id, params };
  const made = await answered(workflows.createAutomationConnection(given), 201);
  assert.equal(made.isConnected, true);
  assert.equal((await answered(workflows.checkAutomationConnection(made.id, {}))).connected, true);
  assert.deepEqual(names(await all(old.getAutomationConnections({ limit: 1 }), 1)), ["table"]);
  await answered(workflows.updateAutomationConnection(made.id, { name: "shipments" }));
  assert.equal((await answered(old.getAutomationConnection(made.id, fresh))).name, "shipments");
  await answered(workflows.deleteAutomationConnection(made.id), 204);
  await refused(workflows.getAutomationConnection(made.id, fresh), 404);
});
