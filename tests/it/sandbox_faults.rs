//! Faults in the sandbox: the same on both roads, in this process and over HTTP.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tenantry::contract::contract;
use tenantry::interpreter::{Embedded, Interpreter as _};
use tenantry::operation::{Body, Effect, FailureKind, Host};
use tenantry::sandbox::{
    Arrival, Chance, Fault, FaultFile, Faults, Listed, Rates, Recorded, Sandbox, Settings, Touch, listen,
};
use tenantry::surroundings::Random;
use tokio::sync::oneshot;

use crate::live::{key, operation, secrets, with};
use crate::sandbox_support::{Cloud, Hand};

/// A cloud with one tenant and a token there, made before any fault strikes.
struct Struck {
    cloud: Cloud,
    record: Recorded,
    host: String,
    token: String,
}

impl Struck {
    fn by(faults: impl Faults + 'static) -> Self {
        let record = Recorded::new(Arc::new(faults));
        let kept = record.clone();
        let cloud = Cloud::with(move |settings| settings.faults = Some(Arc::new(kept)));
        let host = cloud.tenant_host();
        let token = cloud.token(&host);
        Self { cloud, record, host, token }
    }

    fn listed(list: &[(u64, &str)]) -> Self {
        Self::by(Listed::new(list.iter().map(|(ordinal, fault)| (*ordinal, fault.parse::<Fault>().unwrap()))))
    }

    fn spaces(&self) -> Vec<String> {
        names(&self.cloud.get(&self.host, "/api/v1/spaces").expect(StatusCode::OK))
    }
}

