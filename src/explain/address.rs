use percent_encoding::percent_decode_str;

/// What a person says of a thing: its name, its id, or an address that has the id in its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// All of it, as given.
    pub(super) text: String,
    /// The parts of the path, when it is an address.
    pub(super) segments: Vec<String>,
    /// The host of the address; a served sandbox has its tenants' hosts as the first part of the path.
    pub(super) hosts: Vec<String>,
}

impl Address {
    pub(super) fn of(text: &str) -> Self {
        let text = text.trim();
        let (host, path) = match text.split_once("://") {
            Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
            None if text.starts_with('/') => ("", text),
            None => return Self { text: text.to_owned(), segments: Vec::new(), hosts: Vec::new() },
        };
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let segments: Vec<String> = path
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned())
            .collect();
        let host = host.split(['?', '#']).next().unwrap_or_default();
        let hosts = [host].into_iter().chain(segments.first().map(String::as_str).filter(|first| first.contains('.')));
        let hosts = hosts.filter(|host| !host.is_empty()).map(str::to_lowercase).collect();
        Self { text: text.to_owned(), segments, hosts }
    }

    /// What the thing may be called, the likeliest first.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        let segments = self.segments.iter().rev().map(String::as_str).filter(|segment| !is_of_every_path(segment));
        let hosts = self.hosts.iter().map(String::as_str).filter(|_| !self.has_id());
        [self.text.as_str()].into_iter().chain(segments).chain(hosts)
    }

    /// Whether it means something on a host, and not the host: ids have digits, pages have not.
    fn has_id(&self) -> bool {
        let own = self.segments.iter().filter(|segment| !is_of_every_path(segment) && !self.hosts.contains(segment));
        own.flat_map(|segment| segment.chars()).any(|character| character.is_ascii_digit())
    }
}

/// `api`, `v1`.
fn is_of_every_path(segment: &str) -> bool {
    let version = segment.strip_prefix('v').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    segment == "api" || version
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Vec<String>, Vec<String>) {
        let Address { segments, hosts, .. } = Address::of(text);
        (segments, hosts)
    }

    #[test]
    fn an_address_is_taken_apart() {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            parts("https://Q7.eu.qlikcloud.com/api/v1/spaces/s%201?limit=1#top"),
            (own(&["api", "v1", "spaces", "s 1"]), own(&["q7.eu.qlikcloud.com"]))
        );
        assert_eq!(
            parts("http://127.0.0.1:8080/q7.eu.qlikcloud.com/api/v1/spaces/s1"),
            (
                own(&["q7.eu.qlikcloud.com", "api", "v1", "spaces", "s1"]),
                own(&["127.0.0.1:8080", "q7.eu.qlikcloud.com"])
            )
        );
        assert_eq!(parts("https://q7.eu.qlikcloud.com"), (own(&[]), own(&["q7.eu.qlikcloud.com"])));
        assert_eq!(parts("/api/v1/spaces/s1"), (own(&["api", "v1", "spaces", "s1"]), own(&[])));
        assert_eq!(parts("space \"A/B\""), (own(&[]), own(&[])));
    }

    #[test]
    fn the_end_of_a_path_is_likelier_than_its_beginning() {
        let names = |text: &str| Address::of(text).names().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(names("https://q7.eu/api/v1/spaces/s1"), ["https://q7.eu/api/v1/spaces/s1", "s1", "spaces"]);
        assert_eq!(names("https://q7.eu/hub"), ["https://q7.eu/hub", "hub", "q7.eu"]);
        assert_eq!(names("Desk"), ["Desk"]);
    }
}
