//! The registry of tenants: what it must never lose, and what it says when it cannot go on.

use std::path::Path;
use std::sync::Arc;

use tempfile::TempDir;
use tenantry::store::{FORMAT, Registry, RegistryError, State, StateError, Tenant};
use tenantry::surroundings::{Clock, RuntimeClock};

fn clock() -> Arc<dyn Clock> {
    Arc::new(RuntimeClock::starting_at("2026-11-24T08:00:00Z".parse().unwrap()))
}

fn open(path: &Path) -> Registry {
    State::open(path, clock()).unwrap().registry()
}

fn folder() -> (TempDir, std::path::PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join(".tenantry/state.db");
    (folder, path)
}

fn tenant(customer: &str, id: &str) -> Tenant {
    Tenant {
        customer: customer.to_owned(),
        id: id.to_owned(),
        hostname: format!("{id}.eu.qlikcloud.com"),
        alias: None,
        region: "eu".to_owned(),
        name: None,
        status: "active".to_owned(),
        created_by_run: Some("run-1".to_owned()),
    }
}

#[tokio::test(start_paused = true)]
async fn an_intent_outlives_the_process_that_wrote_it() {
    let (_folder, path) = folder();
    open(&path).begin_create("org", "harbour", "run-1", "1:createTenant#0", "ab12").unwrap();

    let later = open(&path);
    let intent = later.intent("org", "harbour").unwrap().unwrap();
    assert_eq!((intent.run.as_str(), intent.key.as_str()), ("run-1", "1:createTenant#0"));
    assert_eq!(intent.since.to_string(), "2026-11-24T08:00:00Z");
    let error = later.begin_create("org", "harbour", "run-2", "1:createTenant#0", "ab12").unwrap_err();
    assert!(matches!(error, RegistryError::Unsettled(_)), "{error}");
    assert!(error.hint().unwrap().contains("tenantry tenants adopt harbour --not-created"));
    // Another customer and another organization are not held up.
    later.begin_create("org", "fenwick", "run-2", "1:createTenant#0", "ab12").unwrap();
    later.begin_create("other", "harbour", "run-2", "1:createTenant#0", "ab12").unwrap();
}

#[tokio::test]
async fn a_run_takes_back_its_own_intent_only() {
    let registry = State::in_memory(clock()).unwrap().registry();
    registry.begin_create("org", "harbour", "run-1", "0:createTenant#0", "d").unwrap();
    // Someone said that the first creation came to nothing, and a second run began while the first still waited.
    assert!(registry.settle_not_created("org", "harbour").unwrap());
    registry.begin_create("org", "harbour", "run-2", "0:createTenant#0", "d").unwrap();
    assert!(!registry.take_back("org", "harbour", "run-1", "0:createTenant#0").unwrap());
    assert_eq!(registry.intent("org", "harbour").unwrap().unwrap().run, "run-2");
    assert!(registry.take_back("org", "harbour", "run-2", "0:createTenant#0").unwrap());
    assert_eq!(registry.intent("org", "harbour").unwrap(), None);
}

#[tokio::test]
async fn settling_replaces_the_intent_by_the_tenant_in_one_step() {
    let (_folder, path) = folder();
    let registry = open(&path);
    registry.begin_create("org", "harbour", "run-1", "1:createTenant#0", "ab12").unwrap();
    registry.settle_created("org", &tenant("harbour", "t1")).unwrap();

    let other = open(&path);
    assert_eq!(other.tenant("org", "harbour").unwrap().unwrap(), tenant("harbour", "t1"));
    assert_eq!(other.intent("org", "harbour").unwrap(), None);
    let error = other.begin_create("org", "harbour", "run-2", "1:createTenant#0", "ab12").unwrap_err();
    assert!(matches!(error, RegistryError::HasTenant(_)), "{error}");
}

#[tokio::test]
async fn a_creation_that_did_not_happen_may_be_begun_again() {
    let (_folder, path) = folder();
    let registry = open(&path);
    assert!(!registry.settle_not_created("org", "harbour").unwrap());
    registry.begin_create("org", "harbour", "run-1", "k", "d").unwrap();
    assert!(registry.settle_not_created("org", "harbour").unwrap());
    registry.begin_create("org", "harbour", "run-2", "k", "d").unwrap();
}

#[tokio::test]
async fn of_many_runs_for_one_customer_one_may_create() {
    let (_folder, path) = folder();
    let handles: Vec<_> = (0..8)
        .map(|run| {
            let path = path.clone();
            let clock = clock();
            std::thread::spawn(move || {
                let registry = State::open(&path, clock).unwrap().registry();
                registry.begin_create("org", "harbour", &format!("run-{run}"), "k", "d").is_ok()
            })
        })
        .collect();
    let begun = handles.into_iter().map(|handle| handle.join().unwrap()).filter(|begun| *begun).count();
    assert_eq!(begun, 1);
}

