//! The published operations: look-up, facts, checks of requests and answers, secrets.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};
use tenantry::contract::{Asked, Role, Sent, Strictness, Tier, Violation, contract, replace_secrets};
use tenantry::operation::{Body, Effect, Host, Request};

fn variables(values: &[(&str, &str)]) -> BTreeMap<String, String> {
    values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn every_operation_is_found_by_its_id_and_by_a_path_of_its_own() {
    let mut seen = BTreeSet::new();
    for published in contract().operations() {
        assert!(seen.insert(published.id), "{} is there twice", published.id);
        let found = contract().operation(published.id).expect(published.id);
        assert_eq!((found.id, found.path), (published.id, published.path));

        for value in ["7a", "Q1 \u{fc}ber/100%?#", "%2F..", "a+b;c=d,e:f@g"] {
            let values = published.variables().map(|name| (name.to_owned(), value.to_owned())).collect();
            let path = published.expand(&values).unwrap();
            assert!(path.is_ascii() && !path.contains([' ', '?', '#']), "{path}");
            let (found, variables) = contract().find(&published.method, &path).expect(&path);
            assert_eq!(found.id, published.id, "{path}");
            assert_eq!(variables, values, "{path}");
        }
    }
    assert_eq!(seen.len(), 599);
}

#[test]
fn every_operation_has_the_facts_that_all_have() {
    for published in contract().operations() {
        assert!(!published.tag.is_empty(), "{published}");
        assert!(published.per_minute > 0, "{published}");
        assert!(!published.statuses.is_empty(), "{published}");
        match published.tier {
            Tier::Tier1 => assert_eq!((published.per_minute, &published.method), (1000, &Method::GET), "{published}"),
            Tier::Tier2 => assert_eq!(published.per_minute, 100, "{published}"),
            Tier::Special => {}
        }
    }
}

#[test]
fn the_effect_is_told_by_the_table_where_the_method_does_not_tell_it() {
    let effect = |id: &str| contract().operation(id).expect(id).effect;
    assert_eq!(effect("getSpaces"), Effect::Read);
    assert_eq!(effect("createSpace"), Effect::Create);
    assert_eq!(effect("patchSpace"), Effect::Update);
    assert_eq!(effect("deleteSpace"), Effect::Delete);
    assert_eq!(effect("filterUsers"), Effect::Read);
    assert_eq!(effect("addLicenseAssignments"), Effect::Create);
    assert_eq!(effect("updateLicenseAssignments"), Effect::Update);
    assert_eq!(effect("deleteLicenseAssignments"), Effect::Delete);
    assert_eq!(effect("requestOauthToken"), Effect::Probe);
    assert_eq!(effect("exchangeJwtForSession"), Effect::Probe);
    assert_eq!(effect("exportApp"), Effect::Act);
    assert_eq!(effect("publishApp"), Effect::Create);
    assert_eq!(effect("republishApp"), Effect::Update);
    assert_eq!(effect("deactivateTenant"), Effect::Act);
    assert_eq!(effect("queueReload"), Effect::Act);
}

/// A wrong id there would silently leave the rule of the method in force.
#[test]
fn the_effect_table_names_only_operations_that_exist_and_each_once() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/contract/effects.toml")).unwrap();
    let table: BTreeMap<Effect, BTreeMap<String, Vec<String>>> = toml::from_str(&text).unwrap();
    let mut seen = BTreeSet::new();
    for (effect, resources) in &table {
        for id in resources.values().flatten() {
            assert!(seen.insert(id), "{id} is there twice");
            assert_eq!(contract().operation(id).expect(id).effect, *effect, "{id}");
        }
    }
}

#[test]
fn what_cannot_be_taken_back_is_a_write_and_named_once() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/contract/irreversible.toml");
    let table: toml::Table = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let entries = table["irreversible"].as_array().unwrap();
    let named: Vec<&str> =
        entries.iter().flat_map(|entry| entry["of"].as_array().unwrap()).map(|id| id.as_str().unwrap()).collect();
    assert!(named.iter().all(|id| contract().operation(id).unwrap().effect.is_write()), "{named:?}");
    assert!(named.iter().all(|id| contract().irreversible(id).is_some()));
    assert_eq!(named.len(), contract().irreversibles().count(), "each once");
    let sentences = contract().irreversibles().map(|(_, why)| &why.reason);
    assert!(sentences.into_iter().all(|reason| !reason.ends_with('.') && !reason.is_empty()));
}

