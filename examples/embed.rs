//! A program of yours that onboards customers: a host with a function and an operation of its own.
//!
//! `cargo run --example embed`

#![allow(clippy::print_stdout, reason = "an example prints what came of it")]

use rhai::NativeCallContext;
use serde_json::{Value, json};
use tenantry::operation::{Effect, Failure};
use tenantry::playbook::{Call, ScriptError};
use tenantry::{Customer, Host, LocalOperation};

const PLAYBOOK: &str = r#"
    let tenant = tenants::ensure(customer);
    tenant.spaces.ensure("Staging", "shared");
    output(#{ ticket: open_ticket(`${customer.name} is at ${tenant.url}`) });
"#;

/// What performs the operation. It may do anything, with any client: here it only answers.
async fn open_in_crm(arguments: Value) -> Result<Value, Failure> {
    Ok(json!({ "ticket": format!("T-{}", arguments["text"].as_str().unwrap_or_default().len()) }))
}

/// What a playbook calls. It asks for the operation; whoever runs the playbook performs it.
fn open_ticket(context: NativeCallContext, text: &str) -> Result<String, ScriptError> {
    let mut call = Call::begin(&context, "open_ticket")?;
    let answer = call.ask_local("crm.openTicket", Effect::Create, "ticket", json!({ "text": text }))?;
    Ok(answer["ticket"].as_str().unwrap_or_default().to_owned())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?; // registry and sandbox live here; a service names a folder of its own
    let host = Host::builder()
        .root(folder.path())
        .functions(|engine| _ = engine.register_fn("open_ticket", open_ticket))
        .operation(LocalOperation::new("crm.openTicket", Effect::Create, open_in_crm))
        .build()?;
    let playbook = host.playbook_from_text("onboard.rhai", PLAYBOOK)?;
    let customer = Customer::from_value(json!({ "code": "hb", "name": "Harbour Logistics", "region": "eu" }))?;
    let report = host.run(&playbook, &customer, "sandbox").await;
    println!("{}", serde_json::to_string_pretty(&report)?);
    Ok(())
}
