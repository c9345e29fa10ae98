//! Audits: every write leaves its event, and the list tells it as the audits API does.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tenantry::sandbox::{Sandbox, State};

use crate::sandbox_support::{Cloud, Hand, REGISTER, settings};

fn events(cloud: &Cloud, host: &str, query: &str) -> Vec<Value> {
    let body = cloud.get(host, &format!("/api/v1/audits?limit=100{query}")).expect(StatusCode::OK);
    body["data"].as_array().unwrap().clone()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["eventType"].as_str().unwrap()).collect()
}

#[test]
fn a_write_leaves_its_event_with_who_did_it_and_what_it_became() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let space = cloud.post(&host, "/api/v1/spaces", json!({"name": "Sales", "type": "shared"}));
    let space = space.expect(StatusCode::CREATED);
    let path = format!("/api/v1/spaces/{}", space["id"].as_str().unwrap());
    let rename = json!([{"op": "replace", "path": "/name", "value": "Sales 2"}]);
    cloud.patch(&host, &path, rename).expect(StatusCode::OK);
    cloud.delete(&host, &path).expect(StatusCode::NO_CONTENT);
    let events = events(&cloud, &host, "");
    assert_eq!(
        names(&events),
        [
            "com.qlik.space.deleted",
            "com.qlik.space.updated",
            "com.qlik.space.created",
            "com.qlik.v1.user.created",
            "com.qlik.license.assignment.updated",
            "com.qlik.tenant.created",
        ],
        "the newest first"
    );
    let me = cloud.get(&host, "/api/v1/users?filter=status%20eq%20%22active%22").expect(StatusCode::OK);
    let me = me["data"][0]["id"].clone();
    let made = &events[2];
    assert_eq!(made["userId"], me);
    assert_eq!(made["source"], "com.qlik/spaces");
    assert_eq!(made["eventTime"], "2026-11-24T08:00:00.000Z");
    assert_eq!(made["data"]["id"], space["id"]);
    assert_eq!(made["data"]["name"], "Sales");
    assert_eq!(
        events[1]["extensions"]["updates"],
        json!([{"property": "name", "oldValue": "Sales", "newValue": "Sales 2"}])
    );
    let one = made["links"]["self"]["href"].as_str().unwrap().strip_prefix(&format!("https://{host}")).unwrap();
    assert_eq!(cloud.get(&host, one).expect(StatusCode::OK), *made);
    cloud.get(&host, "/api/v1/audits/000000000000000000000000").expect(StatusCode::NOT_FOUND);
    cloud.get(&host, "/api/v1/audits/none").expect(StatusCode::NOT_FOUND);
}

#[test]
fn what_changes_nothing_or_is_refused_leaves_none() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    cloud.post(&host, "/api/v1/spaces", json!({"name": "Sales", "type": "shared"})).expect(StatusCode::CREATED);
    let before = events(&cloud, &host, "");
    cloud.post(&host, "/api/v1/spaces", json!({"name": "Sales", "type": "shared"})).expect(StatusCode::CONFLICT);
    cloud.get(&host, "/api/v1/spaces").expect(StatusCode::OK);
    assert_eq!(events(&cloud, &host, ""), before);
}

#[test]
fn the_list_is_filtered_sorted_and_paged() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for number in 0..12 {
        cloud.clock.forward(Duration::from_secs(60));
        let body = json!({"name": format!("Space {number}"), "type": "shared"});
        cloud.post(&host, "/api/v1/spaces", body).expect(StatusCode::CREATED);
    }
    let made = events(&cloud, &host, "&eventType=com.qlik.space.created");
    assert_eq!(made.len(), 12);
    assert!(events(&cloud, &host, "&eventType=com.qlik.SPACE.created").is_empty(), "case counts");
    assert_eq!(events(&cloud, &host, "&source=com.qlik/spaces"), made);
    let bot = made[0]["userId"].as_str().unwrap();
    assert_eq!(events(&cloud, &host, &format!("&userId={bot}")).len(), 13, "the spaces and the bot itself");
    let span = "&eventTime=2026-11-24T08:02:00Z/2026-11-24T08:03:00.000Z";
    assert_eq!(events(&cloud, &host, span).len(), 2);
    let two = format!("&id={},{}", made[3]["id"].as_str().unwrap(), made[7]["id"].as_str().unwrap());
    assert_eq!(events(&cloud, &host, &two), [made[3].clone(), made[7].clone()]);
    let rising = events(&cloud, &host, "&eventType=com.qlik.space.created&sort=%2BeventTime");
    assert!(rising.iter().rev().eq(made.iter()));

    let first = cloud.get(&host, "/api/v1/audits?source=com.qlik/spaces").expect(StatusCode::OK);
    assert_eq!(first["data"].as_array().unwrap().len(), 10);
    let next = first["links"]["next"]["href"].as_str().unwrap().strip_prefix(&format!("https://{host}")).unwrap();
    let second = cloud.get(&host, next).expect(StatusCode::OK);
    assert_eq!(second["data"], json!(made[10..]));
    assert!(second["links"].get("next").is_none());

    for wrong in ["eventTime=yesterday", "sort=userId", "limit=101"] {
        cloud.get(&host, &format!("/api/v1/audits?{wrong}")).expect(StatusCode::BAD_REQUEST);
    }
}

