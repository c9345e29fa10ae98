//! `tenant.oauth_clients`.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::json;

use crate::functions_driver::{Project, converges};

const CLIENT: &str = r#"let c = tenant.oauth_clients.ensure("server", #{
    appType: "web", allowedScopes: ["user_default"], description: "of the app",
    allowedGrantTypes: ["urn:qlik:oauth:user-impersonation"], consentMethod: "trusted",
});
output(#{ id: c.clientId, secret: type_of(c.clientSecret), hints: c.clientSecrets.len() });"#;

#[test]
fn a_client_converges_by_its_name_and_its_secret_is_kept() {
    let project = Project::new();
    let [made, changed] = converges(
        &project,
        CLIENT,
        Some(
            r#"tenant.oauth_clients.ensure("server", #{
                appType: "web", allowedScopes: ["user_default", "user_default"], logoUri: "https://x.example/logo.png",
            });"#,
        ),
    );
    assert_eq!(made.writes(), ["createTenant", "patchTenant", "createOAuthClient"], "made and trusted at once");
    let told = made.logs.iter().find(|line| line.contains("is kept as `answer/")).unwrap();
    assert!(told.contains("/oauth-clients/") && told.contains("/clientSecret`"), "{told}");
    assert_eq!(made.output["hints"], 1);
    assert_eq!(changed.writes(), ["patchOAuthClient"]);
    let got = project
        .run(
            r#"let c = tenant.oauth_clients.get("server");
               output(#{ id: c.clientId, d: c.description, l: c.logoUri, consent: c.connectionConfig.consentMethod,
                         n: tenant.oauth_clients.list().len(), none: tenant.oauth_clients.find("Server") == () });"#,
        )
        .good();
    assert_eq!(got.output["id"], made.output["id"]);
    assert_eq!((&got.output["d"], &got.output["l"]), (&json!("of the app"), &json!("https://x.example/logo.png")));
    assert_eq!((&got.output["consent"], &got.output["n"]), (&json!("trusted"), &json!(1)));
    assert_eq!(got.output["none"], true);
}

