//! Templates, secrets, time, output, log, and any operation of the contract.

use serde_json::json;
use tenantry::event::Change;

use crate::functions_driver::Project;

#[test]
fn templates_become_maps_and_texts() {
    let project = Project::new();
    project.template("a.json", r#"{ "name": {{ name }}, "secret": {{ s }} }"#);
    project.template("b.txt", "Hello {{ name }}\n");
    let report = project
        .play(
            r#"let a = render("a.json", #{ name: customer.name, s: secret("entra") });
               output(#{ name: a.name, kind: type_of(a.secret), text: render("b.txt", customer), short: render_text("{{ code }}!", customer) });"#,
        )
        .good();
    assert_eq!(report.output["name"], json!("Harbour Logistics"));
    assert_eq!(report.output["text"], json!("Hello Harbour Logistics\n"));
    assert_eq!(report.output["short"], json!("hb!"));
    assert_eq!(report.output["kind"], json!("Secret"));
}

#[test]
fn template_errors_carry_the_template_and_its_line() {
    let project = Project::new();
    project.template("idp/a.json", "{\n  \"kid\": {{ idp.kid }}\n}");
    let report = project.play(r#"render("idp/a.json", #{ idp: #{} });"#);
    let failure = report.failure();
    assert!(failure.contains("`idp.kid` has no value: idp/a.json:2:13"), "{failure}");
    assert!(failure.contains("2 |   \"kid\": {{ idp.kid }}"), "{failure}");
    let report = project.play(r#"render("gone.json", #{});"#);
    assert!(report.failure().contains("there is no template `gone.json`"), "{}", report.failure());
    let report = project.play(r#"render_text("{{ s }}", #{ s: secret("entra") });"#);
    assert!(report.failure().contains("secret `entra` cannot become text"), "{}", report.failure());
    let report = project.play(r#"bundle("gone", #{});"#);
    assert!(report.failure().contains("there is no folder `gone`"), "{}", report.failure());
}

#[test]
fn secrets_never_become_text() {
    let project = Project::new();
    let report = project.play(r#"let s = secret("entra"); print(s + "x"); print(`${s}`);"#);
    assert!(report.logs.iter().all(|line| !line.contains("entra-client")), "{:?}", report.logs);
    let report = project.play(r#"log(secret("entra")); log(#{ s: secret("entra") });"#).good();
    assert_eq!(report.logs, ["***", r#"{"s":"***"}"#]);
    let report = project.play(r#"secret("entr");"#);
    assert!(report.failure().contains("did you mean `entra`?"), "{}", report.failure());
}

#[test]
fn time_chance_and_output_come_from_the_host() {
    let project = Project::new();
    let report = project
        .play(r#"output(#{ at: now(), id: uuid() }); output(#{ id2: uuid() }); log("warn", [1, ()]); log(7);"#)
        .good();
    assert!(report.output["at"].as_str().unwrap().starts_with("2026-11-24T09:00:0"));
    assert_ne!(report.output["id"], report.output["id2"]);
    assert_eq!(report.logs, ["[1,null]", "7"]);
    let report = project.play(r#"log("loud", "x");"#);
    assert!(report.failure().contains("`loud` is not a log level"), "{}", report.failure());
}

#[test]
fn handles_name_themselves() {
    let project = Project::new();
    let report = project.run("log(tenant); print(`${tenant}`);").good();
    assert!(report.logs.iter().all(|line| line.ends_with(".eu.qlikcloud.com")), "{:?}", report.logs);
    let report = project.run("output(#{ t: tenant });");
    assert!(report.failure().contains("a value of type Tenant cannot be sent"), "{}", report.failure());
}

#[test]
fn any_operation_can_be_asked_and_is_checked_first() {
    let project = Project::new();
    let report = project
        .run(
            r#"let u = tenant.request("createUser", #{ body: #{ subject: "hb|7", name: "Seven" } });
               let got = tenant.request("getUser", #{ path: #{ userId: u.id } });
               let list = tenant.request("getUsers", #{ query: #{ limit: 1, filter: `subject eq "hb|7"` } });
               tenant.request("deleteUser", #{ path: #{ userId: u.id } });
               output(#{ name: got.name, n: list.data.len() });"#,
        )
        .good();
    assert_eq!((&report.output["name"], &report.output["n"]), (&json!("Seven"), &json!(1)));
    assert_eq!(report.last().change, Change::Deleted);
    assert!(report.last().subject.starts_with("deleteUser (userId "), "{}", report.last().subject);

    for (script, problem) in [
        (r#"tenant.request("createSpaec");"#, "did you mean `createSpace`"),
        (r#"tenant.request("createUser", #{ body: #{ subjct: "x" } });"#, "subjct"),
        (r#"tenant.request("getUser", #{ path: #{ id: "x" } });"#, "userId"),
        (r#"tenant.request("getUsers", #{ query: #{ limits: 1 } });"#, "limits"),
        (r#"tenant.request("getUsers", #{ query: 5 });"#, "`query` is a number; a map is needed"),
        (r#"tenant.request("getUsers", #{ qeury: #{} });"#, "did you mean `query`?"),
    ] {
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert_eq!(report.requests(), ["getTenant"], "{script}");
    }
}

#[test]
fn a_written_thing_is_not_taken_from_notes() {
    let project = Project::new();
    let report = project
        .run(
            r#"tenant.settings.get();
               tenant.request("patchTenant", #{ path: #{ tenantId: tenant.id }, body: [#{ op: "replace", path: "/name", value: "Other" }] });
               output(#{ name: tenant.settings.get().name });"#,
        )
        .good();
    assert_eq!(report.output["name"], json!("Other"));
}

#[test]
fn a_playbook_waits_until_something_is_there() {
    let project = Project::new();
    let report = project
        .play(
            r#"let tenant = tenants::ensure(customer);
               let looks = [];
               let found = wait_until(|| { looks.push(now()); if looks.len() == 4 { looks.len() } }, #{ every: 30, within: 300 });
               tenant.spaces.ensure("Staging", "shared");
               let space = wait_until(|| tenant.spaces.find("Staging"));
               output(#{ found: found, looks: looks, space: space.id });"#,
        )
        .good();
    assert_eq!(report.output["found"], json!(4));
    assert!(report.output["looks"][3].as_str().unwrap().starts_with("2026-11-24T09:01:30"), "{:?}", report.output);
    assert!(report.output["space"].is_string());
}

#[test]
fn a_wait_ends_with_an_error_that_a_script_can_catch() {
    let project = Project::new();
    let report = project
        .play(
            r#"let begun = now();
               try { wait_until(|| false, #{ every: 40, within: 100 }); } catch (e) { output(#{ code: e.code, title: e.title }); }
               try { wait_until(|| throw "broken"); } catch (e) { output(#{ thrown: e }); }
               output(#{ begun: begun, ended: now() });"#,
        )
        .good();
    assert_eq!(report.output["code"], "tenantry/waited");
    assert_eq!(report.output["title"], "what `wait_until` waits for did not come within 100 s");
    assert_eq!(report.output["thrown"], "broken");
    assert!(report.output["begun"].as_str().unwrap().starts_with("2026-11-24T09:00:0"));
    assert!(report.output["ended"].as_str().unwrap().starts_with("2026-11-24T09:01:4"), "{:?}", report.output);
    for (options, says) in [
        ("every: 0", "`every` is a whole number of seconds from 1 to 86400"),
        ("within: 1.5", "`within` is a whole number"),
        ("withn: 3", "did you mean `within`?"),
    ] {
        let report = project.play(&format!("wait_until(|| true, #{{ {options} }});"));
        assert!(report.failure().contains(says), "{}", report.failure());
        assert!(report.operations.is_empty(), "{:?}", report.operations);
    }
}
