use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;

use super::environment::{Format, inside, parse};
use super::values::Values;
use super::{RenderError, RenderErrorKind, Templates, used};
use crate::operation::Bundle;

/// Bounds what a folder may hold, well above what Qlik Cloud takes.
const MAX_FILES: usize = 5_000;
const MAX_BYTES: u64 = 256 << 20;
const MAX_DEPTH: usize = 16;

pub(super) fn render(templates: &Templates, folder: &str, values: &Values) -> Result<Bundle, RenderError> {
    let problem = |title: String| RenderError::new(RenderErrorKind::Bundle, folder, title);
    let root = match inside(&templates.root, folder) {
        Ok(Some(path)) if path.is_dir() => path,
        Ok(Some(_)) => return Err(problem(format!("`{folder}` is a file; a bundle is made from a folder"))),
        Ok(None) => {
            return Err(RenderError::new(
                RenderErrorKind::NotFound,
                folder,
                format!("there is no folder `{folder}` under templates/"),
            ));
        }
        Err(why) => return Err(RenderError::new(RenderErrorKind::NotFound, folder, why)),
    };
    let mut found = Vec::new();
    walk(&root, Path::new(""), 0, &mut found).map_err(|error| problem(format!("cannot be read: {error}")))?;
    if found.len() > MAX_FILES {
        return Err(problem(format!("holds more than {MAX_FILES} files")));
    }
    found.sort();
    let mut files = BTreeMap::new();
    let mut bytes = 0;
    for relative in found {
        let name = format!("{folder}/{relative}");
        if inside(&templates.root, &name).is_err() {
            return Err(problem(format!("`{relative}` leads out of the templates folder")));
        }
        let content = std::fs::read(root.join(&relative))
            .map_err(|error| problem(format!("`{relative}` cannot be read: {error}")))?;
        let target = file_name(templates, folder, &relative, values)?;
        let content = match std::str::from_utf8(&content) {
            Ok(_) if !content.contains(&0) => {
                let text = templates.render_file(&name, values)?;
                if values.has_secrets() && text.contains(crate::operation::secret::KEY) {
                    return Err(RenderError::secret(&name, "secret")
                        .hint("a bundle's files are stored in the tenant as they are: leave secrets out of them"));
                }
                if Format::of(&name) == Format::Json {
                    parse(Format::Json, &name, &text)?;
                }
                Bytes::from(text)
            }
            _ => {
                let content = Bytes::from(content);
                used::file(&name, &content);
                content
            }
        };
        bytes += content.len() as u64;
        if bytes > MAX_BYTES {
            return Err(problem("holds more than 256 MB".to_owned()));
        }
        if files.insert(target.clone(), content).is_some() {
            return Err(problem(format!("two files become `{target}`")));
        }
    }
    if files.is_empty() {
        return Err(problem(format!("the folder `{folder}` holds no files")));
    }
    Ok(Bundle::new(files))
}

/// The paths of all files below `folder`, with `/` between folders.
fn walk(root: &Path, folder: &Path, depth: usize, found: &mut Vec<String>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root.join(folder))? {
        let name = entry?.file_name();
        let path: PathBuf = folder.join(&name);
        let (Some(name), Some(text)) = (name.to_str(), path.to_str()) else {
            return Err(std::io::Error::other(format!("{} is not a UTF-8 name", path.display())));
        };
        if name.starts_with('.') {
            continue;
        }
        if root.join(&path).is_dir() {
            if depth < MAX_DEPTH {
                walk(root, &path, depth + 1, found)?;
            }
        } else {
            found.push(if cfg!(windows) { text.replace('\\', "/") } else { text.to_owned() });
        }
        if found.len() > MAX_FILES {
            break;
        }
    }
    Ok(())
}

fn file_name(templates: &Templates, folder: &str, relative: &str, values: &Values) -> Result<String, RenderError> {
    let plain = relative.strip_suffix(".j2").unwrap_or(relative);
    if !plain.contains("{{") {
        return Ok(plain.to_owned());
    }
    // The addition also takes the extension away: a name is text whatever the file holds.
    let name = format!("{folder}/{relative} (file name)");
    let parts: Result<Vec<_>, _> = plain
        .split('/')
        .map(|part| {
            let text = templates.render_named_text(&name, part, values)?;
            let one = Path::new(&text).components().collect::<Vec<_>>();
            if text.contains(['/', '\\', '\0']) || !matches!(one[..], [Component::Normal(_)]) {
                return Err(RenderError::new(
                    RenderErrorKind::Bundle,
                    &name,
                    format!("the file name becomes `{text}`, which is not a file name"),
                ));
            }
            Ok(text)
        })
        .collect();
    Ok(parts?.join("/"))
}
