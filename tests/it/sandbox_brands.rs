//! Brands of the sandbox.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

const PATH: &str = "/api/v1/brands";
const PNG: &[u8] = b"\x89PNG\r\n\x1a\nlogo";
const ICO: &[u8] = b"\0\0\x01\0icon";

/// Parts of a form, by name; `name=file` for one that is a file.
type Parts<'p> = &'p [(&'p str, &'p [u8])];

struct Tenant {
    cloud: Cloud,
    host: String,
}

impl Tenant {
    fn new() -> Self {
        let cloud = Cloud::new();
        let host = cloud.tenant_host();
        Self { cloud, host }
    }

    /// Sends a form.
    fn form(&self, method: &Method, path: &str, parts: Parts<'_>) -> Reply {
        let mut body = Vec::new();
        for (name, content) in parts {
            let (name, file) = name.split_once('=').map_or((*name, None), |(name, file)| (name, Some(file)));
            let file = file.map(|file| format!("; filename=\"{file}\"")).unwrap_or_default();
            let head = format!("--cut\r\nContent-Disposition: form-data; name=\"{name}\"{file}\r\n\r\n");
            body.extend([head.as_bytes(), content, b"\r\n"].concat());
        }
        body.extend(b"--cut--\r\n");
        let bearer = format!("Bearer {}", self.cloud.token(&self.host));
        let headers = [("authorization", &*bearer), ("content-type", "multipart/form-data; boundary=cut")];
        self.cloud.send(method, &self.host, path, &headers, Bytes::from(body))
    }

    fn brand(&self, name: &str) -> Value {
        self.form(&Method::POST, PATH, &[("name", name.as_bytes()), ("logo=l.png", PNG)]).expect(StatusCode::CREATED)
    }

    fn get(&self, path: &str) -> Reply {
        self.cloud.get(&self.host, path)
    }

    fn post(&self, path: &str) -> Reply {
        self.cloud.post(&self.host, path, json!({}))
    }
}

fn of(brand: &Value, rest: &str) -> String {
    format!("{PATH}/{}{rest}", brand["id"].as_str().unwrap())
}

#[test]
fn a_brand_has_words_and_files() {
    let tenant = Tenant::new();
    let parts: [(&str, &[u8]); 4] =
        [("name", b"2026"), ("description", b"Harbour's"), ("logo=hb.png", PNG), ("favIcon=hb.ico", ICO)];
    let made = tenant.form(&Method::POST, PATH, &parts).expect(StatusCode::CREATED);
    assert_eq!(
        (&made["name"], &made["description"], &made["active"]),
        (&json!("2026"), &json!("Harbour's"), &json!(false))
    );
    let kinds: Vec<_> =
        made["files"].as_array().unwrap().iter().map(|file| (&file["id"], &file["contentType"])).collect();
    assert_eq!(kinds, [(&json!("logo"), &json!("image/png")), (&json!("favIcon"), &json!("image/x-icon"))]);
    assert_eq!(tenant.get(&of(&made, "")).expect(StatusCode::OK), made);
    let logo = tenant.get(&of(&made, "/files/logo"));
    assert_eq!((logo.header("content-type"), &logo.bytes[..]), ("image/png", PNG));
    assert_eq!(tenant.get(&of(&made, "/files/styles")).status, 404);
    assert_eq!(tenant.get(&of(&made, "/files/banner")).status, 400);
    let patch = json!([{"op": "replace", "path": "/name", "value": "H"}, {"op": "remove", "path": "/description"}]);
    assert_eq!(tenant.cloud.patch(&tenant.host, &of(&made, ""), patch).status, 204);
    let held = tenant.get(&of(&made, "")).expect(StatusCode::OK);
    assert_eq!((&held["name"], &held["description"], &held["files"]), (&json!("H"), &json!(""), &made["files"]));
    for patch in [json!([{"op": "remove", "path": "/name"}]), json!([{"op": "replace", "path": "/name", "value": " "}])]
    {
        assert_eq!(tenant.cloud.patch(&tenant.host, &of(&made, ""), patch).status, 400);
    }
    assert_eq!(tenant.cloud.delete(&tenant.host, &of(&made, "")).status, 204);
    for gone in ["", "/files/logo"] {
        let gone = tenant.get(&of(&made, gone));
        assert_eq!((gone.status, gone.code()), (404, "HTTP-404".to_owned()));
    }
}

#[test]
fn brands_come_five_at_a_time_the_newest_id_first() {
    let tenant = Tenant::new();
    let mut ids: Vec<Value> = (0..7).map(|_| tenant.brand("Same")["id"].clone()).collect();
    ids.sort_by_key(|id| std::cmp::Reverse(id.to_string()));
    let page = tenant.get(PATH).expect(StatusCode::OK);
    let held =
        |page: &Value| page["data"].as_array().unwrap().iter().map(|brand| brand["id"].clone()).collect::<Vec<_>>();
    assert_eq!(held(&page), ids[..5]);
    let next = page["links"]["next"]["href"].as_str().unwrap();
    let next = next.strip_prefix(&format!("https://{}", tenant.host)).unwrap();
    assert_eq!(held(&tenant.get(next).expect(StatusCode::OK)), ids[5..]);
    assert_eq!(tenant.get(&format!("{PATH}?limit=101")).status, 400);
}

