//! What keeps a plan from doing, or from promising, what nobody asked for.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::{Customer, Host, Project};

use crate::cli_run::{local, run_locally};
use crate::support::command_line::{Ended, Folder, Served};

const ONBOARD: &str = "run playbooks/onboard.rhai --customers customers";
const HYDRATE: &str = "plan playbooks/hydrate.rhai --customer customers/pulsewise.yaml";

#[track_caller]
fn good(ended: &Ended, code: i32) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
}

#[track_caller]
fn plan(ended: &Ended) -> Value {
    ended.json()["plans"][0].clone()
}

/// The names of the guards that fired.
fn fired(plan: &Value) -> Vec<&str> {
    let guards = plan["guards"].as_array().unwrap();
    guards.iter().filter(|guard| guard["fired"] == true).map(|guard| guard["name"].as_str().unwrap()).collect()
}

fn serve(project: &Folder) -> Served {
    Served::start(project, "--state served.db --client-id partner --client-secret known --license-key k")
}

/// The target `local` in a project's settings.
fn set_target(project: &Folder, served: &Served) {
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tenantry.toml");
    project.write("tenantry.toml", &std::fs::read_to_string(source).unwrap());
    project.add_settings(&local(served));
}

fn bots(project: &Folder) -> usize {
    let sandbox = Sandbox::open(&project.path().join("served.db"), Settings::default()).unwrap();
    sandbox.snapshot().to_json().to_string().matches("\"qlikbot\\\\partner\"").count()
}

#[test]
fn a_first_token_is_asked_for_before_anything_leaves_and_then_shown() {
    let project = Folder::stock();
    let served = serve(&project);
    set_target(&project, &served);
    good(&run_locally(&project, &served, ONBOARD), 0);
    served.end();
    let before = bots(&project);

    // The customer's tenant is one that a run has made; the source tenant nobody here has seen.
    let served = serve(&project);
    set_target(&project, &served);
    let source = served.text("source").to_owned();
    let refused = run_locally(&project, &served, &format!("{HYDRATE} --out hb.json"));
    good(&refused, 1);
    insta::assert_snapshot!("first_token", format!("{}{}", refused.out, refused.error).replace(&source, "<source>"));
    assert!(!project.path().join("hb.json").exists());
    let refused = run_locally(&project, &served, &format!("drift {} --json", &HYDRATE[5..]));
    good(&refused, 1);
    let refused = plan(&refused);
    assert_eq!((fired(&refused), &refused["first_tokens"]), (vec!["first_token"], &json!([])), "{refused}");
    served.end();
    assert_eq!(bots(&project), before, "nothing has left");

    let served = serve(&project);
    set_target(&project, &served);
    let allowed = run_locally(&project, &served, &format!("{HYDRATE} --allow-first-token --json --out hb.json"));
    good(&allowed, 2);
    let allowed = plan(&allowed);
    assert_eq!((fired(&allowed), &allowed["first_tokens"]), (vec![], &json!([source])), "{allowed}");
    let saved: Value = serde_json::from_str(&std::fs::read_to_string(project.path().join("hb.json")).unwrap()).unwrap();
    assert_eq!(saved["guards"], allowed["guards"]);
    good(&run_locally(&project, &served, "apply hb.json"), 0);
    // Now a run has been there.
    let again = run_locally(&project, &served, &format!("{HYDRATE} --json"));
    good(&again, 0);
    assert_eq!(plan(&again)["first_tokens"], json!([]));
    served.end();
    assert!(bots(&project) > before, "a first token makes a bot");
}

