use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenantry::render::{RenderError, RenderErrorKind, Rendered, Templates};

fn project(files: &[(&str, &str)]) -> (TempDir, Templates) {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in files {
        write(folder.path(), path, content.as_bytes());
    }
    let templates = Templates::new(folder.path());
    (folder, templates)
}

fn write(project: &Path, path: &str, content: &[u8]) {
    let path = project.join("templates").join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn rendered(template: (&str, &str), values: &Value) -> Result<Rendered, RenderError> {
    let (_folder, templates) = project(&[template]);
    templates.render(template.0, values)
}

fn failure(template: (&str, &str), values: &Value) -> RenderError {
    rendered(template, values).unwrap_err()
}

#[test]
fn json_templates_write_values_with_their_quotes() {
    let values = json!({ "name": "Müller & \"Söhne\"", "groups": ["a", "b"], "on": true, "none": null, "n": 5 });
    let text = "{ \"name\": {{ name }}, \"groups\": {{ groups }}, \"on\": {{ on }}, \"none\": {{ none }}, \"n\": {{ n }}, \"id\": {{ name ~ '-x' }} }";
    assert_eq!(
        rendered(("a.json", text), &values).unwrap(),
        Rendered::Json(json!({
            "name": "Müller & \"Söhne\"", "groups": ["a", "b"], "on": true, "none": null, "n": 5, "id": "Müller & \"Söhne\"-x",
        }))
    );
    assert_eq!(
        rendered(("a.yaml.j2", "name: {{ name }}\nlist:\n{% for g in groups %}\n  - {{ g }}\n{% endfor %}\n"), &values)
            .unwrap(),
        Rendered::Json(json!({ "name": "Müller & \"Söhne\"", "list": ["a", "b"] }))
    );
}

#[test]
fn text_is_written_as_it_is_and_html_is_escaped() {
    let values = json!({ "name": "<b> & 'c'" });
    assert_eq!(rendered(("a.txt", "{{ name }}\n"), &values).unwrap(), Rendered::Text("<b> & 'c'\n".into()));
    assert_eq!(
        rendered(("a.html", "{{ name }}"), &values).unwrap(),
        Rendered::Text("&lt;b&gt; &amp; &#x27;c&#x27;".into())
    );
    let (_folder, templates) = project(&[]);
    assert_eq!(templates.render_text("{{ name }} Analytics", &json!({ "name": "Acme" })).unwrap(), "Acme Analytics");
}

#[test]
fn a_missing_value_is_named_with_its_path_and_line() {
    let error = failure(
        ("idp/jwt.json", "{\n  \"issuer\": {{ idp.issuer }},\n  \"kid\": {{ idp.kid }}\n}"),
        &json!({ "idp": { "issuer": "https://id" } }),
    );
    assert_eq!(error.kind, RenderErrorKind::MissingValue);
    assert_eq!(error.title, "`idp.kid` has no value");
    assert_eq!(error.to_string(), "idp/jwt.json:3:13: `idp.kid` has no value");
    assert_eq!(error.snippet().unwrap(), "idp/jwt.json:3:13\n  |\n3 |   \"kid\": {{ idp.kid }}\n  |             ^");

    let (_folder, templates) = project(&[]);
    for (text, missing) in [
        ("{{ nme }}", "`nme` has no value"),
        ("{{ idp.issuer.deep }}", "`idp.issuer` has no value"),
        ("{% for x in gone %}{{ x }}{% endfor %}", "`gone` has no value"),
        ("{{ gone | upper }}", "`gone` has no value"),
        ("{{ idp.kid | required('the portal signs with it') }}", "`idp.kid` has no value: the portal signs with it"),
    ] {
        let error = templates.render_text(text, &json!({ "idp": {} })).unwrap_err();
        assert_eq!((error.kind, error.title.as_str()), (RenderErrorKind::MissingValue, missing), "{text}");
    }
}

#[test]
fn a_missing_value_may_be_asked_for() {
    let (_folder, templates) = project(&[]);
    for (text, result) in [
        ("{% if gone %}yes{% else %}no{% endif %}", "no"),
        ("{{ gone | default('d') }}", "d"),
        ("{{ 1 if gone is defined else 2 }}", "2"),
    ] {
        assert_eq!(templates.render_text(text, &json!({})).unwrap(), result);
    }
}

#[test]
fn an_error_inside_an_included_template_names_that_template() {
    let (_folder, templates) = project(&[
        ("outer.txt", "x\n{% include 'parts/inner.txt' %}"),
        ("parts/inner.txt", "1\n2 {{ customer.code }}"),
    ]);
    let error = templates.render("outer.txt", &json!({ "customer": {} })).unwrap_err();
    assert_eq!(error.to_string(), "parts/inner.txt:2:6: `customer.code` has no value");
}

#[test]
fn what_is_not_the_promised_document_shows_the_line() {
    let error = failure(("a.json", "{\n \"name\": \"{{ name }}\"\n}"), &json!({ "name": "x" }));
    assert_eq!((error.kind, error.line), (RenderErrorKind::Document, Some(2)));
    assert_eq!(error.source_line.as_deref(), Some(" \"name\": \"\"x\"\""));
    assert!(error.hint.unwrap().contains("no"), "the hint is about quotes");

    let error = failure(("a.yaml", "a: 1\nb: [1,\n"), &json!({}));
    assert_eq!(error.kind, RenderErrorKind::Document);
    assert!(error.line.is_some(), "{error}");
}

#[test]
fn syntax_errors_and_unknown_filters_have_a_place_and_advice() {
    let error = failure(("a.txt", "one\ntwo {{ name | slugg }}"), &json!({ "name": "x" }));
    assert_eq!((error.line, error.hint.as_deref()), (Some(2), Some("did you mean `slug`?")));
    let error = failure(("a.txt", "one\n{% if %}"), &json!({}));
    assert_eq!((error.kind, error.line), (RenderErrorKind::Syntax, Some(2)));
}

#[test]
fn names_that_leave_the_folder_are_refused() {
    let (folder, templates) = project(&[("a.txt", "{% include '../secret.txt' %}"), ("b.txt", "b")]);
    fs::write(folder.path().join("secret.txt"), "hidden").unwrap();
    for name in
        ["../secret.txt", "/etc/passwd", "a/../../secret.txt", "..\\secret.txt", "C:secret.txt", "", "a\0b", "."]
    {
        let error = templates.render(name, &json!({})).unwrap_err();
        assert_eq!(error.kind, RenderErrorKind::NotFound, "{name:?}: {error}");
        assert_eq!(templates.bundle(name, &json!({})).unwrap_err().kind, RenderErrorKind::NotFound, "{name:?}");
    }
    assert_eq!(templates.render("a.txt", &json!({})).unwrap_err().kind, RenderErrorKind::NotFound);
    let missing = templates.render("gone.txt", &json!({})).unwrap_err();
    assert_eq!(missing.title, "there is no template `gone.txt`");
}

#[cfg(unix)]
#[test]
fn links_that_leave_the_folder_are_refused() {
    let (folder, templates) = project(&[("t/a.txt", "a")]);
    fs::write(folder.path().join("secret.txt"), "hidden").unwrap();
    std::os::unix::fs::symlink(folder.path().join("secret.txt"), folder.path().join("templates/t/link.txt")).unwrap();
    assert_eq!(templates.render("t/link.txt", &json!({})).unwrap_err().kind, RenderErrorKind::NotFound);
    assert!(templates.bundle("t", &json!({})).is_err());
}

#[test]
fn secrets_travel_as_references_and_never_as_text() {
    let secret = json!({ "$secret": "entra" });
    let values = json!({ "secret": secret, "nested": { "secret": secret } });
    assert_eq!(
        rendered(("a.json", "{ \"s\": {{ secret }}, \"n\": {{ nested }} }"), &values).unwrap(),
        Rendered::Json(json!({ "s": secret, "n": { "secret": secret } }))
    );
    for text in ["{{ secret }}", "{{ 'x' ~ secret }}", "{{ nested }}", "{{ nested | tojson }}", "{{ [secret] | join }}"]
    {
        let error = failure(("a.txt", text), &values);
        assert_eq!(error.kind, RenderErrorKind::Secret, "{text}: {error}");
    }
    let error = failure(("a.json", "{ \"s\": {{ 'Bearer ' ~ secret }} }"), &values);
    assert_eq!(error.kind, RenderErrorKind::Secret);
    let error = failure(("a.json", "{ \"s\": {\"$secret\": \"other\"} }"), &values);
    assert_eq!(error.kind, RenderErrorKind::Secret);
}

#[test]
fn endless_templates_end() {
    let (_folder, templates) = project(&[("loop.txt", "{% include 'loop.txt' %}")]);
    let text = "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}";
    assert_eq!(templates.render_text(text, &json!({})).unwrap_err().kind, RenderErrorKind::Budget);
    assert_eq!(templates.render_text("{{ 'x' * 10000000000 }}", &json!({})).unwrap_err().kind, RenderErrorKind::Budget);
    assert!(templates.render("loop.txt", &json!({})).is_err());
}

#[test]
fn filters_for_scripts_and_names() {
    let (_folder, templates) = project(&[]);
    for (text, result) in [
        ("{{ 'Müller & Söhne, Inc.' | slug }}", "mueller-soehne-inc"),
        ("{{ \"L'Oréal  2\" | slug }}", "loreal-2"),
        ("SET v={{ \"O'Brien $(x)\" | qvs }};", "SET v='O''Brien $' & '(x)';"),
        ("{{ [1, true, none, 'a'] | qvs }}", "1, True(), Null(), 'a'"),
    ] {
        assert_eq!(templates.render_text(text, &json!({})).unwrap(), result);
    }
}

#[test]
fn a_folder_becomes_a_bundle() {
    let (folder, templates) = project(&[
        ("theme/{{ id }}.qext", "{ \"name\": {{ name }}, \"type\": \"theme\" }"),
        ("theme/css/main.css.j2", "a { color: {{ primary }}; }"),
        ("theme/.hidden", "no"),
    ]);
    write(folder.path(), "theme/font.woff2", &[0, 159, 146, 150, b'{', b'{']);
    let values = json!({ "id": "hb", "name": "Harbour", "primary": "#0B3C5D" });
    let bundle = templates.bundle("theme", &values).unwrap();
    let names: Vec<_> = bundle.files().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(names, ["css/main.css", "font.woff2", "hb.qext"]);
    assert_eq!(&bundle.file("css/main.css").unwrap()[..], b"a { color: #0B3C5D; }");
    assert_eq!(&bundle.file("hb.qext").unwrap()[..], b"{ \"name\": \"Harbour\", \"type\": \"theme\" }");
    assert_eq!(bundle.zip_md5().unwrap(), templates.bundle("theme", &values).unwrap().zip_md5().unwrap());

    let error = templates.bundle("theme", &json!({ "id": "hb", "name": "Harbour" })).unwrap_err();
    assert_eq!(error.to_string(), "theme/css/main.css.j2:1:15: `primary` has no value");
    let error = templates.bundle("theme", &json!({ "id": "a/b", "name": "x", "primary": "y" })).unwrap_err();
    assert_eq!(error.kind, RenderErrorKind::Bundle);
    let secret = json!({ "id": "hb", "name": { "$secret": "s" }, "primary": "y" });
    assert_eq!(templates.bundle("theme", &secret).unwrap_err().kind, RenderErrorKind::Secret);
}

#[test]
fn a_bundle_needs_a_folder_with_files() {
    let (folder, templates) = project(&[("a.txt", "a")]);
    fs::create_dir(folder.path().join("templates/empty")).unwrap();
    assert_eq!(templates.bundle("a.txt", &json!({})).unwrap_err().kind, RenderErrorKind::Bundle);
    assert_eq!(templates.bundle("empty", &json!({})).unwrap_err().kind, RenderErrorKind::Bundle);
    assert_eq!(templates.bundle("gone", &json!({})).unwrap_err().kind, RenderErrorKind::NotFound);
}

proptest! {
    #[test]
    fn any_template_text_renders_or_fails_without_panic(
        pieces in prop::collection::vec(
            prop_oneof![
                Just("{{ ".to_owned()), Just(" }}".to_owned()), Just("{% for x in ".to_owned()), Just(" %}".to_owned()),
                Just("{% endfor %}".to_owned()), Just("{% if ".to_owned()), Just("{% endif %}".to_owned()),
                Just("{# ".to_owned()), Just("{% raw %}".to_owned()), Just("a.b".to_owned()), Just("secret".to_owned()),
                Just(" | qvs".to_owned()), Just(" | slug".to_owned()), Just(" | required('é')".to_owned()),
                Just(" ~ ".to_owned()), Just("\n".to_owned()), any::<String>(),
            ],
            0..12,
        ),
        path in any::<String>(),
    ) {
        let (_folder, templates) = project(&[]);
        let values = json!({ "a": { "b": "ü" }, "x": [1, null], "secret": { "$secret": "s" } });
        if let Err(error) = templates.render_text(&pieces.concat(), &values) {
            let _ = (error.to_string(), error.snippet());
        }
        let _ = templates.render(&path, &values);
        let _ = templates.bundle(&path, &values);
    }
}
