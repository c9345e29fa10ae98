//! The source tenant: where the partner keeps the apps that customers get copies of.
//!
//! It is there from the beginning, as the partner made it by hand, and costs nothing before a token is asked for there. The
//! organization's list, its quota and a snapshot's tenants do not have it: partners are told to keep it on a subscription of
//! its own (glossary of the fact sheet). That it takes the same clients and shows the same licence is assumed.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde_json::{Value, json};

use super::apps::{self, APPS};
use super::context::{Context, text};
use super::hosts::Place;
use super::resources;
use super::state::Document;

/// Its host name.
pub(super) const HOST: &str = "halyardapps0000.eu.qlikcloud.com";

const ID: &str = "SandboxSourceTenant0000000000000";
/// When all of it was made.
const MADE: &str = "2026-11-20T08:00:00.000Z";
/// Who made it: a developer of the partner's, no bot.
const DEVELOPER: &str = "5ec0de5ec0de5ec0de5ec0d0";
/// The shared space in which the apps lie, and in which bots have no role until they are given one.
const SPACE: &str = "5ec0de5ec0de5ec0de5ec0d1";

/// The stand-ins that the project comes with.
const FILES: [&[u8]; 6] = [
    include_bytes!("../../content/apps/Shipment Tracking.qvf"),
    include_bytes!("../../content/apps/Carrier Scorecard.qvf"),
    include_bytes!("../../content/apps/Portfolio Performance.qvf"),
    include_bytes!("../../content/apps/Adviser Book.qvf"),
    include_bytes!("../../content/apps/My Training.qvf"),
    include_bytes!("../../content/apps/Studio Insights.qvf"),
];

/// What the tenants API tells of it.
pub(super) fn document() -> Document {
    static DOCUMENT: LazyLock<Document> = LazyLock::new(|| {
        Arc::new(json!({
            "id": ID, "name": "Halyard Apps", "hostnames": [HOST], "datacenter": "eu-west-1", "region": "eu",
            "status": "active", "created": MADE, "lastUpdated": MADE, "statusLastUpdatedAt": MADE, "createdByUser": "",
            "autoAssignCreateSharedSpacesRoleToProfessionals": true,
            "autoAssignPrivateAnalyticsContentCreatorRoleToProfessionals": true,
            "autoAssignDataServicesContributorRoleToProfessionals": true,
            "enableAnalyticCreation": false, "enableAppOpeningFeedback": false,
        }))
    });
    DOCUMENT.clone()
}

/// Whether a tenant's document is this one's.
pub(super) fn is(tenant: &Value) -> bool {
    text(tenant, "id") == ID
}

/// Fills it, when the request is for it and nobody has asked for a token there before.
pub(super) fn found(context: &mut Context<'_>) {
    let here = matches!(context.place, Place::Tenant(tenant) if is(tenant));
    if !here || context.get("spaces", SPACE).is_some() {
        return;
    }
    resources::seed(context);
    let developer = json!({
        "id": DEVELOPER, "tenantId": ID, "name": "Halyard Developer", "subject": "auth0|halyard-developer",
        "email": "developer@halyard.example", "status": "active", "assignedRoles": [], "assignedGroups": [],
        "createdAt": MADE, "lastUpdatedAt": MADE,
    });
    context.put("users", DEVELOPER, developer);
    let space = json!({
        "id": SPACE, "name": "Apps", "type": "shared", "description": "What customers get copies of", "ownerId": DEVELOPER,
        "tenantId": ID, "createdBy": DEVELOPER, "createdAt": MADE, "updatedAt": MADE,
    });
    context.put("spaces", SPACE, space);
    for (number, file) in FILES.into_iter().enumerate() {
        let mut app = apps::new(context, "", SPACE);
        apps::load(context, &mut app, Bytes::from_static(file), true);
        let id = format!("5ec0de00-0000-4000-8000-{number:012}");
        for (field, value) in
            [("id", &*id), ("owner", DEVELOPER), ("ownerId", DEVELOPER), ("createdDate", MADE), ("modifiedDate", MADE)]
        {
            app[field] = json!(value);
        }
        app["description"] = json!(format!("{{v1.0.0}} {}", text(&app, "description")));
        context.put(APPS, &id, app);
    }
}
