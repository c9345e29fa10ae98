// Identity providers, web integrations, CSP origins, themes, extensions, brands.
import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { before, test } from "node:test";
import { all, answered, fresh, names, refused, tenant, zip } from "./sandbox.js";

let api;
before(async () => ({ api } = await tenant()));

test("identity providers", async () => {
  const { publicKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  const pem = publicKey.export({ type: "spki", format: "pem" });
  const options = { jwtLoginEnabled: true, issuer: "https://id.halyard.example/hb", staticKeys: [{ kid: "a", pem }] };
  const given = { provider: "external", protocol: "jwtAuth", interactive: false, description: "portal", options };
  const made = await answered(api.identityProviders.createIdp(given), 201);
  assert.equal((await all(api.identityProviders.getIdps({ limit: 1 }), 1)).length, 2, "Qlik's own, and this");
  const step = { op: "replace", path: "/description", value: "the portal" };
  await answered(api.identityProviders.patchIdp(made.id, [step]), 204);
  const read = await answered(api.identityProviders.getIdp(made.id));
  assert.deepEqual([read.description, read.options.issuer], ["the portal", options.issuer]);
  const statuses = await answered(api.identityProviders.getIdpStatuses());
  assert.equal(statuses.active_interactive_idps_count, 1);
  await refused(api.identityProviders.createIdp(given), 400);
  await refused(api.identityProviders.createIdp({ ...given, tenantIds: ["another"] }), 403);
  await answered(api.identityProviders.deleteIdp(made.id), 204);
  await refused(api.identityProviders.getIdp(made.id, fresh), 404);
});

test("web integrations", async () => {
  const made = [];
  for (const name of ["portal", "track", "shop"]) {
    const given = { name, validOrigins: [`https://${name}.harbour.example`] };
    made.push(await answered(api.webIntegrations.createWebIntegration(given), 201));
  }
  assert.deepEqual(names(await all(api.webIntegrations.getWebIntegrations({ limit: 2 }), 2)), ["portal", "shop", "track"]);
  const [portal] = made;
  const value = ["https://portal.harbour.example:8443"];
  await answered(api.webIntegrations.patchWebIntegration(portal.id, [{ op: "replace", path: "/validOrigins", value }]), 204);
  assert.deepEqual((await answered(api.webIntegrations.getWebIntegration(portal.id))).validOrigins, value);
  await refused(api.webIntegrations.createWebIntegration({ name: "x", validOrigins: ["*"] }), 400, "WEBINTEGRATIONS-6");
  await refused(api.webIntegrations.createWebIntegration({ validOrigins: value }), 400, "WEBINTEGRATIONS-5");
  await answered(api.webIntegrations.deleteWebIntegration(portal.id), 204);
  await refused(api.webIntegrations.getWebIntegration(portal.id, fresh), 404, "WEBINTEGRATIONS_NOT_FOUND");
});

test("CSP origins", async () => {
  const made = [];
  for (const name of ["tiles", "track", "fonts"]) {
    const given = { name, origin: `${name}.harbour.example`, imgSrc: name === "tiles" };
    made.push(await answered(api.cspOrigins.createCSPEntry(given), 201));
  }
  assert.deepEqual(names(await all(api.cspOrigins.getCSPEntries({ limit: 2 }), 2)), ["fonts", "tiles", "track"]);
  assert.deepEqual(names((await answered(api.cspOrigins.getCSPEntries({ imgSrc: true }))).data), ["tiles"]);
  const [tiles] = made;
  const next = { name: "tiles", origin: "tiles.harbour.example", connectSrc: true };
  const put = await answered(api.cspOrigins.updateCSPEntry(tiles.id, next));
  assert.deepEqual([put.connectSrc, put.imgSrc], [true, false]);
  const header = await answered(api.cspOrigins.getCSPHeader());
  assert.match(header["Content-Security-Policy"], /connect-src [^;]*tiles\.harbour\.example/);
  await refused(api.cspOrigins.createCSPEntry({ name: "none" }), 400);
  await answered(api.cspOrigins.deleteCSPEntry(tiles.id), 204);
  await refused(api.cspOrigins.getCSPEntry(tiles.id, fresh), 404);
});

const qext = (name, type, version) => JSON.stringify({ name, type, version, author: "Halyard" });

test("themes", async () => {
  const bundle = (version) => zip({ "hb.qext": qext("Harbour", "theme", version), "theme.json": '{"_inherit":true}' });
  const made = await answered(api.themes.uploadTheme({ file: bundle("1.0"), data: { tags: ["hb"] } }), 201);
  assert.deepEqual([made.name, made.version, made.tags], ["Harbour", "1.0", ["hb"]]);
  await answered(api.themes.patchTheme(made.id, { file: bundle("1.1") }));
  assert.equal((await answered(api.themes.getTheme(made.id))).qextVersion, "1.1");
  assert.deepEqual(names((await answered(api.themes.getThemes())).data), ["Harbour"]);
  const file = await answered(api.themes.downloadFileFromTheme("hb", "theme.json"));
  assert.deepEqual(file, { _inherit: true });
  const archive = await answered(api.themes.downloadTheme(made.id));
  assert.equal(archive.size, bundle("1.1").size);
  await refused(api.themes.uploadTheme({ file: bundle("1.0") }), 409);
  await refused(api.themes.uploadTheme({ file: new Blob(["no zip"]) }), 422);
  await answered(api.themes.deleteTheme(made.id), 204);
  await refused(api.themes.getTheme(made.id, fresh), 410);
  await refused(api.themes.getTheme("nothing"), 404);
});

test("extensions", async () => {
  const files = (version) => zip({ "route-map.qext": qext("Route map", "visualization", version), "route-map.js": "define()" });
  const made = await answered(api.extensions.uploadExtension({ file: files("2.0"), data: { name: "Route map" } }), 201);
  await answered(api.extensions.patchExtension(made.id, { data: { description: "routes" } }));
  assert.equal((await answered(api.extensions.getExtension(made.id))).description, "routes");
  assert.deepEqual(names((await answered(api.extensions.getExtensions())).data), ["Route map"]);
  const script = await answered(api.extensions.downloadFileFromExtension("route-map", "route-map.js"));
  assert.equal(script, "define()");
  await answered(api.extensions.downloadExtension(made.id));
  await refused(api.extensions.uploadExtension({ file: files("2.0") }), 409);
  await answered(api.extensions.deleteExtension(made.id), 204);
  await refused(api.extensions.getExtension(made.id, fresh), 410);
  await refused(api.extensions.getExtension("nothing"), 404);
});

test("brands", async () => {
  const png = new Blob(["\x89PNG\r\n\x1a\nlogo"].map((text) => Buffer.from(text, "latin1")), { type: "image/png" });
  const made = [];
  for (const name of ["2026", "2027", "2028"]) {
    made.push(await answered(api.brands.createBrand({ name, description: "Harbour's", logo: png }), 201));
  }
  assert.deepEqual(names(await all(api.brands.getBrands({ limit: 2 }), 2)), ["2026", "2027", "2028"]);
  const [brand] = made;
  await answered(api.brands.patchBrand(brand.id, [{ op: "replace", path: "/description", value: "ours" }]), 204);
  assert.equal((await answered(api.brands.getBrand(brand.id))).description, "ours");
  await answered(api.brands.activateBrand(brand.id, {}));
  assert.equal((await answered(api.brands.getActiveBrand(fresh))).id, brand.id);
  await answered(api.brands.deactivateBrand(brand.id, {}));
  const logo = await answered(api.brands.getBrandFile(brand.id, "logo"));
  assert.equal(logo.size, png.size);
  await answered(api.brands.updateBrandFile(brand.id, "logo", { file: png }));
  await answered(api.brands.deleteBrandFile(brand.id, "logo"), 204);
  await answered(api.brands.createBrandFile(brand.id, "logo", { file: png }), 201);
  await refused(api.brands.createBrand({ logo: png }), 400);
  await answered(api.brands.deleteBrand(brand.id), 204);
  await refused(api.brands.getBrand(brand.id, fresh), 404);
});
