//! Spaces of the sandbox, their assignments and shares.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

const SPACES: &str = "/api/v1/spaces";

fn names(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|space| space["name"].as_str().unwrap()).collect()
}

fn space(cloud: &Cloud, host: &str, name: &str, kind: &str) -> String {
    let made = cloud.post(host, SPACES, json!({"name": name, "type": kind})).expect(StatusCode::CREATED);
    format!("{SPACES}/{}", made["id"].as_str().unwrap())
}

fn group(cloud: &Cloud, host: &str, name: &str) -> Value {
    cloud.post(host, "/api/v1/groups", json!({"name": name})).expect(StatusCode::CREATED)["id"].clone()
}

#[test]
fn a_space_is_made_once_whatever_its_type() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = json!({"name": "Staging", "type": "shared", "description": "first stop"});
    let made = cloud.post(&host, SPACES, body.clone()).expect(StatusCode::CREATED);
    assert_eq!(
        made["meta"]["assignableRoles"],
        json!(["codeveloper", "consumer", "dataconsumer", "facilitator", "producer"])
    );
    assert_eq!(made["meta"]["roles"], made["meta"]["assignableRoles"], "the owner has every role");
    assert_eq!(made["ownerId"], made["createdBy"]);
    let path = format!("{SPACES}/{}", made["id"].as_str().unwrap());
    assert_eq!(made["links"]["assignments"]["href"], format!("https://{host}{path}/assignments"));
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK), made);
    let again = cloud.post(&host, SPACES, json!({"name": "Staging", "type": "managed"}));
    assert_eq!(again.status, 409);
    assert_eq!(again.body["code"], again.body["errors"][0]["code"], "both forms of the error are there");
    for wrong in [
        json!({"name": "a/b", "type": "shared"}),
        json!({"name": "a:b", "type": "shared"}),
        json!({"name": "", "type": "shared"}),
        json!({"name": "x".repeat(257), "type": "shared"}),
        json!({"name": "x", "type": "personal"}),
        json!({"name": "x"}),
    ] {
        assert_eq!(cloud.post(&host, SPACES, wrong.clone()).status, 400, "{wrong}");
    }
    let types = cloud.get(&host, "/api/v1/spaces/types").expect(StatusCode::OK);
    assert_eq!(types["data"], json!(["shared", "managed", "data"]));
}

#[test]
fn names_are_searched_by_what_they_contain() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for (name, kind) in [("finance", "shared"), ("Final", "managed"), ("Griffin", "shared"), ("Sales", "data")] {
        space(&cloud, &host, name, kind);
    }
    for (query, found) in [
        ("name=fin", vec!["finance", "Final", "Griffin"]),
        ("name=fin&type=managed", vec!["Final"]),
        ("type=managed,data&sort=-name", vec!["Sales", "Final"]),
        ("sort=%2Bname&limit=2", vec!["Final", "finance"]),
        ("action=publish", vec!["Final"]),
        ("roles=publisher", vec!["Final", "Sales"]),
        ("environmentId=1", vec![]),
        ("environmentId=&name=sales", vec!["Sales"]),
        ("ownerId=nobody", vec![]),
    ] {
        let list = cloud.get(&host, &format!("{SPACES}?{query}")).expect(StatusCode::OK);
        assert_eq!(names(&list), found, "{query}");
    }
    let page = cloud.get(&host, &format!("{SPACES}?limit=3")).expect(StatusCode::OK);
    assert_eq!(page["meta"]["count"], 4);
    let next = page["links"]["next"]["href"].as_str().unwrap().strip_prefix(&format!("https://{host}")).unwrap();
    assert_eq!(names(&cloud.get(&host, next).expect(StatusCode::OK)), ["Sales"]);
    for wrong in ["sort=owner", "limit=0", "action=delete", "roles=king"] {
        assert_eq!(cloud.get(&host, &format!("{SPACES}?{wrong}")).status, 400, "{wrong}");
    }
    for number in 0..8 {
        space(&cloud, &host, &format!("s{number}"), "shared");
    }
    assert_eq!(names(&cloud.get(&host, SPACES).expect(StatusCode::OK)).len(), 10, "ten unless told otherwise");
}

