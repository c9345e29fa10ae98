//! Users of the sandbox.

use http::StatusCode;
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

fn names(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|user| user["name"].as_str().unwrap()).collect()
}

fn people(cloud: &Cloud, host: &str) {
    for (name, status) in [("Bob", "active"), ("alice", "invited"), ("Carla", "active")] {
        let email = format!("{}@halyard.example", name.to_lowercase());
        let body = json!({"name": name, "email": email, "subject": format!("hb|{name}"), "status": status});
        cloud.post(host, "/api/v1/users", body).expect(StatusCode::CREATED);
    }
}

fn query(filter: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).finish();
    format!("/api/v1/users?{query}")
}

#[test]
fn a_user_is_made_once() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = json!({
        "name": "Halyard Ops", "email": "ops@halyard.example", "subject": "auth0|a1", "status": "active",
        "assignedRoles": [{"name": "TenantAdmin"}],
    });
    let user = cloud.post(&host, "/api/v1/users", body.clone()).expect(StatusCode::CREATED);
    assert_eq!(user["assignedRoles"][0]["level"], "admin");
    assert_eq!(user["status"], "active");
    let path = format!("/api/v1/users/{}", user["id"].as_str().unwrap());
    assert_eq!(user["links"]["self"]["href"], format!("https://{host}{path}"));
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK), user);
    assert_eq!(cloud.post(&host, "/api/v1/users", body.clone()).status, 409);
    for (field, value) in [("subject", "auth0|a2"), ("email", "OPS@halyard.example")] {
        let mut other = body.clone();
        other[field] = json!(value);
        assert_eq!(cloud.post(&host, "/api/v1/users", other).status, 409, "{field}");
    }
    assert_eq!(cloud.post(&cloud.tenant_host(), "/api/v1/users", body).status, 201, "another tenant has its own");
}

#[test]
fn bad_users_are_refused() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for body in [
        json!({"name": "x"}),
        json!({"subject": ""}),
        json!({"subject": "a", "status": "disabled"}),
        json!({"subject": "a", "tenantId": "elsewhere"}),
        json!({"subject": "a", "assignedRoles": [{"name": "tenantadmin"}]}),
        json!({"subject": "a", "assignedRoles": "TenantAdmin"}),
    ] {
        assert_eq!(cloud.post(&host, "/api/v1/users", body.clone()).status, 400, "{body}");
    }
    let odd = cloud.post(&host, "/api/v1/users", json!({"subject": "a", "assignedRole": []}));
    assert_eq!(odd.status, 400);
    let detail = odd.body["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("`assignedRole`") && detail.contains("`assignedRoles`"), "{detail}");
    assert_eq!(cloud.sandbox.violations().last().unwrap().message, detail);
    let missing = cloud.get(&host, "/api/v1/users/0123");
    assert_eq!((missing.status, &*missing.code()), (404, "USERS-7"));
    assert_eq!(missing.body["errors"][0]["status"], 404);
}

