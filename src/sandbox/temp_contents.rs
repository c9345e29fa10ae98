//! Temporary content: files that exports leave and large imports come from (temp-contents API; deploy content to a
//! tenant). In one piece, or in several by the tus protocol (tus.io, 1.0.0).
//!
//! Not published, and so assumed: that a file is its creator's alone, that it needs a name, that an upload's `Location` is an
//! absolute link where that of a file is a relative one (as the export's is), and which refusal a chunk beyond the end gets.
//! The contract has no HEAD, with which tus clients find out where to go on; so there is none here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use http::{HeaderName, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::blobs::CONTENT;
use super::context::{Answer, Context, Handled, text};
use super::ids;
use super::refusal::{Refusal, Shape};
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("uploadTempFile", upload),
        ("downloadTempFile", download),
        ("getTempFileDetails", details),
        ("createTusUpload", begin),
        ("patchTusUpload", append),
    ],
    seed: None,
};

const FILES: &str = "tempContents";
/// The pieces of uploads that are not complete, each under the upload's id and its own offset.
const PIECES: &str = "tempPieces";

/// How long a file stays unless it is said, and at most, in seconds (temp-contents API).
const TTL: i64 = 3_600;
const MAX_TTL: i64 = 259_200;

const TUS: &str = "1.0.0";
const TUS_RESUMABLE: HeaderName = HeaderName::from_static("tus-resumable");
const TUS_VERSION: HeaderName = HeaderName::from_static("tus-version");
const UPLOAD_OFFSET: HeaderName = HeaderName::from_static("upload-offset");

/// In a file's document: how many bytes it will have, and how many have come.
const LENGTH: &str = "$length";
const OFFSET: &str = "$offset";

fn link(id: &str) -> String {
    format!("/api/v1/temp-contents/{id}")
}

fn gone() -> Refusal {
    Refusal::new(StatusCode::GONE, "HTTP-410", "Gone").detail("the file has expired")
}

fn is_expired(context: &Context<'_>, file: &Value) -> bool {
    text(file, "expires").parse::<Timestamp>().is_ok_and(|end| end <= context.now)
}

fn number(file: &Value, field: &str) -> u64 {
    file[field].as_u64().unwrap_or_default()
}

fn is_complete(file: &Value) -> bool {
    number(file, OFFSET) == number(file, LENGTH)
}

/// The file of this id, when it is the caller's and has not expired.
fn visible(context: &Context<'_>, id: &str) -> Result<Document, Refusal> {
    let file = context.get(FILES, id).filter(|file| text(file, "creatorId") == context.user_id());
    let file = file.ok_or_else(|| Refusal::not_found("HTTP-404"))?;
    if is_expired(context, &file) { Err(gone()) } else { Ok(file) }
}

/// The bytes of a file that is there and complete, for an import.
pub(super) fn content(context: &Context<'_>, id: &str) -> Option<Bytes> {
    let file = visible(context, id).ok().filter(|file| is_complete(file))?;
    Some(context.content(&file).unwrap_or_default())
}

/// A new file of this length, nothing of which has come. What has expired meanwhile gives up its content.
fn new(context: &mut Context<'_>, name: &str, ttl: i64, length: u64) -> Result<Value, Refusal> {
    if name.trim().is_empty() {
        return Err(Refusal::bad_request("a file needs a name").parameter("filename"));
    }
    if !(1..=MAX_TTL).contains(&ttl) {
        return Err(Refusal::bad_request(format!("ttl is 1 to {MAX_TTL} seconds")).parameter("ttl"));
    }
    let mut old = context.collection(FILES).documents();
    old.retain(|file| is_expired(context, file));
    for file in old {
        drop_content(context, &file);
    }
    let (id, now, user) = (context.new_id(), context.timestamp(), context.user_id());
    let expires = context.now.saturating_add(SignedDuration::from_secs(ttl)).unwrap_or(context.now);
    Ok(json!({
        "id": id, "name": name, "ttl": ttl, "expires": ids::timestamp(expires), "creatorId": user,
        "createdAt": now, "updatedAt": now, LENGTH: length, OFFSET: 0,
    }))
}

fn drop_content(context: &mut Context<'_>, file: &Value) {
    forget_pieces(context, text(file, "id"));
    let mut file = file.clone();
    if file.as_object_mut().is_some_and(|fields| fields.remove(CONTENT).is_some()) {
        let id = text(&file, "id").to_owned();
        context.put(FILES, &id, file);
    }
}

