//! Just enough of X.509 to read when a certificate ends, and its key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

/// The bytes of the first PEM block whose label ends with `label`.
pub(super) fn pem_block(pem: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once(&format!("{label}-----"))?;
    let (body, _) = rest.split_once("-----END")?;
    let body: String = body.split_ascii_whitespace().collect();
    STANDARD.decode(body).ok()
}

/// The public key of the certificate, in PEM.
pub(super) fn public_key(pem: &str) -> Option<String> {
    let der = pem_block(pem, "CERTIFICATE")?;
    // ... validity subject key
    let (_, _, subject) = element(validity(&der)?)?;
    let (_, _, key) = element(subject)?;
    let rest = element(key)?.2;
    let body = STANDARD.encode(&key[..key.len() - rest.len()]);
    let lines: Vec<&str> = body.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    Some(format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n")))
}

/// A certificate's content from its validity on.
fn validity(der: &[u8]) -> Option<&[u8]> {
    // Certificate > TBSCertificate > [version] serial signature issuer validity { not before, not after } subject key
    let (_, certificate, _) = element(der)?;
    let (_, body, _) = element(certificate)?;
    let mut rest = body;
    if rest.first() == Some(&0xa0) {
        rest = element(rest)?.2;
    }
    for _serial_signature_issuer in 0..3 {
        rest = element(rest)?.2;
    }
    Some(rest)
}

/// When the certificate ends.
pub(super) fn expires(pem: &str) -> Option<Timestamp> {
    let der = pem_block(pem, "CERTIFICATE")?;
    let (_, validity, _) = element(validity(&der)?)?;
    let (_, _, after) = element(validity)?;
    let (tag, text, _) = element(after)?;
    let text = std::str::from_utf8(text).ok()?;
    let text = match tag {
        // UTCTime: two digits of the year, of the years 1950 to 2049 (RFC 5280, 4.1.2.5.1).
        0x17 => format!("{}{text}", if text.get(..2)? < "50" { "20" } else { "19" }),
        0x18 => text.to_owned(),
        _ => return None,
    };
    let digits = text.strip_suffix('Z').filter(|text| text.len() == 14 && text.bytes().all(|b| b.is_ascii_digit()))?;
    let part = |from: usize, to: usize| &digits[from..to];
    format!("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14))
        .parse()
        .ok()
}

/// The tag and content of the first DER element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(count)?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}
