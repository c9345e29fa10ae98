//! Sessions in flight against memory: each has asked for an operation from within a branch, so it holds two stacks.
//!
//! `cargo bench --bench sessions` prints, for 1,000 and 10,000 sessions: resident memory, and the time to start all,
//! answer 40 operations each and end them.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![allow(clippy::unchecked_time_subtraction, reason = "the clock does not go back")]

mod support;

use std::sync::Arc;

use serde_json::json;
use tenantry::operation::{Call as Performed, Effect, Operation, Response};
use tenantry::playbook::{Call, Extension, Limits, Playbook, Runtime, ScriptError, Session, Start};
use tenantry::surroundings::{Clock as _, SystemClock};

use support::resident;

#[global_allocator]
static ALLOCATOR: tenantry::MeteredAllocator = tenantry::MeteredAllocator;

const PLAYBOOK: &str = "parallel([1], |_x| { for i in 0..40 { ask(\"read\"); } });";

fn extension() -> Extension {
    Arc::new(|engine: &mut rhai::Engine| {
        engine.register_fn("ask", |context: rhai::NativeCallContext, id: &str| -> Result<(), ScriptError> {
            let mut call = Call::begin(&context, "ask")?;
            call.ask(Operation {
                id: id.to_owned(),
                call: Performed::Local { arguments: json!({}) },
                effect: Effect::Read,
                subject: id.to_owned(),
                site: None,
            })?;
            Ok(())
        });
    })
}

fn measure(count: u32) {
    let clock = Arc::new(SystemClock::default());
    let runtime = Runtime::new(std::env::temp_dir(), &[extension()]);
    let playbook = Playbook::from_source("bench.rhai", PLAYBOOK).expect("the playbook is right");
    let (before, began) = (resident(), clock.elapsed());
    let mut sessions: Vec<Session> = (0..count)
        .map(|index| {
            let start = Start {
                customer: json!({ "code": format!("c{index}"), "name": "A customer" }),
                limits: Limits::default(),
                clock: clock.clone(),
                verify: false,
            };
            runtime.start(&playbook, start).expect("the session starts")
        })
        .collect();
    let mut asked: Vec<_> = sessions.iter_mut().map(Session::asked).collect();
    let held = resident();
    let mut answered = 0_usize;
    while asked.iter().any(|asked| !asked.is_empty()) {
        for (session, asked) in sessions.iter_mut().zip(&mut asked) {
            for (key, _) in std::mem::take(asked) {
                session.answer(&key, Ok(Response::local(json!(null))));
                answered += 1;
            }
            *asked = session.asked();
        }
    }
    for session in sessions {
        session.finish().expect("the script ends well");
    }
    let took = clock.elapsed() - began;
    println!(
        "{count:>6} sessions in flight: {:>6.1} MB resident ({:.1} KB each), {answered} answers in {:.2} s",
        held,
        (held - before) * 1024.0 / f64::from(count),
        took.as_secs_f64(),
    );
}

fn main() {
    for count in [1_000, 10_000] {
        measure(count);
    }
}
