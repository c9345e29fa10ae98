//! Live over real sockets: what servers and networks do wrong, and how bodies travel.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tenantry::interpreter::{Interpreter as _, Live, LocalOperations, Locals};
use tenantry::operation::{
    Body, Bundle, Call, Content, Digest, Effect, FailureKind, HeaderText, Host, Operation, Outcome, Part, Payload,
};
use tenantry::qlik::{Access, Addresses, Credentials, HttpSettings, RetryPolicy, Settings};
use tenantry::store::Vault;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::live::{create, key, operation, read, settings, with};
use crate::support::scripted_server::{Script, ScriptedServer};

/// What the server does, and how that is told.
type Case = (fn() -> Script, &'static str, FailureKind);

fn live(address: &str) -> Live {
    let settings = Settings {
        addresses: Addresses::under(address).unwrap(),
        retry: RetryPolicy { attempts: 2, first_pause: Duration::from_millis(1), ..RetryPolicy::default() },
        ..settings()
    };
    let http =
        HttpSettings { stall_timeout: Duration::from_millis(300), largest_answer: 10_000, ..HttpSettings::default() };
    Live::new(settings, http)
}

async fn perform(live: &Live, operation: &Operation) -> Outcome {
    live.perform(&key(operation), operation).await
}

/// One request that shows its own bearer, so that each script answers the operation itself.
fn bare(operation: Operation) -> Operation {
    with(operation, |request| {
        request.headers.insert("authorization".to_owned(), HeaderText::Bearer("jwt".to_owned()));
    })
}

fn digest(content: &[u8]) -> String {
    Digest(Sha256::digest(content).into()).to_string()
}

fn file(path: &Path, content: &[u8]) -> Content {
    Content::File { path: path.to_owned(), sha256: digest(content) }
}

fn upload(effect: Effect, parts: Vec<Part>) -> Operation {
    with(operation("uploadTheme", effect, Method::POST, "/api/v1/themes"), |request| {
        request.body = Body::Multipart(parts);
    })
}

#[tokio::test]
async fn a_request_and_its_token_go_to_the_host_under_the_base() {
    let server = ScriptedServer::start(vec![Script::token(), Script::json("201 Created", r#"{"id":"s1"}"#)]).await;
    let response = perform(&live(&format!("{}/gate", server.address)), &create()).await.unwrap();
    assert_eq!(response.json(), &json!({ "id": "s1" }));
    let requests = server.requests();
    let place = "/gate/q7m2v9k4x1b8tz0.eu.qlikcloud.com";
    assert!(requests[0].starts_with(&format!("POST {place}/oauth/token HTTP/1.1\r\n")), "{}", requests[0]);
    assert!(requests[1].starts_with(&format!("POST {place}/api/v1/spaces HTTP/1.1\r\n")), "{}", requests[1]);
    let request = requests[1].to_ascii_lowercase();
    for header in [
        "authorization: bearer token-1",
        "content-type: application/json",
        "accept: application/json",
        "user-agent: tenantry/",
        "content-length: 34",
    ] {
        assert!(request.contains(header), "{header} in {request}");
    }
    assert!(requests[1].ends_with(r#"{"name":"Staging","type":"shared"}"#), "{request}");
}

#[tokio::test]
async fn what_breaks_on_the_way_is_told_apart() {
    let cut = || {
        Script::Bytes(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{\"data\":".to_vec(),
        )
    };
    let nonsense = || Script::Bytes(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec());
    let large = || Script::json("200 OK", &format!("\"{}\"", "x".repeat(20_000)));
    let refused_cut = || {
        Script::Bytes(
            b"HTTP/1.1 409 Conflict\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{".to_vec(),
        )
    };
    let cases: Vec<Case> = vec![
        (|| Script::Reset, "tenantry/connection-broken", FailureKind::Unknown),
        (|| Script::Silence, "tenantry/timeout", FailureKind::Unknown),
        (cut, "tenantry/truncated", FailureKind::Unknown),
        (nonsense, "tenantry/connection-broken", FailureKind::Unknown),
        (large, "tenantry/too-large", FailureKind::Unknown),
        (refused_cut, "tenantry/truncated", FailureKind::Refused),
    ];
    for (script, code, kind) in cases {
        let server = ScriptedServer::start(vec![script(), script()]).await;
        let failure = perform(&live(&server.address), &bare(create())).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.kind), (code, kind), "{failure:?}");
        assert_eq!(server.requests().len(), 1, "{code}");
        assert!(!format!("{failure:?}").contains("canary"));
    }
    let server = ScriptedServer::start(vec![cut(), Script::json("200 OK", "{}")]).await;
    perform(&live(&server.address), &bare(read())).await.unwrap();
}

#[tokio::test]
async fn nobody_at_the_address_means_nothing_was_sent() {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let failure = perform(&live(&address), &create()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/unreachable", FailureKind::Unsent));
    assert!(failure.title.contains("q7m2v9k4x1b8tz0.eu.qlikcloud.com cannot be reached"), "{failure}");

    // A server that does not speak TLS never saw the request either.
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("https://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    let failure = perform(&live(&address), &create()).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/unreachable", FailureKind::Unsent));
}

#[tokio::test]
async fn a_multipart_body_is_opened_anew_for_every_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("theme.zip");
    let content = "theme ".repeat(40_000);
    std::fs::write(&path, &content).unwrap();
    let bundle = Bundle::new([("a.json".to_owned(), "{}".into())].into());
    let asked = upload(
        Effect::Create,
        vec![
            Part { name: "data".into(), file_name: None, content: Content::Json(json!({ "name": "t" })) },
            Part {
                name: "file".into(),
                file_name: Some("a \"b\".zip".into()),
                content: file(&path, content.as_bytes()),
            },
            Part { name: "more".into(), file_name: Some("m.zip".into()), content: Content::Bundle(bundle) },
        ],
    );
    let late = Script::text("429 Too Many Requests", &["Retry-After: 0"], "");
    let server = ScriptedServer::start(vec![late, Script::json("201 Created", "{}")]).await;
    perform(&live(&server.address), &bare(asked)).await.unwrap();
    let requests = server.requests();
    assert_eq!(requests.len(), 2);
    for request in &requests {
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(!head.to_ascii_lowercase().contains("transfer-encoding"), "{head}");
        for piece in [
            "Content-Disposition: form-data; name=\"data\"; filename=\"\"\r\nContent-Type: application/json\r\n\r\n{\"name\":\"t\"}\r\n",
            "name=\"file\"; filename=\"a %22b%22.zip\"\r\nContent-Type: application/zip\r\n\r\ntheme theme",
            "name=\"more\"; filename=\"m.zip\"",
        ] {
            assert!(body.contains(piece), "{piece}");
        }
        assert!(body.contains(&content) && body.trim_end().ends_with("--"));
    }
}

#[tokio::test]
async fn a_file_that_is_gone_or_changed_is_never_sent_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.qvf");
    let part = |content: Content| vec![Part { name: "file".into(), file_name: Some("app.qvf".into()), content }];
    let asked = bare(upload(Effect::Create, part(file(&path, b"what it was"))));
    let server =
        ScriptedServer::start(vec![Script::json("201 Created", "{}"), Script::json("201 Created", "{}")]).await;
    let failure = perform(&live(&server.address), &asked).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/file", FailureKind::Unsent));
    assert!(failure.detail.unwrap().contains("app.qvf"));
    assert!(server.requests().is_empty());

    std::fs::write(&path, b"what it is!").unwrap();
    let failure = perform(&live(&server.address), &asked).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.kind), ("tenantry/file", FailureKind::Unsent));
    assert!(failure.detail.unwrap().contains("changed"));
    assert!(!server.requests().concat().contains("what it is!"));
}

#[tokio::test]
async fn a_file_body_streams_and_bytes_come_back_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.qvf");
    std::fs::write(&path, b"qvf bytes").unwrap();
    let import = with(operation("importApp", Effect::Create, Method::POST, "/api/v1/apps/import"), |request| {
        request.query = vec![("name".into(), "Fleet & Overview".into())];
        request.body = Body::File { path, sha256: digest(b"qvf bytes") };
    });
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(br#"{"attributes":{"id":"a1"}}"#).unwrap();
    let packed = packed.finish().unwrap();
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        packed.len()
    )
    .into_bytes();
    answer.extend(packed);
    let file = Script::text("200 OK", &["Content-Type: application/octet-stream"], "bytes");
    let server = ScriptedServer::start(vec![Script::Bytes(answer), file]).await;
    let live = live(&server.address);
    let response = perform(&live, &bare(import)).await.unwrap();
    assert_eq!(response.json()["attributes"]["id"], "a1");
    let request = &server.requests()[0];
    assert!(request.contains("?name=Fleet%20%26%20Overview ") && request.ends_with("qvf bytes"), "{request}");
    assert!(request.to_ascii_lowercase().contains("content-type: application/octet-stream"), "{request}");
    let download = operation("downloadTheme", Effect::Read, Method::GET, "/api/v1/themes/1/file");
    assert_eq!(perform(&live, &bare(download)).await.unwrap().payload, Payload::Bytes("bytes".into()));
}

