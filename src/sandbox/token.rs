//! Access tokens: signed statements, so that issuing one changes nothing and a copy of the state knows them all.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// How long a token lasts: 6 hours.
pub(super) const LIFE_SECONDS: i64 = 21_600;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    /// The host it was asked on; it is good nowhere else.
    pub(super) host: String,
    /// The client that asked.
    pub(super) client: String,
    /// The user it acts as; none on hosts without users.
    pub(super) user: Option<String>,
    /// What it is good for, as words with spaces between them.
    #[serde(default)]
    pub(super) scope: String,
    /// When it ends, in seconds since 1970.
    pub(super) exp: i64,
}

/// `{"alg":"HS256","typ":"JWT"}`
const HEADER: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9";

fn mac(key: &str, signed: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(signed.as_bytes());
    mac
}

/// The token that states a grant.
pub(super) fn issue(key: &str, grant: &Grant) -> String {
    let claims = serde_json::to_vec(grant).expect("strings and a number make JSON");
    let signed = format!("{HEADER}.{}", URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(mac(key, &signed).finalize().into_bytes());
    format!("{signed}.{signature}")
}

/// What a token grants, when it is ours and still good.
pub(super) fn read(key: &str, token: &str, now: Timestamp) -> Option<Grant> {
    let (signed, signature) = token.rsplit_once('.')?;
    mac(key, signed).verify_slice(&URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let (_, claims) = signed.split_once('.')?;
    let grant: Grant = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    (now.as_second() < grant.exp).then_some(grant)
}
