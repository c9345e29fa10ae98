//! Functions and properties that do not exist: what was probably meant, as a partner writes it.

use rhai::Engine;

use super::diagnostic::Diagnostic;
use crate::suggest;

/// How many signatures or names a hint may list.
const SHOWN: usize = 4;

/// One function of the engine, read from its signature.
struct Signature {
    /// `tenants`, or nothing.
    namespace: String,
    name: String,
    /// Names and types.
    parameters: Vec<(String, String)>,
    returns: String,
}

impl Signature {
    /// Reads `ensure(spaces: &mut Spaces, name: string) -> Result<Space, Box<EvalAltResult>>`.
    fn read(text: &str) -> Option<Self> {
        let (path, rest) = text.split_once('(')?;
        let (parameters, returns) = rest.rsplit_once(") -> ").or_else(|| Some((rest.strip_suffix(')')?, "")))?;
        let path = path.rsplit(' ').next().unwrap_or(path);
        let (namespace, name) = path.rsplit_once("::").unwrap_or(("", path));
        let parameters = split(parameters).map(|parameter| match parameter.split_once(": ") {
            Some((name, kind)) => (name.trim_start_matches("r#").to_owned(), plain(kind)),
            None => (parameter.to_owned(), "any".to_owned()),
        });
        Some(Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            parameters: parameters.filter(|(name, _)| name != "context").collect(),
            returns: returned(returns),
        })
    }

    /// Whether it is a method of this type.
    fn is_of(&self, receiver: &str) -> bool {
        self.namespace.is_empty() && self.parameters.first().is_some_and(|(_, kind)| kind == receiver)
    }

    /// `spaces.ensure(name: string, type: string) -> Space`
    fn shown(&self, as_method: bool) -> String {
        let (before, parameters) = match self.parameters.split_first() {
            Some(((receiver, _), rest)) if as_method => (format!("{receiver}."), rest),
            _ if self.namespace.is_empty() => (String::new(), self.parameters.as_slice()),
            _ => (format!("{}::", self.namespace), self.parameters.as_slice()),
        };
        let parameters: Vec<String> = parameters
            .iter()
            .map(|(name, kind)| if name == "_" { kind.clone() } else { format!("{name}: {kind}") })
            .collect();
        let returns = if self.returns.is_empty() { String::new() } else { format!(" -> {}", self.returns) };
        format!("`{before}{}({}){returns}`", self.name, parameters.join(", "))
    }
}

/// Rhai's most common confusing message: says whether the name exists with other arguments, or what is near it.
pub(super) fn unknown_function(signature: &str, engine: &Engine) -> Diagnostic {
    let (path, arguments) = signature.split_once(" (").unwrap_or((signature, ""));
    let (namespace, name) = path.trim().rsplit_once("::").unwrap_or(("", path.trim()));
    let given: Vec<String> = split(arguments.trim_end_matches(')')).map(plain).collect();
    let known = signatures(engine);
    if !namespace.is_empty() {
        let within: Vec<&Signature> = known.iter().filter(|known| known.namespace == namespace).collect();
        let mut diagnostic = suggested(name, path.trim(), &given, &within, false);
        if within.is_empty() {
            diagnostic.hints.clear();
        }
        return diagnostic;
    }
    if let Some((receiver, rest)) = given.split_first() {
        let methods: Vec<&Signature> = known.iter().filter(|known| known.is_of(receiver)).collect();
        let is_handle = receiver.starts_with(char::is_uppercase) && !methods.is_empty();
        if is_handle || methods.iter().any(|method| method.name == name) {
            return suggested(name, &format!("{name}` of `{receiver}"), rest, &methods, true);
        }
    }
    let free: Vec<&Signature> = known
        .iter()
        .filter(|known| known.parameters.first().is_none_or(|(_, kind)| !kind.starts_with(char::is_uppercase)))
        .collect();
    suggested(name, name, &given, &free, false)
}

