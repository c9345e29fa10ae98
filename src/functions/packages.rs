//! What themes and extensions have in common: a bundle with a `.qext` file, whose name is what it is known by.

use rhai::Map as ScriptMap;
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated};
use super::options::{invalid, listed, options};
use super::request::{Ask, text_of};
use super::tenant::Tenant;
use crate::event::FieldChange;
use crate::operation::{self, Content, Outcome};
use crate::playbook::{Call, ScriptError};

/// Qlik's limits on both (qlik.dev changelog 70; help.qlik.com, themes and extensions).
const MAX_ZIP: u64 = 30 << 20;
const MAX_FILE: u64 = 30 << 20;
const MAX_UNPACKED: u64 = 100 << 20;
const MAX_FILES: usize = 500;

/// What tells a theme from an extension.
pub(super) struct Kind {
    /// The word for it, with its article and for many.
    pub(super) noun: &'static str,
    pub(super) one: &'static str,
    pub(super) many: &'static str,
    /// Its operations.
    pub(super) list: &'static str,
    pub(super) upload: &'static str,
    pub(super) patch: &'static str,
    pub(super) delete: &'static str,
    /// Which files it may hold, by the ending of their names in small letters.
    pub(super) endings: Endings,
    /// Whether the `type` that its `.qext` file gives is good; else what it should be.
    pub(super) types: fn(&str) -> Result<(), &'static str>,
    /// Files that must be there besides, at the top; each a JSON document.
    pub(super) needs: &'static [&'static str],
}

/// Which endings of files are taken.
pub(super) enum Endings {
    /// These and no others.
    Only(&'static [&'static str]),
    /// All but these.
    AllBut(&'static [&'static str]),
}

struct Wanted<'t> {
    kind: &'static Kind,
    tenant: &'t Tenant,
    /// The name of the `.qext` file without its ending.
    identity: String,
    bundle: &'t operation::Bundle,
    fields: Map<String, Value>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        self.kind.subject(&self.identity)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        Ok(self.kind.find(call, self.tenant, &self.identity)?.map(|mut held| {
            held["md5"] = held["file"]["md5"].clone();
            held
        }))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        self.with_file(self.tenant.ask(self.kind.upload, self.subject())).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, changes: &[FieldChange]) -> Result<Updated, ScriptError> {
        let id = text_of(call, self.kind.list, current, "id")?;
        let ask = self.tenant.ask(self.kind.patch, self.subject()).var("id", id);
        let ask =
            if changes.iter().any(|change| change.field == "md5") { self.with_file(ask) } else { self.with_data(ask) };
        let response = ask.send(call)?;
        // For themes the contract wraps the one it is about in a list.
        let held = response.json()["data"].get(0).unwrap_or(response.json());
        Ok(if held["id"].is_string() { Updated::To(held.clone()) } else { Updated::InPlace })
    }
}

impl Wanted<'_> {
    fn with_file(&self, ask: Ask) -> Ask {
        let name = format!("{}.zip", self.identity);
        self.with_data(ask.part("file", Some(&name), Content::Bundle(self.bundle.clone())))
    }

    fn with_data(&self, ask: Ask) -> Ask {
        match self.fields.get("tags") {
            Some(tags) => ask.part("data", None, Content::Json(json!({ "tags": tags }))),
            None => ask,
        }
    }
}

impl Kind {
    fn subject(&self, name: &str) -> String {
        format!("{} \"{name}\"", self.noun)
    }

    /// Makes it as wanted; gives it as Qlik describes it.
    pub(super) fn ensure(
        &'static self,
        call: &mut Call,
        tenant: &Tenant,
        bundle: &operation::Bundle,
        given: ScriptMap,
    ) -> Result<Value, ScriptError> {
        let mut fields = options(call, given, &["tags"])?;
        let identity = self.check(call, bundle)?;
        let zipped =
            |error: zip::result::ZipError| invalid(call, format!("the {} cannot be zipped: {error}", self.noun), None);
        let size = bundle.zip().map_err(zipped)?.len() as u64;
        if size > MAX_ZIP {
            let title = format!("the {}'s zip is {}; Qlik Cloud takes {}", self.noun, mb(size), mb(MAX_ZIP));
            return Err(self.too_large(call, title));
        }
        let md5 = bundle.zip_md5().map_err(zipped)?;
        fields.insert("md5".to_owned(), json!(md5));
        let wanted = Wanted { kind: self, tenant, identity, bundle, fields };
        let mut document = converge::ensure(call, &wanted)?.document;
        if let Some(map) = document.as_object_mut() {
            map.shift_remove("md5");
        }
        Ok(document)
    }

    /// All of them; Qlik does not page these lists.
    pub(super) fn all(&self, call: &mut Call, tenant: &Tenant) -> Result<Vec<Value>, ScriptError> {
        tenant.ask(self.list, self.many).list(call)
    }

