//! Roles of the sandbox.

use http::StatusCode;
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

fn names(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect()
}

/// A role by its name.
fn role(cloud: &Cloud, host: &str, name: &str) -> Value {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("filter", &format!("name eq \"{name}\""))
        .finish();
    cloud.get(host, &format!("/api/v1/roles?{query}")).expect(StatusCode::OK)["data"][0].clone()
}

fn path(role: &Value) -> String {
    format!("/api/v1/roles/{}", role["id"].as_str().unwrap())
}

#[test]
fn every_tenant_has_the_default_roles_under_its_own_ids() {
    let cloud = Cloud::new();
    let (one, other) = (cloud.tenant_host(), cloud.tenant_host());
    let list = cloud.get(&one, "/api/v1/roles?limit=100&totalResults=true").expect(StatusCode::OK);
    assert_eq!(list["totalResults"], 17);
    assert_eq!(names(&list)[..3], ["AnalyticsAdmin", "AuditAdmin", "AutomationCreator"]);
    let (mine, theirs) = (role(&cloud, &one, "TenantAdmin"), role(&cloud, &other, "TenantAdmin"));
    assert_ne!(mine["id"], theirs["id"]);
    assert_eq!(
        (&mine["level"], &mine["type"], &mine["canDelete"]),
        (&json!("admin"), &json!("default"), &json!(false))
    );
    assert_eq!(cloud.get(&one, &path(&mine)).expect(StatusCode::OK), mine);
    let missing = cloud.get(&one, &path(&theirs));
    assert_eq!((missing.status, &*missing.code()), (404, "IDENTITIES-10402"));
    let admins = cloud.get(&one, "/api/v1/roles?filter=level%20eq%20%22ADMIN%22&sort=-name").expect(StatusCode::OK);
    assert_eq!(names(&admins), ["TenantAdmin", "DataAdmin", "AuditAdmin", "AnalyticsAdmin"]);
    assert_eq!(cloud.get(&one, "/api/v1/roles?filter=colour%20eq%20%22red%22").status, 400);
    assert_eq!(names(&cloud.get(&one, "/api/v1/roles").expect(StatusCode::OK)).len(), 17);
    let page = cloud.get(&one, "/api/v1/roles?limit=10").expect(StatusCode::OK);
    let next = page["links"]["next"]["href"].as_str().unwrap().strip_prefix(&format!("https://{one}")).unwrap();
    assert_eq!(names(&cloud.get(&one, next).expect(StatusCode::OK)).len(), 7);
}

#[test]
fn a_custom_role_is_made_changed_and_deleted() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = json!({"name": "HarbourAnalyst", "description": "reads", "assignedScopes": ["spaces.data:consume"]});
    let made = cloud.post(&host, "/api/v1/roles", body.clone()).expect(StatusCode::CREATED);
    assert_eq!((&made["type"], &made["level"], &made["canEdit"]), (&json!("custom"), &json!("user"), &json!(true)));
    assert_eq!(cloud.post(&host, "/api/v1/roles", body).status, 400, "a name is taken once");
    assert_eq!(cloud.post(&host, "/api/v1/roles", json!({"name": "harbouranalyst"})).status, 201, "with its case");
    let own = path(&made);
    let patch = |steps: Value| cloud.patch(&host, &own, steps).status;
    let add = json!([{"op": "add", "path": "/assignedScopes/-", "value": "apps:read"}]);
    assert_eq!((patch(add.clone()), patch(add)), (204, 204));
    let scopes = || cloud.get(&host, &own).expect(StatusCode::OK)["assignedScopes"].clone();
    assert_eq!(scopes(), json!(["spaces.data:consume", "apps:read"]));
    assert_eq!(patch(json!([{"op": "remove-value", "path": "/assignedScopes", "value": "spaces.data:consume"}])), 204);
    assert_eq!(scopes(), json!(["apps:read"]));
    assert_eq!(patch(json!([{"op": "replace", "path": "/assignedScopes", "value": ["a", "b"]}])), 204);
    assert_eq!(scopes(), json!(["a", "b"]));
    for wrong in [
        json!([{"op": "replace", "path": "/level", "value": "admin"}]),
        json!([{"op": "remove", "path": "/name", "value": ""}]),
        json!([{"op": "replace", "path": "/name", "value": "TenantAdmin"}]),
        json!([{"op": "replace", "path": "/name", "value": ""}]),
        json!([{"op": "add", "path": "/name", "value": "x"}]),
        json!([{"op": "replace", "path": "/name"}]),
    ] {
        assert_eq!(patch(wrong.clone()), 400, "{wrong}");
    }
    let group = json!({"name": "g", "assignedRoles": [{"name": "HarbourAnalyst"}]});
    let group = cloud.post(&host, "/api/v1/groups", group).expect(StatusCode::CREATED);
    assert_eq!(patch(json!([{"op": "replace", "path": "/name", "value": "Analyst"}])), 204);
    let group = format!("/api/v1/groups/{}", group["id"].as_str().unwrap());
    assert_eq!(cloud.get(&host, &group).expect(StatusCode::OK)["assignedRoles"][0]["name"], "Analyst");
    assert_eq!(cloud.delete(&host, &own).status, 400, "it is assigned");
    assert_eq!(
        cloud.patch(&host, &group, json!([{"op": "replace", "path": "assignedRoles", "value": []}])).status,
        204
    );
    assert_eq!(cloud.delete(&host, &own).status, 204);
    assert_eq!(cloud.get(&host, &own).status, 404);
    assert_eq!(cloud.delete(&host, &own).status, 404);
}

#[test]
fn default_roles_stay_but_for_the_scopes_of_user_default() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let steward = path(&role(&cloud, &host, "Steward"));
    assert_eq!(cloud.delete(&host, &steward).status, 400);
    let rename = json!([{"op": "replace", "path": "/name", "value": "x"}]);
    let scopes = json!([{"op": "replace", "path": "/assignedScopes", "value": ["notes:create"]}]);
    assert_eq!(cloud.patch(&host, &steward, rename.clone()).status, 400);
    assert_eq!(cloud.patch(&host, &steward, scopes.clone()).status, 400);
    let user = path(&role(&cloud, &host, "UserDefault"));
    assert_eq!(cloud.patch(&host, &user, rename).status, 400);
    assert_eq!(cloud.patch(&host, &user, scopes).status, 204);
    assert_eq!(cloud.get(&host, &user).expect(StatusCode::OK)["assignedScopes"], json!(["notes:create"]));
}

#[test]
fn a_tenant_has_at_most_five_hundred_custom_roles() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for number in 0..500 {
        cloud.post(&host, "/api/v1/roles", json!({"name": format!("r{number}")})).expect(StatusCode::CREATED);
    }
    assert_eq!(cloud.post(&host, "/api/v1/roles", json!({"name": "one more"})).status, 400);
}
