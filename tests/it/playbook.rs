//! Sessions: keys, branches, budgets, cancel; what scripts may and may not do.

use std::sync::Arc;
use std::time::Duration;

use rhai::NativeCallContext;
use serde_json::{Value, json};
use tenantry::operation::{Call as Performed, Effect, Failure, FailureKind, Key, Operation, Response};
use tenantry::playbook::{
    Call, Diagnostic, Extension, Limits, Playbook, Progress, Runtime, ScriptError, Session, Start,
};
use tenantry::surroundings::SystemClock;

#[global_allocator]
static ALLOCATOR: tenantry::playbook::MeteredAllocator = tenantry::playbook::MeteredAllocator;

/// `ask(name)` asks for a local operation of that name and gives its answer; `shout()` panics.
fn extension() -> Extension {
    Arc::new(|engine: &mut rhai::Engine| {
        engine.register_fn("ask", |context: NativeCallContext, name: &str| -> Result<rhai::Dynamic, ScriptError> {
            let mut call = Call::begin(&context, "ask")?;
            let response = call.ask(Operation {
                id: name.to_owned(),
                call: Performed::Local { arguments: json!({}) },
                effect: Effect::Read,
                subject: name.to_owned(),
                site: None,
            })?;
            tenantry::playbook::value::from_json(response.json()).map_err(|error| error.to_string().into())
        });
        engine.register_fn("claim", |context: NativeCallContext, name: &str| -> Result<(), ScriptError> {
            Call::begin(&context, "claim")?.claim("tenant", name)
        });
        engine.register_fn(
            "output",
            |context: NativeCallContext, name: &str, value: rhai::Dynamic| -> Result<(), ScriptError> {
                let value =
                    tenantry::playbook::value::to_json(&value).map_err(|error| ScriptError::from(error.to_string()))?;
                Call::begin(&context, "output")?.output([(name.to_owned(), value)].into_iter().collect());
                Ok(())
            },
        );
        engine.register_fn("shout", || panic!("loud"));
    })
}

fn start_with(source: &str, customer: Value, limits: Limits) -> Result<Session, Diagnostic> {
    start_in(&std::env::temp_dir(), source, customer, limits)
}

fn start_in(project: &std::path::Path, source: &str, customer: Value, limits: Limits) -> Result<Session, Diagnostic> {
    let runtime = Runtime::new(project, &[extension()]);
    let playbook = Playbook::from_source("test.rhai", source)?;
    runtime.start(&playbook, Start { customer, limits, clock: Arc::new(SystemClock::default()), verify: false })
}

fn start(source: &str) -> Session {
    start_with(source, json!({ "name": "Harbour", "users": [{ "id": 1 }, { "id": 2 }] }), Limits::default()).unwrap()
}

/// Runs to the end, answering `fail*` with an error and everything else with its own name; answers are handed in
/// beginning with the last asked when `backwards`.
fn drive(session: &mut Session, backwards: bool) -> Vec<String> {
    let mut keys = Vec::new();
    let mut open: Vec<(Key, Operation)> = Vec::new();
    loop {
        open.extend(session.asked());
        let next = if backwards { open.pop() } else { (!open.is_empty()).then(|| open.remove(0)) };
        let Some((key, operation)) = next else { return keys };
        keys.push(key.to_string());
        let outcome = if operation.id.starts_with("fail") {
            Err(Failure::new(FailureKind::Refused, "TEST-1", format!("{} refused", operation.id)))
        } else {
            Ok(Response::local(json!(operation.id)))
        };
        session.answer(&key, outcome);
    }
}

fn output(source: &str) -> Result<Value, Diagnostic> {
    let mut session = start(source);
    drive(&mut session, false);
    session.finish().map(Value::Object)
}

fn failure(source: &str) -> Diagnostic {
    output(source).expect_err("the script should have failed")
}