#[test]
fn a_space_is_changed_by_patch_and_put_and_answers_with_itself() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let path = space(&cloud, &host, "Staging", "shared");
    space(&cloud, &host, "Live", "managed");
    let step = |path: &str, value: &str| json!([{"op": "replace", "path": path, "value": value}]);
    let patched = cloud.patch(&host, &path, step("/description", "d")).expect(StatusCode::OK);
    assert_eq!(patched["description"], "d");
    let user = cloud.post(&host, "/api/v1/users", json!({"subject": "hb|1"})).expect(StatusCode::CREATED);
    let put = cloud.put(&host, &path, json!({"name": "Stage", "ownerId": user["id"]})).expect(StatusCode::OK);
    assert_eq!((&put["name"], &put["ownerId"], &put["description"]), (&json!("Stage"), &user["id"], &json!("d")));
    assert_eq!(put["meta"]["roles"], json!([]), "the client is not the owner any more");
    assert_eq!(cloud.patch(&host, &path, step("/name", "Stage")).status, 200, "its own name is free to it");
    assert_eq!(cloud.patch(&host, &path, step("/name", "Live")).status, 409);
    for wrong in [step("/type", "managed"), step("/name", "a|b"), step("/ownerId", "nobody"), json!({"name": "x"})] {
        assert_eq!(cloud.patch(&host, &path, wrong.clone()).status, 400, "{wrong}");
    }
    assert_eq!(cloud.put(&host, &path, json!({"type": "managed"})).status, 400, "the type is fixed");
    let missing = cloud.get(&host, "/api/v1/spaces/0123");
    assert_eq!(missing.status, 404);
    assert!(
        missing.body["traceId"].is_string() && missing.body["errors"].is_array() && missing.body["code"].is_string()
    );
}

#[test]
fn an_assignee_is_assigned_once_with_roles_of_the_spaces_type() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let assignments = format!("{}/assignments", space(&cloud, &host, "Live", "managed"));
    let viewers = group(&cloud, &host, "hb-viewers");
    let body = json!({"type": "group", "assigneeId": viewers, "roles": ["consumer", "consumer"]});
    let made = cloud.post(&host, &assignments, body.clone()).expect(StatusCode::CREATED);
    assert_eq!(made["roles"], json!(["consumer"]));
    let again = cloud.post(&host, &assignments, body);
    assert_eq!((again.status, &again.body["code"]), (409, &json!("AssignmentConflict")));
    assert_eq!(again.body["detail"], "assignment of assignee already exists in space");
    let path = format!("{assignments}/{}", made["id"].as_str().unwrap());
    let put = cloud.put(&host, &path, json!({"roles": ["consumer", "contributor"]})).expect(StatusCode::OK);
    assert_eq!(put["roles"], json!(["consumer", "contributor"]));
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK), put);
    for wrong in [json!({"roles": []}), json!({}), json!({"roles": ["producer"]})] {
        assert_eq!(cloud.put(&host, &path, wrong.clone()).status, 400, "{wrong}");
    }
    for wrong in [
        json!({"type": "group", "assigneeId": "000000000000000000000001", "roles": ["producer"]}),
        json!({"type": "group", "assigneeId": "nobody", "roles": ["consumer"]}),
        json!({"type": "user", "assigneeId": viewers, "roles": ["consumer"]}),
        json!({"type": "robot", "assigneeId": viewers, "roles": ["consumer"]}),
    ] {
        assert_eq!(cloud.post(&host, &assignments, wrong.clone()).status, 400, "{wrong}");
    }
    let everyone = json!({"type": "group", "assigneeId": "000000000000000000000001", "roles": ["basicconsumer"]});
    cloud.post(&host, &assignments, everyone).expect(StatusCode::CREATED);
    let list = |query: &str| cloud.get(&host, &format!("{assignments}?{query}")).expect(StatusCode::OK);
    assert_eq!(list("")["meta"]["count"], 2);
    assert_eq!(list(&format!("assigneeId={}", viewers.as_str().unwrap()))["data"], json!([put]));
    assert_eq!(list("type=user")["meta"]["count"], 0);
    assert_eq!(cloud.delete(&host, &path).status, 204);
    assert_eq!(cloud.delete(&host, &path).status, 404);
    let other = space(&cloud, &host, "Other", "managed");
    let elsewhere = format!("{other}/assignments/{}", list("")["data"][0]["id"].as_str().unwrap());
    assert_eq!(cloud.get(&host, &elsewhere).status, 404, "an assignment is found in its own space only");
}

