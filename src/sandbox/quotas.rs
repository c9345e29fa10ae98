//! Quotas: what a tenant may have by its licence's edition, and what it has (quotas API; capacity limits).

use http::StatusCode;
use serde_json::{Value, json};

use super::apps::{APPS, SIZE};
use super::context::{Answer, Context, Handled, text};
use super::refusal::Refusal;
use super::resources::Resource;

pub(super) const RESOURCE: Resource = Resource { routes: &[("getQuotas", list), ("getQuota", get)], seed: None };

const GIGABYTE: u64 = 1 << 30;

/// The editions of a subscription, which set what a tenant may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Edition {
    /// 300 imported apps a day in each tenant.
    Starter,
    /// 300 a day.
    Standard,
    /// 2,000 a day.
    Premium,
    /// 10,000 a day.
    #[default]
    Enterprise,
}

impl Edition {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Starter, "starter"),
        (Self::Standard, "standard"),
        (Self::Premium, "premium"),
        (Self::Enterprise, "enterprise"),
    ];

    /// Its name in small letters.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(edition, _)| *edition == self).map_or("enterprise", |(_, name)| name)
    }

    /// How many apps a tenant may import in a day.
    #[must_use]
    pub fn imports(self) -> u64 {
        match self {
            Self::Starter | Self::Standard => 300,
            Self::Premium => 2_000,
            Self::Enterprise => 10_000,
        }
    }

    /// How many bytes an app may have in memory. Published are 5, 10 and 15 GB "by subscription"; which of them has which
    /// is an assumption.
    fn memory(self) -> u64 {
        match self {
            Self::Starter | Self::Standard => 5 * GIGABYTE,
            Self::Premium => 10 * GIGABYTE,
            Self::Enterprise => 15 * GIGABYTE,
        }
    }

    /// That of the organization a request is for.
    fn of(context: &Context<'_>) -> Self {
        let organization = context.organization();
        let name = text(&organization, "edition");
        Self::ALL.into_iter().find(|(_, held)| *held == name).map_or_else(Self::default, |(edition, _)| edition)
    }
}

fn spaces(context: &Context<'_>, kind: &str) -> usize {
    context.collection("spaces").iter().filter(|(_, space)| text(space, "type") == kind).count()
}

/// The quotas of which the ids are published or seen in the field; how many spaces there may be is not published.
fn all(context: &Context<'_>) -> Vec<Value> {
    let memory = Edition::of(context).memory();
    let apps = context.collection(APPS);
    let largest = apps.iter().filter_map(|(_, app)| app.get(SIZE)?.as_u64()).max().unwrap_or_default();
    let quota = |id: &str, unit: &str, quota: Option<u64>, usage: u64| {
        let mut attributes = json!({"unit": unit, "quota": quota.map_or_else(|| json!(-1), |quota| json!(quota))});
        if quota.is_some() {
            attributes["warningThresholds"] = json!([0.9]);
        }
        if context.flag("reportUsage") {
            attributes["usage"] = json!(usage);
        }
        json!({"id": id, "type": "quotas", "attributes": attributes})
    };
    let count = |kind: &str| u64::try_from(spaces(context, kind)).unwrap_or(u64::MAX);
    vec![
        quota("app_mem_size", "bytes", Some(memory), largest),
        quota("app_upload_disk_size", "bytes", Some(memory), largest),
        quota("shared_spaces", "spaces", None, count("shared")),
        quota("managed_spaces", "spaces", None, count("managed")),
    ]
}

fn list(context: &mut Context<'_>) -> Handled {
    Ok(Answer::ok(&json!({"data": all(context)})))
}

fn get(context: &mut Context<'_>) -> Handled {
    let id = context.var("id");
    match all(context).into_iter().find(|quota| text(quota, "id") == id) {
        Some(quota) => Ok(Answer::ok(&json!({"data": [quota]}))),
        None => Err(Refusal::not_found("HTTP-404")),
    }
}

/// Counts one more imported app. The day is that of UTC; which status and code one too many gets is not published.
///
/// # Errors
/// When the tenant has imported as many today as its edition allows.
pub(super) fn import(context: &mut Context<'_>) -> Result<(), Refusal> {
    let day = context.now.strftime("%Y-%m-%d").to_string();
    let held = context.get("counters", "imports").filter(|held| text(held, "day") == day);
    let count = held.and_then(|held| held["count"].as_u64()).unwrap_or_default();
    let allowed = Edition::of(context).imports();
    if count >= allowed {
        let detail =
            format!("the tenant has imported {allowed} apps today, more than which its subscription does not allow");
        return Err(Refusal::new(StatusCode::FORBIDDEN, "HTTP-403", "Quota exceeded").detail(detail));
    }
    context.put("counters", "imports", json!({"day": day, "count": count + 1}));
    Ok(())
}
