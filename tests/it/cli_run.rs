//! The program from the outside: the stock onboarding, in process and over HTTP, its JSON, its signals and its logs.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Cursor, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Stdio};

use regex::Regex;
use serde_json::{Value, json};
use tenantry::sandbox::{Sandbox, Settings};
use zip::ZipArchive;

use crate::support::command_line::{Ended, Folder, Served, exchange, signal};

const ONBOARD: &str = "run playbooks/onboard.rhai --customers customers";
const HYDRATE: &str = "run playbooks/hydrate.rhai --customers customers";

#[test]
fn onboarding_ends_well_and_a_second_time_nothing_is_written() {
    let project = Folder::stock();
    let first = project.run(&format!("{ONBOARD} --json --events events.jsonl"));
    assert_eq!(first.code, Some(0), "{first:?}");
    let first = first.json();
    assert_eq!(first.as_object().unwrap().keys().collect::<Vec<_>>(), ["runs"]);
    let runs = first["runs"].as_array().unwrap();
    let codes: Vec<&str> = runs.iter().map(|run| run["customer"].as_str().unwrap()).collect();
    assert_eq!(codes, ["fw", "hb", "pu"], "in the order of the customers, whoever ended first");
    for run in runs {
        let keys: Vec<&str> = run.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(
            keys,
            [
                "run", "customer", "status", "tenant", "requests", "reads", "writes", "replayed", "changes", "output",
                "error"
            ]
        );
        assert_eq!(run["status"], "succeeded");
        assert_eq!(run["error"], Value::Null);
        for field in ["id", "hostname", "url"] {
            assert!(!run["tenant"][field].as_str().unwrap().is_empty());
        }
        let count = |field: &str| run[field].as_u64().unwrap();
        assert!(count("reads") + count("writes") <= count("requests") && count("writes") > 10);
        let changes = run["changes"].as_array().unwrap();
        assert!(changes.iter().any(|change| change["change"] == "created" && change["subject"] == "space \"Staging\""));
    }

    let events = std::fs::read_to_string(project.path().join("events.jsonl")).unwrap();
    let events: Vec<Value> = events.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(events.iter().all(|event| event["version"] == 1));
    let named = |name: &str| events.iter().filter(|event| event["event"] == name).count();
    assert_eq!((named("run_started"), named("run_finished")), (3, 3));
    let asked: u64 = runs.iter().map(|run| run["requests"].as_u64().unwrap()).sum();
    assert!(named("operation") as u64 >= asked, "each request is told, and what the host answers itself");
    for step in events.iter().filter(|event| event["event"] == "step") {
        let call = format!("{}:", step["call"].as_str().unwrap());
        let mut own = events.iter().filter(|event| event["event"] == "operation" && event["run"] == step["run"]);
        assert!(own.any(|operation| operation["key"].as_str().unwrap().starts_with(&call)), "{step}");
    }

    let second = project.run(&format!("{ONBOARD} --json")).json();
    for (before, after) in runs.iter().zip(second["runs"].as_array().unwrap()) {
        assert_eq!(
            (&after["status"], &after["writes"], &after["changes"]),
            (&json!("succeeded"), &json!(0), &json!([]))
        );
        assert_eq!(after["tenant"], before["tenant"]);
        let requests = |run: &Value| run["requests"].as_u64().unwrap();
        assert!(requests(after) * 2 <= requests(before), "{} after {}", requests(after), requests(before));
    }

    let listed = project.run("tenants list --json").json();
    let listed: Vec<&str> =
        listed["tenants"].as_array().unwrap().iter().map(|tenant| tenant["customer"].as_str().unwrap()).collect();
    assert_eq!(listed, ["fw", "hb", "pu"]);
}

