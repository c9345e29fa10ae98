//! Files of the project that are sent as they are: named by their place in it, read from the disk when they are sent.

use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::operation::{Body, Call, Content, Digest, Failure, FailureKind, Operation};
use crate::suggest::nearest;

/// Up to this size a file is read where the run is; a larger one elsewhere, since it takes its time.
const SMALL: u64 = 1 << 20;

/// The largest JSON file whose members a playbook may ask for: they go into the record.
const LARGEST_JSON: u64 = 8 << 20;

/// How much of a file is in memory at once.
const CHUNK: usize = 64 << 10;

/// Where a file of the project lies.
///
/// # Errors
/// When there is none, or it lies outside.
fn place(root: &Path, name: &str) -> Result<PathBuf, Failure> {
    let refused = |code: &str, title: String| Failure::new(FailureKind::Denied, code, title);
    let plain = !name.is_empty()
        && !name.contains(['\\', '\0', ':'])
        && Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if !plain {
        let title = format!("`{name}` does not name a file of the project");
        return Err(refused("tenantry/no-file", title).hint("name it by its place in the project: `content/app.qvf`"));
    }
    let missing = || {
        let failure = refused("tenantry/no-file", format!("there is no file `{name}` in the project"));
        match near(root, name) {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        }
    };
    // Links may point anywhere; what they point at must still lie inside.
    let path = root.join(name).canonicalize().map_err(|_| missing())?;
    let inside = root.canonicalize().is_ok_and(|root| path.starts_with(root));
    if !inside {
        return Err(refused("tenantry/no-file", format!("`{name}` leads out of the project")));
    }
    if !path.is_file() {
        return Err(refused("tenantry/no-file", format!("`{name}` is not a file")));
    }
    Ok(path)
}

/// The file of the same folder whose name is nearest.
fn near(root: &Path, name: &str) -> Option<String> {
    let name = Path::new(name);
    let folder = name.parent()?;
    let entries = std::fs::read_dir(root.join(folder)).ok()?;
    let names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let near = nearest(name.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(folder.join(near).to_string_lossy().replace('\\', "/"))
}

/// What is known of a file without holding it: its size and its SHA-256.
pub(super) async fn describe(root: PathBuf, name: String) -> Result<Value, Failure> {
    let path = place(&root, &name)?;
    let size = size(&path);
    let sha256 = reading(&name, size, move || digest(&path)).await?;
    Ok(json!({ "sha256": sha256, "size": size }))
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Does what reads a file of this size, where it keeps nobody waiting.
async fn reading<T: Send + 'static>(
    name: &str,
    size: u64,
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, Failure> {
    let done = if size <= SMALL {
        read()
    } else {
        let read = tokio::task::spawn_blocking(read).await;
        read.unwrap_or_else(|error| Err(std::io::Error::other(error)))
    };
    done.map_err(|error| {
        let title = format!("`{name}` cannot be read: {error}");
        Failure::new(FailureKind::Denied, "tenantry/no-file", title)
    })
}

/// These members of the object that a JSON file holds; the rest of it is told to nobody.
pub(super) async fn members(root: PathBuf, name: String, wanted: Vec<String>) -> Result<Value, Failure> {
    let path = place(&root, &name)?;
    let refused = |code: &str, title: String| Failure::new(FailureKind::Denied, code, title);
    let size = size(&path);
    if size > LARGEST_JSON {
        return Err(refused("tenantry/file-too-large", format!("`{name}` has more than {} MB", LARGEST_JSON >> 20)));
    }
    let bytes = reading(&name, size, move || std::fs::read(path)).await?;
    // Editors of some systems begin a file with a mark that JSON does not know.
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    match serde_json::from_slice(text) {
        Ok(Value::Object(mut held)) => {
            held.retain(|member, _| wanted.contains(member));
            Ok(Value::Object(held))
        }
        Ok(_) => Err(refused("tenantry/not-json", format!("`{name}` holds no JSON object"))),
        Err(error) => Err(refused("tenantry/not-json", format!("`{name}` is not JSON: {error}"))),
    }
}

fn digest(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest(hash.finalize().into()).to_string()),
            read => hash.update(&chunk[..read]),
        }
    }
}

/// The operation with its files named by where they lie on this machine; `None` when it sends none.
pub(super) fn placed(root: &Path, operation: &Operation) -> Option<Operation> {
    let Call::Request(request) = &operation.call else { return None };
    let mut body = match &request.body {
        Body::File { .. } => request.body.clone(),
        Body::Multipart(parts) if parts.iter().any(|part| matches!(part.content, Content::File { .. })) => {
            request.body.clone()
        }
        Body::Empty | Body::Json(_) | Body::Exported { .. } | Body::Multipart(_) => return None,
    };
    match &mut body {
        Body::File { path, .. } => *path = root.join(&*path),
        Body::Multipart(parts) => {
            for part in parts {
                if let Content::File { path, .. } = &mut part.content {
                    *path = root.join(&*path);
                }
            }
        }
        Body::Empty | Body::Json(_) | Body::Exported { .. } => {}
    }
    let mut placed = operation.clone();
    if let Call::Request(request) = &mut placed.call {
        request.body = body;
    }
    Some(placed)
}