#[test]
fn keys_name_branch_call_and_operation() {
    let mut session =
        start(r#"ask("a"); let r = parallel([1, 2], |x| ask(`b${x}`) + ask("c")); ask("d"); output("r", r);"#);
    let keys = drive(&mut session, false);
    assert_eq!(keys, ["0:a#0", "1[0].0:b1#0", "1[1].0:b2#0", "1[0].1:c#0", "1[1].1:c#0", "2:d#0"]);
    assert_eq!(session.finish().unwrap()["r"], json!(["b1c", "b2c"]));
}

#[test]
fn the_order_of_answers_changes_neither_keys_nor_results() {
    let source = r#"let r = parallel(0..20, |x| parallel([x, x + 100], |y| ask(`a${y}`))); output("r", r);"#;
    let source = source.replace("0..20", "[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]");
    let run = |backwards| {
        let mut session = start(&source);
        let mut keys = drive(&mut session, backwards);
        keys.sort();
        (keys, session.finish().unwrap())
    };
    let (forwards, backwards) = (run(false), run(true));
    assert_eq!(forwards.0.len(), 40);
    assert_eq!(forwards, backwards);
}

#[test]
fn however_often_a_playbook_looks_what_it_asks_later_has_the_same_key() {
    let looks = |times: u32| {
        let source = r#"ask("a"); let n = 0; wait_until(|| { ask("look"); n += 1; n == TIMES }); ask("b");"#;
        drive(&mut start(&source.replace("TIMES", &times.to_string())), false)
    };
    assert_eq!(looks(1), ["0:a#0", "1[0].0:look#0", "2:b#0"]);
    let thrice = [
        "0:a#0",
        "1[0].0:look#0",
        "1[0].1:tenantry.pause#0",
        "1[0].2:look#0",
        "1[0].3:tenantry.pause#0",
        "1[0].4:look#0",
        "2:b#0",
    ];
    assert_eq!(looks(3), thrice);
}

#[test]
fn at_most_eight_branches_run_at_once() {
    let mut session = start(r"parallel([1,2,3,4,5,6,7,8,9,10], |x| ask(`a${x}`));");
    let asked = session.asked();
    assert_eq!(asked.len(), 8);
    session.answer(&asked[3].0, Ok(Response::local(json!(1))));
    assert_eq!(session.asked().len(), 1);
    session.cancel();
    assert!(session.finish().expect_err("cancelled").cancelled);
}

#[test]
fn the_first_failed_branch_is_thrown_after_the_others_finished() {
    let source = r#"
        let seen = "";
        try { parallel([1, 2, 3], |x| if x == 1 { ask("ok") } else { ask(`fail${x}`) }); } catch (err) { seen = err.title; }
        output("seen", seen);
    "#;
    assert_eq!(output(source).unwrap()["seen"], "fail2 refused");
}

#[test]
fn branches_work_on_copies() {
    let source = r#"
        let list = [1]; let box = #{ list: list };
        parallel([1, 2], |x| { list.push(x); box.list.push(x); list.len() });
        output("list", list); output("box", box);
    "#;
    assert_eq!(output(source).unwrap(), json!({ "list": [1], "box": { "list": [1] } }));
}

#[test]
fn branches_that_deal_with_one_thing_are_told_apart() {
    let error = failure("parallel([1, 2],\n  |x| claim(\"space Staging\"));");
    assert_eq!(error.message, "two branches of one `parallel` both deal with space Staging: both at test.rhai:2:7");
    output(r#"claim("s"); parallel([1], |x| claim("s")); parallel([1, 2], |x| claim(`s${x}`)); claim("s1");"#).unwrap();
}

#[test]
fn customer_is_visible_everywhere_and_read_only() {
    let source = r#"
        fn name() { customer.name }
        let f = || customer.name;
        let copy = customer; copy.name = "other";
        output("names", [name(), f.call(), customer.name, customer.users.map(|u| u.id), customer["name"]]);
    "#;
    assert_eq!(output(source).unwrap()["names"], json!(["Harbour", "Harbour", "Harbour", [1, 2], "Harbour"]));
    for write in [
        "customer.name = 1;",
        "customer.users.push(1);",
        "let u = customer; u.users.push(1);",
        "let u = customer.users; u[0].id = 3;",
        "customer.users[0].id = 3;",
        "customer = 1;",
        "customer.users.clear();",
        "for u in customer.users { u.id = 9; }",
    ] {
        let error = output(write);
        // A copy may be changed; the original may not.
        let after =
            output(&format!("try {{ {write} }} catch {{ }} output(\"c\", [customer.name, customer.users]);")).unwrap();
        assert_eq!(after["c"], json!(["Harbour", [{ "id": 1 }, { "id": 2 }]]), "{write}: {error:?}");
    }
    assert_eq!(output("fn f(customer) { customer } output(\"x\", f(3));").unwrap()["x"], 3);
    assert_eq!(output("let customer = 4; output(\"x\", customer);").unwrap()["x"], 4);
}

#[test]
fn bombs_and_endless_loops_end_in_an_error_that_cannot_be_caught() {
    let cases = [
        ("loop { }", "steps"),
        ("while true { }", "steps"),
        ("let s = \"x\"; loop { s += s; }", "memory"),
        ("let a = [1]; loop { a += a; }", "memory"),
        ("let a = [1]; loop { a = [a, a]; }", "memory"),
        (
            "let m = #{}; let i = 0; loop { m[`${i}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`] = i; i += 1; }",
            "memory",
        ),
        ("\"x\".pad(2000000000, \"y\");", "memory"),
        ("let a = []; a.pad(2000000000, 1);", "memory"),
        ("blob(2000000000);", "memory"),
        ("let s = \"x\"; s.pad(1000000, \"x\"); s.replace(\"x\", s);", "memory"),
        ("let s = \"x\"; s.pad(20000000, \"x\"); s.split(\"\");", "memory"),
        ("let s = \"x\"; s.pad(1000000, 'x'); s.split(\"x\", 1000000000);", "memory"),
        ("let s = \"x\"; s.pad(1000000, 'x'); s.split_rev('x', 1000000000);", "memory"),
        ("let a = [\"x\"]; let f = || a; for i in 0..40 { a = [a, a]; f = || a; } a.to_string();", "memory"),
        ("let a = [1]; let f = || a; for i in 0..40 { a = [a, a]; f = || a; } `${a}`;", "memory"),
        ("fn f(n) { f(n + 1) } f(0);", "64 deep"),
        ("let f = |f| f.call(f); f.call(f);", "64 deep"),
        ("parallel([1], |x| { loop { } });", "steps"),
        ("shout();", "loud"),
        ("parallel([1, 2], |x| shout());", "loud"),
    ];
    for (source, expected) in cases {
        let started = Limits { steps: 2_000_000, memory: 16 << 20, ..Limits::default() };
        let wrapped = format!("try {{ {source} }} catch {{ output(\"caught\", true); }}");
        let wrapped = if source.starts_with("fn f") { source.to_owned() } else { wrapped };
        let mut session = start_with(&wrapped, json!({}), started).unwrap();
        drive(&mut session, false);
        match session.finish() {
            Err(error) => assert!(error.message.contains(expected), "{source}: {}", error.message),
            // Too deep a recursion is an ordinary error.
            Ok(output) => assert!(expected == "64 deep" && output["caught"] == true, "{source}: {output:?}"),
        }
    }
}

#[test]
fn deep_values_neither_crash_nor_pass() {
    let source = "let s = [[]]; for i in 0..10000 { s.push([s.pop()]); } let t = s; output(\"n\", t.len());";
    assert_eq!(output(source).unwrap()["n"], 1);
    let error = failure("let s = []; for i in 0..1000 { s = [s]; } output(\"s\", s);");
    assert!(error.message.contains("more than 128 deep"), "{}", error.message);
    let error = failure("let s = []; for i in 0..2000 { s = [s]; } let t = s; s == t;");
    assert!(error.message.contains("more than 128 deep"), "{}", error.message);
    let error = failure("let s = []; for i in 0..2000 { s = [s]; } print(s);");
    assert!(error.message.contains("more than 128 deep"), "{}", error.message);
    let closures = "let f = || 1; for i in 0..1000 { let g = f; f = || g.call(); } output(\"n\", 1);";
    assert_eq!(output(closures).unwrap()["n"], 1);
}

#[test]
fn deeply_nested_text_is_a_syntax_error() {
    for source in [
        "(".repeat(100_000),
        "[".repeat(100_000),
        "#{a:".repeat(100_000),
        "if true {".repeat(50_000),
        "-".repeat(100_000),
    ] {
        let error = start_with(&source, json!({}), Limits::default()).err().expect("a syntax error");
        assert!(error.message.starts_with("syntax error"), "{}", error.message);
    }
}

#[test]
fn a_busy_script_takes_breaths() {
    let mut session = start("let n = 0; for i in 0..100000 { n += i; } ask(\"a\");");
    let mut breaths = 0;
    while session.advance() == Progress::Busy {
        breaths += 1;
    }
    assert!(breaths >= 5, "{breaths}");
    assert_eq!(session.take_asked().len(), 1);
}

#[test]
fn dropping_a_session_in_the_middle_is_clean() {
    for answers in 0..12 {
        let mut session = start(
            r#"ask("a"); parallel([1,2,3], |x| parallel([1,2], |y| { let held = "x".len(); ask("b"); ask("c") }));"#,
        );
        let mut open = session.asked();
        for _ in 0..answers {
            let Some((key, _)) = open.pop() else { break };
            session.answer(&key, Ok(Response::local(json!(1))));
            open.extend(session.asked());
        }
        drop(session);
    }
}

#[test]
fn time_spent_computing_is_limited() {
    let limits = Limits { script_time: Duration::ZERO, ..Limits::default() };
    let mut session = start_with("let n = 0; for i in 0..100000 { n += i; }", json!({}), limits).unwrap();
    drive(&mut session, false);
    assert!(session.finish().unwrap_err().message.contains("ran for more than"));
}

#[test]
fn errors_carry_their_place_and_the_calls_that_led_there() {
    let error = failure("fn inner() {\n  ask(\"fail1\")\n}\nfn outer() { inner() }\nouter();");
    assert_eq!(error.site.unwrap().to_string(), "test.rhai:2:3");
    assert_eq!(error.line.as_deref(), Some("  ask(\"fail1\")"));
    let stack: Vec<String> =
        error.stack.iter().map(|frame| format!("{} {}", frame.function, frame.site.as_ref().unwrap())).collect();
    assert_eq!(stack, ["inner test.rhai:4:14", "outer test.rhai:5:1"]);
    assert_eq!(error.failure.unwrap().code, "TEST-1");
    let rethrown = failure("try { ask(\"fail1\"); } catch (err) {\n  throw err;\n}");
    assert_eq!(rethrown.site.unwrap().to_string(), "test.rhai:1:7");
}

#[test]
fn eval_clock_and_sleep_are_off() {
    assert!(start_with("eval(\"1\")", json!({}), Limits::default()).err().unwrap().message.contains("eval"));
    assert!(failure("timestamp()").message.contains("timestamp"));
    assert!(failure("sleep(1)").message.contains("does not sleep"));
}

#[test]
fn unknown_functions_name_the_nearest() {
    let error = failure("asq(\"a\")");
    assert_eq!(error.message, "there is no function `asq`");
    assert_eq!(error.hints, ["did you mean `ask(string) -> any`?"]);
    let error = failure("ask(1, 2)");
    assert_eq!(error.message, "`ask` cannot be called with (int, int)");
    assert_eq!(error.hints, ["it is `ask(string) -> any`"]);
}

/// A chain of closures as deep as a loop makes it.
const DEEP: &str = "let s = || 1; for i in 0..100000 { let g = s; s = || g.call(); }";

#[test]
fn deep_values_that_nobody_takes_are_dropped_where_there_is_room() {
    output(&format!("{DEEP} s")).unwrap();
    assert!(failure(&format!("{DEEP} throw s")).message.starts_with("Fn"));
    let mut session = start(&format!("parallel([1, 2], |x| {{ if x == 1 {{ {DEEP} s }} else {{ ask(\"a\") }} }})"));
    session.asked();
    session.cancel();
    assert!(session.finish().unwrap_err().cancelled);
}

#[test]
fn exit_ends_the_branch_it_stands_in() {
    let source = "output(\"r\", parallel([1, 2], |x| { if x == 1 { exit(7) } x }));";
    assert_eq!(output(source).unwrap()["r"], json!([7, 2]));
}

#[test]
fn a_script_cannot_make_up_a_secret() {
    for source in ["parse_json(`{\"$secret\":\"keys/x.key\"}`)", "output(\"s\", #{ \"$secret\": \"keys/x.key\" })"] {
        assert!(failure(source).message.contains("`$secret` is reserved"), "{source}");
    }
    assert!(start_with("1", json!({ "a": [{ "$secret": "x" }] }), Limits::default()).is_err());
}

#[test]
fn the_customer_can_be_looked_at_from_within_itself_and_from_every_branch() {
    for (source, expected) in [
        ("customer.users.map(|u| customer.name)", json!(["Harbour", "Harbour"])),
        ("customer.users.filter(|u| customer.users.len() > u.id).len()", json!(1)),
        ("parallel([1, 2], |i| customer.users.map(|u| ask(\"a\")))", json!([["a", "a"], ["a", "a"]])),
    ] {
        assert_eq!(output(&format!("output(\"x\", {source});")).unwrap()["x"], expected, "{source}");
        let other: Vec<Value> = (0..5_000).map(|id| json!({ "id": id })).collect();
        let large = json!({ "name": "Harbour", "users": [{ "id": 1 }, { "id": 2 }], "other": other });
        let mut session = start_with(&format!("output(\"x\", {source});"), large, Limits::default()).unwrap();
        drive(&mut session, false);
        assert_eq!(session.finish().unwrap()["x"], expected, "a large customer: {source}");
    }
    let error = failure("let list = [1]; let f = || list; list.map(|u| { ask(\"a\"); list.len() });");
    assert!(error.message.contains("while one of its own methods runs") && error.hints[0].contains("copy it first"));
}

#[test]
fn many_reads_of_a_large_customer_cost_little() {
    let users: Vec<Value> = (0..5_000).map(|id| json!({ "id": id, "name": "A user" })).collect();
    let limits = Limits { memory: 16 << 20, ..Limits::default() };
    let source = "let n = 0; for i in 0..400 { n += customer.users.len(); } output(\"n\", n);";
    let mut session = start_with(source, json!({ "users": users }), limits).unwrap();
    drive(&mut session, false);
    assert_eq!(session.finish().unwrap()["n"], 2_000_000);
}

#[test]
fn deep_values_of_modules_and_of_branches_that_were_joined_are_dropped_where_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lib.rhai"), format!("{DEEP} export s;")).unwrap();
    for source in [
        "import \"lib\" as lib; ask(\"a\");".to_owned(),
        "parallel([1, 2], |x| { import \"lib\" as lib; ask(\"a\") });".to_owned(),
        format!("parallel([1, 2], |x| {{ {DEEP} ask(\"a\"); s }});"),
    ] {
        let mut session = start_in(folder.path(), &source, json!({}), Limits::default()).unwrap();
        drive(&mut session, false);
        session.finish().unwrap();
        let mut session = start_in(folder.path(), &source, json!({}), Limits::default()).unwrap();
        for (key, _) in session.asked() {
            session.answer(&key, Ok(Response::local(json!(1))));
        }
        session.cancel();
        assert!(session.finish().unwrap_err().cancelled);
    }
}

#[test]
fn what_is_thrown_is_shown_within_bounds() {
    let error = failure("let s = \"x\"; s.pad(10000000, 'x'); throw [s, s, s, s];");
    assert_eq!(error.message, "the value is too large to be shown");
    let error = failure("let s = []; for i in 0..1000 { s = [s]; }\nthrow s;");
    assert!(error.message.contains("more than 128 deep"), "{}", error.message);
    assert_eq!(error.site.unwrap().line, 2);
    assert_eq!(failure("throw #{ code: 7 };").message, r#"{"code":7}"#);
}

#[test]
fn a_built_in_that_swallows_errors_does_not_save_a_session_from_its_end() {
    let sort = r#"let a = [3, 1, 2]; a.sort(|x, y| { ask("a"); x - y });"#;
    for rest in ["", "let n = 0; while true { n += 1; }", r#"parallel([1], |x| ask("b"));"#] {
        let source = format!("{sort} {rest}");
        let limits = Limits { operations: 1, ..Limits::default() };
        let mut session = start_with(&source, json!({}), limits).unwrap();
        drive(&mut session, false);
        assert!(session.finish().unwrap_err().message.contains("more than 1 operations"), "{rest}");
        // Within branches too: one that went on after its end could suspend, and its parent must not outlive that.
        for source in [source.clone(), format!("parallel([1, 2], |x| {{ {source} }})")] {
            let mut session = start(&source);
            session.asked();
            session.cancel();
            assert!(session.finish().unwrap_err().cancelled, "{source}");
        }
    }
}

#[test]
fn what_a_module_asks_does_not_depend_on_which_branch_was_faster() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("lib.rhai"), "let token = ask(\"lib\"); export token;").unwrap();
    let source = r#"
        let r = parallel([0, 1, 2], |x| {
            for i in 0..x { ask("before"); }
            import "lib" as lib;
            ask("after") + lib::token
        });
        output("r", r);"#;
    let run = |backwards| {
        let mut session = start_in(folder.path(), source, json!({}), Limits::default()).unwrap();
        let mut keys = drive(&mut session, backwards);
        keys.sort();
        (keys, session.finish().unwrap())
    };
    assert_eq!(run(false), run(true));
}
