//! Groups of the sandbox.

use http::StatusCode;
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

const EVERYONE: &str = "/api/v1/groups/000000000000000000000001";
const SETTINGS: &str = "/api/v1/groups/settings";

fn names(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect()
}

fn roles(group: &Value) -> Vec<&str> {
    group["assignedRoles"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect()
}

fn path(group: &Value) -> String {
    format!("/api/v1/groups/{}", group["id"].as_str().unwrap())
}

fn query(filter: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("filter", filter).finish();
    format!("/api/v1/groups?{query}")
}

#[test]
fn a_group_is_made_once_per_kind_and_case() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = json!({
        "name": "hb-viewers", "status": "active", "providerType": "idp", "description": "viewers",
        "assignedRoles": [{"name": "SharedSpaceCreator"}],
    });
    let group = cloud.post(&host, "/api/v1/groups", body.clone()).expect(StatusCode::CREATED);
    assert_eq!(roles(&group), ["SharedSpaceCreator"]);
    assert_eq!(cloud.get(&host, &path(&group)).expect(StatusCode::OK), group);
    let again = cloud.post(&host, "/api/v1/groups", body);
    assert_eq!((again.status, &*again.code()), (409, "GROUPS-7"));
    assert_eq!(cloud.post(&host, "/api/v1/groups", json!({"name": "hb-viewers"})).status, 409, "idp is the default");
    assert_eq!(cloud.post(&host, "/api/v1/groups", json!({"name": "HB-viewers"})).status, 201);
    let custom = json!({"name": "hb-viewers", "providerType": "custom"});
    assert_eq!(cloud.post(&host, "/api/v1/groups", custom).status, 201);
    // A filter does not regard the case: a caller compares for itself.
    let found = cloud.get(&host, &query("name eq \"hb-VIEWERS\"")).expect(StatusCode::OK);
    assert_eq!(names(&found).len(), 3);
    for wrong in [
        json!({"name": ""}),
        json!({"name": "x".repeat(257)}),
        json!({"name": "x", "status": "disabled"}),
        json!({"name": "x", "providerType": "other"}),
        json!({"name": "x", "assignedRoles": [{"name": "sharedspacecreator"}]}),
        json!({"name": "x", "assignedRoles": ["Steward"]}),
        json!({"name": "x", "assignedRoles": vec![json!({"name": "Steward"}); 101]}),
        json!({"name": "x", "colour": "red"}),
    ] {
        assert_eq!(cloud.post(&host, "/api/v1/groups", wrong.clone()).status, 400, "{wrong}");
    }
    let missing = cloud.get(&host, "/api/v1/groups/0123");
    assert_eq!((missing.status, &*missing.code()), (404, "GROUPS-7"));
}

#[test]
fn lists_are_sorted_filtered_and_paged() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for (name, kind) in [("b", "idp"), ("A", "custom"), ("c", "idp")] {
        let body = json!({"name": name, "providerType": kind, "assignedRoles": [{"name": "Steward"}]});
        cloud.post(&host, "/api/v1/groups", body).expect(StatusCode::CREATED);
    }
    let all = cloud.get(&host, "/api/v1/groups?totalResults=true").expect(StatusCode::OK);
    assert_eq!((names(&all), &all["totalResults"]), (vec!["A", "b", "c"], &json!(3)));
    assert_eq!(names(&cloud.get(&host, "/api/v1/groups?sort=-name").expect(StatusCode::OK)), ["c", "b", "A"]);
    for (filter, found) in [
        ("name eq \"a\"", vec!["A"]),
        ("name eq \"b\" or name eq \"C\"", vec!["b", "c"]),
        ("providerType eq \"custom\"", vec!["A"]),
        ("assignedRoles.name eq \"steward\" and name co \"B\"", vec!["b"]),
        ("name eq \"z\"", vec![]),
    ] {
        assert_eq!(names(&cloud.get(&host, &query(filter)).expect(StatusCode::OK)), found, "{filter}");
        let body = json!({"filter": filter});
        let list = cloud.post(&host, "/api/v1/groups/actions/filter", body).expect(StatusCode::OK);
        assert_eq!(names(&list), found, "{filter}");
    }
    assert_eq!(cloud.get(&host, &query("colour eq \"red\"")).status, 400);
    let many: Vec<String> = (0..101).map(|number| format!("id eq \"{number}\"")).collect();
    let body = json!({"filter": many.join(" or ")});
    assert_eq!(cloud.post(&host, "/api/v1/groups/actions/filter", body).status, 400);
    let page = cloud.get(&host, "/api/v1/groups?limit=2").expect(StatusCode::OK);
    let next = page["links"]["next"]["href"].as_str().unwrap().strip_prefix(&format!("https://{host}")).unwrap();
    assert_eq!(names(&cloud.get(&host, next).expect(StatusCode::OK)), ["c"]);
    assert_eq!(cloud.get(&host, "/api/v1/groups?limit=101").status, 400);
}