#[test]
fn a_pinned_tenant_is_known_once_a_run_was_there_and_no_script_can_talk_its_way_past() {
    let project = Folder::stock();
    let served = serve(&project);
    set_target(&project, &served);
    let onboarded = run_locally(&project, &served, &format!("{ONBOARD} --json")).json();
    let run = onboarded["runs"].as_array().unwrap().iter().find(|run| run["customer"] == "hb").unwrap();
    let tenant = run["tenant"]["hostname"].as_str().unwrap();

    let other = Folder::stock();
    let (url, id) = (served.text("url"), served.text("client_id"));
    other.add_settings(&format!(
        "[targets.local]\naddress = \"{url}\"\ntenant = \"{tenant}\"\nclient_id = \"{id}\"\nclient_secret = {{ env = \"SECRET\" }}\n"
    ));
    other.write(
        "playbooks/catches.rhai",
        "try { let tenant = tenants::get(customer); tenant.spaces.list(); } catch { log(\"never mind\"); }",
    );
    let catches = "plan playbooks/catches.rhai --customer customers/harbour.yaml --json";
    let refused = run_locally(&other, &served, catches);
    good(&refused, 1);
    assert_eq!(fired(&plan(&refused)), ["first_token"]);
    good(&run_locally(&other, &served, &catches.replacen("plan", "run", 1)), 0);
    let known = run_locally(&other, &served, catches);
    good(&known, 0);
    assert_eq!(plan(&known)["first_tokens"], json!([]));

    // An API key is its user's, and no token is asked for: here the service does not know it.
    let keyed = Folder::stock();
    keyed.add_settings(&format!(
        "[targets.local]\naddress = \"{url}\"\ntenant = \"{tenant}\"\napi_key = {{ env = \"SECRET\" }}\n"
    ));
    let unknown = run_locally(&keyed, &served, "plan playbooks/onboard.rhai --customer customers/harbour.yaml --json");
    good(&unknown, 1);
    let unknown = plan(&unknown);
    assert_eq!((fired(&unknown), &unknown["error"]["failure"]["status"]), (vec![], &json!(401)), "{unknown}");
}

#[test]
fn an_embedder_allows_a_first_token_by_a_word() {
    let project = Folder::stock();
    let served = serve(&project);
    set_target(&project, &served);
    let environment: std::collections::BTreeMap<String, String> =
        [("SECRET", served.text("client_secret")), ("KEY", served.text("license_key"))]
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .into();
    let host = Host::builder()
        .project(Project::open(project.path()).unwrap())
        .environment(Arc::new(environment))
        .lanes(1)
        .build()
        .unwrap();
    let playbook = host
        .playbook_from_text("playbooks/looks.rhai", "for space in tenants::source().spaces.list() { log(space.name); }")
        .unwrap();
    let customer = Customer::from_value(json!({ "code": "hb", "region": "eu" })).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let plan =
        |allow| runtime.block_on(host.plan(&playbook, &customer, "local").allow_first_token(allow).into_future());
    let refused = plan(false);
    let failure = refused.error.as_ref().and_then(|error| error.failure.as_ref()).unwrap();
    assert_eq!(failure.code, "tenantry/first-token");
    assert!(refused.guards.iter().any(|guard| guard.name == "first_token" && guard.fired) && refused.saved().is_none());
    let allowed = plan(true);
    assert!(allowed.error.is_none(), "{:?}", allowed.error);
    assert_eq!(allowed.first_tokens, [served.text("source")]);

    // Whoever makes a plan file of a plan that a guard has ended gets no further with it.
    let mut saved = allowed.saved().unwrap();
    saved.guards[1].fired = true;
    let Err(error) = host.apply(saved.sealed()) else { panic!("a guard has ended it") };
    assert!(error.message.contains("the guard `seats` ended the plan"), "{}", error.message);
}

