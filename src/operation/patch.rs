use serde_json::Value;

/// One step of a JSON Patch in Qlik's dialect: words of its own beside the standard ones, members that some services
/// write with a capital, paths that some write without the first slash.
#[derive(Clone, Debug, PartialEq)]
pub struct PatchStep<'v> {
    /// What is done, in lower case: `replace`, `add`, `unset`, `remove-value`.
    pub word: String,
    /// Where, as it was written.
    pub path: Option<&'v str>,
    /// What with; `null` when nothing is given.
    pub value: &'v Value,
}

impl<'v> PatchStep<'v> {
    /// Reads a step.
    #[must_use]
    pub fn of(step: &'v Value) -> Self {
        let member = |name: &str, other: &str| step.get(name).or_else(|| step.get(other)).unwrap_or(&Value::Null);
        Self {
            word: member("op", "Op").as_str().unwrap_or_default().to_ascii_lowercase(),
            path: member("path", "Path").as_str(),
            value: member("value", "Value"),
        }
    }

    /// The path as a JSON pointer.
    #[must_use]
    pub fn pointer(&self) -> Option<String> {
        self.path.map(|path| if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
    }
}
