//! `tenantry runs explain`: from a call to what is behind it, and from a thing to the calls that dealt with it.

use serde_json::{Value, json};
use tenantry::event::Change;
use tenantry::operation::{Effect, Failure, FailureKind};
use tenantry::store::{Ending, RunKind};

use crate::support::command_line::{Ended, Folder};
use crate::support::past::{Past, opening};

const FIRST: &str = "01939a01-0000-7000-8000-000000000001";
const SECOND: &str = "01939a02-0000-7000-8000-000000000002";
const OTHER: &str = "01939a03-0000-7000-8000-000000000003";
const UNDO: &str = "01939a04-0000-7000-8000-000000000004";
const PLAYBOOK: &str = "let tenant = tenants::ensure(customer);

let desk = tenant.spaces.ensure(customer.spaces[0].name, \"shared\");
parallel(customer.groups, |name| tenant.groups.ensure(name));
desk.assign(customer.groups[0], [\"consumer\"]);
";
const TENANT: &str = "playbooks/onboard.rhai:1:23";
const SPACE: &str = "playbooks/onboard.rhai:3:26";
const GROUP: &str = "playbooks/onboard.rhai:4:48";
const ASSIGN: &str = "playbooks/onboard.rhai:5:6";

fn customer(code: &str, space: &str) -> Value {
    json!({
        "code": code,
        "spaces": [{ "name": space, "type": "shared" }, { "name": "Depot", "type": "shared" }],
        "groups": ["Readers"],
    })
}

/// Four runs: one makes things, one changes them, one makes a thing of the same name for another customer, and one takes
/// back what the first did.
async fn several(space: &str) -> Folder {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    let subject = format!("space \"{space}\"");

    let run = past.at(0).begin(opening(FIRST, customer("hb", space))).await;
    run.process("process 7").file("playbooks/onboard.rhai", PLAYBOOK);
    let body = json!({ "licenseKey": { "$secret": "license" } });
    run.asks("0:createTenant#0", Effect::Create, "POST /api/v1/tenants", "tenant of hb", TENANT, body);
    let hosts = json!(["q7m2k9.eu.qlikcloud.com", "harbour.eu.qlikcloud.com"]);
    run.at(40).answers("0:createTenant#0", 201, json!({ "id": "t1", "hostnames": hosts }));
    run.asks("1:getSpaces#0", Effect::Read, "GET /api/v1/spaces", &subject, SPACE, Value::Null);
    run.at(60).answers("1:getSpaces#0", 200, json!({ "data": [] }));
    let body = json!({ "name": space, "type": "shared", "key": { "$secret": "portal" } });
    run.asks("1:createSpace#0", Effect::Create, "POST /api/v1/spaces", &subject, SPACE, body);
    run.at(110).answers("1:createSpace#0", 201, json!({ "id": "s1", "name": space }));
    run.step(Change::Created, &subject, "1", SPACE, &[]);
    let (group, asks) = ("group \"Readers\"", "POST /api/v1/groups");
    let body = || json!({ "name": "Readers", "status": "active" });
    run.asks("2[0].0:createGroup#0", Effect::Create, asks, group, GROUP, body());
    let lost = Failure::new(FailureKind::Unknown, "tenantry/connection", "the connection was closed");
    run.at(300).fails("2[0].0:createGroup#0", lost);
    run.at(320).settles("2[0].0:createGroup#0", None, "a look-up");
    run.attempts("2[0].0:createGroup#0", 1, Effect::Create, asks, group, GROUP, body());
    let made = tenantry::operation::Response::local(json!({ "id": "g1", "name": "Readers" }));
    run.at(350).outcome("2[0].0:createGroup#0", 1, &Ok(made));
    let body = json!({ "type": "group", "assigneeId": "g1", "roles": ["consumer"] });
    let about = format!("group \"Readers\" in {subject}");
    run.asks("3:createSpaceAssignment#0", Effect::Create, "POST /api/v1/spaces/s1/assignments", &about, ASSIGN, body);
    run.at(400).answers("3:createSpaceAssignment#0", 201, json!({ "id": "a1" }));
    let tenant =
        json!({ "id": "t1", "hostname": "q7m2k9.eu.qlikcloud.com", "url": "https://harbour.eu.qlikcloud.com" });
    run.end_with(Ending::Succeeded, json!({ "tenant": tenant })).await;

    let run = past.at(60_000).begin(opening(SECOND, customer("hb", space))).await;
    run.process("process 8").file("playbooks/onboard.rhai", &format!("// changed\n{PLAYBOOK}"));
    let below = "playbooks/onboard.rhai:4:26";
    run.asks("1:getSpaces#0", Effect::Read, "GET /api/v1/spaces", &subject, below, Value::Null);
    run.at(60_100).answers("1:getSpaces#0", 200, json!({ "data": [{ "id": "s1", "name": space }] }));
    let body = json!([{ "op": "replace", "path": "/type", "value": "managed" }]);
    run.asks("1:patchSpace#0", Effect::Update, "PATCH /api/v1/spaces/s1", &subject, below, body);
    run.at(60_200).answers("1:patchSpace#0", 204, Value::Null);
    run.end(Ending::Succeeded).await;

    let run = past.at(90_000).begin(opening(OTHER, customer("fw", space))).await;
    run.process("process 9").file("playbooks/onboard.rhai", PLAYBOOK);
    let body = json!({ "name": space, "type": "shared" });
    run.asks("1:createSpace#0", Effect::Create, "POST /api/v1/spaces", &subject, SPACE, body);
    run.at(90_050).answers("1:createSpace#0", 201, json!({ "id": "s9", "name": space }));
    run.end(Ending::Succeeded).await;

    let mut undo = opening(UNDO, customer("hb", space));
    undo.kind = RunKind::Undo(FIRST.to_owned());
    let run = past.at(120_000).begin(undo).await;
    run.process("process 10");
    run.asks("0:deleteSpace#0", Effect::Delete, "DELETE /api/v1/spaces/s1", &subject, SPACE, Value::Null);
    run.at(120_100).answers("0:deleteSpace#0", 204, Value::Null);
    run.end(Ending::Succeeded).await;
    folder
}

fn screens(folder: &Folder, commands: &[&str]) -> String {
    let screen = |arguments: &&str| {
        let Ended { code, out, error } = folder.run(&format!("runs explain {arguments}"));
        assert!(!out.contains("$secret") && !error.contains("$secret"), "{out}{error}");
        format!("$ runs explain {arguments}\n[exit {}]\n{out}{error}", code.unwrap())
    };
    commands.iter().map(screen).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_call_is_explained_by_its_line_its_outcome_and_the_customers_values() {
    let folder = several("Desk").await;
    insta::assert_snapshot!(screens(&folder, &["1:createSpace#0 --run 01939a01", "1:patchSpace#0", "2[0].0"]));
    let out = |arguments: &str| {
        let ended = folder.run(&format!("runs explain --quiet {arguments}"));
        assert_eq!((ended.code, ended.error.as_str()), (Some(0), ""), "{arguments}");
        ended.out
    };
    for shorter in ["2[0].0:createGroup", "2[0].0"] {
        assert_eq!(out(shorter), out("2[0].0:createGroup#0"), "{shorter}");
    }
    // The latest run that has it, and the one that is asked for.
    assert!(out("1:createSpace#0").contains("of run 01939a03 for fw"));
    assert!(out("1:createSpace#0 --run 01939a01").contains("of run 01939a01 for hb"));
    // The line is the one that the run had, not the one that a later run had there.
    assert!(out("1 --run 01939a02").contains("4 | let desk"));
}

#[tokio::test]
async fn a_thing_is_followed_through_all_runs() {
    let folder = several("Desk").await;
    insta::assert_snapshot!(screens(&folder, &["s1", "s1 -v", "s1 --run 01939a02", "Readers"]));
    let of = |wanted: &str| folder.run(&format!("runs explain {wanted}")).out;
    for same in [
        "https://q7m2k9.eu.qlikcloud.com/api/v1/spaces/s1",
        "https://harbour.eu.qlikcloud.com/any/page/s1?tab=1",
        "http://127.0.0.1:8080/q7m2k9.eu.qlikcloud.com/api/v1/spaces/s1/assignments",
        "/api/v1/spaces/s1",
    ] {
        assert_eq!(of(same), of("s1"), "{same}");
    }
    let narrow = Ended::of(folder.command("runs explain s1").env("COLUMNS", "60").output().unwrap()).out;
    assert!(narrow.contains("\nRUN       DID      CALL\n"), "{narrow}");
    let tenant = of("t1");
    assert!(tenant.starts_with("tenant of hb, id t1\n"), "{tenant}");
    for same in ["https://harbour.eu.qlikcloud.com", "https://q7m2k9.eu.qlikcloud.com/", "q7m2k9.eu.qlikcloud.com"] {
        assert_eq!(of(same), tenant, "{same}");
    }
}

#[tokio::test]
async fn several_things_of_one_name_are_there_to_choose_from() {
    let folder = several("Desk").await;
    insta::assert_snapshot!(screens(&folder, &["Desk", "Desk --json"]));
    // Named in one run, there is one.
    assert!(folder.run("runs explain Desk --run 01939a03").out.starts_with("space \"Desk\", id s9\n"));
}

#[tokio::test]
async fn scripts_get_all_of_it() {
    let folder = several("Desk").await;
    let told = |wanted: &str| folder.run(&format!("runs explain {wanted} --json")).json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&told("1 --run 01939a01")).unwrap());
    let thing = told("s1");
    insta::assert_snapshot!(serde_json::to_string_pretty(&thing).unwrap());
    assert_eq!(thing["made"], told("1:createSpace#0 --run 01939a01")["call"]);
}

#[tokio::test]
async fn what_is_not_on_record_is_told_with_what_is() {
    let folder = several("Desk").await;
    insta::assert_snapshot!(screens(
        &folder,
        &[
            "Dexk",
            "s7 --run 01939a01",
            "https://q7m2k9.eu.qlikcloud.com/api/v1/groups/g2",
            "7",
            "2[0].0:createGruop#0",
            "2[0].0:createGroup#1 --run 01939a01",
            "s1 --run 5",
            "Nothing --json",
        ]
    ));
}

#[tokio::test]
async fn a_write_whose_end_is_not_known_may_have_made_a_thing() {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    let run = past.at(0).begin(opening(FIRST, customer("hb", "Desk"))).await;
    run.process("process 7").file("playbooks/onboard.rhai", PLAYBOOK);
    let space = "space \"Desk\"";
    run.asks("1:createSpace#0", Effect::Create, "POST /api/v1/spaces", space, SPACE, json!({ "name": "Desk" }));
    run.at(90).dies().await;
    drop((run, past));
    insta::assert_snapshot!(screens(&folder, &["Desk"]));
}

#[tokio::test]
async fn what_a_customer_is_called_does_not_play_with_the_terminal() {
    let folder = several("\u{202e}gnol \u{1b}[2J").await;
    for wanted in ["1:createSpace#0 -v", "s1 -v", "Readers"] {
        let told = folder.run(&format!("runs explain {wanted}")).out;
        assert!(told.contains("[2J") || wanted == "Readers", "{told}");
        assert!(!told.contains('\u{1b}') && !told.contains('\u{202e}'), "{told}");
    }
}

#[tokio::test]
async fn a_run_that_cannot_be_read_hides_no_other() {
    let folder = several("Desk").await;
    let database = rusqlite::Connection::open(folder.path().join(".tenantry/state.db")).unwrap();
    let changed = database.execute("UPDATE entries SET body = x'00' WHERE run = 2 AND sequence = 2", []).unwrap();
    assert_eq!(changed, 1);
    drop(database);
    let ended = folder.run("runs explain s1");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.out.contains("DELETE") || ended.out.contains("removed"), "{ended:?}");
    assert!(ended.error.contains("warning: the journal of run 01939a02"), "{ended:?}");
    let ended = folder.run("runs explain Nothing");
    assert!(ended.error.contains("warning: the journal of run 01939a02"), "{ended:?}");
}

/// A run that has really been, with a library and a template in between.
#[test]
fn the_way_to_a_call_leads_through_libraries_and_templates() {
    let project = Folder::empty();
    project.write("play.rhai", "//! @permits tenants:create tenants:update spaces:write groups:write\nimport \"lib/places\" as places;\nlet tenant = tenants::ensure(customer);\nlet other = render(\"other.json\", customer);\nplaces::all(tenant, customer);\n");
    project.write(
        "lib/places.rhai",
        "fn all(tenant, customer) {\n    parallel(customer.spaces, |name| one(tenant, name));\n    tenant.groups.ensure(\"Readers\");\n}\n\nfn one(tenant, name) {\n    tenant.spaces.ensure(render(\"space.json\", #{ name: name }).name, \"shared\");\n}\n",
    );
    project.write("templates/space.json", "{% include 'parts/name.json' %}");
    project.write("templates/parts/name.json", "{\"name\": {{ name }}}");
    project.write("templates/other.json", "{}");
    project.write("customer.yaml", "code: hb\nname: Harbour\nregion: eu\nspaces: [One, Two]\n");
    let ended = project.run("run play.rhai --customer customer.yaml --quiet");
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let call = |wanted: &str| project.run(&format!("runs explain {wanted} --json")).json()["call"].clone();
    let two = call("2[1].1:createSpace#0");
    assert_eq!(two["site"], json!({ "file": "lib/places.rhai", "line": 7, "column": 19 }));
    let functions = |call: &Value| -> Vec<String> {
        let frames = call["stack"].as_array().unwrap();
        let at = |site: &Value| format!("{}:{}", site["file"].as_str().unwrap(), site["line"]);
        frames.iter().map(|frame| format!("{} {}", frame["function"].as_str().unwrap(), at(&frame["site"]))).collect()
    };
    assert_eq!(
        functions(&two),
        ["one lib/places.rhai:2", "closure lib/places.rhai:2", "parallel lib/places.rhai:2", "all play.rhai:5"]
    );
    let paths = |call: &Value| -> Vec<String> {
        call["files"].as_array().unwrap().iter().map(|file| file["path"].as_str().unwrap().to_owned()).collect()
    };
    // Of its own line, or else of its branch.
    assert_eq!(paths(&two), ["templates/parts/name.json", "templates/space.json"]);
    assert!(two["files"][0]["sha256"].is_string(), "{two}");
    let readers = call("3:createGroup#0");
    assert_eq!(
        (functions(&readers), paths(&readers)),
        (vec!["all play.rhai:5".to_owned()], vec!["templates/other.json".to_owned()])
    );
    // A run is explained as it was, whatever became of the project since.
    for file in ["play.rhai", "lib/places.rhai", "templates/space.json"] {
        std::fs::remove_file(project.path().join(file)).unwrap();
    }
    assert_eq!(call("2[1].1:createSpace#0"), two);
}
