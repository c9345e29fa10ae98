//! `tenantry runs show`: one run as text, as JSON and as a page.

use serde_json::{Value, json};
use tenantry::event::Change;
use tenantry::operation::{Effect, Failure, FailureKind};
use tenantry::store::Ending;

use crate::support::command_line::Folder;
use crate::support::past::{Past, opening};

const RUN: &str = "01939a00-0000-7000-8000-000000000001";
const PLAYBOOK: &str =
    "let tenant = tenants::ensure(customer);\n\nlet desk = tenant.spaces.ensure(customer.desk, \"shared\");\n";
const SPACE: &str = "playbooks/onboard.rhai:3:26";

/// A run that died, was resumed, and failed; what it deals with is called `name`.
async fn run_of(name: &str) -> Folder {
    let folder = Folder::empty();
    let past = Past::of(&folder);
    let customer = json!({ "code": "hb", "desk": name });
    let run = past.at(0).begin(opening(RUN, customer)).await;
    let space = format!("space \"{name}\"");
    run.process("process 7").file("playbooks/onboard.rhai", PLAYBOOK);
    run.asks("1:getSpaces#0", Effect::Read, "GET /api/v1/spaces", &space, SPACE, Value::Null);
    run.at(40).answers("1:getSpaces#0", 200, json!({ "data": [] }));
    let body = json!({ "name": name, "key": { "$secret": "portal" } });
    run.asks("1:createSpace#0", Effect::Create, "POST /api/v1/spaces", &space, SPACE, body);
    run.at(90).dies().await;
    let run = past.at(60_000).resume(RUN).await;
    run.process("process 8").settles("1:createSpace#0", Some(json!({ "id": "s1", "name": name })), "a look-up");
    run.at(60_200).step(Change::Created, &space, "1", SPACE, &[("name", Value::Null, json!(name))]);
    run.logs("info", &format!("made {name}"), SPACE);
    run.asks("2:patchSpace#0", Effect::Update, "PATCH /api/v1/spaces/s1", &space, SPACE, json!([]));
    let refused = Failure::new(FailureKind::Refused, "SPACES-403", format!("no right to {name}"));
    run.at(60_400).fails("2:patchSpace#0", refused);
    run.end(Ending::Failed).await;
    folder
}

#[tokio::test]
async fn a_run_is_told_from_its_beginning_to_what_to_do_next() {
    let folder = run_of("Desk").await;
    let ended = folder.run("runs show 01939a00");
    assert_eq!((ended.code, ended.error.as_str()), (Some(0), ""));
    insta::assert_snapshot!(ended.out);
    let more = folder.run("runs show 01939a00 -v");
    insta::assert_snapshot!(more.out);
    assert!(more.out.lines().count() > ended.out.lines().count());
}

#[tokio::test]
async fn scripts_get_all_of_it() {
    let folder = run_of("Desk").await;
    let told = folder.run("runs show 01939a00 --json").json();
    insta::assert_snapshot!(serde_json::to_string_pretty(&told).unwrap());
}

/// What a text would do to a page or a terminal.
const HOSTILE: &str =
    "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"' {{ 1234 * 5 }} \u{202e}gnol \u{1b}[2J";

#[tokio::test]
async fn a_page_stands_alone_whatever_a_customer_is_called() {
    let folder = run_of(HOSTILE).await;
    let ended = folder.run("runs show 01939a00 --html page.html");
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    for harm in
        ["<script>alert", "<img", "onerror=alert(2)>", "6170", "\u{202e}", "\u{1b}", "http://", "url(", "@import"]
    {
        assert!(!page.contains(harm), "{harm}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)"), "it is shown as what it is");
    assert!(page.contains("<br>body.name equals customer.desk"), "what was sent for a step");
    assert!(!page.contains("$secret") && page.contains("prefers-color-scheme"), "{page}");
    let without_values = regex::Regex::new("=\"[^\"]*\"").unwrap().replace_all(&page, "=\"\"").into_owned();
    let loads = regex::Regex::new(r"<[a-z][^>]*\s(src|srcset|data)=").unwrap();
    assert!(!loads.is_match(&without_values), "nothing is loaded from anywhere");
    assert_eq!(unbalanced(&page), None);
    for text in [folder.run("runs show 01939a00").out, folder.run("runs show 01939a00 -v").out] {
        assert!(!text.contains('\u{1b}') && !text.contains('\u{202e}'), "{text}");
    }
    // Without a file it goes to standard output.
    assert_eq!(folder.run("runs show 01939a00 --html").out.trim_end(), page.trim_end());
}

/// The first tag that is not closed, or closes what is not open.
fn unbalanced(page: &str) -> Option<String> {
    let tag = regex::Regex::new(r"<(/?)([a-z][a-z0-9]*)((?:[^>\x22]|\x22[^\x22]*\x22)*)>").unwrap();
    let without_script = regex::Regex::new(r"(?s)<script>.*?</script>|<style>.*?</style>").unwrap();
    let page = without_script.replace_all(page, "");
    let mut open: Vec<String> = Vec::new();
    for found in tag.captures_iter(&page) {
        let (closes, name) = (&found[1] == "/", found[2].to_owned());
        if closes {
            if open.pop().as_ref() != Some(&name) {
                return Some(found[0].to_owned());
            }
        } else if !["meta", "br", "hr", "input", "link", "col"].contains(&name.as_str()) && !found[3].ends_with('/') {
            open.push(name);
        }
    }
    open.pop()
}

#[tokio::test]
async fn what_cannot_be_shown_is_told() {
    let folder = run_of("Desk").await;
    let screens = ["01939a01", "01939a00 --html no/such/folder.html"].map(|arguments| {
        let ended = folder.run(&format!("runs show {arguments}"));
        assert_eq!(ended.out, "");
        format!("$ runs show {arguments}\n[exit {}]\n{}", ended.code.unwrap(), ended.error)
    });
    insta::assert_snapshot!(screens.join("\n"));
}
