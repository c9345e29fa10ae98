//! Where Qlik Cloud hosts live, and which links stay on one.

use url::Url;

use crate::operation::{Failure, FailureKind};

/// Where a target's hosts are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Each host at its own name: `https://<host name>/`.
    Direct,
    /// Every host under one address, its name as the next path segment: `<base>/<host name>/`. How a served sandbox
    /// and a gateway offer many hosts on one port. The base keeps its own path.
    Under(Url),
}

/// An address under which no hosts can be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{address}` is not a base address: {reason}")]
pub struct AddressError {
    address: String,
    reason: String,
}

impl Addresses {
    /// Every host under `address`.
    ///
    /// # Errors
    /// When it is not an absolute `http` or `https` address without query, fragment and user.
    pub fn under(address: &str) -> Result<Self, AddressError> {
        let refuse = |reason: &str| AddressError { address: address.to_owned(), reason: reason.to_owned() };
        let mut url = Url::parse(address).map_err(|error| refuse(&error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
            return Err(refuse("it must begin with http:// or https:// and name a host"));
        }
        if url.query().is_some() || url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(refuse("it must not have a query, a fragment or a user"));
        }
        let path = format!("{}/", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(Self::Under(url))
    }

    /// Whether the hosts are on this machine, so that no proxy stands between.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Direct => false,
            Self::Under(url) => match url.host() {
                Some(url::Host::Ipv4(address)) => address.is_loopback(),
                Some(url::Host::Ipv6(address)) => address.is_loopback(),
                Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
                None => false,
            },
        }
    }

    /// The address of a host as a person would type it, without a slash at the end.
    #[must_use]
    pub fn shown(&self, host: &str) -> String {
        match self.base(host) {
            Ok(base) => base.url.as_str().trim_end_matches('/').to_owned(),
            Err(_) => format!("https://{host}"),
        }
    }

    /// Where `host` lives.
    pub(super) fn base(&self, host: &str) -> Result<Base, Failure> {
        if !is_host_name(host) {
            return Err(Failure::new(
                FailureKind::Denied,
                "tenantry/foreign-host",
                format!("`{host}` is not a host name"),
            ));
        }
        let url = match self {
            Self::Direct => Url::parse(&format!("https://{host}/")),
            Self::Under(base) => Url::parse(&format!("{base}{host}/")),
        };
        let url = url.map_err(|error| {
            Failure::new(FailureKind::Denied, "tenantry/foreign-host", format!("`{host}` is not a host name"))
                .detail(error.to_string())
        })?;
        Ok(Base { host: host.to_owned(), url })
    }
}

/// The address of one host: what tokens, limits and link checks are keyed by.
#[derive(Clone, Debug)]
pub(super) struct Base {
    /// The host's real name.
    pub(super) host: String,
    /// Its address, ending with `/`.
    pub(super) url: Url,
}

impl Base {
    /// The address of a path on this host. The path is percent-encoded already, the query is not.
    pub(super) fn at(&self, path: &str, query: &[(String, String)]) -> Result<Url, Failure> {
        let wrong = || {
            Failure::new(FailureKind::Denied, "tenantry/bad-path", format!("`{path}` is not a path of {}", self.host))
                .detail("it must begin with `/`, be percent-encoded and have no `.` or `..` segments")
        };
        let rest = path.strip_prefix('/').ok_or_else(wrong)?;
        let mut url = Url::parse(&format!("{}{rest}", self.url)).map_err(|_| wrong())?;
        // Parsing folds `..` away and splits at `?` and `#`: an id with such content would address something else.
        if url.path() != format!("{}{rest}", self.url.path()) || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong());
        }
        if !query.is_empty() {
            let text: Vec<String> =
                query.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
            url.set_query(Some(&text.join("&")));
        }
        Ok(url)
    }

    /// The address a link in an answer means, when it stays on this host.
    ///
    /// A link that begins with `/` is a path of the host, even where the host itself lives under a path: a gateway passes
    /// answers on as they are.
    pub(super) fn follow(&self, from: &Url, link: &str) -> Result<Url, Failure> {
        let rooted = link.starts_with('/') && !link.starts_with("//") && !link.starts_with(self.url.path());
        let url = if rooted { self.url.join(&link[1..]) } else { from.join(link) };
        url.ok().filter(|url| self.contains(url)).ok_or_else(|| {
            Failure::new(FailureKind::Denied, "tenantry/foreign-link", format!("{} sent a link that leaves it", self.host))
                .detail(format!("`{}` is not under `{}`", super::answer::excerpt(&without_query(link)), self.url))
                .hint("Only the target's hosts may be called. Check that the target's address is the one the service uses in its links.")
        })
    }

    fn contains(&self, url: &Url) -> bool {
        url.scheme() == self.url.scheme()
            && url.host() == self.url.host()
            && url.port_or_known_default() == self.url.port_or_known_default()
            && url.username().is_empty()
            && url.password().is_none()
            && url.path().starts_with(self.url.path())
    }

    /// The key of this address.
    pub(super) fn key(&self) -> &str {
        self.url.as_str()
    }
}