#[test]
fn a_literal_segment_wins_over_a_variable() {
    let find = |method: Method, path: &str| contract().find(&method, path).map(|(published, _)| published.id);
    assert_eq!(find(Method::GET, "/api/v1/users/me"), Some("getMyUser"));
    assert_eq!(find(Method::GET, "/api/v1/users/u1"), Some("getUser"));
    assert_eq!(find(Method::GET, "/api/v1/apps/a1"), Some("getAppInfo"));
    assert_eq!(find(Method::GET, "/api/v1/apps/evaluations/e1"), Some("getAppEvaluation"));
    assert_eq!(find(Method::GET, "/api/v1/apps/a1/evaluations"), Some("getAppEvaluations"));
    // Nothing answers DELETE on the literal, so the user called `me` is meant.
    assert_eq!(find(Method::DELETE, "/api/v1/users/me"), Some("deleteUser"));
    assert_eq!(find(Method::GET, "/api/v1/spaces/"), None);
    assert_eq!(find(Method::GET, "/api/v1/spaces/a/b/c"), None);
    assert_eq!(find(Method::GET, "/api/v1/apps/a1/media/files/img/2026/logo.png"), Some("getAppMedia"));
    assert_eq!(find(Method::GET, ""), None);
    assert_eq!(find(Method::GET, "/"), None);
}

#[test]
fn path_variables_come_back_decoded() {
    let (_, variables) = contract().find(&Method::GET, "/api/v1/apps/a%201/media/files/img/a%2Fb%20c.png").unwrap();
    assert_eq!(variables["appId"], "a 1");
    assert_eq!(variables["path"], "img/a/b c.png");
    assert!(contract().find(&Method::GET, "/api/v1/spaces/%ff%fe").is_none());
}

#[test]
fn a_path_that_would_address_something_else_is_refused() {
    let published = contract().operation("getSpace").unwrap();
    let refusal = |values: &[(&str, &str)]| published.expand(&variables(values)).unwrap_err().to_string();
    insta::assert_snapshot!(refusal(&[]), @"path variable `spaceId` is missing");
    insta::assert_snapshot!(refusal(&[("spaceId", "")]), @"path variable `spaceId` has an empty segment: ``");
    insta::assert_snapshot!(refusal(&[("spaceId", "..")]), @"path variable `spaceId` may not be a dot segment: `..`");
    insta::assert_snapshot!(
        refusal(&[("spaceId", "1"), ("spaceID", "1")]),
        @"`/api/v1/spaces/{spaceId}` has no variable `spaceID`; did you mean `spaceId`?"
    );
    assert_eq!(published.expand(&variables(&[("spaceId", "a/b")])).unwrap(), "/api/v1/spaces/a%2Fb");

    let media = contract().operation("getAppMedia").unwrap();
    let path = |value: &str| media.expand(&variables(&[("appId", "1"), ("path", value)]));
    assert_eq!(path("img/a b.png").unwrap(), "/api/v1/apps/1/media/files/img/a%20b.png");
    assert!(path("img/../../../../spaces").is_err());
    assert!(path("img//x").is_err());
}

#[test]
fn the_nearest_operations_are_named() {
    assert_eq!(contract().nearest("creatSpace").first(), Some(&"createSpace"));
    assert!(contract().nearest("listSpaces").contains(&"getSpaces"));
    assert!(contract().nearest("zzzzqqq").is_empty());
}

#[test]
fn facts_that_a_client_lives_by() {
    let get = |id: &str| contract().operation(id).expect(id);
    assert_eq!(get("createTenant").host, Role::Register);
    assert_eq!(get("listOrganizationTenants").host, Role::Console);
    assert_eq!(get("requestOauthToken").host, Role::Any);
    assert_eq!(get("createSpace").host, Role::Tenant);
    assert!(
        get("requestOauthToken").anonymous && !get("createSpace").anonymous && !get("exchangeJwtForSession").anonymous
    );
    assert!(get("getMyUser").redirects && get("getMyTenant").redirects && !get("getUser").redirects);
    assert_eq!((get("queueReload").tier, get("queueReload").per_minute), (Tier::Special, 50));
    assert_eq!(get("createReloadTask").sunset, Some("2026-09-29"));
    assert!(get("createReloadTask").deprecated);
    assert_eq!(get("queueAppEvaluation").replaced_by, ["POST /api/analytics/apps/{guid}/evaluations"]);
}

#[test]
fn a_region_has_its_datacenter() {
    let datacenters: BTreeMap<_, _> = contract().datacenters().collect();
    assert_eq!(datacenters.len(), 7);
    assert_eq!((datacenters["eu-west-1"], datacenters["ap-southeast-2"]), ("eu", "sg"));
}

