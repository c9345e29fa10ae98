//! Apps: imported when their file changes, published, replaced, tidied and rolled back.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::{Value, json};
use tenantry::event::Change;
use tenantry::operation::Effect;

use crate::functions_driver::{Project, Report, converges};

const SPACES: &str = r#"let staging = tenant.spaces.ensure("Staging", "shared");
    let live = tenant.spaces.ensure("Production", "managed");
"#;

fn project() -> Project {
    let project = Project::new();
    project.run(SPACES).good();
    project
}

fn content(project: &Project, what: &str) {
    let stand_in = json!({ "stand-in": what, "lastReloadTime": "2026-11-20T04:00:00.000Z" });
    project.file("content/Fleet.qvf", stand_in.to_string());
}

fn run(project: &Project, script: &str) -> Report {
    project.run(&format!("{SPACES}{script}"))
}

/// Imports and publishes the file as this version.
fn release(project: &Project, version: &str, what: &str) -> Report {
    content(project, what);
    let script = r#"let app = staging.import_app("content/Fleet.qvf", #{ version: "VERSION", description: "Where it is" });
        let shown = app.publish_to(live, #{ data: "target" });
        output(#{ staged: app.id, id: shown.id, version: shown.version, document: shown.document });"#;
    run(project, &script.replace("VERSION", version)).good()
}

fn staged(project: &Project) -> Vec<Value> {
    let script = r#"output(#{ all: staging.apps.list().map(|app| app.version) });"#;
    run(project, script).good().output["all"].as_array().unwrap().clone()
}

#[test]
fn an_app_is_imported_only_when_its_file_changes() {
    let project = project();
    content(&project, "one");
    let script = |options: &str| {
        format!(r#"{SPACES} output(#{{ id: staging.import_app("content/Fleet.qvf", #{{ {options} }}).id }});"#)
    };
    let [made, described] = converges(
        &project,
        &script(r#"version: "1.0.0", description: "Where it is""#),
        Some(&script(r#"version: "1.0.0", description: "Where all of it is""#)),
    );
    assert_eq!(made.writes(), ["importApp", "updateAppInfo"]);
    assert_eq!((described.writes(), described.last().change), (vec!["updateAppInfo"], Change::Updated));
    assert_eq!(made.output["id"], described.output["id"]);
    content(&project, "two");
    let changed = run(&project, r#"staging.import_app("content/Fleet.qvf", #{ name: "Fleet", NoData: true });"#).good();
    assert_eq!(changed.writes(), ["importApp", "updateAppInfo"]);
    let imported = changed.operations.iter().find(|operation| operation.id == "importApp").unwrap();
    let tenantry::operation::Call::Request(request) = &imported.call else { panic!("{imported:?}") };
    assert!(request.query.contains(&("NoData".to_owned(), "true".to_owned())), "{:?}", request.query);
    let got = run(
        &project,
        r#"let app = staging.apps.get("Fleet");
           output(#{ all: staging.apps.list().len(), text: `${app}`, none: staging.apps.find("fleet") == (), description: app.document.description });"#,
    )
    .good();
    assert_eq!((&got.output["all"], &got.output["none"]), (&json!(2), &json!(true)));
    assert_eq!(got.output["text"], r#"app "Fleet" in space "Staging""#);
    assert!(got.output["description"].as_str().unwrap().starts_with("{sha256:"), "the newest is the one");
}

#[test]
fn a_published_app_is_replaced_only_when_it_differs_and_earlier_copies_are_tidied() {
    let project = project();
    let first = release(&project, "1.0.0", "one");
    assert_eq!(first.writes(), ["importApp", "updateAppInfo", "publishApp"]);
    assert_eq!(first.output["document"]["originAppId"], first.output["staged"]);
    let again = release(&project, "1.0.0", "one");
    assert_eq!((again.writes(), &again.output), (vec![], &first.output));
    assert!(again.steps.iter().all(|step| !step.change.is_write()), "{:?}", again.told());

    let second = release(&project, "1.1.0", "two");
    assert_eq!(second.writes(), ["importApp", "updateAppInfo", "republishApp"]);
    assert_eq!((&second.output["id"], &second.output["version"]), (&first.output["id"], &json!("1.1.0")));
    assert_eq!(second.output["document"]["lastReloadTime"], first.output["document"]["lastReloadTime"]);
    let told = second
        .steps
        .iter()
        .find(|step| step.subject.contains("Production\"") && step.subject.starts_with("app"))
        .unwrap();
    let fields: Vec<&str> = told.fields.iter().map(|change| change.field.as_str()).collect();
    assert_eq!((told.change, fields), (Change::Updated, vec!["version", "content"]));
    assert_eq!(staged(&project), ["1.0.0", "1.1.0"], "one to roll back to");

    // Somebody's own work of the same name is not touched.
    run(
        &project,
        r#"tenant.request("createApp", #{ body: #{ attributes: #{ name: "Fleet", spaceId: staging.id } } });"#,
    )
    .good();
    let third = release(&project, "1.2.0", "three");
    assert_eq!(third.writes(), ["importApp", "updateAppInfo", "republishApp", "deleteApp"]);
    assert_eq!(staged(&project), [json!("1.1.0"), Value::Null, json!("1.2.0")]);
    assert_eq!(release(&project, "1.2.0", "three").writes(), Vec::<&str>::new());
}

#[test]
fn an_earlier_version_is_published_again() {
    let project = project();
    release(&project, "1.0.0", "one");
    let live = release(&project, "1.1.0", "two");
    let back = |options: &str| {
        run(
            &project,
            &format!(
                r#"let app = live.apps.get("Fleet").rollback(staging{options}); output(#{{ id: app.id, v: app.version }});"#
            ),
        )
    };
    let first = back("").good();
    assert_eq!((first.writes(), &first.output["v"]), (vec!["republishApp"], &json!("1.0.0")));
    assert_eq!(first.output["id"], live.output["id"]);
    assert!(back("").failure().contains("there is no earlier version"), "{}", back("").failure());
    assert!(back("").failure().contains("1.1.0, 1.0.0"), "{}", back("").failure());
    let forward = back(r#", #{ version: "v1.1.0", data: "source" }"#).good();
    assert_eq!((forward.writes(), &forward.output["v"]), (vec!["republishApp"], &json!("1.1.0")));
    assert_eq!(back(r#", #{ version: "1.1.0" }"#).good().writes(), Vec::<&str>::new());
    // The next release is the newest again, and the next run of an old one takes its kept copy.
    assert_eq!(release(&project, "1.0.0", "one").writes(), ["republishApp"]);
    assert_eq!(release(&project, "1.2.0", "three").output["version"], "1.2.0");
}

#[test]
fn an_app_is_renamed_described_and_removed() {
    let project = project();
    release(&project, "1.0.0", "one");
    let script = r#"let app = staging.apps.get("Fleet").update(#{ description: "Elsewhere" });
        output(#{ d: app.document.description });"#;
    let described = run(&project, script).good();
    let description = described.output["d"].as_str().unwrap();
    assert!(description.starts_with("{v1.0.0} Elsewhere {sha256:"), "{description}");
    assert_eq!(run(&project, script).good().writes(), Vec::<&str>::new());
    let renamed = run(&project, r#"staging.apps.get("Fleet").update(#{ name: "Fleet 2" });"#).good();
    assert_eq!(renamed.writes(), ["updateAppInfo"]);
    let script = r#"staging.apps.delete("Fleet 2"); live.apps.delete("Fleet"); tenant.spaces.delete("Staging");"#;
    let gone = project.run(&format!("{SPACES}{script}")).good();
    assert_eq!(gone.writes(), ["deleteApp", "deleteApp", "deleteSpace"]);
    let gone = run(&project, r#"live.apps.delete("Fleet"); live.apps.get("Fleet");"#);
    assert!(gone.failure().contains(r#"there is no app "Fleet" in space "Production""#), "{}", gone.failure());
}

#[test]
fn an_app_nobody_imported_is_published_again_when_it_was_changed() {
    let project = project();
    let script = r#"if staging.apps.find("Own") == () {
            tenant.request("createApp", #{ body: #{ attributes: #{ name: "Own", spaceId: staging.id } } });
        }
        staging.apps.get("Own").publish_to(live);"#;
    assert_eq!(run(&project, script).good().writes(), ["createApp", "publishApp"]);
    assert_eq!(run(&project, script).good().writes(), Vec::<&str>::new());
    run(&project, r#"staging.apps.get("Own").update(#{ description: "new" });"#).good();
    assert_eq!(run(&project, script).good().writes(), ["republishApp"]);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let project = project();
    content(&project, "one");
    for (script, problem) in [
        (r#"staging.import_app("content/Fleat.qvf");"#, "did you mean `content/Fleet.qvf`?"),
        (r#"staging.import_app("../Fleet.qvf");"#, "does not name a file of the project"),
        (r#"staging.import_app("content");"#, "is not a file"),
        (r#"live.import_app("content/Fleet.qvf");"#, "apps are imported into shared ones"),
        (r#"staging.import_app("content/Fleet.qvf", #{ nodata: true });"#, "did you mean `NoData`?"),
        (r#"staging.import_app("content/Fleet.qvf", #{ mode: "autoreplace" });"#, "the only `mode`"),
        (r#"staging.apps.get("Fleet");"#, r#"there is no app "Fleet" in space "Staging""#),
    ] {
        let report = run(&project, script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert!(report.writes().is_empty(), "{script}");
    }
    for (script, problem) in [
        ("app.publish_to(staging);", "apps are published to managed ones"),
        (r#"app.publish_to(live, #{ data: "sauce" });"#, "did you mean `source`?"),
        (r#"app.publish_to(live, #{ keep: -1 });"#, "`keep` is a whole number"),
        ("app.rollback(staging);", "is not published"),
    ] {
        let report = run(&project, &format!(r#"let app = staging.import_app("content/Fleet.qvf"); {script}"#));
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
    }
}

#[test]
fn a_file_is_told_by_its_digest_and_never_held() {
    let project = project();
    content(&project, "one");
    let report = run(&project, r#"staging.import_app("content/Fleet.qvf");"#).good();
    let told = report.operations.iter().find(|operation| operation.id == "tenantry.file").unwrap();
    assert_eq!(told.effect, Effect::Read);
    let imported = report.operations.iter().find(|operation| operation.id == "importApp").unwrap();
    let tenantry::operation::Call::Request(request) = &imported.call else { panic!("{imported:?}") };
    let tenantry::operation::Body::File { path, .. } = &request.body else { panic!("{:?}", request.body) };
    assert_eq!(path, std::path::Path::new("content/Fleet.qvf"), "what is recorded names no place of this machine");
}
