//! Items and collections of the sandbox.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

struct Home {
    cloud: Cloud,
    host: String,
    staging: String,
}

impl Home {
    fn new() -> Self {
        let cloud = Cloud::new();
        let host = cloud.tenant_host();
        let staging = cloud.space(&host, "Staging", "shared");
        Self { cloud, host, staging }
    }

    /// A new app; its id and that of its item.
    #[track_caller]
    fn app(&self, name: &str) -> (String, String) {
        let body = json!({"attributes": {"name": name, "spaceId": self.staging, "description": "of the fleet"}});
        let made = self.cloud.post(&self.host, "/api/v1/apps", body).expect(StatusCode::OK);
        let app = made["attributes"]["id"].as_str().unwrap().to_owned();
        let found = self.get(&format!("/api/v1/items?resourceType=app&resourceId={app}"));
        (app, found["data"][0]["id"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    fn get(&self, path: &str) -> Value {
        self.cloud.get(&self.host, path).expect(StatusCode::OK)
    }

    #[track_caller]
    fn names(&self, path: &str) -> Vec<String> {
        self.cloud.names(&self.host, path)
    }

    #[track_caller]
    fn collection(&self, name: &str, kind: &str) -> String {
        let made = self.cloud.post(&self.host, "/api/v1/collections", json!({"name": name, "type": kind}));
        made.expect(StatusCode::CREATED)["id"].as_str().unwrap().to_owned()
    }

    fn status(&self, method: Method, path: &str, body: Value) -> u16 {
        self.cloud.call(method, &self.host, path, body).status
    }
}

#[test]
fn only_tags_have_names_that_are_unique() {
    let home = Home::new();
    let tag = home.collection("logistics", "public");
    let made = home.get(&format!("/api/v1/collections/{tag}"));
    assert_eq!((&made["type"], &made["itemCount"], &made["full"]), (&json!("public"), &json!(0), &json!(false)));
    assert!(made["links"]["items"]["href"].as_str().unwrap().ends_with(&format!("/collections/{tag}/items")));
    let again = home.cloud.post(&home.host, "/api/v1/collections", json!({"name": "logistics", "type": "public"}));
    assert_eq!(again.status, 409);
    assert!(again.body["errors"][0]["meta"].get("explain").is_some(), "{}", again.body);
    for _ in 0..2 {
        home.collection("logistics", "private");
    }
    let other = home.collection("other", "public");
    let rename = json!([{"op": "replace", "path": "/name", "value": "logistics"}]);
    assert_eq!(home.status(Method::PATCH, &format!("/api/v1/collections/{other}"), rename), 409);
    assert_eq!(home.status(Method::PUT, &format!("/api/v1/collections/{other}"), json!({"name": "logistics"})), 409);
    let put = home.cloud.put(&home.host, &format!("/api/v1/collections/{other}"), json!({"description": "d"}));
    let put = put.expect(StatusCode::OK);
    assert_eq!((&put["name"], &put["description"]), (&json!("other"), &json!("d")));
    assert_eq!(home.names("/api/v1/collections?type=public&sort=-name"), ["other", "logistics"]);
    assert_eq!(home.names("/api/v1/collections?types=private,publicgoverned"), ["logistics", "logistics"]);
    assert_eq!(home.names("/api/v1/collections?name=Logistics"), Vec::<String>::new(), "case matters");
    assert_eq!(home.names("/api/v1/collections?query=LOGISTICS&limit=2"), ["logistics", "logistics"]);
    assert_eq!(home.names(&format!("/api/v1/collections?id={tag}")), ["logistics"]);
    let page = home.get("/api/v1/collections?limit=3");
    let next = page["links"]["next"]["href"].as_str().unwrap();
    let next = next.strip_prefix(&format!("https://{}", home.host)).unwrap();
    assert_eq!((page["data"].as_array().unwrap().len(), home.names(next).len()), (3, 1));
    for (body, status) in [
        (json!({"name": "", "type": "private"}), 400),
        (json!({"name": "x", "type": "favorite"}), 400),
        (json!({"name": "x", "type": "publicgoverned"}), 400),
        (json!({"name": "x"}), 400),
    ] {
        assert_eq!(home.status(Method::POST, "/api/v1/collections", body.clone()), status, "{body}");
    }
    let deep = home.cloud.get(&home.host, "/api/v1/collections?includeItems=%7B%22limit%22%3A1%7D");
    assert_eq!((deep.status, deep.code()), (501, "SANDBOX-501".to_owned()));
    assert_eq!(home.status(Method::DELETE, &format!("/api/v1/collections/{tag}"), Value::Null), 204);
    assert_eq!(home.status(Method::DELETE, &format!("/api/v1/collections/{tag}"), Value::Null), 404);
}

#[test]
fn items_come_into_collections_by_their_own_ids() {
    let home = Home::new();
    let (app, item) = home.app("Fleet");
    let (_, other) = home.app("Fleet Overview");
    let tag = home.collection("logistics", "public");
    let mine = home.collection("Mine", "private");
    let items = format!("/api/v1/collections/{tag}/items");
    assert_eq!(home.status(Method::POST, &items, json!({"id": app})), 404, "an app's id is no item's");
    let added = home.cloud.post(&home.host, &items, json!({"id": item})).expect(StatusCode::CREATED);
    assert_eq!((&added["resourceId"], &added["collectionIds"]), (&json!(app), &json!([tag])));
    assert_eq!(home.status(Method::POST, &items, json!({"id": item})), 409);
    home.cloud.post(&home.host, &format!("/api/v1/collections/{mine}/items"), json!({"id": item}));
    home.cloud.post(&home.host, &items, json!({"id": other}));
    assert_eq!(home.names(&format!("{items}?sort=-name")), ["Fleet Overview", "Fleet"]);
    assert_eq!(home.names(&format!("{items}?name=overview&limit=1")), ["Fleet Overview"]);
    assert_eq!(home.names(&format!("/api/v1/items?collectionId={mine}")), ["Fleet"]);
    assert_eq!(home.names(&format!("/api/v1/items/{item}/collections")), ["logistics", "Mine"]);
    assert_eq!(home.names(&format!("/api/v1/items/{item}/collections?type=private")), ["Mine"]);
    let meta = home.get(&format!("/api/v1/items/{item}"))["meta"].clone();
    assert_eq!(meta["tags"], json!([{"id": tag, "name": "logistics"}]));
    assert_eq!(meta["collections"], json!([{"id": mine, "name": "Mine"}]));
    let inside = |collection: &str| format!("/api/v1/collections/{collection}/items/{other}");
    assert_eq!(home.get(&inside(&tag))["id"], json!(other));
    assert_eq!(home.status(Method::GET, &inside(&mine), Value::Null), 404);
    assert_eq!(home.status(Method::DELETE, &inside(&tag), Value::Null), 204);
    assert_eq!(home.status(Method::DELETE, &inside(&tag), Value::Null), 404);
    assert_eq!(home.get(&format!("/api/v1/collections/{tag}"))["itemCount"], 1);
    // What is gone is in no collection.
    home.cloud.delete(&home.host, &format!("/api/v1/apps/{app}")).expect(StatusCode::OK);
    assert_eq!(home.get(&format!("/api/v1/collections/{mine}"))["itemCount"], 0);
}

#[test]
fn a_collection_is_governed_once_it_has_an_item() {
    let home = Home::new();
    let (_, item) = home.app("Fleet");
    let collection = home.collection("Featured", "private");
    let path = format!("/api/v1/collections/{collection}");
    let kind = |kind: &str| json!([{"op": "replace", "path": "/type", "value": kind}]);
    assert_eq!(home.status(Method::PATCH, &path, kind("publicgoverned")), 400, "it is empty");
    home.cloud.post(&home.host, &format!("{path}/items"), json!({"id": item})).expect(StatusCode::CREATED);
    let governed = home.cloud.patch(&home.host, &path, kind("publicgoverned")).expect(StatusCode::OK);
    assert_eq!((&governed["type"], &governed["itemCount"]), (&json!("publicgoverned"), &json!(1)));
    assert_eq!(home.status(Method::PATCH, &path, kind("public")), 400, "it becomes no tag");
    assert_eq!(home.cloud.patch(&home.host, &path, kind("private")).expect(StatusCode::OK)["type"], "private");
    let tag = home.collection("logistics", "public");
    assert_eq!(home.status(Method::PATCH, &format!("/api/v1/collections/{tag}"), kind("private")), 400);
}

#[test]
fn favourites_are_found_by_a_redirect_and_in_no_list() {
    let home = Home::new();
    let (_, item) = home.app("Fleet");
    let found = home.cloud.get(&home.host, "/api/v1/collections/favorites");
    assert_eq!(found.status, 302);
    let path = found.header("location").strip_prefix(&format!("https://{}", home.host)).unwrap().to_owned();
    assert_eq!(home.get(&path)["type"], "favorite");
    assert_eq!(home.get(&format!("/api/v1/items/{item}"))["isFavorited"], false);
    home.cloud.post(&home.host, &format!("{path}/items"), json!({"id": item})).expect(StatusCode::CREATED);
    let liked = home.get(&format!("/api/v1/items/{item}"));
    assert_eq!((&liked["isFavorited"], &liked["collectionIds"]), (&json!(true), &json!([])));
    assert_eq!(home.names("/api/v1/collections/favorites/items"), ["Fleet"]);
    assert_eq!(home.names("/api/v1/collections"), Vec::<String>::new());
    assert_eq!(home.status(Method::DELETE, &path, Value::Null), 404, "they stay");
    assert_eq!(home.status(Method::DELETE, &format!("{path}/items/{item}"), Value::Null), 204);
}

#[test]
fn items_are_narrowed_by_kinds_and_kinds_within_them() {
    let home = Home::new();
    home.app("Fleet");
    for (query, found) in [
        ("resourceType=app,qvapp", 1),
        ("resourceType=app%5B%5D", 1),
        ("resourceType=app%5Bqvd,chart-monitoring%5D,qvapp", 0),
        ("resourceType=app%5Bqvd,%5D", 1),
        ("resourceType=app&resourceSubType=qvd", 0),
        ("spaceType=shared,personal", 1),
        ("spaceType=managed", 0),
    ] {
        assert_eq!(home.names(&format!("/api/v1/items?{query}")).len(), found, "{query}");
    }
    for query in
        ["resourceType=app%5Bqvd%5D&resourceSubType=qvd", "resourceIds=a,b", "resourceType=App%20!", "limit=101"]
    {
        assert_eq!(home.status(Method::GET, &format!("/api/v1/items?{query}"), Value::Null), 400, "{query}");
    }
    let plain = home.get("/api/v1/items?noActions=true");
    assert_eq!(plain["data"][0]["actions"], json!([]));
}

#[test]
fn an_items_entry_is_changed_and_removed_without_its_app() {
    let home = Home::new();
    let (app, item) = home.app("Fleet");
    let tag = home.collection("logistics", "public");
    home.cloud.post(&home.host, &format!("/api/v1/collections/{tag}/items"), json!({"id": item}));
    let path = format!("/api/v1/items/{item}");
    let body = json!({"resourceType": "app", "resourceCustomAttributes": {"team": "ops"}, "spaceId": "elsewhere"});
    let put = home.cloud.put(&home.host, &path, body).expect(StatusCode::OK);
    assert_eq!((&put["resourceCustomAttributes"]["team"], &put["name"]), (&json!("ops"), &json!("Fleet")));
    assert_eq!(put["spaceId"], json!(home.staging), "what is not supported is passed over");
    assert_eq!(home.status(Method::PUT, &path, json!({"resourceType": "dataset"})), 400);
    assert_eq!(home.status(Method::DELETE, &path, Value::Null), 204);
    assert_eq!(home.status(Method::GET, &path, Value::Null), 404);
    assert_eq!(home.get(&format!("/api/v1/collections/{tag}"))["itemCount"], 0);
    assert_eq!(home.get(&format!("/api/v1/apps/{app}"))["attributes"]["name"], "Fleet");
    assert_eq!(home.get("/api/v1/items/settings")["usageMetricsEnabled"], true);
    let off = json!([{"op": "replace", "path": "/usageMetricsEnabled", "value": false}]);
    let off = home.cloud.patch(&home.host, "/api/v1/items/settings", off).expect(StatusCode::OK);
    assert_eq!((&off, &home.get("/api/v1/items/settings")), (&json!({"usageMetricsEnabled": false}), &off));
}

#[test]
fn published_copies_are_found_by_their_origin() {
    let home = Home::new();
    let (app, item) = home.app("Fleet");
    let live = home.cloud.post(&home.host, "/api/v1/spaces", json!({"name": "Live", "type": "managed"}));
    let live = live.expect(StatusCode::CREATED)["id"].clone();
    let body = json!({"spaceId": live, "attributes": {"name": "Fleet live"}});
    home.cloud.post(&home.host, &format!("/api/v1/apps/{app}/publish"), body).expect(StatusCode::OK);
    // The reference gives the answer the type of a list of collections, though its words speak of items.
    let bearer = format!("Bearer {}", home.cloud.token(&home.host));
    let headers = [("authorization", &*bearer)];
    let path = format!("/api/v1/items/{item}/publisheditems");
    let found = home.cloud.send_unchecked(&Method::GET, &home.host, &path, &headers, Bytes::new());
    assert_eq!((found.status, &found.body["data"][0]["name"]), (200, &json!("Fleet live")), "{}", found.body);
}
