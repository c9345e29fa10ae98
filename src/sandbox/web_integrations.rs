//! Web integrations: the browser origins that may call a tenant (web integrations API; implement JWT authorization).

use http::StatusCode;
use serde_json::{Value, json};
use url::Url;

use super::context::{Answer, Context, Handled, text};
use super::paging::{self, Paging, page};
use super::patch;
use super::refusal::Refusal;
use super::resources::Resource;
use super::state::Document;

pub(super) const RESOURCE: Resource = Resource {
    routes: &[
        ("getWebIntegrations", list),
        ("createWebIntegration", create),
        ("getWebIntegration", get),
        ("patchWebIntegration", change),
        ("deleteWebIntegration", delete),
    ],
    seed: None,
};

const PAGING: Paging = Paging::after_before(10, 100);

/// A value the service does not take, with its published code.
pub(super) fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "WEBINTEGRATIONS-6", "Invalid property value").detail(detail)
}

/// A body that is not JSON, with its published code.
pub(super) fn unreadable() -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", "Bad Request").detail("Error parsing request body")
}

/// A field that must be there and is not, with its published code.
pub(super) fn missing(detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "WEBINTEGRATIONS-5", "Missing required fields")
        .detail(detail)
        .meta(json!({"requiredFields": ["name"]}))
}

/// A patch that is none, with its published code.
pub(super) fn invalid_patch(detail: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "WEBINTEGRATIONS-4", "Invalid PATCH request").detail(detail)
}

fn list(context: &mut Context<'_>) -> Handled {
    let wanted = context.parameter("tenantId").is_none_or(|tenant| tenant == context.tenant_id());
    let mut found = if wanted { context.collection("webIntegrations").documents() } else { Vec::new() };
    paging::sort(context, &mut found, &["name"], "+name")?;
    page(context, found, PAGING)
}

/// Whether these are origins: scheme, host and port and nothing else, without wildcards.
fn origins(value: &Value) -> Result<(), Refusal> {
    let list = value.as_array().ok_or_else(|| invalid("validOrigins must be a list").pointer("/validOrigins"))?;
    for (index, origin) in list.iter().enumerate() {
        let held = origin.as_str().unwrap_or_default();
        let parsed = Url::parse(held).ok().filter(|url| {
            ["http", "https"].contains(&url.scheme())
                && url.host_str().is_some_and(|host| !host.contains('*'))
                && url.path() == "/"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        });
        if parsed.is_none() {
            let detail = format!("{origin} is no origin: scheme, host and port, without wildcards");
            return Err(invalid(detail).pointer(format!("/validOrigins/{index}")));
        }
    }
    Ok(())
}

fn named(name: &str) -> Result<(), Refusal> {
    if name.trim().is_empty() { Err(invalid("name must not be empty").pointer("/name")) } else { Ok(()) }
}

/// A name may be given again: the API publishes no conflict for it.
fn create(context: &mut Context<'_>) -> Handled {
    let mut integration = context.body.clone();
    named(text(&integration, "name"))?;
    if integration.get("validOrigins").is_none() {
        integration["validOrigins"] = json!([]);
    }
    origins(&integration["validOrigins"])?;
    let (id, now) = (context.new_id(), context.timestamp());
    integration["id"] = json!(id);
    integration["tenantId"] = json!(context.tenant_id());
    integration["created"] = json!(now);
    integration["createdBy"] = json!(context.user_id());
    integration["lastUpdated"] = json!(now);
    context.put("webIntegrations", &id, integration.clone());
    // Only this answer has the link.
    integration["links"] = json!({"self": {"href": context.link(&format!("/api/v1/web-integrations/{id}"))}});
    Ok(Answer::created(&integration))
}

/// The web integration of the path.
fn asked(context: &Context<'_>) -> Result<Document, Refusal> {
    let held = context.get("webIntegrations", &context.var("id"));
    held.ok_or_else(|| Refusal::not_found("WEBINTEGRATIONS_NOT_FOUND"))
}

fn get(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&*asked(context)?))
}

fn change(context: &mut Context<'_>) -> Handled {
    let before = asked(context)?;
    let mut integration = (*before).clone();
    for step in patch::steps(context, &[("replace", &["/name", "/validOrigins"])])? {
        if step.path == "/validOrigins" {
            origins(&step.value)?;
        } else {
            named(step.value.as_str().ok_or_else(|| invalid("name must be text").pointer("/name"))?)?;
        }
        patch::set(&mut integration, &step.path, step.value);
    }
    if integration != *before {
        integration["lastUpdated"] = json!(context.timestamp());
        context.put("webIntegrations", &context.var("id"), integration);
    }
    Ok(Answer::no_content())
}

fn delete(context: &mut Context<'_>) -> Handled {
    asked(context)?;
    context.remove("webIntegrations", &context.var("id"));
    Ok(Answer::no_content())
}
