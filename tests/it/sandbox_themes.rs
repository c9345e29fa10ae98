//! Themes and extensions of the sandbox.

use std::io::{Cursor, Write as _};

use bytes::Bytes;
use http::{Method, StatusCode};
use md5::{Digest as _, Md5};
use serde_json::{Value, json};
use tenantry::sandbox::{Sandbox, State};
use zip::write::SimpleFileOptions;

use crate::sandbox_support::{Cloud, Hand, Reply, settings};

const PATH: &str = "/api/v1/themes";

fn zipped(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in files {
        writer.start_file(*path, SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn qext(name: &str, version: &str) -> Vec<u8> {
    json!({"name": name, "type": "theme", "version": version, "author": "Halyard"}).to_string().into_bytes()
}

/// A theme's zip: `<identity>.qext`, `theme.json` and a style sheet.
fn theme(identity: &str, name: &str, version: &str) -> Vec<u8> {
    let (file, about) = (format!("{identity}.qext"), qext(name, version));
    zipped(&[(&file, &about), ("theme.json", b"{\"_inherit\": true}"), ("css/styles.css", b"body { color: teal }")])
}

fn form(file: Option<&[u8]>, data: Option<&Value>) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(file) = file {
        body.extend(b"--cut\r\nContent-Disposition: form-data; name=\"file\"; filename=\"t.zip\"\r\n");
        body.extend(b"Content-Type: application/zip\r\n\r\n");
        body.extend(file);
        body.extend(b"\r\n");
    }
    if let Some(data) = data {
        body.extend(b"--cut\r\nContent-Disposition: form-data; name=\"data\"; filename=\"\"\r\n");
        body.extend(b"Content-Type: application/json\r\n\r\n");
        body.extend(data.to_string().as_bytes());
        body.extend(b"\r\n");
    }
    body.extend(b"--cut--\r\n");
    body
}

fn send(cloud: &Cloud, method: &Method, host: &str, path: &str, body: Vec<u8>) -> Reply {
    let bearer = format!("Bearer {}", cloud.token(host));
    let headers = [("authorization", &*bearer), ("content-type", "multipart/form-data; boundary=cut")];
    cloud.send(method, host, path, &headers, Bytes::from(body))
}

fn upload(cloud: &Cloud, host: &str, zip: &[u8]) -> Reply {
    send(cloud, &Method::POST, host, PATH, form(Some(zip), None))
}

fn md5(bytes: &[u8]) -> String {
    Md5::digest(bytes).iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[test]
fn a_theme_is_known_by_its_qext_file() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let zip = theme("harbour", "Harbour", "1.0.0");
    let form = form(Some(&zip), Some(&json!({"tags": ["customer"]})));
    let made = send(&cloud, &Method::POST, &host, PATH, form).expect(StatusCode::CREATED);
    assert_eq!((&made["name"], &made["qextFilename"]), (&json!("Harbour"), &json!("harbour")));
    assert_eq!((&made["qextVersion"], &made["type"]), (&json!("1.0.0"), &json!("theme")));
    assert_eq!((&made["author"], &made["tags"]), (&json!("Halyard"), &json!(["customer"])));
    assert_eq!(made["file"], json!({"md5": md5(&zip), "contentLength": zip.len()}));
    let id = made["id"].as_str().unwrap();
    for key in [id, "harbour"] {
        assert_eq!(cloud.get(&host, &format!("{PATH}/{key}")).expect(StatusCode::OK), made);
    }
    assert_eq!(cloud.get(&host, PATH).expect(StatusCode::OK)["data"], json!([made]));
    let again = upload(&cloud, &host, &zip);
    assert_eq!(again.status, 409);
    assert!(again.body["meta"]["message"].is_string() && again.body["traceId"].is_string(), "{}", again.body);
    assert_eq!(upload(&cloud, &host, &theme("other", "Harbour", "1")).status, 409, "names are unique too");
    assert_eq!(upload(&cloud, &cloud.tenant_host(), &zip).status, 201, "another tenant has its own");
}

#[test]
fn its_zip_and_its_files_come_back() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let zip = theme("harbour", "Harbour", "1.0.0");
    upload(&cloud, &host, &zip).expect(StatusCode::CREATED);
    let whole = cloud.get(&host, &format!("{PATH}/harbour/file"));
    assert_eq!((whole.status, whole.header("content-type"), &whole.bytes[..]), (200, "application/zip", &zip[..]));
    let css = cloud.get(&host, &format!("{PATH}/harbour/file/css/styles.css"));
    assert_eq!((css.header("content-type"), &css.bytes[..]), ("text/css", &b"body { color: teal }"[..]));
    assert_eq!(cloud.get(&host, &format!("{PATH}/harbour/file/css/none.css")).status, 404);
    let (about, folder) = (qext("Folder", "1"), "t/folder.qext");
    let zip = zipped(&[(folder, &about), ("t/theme.json", b"{}"), ("t/css/a.css", b"a")]);
    assert_eq!(upload(&cloud, &host, &zip).expect(StatusCode::CREATED)["qextFilename"], "folder");
    assert_eq!(cloud.get(&host, &format!("{PATH}/folder/file/css/a.css")).bytes, "a");
}

#[test]
fn a_patch_takes_a_new_zip_or_new_words() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let made = upload(&cloud, &host, &theme("harbour", "Harbour", "1.0.0")).expect(StatusCode::CREATED);
    upload(&cloud, &host, &theme("dusk", "Dusk", "1")).expect(StatusCode::CREATED);
    let zip = theme("harbour", "Harbour", "1.1.0");
    let path = format!("{PATH}/harbour");
    let patched = send(&cloud, &Method::PATCH, &host, &path, form(Some(&zip), None)).expect(StatusCode::OK);
    let patched = &patched["data"][0];
    assert_eq!((&patched["id"], &patched["qextVersion"]), (&made["id"], &json!("1.1.0")));
    assert_eq!(patched["file"]["md5"], md5(&zip));
    assert_eq!(cloud.get(&host, &format!("{path}/file")).bytes, zip);
    let data = json!({"tags": ["a"], "description": "d"});
    send(&cloud, &Method::PATCH, &host, &path, form(None, Some(&data))).expect(StatusCode::OK);
    let held = cloud.get(&host, &path).expect(StatusCode::OK);
    assert_eq!((&held["tags"], &held["description"]), (&json!(["a"]), &json!("d")));
    assert_eq!(held["file"]["md5"], md5(&zip));
    let dusk = form(Some(&theme("dusk", "Harbour", "1")), None);
    assert_eq!(send(&cloud, &Method::PATCH, &host, &path, dusk).status, 409);
    assert_eq!(send(&cloud, &Method::PATCH, &host, &format!("{PATH}/none"), form(Some(&zip), None)).status, 404);
}

