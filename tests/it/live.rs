//! The client for Qlik Cloud, over a scripted transport and a paused clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use http::Method;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tenantry::operation::secret::{self, SecretStore};
use tenantry::operation::{
    Body, Call, Effect, Failure, FailureKind, HeaderText, Host, Key, Operation, Outcome, Request,
};
use tenantry::qlik::{Access, Addresses, Client, Credentials, OauthClient, RetryPolicy, Settings, TransportErrorKind};
use tenantry::store::{CommandLimits, Sink, Vault};
use tenantry::surroundings::{Random, RuntimeClock};

use crate::support::scripted_transport::{Asked, Reply, Scripted};

pub(crate) const TENANT: &str = "q7m2v9k4x1b8tz0.eu.qlikcloud.com";
pub(crate) const CLIENT_SECRET: &str = "canary-client-secret";

#[derive(Default)]
pub(crate) struct Secrets(Mutex<HashMap<String, String>>);

impl SecretStore for Secrets {
    fn read<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<SecretString, Failure>> {
        let found = self.0.lock().unwrap().get(name).cloned();
        Box::pin(async move {
            found.map(SecretString::from).ok_or_else(|| {
                Failure::new(FailureKind::Denied, "tenantry/secret", format!("there is no secret `{name}`"))
            })
        })
    }

    fn keep(&self, name: &str, text: SecretString) {
        self.0.lock().unwrap().insert(name.to_owned(), text.expose_secret().to_owned());
    }
}

pub(crate) fn secrets() -> Arc<Secrets> {
    let secrets = Secrets::default();
    secrets.keep("client-secret", SecretString::from(CLIENT_SECRET));
    secrets.keep("license", SecretString::from("canary-license-key"));
    secrets.keep("jwt", SecretString::from("canary-signed-jwt"));
    Arc::new(secrets)
}

pub(crate) fn settings() -> Settings {
    let client = OauthClient { id: "cl_7f3a".to_owned(), secret: "client-secret".to_owned() };
    Settings {
        addresses: Addresses::Direct,
        credentials: Credentials::Organization { regions: BTreeMap::from([("eu".to_owned(), client)]), console: None },
        secrets: secrets(),
        limits: true,
        retry: RetryPolicy::default(),
        clock: Arc::new(RuntimeClock::starting_at("2026-11-24T02:00:00Z".parse().unwrap())),
        random: Random::from_seed(1),
    }
}

pub(crate) fn operation(id: &str, effect: Effect, method: Method, path: &str) -> Operation {
    Operation {
        id: id.to_owned(),
        call: Call::Request(Request {
            host: Host::Tenant(TENANT.to_owned()),
            method,
            path: path.to_owned(),
            query: Vec::new(),
            headers: BTreeMap::new(),
            body: Body::Empty,
            next: None,
        }),
        effect,
        subject: String::new(),
        site: None,
    }
}

pub(crate) fn read() -> Operation {
    operation("getSpaces", Effect::Read, Method::GET, "/api/v1/spaces")
}

pub(crate) fn create() -> Operation {
    let body = Body::Json(json!({ "name": "Staging", "type": "shared" }));
    with(operation("createSpace", Effect::Create, Method::POST, "/api/v1/spaces"), |request| request.body = body)
}

pub(crate) fn delete() -> Operation {
    operation("deleteSpace", Effect::Delete, Method::DELETE, "/api/v1/spaces/1")
}

pub(crate) fn with(mut operation: Operation, change: impl FnOnce(&mut Request)) -> Operation {
    if let Call::Request(request) = &mut operation.call {
        change(request);
    }
    operation
}

pub(crate) fn key(operation: &Operation) -> Key {
    Key { branch: Vec::new(), call: 0, id: operation.id.clone(), ordinal: 0 }
}

async fn perform(client: &Client<Scripted>, operation: &Operation) -> Outcome {
    client.perform(&key(operation), operation).await
}

async fn once(scripted: &Scripted, operation: &Operation) -> Outcome {
    perform(&Client::new(scripted.clone(), settings()), operation).await
}

fn seconds(spans: &[Asked]) -> Vec<u64> {
    spans.iter().map(|asked| asked.at.as_secs()).collect()
}

// Tokens

#[tokio::test(start_paused = true)]
async fn a_token_is_fetched_once_and_anew_after_four_fifths_of_its_life() {
    let scripted = Scripted::service(|_, _| Reply::ok());
    let client = Client::new(scripted.clone(), settings());
    for wait in [0, 17_279, 2] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        perform(&client, &read()).await.unwrap();
    }
    let shown: Vec<String> = scripted.asked().iter().map(|asked| asked.header("authorization").to_owned()).collect();
    assert_eq!(shown, ["Bearer token-1", "Bearer token-1", "Bearer token-2"]);
    let token = &scripted.tokens()[0];
    assert_eq!(token.url, format!("https://{TENANT}/oauth/token"));
    assert_eq!(token.header("authorization"), "");
    assert_eq!(
        token.json(),
        json!({ "client_id": "cl_7f3a", "client_secret": CLIENT_SECRET, "grant_type": "client_credentials" })
    );
}

