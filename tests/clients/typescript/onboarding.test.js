// A whole onboarding, as a partner's program would do it with the toolkit, and once more: what is there is left alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { answered, names, on, refused, sandbox, tenant, zip } from "./sandbox.js";

test("a customer is onboarded", async () => {
  const { about, api } = await tenant("uk");
  const alias = `h${about.hostnames[0]}`;
  const me = await answered(api.users.getMyUser());
  assert.deepEqual(names(me.assignedRoles), ["TenantAdmin"]);
  const steps = [
    { op: "replace", path: "/name", value: "Harbour Logistics" },
    { op: "replace", path: "/hostnames/1", value: alias },
    { op: "replace", path: "/enableAnalyticCreation", value: true },
  ];
  await answered(api.tenants.patchTenant(about.id, steps), 204);
  await answered(api.licenses.updateLicenseSettings({ autoAssignProfessional: false, autoAssignAnalyzer: false }));
  await answered(api.groups.patchGroupsSettings([{ op: "replace", path: "/autoCreateGroups", value: true }]), 204);

  const roles = { "hb-viewers": ["consumer"], "hb-planners": ["consumer", "contributor"] };
  const staging = await answered(api.spaces.createSpace({ name: "Staging", type: "shared" }), 201);
  const live = await answered(api.spaces.createSpace({ name: "Production", type: "managed" }), 201);
  for (const [name, given] of Object.entries(roles)) {
    const group = await answered(api.groups.createGroup({ name, status: "active" }), 201);
    const assignment = { type: "group", assigneeId: group.id, roles: given };
    await answered(api.spaces.createSpaceAssignment(live.id, assignment), 201);
    await refused(api.spaces.createSpaceAssignment(live.id, assignment), 409, "AssignmentConflict");
  }
  const files = { "hb.qext": JSON.stringify({ name: "Harbour", type: "theme", version: "1.0" }), "theme.json": "{}" };
  await answered(api.themes.uploadTheme({ file: zip(files) }), 201);
  const query = { spaceId: staging.id, name: "Fleet overview" };
  const imported = await answered(api.apps.importApp(query, JSON.stringify({ name: "Fleet" })));
  const published = await answered(api.apps.publishApp(imported.attributes.id, { spaceId: live.id }));

  // Seen from outside, by the alias.
  const seen = on(alias);
  assert.equal((await answered(seen.tenants.getMyTenant())).name, "Harbour Logistics");
  assert.deepEqual(names((await answered(seen.spaces.getSpaces())).data), ["Production", "Staging"]);
  assert.equal((await answered(seen.spaces.getSpaceAssignments(live.id))).data.length, 2);
  const items = await answered(seen.items.getItems({ resourceType: "app", spaceId: live.id }));
  assert.deepEqual(items.data.map((item) => [item.name, item.resourceId]), [["Fleet overview", published.attributes.id]]);
  const token = await fetch(`${sandbox.url}/console.qlikcloud.com/oauth/token`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({
      grant_type: "client_credentials", client_id: sandbox.client_id, client_secret: sandbox.client_secret,
    }),
  }).then((answer) => answer.json());
  assert.equal(token.scope, "cloud-console.tenants:read");
});