#[test]
fn roles_are_replaced_as_a_whole_with_and_without_slash() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let group = cloud.post(&host, "/api/v1/groups", json!({"name": "g"})).expect(StatusCode::CREATED);
    let path = path(&group);
    let held = || cloud.get(&host, &path).expect(StatusCode::OK);
    for (slashed, role) in [("assignedRoles", "Steward"), ("/assignedRoles", "DataSpaceCreator")] {
        let step = json!([{"op": "replace", "path": slashed, "value": [{"name": role}]}]);
        assert_eq!(cloud.patch(&host, &path, step).status, 204);
        assert_eq!(roles(&held()), [role]);
    }
    for wrong in [
        json!([{"op": "add", "path": "assignedRoles", "value": []}]),
        json!([{"op": "replace", "path": "assignedRoles/-", "value": []}]),
        json!([{"op": "replace", "path": "name", "value": "new"}]),
        json!([{"op": "replace", "path": "assignedRoles", "value": [{"name": "Nobody"}]}]),
        json!([{"op": "replace", "path": "assignedRoles"}]),
        json!({"op": "replace", "path": "assignedRoles", "value": []}),
    ] {
        assert_eq!(cloud.patch(&host, &path, wrong.clone()).status, 400, "{wrong}");
    }
    let custom = json!({"name": "c", "providerType": "custom"});
    let custom = cloud.post(&host, "/api/v1/groups", custom).expect(StatusCode::CREATED);
    let steps = json!([{"op": "replace", "path": "/name", "value": "d"}, {"op": "replace", "path": "description", "value": "e"}]);
    assert_eq!(cloud.patch(&host, &self::path(&custom), steps).status, 204);
    let custom = cloud.get(&host, &self::path(&custom)).expect(StatusCode::OK);
    assert_eq!((&custom["name"], &custom["description"]), (&json!("d"), &json!("e")));
    assert_eq!(cloud.patch(&host, "/api/v1/groups/0123", json!([])).status, 404);
}

#[test]
fn everyone_shows_only_when_asked_for_alone() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    assert!(names(&cloud.get(&host, "/api/v1/groups").expect(StatusCode::OK)).is_empty());
    let system = cloud.get(&host, "/api/v1/groups?systemGroups=true").expect(StatusCode::OK);
    assert_eq!(names(&system), ["com.qlik.Everyone"]);
    assert!(roles(&system["data"][0]).contains(&"SharedSpaceCreator"));
    assert_eq!(cloud.get(&host, "/api/v1/groups?systemGroups=true&limit=10").status, 400);
    let step = json!([{"op": "replace", "path": "/assignedRoles", "value": [{"name": "CollaborationPlatformUser"}]}]);
    assert_eq!(cloud.patch(&host, EVERYONE, step).status, 204);
    let everyone = cloud.get(&host, EVERYONE).expect(StatusCode::OK);
    assert_eq!(roles(&everyone), ["CollaborationPlatformUser"]);
    let settings = cloud.get(&host, SETTINGS).expect(StatusCode::OK);
    assert_eq!(settings["systemGroups"]["000000000000000000000001"]["assignedRoles"], everyone["assignedRoles"]);
    assert_eq!(cloud.delete(&host, EVERYONE).status, 400);
    assert_eq!(cloud.post(&host, "/api/v1/groups", json!({"name": "com.qlik.Everyone"})).status, 201);
}

#[test]
fn a_yes_or_no_may_begin_with_a_capital_as_python_writes_it() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    cloud.post(&host, "/api/v1/groups", json!({"name": "viewers", "status": "active"})).expect(StatusCode::CREATED);
    let named = |query: &str| cloud.get(&host, &format!("/api/v1/groups?{query}")).expect(StatusCode::OK);
    assert_eq!(names(&named("limit=10&systemGroups=False")), ["viewers"]);
    assert_eq!(names(&named("systemGroups=True")), ["com.qlik.Everyone"]);
    assert_eq!(cloud.get(&host, "/api/v1/groups?systemGroups=yes").status, 400);
}

#[test]
fn settings_are_replaced_one_by_one() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    assert_eq!(cloud.get(&host, SETTINGS).expect(StatusCode::OK)["autoCreateGroups"], false);
    let steps = json!([
        {"op": "replace", "path": "/autoCreateGroups", "value": true},
        {"op": "replace", "path": "/syncIdpGroups", "value": true},
        {"op": "replace", "path": "/systemGroups/000000000000000000000001/assignedRoles", "value": []},
    ]);
    assert_eq!(cloud.patch(&host, SETTINGS, steps.clone()).status, 204);
    let before = cloud.sandbox.snapshot();
    assert_eq!(cloud.patch(&host, SETTINGS, steps).status, 204);
    assert_eq!(before, cloud.sandbox.snapshot(), "the same again changes nothing");
    let settings = cloud.get(&host, SETTINGS).expect(StatusCode::OK);
    assert_eq!((&settings["autoCreateGroups"], &settings["syncIdpGroups"]), (&json!(true), &json!(true)));
    assert!(roles(&cloud.get(&host, EVERYONE).expect(StatusCode::OK)).is_empty());
    for wrong in [
        json!([{"op": "replace", "path": "/autoCreateGroups", "value": "yes"}]),
        json!([{"op": "replace", "path": "autoCreate", "value": true}]),
        json!([{"op": "add", "path": "/autoCreateGroups", "value": true}]),
    ] {
        assert_eq!(cloud.patch(&host, SETTINGS, wrong.clone()).status, 400, "{wrong}");
    }
}

#[test]
fn a_custom_group_goes_only_when_empty() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let custom = json!({"name": "c", "providerType": "custom"});
    let custom = cloud.post(&host, "/api/v1/groups", custom).expect(StatusCode::CREATED);
    let user = cloud.post(&host, "/api/v1/users", json!({"subject": "hb|1"})).expect(StatusCode::CREATED);
    let user = format!("/api/v1/users/{}", user["id"].as_str().unwrap());
    let join = json!([{"op": "add", "path": "/assignedGroups/-", "value": {"id": custom["id"]}}]);
    assert_eq!(cloud.patch(&host, &user, join).status, 204);
    assert_eq!(cloud.delete(&host, &path(&custom)).status, 400);
    assert_eq!(
        cloud.patch(&host, &user, json!([{"op": "replace", "path": "/assignedGroups", "value": []}])).status,
        204
    );
    assert_eq!(cloud.delete(&host, &path(&custom)).status, 204);
    assert_eq!(cloud.delete(&host, &path(&custom)).status, 404);
}
