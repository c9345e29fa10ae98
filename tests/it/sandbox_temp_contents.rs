//! Temporary content of the sandbox: uploads, what exports leave, what imports take.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

const HOUR: Duration = Duration::from_secs(3_600);
const FILE: &[u8] = b"0123456789";

struct Home {
    cloud: Cloud,
    host: String,
}

impl Home {
    fn new() -> Self {
        let cloud = Cloud::new();
        let host = cloud.tenant_host();
        Self { cloud, host }
    }

    /// A request with a token and these headers. What a download answers is no JSON, although its type says so.
    fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: &'static [u8]) -> Reply {
        let bearer = format!("Bearer {}", self.cloud.token(&self.host));
        let headers = [&[("authorization", &*bearer)], headers].concat();
        self.cloud.send_unchecked(&method, &self.host, path, &headers, Bytes::from_static(body))
    }

    #[track_caller]
    fn upload(&self, query: &str) -> String {
        let headers = [("content-type", "application/octet-stream")];
        let made = self.send(Method::POST, &format!("/api/v1/temp-contents?{query}"), &headers, FILE);
        assert_eq!((made.status, &made.bytes[..]), (201, &b""[..]), "{:?}", made.body);
        made.header("location").to_owned()
    }

    fn get(&self, path: &str) -> Reply {
        self.send(Method::GET, path, &[], b"")
    }

    fn piece(&self, path: &str, offset: usize, body: &'static [u8]) -> Reply {
        let headers = [
            ("content-type", "application/offset+octet-stream"),
            ("tus-resumable", "1.0.0"),
            ("upload-offset", &*offset.to_string()),
        ];
        self.send(Method::PATCH, path, &headers, body)
    }

    /// Begins an upload; gives the path of its pieces.
    #[track_caller]
    fn begin(&self, length: &str, metadata: &str) -> String {
        let headers = [("tus-resumable", "1.0.0"), ("upload-length", length), ("upload-metadata", metadata)];
        let made = self.send(Method::POST, "/api/v1/temp-contents/files", &headers, b"");
        assert_eq!((made.status, made.header("tus-resumable")), (201, "1.0.0"), "{:?}", made.body);
        made.header("location").strip_prefix(&format!("https://{}", self.host)).unwrap().to_owned()
    }

    #[track_caller]
    fn space(&self, name: &str, kind: &str) -> String {
        self.cloud.space(&self.host, name, kind)
    }
}

#[test]
fn a_file_stays_for_an_hour_unless_it_is_told_otherwise() {
    let home = Home::new();
    let (short, long) = (home.upload("filename=a.qvf"), home.upload("filename=b.qvf&ttl=259200"));
    assert!(short.starts_with("/api/v1/temp-contents/"), "the link is relative: {short}");
    let got = home.get(&short);
    assert_eq!((got.status, &got.bytes[..]), (200, FILE));
    assert_eq!(got.header("content-disposition"), "attachment; filename=\"a.qvf\"");
    assert_eq!(home.get(&format!("{short}?inline=1")).header("content-disposition"), "inline; filename=\"a.qvf\"");
    let details = home.cloud.get(&home.host, &format!("{long}/details")).expect(StatusCode::OK);
    assert_eq!((&details["Name"], &details["Size"]), (&json!("b.qvf"), &json!("10")));
    assert_eq!((&details["TTLSeconds"], &details["Expires"]), (&json!(259_200), &json!("2026-11-27T08:00:00.000Z")));

    home.cloud.clock.forward(HOUR);
    assert_eq!((home.get(&short).status, home.get(&long).status), (410, 200));
    assert_eq!(home.cloud.get(&home.host, &format!("{short}/details")).status, 410);
    home.upload("filename=c.qvf");
    assert_eq!(home.get(&short).status, 410, "it is remembered");
    assert_eq!(home.get("/api/v1/temp-contents/none").status, 404);
    for query in ["", "filename=", "filename=a&ttl=0", "filename=a&ttl=259201", "filename=a&ttl=soon"] {
        let headers = [("content-type", "application/octet-stream")];
        let made = home.send(Method::POST, &format!("/api/v1/temp-contents?{query}"), &headers, FILE);
        assert_eq!(made.status, 400, "{query}");
    }
}

