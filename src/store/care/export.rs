use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Connection;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use super::line::{EXPORT_VERSION, Line};
use super::{CareError, Stop};
use crate::operation::hex;
use crate::store::journal::log_texts;
use crate::store::journal::row::RunRow;
use crate::store::pack::unpack;
use crate::store::registry::marks::MarkRow;
use crate::store::registry::rows::{IntentRow, TenantRow};
use crate::store::seal;
use crate::store::totals::{self, Tally};
use crate::store::{State, durable, format};

/// What an export holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    /// Tenants of the registry.
    pub tenants: u64,
    /// Runs.
    pub runs: u64,
    /// Their entries.
    pub entries: u64,
    /// Files that they used.
    pub files: u64,
}

impl State {
    /// Writes everything as it is at one moment as lines of JSON, which [`State::import`] reads. The same state gives the
    /// same bytes. Secrets are not in it: the journal has references only. Blocks.
    ///
    /// # Errors
    /// When it cannot be written, or the state file is damaged: then what was written has no end and is not imported.
    pub fn export(&self, out: impl Write) -> Result<Exported, CareError> {
        self.export_named(Path::new("-"), out).map(|(exported, _)| exported)
    }

    /// The same into a new file that only its owner may read.
    ///
    /// # Errors
    /// When there is such a file, it cannot be written, or the state file is damaged.
    pub fn export_file(&self, to: &Path) -> Result<Exported, CareError> {
        if to.exists() {
            return Err(CareError::Exists { path: to.to_owned() });
        }
        let waiting = durable::write_beside(to, b"").map_err(CareError::file(to))?;
        let written = (|| {
            let file = OpenOptions::new().append(true).open(&waiting).map_err(CareError::file(to))?;
            let (exported, file) = self.export_named(to, file)?;
            file.sync_all().map_err(CareError::file(to))?;
            let named = durable::name_new(&waiting, to).map_err(CareError::file(to))?;
            named.then_some(exported).ok_or_else(|| CareError::Exists { path: to.to_owned() })
        })();
        // After a good end nothing is left of it.
        let _ = fs::remove_file(&waiting);
        written
    }

    fn export_named<W: Write>(&self, name: &Path, out: W) -> Result<(Exported, W), CareError> {
        let mut lines = Lines { out: BufWriter::new(out), name, hash: Sha256::new(), count: 0 };
        match self.look(|connection| Ok(lines.all(connection)))? {
            Ok(exported) => Ok((exported, lines.end().map_err(CareError::file(name))?)),
            Err(Stop::Database(error)) => Err(self.error(error).into()),
            Err(Stop::Care(error)) => Err(error),
        }
    }
}

struct Lines<'n, W: Write> {
    out: BufWriter<W>,
    name: &'n Path,
    hash: Sha256,
    count: u64,
}

impl<W: Write> Lines<'_, W> {
    fn line(&mut self, line: &Line) -> Result<(), Stop> {
        self.write(line).map_err(|error| Stop::Care(CareError::file(self.name)(error)))
    }

    fn write(&mut self, line: &Line) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.hash.update(&bytes);
        self.count += 1;
        self.out.write_all(&bytes)
    }

    fn end(mut self) -> io::Result<W> {
        let sha256 = hex(&self.hash.clone().finalize());
        self.write(&Line::End { lines: self.count, sha256 })?;
        self.out.into_inner().map_err(io::IntoInnerError::into_error)
    }

    fn all(&mut self, connection: &Connection) -> Result<Exported, Stop> {
        self.line(&Line::Tenantry { version: EXPORT_VERSION })?;
        let tenants = self.registry(connection)?;
        let files = self.files(connection)?;
        let (runs, entries) = self.runs(connection)?;
        Ok(Exported { tenants, runs, entries, files })
    }

    fn registry(&mut self, connection: &Connection) -> Result<u64, Stop> {
        let tenants =
            format::all(connection, "SELECT * FROM tenants ORDER BY organization, customer", TenantRow::read)?;
        let seals = tenants.iter().map(|row| (row.organization.as_str(), row.seal()));
        format::check_table(connection, TenantRow::TABLE, seals)?;
        let count = tenants.len() as u64;
        for row in tenants {
            let seal = hex(&row.seal());
            let TenantRow { organization, tenant, created_at, updated_at } = row;
            self.line(&Line::Tenant {
                organization,
                customer: tenant.customer,
                id: tenant.id,
                hostname: tenant.hostname,
                alias: tenant.alias,
                region: tenant.region,
                name: tenant.name,
                status: tenant.status,
                created_by_run: tenant.created_by_run,
                created_at,
                updated_at,
                seal,
            })?;
        }
        let intents =
            format::all(connection, "SELECT * FROM intents ORDER BY organization, customer", IntentRow::read)?;
        let seals = intents.iter().map(|row| (row.organization.as_str(), row.seal()));
        format::check_table(connection, IntentRow::TABLE, seals)?;
        for row in intents {
            let seal = hex(&row.seal());
            let IntentRow { organization, intent } = row;
            let since = intent.since.to_string();
            let (customer, run, key, digest) = (intent.customer, intent.run, intent.key, intent.digest);
            self.line(&Line::Creation { organization, customer, run, key, digest, since, seal })?;
        }
        let marks = "SELECT * FROM marks ORDER BY organization, customer, name";
        for row in format::all(connection, marks, MarkRow::read)? {
            let seal = hex(&row.seal());
            let MarkRow { organization, customer, name, mark } = row;
            self.line(&Line::Mark { organization, customer, name, mark, seal })?;
        }
        Ok(count)
    }

    fn files(&mut self, connection: &Connection) -> Result<u64, Stop> {
        let mut count = 0;
        let mut files = connection
            .prepare("SELECT digest, bytes FROM contents WHERE number IN (SELECT content FROM uses) ORDER BY digest")?;
        let mut files = files.query([])?;
        while let Some(row) = files.next()? {
            let (digest, packed): (Vec<u8>, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let digest = hex(&digest);
            let bytes = unpack(&packed)
                .filter(|bytes| hex(&Sha256::digest(bytes)) == digest)
                .ok_or_else(|| seal::damage(format!("the file with the digest {digest} is not what was written")))?;
            self.line(&Line::File { digest, base64: STANDARD.encode(bytes) })?;
            count += 1;
        }
        Ok(count)
    }

    /// Writes all runs with their entries. Gives how many there are of both.
    fn runs(&mut self, connection: &Connection) -> Result<(u64, u64), Stop> {
        let (mut count, mut all, mut tally) = (0, 0, Tally::default());
        for run in format::all(connection, "SELECT * FROM runs ORDER BY number", RunRow::read)? {
            tally.add(run.seal());
            let texts = log_texts(connection, &run)?;
            let mut before = run.first();
            let (entries, seal) = (texts.len() as u64, hex(&run.seal()));
            let RunRow { id, began, status, ended, holder, superseded_by, opening, .. } = run;
            let raw = |text: Vec<u8>| {
                let raw = String::from_utf8(text).ok().and_then(|text| RawValue::from_string(text).ok());
                raw.ok_or_else(|| seal::damage(format!("a text of run {id} is not what was written")))
            };
            let opening = raw(opening)?;
            self.line(&Line::Run { began, status, ended, holder, superseded_by, entries, seal, opening })?;
            for (sequence, at, text) in texts {
                before = seal::next(before, sequence, at, &text);
                self.line(&Line::Entry { at, seal: hex(&before), entry: raw(text)? })?;
            }
            count += 1;
            all += entries;
        }
        totals::check(connection, RunRow::TABLE, "", tally)?;
        Ok((count, all))
    }
}