#[tokio::test]
async fn many_writers_at_once_lose_nothing() {
    let (_folder, path) = folder();
    let registry = open(&path);
    std::thread::scope(|scope| {
        for customer in 0..64 {
            let registry = registry.clone();
            scope.spawn(move || {
                let code = format!("c{customer}");
                registry.begin_create("org", &code, "run-1", "k", "d").unwrap();
                // A refusal among the shared commits takes back only itself.
                assert!(registry.begin_create("org", &code, "run-2", "k", "d").is_err());
                match customer % 3 {
                    0 => registry.settle_created("org", &tenant(&code, &format!("t{customer}"))).unwrap(),
                    1 => assert!(registry.settle_not_created("org", &code).unwrap()),
                    _ => {}
                }
            });
        }
    });
    let later = open(&path);
    assert_eq!(later.tenants("org").unwrap().len(), 22);
    assert_eq!(later.intents("org").unwrap().len(), 21);
}

#[tokio::test]
async fn a_tenant_belongs_to_one_customer_and_a_customer_has_one_tenant() {
    let (_folder, path) = folder();
    let registry = open(&path);
    registry.begin_create("org", "harbour", "run-1", "k", "d").unwrap();
    registry.adopt("org", &tenant("harbour", "t1")).unwrap();
    assert_eq!(registry.intent("org", "harbour").unwrap(), None, "adopting settles");

    let error = registry.adopt("org", &tenant("fenwick", "t1")).unwrap_err();
    assert_eq!(error.to_string(), "tenant t1 (t1.eu.qlikcloud.com) is already registered for customer `harbour`");
    let error = registry.adopt("org", &tenant("harbour", "t2")).unwrap_err();
    assert_eq!(error.to_string(), "customer `harbour` already has tenant t1 (t1.eu.qlikcloud.com)");

    let renamed = Tenant { alias: Some("halyard-harbour.eu.qlikcloud.com".to_owned()), ..tenant("harbour", "t1") };
    registry.adopt("org", &renamed).unwrap();
    assert_eq!(registry.tenants("org").unwrap(), [renamed]);
    assert!(registry.update("org", "t1", Some("Harbour"), None, Some("disabled")).unwrap());
    assert!(!registry.update("org", "t9", Some("Nobody"), None, None).unwrap());
    let row = registry.tenant("org", "harbour").unwrap().unwrap();
    assert_eq!((row.name.as_deref(), row.status.as_str()), (Some("Harbour"), "disabled"));
    assert_eq!(row.alias.as_deref(), Some("halyard-harbour.eu.qlikcloud.com"));
}

#[tokio::test]
async fn dropping_an_organization_leaves_the_others() {
    let (_folder, path) = folder();
    let registry = open(&path);
    registry.adopt("sandbox", &tenant("harbour", "t1")).unwrap();
    registry.begin_create("sandbox", "fenwick", "run-1", "k", "d").unwrap();
    registry.adopt("org", &tenant("harbour", "t2")).unwrap();
    for organization in ["sandbox", "org"] {
        registry.set_mark(organization, "harbour", "data file", Some(&serde_json::json!(1))).unwrap();
    }
    registry.drop_organization("sandbox").unwrap();
    assert_eq!(registry.mark("sandbox", "harbour", "data file").unwrap(), None);
    assert!(registry.mark("org", "harbour", "data file").unwrap().is_some());
    assert!(!registry.knows("sandbox").unwrap());
    assert!(registry.intents("sandbox").unwrap().is_empty());
    assert!(registry.knows("org").unwrap());
    assert!(registry.forget("org", "harbour").unwrap());
    assert!(!registry.knows("org").unwrap());
    assert_eq!(registry.marks("org", "harbour").unwrap(), []);
}

#[cfg(unix)]
#[tokio::test]
async fn only_the_owner_reads_the_state_file() {
    use std::os::unix::fs::PermissionsExt as _;
    let (_folder, path) = folder();
    let registry = open(&path);
    registry.begin_create("org", "harbour", "run-1", "k", "d").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&path.with_file_name("state.db-wal")), 0o600);
}