#[test]
fn finding_out_whose_organization_a_target_is_is_no_first_token_either() {
    let project = Folder::stock();
    let served = Served::start(&project, "");
    let source = served.text("source").to_owned();
    let key = "license_key = { env = \"KEY\" }";
    let target = local(&served).replace(key, &format!("license_from = \"{source}\""));
    project.add_settings(&target);
    let onboard = "plan playbooks/onboard.rhai --customer customers/harbour.yaml --json";
    let refused = run_locally(&project, &served, onboard);
    good(&refused, 1);
    assert_eq!((fired(&plan(&refused)), &plan(&refused)["reads"]), (vec!["first_token"], &json!({})));
    let allowed = run_locally(&project, &served, &format!("{onboard} --allow-first-token"));
    good(&allowed, 2);
    assert_eq!(plan(&allowed)["first_tokens"], json!([source]));
    let left = plan(&allowed)["seats"][0]["left"].clone();
    assert!(left.is_u64(), "the tenant that the licence comes from shows the pool: {left}");
    good(&run_locally(&project, &served, "run playbooks/onboard.rhai --customer customers/harbour.yaml"), 0);
    let known = run_locally(&project, &served, onboard);
    good(&known, 0);
    assert_eq!(plan(&known)["first_tokens"], json!([]));
}

/// A project whose target is a sandbox with so many professional and analyzer seats.
fn with_seats(professional: u32, analyzer: u32) -> (Folder, Served) {
    let project = Folder::stock();
    project.write(
        "estate.toml",
        &format!(
            "[[organizations]]\nname = \"halyard\"\nseats = {{ professional = {professional}, analyzer = {analyzer} }}\n"
        ),
    );
    let served = Served::start(&project, "--estate estate.toml");
    set_target(&project, &served);
    (project, served)
}

const SEATS: &str = "let tenant = tenants::ensure(customer);
for seat in customer.seats { tenant.licenses.ensure_seats([seat]); }";

/// Customers whose codes and seats these are.
fn customers(project: &Folder, all: &[(&str, &[&str])]) {
    project.write("playbooks/seats.rhai", SEATS);
    for (code, kinds) in all {
        let seats: Vec<Value> = kinds
            .iter()
            .enumerate()
            .map(|(number, kind)| json!({ "subject": format!("{code}|{number}"), "type": kind }))
            .collect();
        let customer =
            json!({ "code": code, "name": code, "region": "eu", "alias": format!("halyard-{code}"), "seats": seats });
        project.write(&format!("many/{code}.json"), &customer.to_string());
    }
}

#[test]
fn seats_are_held_against_what_the_organization_has_left() {
    let (project, served) = with_seats(5, 3);
    customers(&project, &[("aa", &["professional", "analyzer"]), ("bb", &["professional", "analyzer", "analyzer"])]);
    let all = "playbooks/seats.rhai --customers many --json";
    // Where neither a source tenant nor the registry shows one to ask, the pool is not known.
    let unknown = run_locally(&project, &served, &format!("plan {all}"));
    good(&unknown, 2);
    assert_eq!(
        plan(&unknown)["seats"],
        json!([{ "type": "analyzer", "needed": 1, "left": null }, { "type": "professional", "needed": 2, "left": null }]),
        "the bot takes a seat as well"
    );
    good(&run_locally(&project, &served, &format!("run {all}")), 0);
    let settled = run_locally(&project, &served, &format!("plan {all}"));
    good(&settled, 0);
    assert_eq!(plan(&settled)["seats"], json!([]));

    // The pool has two professional and no analyzer seats left; a new customer's tenant does not exist yet.
    customers(&project, &[("cc", &["professional"])]);
    let new = run_locally(&project, &served, "plan playbooks/seats.rhai --customer many/cc.json --json");
    good(&new, 2);
    assert_eq!(plan(&new)["seats"], json!([{ "type": "professional", "needed": 1, "left": 2 }]));
    let text = run_locally(&project, &served, "plan playbooks/seats.rhai --customer many/cc.json");
    assert!(text.out.contains("1 professional seat needed, 2 left"), "{}", text.out);
}

