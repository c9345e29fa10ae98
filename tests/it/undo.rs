//! Taking back what a run did.

use serde_json::{Value, json};

use crate::support::command_line::Folder;

const ONBOARD: &str = "run playbooks/onboard.rhai --customer customers/harbour.yaml -q";

/// A project whose tenant is there, and a playbook that changes some of it.
fn changed(extra: &str) -> Folder {
    let folder = Folder::stock();
    assert_eq!(folder.run(ONBOARD).code, Some(0));
    let first = "tenants::ensure(customer).spaces.ensure(\"Staging\", \"shared\", #{ description: \"at first\" });";
    folder.write("playbooks/first.rhai", first);
    assert_eq!(folder.run("run playbooks/first.rhai --customer customers/harbour.yaml -q").code, Some(0));
    let text = format!(
        "let tenant = tenants::ensure(customer);\n\
         let desk = tenant.spaces.ensure(\"Desk\", \"shared\");\n\
         tenant.spaces.ensure(\"Staging\", \"shared\", #{{ description: \"changed by the run\" }});\n\
         {extra}"
    );
    folder.write("playbooks/change.rhai", &text);
    let ended = folder.run("run playbooks/change.rhai --customer customers/harbour.yaml -q");
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    folder
}

fn run_of(folder: &Folder, playbook: &str) -> String {
    let listed = folder.run(&format!("runs list --playbook {playbook} --json")).json();
    listed["runs"].as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
}

fn verdicts(answer: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    answer["steps"].as_array().unwrap().iter().map(|step| (text(&step["verdict"]), text(&step["subject"]))).collect()
}

fn of(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(verdict, subject)| ((*verdict).to_owned(), (*subject).to_owned())).collect()
}

#[test]
fn what_was_made_is_deleted_and_what_was_changed_gets_its_former_value() {
    let folder = changed("");
    let run = run_of(&folder, "playbooks/change.rhai");
    let planned = folder.run(&format!("runs undo {run} --dry-run --json")).json();
    assert_eq!(verdicts(&planned), of(&[("restore", "space \"Staging\""), ("remove", "space \"Desk\"")]));
    assert_eq!(planned["done"], json!(false));
    let field = &planned["steps"][0]["fields"][0];
    assert_eq!((&field["before"], &field["after"]), (&json!("changed by the run"), &json!("at first")));

    let done = folder.run(&format!("runs undo {run} --yes --json"));
    assert_eq!(done.code, Some(0), "{}", done.error);
    assert_eq!(done.json()["run"]["changes"].as_array().unwrap().len(), 2);
    // It is a run of its own, in the journal.
    let listed = folder.run("runs list --json").json();
    assert_eq!(listed["runs"][0]["status"], json!("succeeded"));

    let again = folder.run(&format!("runs undo {run} --yes --json"));
    assert_eq!(again.code, Some(0), "{}", again.error);
    assert_eq!(verdicts(&again.json()), of(&[("nothing", "space \"Staging\""), ("nothing", "space \"Desk\"")]));
    // The playbook finds what it had found at first.
    let report = folder.run("run playbooks/change.rhai --customer customers/harbour.yaml --json -q").json();
    assert_eq!(report["runs"][0]["changes"].as_array().unwrap().len(), 2, "{report}");
}