/// Takes a request with a body of any size from the next connection.
async fn drained(listener: tokio::net::TcpListener) -> usize {
    taken(listener.accept().await.unwrap().0).await
}

/// Takes a request with a body of any size, keeps none of it, and answers as an import does.
async fn taken(mut stream: tokio::net::TcpStream) -> usize {
    let (mut buffer, mut head, mut left) = (vec![0; 64 << 10], Vec::new(), None::<usize>);
    let mut taken = 0;
    while left != Some(0) {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the body ended early");
        let mut body = read;
        if left.is_none() {
            head.extend_from_slice(&buffer[..read]);
            let end = head.windows(4).position(|four| four == b"\r\n\r\n");
            let Some(end) = end else { continue };
            let lines = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
            let length = lines.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            left = Some(length.parse().unwrap());
            body = head.len() - end - 4;
        }
        taken += body;
        left = left.map(|left| left.saturating_sub(body));
    }
    let Script::Bytes(answer) = Script::json("200 OK", r#"{"attributes":{"id":"a1"}}"#) else { unreachable!() };
    stream.write_all(&answer).await.unwrap();
    taken
}

/// The host that has what was exported.
const SOURCE: &str = "apps.eu.qlikcloud.com";

/// As [`live`], on a target with a source tenant.
fn sourced(address: &str) -> Live {
    let access = Access::ApiKey("license".to_owned());
    let settings = Settings {
        addresses: Addresses::under(address).unwrap(),
        credentials: Credentials::With { host: SOURCE.to_owned(), access, others: Box::new(settings().credentials) },
        retry: RetryPolicy { attempts: 2, first_pause: Duration::from_millis(1), ..RetryPolicy::default() },
        ..settings()
    };
    Live::new(settings, HttpSettings { stall_timeout: Duration::from_secs(5), ..HttpSettings::default() })
}

/// The import of what the source tenant has exported.
fn import_exported() -> Operation {
    bare(with(operation("importApp", Effect::Create, Method::POST, "/api/v1/apps/import"), |request| {
        request.body = Body::Exported {
            host: Host::Tenant(SOURCE.to_owned()),
            path: "/api/v1/temp-contents/t1".to_owned(),
            content: "c1".to_owned(),
        };
    }))
}

/// Answers a download of `length` bytes with so many of them; gives the request.
async fn given(mut stream: tokio::net::TcpStream, length: usize, sent: usize) -> String {
    let (mut buffer, mut head) = (vec![0; 64 << 10], Vec::new());
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        let read = stream.read(&mut buffer).await.unwrap();
        head.extend_from_slice(&buffer[..read]);
    }
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(answer.as_bytes()).await.unwrap();
    let mut left = sent;
    while left > 0 {
        let piece = left.min(buffer.len());
        stream.write_all(&buffer[..piece]).await.unwrap();
        left -= piece;
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn what_another_host_has_is_passed_on_and_asked_for_again_when_it_breaks_off() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let next = async || listener.accept().await.unwrap().0;
        given(next().await, 300_000, 100_000).await;
        // Whoever gets the half of it learns that it is no more than that.
        let mut half = Vec::new();
        let cut = next().await.read_to_end(&mut half).await;
        assert!(cut.is_err() || !half.ends_with(b"\r\n0\r\n\r\n"));
        assert!(half.len() < 200_000, "{}", half.len());
        let asked = tokio::spawn(given(next().await, 300_000, 300_000));
        let taken = taken(next().await).await;
        (asked.await.unwrap(), taken)
    });
    let import = import_exported();
    let answer = perform(&sourced(&address), &import).await.unwrap();
    let (asked, taken) = server.await.unwrap();
    assert_eq!((answer.json()["attributes"]["id"].as_str(), taken), (Some("a1"), 300_000));
    assert!(asked.starts_with("GET /apps.eu.qlikcloud.com/api/v1/temp-contents/t1 "), "{asked}");
    assert!(asked.to_ascii_lowercase().contains("authorization: bearer "), "{asked}");
}

