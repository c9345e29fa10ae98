//! What an app's description says beside its words: `{v2.3.0} Where every shipment is {sha256:0123456789abcdef}`.
//!
//! The version at the beginning is the practice that Qlik recommends for templates (qlik.dev, app templates); the digest
//! is tenantry's, since nothing that Qlik Cloud tells of an app says what was imported.

use std::fmt;

const CONTENT: &str = "{sha256:";

/// How many digits of a digest a description holds: enough to tell versions of one app apart.
const DIGITS: usize = 16;

/// A description, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marker {
    /// Without the `v`.
    pub(super) version: Option<String>,
    /// What is there for people.
    pub(super) words: String,
    /// The digest of the file that was imported.
    pub(super) content: Option<String>,
}

impl Marker {
    /// Takes a description apart.
    pub(super) fn read(description: &str) -> Self {
        let mut rest = description.trim();
        let version = rest.strip_prefix("{v").and_then(|after| after.split_once('}')).map(|(version, after)| {
            rest = after;
            version.to_owned()
        });
        let content = rest.rfind(CONTENT).and_then(|place| {
            let digits = rest[place + CONTENT.len()..].strip_suffix('}')?;
            let is_digest = digits.len() == DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_digest.then(|| (place, digits.to_owned()))
        });
        let content = content.map(|(place, digits)| {
            rest = &rest[..place];
            digits
        });
        Self { version, words: rest.trim().to_owned(), content }
    }

    /// What a description holds of a digest.
    pub(super) fn short(sha256: &str) -> String {
        sha256.chars().take(DIGITS).collect()
    }

    /// A version as it is kept: a `v` before it means nothing.
    pub(super) fn version_of(given: &str) -> String {
        given.strip_prefix('v').unwrap_or(given).to_owned()
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.as_deref().map(Self::version_of).map(|version| format!("{{v{version}}}"));
        let content = self.content.as_ref().map(|content| format!("{CONTENT}{content}}}"));
        let parts = [version, Some(self.words.clone()), content];
        let parts: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
        f.write_str(&parts.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_reads_back_as_written() {
        let content = Some("0123456789abcdef".to_owned());
        for (description, version, words, content) in [
            ("", None, "", None),
            ("Where {everything} is", None, "Where {everything} is", None),
            ("{v2.3.0} Where it is {sha256:0123456789abcdef}", Some("2.3.0"), "Where it is", content.clone()),
            ("{sha256:0123456789abcdef}", None, "", content),
            ("{v1} {sha256:0123}", Some("1"), "{sha256:0123}", None),
        ] {
            let read = Marker::read(description);
            let wanted = Marker { version: version.map(str::to_owned), words: words.to_owned(), content };
            assert_eq!(read, wanted, "{description}");
            assert_eq!(read.to_string(), description);
        }
        assert_eq!(Marker { version: Some("v2".to_owned()), ..Marker::default() }.to_string(), "{v2}");
    }
}