#[test]
fn a_deleted_theme_is_gone_until_it_is_uploaded_again() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let zip = theme("harbour", "Harbour", "1.0.0");
    let made = upload(&cloud, &host, &zip).expect(StatusCode::CREATED);
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    assert_eq!(cloud.delete(&host, &path).status, 204);
    for gone in [&path, &format!("{PATH}/harbour"), &format!("{PATH}/harbour/file")] {
        assert_eq!(cloud.get(&host, gone).status, 410, "{gone}");
    }
    assert_eq!(cloud.delete(&host, &path).status, 410);
    assert_eq!(cloud.get(&host, &format!("{PATH}/never")).status, 404);
    assert!(cloud.get(&host, PATH).expect(StatusCode::OK)["data"].as_array().unwrap().is_empty());
    upload(&cloud, &host, &zip).expect(StatusCode::CREATED);
    assert_eq!(cloud.get(&host, &format!("{PATH}/harbour")).status, 200);
    assert_eq!(cloud.get(&host, &path).status, 410);
}

#[test]
fn wrong_archives_are_refused() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let about = qext("T", "1");
    let good: (&str, &[u8]) = ("t.qext", &about);
    let json: (&str, &[u8]) = ("theme.json", b"{}");
    let visualization = json!({"name": "T", "type": "visualization"}).to_string();
    let nameless = json!({"type": "theme"}).to_string();
    let many: Vec<(String, &[u8])> = (0..499).map(|number| (format!("{number}.css"), &b""[..])).collect();
    let many: Vec<(&str, &[u8])> = many.iter().map(|(path, content)| (path.as_str(), *content)).collect();
    let large = vec![b' '; (30 << 20) + 1];
    let half = vec![b' '; 26 << 20];
    for (why, files, status) in [
        ("no theme.json", vec![good], 422),
        ("no qext", vec![json], 422),
        ("two qext", vec![good, json, ("u.qext", &about)], 422),
        ("qext too deep", vec![("a/b/t.qext", &about), ("a/b/theme.json", b"{}")], 422),
        ("theme.json elsewhere", vec![("a/t.qext", &about), json], 422),
        ("qext is no JSON", vec![("t.qext", b"name: T"), json], 422),
        ("another type", vec![("t.qext", visualization.as_bytes()), json], 422),
        ("no name", vec![("t.qext", nameless.as_bytes()), json], 422),
        ("theme.json is no JSON", vec![good, ("theme.json", b"{,}")], 422),
        ("a way out", vec![good, json, ("../x.css", b"")], 422),
        ("a program", vec![good, json, ("run.exe", b"MZ")], 415),
        ("a script", vec![good, json, ("run.sh", b"#!")], 415),
        ("an archive", vec![good, json, ("more.zip", b"PK")], 415),
        ("no ending", vec![good, json, ("LICENSE", b"")], 415),
        ("too many", [vec![good, json], many].concat(), 422),
        ("too large", vec![good, json, ("a.css", &large)], 422),
        ("too much", vec![good, json, ("a.css", &half), ("b.css", &half), ("c.css", &half), ("d.css", &half)], 422),
    ] {
        let refused = upload(&cloud, &host, &zipped(&files));
        assert_eq!(refused.status, status, "{why}");
        assert!(refused.body["meta"]["message"].is_string(), "{why}: {}", refused.body);
    }
    assert_eq!(upload(&cloud, &host, b"not a zip").status, 422);
    let mut damaged = theme("t", "T", "1");
    damaged[60] ^= 0xFF;
    assert_eq!(upload(&cloud, &host, &damaged).status, 422);
    assert_eq!(send(&cloud, &Method::POST, &host, PATH, form(None, None)).status, 415);
    assert_eq!(cloud.post(&host, PATH, json!({"name": "x"})).status, 415);
    assert_eq!(send(&cloud, &Method::POST, &host, PATH, form(None, Some(&json!([1])))).status, 415);
    assert!(cloud.get(&host, PATH).expect(StatusCode::OK)["data"].as_array().unwrap().is_empty());
}

