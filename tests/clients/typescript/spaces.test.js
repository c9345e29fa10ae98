// Spaces, assignments, shares; apps in them, and their items.
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { all, answered, fresh, names, refused, tenant } from "./sandbox.js";

let api, me;
before(async () => {
  ({ api } = await tenant());
  me = await answered(api.users.getMyUser());
});

const space = (name, type) => answered(api.spaces.createSpace({ name, type }), 201);
const mine = async (space, roles) =>
  answered(api.spaces.createSpaceAssignment(space.id, { type: "user", assigneeId: me.id, roles }), 201);

test("spaces", async () => {
  const made = [];
  for (const [name, type] of [["Staging", "shared"], ["Production", "managed"], ["Vault", "data"]]) made.push(await space(name, type));
  assert.deepEqual(names(await all(api.spaces.getSpaces({ limit: 2 }), 2)), ["Production", "Staging", "Vault"]);
  // The toolkit joins lists with commas.
  const some = await answered(api.spaces.getSpaces({ type: ["shared", "managed"] }));
  assert.deepEqual(names(some.data), ["Production", "Staging"]);
  assert.deepEqual(names((await answered(api.spaces.getSpaces({ name: "stag" }))).data), ["Staging"]);
  const types = await answered(api.spaces.getSpaceTypes());
  assert.deepEqual(types.data.toSorted(), ["data", "managed", "shared"]);
  const [staging] = made;
  const patched = await answered(api.spaces.patchSpace(staging.id, [{ op: "replace", path: "/description", value: "first" }]));
  assert.equal(patched.description, "first");
  const put = await answered(api.spaces.updateSpace(staging.id, { name: "Stage", description: "second" }));
  assert.deepEqual([put.name, put.description], ["Stage", "second"]);
  await refused(api.spaces.createSpace({ name: "Stage", type: "shared" }), 409);
  await refused(api.spaces.createSpace({ name: "a/b", type: "shared" }), 400);
  await refused(api.spaces.createSpace({ name: "c", type: "round" }), 400);
  await answered(api.spaces.deleteSpace(staging.id), 204);
  await refused(api.spaces.getSpace(staging.id, fresh), 404);
});

test("assignments", async () => {
  const live = await space("Assigned", "managed");
  const group = await answered(api.groups.createGroup({ name: "readers", status: "active" }), 201);
  const given = { type: "group", assigneeId: group.id, roles: ["consumer"] };
  const made = await answered(api.spaces.createSpaceAssignment(live.id, given), 201);
  await mine(live, ["publisher"]);
  assert.equal((await all(api.spaces.getSpaceAssignments(live.id, { limit: 1 }), 1)).length, 2);
  const groups = await answered(api.spaces.getSpaceAssignments(live.id, { type: "group" }));
  assert.deepEqual(groups.data.map((one) => one.assigneeId), [group.id]);
  const roles = ["consumer", "contributor"];
  const changed = await answered(api.spaces.updateSpaceAssignment(live.id, made.id, { roles }));
  assert.deepEqual(changed.roles, roles);
  assert.deepEqual((await answered(api.spaces.getSpaceAssignment(live.id, made.id, fresh))).roles, roles);
  await refused(api.spaces.createSpaceAssignment(live.id, given), 409, "AssignmentConflict");
  await refused(api.spaces.updateSpaceAssignment(live.id, made.id, { roles: ["producer"] }), 400);
  await answered(api.spaces.deleteSpaceAssignment(live.id, made.id), 204);
  await refused(api.spaces.getSpaceAssignment(live.id, made.id, fresh), 404);
});

test("shares", async () => {
  const live = await space("Shared out", "managed");
  const group = await answered(api.groups.createGroup({ name: "guests", status: "active" }), 201);
  const given = { type: "group", assigneeId: group.id, resourceId: "an-app", resourceType: "app", roles: ["consumer"] };
  const made = await answered(api.spaces.createSpaceShare(live.id, given), 201);
  assert.equal((await all(api.spaces.getSpaceShares(live.id, { limit: 1 }), 1)).length, 1);
  const step = { op: "replace", path: "/disabled", value: true };
  await answered(api.spaces.patchShare(live.id, made.id, [step]));
  assert.equal((await answered(api.spaces.getSpaceShare(live.id, made.id))).disabled, true);
  await refused(api.spaces.createSpaceShare(live.id, given), 409);
  await answered(api.spaces.deleteSpaceShare(live.id, made.id), 204);
  await refused(api.spaces.getSpaceShare(live.id, made.id, fresh), 404);
});

test("apps and items", async () => {
  const [staging, live] = [await space("Apps", "shared"), await space("Live apps", "managed")];
  await mine(live, ["publisher"]);
  const made = [];
  for (const name of ["Fleet", "Costs", "Routes"]) {
    const query = { spaceId: staging.id, name };
    made.push((await answered(api.apps.importApp(query, JSON.stringify({ description: "v1" })))).attributes);
  }
  assert.deepEqual(names(made), ["Costs", "Fleet", "Routes"]);
  const [fleet] = made;
  const empty = await answered(api.apps.createApp({ attributes: { name: "Empty", spaceId: staging.id } }));
  const copy = await answered(api.apps.copyApp(fleet.id, { attributes: { name: "Fleet 2", spaceId: staging.id } }));
  assert.notEqual(copy.attributes.id, fleet.id);
  const items = await all(api.items.getItems({ resourceType: "app", spaceId: staging.id, limit: 2 }), 2);
  assert.deepEqual(names(items), ["Costs", "Empty", "Fleet", "Fleet 2", "Routes"]);
  const found = await answered(api.items.getItems({ resourceType: "app", resourceId: fleet.id }));
  assert.equal((await answered(api.items.getItem(found.data[0].id))).resourceId, fleet.id);
  const said = await answered(api.apps.updateAppInfo(fleet.id, { attributes: { description: "v2" } }));
  assert.equal(said.attributes.description, "v2");
  const published = await answered(api.apps.publishApp(fleet.id, { spaceId: live.id }));
  assert.equal(published.attributes.originAppId, fleet.id);
  const again = await answered(api.apps.republishApp(fleet.id, { targetId: published.attributes.id, data: "source" }));
  assert.equal(again.attributes.id, published.attributes.id);
  await answered(api.apps.removeAppFromSpace(copy.attributes.id));
  await answered(api.apps.moveAppToSpace(copy.attributes.id, { spaceId: staging.id }));
  const other = await answered(api.users.createUser({ subject: "hb|owner" }), 201);
  const owned = await answered(api.apps.updateAppOwner(copy.attributes.id, { ownerId: other.id }));
  assert.equal(owned.attributes.ownerId, other.id);
  await refused(api.spaces.deleteSpace(staging.id), 412);
  await refused(api.apps.publishApp(fleet.id, { spaceId: "nowhere" }), 404);
  await refused(api.apps.publishApp(fleet.id, { spaceId: staging.id }), 400);
  await refused(api.apps.moveAppToSpace(empty.attributes.id, { spaceId: live.id }), 403);
  await refused(api.items.getItems({ resourceId: fleet.id }), 400);
  await refused(api.items.getItem("nothing"), 404);
  await answered(api.apps.deleteApp(empty.attributes.id));
  await refused(api.apps.getAppInfo(empty.attributes.id, fresh), 404);
});
