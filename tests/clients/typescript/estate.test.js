// Audits and quotas, which the toolkit reads, of what it did itself.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { all, answered, fresh, refused, tenant } from "./sandbox.js";

let api, me;
before(async () => {
  ({ api } = await tenant());
  me = await answered(api.users.getMyUser());
});

test("audits", async () => {
  const space = await answered(api.spaces.createSpace({ name: "Told", type: "shared" }), 201);
  await answered(api.spaces.deleteSpace(space.id), 204);
  const told = await all(api.audits.getAudits({ source: "com.qlik/spaces", limit: 1 }, fresh), 1);
  assert.deepEqual(told.map((event) => event.eventType), ["com.qlik.space.deleted", "com.qlik.space.created"]);
  assert.ok(told.every((event) => event.userId === me.id && event.data.id === space.id));
  assert.deepEqual(await answered(api.audits.getAudit(told[1].id, fresh)), told[1]);
  const types = await answered(api.audits.getAuditTypes());
  assert.ok(types.data.includes("com.qlik.v1.user.created"));
  assert.ok((await answered(api.audits.getAuditSources())).data.includes("com.qlik/identities"));
  assert.equal((await answered(api.audits.getAuditsSettings())).data.EventTTL, 90 * 24 * 60 * 60);
  assert.deepEqual((await answered(api.audits.getArchivedAudits({ date: "2020-02-20" }))).data, []);
  await refused(api.audits.getAudit("none", fresh), 404);
  await refused(api.audits.getAudits({ sort: "moon" }, fresh), 400);
});

test("quotas", async () => {
  const limits = await answered(api.quotas.getQuotas({}));
  assert.ok(limits.data.every((quota) => quota.type === "quotas" && quota.attributes.usage === undefined));
  await answered(api.spaces.createSpace({ name: "Counted", type: "shared" }), 201);
  const one = await answered(api.quotas.getQuota("shared_spaces", { reportUsage: true }, fresh));
  assert.deepEqual(one.data.map((quota) => [quota.attributes.quota, quota.attributes.usage]), [[-1, 1]]);
  await refused(api.quotas.getQuota("moons", {}, fresh), 404);
});