#[tokio::test(start_paused = true)]
async fn the_life_of_a_token_may_be_told_by_its_end() {
    let scripted = Scripted::new(|asked, _| {
        let answer = json!({ "access_token": "t", "token_type": "Bearer", "expires_at": "2026-11-24T03:00:00.000Z" });
        if asked.is_token() { Reply::json(200, answer) } else { Reply::ok() }
    });
    let client = Client::new(scripted.clone(), settings());
    for (wait, tokens) in [(0, 1), (2_870, 1), (20, 2)] {
        tokio::time::sleep(Duration::from_secs(wait)).await;
        perform(&client, &read()).await.unwrap();
        assert_eq!(scripted.tokens().len(), tokens);
    }
}

#[tokio::test(start_paused = true)]
async fn many_requests_wait_for_one_token_and_share_its_failure() {
    for refused in [false, true] {
        let scripted = Scripted::new(move |asked, before| {
            match (asked.is_token(), refused) {
                (true, true) => Reply::json(401, json!({ "errors": [{ "code": "OAUTH-1", "title": "bad client" }] })),
                (true, false) => Reply::token(before + 1),
                (false, _) => Reply::ok(),
            }
            .after(Duration::from_secs(1))
        });
        let client = Client::new(scripted.clone(), settings());
        let operation = read();
        let outcomes = join_all((0..20).map(|_| perform(&client, &operation))).await;
        assert_eq!(scripted.tokens().len(), 1);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), if refused { 0 } else { 20 });
        if let Err(failure) = &outcomes[19] {
            assert_eq!((failure.code.as_str(), failure.kind), ("OAUTH-1", FailureKind::Refused));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_401_is_answered_by_one_new_token_and_no_more() {
    let refusal = Reply::json(401, json!({ "errors": [{ "code": "LOGIN-7", "title": "expired" }] }));
    let scripted = Scripted::list(vec![refusal.clone(), Reply::ok(), refusal.clone(), refusal]);
    let client = Client::new(scripted.clone(), settings());
    perform(&client, &create()).await.unwrap();
    assert_eq!(scripted.asked()[1].header("authorization"), "Bearer token-2");
    let failure = perform(&client, &create()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.status, failure.kind), ("LOGIN-7", Some(401), FailureKind::Refused));
    assert_eq!((scripted.asked().len(), scripted.tokens().len()), (4, 3));
}

