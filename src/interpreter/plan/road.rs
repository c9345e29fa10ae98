//! The road to a model: the same client as for real, whose requests end in this process.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::interpreter::sandbox::as_http;
use crate::qlik::{Incoming, Outgoing, Transport, TransportError};
use crate::sandbox::{Difference, InBrief, Model, View, Wanted};

/// What the model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lane {
    /// To answer from one of its states.
    Read(View),
    /// To do what is asked.
    Write,
}

/// What the last write came to, beside its answer.
#[derive(Debug, Default)]
pub(super) struct Effects {
    pub(super) changed: Vec<Difference>,
    pub(super) wanted: Vec<Wanted>,
}

/// A model that several lanes lead to.
#[derive(Clone)]
pub(super) struct Shared {
    model: Arc<Mutex<Model>>,
    effects: Arc<Mutex<Effects>>,
}

impl Shared {
    pub(super) fn new(model: Model) -> Self {
        Self { model: Arc::new(Mutex::new(model)), effects: Arc::default() }
    }

    pub(super) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the last write came to.
    pub(super) fn take_effects(&self) -> Effects {
        std::mem::take(&mut self.effects.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// One lane to a model.
pub(super) struct Road {
    pub(super) shared: Shared,
    pub(super) lane: Lane,
}

impl Transport for Road {
    fn send(&self, request: Outgoing) -> BoxFuture<'_, Result<Incoming, TransportError>> {
        Box::pin(async move {
            if request.url.path() == "/oauth/token" {
                // The model knows who asks; the token only has to be there.
                let body = json!({ "access_token": "of-a-model", "token_type": "bearer", "expires_in": 21_600 });
                return Ok(Incoming {
                    status: StatusCode::OK,
                    headers: HeaderMap::new(),
                    body: body.to_string().into(),
                });
            }
            // What is in a large file makes no difference to a plan; three hundred apps in memory would.
            let (brief, lengths) = request.body.in_brief();
            let mut request = as_http(request, brief.collect().await?)?;
            request.extensions_mut().insert(InBrief(lengths));
            let response = match self.lane {
                Lane::Read(view) => self.shared.model().read(&request, view),
                Lane::Write => {
                    let done = self.shared.model().write(&request);
                    *self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner) =
                        Effects { changed: done.changed, wanted: done.wanted };
                    done.response
                }
            };
            let (head, body) = response.into_parts();
            Ok(Incoming { status: head.status, headers: head.headers, body })
        })
    }
}
