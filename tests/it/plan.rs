//! Plans: what a dry run says is what a run does.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rhai::NativeCallContext;
use serde_json::{Value, json};
use tenantry::operation::Effect;
use tenantry::playbook::{Call, ScriptError};
use tenantry::simulate::{Case, Many};
use tenantry::{Change, Customer, Host, LocalOperation, Project, RunStatus};

/// How many tenants and customers are drawn by chance.
const SEEDS: u64 = 500;

fn paused() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()
}

#[test]
fn whatever_the_tenant_and_the_customer_a_plan_is_what_applying_it_does() {
    let project = Project::open(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap().state_in(env!("CARGO_TARGET_TMPDIR"));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let many = Many { cases: Case::alone(&project).unwrap(), threads, runtime: paused };
    let done = many.rehearse(0..SEEDS).unwrap();
    println!("{done:?}");
    let shown: Vec<_> = done.failures.iter().take(3).collect();
    assert!(done.failures.is_empty(), "{} plans were not right: {shown:#?}", done.failures.len());
    assert_eq!(done.plans, SEEDS);
    assert!(done.writes > SEEDS * 3 && done.empty > SEEDS / 10, "{done:?}");
    assert!(done.failing > SEEDS / 20 && done.stopped > SEEDS / 30, "{done:?}");
}

#[test]
fn what_an_embedders_operation_would_write_is_in_the_plan_and_kept_to() {
    let opened = Arc::new(Mutex::new(Vec::new()));
    let folder = tempfile::tempdir().unwrap();
    let host = |text: &'static str| {
        let opened = Arc::clone(&opened);
        let open = move |arguments: Value| {
            opened.lock().unwrap().push(arguments["text"].clone());
            async move { Ok(json!({ "ticket": format!("T-{}", arguments["text"]) })) }
        };
        let operation =
            LocalOperation::new("crm.openTicket", Effect::Create, open).plan(|_| json!({ "ticket": "T-1" }));
        let ask = move |context: NativeCallContext| -> Result<String, ScriptError> {
            let mut call = Call::begin(&context, "open_ticket")?;
            let answer = call.ask_local("crm.openTicket", Effect::Create, "ticket", json!({ "text": text }))?;
            Ok(answer["ticket"].as_str().unwrap_or_default().to_owned())
        };
        let functions = move |engine: &mut rhai::Engine| _ = engine.register_fn("open_ticket", ask);
        Host::builder().root(folder.path()).functions(functions).operation(operation).build().unwrap()
    };
    std::fs::create_dir(folder.path().join("playbooks")).unwrap();
    std::fs::write(folder.path().join("playbooks/ticket.rhai"), "output(#{ ticket: open_ticket() });").unwrap();
    let customer = Customer::from_value(json!({ "code": "hb", "name": "Harbour", "region": "eu" })).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let plan = |host: &Host| {
        let playbook = host.playbook("playbooks/ticket.rhai").unwrap();
        runtime.block_on(host.plan(&playbook, &customer, "sandbox").into_future())
    };

    let first = host("onboarded");
    let planned = plan(&first);
    let change = &planned.changes[0];
    assert_eq!(
        (change.change, &*change.subject, &*change.requests[0].operation),
        (Change::Created, "ticket", "crm.openTicket")
    );
    assert_eq!((planned.writes.len(), &planned.output["ticket"]), (0, &json!("T-1")), "no request to Qlik Cloud");
    assert!(opened.lock().unwrap().is_empty(), "a plan does nothing");
    let saved = planned.saved().unwrap();
    drop(first);

    let other = host("something else");
    let report = runtime.block_on(other.apply(saved.clone()).unwrap().into_future());
    let failure = report.error.unwrap().failure.unwrap();
    assert_eq!(failure.code, "tenantry/not-as-planned");
    assert!(opened.lock().unwrap().is_empty(), "nor does what was not planned");
    drop(other);

    let same = host("onboarded");
    let report = runtime.block_on(same.apply(saved).unwrap().into_future());
    assert_eq!((report.status, &report.output["ticket"]), (RunStatus::Succeeded, &json!("T-\"onboarded\"")));
    assert_eq!(*opened.lock().unwrap(), [json!("onboarded")]);
}
