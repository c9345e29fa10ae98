//! CSP origins of the sandbox.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::sandbox_support::Cloud;

const PATH: &str = "/api/v1/csp-origins";

fn origins(list: &Value) -> Vec<&str> {
    list["data"].as_array().unwrap().iter().map(|held| held["origin"].as_str().unwrap()).collect()
}

fn header(cloud: &Cloud, host: &str) -> String {
    let answer = cloud.get(host, &format!("{PATH}/actions/generate-header")).expect(StatusCode::OK);
    answer["Content-Security-Policy"].as_str().unwrap().to_owned()
}

#[test]
fn an_entry_is_made_and_replaced_as_a_whole() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let body = json!({"name": "maps", "origin": "tiles.harbour.example", "description": "d", "imgSrc": true});
    let made = cloud.post(&host, PATH, body.clone()).expect(StatusCode::CREATED);
    assert_eq!((&made["imgSrc"], &made["frameSrc"]), (&json!(true), &json!(false)));
    assert_eq!(cloud.post(&host, PATH, body).status, 400, "one entry per origin");
    let path = format!("{PATH}/{}", made["id"].as_str().unwrap());
    assert_eq!(cloud.get(&host, &path).expect(StatusCode::OK), made);
    let put = json!({"origin": "tiles.harbour.example", "connectSrc": true});
    let put = cloud.put(&host, &path, put).expect(StatusCode::OK);
    assert_eq!((&put["imgSrc"], &put["connectSrc"]), (&json!(false), &json!(true)));
    assert!(put.get("name").is_none() && put.get("description").is_none(), "what is left out is gone");
    assert_eq!((&put["id"], &put["createdDate"]), (&made["id"], &made["createdDate"]));
    for wrong in [
        json!({"name": "x"}),
        json!({"origin": ""}),
        json!({"origin": "a.example b.example"}),
        json!({"origin": "a.example; script-src *"}),
        json!({"origin": "x".repeat(257)}),
        json!({"origin": "a.example", "name": "x".repeat(513)}),
        json!({"origin": "a.example", "description": "x".repeat(1025)}),
        json!({"origin": "a.example", "imgsrc": true}),
    ] {
        assert_eq!(cloud.post(&host, PATH, wrong.clone()).status, 400, "{wrong}");
    }
    assert_eq!(cloud.delete(&host, &path).status, 204);
    for method in [Method::GET, Method::DELETE] {
        assert_eq!(cloud.call(method, &host, &path, Value::Null).status, 404);
    }
    assert_eq!(cloud.put(&host, &path, json!({"origin": "a.example"})).status, 404);
}

#[test]
fn lists_are_searched_by_text_and_flag() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    for (name, origin, flag) in [
        ("Maps", "tiles.harbour.example", "imgSrc"),
        ("fonts", "Fonts.example", "fontSrc"),
        ("api", "api.harbour.example", "imgSrc"),
    ] {
        cloud.post(&host, PATH, json!({"name": name, "origin": origin, flag: true})).expect(StatusCode::CREATED);
    }
    for (query, found) in [
        ("origin=HARBOUR", vec!["tiles.harbour.example", "api.harbour.example"]),
        ("origin=tiles*example", vec!["tiles.harbour.example"]),
        ("name=a", vec!["tiles.harbour.example", "api.harbour.example"]),
        ("fontSrc=true", vec!["Fonts.example"]),
        ("fontSrc=false&name=m", vec!["tiles.harbour.example"]),
        ("sort=-name&limit=2", vec!["tiles.harbour.example", "Fonts.example"]),
        ("sort=origin", vec!["api.harbour.example", "Fonts.example", "tiles.harbour.example"]),
        ("origin=nobody", vec![]),
    ] {
        let list = cloud.get(&host, &format!("{PATH}?{query}")).expect(StatusCode::OK);
        assert_eq!(origins(&list), found, "{query}");
    }
    for wrong in ["limit=101", "sort=imgSrc", "imgSrc=perhaps"] {
        assert_eq!(cloud.get(&host, &format!("{PATH}?{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn the_header_names_each_origin_under_its_directives() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let bare = header(&cloud, &host);
    for body in [
        json!({"origin": "https://tiles.example", "imgSrc": true, "connectSrcWSS": true}),
        json!({"origin": "cdn.example", "imgSrc": true}),
    ] {
        cloud.post(&host, PATH, body).expect(StatusCode::CREATED);
    }
    let full = header(&cloud, &host);
    assert!(full.starts_with(&bare), "{full}");
    assert!(full.contains("img-src 'self' https://tiles.example cdn.example"), "{full}");
    assert!(full.contains("connect-src 'self' wss://tiles.example"), "{full}");
    assert!(!full.contains("font-src"), "{full}");
    let bearer = format!("Bearer {}", cloud.token(&host));
    let headers = [("authorization", &*bearer), ("accept", "text/html")];
    let path = format!("{PATH}/actions/generate-header");
    assert_eq!(cloud.send(&Method::GET, &host, &path, &headers, "".into()).status, 406);
}

#[test]
fn entries_and_the_headers_length_are_limited() {
    let cloud = Cloud::new();
    let host = cloud.tenant_host();
    let long = |number: usize| format!("{number}{}", "a".repeat(200));
    let fitting =
        (0..99).find(|number| cloud.post(&host, PATH, json!({"origin": long(*number), "imgSrc": true})).status == 400);
    assert_eq!(fitting, Some(30));
    assert!(header(&cloud, &host).len() <= 6_144);
    let short = cloud.post(&host, PATH, json!({"origin": "b.example"})).expect(StatusCode::CREATED);
    let path = format!("{PATH}/{}", short["id"].as_str().unwrap());
    assert_eq!(cloud.put(&host, &path, json!({"origin": long(30), "imgSrc": true})).status, 400);
    for number in 31..256 {
        cloud.post(&host, PATH, json!({"origin": format!("o{number}.example")})).expect(StatusCode::CREATED);
    }
    assert_eq!(cloud.post(&host, PATH, json!({"origin": "one.more.example"})).status, 400);
}
