//! The published operations of Qlik Cloud, as data.
//!
//! [`contract`] gives the one [`Contract`] there is: Qlik's `OpenAPI` document, embedded and read where somebody looks.
//! It answers which operation an id or a request means, what performing it does to the world ([`Effect`]), which rate
//! limit it counts on, how it is paged, whether a request is one Qlik would understand, and which fields are secrets.
//! What the document holds and how it was made stands in `contract/README.md`.

mod amendments;
mod check;
mod fault;
mod irreversible;
mod natural_keys;
mod published;
mod route;
mod schema;
mod secrets;
mod text;
mod violation;
mod walk;

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::OnceLock;

use http::Method;

use crate::operation::Effect;
pub use check::{Asked, Sent, Strictness};
pub use irreversible::Irreversible;
pub use natural_keys::{FileKey, From, LookUp, NaturalKey, Repeat, Same};
pub use published::{BodyFacts, BodyKind, Paging, Parameter, ParameterPlace, Published, Role, Tier};
pub use route::PathVars;
pub use secrets::replace_secrets;
pub(crate) use secrets::sounds_secret;
pub use violation::{Place, Violation};

use amendments::Amendments;
use natural_keys::NaturalKeys;
use route::Routes;
use schema::{Lazy, Named};
use secrets::Secrets;
use text::Text;

const COMPRESSED: &[u8] = include_bytes!("../../contract/openapi.json.gz");
const EFFECTS: &str = include_str!("../../contract/effects.toml");

/// What every `expect` below stands on: the data is embedded, and the tests read all of it.
const EMBEDDED: &str = "the embedded contract is well formed";

/// The contract. The first call reads it; later calls cost nothing.
#[must_use]
pub fn contract() -> &'static Contract {
    static CONTRACT: OnceLock<Contract> = OnceLock::new();
    CONTRACT.get_or_init(|| Contract::read(document()))
}

/// The embedded document, unpacked once for the life of the process.
fn document() -> &'static str {
    static DOCUMENT: OnceLock<String> = OnceLock::new();
    DOCUMENT.get_or_init(|| {
        let mut text = String::with_capacity(COMPRESSED.len() * 16);
        flate2::read::GzDecoder::new(COMPRESSED).read_to_string(&mut text).expect(EMBEDDED);
        text
    })
}

/// SHA-256 of the published operations as they are embedded: which contract something was decided by.
#[must_use]
pub fn digest() -> String {
    use sha2::{Digest as _, Sha256};
    crate::operation::hex(&Sha256::digest(COMPRESSED))
}

/// All published operations.
#[derive(Debug)]
pub struct Contract {
    /// In the order of the document.
    entries: Vec<Entry>,
    by_id: HashMap<&'static str, usize>,
    routes: Routes,
    /// The exceptions to the rule that the method tells the effect.
    effects: HashMap<String, Effect>,
    amendments: OnceLock<Amendments>,
    document: Text,
    components: OnceLock<Option<Text>>,
    named: OnceLock<Named>,
    secrets: OnceLock<Secrets>,
    natural_keys: OnceLock<NaturalKeys>,
    irreversible: OnceLock<HashMap<String, Irreversible>>,
}

/// An operation that is found at once and read when somebody asks for its facts.
#[derive(Debug)]
struct Entry {
    id: &'static str,
    method: Method,
    path: &'static str,
    text: Text,
    facts: OnceLock<Published>,
}

impl Contract {
    fn read(document: &'static str) -> Self {
        let document = Text::new(document);
        let mut contract = Self {
            entries: Vec::new(),
            by_id: HashMap::new(),
            routes: Routes::default(),
            effects: effects(),
            amendments: OnceLock::new(),
            document,
            components: OnceLock::new(),
            named: OnceLock::new(),
            secrets: OnceLock::new(),
            natural_keys: OnceLock::new(),
            irreversible: OnceLock::new(),
        };
        // Everything behind the paths is left alone until a schema is wanted.
        for (path, item) in document.open("paths").into_iter().flat_map(Text::members) {
            for (name, text) in item.members() {
                let Some(method) = method(name) else { continue };
                let id = text.get("operationId").and_then(Text::as_str).expect(EMBEDDED);
                let index = contract.entries.len();
                contract.by_id.insert(id, index);
                contract.routes.insert(method.clone(), path, published::takes_rest(text), index);
                contract.entries.push(Entry { id, method, path, text, facts: OnceLock::new() });
            }
        }
        contract
    }

