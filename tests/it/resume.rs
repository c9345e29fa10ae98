//! A run that did not come to its end goes on: nothing is done twice and nothing is left out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::json;
use tenantry::interpreter::Decision;
use tenantry::operation::{Failure, FailureKind};
use tenantry::sandbox::{Sandbox, Settings};
use tenantry::store::{Entry, RunState, Vault};
use tenantry::{Event, Host, RunReport, RunStatus};

use crate::support::crm::World;

fn subjects(report: &RunReport) -> Vec<String> {
    report.changes.iter().map(|step| format!("{:?} {}", step.change, step.subject)).collect()
}

#[tokio::test(start_paused = true)]
async fn a_run_that_failed_half_way_goes_on_where_it_failed() {
    let world = World::new(
        "let tenant = tenants::ensure(customer);
         tenant.spaces.ensure(\"Staging\", \"shared\");
         tenant.spaces.ensure(render(\"name.txt\", customer), \"shared\");
         log(\"made\");
         output(#{ spaces: tenant.spaces.list().map(|s| s.name) });",
    );
    let first = world.first().await;
    assert_eq!((first.status, first.replayed), (RunStatus::Failed, 0));
    assert!(first.is_resumable());

    world.write("templates/name.txt", "{{ name }} Analytics");
    let mut run = world.host.resume(&first.run[..20]).unwrap();
    assert_eq!(run.resumes(), Some(first.run.as_str()));
    let events = run.events();
    let report = world.drive(run).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!((report.run.as_str(), report.writes), (first.run.as_str(), 1), "one space was missing");
    assert!(report.replayed > 3 && report.requests < first.requests, "{report:?}");
    assert_eq!(report.output["spaces"], json!(["Staging", "Harbour Analytics"]));
    let steps = subjects(&report);
    assert_eq!(steps[steps.len() - 2..], ["Created space \"Staging\"", "Created space \"Harbour Analytics\""]);
    assert_eq!(steps.len(), first.changes.len() + 1, "all that the run has done is in its report");

    let events: Vec<Event> = events.collect().await;
    let Some(Event::RunResumed { recorded, settled, .. }) = events.get(1) else { panic!("{events:?}") };
    assert_eq!(
        (u32::try_from(*recorded).unwrap(), *settled),
        (report.replayed + 2, 0),
        "the last call looks again, and finds its space"
    );
    let told = |wanted: bool| {
        let operation = move |event: &&Event| matches!(event, Event::Operation { replayed, .. } if *replayed == wanted);
        events.iter().filter(operation).count()
    };
    assert_eq!(u32::try_from(told(true)).unwrap(), report.replayed);
    let steps: Vec<bool> = events
        .iter()
        .filter_map(|event| if let Event::Step { replayed, .. } = event { Some(*replayed) } else { None })
        .collect();
    assert_eq!(steps.iter().filter(|replayed| !**replayed).count(), 2, "{steps:?}");

    let replayed = world.host.replay(&first.run).await.unwrap();
    assert_eq!(replayed.difference, None, "the call that started again told its own work as that");
    assert_eq!(world.host.run_record(&first.run).await.unwrap().status, RunState::Succeeded);
    let refused = world.host.resume(&first.run).err().unwrap();
    assert!(refused.message.ends_with("has come to its end: nothing is left to do"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_done_before_it_was_cancelled_is_not_done_again() {
    let world = World::new("make(\"a\"); make(\"b\"); make(\"c\");");
    let run = world.start();
    let stop = run.canceller();
    let cancel = async {
        // The second entry is being made.
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        stop.cancel();
    };
    let (first, ()) = tokio::join!(world.drive(run), cancel);
    assert_eq!((first.status, world.made()), (RunStatus::Cancelled, vec!["a".to_owned(), "b".to_owned()]));
    let report = world.resume(&first.run).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(world.made(), ["a", "b", "c"]);
    let steps = ["Created entry \"a\"", "Created entry \"b\"", "Created entry \"c\""];
    assert_eq!(subjects(&report), steps, "also what was told of it");
}

#[tokio::test(start_paused = true)]
async fn a_run_out_of_time_goes_on_as_often_as_it_takes() {
    let world = World::new("parallel([0, 1, 2], |n| { for i in 0..4 { make(`${n}-${i}`); } }); make(\"last\");");
    let mut report = world.drive(world.start().timeout(Duration::from_millis(1_500))).await;
    let mut times = 1;
    while report.status == RunStatus::Cancelled {
        assert!(report.timed_out() && times < 10);
        let run = world.host.resume(&report.run).unwrap().timeout(Duration::from_millis(1_500));
        report = world.drive(run).await;
        times += 1;
    }
    assert_eq!((report.status, times), (RunStatus::Succeeded, 3), "two at a time: {:?}", report.error);
    let mut made = world.made();
    made.sort();
    let mut expected: Vec<String> = (0..12).map(|number| format!("{}-{}", number / 4, number % 4)).collect();
    expected.push("last".to_owned());
    assert_eq!(made, expected, "each exactly once");
    assert_eq!(report.changes.len(), 13);
    assert_eq!(report.changes[12].subject, "entry \"last\"");
}

#[tokio::test(start_paused = true)]
async fn what_is_right_already_when_a_call_starts_again_stays_in_the_report() {
    // The process ends after the entry was made and told, before anything else was asked.
    let world = World::new("ensure(\"a\"); ensure(\"b\"); throw \"no\";");
    let first = world.first().await;
    assert_eq!((first.status, world.made().len()), (RunStatus::Failed, 2));
    world.write("play.rhai", "ensure(\"a\"); ensure(\"b\"); ensure(\"c\");");
    let looked = world.crm.looked.load(Ordering::Relaxed);
    let report = world.resume(&first.run).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(world.made(), ["a", "b", "c"]);
    assert_eq!(world.crm.looked.load(Ordering::Relaxed), looked + 2, "the last call's look is not believed");
    assert_eq!(subjects(&report), ["Created entry \"a\"", "Created entry \"b\"", "Created entry \"c\""]);
}

#[tokio::test(start_paused = true)]
async fn a_playbook_that_asks_something_else_ends_with_both_places_shown() {
    let world = World::new("make(\"a\");\nmake(\"b\");\nmake(\"c\");\nthrow \"no\";");
    let first = world.first().await;
    world.write("play.rhai", "// A line more.\nmake(\"a\");\nmake(\"x\");\nmake(\"c\");\n");
    let report = world.resume(&first.run).await;
    assert_eq!((report.status, world.made().len()), (RunStatus::Failed, 3), "nothing was sent");
    let error = report.error.as_ref().unwrap();
    assert_eq!(error.failure.as_ref().unwrap().code, "tenantry/diverged");
    assert_eq!((error.site.as_ref().unwrap().line, error.line.as_deref()), (3, Some("make(\"x\");")));
    let recorded = error.recorded.as_ref().unwrap();
    assert_eq!((recorded.site.line, recorded.line.as_deref()), (2, Some("make(\"b\");")));
    assert!(error.hints.iter().any(|hint| hint.contains(&format!("runs resume {} --accept-changes", first.run))));

    let report = world.drive(world.host.resume(&first.run).unwrap().accept_changes(true)).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(world.made(), ["a", "b", "c", "x", "c"], "from there on it is all done again");
    let steps = ["a", "b", "x", "c", "c"].map(|name| format!("Created entry \"{name}\""));
    assert_eq!(subjects(&report), steps);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_end_nobody_knows_is_decided_by_a_person() {
    let world = World::new("make(\"a\"); make(\"b\"); make(\"c\");");
    world.crm.next.lock().unwrap().push(Failure::new(FailureKind::Unknown, "CRM-1", "no answer"));
    let first = world.first().await;
    assert_eq!((first.status, world.made()), (RunStatus::Failed, vec!["a".to_owned()]));
    let stuck = world.resume(&first.run).await;
    let error = stuck.error.as_ref().unwrap();
    assert_eq!(error.failure.as_ref().unwrap().code, "tenantry/unsettled");
    let hint = format!("`tenantry runs resume {} --settled '0:crm.make#0=performed'`", first.run);
    assert!(error.hints.iter().any(|told| told.contains(&hint)), "{error:?}");
    assert_eq!(world.made(), ["a"], "nothing was sent");
    let run = world.host.resume(&first.run).unwrap();
    let idle = world.drive(run.settled("1:crm.make#0".parse().unwrap(), Decision::Performed)).await;
    assert_eq!(idle.error.unwrap().failure.unwrap().code, "tenantry/settled");

    let run = world.host.resume(&first.run).unwrap();
    let report = world.drive(run.settled("0:crm.make#0".parse().unwrap(), Decision::Performed)).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(world.made(), ["a", "b", "c"]);

    let world = World::new("make(\"a\");");
    world.refuse_next(FailureKind::Unknown);
    let first = world.first().await;
    let run = world.host.resume(&first.run).unwrap();
    let report = world.drive(run.settled("0:crm.make#0".parse().unwrap(), Decision::NotPerformed)).await;
    assert_eq!(
        (report.status, world.made().len()),
        (RunStatus::Succeeded, 2),
        "the person was wrong, and was believed"
    );
}

#[tokio::test(start_paused = true)]
async fn only_the_last_run_of_a_playbook_and_customer_goes_on() {
    let world = World::new("make(\"a\"); throw \"no\";");
    let (first, second) = (world.first().await, world.first().await);
    let refused = world.host.resume(&first.run).err().unwrap();
    assert!(refused.message.contains(&format!("run {} of the same playbook and customer", second.run)), "{refused:?}");
    assert_eq!(refused.failure.unwrap().code, "tenantry/run-superseded");
    assert!(world.host.resume(&second.run).is_ok());
    let shared = first.run.chars().zip(second.run.chars()).take_while(|(one, other)| one == other).count();
    let refused = world.host.resume(&first.run[..shared]).err().unwrap();
    assert!(refused.message.starts_with("several runs begin with"), "{refused:?}");
    let refused = world.host.resume("0000").err().unwrap();
    assert_eq!(refused.message, "there is no run `0000`");
    std::fs::remove_file(world.folder.path().join("play.rhai")).unwrap();
    let refused = world.host.resume(&second.run).err().unwrap();
    assert!(refused.message.starts_with("cannot read the playbook play.rhai"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_run_that_nobody_drives_any_more_goes_on() {
    let world = World::new("make(\"a\"); make(\"b\"); log(\"both\"); make(\"c\");");
    let mut run = Box::pin(world.drive(world.start()));
    tokio::select! {
        _ = &mut run => panic!("it takes three seconds"),
        () = tokio::time::sleep(Duration::from_millis(1_500)) => {}
    }
    drop(run);
    let last = world.host.state().journal().runs(&tenantry::store::RunFilter::default()).unwrap().remove(0);
    assert_eq!(last.status, RunState::Cancelled);
    // The second entry's request was abandoned: nobody knows its end, and the CRM cannot be asked.
    let id = last.opening.id;
    let run = world.host.resume(&id).unwrap().settled("1:crm.make#0".parse().unwrap(), Decision::NotPerformed);
    let report = world.drive(run).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(world.made(), ["a", "b", "c"]);
    let entries = world.host.state().journal().entries(&id).unwrap();
    let count = |wanted: fn(&Entry) -> bool| entries.iter().filter(|logged| wanted(&logged.entry)).count();
    assert_eq!(count(|entry| matches!(entry, Entry::Step(_))), 3, "each step is noted once");
    assert_eq!(count(|entry| matches!(entry, Entry::Log { .. })), 1);
    assert_eq!(count(|entry| matches!(entry, Entry::File { .. })), 1);
    assert_eq!(count(|entry| matches!(entry, Entry::Began { .. })), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_at_work_is_not_resumed() {
    let world = World::new("make(\"a\"); make(\"b\");");
    let run = world.start();
    let second = async {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let id =
            world.host.state().journal().runs(&tenantry::store::RunFilter::default()).unwrap().remove(0).opening.id;
        world.resume(&id).await
    };
    let (first, second) = tokio::join!(world.drive(run), second);
    assert_eq!(first.status, RunStatus::Succeeded, "{:?}", first.error);
    assert_eq!(second.error.unwrap().failure.unwrap().code, "tenantry/busy");
    assert_eq!(world.made(), ["a", "b"]);
    assert_eq!(world.host.run_record(&first.run).await.unwrap().status, RunState::Succeeded);
}

#[test]
fn a_run_goes_on_on_the_hosts_own_threads_too() {
    let world = World::new(
        "let tenant = tenants::ensure(customer);
         tenant.spaces.list();
         tenant.spaces.ensure(render(\"name.txt\", customer), \"shared\");",
    );
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let first = runtime.block_on(world.start().into_future());
    assert_eq!(first.status, RunStatus::Failed);
    world.write("templates/name.txt", "{{ name }}");
    let report = runtime.block_on(world.host.resume(&first.run).unwrap().into_future());
    assert_eq!((report.status, report.writes), (RunStatus::Succeeded, 1), "{report:#?}");
    assert!(report.replayed > 0);
    assert!(world.host.resume(&first.run).err().is_some());
}

#[tokio::test(start_paused = true)]
async fn changes_that_show_in_the_middle_of_a_call_start_the_script_once_more() {
    let world = World::new("make(\"first\"); ensure(\"a\"); parallel([1, 2], |n| make(`b${n}`)); throw \"no\";");
    let first = world.first().await;
    // The look that comes before is the same, so part of the call is answered when it shows.
    world.write("play.rhai", "make(\"first\"); ensure(\"x\"); parallel([1, 2], |n| make(`c${n}`));");
    let stopped = world.resume(&first.run).await;
    assert_eq!(stopped.error.unwrap().failure.unwrap().code, "tenantry/diverged");
    let looked = world.crm.looked.load(Ordering::Relaxed);
    let report = world.drive(world.host.resume(&first.run).unwrap().accept_changes(true)).await;
    assert_eq!(report.status, RunStatus::Succeeded, "{:?}", report.error);
    assert_eq!(world.made(), ["first", "a", "b1", "b2", "x", "c1", "c2"]);
    assert_eq!(world.crm.looked.load(Ordering::Relaxed), looked + 1, "it is not decided on a look that was replayed");
    let subjects: Vec<&str> = report.changes.iter().map(|step| step.subject.as_str()).collect();
    let expected = ["first", "a", "x", "b1", "c1", "b2", "c2"].map(|name| format!("entry \"{name}\""));
    assert_eq!(subjects, expected, "also what the playbook as it was had done");
    assert_eq!(world.host.replay(&first.run).await.unwrap().difference, None);
}

#[tokio::test(start_paused = true)]
async fn a_run_goes_on_only_where_it_was() {
    let world = World::new("make(\"a\"); throw \"no\";");
    let first = world.first().await;
    let other = Host::builder()
        .root(world.folder.path())
        .environment(Arc::new(BTreeMap::new()))
        .vault(Vault::in_memory())
        .sandbox(Sandbox::in_memory(Settings::default()))
        .state(world.host.state().clone())
        .functions(crate::support::crm::functions)
        .lanes(1)
        .build()
        .unwrap();
    let report = other.resume(&first.run).unwrap().run_here(&other.local_runtime()).await;
    assert_eq!(report.error.unwrap().failure.unwrap().code, "tenantry/other-organization");
    assert_eq!(world.host.run_record(&first.run).await.unwrap().status, RunState::Failed, "it is as it was");
    assert_eq!(world.resume(&first.run).await.replayed, 1, "and can be resumed where it was");
}
