//! Session timeouts, API keys, data alerts, sharing and IP policies of the sandbox.

use http::StatusCode;
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

fn step(path: &str, value: Value) -> Value {
    json!([{"op": "replace", "path": path, "value": value}])
}

#[test]
fn each_settings_document_is_read_and_changed() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let keys = format!("/api/v1/api-keys/configs/{}", cloud.sandbox.snapshot().tenants()[0]);
    for (path, field, value, wrong) in [
        ("/api/core/auth-settings", "userSessionInactivityTimeoutMinutes", json!(20), json!("20")),
        ("/api/core/auth-settings", "maxUserSessionLifespanMinutes", json!(600), json!(610)),
        ("/api/core/auth-settings", "dynamicClientRegistrationEnabled", json!(true), json!(1)),
        (&keys, "max_keys_per_user", json!(0), json!(1001)),
        (&keys, "max_api_key_expiry", json!("P30D"), json!("30")),
        ("/api/v1/sharing-tasks/settings", "enable-sharing", json!(false), json!("no")),
        ("/api/v1/sharing-tasks/settings", "enable-report-subscription", json!(false), json!(0)),
    ] {
        let before = cloud.get(&host, path).expect(StatusCode::OK);
        assert_ne!(before[field], value, "{field}");
        assert_eq!(cloud.patch(&host, path, step(&format!("/{field}"), wrong)).status, 400, "{field}");
        let changed = cloud.patch(&host, path, step(&format!("/{field}"), value.clone()));
        assert!([200, 204].contains(&changed.status), "{field}");
        let after = cloud.get(&host, path).expect(StatusCode::OK);
        assert_eq!(after[field], value, "{field}");
        assert_eq!(cloud.patch(&host, path, step("/else", json!(1))).status, 400, "{field}");
    }
    assert_eq!(cloud.get(&host, "/api/core/auth-settings").expect(StatusCode::OK)["isDefault"], false);
    assert_eq!(cloud.get(&host, "/api/v1/api-keys/configs/another").status, 404);
}

#[test]
fn data_alerts_and_sharing_are_put_as_a_whole() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for (path, field) in
        [("/api/v1/data-alerts/settings", "enable-data-alerting"), ("/api/v1/sharing-tasks/settings", "enable-sharing")]
    {
        assert_eq!(cloud.get(&host, path).expect(StatusCode::OK)[field], true);
        assert_eq!(cloud.put(&host, path, json!({field: false})).status, 204);
        assert_eq!(cloud.get(&host, path).expect(StatusCode::OK)[field], false);
        assert_eq!(cloud.put(&host, path, json!({})).status, 400);
    }
}

#[test]
fn ip_policies_are_made_listed_changed_and_deleted() {
    const PATH: &str = "/api/core/ip-policies";
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for ips in [json!([]), json!(["203.0.113.7/33"]), json!(["203.0.113"]), json!(["::1"]), json!([7])] {
        assert_eq!(cloud.post(&host, PATH, json!({"name": "x", "allowedIps": ips})).status, 400, "{ips}");
    }
    let made = cloud.post(&host, PATH, json!({"name": "b", "allowedIps": ["203.0.113.0/24"]}));
    let made = made.expect(StatusCode::CREATED);
    assert_eq!(made["enabled"], false, "off unless told otherwise");
    cloud
        .post(&host, PATH, json!({"name": "a", "allowedIps": ["198.51.100.7"], "enabled": true}))
        .expect(StatusCode::CREATED);
    let names = |query: &str| -> Vec<String> {
        let list = cloud.get(&host, &format!("{PATH}?{query}")).expect(StatusCode::OK);
        list["data"].as_array().unwrap().iter().map(|held| held["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names("sort=name"), ["a", "b"]);
    assert_eq!(names("filter=enabled+eq+true"), ["a"]);
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    assert_eq!(cloud.patch(&host, &path, step("/allowedIps", json!(["nowhere"]))).status, 400);
    assert_eq!(cloud.patch(&host, &path, step("/enabled", json!(true))).status, 204);
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK)["enabled"], true);
    assert_eq!((cloud.delete(&host, &path).status, cloud.get(&host, &path).status), (204, 404));
}

#[test]
fn keys_are_registered_used_and_given_up() {
    const PATH: &str = "/api/v1/encryption/keyproviders";
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let key = |number: u32| {
        json!({
            "name": "CMK", "keyprovider": "AWS-KMS",
            "arn": format!("arn:aws:kms:eu-west-1:111122223333:key/mrk-{number}"),
        })
    };
    let made = cloud.post(&host, PATH, key(1)).expect(StatusCode::CREATED);
    assert_eq!(cloud.post(&host, PATH, key(1)).status, 409);
    let single = json!({"name": "x", "keyprovider": "AWS-KMS", "arn": "arn:aws:kms:eu-west-1:111122223333:key/1"});
    assert_eq!(cloud.post(&host, PATH, single).status, 400);
    let path = format!("{PATH}/{}", made["arnFingerPrint"].as_str().unwrap());
    assert_eq!(cloud.patch(&host, &path, step("/name", json!("other"))).status, 204);
    assert_eq!(cloud.post(&host, &format!("{path}/actions/test"), Value::Null).status, 201);
    let current = || {
        let all = cloud.get(&host, &format!("{PATH}/actions/list")).expect(StatusCode::OK);
        let all = all["errors"].as_array().unwrap().clone();
        all.iter().find(|key| key["current"] == true).unwrap()["name"].clone()
    };
    assert_eq!(current(), "Qlik Internal Kms");
    assert_eq!(cloud.get(&host, &format!("{PATH}/migration/actions/details")).status, 404);
    assert_eq!(cloud.post(&host, &format!("{path}/actions/migrate"), Value::Null).status, 200);
    assert_eq!(current(), "other");
    assert_eq!(cloud.post(&host, &format!("{path}/actions/migrate"), Value::Null).status, 412);
    assert_eq!(cloud.delete(&host, &path).status, 400, "it is in use");
    let reset = format!("{PATH}/actions/reset-to-default-provider");
    assert_eq!(cloud.post(&host, &reset, Value::Null).status, 205);
    assert_eq!(cloud.post(&host, &reset, Value::Null).status, 200);
    assert_eq!(current(), "Qlik Internal Kms");
    assert_eq!((cloud.delete(&host, &path).status, cloud.get(&host, &path).status), (204, 404));
}
