//! Apps of the sandbox, and their entries in the index of items.

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::{Cloud, Reply};

const STAND_IN: &str =
    r#"{"name": "Inside", "description": "from inside", "lastReloadTime": "2026-11-20T04:00:00.000Z"}"#;

struct Home {
    cloud: Cloud,
    host: String,
    staging: String,
    live: String,
}

impl Home {
    fn new() -> Self {
        let cloud = Cloud::new();
        let host = cloud.tenant_host();
        let (staging, live) = (cloud.space(&host, "Staging", "shared"), cloud.space(&host, "Production", "managed"));
        Self { cloud, host, staging, live }
    }

    #[track_caller]
    fn import(&self, query: &str, body: &'static str) -> Reply {
        let bearer = format!("Bearer {}", self.cloud.token(&self.host));
        let headers = [("authorization", &*bearer), ("content-type", "application/octet-stream")];
        let path = format!("/api/v1/apps/import?{query}");
        self.cloud.send(&Method::POST, &self.host, &path, &headers, Bytes::from_static(body.as_bytes()))
    }

    /// An app of this name in the staging space.
    #[track_caller]
    fn staged(&self, name: &str, body: &'static str) -> String {
        let made = self.import(&format!("spaceId={}&name={name}", self.staging), body).expect(StatusCode::OK);
        made["attributes"]["id"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn app(&self, id: &str) -> Value {
        self.cloud.get(&self.host, &format!("/api/v1/apps/{id}")).expect(StatusCode::OK)["attributes"].clone()
    }

    #[track_caller]
    fn names(&self, query: &str) -> Vec<String> {
        self.cloud.names(&self.host, &format!("/api/v1/items?{query}"))
    }

    #[track_caller]
    fn publish(&self, method: Method, id: &str, body: Value) -> Reply {
        self.cloud.call(method, &self.host, &format!("/api/v1/apps/{id}/publish"), body)
    }
}

#[test]
fn each_import_makes_another_app_and_an_entry_in_the_index() {
    let home = Home::new();
    let query = format!("spaceId={}&name=Fleet", home.staging);
    let made = home.import(&query, STAND_IN).expect(StatusCode::OK);
    let attributes = &made["attributes"];
    assert_eq!((&attributes["name"], &attributes["description"]), (&json!("Fleet"), &json!("from inside")));
    assert_eq!((&attributes["spaceId"], &attributes["originAppId"]), (&json!(home.staging), &json!("")));
    assert_eq!((&attributes["published"], &attributes["publishTime"]), (&json!(false), &Value::Null));
    assert!(made["privileges"].as_array().unwrap().contains(&json!("publish")), "{made}");
    assert!(attributes.as_object().unwrap().keys().all(|field| !field.starts_with('$')), "{attributes}");
    let again = home.import(&query, STAND_IN).expect(StatusCode::OK);
    assert_ne!(again["attributes"]["id"], attributes["id"]);
    let inside = home.import(&format!("spaceId={}", home.staging), STAND_IN).expect(StatusCode::OK);
    assert_eq!(inside["attributes"]["name"], "Inside");
    let other = home.import("NoData=true&fallbackName=Fallen", "no stand-in").expect(StatusCode::OK);
    assert_eq!((&other["attributes"]["name"], &other["attributes"]["spaceId"]), (&json!("Fallen"), &Value::Null));

    assert_eq!(home.names(&format!("resourceType=app&spaceId={}&name=fleet", home.staging)), ["Fleet", "Fleet"]);
    assert_eq!(home.names("resourceType=app&spaceId=personal"), ["Fallen"]);
    assert_eq!(home.names("resourceType=dataset"), Vec::<String>::new());
    assert_eq!(home.names("sort=-name&limit=2"), ["Inside", "Fleet"]);
    let id = attributes["id"].as_str().unwrap();
    let found = home.cloud.get(&home.host, &format!("/api/v1/items?resourceType=app&resourceId={id}"));
    let item = found.expect(StatusCode::OK)["data"][0].clone();
    assert_eq!((&item["resourceId"], &item["spaceId"]), (&attributes["id"], &attributes["spaceId"]));
    assert_eq!(item["resourceSize"]["appFile"], STAND_IN.len());
    let path = format!("/api/v1/items/{}", item["id"].as_str().unwrap());
    assert_eq!(home.cloud.get(&home.host, &path).expect(StatusCode::OK), item);
    let without = home.cloud.get(&home.host, &format!("/api/v1/items?resourceId={id}"));
    assert_eq!(without.status, 400, "a resource's id needs its type");

    let gone = home.cloud.delete(&home.host, &format!("/api/v1/apps/{id}"));
    assert_eq!(gone.status, 200, "deletes of apps do not answer 204");
    assert_eq!(home.cloud.get(&home.host, &format!("/api/v1/apps/{id}")).status, 404);
    assert_eq!(home.cloud.get(&home.host, &path).status, 404);
    let space = home.cloud.delete(&home.host, &format!("/api/v1/spaces/{}", home.staging));
    assert_eq!(space.status, 412, "apps keep their space");
}

#[test]
fn an_import_that_cannot_be_is_refused() {
    let home = Home::new();
    for (query, body, status) in [
        (format!("spaceId={}", home.live), STAND_IN, 403),
        ("spaceId=none".to_owned(), STAND_IN, 404),
        ("fileId=none".to_owned(), "", 404),
        (String::new(), "", 400),
        (format!("spaceId={}&mode=autoreplace&name=Fleet", home.staging), STAND_IN, 400),
    ] {
        assert_eq!(home.import(&query, body).status, status, "{query}");
    }
    assert_eq!(home.names(""), Vec::<String>::new());
}

#[test]
fn a_published_app_keeps_its_id_when_it_is_replaced() {
    let home = Home::new();
    let first = home.staged("Fleet", STAND_IN);
    let body = json!({"spaceId": home.live, "attributes": {"name": "Fleet Overview", "description": "{v1}"}});
    let live = home.publish(Method::POST, &first, body.clone()).expect(StatusCode::OK)["attributes"].clone();
    assert_eq!((&live["name"], &live["description"]), (&json!("Fleet Overview"), &json!("{v1}")));
    assert_eq!((&live["originAppId"], &live["spaceId"]), (&json!(first), &json!(home.live)));
    assert!(live["publishTime"].is_string() && live["id"] != json!(first), "{live}");
    let twice = home.publish(Method::POST, &first, body).expect(StatusCode::OK);
    assert_ne!(twice["attributes"]["id"], live["id"], "publishing again makes another");

    let second = home.staged(
        "Fleet",
        r#"{"name": "Fleet", "lastReloadTime": "2026-11-22T04:00:00.000Z", "hasSectionAccess": true}"#,
    );
    let target = live["id"].as_str().unwrap();
    let replace = |more: Value| {
        let mut body = json!({"targetId": target, "attributes": {"description": "{v2}"}});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        home.publish(Method::PUT, &second, body)
    };
    assert_eq!(replace(json!({})).status, 400, "it was published from another app");
    home.cloud.clock.forward(std::time::Duration::from_secs(60));
    let kept = replace(json!({"checkOriginAppId": false, "data": "target"})).expect(StatusCode::OK);
    let kept = &kept["attributes"];
    assert_eq!((&kept["id"], &kept["name"], &kept["description"]), (&live["id"], &live["name"], &json!("{v2}")));
    assert_eq!((&kept["lastReloadTime"], &kept["hasSectionAccess"]), (&live["lastReloadTime"], &json!(true)));
    assert!(kept["publishTime"].as_str() > live["publishTime"].as_str());
    let brought = replace(json!({"checkOriginAppId": false})).expect(StatusCode::OK);
    assert_eq!(brought["attributes"]["lastReloadTime"], "2026-11-22T04:00:00.000Z");
    assert_eq!(home.app(target), brought["attributes"]);

    for (method, id, body, status) in [
        (Method::POST, &*first, json!({"spaceId": home.staging}), 400),
        (Method::POST, &*first, json!({"spaceId": "none"}), 404),
        (Method::POST, target, json!({"spaceId": home.live}), 400),
        (Method::POST, "none", json!({"spaceId": home.live}), 404),
        (Method::POST, &*first, json!({"spaceId": home.live, "moveApp": true}), 400),
        (Method::PUT, &*first, json!({"targetId": "none"}), 404),
    ] {
        assert_eq!(home.publish(method, id, body.clone()).status, status, "{id} {body}");
    }
    let moved = json!({"spaceId": home.live, "moveApp": true, "originAppId": first});
    let moved = home.publish(Method::POST, &second, moved).expect(StatusCode::OK);
    assert_eq!(moved["attributes"]["id"], json!(second), "the original is moved");
}

#[test]
fn who_may_do_what_goes_by_the_space() {
    let home = Home::new();
    let Home { cloud, host, .. } = &home;
    let app = home.staged("Fleet", STAND_IN);
    let live = home.publish(Method::POST, &app, json!({"spaceId": home.live})).expect(StatusCode::OK);
    let live = live["attributes"]["id"].as_str().unwrap();
    let personal = home.import("name=Mine", STAND_IN).expect(StatusCode::OK);
    let personal = personal["attributes"]["id"].as_str().unwrap();
    // The spaces go to somebody else: the administrator that is left sees them and their apps, but no longer edits.
    let user = json!({"subject": "hb|1", "name": "Ada", "email": "ada@harbour.example"});
    let user = cloud.post(host, "/api/v1/users", user).expect(StatusCode::CREATED)["id"].clone();
    for space in [&home.staging, &home.live] {
        let step = json!([{"op": "replace", "path": "/ownerId", "value": user}]);
        cloud.patch(host, &format!("/api/v1/spaces/{space}"), step).expect(StatusCode::OK);
    }
    let rename = json!({"attributes": {"name": "Fleet 2"}});
    let path = |id: &str| format!("/api/v1/apps/{id}");
    assert_eq!(cloud.put(host, &path(&app), rename.clone()).status, 403);
    assert_eq!(home.import(&format!("spaceId={}", home.staging), STAND_IN).status, 403);
    assert_eq!(home.publish(Method::POST, &app, json!({"spaceId": home.live})).status, 403);
    assert_eq!(home.app(&app)["name"], "Fleet");
    let users = cloud.get(host, "/api/v1/users");
    let bot = users.expect(StatusCode::OK)["data"].as_array().unwrap().iter().find(|held| held["id"] != user).unwrap()
        ["id"]
        .clone();
    let assignment = json!({"type": "user", "assigneeId": bot, "roles": ["producer"]});
    let assignments = format!("/api/v1/spaces/{}/assignments", home.staging);
    cloud.post(host, &assignments, assignment).expect(StatusCode::CREATED);
    let renamed = cloud.put(host, &path(&app), rename.clone()).expect(StatusCode::OK);
    assert_eq!((&renamed["attributes"]["name"], &renamed["attributes"]["id"]), (&json!("Fleet 2"), &json!(app)));
    assert_eq!(cloud.put(host, &path(&app), json!({"attributes": {"name": ""}})).status, 400);
    // Administrators publish to every managed space.
    let body = json!({"targetId": live, "attributes": {"name": "Fleet live"}});
    assert_eq!(home.publish(Method::PUT, &app, body).expect(StatusCode::OK)["attributes"]["name"], "Fleet live");
    // What is somebody's own is theirs alone.
    assert_eq!(cloud.put(host, &format!("{}/space", path(personal)), json!({"spaceId": home.staging})).status, 200);
    assert_eq!(cloud.put(host, &format!("{}/owner", path(personal)), json!({"ownerId": "none"})).status, 404);
    let owned = cloud.put(host, &format!("{}/owner", path(personal)), json!({"ownerId": user}));
    assert_eq!(owned.expect(StatusCode::OK)["attributes"]["ownerId"], user);
    assert_eq!(cloud.delete(host, &format!("{}/space", path(personal))).status, 200);
    assert_eq!(cloud.get(host, &path(personal)).status, 404);
}

#[test]
fn an_app_can_be_made_empty_or_as_a_copy() {
    let home = Home::new();
    let Home { cloud, host, .. } = &home;
    let empty = json!({"attributes": {"name": "New", "spaceId": home.staging, "description": "d"}});
    let empty = cloud.post(host, "/api/v1/apps", empty).expect(StatusCode::OK);
    assert_eq!((&empty["attributes"]["name"], &empty["attributes"]["description"]), (&json!("New"), &json!("d")));
    assert_eq!(cloud.post(host, "/api/v1/apps", json!({"attributes": {}})).status, 400);
    let app = home.staged("Fleet", STAND_IN);
    let copy = json!({"attributes": {"spaceId": home.staging}});
    let copy = cloud.post(host, &format!("/api/v1/apps/{app}/copy"), copy).expect(StatusCode::OK);
    assert_eq!(copy["attributes"]["name"], "Fleet");
}