#[tokio::test]
async fn a_newer_state_file_is_left_alone() {
    let (_folder, path) = folder();
    drop(open(&path));
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", FORMAT + 6).unwrap();
    drop(connection);
    let error = State::open(&path, clock()).unwrap_err();
    assert!(matches!(error, StateError::Newer { found, .. } if found == FORMAT + 6));
    assert!(error.to_string().ends_with("has format 10; this release reads formats up to 4"), "{error}");
}

#[tokio::test]
async fn damaged_and_foreign_files_are_named() {
    let (_folder, path) = folder();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, "this is a note, not a database, and it is long enough to have a header".repeat(20)).unwrap();
    let error = State::open(&path, clock()).unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains("backup"));

    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
    let error = State::open(&path, clock()).unwrap_err();
    assert!(matches!(error, StateError::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn a_state_file_with_a_torn_page_is_refused() {
    let (_folder, path) = folder();
    let registry = open(&path);
    for customer in 0..200 {
        registry.adopt("org", &tenant(&format!("c{customer}"), &format!("t{customer}"))).unwrap();
    }
    drop(registry);
    let mut bytes = std::fs::read(&path).unwrap();
    assert!(bytes.len() > 8192, "everything is in the one file once it is closed");
    let torn = bytes.len() - 4096 * 2;
    bytes[torn..].fill(0x5a);
    std::fs::write(&path, bytes).unwrap();
    let outcome = match State::open(&path, clock()) {
        Ok(state) => state.registry().tenants("org"),
        Err(error) => Err(error.into()),
    };
    assert!(matches!(outcome, Err(RegistryError::State(StateError::Damaged { .. }))), "{outcome:?}");
}

/// What reading everything of the registry says of damage.
fn damage(registry: &Registry) -> Option<String> {
    let read = registry.tenants("org").map(drop).and_then(|()| registry.intents("org").map(drop));
    match read {
        Ok(()) => None,
        Err(RegistryError::State(StateError::Damaged { why, .. })) => Some(why),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn every_column_of_the_registry_is_sealed() {
    let (_folder, path) = folder();
    let registry = open(&path);
    let named = Tenant { alias: Some("a".to_owned()), name: Some("n".to_owned()), ..tenant("harbour", "t1") };
    registry.adopt("org", &named).unwrap();
    registry.begin_create("org", "fenwick", "run-1", "k", "d").unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let columns = |table: &str| -> Vec<String> {
        let mut rows = connection.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
        rows.query_map([], |row| row.get(0)).unwrap().map(|name| name.unwrap()).collect()
    };
    for (table, customer) in [("tenants", "harbour"), ("intents", "fenwick")] {
        let columns = columns(table);
        assert!(columns.len() >= 7, "{columns:?}");
        for column in columns.iter().filter(|column| *column != "seal") {
            let flip = format!("UPDATE {table} SET {column} = char(unicode({column}) + 1) || substr({column}, 2)");
            connection.execute(&flip, []).unwrap();
            let why = damage(&registry).unwrap_or_else(|| panic!("{table}.{column}"));
            match column.as_str() {
                "organization" => assert!(why.starts_with(&format!("{table} of `org` should have 1 rows")), "{why}"),
                // A time that is none is told as that.
                "since" => {}
                "customer" => assert!(why.ends_with(&format!("in {table} is not what was written")), "{why}"),
                _ => assert_eq!(why, format!("the row of customer `{customer}` in {table} is not what was written")),
            }
            assert!(matches!(State::open(&path, clock()), Err(StateError::Damaged { .. })));
            connection.execute(&flip.replace("+ 1", "- 1"), []).unwrap();
            assert_eq!(damage(&registry), None);
        }
    }
}

#[tokio::test]
async fn a_row_that_is_gone_is_missed_before_a_tenant_is_created_again() {
    let (_folder, path) = folder();
    let registry = open(&path);
    for customer in ["fenwick", "harbour", "pulsewise"] {
        registry.adopt("org", &tenant(customer, &format!("t-{customer}"))).unwrap();
    }
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection.execute("DELETE FROM tenants WHERE customer = 'harbour'", []).unwrap();
    let error = registry.begin_create("org", "harbour", "run-2", "k", "d").unwrap_err();
    let why = "tenants of `org` should have 3 rows and has 2 that are right";
    assert!(error.to_string().ends_with(why), "{error}");
    assert_eq!(damage(&registry).unwrap(), why);
    assert!(State::open(&path, clock()).unwrap_err().to_string().ends_with(why));
}

#[tokio::test]
async fn a_state_file_whose_mark_is_damaged_is_not_taken_for_another_programs() {
    let (_folder, path) = folder();
    drop(open(&path));
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "application_id", 0x544e_5258).unwrap();
    let error = State::open(&path, clock()).unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error:?}");
}