#[test]
fn an_extension_is_kept_like_a_theme() {
    const PATH: &str = "/api/v1/extensions";
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let extension = |version: &str, more: &[(&str, &[u8])]| {
        let about = json!({"name": "Route map", "type": "visualization", "version": version, "preview": "map.png"});
        let about = about.to_string();
        let own: [(&str, &[u8]); 3] =
            [("route-map.qext", about.as_bytes()), ("route-map.js", b"define([])"), ("LICENSE", b"MIT")];
        zipped(&[&own[..], more].concat())
    };
    let send = |method: Method, path: &str, file: Option<&[u8]>, data: Option<&Value>| {
        send(&cloud, &method, &host, path, form(file, data))
    };
    let zip = extension("1.0.0", &[]);
    let tags = json!({"tags": ["maps"], "supernova": true});
    let made = send(Method::POST, PATH, Some(&zip), Some(&tags)).expect(StatusCode::CREATED);
    assert_eq!((&made["qextFilename"], &made["type"]), (&json!("route-map"), &json!("visualization")));
    assert_eq!((&made["preview"], &made["supernova"], &made["tags"]), (&json!("map.png"), &json!(true), &tags["tags"]));
    assert_eq!(made["file"]["md5"], md5(&zip));
    assert_eq!(send(Method::POST, PATH, Some(&zip), None).status, 409);
    let script = cloud.get(&host, &format!("{PATH}/route-map/file/route-map.js"));
    assert_eq!((script.header("content-type"), &script.bytes[..]), ("text/javascript", &b"define([])"[..]));
    assert_eq!(cloud.get(&host, &format!("{PATH}/route-map/file")).bytes, zip);
    // An extension answers a change with itself, a theme with a list.
    let zip = extension("1.1.0", &[]);
    let patched = send(Method::PATCH, &format!("{PATH}/route-map"), Some(&zip), None).expect(StatusCode::OK);
    assert_eq!((&patched["id"], &patched["qextVersion"]), (&made["id"], &json!("1.1.0")));
    assert_eq!(cloud.get(&host, PATH).expect(StatusCode::OK)["data"], json!([patched]));
    let theme = theme("harbour", "Harbour", "1");
    assert_eq!(send(Method::POST, PATH, Some(&theme), None).status, 422, "a theme is no extension");
    for (program, status) in [("run.exe", 415), ("lib/run.sh", 415), ("page.php", 415), ("map.png", 200)] {
        let zip = extension("2", &[(program, b"x")]);
        assert_eq!(send(Method::PATCH, &format!("{PATH}/route-map"), Some(&zip), None).status, status, "{program}");
    }
    assert!(cloud.get(&host, "/api/v1/themes").expect(StatusCode::OK)["data"].as_array().unwrap().is_empty());
    assert_eq!(cloud.delete(&host, &format!("{PATH}/route-map")).status, 204);
    assert_eq!(cloud.get(&host, &format!("{PATH}/route-map")).status, 410);
}

