//! The table of what the sandbox simulates is what is published.
//!
//! `TENANTRY_DOCS=update cargo test fidelity` writes it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tenantry::sandbox::{Fidelity, Standing, fidelity};

const HEAD: &str = "# What the sandbox simulates

Every operation of Qlik's published REST API, and how the simulated Qlik Cloud answers it:

- **documented**: as Qlik's published specification of its service says, with what qlik.dev tells of it;
- **assumed**: so too, and where nothing is published in the way that the table says. Who knows better is welcome to say so;
- **not simulated**: with 501 and the operation's name, in the form of its service's errors.

Every request is held to the contract in `contract/`; in the tests every answer is too. The table is made by
`TENANTRY_DOCS=update cargo test fidelity` of `src/sandbox/assumptions.toml` and of what the code answers.
";

fn page() -> String {
    let all = fidelity();
    let count = |wanted: fn(&Standing) -> bool| all.iter().filter(|one| wanted(&one.standing)).count();
    let mut page = HEAD.to_owned();
    let _ = write!(
        page,
        "\n{} operations: {} documented, {} assumed in part, {} not simulated.\n",
        all.len(),
        count(|standing| *standing == Standing::Documented),
        count(|standing| matches!(standing, Standing::Assumed(_))),
        count(|standing| *standing == Standing::NotSimulated),
    );
    let mut services: BTreeMap<&str, Vec<&Fidelity>> = BTreeMap::new();
    for one in &all {
        services.entry(one.operation.tag).or_default().push(one);
    }
    let (none, some): (Vec<_>, Vec<_>) =
        services.into_iter().partition(|(_, all)| all.iter().all(|one| one.standing == Standing::NotSimulated));
    for (service, operations) in some {
        let _ = write!(page, "\n## {service}\n\n| operation | request | how |\n|---|---|---|\n");
        for Fidelity { operation, standing, .. } in operations {
            let standing = match standing {
                Standing::Documented => "documented".to_owned(),
                Standing::Assumed(what) => format!("assumed: {}", what.join("; ")),
                Standing::NotSimulated => "not simulated".to_owned(),
            };
            let _ = writeln!(page, "| `{}` | `{} {}` | {standing} |", operation.id, operation.method, operation.path);
        }
    }
    page.push_str("\n## Services of which nothing is simulated\n\n");
    for (service, operations) in none {
        let ids: Vec<_> = operations.iter().map(|one| format!("`{}`", one.operation.id)).collect();
        let _ = writeln!(page, "- **{service}**: {}", ids.join(", "));
    }
    page
}

#[allow(clippy::disallowed_methods, reason = "whoever runs the tests asks for it")]
#[test]
fn the_table_is_what_the_sandbox_does() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sandbox-fidelity.md");
    let page = page();
    if std::env::var("TENANTRY_DOCS").is_ok_and(|wish| wish == "update") {
        std::fs::write(path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == page, "docs/sandbox-fidelity.md is old: TENANTRY_DOCS=update cargo test fidelity writes it");
}
