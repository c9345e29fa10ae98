//! Secrets: where they come from, where made ones go, and that nothing shows them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use tenantry::operation::secret::SecretStore as _;
use tenantry::store::{CommandLimits, CommitHook, KeySize, Keys, SecretSource, SharedSink, Sink, Vault, Verdict};
use tenantry::surroundings::{Clock, RuntimeClock};

const CANARY: &str = "canary-7f3a-never-shown";

fn vault(folder: &Path) -> Vault {
    let environment = BTreeMap::from([("PORTAL_SECRET".to_owned(), CANARY.to_owned())]);
    Vault::new(Arc::new(environment), Sink::Folder(folder.join("secrets")), CommandLimits::default())
}

fn command(folder: &Path, arguments: &[&str]) -> SecretSource {
    SecretSource::Command { arguments: arguments.iter().map(|&text| text.to_owned()).collect(), folder: folder.into() }
}

async fn text(vault: &Vault, name: &str) -> Result<String, String> {
    match vault.read(name).await {
        Ok(text) => Ok(text.expose_secret().to_owned()),
        Err(failure) => Err(match failure.hint {
            Some(hint) => format!("{} | {hint}", failure.title),
            None => failure.title,
        }),
    }
}

#[tokio::test]
async fn each_source_gives_its_text_without_the_line_end() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("secret.txt"), "from a file\r\n").unwrap();
    let vault = vault(folder.path());
    vault.add("env", SecretSource::Env("PORTAL_SECRET".into()));
    vault.add("file", SecretSource::File(folder.path().join("secret.txt")));
    vault.add("literal", SecretSource::literal("given"));
    assert_eq!(text(&vault, "env").await.unwrap(), CANARY);
    assert_eq!(text(&vault, "file").await.unwrap(), "from a file");
    assert_eq!(text(&vault, "literal").await.unwrap(), "given");
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_runs_once_without_a_shell() {
    let folder = TempDir::new().unwrap();
    let vault = vault(folder.path());
    vault.add("words", command(folder.path(), &["printf", "%s;", "$HOME", "a b"]));
    assert_eq!(text(&vault, "words").await.unwrap(), "$HOME;a b;");
    vault.add("once", command(folder.path(), &["mktemp", "-d", "made-XXXXXX"]));
    let (first, second) = tokio::join!(text(&vault, "once"), text(&vault, "once"));
    assert_eq!(first.unwrap(), second.unwrap());
}

#[cfg(unix)]
#[tokio::test]
async fn a_command_that_fails_hangs_or_floods_is_an_error() {
    let folder = TempDir::new().unwrap();
    let limits = CommandLimits { time: Duration::from_millis(50) };
    let vault = Vault::new(Arc::new(BTreeMap::new()), Sink::Memory, limits);
    vault.add("hangs", command(folder.path(), &["sleep", "60"]));
    vault.add("missing", command(folder.path(), &["tenantry-has-no-such-program"]));
    vault.add("nothing", command(folder.path(), &["true"]));
    insta::assert_snapshot!(text(&vault, "hangs").await.unwrap_err(), @"secret `hangs`: command `sleep` did not end within 50ms | secret commands cannot ask anything: sign in beforehand, or give them what they need");
    assert!(text(&vault, "missing").await.unwrap_err().contains("cannot be started"));

    let patient = Vault::new(Arc::new(BTreeMap::new()), Sink::Memory, CommandLimits::default());
    patient.add("fails", command(folder.path(), &["sh", "-c", "echo not signed in >&2; exit 3"]));
    patient.add("floods", command(folder.path(), &["yes"]));
    patient.add("nothing", command(folder.path(), &["true"]));
    insta::assert_snapshot!(text(&patient, "fails").await.unwrap_err(), @"secret `fails`: command `sh` ended with exit status: 3: not signed in");
    insta::assert_snapshot!(text(&patient, "floods").await.unwrap_err(), @"secret `floods`: command `yes` gives more than 65536 bytes");
    insta::assert_snapshot!(text(&patient, "nothing").await.unwrap_err(), @"secret `nothing`: command `true` is empty");
}