#[test]
fn lists_are_sorted_filtered_and_paged() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    people(&cloud, &host);
    let all = cloud.get(&host, "/api/v1/users?totalResults=true").expect(StatusCode::OK);
    assert_eq!(names(&all), ["alice", "Bob", "Carla", "EU OAuth Client"]);
    assert_eq!(all["totalResults"], 4);
    let falling = cloud.get(&host, "/api/v1/users?sort=-name").expect(StatusCode::OK);
    assert_eq!(names(&falling), ["EU OAuth Client", "Carla", "Bob", "alice"]);
    let page = cloud.get(&host, "/api/v1/users?limit=3").expect(StatusCode::OK);
    let next = page["links"]["next"]["href"].as_str().unwrap().strip_prefix(&format!("https://{host}")).unwrap();
    let second = cloud.get(&host, next).expect(StatusCode::OK);
    assert_eq!(names(&second), ["EU OAuth Client"]);
    assert!(second["links"].get("next").is_none());
    let prev = second["links"]["prev"]["href"].as_str().unwrap().strip_prefix(&format!("https://{host}")).unwrap();
    assert_eq!(names(&cloud.get(&host, prev).expect(StatusCode::OK)), ["alice", "Bob", "Carla"]);
    for (filter, found) in [
        ("email eq \"BOB@halyard.example\"", vec!["Bob"]),
        ("name eq \"Bob\" or name eq \"ALICE\"", vec!["alice", "Bob"]),
        ("name co \"a\" and status eq \"active\"", vec!["Carla", "EU OAuth Client"]),
        ("(name eq \"Bob\" or name eq \"alice\") and (status eq \"active\" or status eq \"disabled\")", vec!["Bob"]),
        ("not (name co \"a\") AND status EQ \"active\"", vec!["Bob"]),
        ("assignedRoles.name eq \"TenantAdmin\"", vec!["EU OAuth Client"]),
        ("subject eq \"hb|Bob\"", vec!["Bob"]),
        ("subject eq \"nobody\"", vec![]),
    ] {
        let list = cloud.get(&host, &query(filter)).expect(StatusCode::OK);
        assert_eq!(names(&list), found, "{filter}");
        let list = cloud.post(&host, "/api/v1/users/actions/filter", json!({"filter": filter})).expect(StatusCode::OK);
        assert_eq!(names(&list), found, "{filter}");
    }
    for filter in [
        "name eq \"Bob\" or name eq \"Alice\" and (status eq \"active\" or status eq \"disabled\")",
        "name sw \"B\"",
        "colour eq \"red\"",
        "status co \"act\"",
        "name eq",
        "name eq \"Bob",
        "(name eq \"Bob\"",
        "name eq \"Bob\")",
        "",
    ] {
        assert_eq!(cloud.get(&host, &query(filter)).status, 400, "{filter}");
    }
    let deep = format!("{}name eq \"x\"{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(cloud.post(&host, "/api/v1/users/actions/filter", json!({"filter": deep})).status, 400);
    for wrong in ["limit=0", "limit=101", "limit=x", "sort=colour", "next=zzz"] {
        assert_eq!(cloud.get(&host, &format!("/api/v1/users?{wrong}")).status, 400, "{wrong}");
    }
    assert_eq!(cloud.get(&host, "/api/v1/users/actions/count").expect(StatusCode::OK)["total"], 4);
}

#[test]
fn the_old_filters_that_qliks_python_client_sends_hold_beside_the_new_one() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for (subject, status) in [("hb|1", "active"), ("hb|2", "invited"), ("pu|1", "active")] {
        let body = json!({"subject": subject, "status": status, "email": format!("{}@x.example", &subject[3..])});
        let body = if subject == "pu|1" { json!({"subject": subject, "status": status}) } else { body };
        cloud.post(&host, "/api/v1/users", body).expect(StatusCode::CREATED);
    }
    let subjects = |rest: &str| -> Vec<String> {
        let path = format!("{}&limit=20&sort=%2Bname&{rest}", query("subject co \"|\""));
        let listed = cloud.get(&host, &path).expect(StatusCode::OK);
        listed["data"].as_array().unwrap().iter().map(|user| user["subject"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(subjects("sortBy=name&sortOrder=asc&status=active"), ["hb|1", "pu|1"]);
    assert_eq!(subjects("status=active,invited&email=2@x.example"), ["hb|2"]);
    assert_eq!(subjects("subject=pu%7C1&totalResults=False"), ["pu|1"]);
    assert_eq!(subjects("tenantId=another"), [""; 0]);
    assert_eq!(cloud.get(&host, "/api/v1/users?sortBy=shoe").status, 400);
}

#[test]
fn fields_narrow_what_is_shown() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    people(&cloud, &host);
    let list = cloud.get(&host, "/api/v1/users?fields=name,id&limit=1").expect(StatusCode::OK);
    let fields: Vec<&String> = list["data"][0].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["name", "id"]);
}

