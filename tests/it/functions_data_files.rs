//! `space.data_files`: uploaded once, and again only when nothing says that the content is there already.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use serde_json::{Value, json};
use tenantry::RunStatus;
use tenantry::event::Change;
use tenantry::interpreter::{Enrolment, Interpreter, Layer, License};
use tenantry::operation::{Body, Content, Effect, Failure, FailureKind, Key, Operation, Outcome, Response};

use crate::functions_driver::{Project, Report, converges};
use crate::support::crm::World;

const STAGING: &str = r#"let staging = tenant.spaces.ensure("Staging", "shared");
"#;
const NAME: &str = "data file \"rates/2026.csv\" in space \"Staging\"";

fn project() -> Project {
    let project = Project::new();
    project.file("content/rates.csv", "port,rate\nHamburg,3\n");
    project.file("content/other.csv", "port,rate\nHamburg,4\n");
    project
}

fn run(project: &Project, script: &str) -> Report {
    project.run(&format!("{STAGING}{script}"))
}

fn from(file: &str) -> String {
    format!(
        r#"{STAGING}output(#{{ held: staging.data_files.ensure("rates/2026.csv", #{{ file: "content/{file}" }}) }});"#
    )
}

/// The same sandbox as somebody else works with it, whose state file knows nothing.
fn elsewhere(project: &Project) -> Project {
    let mut other = Project::on(project.sandbox.clone());
    other.enrolment = Some(Enrolment::Organization {
        identity: project.sandbox.organization(),
        may_begin: true,
        lists: true,
        license: License::Key("target/license-key".to_owned()),
    });
    other.file("content/rates.csv", "port,rate\nHamburg,3\n");
    other.file("content/other.csv", "port,rate\nHamburg,4\n");
    other
}

#[test]
fn a_file_is_uploaded_once_and_again_when_its_content_differs() {
    let project = project();
    run(&project, "").good();
    let [made, changed] = converges(&project, &from("rates.csv"), Some(&from("other.csv")));
    assert_eq!((made.writes(), made.last().subject.as_str()), (vec!["uploadDataFile"], NAME));
    let held = &made.output["held"];
    assert_eq!((&held["name"], &held["size"], held.get("content")), (&json!("rates/2026.csv"), &json!(20), None));
    assert_eq!((changed.writes(), changed.last().change), (vec!["reuploadDataFile"], Change::Updated));
    let known = |report: &Report| (report.last().fields[0].before.clone(), report.last().fields[0].after.clone());
    assert_eq!((known(&made).0, known(&changed).0), (Value::Null, known(&made).1), "it is known what was there before");
    assert_eq!(changed.output["held"]["id"], held["id"]);
    assert_eq!(changed.output["held"]["spaceId"], held["spaceId"], "it stays in its space");
    assert_eq!(project.run(&from("other.csv")).good().writes(), [""; 0]);
    assert_eq!(project.sandbox.violations(), [], "nothing that was sent broke the contract");
}

#[test]
fn what_was_made_in_the_run_is_uploaded_too() {
    let project = project();
    let script = format!(
        r#"{STAGING}staging.data_files.ensure("who.csv", #{{ content: render_text("code\n{{{{ code }}}}\n", customer) }});"#
    );
    let [made, _] = converges(&project, &script, None);
    let sent = made.operations.iter().find(|operation| operation.id == "uploadDataFile").unwrap();
    let Body::Multipart(parts) = &sent.request().unwrap().body else { panic!("{sent:?}") };
    assert!(matches!(&parts[1].content, Content::Text(text) if text == "code\nhb\n"), "{parts:?}");
    assert_eq!((parts[1].name.as_str(), parts[1].file_name.as_deref()), ("File", Some("who.csv")));
}

