// The toolkit, pointed at the sandbox that `tests/clients/run` has started, and what the tests share.
import assert from "node:assert/strict";
import { crc32 } from "node:zlib";
import { createQlikApi } from "@qlik/api";

/** What `tenantry sandbox --json` printed: url, client_id, client_secret, license_key. */
export const sandbox = JSON.parse(process.env.SANDBOX ?? "null");
assert.ok(sandbox, "SANDBOX is missing: start the tests with tests/clients/run");

/** The toolkit for one host of the sandbox. Its cache of tokens goes by client alone, so it is switched off. */
export function on(host) {
  const { url, client_id: clientId, client_secret: clientSecret } = sandbox;
  const hostConfig = { host: `${url}/${host}`, authType: "oauth2", clientId, clientSecret, noCache: true };
  return createQlikApi({ hostConfig });
}

/** A new tenant: what its creation answered, and the toolkit for it. */
export async function tenant(region = "eu") {
  const made = await on(`register.${region}.qlikcloud.com`).tenants.createTenant({ licenseKey: sandbox.license_key });
  assert.equal(made.status, 201);
  return { about: made.data, api: on(made.data.hostnames[0]) };
}

/** The data of an answer, when it has this status. */
export async function answered(promise, status = 200) {
  const answer = await promise;
  assert.equal(answer.status, status, JSON.stringify(answer.data));
  return answer.data;
}

/** Fails unless the answer is this refusal, in a form that the toolkit reads. */
export async function refused(promise, status, code) {
  const error = await promise.then(
    (answer) => assert.fail(`it was not refused: ${answer.status} ${JSON.stringify(answer.data)}`),
    (error) => error,
  );
  assert.equal(error.status, status, `${error.message} ${JSON.stringify(error.data)}`);
  const told = error.data.errors?.[0] ?? error.data;
  assert.ok(told.title, JSON.stringify(error.data));
  if (code) assert.equal(told.code, code);
}

/** Everything a list has, from page to page by the toolkit's own `next`. Each page has at most `limit`. */
export async function all(first, limit) {
  const found = [];
  for (let page = await first; page; page = page.next ? await page.next() : undefined) {
    assert.ok(page.data.data.length <= limit, `${page.data.data.length} on a page of ${limit}`);
    found.push(...page.data.data);
  }
  assert.equal(new Set(found.map((one) => one.id ?? one.subject)).size, found.length, "a thing was listed twice");
  return found;
}

export const names = (list) => list.map((one) => one.name).sort();

/** Reads past the toolkit's cache of answers, which knows writes of the same module only. */
export const fresh = { noCache: true };

/** A zip of files, stored as they are. */
export function zip(files) {
  const parts = [];
  const directory = [];
  let offset = 0;
  for (const [name, content] of Object.entries(files)) {
    const [path, data] = [Buffer.from(name), Buffer.from(content)];
    const about = Buffer.alloc(26);
    about.writeUInt16LE(20, 0);
    about.writeUInt16LE(0x21, 8);
    about.writeUInt32LE(crc32(data), 10);
    about.writeUInt32LE(data.length, 14);
    about.writeUInt32LE(data.length, 18);
    about.writeUInt16LE(path.length, 22);
    const place = Buffer.alloc(14);
    place.writeUInt32LE(offset, 10);
    parts.push(Buffer.from("PK\x03\x04"), about, path, data);
    directory.push(Buffer.from("PK\x01\x02\x14\x00"), about, place, path);
    offset += 30 + path.length + data.length;
  }
  const index = Buffer.concat(directory);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(Object.keys(files).length, 4);
  end.writeUInt16LE(Object.keys(files).length, 6);
  end.writeUInt32LE(index.length, 8);
  end.writeUInt32LE(offset, 12);
  return new Blob([...parts, index, Buffer.from("PK\x05\x06"), end], { type: "application/zip" });
}