#[test]
fn the_closing_table_shows_every_tenant_and_what_it_took() {
    let project = Folder::stock();
    let first = project.run("run playbooks/onboard.rhai --customers customers/");
    assert_eq!(first.code, Some(0), "{first:?}");
    insta::assert_snapshot!(first.out, @"
    CUSTOMER  STATUS     CHANGES                        REQUESTS  WRITES  TENANT
    fw        succeeded  18 created, 6 updated, 1 done  58        27      https://halyard-fw.uk.qlikcloud.com
    hb        succeeded  18 created, 3 updated          43        21      https://halyard-hb.eu.qlikcloud.com
    pu        succeeded  16 created, 4 updated          41        20      https://halyard-pu.us.qlikcloud.com
    ");
    let line = |error: &str, text: &str| error.lines().any(|line| line == text);
    assert!(line(&first.error, "hb  created    space \"Production\""), "{}", first.error);
    assert!(line(&first.error, "hb  verified   login of hb|probe"), "{}", first.error);
    // What is right already takes no line of the table, and no login is tried that nothing has touched.
    let second = project.run("run playbooks/onboard.rhai --customers customers/");
    insta::assert_snapshot!(second.out, @"
    CUSTOMER  STATUS     CHANGES  REQUESTS  WRITES  TENANT
    fw        succeeded  none     26        0       https://halyard-fw.uk.qlikcloud.com
    hb        succeeded  none     18        0       https://halyard-hb.eu.qlikcloud.com
    pu        succeeded  none     18        0       https://halyard-pu.us.qlikcloud.com
    ");
    assert!(!second.error.contains("verified"), "{}", second.error);
    let verified = project.run("run playbooks/onboard.rhai --customers customers/ --verify");
    assert_eq!(verified.code, Some(0), "{verified:?}");
    assert!(line(&verified.error, "hb  verified   login of hb|probe"), "{}", verified.error);
    assert!(line(&verified.error, "pu  verified   login of pu|probe"), "{}", verified.error);
    assert!(!verified.error.contains("created") && !verified.error.contains("updated"), "{}", verified.error);
    let quiet = project.run("run playbooks/onboard.rhai --customers customers/ --quiet");
    assert_eq!((quiet.out.as_str(), quiet.error.as_str()), (second.out.as_str(), ""));
}

/// A target that is `tenantry sandbox` in another process.
pub(crate) fn local(served: &Served) -> String {
    let client = format!("{{ client_id = \"{}\", client_secret = {{ env = \"SECRET\" }} }}", served.text("client_id"));
    let regions = ["eu", "uk", "us"].map(|region| format!("regions.{region} = {client}")).join("\n");
    let (url, source) = (served.text("url"), served.text("source"));
    format!(
        "[targets.local]\naddress = \"{url}\"\nsource = \"{source}\"\nlicense_key = {{ env = \"KEY\" }}\nconsole = {client}\n{regions}"
    )
}

pub(crate) fn run_locally(project: &Folder, served: &Served, arguments: &str) -> Ended {
    let mut command = project.command(&format!("{arguments} --target local"));
    command.env("SECRET", served.text("client_secret")).env("KEY", served.text("license_key"));
    Ended::of(command.output().unwrap())
}

#[test]
fn over_http_it_ends_in_the_same_state_and_every_setting_can_be_read_back() {
    let (here, there) = (Folder::stock(), Folder::stock());
    let ended = here.run(&format!("{ONBOARD} --json"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(here.run(HYDRATE).code, Some(0));

    let served = Served::start(&there, "--state served.db --client-id partner");
    assert_eq!(served.text("client_id"), "partner");
    assert_eq!(served.text("register"), format!("{}/register.eu.qlikcloud.com", served.text("url")));
    there.add_settings(&local(&served));
    let ended = run_locally(&there, &served, &format!("{ONBOARD} --json"));
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let runs = ended.json();
    for run in runs["runs"].as_array().unwrap() {
        assert!(run["tenant"]["url"].as_str().unwrap().starts_with(served.text("url")));
    }
    let ended = run_locally(&there, &served, HYDRATE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for command in [ONBOARD, HYDRATE] {
        let again = run_locally(&there, &served, &format!("{command} --json")).json();
        assert!(again["runs"].as_array().unwrap().iter().all(|run| run["writes"] == 0), "{again}");
    }

    let mut read = 0;
    for entry in std::fs::read_dir(there.path().join("customers")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let customer: Value = serde_saphyr::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
            let run = runs["runs"].as_array().unwrap().iter().find(|run| run["customer"] == customer["code"]).unwrap();
            Reader::open(&served, run["tenant"]["hostname"].as_str().unwrap()).read_back(&customer);
            read += 1;
        }
    }
    assert_eq!(read, 3);

    let (code, rest) = served.end();
    assert_eq!((code, rest.as_str()), (Some(0), ""), "one line on standard output, and a good end");
    let state = |path: &str, folder: &Folder| {
        let sandbox = Sandbox::open(&folder.path().join(path), Settings::default()).unwrap();
        comparable(&sandbox.snapshot().to_json())
    };
    let (in_process, over_http) = (state(".tenantry/sandbox.db", &here), state("served.db", &there));
    assert!(in_process.lines().count() > 100);
    if in_process != over_http {
        let missing: Vec<&str> = in_process.lines().filter(|line| !over_http.contains(line)).collect();
        let more: Vec<&str> = over_http.lines().filter(|line| !in_process.contains(line)).collect();
        panic!("only in process:\n{}\nonly over HTTP:\n{}", missing.join("\n"), more.join("\n"));
    }
}

/// A state as sorted lines, with names in place of ids: what was drawn by lot or depends on the time is taken out.
fn comparable(state: &Value) -> String {
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let organization = &state["organization"]["organization"][0]["document"];
    for field in ["clientId", "licenseNumber", "subscriptionId"] {
        names.insert(organization[field].as_str().unwrap().to_owned(), format!("<{field}>"));
    }
    let mut documents = Vec::new();
    let mut collect = |home: &str, collections: &Value| {
        for (collection, list) in collections.as_object().unwrap() {
            for entry in list.as_array().unwrap() {
                documents.push((home.to_owned(), collection.clone(), entry["id"].clone(), entry["document"].clone()));
            }
        }
    };
    collect("organization", &state["organization"]);
    for (tenant, collections) in state["tenants"].as_object().unwrap() {
        collect(tenant, collections);
    }
    for (_, collection, id, document) in &documents {
        let id = id.as_str().unwrap();
        let called =
            ["name", "qName", "clientName", "subject", "provider"].iter().find_map(|field| document[*field].as_str());
        if let Some(called) = called
            && id.len() >= 24
            && !id.contains(['|', ':'])
        {
            names.insert(id.to_owned(), format!("<{collection} {called}>"));
        }
        let schedules = document["schedules"].as_array().into_iter().flatten().map(|schedule| &schedule["id"]);
        for within in
            schedules.chain([&document["executionToken"], &document["qCredentialsID"]]).filter_map(Value::as_str)
        {
            names.insert(within.to_owned(), format!("<of {}>", called.unwrap()));
        }
        if collection == "tenants" {
            names.insert(
                document["hostnames"][0].as_str().unwrap().to_owned(),
                format!("<host of {}>", called.unwrap()),
            );
        }
    }
    let lots = [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "<time>"),
        (r"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----", "<certificate>"),
        (r"\|[0-9a-f]{8}-[0-9a-f-]{27}", "|<uuid>"),
        (r#""exp":\d+"#, "\"exp\":0"),
        (r#""id":"[0-9a-f]{24}""#, "\"id\":\"<id>\""),
    ]
    .map(|(pattern, name)| (Regex::new(pattern).unwrap(), name));
    let mut lines: Vec<String> = documents
        .into_iter()
        .filter(|(_, collection, _, _)| !["organization", "oauthSecrets"].contains(&collection.as_str()))
        .map(|(home, collection, _, mut document)| {
            document.sort_all_objects();
            let mut line = format!("{home} {collection} {document}");
            for (id, name) in &names {
                line = line.replace(id, name);
            }
            for (pattern, name) in &lots {
                line = pattern.replace_all(&line, *name).into_owned();
            }
            line
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

/// Reads a tenant with plain requests, sharing nothing with what wrote it.
struct Reader {
    address: String,
    host: String,
    token: String,
}

impl Reader {
    fn open(served: &Served, host: &str) -> Self {
        let address = served.text("url").trim_start_matches("http://").to_owned();
        let mut reader = Self { address, host: host.to_owned(), token: String::new() };
        let body = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}",
            served.text("client_id"),
            served.text("client_secret")
        );
        let answer = reader.ask("POST", "/oauth/token", &body);
        text(&answer["access_token"]).clone_into(&mut reader.token);
        reader
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let bytes = self.exchange(method, path, body);
        serde_json::from_slice(&bytes).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn exchange(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let (address, host, token) = (&self.address, &self.host, &self.token);
        let bearer = format!("Authorization: Bearer {token}");
        let (head, answer) = exchange(address, &format!("{method} /{host}{path}"), &[&bearer], body);
        if head.starts_with("HTTP/1.1 302") {
            let location = head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap();
            let base = format!("http://{address}/{host}");
            return self.exchange(method, location.strip_prefix(&base).unwrap(), body);
        }
        assert!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {head}{}", String::from_utf8_lossy(&answer));
        answer
    }

    fn get(&self, path: &str) -> Value {
        self.ask("GET", &format!("/api/v1/{path}"), "")
    }

    fn list(&self, path: &str) -> Vec<Value> {
        let page = self.get(path);
        assert!(page["links"]["next"]["href"].is_null(), "one page of {path} is enough");
        page["data"].as_array().unwrap().clone()
    }

    /// Finds everything that the customer's file names.
    fn read_back(&self, customer: &Value) {
        self.read_what_all_have(customer);
        for (field, wanted) in customer.as_object().unwrap() {
            match field.as_str() {
                // The code is the partner's own; it shows in names below.
                "code" => {}
                "name" | "region" => assert_eq!(&self.get("tenants/me")[field], wanted),
                "alias" => {
                    let alias = format!("{}.{}.qlikcloud.com", text(wanted), text(&customer["region"]));
                    assert_eq!(self.get("tenants/me")["hostnames"][1], alias);
                }
                "idp" => self.read_provider(wanted),
                "probe" | "recovery_admin" => self.read_user(wanted, field == "recovery_admin"),
                "groups" => {
                    let groups = self.list("groups?limit=100");
                    for wanted in list(wanted) {
                        let group = find(&groups, "name", &wanted["name"]);
                        let roles: Vec<&Value> =
                            list(&group["assignedRoles"]).iter().map(|role| &role["name"]).collect();
                        assert_eq!(sorted(roles), sorted(list(&wanted["roles"])), "{group}");
                    }
                }
                "spaces" => self.read_spaces(wanted),
                "seats" => {
                    let seats = self.list("licenses/assignments?limit=100");
                    for wanted in list(wanted) {
                        assert_eq!(find(&seats, "subject", &wanted["subject"])["type"], wanted["type"]);
                    }
                }
                "auto_assign" => {
                    let settings = self.get("licenses/settings");
                    assert_eq!(settings["autoAssignProfessional"], wanted["professional"]);
                    assert_eq!(settings["autoAssignAnalyzer"], wanted["analyzer"]);
                }
                "theme" => {
                    let themes = self.get("themes");
                    let theme = find(list(&themes["data"]), "name", &wanted["id"]);
                    let path = format!("/api/v1/themes/{}/file", text(&theme["id"]));
                    let mut archive = ZipArchive::new(Cursor::new(self.exchange("GET", &path, ""))).unwrap();
                    let file: Value = serde_json::from_reader(archive.by_name("theme.json").unwrap()).unwrap();
                    assert_eq!(file["_variables"]["@primary"], wanted["primary"]);
                    assert_eq!(file["_variables"]["@accent"], wanted["accent"]);
                    if let Some(font) = wanted["font"].as_str() {
                        assert!(text(&file["fontFamily"]).starts_with(font));
                    }
                }
                "web_integration" => {
                    let portal = self.list("web-integrations");
                    assert_eq!(&find(&portal, "name", &json!("portal"))["validOrigins"], wanted);
                }
                "csp" => {
                    let origins = self.list("csp-origins?limit=100");
                    for wanted in list(wanted) {
                        let origin = find(&origins, "origin", &wanted["origin"]);
                        wanted.as_object().unwrap().iter().for_each(|(field, value)| assert_eq!(&origin[field], value));
                    }
                }
                "apps" => {
                    let spaces = self.list("spaces?limit=100");
                    for wanted in list(wanted) {
                        let space = &find(&spaces, "name", &wanted["publish"])["id"];
                        let apps = self.list(&format!("items?resourceType=app&spaceId={}", text(space)));
                        let app =
                            self.get(&format!("apps/{}", text(&find(&apps, "name", &wanted["name"])["resourceId"])));
                        assert!(text(&app["attributes"]["description"]).starts_with("{v1.0.0} "), "{app}");
                    }
                }
                "extensions" => {
                    for name in list(wanted) {
                        let path = format!("/api/v1/extensions/{0}/file/{0}.js", text(name));
                        assert!(String::from_utf8(self.exchange("GET", &path, "")).unwrap().contains("define("));
                    }
                }
                "data_connections" => {
                    let spaces = self.list("spaces?limit=100");
                    for wanted in list(wanted) {
                        let space = &find(&spaces, "name", &wanted["space"])["id"];
                        let held = self.list(&format!("data-connections?spaceId={}", text(space)));
                        let id = &find(&held, "qName", &wanted["name"])["qID"];
                        let held = self.get(&format!("data-connections/{}?parseConnection=true", text(id)));
                        assert_eq!(
                            (&held["datasourceID"], &held["connectionProperties"]),
                            (&wanted["source"], &wanted["properties"])
                        );
                    }
                }
                "data_files" => {
                    let spaces = self.list("spaces?limit=100");
                    for wanted in list(wanted) {
                        let space = &find(&spaces, "name", &wanted["space"])["id"];
                        let of = self.list(&format!("data-files/connections?spaceId={}", text(space)));
                        let held = self.list(&format!("data-files?connectionId={}", text(&of[0]["id"])));
                        // Nobody is shown what is in it: the head, and a line for each seat.
                        let seats = list(&customer["seats"]).iter().map(|seat| match &seat["type"] {
                            kind if *kind == "professional" => "USER,,*\n".len() + text(&seat["subject"]).len(),
                            _ => "USER,,\n".len() + 2 * text(&seat["subject"]).len(),
                        });
                        let size = "ACCESS,USERID,CLIENT\n".len() + seats.sum::<usize>();
                        assert_eq!(find(&held, "name", &wanted["name"])["size"], json!(size));
                    }
                }
                "automations" => {
                    let held = self.ask("GET", "/api/workflows/automations", "");
                    for name in list(wanted) {
                        let id = &find(list(&held["data"]), "name", name)["id"];
                        let automation = self.ask("GET", &format!("/api/workflows/automations/{}", text(id)), "");
                        let file = std::fs::read(format!("content/automations/{}.json", text(name))).unwrap();
                        let defined: Value = serde_json::from_slice(&file).unwrap();
                        assert_eq!(automation["workspace"], defined["workspace"]);
                        assert_eq!(
                            (&automation["state"], &automation["runMode"]),
                            (&json!("available"), &json!("webhook"))
                        );
                    }
                }
                "brand" => {
                    let brands = self.list("brands");
                    let brand = find(&brands, "name", &customer["name"]);
                    assert_eq!(brand["active"], true);
                    for (file, field) in [("logo", "logo"), ("favIcon", "favicon")] {
                        let path = format!("/api/v1/brands/{}/files/{file}", text(&brand["id"]));
                        let held = std::fs::read(format!("content/brands/{}", text(&wanted[field]))).unwrap();
                        assert_eq!(self.exchange("GET", &path, ""), held, "{file}");
                    }
                }
                "impersonation" => {
                    let clients = self.list("oauth-clients");
                    let client = find(&clients, "clientName", &wanted["client"]);
                    assert_eq!(client["allowedScopes"], wanted["scopes"]);
                    assert_eq!(client["connectionConfig"]["consentMethod"], "trusted");
                }
                "settings" => self.read_settings(wanted),
                other => panic!("nobody reads back `{other}`"),
            }
        }
    }

    fn read_settings(&self, wanted: &Value) {
        let sessions = self.ask("GET", "/api/core/auth-settings", "");
        assert_eq!(sessions["userSessionInactivityTimeoutMinutes"], wanted["session_minutes"]);
        let keys = self.get(&format!("api-keys/configs/{}", text(&sessions["tenantId"])));
        assert_eq!(keys["max_keys_per_user"], wanted["api_keys_per_user"]);
        assert_eq!(self.get("data-alerts/settings")["enable-data-alerting"], wanted["data_alerts"]);
        assert_eq!(self.get("sharing-tasks/settings")["enable-sharing"], wanted["sharing_by_email"]);
        let policies = self.ask("GET", "/api/core/ip-policies", "");
        assert_eq!(policies["data"][0]["allowedIps"], wanted["ip_policy"]["allowed"]);
        let keys = self.get("encryption/keyproviders");
        assert_eq!(find(list(&keys["errors"]), "arn", &wanted["key"]["arn"])["current"], true);
    }

    /// What onboarding sets whether or not the customer's file says so.
    fn read_what_all_have(&self, customer: &Value) {
        let tenant = self.get("tenants/me");
        for flag in ["CreateSharedSpaces", "PrivateAnalyticsContentCreator", "DataServicesContributor"] {
            assert_eq!(tenant[format!("autoAssign{flag}RoleToProfessionals")], false, "{flag}");
        }
        let settings = self.get("groups/settings");
        assert_eq!(settings["autoCreateGroups"], true);
        let everyone = list(&settings["systemGroups"]["000000000000000000000001"]["assignedRoles"]);
        assert!(!everyone.is_empty(), "others than these are left");
        for role in ["AutomationCreator", "SharedSpaceCreator"] {
            assert!(everyone.iter().all(|held| held["name"] != role), "everyone has {role}");
        }
        if customer["auto_assign"].is_null() {
            let settings = self.get("licenses/settings");
            assert_eq!(
                (&settings["autoAssignProfessional"], &settings["autoAssignAnalyzer"]),
                (&json!(false), &json!(false))
            );
        }
    }

    fn read_provider(&self, wanted: &Value) {
        let providers = self.list("identity-providers");
        // A secret is never shown; `type` says which of the two it is.
        let read: &[&str] = match text(&wanted["type"]) {
            "jwt" => &["type", "issuer", "kid"],
            _ => &[
                "type",
                "provider",
                "discoveryUrl",
                "clientId",
                "clientSecret",
                "realm",
                "groupsClaim",
                "emailVerifiedAlwaysTrue",
                "postLogoutRedirectUri",
            ],
        };
        let unread = wanted.as_object().unwrap().keys().find(|field| !read.contains(&field.as_str()));
        assert_eq!(unread, None, "nobody reads this back");
        if wanted["type"] == "jwt" {
            let provider = providers.iter().find(|provider| provider["options"]["issuer"] == wanted["issuer"]).unwrap();
            assert_eq!((&provider["protocol"], &provider["active"]), (&json!("jwtAuth"), &json!(true)));
            assert_eq!(provider["options"]["staticKeys"][0]["kid"], wanted["kid"]);
            return;
        }
        let provider = find(&providers, "provider", &wanted["provider"]);
        assert_eq!(provider["postLogoutRedirectUri"], wanted["postLogoutRedirectUri"]);
        let options = &provider["options"];
        for field in ["discoveryUrl", "clientId", "realm", "emailVerifiedAlwaysTrue"] {
            assert_eq!(options[field], wanted[field], "{field}");
        }
        assert_eq!(options["claimsMapping"]["groups"], json!([wanted["groupsClaim"]]));
    }

    fn read_user(&self, wanted: &Value, admin: bool) {
        let users = self.list("users?limit=100");
        let user = find(&users, "subject", &wanted["subject"]);
        assert_eq!((&user["name"], &user["email"]), (&wanted["name"], &wanted["email"]));
        let roles: Vec<&Value> = list(&user["assignedRoles"]).iter().map(|role| &role["name"]).collect();
        assert_eq!(roles.contains(&&json!("TenantAdmin")), admin);
        let groups = self.list("groups?limit=100");
        for name in wanted["groups"].as_array().into_iter().flatten() {
            find(list(&user["assignedGroups"]), "id", &find(&groups, "name", name)["id"]);
        }
    }

    fn read_spaces(&self, wanted: &Value) {
        let (spaces, groups) = (self.list("spaces?limit=100"), self.list("groups?limit=100"));
        for wanted in list(wanted) {
            let space = find(&spaces, "name", &wanted["name"]);
            assert_eq!(space["type"], wanted["type"]);
            let assignments = self.list(&format!("spaces/{}/assignments?limit=100", text(&space["id"])));
            let given = wanted["assign"].as_object().cloned().unwrap_or_default();
            assert_eq!(assignments.len(), given.len());
            for (group, roles) in &given {
                let group = find(&groups, "name", &json!(group));
                let assignment = find(&assignments, "assigneeId", &group["id"]);
                assert_eq!(sorted(list(&assignment["roles"])), sorted(list(roles)));
            }
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

#[track_caller]
fn find<'v>(among: &'v [Value], field: &str, value: &Value) -> &'v Value {
    among.iter().find(|item| &item[field] == value).unwrap_or_else(|| panic!("no {field} {value} among {among:?}"))
}

fn sorted<'v>(values: impl IntoIterator<Item = &'v Value>) -> Vec<String> {
    let mut values: Vec<String> = values.into_iter().map(Value::to_string).collect();
    values.sort();
    values
}

const CUSTOMER: &str = "code: hb\nname: Harbour Logistics\nregion: eu\nalias: halyard-hb\n";

#[test]
fn ctrl_c_ends_at_the_next_operation_and_says_how_to_go_on() {
    let project = Folder::empty();
    project.write("hb.yaml", CUSTOMER);
    project.write("play.rhai", "let tenant = tenants::ensure(customer);\nloop { tenant.spaces.find(\"Staging\"); }\n");
    let mut command = project.command("run play.rhai --customer hb.yaml --json");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    told.read_line(&mut line).unwrap();
    assert!(line.starts_with("created    tenant "), "{line}");
    signal(&child, "INT");
    let mut rest = String::new();
    told.read_to_string(&mut rest).unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{rest}");
    let run = &ended.json()["runs"][0];
    assert_eq!((&run["status"], &run["writes"]), (&json!("cancelled"), &json!(2)));
    assert!(
        rest.contains("press Ctrl-C again") && rest.contains(&format!("`tenantry runs resume {}`", text(&run["run"]))),
        "{rest}"
    );
    assert_eq!(project.run("tenants list --json").json()["tenants"][0]["customer"], "hb", "what was done is kept");
}

/// The program in the middle of this line of a playbook, whose request about spaces the service never answers; with the
/// connection that must stay open.
#[expect(clippy::zombie_processes, reason = "whoever asked for it waits for its end")]
fn stalled(project: &Folder, line: &str) -> (Child, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let target =
        format!("address = \"http://{address}\"\ntenant = \"q7m2.eu.qlikcloud.com\"\napi_key = {{ env = \"KEY\" }}");
    project.write("tenantry.toml", &format!("[targets.live]\n{target}\n"));
    project.write("hb.yaml", CUSTOMER);
    project.write("play.rhai", &format!("let tenant = tenants::ensure(customer);\n{line}\n"));
    let mut command = project.command("run play.rhai --customer hb.yaml --target live");
    let child = command.env("KEY", "k").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let me = r#"{"id":"t1","name":"hb","hostnames":["q7m2.eu.qlikcloud.com","halyard-hb.eu.qlikcloud.com"],"status":"active"}"#;
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = BufReader::new(stream.try_clone().unwrap());
        let mut line = String::new();
        request.read_line(&mut line).unwrap();
        if line.contains("/spaces") {
            return (child, stream);
        }
        let mut rest = String::new();
        while rest != "\r\n" {
            rest.clear();
            request.read_line(&mut rest).unwrap();
        }
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{me}",
            me.len()
        )
        .unwrap();
    }
}

#[test]
fn ctrl_c_does_not_wait_for_a_read() {
    let project = Folder::empty();
    let (child, _held) = stalled(&project, "tenant.spaces.list();");
    signal(&child, "INT");
    let ended = Ended::of(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(130), "{ended:?}");
    assert!(ended.error.contains("warning: interrupted before the end"), "{}", ended.error);
    assert!(ended.out.contains("hb        cancelled"), "{}", ended.out);
}

#[test]
fn a_second_ctrl_c_does_not_wait_for_a_write() {
    let project = Folder::empty();
    let create = "tenant.request(\"createSpace\", #{ body: #{ name: \"A\", type: \"shared\" } });";
    let (mut child, _held) = stalled(&project, create);
    signal(&child, "TERM");
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("interrupted") {
        line.clear();
        assert_ne!(told.read_line(&mut line).unwrap(), 0);
    }
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn the_failure_of_one_customer_leaves_the_others_alone() {
    let project = Folder::empty();
    project.write("customers/a.yaml", CUSTOMER);
    // A name of its own for each: a tenant of the same name is taken for the customer's.
    project.write("customers/b.yaml", &CUSTOMER.replace("hb", "fw").replace("Harbour", "Fenwick"));
    project.write("customers/c.yaml", &CUSTOMER.replace("hb", "pu").replace("Harbour", "Pulsewise"));
    let playbook = "let tenant = tenants::ensure(customer);\nif customer.code == \"hb\" { throw \"no\"; }\n";
    project.write("play.rhai", &format!("{playbook}tenant.spaces.ensure(\"Staging\", \"shared\");\n"));
    let ended = project.run("run play.rhai --customers customers --json --parallel 2");
    assert_eq!(ended.code, Some(6));
    let runs = ended.json();
    let statuses: Vec<&str> = list(&runs["runs"]).iter().map(|run| text(&run["status"])).collect();
    assert_eq!(statuses, ["failed", "succeeded", "succeeded"]);
    assert_eq!(runs["runs"][0]["error"]["message"], "no");
    // When all fail alike, the fault is shown once.
    project.write("play.rhai", "throw \"never\";\n");
    let ended = project.run("run play.rhai --customers customers");
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.error.matches("error: never").count(), 1, "{}", ended.error);
    assert!(ended.error.contains("customers: hb, fw, pu"), "{}", ended.error);
}

#[test]
fn logs_tell_run_tenant_operation_and_attempt_and_never_a_secret() {
    let project = Folder::empty();
    let served = Served::start(&project, "--client-secret canary-client --license-key canary-license");
    project.add_settings(&local(&served));
    project.write("hb.yaml", CUSTOMER);
    project.write("play.rhai", "let tenant = tenants::ensure(customer);\nkeys::ensure(\"portal\");\n");
    let logged = |format: &str| {
        let mut command = project.command("run play.rhai --customer hb.yaml --target local --quiet");
        command.env("SECRET", "canary-client").env("KEY", "canary-license");
        command.env("TENANTRY_LOG", "trace").env("TENANTRY_LOG_FORMAT", format).env("TENANTRY_LOG_FILE", format);
        let ended = Ended::of(command.output().unwrap());
        assert_eq!((ended.code, ended.error.as_str()), (Some(0), ""), "logs go to the file alone");
        let text = std::fs::read_to_string(project.path().join(format)).unwrap();
        assert!(!text.contains("canary") && !text.contains("PRIVATE KEY") && !text.contains("Bearer"), "{text}");
        text
    };
    let lines: Vec<Value> = logged("json").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let answered = |line: &&Value| {
        line["fields"]["message"] == "answered"
            && line["spans"][1]["operation"] == "patchTenant"
            && line["spans"][3].is_null()
    };
    let spans = list(&lines.iter().find(answered).unwrap()["spans"]);
    let names: Vec<&str> = spans.iter().map(|span| text(&span["name"])).collect();
    assert_eq!(names, ["run", "operation", "attempt"]);
    assert_eq!((&spans[0]["customer"], &spans[0]["target"]), (&json!("hb"), &json!("local")));
    assert!(text(&spans[1]["tenant"]).ends_with(".eu.qlikcloud.com"));
    assert!(logged("text").contains("customer=hb"));
    let wrong = project.command("tenants list").env("TENANTRY_LOG", "tenantry=loud").output().unwrap();
    assert_eq!(wrong.status.code(), Some(3));
    assert!(Ended::of(project.command("tenants list").output().unwrap()).error.lines().count() == 1, "off by default");
}

#[test]
fn a_creation_whose_end_is_not_known_is_settled_by_a_person() {
    let project = Folder::empty();
    project.write("hb.yaml", CUSTOMER);
    project.write("play.rhai", "tenants::ensure(customer);\n");
    assert_eq!(project.run("run play.rhai --customer hb.yaml").code, Some(0));
    let listed = project.run("tenants list --json").json();
    let hostname = text(&listed["tenants"][0]["hostname"]).to_owned();
    // It is the tenant of that customer already: nothing changes; and another cannot have it.
    assert_eq!(project.run(&format!("tenants adopt hb {hostname}")).code, Some(0));
    let taken = project.run(&format!("tenants adopt fw {hostname}"));
    assert_eq!(taken.code, Some(4));
    assert!(taken.error.contains("already registered for customer `hb`"), "{}", taken.error);
    let nothing = project.run("tenants adopt fw --not-created");
    assert_eq!(nothing.code, Some(1));
    assert!(nothing.error.contains("no creation with an unknown end is noted for `fw`"), "{}", nothing.error);
    let nobody = project.run("tenants adopt fw nobody.eu.qlikcloud.com");
    assert_ne!(nobody.code, Some(0));
    assert!(!nobody.error.contains("panicked"));
}

#[test]
fn a_served_sandbox_fails_as_its_file_of_faults_says() {
    let folder = Folder::empty();
    folder.write("faults.toml", "[[strike]]\noperation = \"requestOauthToken\"\nfault = \"limited:3\"\n");
    let served = Served::start(&folder, "--faults faults.toml");
    let (address, host) = (served.text("url").strip_prefix("http://").unwrap(), "register.eu.qlikcloud.com");
    let (id, secret) = (served.text("client_id"), served.text("client_secret"));
    let form = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let token = || exchange(address, &format!("POST /{host}/oauth/token"), &[], &form);
    let (head, body) = token();
    assert!(head.starts_with("HTTP/1.1 429") && head.to_lowercase().contains("retry-after: 3"), "{head}");
    assert!(String::from_utf8(body).unwrap().contains("HTTP-429"));
    let (head, _) = token();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert_eq!(served.end().0, Some(0));
}