#[tokio::test(start_paused = true)]
async fn a_disabled_tenant_is_asked_once() {
    for code in ["TENANT_DISABLED", "TENANT_DEACTIVATED"] {
        let body = json!({ "errors": [{ "code": code, "title": "Tenant is disabled" }] });
        let scripted = Scripted::list(vec![Reply::json(401, body.clone())]);
        assert_eq!(once(&scripted, &read()).await.unwrap_err().code, code);
        assert_eq!(scripted.tokens().len(), 1);

        let scripted = Scripted::new(move |_, _| Reply::json(401, body.clone()));
        assert_eq!(once(&scripted, &read()).await.unwrap_err().code, code);
        assert_eq!(scripted.all().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_token_serves_while_a_new_one_cannot_be_had() {
    let scripted = Scripted::new(|asked, before| match asked.is_token() {
        true if before > 0 => Reply::error(TransportErrorKind::Unreachable, false),
        true => Reply::token(1),
        false => Reply::ok(),
    });
    let client = Client::new(scripted.clone(), settings());
    perform(&client, &read()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(18_000)).await;
    perform(&client, &read()).await.unwrap();
    assert_eq!(scripted.asked()[1].header("authorization"), "Bearer token-1");
    tokio::time::sleep(Duration::from_secs(4_000)).await;
    let failure = perform(&client, &read()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/unreachable", FailureKind::Unsent));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_made_a_moment_ago_may_take_its_time_with_a_token() {
    let scripted = Scripted::new(|asked, _| {
        let created = json!({ "id": "Hk2", "hostnames": [TENANT], "status": "active" });
        match (asked.is_token(), asked.host == TENANT) {
            (true, true) if asked.at < Duration::from_secs(20) => Reply::json(
                401,
                json!({ "errors": [{ "code": "LOGIN-2", "title": "No authentication configured for this hostname", "status": "401" }] }),
            ),
            (true, _) => Reply::token(1),
            (false, true) => Reply::ok(),
            (false, false) => Reply::json(201, created),
        }
    });
    let client = Client::new(scripted.clone(), settings());
    assert_eq!(perform(&client, &read()).await.unwrap_err().code, "LOGIN-2");
    let made = with(operation("createTenant", Effect::Create, Method::POST, "/api/v1/tenants"), |request| {
        request.host = Host::Register("eu".to_owned());
    });
    perform(&client, &made).await.unwrap();
    perform(&client, &read()).await.unwrap();
    assert_eq!(scripted.all().last().unwrap().at.as_secs(), 21);
}

#[tokio::test(start_paused = true)]
async fn a_pinned_tenant_with_a_key_needs_no_token() {
    let pinned = Settings {
        credentials: Credentials::Pinned { host: TENANT.to_owned(), access: Access::ApiKey("license".to_owned()) },
        ..settings()
    };
    let scripted = Scripted::service(|_, before| if before == 0 { Reply::ok() } else { Reply::status(401) });
    let client = Client::new(scripted.clone(), pinned);
    perform(&client, &read()).await.unwrap();
    assert_eq!(perform(&client, &read()).await.unwrap_err().code, "HTTP-401");
    assert_eq!(scripted.asked()[0].header("authorization"), "Bearer canary-license-key");
    assert_eq!(scripted.all().len(), 2);
}

// Hosts, links and redirects

#[tokio::test(start_paused = true)]
async fn only_the_targets_hosts_are_called() {
    let scripted = Scripted::service(|_, _| Reply::ok());
    let client = Client::new(scripted.clone(), settings());
    for host in [
        Host::Console,
        Host::Register("us".to_owned()),
        Host::Tenant("x.us.qlikcloud.com".to_owned()),
        Host::Tenant("x.eu.qlikcloud.com.evil.example".to_owned()),
        Host::Tenant("evil.example/x.eu.qlikcloud.com".to_owned()),
        Host::Tenant("evil.example#.eu.qlikcloud.com".to_owned()),
        Host::Tenant("a.b.eu.qlikcloud.com".to_owned()),
        Host::Tenant(String::new()),
    ] {
        let failure = perform(&client, &with(read(), |request| request.host = host.clone())).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (FailureKind::Denied, "tenantry/foreign-host"), "{host}");
    }
    assert!(scripted.all().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_redirect_on_the_host_keeps_the_bearer() {
    for location in ["/api/v1/users/638", "638", &format!("https://{TENANT}/api/v1/users/638")] {
        let scripted = Scripted::list(vec![Reply::status(301).header("location", location), Reply::ok()]);
        once(&scripted, &operation("getMyUser", Effect::Read, Method::GET, "/api/v1/users/me")).await.unwrap();
        let second = &scripted.asked()[1];
        assert_eq!(second.url, format!("https://{TENANT}/api/v1/users/638"));
        assert_eq!(second.header("authorization"), "Bearer token-1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_elsewhere_is_refused_and_nothing_is_sent_there() {
    for location in [
        "https://evil.example/x",
        "//evil.example/x",
        "http://q7m2v9k4x1b8tz0.eu.qlikcloud.com/x",
        "https://other.eu.qlikcloud.com/x",
    ] {
        let scripted = Scripted::list(vec![Reply::status(302).header("location", location)]);
        let failure = once(&scripted, &read()).await.unwrap_err();
        assert_eq!(
            (failure.code.as_str(), failure.kind),
            ("tenantry/foreign-link", FailureKind::Refused),
            "{location}"
        );
        assert!(failure.to_string().contains("redirects to another place"), "{failure}");
    }
    let scripted = Scripted::new(|_, _| Reply::status(307).header("location", "https://evil.example/oauth/token"));
    assert_eq!(once(&scripted, &read()).await.unwrap_err().code, "tenantry/redirect");
    assert_eq!(scripted.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn redirects_end_and_a_write_is_not_turned_into_a_read() {
    let scripted = Scripted::service(|_, _| Reply::status(302).header("location", "/api/v1/spaces"));
    assert_eq!(once(&scripted, &read()).await.unwrap_err().code, "tenantry/redirect");
    assert_eq!(scripted.asked().len(), 6);

    let scripted = Scripted::list(vec![Reply::status(302).header("location", "/api/v1/spaces")]);
    let failure = once(&scripted, &create()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/redirect", FailureKind::Unknown));

    let scripted = Scripted::list(vec![Reply::status(307).header("location", "/api/v2/spaces"), Reply::ok()]);
    once(&scripted, &create()).await.unwrap();
    let (first, second) = (&scripted.asked()[0], &scripted.asked()[1]);
    assert_eq!((&second.method, &second.body), (&Method::POST, &first.body));
}

#[tokio::test(start_paused = true)]
async fn a_write_that_is_answered_by_a_303_is_over_whatever_the_page_says() {
    let elsewhere = || Reply::status(303).header("location", "/api/v1/spaces/1");
    for page in [
        Reply::status(404),
        Reply::status(401),
        Reply::status(429).header("retry-after", "1"),
        Reply::status(429),
        Reply::status(502),
        Reply::error(TransportErrorKind::Unreachable, false),
        Reply::status(303).header("location", "https://evil.example/"),
    ] {
        let scripted = Scripted::list(vec![elsewhere(), page.clone()]);
        let failure = once(&scripted, &create()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Unknown, "{failure:?}");
        let methods: Vec<Method> = scripted.asked().iter().map(|asked| asked.method.clone()).collect();
        assert_eq!(methods, [Method::POST, Method::GET]);
    }
    let scripted = Scripted::list(vec![elsewhere(), Reply::ok()]);
    once(&scripted, &create()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_next_page_is_followed_verbatim_but_never_off_the_host() {
    let settings = || Settings { addresses: Addresses::under("http://127.0.0.1:9/gate").unwrap(), ..settings() };
    let base = format!("http://127.0.0.1:9/gate/{TENANT}");
    let scripted = Scripted::service(|_, _| Reply::json(200, json!({ "data": [] })));
    let client = Client::new(scripted.clone(), settings());
    for link in [format!("{base}/api/v1/spaces?next=a%2Bb&limit=2"), "/api/v1/spaces?next=a%2Bb&limit=2".to_owned()] {
        perform(&client, &with(read(), |request| request.next = Some(link))).await.unwrap();
        assert_eq!(scripted.asked().last().unwrap().url, format!("{base}/api/v1/spaces?next=a%2Bb&limit=2"));
    }
    let sent = scripted.all().len();
    for link in
        [format!("https://{TENANT}/api/v1/spaces"), "http://127.0.0.1:9/gate/other.eu.qlikcloud.com/x".to_owned()]
    {
        let failure = perform(&client, &with(read(), |request| request.next = Some(link))).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/foreign-link", FailureKind::Denied));
    }
    assert_eq!(scripted.all().len(), sent);
}

// Limits

#[tokio::test(start_paused = true)]
async fn a_429_pauses_its_tier_on_its_host_and_nothing_else() {
    let limited = json!({ "errors": [{ "code": "HTTP-429", "title": "API rate limit reached.", "detail": "You need to wait 13 seconds until limit is lifted." }] });
    for header in [Some("13"), Some("Tue, 24 Nov 2026 02:00:13 GMT"), None] {
        let limited = limited.clone();
        let scripted = Scripted::service(move |asked, before| match &asked.method {
            &Method::POST if before == 0 => {
                let reply = Reply::json(429, limited.clone());
                header.map_or(reply.clone(), |value| reply.header("retry-after", value))
            }
            _ => Reply::ok(),
        });
        let client = Client::new(scripted.clone(), settings());
        let first = create();
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            perform(&client, &read()).await.unwrap();
            let other = with(create(), |request| request.host = Host::Register("eu".to_owned()));
            perform(&client, &other).await.unwrap();
            perform(&client, &create()).await.unwrap();
        };
        let (outcome, ()) = tokio::join!(perform(&client, &first), later);
        outcome.unwrap();
        assert_eq!(seconds(&scripted.asked()), [0, 1, 1, 13, 13], "{header:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_is_not_put_off_for_ever() {
    let scripted = Scripted::service(|_, _| Reply::status(429).header("retry-after", "400"));
    let failure = once(&scripted, &create()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.kind), ("HTTP-429", FailureKind::Refused));
    assert!(failure.hint.unwrap().contains("400 s"));
    assert_eq!(seconds(&scripted.asked()), [0, 400, 800]);
}

#[tokio::test(start_paused = true)]
async fn figures_that_are_lies_break_nothing() {
    for wait in ["18446744073709551615", "Fri, 31 Dec 9999 23:59:59 GMT"] {
        let scripted = Scripted::list(vec![Reply::status(429).header("retry-after", wait), Reply::ok()]);
        let client = Client::new(scripted.clone(), settings());
        assert_eq!(perform(&client, &create()).await.unwrap_err().code, "HTTP-429");
        perform(&client, &create()).await.unwrap();
        assert_eq!(seconds(&scripted.asked()), [0, 900]);
    }
    for life in [json!(1e300), json!("18446744073709551615"), json!(-1), json!("NaN"), json!(0), json!([])] {
        let token = Reply::json(200, json!({ "access_token": "t", "expires_in": life }));
        let scripted = Scripted::new(move |asked, _| if asked.is_token() { token.clone() } else { Reply::ok() });
        once(&scripted, &read()).await.unwrap();
    }
    for token in [
        json!({}),
        json!([]),
        json!({ "access_token": "" }),
        json!({ "access_token": "a\nb" }),
        json!({ "access_token": 1 }),
    ] {
        let scripted = Scripted::new(move |_, _| Reply::json(200, token.clone()));
        assert_eq!(once(&scripted, &read()).await.unwrap_err().kind, FailureKind::Refused);
    }
}

#[tokio::test(start_paused = true)]
async fn a_windows_budget_goes_at_once_and_the_rest_when_the_window_is_over() {
    let scripted = Scripted::service(|_, _| Reply::ok());
    let client = Client::new(scripted.clone(), settings());
    let operation = create();
    let outcomes = join_all((0..600).map(|_| perform(&client, &operation))).await;
    assert!(outcomes.iter().all(Result::is_ok));
    // The request for the token counts on the same tier.
    let at = seconds(&scripted.all());
    assert_eq!((at[499], at[500]), (0, 303));
    assert_eq!(at[600], 303);
}

// Sending again

#[tokio::test(start_paused = true)]
async fn what_is_sent_again_depends_on_what_it_does() {
    let set = json!([{ "op": "replace", "path": "/name", "value": "x" }]);
    let add = json!([{ "op": "add", "path": "/assignedScopes/-", "value": "x" }]);
    let patch = |body: &Value| {
        with(operation("patchSpace", Effect::Update, Method::PATCH, "/api/v1/spaces/1"), |request| {
            request.body = Body::Json(body.clone());
        })
    };
    let filter = operation("filterUsers", Effect::Read, Method::POST, "/api/v1/users/actions/filter");
    let put = operation("updateSpace", Effect::Update, Method::PUT, "/api/v1/spaces/1");
    let act = operation("publishApp", Effect::Act, Method::PUT, "/api/v1/apps/1/publish");
    let doubtful = [
        Reply::status(500),
        Reply::status(502),
        Reply::status(503),
        Reply::status(504),
        Reply::error(TransportErrorKind::Broken, true),
        Reply::error(TransportErrorKind::Truncated, true),
        Reply::error(TransportErrorKind::TimedOut, true),
    ];
    for reply in doubtful {
        for again in [&read(), &filter, &put, &delete(), &patch(&set)] {
            let scripted = Scripted::list(vec![reply.clone(), Reply::ok()]);
            once(&scripted, again).await.unwrap();
            assert_eq!(scripted.asked().len(), 2);
        }
        for never in [&create(), &act, &patch(&add)] {
            let scripted = Scripted::list(vec![reply.clone()]);
            let failure = once(&scripted, never).await.unwrap_err();
            assert!(failure.may_have_acted(), "{failure:?}");
        }
    }
    let untouched = [Reply::error(TransportErrorKind::Unreachable, false), Reply::status(429)];
    for reply in untouched {
        let scripted = Scripted::list(vec![reply.clone(), Reply::ok()]);
        once(&scripted, &create()).await.unwrap();
    }
    for status in [400, 403, 404, 409, 412, 501] {
        let scripted = Scripted::list(vec![Reply::status(status)]);
        let failure = once(&scripted, &create()).await.unwrap_err();
        assert_eq!((failure.kind, failure.status), (FailureKind::Refused, Some(status)));
    }
}

#[tokio::test(start_paused = true)]
async fn attempts_are_few_and_farther_apart_each_time() {
    let scripted = Scripted::service(|_, _| Reply::status(502));
    let failure = once(&scripted, &read()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.kind), ("HTTP-502", FailureKind::Refused));
    let at: Vec<u128> = scripted.asked().iter().map(|asked| asked.at.as_millis()).collect();
    assert_eq!(at.len(), 5);
    for (attempt, pair) in at.windows(2).enumerate() {
        let pause = 250 << attempt;
        assert!((pause / 2..=pause + 1).contains(&(pair[1] - pair[0])), "{at:?}");
    }
    let scripted = Scripted::list(vec![Reply::status(503).header("retry-after", "7"), Reply::ok()]);
    once(&scripted, &read()).await.unwrap();
    assert_eq!(seconds(&scripted.asked()), [0, 7]);
    let scripted =
        Scripted::service(|_, _| Reply::error(TransportErrorKind::TimedOut, true).after(Duration::from_secs(100)));
    once(&scripted, &read()).await.unwrap_err();
    assert_eq!(scripted.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_a_doubtful_attempt_settles_nothing() {
    let scripted = Scripted::list(vec![Reply::error(TransportErrorKind::Broken, true), Reply::status(404)]);
    let failure = once(&scripted, &delete()).await.unwrap_err();
    assert_eq!((failure.kind, failure.status), (FailureKind::Unknown, Some(404)));
    assert!(failure.hint.unwrap().contains("may have been carried out"));
}

// Answers

#[tokio::test(start_paused = true)]
async fn every_error_body_becomes_one_kind_of_failure() {
    // body; code, title, detail, pointer, trace
    type Row = (Value, &'static str, &'static str, Option<&'static str>, Option<&'static str>, Option<&'static str>);
    let rows: Vec<Row> = vec![
        (
            json!({ "errors": [{ "code": "TENANTS-10", "title": "Invalid PATCH request", "status": "400",
                "meta": [{ "title": "Subdomain should be between 3 and 63 characters" }], "source": { "pointer": "/hostnames/1" } }], "traceId": "t1" }),
            "TENANTS-10",
            "Invalid PATCH request",
            Some("Subdomain should be between 3 and 63 characters"),
            Some("/hostnames/1"),
            Some("t1"),
        ),
        (
            json!({ "errors": [{ "code": "USERS-7", "title": "Not found", "detail": "no such user", "status": 404, "source": { "parameter": "userId" } }] }),
            "USERS-7",
            "Not found",
            Some("no such user"),
            Some("userId"),
            None,
        ),
        (
            json!({ "code": "SPACES-3", "title": "old", "detail": "old detail", "errors": [{ "code": "SpaceNameConflict", "title": "taken" }], "traceId": "t2" }),
            "SpaceNameConflict",
            "taken",
            Some("old detail"),
            None,
            Some("t2"),
        ),
        (
            json!({ "code": "SPACES-3", "title": "old only", "meta": null, "source": null }),
            "SPACES-3",
            "old only",
            None,
            None,
            None,
        ),
        (
            json!({ "error": "util.Error", "message": "no seat left", "errors": [{ "code": "LICENSES-123", "title": "Overage" }] }),
            "LICENSES-123",
            "Overage",
            Some("no seat left"),
            None,
            None,
        ),
        (
            json!({ "errors": [{ "code": "ITEMS-1", "title": "bad", "meta": { "fault": true, "temporary": false, "timeout": false, "explain": "why" } }] }),
            "ITEMS-1",
            "bad",
            Some("why"),
            None,
            Some("b3"),
        ),
        (
            json!({ "code": "EXTENSIONS-2", "title": "exists", "status": 409, "source": { "pointer": "/name" }, "meta": {}, "traceId": "t3" }),
            "EXTENSIONS-2",
            "exists",
            None,
            Some("/name"),
            Some("t3"),
        ),
        (
            json!({ "errors": [{ "code": "HTTP-400", "title": "Bad", "detail": "logo" }], "traceId": "t4" }),
            "HTTP-400",
            "Bad",
            Some("logo"),
            None,
            Some("t4"),
        ),
        (
            json!({ "errors": [{ "code": 400, "context": "GetTasks", "timestamp": "2026-11-24" }], "traceId": "t5" }),
            "400",
            "Bad Request",
            Some("GetTasks"),
            None,
            Some("t5"),
        ),
        (
            json!({ "errors": [{ "code": "A-1", "title": "first" }, { "code": "A-2", "title": "second" }] }),
            "A-1",
            "first",
            Some("also: A-2 second"),
            None,
            None,
        ),
        (
            json!({ "error": "invalid_client", "error_description": "unknown client" }),
            "invalid_client",
            "unknown client",
            None,
            None,
            None,
        ),
        (json!({ "errors": [] }), "HTTP-400", "Bad Request", None, None, None),
        (json!({ "errors": ["plain words"] }), "HTTP-400", "Bad Request", Some("plain words"), None, None),
        (json!([{ "code": "X-1", "title": "a list" }]), "X-1", "a list", None, None, None),
        (json!("only words"), "HTTP-400", "Bad Request", Some("only words"), None, None),
        (json!({ "message": "a gateway's words" }), "HTTP-400", "a gateway's words", None, None, None),
        (json!({}), "HTTP-400", "Bad Request", None, None, None),
    ];
    for (body, code, title, detail, pointer, trace) in rows {
        let mut reply = Reply::json(400, body.clone());
        if trace == Some("b3") {
            reply = reply.header("X-B3-Traceid", "b3");
        }
        let failure = once(&Scripted::list(vec![reply]), &create()).await.unwrap_err();
        let said = (
            failure.code.as_str(),
            failure.title.as_str(),
            failure.detail.as_deref(),
            failure.pointer.as_deref(),
            failure.trace.as_deref(),
        );
        assert_eq!(said, (code, title, detail, pointer, trace), "{body}");
        assert_eq!((failure.kind, failure.status), (FailureKind::Refused, Some(400)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_not_json_is_shown_safely_and_leaves_writes_in_doubt() {
    let page = format!("<html>\u{1b}[31m\n <b>Log in</b>\u{202e}{}</html>", "x".repeat(1_000));
    let bodies = [
        ("text/html", page.as_str()),
        ("application/json", page.as_str()),
        ("", page.as_str()),
        ("application/json", r#"{"data":[{"id":"#),
        ("text/plain", "hello"),
        ("application/json", "\"words\""),
        ("application/json", "17"),
    ];
    for (content_type, body) in bodies {
        for (asked, kind) in [(read(), FailureKind::Refused), (create(), FailureKind::Unknown)] {
            let scripted = Scripted::list(vec![Reply::raw(200, content_type, body)]);
            let failure = once(&scripted, &asked).await.unwrap_err();
            assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/not-json", kind), "{content_type} {body}");
            let detail = failure.detail.unwrap();
            assert!(detail.chars().count() < 230 && !detail.contains(['\u{1b}', '\n', '\u{202e}']), "{detail:?}");
        }
    }
    let failure = once(&Scripted::list(vec![Reply::raw(404, "text/html", page)]), &read()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.status), ("tenantry/not-json", Some(404)));
    let failure = once(&Scripted::list(vec![Reply::raw(403, "text/plain", "go away")]), &read()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.detail.unwrap().contains("go away")), ("HTTP-403", true));
}

#[tokio::test(start_paused = true)]
async fn a_207_and_an_empty_answer_are_answers_and_cookies_stay_behind() {
    let reply = Reply::json(207, json!({ "data": [{ "status": "error" }] }))
        .header("set-cookie", "session=canary")
        .header("qlik-idp-popts", "x");
    let response = once(&Scripted::list(vec![reply]), &create()).await.unwrap();
    assert_eq!((response.status, response.json()["data"][0]["status"].as_str()), (207, Some("error")));
    let names: Vec<&str> = response.headers.keys().map(String::as_str).collect();
    assert_eq!(names, ["content-type", "qlik-idp-popts"]);
    let response = once(&Scripted::list(vec![Reply::status(204)]), &delete()).await.unwrap();
    assert_eq!(response.json(), &Value::Null);
    let file = operation("downloadFileFromTheme", Effect::Read, Method::GET, "/api/v1/themes/1/file/a.html");
    let response = once(&Scripted::list(vec![Reply::raw(200, "text/html", "<b>")]), &file).await.unwrap();
    assert_eq!(response.payload, tenantry::operation::Payload::Bytes("<b>".into()));
}

// Secrets

#[tokio::test(start_paused = true)]
async fn secrets_reach_the_socket_and_nothing_else() {
    let echo = Scripted::service(|asked, before| {
        let words = format!("you sent {} with {}", asked.body, asked.header("authorization"));
        match before {
            0 => Reply::json(200, json!({ "licenseKey": "canary-license-key", "words": words })),
            1 => Reply::json(400, json!({ "errors": [{ "code": "X", "title": words, "detail": words }] })),
            _ => Reply::raw(200, "text/html", words),
        }
    });
    let client = Client::new(echo.clone(), settings());
    let asked = with(create(), |request| {
        request.body =
            Body::Json(json!({ "licenseKey": secret::reference("license"), "n": [secret::reference("jwt")] }));
    });
    let mut told = Vec::new();
    for _ in 0..3 {
        let outcome = perform(&client, &asked).await;
        told.push(format!("{outcome:?}"));
        match outcome {
            Ok(response) => assert_eq!(response.json()["licenseKey"], secret::reference("license")),
            Err(failure) => told.push(format!("{failure} {failure:?} {}", serde_json::to_string(&failure).unwrap())),
        }
    }
    assert_eq!(echo.asked()[0].json(), json!({ "licenseKey": "canary-license-key", "n": ["canary-signed-jwt"] }));
    for canary in ["canary", "token-1"] {
        assert!(!told.concat().contains(canary), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_cannot_make_up_a_reference_to_a_secret() {
    for body in [r#"{"name":{"$secret":"client-secret"}}"#, r#"{"data":[{"a":{"\u0024secret":"x","b":1}}]}"#] {
        let failure =
            once(&Scripted::list(vec![Reply::raw(200, "application/json", body)]), &read()).await.unwrap_err();
        assert_eq!(failure.title, "the answer uses the reserved key `$secret`");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_any_form_gives_no_secret_back() {
    let asked = with(operation("getAppMedia", Effect::Read, Method::POST, "/x"), |request| {
        request.body = Body::Json(json!({ "n": secret::reference("jwt") }));
    });
    let scripted = Scripted::list(vec![
        Reply::raw(200, "text/plain", "canary-signed-jwt!"),
        Reply::json(200, json!({ "canary-signed-jwt": 1 })),
    ]);
    let client = Client::new(scripted, settings());
    let text = perform(&client, &asked).await.unwrap();
    assert_eq!(text.payload, tenantry::operation::Payload::Bytes("***!".into()));
    assert_eq!(perform(&client, &asked).await.unwrap().json(), &json!({ "***": 1 }));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_handed_out_goes_into_the_store() {
    let made = json!({ "id": "k1", "description": "embed", "token": "canary-new-key" });
    let scripted = Scripted::list(vec![Reply::json(201, made), Reply::ok()]);
    let client = Client::new(scripted.clone(), settings());
    let asked = operation("createApiKey", Effect::Create, Method::POST, "/api/v1/api-keys");
    let response = perform(&client, &asked).await.unwrap();
    let token = secret::reference(&format!("answer/{TENANT}/api-keys/k1/token"));
    assert_eq!(response.json(), &json!({ "id": "k1", "description": "embed", "token": token }));
    // And from there into another request.
    perform(&client, &with(create(), |request| request.body = Body::Json(json!({ "key": token })))).await.unwrap();
    assert_eq!(scripted.asked()[1].json(), json!({ "key": "canary-new-key" }));
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_shown_once_outlives_the_process_or_the_write_is_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let sink = folder.path().join("secrets");
    let vault = || {
        let vault = Vault::new(Arc::new(BTreeMap::new()), Sink::Folder(sink.clone()), CommandLimits::default());
        vault.keep("client-secret", SecretString::from(CLIENT_SECRET));
        vault
    };
    let asked = operation("createApiKey", Effect::Create, Method::POST, "/api/v1/api-keys");
    let made = || Scripted::list(vec![Reply::json(201, json!({ "id": "k1", "token": "canary-new-key" }))]);
    let client = Client::new(made(), Settings { secrets: Arc::new(vault()), ..settings() });
    let response = perform(&client, &asked).await.unwrap();
    let name = secret::name(&response.json()["token"]).unwrap();
    assert_eq!(vault().read(name).await.unwrap().expose_secret(), "canary-new-key");

    std::fs::remove_dir_all(&sink).unwrap();
    std::fs::write(&sink, "not a folder").unwrap();
    let client = Client::new(made(), Settings { secrets: Arc::new(vault()), ..settings() });
    let failure = perform(&client, &asked).await.unwrap_err();
    assert!(failure.may_have_acted(), "{failure:?}");
    assert!(failure.hint.as_deref().unwrap().contains("its secret is lost"), "{failure:?}");
    assert!(!format!("{failure:?}").contains("canary"));
}

#[tokio::test(start_paused = true)]
async fn traces_tell_tenant_operation_and_attempt_but_no_secret() {
    let written = Written::default();
    let lines = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || lines.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let words = json!({ "errors": [{ "code": "X-1", "title": "canary-license-key" }] });
    let scripted = Scripted::list(vec![Reply::status(429), Reply::json(400, words)]);
    let asked = with(create(), |request| request.body = Body::Json(json!({ "k": secret::reference("license") })));
    // Tests beside this one have no subscriber, and tracing remembers for each place whether anybody listens.
    once(&scripted.clone(), &asked).await.unwrap_err();
    tracing::callsite::rebuild_interest_cache();
    let scripted = scripted.again();
    let failure = once(&scripted, &asked).await.unwrap_err();
    assert_eq!(failure.title, "***");
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    for piece in [TENANT, "createSpace", "0:createSpace#0", "attempt{number=2}", "status=400"] {
        assert!(text.contains(piece), "{piece} in {text}");
    }
    for hidden in ["canary-license", "token-1"] {
        assert!(!text.contains(hidden), "{text}");
    }
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_bearer_takes_the_place_of_the_token() {
    let scripted = Scripted::list(vec![Reply::status(401)]);
    let login =
        with(operation("exchangeJwtForSession", Effect::Probe, Method::POST, "/login/jwt-session"), |request| {
            request.headers.insert("Authorization".to_owned(), HeaderText::Bearer("jwt".to_owned()));
            request.headers.insert("qlik-web-integration-id".to_owned(), HeaderText::Text("w1".to_owned()));
        });
    assert_eq!(once(&scripted, &login).await.unwrap_err().code, "HTTP-401");
    let asked = &scripted.all()[0];
    assert_eq!(asked.header("authorization"), "Bearer canary-signed-jwt");
    assert_eq!(asked.header("qlik-web-integration-id"), "w1");
    assert_eq!(scripted.all().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_sent_is_refused_before_anything_is() {
    let scripted = Scripted::service(|_, _| Reply::ok());
    let client = Client::new(scripted.clone(), settings());
    let text = |text: &str| HeaderText::Text(text.to_owned());
    let cases = [
        ("tenantry/bad-path", with(read(), |request| request.path = "/api/v1/spaces/..".to_owned())),
        ("tenantry/bad-header", with(read(), |request| drop(request.headers.insert("host".to_owned(), text("x"))))),
        ("tenantry/bad-header", with(read(), |request| drop(request.headers.insert("x".to_owned(), text("a\r\nb"))))),
        ("tenantry/secret", with(create(), |request| request.body = Body::Json(secret::reference("none")))),
        ("tenantry/not-a-request", Operation { call: Call::Local { arguments: Value::Null }, ..read() }),
    ];
    for (code, asked) in cases {
        let failure = perform(&client, &asked).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.kind), (code, FailureKind::Denied));
    }
    assert!(scripted.all().is_empty());
}
