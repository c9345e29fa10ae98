//! What is done with the states that sandboxes leave, from the command line.

use std::sync::Arc;

use serde_json::{Value, json};
use tenantry::sandbox::{Scope, State};

use crate::support::command_line::{Ended, Folder, Served};

const EMBEDDED: &str = ".tenantry/sandbox.db";

/// The stock project after the onboarding of one customer on the embedded sandbox.
fn onboarded() -> Folder {
    let folder = Folder::stock();
    let run = folder.run("run playbooks/onboard.rhai --customer customers/harbour.yaml --quiet");
    assert_eq!(run.code, Some(0), "{}", run.error);
    folder
}

fn state(folder: &Folder, file: &str) -> State {
    State::load(&folder.path().join(file)).unwrap()
}

/// A copy of a state in a new file, with a change in its first tenant.
fn changed(folder: &Folder, file: &str, change: impl FnOnce(&mut State, &Scope)) {
    let mut state = state(folder, EMBEDDED);
    let tenant = Scope::tenant(&state.tenants()[0]);
    change(&mut state, &tenant);
    state.save(&folder.path().join(file)).unwrap();
}

fn find(state: &State, scope: &Scope, collection: &str, name: &str) -> (String, Value) {
    let held = state.collection(scope, collection);
    let found = held.iter().find(|(_, document)| document["name"] == name);
    let (id, document) = found.unwrap_or_else(|| panic!("{collection} has no {name}"));
    (id.to_owned(), (**document).clone())
}

#[track_caller]
fn fine(ended: Ended) -> Ended {
    assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.error);
    ended
}

#[test]
fn a_snapshot_is_a_state_that_a_sandbox_goes_on_from() {
    let folder = onboarded();
    let told = fine(folder.run("sandbox snapshot one.db --json")).json();
    assert_eq!((&told["version"], &told["tenants"]), (&json!(1), &json!(1)));
    assert_eq!(state(&folder, "one.db"), state(&folder, EMBEDDED), "documents, contents and events");
    let same = folder.run(&format!("sandbox diff {EMBEDDED} one.db"));
    assert_eq!((same.code, &*same.out), (Some(0), ""), "{}", same.error);
    assert!(same.error.contains("there is no difference"));

    let served = Served::start(&folder, "--state one.db");
    let before = state(&folder, EMBEDDED);
    let organization = before.get(&Scope::Organization, "organization", "self").unwrap();
    assert_eq!(organization["clientId"], served.told["client_id"]);
    let held = folder.run("sandbox diff one.db one.db");
    assert_eq!(held.code, Some(4), "{}", held.out);
    assert!(held.error.contains("in use by another process"), "{}", held.error);
    served.end();

    let taken = folder.run("sandbox snapshot one.db");
    assert_eq!(taken.code, Some(4));
    assert!(taken.error.contains("it exists, and stays as it is"), "{}", taken.error);
}

#[test]
fn a_difference_is_told_by_names_and_fields_and_without_secrets() {
    let folder = onboarded();
    changed(&folder, "later.db", |state, tenant| {
        let (id, mut space) = find(state, tenant, "spaces", "Production");
        space["description"] = json!("for everybody");
        state.put(tenant, "spaces", &id, Arc::new(space));
        let (group, _) = find(state, tenant, "groups", "hb-viewers");
        let assignments = state.collection(tenant, "assignments");
        let held = assignments.iter().find(|(_, held)| held["assigneeId"] == json!(group)).unwrap();
        let (assignment, mut document) = (held.0.to_owned(), (**held.1).clone());
        document["roles"] = json!(["contributor"]);
        state.put(tenant, "assignments", &assignment, Arc::new(document));
        let (web, _) = find(state, tenant, "webIntegrations", "portal");
        state.remove(tenant, "webIntegrations", &web);
        let owner = state.collection(tenant, "users").iter().next().unwrap().0.to_owned();
        let added = json!({"id": "s-new", "name": "Sales", "type": "shared", "ownerId": owner});
        state.put(tenant, "spaces", "s-new", Arc::new(added));
        let mut organization = (*state.get(&Scope::Organization, "organization", "self").unwrap()).clone();
        organization["clientSecret"] = json!("another-secret");
        state.put(&Scope::Organization, "organization", "self", Arc::new(organization));
    });
    let diff = fine(folder.run(&format!("sandbox diff {EMBEDDED} later.db")));
    for line in [
        "organization\n",
        "clientSecret: \"***\" -> \"***\"",
        "tenant halyard-hb.eu.qlikcloud.com",
        "~ space \"Production\"",
        "-> \"for everybody\"",
        "~ space assignment \"Production / hb-viewers",
        "roles: [\"consumer\"] -> [\"contributor\"]",
        "- web integration \"portal\"",
        "+ space \"Sales\"",
        "ownerId: \"qlikbot",
    ] {
        assert!(diff.out.contains(line), "{line:?} is missing:\n{}", diff.out);
    }
    assert!(!diff.out.contains("another-secret"), "{}", diff.out);
    assert!(diff.error.contains("5 differences: 1 added, 3 changed, 1 removed"), "{}{}", diff.out, diff.error);

    let told = fine(folder.run(&format!("sandbox diff {EMBEDDED} later.db --json"))).json();
    let differences = told["differences"].as_array().unwrap();
    let production = differences.iter().find(|one| one["name"] == "Production").unwrap();
    assert_eq!(production["resource"], "space");
    assert_eq!(production["how"], "changed");
    assert_eq!(production["tenant"], "halyard-hb.eu.qlikcloud.com");
    assert_eq!(production["fields"][0]["path"], "/description");
    assert_eq!(production["fields"][0]["after"], "for everybody");
    assert!(!told.to_string().contains("another-secret"));
}