    /// The one whose `.qext` file has this name.
    pub(super) fn find(&self, call: &mut Call, tenant: &Tenant, name: &str) -> Result<Option<Value>, ScriptError> {
        let all = self.all(call, tenant)?;
        Ok(all.into_iter().find(|held| {
            let held = held["qextFilename"].as_str().map(|held| held.strip_suffix(".qext").unwrap_or(held));
            held == Some(name)
        }))
    }

    /// The same; a failure when there is none.
    pub(super) fn get(&self, call: &mut Call, tenant: &Tenant, name: &str) -> Result<Value, ScriptError> {
        match self.find(call, tenant, name)? {
            Some(held) => Ok(held),
            None => Err(call.throw(tenant.lacks(&self.subject(name)))),
        }
    }

    /// Makes sure there is none of this name.
    pub(super) fn remove(&self, call: &mut Call, tenant: &Tenant, name: &str) -> Result<(), ScriptError> {
        let subject = self.subject(name);
        let find = |call: &mut Call| self.find(call, tenant, name);
        converge::remove(call, tenant.host_name(), &subject, find, |call, held| {
            let id = text_of(call, self.list, held, "id")?;
            tenant.ask(self.delete, &subject).var("id", id).remove(call)
        })
    }

    /// Everything Qlik Cloud would refuse, found before it is sent. Gives what it is known by.
    fn check(&self, call: &Call, bundle: &operation::Bundle) -> Result<String, ScriptError> {
        self.check_sizes(call, bundle)?;
        for (path, _) in bundle.files() {
            self.check_ending(call, path)?;
        }
        let noun = self.noun;
        let document = |path: &str| -> Result<Value, ScriptError> {
            let content = bundle.file(path).map(AsRef::as_ref).unwrap_or_default();
            serde_json::from_slice(content)
                .map_err(|error| invalid(call, format!("`{path}` of the {noun} is not JSON: {error}"), None))
        };
        let qext: Vec<&str> = bundle
            .files()
            .map(|(path, _)| path)
            .filter(|path| path.strip_suffix(".qext").is_some_and(|name| !name.contains('/')))
            .collect();
        let [qext] = qext[..] else {
            return Err(invalid(
                call,
                format!("{} needs one .qext file at its top; this has {}", self.one, qext.len()),
                Some(format!("its name is what the {noun} is known by: `hb-{noun}.qext`")),
            ));
        };
        let about = document(qext)?;
        if let Err(wanted) = (self.types)(about["type"].as_str().unwrap_or_default()) {
            return Err(invalid(call, format!("`{qext}` does not say `\"type\": \"{wanted}\"`"), None));
        }
        if about["name"].as_str().is_none_or(str::is_empty) {
            return Err(invalid(call, format!("`{qext}` has no `name`"), None));
        }
        for path in self.needs {
            if bundle.file(path).is_none() {
                return Err(invalid(call, format!("{} needs `{path}` at its top", self.one), None));
            }
            document(path)?;
        }
        Ok(qext.strip_suffix(".qext").unwrap_or(qext).to_owned())
    }

    fn check_sizes(&self, call: &Call, bundle: &operation::Bundle) -> Result<(), ScriptError> {
        let noun = self.noun;
        let count = bundle.files().len();
        if count > MAX_FILES {
            return Err(self.too_large(call, format!("the {noun} has {count} files; Qlik Cloud takes {MAX_FILES}")));
        }
        for (path, content) in bundle.files() {
            let size = content.len() as u64;
            if size > MAX_FILE {
                let title = format!("`{path}` is {}; Qlik Cloud takes files up to {}", mb(size), mb(MAX_FILE));
                return Err(self.too_large(call, title));
            }
        }
        let size = bundle.unpacked_size();
        if size > MAX_UNPACKED {
            let title = format!("the {noun} is {} unpacked; Qlik Cloud takes {}", mb(size), mb(MAX_UNPACKED));
            return Err(self.too_large(call, title));
        }
        Ok(())
    }

    fn check_ending(&self, call: &Call, path: &str) -> Result<(), ScriptError> {
        let name = path.rsplit('/').next().unwrap_or_default();
        let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending).to_ascii_lowercase();
        let hint = match self.endings {
            Endings::Only(taken) if !taken.contains(&ending.as_str()) => {
                format!("the endings allowed are {}", listed(taken))
            }
            Endings::AllBut(refused) if refused.contains(&ending.as_str()) => {
                format!("the endings refused are {}", listed(refused))
            }
            _ => return Ok(()),
        };
        Err(invalid(call, format!("{} cannot hold `{path}`", self.one), Some(hint)))
    }

    fn too_large(&self, call: &Call, title: String) -> ScriptError {
        call.refuse(&format!("tenantry/{}-too-large", self.noun), title)
    }
}

fn mb(bytes: u64) -> String {
    format!("{}.{} MB", bytes >> 20, ((bytes % (1 << 20)) * 10) >> 20)
}