#[tokio::test]
async fn what_another_host_does_not_have_any_more_is_told_and_nothing_is_sent() {
    for (status, body, code, kind) in [
        ("410 Gone", "{}", "tenantry/content-gone", FailureKind::Refused),
        ("404 Not Found", "{}", "tenantry/content-gone", FailureKind::Refused),
        ("403 Forbidden", r#"{"errors":[{"code":"HTTP-403","title":"Forbidden"}]}"#, "HTTP-403", FailureKind::Refused),
    ] {
        let server = ScriptedServer::start(vec![Script::json(status, body)]).await;
        let failure = perform(&sourced(&server.address), &import_exported()).await.unwrap_err();
        assert_eq!((failure.code.as_str(), failure.kind), (code, kind), "{failure:?}");
        assert_eq!(server.requests().len(), 1, "{:?}", server.requests());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 300 MB over loopback twice, a machine with /proc, and a process of its own"]
async fn an_app_of_300_mb_is_passed_on_from_a_source_tenant_in_60_mb() {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let giving = tokio::spawn(given(listener.accept().await.unwrap().0, 300 << 20, 300 << 20));
        let taken = taken(listener.accept().await.unwrap().0).await;
        giving.await.unwrap();
        taken
    });
    let answer = perform(&sourced(&address), &import_exported()).await.unwrap();
    assert_eq!((answer.json()["attributes"]["id"].as_str(), server.await.unwrap()), (Some("a1"), 300 << 20));
    println!("the whole process at its peak: {} MB", peak());
    assert!(peak() <= 60, "{} MB", peak());
}

/// The most memory this process has had, in MB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a file of 300 MB, a machine with /proc, and a process of its own"]
async fn an_app_of_300_mb_is_described_and_sent_in_60_mb() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::File::create(folder.path().join("large.qvf")).unwrap().set_len(300 << 20).unwrap();
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let taking = tokio::spawn(drained(listener));
    let given = settings();
    let local = LocalOperations::standard(given.clock.clone(), given.random.clone(), Vault::in_memory());
    let interpreter = Locals::new(live(&address), Arc::new(local.files(folder.path())));
    let about = Operation {
        id: "tenantry.file".to_owned(),
        call: Call::Local { arguments: json!({ "path": "large.qvf" }) },
        effect: Effect::Read,
        subject: "file".to_owned(),
        site: None,
    };
    let about = interpreter.perform(&key(&about), &about).await.unwrap();
    assert_eq!(about.json()["size"], 300 << 20);
    let sha256 = about.json()["sha256"].as_str().unwrap().to_owned();
    let import = with(operation("importApp", Effect::Create, Method::POST, "/api/v1/apps/import"), |request| {
        request.body = Body::File { path: "large.qvf".into(), sha256 };
    });
    let import = bare(import);
    let answer = interpreter.perform(&key(&import), &import).await.unwrap();
    assert_eq!((answer.json()["attributes"]["id"].as_str(), taking.await.unwrap()), (Some("a1"), 300 << 20));
    println!("the whole process at its peak: {} MB", peak());
    assert!(peak() <= 60, "{} MB", peak());
}