    fn facts<'c>(&'c self, entry: &'c Entry) -> &'c Published {
        entry.facts.get_or_init(|| {
            let effect = self.effects.get(entry.id).copied().unwrap_or_else(|| by_method(&entry.method));
            Published::read(entry.method.clone(), entry.path, entry.text, effect, self.amendments()).expect(EMBEDDED)
        })
    }

    fn amendments(&self) -> &Amendments {
        self.amendments.get_or_init(Amendments::read)
    }

    fn components(&self) -> Option<Text> {
        *self.components.get_or_init(|| self.document.get("components"))
    }

    /// The schemas that have a name.
    fn named(&self) -> &Named {
        self.named.get_or_init(|| {
            let schemas = self.components().and_then(|components| components.get("schemas"));
            let lazy = |(name, text)| (name, Lazy::new(text, self.amendments().schema(name)));
            schemas.into_iter().flat_map(Text::members).map(lazy).collect()
        })
    }

    fn secrets(&self) -> &Secrets {
        self.secrets.get_or_init(secrets::read)
    }

    fn natural_keys(&self) -> &NaturalKeys {
        self.natural_keys.get_or_init(natural_keys::read)
    }

    /// The shared response that `reference` names.
    fn response(&self, reference: &str) -> Option<Text> {
        self.components()?.get("responses")?.get(reference.rsplit('/').next()?)
    }

    /// The operation with this operationId.
    #[must_use]
    pub fn operation(&self, id: &str) -> Option<&Published> {
        self.by_id.get(id).map(|index| self.facts(&self.entries[*index]))
    }

    /// The operation that answers `method` at `path` (as sent: percent-encoded, without query), and the path's
    /// variables, decoded. Literal segments win over variables: `/users/me` is not the user called `me`.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Option<(&Published, PathVars)> {
        let published = self.facts(&self.entries[self.routes.find(method, path)?]);
        Some((published, route::extract(published.path, published.takes_rest, path)?))
    }

    /// Why the operation of this id cannot be taken back, where the contract itself does not tell
    /// (`contract/irreversible.toml`).
    #[must_use]
    pub fn irreversible(&self, id: &str) -> Option<&Irreversible> {
        self.irreversible.get_or_init(irreversible::read).get(id)
    }

    /// All operations that the table names.
    pub fn irreversibles(&self) -> impl Iterator<Item = (&str, &Irreversible)> {
        self.irreversible.get_or_init(irreversible::read).iter().map(|(id, why)| (id.as_str(), why))
    }

    /// Up to three operationIds that look like `id`, the likest first.
    #[must_use]
    pub fn nearest(&self, id: &str) -> Vec<&'static str> {
        crate::suggest::alike(id, self.entries.iter().map(|entry| entry.id), 0.6)
    }

    /// The datacenters a tenant can be created in, each with the region its host names carry: `eu-west-1`, `eu`. Data,
    /// because one cannot be derived from the other.
    pub fn datacenters(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        let map = self.operation("createTenant").and_then(|create| create.text.get("x-datacenter-region"));
        map.into_iter().flat_map(Text::members).filter_map(|(datacenter, region)| Some((datacenter, region.as_str()?)))
    }

    /// All operations, in the order of the document.
    pub fn operations(&self) -> impl Iterator<Item = &Published> {
        self.entries.iter().map(|entry| self.facts(entry))
    }
}

fn method(name: &str) -> Option<Method> {
    match name {
        "get" => Some(Method::GET),
        "post" => Some(Method::POST),
        "put" => Some(Method::PUT),
        "patch" => Some(Method::PATCH),
        "delete" => Some(Method::DELETE),
        _ => None,
    }
}

fn by_method(method: &Method) -> Effect {
    match *method {
        Method::POST => Effect::Create,
        Method::PUT | Method::PATCH => Effect::Update,
        Method::DELETE => Effect::Delete,
        _ => Effect::Read,
    }
}

fn effects() -> HashMap<String, Effect> {
    type Table = HashMap<Effect, HashMap<String, Vec<String>>>;
    let table: Table = toml::from_str(EFFECTS).expect(EMBEDDED);
    table
        .into_iter()
        .flat_map(|(effect, resources)| resources.into_values().flatten().map(move |id| (id, effect)))
        .collect()
}
