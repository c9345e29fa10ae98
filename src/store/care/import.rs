use std::fs::File;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::check::examine;
use super::line::{EXPORT_VERSION, Line};
use super::{CareError, Gravity, Stop};
use crate::operation::hex;
use crate::store::journal::chain::{self, Head, Place};
use crate::store::journal::row::RunRow;
use crate::store::journal::{Entry, Opening, unhex};
use crate::store::lease::Holders;
use crate::store::pack::pack;
use crate::store::registry::marks::MarkRow;
use crate::store::registry::rows::{IntentRow, TenantRow};
use crate::store::seal::{self, Seal};
use crate::store::{Intent, State, Tenant};

/// What an import brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Tenants that are new.
    pub tenants: u64,
    /// Runs that are new.
    pub runs: u64,
    /// Tenants and runs that were there already, just so.
    pub known: u64,
}

/// So many conflicts are told.
const TOLD: usize = 10;

/// The first line is no longer than this: of another kind of file no more is read.
const FIRST_LINE: u64 = 1024;

impl State {
    /// Reads what [`State::export`] wrote, all of it or nothing: every seal must be right, and nothing may be there that
    /// says otherwise. What is there already, just so, is passed over. Blocks.
    ///
    /// # Errors
    /// When the file is not a whole export or is damaged, something here says otherwise, or the state file cannot be
    /// written.
    pub fn import(&self, from: &Path) -> Result<Imported, CareError> {
        let file = File::open(from).map_err(CareError::file(from))?;
        let path = from.to_owned();
        self.change(move |connection| {
            let mut import = Import {
                connection,
                path,
                line: 0,
                hash: Sha256::new(),
                run: None,
                imported: Imported::default(),
                conflicts: Vec::new(),
            };
            match import.all(BufReader::new(file)) {
                Ok(()) => Ok(Ok(import.imported)),
                Err(Stop::Database(error)) => Err(error),
                Err(Stop::Care(error)) => Ok(Err(error)),
            }
        })
    }
}

/// What of a run is here already.
enum Here {
    /// Nothing: it is entered under this number.
    New(i64),
    /// All of it, if its log ends so.
    Known(Option<Head>),
    /// Something else.
    Other,
}

/// The run whose entries are being read.
struct Reading {
    id: String,
    here: Here,
    /// How many of its entries were read.
    count: u64,
    entries: u64,
    seal: Seal,
}

struct Import<'c> {
    connection: &'c Connection,
    path: PathBuf,
    line: u64,
    hash: Sha256,
    run: Option<Reading>,
    imported: Imported,
    conflicts: Vec<String>,
}