/// A link's query may carry a signature that opens what it points at.
fn without_query(link: &str) -> String {
    link.split(['?', '#']).next().unwrap_or_default().to_owned()
}

/// Encodes everything but unreserved characters: `+` and quotes in filters must survive every server's reading.
fn encode(text: &str) -> String {
    const SET: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(text, SET).to_string()
}

fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_climb_or_carry_a_query() {
        let base = Addresses::under("http://127.0.0.1:1/gate").unwrap().base("a.eu.qlikcloud.com").unwrap();
        assert_eq!(
            base.at("/api/v1/spaces", &[]).unwrap().as_str(),
            "http://127.0.0.1:1/gate/a.eu.qlikcloud.com/api/v1/spaces"
        );
        let query = [("filter".to_owned(), "name eq \"a+b\"".to_owned())];
        assert_eq!(base.at("/x", &query).unwrap().query(), Some("filter=name%20eq%20%22a%2Bb%22"));
        for path in ["", "x", "/a/..", "/a/%2e%2e/b", "/a?b=c", "/a#b", "/../../b", "/a b", "/a\\..\\b"] {
            assert_eq!(base.at(path, &[]).unwrap_err().code, "tenantry/bad-path", "{path}");
        }
    }

    #[test]
    fn only_links_below_the_base_are_followed() {
        let base = Addresses::under("http://127.0.0.1:1/gate/").unwrap().base("a.eu.qlikcloud.com").unwrap();
        let from = base.at("/api/v1/users/me", &[]).unwrap();
        for (link, path) in [
            ("/api/v1/users/1", "/gate/a.eu.qlikcloud.com/api/v1/users/1"),
            ("1?x=y", "/gate/a.eu.qlikcloud.com/api/v1/users/1"),
            ("http://127.0.0.1:1/gate/a.eu.qlikcloud.com/z", "/gate/a.eu.qlikcloud.com/z"),
            ("/gate/a.eu.qlikcloud.com/z", "/gate/a.eu.qlikcloud.com/z"),
        ] {
            assert_eq!(base.follow(&from, link).unwrap().path(), path, "{link}");
        }
        for link in [
            "//evil.example/x",
            "https://127.0.0.1:1/gate/a.eu.qlikcloud.com/z",
            "http://127.0.0.1:2/gate/a.eu.qlikcloud.com/z",
            "http://127.0.0.1:1/gate/b.eu.qlikcloud.com/z",
            "http://127.0.0.1:1/gate/a.eu.qlikcloud.com.evil/z",
            "http://u:p@127.0.0.1:1/gate/a.eu.qlikcloud.com/z",
            "../../../../../b.eu.qlikcloud.com/",
            "/../b.eu.qlikcloud.com/",
            "javascript:alert(1)",
        ] {
            assert_eq!(base.follow(&from, link).unwrap_err().code, "tenantry/foreign-link", "{link}");
        }
    }

    #[test]
    fn a_host_is_a_plain_lower_case_name() {
        for host in ["", "evil.example/x", "a@b", "a..b", "-a.b", "A.b", "a b", "a.b:1", "a#b"] {
            assert!(Addresses::Direct.base(host).is_err(), "{host}");
        }
        assert_eq!(Addresses::Direct.base("x1.eu.qlikcloud.com").unwrap().key(), "https://x1.eu.qlikcloud.com/");
    }
}
