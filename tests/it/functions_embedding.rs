//! Web integrations, CSP origins, themes and extensions.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::json;
use tenantry::event::Change;

use crate::functions_driver::{Project, converges};

#[test]
fn web_integrations_converge_by_name() {
    let project = Project::new();
    let [made, changed] = converges(
        &project,
        r#"let w = tenant.web_integrations.ensure("portal", ["https://b.harbour.example", "https://a.harbour.example:8443"]);
           output(#{ id: w.id });"#,
        Some(r#"tenant.web_integrations.ensure("portal", ["https://b.harbour.example"]);"#),
    );
    assert_eq!(changed.writes(), ["patchWebIntegration"]);
    let got = project
        .run(
            r#"let w = tenant.web_integrations.get("portal");
               output(#{ id: w.id, o: w.validOrigins, n: tenant.web_integrations.list().len(),
                         none: tenant.web_integrations.find("Portal") == () });"#,
        )
        .good();
    assert_eq!((&got.output["id"], &got.output["none"]), (&made.output["id"], &json!(true)));
    assert_eq!((&got.output["o"], &got.output["n"]), (&json!(["https://b.harbour.example"]), &json!(1)));
    let reordered = project.run(r#"tenant.web_integrations.ensure("portal", ["https://B.harbour.example/"]);"#).good();
    assert!(reordered.writes().is_empty(), "the same origin written otherwise");
}

#[test]
fn wrong_origins_are_refused_before_anything_is_sent() {
    let project = Project::new();
    project.run("").good();
    for (origin, problem) in [
        ("\"https://*.harbour.example\"", "takes no wildcards"),
        ("\"harbour.example\"", "is not an origin"),
        ("\"ftp://harbour.example\"", "must begin with https://"),
        ("\"https://harbour.example/app\"", "goes on after the host"),
        ("\"https://me@harbour.example\"", "user name"),
        ("5", "a list of texts"),
    ] {
        let report = project.run(&format!(r#"tenant.web_integrations.ensure("portal", [{origin}]);"#));
        assert!(report.failure().contains(problem), "{origin}: {}", report.failure());
        assert_eq!(report.requests(), ["getTenant"], "{origin}");
    }
    let report = project.run(r#"tenant.web_integrations.get("portal");"#);
    assert!(report.failure().contains("there is no web integration \"portal\""), "{}", report.failure());
}

#[test]
fn csp_origins_converge_and_keep_what_is_not_mentioned() {
    let project = Project::new();
    let [_, changed] = converges(
        &project,
        r#"tenant.csp_origins.ensure(#{ origin: "tiles.harbour.example", name: "tiles", imgSrc: true, connectSrc: true });"#,
        Some(r#"tenant.csp_origins.ensure(#{ origin: "tiles.harbour.example", connectSrc: false, fontSrc: true });"#),
    );
    assert_eq!(changed.writes(), ["updateCSPEntry"]);
    let got = project.run("output(#{ all: tenant.csp_origins.list() });").good();
    let entry = &got.output["all"][0];
    assert_eq!(got.output["all"].as_array().unwrap().len(), 1);
    assert_eq!(
        [&entry["name"], &entry["imgSrc"], &entry["connectSrc"], &entry["fontSrc"]],
        [&json!("tiles"), &json!(true), &json!(false), &json!(true)]
    );
}

#[test]
fn csp_origins_are_listed_once_per_run() {
    let project = Project::new();
    let script = r#"for host in ["a", "b", "c"] { tenant.csp_origins.ensure(#{ origin: `${host}.harbour.example`, imgSrc: true }); }"#;
    let first = project.run(script).good();
    let count = |ids: Vec<&str>, wanted: &str| ids.iter().filter(|id| **id == wanted).count();
    assert_eq!(count(first.requests(), "getCSPEntries"), 1);
    assert_eq!(count(first.requests(), "getCSPHeader"), 1);
    assert_eq!(count(first.requests(), "createCSPEntry"), 3);
    assert_eq!(project.run(script).good().requests(), ["getTenant", "getCSPEntries"]);
}

#[test]
fn a_policy_that_grows_too_long_is_refused_before_anything_is_sent() {
    let project = Project::new();
    let flags = "childSrc: true, connectSrc: true, fontSrc: true, frameSrc: true, imgSrc: true, mediaSrc: true, scriptSrc: true, styleSrc: true";
    let report = project.run(
        &format!(
            r#"let long = "x".pad_to(180);
           for i in 0..9 {{ tenant.csp_origins.ensure(#{{ origin: `${{i}}${{long}}.harbour.example`, {flags} }}); }}"#
        )
        .replace("\"x\".pad_to(180)", &format!("\"{}\"", "x".repeat(180))),
    );
    assert!(report.failure().contains("longer than 6144 characters"), "{}", report.failure());
    let made = report.writes().iter().filter(|id| **id == "createCSPEntry").count();
    assert!((1..9).contains(&made), "{made}");
    for (script, problem) in [
        (r#"tenant.csp_origins.ensure(#{ imgSrc: true });"#, "`origin` is missing"),
        (r#"tenant.csp_origins.ensure(#{ origin: "*.x.example" });"#, "wildcard"),
        (r#"tenant.csp_origins.ensure(#{ origin: "a b" });"#, "is not an origin"),
        (r#"tenant.csp_origins.ensure(#{ origin: "a.example", imgSource: true });"#, "did you mean `imgSrc`?"),
        (r#"tenant.csp_origins.ensure(#{ origin: "a.example", imgSrc: "yes" });"#, "must be true or false"),
    ] {
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert!(report.writes().is_empty(), "{script}");
    }
}

fn theme(project: &Project) {
    project.template("theme/{{ id }}.qext", r#"{ "name": {{ id }}, "type": "theme", "version": "1.0.0" }"#);
    project.template("theme/theme.json", r#"{ "_inherit": true, "color": {{ primary }} }"#);
    project.template("theme/theme.css", "a { color: {{ primary }}; }");
}

fn ensure(primary: &str) -> String {
    format!(
        r##"let t = tenant.themes.ensure(bundle("theme", #{{ id: "hb-theme", primary: "{primary}" }})); output(#{{ t: t }});"##
    )
}

#[test]
fn a_theme_is_uploaded_only_when_its_content_differs() {
    let project = Project::new();
    theme(&project);
    let [made, changed] = converges(&project, &ensure("#000000"), Some(&ensure("#FFFFFF")));
    assert_eq!(made.output["t"]["name"], json!("hb-theme"));
    assert_eq!(changed.writes(), ["patchTheme"]);
    assert_eq!(changed.output["t"]["name"], json!("hb-theme"));
    let held = project.run("output(#{ n: tenant.themes.list().len() });").good();
    assert_eq!(held.output["n"], json!(1));
    let tagged = project.run(
        r##"tenant.themes.ensure(bundle("theme", #{ id: "hb-theme", primary: "#FFFFFF" }), #{ tags: ["halyard"] });"##,
    );
    assert_eq!(tagged.good().writes(), ["patchTheme"]);
    // Qlik answers a change with a list; what a playbook gets is the theme, as after the upload.
    assert_eq!(changed.output["t"]["id"], made.output["t"]["id"]);
    assert_ne!(changed.output["t"]["file"]["md5"], made.output["t"]["file"]["md5"]);
}

fn extension(project: &Project) {
    project.template("map/route-map.qext", r#"{ "name": "Route map", "type": "visualization", "version": "1.0.0" }"#);
    project.template("map/route-map.js", "define([], () => ({ tiles: {{ tiles }} }));");
}

#[test]
fn an_extension_is_uploaded_only_when_its_content_differs() {
    let project = Project::new();
    extension(&project);
    let ensure = |tiles: &str| {
        format!(r#"let e = tenant.extensions.ensure(bundle("map", #{{ tiles: "{tiles}" }})); output(#{{ e: e }});"#)
    };
    let [made, changed] = converges(&project, &ensure("a.example"), Some(&ensure("b.example")));
    assert_eq!(changed.writes(), ["patchExtension"]);
    assert_eq!(changed.last().subject, "extension \"route-map\"");
    assert_eq!(changed.output["e"]["id"], made.output["e"]["id"]);
    assert_ne!(changed.output["e"]["file"]["md5"], made.output["e"]["file"]["md5"]);
    let got = project
        .run(
            r#"output(#{ one: tenant.extensions.get("route-map").name, none: tenant.extensions.find("Route map") == (),
                         all: tenant.extensions.list().len(), themes: tenant.themes.list().len() });"#,
        )
        .good();
    assert_eq!(json!(got.output), json!({ "one": "Route map", "none": true, "all": 1, "themes": 0 }));
    let tagged =
        project.run(r#"tenant.extensions.ensure(bundle("map", #{ tiles: "b.example" }), #{ tags: ["maps"] });"#).good();
    assert_eq!(tagged.writes(), ["patchExtension"]);
}

#[test]
fn what_is_known_by_its_qext_file_can_be_removed() {
    let project = Project::new();
    extension(&project);
    theme(&project);
    project.run(r#"tenant.extensions.ensure(bundle("map", #{ tiles: "a" }));"#).good();
    project.run(&ensure("#000000")).good();
    let script = r#"tenant.extensions.delete("route-map"); tenant.themes.delete("hb-theme");"#;
    assert_eq!(project.run(script).good().writes(), ["deleteExtension", "deleteTheme"]);
    let again = project.run(script).good();
    assert_eq!((again.writes(), again.last().change), (vec![], Change::Unchanged));
    for (script, problem) in [
        (r#"tenant.extensions.get("route-map");"#, "there is no extension \"route-map\""),
        (r#"tenant.themes.get("hb-theme");"#, "there is no theme \"hb-theme\""),
    ] {
        assert!(project.run(script).failure().contains(problem), "{script}");
    }
    project.run(r#"tenant.extensions.ensure(bundle("map", #{ tiles: "a" }));"#).good();
}

#[test]
fn what_qlik_would_refuse_of_an_extension_is_found_first() {
    let cases: [(&str, &str, &str); 4] = [
        ("map/run.sh", "true", "an extension cannot hold `run.sh`"),
        ("map/other.qext", "{}", "an extension needs one .qext file at its top; this has 2"),
        ("map/route-map.qext", r#"{ "name": "a", "type": "theme" }"#, "does not say `\"type\": \"visualization\"`"),
        ("map/route-map.qext", r#"{ "type": "visualization" }"#, "has no `name`"),
    ];
    for (path, content, problem) in cases {
        let project = Project::new();
        extension(&project);
        project.template(path, content);
        let report = project.run(r#"tenant.extensions.ensure(bundle("map", #{ tiles: "a" }));"#);
        assert!(report.failure().contains(problem), "{problem}: {}", report.failure());
        assert_eq!(report.writes(), ["createTenant", "patchTenant"], "{problem}");
    }
}

#[test]
fn a_policy_is_counted_to_the_last_character() {
    // Whatever the lengths, the service never has to say no.
    for length in 40..70 {
        let project = Project::new();
        let host = "x".repeat(length);
        let flags =
            "childSrc: true, connectSrc: true, connectSrcWSS: true, fontSrc: true, frameAncestors: true, imgSrc: true";
        let report = project.run(&format!(
            "for i in 100..200 {{ tenant.csp_origins.ensure(#{{ origin: `${{i}}{host}`, {flags} }}); }}"
        ));
        assert!(report.failure().contains("longer than 6144 characters"), "{length}: {}", report.failure());
        assert_eq!(report.requests().last(), Some(&"getCSPHeader"), "{length}");
    }
}

#[test]
fn a_full_policy_takes_no_more_entries() {
    let project = Project::new();
    let report = project.run("for i in 0..257 { tenant.csp_origins.ensure(#{ origin: `h${i}` }); }");
    assert!(report.failure().contains("has 256 CSP origins already"), "{}", report.failure());
    assert_eq!(report.writes().iter().filter(|id| **id == "createCSPEntry").count(), 256);
}

type Prepare<'c> = &'c dyn Fn(&Project);

#[test]
fn what_qlik_would_refuse_of_a_theme_is_found_first() {
    let script = r#"tenant.themes.ensure(bundle("theme", #{ id: "hb", primary: "x" }));"#;
    let cases: [(&str, Prepare); 7] = [
        ("needs one .qext file at its top", &|project| project.template("theme/theme.json", "{}")),
        ("needs one .qext file at its top", &|project| {
            theme(project);
            project.template("theme/b.qext", "{}");
        }),
        ("needs `theme.json`", &|project| project.template("theme/a.qext", r#"{ "name": "a", "type": "theme" }"#)),
        ("does not say `\"type\": \"theme\"`", &|project| {
            project.template("theme/a.qext", r#"{ "name": "a", "type": "visualization" }"#);
        }),
        ("a theme cannot hold `run.sh`", &|project| {
            theme(project);
            project.template("theme/run.sh", "true");
        }),
        ("files; Qlik Cloud takes 500", &|project| {
            theme(project);
            for number in 0..500 {
                project.template(&format!("theme/{number}.css"), "a {}");
            }
        }),
        ("Qlik Cloud takes files up to 30.0 MB", &|project| {
            theme(project);
            project.template("theme/big.png", vec![255_u8; 31 << 20]);
        }),
    ];
    for (problem, prepare) in cases {
        let project = Project::new();
        prepare(&project);
        let report = project.run(script);
        assert!(report.failure().contains(problem), "{problem}: {}", report.failure());
        assert_eq!(report.writes(), ["createTenant", "patchTenant"], "{problem}");
    }
}

#[test]
fn a_zip_above_the_limit_is_refused() {
    let project = Project::new();
    theme(&project);
    for number in 0..2 {
        project.template(&format!("theme/{number}.png"), vec![255_u8; 16 << 20]);
    }
    let report = project.run(&ensure("#000000"));
    assert!(report.failure().contains("the theme's zip is 32.0 MB; Qlik Cloud takes 30.0 MB"), "{}", report.failure());
    assert_ne!(report.last().change, Change::Updated);
}