impl Import<'_> {
    fn all(&mut self, mut file: BufReader<File>) -> Result<(), Stop> {
        let mut line = Vec::new();
        self.read(file.by_ref().take(FIRST_LINE), &mut line)?;
        self.first(&line)?;
        loop {
            if !self.read(file.by_ref(), &mut line)? {
                return Err(self.wrong("the end is missing: the file was cut off"));
            }
            let parsed: Line = serde_json::from_slice(&line).map_err(|error| self.no_line(&error))?;
            if !matches!(parsed, Line::Entry { .. }) {
                self.end_of_run()?;
            }
            if let Line::End { lines, sha256 } = parsed {
                if lines + 1 != self.line || sha256 != hex(&self.hash.clone().finalize()) {
                    return Err(self.wrong("the lines before this one are not those that were written"));
                }
                break;
            }
            self.hash.update(&line);
            self.enter(parsed)?;
        }
        if self.read(file.by_ref().take(1), &mut line)? {
            return Err(self.wrong("something follows the end"));
        }
        self.good()
    }

    /// Reads the next line; whether there is one.
    fn read(&mut self, mut from: impl BufRead, line: &mut Vec<u8>) -> Result<bool, Stop> {
        line.clear();
        self.line += 1;
        let read = from.read_until(b'\n', line);
        read.map(|read| read > 0).map_err(|error| Stop::Care(CareError::file(&self.path)(error)))
    }

    fn first(&mut self, line: &[u8]) -> Result<(), Stop> {
        let parsed: Option<serde_json::Value> = serde_json::from_slice(line).ok();
        match parsed.and_then(|first| first["tenantry"]["version"].as_u64()) {
            Some(found) if found > EXPORT_VERSION => {
                Err(Stop::Care(CareError::Newer { path: self.path.clone(), found }))
            }
            Some(_) => {
                self.hash.update(line);
                Ok(())
            }
            None => Err(self.wrong("this is no export of tenantry")),
        }
    }

    /// What was entered is only kept when it goes together with what was there.
    fn good(&mut self) -> Result<(), Stop> {
        if !self.conflicts.is_empty() {
            return Err(Stop::Care(CareError::Conflicts { what: std::mem::take(&mut self.conflicts) }));
        }
        let health = examine(self.connection, &Holders::in_memory());
        match health.findings.into_iter().find(|finding| finding.gravity() == Gravity::Damage) {
            Some(damage) => Err(Stop::Database(seal::damage(damage.message()))),
            None => Ok(()),
        }
    }

    fn wrong(&self, why: &str) -> Stop {
        Stop::Care(CareError::Export { path: self.path.clone(), line: self.line, why: why.to_owned() })
    }

    fn no_line(&self, error: &serde_json::Error) -> Stop {
        self.wrong(&error.to_string().replace(" at line 1 column ", " at column "))
    }

    fn conflict(&mut self, what: String) {
        if self.conflicts.len() < TOLD && !self.conflicts.contains(&what) {
            self.conflicts.push(what);
        }
    }

    fn enter(&mut self, line: Line) -> Result<(), Stop> {
        match line {
            Line::Tenantry { .. } | Line::End { .. } => Err(self.wrong("it does not belong here")),
            Line::Tenant {
                organization,
                customer,
                id,
                hostname,
                alias,
                region,
                name,
                status,
                created_by_run,
                created_at,
                updated_at,
                seal,
            } => {
                let tenant = Tenant { customer, id, hostname, alias, region, name, status, created_by_run };
                self.tenant(&TenantRow { organization, tenant, created_at, updated_at }, &seal)
            }
            Line::Creation { organization, customer, run, key, digest, since, seal } => {
                let since = self.time(&since)?;
                self.creation(&IntentRow { organization, intent: Intent { customer, run, key, digest, since } }, &seal)
            }
            Line::Mark { organization, customer, name, mark, seal } => {
                let row = MarkRow { organization, customer, name, mark };
                self.sealed(&seal, row.seal())?;
                // Each says what its machine last saw: the one that is here was seen from here.
                if !row.exists(self.connection)? {
                    row.put(self.connection)?;
                }
                Ok(())
            }
            Line::File { digest, base64 } => self.file(&digest, &base64),
            Line::Run { began, status, ended, holder, superseded_by, entries, seal, opening } => {
                let text = opening.get();
                let Opening { id, scope, customer, playbook, .. } =
                    serde_json::from_str(text).map_err(|error| self.no_line(&error))?;
                self.time(&began)?;
                ended.as_deref().map(|ended| self.time(ended)).transpose()?;
                let row = RunRow {
                    number: 0,
                    id,
                    scope,
                    customer,
                    playbook,
                    began,
                    status,
                    ended,
                    holder,
                    superseded_by,
                    opening: text.into(),
                };
                self.run(&row, &seal, entries)
            }
            Line::Entry { at, seal, entry } => self.entry(at, &seal, entry.get()),
        }
    }

    fn end_of_run(&mut self) -> Result<(), Stop> {
        let Some(run) = self.run.take() else { return Ok(()) };
        if run.count != run.entries {
            return Err(self.wrong("an entry of the run before is missing"));
        }
        match run.here {
            Here::Known(head) if head == Some((run.count, run.seal)) => self.imported.known += 1,
            Here::Known(_) => self.conflict(format!("run {} went on otherwise here", run.id)),
            Here::Other => {}
            Here::New(_) => self.imported.runs += 1,
        }
        Ok(())
    }

    fn sealed(&self, beside: &str, seal: Seal) -> Result<(), Stop> {
        if beside == hex(&seal) { Ok(()) } else { Err(self.wrong("it is not what was written")) }
    }

    fn time(&self, text: &str) -> Result<Timestamp, Stop> {
        text.parse().map_err(|_| self.wrong("it has a time that is none"))
    }

    fn tenant(&mut self, row: &TenantRow, seal: &str) -> Result<(), Stop> {
        self.sealed(seal, row.seal())?;
        let TenantRow { organization, tenant, .. } = row;
        let customer = &tenant.customer;
        if let Some(known) = TenantRow::of(self.connection, organization, customer)? {
            if known.seal() == row.seal() {
                self.imported.known += 1;
            } else {
                let id = &known.tenant.id;
                self.conflict(format!("customer `{customer}` has tenant {id} here, entered in another way"));
            }
        } else if let Some(known) = TenantRow::by_id(self.connection, organization, &tenant.id)? {
            self.conflict(format!("tenant {} is customer `{}`'s here", tenant.id, known.tenant.customer));
        } else if IntentRow::of(self.connection, organization, customer)?.is_some() {
            self.conflict(format!("a tenant may have been created for customer `{customer}` here"));
        } else {
            row.put(self.connection, None)?;
            self.imported.tenants += 1;
        }
        Ok(())
    }

    fn creation(&mut self, row: &IntentRow, seal: &str) -> Result<(), Stop> {
        self.sealed(seal, row.seal())?;
        let (organization, customer) = (&row.organization, &row.intent.customer);
        if let Some(known) = IntentRow::of(self.connection, organization, customer)? {
            if known.seal() != row.seal() {
                self.conflict(format!("another tenant may have been created for customer `{customer}` here"));
            }
        } else if TenantRow::of(self.connection, organization, customer)?.is_some() {
            self.conflict(format!("customer `{customer}` has a tenant here, and there its creation has no known end"));
        } else {
            row.put(self.connection)?;
        }
        Ok(())
    }

    fn file(&mut self, digest: &str, base64: &str) -> Result<(), Stop> {
        let bytes = STANDARD.decode(base64).map_err(|_| self.wrong("its base64 is none"))?;
        let key: [u8; 32] = Sha256::digest(&bytes).into();
        if hex(&key) != digest {
            return Err(self.wrong("it is not what its digest says"));
        }
        self.connection
            .prepare_cached("INSERT INTO contents (digest, bytes) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute(params![key, pack(&bytes)])?;
        Ok(())
    }

    fn run(&mut self, row: &RunRow, seal: &str, entries: u64) -> Result<(), Stop> {
        self.sealed(seal, row.seal())?;
        let here = match RunRow::of(self.connection, &row.id)? {
            Some(known) if known.seal() == row.seal() => Here::Known(chain::head(self.connection, known.number)?),
            Some(_) => {
                self.conflict(format!("run {} went on otherwise here", row.id));
                Here::Other
            }
            // The runs of a playbook for a customer follow each other: two lists of them do not make one.
            None if !row.continues(self.connection)? => {
                let (playbook, customer) = (&row.playbook, &row.customer);
                self.conflict(format!("there are other runs of {playbook} for customer `{customer}` here"));
                Here::Other
            }
            None => Here::New(row.append(self.connection)?),
        };
        self.run = Some(Reading { id: row.id.clone(), here, count: 0, entries, seal: row.first() });
        Ok(())
    }

    fn entry(&mut self, at: i64, beside: &str, text: &str) -> Result<(), Stop> {
        let Some(mut run) = self.run.take().filter(|run| run.count < run.entries) else {
            return Err(self.wrong("it belongs to no run"));
        };
        let before = run.seal;
        run.seal = seal::next(before, run.count, at, text.as_bytes());
        self.sealed(beside, run.seal)?;
        Timestamp::from_microsecond(at).map_err(|_| self.wrong("it has a time that is none"))?;
        let entry: Entry = serde_json::from_str(text).map_err(|error| self.no_line(&error))?;
        if let Here::New(number) = run.here {
            let place = Place { run: number, sequence: run.count, before, seal: run.seal };
            chain::add(self.connection, &place, at, &pack(text.as_bytes()))?;
            if let Entry::File { digest, .. } = &entry {
                self.used(digest, number)?;
            }
        }
        run.count += 1;
        self.run = Some(run);
        Ok(())
    }

    fn used(&self, digest: &str, run: i64) -> Result<(), Stop> {
        let content: Option<i64> = self
            .connection
            .prepare_cached("SELECT number FROM contents WHERE digest = ?1")?
            .query_row([unhex(digest)], |row| row.get(0))
            .optional()?;
        let content = content.ok_or_else(|| self.wrong("the file that it names is missing"))?;
        self.connection
            .prepare_cached("INSERT INTO uses (content, run) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?
            .execute([content, run])?;
        Ok(())
    }
}