/// Stores a file with all of its bytes.
fn complete(context: &mut Context<'_>, mut file: Value, bytes: Bytes) -> String {
    let id = text(&file, "id").to_owned();
    file[OFFSET] = file[LENGTH].clone();
    file["updatedAt"] = json!(context.timestamp());
    file[CONTENT] = json!(&*context.keep(bytes));
    context.put(FILES, &id, file);
    id
}

/// Leaves a file for the caller; gives the link to it, without a host as exports have it.
pub(super) fn leave(context: &mut Context<'_>, name: &str, ttl: i64, bytes: Bytes) -> Result<String, Refusal> {
    let file = new(context, name, ttl, bytes.len() as u64)?;
    Ok(link(&complete(context, file, bytes)))
}

/// The answer to an export: its file stays as long as any whose time is not said.
pub(super) fn exported(context: &mut Context<'_>, name: &str, bytes: Bytes) -> Handled {
    let place = leave(context, name, TTL, bytes)?;
    Ok(created().with(header::LOCATION, &place))
}

fn created() -> Answer {
    Answer { status: StatusCode::CREATED, headers: Vec::new(), body: Bytes::new() }
}

fn upload(context: &mut Context<'_>) -> Handled {
    let name = context.parameter("filename").unwrap_or_default().to_owned();
    let ttl = context.parameter("ttl").and_then(|ttl| ttl.parse().ok()).unwrap_or(TTL);
    let place = leave(context, &name, ttl, context.bytes.clone())?;
    Ok(created().with(header::LOCATION, &place))
}

/// The bytes that a `Range` asks for, of so many; none when it is no range of theirs.
fn range(asked: &str, length: usize) -> Option<std::ops::Range<usize>> {
    let (first, last) = asked.trim().strip_prefix("bytes=")?.split_once('-')?;
    let (start, end) = if first.is_empty() {
        (length.saturating_sub(last.parse().ok()?), length)
    } else {
        let start = first.parse().ok()?;
        let end = if last.is_empty() { length } else { last.parse::<usize>().ok()?.checked_add(1)? };
        (start, end.min(length))
    };
    (start < end).then_some(start..end)
}

/// A file's name as a header can hold it.
fn disposition(context: &Context<'_>, name: &str) -> String {
    let kind = if context.parameter("inline") == Some("1") { "inline" } else { "attachment" };
    let plain = |sign: char| if sign.is_ascii_graphic() || sign == ' ' { sign } else { '_' };
    let name: String = name.chars().map(plain).filter(|sign| !['"', '\\'].contains(sign)).collect();
    format!("{kind}; filename=\"{name}\"")
}

fn download(context: &mut Context<'_>) -> Handled {
    let file = visible(context, &context.var("id"))?;
    if !is_complete(&file) {
        return Ok(Answer::no_content());
    }
    let bytes = context.content(&file).unwrap_or_default();
    let named = disposition(context, text(&file, "name"));
    let answer =
        |bytes: Bytes| Answer::bytes("application/octet-stream", bytes).with(header::CONTENT_DISPOSITION, &named);
    let Some(asked) = context.header("range") else { return Ok(answer(bytes)) };
    let Some(part) = range(asked, bytes.len()) else {
        let refusal = Refusal::new(StatusCode::RANGE_NOT_SATISFIABLE, "HTTP-416", "Range not satisfiable");
        return Err(refusal.detail(format!("the file has {} bytes", bytes.len())));
    };
    let told = format!("bytes {}-{}/{}", part.start, part.end - 1, bytes.len());
    let mut answer = answer(bytes.slice(part)).with(header::ACCEPT_RANGES, "bytes").with(header::CONTENT_RANGE, &told);
    answer.status = StatusCode::PARTIAL_CONTENT;
    Ok(answer)
}

fn details(context: &mut Context<'_>) -> Handled {
    let file = visible(context, &context.var("id"))?;
    if !is_complete(&file) {
        return Ok(Answer::no_content());
    }
    Ok(Answer::ok(&json!({
        "ID": file["id"], "Name": file["name"], "Size": number(&file, LENGTH).to_string(), "Expires": file["expires"],
        "CreatedAt": file["createdAt"], "CreatorID": file["creatorId"], "UpdatedAt": file["updatedAt"],
        "TTLSeconds": file["ttl"],
    })))
}