/// What to say of `name` when `known` are the functions that it could have been.
fn suggested(name: &str, shown: &str, given: &[String], known: &[&Signature], as_method: bool) -> Diagnostic {
    let called = |wanted: &str| {
        let mut found: Vec<String> =
            known.iter().filter(|known| known.name == wanted).map(|known| known.shown(as_method)).collect();
        found.sort();
        found.dedup();
        found.truncate(SHOWN);
        found.join(" or ")
    };
    if known.iter().any(|known| known.name == name) {
        let given =
            if given.is_empty() { "without arguments".to_owned() } else { format!("with ({})", given.join(", ")) };
        return Diagnostic::new(format!("`{shown}` cannot be called {given}")).hint(format!("it is {}", called(name)));
    }
    let diagnostic = Diagnostic::new(format!("there is no function `{shown}`"));
    let mut names: Vec<&str> = known
        .iter()
        .map(|known| known.name.as_str())
        .filter(|name| name.starts_with(char::is_alphabetic) && !name.contains('$') && !name.starts_with("to_"))
        .collect();
    if let Some(near) = suggest::nearest(name, names.iter().copied()) {
        return diagnostic.hint(format!("did you mean {}?", called(near)));
    }
    if as_method {
        names.sort_unstable();
        names.dedup();
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        return if names.is_empty() { diagnostic } else { diagnostic.hint(format!("there are {}", names.join(", "))) };
    }
    diagnostic.hint("functions of the host belong to a handle: `tenant.spaces.ensure(...)`")
}

/// A namespace that does not exist.
pub(super) fn unknown_namespace(name: &str, engine: &Engine) -> Diagnostic {
    let diagnostic = Diagnostic::new(format!("there is no namespace `{name}`"));
    let known = signatures(engine);
    let mut namespaces: Vec<&str> = known.iter().map(|known| known.namespace.as_str()).collect();
    namespaces.retain(|name| !name.is_empty());
    namespaces.sort_unstable();
    namespaces.dedup();
    diagnostic.hint(suggest::did_you_mean(name, namespaces.iter().copied()).unwrap_or_else(|| {
        format!("the host's are {}; others come from `import \"file\" as {name}`", namespaces.join(", "))
    }))
}

/// `Unknown property 'spacs' - a getter is not registered for type 'Tenant'`, as Rhai puts it.
pub(super) fn unknown_property(message: &str, engine: &Engine) -> Option<Diagnostic> {
    let (name, rest) = message.strip_prefix("Unknown property '")?.split_once('\'')?;
    let (kind, _) = rest.split_once("type '")?.1.split_once('\'')?;
    let kind = plain(kind);
    let verb = if rest.contains("setter") { "no property to set" } else { "no property" };
    let diagnostic = Diagnostic::new(format!("a value of type `{kind}` has {verb} `{name}`"));
    let known = signatures(engine);
    let names = known.iter().filter(|known| known.is_of(&kind)).filter_map(|known| known.name.strip_prefix("get$"));
    let names: Vec<&str> = names.collect();
    Some(match suggest::did_you_mean(name, names.iter().copied()) {
        Some(hint) => diagnostic.hint(hint),
        None if names.is_empty() => diagnostic,
        None => diagnostic.hint(format!("there are {}", names.join(", "))),
    })
}

fn signatures(engine: &Engine) -> Vec<Signature> {
    engine.gen_fn_signatures(false).iter().filter_map(|text| Signature::read(text)).collect()
}

/// Splits at commas that stand outside of brackets.
fn split(list: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_i32;
    list.split(move |character| {
        match character {
            '<' | '(' | '[' => depth += 1,
            '>' | ')' | ']' => depth -= 1,
            _ => {}
        }
        character == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|part| !part.is_empty())
}

/// A type as a partner knows it.
fn plain(kind: &str) -> String {
    let mut names: Vec<&str> = kind
        .trim()
        .trim_start_matches("&mut ")
        .split('|')
        .map(|name| match name.trim().rsplit("::").next().unwrap_or_default() {
            "&str" | "ImmutableString" | "String" | "str" => "string",
            "i64" | "INT" => "int",
            "f64" | "FLOAT" => "float",
            "ScriptMap" | "Map" => "map",
            "Array" => "array",
            "Dynamic" | "?" | "T" => "any",
            "BundleHandle" => "Bundle",
            other => other,
        })
        .collect();
    names.dedup();
    names.join(" or ")
}

/// What a function gives back: the type inside `Result`, without its path; nothing for `()`.
fn returned(kind: &str) -> String {
    let inner = kind.split_once("Result<").map_or(kind, |(_, rest)| rest);
    let name = plain(inner.split([',', '>']).next().unwrap_or(inner));
    if matches!(name.as_str(), "()" | "") { String::new() } else { name }
}
