//! Data files and data connections of the sandbox.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

const FILES: &str = "/api/v1/data-files";
const CONNECTIONS: &str = "/api/v1/data-connections";

struct Home {
    cloud: Cloud,
    host: String,
    space: String,
    connection: String,
}

impl Home {
    fn new() -> Self {
        let cloud = Cloud::new();
        let host = cloud.tenant_host();
        let space = cloud.space(&host, "Staging", "shared");
        let found = cloud.get(&host, &format!("{FILES}/connections?spaceId={space}")).expect(StatusCode::OK);
        assert_eq!(found["data"].as_array().unwrap().len(), 1);
        let connection = found["data"][0]["id"].as_str().unwrap().to_owned();
        Self { cloud, host, space, connection }
    }

    #[track_caller]
    fn form(&self, method: &Method, path: &str, about: &Value, file: Option<&[u8]>) -> Reply {
        let mut body = Vec::new();
        let json = "--cut\r\ncontent-disposition: form-data; name=\"Json\"\r\ncontent-type: application/json\r\n\r\n";
        body.extend([json.as_bytes(), about.to_string().as_bytes(), b"\r\n"].concat());
        if let Some(file) = file {
            let head = "--cut\r\ncontent-disposition: form-data; name=\"File\"; filename=\"x.csv\"\r\n\r\n";
            body.extend([head.as_bytes(), file, b"\r\n"].concat());
        }
        body.extend(b"--cut--\r\n");
        let bearer = format!("Bearer {}", self.cloud.token(&self.host));
        let headers = [("authorization", &*bearer), ("content-type", "multipart/form-data; boundary=cut")];
        self.cloud.send(method, &self.host, path, &headers, Bytes::from(body))
    }

    fn upload(&self, name: &str, content: &str) -> Reply {
        let about = json!({"name": name, "connectionId": self.connection});
        self.form(&Method::POST, FILES, &about, Some(content.as_bytes()))
    }

    #[track_caller]
    fn uploaded(&self, name: &str) -> Value {
        self.upload(name, "a,b\n").expect(StatusCode::CREATED)
    }

    #[track_caller]
    fn names(&self, query: &str) -> Vec<String> {
        self.cloud.names(&self.host, &format!("{FILES}?connectionId={}&{query}", self.connection))
    }

    #[track_caller]
    fn connect(&self, name: &str) -> Reply {
        let properties = json!({"host": "db.harbour.example", "username": "halyard", "password": "quay-side"});
        let body =
            json!({"qName": name, "datasourceID": "postgres", "space": self.space, "connectionProperties": properties});
        self.cloud.post(&self.host, CONNECTIONS, body)
    }

    #[track_caller]
    fn patch(&self, path: &str, body: Value) -> Reply {
        self.cloud.patch(&self.host, path, body)
    }

    #[track_caller]
    fn read(&self, path: &str) -> Value {
        self.cloud.get(&self.host, path).expect(StatusCode::OK)
    }
}

fn id(document: &Value) -> &str {
    document["id"].as_str().unwrap()
}

#[test]
fn a_file_lies_in_its_space_and_is_uploaded_anew() {
    let home = Home::new();
    let made = home.uploaded("carriers.csv");
    assert_eq!((&made["size"], &made["spaceId"], &made["folder"]), (&json!(4), &json!(home.space), &json!(false)));
    let again = home.upload("carriers.csv", "x");
    assert_eq!((again.status, again.code()), (409, "HTTP-409".to_owned()));
    home.cloud.clock.forward(std::time::Duration::from_secs(60));
    let path = format!("{FILES}/{}", id(&made));
    let put = home
        .form(&Method::PUT, &path, &json!({"connectionId": home.connection}), Some(b"more,rows\n"))
        .expect(StatusCode::CREATED);
    assert_eq!((&put["id"], &put["size"], &put["name"]), (&made["id"], &json!(10), &made["name"]));
    assert_ne!(put["contentUpdatedDate"], made["contentUpdatedDate"]);
    assert_eq!(home.read(&path), put);
    let space = format!("/api/v1/spaces/{}", home.space);
    assert_eq!(home.cloud.delete(&home.host, &space).status, 412, "it holds something");
    home.cloud.delete(&home.host, &path).expect(StatusCode::NO_CONTENT);
    assert_eq!(home.cloud.get(&home.host, &path).status, 404);
}