#[test]
fn only_a_file_that_is_as_it_was_left_counts_as_unchanged() {
    let project = project();
    project.run(&from("rates.csv")).good();
    let other = elsewhere(&project);
    let report = other.run(&from("rates.csv")).good();
    assert_eq!(report.writes(), ["reuploadDataFile"], "another state file does not know what the file holds");
    assert_eq!(other.run(&from("rates.csv")).good().writes(), [""; 0]);
    // Somebody else's content of the same size.
    project.later(Duration::from_secs(60));
    project.run(&from("other.csv")).good();
    assert_eq!(other.run(&from("rates.csv")).good().writes(), ["reuploadDataFile"]);
    // Removed and made anew with what was there.
    let anew = r#"staging.data_files.delete("rates/2026.csv"); staging.data_files.ensure("rates/2026.csv", #{ file: "content/rates.csv" });"#;
    run(&project, anew).good();
    assert_eq!(other.run(&from("rates.csv")).good().writes(), ["reuploadDataFile"]);
}

#[test]
fn files_belong_to_their_space_and_are_found_listed_and_deleted() {
    let project = project();
    project.run(&from("rates.csv")).good();
    let script = r#"let other = tenant.spaces.ensure("Other", "shared").data_files;
        staging.data_files.ensure("2026.csv", #{ content: "x" });
        output(#{
            names: staging.data_files.list().map(|held| held.name),
            other: other.find("2026.csv") == (),
            folder: staging.data_files.get("rates/2026.csv").folderPath,
            top: staging.data_files.get("2026.csv").size,
            any_case: staging.data_files.find("2026.CSV") == (),
        });
        other.ensure("2026.csv", #{ content: "x" });"#;
    let report = run(&project, script).good();
    let found = json!({ "names": ["rates/2026.csv", "2026.csv"], "other": true, "folder": "rates", "top": 1, "any_case": true });
    assert_eq!(Value::Object(report.output.clone()), found);
    assert_eq!(report.last().change, Change::Created, "the name is free in another space");
    let gone = r#"staging.data_files.delete("2026.csv"); staging.data_files.delete("2026.csv");"#;
    let report = run(&project, gone).good();
    assert_eq!((report.writes(), report.last().change), (vec!["deleteDataFile"], Change::Unchanged));
    let failed = run(&project, r#"staging.data_files.get("2026.csv");"#).failure();
    assert!(failed.contains("there is no data file \"2026.csv\" in space \"Staging\""), "{failed}");
}

/// What a look-up found has the name that was wanted, and another size.
#[test]
fn a_file_that_is_not_the_one_sent_is_replaced() {
    fn found(operation: &Operation, _: usize) -> Option<Outcome> {
        let size = match operation.id.as_str() {
            "uploadDataFile" => 7,
            "reuploadDataFile" => 20,
            _ => return None,
        };
        let held = json!({ "id": "ee6a390c-5d33-11e8-9c2d-fa7ae01bbebc", "name": "rates/2026.csv", "size": size });
        Some(Ok(Response { status: 201, ..Response::local(held) }))
    }
    let mut project = project();
    project.instead = Some(found);
    let report = project.run(&from("rates.csv")).good();
    assert_eq!(report.writes()[3..], ["uploadDataFile", "reuploadDataFile"]);
    assert_eq!((&report.output["held"]["size"], report.last().change), (&json!(20), Change::Created));
}

/// A process that ended between the upload and the note of it.
#[test]
fn a_call_that_starts_again_never_takes_a_file_for_its_own_unseen() {
    let mut project = project();
    project.instead =
        Some(|operation, _| (operation.id == "tenantry.noteMark").then(|| Ok(Response::local(Value::Null))));
    project.run(&from("rates.csv")).good();
    project.instead = None;
    project.written.note(&"2:uploadDataFile#0".parse().unwrap(), NAME, Effect::Create);
    let report = project.run(&from("rates.csv")).good();
    // Without a record there is nothing that tells what was sent: Qlik Cloud refuses the second file.
    assert_eq!(report.writes(), ["uploadDataFile", "reuploadDataFile"]);
    assert_eq!(project.run(&from("rates.csv")).good().writes(), [""; 0]);
}

/// The record of a call that starts again has a look-up's answer: somebody else's file, of another size.
#[test]
fn a_call_that_starts_again_does_not_keep_a_file_of_another_size() {
    fn found(operation: &Operation, _: usize) -> Option<Outcome> {
        let held =
            |size: u64| json!({ "id": "ee6a390c-5d33-11e8-9c2d-fa7ae01bbebc", "name": "rates/2026.csv", "size": size });
        let (status, answer) = match operation.id.as_str() {
            "getDataFiles" => (200, json!({ "data": [held(7)] })),
            "uploadDataFile" => (201, held(7)),
            "reuploadDataFile" => (201, held(20)),
            _ => return None,
        };
        Some(Ok(Response { status, ..Response::local(answer) }))
    }
    let mut project = project();
    project.run("").good();
    project.instead = Some(found);
    project.written.note(&"2:uploadDataFile#0".parse().unwrap(), NAME, Effect::Create);
    let report = project.run(&from("rates.csv")).good();
    assert_eq!(report.writes().last(), Some(&"reuploadDataFile"));
    assert_eq!(report.output["held"]["size"], 20);
}

/// Does nothing that is to be noted, the first time.
struct Forgetful {
    inner: Arc<dyn Interpreter>,
    forgot: Arc<AtomicBool>,
}

impl Interpreter for Forgetful {
    fn perform<'a>(&'a self, key: &'a Key, operation: &'a Operation) -> BoxFuture<'a, Outcome> {
        if operation.id == "tenantry.noteMark" && !self.forgot.swap(true, Ordering::Relaxed) {
            return ready(Err(Failure::new(FailureKind::Unsent, "test/full", "the disk is full"))).boxed();
        }
        self.inner.perform(key, operation)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_run_uploaded_is_on_its_record_when_nothing_could_be_noted() {
    let playbook = |content: &str| {
        format!(
            r#"let tenant = tenants::ensure(customer);
               let staging = tenant.spaces.ensure("Staging", "shared");
               staging.data_files.ensure("rates.csv", #{{ {content} }});"#
        )
    };
    // What is on record is not sent again. Of another content nothing is: a second file is refused, and the first replaced.
    for (then, writes, change) in [("one", 0, Change::Created), ("two", 2, Change::Updated)] {
        let forgot = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&forgot);
        let layer: Layer =
            Arc::new(move |inner| Arc::new(Forgetful { inner, forgot: Arc::clone(&told) }) as Arc<dyn Interpreter>);
        let world = World::with(&playbook("file: \"rates.csv\""), |builder| builder.layer(layer));
        world.write("rates.csv", "one");
        let first = world.first().await;
        assert!(forgot.load(Ordering::Relaxed) && first.is_resumable(), "{:?}", first.error);
        world.write("rates.csv", then);
        let report = world.resume(&first.run).await;
        assert_eq!((report.status, report.writes), (RunStatus::Succeeded, writes), "{then}: {:?}", report.error);
        assert_eq!(report.changes.last().unwrap().change, change, "{then}");
        let again = world.first().await;
        assert_eq!((again.status, again.writes), (RunStatus::Succeeded, 0), "{then}: {:?}", again.error);
        assert_eq!(world.host.replay(&report.run).await.unwrap().difference, None);
    }
}

#[test]
fn bad_files_are_refused_before_anything_is_sent() {
    let project = project();
    for (call, says) in [
        (r#"ensure("a.csv", #{})"#, "a data file needs one source of its content"),
        (r#"ensure("a.csv", #{ file: "content/rates.csv", content: "x" })"#, "a data file needs one source"),
        (r#"ensure("a.csv", #{ files: "content/rates.csv" })"#, "did you mean `file`?"),
        (r#"ensure("a.csv", #{ file: "content/rate.csv" })"#, "did you mean `content/rates.csv`?"),
        (r#"ensure("a.csv", #{ content: 5 })"#, "`content` is a number"),
        (r#"ensure("a.csv", #{ content: secret("entra") })"#, "`content` is a map"),
        (r#"ensure("a*.csv", #{ content: "x" })"#, "`a*.csv` cannot name a data file"),
        (r#"ensure("a//b.csv", #{ content: "x" })"#, "`a//b.csv` cannot name a data file"),
        (r#"ensure("../a.csv", #{ content: "x" })"#, "`../a.csv` cannot name a data file"),
        (r#"ensure("rates", #{ content: "x" })"#, "the name `rates` has no ending"),
    ] {
        let report = run(&project, &format!("staging.data_files.{call};"));
        assert!(report.failure().contains(says), "{call}: {}", report.failure());
        assert!(report.requests().iter().all(|id| !id.contains("DataFile")), "{call}");
    }
}
