//! The keys a tenant's data is encrypted with (encryption API). A migration is over at once here, every key can be used,
//! and what the fingerprint is made of is assumed: the MD5 of the key's ARN.

use bytes::Bytes;
use http::StatusCode;
use md5::{Digest as _, Md5};
use serde_json::{Value, json};

use super::context::{Answer, Context, Handled, text};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getEncryptionKeyproviders", list),
        ("createEncryptionKeyprovider", create),
        ("listEncryptionKeyproviders", list_all),
        ("resetEncryptionKeyproviders", reset),
        ("getEncryptionKeyprovidersMigrationDetails", migration),
        ("getEncryptionKeyprovider", get),
        ("patchEncryptionKeyprovider", change),
        ("deleteEncryptionKeyprovider", delete),
        ("migrateEncryptionKeyprovider", migrate),
        ("testEncryptionKeyprovider", test),
    ],
    seed: None,
};

/// Qlik's own key, as the API's examples show it; its fingerprint is the tenant's id there.
const QLIK: &str = "#QLIK_MANAGED_KEY_PROVIDER#";

fn own(context: &Context<'_>) -> Vec<Document> {
    context.collection("keyProviders").documents()
}

/// The published type wraps the list in `errors`, though its examples are bare lists; the type is followed.
fn wrapped(items: Vec<Value>) -> Handled {
    Ok(Answer::ok(&json!({"errors": items})))
}

fn list(context: &mut Context<'_>) -> Handled {
    wrapped(own(context).iter().map(|key| (**key).clone()).collect())
}

fn list_all(context: &mut Context<'_>) -> Handled {
    let keys = own(context);
    let in_use = !keys.iter().any(|key| key["current"] == true);
    let qlik = json!({
        "arn": QLIK, "name": "Qlik Internal Kms", "description": "Default key management service", "keyprovider": "Qlik",
        "arnFingerPrint": context.tenant_id(), "tenantId": context.tenant_id(), "current": in_use,
    });
    wrapped([qlik].into_iter().chain(keys.iter().map(|key| (**key).clone())).collect())
}

fn create(context: &mut Context<'_>) -> Handled {
    let arn = text(&context.body, "arn").to_owned();
    if !arn.starts_with("arn:aws:kms:") || !arn.contains(":key/mrk-") {
        return Err(Refusal::bad_request("arn must be that of a multi-region AWS KMS key").pointer("/arn"));
    }
    let fingerprint = hex(&Md5::digest(&arn));
    if context.get("keyProviders", &fingerprint).is_some() {
        return Err(Refusal::conflict("HTTP-409", "the key is registered"));
    }
    let key = json!({
        "arn": arn, "name": context.body["name"], "description": text(&context.body, "description"),
        "keyprovider": "AWS-KMS", "arnFingerPrint": fingerprint, "tenantId": context.tenant_id(), "current": false,
        "multiRegion": true, "createdAt": context.timestamp(),
    });
    context.put("keyProviders", &fingerprint, key.clone());
    Ok(Answer::created(&key))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The key of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    context.get("keyProviders", &context.var("arnFingerPrint")).ok_or_else(|| Refusal::not_found("HTTP-404"))
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&*asked(context)?))
}

fn test(context: &mut Context<'_>) -> Handled {
    Ok(Answer::created(&*asked(context)?))
}

fn change(context: &mut Context<'_>) -> Handled {
    let mut key = (*asked(context)?).clone();
    for step in patch::steps(context, &[("replace", &["/name", "/description"])])? {
        step.text()?;
        patch::set(&mut key, &step.path, step.value);
    }
    context.put("keyProviders", &context.var("arnFingerPrint"), key);
    Ok(Answer::no_content())
}

fn delete(context: &mut Context<'_>) -> Handled {
    if asked(context)?["current"] == true {
        return Err(Refusal::bad_request("the key is in use"));
    }
    context.remove("keyProviders", &context.var("arnFingerPrint"));
    Ok(Answer::no_content())
}

/// Makes one key the current one, or none of the tenant's own.
fn turn(context: &mut Context<'_>, fingerprint: &str, arn: &str) -> Value {
    let (now, mut from) = (context.timestamp(), QLIK.to_owned());
    for held in own(context) {
        let (id, mut key) = (text(&held, "arnFingerPrint").to_owned(), (*held).clone());
        if key["current"] == true {
            text(&key, "arn").clone_into(&mut from);
            key["demotedFromCurrentAt"] = json!(now);
        }
        key["current"] = json!(id == fingerprint);
        if id == fingerprint {
            key["promotedToCurrentAt"] = json!(now);
        }
        context.put("keyProviders", &id, key);
    }
    let id = context.new_id();
    let migration = json!({
        "id": id, "tenantId": context.tenant_id(), "state": "Completed", "progress": 100,
        "migratingFrom": from, "migratingTo": arn, "migratingToFingerprint": fingerprint, "initiatedAt": now,
        "completedAt": now,
    });
    context.put("keyMigrations", &id, migration.clone());
    migration
}

fn migrate(context: &mut Context<'_>) -> Handled {
    let key = asked(context)?;
    if key["current"] == true {
        return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "HTTP-412", "Precondition failed")
            .detail("the key is the current one"));
    }
    let migration = turn(context, text(&key, "arnFingerPrint"), text(&key, "arn"));
    Ok(Answer::ok(&migration))
}

fn reset(context: &mut Context<'_>) -> Handled {
    if !own(context).iter().any(|key| key["current"] == true) {
        return Ok(Answer::ok(&json!({"message": "Tenant is already using Qlik KMS, no migration is required."})));
    }
    let tenant = context.tenant_id();
    turn(context, &tenant, QLIK);
    Ok(Answer { status: StatusCode::RESET_CONTENT, headers: Vec::new(), body: Bytes::new() })
}

fn migration(context: &mut Context<'_>) -> Handled {
    let last = context.collection("keyMigrations").documents().pop();
    last.map(|last| Answer::ok(&last)).ok_or_else(|| Refusal::not_found("HTTP-404"))
}
