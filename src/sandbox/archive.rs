//! Archives of themes and extensions: a zip with a `.qext` file that says what it is.
//!
//! Limits and refused kinds of files: file restrictions of themes and extensions (help.qlik.com); how a theme is laid
//! out: build a theme (qlik.dev). Qlik tells the kind of a file by its content; here, its ending does: an assumption.

use std::io::{Cursor, Read as _};

use bytes::Bytes;
use serde_json::Value;
use zip::ZipArchive;

const MEGABYTE: u64 = 1 << 20;
/// The most bytes of the archive, of a file in it, of all files in it, and the most files.
const ARCHIVE: u64 = 30 * MEGABYTE;
const FILE: u64 = 30 * MEGABYTE;
const UNPACKED: u64 = 100 * MEGABYTE;
const FILES: usize = 500;

/// The kinds of files a theme takes, and how they are served.
const THEME_FILES: &[(&str, &str)] = &[
    ("css", "text/css"),
    ("eot", "application/vnd.ms-fontobject"),
    ("gif", "image/gif"),
    ("htm", "text/html"),
    ("html", "text/html"),
    ("jpeg", "image/jpeg"),
    ("jpg", "image/jpeg"),
    ("json", "application/json"),
    ("otf", "font/otf"),
    ("png", "image/png"),
    ("qext", "application/json"),
    ("svg", "image/svg+xml"),
    ("ttf", "font/ttf"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
];

/// How further files of an extension are served.
const EXTENSION_FILES: &[(&str, &str)] = &[
    ("js", "text/javascript"),
    ("map", "application/json"),
    ("md", "text/markdown"),
    ("mjs", "text/javascript"),
    ("txt", "text/plain"),
    ("xml", "text/xml"),
];

/// What extensions do not take: programs, libraries, core dumps, Java applets, zips, and scripts of shells, batch, AWK
/// and PHP.
const REFUSED: &[&str] = &[
    "awk", "bash", "bat", "bin", "class", "cmd", "com", "core", "dll", "dylib", "exe", "jar", "ksh", "msi", "o", "php",
    "sh", "so", "sys", "zip", "zsh",
];

/// Why an archive is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A kind of file that is refused.
    Kind(String),
    /// Anything else.
    Invalid(String),
}

fn invalid<T>(detail: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Invalid(detail.into()))
}

/// What was read of an archive.
#[derive(Clone, Debug)]
pub(super) struct Package {
    /// The name of the `.qext` file without its ending: what the package is known by.
    pub(super) identity: String,
    /// What the `.qext` file says.
    pub(super) about: Value,
}

/// How a file is served; none when its kind is not known.
pub(super) fn kind(path: &str) -> Option<&'static str> {
    let ending = ending(path);
    let known = THEME_FILES.iter().chain(EXTENSION_FILES);
    known.into_iter().find(|(held, _)| *held == ending).map(|(_, kind)| *kind)
}

fn ending(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').map_or_else(String::new, |(_, ending)| ending.to_ascii_lowercase())
}

/// Reads a theme's archive.
///
/// # Errors
/// What is wrong with it.
pub(super) fn theme(bytes: &Bytes) -> Result<Package, Fault> {
    let takes = |path: &str| THEME_FILES.iter().any(|(held, _)| *held == ending(path));
    let (package, folder, files) = read(bytes, takes)?;
    if package.about.get("type").and_then(Value::as_str) != Some("theme") {
        return invalid(format!("{}.qext does not say \"type\": \"theme\"", package.identity));
    }
    let definition = format!("{folder}theme.json");
    if !files.contains(&definition) {
        return invalid("theme.json is missing beside the .qext file");
    }
    document(bytes, &definition)?;
    Ok(package)
}

/// Reads an extension's archive. That it says what type it is, and that it is no theme, is an assumption: the pages show
/// `visualization` and say nothing of others.
///
/// # Errors
/// What is wrong with it.
pub(super) fn extension(bytes: &Bytes) -> Result<Package, Fault> {
    let (package, ..) = read(bytes, |path| !REFUSED.contains(&&*ending(path)))?;
    match package.about.get("type").and_then(Value::as_str) {
        None | Some("" | "theme") => {
            invalid(format!("{}.qext does not say \"type\": \"visualization\"", package.identity))
        }
        Some(_) => Ok(package),
    }
}

