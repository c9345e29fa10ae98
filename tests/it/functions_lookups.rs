//! Look-ups that must find exactly one thing: names with odd characters, names that differ by case, many pages.

use crate::functions_driver::Project;

/// Runs a script twice: the first time it writes this often, the second time never.
fn settles(project: &Project, writes: usize, script: &str) {
    let first = project.run(script).good();
    assert_eq!(first.writes().len(), writes, "{script}");
    let second = project.run(script).good();
    assert!(second.writes().is_empty(), "{script}: {:?}", second.writes());
}

#[test]
fn odd_names_are_found_again() {
    let project = Project::new();
    project.run("").good();
    settles(
        &project,
        8,
        r#"for n in ["a\"b", "back\\slash", "ünï", "100% & + more", "O'Brien", "x y", "Case", "case"] { tenant.groups.ensure(n); }"#,
    );
    settles(
        &project,
        7,
        r#"for n in ["ünï", "100% & + more", "O'Brien", "x y", "plus+plus", "a,b;c", "x"] { tenant.spaces.ensure(n, "shared"); }"#,
    );
}

#[test]
fn what_stands_on_a_later_page_is_found() {
    let project = Project::new();
    project.run("").good();
    for script in [
        r#"for i in 0..120 { tenant.spaces.ensure(`S ${i}`, "shared"); }"#,
        r"for i in 0..120 { tenant.groups.ensure(`g${i}`); }",
        r#"let s = tenant.spaces.get("S 1"); for i in 0..120 { s.assign(tenant.groups.get(`g${i}`), ["consumer"]); }"#,
        r"for i in 0..120 { tenant.users.ensure(#{ subject: `u|${i}`, name: `U ${i}`, email: `u${i}@x.example` }); }",
        r"for i in 0..120 { tenant.csp_origins.ensure(#{ origin: `h${i}.example`, imgSrc: true }); }",
        r"for i in 0..120 { tenant.web_integrations.ensure(`w${i}`, [`https://h${i}.example`]); }",
    ] {
        settles(&project, 120, script);
    }
    let report =
        project.run("output(#{ spaces: tenant.spaces.list().len(), users: tenant.users.list().len() });").good();
    // The bot is a user too.
    assert_eq!((&report.output["spaces"], &report.output["users"]), (&120.into(), &121.into()));
}