#[test]
fn what_is_older_than_ninety_days_is_in_the_archive_only() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    cloud.post(&host, "/api/v1/spaces", json!({"name": "Sales", "type": "shared"})).expect(StatusCode::CREATED);
    let path = "/api/v1/audits/archive?date=2026-11-24";
    assert_eq!(cloud.get(&host, path).expect(StatusCode::OK)["data"], json!([]), "not yet");
    let id = events(&cloud, &host, "")[0]["id"].as_str().unwrap().to_owned();
    cloud.clock.forward(Duration::from_secs(90 * 86_400));
    assert!(events(&cloud, &host, "").is_empty());
    cloud.get(&host, &format!("/api/v1/audits/{id}")).expect(StatusCode::NOT_FOUND);
    let old = cloud.get(&host, path).expect(StatusCode::OK);
    assert_eq!(old["data"].as_array().unwrap().len(), 4);
    assert_eq!(old["data"][3]["eventType"], "com.qlik.space.created");
    assert_eq!(cloud.get(&host, "/api/v1/audits/archive?date=2026-11-23").expect(StatusCode::OK)["data"], json!([]));
    cloud.get(&host, "/api/v1/audits/archive?date=lately").expect(StatusCode::BAD_REQUEST);
    let settings = cloud.get(&host, "/api/v1/audits/settings").expect(StatusCode::OK);
    assert_eq!(settings, json!({"data": {"EventTTL": 7_776_000, "ArchiveEnabled": true}}));
}

#[test]
fn a_tenant_that_came_back_tells_of_its_end() {
    let cloud = Cloud::new();
    let tenant = cloud.tenant();
    let (id, host) = (tenant["id"].as_str().unwrap(), tenant["hostnames"][0].as_str().unwrap());
    for act in ["deactivate", "reactivate"] {
        let path = format!("/api/v1/tenants/{id}/actions/{act}");
        let bearer = format!("Bearer {}", cloud.token(REGISTER));
        let headers =
            [("authorization", &*bearer), ("content-type", "application/json"), ("qlik-confirm-hostname", host)];
        cloud.send(&Method::POST, REGISTER, &path, &headers, "{}".into()).expect(StatusCode::OK);
    }
    let ends = events(&cloud, host, "&eventType=com.qlik.v1.tenant.deactivated");
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0]["data"]["hostnames"], json!([host]));
    assert_eq!(names(&events(&cloud, host, "&eventType=com.qlik.v1.tenant.reactivated")).len(), 1);
}

#[test]
fn types_and_sources_name_what_there_is() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let settings = json!({"autoAssignProfessional": false, "autoAssignAnalyzer": false});
    cloud.put(&host, "/api/v1/licenses/settings", settings).expect(StatusCode::OK);
    let named = names(&events(&cloud, &host, "&source=com.qlik/licenses")).join(" ");
    assert!(named.starts_with("com.qlik.v1.license.updated"), "after its operation: {named}");
    let list = |path: &str| cloud.get(&host, path).expect(StatusCode::OK)["data"].as_array().unwrap().clone();
    let (types, sources) = (list("/api/v1/audits/types"), list("/api/v1/audits/sources"));
    for event in events(&cloud, &host, "") {
        assert!(types.contains(&event["eventType"]) && sources.contains(&event["source"]), "{event}");
    }
    assert!(types.contains(&json!("com.qlik.v1.user.created")), "also what has not happened yet");
    let refused = cloud.post(&host, "/api/v1/audits/actions/fetch-consumption-app", Value::Null);
    refused.expect(StatusCode::FORBIDDEN);
}

#[test]
fn no_event_tells_a_secret() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let client = json!({"appType": "web", "clientName": "embed", "allowedScopes": ["user_default"]});
    let client = cloud.post(&host, "/api/v1/oauth-clients", client).expect(StatusCode::CREATED);
    let secret = client["clientSecret"].as_str().unwrap();
    let told = json!(events(&cloud, &host, "")).to_string();
    assert!(told.contains("com.qlik.v1.oauth-client.secret.created"), "{told}");
    assert!(!told.contains(secret));
}

#[test]
fn a_tenant_keeps_its_latest_thousand() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let bearer = format!("Bearer {}", cloud.token(&host));
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    for number in 0..1_010 {
        let body = json!({"autoAssignProfessional": number % 2 == 0, "autoAssignAnalyzer": false}).to_string();
        cloud.send_unchecked(&Method::PUT, &host, "/api/v1/licenses/settings", &headers, body.into());
    }
    let all = cloud.sandbox.snapshot().to_json();
    let kept = all["audits"].as_object().unwrap().values().next().unwrap().as_array().unwrap();
    assert_eq!(kept.len(), 1_000);
    assert_eq!(kept[999]["number"], 1_013, "the tenant, its bot and its seat came before");
}

#[test]
fn events_are_kept_with_the_state() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Hand::at("2026-11-24T08:00:00Z");
    let open = || Sandbox::open(&folder.path().join("sandbox.db"), settings(&clock)).unwrap();
    let cloud = Cloud { sandbox: open(), clock: clock.clone() };
    let host = cloud.tenant_host();
    cloud.post(&host, "/api/v1/spaces", json!({"name": "Sales", "type": "shared"})).expect(StatusCode::CREATED);
    let told = events(&cloud, &host, "");
    assert_eq!(told.len(), 4);
    drop(cloud);
    let cloud = Cloud { sandbox: open(), clock };
    assert_eq!(events(&cloud, &host, ""), told);
    let state = cloud.sandbox.snapshot();
    assert_eq!(State::from_json(&state.to_json()).unwrap(), state);
}