fn names(list: &Value) -> Vec<String> {
    list["data"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

/// What came back over a road; none when the connection was lost.
type Came = Option<(StatusCode, HeaderMap, Value)>;

async fn in_process(struck: &Struck, method: &Method, path: &str, body: &Value) -> Came {
    let request = Request::builder()
        .method(method)
        .uri(format!("https://{}{path}", struck.host))
        .header("authorization", format!("Bearer {}", struck.token))
        .header("content-type", "application/json")
        .body(if body.is_null() { bytes::Bytes::new() } else { body.to_string().into() })
        .unwrap();
    let (head, body) = struck.cloud.sandbox.exchange(request).await?.into_parts();
    Some((head.status, head.headers, serde_json::from_slice(&body).unwrap_or_default()))
}

/// The sandbox over HTTP, until it is dropped.
struct Served {
    base: String,
    _stop: oneshot::Sender<()>,
}

async fn serve(sandbox: &Sandbox) -> Served {
    let listeners = listen(0).await.unwrap();
    let base = format!("http://{}", listeners[0].local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let sandbox = sandbox.clone();
    tokio::spawn(async move { sandbox.serve(listeners, async { drop(stopped.await) }).await });
    Served { base, _stop: stop }
}

async fn over_http(struck: &Struck, served: &Served, method: &Method, path: &str, body: &Value) -> Came {
    let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let mut request =
        client.request(method.clone(), format!("{}/{}{path}", served.base, struck.host)).bearer_auth(&struck.token);
    if !body.is_null() {
        request = request.json(body);
    }
    let answer = request.send().await.ok()?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    Some((status, headers, answer.json().await.unwrap_or_default()))
}

/// How a create ends under a fault, and whether the space is there afterwards.
async fn a_create_under(fault: &str, check: impl Fn(Came, bool)) {
    let body = json!({"name": "Staging", "type": "shared"});
    let struck = Struck::listed(&[(1, fault)]);
    let came = in_process(&struck, &Method::POST, "/api/v1/spaces", &body).await;
    check(came, struck.spaces() == ["Staging"]);

    let struck = Struck::listed(&[(1, fault)]);
    let served = serve(&struck.cloud.sandbox).await;
    let came = over_http(&struck, &served, &Method::POST, "/api/v1/spaces", &body).await;
    check(came, struck.spaces() == ["Staging"]);
}

#[tokio::test]
async fn what_is_refused_was_not_done() {
    a_create_under("refused:403:HTTP-403", |came, done| {
        let (status, _, body) = came.unwrap();
        assert_eq!((status, &body["code"], done), (StatusCode::FORBIDDEN, &json!("HTTP-403"), false));
    })
    .await;
    a_create_under("limited:13", |came, done| {
        let (status, headers, body) = came.unwrap();
        assert_eq!((status, done), (StatusCode::TOO_MANY_REQUESTS, false));
        assert_eq!(headers["retry-after"], "13");
        assert_eq!(body["errors"][0]["detail"], "You need to wait 13 seconds until limit is lifted.");
    })
    .await;
    a_create_under("expired", |came, done| {
        assert_eq!((came.unwrap().0, done), (StatusCode::UNAUTHORIZED, false));
    })
    .await;
}

#[tokio::test]
async fn a_broken_answer_says_nothing_about_what_was_done() {
    for (fault, did) in [("failed:503", false), ("failed-done:503", true)] {
        a_create_under(fault, |came, done| {
            assert_eq!((came.unwrap().0, done), (StatusCode::SERVICE_UNAVAILABLE, did), "{fault}");
        })
        .await;
    }
    for (fault, did) in [("lost", false), ("lost-done", true)] {
        a_create_under(fault, |came, done| {
            assert!(came.is_none(), "{fault}: {came:?}");
            assert_eq!(done, did, "{fault}");
        })
        .await;
    }
}

#[tokio::test]
async fn only_the_request_of_its_number_is_struck() {
    let struck = Struck::listed(&[(2, "lost")]);
    for (number, name) in ["One", "Two", "Three"].into_iter().enumerate() {
        let body = json!({"name": name, "type": "shared"});
        let came = in_process(&struck, &Method::POST, "/api/v1/spaces", &body).await;
        assert_eq!(came.is_none(), number == 1);
    }
    assert_eq!(struck.spaces(), ["One", "Three"]);
}

#[tokio::test]
async fn a_stale_read_shows_what_was_there_before() {
    let struck = Struck::listed(&[(1, "stale:1"), (2, "stale:2"), (3, "stale:1000")]);
    for name in ["One", "Two", "Three"] {
        struck.cloud.post(&struck.host, "/api/v1/spaces", json!({"name": name, "type": "shared"}));
    }
    // What happens in another tenant is no change of this one.
    let other = struck.cloud.tenant_host();
    struck.cloud.post(&other, "/api/v1/spaces", json!({"name": "Elsewhere", "type": "shared"}));
    let served = serve(&struck.cloud.sandbox).await;
    let mut seen = Vec::new();
    for _ in 0..4 {
        let (status, _, body) =
            over_http(&struck, &served, &Method::GET, "/api/v1/spaces", &Value::Null).await.unwrap();
        assert_eq!(status, StatusCode::OK, "whoever asks was there all the time");
        seen.push(names(&body).len());
    }
    assert_eq!(seen, [2, 1, 0, 3]);
}

#[tokio::test]
async fn what_was_done_some_seconds_ago_is_shown_to_all() {
    let struck = Struck::listed(&[(1, "stale:5"), (2, "stale:5")]);
    struck.cloud.post(&struck.host, "/api/v1/spaces", json!({"name": "One", "type": "shared"}));
    struck.cloud.clock.forward(Duration::from_secs(5));
    struck.cloud.post(&struck.host, "/api/v1/spaces", json!({"name": "Two", "type": "shared"}));
    let mut seen = Vec::new();
    for _ in 0..2 {
        let (_, _, body) = in_process(&struck, &Method::GET, "/api/v1/spaces", &Value::Null).await.unwrap();
        seen.push(names(&body));
        struck.cloud.clock.forward(Duration::from_secs(4));
    }
    assert_eq!(seen, [vec![], vec!["One".to_owned()]]);
}

#[tokio::test]
async fn a_stale_write_works_on_what_is_there() {
    let struck = Struck::listed(&[(1, "stale:5")]);
    struck.cloud.post(&struck.host, "/api/v1/spaces", json!({"name": "One", "type": "shared"}));
    let body = json!({"name": "One", "type": "shared"});
    let (status, ..) = in_process(&struck, &Method::POST, "/api/v1/spaces", &body).await.unwrap();
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(struck.spaces(), ["One"]);
}

#[tokio::test(start_paused = true)]
async fn a_late_request_is_done_by_the_runtimes_clock() {
    let struck = Struck::listed(&[(1, "late:1500")]);
    let came = tokio::time::Instant::now();
    let body = json!({"name": "One", "type": "shared"});
    let late = in_process(&struck, &Method::POST, "/api/v1/spaces", &body);
    let mut late = std::pin::pin!(late);
    assert!(tokio::time::timeout(Duration::from_millis(1499), late.as_mut()).await.is_err());
    assert_eq!(struck.spaces(), [""; 0]);
    assert_eq!(late.await.unwrap().0, StatusCode::CREATED);
    assert_eq!(came.elapsed(), Duration::from_millis(1500));
}

#[tokio::test(start_paused = true)]
async fn a_late_request_arrives_although_nobody_waits_for_it() {
    let struck = Struck::listed(&[(1, "late:1500")]);
    let body = json!({"name": "One", "type": "shared"});
    let late = in_process(&struck, &Method::POST, "/api/v1/spaces", &body);
    assert!(tokio::time::timeout(Duration::from_millis(10), late).await.is_err());
    assert_eq!(struck.spaces(), [""; 0]);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(struck.spaces(), ["One"]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_never_answered() {
    for (fault, done) in [("silent", false), ("silent-done", true)] {
        let struck = Struck::listed(&[(1, fault)]);
        let body = json!({"name": "One", "type": "shared"});
        let asked = in_process(&struck, &Method::POST, "/api/v1/spaces", &body);
        assert!(tokio::time::timeout(Duration::from_secs(86_400), asked).await.is_err());
        assert_eq!(!struck.spaces().is_empty(), done);
    }
}

#[tokio::test]
async fn an_answer_breaks_off_although_all_was_done() {
    let body = json!({"name": "Staging", "type": "shared"});
    let struck = Struck::listed(&[(1, "cut:10")]);
    let request = Request::post(format!("https://{}/api/v1/spaces", struck.host))
        .header("authorization", format!("Bearer {}", struck.token))
        .header("content-type", "application/json")
        .body(body.to_string().into())
        .unwrap();
    let came = struck.cloud.sandbox.exchange(request).await.unwrap();
    assert_eq!((came.status(), came.body().len()), (StatusCode::CREATED, 10));
    let told: usize = came.headers()["content-length"].to_str().unwrap().parse().unwrap();
    assert!(told > 10);
    assert_eq!(struck.spaces(), ["Staging"]);

    let struck = Struck::listed(&[(1, "cut:10")]);
    let served = serve(&struck.cloud.sandbox).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = client.post(format!("{}/{}/api/v1/spaces", served.base, struck.host)).bearer_auth(&struck.token);
    let answer = asked.json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert!(answer.bytes().await.is_err(), "its body ends in the middle");
    assert_eq!(struck.spaces(), ["Staging"]);
    // What has no body cannot break off.
    let space = struck.cloud.get(&struck.host, "/api/v1/spaces").body["data"][0]["id"].clone();
    let path = format!("/api/v1/spaces/{}", space.as_str().unwrap());
    assert_eq!(in_process(&struck, &Method::DELETE, &path, &Value::Null).await.unwrap().0, StatusCode::NO_CONTENT);
}

#[tokio::test(start_paused = true)]
async fn a_slow_body_takes_its_time() {
    let struck = Struck::listed(&[(1, "slow:4000")]);
    let began = tokio::time::Instant::now();
    let came = in_process(&struck, &Method::GET, "/api/v1/spaces", &Value::Null).await.unwrap();
    assert_eq!((came.0, &came.2["data"]), (StatusCode::OK, &json!([])));
    assert_eq!(began.elapsed(), Duration::from_secs(4));
}

#[tokio::test]
async fn the_head_of_a_slow_answer_comes_at_once() {
    let struck = Struck::listed(&[(1, "slow:3600000"), (2, "slow:8")]);
    let served = serve(&struck.cloud.sandbox).await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let ask = || client.get(format!("{}/{}/api/v1/users", served.base, struck.host)).bearer_auth(&struck.token).send();
    assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    let body: Value = ask().await.unwrap().json().await.unwrap();
    assert_eq!(body["data"].as_array().unwrap().len(), 1, "it is whole in the end");
}

#[tokio::test]
async fn one_of_several_is_refused_and_the_others_are_done() {
    let struck = Struck::listed(&[(1, "partly:403:LICENSES-011"), (2, "partly:503:HTTP-503"), (4, "partly:403:X")]);
    let path = "/api/v1/licenses/assignments/actions/add";
    let seat = |subject: &str| json!({"subject": subject, "type": "analyzer"});
    let body = json!({"add": [seat("hb|1"), seat("hb|2")]});
    let (status, _, answer) = in_process(&struck, &Method::POST, path, &body).await.unwrap();
    assert_eq!(status, StatusCode::MULTI_STATUS);
    assert_eq!((&answer["data"][0]["status"], &answer["data"][0]["subject"]), (&json!(201), &json!("hb|1")));
    assert_eq!((&answer["data"][1]["status"], &answer["data"][1]["code"]), (&json!(403), &json!("LICENSES-011")));
    let published = contract().operation("addLicenseAssignments").unwrap();
    published.check_response(207, Some(&answer), tenantry::contract::Strictness::Exact).unwrap();
    let (status, _, answer) = in_process(&struck, &Method::POST, path, &json!({"add": [seat("hb|3")]})).await.unwrap();
    assert_eq!((status, &answer["data"][0]["status"]), (StatusCode::MULTI_STATUS, &json!(503)));
    let listed = in_process(&struck, &Method::GET, "/api/v1/licenses/assignments", &Value::Null).await.unwrap().2;
    let subjects: Vec<&str> =
        listed["data"].as_array().unwrap().iter().map(|seat| seat["subject"].as_str().unwrap()).collect();
    assert!(subjects.contains(&"hb|1") && !subjects.contains(&"hb|2") && !subjects.contains(&"hb|3"), "{subjects:?}");
    let other = json!({"name": "Staging", "type": "shared"});
    let came = in_process(&struck, &Method::POST, "/api/v1/spaces", &other).await.unwrap();
    assert_eq!(came.0, StatusCode::CREATED, "nothing else is answered for several things");
}

#[tokio::test]
async fn a_disabled_tenant_says_so_with_both_codes() {
    let struck = Struck::listed(&[(1, "disabled"), (2, "disabled"), (3, "disabled")]);
    let code = |came: Came| {
        let (status, _, body) = came.unwrap();
        (status, body["errors"][0]["code"].as_str().unwrap_or_default().to_owned())
    };
    let refused = |code: &str| (StatusCode::UNAUTHORIZED, code.to_owned());
    let spaces = in_process(&struck, &Method::GET, "/api/v1/spaces", &Value::Null).await;
    assert_eq!(code(spaces), refused("TENANT_DISABLED"));
    let token = in_process(&struck, &Method::POST, "/oauth/token", &json!({})).await;
    assert_eq!(code(token), refused("TENANT_DEACTIVATED"));
    let register = Struck { host: crate::sandbox_support::REGISTER.to_owned(), ..struck };
    let came = in_process(&register, &Method::GET, "/resources/autogenerated/product-info.json", &Value::Null).await;
    assert_eq!(came.unwrap().0, StatusCode::OK, "only a tenant can be disabled");
}

#[tokio::test]
async fn each_road_to_a_sandbox_has_its_own_faults() {
    let struck = Struck::listed(&[]);
    let broken = Recorded::new(Arc::new(Listed::new([(2, Fault::Lost { done: true })])));
    let road = struck.cloud.sandbox.through(Arc::new(broken.clone()));
    let request = |name: &str| {
        Request::post(format!("https://{}/api/v1/spaces", struck.host))
            .header("authorization", format!("Bearer {}", struck.token))
            .header("content-type", "application/json")
            .body(json!({"name": name, "type": "shared"}).to_string().into())
            .unwrap()
    };
    // Requests are counted over all roads.
    assert!(struck.cloud.sandbox.exchange(request("One")).await.is_some());
    assert!(road.exchange(request("Two")).await.is_none());
    assert!(struck.cloud.sandbox.exchange(request("Three")).await.is_some());
    assert_eq!(struck.spaces(), ["One", "Two", "Three"]);
    assert_eq!((struck.record.served().len(), broken.served().len()), (2, 1));
}

#[tokio::test]
async fn what_was_done_is_kept_in_order() {
    let struck = Struck::listed(&[(2, "lost"), (3, "failed-done:500"), (5, "limited:1")]);
    let space = |name: &str| json!({"name": name, "type": "shared"});
    in_process(&struck, &Method::POST, "/api/v1/spaces", &space("One")).await;
    in_process(&struck, &Method::POST, "/api/v1/spaces", &space("Two")).await;
    in_process(&struck, &Method::POST, "/api/v1/spaces", &space("Three")).await;
    in_process(&struck, &Method::POST, "/api/v1/spaces", &space("One")).await;
    in_process(&struck, &Method::GET, "/api/v1/spaces", &Value::Null).await;
    let told: Vec<String> = struck
        .record
        .served()
        .into_iter()
        .map(|served| {
            assert_eq!(served.host, struck.host);
            let made: Vec<String> = served.touched.iter().map(|one| format!("{:?} {}", one.how, one.subject)).collect();
            let status = served.status.map_or("-".to_owned(), |status| status.as_u16().to_string());
            format!("{} {} {status} {}", served.ordinal, served.operation, made.join(","))
        })
        .collect();
    assert_eq!(
        told,
        [
            "1 createSpace 201 Made One shared",
            "2 createSpace - ",
            "3 createSpace 201 Made Three shared",
            "4 createSpace 409 ",
            "5 getSpaces - ",
        ]
    );
    let again = [(2, "lost"), (3, "failed-done:500"), (5, "limited:1")];
    let again = Listed::new(again.map(|(ordinal, fault)| (ordinal, fault.parse::<Fault>().unwrap())));
    assert_eq!(struck.record.list(), again);
}

#[tokio::test]
async fn changes_and_removals_are_told_apart() {
    let struck = Struck::listed(&[]);
    let body = json!({"name": "One", "type": "shared"});
    let (_, _, made) = in_process(&struck, &Method::POST, "/api/v1/spaces", &body).await.unwrap();
    let path = format!("/api/v1/spaces/{}", made["id"].as_str().unwrap());
    let change = json!([{"op": "replace", "path": "/name", "value": "Other"}]);
    in_process(&struck, &Method::PATCH, &path, &change).await;
    in_process(&struck, &Method::DELETE, &path, &Value::Null).await;
    let touched: Vec<(Touch, String)> = struck
        .record
        .served()
        .into_iter()
        .flat_map(|served| served.touched)
        .filter(|one| one.collection == "spaces")
        .map(|one| (one.how, one.subject))
        .collect();
    let told = |touch, name: &str| (touch, format!("{name} shared"));
    assert_eq!(touched, [told(Touch::Made, "One"), told(Touch::Changed, "Other"), told(Touch::Removed, "Other")]);
}

fn embedded(list: &[(u64, &str)]) -> (Sandbox, Embedded, Recorded) {
    let listed = Listed::new(list.iter().map(|(ordinal, fault)| (*ordinal, fault.parse::<Fault>().unwrap())));
    let record = Recorded::new(Arc::new(listed));
    let clock = Arc::new(Hand::at("2026-11-24T08:00:00Z"));
    let settings = Settings {
        clock: clock.clone(),
        random: Random::from_seed(7),
        faults: Some(Arc::new(record.clone())),
        ..Settings::default()
    };
    let sandbox = Sandbox::in_memory(settings);
    let embedded = Embedded::new(sandbox.clone(), secrets(), clock, Random::from_seed(2));
    (sandbox, embedded, record)
}

fn create_tenant(sandbox: &Sandbox) -> tenantry::operation::Operation {
    with(operation("createTenant", Effect::Create, Method::POST, "/api/v1/tenants"), |request| {
        request.host = Host::Register("eu".to_owned());
        request.body = Body::Json(json!({ "licenseKey": sandbox.credentials().license_key }));
    })
}

#[tokio::test(start_paused = true)]
async fn the_client_sees_what_a_lost_connection_means() {
    let faults = [("lost", 0), ("lost-done", 1), ("failed:502", 0), ("failed-done:502", 1), ("cut:20", 1)];
    for (fault, tenants) in faults {
        // The first request fetches a token.
        let (sandbox, embedded, _) = embedded(&[(2, fault)]);
        let create = create_tenant(&sandbox);
        let failure = embedded.perform(&key(&create), &create).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown, "{fault}: {failure}");
        assert_eq!(sandbox.snapshot().tenants().len(), tenants, "{fault}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_client_goes_on_after_an_expired_token_and_a_storm_of_refusals() {
    let (sandbox, embedded, record) = embedded(&[(2, "expired"), (4, "limited:5"), (5, "limited:7")]);
    let create = create_tenant(&sandbox);
    embedded.perform(&key(&create), &create).await.unwrap();
    let asked: Vec<&str> = record.served().iter().map(|served| served.operation).collect();
    let (token, create) = ("requestOauthToken", "createTenant");
    assert_eq!(asked, [token, create, token, create, create, create]);
    assert_eq!(sandbox.snapshot().tenants().len(), 1);
}

#[test]
fn faults_are_written_in_one_word() {
    let words = [
        "refused:409:GROUPS-4",
        "limited:13",
        "failed:500",
        "failed-done:504",
        "lost",
        "lost-done",
        "silent",
        "silent-done",
        "expired",
        "stale:3",
        "cut:40",
        "slow:250",
        "partly:403:LICENSES-011",
        "disabled",
        "late:250",
    ];
    for word in words {
        assert_eq!(word.parse::<Fault>().unwrap().to_string(), word);
    }
    for wrong in ["", "los", "lost:1", "limited", "limited:x", "failed:403", "refused:503:X", "refused:403", "stale:-1"]
        .into_iter()
        .chain(["cut", "cut:-1", "slow:soon", "partly:200:X", "partly:403", "disabled:1"])
    {
        let error = wrong.parse::<Fault>().unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{wrong}` is not a fault: write refused:")), "{error}");
    }
}

fn drawn(seed: u64, rates: Rates) -> Vec<Option<Fault>> {
    let chance = Chance::new(seed, rates);
    let arrival = |ordinal| Arrival { ordinal, operation: "createSpace", method: &Method::POST, host: "x" };
    (1..=3000).map(|ordinal| chance.strike(&arrival(ordinal))).collect()
}

#[test]
fn chance_is_the_same_for_the_same_seed_and_keeps_to_its_rates() {
    let rates = Rates {
        refused: 0.08,
        limited: 0.08,
        storms: 0.0,
        failed: 0.08,
        failed_done: 0.08,
        lost: 0.08,
        lost_done: 0.08,
        expired: 0.08,
        stale: 0.08,
        late: 0.08,
        cut: 0.08,
        slow: 0.0,
        partly: 0.0,
        disabled: 0.0,
    };
    assert_eq!(drawn(1, rates), drawn(1, rates));
    assert_ne!(drawn(1, rates), drawn(2, rates));
    assert!(drawn(1, Rates::default()).iter().all(Option::is_none));
    let all = drawn(1, rates);
    let count = |kind: fn(&Fault) -> bool| all.iter().flatten().filter(|fault| kind(fault)).count();
    let kinds: [fn(&Fault) -> bool; 10] = [
        |fault| matches!(fault, Fault::Refused { .. }),
        |fault| matches!(fault, Fault::Limited { .. }),
        |fault| matches!(fault, Fault::Failed { done: false, .. }),
        |fault| matches!(fault, Fault::Failed { done: true, .. }),
        |fault| matches!(fault, Fault::Lost { done: false }),
        |fault| matches!(fault, Fault::Lost { done: true }),
        |fault| matches!(fault, Fault::Expired),
        |fault| matches!(fault, Fault::Stale { .. }),
        |fault| matches!(fault, Fault::Late { .. }),
        |fault| matches!(fault, Fault::Cut { .. }),
    ];
    let rest = drawn(1, Rates { slow: 0.3, partly: 0.3, disabled: 0.4, ..Rates::default() });
    let others = |kind: fn(&Fault) -> bool| rest.iter().flatten().filter(|fault| kind(fault)).count();
    assert!((800..1000).contains(&others(|fault| matches!(fault, Fault::Slow { .. }))));
    assert!((800..1000).contains(&others(|fault| matches!(fault, Fault::Partly { .. }))));
    assert!((1100..1300).contains(&others(|fault| *fault == Fault::Disabled)));
    for kind in kinds {
        assert!((150..350).contains(&count(kind)), "{all:?}");
    }
    let published = contract().operation("createSpace").unwrap();
    for fault in all.iter().flatten() {
        if let Fault::Refused { status, .. } = fault {
            assert!(published.statuses.contains(&status.as_str()), "{fault}");
        }
    }
}

#[test]
fn a_storm_takes_requests_in_a_row() {
    let all = drawn(3, Rates { storms: 0.2, ..Rates::default() });
    let struck: Vec<usize> = (1..=3000).filter(|ordinal| all[ordinal - 1].is_some()).collect();
    let blocks: std::collections::BTreeSet<usize> = struck.iter().map(|ordinal| ordinal / 6).collect();
    assert!((60..140).contains(&blocks.len()), "{}", blocks.len());
    let whole = |block: &&usize| **block != 0 && **block != 500;
    for block in blocks.iter().filter(whole) {
        assert!((block * 6..block * 6 + 6).all(|ordinal| all[ordinal - 1].is_some()), "{block}");
    }
}

#[test]
fn a_file_of_faults_strikes_by_operation_and_by_chance() {
    let file = FaultFile::parse(
        r#"
        [[strike]]
        operation = "createSpace"
        from = 2
        times = 2
        fault = "failed-done:503"

        [[strike]]
        from = 5
        fault = "limited:3"
        "#,
    )
    .unwrap();
    let mut ordinal = 0;
    let mut strike = |operation| {
        ordinal += 1;
        let arrival = Arrival { ordinal, operation, method: &Method::POST, host: "h" };
        file.strike(&arrival).map(|fault| fault.to_string())
    };
    let spaces = ["createSpace", "getSpaces", "createSpace", "createSpace", "createSpace"].map(&mut strike);
    let after = ["createSpace", "getSpaces"].map(&mut strike);
    let done = || Some("failed-done:503".to_owned());
    assert_eq!(spaces, [None, None, done(), done(), Some("limited:3".to_owned())]);
    assert_eq!(after, [None, None]);

    let file = FaultFile::parse("[[strike]]\nhost = \"H1.eu.qlikcloud.com\"\nfault = \"disabled\"").unwrap();
    let at = |host| file.strike(&Arrival { ordinal: 1, operation: "getSpaces", method: &Method::GET, host });
    assert_eq!((at("h2.eu.qlikcloud.com"), at("h1.eu.qlikcloud.com")), (None, Some(Fault::Disabled)));

    let by_chance = FaultFile::parse("[chance]\nseed = 7\nrates = { lost-done = 1.0 }").unwrap();
    let arrival = Arrival { ordinal: 1, operation: "createSpace", method: &Method::POST, host: "h" };
    assert_eq!(by_chance.strike(&arrival), Some(Fault::Lost { done: true }));
}

#[test]
fn the_file_that_the_documents_show_is_understood() {
    let page = include_str!("../../docs/sandbox.md");
    let file = page.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let file = FaultFile::parse(file).unwrap();
    let arrival = Arrival { ordinal: 1, operation: "importApp", method: &Method::POST, host: "h" };
    assert_eq!(file.strike(&arrival).map(|fault| fault.to_string()), Some("failed:503".to_owned()));
    // Each fault of the table is one.
    let rows = page.split_once("|---|---|\n").unwrap().1.lines().take_while(|line| line.starts_with('|'));
    let faults =
        rows.flat_map(|row| row.split('|').nth(1).unwrap().split(", ").map(|name| name.trim().trim_matches('`')));
    let filled = faults.map(|fault| {
        let fault = fault.replace("STATUS", if fault.starts_with("refused") { "403" } else { "503" });
        fault
            .replace("CODE", "HTTP-403")
            .replace("MILLISECONDS", "9")
            .replace("SECONDS", "3")
            .replace("CHANGES", "2")
            .replace("BYTES", "4")
    });
    let all: Vec<Fault> = filled.map(|fault| fault.parse().unwrap()).collect();
    assert_eq!(all.len(), 15);
}
