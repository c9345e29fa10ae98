use serde::Serialize;

/// What a look over a state file found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// What somebody should know, the gravest first.
    pub findings: Vec<Finding>,
    /// What is in it; none when it is too damaged to be opened.
    pub counts: Option<Counts>,
}

impl Health {
    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.findings.iter().any(|finding| finding.gravity() == Gravity::Damage)
    }
}

/// What a state file holds, as far as it is right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Tenants in the registry.
    pub tenants: u64,
    /// Runs in the journal.
    pub runs: u64,
    /// Their entries.
    pub entries: u64,
    /// Files that runs used, each once.
    pub files: u64,
    /// The size of the database, in bytes.
    pub bytes: u64,
    /// How many of these lie free for what comes next.
    pub free: u64,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Gravity {
    /// Something is lost or wrong.
    Damage,
    /// Somebody has to find something out.
    Open,
    /// It does no harm.
    Note,
}

/// Something about a state file that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Finding {
    /// It is not as it was written.
    Damage {
        /// What is wrong.
        why: String,
    },
    /// A tenant may have been created, and the registry does not know.
    Creation {
        /// The organization.
        organization: String,
        /// The customer's code.
        customer: String,
        /// The run that began it.
        run: String,
        /// When.
        since: String,
        /// The command that goes on with the run and finds it out, when one does.
        command: Option<String>,
    },
    /// A write of a run that has not succeeded has no known end.
    Unsettled {
        /// The run.
        run: String,
        /// The customer's code.
        customer: String,
        /// The write's key in the run.
        key: String,
        /// The operation.
        operation: String,
        /// What it is about.
        subject: String,
        /// When it was begun.
        since: String,
        /// The command that goes on with the run and finds it out; none, when another run took its place.
        command: Option<String>,
    },
    /// The process at work on a run ended without saying how.
    Interrupted {
        /// The run.
        run: String,
        /// The customer's code.
        customer: String,
        /// The playbook.
        playbook: String,
        /// The command that goes on with it; none, when another run took its place.
        command: Option<String>,
    },
    /// A tenant of the registry was created by a run that the journal does not have.
    Unproven {
        /// The organization.
        organization: String,
        /// The customer's code.
        customer: String,
        /// The run.
        run: String,
    },
    /// Files that no run uses.
    Unused {
        /// How many.
        files: u64,
        /// How large they are together.
        bytes: u64,
    },
    /// A lease of a process that has ended; whoever asks for it gets it.
    Lease {
        /// Its name.
        name: String,
        /// The run that had it.
        run: String,
    },
}

impl Finding {
    /// How grave it is.
    #[must_use]
    pub fn gravity(&self) -> Gravity {
        match self {
            Self::Damage { .. } => Gravity::Damage,
            Self::Creation { .. } | Self::Unsettled { .. } => Gravity::Open,
            _ => Gravity::Note,
        }
    }

    /// What it is, in a sentence.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Damage { why } => why.clone(),
            Self::Creation { customer, run, since, .. } => format!(
                "a tenant may have been created for `{customer}`: run {run} began it at {since}, and its end is not known"
            ),
            Self::Unsettled { run, customer, key, operation, subject, since, .. } => format!(
                "it is not known whether `{operation}` for {subject} was performed: run {run} for `{customer}` began it \
                 at {since} ({key})"
            ),
            Self::Interrupted { run, customer, playbook, command } => {
                let after = if command.is_none() { "; another run took its place" } else { "" };
                format!("run {run} of {playbook} for `{customer}` was interrupted{after}")
            }
            Self::Unproven { customer, run, .. } => {
                format!("the tenant of `{customer}` was created by run {run}, which the journal does not have")
            }
            Self::Unused { files, bytes } => format!("files that no run uses: {files} ({bytes} bytes)"),
            Self::Lease { name, run } => format!("{name} is still leased to run {run}, whose process has ended"),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Damage { .. } => {
                "restore the state file from a backup; docs/state.md says how, and what can be done without one"
                    .to_owned()
            }
            Self::Creation { customer, command: None, .. } => crate::store::unsettled_hint(customer),
            Self::Creation { customer, command: Some(command), .. } => {
                format!("`{command}` looks for it; when it cannot tell, {}", crate::store::unsettled_hint(customer))
            }
            Self::Unsettled { command: Some(command), .. } => format!("`{command}` finds out and goes on from there"),
            Self::Unsettled { .. } => {
                "look in the tenant; the run that took its place made sure of what its playbook asks for".to_owned()
            }
            Self::Interrupted { command: Some(command), .. } => format!("`{command}` goes on with it"),
            Self::Unused { .. } => "`tenantry state prune` removes them".to_owned(),
            Self::Lease { .. } => "the next run takes it over".to_owned(),
            Self::Interrupted { .. } | Self::Unproven { .. } => return None,
        })
    }
}
