//! The body of a request on its way to the socket: a list of pieces that can be opened anew for every attempt, or a stream
//! that is there for one.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::transport::{TransportError, TransportErrorKind};

const CHUNK: usize = 64 * 1024;
/// A file of at most this size is small.
const SMALL: u64 = 1 << 20;
/// What is said of a file that is not what it was.
const CHANGED: &str = "it changed after the operation was made";

/// A body: bytes and files one after the other. Cheap to clone; files are read when it is opened.
#[derive(Clone, Default)]
pub struct Payload {
    content_type: Option<String>,
    pieces: Vec<Piece>,
}

#[derive(Clone)]
enum Piece {
    Memory(Bytes),
    File {
        path: PathBuf,
        sha256: String,
    },
    /// What comes from elsewhere, once, and how much of it there is when that is known.
    Stream(Option<u64>, Arc<Mutex<Option<Incoming>>>),
}

/// Bytes that come from elsewhere.
type Incoming = BoxStream<'static, io::Result<Bytes>>;

impl Payload {
    /// A body of bytes.
    #[must_use]
    pub fn bytes(content_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self { content_type: Some(content_type.to_owned()), pieces: vec![Piece::Memory(bytes.into())] }
    }

    /// A body that comes from elsewhere, `length` bytes when that is known. It can be opened once.
    #[must_use]
    pub fn stream(content_type: &str, length: Option<u64>, stream: BoxStream<'static, io::Result<Bytes>>) -> Self {
        let piece = Piece::Stream(length, Arc::new(Mutex::new(Some(stream))));
        Self { content_type: Some(content_type.to_owned()), pieces: vec![piece] }
    }

    /// A body with nothing in it yet.
    #[must_use]
    pub fn of_type(content_type: &str) -> Self {
        Self { content_type: Some(content_type.to_owned()), pieces: Vec::new() }
    }

    /// Adds bytes at the end.
    pub fn push_bytes(&mut self, bytes: impl Into<Bytes>) {
        self.pieces.push(Piece::Memory(bytes.into()));
    }

    /// Adds a file at the end. `sha256` is what its content must be, in hex.
    pub fn push_file(&mut self, path: PathBuf, sha256: String) {
        self.pieces.push(Piece::File { path, sha256 });
    }

    /// What `Content-Type` says.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// Whether there is no body at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes, when all of them are in memory already.
    #[must_use]
    pub fn in_memory(&self) -> Option<Bytes> {
        match self.pieces.as_slice() {
            [] => Some(Bytes::new()),
            [Piece::Memory(bytes)] => Some(bytes.clone()),
            pieces => {
                let mut whole = BytesMut::new();
                for piece in pieces {
                    let Piece::Memory(bytes) = piece else { return None };
                    whole.extend_from_slice(bytes);
                }
                Some(whole.freeze())
            }
        }
    }

    /// Opens every file, so that a missing one is noticed before anything is sent.
    ///
    /// # Errors
    /// When a file cannot be opened.
    pub async fn open(&self) -> Result<OpenPayload, TransportError> {
        let mut length = Some(0);
        let mut pieces = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            match piece {
                Piece::Memory(bytes) => {
                    length = length.map(|length| length + bytes.len() as u64);
                    pieces.push(OpenPiece::Memory(bytes.clone()));
                }
                Piece::Stream(own, stream) => {
                    let stream = stream.lock().unwrap_or_else(PoisonError::into_inner).take();
                    let Some(stream) = stream else {
                        return Err(TransportError {
                            kind: TransportErrorKind::Elsewhere,
                            sent: false,
                            status: None,
                            message: "it was sent once, and can only be asked for anew".to_owned(),
                        });
                    };
                    length = length.zip(*own).map(|(length, own)| length + own);
                    pieces.push(OpenPiece::Stream(stream));
                }
                Piece::File { path, sha256 } => {
                    let unreadable = |error: io::Error| TransportError {
                        kind: TransportErrorKind::File,
                        sent: false,
                        status: None,
                        message: format!("`{}` cannot be read: {error}", path.display()),
                    };
                    let file = File::open(path).await.map_err(unreadable)?;
                    let metadata = file.metadata().await.map_err(unreadable)?;
                    if !metadata.is_file() {
                        return Err(unreadable(io::Error::other("it is not a file")));
                    }
                    length = length.map(|length| length + metadata.len());
                    pieces.push(OpenPiece::File(Box::new(OpenFile {
                        file,
                        path: path.clone(),
                        sha256: sha256.clone(),
                        hash: Sha256::new(),
                        held: None,
                        ended: false,
                    })));
                }
            }
        }
        Ok(OpenPayload { length, pieces, fault: Fault::default() })
    }

    /// The same with the digest of each file that is not small in place of its content, and the lengths of these by digest.
    #[must_use]
    pub fn in_brief(&self) -> (Self, BTreeMap<String, u64>) {
        let mut lengths = BTreeMap::new();
        let brief = |piece: &Piece| match piece {
            Piece::File { path, sha256 } if let Some(length) = large(path) => {
                lengths.insert(sha256.clone(), length);
                Piece::Memory(sha256.clone().into())
            }
            piece => piece.clone(),
        };
        let pieces = self.pieces.iter().map(brief).collect();
        (Self { content_type: self.content_type.clone(), pieces }, lengths)
    }

    /// Reads the whole body into memory: for a road that takes no streams.
    ///
    /// # Errors
    /// When a file cannot be read or has changed.
    pub async fn collect(&self) -> Result<Bytes, TransportError> {
        if let Some(bytes) = self.in_memory() {
            return Ok(bytes);
        }
        let mut whole = BytesMut::new();
        for piece in &self.pieces {
            match piece {
                Piece::Memory(bytes) => whole.extend_from_slice(bytes),
                Piece::File { path, sha256 } if let Some(read) = small(path, sha256) => {
                    whole.extend_from_slice(&read?);
                }
                Piece::File { .. } | Piece::Stream(..) => {
                    let alone = Self { content_type: None, pieces: vec![piece.clone()] };
                    alone.stream_into(&mut whole).await?;
                }
            }
        }
        Ok(whole.freeze())
    }

    async fn stream_into(&self, whole: &mut BytesMut) -> Result<(), TransportError> {
        let open = self.open().await?;
        let fault = open.fault();
        let mut stream = std::pin::pin!(open.stream());
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| fault.error(false).unwrap_or_else(|| file_error(error.to_string())))?;
            whole.extend_from_slice(&chunk);
        }
        Ok(())
    }
}