/// Reads an archive: the package, the folder its `.qext` file is in, and the paths of its files.
fn read(bytes: &Bytes, takes: impl Fn(&str) -> bool) -> Result<(Package, String, Vec<String>), Fault> {
    if bytes.len() as u64 > ARCHIVE {
        return invalid(format!("the archive has more than {} MB", ARCHIVE / MEGABYTE));
    }
    let mut archive = open(bytes)?;
    let files = files(&mut archive, takes)?;
    unpack(&mut archive)?;
    let found: Vec<&String> = files.iter().filter(|path| ending(path) == "qext").collect();
    let [qext] = found[..] else {
        return invalid(format!("the archive has {} .qext files, it must have one", found.len()));
    };
    let (folder, name) = qext.rsplit_once('/').map_or(("", qext.as_str()), |(folder, name)| (folder, name));
    if folder.contains('/') {
        return invalid("the .qext file must be at the top or in the one folder there");
    }
    let about = document(bytes, qext)?;
    if about.get("name").and_then(Value::as_str).is_none_or(str::is_empty) {
        return invalid(format!("`{qext}` has no name"));
    }
    let identity = name[..name.len() - ".qext".len()].to_owned();
    if identity.is_empty() {
        return invalid("the .qext file has no name of its own");
    }
    let folder = if folder.is_empty() { String::new() } else { format!("{folder}/") };
    Ok((Package { identity, about }, folder, files))
}

/// The paths of the files, when all are of kinds that are taken.
fn files(archive: &mut Archive<'_>, takes: impl Fn(&str) -> bool) -> Result<Vec<String>, Fault> {
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).or_else(|error| invalid(format!("the zip is damaged: {error}")))?;
        let path = path(&file)?;
        if file.is_dir() {
            continue;
        }
        if file.is_symlink() || file.encrypted() {
            return invalid(format!("`{path}` is a link or encrypted"));
        }
        if !takes(&path) {
            return Err(Fault::Kind(format!("files like `{path}` are not taken")));
        }
        files.push(path);
        if files.len() > FILES {
            return invalid(format!("the archive has more than {FILES} files"));
        }
    }
    Ok(files)
}

/// Whether the files can be read and are small enough. What a zip says of their sizes may be false, so they are read,
/// but never more of them than is allowed.
fn unpack(archive: &mut Archive<'_>) -> Result<(), Fault> {
    let mut unpacked = 0;
    for index in 0..archive.len() {
        let file = archive.by_index(index).or_else(|error| invalid(format!("the zip is damaged: {error}")))?;
        let size = std::io::copy(&mut file.take(FILE + 1), &mut std::io::sink());
        let size = size.or_else(|error| invalid(format!("file {index} of the zip is damaged: {error}")))?;
        if size > FILE {
            return invalid(format!("file {index} of the zip has more than {} MB", FILE / MEGABYTE));
        }
        unpacked += size;
        if unpacked > UNPACKED {
            return invalid(format!("the files have more than {} MB together", UNPACKED / MEGABYTE));
        }
    }
    Ok(())
}

type Archive<'b> = ZipArchive<Cursor<&'b [u8]>>;

fn open(bytes: &Bytes) -> Result<Archive<'_>, Fault> {
    ZipArchive::new(Cursor::new(&bytes[..])).or_else(|error| invalid(format!("the file is no zip: {error}")))
}

/// The path of a file in the archive, when it stays inside.
fn path<R: std::io::Read>(file: &zip::read::ZipFile<'_, R>) -> Result<String, Fault> {
    let name = file.name().map(std::borrow::Cow::into_owned);
    let name = name.or_else(|error| invalid(format!("a file's name is damaged: {error}")))?;
    let stays = !name.starts_with('/') && !name.contains(['\\', ':']) && name.split('/').all(|step| step != "..");
    if stays { Ok(name) } else { invalid(format!("`{name}` leads out of the archive")) }
}

/// A file of an archive, by its path there or below the one folder at the top.
pub(super) fn file(bytes: &Bytes, path: &str) -> Option<Bytes> {
    let mut archive = open(bytes).ok()?;
    let names: Vec<String> = archive.file_names().filter_map(|name| Some(name.ok()?.into_owned())).collect();
    let below = |name: &&String| name.split_once('/').is_some_and(|(_, rest)| rest == path);
    let name = names.iter().find(|name| *name == path).or_else(|| names.iter().find(below))?;
    let file = archive.by_name(name).ok()?;
    let mut held = Vec::new();
    file.take(FILE).read_to_end(&mut held).ok()?;
    Some(held.into())
}

/// A JSON object of an archive.
fn document(bytes: &Bytes, path: &str) -> Result<Value, Fault> {
    let Some(held) = file(bytes, path) else {
        return invalid(format!("`{path}` is missing"));
    };
    // Editors on Windows put a mark before the text.
    let text = held.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&held);
    match serde_json::from_slice(text) {
        Ok(document @ Value::Object(_)) => Ok(document),
        Ok(_) => invalid(format!("`{path}` is no JSON object")),
        Err(error) => invalid(format!("`{path}` is not JSON: {error}")),
    }
}
