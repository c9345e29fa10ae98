use std::cell::Cell;

use rhai::plugin::*;
use rhai::{Array, Map as ScriptMap};
use serde_json::{Map, Value, json};

use super::converge::{self, Resource, Updated};
use super::listing::{self, Listing};
use super::options::{invalid, options, script, scripts, text};
use super::request::{Ask, text_of, unexpected};
use super::tenant::Tenant;
use crate::event::FieldChange;
use crate::operation::{Failure, FailureKind, Outcome};
use crate::playbook::{Call, ScriptError};

/// `tenant.csp_origins`.
#[derive(Clone, Debug)]
pub(super) struct CspOrigins(pub(super) Tenant);

/// The directives an origin can be allowed for. Source: Qlik's csp-origins specification.
const FLAGS: [&str; 13] = [
    "childSrc",
    "connectSrc",
    "connectSrcWSS",
    "fontSrc",
    "formAction",
    "frameAncestors",
    "frameSrc",
    "imgSrc",
    "mediaSrc",
    "objectSrc",
    "scriptSrc",
    "styleSrc",
    "workerSrc",
];

/// All that an entry has.
fn fields() -> Vec<&'static str> {
    [&["origin", "name", "description"], FLAGS.as_slice()].concat()
}

/// What a tenant's policy may hold (help.qlik.com, Managing Content Security Policy).
const MAX_HEADER: usize = 6_144;
const MAX_ENTRIES: u64 = 256;

struct Wanted<'t> {
    tenant: &'t Tenant,
    origin: String,
    fields: Map<String, Value>,
    listing: Listing,
    looked: Cell<bool>,
}

impl Resource for Wanted<'_> {
    fn scope(&self) -> String {
        self.tenant.host_name().to_owned()
    }

    fn subject(&self) -> String {
        format!("CSP origin {}", self.origin)
    }

    fn wanted(&self) -> &Map<String, Value> {
        &self.fields
    }

    fn find(&self, call: &mut Call) -> Result<Option<Value>, ScriptError> {
        let is_it = |held: &Value| held["origin"].as_str() == Some(&self.origin);
        let found = self.listing.find(call, &self.origin, self.looked.replace(true), is_it, || all(self.tenant))?;
        Ok(found.map(with_flags))
    }

    fn create(&self, call: &mut Call) -> Result<Outcome, ScriptError> {
        let note = listing::note(call, self.tenant, "CSP entries made");
        let made = call.note(&note).and_then(|made| made.as_u64()).unwrap_or_default();
        if self.listing.len(call) as u64 + made >= MAX_ENTRIES {
            return Err(call.refuse("tenantry/csp-full", format!("the tenant has {MAX_ENTRIES} CSP origins already")));
        }
        self.check_header(call, &Value::Null)?;
        call.set_note(&note, json!(made + 1));
        let mut body = self.fields.clone();
        body.insert("origin".to_owned(), json!(self.origin));
        self.tenant.ask("createCSPEntry", self.subject()).json(Value::Object(body)).attempt(call)
    }

    fn update(&self, call: &mut Call, current: &Value, _: &[FieldChange]) -> Result<Updated, ScriptError> {
        self.check_header(call, current)?;
        let id = text_of(call, "getCSPEntries", current, "id")?;
        // The entry is replaced as a whole: what is not wanted otherwise stays as it is.
        let mut body = Map::new();
        for field in fields() {
            if let Some(value) = self.fields.get(field).or_else(|| current.get(field)) {
                body.insert(field.to_owned(), value.clone());
            }
        }
        let response =
            self.tenant.ask("updateCSPEntry", self.subject()).var("id", id).json(Value::Object(body)).send(call)?;
        Ok(if response.json().is_object() { Updated::To(response.json().clone()) } else { Updated::InPlace })
    }
}

impl Wanted<'_> {
    /// Qlik refuses a header that grows too long only when it is too late for the page that needs it; so the header as it
    /// is now is asked for, and what this origin adds is counted.
    fn check_header(&self, call: &mut Call, current: &Value) -> Result<(), ScriptError> {
        let on = |value: Option<&Value>| value.and_then(Value::as_bool) == Some(true);
        let added = || FLAGS.iter().filter(|flag| on(self.fields.get(**flag)) && !on(current.get(**flag)));
        if added().next().is_none() {
            return Ok(());
        }
        // What this run has counted is enough while it stays within the limit even if all these directives are new.
        let note = listing::note(call, self.tenant, "CSP header");
        let most: usize = added().map(|flag| self.growth(flag, "")).sum();
        if let Some(counted) = call.note(&note).and_then(|length| usize::try_from(length.as_u64()?).ok())
            && counted + most <= MAX_HEADER
        {
            call.set_note(&note, json!(counted + most));
            return Ok(());
        }
        let header = self.header(call)?;
        let grown = header.len() + added().map(|flag| self.growth(flag, &header)).sum::<usize>();
        if grown <= MAX_HEADER {
            call.set_note(&note, json!(grown));
            return Ok(());
        }
        Err(call.throw(
            Failure::new(
                FailureKind::Denied,
                "tenantry/csp-too-long",
                format!("{} would make the CSP header longer than {MAX_HEADER} characters", self.subject()),
            )
            .detail(format!("it has {} now and would have about {grown}", header.len()))
            .hint("allow fewer origins, or each for fewer directives"),
        ))
    }

    /// How much longer the header gets with this flag: a space and the origin, which web sockets write with a scheme, and the
    /// directive itself when it is not there yet.
    fn growth(&self, flag: &str, header: &str) -> usize {
        let scheme = if flag == "connectSrcWSS" { "wss://".len() } else { 0 };
        let directive = directive(flag);
        let new =
            if header.contains(&format!("{directive} ")) { 0 } else { "; ".len() + directive.len() + " 'self'".len() };
        " ".len() + scheme + self.origin.len() + new
    }

    fn header(&self, call: &mut Call) -> Result<String, ScriptError> {
        let response = self.tenant.ask("getCSPHeader", "CSP header").send(call)?;
        match response.json()["Content-Security-Policy"].as_str() {
            Some(header) => Ok(header.to_owned()),
            None => Err(unexpected(call, "getCSPHeader", "`Content-Security-Policy`")),
        }
    }
}