fn file_error(message: String) -> TransportError {
    TransportError { kind: TransportErrorKind::File, sent: false, status: None, message }
}

/// The length of a file that is not small.
fn large(path: &std::path::Path) -> Option<u64> {
    std::fs::metadata(path).ok().map(|file| file.len()).filter(|length| *length > SMALL)
}

/// A small file, read at once on the thread that asks: nothing else gets a turn meanwhile, so that a simulation takes
/// the same course every time. `None` for one that is not small, or cannot be read.
fn small(path: &std::path::Path, sha256: &str) -> Option<Result<Vec<u8>, TransportError>> {
    let size = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?.len();
    let bytes = (size <= SMALL).then(|| std::fs::read(path).ok()).flatten()?;
    let found = crate::operation::Digest(Sha256::digest(&bytes).into()).to_string();
    Some(if found == sha256.to_ascii_lowercase() {
        Ok(bytes)
    } else {
        Err(file_error(format!("`{}`: {CHANGED}", path.display())))
    })
}

/// A body whose files are open.
pub struct OpenPayload {
    length: Option<u64>,
    pieces: Vec<OpenPiece>,
    fault: Fault,
}

enum OpenPiece {
    Memory(Bytes),
    File(Box<OpenFile>),
    Stream(Incoming),
}

struct OpenFile {
    file: File,
    path: PathBuf,
    sha256: String,
    hash: Sha256,
    held: Option<Bytes>,
    ended: bool,
}

/// Why a body stopped in the middle: readable after the transport has reported no more than "the body failed".
#[derive(Clone, Debug, Default)]
pub struct Fault(Arc<OnceLock<(TransportErrorKind, String)>>);

impl Fault {
    /// The error, when the body is what failed.
    #[must_use]
    pub fn error(&self, sent: bool) -> Option<TransportError> {
        let (kind, message) = self.0.get()?.clone();
        Some(TransportError { kind, sent, status: None, message })
    }
}

impl OpenPayload {
    /// How many bytes it has, when that is known.
    #[must_use]
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// Where to look for the reason when the stream fails.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault.clone()
    }

    /// The bytes.
    ///
    /// The last chunk of a file is held back until its content is known to be the one the operation was made with, so
    /// that a file changed meanwhile never arrives whole.
    pub fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let fault = self.fault;
        stream::iter(self.pieces).flat_map(move |piece| match piece {
            OpenPiece::Memory(bytes) => stream::once(async { Ok(bytes) }).boxed(),
            OpenPiece::Stream(incoming) => {
                let fault = fault.clone();
                let told = move |chunk: &io::Result<Bytes>| {
                    if let Err(error) = chunk {
                        let _ = fault.0.set((TransportErrorKind::Elsewhere, error.to_string()));
                    }
                };
                incoming.inspect(told).boxed()
            }
            OpenPiece::File(file) => {
                let fault = fault.clone();
                stream::unfold(Some((file, fault)), |state| async {
                    let (mut file, fault) = state?;
                    match file.next().await {
                        Ok(Some(chunk)) => Some((Ok(chunk), Some((file, fault)))),
                        Ok(None) => None,
                        Err(error) => {
                            let told = format!("`{}`: {error}", file.path.display());
                            let _ = fault.0.set((TransportErrorKind::File, told));
                            Some((Err(error), None))
                        }
                    }
                })
                .boxed()
            }
        })
    }
}

impl OpenFile {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.ended {
            let mut chunk = BytesMut::with_capacity(CHUNK);
            if self.file.read_buf(&mut chunk).await? == 0 {
                self.ended = true;
                let found: [u8; 32] = std::mem::take(&mut self.hash).finalize().into();
                if crate::operation::Digest(found).to_string() != self.sha256.to_ascii_lowercase() {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, CHANGED));
                }
                return Ok(self.held.take());
            }
            self.hash.update(&chunk);
            if let Some(earlier) = self.held.replace(chunk.freeze()) {
                return Ok(Some(earlier));
            }
        }
        Ok(None)
    }
}