#[tokio::test]
async fn a_secret_that_cannot_be_had_says_which_and_what_to_do() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("binary"), [0xff, 0xfe]).unwrap();
    std::fs::write(folder.path().join("large"), vec![b'a'; 70_000]).unwrap();
    let vault = vault(folder.path());
    vault.add("smtp_password", SecretSource::Env("SMTP_PASSWORD".into()));
    vault.add("binary", SecretSource::File(folder.path().join("binary")));
    vault.add("large", SecretSource::File(folder.path().join("large")));
    insta::assert_snapshot!(text(&vault, "smtp_password").await.unwrap_err(), @"secret `smtp_password`: environment variable SMTP_PASSWORD is not set | set SMTP_PASSWORD, or change the secret's source in tenantry.toml");
    insta::assert_snapshot!(text(&vault, "smtp_passwort").await.unwrap_err(), @"there is no secret called `smtp_passwort` | did you mean `smtp_password`?");
    insta::assert_snapshot!(text(&vault, "crm").await.unwrap_err(), @r#"there is no secret called `crm` | name its source in tenantry.toml: [secrets] crm = { env = "NAME" }"#);
    assert!(text(&vault, "binary").await.unwrap_err().contains("does not give UTF-8 text"));
    assert!(text(&vault, "large").await.unwrap_err().contains("more than 65536 bytes"));
}

#[tokio::test]
async fn a_failed_source_is_asked_again() {
    let folder = TempDir::new().unwrap();
    let vault = vault(folder.path());
    vault.add("late", SecretSource::File(folder.path().join("late")));
    assert!(text(&vault, "late").await.is_err());
    std::fs::write(folder.path().join("late"), "here").unwrap();
    assert_eq!(text(&vault, "late").await.unwrap(), "here");
}

#[tokio::test]
async fn a_made_secret_is_there_for_the_next_process() {
    let folder = TempDir::new().unwrap();
    vault(folder.path()).store("clients/Portal", CANARY.to_owned().into()).await.unwrap();
    let later = vault(folder.path());
    assert_eq!(text(&later, "clients/Portal").await.unwrap(), CANARY);
    assert!(text(&later, "clients/portal").await.is_err(), "another name, on every file system");
    assert!(!later.store_new("clients/Portal", "second".to_owned().into()).await.unwrap());
    assert_eq!(text(&later, "clients/Portal").await.unwrap(), CANARY);
    later.store("clients/Portal", "third".to_owned().into()).await.unwrap();
    assert_eq!(text(&later, "clients/Portal").await.unwrap(), "third");
}

#[tokio::test]
async fn no_name_leads_out_of_the_sink() {
    let folder = TempDir::new().unwrap();
    let vault = vault(folder.path());
    for name in ["../up", "..", ".hidden", "/etc/passwd", "a\\b", "ü", "CON.", "a/../../b"] {
        vault.store(name, name.to_owned().into()).await.unwrap();
        assert_eq!(text(&vault, name).await.unwrap(), name);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let inside = std::fs::read_dir(folder.path().join("secrets")).unwrap();
    let made = inside.filter(|entry| entry.as_ref().unwrap().file_name() != ".gitignore").count();
    assert_eq!(made, 8);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_reads_made_secrets() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    vault(folder.path()).store("portal", CANARY.to_owned().into()).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path().join("secrets")), 0o700);
    assert_eq!(mode(&folder.path().join("secrets/portal")), 0o600);
    assert_eq!(std::fs::read_to_string(folder.path().join("secrets/.gitignore")).unwrap(), "*\n");
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let folder = TempDir::new().unwrap();
    let vault = vault(folder.path());
    vault.add("literal", SecretSource::literal(CANARY));
    vault.add("env", SecretSource::Env("PORTAL_SECRET".into()));
    vault.add("command", command(folder.path(), &["false", CANARY]));
    vault.keep("kept", CANARY.to_owned().into());
    let read = vault.read("env").await.unwrap();
    let failure = vault.read("command").await.unwrap_err();
    let shown = format!("{vault:?} {read:?} {failure:?} {:?}", SecretSource::literal(CANARY));
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(shown.contains("environment variable PORTAL_SECRET"));
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()))
}

#[tokio::test(start_paused = true)]
async fn a_key_pair_is_made_once() {
    let folder = TempDir::new().unwrap();
    let keys = Keys::new(vault(folder.path()), clock());
    let other_process = Keys::new(vault(folder.path()), clock());
    let (first, second) =
        tokio::join!(keys.ensure("portal", KeySize::default()), other_process.ensure("portal", KeySize::default()));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.certificate, second.certificate);
    assert_eq!(first.public_key, second.public_key);
    assert!(first.created != second.created, "exactly one of two racing makers made it");
    let again = keys.ensure("portal", KeySize::default()).await.unwrap();
    assert!(!again.created);
    assert_eq!(again.certificate, first.certificate);
    assert!(first.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(first.expires.to_string(), "2031-11-23T08:00:00Z", "1825 days");
    assert_eq!(first.secret, "keys/portal.key");
}

