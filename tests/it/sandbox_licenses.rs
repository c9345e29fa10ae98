//! The licence of the sandbox: one pool of seats for all tenants.

use http::StatusCode;
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

const ASSIGNMENTS: &str = "/api/v1/licenses/assignments";

fn cloud() -> Cloud {
    Cloud::with(|settings| settings.seats = Some([("professional".into(), 2), ("analyzer".into(), 3)].into()))
}

fn act(cloud: &Cloud, host: &str, action: &str, items: Value) -> Vec<Value> {
    let path = format!("{ASSIGNMENTS}/actions/{action}");
    let answer = cloud.post(host, &path, json!({action: items})).expect(StatusCode::MULTI_STATUS);
    answer["data"].as_array().unwrap().clone()
}

fn used(cloud: &Cloud, host: &str, kind: &str) -> i64 {
    let overview = cloud.get(host, "/api/v1/licenses/overview").expect(StatusCode::OK);
    let allotments = overview["allotments"].as_array().unwrap();
    allotments.iter().find(|allotment| allotment["name"] == kind).unwrap()["unitsUsed"].as_i64().unwrap()
}

#[test]
fn the_overview_has_the_key_and_the_pool() {
    let cloud = cloud();
    let host = cloud.tenant_host();
    let overview = cloud.get(&host, "/api/v1/licenses/overview").expect(StatusCode::OK);
    assert_eq!(overview["licenseKey"], cloud.sandbox.credentials().license_key);
    assert_eq!(overview["licenseNumber"], cloud.sandbox.organization());
    assert_eq!(overview["status"], "Ok");
    assert_eq!(
        overview["allotments"],
        json!([
            {"name": "analyzer", "units": 3, "unitsUsed": 0, "overage": 0, "usageClass": "assigned"},
            {"name": "professional", "units": 2, "unitsUsed": 1, "overage": 0, "usageClass": "assigned"},
        ]),
        "the bot takes one professional seat"
    );
}

#[test]
fn settings_are_replaced_and_echoed_per_tenant() {
    let cloud = cloud();
    let (one, other) = (cloud.tenant_host(), cloud.tenant_host());
    let path = "/api/v1/licenses/settings";
    let on = json!({"autoAssignProfessional": false, "autoAssignAnalyzer": true});
    assert_eq!(cloud.put(&one, path, on.clone()).expect(StatusCode::OK), on);
    assert_eq!(cloud.get(&one, path).expect(StatusCode::OK), on);
    let off = json!({"autoAssignProfessional": false, "autoAssignAnalyzer": false});
    assert_eq!(cloud.get(&other, path).expect(StatusCode::OK), off);
    let wrong = cloud.put(&one, path, json!({"autoAssignAnalyzer": "yes"}));
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.body["error"], "util.Error");
    assert!(wrong.body["message"].is_string() && wrong.body["errors"][0]["code"].is_string());
}

#[test]
fn tenants_share_one_pool_and_each_item_tells_how_it_went() {
    let cloud = cloud();
    let (one, other) = (cloud.tenant_host(), cloud.tenant_host());
    let analyzer = |subject: &str| json!({"subject": subject, "type": "analyzer"});
    let told = act(&cloud, &one, "add", json!([analyzer("hb|1"), analyzer("hb|2")]));
    assert!(told.iter().all(|item| item["status"] == 201), "{told:?}");
    let told = act(&cloud, &other, "add", json!([analyzer("fw|1"), analyzer("fw|2")]));
    assert_eq!(told[0]["status"], 201);
    assert_eq!((&told[1]["status"], &told[1]["code"]), (&json!(403), &json!("LICENSES-011")));
    assert_eq!(used(&cloud, &one, "analyzer"), 3);
    let told = act(
        &cloud,
        &one,
        "add",
        json!([analyzer("hb|1"), {"subject": "hb|1", "type": "professional"}, {"subject": "x", "type": "gold"}]),
    );
    let statuses: Vec<&Value> = told.iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [200, 409, 400]);
    assert_eq!(used(&cloud, &one, "analyzer"), 3);
}

#[test]
fn seats_change_kind_and_owner_and_are_given_back() {
    let cloud = cloud();
    let host = cloud.tenant_host();
    act(&cloud, &host, "add", json!([{"subject": "hb|1", "type": "analyzer"}]));
    let up = json!([{"subject": "hb|1", "sourceType": "analyzer", "type": "professional"}]);
    assert_eq!(act(&cloud, &host, "update", up.clone())[0]["status"], 200);
    assert_eq!((used(&cloud, &host, "professional"), used(&cloud, &host, "analyzer")), (2, 0));
    let told = act(&cloud, &host, "update", up);
    assert_eq!((&told[0]["status"], &told[0]["code"]), (&json!(404), &json!("LICENSES-016")));
    act(&cloud, &host, "add", json!([{"subject": "hb|2", "type": "analyzer"}]));
    let told = act(&cloud, &host, "update", json!([{"subject": "hb|2", "type": "professional"}]));
    assert_eq!(told[0]["code"], "LICENSES-011", "no professional seat is left");
    let told = act(&cloud, &host, "update", json!([{"subject": "hb|3", "sourceSubject": "hb|2"}]));
    assert_eq!(told[0]["status"], 201);
    let gone = json!([{"subject": "hb|3", "type": "analyzer"}]);
    assert_eq!(act(&cloud, &host, "delete", gone.clone())[0]["status"], 200);
    assert_eq!(act(&cloud, &host, "delete", gone)[0]["code"], "LICENSES-016");
    let list = cloud.get(&host, &format!("{ASSIGNMENTS}?limit=1")).expect(StatusCode::OK);
    assert!(list["links"]["next"]["href"].as_str().unwrap().contains("page="));
}

#[test]
fn orphans_are_subjects_the_tenant_does_not_know() {
    let cloud = cloud();
    let host = cloud.tenant_host();
    cloud.post(&host, "/api/v1/users", json!({"subject": "hb|1"})).expect(StatusCode::CREATED);
    let seat = |subject: &str| json!({"subject": subject, "type": "analyzer"});
    act(&cloud, &host, "add", json!([seat("hb|1"), seat("fw|1")]));
    let list = cloud.get(&host, &format!("{ASSIGNMENTS}?orphans=true")).expect(StatusCode::OK);
    let subjects: Vec<&str> =
        list["data"].as_array().unwrap().iter().map(|seat| seat["subject"].as_str().unwrap()).collect();
    assert_eq!(subjects, ["fw|1"]);
}