#[test]
fn a_part_of_a_file_can_be_read() {
    let home = Home::new();
    let path = home.upload("filename=a.qvf");
    for (range, told, part) in [
        ("bytes=0-3", "bytes 0-3/10", "0123"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-2", "bytes 8-9/10", "89"),
        ("bytes=8-100", "bytes 8-9/10", "89"),
    ] {
        let got = home.send(Method::GET, &path, &[("range", range)], b"");
        assert_eq!((got.status, got.header("content-range"), &*got.bytes), (206, told, part.as_bytes()), "{range}");
    }
    for range in
        ["bytes=10-", "bytes=5-3", "lines=0-3", "bytes=-", "bytes=a-b", "bytes=-0", "bytes=0-18446744073709551615"]
    {
        assert_eq!(home.send(Method::GET, &path, &[("range", range)], b"").status, 416, "{range}");
    }
}

#[test]
fn an_upload_comes_in_pieces_and_each_where_the_last_one_ended() {
    let home = Home::new();
    let path = home.begin("10", "filename YS5xdmY=,ttl NzIwMA==");
    let file = path.replace("/files", "");
    assert_eq!(home.get(&file).status, 204, "it is not complete");
    let first = home.piece(&path, 0, b"0123");
    assert_eq!((first.status, first.header("upload-offset")), (204, "4"));
    assert_eq!(home.piece(&path, 0, b"0123").status, 409, "it has come already");
    assert_eq!(home.piece(&path, 4, b"4567890").status, 400, "it is longer than was said");
    assert_eq!(home.piece(&path, 4, b"45").status, 204);
    let last = home.piece(&path, 6, b"6789");
    assert_eq!((last.status, last.header("upload-offset")), (204, "10"));
    assert_eq!(home.get(&file).bytes, FILE);
    let details = home.cloud.get(&home.host, &format!("{file}/details")).expect(StatusCode::OK);
    assert_eq!((&details["Name"], &details["TTLSeconds"]), (&json!("a.qvf"), &json!(7_200)));
    home.cloud.clock.forward(HOUR * 2);
    assert_eq!(home.piece(&path, 10, b"").status, 400, "a piece has a body");
    assert_eq!(home.piece(&path, 10, b"x").status, 410);
    assert_eq!(home.piece("/api/v1/temp-contents/files/none", 0, b"x").status, 404);
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    let home = Home::new();
    let path = home.begin("4", "filename YS5xdmY=");
    let headers = |kind: &'static str, version: &'static str| {
        [("content-type", kind), ("tus-resumable", version), ("upload-offset", "0")]
    };
    let chunk = "application/offset+octet-stream";
    let other = home.send(Method::PATCH, &path, &headers(chunk, "0.2.2"), b"0123");
    assert_eq!((other.status, other.header("tus-version")), (412, "1.0.0"));
    assert_eq!(home.send(Method::PATCH, &path, &headers("application/octet-stream", "1.0.0"), b"0123").status, 415);
    assert_eq!(home.send(Method::PATCH, &path, &[("content-type", chunk)], b"0123").status, 400);
    for (length, metadata) in
        [("4", ""), ("4", "filename Y!"), ("4", "filename YS5xdmY=,ttl MA=="), ("-1", "filename YQ==")]
    {
        let headers = [("tus-resumable", "1.0.0"), ("upload-length", length), ("upload-metadata", metadata)];
        let made = home.send(Method::POST, "/api/v1/temp-contents/files", &headers, b"");
        assert_eq!(made.status, 400, "{length} {metadata}");
    }
}

#[test]
fn an_app_leaves_as_temporary_content_and_comes_back_from_it() {
    let home = Home::new();
    let Home { cloud, host, .. } = &home;
    let (staging, live) = (home.space("Staging", "shared"), home.space("Production", "managed"));
    let inside = br#"{"name": "Fleet", "lastReloadTime": "2026-11-20T04:00:00.000Z", "own": 1}"#;
    let headers = [("content-type", "application/octet-stream")];
    let made = home.send(Method::POST, &format!("/api/v1/apps/import?spaceId={staging}"), &headers, inside);
    let app = made.expect(StatusCode::OK)["attributes"]["id"].as_str().unwrap().to_owned();
    let renamed = json!({"attributes": {"name": "Fleet 2", "description": "all of it"}});
    cloud.put(host, &format!("/api/v1/apps/{app}"), renamed).expect(StatusCode::OK);

    let export = |query: &str| {
        let left = cloud.post(host, &format!("/api/v1/apps/{app}/export{query}"), Value::Null);
        assert_eq!((left.status, left.bytes.len()), (201, 0), "{:?}", left.body);
        left.header("location").to_owned()
    };
    let place = export("");
    assert!(place.starts_with("/api/v1/temp-contents/"), "{place}");
    let file = home.get(&place);
    assert_eq!(file.header("content-disposition"), "attachment; filename=\"Fleet 2.qvf\"");
    assert_eq!((&file.body["description"], &file.body["own"]), (&json!("all of it"), &json!(1)));
    let bare = home.get(&export("?NoData=true")).body;
    assert_eq!((&bare["name"], &bare["lastReloadTime"]), (&json!("Fleet 2"), &Value::Null));

    let id = place.rsplit('/').next().unwrap();
    let import = format!("/api/v1/apps/import?spaceId={staging}&fileId={id}");
    let copy = cloud.post(host, &import, Value::Null).expect(StatusCode::OK)["attributes"].clone();
    assert_eq!((&copy["name"], &copy["lastReloadTime"]), (&json!("Fleet 2"), &json!("2026-11-20T04:00:00.000Z")));
    assert_ne!(copy["id"], json!(app));
    let whole = home.begin("4", "filename YS5xdmY=");
    let id = whole.rsplit('/').next().unwrap();
    let early = cloud.post(host, &format!("/api/v1/apps/import?fileId={id}"), Value::Null);
    assert_eq!(early.status, 404, "it is not complete");
    cloud.clock.forward(HOUR);
    assert_eq!(cloud.post(host, &import, Value::Null).status, 404, "it has expired");

    let body = json!({"spaceId": live});
    let published = cloud.post(host, &format!("/api/v1/apps/{app}/publish"), body).expect(StatusCode::OK);
    let published = published["attributes"]["id"].as_str().unwrap();
    assert_eq!(cloud.post(host, &format!("/api/v1/apps/{published}/export"), Value::Null).status, 403);
    assert_eq!(cloud.post(host, "/api/v1/apps/none/export", Value::Null).status, 404);
    // The space goes to somebody else: an administrator without a role in it exports nothing.
    let user = json!({"subject": "hb|1", "name": "Ada", "email": "ada@harbour.example"});
    let user = cloud.post(host, "/api/v1/users", user).expect(StatusCode::CREATED)["id"].clone();
    let step = json!([{"op": "replace", "path": "/ownerId", "value": user}]);
    cloud.patch(host, &format!("/api/v1/spaces/{staging}"), step).expect(StatusCode::OK);
    assert_eq!(cloud.post(host, &format!("/api/v1/apps/{app}/export"), Value::Null).status, 403);
}
