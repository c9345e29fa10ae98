//! The source tenant: where a partner keeps the apps that customers get copies of (qlik.dev, deploy content to a tenant).

use serde_json::json;

use super::converge;
use super::listing::Listing;
use super::request::text_of;
use super::spaces::{self, Space};
use super::tenant::Tenant;
use super::tenants;
use crate::event::Change;
use crate::operation::{Effect, Failure, FailureKind};
use crate::playbook::{Call, ScriptError};

/// Tells which tenant is the target's source.
const SOURCE: &str = "tenantry.source";

/// The roles in a shared space with which apps can be exported, the one that is given first.
const EDITORS: [&str; 2] = ["producer", "facilitator"];

/// The target's source tenant.
pub(super) fn source(call: &mut Call) -> Result<Tenant, ScriptError> {
    let told = call.ask_local(SOURCE, Effect::Read, "source tenant", json!({}))?;
    let host_name = text_of(call, SOURCE, &told, "hostname")?;
    let (tenant, _) = tenants::at(call, &host_name)?;
    if tenant.host_name() != host_name {
        let title = format!("the target's `source` is {host_name}, which is an alias");
        let hint = format!("an alias may change hands: write source = \"{}\"", tenant.host_name());
        return Err(call.throw(Failure::new(FailureKind::Denied, "tenantry/source-alias", title).hint(hint)));
    }
    Ok(tenant)
}

/// Makes sure that tenantry's own user may edit in a shared space: an administrator too exports only from spaces in which
/// it has a role (qlik.dev, deploy content to a tenant). That the bot is assigned as a user is assumed.
pub(super) fn let_edit(call: &mut Call, space: &Space) -> Result<(), ScriptError> {
    let tenant = &space.tenant;
    let subject = format!("own access to space \"{}\" of {}", space.name(), tenant.host_name());
    let me = tenant.ask("getMyUser", &subject).send(call)?;
    let me = text_of(call, "getMyUser", me.json(), "id")?;
    if space.document["ownerId"].as_str() == Some(&me) {
        return Ok(());
    }
    let listing = Listing::of(call, tenant, &format!("assignments of {me} in {}", space.id));
    let is_me = |held: &serde_json::Value| held["assigneeId"].as_str() == Some(&me);
    let held = listing.find(call, &me, false, is_me, || spaces::assignments(space).query("assigneeId", &me))?;
    let mut roles: Vec<String> =
        held.iter().filter_map(|held| held["roles"].as_array()).flatten().filter_map(text).collect();
    if roles.iter().any(|role| EDITORS.contains(&role.as_str())) {
        // This call may have arranged it, before it had to start again.
        let change = converge::earlier(call, &subject);
        if change.is_write() {
            call.step(change, subject, Vec::new());
        }
        return Ok(());
    }
    roles.push(EDITORS[0].to_owned());
    let change = if let Some(held) = held {
        let id = text_of(call, "getSpaceAssignments", &held, "id")?;
        let ask = tenant.ask("updateSpaceAssignment", &subject).var("spaceId", &space.id).var("assignmentId", id);
        ask.json(json!({ "roles": roles })).send(call)?;
        Change::Updated
    } else {
        let body = json!({ "type": "user", "assigneeId": me, "roles": roles });
        let ask = tenant.ask("createSpaceAssignment", &subject).var("spaceId", &space.id).json(body);
        match ask.attempt(call)? {
            Ok(_) => Change::Created,
            // Another run, or another branch of this one, was first.
            Err(failure) if failure.status == Some(409) => return Ok(()),
            Err(failure) => return Err(call.throw(failure)),
        }
    };
    listing.wrote(call, &me, json!({ "assigneeId": me, "roles": roles }));
    call.step(change, subject, Vec::new());
    Ok(())
}

fn text(value: &serde_json::Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}
