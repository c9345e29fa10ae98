//! What a planned write changes within an archive: a theme, an extension.

use http::Method;

use super::Overlay;
use crate::contract::contract;
use crate::interpreter::reading::{key_of, reading};
use crate::operation::{Body, Bundle, Content, Effect, Host, Key, Operation, Payload, Request};
use crate::plan::{FileChange, file_changes};

/// The most bytes that an archive may hold unpacked to be looked into (Qlik's limit on themes and extensions).
const UNPACKED: u64 = 100 << 20;

impl Overlay {
    /// The files of the archive in `request` that are not the target's. None without an archive, or when the target does
    /// not show the one it has: its digest is then all there is to see.
    pub(super) async fn archive_changes(&self, key: &Key, operation: &Operation, request: &Request) -> Vec<FileChange> {
        let Some(sent) = archive(request) else { return Vec::new() };
        if operation.effect == Effect::Create {
            return file_changes(None, sent);
        }
        let held = self.held_archive(key, request).await;
        held.map(|held| file_changes(Some(&held), sent)).unwrap_or_default()
    }

    async fn held_archive(&self, key: &Key, request: &Request) -> Option<Bundle> {
        let Host::Tenant(host) = &request.host else { return None };
        if self.shared.model().is_born(host) || self.names_made(request) {
            return None;
        }
        let path = format!("{}/file", request.path);
        let (download, _) = contract().find(&Method::GET, &path)?;
        let look = reading(download, request.host.clone(), path, Vec::new(), host);
        let answer = self.ask(&key_of(key, download, 0), &look).await.ok()?;
        let Payload::Bytes(zip) = &answer.payload else { return None };
        Bundle::unzipped(zip, UNPACKED)
    }
}

fn archive(request: &Request) -> Option<&Bundle> {
    let Body::Multipart(parts) = &request.body else { return None };
    parts.iter().find_map(|part| match &part.content {
        Content::Bundle(bundle) => Some(bundle),
        Content::Json(_) | Content::Text(_) | Content::File { .. } => None,
    })
}
