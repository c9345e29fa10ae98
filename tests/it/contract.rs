//! The published operations: look-up, facts, checks of requests and answers, secrets.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;
use tenantry::contract::{Role, Tier, contract};
use tenantry::operation::Effect;

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
