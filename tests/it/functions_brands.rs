//! Brands: a tenant's logo and favicon.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::json;
use tenantry::event::Change;

use crate::functions_driver::{Project, converges};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const ICO: &[u8] = b"\0\0\x01\0icon";

fn project() -> Project {
    let project = Project::new();
    project.file("content/logo.png", PNG);
    project.file("content/other.png", [PNG, b"other"].concat());
    project.file("content/icon.ico", ICO);
    project
}

#[test]
fn a_brand_converges_by_its_name_and_the_content_of_its_files() {
    let project = project();
    let ensure =
        |more: &str| format!(r#"let b = tenant.brands.ensure(#{{ name: "Harbour", {more} }}); output(#{{ b: b }});"#);
    let first = ensure(r#"description: "Harbour's", logo: "content/logo.png""#);
    let other = ensure(r#"description: "Harbour's own", logo: "content/other.png", favIcon: "content/icon.ico""#);
    let [made, changed] = converges(&project, &first, Some(&other));
    assert_eq!(made.writes().last(), Some(&"createBrand"));
    assert_eq!((&made.output["b"]["name"], &made.output["b"]["active"]), (&json!("Harbour"), &json!(false)));
    assert!(made.output["b"].get("logo").is_none(), "fields are Qlik's own");
    assert_eq!(changed.writes(), ["patchBrand", "createBrandFile", "updateBrandFile"]);
    let fields: Vec<&str> = changed.last().fields.iter().map(|field| field.field.as_str()).collect();
    assert_eq!(fields, ["description", "favIcon", "logo"]);
    assert_eq!(changed.output["b"]["files"].as_array().unwrap().len(), 2);
    // What is not mentioned is left alone, and not even read.
    let plain = project.run(r#"tenant.brands.ensure(#{ name: "Harbour" });"#).good();
    assert_eq!((plain.writes(), plain.requests().last()), (vec![], Some(&"getBrands")));
    let got = project
        .run(
            r#"output(#{ one: tenant.brands.get("Harbour").description, none: tenant.brands.find("harbour") == (),
                         all: tenant.brands.list().len() });"#,
        )
        .good();
    assert_eq!(json!(got.output), json!({ "one": "Harbour's own", "none": true, "all": 1 }));
}

#[test]
fn one_brand_is_in_use() {
    let project = project();
    project
        .run(r#"for name in ["A", "B"] { tenant.brands.ensure(#{ name: name, logo: "content/logo.png" }); }"#)
        .good();
    for (script, writes, change) in [
        (r#"tenant.brands.activate("A");"#, vec!["activateBrand"], Change::Acted),
        (r#"tenant.brands.activate("A");"#, vec![], Change::Unchanged),
        (r#"tenant.brands.activate("B");"#, vec!["activateBrand"], Change::Acted),
        (r#"tenant.brands.deactivate("A");"#, vec![], Change::Unchanged),
        (r#"tenant.brands.deactivate("B");"#, vec!["deactivateBrand"], Change::Acted),
        (r#"tenant.brands.delete("B");"#, vec!["deleteBrand"], Change::Deleted),
        (r#"tenant.brands.delete("B");"#, vec![], Change::Unchanged),
    ] {
        let report = project.run(script).good();
        assert_eq!((report.writes(), report.last().change), (writes, change), "{script}");
    }
    let report = project.run(r#"tenant.brands.activate("B");"#);
    assert!(report.failure().contains("there is no brand \"B\""), "{}", report.failure());
}

#[test]
fn what_qlik_would_refuse_of_a_brand_is_found_first() {
    let project = project();
    project.run("").good();
    project.file("content/large.png", vec![0_u8; (300 << 10) + 1]);
    for (given, problem) in [
        (r#"logo: "content/logo.png""#, "`name` is missing"),
        (r#"name: "H", icon: "content/icon.ico""#, "unknown field `icon`"),
        (r#"name: "H", logo: "content/icon.ico""#, "`content/icon.ico` cannot be the logo of a brand"),
        (r#"name: "H", favIcon: "content/logo.png""#, "cannot be the favIcon of a brand"),
        (r#"name: "H", logo: "content/large.png""#, "has 301 KB; Qlik Cloud takes 300 KB for a logo"),
        (r#"name: "H", logo: "content/lego.png""#, "did you mean `content/logo.png`?"),
        (r#"name: "H", logo: 5"#, "`logo` is a number"),
    ] {
        let report = project.run(&format!("tenant.brands.ensure(#{{ {given} }});"));
        assert!(report.failure().contains(problem), "{given}: {}", report.failure());
        assert_eq!(report.writes(), Vec::<&str>::new(), "{given}");
    }
}
