use std::collections::BTreeMap;
use std::fmt;
use std::io::{Cursor, Read as _, Write as _};

use bytes::Bytes;
use md5::Md5;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use zip::write::SimpleFileOptions;

use super::hex;

/// A list of files that travels as one zip: a theme, an extension.
///
/// Kept as a list so that it can be compared and shown file by file. Its zip is a pure function of the list: sorted,
/// stored without compression and with fixed times, so the same files give the same bytes in every release.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    files: BTreeMap<String, Bytes>,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.files.iter().map(|(path, content)| (path, content.len()))).finish()
    }
}

impl Bundle {
    /// A bundle of these files, by path with `/` between folders.
    #[must_use]
    pub fn new(files: BTreeMap<String, Bytes>) -> Self {
        Self { files }
    }

    /// Its files, sorted by path.
    #[must_use]
    pub fn files(&self) -> impl ExactSizeIterator<Item = (&str, &Bytes)> {
        self.files.iter().map(|(path, content)| (path.as_str(), content))
    }

    /// The content of one file.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&Bytes> {
        self.files.get(path)
    }

    /// The size of all files together, in bytes.
    #[must_use]
    pub fn unpacked_size(&self) -> u64 {
        self.files.values().map(|content| content.len() as u64).sum()
    }

    /// Path and SHA-256 of every file.
    #[must_use]
    pub fn describe(&self) -> Value {
        self.files
            .iter()
            .map(|(path, content)| (path.clone(), json!(hex(&Sha256::digest(content)))))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// The zip.
    ///
    /// # Errors
    /// When a file is too large for the format.
    pub fn zip(&self) -> Result<Bytes, zip::result::ZipError> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::default())
            .unix_permissions(0o644);
        for (path, content) in &self.files {
            writer.start_file(path.as_str(), options)?;
            writer.write_all(content)?;
        }
        Ok(writer.finish()?.into_inner().into())
    }

    /// The files of a zip that somebody else may have packed. None when it is none, or holds more than `most` bytes.
    #[must_use]
    pub fn unzipped(zip: &[u8], most: u64) -> Option<Self> {
        let mut archive = zip::ZipArchive::new(Cursor::new(zip)).ok()?;
        let (mut files, mut left) = (BTreeMap::new(), most);
        for index in 0..archive.len() {
            let mut entry = archive.by_index(index).ok()?;
            if entry.is_dir() {
                continue;
            }
            let path = entry.enclosed_name()?.to_string_lossy().replace('\\', "/");
            let mut content = Vec::new();
            // What an archive says of its sizes may be wrong.
            let size = entry.by_ref().take(left.saturating_add(1)).read_to_end(&mut content).ok()? as u64;
            left = left.checked_sub(size)?;
            files.insert(path, Bytes::from(content));
        }
        Some(Self { files })
    }

    /// MD5 of the zip in lower-case hex: what Qlik Cloud reports as `file.md5`.
    ///
    /// # Errors
    /// When a file is too large for the format.
    pub fn zip_md5(&self) -> Result<String, zip::result::ZipError> {
        Ok(hex(&Md5::digest(self.zip()?)))
    }
}
