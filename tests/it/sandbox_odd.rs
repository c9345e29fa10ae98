//! Whatever is sent: an answer in the forms of HTTP, and nothing changed by what was refused.

use bytes::Bytes;
use http::{Method, StatusCode};
use proptest::prelude::*;
use tenantry::contract::{Role, contract};
use tenantry::sandbox::State;

use crate::sandbox_support::{CONSOLE, Cloud, REGISTER};

/// The organization's own operations end the tenant the others are sent to.
const LAST: &[&str] = &["deactivateTenant", "reactivateTenant"];

struct Sent {
    cloud: Cloud,
    hosts: [(Role, String, String); 3],
}

impl Sent {
    fn new() -> Self {
        let cloud = Cloud::new();
        let tenant = cloud.tenant_host();
        let host = |role, name: &str| (role, name.to_owned(), format!("Bearer {}", cloud.token(name)));
        let hosts = [host(Role::Tenant, &tenant), host(Role::Register, REGISTER), host(Role::Console, CONSOLE)];
        Self { cloud, hosts }
    }

    fn state(&self) -> State {
        self.cloud.sandbox.snapshot()
    }

    fn send(&self, role: Role, method: &Method, path: &str, kind: &str, body: Bytes) {
        let (_, host, bearer) = self.hosts.iter().find(|(held, ..)| *held == role).unwrap_or(&self.hosts[0]);
        let headers = [("authorization", &**bearer), ("content-type", kind)];
        let before = self.state();
        let reply = self.cloud.send_unchecked(method, host, path, &headers, body);
        assert_ne!(reply.status, StatusCode::INTERNAL_SERVER_ERROR.as_u16(), "{method} {path}: {reply:?}");
        if reply.status >= 400 {
            assert!(reply.body.is_object(), "{method} {path}: {reply:?}");
            assert_eq!(self.state(), before, "{method} {path}");
        }
    }
}

#[test]
fn every_operation_stands_odd_bodies_and_names() {
    let sent = Sent::new();
    let deep = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let patch = r#"[{"op":"replace","path":"/name"},{"op":3},[],null,{"op":"add","path":"/","value":{}}]"#;
    let bodies = [
        "",
        "null",
        "{}",
        "[]",
        "[null]",
        "\"text\"",
        "-1e999",
        "{\"a\":",
        &deep,
        patch,
        "\u{0}",
        r#"{"name":"\ud800"}"#,
    ];
    for operation in contract().operations().filter(|operation| !LAST.contains(&operation.id)) {
        for name in ["x", "%00", "%25%2F%F0%9F%A6%80%22"] {
            let vars = operation
                .variables()
                .fold(operation.path.to_owned(), |path, variable| path.replace(&format!("{{{variable}}}"), name));
            // Most requests without a body are alike, whatever stands in it.
            let bodies = if operation.body.is_some() { &bodies[..] } else { &bodies[..3] };
            for body in bodies {
                sent.send(operation.host, &operation.method, &vars, "application/json", (*body).to_owned().into());
            }
            let kind = "multipart/form-data; boundary=b";
            for body in
                ["--b--", "--b\r\n\r\n--b--", "--b\r\nContent-Disposition: form-data; name=file\r\n\r\nx\r\n--b--"]
            {
                sent.send(operation.host, &operation.method, &vars, kind, body.into());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_filter_and_cursor_is_answered(filter in "\\PC{0,40}", cursor in "[A-Za-z0-9_-]{0,24}", sort in "[+-]?[a-z_]{0,10}") {
        let sent = Sent::new();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("filter", &filter)
            .append_pair("next", &cursor)
            .append_pair("sort", &sort)
            .finish();
        sent.send(Role::Tenant, &Method::GET, &format!("/api/v1/users?{query}"), "application/json", Bytes::new());
    }
}
