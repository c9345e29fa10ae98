//! `tenantry sandbox` without more: a simulated Qlik Cloud over HTTP.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tenantry::sandbox::{Client, Estate, FaultFile, Faults, Lags, Limits, Reach};
use tenantry::{Sandbox, SandboxSettings};
use tokio::net::TcpListener;

use super::super::arguments::{Common, SandboxArguments};
use super::super::console::Console;
use super::super::exit::Exit;
use super::super::interrupt::Interrupts;
use crate::report::{Paint, Trouble};

/// The regions that are shown: those of the reference customers. All answer.
const REGIONS: [&str; 3] = ["eu", "uk", "us"];

pub(super) async fn serve(console: &Console, common: &Common, arguments: &SandboxArguments) -> Exit {
    let faults = match arguments.faults.as_deref().map(faults).transpose() {
        Ok(faults) => faults,
        Err(trouble) => return fail(console, common, &trouble),
    };
    let estate = match arguments.estate.as_deref().map(estate).transpose() {
        Ok(estate) => estate,
        Err(trouble) => return fail(console, common, &trouble),
    };
    let settings = SandboxSettings {
        estate,
        client_id: arguments.client_id.clone(),
        client_secret: arguments.client_secret.clone(),
        license_key: arguments.license_key.clone(),
        lags: faults.as_ref().map_or_else(Lags::default, |file| file.lags()),
        limits: faults.as_ref().map_or_else(Limits::default, |file| file.limits()),
        faults: faults.map(|file| file as Arc<dyn Faults>),
        ..SandboxSettings::default()
    };
    let sandbox = match &arguments.state {
        None => Sandbox::in_memory(settings),
        Some(path) => match Sandbox::open(path, settings) {
            Ok(sandbox) => sandbox,
            Err(error) => return fail(console, common, &super::unusable(&error)),
        },
    };
    // Before it listens, so that whoever waits for the line below can end it well.
    let mut interrupts = Interrupts::listen();
    let listeners = match listen(arguments.host, arguments.port).await {
        Ok(listeners) => listeners,
        Err(error) => {
            let address = arguments.host.map_or_else(|| "this machine".to_owned(), |host| host.to_string());
            let trouble = Trouble::new(format!("port {} of {address} cannot be opened: {error}", arguments.port))
                .help("choose another with --port, or let --port 0 find a free one");
            return fail(console, common, &trouble);
        }
    };
    let Some(address) = listeners.first().and_then(|listener| listener.local_addr().ok()) else {
        return fail(console, common, &Trouble::new("the sandbox has no address"));
    };
    if common.json {
        let credentials = sandbox.credentials();
        let url = url(address);
        let register = register(&url);
        console.json(&json!({
            "url": url,
            "register": register,
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
            "license_key": credentials.license_key,
            "source": sandbox.source_tenant(),
            "organizations": organizations(&sandbox),
        }));
    } else if !common.quiet && arguments.estate.is_some() {
        welcome_estate(console, &sandbox, &url(address));
    } else if !common.quiet {
        welcome(console, &sandbox, &url(address));
    }
    sandbox.serve(listeners, interrupts.next()).await;
    console.told("the sandbox has ended");
    Exit::Success
}

fn fail(console: &Console, common: &Common, trouble: &Trouble) -> Exit {
    if common.json {
        console.json(&json!({ "errors": [trouble] }));
    }
    console.trouble(trouble);
    Exit::Configuration
}

fn faults(path: &Path) -> Result<Arc<FaultFile>, Trouble> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Trouble::new(format!("cannot read {shown}: {error}")))?;
    let file =
        FaultFile::parse(&text).map_err(|error| Trouble::new(format!("{shown}: {}", error.to_string().trim())))?;
    Ok(Arc::new(file))
}

fn estate(path: &Path) -> Result<Estate, Trouble> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| Trouble::new(format!("cannot read {shown}: {error}")))?;
    Estate::parse(&text).map_err(|error| Trouble::new(format!("{shown}: {}", error.to_string().trim())))
}

/// Where a client acts, in one word.
fn reach(client: &Client) -> &'static str {
    match client.reach {
        Reach::Everywhere => "everywhere",
        Reach::Region(region) => region,
        Reach::Console => "console",
    }
}

fn organizations(sandbox: &Sandbox) -> Vec<Value> {
    let client =
        |client: &Client| json!({"client_id": client.id, "client_secret": client.secret, "acts": reach(client)});
    let organization = |(name, key, clients): (String, String, Vec<Client>)| json!({"name": name, "license_key": key, "clients": clients.iter().map(client).collect::<Vec<_>>()});
    sandbox.organizations().into_iter().map(organization).collect()
}

async fn listen(host: Option<IpAddr>, port: u16) -> std::io::Result<Vec<TcpListener>> {
    match host {
        None => tenantry::listen_for_sandbox(port).await,
        Some(host) => Ok(vec![TcpListener::bind((host, port)).await?]),
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn register(url: &str) -> String {
    format!("{url}/register.{}.qlikcloud.com", REGIONS[0])
}

fn welcome(console: &Console, sandbox: &Sandbox, url: &str) {
    let credentials = sandbox.credentials();
    let style = console.out();
    let head = |text: &str| style.paint(Paint::Bold, text);
    let (id, secret, key) = (&credentials.client_id, &credentials.client_secret, &credentials.license_key);
    let register = register(url);
    let client = format!(r#"{{ client_id = "{id}", client_secret = {{ env = "SANDBOX_CLIENT_SECRET" }} }}"#);
    let source = sandbox.source_tenant();
    let regions = REGIONS.map(|region| format!("  regions.{region} = {client}")).join("\n");
    console.data(&format!(
        r#"{title} {url}   (Ctrl-C ends it)

  client_id      {id}
  client_secret  {secret}
  license_key    {key}

{get_token}
  curl -s {register}/oauth/token \
    -d grant_type=client_credentials -d client_id={id} -d client_secret={secret}

{use_it}
  [targets.local]
  address = "{url}"
  license_key = {{ env = "SANDBOX_LICENSE_KEY" }}
  source = "{source}"
  console = {client}
{regions}

  export SANDBOX_CLIENT_SECRET={secret}
  export SANDBOX_LICENSE_KEY={key}
  tenantry run playbooks/onboard.rhai --customers customers/ --target local
"#,
        title = head("a simulated Qlik Cloud listens on"),
        get_token = head("A token for creating tenants:"),
        use_it = head("As a target in tenantry.toml:"),
    ));
}

fn welcome_estate(console: &Console, sandbox: &Sandbox, url: &str) {
    let style = console.out();
    let mut text =
        format!("{} {url}   (Ctrl-C ends it)\n", style.paint(Paint::Bold, "a simulated Qlik Cloud listens on"));
    for (name, key, clients) in sandbox.organizations() {
        let name = if name.is_empty() { "an organization without a name" } else { &*name };
        let _ = write!(text, "\n{}\n  license_key  {key}\n", style.paint(Paint::Bold, name));
        for client in clients {
            let _ = writeln!(text, "  {:<11}  {}  {}", reach(&client), client.id, client.secret);
        }
    }
    console.data(&text);
}
