//! What Qlik's other pages say beside the published types.

use std::collections::HashMap;

use super::EMBEDDED;
use super::text::Text;

const SOURCE: &str = include_str!("../../contract/amendments.toml");

/// The amendments by what they amend. Written in TOML for the sake of its comments, read as the JSON it means.
#[derive(Debug)]
pub(super) struct Amendments {
    schemas: HashMap<&'static str, Text>,
    queries: Option<Text>,
    operations: Option<Text>,
}

impl Amendments {
    /// Reads the embedded file; its text lives as long as the contract, which is for ever.
    pub(super) fn read() -> Self {
        let value: serde_json::Value = toml::from_str(SOURCE).expect(EMBEDDED);
        let text = Text::new(Box::leak(value.to_string().into_boxed_str()));
        Self {
            schemas: text.get("schemas").into_iter().flat_map(Text::members).collect(),
            queries: text.get("queries"),
            operations: text.get("operations"),
        }
    }

    /// What is added to the schema of this name.
    pub(super) fn schema(&self, name: &str) -> Option<Text> {
        self.schemas.get(name).copied()
    }

    /// The query parameters this operation has besides.
    pub(super) fn queries(&self, id: &str) -> impl Iterator<Item = (&'static str, Text)> {
        self.queries.and_then(|queries| queries.get(id)).into_iter().flat_map(Text::members)
    }

    /// Whether the operation may come without its body.
    pub(super) fn is_body_optional(&self, id: &str) -> bool {
        let body =
            self.operations.and_then(|operations| operations.get(id)).and_then(|operation| operation.get("body"));
        body.and_then(Text::as_str) == Some("optional")
    }
}

#[cfg(test)]
mod tests {
    use super::super::contract;
    use super::*;

    /// A wrong name there would silently amend nothing.
    #[test]
    fn every_amendment_amends_something() {
        let amendments = Amendments::read();
        let names = |text: Option<Text>| text.into_iter().flat_map(Text::members).map(|(name, _)| name);
        for name in amendments.schemas.keys() {
            assert!(contract().named().contains_key(name), "{name}");
        }
        for id in names(amendments.queries).chain(names(amendments.operations)) {
            assert!(contract().operation(id).is_some(), "{id}");
        }
    }
}
