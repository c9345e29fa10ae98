//! Items, collections and tags.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use std::collections::BTreeMap;

use serde_json::json;
use tenantry::event::Change;
use tenantry::operation::{Failure, FailureKind, Operation, Outcome, Payload, Response};

use crate::functions_driver::{Project, Report, converges};

const APP: &str = r#"let staging = tenant.spaces.ensure("Staging", "shared");
    let app = staging.import_app("content/Fleet.qvf");
"#;

fn project() -> Project {
    let project = Project::new();
    project.file("content/Fleet.qvf", r#"{"stand-in": "one"}"#);
    project.file("content/Fleet Overview.qvf", r#"{"stand-in": "two"}"#);
    project.run(APP).good();
    project
}

fn run(project: &Project, script: &str) -> Report {
    project.run(&format!("{APP}{script}"))
}

#[test]
fn items_are_found_by_their_exact_name_and_by_what_they_are_of() {
    let project = project();
    let script = r#"staging.import_app("content/Fleet Overview.qvf");
        let own = tenant.items.get(#{ resourceType: "app", resourceId: app.id });
        output(#{
            id: own.resourceId == app.id, other: own.id == app.id,
            named: tenant.items.list(#{ name: "Fleet", resourceType: ["app", "dataset"] }).map(|item| item.name),
            part: tenant.items.list(#{ query: "fleet", spaceId: staging.id, sort: "-name" }).map(|item| item.name),
            none: tenant.items.find(#{ resourceType: "dataset" }) == (),
        });"#;
    let found = run(&project, script).good();
    let wanted = json!({
        "id": true, "other": false, "named": ["Fleet"], "part": ["Fleet Overview", "Fleet"], "none": true,
    });
    assert_eq!(json!(found.output), wanted);
    for (script, problem) in [
        (r#"tenant.items.list(#{ resourceTyp: "app" });"#, "did you mean `resourceType`?"),
        (r#"tenant.items.list(#{ resourceType: "aap" });"#, "did you mean `app`?"),
        (r#"tenant.items.find(#{ resourceId: "x" });"#, "`resourceId` needs `resourceType`"),
        (r#"tenant.items.find(#{ name: 3 });"#, "`name` is a number"),
        (r#"tenant.items.get(#{ name: "Fleat" });"#, r#"there is no item "Fleat""#),
    ] {
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
    }
}

#[test]
fn a_tag_converges_and_is_given_to_an_app_once() {
    let project = project();
    let script = format!(r#"{APP} tenant.tags.ensure("logistics").add(app);"#);
    let [made, again] = converges(&project, &script, None);
    assert_eq!(made.writes(), ["createCollection", "addCollectionItem"]);
    assert_eq!(made.last().subject, r#"app "Fleet" in tag "logistics""#);
    assert_eq!(again.requests().iter().filter(|id| **id == "getItems").count(), 2, "the import's look and the tag's");
    let got = run(
        &project,
        r#"let tag = tenant.tags.get("logistics");
           output(#{
               text: `${tag}`, items: tag.items().map(|item| item.name), count: tag.document.itemCount,
               tags: tenant.tags.list().map(|tag| tag.name), none: tenant.tags.find("Logistics") == (),
               apart: tenant.collections.list().len() + if tenant.collections.find("logistics") == () { 0 } else { 1 },
           });"#,
    )
    .good();
    let wanted = json!({
        "text": r#"tag "logistics""#, "items": ["Fleet"], "count": 1, "tags": ["logistics"], "none": true, "apart": 0,
    });
    assert_eq!(json!(got.output), wanted);
    let by_item = r#"let tag = tenant.tags.ensure("logistics"); for item in tag.items() { tag.remove(item); }"#;
    let taken = project.run(by_item).good();
    assert_eq!((taken.writes(), taken.last().change), (vec!["deleteCollectionItem"], Change::Deleted));
    assert_eq!(run(&project, r#"tenant.tags.ensure("logistics").remove(app);"#).good().writes(), Vec::<&str>::new());
    let added = r#"tenant.tags.ensure("logistics").add(tenant.items.get(#{ resourceType: "app", name: "Fleet" }));"#;
    assert_eq!(project.run(added).good().writes(), ["addCollectionItem"]);
    let gone = project.run(r#"tenant.tags.delete("logistics"); tenant.tags.delete("logistics");"#).good();
    assert_eq!(gone.writes(), ["deleteCollection"]);
    assert!(project.run(r#"tenant.tags.get("logistics");"#).failure().contains(r#"there is no tag "logistics""#));
}

#[test]
fn what_publishing_has_read_of_an_app_is_not_read_again() {
    let project = project();
    let script = format!(
        r#"{APP} let shown = app.publish_to(tenant.spaces.ensure("Live", "managed"));
           for name in ["logistics", "fleet"] {{ let tag = tenant.tags.ensure(name); tag.add(shown); ALSO }}"#
    );
    let first = project.run(&script.replace("ALSO", "")).good();
    assert_eq!(first.requests().iter().filter(|id| **id == "addCollectionItem").count(), 2);
    let again = project.run(&script.replace("ALSO", "")).good();
    assert_eq!(again.writes(), Vec::<&str>::new());
    assert_eq!(again.requests().iter().filter(|id| **id == "getItems").count(), 2, "the import's look and publish's");
    // What the run itself has done since is known as well.
    let back = project.run(&script.replace("ALSO", "tag.remove(shown); tag.add(shown);")).good();
    let both = ["deleteCollectionItem", "addCollectionItem"];
    assert_eq!(back.writes(), [both, both].concat());
}

#[test]
fn a_collection_is_governed_from_its_first_item_on() {
    let project = project();
    let ensure = |description: &str| {
        format!(r#"tenant.collections.ensure("Featured", "publicgoverned", #{{ description: "{description}" }})"#)
    };
    let [made, changed] =
        converges(&project, &format!("{};", ensure("first")), Some(&format!("{};", ensure("second"))));
    assert_eq!((made.writes(), changed.writes()), (vec!["createCollection"], vec!["patchCollection"]));
    let kind = |project: &Project| {
        let script = r#"output(#{ kind: tenant.collections.get("Featured").document["type"] });"#;
        project.run(script).good().output["kind"].clone()
    };
    assert_eq!(kind(&project), "private", "an empty one cannot be governed");
    let script = format!("{APP} let made = {}; made.add(app);", ensure("second"));
    let added = project.run(&script).good();
    assert_eq!(added.writes(), ["addCollectionItem", "patchCollection"]);
    assert_eq!(added.told().last().unwrap(), r#"Updated collection "Featured""#);
    assert_eq!(project.run(&script).good().writes(), Vec::<&str>::new());
    assert_eq!(kind(&project), "publicgoverned");
    let back = project.run(r#"tenant.collections.ensure("Featured", "private");"#).good();
    assert_eq!((back.writes(), kind(&project)), (vec!["patchCollection"], json!("private")));
    let forth = project.run(r#"tenant.collections.ensure("Featured", "publicgoverned");"#).good();
    assert_eq!((forth.writes(), kind(&project)), (vec!["patchCollection"], json!("publicgoverned")));
    // Several of one name: the one of the wanted type, and it is told.
    let other = r#"tenant.request("createCollection", #{ body: #{ name: "Featured", type: "private" } });"#;
    let report = project.run(&format!("{other} {};", ensure("second"))).good();
    assert_eq!(report.writes(), ["createCollection"]);
    assert!(report.logs.iter().any(|line| line.contains("2 collections are called \"Featured\"")), "{:?}", report.logs);
}

/// The index does not have the app at the first two looks.
fn lagging(operation: &Operation, number: usize) -> Option<Outcome> {
    let empty = json!({ "data": [], "links": {} });
    (operation.subject.starts_with("item of app") && number < 4)
        .then(|| Ok(Response { status: 200, headers: BTreeMap::default(), payload: Payload::Json(empty) }))
}

/// It never has it.
fn lost(operation: &Operation, _: usize) -> Option<Outcome> {
    lagging(operation, 0)
}

/// Somebody else has added the item a moment before.
fn taken(operation: &Operation, _: usize) -> Option<Outcome> {
    (operation.id == "addCollectionItem").then(|| {
        let mut failure = Failure::new(FailureKind::Refused, "HTTP-409", "Conflict");
        failure.status = Some(409);
        Err(failure)
    })
}

#[test]
fn the_index_of_items_is_asked_again_when_it_does_not_have_the_app_yet() {
    let mut project = project();
    project.instead = Some(lagging);
    let script = format!(r#"{APP} tenant.tags.ensure("logistics").add(app);"#);
    assert_eq!(project.run(&script).good().writes(), ["createCollection", "addCollectionItem"]);
    project.instead = Some(lost);
    let report = project.run(&script);
    assert!(report.failure().contains(r#"app "Fleet" is not in the index of items"#), "{}", report.failure());
    project.instead = Some(taken);
    let script = format!(r#"{APP} tenant.tags.ensure("other").add(app);"#);
    assert_eq!(project.run(&script).good().last().change, Change::Unchanged);
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_written() {
    let project = project();
    for (script, problem) in [
        (r#"tenant.collections.ensure("Featured", "public");"#, "tenant.tags.ensure(name)"),
        (r#"tenant.collections.ensure("Featured", "governed");"#, "is not a type of collection"),
        (r#"tenant.collections.ensure("Featured");"#, "a collection needs a type"),
        (r#"tenant.collections.ensure("", "private");"#, "a name is needed"),
        (r#"tenant.collections.ensure("F", "private", #{ colour: "red" });"#, "unknown field `colour`"),
    ] {
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert!(report.writes().is_empty(), "{script}");
    }
    let report = run(&project, r#"tenant.tags.ensure("x").add(#{ name: "no item" });"#);
    assert!(report.failure().contains("this map is no item"), "{}", report.failure());
}
