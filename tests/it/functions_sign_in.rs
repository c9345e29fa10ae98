//! Keys, identity providers and the proof that a login works.

use serde_json::json;
use tenantry::event::Change;

use crate::functions_driver::{Project, converges};

const JWT: &str = r#"let key = keys::ensure("hb-portal");
    let p = tenant.identity_providers.ensure(#{ provider: "external", protocol: "jwtAuth", description: "portal",
        options: #{ issuer: "https://id.halyard.example/hb", staticKeys: [#{ kid: "2026-11-a", pem: key.certificate }] } });
    output(#{ id: p.id });"#;

const PROBE: &str = r#"tenant.verify_login(#{ subject: "hb|probe", name: "Probe", email: "probe@halyard.example", groups: ["hb-viewers"] });"#;

fn oidc(provider: &str, more: &str) -> String {
    format!(
        r#"tenant.identity_providers.ensure(#{{ provider: "{provider}", protocol: "OIDC", interactive: true, skipVerify: true,
            options: #{{ discoveryUrl: "https://login.example/.well-known/openid-configuration", clientId: "c1",
                clientSecret: secret("entra"), realm: "fenwick", claimsMapping: #{{ sub: ["sub"], name: ["name"], email: ["email"] }} }} {more} }});"#
    )
}

#[test]
fn a_key_pair_is_made_once() {
    let project = Project::new();
    let script = r#"let k = keys::ensure("hb-portal"); output(#{ c: k.certificate, n: k.name, expired: k.expired });"#;
    let first = project.play(script).good();
    assert_eq!(first.last().change, Change::Created);
    assert!(first.output["c"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let again = project.play(script).good();
    assert_eq!((again.last().change, &again.output), (Change::Unchanged, &first.output));
    let report = project.play(r#"keys::ensure("a/b");"#);
    assert!(report.failure().contains("cannot be the name of a secret or key"), "{}", report.failure());
    let report = project.play(r#"keys::ensure("a", #{ bits: 512 });"#);
    assert!(report.failure().contains("use 2048, 3072 or 4096"), "{}", report.failure());
}

#[test]
fn a_jwt_provider_converges_by_issuer() {
    let project = Project::new();
    let [made, changed] = converges(&project, JWT, Some(&JWT.replace("\"portal\"", "\"the portal\"")));
    assert_eq!(changed.writes(), ["patchIdp"], "a description is changed in place");
    assert_eq!(changed.output["id"], made.output["id"]);

    let rotated = project.run(&JWT.replace("2026-11-a", "2026-12-a")).good();
    assert_eq!(rotated.writes(), ["deleteIdp", "createIdp"], "a key is changed by making the provider anew");
    assert_eq!(rotated.last().change, Change::Replaced);
    let certificate = project.run(&JWT.replace("2026-11-a", "2026-12-a").replace("hb-portal", "hb-other")).good();
    assert_eq!(certificate.writes(), ["deleteIdp", "createIdp"]);
    let held =
        project.run("output(#{ n: tenant.identity_providers.list().filter(|p| p.protocol == \"jwtAuth\").len() });");
    assert_eq!(held.good().output["n"], json!(1));
}

#[test]
fn oidc_providers_converge_and_their_secrets_are_not_compared() {
    for provider in ["auth0", "okta", "generic", "salesforce", "keycloak", "adfs", "azureAD"] {
        let project = Project::new();
        let [_, changed] = converges(
            &project,
            &oidc(provider, ""),
            Some(&oidc(provider, r#", description: "directory", postLogoutRedirectUri: "https://x.example/bye""#)),
        );
        assert_eq!(changed.writes(), ["patchIdp"], "{provider}");
        let mapped = project.run(&oidc(provider, "").replace("[\"name\"]", "[\"display_name\"]")).good();
        assert_eq!(mapped.writes(), ["patchIdp"], "{provider}");
        assert_eq!(mapped.last().fields[0].field, "options.claimsMapping");
        let shown = format!("{:?}", mapped.steps);
        assert!(!shown.contains("entra-client-secret"), "{shown}");
    }
}

#[test]
fn wrong_providers_are_refused_before_anything_is_sent() {
    let project = Project::new();
    project.run("").good();
    let jwt = |options: &str| {
        format!(
            r#"tenant.identity_providers.ensure(#{{ provider: "external", protocol: "jwtAuth", options: {options} }});"#
        )
    };
    for (script, problem) in [
        (jwt("#{}"), "`issuer` is missing"),
        (jwt(r#"#{ issuer: "a" }"#), "`staticKeys` is missing"),
        (jwt(r#"#{ issuer: "a", staticKeys: [] }"#), "exactly one"),
        (jwt(r#"#{ issuer: "a", staticKeys: [#{ kid: "k", pem: "x" }] }"#), "not a certificate or public key"),
        (jwt(r#"#{ issuer: "a", staticKey: [] }"#), "did you mean `staticKeys`?"),
        (oidc("entra", ""), "`entra` is not a provider of OIDC logins"),
        (oidc("okta", "").replace("skipVerify: true", "skipVerify: false"), "`skipVerify: true`"),
        (oidc("okta", "").replace("discoveryUrl", "discoveryURL"), "did you mean `discoveryUrl`?"),
        (oidc("okta", "").replace("OIDC", "SAML"), "are not ensured yet"),
        (oidc("okta", ", descriptoin: \"x\""), "did you mean `description`?"),
    ] {
        let report = project.run(&script);
        assert!(report.failure().contains(problem), "{script}: {}", report.failure());
        assert!(report.writes().is_empty(), "{script}");
    }
}

#[test]
fn a_login_is_proved_when_the_provider_changed_or_when_asked() {
    let mut project = Project::new();
    let script = format!("{JWT}{PROBE}");
    let first = project.run(&script).good();
    assert_eq!(first.last().change, Change::Verified, "{:?}", first.told());
    assert!(first.requests().contains(&"exchangeJwtForSession"));

    let again = project.run(&script).good();
    assert_eq!(again.last().change, Change::Unchanged);
    assert!(!again.requests().contains(&"exchangeJwtForSession"));

    project.verify = true;
    let asked = project.run(&script).good();
    assert_eq!(asked.last().change, Change::Verified);
    assert!(asked.writes().is_empty(), "a probe is no write");
    let explicit = project.run(&format!("{JWT}{}", PROBE.replace("] });", "] }, key);"))).good();
    assert_eq!(explicit.last().change, Change::Verified);
    let user = project.run(r#"output(#{ s: tenant.users.get(#{ subject: "hb|probe" }).subject });"#).good();
    assert_eq!(user.output["s"], json!("hb|probe"));
}

#[test]
fn a_login_that_fails_says_what_to_compare() {
    let mut project = Project::new();
    project.verify = true;
    let report = project.run(PROBE);
    assert!(report.failure().contains("which key signs this tenant's logins"), "{}", report.failure());
    let wrong = format!(
        r#"{JWT} tenant.verify_login(#{{ subject: "hb|probe", name: "P", email: "p@x.example" }},
            #{{ name: "hb-portal", issuer: "https://other", kid: "2026-11-a" }});"#
    );
    let report = project.run(&wrong);
    assert!(report.failure().contains("compare them with its identity provider"), "{}", report.failure());
    let report = project.run(&format!("{JWT}{}", PROBE.replace("subject:", "subjct:")));
    assert!(report.failure().contains("did you mean `subject`?"), "{}", report.failure());
}