/// The answer to a client of another version of the protocol; none to one of this.
fn other_version(context: &Context<'_>) -> Option<Answer> {
    if context.header("tus-resumable").is_none_or(|version| version == TUS) {
        return None;
    }
    let refusal = Refusal::new(StatusCode::PRECONDITION_FAILED, "HTTP-412", "Precondition failed");
    let refusal = refusal.detail(format!("the version of the tus protocol is {TUS}"));
    let body = refusal.body(Shape::of(context.path), &ids::hex(context.random, 32));
    Some(Answer::json(StatusCode::PRECONDITION_FAILED, &body).with(TUS_VERSION, TUS))
}

/// A value of the upload's metadata: `filename d29ybGQ=,ttl NjA=`.
fn metadata(context: &Context<'_>, key: &str) -> Result<Option<String>, Refusal> {
    let pairs = context.header("upload-metadata").unwrap_or_default().split(',');
    let found = pairs.filter_map(|pair| pair.trim().split_once(' ')).find(|(held, _)| *held == key);
    let Some((_, encoded)) = found else { return Ok(None) };
    let decoded = STANDARD.decode(encoded.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    decoded.map(Some).ok_or_else(|| Refusal::bad_request(format!("{key} in Upload-Metadata is not Base64")))
}

fn begin(context: &mut Context<'_>) -> Handled {
    if let Some(answer) = other_version(context) {
        return Ok(answer);
    }
    let length = context.header("upload-length").and_then(|length| length.parse().ok());
    let length = length.ok_or_else(|| Refusal::bad_request("Upload-Length is not a number of bytes"))?;
    let name = metadata(context, "filename")?.unwrap_or_default();
    let ttl = match metadata(context, "ttl")? {
        Some(ttl) => ttl.parse().map_err(|_| Refusal::bad_request("ttl is not a number of seconds"))?,
        None => TTL,
    };
    let file = new(context, &name, ttl, length)?;
    let id = text(&file, "id").to_owned();
    context.put(FILES, &id, file);
    let place = context.link(&format!("/api/v1/temp-contents/files/{id}"));
    Ok(created().with(header::LOCATION, &place).with(TUS_RESUMABLE, TUS))
}

fn piece_key(id: &str, offset: u64) -> String {
    format!("{id}/{offset}")
}

/// The pieces of an upload in their order, with their keys.
fn pieces(context: &Context<'_>, id: &str) -> Vec<(String, Document)> {
    let mut found = Vec::new();
    let mut offset = 0;
    while let Some(piece) = context.get(PIECES, &piece_key(id, offset)) {
        found.push((piece_key(id, offset), piece.clone()));
        offset += number(&piece, LENGTH);
    }
    found
}

fn forget_pieces(context: &mut Context<'_>, id: &str) {
    for (key, _) in pieces(context, id) {
        context.remove(PIECES, &key);
    }
}

fn append(context: &mut Context<'_>) -> Handled {
    if let Some(answer) = other_version(context) {
        return Ok(answer);
    }
    if context.header("content-type") != Some("application/offset+octet-stream") {
        let title = "Unsupported media type";
        let refusal = Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "HTTP-415", title);
        return Err(refusal.detail("a piece is application/offset+octet-stream"));
    }
    let mut file = (*visible(context, &context.var("id"))?).clone();
    let (offset, length) = (number(&file, OFFSET), number(&file, LENGTH));
    if context.header("upload-offset").and_then(|text| text.parse().ok()) != Some(offset) {
        return Err(Refusal::conflict("HTTP-409", format!("{offset} bytes have come so far")));
    }
    let after = offset + context.bytes.len() as u64;
    if after > length {
        return Err(Refusal::bad_request(format!("the upload has {length} bytes")));
    }
    let id = text(&file, "id").to_owned();
    let piece = context.bytes.clone();
    if after == length {
        let earlier = pieces(context, &id);
        let mut bytes = BytesMut::new();
        for (_, held) in &earlier {
            bytes.extend_from_slice(&context.content(held).unwrap_or_default());
        }
        bytes.extend_from_slice(&piece);
        complete(context, file, bytes.freeze());
        forget_pieces(context, &id);
    } else {
        let kept = context.keep(piece.clone());
        context.put(PIECES, &piece_key(&id, offset), json!({LENGTH: piece.len(), CONTENT: &*kept}));
        file[OFFSET] = json!(after);
        context.put(FILES, &id, file);
    }
    Ok(Answer::no_content().with(TUS_RESUMABLE, TUS).with(UPLOAD_OFFSET, &after.to_string()))
}
