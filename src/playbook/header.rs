//! What a playbook says about itself in its first lines.
//!
//! ```text
//! //! Onboard a customer: create the tenant and configure it.
//! //! @inputs  schemas/customer.json
//! //! @permits tenants:create spaces:write
//! ```

/// The header of a playbook.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// What the playbook is for.
    pub text: String,
    /// The JSON Schema that customers must satisfy, relative to the project.
    pub inputs: Option<String>,
    /// The playbook that makes what this one works on, relative to the project: run it first.
    pub after: Option<String>,
    /// What the playbook may do (`spaces:write`); `None` when it does not say, and then everything.
    pub permits: Option<Vec<String>>,
}

/// A header line is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderError {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl Header {
    /// Reads the `//!` lines at the top of `source`.
    ///
    /// # Errors
    /// When a line begins with an unknown `@word`, or a known one has nothing after it.
    pub fn parse(source: &str) -> Result<Self, HeaderError> {
        let mut header = Self::default();
        let mut text = Vec::new();
        for (index, line) in source.lines().enumerate() {
            let Some(content) = line.trim_start().strip_prefix("//!") else {
                if line.trim().is_empty() || (index == 0 && line.starts_with("#!")) {
                    continue;
                }
                break;
            };
            let column = line.chars().count() - content.trim_start().chars().count() + 1;
            let error =
                |message: String, hint: &str| HeaderError { line: index + 1, column, message, hint: hint.to_owned() };
            let Some(directive) = content.trim().strip_prefix('@') else {
                text.push(content.trim());
                continue;
            };
            let (word, value) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
            let value = value.trim();
            match word {
                "inputs" if value.is_empty() => {
                    return Err(error(
                        "`@inputs` names no file".to_owned(),
                        "write: //! @inputs schemas/customer.json",
                    ));
                }
                "inputs" if header.inputs.is_some() => {
                    return Err(error("`@inputs` stands twice".to_owned(), "a playbook has one schema; keep one line"));
                }
                "inputs" => header.inputs = Some(value.to_owned()),
                "after" if value.is_empty() || header.after.is_some() => {
                    return Err(error(
                        "`@after` names one playbook".to_owned(),
                        "write: //! @after playbooks/onboard.rhai",
                    ));
                }
                "after" => header.after = Some(value.to_owned()),
                "permits" => {
                    let permits = header.permits.get_or_insert_default();
                    for permit in value.split([' ', '\t', ',']).filter(|permit| !permit.is_empty()) {
                        if !permit.contains(':') {
                            return Err(error(
                                format!("`{permit}` is not a permission"),
                                "a permission reads like `spaces:write` or `tenants:create`",
                            ));
                        }
                        permits.push(permit.to_owned());
                    }
                }
                other => {
                    return Err(error(
                        format!("unknown header word `@{other}`"),
                        "known are `@inputs`, `@after` and `@permits`",
                    ));
                }
            }
        }
        text.join("\n").trim().clone_into(&mut header.text);
        Ok(header)
    }
}