#[test]
fn patches_replace_add_and_remove() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let user = cloud.post(&host, "/api/v1/users", json!({"subject": "hb|1"})).expect(StatusCode::CREATED);
    assert_eq!(user["status"], "invited");
    let path = format!("/api/v1/users/{}", user["id"].as_str().unwrap());
    let change = |steps: Value| cloud.patch(&host, &path, steps);
    let roles = || -> Vec<String> {
        let user = cloud.get(&host, &path).expect(StatusCode::OK);
        let roles = user["assignedRoles"].as_array().unwrap();
        roles.iter().map(|role| role["name"].as_str().unwrap().to_owned()).collect()
    };
    let done = change(json!([
        {"op": "replace", "path": "/name", "value": "Ann"},
        {"op": "replace", "path": "/status", "value": "active"},
        {"op": "replace", "path": "/assignedRoles", "value": [{"name": "Steward"}, {"name": "DataAdmin"}]},
        {"op": "add", "path": "/assignedRoles/-", "value": {"name": "AuditAdmin"}},
        {"op": "add", "path": "/assignedRoles/-", "value": {"name": "AuditAdmin"}},
        {"op": "remove-value", "path": "/assignedRoles", "value": {"name": "Steward"}},
    ]));
    assert_eq!(done.status, 204);
    assert_eq!(roles(), ["DataAdmin", "AuditAdmin"]);
    let after = cloud.get(&host, &path).expect(StatusCode::OK);
    assert_eq!((&after["name"], &after["status"]), (&json!("Ann"), &json!("active")));
    for wrong in [
        json!({"op": "replace", "path": "/subject", "value": "x"}),
        json!({"op": "delete", "path": "/name", "value": "x"}),
        json!({"op": "unset", "path": "/name", "value": ""}),
        json!({"op": "unset", "path": "/status", "value": ""}),
        json!({"op": "replace", "path": "/name", "value": 3}),
        json!({"op": "replace", "path": "/status", "value": "asleep"}),
        json!({"op": "replace", "path": "/assignedRoles", "value": [{"name": "Nobody"}]}),
        json!({"op": "add", "path": "/assignedGroups", "value": [{"name": "nobody", "providerType": "custom"}]}),
    ] {
        assert_eq!(change(json!([{"op": "replace", "path": "/name", "value": "Other"}, wrong])).status, 400, "{wrong}");
    }
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK), after);
}

#[test]
fn a_user_is_deleted_but_not_by_itself() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let user = cloud.post(&host, "/api/v1/users", json!({"subject": "hb|1"})).expect(StatusCode::CREATED);
    let path = format!("/api/v1/users/{}", user["id"].as_str().unwrap());
    assert_eq!(cloud.delete(&host, &path).status, 204);
    assert_eq!(cloud.delete(&host, &path).status, 404);
    let me = cloud.get(&host, "/api/v1/users/me").header("location").to_owned();
    assert_eq!(cloud.delete(&host, me.strip_prefix(&format!("https://{host}")).unwrap()).status, 400);
}

#[test]
fn invitations_tell_each_outcome_in_a_207() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    people(&cloud, &host);
    let invite = |email: &str, resend: bool| {
        let body = json!({"invitees": [{"email": email, "resend": resend}]});
        let answer = cloud.post(&host, "/api/v1/users/actions/invite", body).expect(StatusCode::MULTI_STATUS);
        answer["data"][0].clone()
    };
    let new = invite("new@halyard.example", false);
    assert_eq!(new["status"], "ok");
    let user = cloud.get(&host, &format!("/api/v1/users/{}", new["userId"].as_str().unwrap())).expect(StatusCode::OK);
    assert_eq!((&user["status"], &user["subject"]), (&json!("invited"), &new["subject"]));
    assert_eq!(invite("new@halyard.example", false)["status"], "exists");
    assert_eq!(invite("new@halyard.example", true)["status"], "ok");
    assert_eq!(invite("bob@halyard.example", true)["code"], "1001");
    assert_eq!(invite("not an address", false)["status"], "error");
}
