//! What the journal knows of runs.

use super::Host;
use super::trace::trace;
use crate::explain::{ExplainError, Explained, explain};
use crate::history::{History, HistoryError, RunSummary, summaries};
use crate::store::{Journal, JournalError, RunFilter, RunRecord, StateError};

impl Host {
    /// The runs that are meant, the latest first, each in a few figures.
    ///
    /// # Errors
    /// When there is no run for such a customer or of such a playbook, or the journal cannot be read.
    pub async fn runs(&self, filter: RunFilter) -> Result<Vec<RunSummary>, HistoryError> {
        self.look_back(move |journal| summaries(journal, &filter)).await
    }

    /// Where the run of this id stands; the id's beginning is enough.
    ///
    /// # Errors
    /// When there is no such run, or the journal cannot be read.
    pub async fn run_record(&self, id: &str) -> Result<RunRecord, HistoryError> {
        let id = id.to_owned();
        self.look_back(move |journal| Ok(journal.run(&id)?)).await
    }

    /// What the run of this id did; the id's beginning is enough.
    ///
    /// # Errors
    /// When there is no such run, or the journal cannot be read.
    pub async fn history(&self, id: &str) -> Result<History, HistoryError> {
        let id = id.to_owned();
        self.look_back(move |journal| Ok(History::read(journal, &id)?)).await
    }

    /// Explains a call, by its key or the beginning of it, or a thing, by its name, its id or its address: in the run of
    /// this id, else in the latest run that has the call, or in all runs that have the thing. Nothing is sent.
    ///
    /// # Errors
    /// When there is no such call or thing, or several things are called so, or the journal cannot be read.
    pub async fn explain(&self, wanted: &str, run: Option<&str>) -> Result<Explained, ExplainError> {
        let (wanted, run, host) = (wanted.to_owned(), run.map(str::to_owned), self.clone());
        self.look_back(move |journal| {
            let mut explained = explain(journal, &wanted, run.as_deref())?;
            if let Some(call) = explained.call_mut() {
                call.traced = trace(&host, &call.history.run.opening.id, &call.call, call.site());
            }
            Ok(explained)
        })
        .await
    }

    /// Reads the journal where that holds up nobody, wherever the caller is.
    async fn look_back<T: Send + 'static, E: From<JournalError> + Send + 'static>(
        &self,
        look: impl FnOnce(&Journal) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let journal = self.0.state.journal();
        let looked = journal.clone();
        let asked = async move { looked.ask(move |journal| Ok(look(journal))).await };
        let Some(io) = self.0.io.as_ref() else { return Err(ended(&journal).into()) };
        io.spawn(asked).await.unwrap_or_else(|_| Err(ended(&journal)))?
    }
}

fn ended(journal: &Journal) -> JournalError {
    StateError::Access { path: journal.path().to_owned(), source: "the host has ended".into() }.into()
}