#[test]
fn customers_planned_together_share_one_pool_and_who_comes_too_late_is_told_who_came_before() {
    let (project, served) = with_seats(4, 3);
    customers(&project, &[("aa", &["analyzer"])]);
    good(&run_locally(&project, &served, "run playbooks/seats.rhai --customer many/aa.json"), 0);
    customers(
        &project,
        &[
            ("bb", &["professional", "professional"]),
            ("cc", &["professional", "professional"]),
            ("dd", &["professional"]),
        ],
    );
    project.write("plans/cc.plan.json", "an older one");
    let planned = run_locally(&project, &served, "plan playbooks/seats.rhai --customers many --out plans --json");
    good(&planned, 1);
    let planned = planned.json();
    let plans = planned["plans"].as_array().unwrap();
    let professional = |plan: &Value| plan["seats"][0].clone();
    assert_eq!(professional(&plans[1]), json!({ "type": "professional", "needed": 2, "left": 3 }));
    assert_eq!(fired(&plans[1]), [""; 0]);
    assert_eq!(fired(&plans[2]), ["seats"], "{}", plans[2]);
    let why = plans[2]["guards"][1]["why"].as_str().unwrap();
    assert_eq!(why, "2 professional seats are needed and 1 are left: planned before it: `bb` 2");
    // What is too much for one may be enough for the next.
    assert_eq!(
        (fired(&plans[3]), professional(&plans[3])),
        (vec![], json!({ "type": "professional", "needed": 1, "left": 1 }))
    );
    let saved = |code: &str| project.path().join(format!("plans/{code}.plan.json")).exists();
    assert_eq!([saved("bb"), saved("cc"), saved("dd")], [true, false, true]);
    // Alone there is enough for it.
    good(&run_locally(&project, &served, "plan playbooks/seats.rhai --customer many/cc.json"), 2);
}

#[test]
fn what_a_playbook_does_not_permit_and_a_pool_that_is_too_small_are_guards_that_fired() {
    let (project, served) = with_seats(2, 3);
    customers(&project, &[("aa", &["professional", "professional", "professional"])]);
    project.write(
        "playbooks/bare.rhai",
        "//! Makes a tenant.\n//! @permits tenants:write\ntenants::ensure(customer).spaces.ensure(\"A\", \"shared\");",
    );
    let permitted = run_locally(&project, &served, "plan playbooks/bare.rhai --customer many/aa.json --json");
    good(&permitted, 1);
    assert_eq!(fired(&plan(&permitted)), ["permissions"]);
    good(&run_locally(&project, &served, "run playbooks/bare.rhai --customer many/aa.json"), 1);
    let small = run_locally(&project, &served, "plan playbooks/seats.rhai --customer many/aa.json --json");
    good(&small, 1);
    assert_eq!(fired(&plan(&small)), ["seats"], "{}", plan(&small)["error"]);
}

#[test]
fn users_of_a_tenant_that_assigns_seats_by_itself_are_counted() {
    let (project, served) = with_seats(5, 3);
    customers(&project, &[("aa", &[])]);
    project.write(
        "playbooks/on.rhai",
        "tenants::ensure(customer).licenses.auto_assign(#{ professional: false, analyzer: true });",
    );
    project.write(
        "playbooks/users.rhai",
        "let tenant = tenants::get(customer); for name in [\"a\", \"b\"] { tenant.users.ensure(#{ subject: `aa|${name}`, name: name, email: `${name}@aa.example` }); }",
    );
    let users = "plan playbooks/users.rhai --customer many/aa.json --json";
    good(&run_locally(&project, &served, "run playbooks/seats.rhai --customer many/aa.json"), 0);
    assert_eq!(plan(&run_locally(&project, &served, users))["seats"], json!([]));
    good(&run_locally(&project, &served, "run playbooks/on.rhai --customer many/aa.json"), 0);
    let planned = run_locally(&project, &served, users);
    good(&planned, 2);
    assert_eq!(plan(&planned)["seats"], json!([{ "type": "analyzer", "needed": 2, "left": 3 }]));
}

