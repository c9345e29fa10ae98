//! What automations can connect to (automation connectors specifications, both generations).
//!
//! A few of the hundreds that Qlik has: the ids of Qlik Cloud Services, its blocks and its event are those of Qlik's tutorial
//! (deploy an automation to a tenant), those of Airtable and GitHub of the specification's examples. Which parameters a
//! connector takes, and that GitHub's connection is made by OAuth, is assumed.

use serde_json::{Value, json};

use super::automation_runs::by_age;
use super::automations::PAGING;
use super::context::{Answer, Context, Handled};
use super::filter::{Fields, Filter};
use super::paging::{self, page_as};
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getAutomationConnectors", list),
        ("workflowsGetAutomationConnectors", list),
        ("getAutomationConnector", get),
        ("getAutomationConnectorWebhooksConfiguration", webhooks),
    ],
    seed: None,
};

const FILTERS: Fields = Fields { eq: &["name"], co: &[] };

/// One thing to connect to.
pub(super) struct Connector {
    pub(super) id: &'static str,
    name: &'static str,
    description: &'static str,
    billable: bool,
    /// A person must log in there to make a connection.
    pub(super) by_oauth: bool,
    pub(super) params: &'static [Param],
    blocks: &'static [(&'static str, &'static str)],
    events: &'static [(&'static str, &'static str)],
}

/// What a connection is made with.
pub(super) struct Param {
    pub(super) id: &'static str,
    pub(super) name: &'static str,
    pub(super) secret: bool,
    pub(super) optional: bool,
}

const fn param(id: &'static str, name: &'static str, secret: bool, optional: bool) -> Param {
    Param { id, name, secret, optional }
}

const CONNECTORS: &[Connector] = &[
    Connector {
        id: "61a87510-c7a3-11ea-95da-0fb0c241e75c",
        name: "Qlik Cloud Services",
        description: "The tenant itself.",
        billable: false,
        by_oauth: false,
        params: &[],
        blocks: &[
            ("590a1a20-6d2e-11eb-9714-df1bbaac055d", "Search Spaces"),
            ("272d9c70-6d31-11eb-870f-67624392ed86", "Add Member To Space"),
        ],
        events: &[("5be4c220-6156-11eb-a3df-fdbac6cc38a0", "User Created")],
    },
    Connector {
        id: "0d87347d-27c0-11ea-921c-022e6b5ea1e2",
        name: "Airtable",
        description: "Airtable is a cloud collaboration service.",
        billable: true,
        by_oauth: false,
        params: &[
            param("0d87347d-27c0-11ea-921c-000000000001", "api_key", true, false),
            param("0d87347d-27c0-11ea-921c-000000000002", "base_id", false, true),
        ],
        blocks: &[],
        events: &[],
    },
    Connector {
        id: "0d87808f-27c0-11ea-921c-022e6b5ea1e2",
        name: "GitHub",
        description: "Repositories of code.",
        billable: true,
        by_oauth: true,
        params: &[],
        blocks: &[],
        events: &[],
    },
];

/// The connector with this id.
pub(super) fn connector(id: &str) -> Option<&'static Connector> {
    CONNECTORS.iter().find(|connector| connector.id == id)
}

impl Param {
    /// The kind of its field in the editor.
    pub(super) fn kind(&self) -> &'static str {
        if self.secret { "password" } else { "text" }
    }
}

fn list(context: &mut Context<'_>) -> Handled {
    let shown = |connector: &Connector| {
        Document::new(json!({
            "id": connector.id, "name": connector.name, "description": connector.description,
            "billable": connector.billable, "hasWebhooks": !connector.events.is_empty(),
            "logoSmall": null, "logoMedium": null, "logoLarge": null,
        }))
    };
    let mut found: Vec<Document> = CONNECTORS.iter().map(shown).collect();
    if let Some(filter) = context.parameter("filter").filter(|filter| !filter.is_empty()) {
        found = Filter::parse(filter, FILTERS)?.apply(found);
    }
    if !by_age(context, &mut found) {
        paging::sort(context, &mut found, &["name"], "")?;
    }
    page_as(context, found, PAGING, |_, connector| connector.clone())
}

/// The connector of the path.
fn asked(context: &Context<'_>) -> Result<&'static Connector, Refusal> {
    connector(&context.var("connectorId")).ok_or_else(|| Refusal::not_found("HTTP-404"))
}

fn get(context: &mut Context<'_>) -> Handled {
    let connector = asked(context)?;
    let params: Vec<Value> = connector
        .params
        .iter()
        .map(|param| {
            json!({
                "id": param.id, "name": param.name, "fieldType": param.kind(), "optional": param.optional,
                "description": null, "exampleValue": null, "options": [], "setting": false,
            })
        })
        .collect();
    let blocks = connector.blocks.iter().map(|(id, name)| json!({"id": id, "name": name, "inputs": []}));
    Ok(Answer::ok(&json!({
        "id": connector.id, "name": connector.name, "description": connector.description,
        "billable": connector.billable, "hasWebhooks": !connector.events.is_empty(), "connectDocumentation": null,
        "params": params, "blocks": blocks.collect::<Vec<Value>>(), "snippets": [],
    })))
}

fn webhooks(context: &mut Context<'_>) -> Handled {
    let connector = asked(context)?;
    if connector.events.is_empty() {
        return Err(Refusal::not_found("HTTP-404"));
    }
    let events = connector.events.iter().map(|(id, name)| json!({"id": id, "name": name, "params": []}));
    Ok(Answer::ok(&json!({"id": connector.id, "automatic": true, "events": events.collect::<Vec<Value>>()})))
}