#[tokio::test]
async fn a_lost_certificate_is_made_anew_for_the_same_key() {
    let folder = TempDir::new().unwrap();
    let keys = Keys::new(vault(folder.path()), clock());
    let first = keys.ensure("portal", KeySize::default()).await.unwrap();
    std::fs::remove_file(folder.path().join("secrets/keys+portal.certificate")).unwrap();
    let second = keys.ensure("portal", KeySize::default()).await.unwrap();
    assert_eq!(first.public_key, second.public_key);
    std::fs::write(folder.path().join("secrets/keys+portal.key"), "not a key").unwrap();
    let error = keys.ensure("portal", KeySize::default()).await.unwrap_err();
    assert!(error.to_string().starts_with("key `portal`: its private key cannot be read"), "{error}");
    assert!(keys.ensure("../portal", KeySize::default()).await.is_err());
}

#[tokio::test]
async fn a_signed_token_is_a_secret_that_its_certificate_verifies() {
    let vault = Vault::in_memory();
    let keys = Keys::new(vault.clone(), clock());
    let pair = keys.ensure("portal", KeySize::default()).await.unwrap();
    let claims = json!({ "sub": "hb|1", "iss": "https://id.halyard.example/harbour", "exp": 1_795_000_060 });
    let name = keys.sign("portal", "2026-11-a", &claims).await.unwrap();
    assert_eq!(keys.sign("portal", "2026-11-a", &claims).await.unwrap(), name);

    let token = text(&vault, &name).await.unwrap();
    let parts: Vec<&str> = token.split('.').collect();
    let read = |part: &str| -> Value { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap() };
    assert_eq!(read(parts[0]), json!({ "alg": "RS256", "typ": "JWT", "kid": "2026-11-a" }));
    assert_eq!(read(parts[1]), claims);
    let mut validation = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::RS256);
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    for pem in [&pair.public_key, &pair.certificate] {
        let key = jsonwebtoken::DecodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
        jsonwebtoken::decode::<Value>(&token, &key, &validation).unwrap();
    }
    assert!(keys.sign("nobody", "k", &claims).await.is_err());
}

#[tokio::test]
async fn a_shared_sink_outlives_the_vaults_on_it() {
    let sink = SharedSink::default();
    let vault =
        |sink: &SharedSink| Vault::new(Arc::new(BTreeMap::new()), Sink::Shared(sink.clone()), CommandLimits::default());
    let first = vault(&sink);
    first.store("made", CANARY.into()).await.unwrap();
    assert!(!first.store_new("made", "other".into()).await.unwrap());
    first.keep("kept", CANARY.into());
    let second = vault(&sink);
    assert_eq!(text(&second, "made").await.unwrap(), CANARY);
    assert!(text(&second, "kept").await.is_err(), "what is only kept in memory ends with its vault");
    assert_eq!(text(&vault(&sink.copy()), "made").await.unwrap(), CANARY);
    assert!(!format!("{second:?}").contains(CANARY));
}

/// A process that dies, or whose disk is full, before its second write.
struct Second(AtomicU32, Verdict);

impl CommitHook for Second {
    fn before(&self) -> Verdict {
        if self.0.fetch_add(1, Ordering::Relaxed) == 0 { Verdict::Go } else { self.1 }
    }

    fn after(&self) -> Verdict {
        Verdict::Go
    }
}

#[tokio::test]
async fn a_shared_sink_keeps_nothing_of_a_dead_process_or_on_a_full_disk() {
    for verdict in [Verdict::Dead, Verdict::Full] {
        let sink = SharedSink::default();
        let seen = sink.as_process(Arc::new(Second(AtomicU32::new(0), verdict)));
        let vault = Vault::new(Arc::new(BTreeMap::new()), Sink::Shared(seen), CommandLimits::default());
        vault.store("one", "1".into()).await.unwrap();
        vault.store("two", "2".into()).await.unwrap_err();
        vault.store_new("three", "3".into()).await.unwrap_err();
        let other = Vault::new(Arc::new(BTreeMap::new()), Sink::Shared(sink), CommandLimits::default());
        assert_eq!(text(&other, "one").await.unwrap(), "1");
        assert!(text(&other, "two").await.is_err() && text(&other, "three").await.is_err());
    }
}