#[test]
fn consent_follows_and_the_type_stays() {
    let project = Project::new();
    project
        .run(r#"tenant.oauth_clients.ensure("m2m", #{ appType: "web", allowedGrantTypes: ["client_credentials"] });"#)
        .good();
    let trust =
        project.run(r#"tenant.oauth_clients.ensure("m2m", #{ appType: "web", consentMethod: "trusted" });"#).good();
    assert_eq!(trust.writes(), ["patchOAuthClientConnectionConfig"]);
    let fields: Vec<&str> = trust.last().fields.iter().map(|field| field.field.as_str()).collect();
    assert_eq!(fields, ["consentMethod"]);
    let other = project.run(r#"tenant.oauth_clients.ensure("m2m", #{ appType: "spa" });"#);
    assert!(other.failure().contains("which cannot be changed"), "{}", other.failure());
    assert!(other.writes().is_empty());
}

#[test]
fn a_public_client_has_no_secret() {
    let project = Project::new();
    let script = r#"let c = tenant.oauth_clients.ensure("page", #{ appType: "spa", allowedOrigins: ["https://A.example/"] });
        output(#{ o: c.allowedOrigins });"#;
    let [made, _] = converges(&project, script, None);
    assert_eq!(made.output["o"], json!(["https://a.example"]));
    let published = project.run(r#"tenant.oauth_clients.publish("page");"#).good();
    assert_eq!(published.writes(), ["publishOAuthClient"]);
    assert!(project.run(r#"tenant.oauth_clients.publish("page");"#).good().writes().is_empty(), "once is enough");
    assert_eq!(project.run(r#"tenant.oauth_clients.delete("page");"#).good().writes(), ["deleteOAuthClient"]);
    assert!(project.run(r#"tenant.oauth_clients.delete("page");"#).good().writes().is_empty());
}

#[test]
fn secrets_are_rotated_with_an_overlap() {
    let project = Project::new();
    project.run(CLIENT).good();
    let rotated = project
        .run(
            r#"let old = tenant.oauth_clients.get("server").clientSecrets[0].hint;
               let next = tenant.oauth_clients.rotate_secret("server");
               output(#{ old: old, hint: next.hint, n: tenant.oauth_clients.get("server").clientSecrets.len() });"#,
        )
        .good();
    assert_eq!(rotated.output["n"], 2, "both are good");
    assert_eq!(rotated.writes(), ["createOAuthClientSecret"]);
    let script = format!(r#"tenant.oauth_clients.delete_secret("server", {}); {CLIENT}"#, rotated.output["old"]);
    let tidied = project.run(&script).good();
    assert_eq!(tidied.writes(), ["deleteOAuthClientSecret"], "the new one is known to the sink");
    assert!(project.run(&script).good().writes().is_empty());
    let full = project.run(r#"for i in 0..5 { tenant.oauth_clients.rotate_secret("server"); }"#);
    assert!(full.failure().contains("has 5 secrets"), "{}", full.failure());
    assert!(full.failure().contains("delete_secret(\"server\", hint)"), "{}", full.failure());
    assert_eq!(full.writes().len(), 4, "the fifth is refused before anything is sent");
}

#[test]
fn a_client_whose_secret_is_not_here_gets_another() {
    let project = Project::new();
    project.run(CLIENT).good();
    // Another machine, with a secret sink of its own.
    let other = Project::on(project.sandbox.clone());
    let adopt = format!("let tenant = tenants::adopt(customer, \"{}\");\n{CLIENT}", tenant_host(&other));
    let found = other.play(&adopt).good();
    assert_eq!(found.writes(), ["createOAuthClientSecret"]);
    assert!(other.run(CLIENT).good().writes().is_empty(), "from now on it is here");
    assert_eq!(found.told().last().unwrap(), "Created secret of OAuth client \"server\"");
}

fn tenant_host(project: &Project) -> String {
    let state = project.sandbox.snapshot().to_json();
    state["organization"]["tenants"][0]["document"]["hostnames"][0].as_str().unwrap().to_owned()
}

#[test]
fn what_could_not_work_is_refused_before_anything_is_sent() {
    let project = Project::new();
    project.run("").good();
    for (options, problem) in [
        ("", "`appType` is missing"),
        ("appType: \"webb\"", "did you mean `web`?"),
        ("appType: \"web\", allowedScope: []", "did you mean `allowedScopes`?"),
        ("appType: \"web\", allowedGrantTypes: [\"password\"]", "`allowedGrantTypes` cannot be `password`"),
        ("appType: \"spa\", allowedGrantTypes: [\"client_credentials\"]", "only for clients of the type `web`"),
        ("appType: \"web\", allowedGrantTypes: [\"urn:qlik:oauth:user-impersonation\"]", "must be trusted"),
        ("appType: \"web\", consentMethod: \"yes\"", "`consentMethod` cannot be `yes`"),
        ("appType: \"spa\", allowedOrigins: [\"https://*.x.example\"]", "no wildcards"),
        ("appType: \"spa\", redirectUris: [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]", "Qlik takes 5"),
        ("appType: \"web\", allowedScopes: \"user_default\"", "must be a list of texts"),
    ] {
        let report = project.run(&format!("tenant.oauth_clients.ensure(\"x\", #{{ {options} }});"));
        assert!(report.failure().contains(problem), "{options}: {}", report.failure());
        assert_eq!(report.requests(), ["getTenant"], "{options}");
    }
    for call in ["get(\"x\")", "rotate_secret(\"x\")", "publish(\"x\")"] {
        let report = project.run(&format!("tenant.oauth_clients.{call};"));
        assert!(report.failure().contains("there is no OAuth client \"x\""), "{call}: {}", report.failure());
    }
}