#[test]
fn paged_lists_tell_their_cursor_and_limits() {
    let paging = |id: &str| {
        let paging = contract().operation(id).expect(id).paging.expect(id);
        (paging.cursor, paging.default_limit, paging.max_limit)
    };
    assert_eq!(paging("getUsers"), (Some("next"), Some(20), Some(100)));
    assert_eq!(paging("getSpaces"), (Some("next"), Some(10), None));
    assert_eq!(paging("getBrands"), (Some("startingAfter"), Some(5), Some(100)));
    assert_eq!(paging("getAutomations"), (Some("cursor"), Some(100), Some(200)));
    assert_eq!(paging("getLicenseAssignments"), (Some("page"), Some(20), Some(100)));
    assert_eq!(paging("listOrganizationTenants"), (Some("offset"), Some(20), None));
    assert_eq!(paging("getAuditTypes").0, None);
    assert!(contract().operation("getThemes").unwrap().paging.is_none());
    assert_eq!(contract().operations().filter(|published| published.is_paged()).count(), 82);
}

fn asked(id: &str, body: &Value) -> Result<(), Vec<Violation>> {
    contract().operation(id).expect(id).check(&Asked::body(Sent::Json(body)))
}

/// What a person reads, one line for each violation.
fn told(result: Result<(), Vec<Violation>>) -> String {
    match result {
        Ok(()) => "fine".to_owned(),
        Err(violations) => violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn a_wrong_body_is_told_by_field_allowed_values_and_nearest_name() {
    let cases = [
        ("createSpace", json!({ "name": "Sales", "typ": "shared" })),
        ("createSpace", json!({ "name": "Sales", "type": "share" })),
        ("createSpace", json!({ "name": "Sales", "type": "private" })),
        ("createSpace", json!({ "name": "a/b", "type": "shared" })),
        ("createSpace", json!({ "name": "x".repeat(257), "type": "shared" })),
        ("createSpace", json!({ "name": 7, "type": null })),
        ("createSpace", json!([])),
        ("createSpace", json!({})),
        ("createSpace", json!({ "name": "Sales", "type": "shared", "colour": "red" })),
        ("createGroup", json!({ "name": "viewers", "assignedRole": [{ "name": "X" }] })),
        ("createGroup", json!({ "name": "viewers", "assignedRoles": [{ "nam": "X" }] })),
        ("createGroup", json!({ "name": "viewers", "assignedRoles": "X" })),
        ("createGroup", json!({ "name": "viewers", "assignedRoles": [{ "name": "X" }, { "name": 3 }] })),
        ("createTenant", json!({ "datacenter": "eu-west-1" })),
        ("createUser", json!({ "subject": "s", "status": "activ" })),
        ("createSpaceAssignment", json!({ "assigneeId": "g", "type": "group", "roles": ["consumer", "owner"] })),
        ("deactivateTenant", json!({ "purgeAfterDays": 5 })),
        ("deactivateTenant", json!({ "purgeAfterDays": 30.5 })),
        ("patchSpace", json!([{ "op": "add", "path": "/names", "value": "x" }])),
        ("patchSpace", json!([{ "op": "replace", "path": "/name" }])),
        ("patchSpace", json!({ "name": "x" })),
        ("patchGroup", json!([{ "op": "replace", "path": "/assignedRole", "value": [] }])),
        ("patchGroupsSettings", json!([{ "op": "replace", "path": "/systemGroups/1/roles", "value": [] }])),
        ("patchTenant", json!([{ "op": "replace", "path": "/hostnames/0", "value": "x" }])),
        (
            "createIdp",
            json!({ "provider": "external", "protocol": "jwtAuth", "options": { "issuer": "i", "staticKey": [] } }),
        ),
        ("createIdp", json!({ "provider": "azure", "protocol": "OIDC", "interactive": true, "skipVerify": "yes" })),
        ("requestOauthToken", json!({ "grant_type": "client_credentials", "client_id": "c" })),
        ("requestOauthToken", json!({ "grant_type": "client_credential", "client_id": "c", "client_secret": "s" })),
        ("createCSPEntry", json!({ "origin": "x.example", "imgsrc": true })),
        ("queueReload", json!({ "appId": "a", "variables": { "v": 1 } })),
        ("createWebhook", json!({ "name": "n", "url": "https://x", "secret": "short" })),
        (
            "createOAuthClient",
            json!({ "appType": "web", "clientName": "c", "allowedScopes": ["a", "b", "a"], "redirectUris": [1, 2, 3, 4, 5, 6] }),
        ),
        ("getSpaces", json!({ "name": "x" })),
        ("importApp", json!({ "name": "x" })),
    ];
    let screen: Vec<String> = cases
        .iter()
        .map(|(id, body)| {
            let shown: String = body.to_string().chars().take(110).collect();
            let told = told(asked(id, body)).replace('\n', "\n    ");
            format!("{id} {shown}\n    {told}")
        })
        .collect();
    let screen = screen.join("\n");
    insta::assert_snapshot!(screen);
}

/// Requests as the tutorials and samples send them (and as the fact sheet of the platform operations has them).
#[test]
fn requests_that_qlik_documents_are_fine() {
    let key = "-----BEGIN CERTIFICATE-----MIID..-----END CERTIFICATE-----";
    let claims = json!({ "sub": ["sub"], "name": ["name"], "email": ["email"], "groups": ["groups"], "picture": ["picture"],
        "client_id": ["client_id"] });
    let cases = [
        ("requestOauthToken", json!({ "client_id": "c", "client_secret": "s", "grant_type": "client_credentials" })),
        (
            "requestOauthToken",
            json!({ "client_id": "c", "client_secret": { "$secret": "eu" }, "grant_type": "urn:qlik:oauth:user-impersonation",
                "user_lookup": { "field": "subject", "value": "hb|1001" }, "scope": "user_default" }),
        ),
        ("createTenant", json!({ "licenseKey": "eyJ..", "datacenter": "eu-west-1" })),
        ("createTenant", json!({ "licenseKey": { "$secret": "license" } })),
        (
            "createUser",
            json!({ "name": "Halyard Ops", "email": "ops@halyard.example", "subject": "auth0|a1b2..", "status": "active",
                "assignedRoles": [{ "name": "TenantAdmin" }] }),
        ),
        (
            "inviteUsers",
            json!({ "invitees": [{ "email": "a@b.example", "name": "A", "resend": false, "language": "en" }] }),
        ),
        (
            "patchTenant",
            json!([{ "op": "replace", "path": "/name", "value": "Harbour Logistics" },
                { "op": "replace", "path": "/hostnames/1", "value": "halyard-harbour.eu.qlikcloud.com" },
                { "op": "replace", "path": "/autoAssignCreateSharedSpacesRoleToProfessionals", "value": false }]),
        ),
        ("patchApiKeysConfig", json!([{ "op": "replace", "path": "/max_api_key_expiry", "value": "P365D" }])),
        ("patchGroup", json!([{ "op": "replace", "path": "assignedRoles", "value": [{ "name": "AnalyticsAdmin" }] }])),
        ("patchGroup", json!([{ "op": "replace", "path": "/assignedRoles", "value": [] }])),
        (
            "patchGroupsSettings",
            json!([{ "op": "replace", "path": "/autoCreateGroups", "value": true },
                { "op": "replace", "path": "/systemGroups/000000000000000000000001/assignedRoles", "value": [{ "name": "X" }] }]),
        ),
        ("patchUser", json!([{ "op": "add", "path": "/assignedRoles/-", "value": { "name": "TenantAdmin" } }])),
        ("patchUser", json!([{ "op": "replace", "path": "/status", "value": "active" }])),
        ("patchRole", json!([{ "op": "replace", "path": "/assignedScopes", "value": ["a"] }])),
        ("updateSharingTasksSettings", json!([{ "op": "replace", "path": "/enable-sharing", "value": false }])),
        ("setDataAlertsSettings", json!({ "enable-data-alerting": false })),
        ("toggleCrossRegionInferenceTenantSettings", json!({ "value": true })),
        (
            "patchAuthSettings",
            json!([{ "op": "replace", "path": "/userSessionInactivityTimeoutMinutes", "value": 20 }]),
        ),
        ("createIpPolicy", json!({ "name": "office", "allowedIps": ["203.0.113.0/24"], "enabled": true })),
        ("updateAutomationsSettings", json!({ "maxConcurrentRunsPerAutomation": 1 })),
        (
            "createIdp",
            json!({ "tenantIds": ["Hk2.."], "provider": "external", "protocol": "jwtAuth", "interactive": false,
                "active": true, "description": "Halyard portal", "clockToleranceSec": 5,
                "options": { "jwtLoginEnabled": true, "issuer": "https://id.halyard.example/harbour",
                    "staticKeys": [{ "kid": "2026-11-a", "pem": key }] } }),
        ),
        (
            "createIdp",
            json!({ "tenantIds": ["Hk2.."], "provider": "azureAD", "protocol": "OIDC", "interactive": true,
                "skipVerify": true, "description": "Entra of Fenwick", "createNewUsersOnLogin": true,
                "postLogoutRedirectUri": "https://portal.fenwick.example/bye",
                "options": { "discoveryUrl": "https://login.example/.well-known/openid-configuration", "clientId": "c",
                    "clientSecret": { "$secret": "entra" }, "realm": "fenwick", "scope": "openid profile email",
                    "useClaimsFromIdToken": true, "emailVerifiedAlwaysTrue": true, "blockOfflineAccessScope": false,
                    "claimsMapping": claims } }),
        ),
        ("patchIdp", json!([{ "op": "replace", "path": "/description", "value": "x" }])),
        ("patchIdp", json!([{ "op": "promote-options" }])),
        (
            "createGroup",
            json!({ "name": "hb-viewers", "status": "active", "providerType": "idp", "description": "..",
                "assignedRoles": [{ "name": "SharedSpaceCreator" }] }),
        ),
        ("createRole", json!({ "name": "r", "description": "d", "assignedScopes": ["a"] })),
        ("updateLicenseSettings", json!({ "autoAssignProfessional": false, "autoAssignAnalyzer": false })),
        ("addLicenseAssignments", json!({ "add": [{ "subject": "hb|1001", "type": "analyzer" }] })),
        (
            "updateLicenseAssignments",
            json!({ "update": [{ "subject": "hb|1001", "sourceType": "analyzer", "type": "professional" }] }),
        ),
        ("deleteLicenseAssignments", json!({ "delete": [{ "subject": "hb|1001", "type": "analyzer" }] })),
        ("createSpace", json!({ "name": "Staging", "type": "shared", "description": "..." })),
        ("createSpaceAssignment", json!({ "type": "group", "assigneeId": "64a1", "roles": ["consumer"] })),
        ("updateSpaceAssignment", json!({ "roles": ["consumer", "contributor"] })),
        ("patchSpace", json!([{ "op": "replace", "path": "/ownerId", "value": "u" }])),
        ("patchShare", json!([{ "op": "replace", "path": "/roles", "value": ["consumer"] }])),
        ("createWebIntegration", json!({ "name": "portal", "validOrigins": ["https://portal.harbour.example:8443"] })),
        ("patchWebIntegration", json!([{ "op": "replace", "path": "/validOrigins", "value": ["https://a.example"] }])),
        (
            "createCSPEntry",
            json!({ "name": "maps", "origin": "tiles.harbour.example", "description": "..", "imgSrc": true }),
        ),
        (
            "publishApp",
            json!({ "spaceId": "s", "attributes": { "name": "Fleet Overview", "description": "{v2.3.0}" } }),
        ),
        ("republishApp", json!({ "targetId": "t", "checkOriginAppId": false, "data": "target" })),
        ("queueReload", json!({ "appId": "a", "variables": { "vCustomerId": "HB01" } })),
        (
            "createDataConnection",
            json!({ "qName": "n", "datasourceID": "d", "space": "s", "connectionProperties": { "password": "p" } }),
        ),
        (
            "createAutomation",
            json!({ "name": "n", "description": "", "workspace": { "blocks": [] }, "schedules": [], "id": "exported",
                "state": "available" }),
        ),
        ("queueAutomationRun", json!({ "context": "api" })),
        (
            "createAutomationConnection",
            json!({ "name": "n", "connectorId": "c", "spaceId": "s", "params": [{ "name": "k", "value": "v" }] }),
        ),
        ("changeOwnerAutomation", json!({ "userId": "u" })),
        ("createCollection", json!({ "name": "Featured", "type": "publicgoverned", "description": "d" })),
        ("patchCollection", json!([{ "op": "replace", "path": "/type", "value": "publicgoverned" }])),
        ("addCollectionItem", json!({ "id": "i" })),
        ("deactivateTenant", json!({ "purgeAfterDays": 30 })),
        ("reactivateTenant", json!({})),
        ("updateAppOwner", json!({ "ownerId": "u" })),
        ("updateAppObjectOwner", json!({ "ownerId": "u" })),
        ("updateDataConnections", json!({ "connections": [{ "id": "i", "ownerId": "u" }] })),
        ("changeDataFileOwner", json!({ "ownerId": "u" })),
        (
            "createOAuthClient",
            json!({ "appType": "web", "clientName": "embed", "allowedScopes": ["user_default", "admin_classic"],
                "allowedGrantTypes": ["client_credentials", "urn:qlik:oauth:user-impersonation"],
                "allowedAuthMethods": ["client_secret"], "redirectUris": ["https://a.example"],
                "allowedOrigins": ["https://a.example"] }),
        ),
        (
            "patchOAuthClientConnectionConfig",
            json!([{ "op": "replace", "path": "/consentMethod", "value": "trusted" }]),
        ),
        ("createApiKey", json!({ "description": "d", "expiry": "P30D" })),
        ("filterUsers", json!({ "filter": "id in (\"a\")" })),
    ];
    for (id, body) in cases {
        assert_eq!(told(asked(id, &body)), "fine", "{id} {body}");
    }
}

/// A whole object that was read may be sent back: what only the service sets is not refused.
#[test]
fn what_only_the_service_sets_may_be_sent_back() {
    let entry =
        json!({ "origin": "x.example", "createdDate": "2026-11-24T08:00:00Z", "modifiedDate": "2026-11-24T08:00:00Z" });
    assert_eq!(told(asked("updateCSPEntry", &entry)), "fine");
    let wrong = json!({ "origin": "x.example", "createdDate": "yesterday" });
    insta::assert_snapshot!(
        told(asked("updateCSPEntry", &wrong)),
        @"`createdDate` is not a date and time like 2026-11-24T08:00:00Z: `yesterday`"
    );
}

#[test]
fn a_secret_reference_is_a_string_and_nothing_else() {
    let reference = json!({ "$secret": "a" });
    // The text behind it is not known here, so neither length nor form is.
    assert_eq!(told(asked("createWebhook", &json!({ "name": "n", "url": "u", "secret": reference }))), "fine");
    insta::assert_snapshot!(
        told(asked("deactivateTenant", &json!({ "purgeAfterDays": reference }))),
        @"`purgeAfterDays` must be a whole number, not a string"
    );
    insta::assert_snapshot!(
        told(contract().operation("getSpace").unwrap().check_response(200, Some(&reference), Strictness::Tolerant)),
        @r"
    `id` is missing
    `links` is missing
    `name` is missing
    `tenantId` is missing
    "
    );
}

#[test]
fn wrong_query_parameters_path_variables_and_headers_are_told() {
    let told_of = |id: &str, variables_given: &[(&str, &str)], query: &[(&str, &str)], headers: &[(&str, &str)]| {
        told(contract().operation(id).expect(id).check(&Asked {
            variables: variables(variables_given),
            query: query.to_vec(),
            headers: Some(headers.iter().map(|(name, value)| (*name, Some(*value))).collect()),
            body: Sent::Nothing,
        }))
    };
    assert_eq!(told_of("getSpaces", &[], &[("limit", "10"), ("roles", "consumer,producer")], &[]), "fine");
    assert_eq!(told_of("getSpaces", &[], &[("roles", "consumer"), ("roles", "producer")], &[]), "fine");
    assert_eq!(told_of("countUsers", &[], &[("anything", "1")], &[("x-own", "1")]), "fine");
    assert_eq!(told_of("exchangeJwtForSession", &[], &[("qlik-web-integration-id", "w")], &[]), "fine");
    assert_eq!(told_of("importApp", &[], &[("fileId", "f"), ("spaceId", "s")], &[]), "fine");
    assert_eq!(told_of("deactivateTenant", &[], &[], &[("Qlik-Confirm-Hostname", "h")]), "fine");
    let screen = [
        told_of("getSpaces", &[], &[("nam", "x")], &[]),
        told_of("getSpaces", &[], &[("colour", "x")], &[]),
        told_of("getThemes", &[], &[("limit", "1")], &[]),
        told_of("getSpaces", &[], &[("limit", "ten")], &[]),
        told_of("getSpaces", &[], &[("limit", "1"), ("limit", "2")], &[]),
        told_of("getSpaces", &[], &[("roles", "consumer,owner")], &[]),
        told_of("getUsers", &[], &[("limit", "1000")], &[]),
        told_of("getOdagLink", &[("linkId", "zz")], &[], &[]),
        told_of("deactivateTenant", &[], &[], &[]),
        told_of("createSpace", &[], &[], &[]),
        told_of("patchSpace", &[], &[], &[]),
    ];
    insta::assert_snapshot!(screen.join("\n"));
}

#[test]
fn a_request_is_checked_as_a_playbook_asks_it() {
    let published = contract().operation("createSpaceAssignment").unwrap();
    let request = |path: &str, body: Value| Request {
        host: Host::Tenant("t.eu.qlikcloud.com".to_owned()),
        method: Method::POST,
        path: path.to_owned(),
        query: vec![("notify".to_owned(), "x".to_owned())],
        headers: BTreeMap::new(),
        body: Body::Json(body),
        next: None,
    };
    let right = json!({ "type": "group", "assigneeId": "g", "roles": ["consumer"] });
    insta::assert_snapshot!(
        told(published.check_request(&request("/api/v1/spaces/s/assignments", right.clone()))),
        @"unknown query parameter `notify`; createSpaceAssignment takes no query parameters"
    );
    insta::assert_snapshot!(
        told(published.check_request(&request("/api/v1/spaces/s/shares", right))),
        @"`POST /api/v1/spaces/s/shares` is not createSpaceAssignment (POST /api/v1/spaces/{spaceId}/assignments)"
    );
}

#[test]
fn parts_of_a_form_are_checked_by_name() {
    let tags = json!({ "tags": ["halyard"] });
    let name = json!("brand");
    let check = |id: &str, parts: Vec<(&str, Option<&Value>)>| {
        told(contract().operation(id).expect(id).check(&Asked::body(Sent::Parts(parts))))
    };
    assert_eq!(check("uploadTheme", vec![("file", None), ("data", Some(&tags))]), "fine");
    assert_eq!(check("createBrand", vec![("name", Some(&name)), ("logo", None)]), "fine");
    let wrong = json!({ "tags": "halyard" });
    let screen = [
        check("uploadTheme", vec![("File", None)]),
        check("uploadTheme", vec![("file", Some(&tags)), ("data", None)]),
        check("uploadTheme", vec![("data", Some(&wrong))]),
        check("createBrand", vec![("logo", None)]),
        told(asked("createBrand", &json!({ "name": "x" }))),
    ];
    insta::assert_snapshot!(screen.join("\n"));
}

#[test]
fn answers_are_held_to_the_published_ones() {
    let space = json!({ "id": "s", "name": "Staging", "tenantId": "t", "type": "shared", "links": {
        "assignments": { "href": "https://x" }, "self": { "href": "https://x" } } });
    let check = |id: &str, status: u16, body: Option<&Value>, strictness: Strictness| {
        told(contract().operation(id).expect(id).check_response(status, body, strictness))
    };
    assert_eq!(check("createSpace", 201, Some(&space), Strictness::Exact), "fine");
    assert_eq!(check("deleteSpace", 204, None, Strictness::Exact), "fine");
    let limited = json!({ "errors": [{ "code": "HTTP-429", "title": "API rate limit reached." }] });
    assert_eq!(check("createSpace", 429, Some(&limited), Strictness::Exact), "fine");
    // `default` covers what is not listed.
    assert_eq!(check("createTenant", 418, Some(&json!({ "errors": [] })), Strictness::Exact), "fine");
    let mut more = space.clone();
    more["colour"] = json!("red");
    assert_eq!(check("createSpace", 201, Some(&more), Strictness::Tolerant), "fine");
    assert_eq!(check("createSpace", 418, None, Strictness::Tolerant), "fine");
    let screen = [
        check("createSpace", 201, Some(&more), Strictness::Exact),
        check("createSpace", 201, None, Strictness::Exact),
        check("createSpace", 200, Some(&space), Strictness::Tolerant),
        check("createSpace", 201, Some(&json!({ "id": "s", "name": null })), Strictness::Tolerant),
        check("deleteSpace", 204, Some(&space), Strictness::Exact),
    ];
    insta::assert_snapshot!(screen.join("\n"));
}

fn any_json() -> impl Strategy<Value = Value> {
    let names = prop_oneof![
        "[a-z]{0,6}",
        prop::sample::select(vec![
            "op",
            "path",
            "value",
            "name",
            "type",
            "options",
            "assignedRoles",
            "links",
            "data",
            "$secret",
            "errors",
            "id",
        ])
        .prop_map(str::to_owned)
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("replace")),
        Just(json!("/name")),
    ];
    leaf.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((names.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Whatever a playbook builds, or a service answers, is judged and not crashed on.
    #[test]
    fn any_document_is_judged(document in any_json(), start in 0_usize..599) {
        for published in contract().operations().skip(start).take(8) {
            let _ = published.check(&Asked::body(Sent::Json(&document)));
            for status in [200, 201, 207, 400] {
                let _ = published.check_response(status, Some(&document), Strictness::Exact);
            }
            for pointer in published.secrets_in_request(&document).iter().chain(&published.secrets_in_response(&document)) {
                prop_assert!(document.pointer(pointer).is_some_and(Value::is_string), "{}", pointer);
            }
        }
    }

    #[test]
    fn any_path_is_looked_up(path in "(/[a-z0-9%{}.-]{0,8}){0,8}|.{0,40}") {
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let _ = contract().find(&method, &path);
        }
    }
}

#[test]
fn secrets_in_a_request_are_found_where_they_are() {
    let find = |id: &str, body: Value| contract().operation(id).expect(id).secrets_in_request(&body);
    assert_eq!(find("createTenant", json!({ "licenseKey": "k", "datacenter": "d" })), ["/licenseKey"]);
    assert!(find("createTenant", json!({ "licenseKey": { "$secret": "k" } })).is_empty());
    assert!(find("createSpace", json!({ "licenseKey": "k" })).is_empty());
    assert_eq!(
        find("createIdp", json!({ "options": { "clientId": "c", "clientSecret": "s" }, "pendingOptions": "x" })),
        ["/options/clientSecret"]
    );
    assert_eq!(
        find(
            "createWebhook",
            json!({ "name": "n", "secret": "s", "headers": { "a/b": "x", "c": { "$secret": "y" } } })
        ),
        ["/headers/a~1b", "/secret"]
    );
    assert_eq!(
        find("createAutomationConnection", json!({ "params": [{ "name": "k", "value": "v" }, { "name": "l" }] })),
        ["/params/0/value"]
    );
    assert_eq!(
        find(
            "createDataConnection",
            json!({ "connectionProperties": { "host": "h", "Password": "p", "auth": [{ "api_key": "k" }],
                "tokenUrl": "u", "credentialsId": "i", "clientSecret": { "a": "x", "b": [1, "y"] } } })
        ),
        [
            "/connectionProperties/Password",
            "/connectionProperties/auth/0/api_key",
            "/connectionProperties/clientSecret/a",
            "/connectionProperties/clientSecret/b/1",
        ]
    );
}

#[test]
fn secrets_in_a_patch_are_found_by_the_path_that_is_changed() {
    let find = |id: &str, body: Value| contract().operation(id).expect(id).secrets_in_request(&body);
    let change = |path: &str, value: Value| {
        json!([{ "op": "replace", "path": "/description", "value": "d" },
        { "op": "replace", "path": path, "value": value }])
    };
    assert_eq!(find("patchIdp", change("/pendingOptions/clientSecret", json!("s"))), ["/1/value"]);
    assert_eq!(
        find("patchIdp", change("/pendingOptions", json!({ "clientId": "c", "clientSecret": "s" }))),
        ["/1/value/clientSecret"]
    );
    assert_eq!(find("patchWebhook", change("/headers", json!({ "authorization": "s" }))), ["/1/value/authorization"]);
    assert_eq!(find("patchWebhook", change("/headers/authorization", json!("s"))), ["/1/value"]);
    assert_eq!(find("patchDataConnection", change("/connectionProperties/password", json!("s"))), ["/1/value"]);
    assert_eq!(find("patchDataConnection", change("/connectionProperties/auth/password", json!("s"))), ["/1/value"]);
    assert!(find("patchDataConnection", change("/connectionProperties/host", json!("s"))).is_empty());
    assert!(find("patchIdp", change("/options/realm", json!("s"))).is_empty());
    assert!(find("patchIdp", json!([1, { "path": 1 }, { "path": "/options/clientSecret" }])).is_empty());
}

#[test]
fn secrets_in_an_answer_are_found_and_replaced() {
    let published = contract().operation("getAutomations").unwrap();
    let mut body = json!({ "data": [{ "id": "1", "executionToken": "t1" }, { "id": "2", "executionToken": null },
        { "id": "3", "executionToken": "t3" }] });
    let pointers = published.secrets_in_response(&body);
    assert_eq!(pointers, ["/data/0/executionToken", "/data/2/executionToken"]);
    replace_secrets(&mut body, &pointers, |pointer, text| json!({ "$secret": format!("{pointer}={text}") }));
    assert_eq!(body["data"][0]["executionToken"], json!({ "$secret": "/data/0/executionToken=t1" }));
    assert_eq!(body["data"][2]["executionToken"], json!({ "$secret": "/data/2/executionToken=t3" }));
    assert!(published.secrets_in_response(&body).is_empty());
    assert!(published.answers_secrets() && !contract().operation("getSpaces").unwrap().answers_secrets());

    let find = |id: &str, body: Value| contract().operation(id).expect(id).secrets_in_response(&body);
    assert_eq!(find("requestOauthToken", json!({ "access_token": "a", "token_type": "bearer" })), ["/access_token"]);
    assert_eq!(find("createApiKey", json!({ "id": "i", "token": "a" })), ["/token"]);
    assert_eq!(find("createOAuthClientSecret", json!({ "clientSecret": "a", "hint": "ab" })), ["/clientSecret"]);
    assert_eq!(find("getLicenseOverview", json!({ "licenseKey": "a" })), ["/licenseKey"]);
    // A page of a list is no secret, whatever its cursor is called.
    assert!(find("getDataAlerts", json!({ "links": { "next": { "token": "t" } } })).is_empty());
}