/// The directive of a flag: `img-src` of `imgSrc`.
fn directive(flag: &str) -> String {
    let mut directive = String::new();
    for letter in flag.trim_end_matches("WSS").chars() {
        if letter.is_ascii_uppercase() {
            directive.push('-');
        }
        directive.push(letter.to_ascii_lowercase());
    }
    directive
}

/// A flag that is not mentioned is off.
fn with_flags(mut held: Value) -> Value {
    for flag in FLAGS {
        if held[flag].is_null() {
            held[flag] = json!(false);
        }
    }
    held
}

fn all(tenant: &Tenant) -> Ask {
    tenant.ask("getCSPEntries", "CSP origins").query("limit", "100")
}

fn ensure(call: &mut Call, tenant: &Tenant, given: ScriptMap) -> Result<Value, ScriptError> {
    let mut fields = options(call, given, &fields())?;
    let origin = text(call, &fields, "origin")?;
    fields.shift_remove("origin");
    if origin.chars().any(char::is_whitespace) || origin.contains([';', ',', '\'', '"']) {
        return Err(invalid(call, format!("`{origin}` is not an origin of a content security policy"), None));
    }
    if origin.contains('*') {
        return Err(invalid(
            call,
            format!("`{origin}` holds a wildcard"),
            Some("name each host: a wildcard lets in whoever gets a name there".to_owned()),
        ));
    }
    if let Some(flag) = FLAGS.iter().find(|flag| fields.get(**flag).is_some_and(|value| !value.is_boolean())) {
        return Err(invalid(call, format!("`{flag}` must be true or false"), None));
    }
    let listing = Listing::of(call, tenant, "CSP origins");
    let wanted = Wanted { tenant, origin, fields, listing, looked: Cell::new(false) };
    let converged = converge::ensure(call, &wanted)?;
    if converged.change.is_write() {
        wanted.listing.wrote(call, &wanted.origin, converged.document.clone());
    }
    Ok(converged.document)
}

pub(super) fn methods() -> Module {
    exported_module!(members)
}

#[export_module]
#[allow(clippy::unwrap_used, reason = "in what Rhai generates")]
mod members {
    /// Makes sure the tenant's content security policy allows this origin for these directives; gives the entry as Qlik
    /// describes it.
    ///
    /// Checks first that the header stays within Qlik's 6,144 characters and 256 entries.
    ///
    /// - `options`: `origin`, such as `"tiles.harbour.example"`, which names the entry; `name`, `description`; and the flags
    ///   `childSrc`, `connectSrc`, `connectSrcWSS`, `fontSrc`, `formAction`, `frameAncestors`, `frameSrc`, `imgSrc`,
    ///   `mediaSrc`, `objectSrc`, `scriptSrc`, `styleSrc`, `workerSrc`. What is left out is left as it is.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// tenant.csp_origins.ensure(#{ origin: "tiles.harbour.example", imgSrc: true, connectSrc: true });
    /// ```
    #[rhai_fn(name = "ensure", pure, return_raw)]
    pub fn ensure_origin(
        context: NativeCallContext,
        origins: &mut CspOrigins,
        options: ScriptMap,
    ) -> Result<Dynamic, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.csp_origins.ensure")?;
        let document = ensure(&mut call, &origins.0, options)?;
        script(&call, &document)
    }

    /// All entries of the tenant's content security policy as Qlik describes them.
    ///
    /// ```rhai
    /// let tenant = tenants::ensure(customer);
    /// for entry in tenant.csp_origins.list() { log(entry.origin); }
    /// ```
    #[rhai_fn(name = "list", pure, return_raw)]
    pub fn list_origins(context: NativeCallContext, origins: &mut CspOrigins) -> Result<Array, Box<EvalAltResult>> {
        let mut call = Call::begin(&context, "tenant.csp_origins.list")?;
        let found = all(&origins.0).list(&mut call)?;
        scripts(&call, &found)
    }
}