#[test]
fn content_survives_reopening_and_json_and_goes_when_unnamed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sandbox.db");
    let open = || {
        let clock = Hand::at("2026-11-24T08:00:00Z");
        Cloud { sandbox: Sandbox::open(&path, settings(&clock)).unwrap(), clock }
    };
    let kept = || -> i64 {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.query_row("SELECT count(*) FROM blobs", [], |row| row.get(0)).unwrap()
    };
    let zip = theme("harbour", "Harbour", "1.0.0");
    let cloud = open();
    let (one, other) = (cloud.tenant_host(), cloud.tenant_host());
    for host in [&one, &other] {
        upload(&cloud, host, &zip).expect(StatusCode::CREATED);
    }
    let state = cloud.sandbox.snapshot();
    drop(cloud);
    assert_eq!(kept(), 1, "the same bytes are kept once");
    let cloud = open();
    assert_eq!(cloud.sandbox.snapshot(), state);
    let file = format!("{PATH}/harbour/file");
    assert_eq!(cloud.get(&one, &file).bytes, zip);
    let copy = State::from_json(&state.to_json()).unwrap();
    assert_eq!(copy, state);
    let copied = Sandbox::from_state(copy, settings(&cloud.clock));
    let copied = Cloud { sandbox: copied, clock: cloud.clock.clone() };
    assert_eq!(copied.get(&other, &file).bytes, zip);
    assert_eq!(cloud.delete(&one, &format!("{PATH}/harbour")).status, 204);
    assert_eq!(cloud.get(&other, &file).bytes, zip);
    assert_eq!(cloud.delete(&other, &format!("{PATH}/harbour")).status, 204);
    drop(cloud);
    drop(open());
    assert_eq!(kept(), 0, "what nothing names is dropped");
    let mut json = state.to_json();
    let blobs = json["blobs"].as_object_mut().unwrap();
    let name = blobs.keys().next().unwrap().clone();
    blobs.insert(name, json!("AAAA"));
    assert!(State::from_json(&json).is_err());
}