#[test]
fn tenants_of_two_sandboxes_are_compared_by_names() {
    let (one, two) = (onboarded(), onboarded());
    let other = two.path().join(EMBEDDED);
    let diff = fine(one.run(&format!("sandbox diff {EMBEDDED} {} --json", other.display()))).json();
    let differences = diff["differences"].as_array().unwrap();
    // Everything that was made up is another: the organization, its bot, and what names the tenant.
    let same: Vec<_> = differences.iter().filter(|one| one["how"] != "changed").map(|one| &one["resource"]).collect();
    let own = ["user", "seat"].map(|own| json!(own));
    assert!(same.iter().all(|resource| own.contains(resource)), "{same:?}");
    assert!(!differences.iter().any(|one| one["resource"] == "space assignment"), "{differences:#?}");
    assert!(!differences.iter().any(|one| one["resource"] == "group"), "{differences:#?}");
}

#[test]
fn a_reset_empties_the_state_and_forgets_its_tenants() {
    let folder = onboarded();
    let asked = folder.run("sandbox reset");
    assert_eq!(asked.code, Some(3), "{}", asked.error);
    assert!(asked.error.contains("to be forgotten: hb") && asked.error.contains("--yes"), "{}", asked.error);
    let dry = fine(folder.run("sandbox reset --dry-run --json")).json();
    assert_eq!((&dry["customers"], &dry["reset"]), (&json!(["hb"]), &json!(false)));
    assert_eq!(state(&folder, EMBEDDED).tenants().len(), 1, "still there");

    let before = fine(folder.run("tenants list --json")).json();
    assert_eq!(before["tenants"].as_array().unwrap().len(), 1);
    fine(folder.run("sandbox reset --yes"));
    let after = fine(folder.run("tenants list --json")).json();
    assert_eq!(after["tenants"], json!([]));
    assert_ne!(after["organization"], before["organization"]);
    let registry = tenantry::State::open(
        &folder.path().join(".tenantry/state.db"),
        Arc::new(tenantry::surroundings::SystemClock::default()),
    );
    let organization = before["organization"].as_str().unwrap();
    assert!(!registry.unwrap().registry().knows(organization).unwrap(), "not one row is left of it");
    fine(folder.run("run playbooks/onboard.rhai --customer customers/harbour.yaml --quiet"));
    // Without rows nobody is asked.
    fine(folder.run("sandbox snapshot other.db"));
    let elsewhere = Folder::empty();
    let path = folder.path().join("other.db");
    fine(elsewhere.run(&format!("sandbox reset --state {}", path.display())));
    assert_eq!(fine(folder.run("sandbox diff other.db other.db")).code, Some(0));
    assert!(state(&folder, "other.db").tenants().is_empty());
}

#[test]
fn a_state_that_somebody_works_on_is_left_alone() {
    let folder = onboarded();
    fine(folder.run("sandbox snapshot served.db"));
    let served = Served::start(&folder, "--state served.db");
    for command in ["reset --state served.db --yes", "snapshot copy.db --state served.db"] {
        let refused = folder.run(&format!("sandbox {command}"));
        assert_eq!(refused.code, Some(4), "{command}: {}", refused.error);
        assert!(refused.error.contains("in use by another process"), "{command}: {}", refused.error);
    }
    served.end();
    assert_eq!(state(&folder, "served.db").tenants().len(), 1);
}

#[test]
fn files_that_are_no_states_are_told_from_each_other() {
    let folder = onboarded();
    fine(folder.run("sandbox snapshot good.db"));
    folder.write("text.db", "{\"format\": 1, \"organization\": {}}, and much more text than a page of a database has");
    folder.write("empty.db", "");
    let whole = std::fs::read(folder.path().join("good.db")).unwrap();
    std::fs::write(folder.path().join("cut.db"), &whole[..whole.len() / 3]).unwrap();
    std::fs::copy(folder.path().join("good.db"), folder.path().join("newer.db")).unwrap();
    let newer = rusqlite::Connection::open(folder.path().join("newer.db")).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(newer);
    let foreign = rusqlite::Connection::open(folder.path().join("foreign.db")).unwrap();
    foreign.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    drop(foreign);
    for (file, reason) in [
        ("none.db", "there is no sandbox file"),
        ("text.db", "cannot be read"),
        ("empty.db", "it is empty"),
        ("cut.db", "cannot be read"),
        ("newer.db", "has format 99"),
        ("foreign.db", "a database of something else"),
    ] {
        for command in
            [format!("diff good.db {file}"), format!("diff {file} good.db"), format!("snapshot c.db --state {file}")]
        {
            let refused = folder.run(&format!("sandbox {command}"));
            assert_eq!(refused.code, Some(4), "{command}: {}{}", refused.out, refused.error);
            assert!(refused.error.contains(reason), "{command}: {}", refused.error);
        }
        assert!(!folder.path().join("none.db").exists() && !folder.path().join("c.db").exists(), "{file}");
    }
}
