use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair as RsaKeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_RSA_SHA256, RsaKeySize};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::vault::plain_name;
use super::{Vault, VaultError, certificate};
use crate::operation::secret::SecretStore as _;
use crate::surroundings::Clock;

/// How long a new certificate holds: what Qlik's tutorial takes
/// (qlik.dev, "Create signed tokens for JWT authorization").
const VALID: Duration = Duration::from_secs(1825 * 24 * 60 * 60);

/// Key pairs that sign the tokens of a JWT identity provider, made once into the vault's sink.
#[derive(Clone)]
pub struct Keys {
    vault: Vault,
    clock: Arc<dyn Clock>,
    /// Making a pair takes long: two askers of one process wait for one another instead of both making one.
    making: Arc<tokio::sync::Mutex<()>>,
}

/// The bits of a new RSA key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KeySize {
    /// 2,048 bits.
    #[default]
    Rsa2048,
    /// 3,072 bits.
    Rsa3072,
    /// 4,096 bits; seconds to make.
    Rsa4096,
}

impl KeySize {
    /// The size of this many bits, when it is one of the three.
    #[must_use]
    pub fn from_bits(bits: u64) -> Option<Self> {
        match bits {
            2048 => Some(Self::Rsa2048),
            3072 => Some(Self::Rsa3072),
            4096 => Some(Self::Rsa4096),
            _ => None,
        }
    }
}

/// A key pair, without its private half.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The certificate, PEM: what an identity provider is given.
    pub certificate: String,
    /// The public key, PEM.
    pub public_key: String,
    /// When the certificate ends; it may have ended already.
    pub expires: Timestamp,
    /// Whether it was made just now.
    pub created: bool,
    /// The name of the secret that holds the private key, PEM (PKCS #8).
    pub secret: String,
}

impl Keys {
    /// The keys of this vault.
    #[must_use]
    pub fn new(vault: Vault, clock: Arc<dyn Clock>) -> Self {
        Self { vault, clock, making: Arc::default() }
    }

    /// The key pair called `name`, made now when there is none.
    ///
    /// The private key is durable before the certificate is made, so a crash between them costs nothing: the next call
    /// makes the certificate of the same key.
    ///
    /// # Errors
    /// When the name is not one for keys, the sink cannot be written, or what lies there is not a key.
    pub async fn ensure(&self, name: &str, size: KeySize) -> Result<KeyPair, VaultError> {
        if !plain_name(name) {
            return Err(VaultError::Name { name: name.to_owned() });
        }
        let (key_name, certificate_name) = (secret_name(name), format!("keys/{name}.certificate"));
        let _turn = self.making.lock().await;
        let mut created = false;
        let key = if let Some(key) = self.find(&key_name).await? {
            key
        } else {
            let made = self.vault.off_thread(move || make_key(size)).await.map_err(|why| broken(name, why))?;
            created = self.vault.store_new(&key_name, made).await?;
            self.vault.text(&key_name).await?
        };
        let certificate = if let Some(certificate) = self.find(&certificate_name).await? {
            certificate
        } else {
            let made = make_certificate(name, &key, self.clock.now()).map_err(|why| broken(name, why))?;
            self.vault.store_new(&certificate_name, made.into()).await?;
            self.vault.text(&certificate_name).await?
        };
        let certificate = certificate.expose_secret().to_owned();
        let expires = certificate::expires(&certificate)
            .ok_or_else(|| broken(name, "its certificate cannot be read".to_owned()))?;
        // That it is a key at all is seen here; what kind of numbers it holds is checked when it signs, which takes
        // longer than everything else in a run.
        certificate::pem_block(key.expose_secret(), "PRIVATE KEY")
            .ok_or_else(|| broken(name, "its private key cannot be read: it is not PEM".to_owned()))?;
        let public_key = certificate::public_key(&certificate)
            .ok_or_else(|| broken(name, "its certificate cannot be read".to_owned()))?;
        Ok(KeyPair { certificate, public_key, expires, created, secret: key_name })
    }

    /// Signs a JSON Web Token (RS256) with the key called `name` and keeps it in memory as a secret, whose name is
    /// returned. Equal claims give the same token and the same name.
    ///
    /// # Errors
    /// When there is no such key.
    pub async fn sign(&self, name: &str, kid: &str, claims: &Value) -> Result<String, VaultError> {
        if !plain_name(name) {
            return Err(VaultError::Name { name: name.to_owned() });
        }
        let key = self.vault.text(&secret_name(name)).await.map_err(|error| match error {
            VaultError::Unknown { .. } => broken(name, "there is no such key; ensure it first".to_owned()),
            other => other,
        })?;
        let header = json!({ "alg": "RS256", "typ": "JWT", "kid": kid });
        let message = [header.to_string(), claims.to_string()].map(|part| URL_SAFE_NO_PAD.encode(part)).join(".");
        let digest: String = Sha256::digest(&message).iter().take(12).fold(String::new(), |mut text, byte| {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        });
        let signed = self.vault.off_thread(move || sign(&key, &message)).await.map_err(|why| broken(name, why))?;
        let secret = format!("jwt/{name}/{digest}");
        self.vault.keep(&secret, signed);
        Ok(secret)
    }

    async fn find(&self, name: &str) -> Result<Option<SecretString>, VaultError> {
        match self.vault.text(name).await {
            Ok(text) => Ok(Some(text)),
            Err(VaultError::Unknown { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn secret_name(key: &str) -> String {
    format!("keys/{key}.key")
}

fn broken(name: &str, why: String) -> VaultError {
    VaultError::Key { name: name.to_owned(), why }
}

fn make_key(size: KeySize) -> Result<SecretString, String> {
    let size = match size {
        KeySize::Rsa2048 => RsaKeySize::_2048,
        KeySize::Rsa3072 => RsaKeySize::_3072,
        KeySize::Rsa4096 => RsaKeySize::_4096,
    };
    let pair = rcgen::KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).map_err(|error| error.to_string())?;
    Ok(pair.serialize_pem().into())
}

fn make_certificate(name: &str, key: &SecretString, now: Timestamp) -> Result<String, String> {
    let pair = rcgen::KeyPair::from_pem(key.expose_secret())
        .map_err(|error| format!("its private key cannot be read: {error}"))?;
    let seconds = u64::try_from(now.as_second()).map_err(|_| "the clock stands before 1970".to_owned())?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    params.not_after = params.not_before + VALID;
    let certificate = params.self_signed(&pair).map_err(|error| error.to_string())?;
    Ok(certificate.pem())
}

fn sign(key: &SecretString, message: &str) -> Result<SecretString, String> {
    let der = certificate::pem_block(key.expose_secret(), "PRIVATE KEY")
        .ok_or_else(|| "its private key is not PEM".to_owned())?;
    let pair = RsaKeyPair::from_pkcs8(&der)
        .or_else(|_| RsaKeyPair::from_der(&der))
        .map_err(|error| format!("its private key is not an RSA key: {error}"))?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message.as_bytes(), &mut signature)
        .map_err(|_| "signing failed".to_owned())?;
    Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}