/// Why each operation of a plan cannot be taken back.
fn lasting(plan: &Value) -> std::collections::BTreeMap<String, String> {
    let requests = plan["changes"].as_array().unwrap().iter().flat_map(|change| change["requests"].as_array().unwrap());
    let of = |request: &Value| {
        Some((request["operation"].as_str()?.to_owned(), request["irreversible"].as_str()?.to_owned()))
    };
    requests.filter_map(of).collect()
}

#[test]
fn what_cannot_be_taken_back_is_named_with_its_reason() {
    let project = Folder::stock();
    let customer = "--customer customers/pulsewise.yaml";
    let new = project.run(&format!("plan playbooks/onboard.rhai {customer} --json"));
    good(&new, 2);
    let new = lasting(&plan(&new));
    assert_eq!(new.keys().collect::<Vec<_>>(), ["createOAuthClient", "createTenant"], "all else goes with the tenant");
    good(&project.run(&format!("run playbooks/onboard.rhai {customer}")), 0);

    let filled = project.run(&format!("plan playbooks/hydrate.rhai {customer} --json"));
    good(&filled, 2);
    assert_eq!(plan(&filled)["first_tokens"].as_array().unwrap().len(), 1, "the sandbox does not mind, but says so");
    let filled = lasting(&plan(&filled));
    assert!(filled["publishApp"].contains("nothing unpublishes it"), "{filled:?}");
    assert_eq!(filled["queueReload"], "it was set in motion, and has no opposite");
    assert!(!filled.contains_key("createExtension") && !filled.contains_key("createBrand"), "{filled:?}");
    let text = project.run(&format!("plan playbooks/hydrate.rhai {customer}")).out;
    let steps = text.matches("cannot be taken back: ").count();
    assert!(steps > 0 && text.contains(&format!("{steps} steps cannot be taken back")), "{text}");
    good(&project.run(&format!("run playbooks/hydrate.rhai {customer}")), 0);
    let again = project.run(&format!("plan playbooks/hydrate.rhai {customer} --json"));
    good(&again, 0);
    assert_eq!(plan(&again)["first_tokens"], json!([]));
}

#[test]
fn what_the_service_will_choose_has_the_saved_plans_name_wherever_it_is_shown() {
    let project = Folder::stock();
    let planned = project.run("plan playbooks/onboard.rhai --customers customers --json --out plans");
    good(&planned, 2);
    let invented = regex::Regex::new(
        r"[a-z0-9]{15}\.(eu|uk|us)\.qlikcloud\.com|\b[0-9a-f]{24}\b|/tenants/[A-Za-z0-9_-]{32}|\d\d:\d\d:\d\d.\d{3}Z",
    )
    .unwrap();
    for plan in planned.json()["plans"].as_array().unwrap() {
        let host = "${0:createTenant#0/hostnames/0}";
        assert_eq!(plan["output"]["url"], format!("https://{host}"));
        let mut shown = plan.clone();
        shown["made"] = Value::Null;
        let text = shown.to_string();
        let found = invented.find_iter(&text).map(|found| found.as_str());
        // The group of everyone has the same id everywhere.
        let found: Vec<&str> = found.filter(|id| *id != "000000000000000000000001").collect();
        assert!(found.is_empty(), "{found:?}");
        // By these names a request is found in the saved plan.
        let request = plan["changes"][1]["requests"][0].clone();
        let file = project.path().join(format!("plans/{}.plan.json", plan["customer"].as_str().unwrap()));
        let saved: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let write = saved["writes"].as_array().unwrap().iter().find(|write| write["key"] == request["key"]).unwrap();
        assert_eq!((&write["request"]["host"], &write["request"]["path"]), (&request["host"], &request["path"]));
        assert!(request["path"].as_str().unwrap().contains("${0:createTenant#0/"), "{request}");
    }
    let text = project.run("plan playbooks/onboard.rhai --customer customers/fenwick.yaml -v").out;
    assert!(!invented.is_match(&text.replace("000000000000000000000001", "everyone")), "{text}");
}