#[test]
fn apps_that_a_run_made_are_removed_and_what_it_cannot_undo_is_named() {
    let folder = changed("");
    folder.write("content/Desk.qvf", "one");
    let script = "let tenant = tenants::ensure(customer);\n\
         let staged = tenant.spaces.get(\"Staging\").import_app(\"content/Desk.qvf\");\n\
         staged.publish_to(tenant.spaces.get(\"Production\"));";
    folder.write("playbooks/apps.rhai", script);
    let play = "run playbooks/apps.rhai --customer customers/harbour.yaml -q";
    assert_eq!(folder.run(play).code, Some(0));
    folder.write("content/Desk.qvf", "two");
    assert_eq!(folder.run(play).code, Some(0));
    let listed = folder.run("runs list --playbook playbooks/apps.rhai --json").json();
    let runs: Vec<String> =
        listed["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()).collect();
    let planned = folder.run(&format!("runs undo {} --dry-run --json", runs[0])).json();
    let staged = "app \"Desk\" in space \"Staging\"";
    let told = verdicts(&planned);
    let live = "app \"Desk\" in space \"Production\"";
    assert_eq!(told, of(&[("irreversible", live), ("restore", staged), ("remove", staged)]), "{planned}");
    let done = folder.run(&format!("runs undo {} --yes --json", runs[1]));
    assert_eq!(done.code, Some(0), "{}", done.error);
    let removed = verdicts(&done.json()).into_iter().filter(|(verdict, _)| verdict == "remove").count();
    assert_eq!(removed, 2, "what was imported and what was published");
    folder.write(
        "playbooks/look.rhai",
        "output(#{ live: tenants::get(customer).spaces.get(\"Production\").apps.list().len() });",
    );
    let look = folder.run("run playbooks/look.rhai --customer customers/harbour.yaml --json -q").json();
    assert_eq!(look["runs"][0]["output"]["live"], 0, "{look}");
}

#[test]
fn an_app_leaves_the_collection_that_a_run_put_it_into() {
    let folder = changed("");
    folder.write("content/Desk.qvf", "one");
    let script = |more: &str| {
        format!(
            "let tenant = tenants::ensure(customer);\n\
             let app = tenant.spaces.get(\"Staging\").import_app(\"content/Desk.qvf\");\n{more}"
        )
    };
    folder.write("playbooks/app.rhai", &script(""));
    folder.write(
        "playbooks/tag.rhai",
        &script(
            "tenant.tags.ensure(\"desk\").add(app); tenant.collections.ensure(\"Desks\", \"publicgoverned\").add(app);",
        ),
    );
    for playbook in ["app", "tag"] {
        let ended = folder.run(&format!("run playbooks/{playbook}.rhai --customer customers/harbour.yaml -q"));
        assert_eq!(ended.code, Some(0), "{}", ended.error);
    }
    let run = run_of(&folder, "playbooks/tag.rhai");
    let done = folder.run(&format!("runs undo {run} --yes --json"));
    assert_eq!(done.code, Some(0), "{}", done.error);
    let (tag, collection) = ("tag \"desk\"", "collection \"Desks\"");
    let expected = of(&[
        ("restore", collection),
        ("remove", "app \"Desk\" in collection \"Desks\""),
        ("remove", collection),
        ("remove", "app \"Desk\" in tag \"desk\""),
        ("remove", tag),
    ]);
    assert_eq!(verdicts(&done.json()), expected);
}

#[test]
fn what_someone_changed_since_is_left_alone() {
    let folder = changed("");
    let run = run_of(&folder, "playbooks/change.rhai");
    folder.write(
        "playbooks/other.rhai",
        "tenants::ensure(customer).spaces.ensure(\"Staging\", \"shared\", #{ description: \"somebody else's\" });",
    );
    let other = folder.run("run playbooks/other.rhai --customer customers/harbour.yaml -q");
    assert_eq!(other.code, Some(0), "{}", other.error);
    let done = folder.run(&format!("runs undo {run} --yes --json"));
    assert_eq!(verdicts(&done.json()), of(&[("changed_since", "space \"Staging\""), ("remove", "space \"Desk\"")]));
}

#[test]
fn a_tenant_that_the_run_made_is_deactivated_once_its_seats_are_free() {
    let folder = Folder::stock();
    assert_eq!(folder.run(ONBOARD).code, Some(0));
    let run = run_of(&folder, "playbooks/onboard.rhai");
    let done = folder.run(&format!("runs undo {run} --yes --json"));
    assert_eq!(done.code, Some(0), "{}", done.error);
    let verdicts = verdicts(&done.json());
    assert_eq!(verdicts.iter().filter(|(verdict, _)| verdict == "release").count(), 1);
    assert_eq!(verdicts.last().unwrap().0, "deactivate");
    let listed = folder.run("tenants list --json").json();
    assert_eq!(listed["tenants"][0]["status"], json!("disabled"), "{listed}");
    let again = folder.run(&format!("runs undo {run} --yes"));
    assert_eq!(again.code, Some(0), "{}", again.error);
    assert!(again.error.contains("nothing to take back"), "{}", again.error);
}

#[test]
fn nothing_is_done_unless_someone_agrees_and_the_run_can_be_taken_back() {
    let folder = changed("tenant.request(\"deleteSpace\", #{ path: #{ spaceId: desk.id } });");
    let run = run_of(&folder, "playbooks/change.rhai");
    let ended = folder.run(&format!("runs undo {run}"));
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    assert!(ended.error.contains("nobody was there to be asked"), "{}", ended.error);
    assert!(ended.out.contains("stays"), "{}", ended.out);
    assert!(ended.out.contains("it was deleted, and what it held is not kept"), "{}", ended.out);

    assert_eq!(folder.run(&format!("runs undo {run} --yes -q")).code, Some(0));
    let undo = folder.run("runs list --json").json()["runs"][0]["id"].as_str().unwrap().to_owned();
    let ended = folder.run(&format!("runs undo {undo} --yes"));
    assert_eq!(ended.code, Some(4));
    assert!(ended.error.contains(&format!("is an undo of run {run}")), "{}", ended.error);
    let ended = folder.run("runs undo 0000 --yes");
    assert_eq!(ended.code, Some(4));
    assert!(ended.error.contains("there is no run `0000`"), "{}", ended.error);
}

#[test]
fn a_brand_that_was_put_in_use_makes_place_for_the_one_before() {
    let folder = changed(
        "tenant.brands.ensure(#{ name: \"Before\", logo: \"content/brands/hb.png\" });\n\
         tenant.brands.activate(\"Before\");",
    );
    let text = "let tenant = tenants::ensure(customer);\n\
         tenant.brands.ensure(#{ name: \"Before\", favIcon: \"content/brands/hb.ico\" });\n\
         tenant.brands.ensure(#{ name: \"After\", logo: \"content/brands/hb.png\" });\n\
         tenant.brands.activate(\"After\");";
    folder.write("playbooks/brand.rhai", text);
    let ended = folder.run("run playbooks/brand.rhai --customer customers/harbour.yaml -q");
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    let run = run_of(&folder, "playbooks/brand.rhai");
    let done = folder.run(&format!("runs undo {run} --yes --json"));
    assert_eq!(done.code, Some(0), "{}", done.error);
    let told =
        of(&[("restore", "brand \"After\""), ("remove", "brand \"After\""), ("remove", "favIcon of brand \"Before\"")]);
    assert_eq!(verdicts(&done.json()), told);
    folder.write(
        "playbooks/look.rhai",
        "let tenant = tenants::ensure(customer);\n\
         output(#{ all: tenant.brands.list().map(|b| #{ name: b.name, active: b.active, files: b.files.len() }) });",
    );
    let looked = folder.run("run playbooks/look.rhai --customer customers/harbour.yaml --json -q").json();
    let expected = json!([{ "active": true, "files": 1, "name": "Before" }]);
    assert_eq!(looked["runs"][0]["output"]["all"], expected, "{looked}");
}

#[test]
fn an_automation_gets_its_former_definition_and_state() {
    let first = json!({
        "blocks": [{ "id": "A", "type": "StartBlock" }, { "id": "B", "endpoint_guid": "e", "settings": [{ "id": "x" }] }],
        "variables": [],
    });
    let define = |workspace: &Value, state: &str| {
        let file = json!({ "description": "Greets", "workspace": workspace, "state": state });
        (file.to_string(), "tenants::get(customer).automations.ensure(\"Greet\", \"content/greet.json\");")
    };
    let folder = changed("");
    let play = "run playbooks/greet.rhai --customer customers/harbour.yaml -q";
    let second = json!({ "blocks": [{ "id": "A", "type": "StartBlock" }] });
    for (workspace, state) in [(&first, "available"), (&second, "disabled")] {
        let (file, script) = define(workspace, state);
        folder.write("content/greet.json", &file);
        folder.write("playbooks/greet.rhai", script);
        let ended = folder.run(play);
        assert_eq!(ended.code, Some(0), "{}", ended.error);
    }
    let listed = folder.run("runs list --playbook playbooks/greet.rhai --json").json();
    let runs: Vec<&str> = listed["runs"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap()).collect();
    let done = folder.run(&format!("runs undo {} --yes --json", runs[0]));
    assert_eq!(done.code, Some(0), "{}", done.error);
    assert_eq!(verdicts(&done.json()), of(&[("restore", "automation \"Greet\""), ("restore", "automation \"Greet\"")]));
    let look = "let a = tenants::get(customer).automations;\n\
         let id = a.get(\"Greet\").id;\n\
         let now = tenants::get(customer).request(\"workflowsGetAutomation\", #{ path: #{ id: id } });\n\
         output(#{ workspace: now.workspace, state: now.state });";
    folder.write("playbooks/look.rhai", look);
    let looked = folder.run("run playbooks/look.rhai --customer customers/harbour.yaml --json -q").json();
    assert_eq!(looked["runs"][0]["output"], json!({ "state": "available", "workspace": first }), "{looked}");
    let done = folder.run(&format!("runs undo {} --yes --json", runs[1]));
    assert_eq!(verdicts(&done.json()), of(&[("remove", "automation \"Greet\"")]));
}

#[test]
fn a_schedule_that_a_run_made_is_removed_and_one_it_changed_is_as_before() {
    let folder = changed("");
    folder.write("content/Desk.qvf", "one");
    let script = |more: &str| {
        format!(
            "let tenant = tenants::ensure(customer);\n\
             let app = tenant.spaces.get(\"Staging\").import_app(\"content/Desk.qvf\");\n{more}"
        )
    };
    folder.write("playbooks/app.rhai", &script("app.schedule(#{ name: \"Kept\", recurrence: \"FREQ=DAILY\" });"));
    folder.write("playbooks/more.rhai", &script("app.schedule(\"hourly\"); tenant.tasks.disable(\"Kept\");"));
    for playbook in ["app", "more"] {
        let ended = folder.run(&format!("run playbooks/{playbook}.rhai --customer customers/harbour.yaml -q"));
        assert_eq!(ended.code, Some(0), "{}", ended.error);
    }
    let run = run_of(&folder, "playbooks/more.rhai");
    let done = folder.run(&format!("runs undo {run} --yes --json"));
    assert_eq!(done.code, Some(0), "{}", done.error);
    let made = "task \"Reload of Desk\" of app \"Desk\" in space \"Staging\"";
    assert_eq!(verdicts(&done.json()), of(&[("restore", "task \"Kept\""), ("remove", made)]));
    folder.write(
        "playbooks/look.rhai",
        "output(#{ all: tenants::get(customer).tasks.list().map(|task| [task.name, task.enabled]) });",
    );
    let looked = folder.run("run playbooks/look.rhai --customer customers/harbour.yaml --json -q").json();
    assert_eq!(looked["runs"][0]["output"]["all"], json!([["Kept", true]]), "{looked}");
}

#[test]
fn a_data_connection_that_a_run_made_is_removed_and_one_it_changed_is_as_before() {
    let folder = changed("");
    let connect = |name: &str, host: &str| {
        format!(
            "tenants::get(customer).spaces.get(\"Staging\").data_connections.ensure(\"{name}\", #{{ datasourceID: \"postgres\",\n\
                 connectionProperties: #{{ host: \"{host}\", password: secret(\"harbour-database\") }} }});\n"
        )
    };
    folder.write("playbooks/first.rhai", &connect("Kept", "one"));
    folder.write("playbooks/more.rhai", &[connect("Kept", "two"), connect("New", "one")].concat());
    for playbook in ["first", "more"] {
        let ended = folder.run(&format!("run playbooks/{playbook}.rhai --customer customers/harbour.yaml -q"));
        assert_eq!(ended.code, Some(0), "{}", ended.error);
    }
    let run = run_of(&folder, "playbooks/more.rhai");
    let done = folder.run(&format!("runs undo {run} --yes --json"));
    assert_eq!(done.code, Some(0), "{} {}", done.out, done.error);
    let (kept, new) = ("data connection \"Kept\" in space \"Staging\"", "data connection \"New\" in space \"Staging\"");
    assert_eq!(verdicts(&done.json()), of(&[("remove", new), ("restore", kept)]));
    let look = "let held = tenants::get(customer).spaces.get(\"Staging\").data_connections;\n\
         output(#{ host: held.get(\"Kept\").connectionProperties.host, gone: held.find(\"New\") == () });";
    folder.write("playbooks/look.rhai", look);
    let looked = folder.run("run playbooks/look.rhai --customer customers/harbour.yaml --json -q").json();
    assert_eq!(looked["runs"][0]["output"], json!({ "host": "one", "gone": true }), "{looked}");
}

#[test]
fn a_data_file_that_a_run_made_is_removed_and_one_it_replaced_stays_as_it_is() {
    let folder = changed("");
    let upload = |name: &str, content: &str| {
        format!(
            "tenants::get(customer).spaces.get(\"Staging\").data_files.ensure(\"{name}\", #{{ content: \"{content}\" }});\n"
        )
    };
    folder.write("playbooks/first.rhai", &upload("kept.csv", "one"));
    folder.write("playbooks/more.rhai", &[upload("kept.csv", "other"), upload("in/new.csv", "one")].concat());
    for playbook in ["first", "more"] {
        let ended = folder.run(&format!("run playbooks/{playbook}.rhai --customer customers/harbour.yaml -q"));
        assert_eq!(ended.code, Some(0), "{}", ended.error);
    }
    let run = run_of(&folder, "playbooks/more.rhai");
    let done = folder.run(&format!("runs undo {run} --yes --json"));
    let (kept, new) = ("data file \"kept.csv\" in space \"Staging\"", "data file \"in/new.csv\" in space \"Staging\"");
    assert_eq!(verdicts(&done.json()), of(&[("remove", new), ("irreversible", kept)]), "{}", done.out);
    assert!(done.out.contains("the files it had before are not kept"), "{}", done.out);
    let look = "let held = tenants::get(customer).spaces.get(\"Staging\").data_files;\n\
         output(#{ size: held.get(\"kept.csv\").size, gone: held.find(\"in/new.csv\") == () });";
    folder.write("playbooks/look.rhai", look);
    let looked = folder.run("run playbooks/look.rhai --customer customers/harbour.yaml --json -q").json();
    assert_eq!(looked["runs"][0]["output"], json!({ "size": 5, "gone": true }), "{looked}");
    // What is made once more is uploaded, whatever was noted of the one that is gone.
    let again = folder.run("run playbooks/more.rhai --customer customers/harbour.yaml --json -q").json();
    let steps = again["runs"][0]["changes"].as_array().unwrap();
    assert_eq!(
        (steps.len(), &steps[0]["change"], &steps[0]["subject"]),
        (1, &json!("created"), &json!(new)),
        "{again}"
    );
}