#[test]
fn folders_hold_files_and_go_with_them() {
    let home = Home::new();
    let deep = home.uploaded("rates/2026/eu.csv");
    assert_eq!((&deep["baseName"], &deep["folderPath"]), (&json!("eu.csv"), &json!("rates/2026")));
    home.uploaded("rates/base.csv");
    home.uploaded("top.csv");
    assert_eq!(home.names("sort=name"), ["rates/2026/eu.csv", "rates/base.csv", "top.csv"]);
    assert_eq!(home.names("includeFolders=true&excludeFiles=true"), ["rates", "rates/2026"]);
    assert_eq!(home.names("folderPath=rates&excludeSubFolders=true"), ["rates/base.csv"]);
    assert_eq!(home.names("excludeSubFolders=true"), ["top.csv"]);
    assert_eq!(home.names("baseNameWildcard=*.CSV&folderPath=rates/2026"), ["rates/2026/eu.csv"]);
    assert_eq!(home.names("name=top.csv"), ["top.csv"]);
    let listed = home.read(&format!("{FILES}?connectionId={}&includeFolders=true&sort=name&limit=1", home.connection));
    let folder = &listed["data"][0];
    assert_eq!(
        (&folder["folderStats"]["totalFileCount"], &folder["folderStats"]["directFileCount"]),
        (&json!(2), &json!(1))
    );
    let next = listed["links"]["next"]["href"].as_str().unwrap().split_once(".com").unwrap().1.to_owned();
    assert_eq!(home.read(&next)["data"][0]["name"], "rates/2026");
    let renaming = json!({"name": "tariffs", "connectionId": home.connection});
    let renamed = home.form(&Method::PUT, &format!("{FILES}/{}", id(folder)), &renaming, None);
    renamed.expect(StatusCode::CREATED);
    assert_eq!(home.names("sort=name"), ["tariffs/2026/eu.csv", "tariffs/base.csv", "top.csv"]);
    home.cloud.delete(&home.host, &format!("{FILES}/{}", id(folder))).expect(StatusCode::NO_CONTENT);
    assert_eq!(home.names("includeFolders=true"), ["top.csv"]);
}

#[test]
fn files_change_hands_and_are_removed_together() {
    let home = Home::new();
    let (one, deep) = (home.uploaded("one.csv"), home.uploaded("in/two.csv"));
    let other = home.cloud.post(&home.host, "/api/v1/spaces", json!({"name": "Other", "type": "shared"}));
    let other = other.expect(StatusCode::CREATED)["id"].clone();
    let to = |id: &Value| json!({"change-space": [{"id": id, "spaceId": other}]});
    let both = json!({"change-space": [to(&one["id"])["change-space"][0], to(&deep["id"])["change-space"][0]]});
    let moved =
        home.cloud.post(&home.host, &format!("{FILES}/actions/change-space"), both).expect(StatusCode::MULTI_STATUS);
    let statuses: Vec<&Value> = moved["data"].as_array().unwrap().iter().map(|line| &line["status"]).collect();
    assert_eq!(statuses, [&json!(204), &json!(403)], "only what lies at the root moves: {moved}");
    assert_eq!(home.names(""), ["in/two.csv"]);
    let nobody =
        home.cloud.post(&home.host, &format!("{FILES}/{}/actions/change-owner", id(&one)), json!({"ownerId": "x"}));
    assert_eq!((nobody.status, nobody.code()), (400, "DF-006".to_owned()));
    let gone = json!({"delete": [{"id": one["id"]}], "deleteAllBySpace": [{"id": home.space}]});
    let gone = home.cloud.post(&home.host, &format!("{FILES}/actions/delete"), gone).expect(StatusCode::MULTI_STATUS);
    assert!(gone["data"].as_array().unwrap().iter().all(|line| line["status"] == 204), "{gone}");
    assert_eq!(home.names("includeFolders=true"), [""; 0]);
    let quota = home.read(&format!("{FILES}/quotas"));
    assert_eq!(quota["size"], 0);
}

#[test]
fn what_is_no_data_file_is_refused() {
    let home = Home::new();
    for (name, code) in [("a/../b.csv", "DF-015"), ("/a.csv", "DF-015"), ("noending", "DF-011"), ("run.exe", "DF-010")]
    {
        let reply = home.upload(name, "x");
        assert_eq!((reply.status, reply.code()), (400, code.to_owned()), "{name}");
    }
    let nowhere = json!({"name": "a.csv", "connectionId": "00000000-0000-4000-8000-000000000000"});
    assert_eq!(home.form(&Method::POST, FILES, &nowhere, Some(b"x")).code(), "DF-014");
    let empty = json!({"name": "a.csv", "connectionId": home.connection});
    assert_eq!(home.form(&Method::POST, FILES, &empty, None).status, 400);
    let both = format!("{FILES}?folderId={}&folderPath=a", "00000000-0000-4000-8000-000000000000");
    assert_eq!(home.cloud.get(&home.host, &both).code(), "DF-003");
}

