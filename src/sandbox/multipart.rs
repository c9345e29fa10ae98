//! `multipart/form-data` (RFC 7578), as far as uploads need it.

use bytes::Bytes;
use serde_json::Value;

/// More parts than any operation takes.
const PARTS: usize = 100;

/// One part of a form.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) name: String,
    /// The file's name; none when the part is a document, which some clients send with an empty name.
    pub(super) file: Option<String>,
    pub(super) bytes: Bytes,
    /// The document: JSON when it is, else text; null for a file.
    pub(super) document: Value,
}

/// The parts of a form body.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parts(kind: &str, body: &Bytes) -> Result<Vec<Part>, String> {
    let boundary = parameter(kind, "boundary").filter(|boundary| !boundary.is_empty());
    let boundary = boundary.ok_or("the content type names no boundary")?;
    let opening = format!("--{boundary}");
    let delimiter = format!("\r\n{opening}");
    // What stands before the first boundary is to be ignored.
    let start = if body.starts_with(opening.as_bytes()) {
        opening.len()
    } else {
        find(body, delimiter.as_bytes()).ok_or("the boundary does not occur")? + delimiter.len()
    };
    let mut rest = body.slice(start..);
    let mut parts = Vec::new();
    loop {
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        let line = find(&rest, b"\r\n").ok_or("a boundary's line has no end")?;
        let end = find(&rest, delimiter.as_bytes()).ok_or("the last boundary is missing")?;
        if end < line + 2 {
            return Err("a part is empty".to_owned());
        }
        parts.push(part(&rest.slice(line + 2..end))?);
        if parts.len() > PARTS {
            return Err(format!("more than {PARTS} parts"));
        }
        rest = rest.slice(end + delimiter.len()..);
    }
}

fn part(whole: &Bytes) -> Result<Part, String> {
    let end = find(whole, b"\r\n\r\n").ok_or("a part has no end of its headers")?;
    let headers = std::str::from_utf8(&whole[..end]).map_err(|_| "a part's headers are not text")?;
    let bytes = whole.slice(end + 4..);
    let header = |wanted: &str| {
        let lines = headers.split("\r\n").filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let disposition = header("content-disposition").ok_or("a part has no content-disposition")?;
    let name = parameter(disposition, "name").ok_or("a part has no name")?;
    let file = parameter(disposition, "filename").filter(|file| !file.is_empty());
    let json = header("content-type").is_some_and(|kind| kind.to_ascii_lowercase().contains("json"));
    let document = match (&file, serde_json::from_slice(&bytes)) {
        (Some(_), _) => Value::Null,
        (None, Ok(value @ (Value::Object(_) | Value::Array(_)))) => value,
        (None, Ok(value)) if json => value,
        (None, Err(error)) if json => return Err(format!("part `{name}` is not JSON: {error}")),
        (None, _) => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
    };
    Ok(Part { name, file, bytes, document })
}

/// A parameter of a header: `boundary` in `multipart/form-data; boundary="x"`.
fn parameter(header: &str, wanted: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once(';') {
        let after = after.trim_start();
        let (name, value) = after.split_once('=')?;
        if let Some(quoted) = value.trim_start().strip_prefix('"') {
            let mut text = String::new();
            let mut signs = quoted.char_indices();
            let end = loop {
                match signs.next()? {
                    (at, '"') => break at,
                    (_, '\\') => text.push(signs.next()?.1),
                    (_, sign) => text.push(sign),
                }
            };
            if name.trim().eq_ignore_ascii_case(wanted) {
                return Some(text);
            }
            rest = &quoted[end + 1..];
        } else {
            let end = value.find(';').unwrap_or(value.len());
            if name.trim().eq_ignore_ascii_case(wanted) {
                return Some(value[..end].trim().to_owned());
            }
            rest = &value[end..];
        }
    }
    None
}

fn find(held: &[u8], wanted: &[u8]) -> Option<usize> {
    let (first, last) = (*wanted.first()?, held.len().checked_sub(wanted.len())?);
    let mut at = 0;
    while at <= last {
        at += held[at..=last].iter().position(|byte| *byte == first)?;
        if held[at..].starts_with(wanted) {
            return Some(at);
        }
        at += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Result<Vec<Part>, String> {
        parts("multipart/form-data; boundary=\"x y\"", &Bytes::from(body.to_owned()))
    }

    #[test]
    fn files_documents_and_texts_are_told_apart() {
        let body = "ignored\r\n--x y\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".zip\"\r\n\
                    Content-Type: application/zip\r\n\r\nPK\r\n--x\r\n\r\n--x y\r\nContent-Type: application/json\r\n\
                    content-disposition: form-data; name=data; filename=\"\"\r\n\r\n{\"tags\":[]}\r\n\
                    --x y\r\nContent-Disposition: form-data; name=\"n\"\r\n\r\n12\r\n--x y--\r\n";
        let parts = read(body).unwrap();
        let names: Vec<&str> = parts.iter().map(|part| part.name.as_str()).collect();
        assert_eq!(names, ["file", "data", "n"]);
        assert_eq!(parts[0].file.as_deref(), Some("a \"b\".zip"));
        assert_eq!(parts[0].bytes, "PK\r\n--x\r\n");
        assert_eq!(parts[1].document, serde_json::json!({"tags": []}));
        assert_eq!(parts[2].document, "12");
    }

    #[test]
    fn broken_forms_are_told() {
        let no_headers = "--x y\r\n\r\nbody\r\n--x y--";
        for body in ["", "--x y", "--x y\r\n", no_headers, "--x y\r\nContent-Disposition: form-data\r\n\r\n\r\n--x y--"]
        {
            assert!(read(body).is_err(), "{body:?}");
        }
        assert!(parts("multipart/form-data", &Bytes::new()).is_err());
        assert!(read("--x y--").unwrap().is_empty());
    }
}
