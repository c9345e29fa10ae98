//! Web integrations of the sandbox.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

const PATH: &str = "/api/v1/web-integrations";

fn names(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|held| held["name"].as_str().unwrap()).collect()
}

fn made(cloud: &Cloud, host: &str, name: &str) -> String {
    cloud.post(host, PATH, json!({"name": name})).expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned()
}

#[test]
fn one_is_made_changed_and_deleted() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = json!({
        "name": "portal", "validOrigins": ["https://portal.harbour.example", "https://portal.harbour.example:8443"],
    });
    let first = cloud.post(&host, PATH, body.clone()).expect(StatusCode::CREATED);
    let path = format!("{PATH}/{}", first["id"].as_str().unwrap());
    assert_eq!(first["links"]["self"]["href"], format!("https://{host}{path}"));
    let second = cloud.post(&host, PATH, body).expect(StatusCode::CREATED);
    assert_ne!(first["id"], second["id"], "a repeat makes a second one");
    let steps = json!([
        {"op": "replace", "path": "/name", "value": "other"},
        {"op": "replace", "path": "/validOrigins", "value": ["http://localhost:3000"]},
    ]);
    assert_eq!(cloud.patch(&host, &path, steps).status, 204);
    let held = cloud.get(&host, &path).expect(StatusCode::OK);
    assert_eq!((&held["name"], &held["validOrigins"]), (&json!("other"), &json!(["http://localhost:3000"])));
    assert_eq!(cloud.delete(&host, &path).status, 204);
    for method in [Method::GET, Method::DELETE] {
        let gone = cloud.call(method, &host, &path, Value::Null);
        assert_eq!((gone.status, &*gone.code()), (404, "WEBINTEGRATIONS_NOT_FOUND"));
        assert_eq!(gone.body["errors"][0]["status"], "404");
    }
}

#[test]
fn wrong_ones_are_told_with_the_services_codes() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let id = made(&cloud, &host, "portal");
    let missing = cloud.post(&host, PATH, json!({"validOrigins": []}));
    assert_eq!((missing.status, &*missing.code()), (400, "WEBINTEGRATIONS-5"));
    assert_eq!(missing.body["errors"][0]["meta"]["requiredFields"], json!(["name"]));
    for origin in ["https://*.harbour.example", "*", "portal.harbour.example", "https://a.example/path", "ftp://a"] {
        let refused = cloud.post(&host, PATH, json!({"name": "x", "validOrigins": [origin]}));
        assert_eq!((refused.status, &*refused.code()), (400, "WEBINTEGRATIONS-6"), "{origin}");
        let step = json!([{"op": "replace", "path": "/validOrigins", "value": [origin]}]);
        assert_eq!(cloud.patch(&host, &format!("{PATH}/{id}"), step).code(), "WEBINTEGRATIONS-6", "{origin}");
    }
    for body in [json!({"name": ""}), json!({"name": 1}), json!({"name": "x", "validOrigins": "https://a.example"})] {
        assert_eq!(cloud.post(&host, PATH, body.clone()).code(), "WEBINTEGRATIONS-6", "{body}");
    }
    let bearer = format!("Bearer {}", cloud.token(&host));
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    assert_eq!(cloud.send(&Method::POST, &host, PATH, &headers, "{".into()).code(), "BAD_REQUEST");
    let step = json!([{"op": "add", "path": "/name", "value": "x"}]);
    assert_eq!(cloud.patch(&host, &format!("{PATH}/{id}"), step).code(), "WEBINTEGRATIONS-4");
}

#[test]
fn pages_go_by_ids_or_by_links() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let ids: Vec<String> = (0..12).map(|number| made(&cloud, &host, &format!("w{number:02}"))).collect();
    let first = cloud.get(&host, PATH).expect(StatusCode::OK);
    assert_eq!(names(&first).len(), 10, "ten unless told otherwise");
    let next = first["links"]["next"]["href"].as_str().unwrap().strip_prefix(&format!("https://{host}")).unwrap();
    assert!(next.contains("startingAfter="), "{next}");
    let rest = cloud.get(&host, next).expect(StatusCode::OK);
    assert_eq!(names(&rest), ["w10", "w11"]);
    assert!(rest["links"]["prev"]["href"].as_str().unwrap().contains("endingBefore="));
    let list = |query: &str| cloud.get(&host, &format!("{PATH}?{query}"));
    assert_eq!(names(&list(&format!("startingAfter={}", ids[10])).expect(StatusCode::OK)), ["w11"]);
    assert_eq!(names(&list(&format!("endingBefore={}&limit=2", ids[2])).expect(StatusCode::OK)), ["w00", "w01"]);
    assert_eq!(list(&format!("endingBefore={}&startingAfter={}", ids[2], ids[1])).status, 400);
    assert_eq!(list("startingAfter=nobody").status, 400);
    assert_eq!(list("limit=101").status, 400);
    assert_eq!(names(&list("sort=-name&limit=1").expect(StatusCode::OK)), ["w11"]);
    assert!(names(&list("tenantId=other").expect(StatusCode::OK)).is_empty());
}