#[test]
fn every_role_fits_the_types_the_table_says() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let table: [(&str, &[&str]); 10] = [
        ("consumer", &["shared", "managed", "data"]),
        ("contributor", &["managed"]),
        ("dataconsumer", &["shared", "managed", "data"]),
        ("facilitator", &["shared", "managed", "data"]),
        ("operator", &["managed", "data"]),
        ("producer", &["shared", "data"]),
        ("publisher", &["managed", "data"]),
        ("basicconsumer", &["managed"]),
        ("codeveloper", &["shared"]),
        ("datapreview", &["data"]),
    ];
    for kind in ["shared", "managed", "data"] {
        let space = space(&cloud, &host, kind, kind);
        for (role, kinds) in table {
            let assignee = group(&cloud, &host, &format!("{kind} {role}"));
            let body = json!({"type": "group", "assigneeId": assignee, "roles": [role]});
            let status = if kinds.contains(&kind) { 201 } else { 400 };
            assert_eq!(cloud.post(&host, &format!("{space}/assignments"), body).status, status, "{role} in {kind}");
        }
    }
}

#[test]
fn assignments_do_not_keep_a_space_and_go_with_it_or_with_their_group() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let (one, other) = (space(&cloud, &host, "One", "shared"), space(&cloud, &host, "Two", "shared"));
    let viewers = group(&cloud, &host, "viewers");
    let body = json!({"type": "group", "assigneeId": viewers, "roles": ["consumer"]});
    for space in [&one, &other] {
        cloud.post(&host, &format!("{space}/assignments"), body.clone()).expect(StatusCode::CREATED);
    }
    assert_eq!(cloud.delete(&host, &one).status, 204);
    assert_eq!(cloud.get(&host, &one).status, 404);
    let left = || cloud.get(&host, &format!("{other}/assignments")).expect(StatusCode::OK)["meta"]["count"].clone();
    assert_eq!(left(), 1);
    assert_eq!(cloud.delete(&host, &format!("/api/v1/groups/{}", viewers.as_str().unwrap())).status, 204);
    assert_eq!(left(), 0);
    assert_eq!(cloud.call(Method::DELETE, &host, &one, Value::Null).status, 404);
}

#[test]
fn an_app_is_shared_once_with_an_assignee() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let shares = format!("{}/shares", space(&cloud, &host, "Live", "managed"));
    let viewers = group(&cloud, &host, "viewers");
    let body = json!({
        "type": "group", "assigneeId": viewers, "roles": ["consumer"], "resourceId": "a1", "resourceType": "app",
    });
    let made = cloud.post(&host, &shares, body.clone()).expect(StatusCode::CREATED);
    assert_eq!(cloud.post(&host, &shares, body.clone()).status, 409);
    let mut wrong = body;
    wrong["roles"] = json!(["publisher"]);
    assert_eq!(cloud.post(&host, &shares, wrong).status, 400);
    let path = format!("{shares}/{}", made["id"].as_str().unwrap());
    let steps = json!([
        {"op": "replace", "path": "/roles", "value": ["contributor"]},
        {"op": "replace", "path": "/disabled", "value": true},
    ]);
    let patched = cloud.patch(&host, &path, steps).expect(StatusCode::OK);
    assert_eq!((&patched["roles"], &patched["disabled"]), (&json!(["contributor"]), &json!(true)));
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK), patched);
    for (query, count) in [("resourceId=a1", 1), ("resourceId=a2", 0), ("type=link", 0), ("resourceType=app", 1)] {
        let list = cloud.get(&host, &format!("{shares}?{query}")).expect(StatusCode::OK);
        assert_eq!(list["meta"]["count"], count, "{query}");
    }
    assert_eq!(cloud.delete(&host, &path).status, 204);
    assert_eq!(cloud.get(&host, &path).status, 404);
}