#[test]
fn one_brand_is_in_use_or_none() {
    let tenant = Tenant::new();
    let (one, other) = (tenant.brand("One"), tenant.brand("Other"));
    let active = format!("{PATH}/active");
    assert_eq!(tenant.get(&active).expect(StatusCode::OK), json!({}));
    for brand in [&one, &other, &other] {
        let answer = tenant.post(&of(brand, "/actions/activate")).expect(StatusCode::OK);
        assert_eq!((&answer["id"], &answer["active"]), (&brand["id"], &json!(true)));
        let found = tenant.get(&active);
        assert_eq!(
            (found.status, found.header("location")),
            (301, &*format!("https://{}{}", tenant.host, of(brand, "")))
        );
    }
    assert_eq!(tenant.get(&of(&one, "")).expect(StatusCode::OK)["active"], false);
    assert_eq!(tenant.post(&of(&one, "/actions/deactivate")).expect(StatusCode::OK)["active"], false);
    assert_eq!(tenant.get(&active).status, 301, "the other one still is");
    assert_eq!(tenant.post(&of(&other, "/actions/deactivate")).expect(StatusCode::OK)["active"], false);
    assert_eq!(tenant.get(&active).status, 200);
    tenant.post(&of(&one, "/actions/activate")).expect(StatusCode::OK);
    assert_eq!(tenant.cloud.delete(&tenant.host, &of(&one, "")).status, 204);
    assert_eq!(tenant.get(&active).expect(StatusCode::OK), json!({}));
    assert_eq!(tenant.post(&of(&one, "/actions/activate")).status, 404);
}

#[test]
fn files_are_added_replaced_and_removed() {
    let tenant = Tenant::new();
    let made = tenant.brand("Harbour");
    let (logo, icon) = (of(&made, "/files/logo"), of(&made, "/files/favIcon"));
    let file = |method: &Method, path: &str, bytes: &[u8]| tenant.form(method, path, &[("file=f", bytes)]);
    assert_eq!(file(&Method::POST, &logo, PNG).status, 400, "it has one");
    assert_eq!(file(&Method::PUT, &icon, ICO).status, 404, "it has none");
    let added = file(&Method::POST, &icon, ICO).expect(StatusCode::CREATED);
    assert_eq!((&added["id"], &added["contentType"]), (&json!("favIcon"), &json!("image/x-icon")));
    let jpg = b"\xFF\xD8\xFFnew".as_slice();
    let replaced = file(&Method::PUT, &logo, jpg).expect(StatusCode::OK);
    assert_ne!(replaced["eTag"], made["files"][0]["eTag"]);
    assert_eq!(tenant.get(&logo).bytes, jpg);
    assert_eq!(tenant.cloud.delete(&tenant.host, &logo).status, 204);
    assert_eq!(tenant.cloud.delete(&tenant.host, &logo).status, 404);
    assert_eq!(tenant.get(&of(&made, "")).expect(StatusCode::OK)["files"], json!([added]));
}

#[test]
fn wrong_brands_are_refused() {
    let tenant = Tenant::new();
    let large = [PNG, &vec![0; 300 << 10]].concat();
    let cases: [(&str, Parts<'_>); 7] = [
        ("no name", &[("description", b"d")]),
        ("an empty name", &[("name", b"")]),
        ("a logo that is no picture", &[("name", b"n"), ("logo=l.png", b"GIF89a")]),
        ("an icon that is a PNG", &[("name", b"n"), ("favIcon=i.ico", PNG)]),
        ("styles that are no JSON", &[("name", b"n"), ("styles=s.json", b"{,}")]),
        ("a large logo", &[("name", b"n"), ("logo=l.png", &large)]),
        ("an unknown part", &[("name", b"n"), ("banner=b.png", PNG)]),
    ];
    for (why, parts) in cases {
        let refused = tenant.form(&Method::POST, PATH, parts);
        assert_eq!((refused.status, refused.code()), (400, "HTTP-400".to_owned()), "{why}");
    }
    assert!(tenant.get(PATH).expect(StatusCode::OK)["data"].as_array().unwrap().is_empty());
    let styled =
        tenant.form(&Method::POST, PATH, &[("name", b"n"), ("styles=s.json", b"{}")]).expect(StatusCode::CREATED);
    assert_eq!(tenant.form(&Method::PUT, &of(&styled, "/files/styles"), &[("name", b"x")]).status, 400);
}