#[test]
fn a_connection_is_made_changed_and_tells_no_secret() {
    let home = Home::new();
    let made = home.connect("Orders").expect(StatusCode::CREATED);
    let qid = made["qID"].as_str().unwrap().to_owned();
    assert_eq!((&made["space"], &made["qName"]), (&json!(home.space), &json!("Orders")));
    assert_eq!(home.connect("Orders").status, 409, "a name is unique in its space");
    let path = format!("{CONNECTIONS}/{qid}");
    let told = home.read(&format!("{path}?parseConnection=true"));
    assert_eq!(told["connectionProperties"], json!({"host": "db.harbour.example", "username": "halyard"}));
    assert!(!told.to_string().contains("quay-side") && !made.to_string().contains("quay-side"), "{told}");
    home.patch(&path, json!([{"op": "replace", "path": "/tags", "value": ["harbour"]}])).expect(StatusCode::NO_CONTENT);
    home.patch(&path, json!([{"op": "replace", "path": "/connectionProperties/host", "value": "b"}]))
        .expect(StatusCode::NO_CONTENT);
    let told = home.read(&format!("{path}?parseConnection=true"));
    assert_eq!((&told["tags"], &told["connectionProperties"]["host"]), (&json!(["harbour"]), &json!("b")));
    let whole = json!({
        "qID": qid, "qEngineObjectID": qid, "qName": "Sales", "qType": told["qType"], "qPassword": "another",
        "qConnectStatement": told["qConnectStatement"],
    });
    home.cloud.put(&home.host, &path, whole).expect(StatusCode::NO_CONTENT);
    let by_name = home.read(&format!("{CONNECTIONS}/Sales?type=connectionname&spaceId={}", home.space));
    assert_eq!((&by_name["qID"], by_name.get("qPassword")), (&json!(qid), None));
    assert_eq!(home.cloud.get(&home.host, &format!("{CONNECTIONS}/Sales")).status, 400, "it is no id");
    home.cloud.delete(&home.host, &path).expect(StatusCode::NO_CONTENT);
    assert_eq!(home.cloud.get(&home.host, &path).status, 404);
}

#[test]
fn connections_are_listed_copied_and_handed_on() {
    let home = Home::new();
    let made: Vec<Value> = ["b", "a"].map(|name| home.connect(name).expect(StatusCode::CREATED)).into();
    let names = |query: &str| -> Vec<String> {
        let listed = home.read(&format!("{CONNECTIONS}?{query}"));
        listed["data"].as_array().unwrap().iter().map(|held| held["qName"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&format!("spaceId={}&sort=%2BqName", home.space)), ["a", "b"]);
    assert_eq!(names("limit=1"), ["b"]);
    assert_eq!(names("dataName=a"), ["a"]);
    assert_eq!(names("personal=true"), [""; 0]);
    assert_eq!(names("filter=datasourceID%20eq%20%22postgres%22&sort=-qName"), ["b", "a"]);
    let actions = format!("{CONNECTIONS}/actions");
    let copy = json!({"id": made[0]["qID"], "name": "c", "spaceId": ""});
    home.cloud.post(&home.host, &format!("{actions}/duplicate"), copy).expect(StatusCode::CREATED);
    assert_eq!(names("personal=true"), ["c"]);
    let nowhere = "00000000-0000-4000-8000-000000000000";
    let update = json!({"connections": [
        {"id": made[0]["qID"], "spaceId": "", "spaceType": "personal"}, {"id": nowhere},
    ]});
    let done = home.cloud.post(&home.host, &format!("{actions}/update"), update).expect(StatusCode::MULTI_STATUS);
    assert_eq!((&done["data"][0]["status"], &done["data"][1]["status"]), (&json!(204), &json!(404)));
    assert_eq!(names(&format!("spaceId={}", home.space)), ["a"]);
    let gone = json!({"connections": [{"id": made[0]["qID"]}, {"id": made[1]["qID"]}]});
    home.cloud.post(&home.host, &format!("{actions}/delete"), gone).expect(StatusCode::MULTI_STATUS);
    assert_eq!(names(""), ["c"]);
}
