use std::fmt;

/// A secret as a script sees it: opaque. It can be put into a request or a template for a request body, nothing else.
#[derive(Clone)]
pub struct Secret {
    name: String,
}

impl Secret {
    /// The secret called `name`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned() }
    }

    /// Its name, which is no secret.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
