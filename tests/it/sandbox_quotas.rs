//! Quotas of a tenant, and the one on imported apps.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tenantry::sandbox::Edition;

use crate::sandbox_support::{Cloud, Reply};

fn import(cloud: &Cloud, host: &str, bearer: &str) -> Reply {
    let headers = [("authorization", bearer), ("content-type", "application/octet-stream")];
    cloud.send(&Method::POST, host, "/api/v1/apps/import", &headers, r#"{"name": "One"}"#.into())
}

#[test]
fn quotas_tell_the_limits_and_on_request_the_usage() {
    let cloud = Cloud::with(|settings| settings.edition = Some(Edition::Standard));
    let host = cloud.tenant_host();
    cloud.post(&host, "/api/v1/spaces", json!({"name": "Sales", "type": "shared"})).expect(StatusCode::CREATED);
    let limits = cloud.get(&host, "/api/v1/quotas").expect(StatusCode::OK);
    let of = |body: &Value, id: &str| {
        body["data"].as_array().unwrap().iter().find(|quota| quota["id"] == id).unwrap()["attributes"].clone()
    };
    let memory = json!({"unit": "bytes", "quota": 5_368_709_120_u64, "warningThresholds": [0.9]});
    assert_eq!(of(&limits, "app_mem_size"), memory);
    assert_eq!(of(&limits, "shared_spaces"), json!({"unit": "spaces", "quota": -1}));
    let used = cloud.get(&host, "/api/v1/quotas?reportUsage=true").expect(StatusCode::OK);
    assert_eq!(of(&used, "shared_spaces")["usage"], 1);
    let one = cloud.get(&host, "/api/v1/quotas/shared_spaces?reportUsage=true").expect(StatusCode::OK);
    assert_eq!(one["data"].as_array().unwrap().len(), 1);
    assert_eq!(of(&one, "shared_spaces"), of(&used, "shared_spaces"));
    cloud.get(&host, "/api/v1/quotas/moons").expect(StatusCode::NOT_FOUND);
}

#[test]
fn a_tenant_imports_so_many_apps_a_day_and_no_more() {
    let cloud = Cloud::with(|settings| settings.edition = Some(Edition::Starter));
    let host = cloud.tenant_host();
    let bearer = format!("Bearer {}", cloud.token(&host));
    for _ in 0..300 {
        import(&cloud, &host, &bearer).expect(StatusCode::OK);
    }
    let refused = import(&cloud, &host, &bearer);
    assert_eq!((refused.status, &*refused.code()), (403, "HTTP-403"));
    assert!(refused.body["errors"][0]["detail"].as_str().unwrap().contains("300 apps today"));
    assert!(refused.body.get("traceId").is_none(), "the apps service tells none");
    let other = cloud.tenant_host();
    let there = format!("Bearer {}", cloud.token(&other));
    import(&cloud, &other, &there).expect(StatusCode::OK);
    cloud.clock.forward(Duration::from_secs(16 * 3_600));
    let bearer = format!("Bearer {}", cloud.token(&host));
    import(&cloud, &host, &bearer).expect(StatusCode::OK);
}

#[test]
fn no_minutes_are_consumed() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = cloud.get(&host, "/api/v1/licenses/consumption").expect(StatusCode::OK);
    assert_eq!(body["data"], json!([]));
    cloud.get(&host, "/api/v1/licenses/consumption?limit=201").expect(StatusCode::BAD_REQUEST);
    let filter = "filter=userId%20eq%20%22x%22";
    cloud.get(&host, &format!("/api/v1/licenses/consumption?{filter}")).expect(StatusCode::BAD_REQUEST);
}
