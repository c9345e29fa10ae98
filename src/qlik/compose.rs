//! From the body of an operation to the bytes that will be sent.

use std::path::Path;

use serde_json::Value;

use super::disclosed::Disclosed;
use super::payload::Payload;
use crate::operation::{Body, Content, Failure, FailureKind};
use crate::surroundings::Random;

/// The body of a request, secrets resolved. Files are only named: they are read when the payload is opened.
pub(super) fn payload(body: &Body, secrets: &Disclosed, random: &Random) -> Result<Payload, Failure> {
    match body {
        // What another host has is opened anew for every attempt.
        Body::Empty | Body::Exported { .. } => Ok(Payload::default()),
        Body::Json(value) => Ok(Payload::bytes("application/json", secrets.resolve(value).to_string())),
        Body::File { path, sha256 } => {
            let mut payload = Payload::of_type("application/octet-stream");
            payload.push_file(path.clone(), sha256.clone());
            Ok(payload)
        }
        Body::Multipart(parts) => {
            let boundary = format!("tenantry-{}", random.uuid().simple());
            let mut payload = Payload::of_type(&format!("multipart/form-data; boundary={boundary}"));
            for part in parts {
                // A text is the field's value as it is; so do browsers, and Qlik's own toolkit.
                if let Content::Json(value) = &part.content
                    && let Value::String(text) = secrets.resolve(value)
                {
                    payload.push_bytes(format!(
                        "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\n{text}\r\n",
                        quoted(&part.name)
                    ));
                    continue;
                }
                let (content_type, file_name) = match &part.content {
                    // Qlik's own toolkit sends objects as parts with an empty file name.
                    Content::Json(_) => ("application/json", Some(part.file_name.as_deref().unwrap_or_default())),
                    Content::File { path, .. } => (content_type(path), part.file_name.as_deref()),
                    Content::Text(_) => ("application/octet-stream", part.file_name.as_deref()),
                    Content::Bundle(_) => ("application/zip", part.file_name.as_deref()),
                };
                let file_name = file_name.map(|name| format!("; filename=\"{}\"", quoted(name))).unwrap_or_default();
                payload.push_bytes(format!(
                    "--{boundary}\r\nContent-Disposition: form-data; name=\"{}\"{file_name}\r\nContent-Type: {content_type}\r\n\r\n",
                    quoted(&part.name)
                ));
                match &part.content {
                    Content::Json(value) => payload.push_bytes(secrets.resolve(value).to_string()),
                    Content::File { path, sha256 } => payload.push_file(path.clone(), sha256.clone()),
                    Content::Text(text) => payload.push_bytes(text.clone()),
                    Content::Bundle(bundle) => payload.push_bytes(bundle.zip().map_err(|error| {
                        Failure::new(FailureKind::Denied, "tenantry/bundle", "the files cannot be zipped")
                            .detail(error.to_string())
                    })?),
                }
                payload.push_bytes("\r\n");
            }
            payload.push_bytes(format!("--{boundary}--\r\n"));
            Ok(payload)
        }
    }
}

/// As browsers write names in `Content-Disposition`.
fn quoted(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

fn content_type(path: &Path) -> &'static str {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "svg" => "image/svg+xml",
        "ico" => "image/x-icon",
        "zip" => "application/zip",
        _ => "application/octet-stream",
    }
}
