//! A session tells every file of the project that it used, so that it can be run again from what it told.

use std::path::Path;
use std::sync::Arc;

use rhai::NativeCallContext;
use serde_json::{Map, Value, json};
use tenantry::operation::{Call as Performed, Effect, Operation, Response};
use tenantry::playbook::{Call, Diagnostic, Extension, Limits, Playbook, Runtime, ScriptError, Start, Told};
use tenantry::render::Templates;
use tenantry::surroundings::SystemClock;

const PLAYBOOK: &str = r#"
    import "lib/naming" as naming;
    fn named(c) { import "lib/naming" as naming; naming::name(c) }
    ask("before");
    let names = parallel([1, 2, 3], |n| { ask("branch"); named(customer) });
    let body = render("idp.json", customer);
    ask("with template");
    let again = render("idp.json", #{ name: "Other" });
    let theme = bundle("theme", customer);
    ask("with bundle");
    let lost = "";
    try { import "lib/namin" as wrong; wrong::name(customer); } catch (why) { lost = why; }
    let broken = "";
    try { render("broken.txt", customer); } catch (why) { broken = why.detail; }
    output(#{ names: names, body: body, again: again, lost: lost, broken: broken });
"#;

fn project() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in [
        ("main.rhai", PLAYBOOK.as_bytes()),
        ("lib/naming.rhai", b"import \"deep/suffix\" as suffix; fn name(c) { c.name + suffix::SUFFIX }"),
        ("lib/deep/suffix.rhai", b"export const SUFFIX = \" Ltd\";"),
        ("lib/unused.rhai", b"fn unused() {}"),
        (
            "templates/idp.json",
            b"{% include 'parts/name.json' %}{% include ['parts/none.json', 'parts/end.json'] ignore missing %}",
        ),
        ("templates/parts/name.json", b"{\"name\": {{ name }}"),
        ("templates/parts/end.json", b"}"),
        ("templates/parts/unused.json", b"{}"),
        ("templates/broken.txt", b"one\n{{ name "),
        ("templates/theme/theme.qext", b"{\"name\": {{ name }}}"),
        ("templates/theme/logo.png", b"\x89PNG\0\xff"),
    ] {
        write(folder.path(), path, content);
    }
    folder
}

fn write(folder: &Path, path: &str, content: &[u8]) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn runtime(folder: &Path) -> Runtime {
    let templates = Arc::new(Templates::new(folder));
    let functions: Extension = Arc::new(move |engine| tenantry::functions::register(engine, &templates));
    let asking: Extension = Arc::new(|engine| {
        engine.register_fn("ask", |context: NativeCallContext, name: &str| -> Result<(), ScriptError> {
            let call = Performed::Local { arguments: json!({}) };
            let (id, subject, site) = (name.to_owned(), name.to_owned(), None);
            Call::begin(&context, "ask")?.ask(Operation { id, call, effect: Effect::Read, subject, site })?;
            Ok(())
        });
    });
    Runtime::new(folder, &[functions, asking])
}

type Files = Vec<(String, Vec<u8>)>;

/// What a session told (files) and asked, in order; the files; and what came of it.
fn session(runtime: &Runtime, folder: &Path) -> (Vec<String>, Files, Result<Map<String, Value>, Diagnostic>) {
    let playbook = Playbook::load(folder, Path::new("main.rhai")).unwrap();
    let start = Start {
        customer: json!({ "name": "Harbour" }),
        limits: Limits::default(),
        clock: Arc::new(SystemClock::default()),
        verify: false,
    };
    let mut session = runtime.start(&playbook, start).unwrap();
    let (mut order, mut files) = (Vec::new(), Vec::new());
    loop {
        let asked = session.asked();
        for told in session.told() {
            if let Told::Read { path, content } = told {
                order.push(path.clone());
                files.push((path, content.to_vec()));
            }
        }
        for (key, operation) in &asked {
            order.push(format!("? {}", operation.id));
            session.answer(key, Ok(Response::local(Value::Null)));
        }
        if asked.is_empty() {
            return (order, files, session.finish());
        }
    }
}

#[test]
fn every_file_is_told_once_and_before_what_depends_on_it() {
    let folder = project();
    let runtime = runtime(folder.path());
    let (order, files, output) = session(&runtime, folder.path());
    assert_eq!(
        order,
        [
            "main.rhai",
            "lib/naming.rhai",
            "lib/deep/suffix.rhai",
            "? before",
            "? branch",
            "? branch",
            "? branch",
            "templates/idp.json",
            "templates/parts/name.json",
            "templates/parts/end.json",
            "? with template",
            "templates/theme/logo.png",
            "templates/theme/theme.qext",
            "? with bundle",
            "templates/broken.txt",
        ],
        "{output:?}"
    );
    for (path, content) in &files {
        assert_eq!(*content, std::fs::read(folder.path().join(path)).unwrap(), "{path}");
    }
    let again = session(&runtime, folder.path());
    assert_eq!((again.0, again.1), (order, files), "what the runtime has kept is told by every session");
}

#[test]
fn what_was_told_is_enough_to_run_it_again() {
    let folder = project();
    let (order, files, output) = session(&runtime(folder.path()), folder.path());
    let elsewhere = tempfile::tempdir().unwrap();
    for (path, content) in &files {
        write(elsewhere.path(), path, content);
    }
    let again = session(&runtime(elsewhere.path()), elsewhere.path());
    let output = output.unwrap();
    assert_eq!(output["names"], json!(["Harbour Ltd", "Harbour Ltd", "Harbour Ltd"]));
    assert!(output["lost"].as_str().unwrap().contains("did you mean `lib/naming`?"), "{output:?}");
    assert!(output["broken"].as_str().unwrap().contains("{{ name"), "{output:?}");
    assert_eq!((again.0, again.1, again.2.unwrap()), (order, files, output));
}

#[test]
fn a_file_a_message_depends_on_is_told_too() {
    let folder = project();
    write(folder.path(), "main.rhai", b"import \"lib/unusd\" as wrong;");
    let (order, _, output) = session(&runtime(folder.path()), folder.path());
    assert!(output.unwrap_err().message.contains("did you mean `lib/unused`?"));
    assert_eq!(order, ["main.rhai", "lib/unused.rhai"]);
}

#[test]
fn a_library_that_changes_meanwhile_is_one_file_to_a_session() {
    let folder = project();
    let playbook = "ask(1.to_string()); let all = parallel([1, 2], |n| { import \"lib/naming\" as l; ask(\"x\"); l::name(customer) });
                    ask(\"change\"); import \"lib/naming\" as l; output(#{ all: all, last: l::name(customer) });";
    write(folder.path(), "main.rhai", playbook.as_bytes());
    let runtime = runtime(folder.path());
    let loaded = Playbook::load(folder.path(), Path::new("main.rhai")).unwrap();
    let start = Start {
        customer: json!({ "name": "Harbour" }),
        limits: Limits::default(),
        clock: Arc::new(SystemClock::default()),
        verify: false,
    };
    let mut session = runtime.start(&loaded, start).unwrap();
    loop {
        let asked = session.asked();
        for (key, operation) in &asked {
            if operation.id == "change" {
                write(folder.path(), "lib/naming.rhai", b"fn name(c) { \"changed\" }");
            }
            session.answer(key, Ok(Response::local(Value::Null)));
        }
        if asked.is_empty() {
            break;
        }
    }
    let output = session.finish().unwrap();
    assert_eq!(output["last"], output["all"][0], "{output:?}");
}
