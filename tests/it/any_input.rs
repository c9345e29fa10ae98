//! Whatever a file holds, reading it ends in a value or an error.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use tenantry::operation::Key;
use tenantry::playbook::{Limits, Playbook, Runtime, Start};
use tenantry::project::{Customer, Project, Schema};
use tenantry::render::Templates;
use tenantry::surroundings::SystemClock;

/// Texts made of what the languages are made of.
fn text(words: &'static [&'static str]) -> impl Strategy<Value = String> {
    let word = prop_oneof![
        6 => prop::sample::select(words).prop_map(str::to_owned),
        1 => "\\PC{0,4}",
        1 => any::<char>().prop_map(String::from),
        1 => any::<i64>().prop_map(|number| number.to_string()),
    ];
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

const DATA: &[&str] = &[
    "code", ": ", ":", "\n", "\n  ", "- ", "{", "}", "[", "]", ",", ";", "\t", "\"", "'", "&a ", "*a", "!!str ", "|",
    ">", "<<", "$secret", "=", ".", "a", "1", "0x", "1e999", "-", "~", "null", "true", "#", "---\n", "...", "é",
    "\r\n", "\u{feff}", "\\u12", "%",
];
const SETTINGS: &[&str] = &[
    "[targets.prod]\n",
    "[defaults]\n",
    "[limits]\n",
    "[secrets]\n",
    "target",
    "tenant",
    "api_key",
    "regions.eu",
    "client_id",
    "client_secret",
    "license_key",
    "address",
    " = ",
    "\"",
    "\"x\"",
    "{ env = \"A\" }",
    "{ command = [] }",
    "{",
    "}",
    "[",
    "]",
    "\n",
    "é",
    "9999999999999999999",
    "-1",
    "#",
    "'''",
    "\"\"\"",
];
const SCRIPT: &[&str] = &[
    "//! ",
    "@inputs ",
    "@permits ",
    "a:b ",
    "\n",
    "let ",
    "x",
    " = ",
    ";",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "|",
    "||",
    "#{",
    "fn ",
    "if ",
    "loop ",
    "for i in 0..9 ",
    "parallel",
    "\"",
    "`",
    "${",
    "customer",
    ".",
    "..",
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "<<",
    ">>",
    "==",
    "!",
    "?.",
    "??",
    "throw ",
    "try ",
    "catch ",
    "switch ",
    "import ",
    "export ",
    "=>",
    "'",
    "\\",
    "/*",
    "*/",
    "9223372036854775807",
    "1.0",
    "é",
    "this",
    "sort",
    "pad",
    "split",
    "range",
    "bits",
    "chars",
    "sub_string",
    "crop",
    "splice",
    "extract",
    "get_bits",
    "set_bits",
    "parse_int",
    "to_int",
    "blob",
    ",",
    " as ",
    "return ",
    "exit()",
];
const TEMPLATE: &[&str] = &[
    "{{ ",
    " }}",
    "{% ",
    " %}",
    "{#",
    "#}",
    "if ",
    "endif",
    "for x in ",
    "endfor",
    "range",
    "(",
    ")",
    "name",
    ".",
    "[",
    "]",
    "|",
    "join",
    "tojson",
    "slug",
    "qvs",
    "required",
    "default",
    "batch",
    "slice",
    "indent",
    "'",
    "\"",
    "~",
    "*",
    "//",
    "%",
    "**",
    "9223372036854775807",
    "-",
    "1",
    ",",
    "set x = ",
    "macro m",
    "endmacro",
    "include ",
    "extends ",
    "block b",
    "endblock",
    "\n",
    "é",
    "is ",
    "defined",
    "loop",
    "lower",
    "replace",
    "split",
    "sort",
    "round",
    "abs",
    "int",
];

fn read(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    if let Err(error) = Customer::load(&path) {
        assert!(!error.to_string().is_empty());
    }
    let _ = Schema::load(&path);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, ..ProptestConfig::default() })]

    #[test]
    fn customers(text in text(DATA)) {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a.yaml", "a.json", "a.toml", "a.csv"] {
            read(folder.path(), name, &text);
        }
    }

    #[test]
    fn settings(text in text(SETTINGS)) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tenantry.toml"), text).unwrap();
        if let Err(error) = Project::open(folder.path()) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn playbooks(text in text(SCRIPT)) {
        let runtime = Runtime::new(std::env::temp_dir(), &[]);
        let Ok(playbook) = Playbook::from_source("test.rhai", text) else { return Ok(()) };
        let limits = Limits { steps: 20_000, memory: 8 << 20, ..Limits::default() };
        let customer = json!({ "name": "Harbour", "users": [{ "id": 1 }] });
        let start = Start { customer, limits, clock: Arc::new(SystemClock::default()), verify: false };
        if let Ok(mut session) = runtime.start(&playbook, start) {
            session.asked();
            if let Err(error) = session.finish() {
                prop_assert!(!error.message.contains("unexpectedly"), "{}", error.message);
            }
        }
    }

    #[test]
    fn templates(text in text(TEMPLATE)) {
        let templates = Templates::new(std::env::temp_dir());
        if let Err(error) = templates.render_text(&text, &json!({ "name": "Harbour", "list": [1, 2] })) {
            prop_assert!(!error.to_string().is_empty());
            let _ = error.snippet();
        }
    }

    #[test]
    fn keys(text in "[0-9:#.\\[\\]a-z]{0,20}") {
        if let Ok(key) = text.parse::<Key>() {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}

/// Ran clean with 20,000; a few remind of it.
const CASES: u32 = 64;

/// Every built-in that takes whole numbers, with those at the ends.
#[test]
fn built_ins_take_any_number() {
    let numbers = &["0", "1", "-1", "3", "64", "9223372036854775807", "-9223372036854775807 - 1"];
    let one = [
        "s.get(A)",
        "s.truncate(A)",
        "s.sub_string(A)",
        "s.crop(A)",
        "s.split(A)",
        "s.pop(A)",
        "s[A]",
        "s.chars(A)",
        "a.get(A)",
        "a.remove(A)",
        "a.truncate(A)",
        "a.chop(A)",
        "a.extract(A)",
        "a.split(A)",
        "a[A]",
        "a.insert(A, 1)",
        "b.get(A)",
        "b.remove(A)",
        "b.truncate(A)",
        "b.chop(A)",
        "b.extract(A)",
        "b.split(A)",
        "b[A]",
        "b.insert(A, 1)",
        "b.push(A)",
        "b.contains(A)",
        "abs(A)",
        "-(A)",
        "sign(A)",
        "to_hex(A)",
        "to_binary(A)",
        "bits(A)",
        "get_bit(7, A)",
        "bits(7, A)",
        "to_float(A)",
        "blob(A)",
        "a.pad(A, 1)",
        "s.pad(A, 'x')",
        "b.pad(A, 1)",
        "s.index_of('a', A)",
        "a.index_of(1, A)",
        "parse_int(\"7\", A)",
        "a.for_each(|x| A)",
        "a.find(|x| x == A, A)",
        "a.tag = A",
        "to_int(to_float(A) * 9e300)",
    ];
    let two = [
        "A + B",
        "A - B",
        "A * B",
        "A / B",
        "A % B",
        "A ** B",
        "A << B",
        "A >> B",
        "A & B",
        "range(A, B)",
        "range(A, B, A)",
        "(A..B).contains(A)",
        "s.sub_string(A, B)",
        "s.crop(A, B)",
        "s.chars(A, B)",
        "s.set(A, 'x')",
        "s.sub_string(A..B)",
        "s.sub_string(A..=B)",
        "s[A..B]",
        "a[A..=B]",
        "a.extract(A, B)",
        "a.extract(A..=B)",
        "a.drain(A, B)",
        "a.drain(A..=B)",
        "a.retain(A, B)",
        "a.retain(A..=B)",
        "a.splice(A, B, [9])",
        "a.splice(A..=B, [9])",
        "a.find(|x| true, A)",
        "b.extract(A, B)",
        "b.drain(A, B)",
        "b.retain(A..=B)",
        "b.splice(A, B, b)",
        "b.parse_le_int(A, B)",
        "b.parse_be_int(A..=B)",
        "b.parse_le_float(A, B)",
        "b.write_le(A, B, 7)",
        "b.write_be(A..=B, 7)",
        "b.write_be(A, B, 7.0)",
        "b.write_utf8(A, B, s)",
        "b.write_ascii(A..=B, s)",
        "get_bits(A, B, A)",
        "get_bits(7, A, B)",
        "get_bits(7, A..=B)",
        "let n = 7; n.set_bits(A, B, 1)",
        "let n = 7; n.set_bits(A..=B, 1)",
        "let n = 7; n.set_bit(A, true)",
        "bits(A, B)",
        "for x in bits(7, A, B) {}",
        "for x in range(A, B, 2) { break; }",
        "for x in range(A, B, -2) { break; }",
        "let n = 0; for x in range(A, B, A) { n += 1; if n > 9 { break; } }",
        "max(A, B)",
        "for x in A..=B { break; }",
        "s.split(\"a\", A)",
        "s.split_rev('a', B)",
        "for x in s.chars(A, B) {}",
        "7[A..B]",
        "let n = 7; n[A] = true",
    ];
    let runtime = Runtime::new(std::env::temp_dir(), &[]);
    let limits = Limits { steps: 20_000, memory: 8 << 20, ..Limits::default() };
    let calls = one.iter().chain(&two).flat_map(|call| {
        numbers.iter().flat_map(move |a| {
            let numbers = if call.contains('B') { &numbers[..] } else { &numbers[..1] };
            numbers.iter().map(move |b| call.replace('A', &format!("({a})")).replace('B', &format!("({b})")))
        })
    });
    for call in calls {
        let source = format!("let s = \"aébc\"; let a = [1, 2, 3]; let b = blob(5, 1); {call}; ()");
        let playbook = Playbook::from_source("test.rhai", source).unwrap();
        let start = Start { customer: json!({}), limits, clock: Arc::new(SystemClock::default()), verify: false };
        let Ok(mut session) = runtime.start(&playbook, start) else { panic!("{call}") };
        session.asked();
        if let Err(error) = session.finish() {
            assert!(!error.message.contains("unexpectedly"), "{call}: {}", error.message);
        }
    }
}
