//! `tenant.sessions`, `tenant.api_keys`, `tenant.data_alerts`, `tenant.sharing`, `tenant.ip_policies`.
#![allow(clippy::needless_raw_string_hashes, reason = "scripts are quoted alike, whatever they hold")]

use serde_json::json;
use tenantry::event::Change;

use crate::functions_driver::{Project, converges};

#[test]
fn settings_are_written_where_they_differ() {
    let project = Project::new();
    for (script, writes) in [
        (
            "tenant.sessions.update(#{ userSessionInactivityTimeoutMinutes: 20, maxUserSessionLifespanMinutes: 1440 });",
            "patchAuthSettings",
        ),
        (r#"tenant.api_keys.update(#{ max_keys_per_user: 1, max_api_key_expiry: "P30D" });"#, "patchApiKeysConfig"),
        (r#"tenant.data_alerts.update(#{ "enable-data-alerting": false });"#, "setDataAlertsSettings"),
        (r#"tenant.sharing.update(#{ "enable-sharing": false });"#, "updateSharingTasksSettings"),
    ] {
        let first = project.run(script).good();
        assert_eq!(first.writes().last(), Some(&writes));
        assert_eq!(first.last().change, Change::Updated, "{script}");
        let again = project.run(script).good();
        assert!(again.writes().is_empty() && again.last().change == Change::Unchanged, "{script}");
    }
    let got = project
        .run(
            r#"let s = tenant.sessions.get();
               output(#{ idle: s.userSessionInactivityTimeoutMinutes, life: s.maxUserSessionLifespanMinutes,
                         keys: tenant.api_keys.get().max_api_key_expiry,
                         alerts: tenant.data_alerts.get()["enable-data-alerting"],
                         reports: tenant.sharing.get()["enable-report-subscription"] });"#,
        )
        .good();
    assert_eq!((&got.output["idle"], &got.output["life"]), (&json!(20), &json!(1440)));
    assert_eq!((&got.output["keys"], &got.output["alerts"]), (&json!("P30D"), &json!(false)));
    assert_eq!(got.output["reports"], true, "what is not mentioned is left alone");
}

#[test]
fn an_ip_policy_converges_by_its_name() {
    let project = Project::new();
    let script = |ips: &str| {
        format!(
            r#"tenant.ip_policies.ensure("offices", #{{ allowedIps: [{ips}], enabled: true, caller: "198.51.100.7" }});"#
        )
    };
    let first = script(r#""203.0.113.0/24", "198.51.100.7""#);
    let [_, changed] = converges(&project, &first, Some(&script(r#""198.51.100.0/24""#)));
    assert_eq!(changed.writes(), ["patchIpPolicy"]);
    let reordered = project.run(&script(r#""198.51.100.0/24""#)).good();
    assert!(reordered.writes().is_empty());
    let got = project
        .run(
            r#"output(#{ ips: tenant.ip_policies.get("offices").allowedIps, n: tenant.ip_policies.list().len(),
                         none: tenant.ip_policies.find("Offices") == () });"#,
        )
        .good();
    assert_eq!(got.output["ips"], json!(["198.51.100.0/24"]));
    assert_eq!((&got.output["n"], &got.output["none"]), (&json!(1), &json!(true)));
    assert_eq!(project.run(r#"tenant.ip_policies.delete("offices");"#).good().writes(), ["deleteIpPolicy"]);
    assert!(project.run(r#"tenant.ip_policies.delete("offices");"#).good().writes().is_empty());
}

#[test]
fn nobody_is_locked_out() {
    let project = Project::new();
    project
        .run(
            r#"let enabled = #{ enabled: true, caller: "198.51.100.7" };
               tenant.ip_policies.ensure("ours", #{ allowedIps: ["198.51.100.7"] } + enabled);
               tenant.ip_policies.ensure("theirs", #{ allowedIps: ["203.0.113.0/24"] } + enabled);"#,
        )
        .good();
    for call in [
        // The caller is in none.
        r#"ensure("theirs", #{ allowedIps: ["203.0.113.0/25"], caller: "192.0.2.1" })"#,
        // Only the others are left.
        r#"ensure("ours", #{ allowedIps: ["198.51.100.7"], enabled: false, caller: "198.51.100.7" })"#,
        r#"ensure("ours", #{ allowedIps: ["198.51.100.8"], caller: "198.51.100.7" })"#,
        r#"delete("ours", "198.51.100.7")"#,
    ] {
        let report = project.run(&format!("tenant.ip_policies.{call};"));
        assert!(report.failure().contains("would be locked out of the tenant"), "{call}: {}", report.failure());
        assert!(report.writes().is_empty(), "{call}");
    }
    let unknown = project.run(r#"tenant.ip_policies.delete("ours");"#);
    assert!(unknown.failure().contains("needs `caller`"), "{}", unknown.failure());
    project.run(r#"tenant.ip_policies.delete("theirs", "198.51.100.7");"#).good();
    project.run(r#"tenant.ip_policies.delete("ours");"#).good();
}

#[test]
fn what_could_not_work_is_refused_before_anything_is_sent() {
    let project = Project::new();
    project.run("").good();
    for (call, problem) in [
        ("sessions.update(#{ maxUserSessionLifespanMinutes: 90 })", "whole hours"),
        ("sessions.update(#{ userSessionInactivityTimeoutMinutes: 0 })", "whole minutes are needed"),
        (
            "sessions.update(#{ userSessionInactivityTimeout: 5 })",
            "did you mean `userSessionInactivityTimeoutMinutes`?",
        ),
        ("api_keys.update(#{ max_keys_per_user: 1001 })", "from 0 to 1000"),
        ("api_keys.update(#{ max_api_key_expiry: \"30 days\" })", "a span such as"),
        ("data_alerts.update(#{ \"enable-data-alerting\": \"no\" })", "true or false is needed"),
        ("sharing.update(#{ \"enable-shearing\": true })", "did you mean `enable-sharing`?"),
        ("ip_policies.ensure(\"\", #{ allowedIps: [\"203.0.113.7\"] })", "needs a name"),
        ("ip_policies.ensure(\"x\", #{ allowedIps: [] })", "must be a list"),
        ("ip_policies.ensure(\"x\", #{ allowedIps: [\"203.0.113.7/33\"] })", "is not an IPv4 address or range"),
        ("ip_policies.ensure(\"x\", #{ allowedIps: [\"::1\"] })", "is not an IPv4 address or range"),
        ("ip_policies.ensure(\"x\", #{ allowedIps: [\"192.168.0.0/16\"] })", "is a private address"),
        ("ip_policies.ensure(\"x\", #{ allowedIps: [\"203.0.113.7\"], enabled: true })", "needs `caller`"),
        ("ip_policies.ensure(\"x\", #{ allowedIps: [\"203.0.113.7\"], caller: \"here\" })", "is not an IPv4 address"),
    ] {
        let report = project.run(&format!("tenant.{call};"));
        assert!(report.failure().contains(problem), "{call}: {}", report.failure());
        assert_eq!(report.requests(), Vec::<&str>::from(["getTenant"]), "{call}");
    }
}

#[test]
fn a_key_of_the_customers_own_is_registered_and_put_in_use() {
    const ARN: &str = "arn:aws:kms:eu-west-2:111122223333:key/mrk-1f0c";
    let project = Project::new();
    let ensure = |name: &str| format!(r#"tenant.encryption.ensure(#{{ name: "{name}", arn: "{ARN}" }});"#);
    let [_, changed] = converges(&project, &ensure("customer"), Some(&ensure("fenwick")));
    assert_eq!(changed.writes(), ["patchEncryptionKeyprovider"]);
    let activate = format!(r#"tenant.encryption.activate("{ARN}");"#);
    let first = project.run(&activate).good();
    assert_eq!(first.writes(), ["testEncryptionKeyprovider", "migrateEncryptionKeyprovider"]);
    assert!(project.run(&activate).good().writes().is_empty());
    let got = project
        .run("output(#{ names: tenant.encryption.list().filter(|k| k.current).map(|k| k.name), n: tenant.encryption.list().len() });")
        .good();
    assert_eq!((&got.output["names"], &got.output["n"]), (&json!(["fenwick"]), &json!(2)));
    let unknown = project.run(r#"tenant.encryption.activate("arn:aws:kms:eu-west-2:111122223333:key/mrk-2");"#);
    assert!(unknown.failure().contains("there is no encryption key arn:aws"), "{}", unknown.failure());
    let single =
        project.run(r#"tenant.encryption.ensure(#{ name: "x", arn: "arn:aws:kms:eu-west-2:111122223333:key/1" });"#);
    assert!(single.failure().contains("multi-region"), "{}", single.failure());
    assert!(single.writes().is_empty());
}
