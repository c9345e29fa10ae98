//! A server of a few lines that answers scripted bytes: what no real server can be talked into.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What is done with one request.
#[derive(Clone)]
pub(crate) enum Script {
    /// These bytes, then the connection is closed.
    Bytes(Vec<u8>),
    /// The connection is reset before anything is answered.
    Reset,
    /// Nothing is ever answered.
    Silence,
}

impl Script {
    pub(crate) fn text(status: &str, headers: &[&str], body: &str) -> Self {
        let mut text = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
        for header in headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        Self::Bytes(format!("{text}\r\n{body}").into_bytes())
    }

    pub(crate) fn json(status: &str, body: &str) -> Self {
        Self::text(status, &["Content-Type: application/json"], body)
    }

    pub(crate) fn token() -> Self {
        Self::json("200 OK", r#"{"access_token":"token-1","token_type":"bearer","expires_in":21600}"#)
    }
}

/// The server. It answers one request for each script, in order, and keeps their text.
pub(crate) struct ScriptedServer {
    pub(crate) address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl ScriptedServer {
    pub(crate) async fn start(scripts: Vec<Script>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = requests.clone();
        tokio::spawn(async move {
            let mut silent = Vec::new();
            for script in scripts {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read_request(&mut stream).await;
                kept.lock().unwrap().push(request);
                match script {
                    Script::Bytes(bytes) => {
                        stream.write_all(&bytes).await.unwrap();
                        let _ = stream.shutdown().await;
                    }
                    Script::Reset => drop(stream),
                    Script::Silence => silent.push(stream),
                }
            }
            // Held so that the other side sees silence, not an end.
            std::future::pending::<()>().await;
            drop(silent);
        });
        Self { address, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

async fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_ascii_lowercase()
                        .strip_prefix("content-length:")
                        .map(|value| value.trim().parse::<usize>().unwrap())
                })
                .unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return String::from_utf8_lossy(&bytes).into_owned();
        }
    }
}
