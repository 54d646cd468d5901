//! Operations on resources: done once, remembered, and reported until somebody has kept it.

use super::*;
use crate::check_made;
use crate::input::Exit;
use model::disk::{Disk, Persistence};
use model::ids::{OperationId, OperationUuid, PersistenceId};
use model::operation::{Conversion, Operation, OperationState, OperationStatus};
use model::resources::Reservation;

fn reserved(what: &Resources) -> Resources {
    what.with_kinds(|kind| {
        kind.reservations.push(Reservation {
            is_dynamic: true,
            role: Role::new("r").expect("a role"),
            principal: None,
            labels: Payload::default(),
        });
    })
}

fn volume(space: &Resources) -> Resources {
    space.with_kinds(|kind| {
        let id = PersistenceId::new("v").expect("an id");
        let persistence = Some(Persistence { id, principal: None });
        kind.disk = Some(Disk { persistence, ..Disk::default() });
    })
}

fn reserve(milli: i64) -> Conversion {
    Conversion::Reserve { source: Resources::none(), resources: reserved(&cpus(milli)) }
}

fn apply(number: u8, id: Option<&str>, conversion: Conversion) -> ToAgent {
    ToAgent::Apply(Box::new(operation(number, id, conversion)))
}

fn operation(number: u8, id: Option<&str>, conversion: Conversion) -> Operation {
    Operation {
        uuid: OperationUuid([number; 16]),
        framework: id.is_some().then(fid),
        id: id.map(|id| OperationId::new(id).expect("an id")),
        conversion,
    }
}

/// The reports among `out`.
fn reports(out: &[Output]) -> Vec<OperationStatus> {
    out.iter()
        .filter_map(|output| match output {
            Output::ToMaster(FromAgent::OperationUpdate { status, .. }) => Some(status.clone()),
            _ => None,
        })
        .collect()
}

/// An agent with 4 CPUs and a disk that comes back with `records`.
fn with_disk(records: Vec<Record>) -> Story {
    let mut with_disk = config();
    with_disk.description.resources =
        Resources::parse("cpus:4;disk:100", &Role::any()).expect("ok");
    let agent = Agent::new(with_disk, 3);
    let mut story = Story { agent, ..Story::with_store(records, 3) };
    let recovered = Recovered { records: story.store.clone(), ..Recovered::default() };
    story.step(Input::Recovered(recovered));
    story.step(Input::LinkUp { link: LINK });
    let ping_timeout = Duration::from_secs(75_000);
    if story.agent.id().is_none() {
        story.hear(ToAgent::Registered { agent: aid(), ping_timeout });
    }
    story
}

fn reregistered(story: &mut Story, operations: Vec<Operation>) -> Vec<Output> {
    story.hear(ToAgent::Reregistered {
        agent: aid(),
        ping_timeout: Duration::from_secs(75_000),
        expected: Vec::new(),
        completed: Vec::new(),
        operations,
    })
}

#[test]
fn it_is_on_disk_before_anybody_hears_of_it() {
    let mut story = Story::registered();
    let out = story.hear(apply(1, Some("op"), reserve(1_000)));
    assert_eq!(
        short(&out),
        ["append [Made, Operation(01010101-0101-0101-0101-010101010101)]", "say OperationUpdate"]
    );
    assert_eq!(*story.agent.total(), cpus(3_000).plus(&reserved(&cpus(1_000))));
    // Said twice, done once.
    assert_eq!(story.hear(apply(1, Some("op"), reserve(1_000))), []);
    // Nobody waits for this one.
    let out = story.hear(apply(2, None, reserve(1_000)));
    assert_eq!(short(&out), ["append [Made]", "say OperationUpdate"]);
    assert_eq!(reports(&out)[0].uuid, None);
}

#[test]
fn a_report_is_repeated_until_it_is_acknowledged() {
    let mut story = Story::registered();
    let out = story.hear(apply(1, Some("op"), reserve(1_000)));
    let report = reports(&out).remove(0);
    assert_eq!(report.state, OperationState::Finished);
    assert_eq!(reports(&story.wait(9)), []);
    assert_eq!(reports(&story.wait(1)).first(), Some(&report));
    assert_eq!(reports(&story.wait(19)), []);
    assert_eq!(reports(&story.wait(1)).first(), Some(&report));
    let other = ToAgent::AcknowledgeOperation {
        operation: OperationUuid([1; 16]),
        status: UpdateId([9; 16]),
    };
    assert_eq!(story.hear(other), []);
    let status = report.uuid.expect("it is to be acknowledged");
    let kept = ToAgent::AcknowledgeOperation { operation: OperationUuid([1; 16]), status };
    assert_eq!(
        short(&story.hear(kept)),
        ["forget Operation(01010101-0101-0101-0101-010101010101)"]
    );
    assert_eq!(reports(&story.wait(1_000)), []);
    assert!(story.agent.is_idle());
}

#[test]
fn what_was_made_and_said_outlives_the_agent() {
    let mut story = with_disk(Vec::new());
    let disk = reserved(&Resources::scalars([("disk", Milli::units(40))]));
    let make = Conversion::Reserve { source: Resources::none(), resources: disk.clone() };
    story.hear(apply(1, None, make));
    let out = story.hear(apply(2, Some("op"), Conversion::Create(volume(&disk))));
    assert!(out.contains(&Output::MakeVolumes(volume(&disk))), "{out:?}");
    let (total, report) = (story.agent.total().clone(), reports(&out).remove(0));

    let mut again = with_disk(story.store.clone());
    assert_eq!(*again.agent.total(), total);
    let out = reregistered(&mut again, Vec::new());
    assert_eq!(reports(&out), [report]);
    let out = again.hear(apply(3, None, Conversion::Destroy(volume(&disk))));
    let (operation, volumes) = (OperationUuid([3; 16]), volume(&disk));
    assert!(
        out.contains(&Output::RemoveVolumes { operation, volumes: volumes.clone() }),
        "{out:?}"
    );

    // Killed before the directory was out of the way: it is removed at the next start, once.
    let mut third = Story::with_store(again.store.clone(), 5);
    third.agent.config.description.resources = with_disk(Vec::new()).agent.total().clone();
    let recovered = Recovered { records: third.store.clone(), ..Recovered::default() };
    let out = third.step(Input::Recovered(recovered));
    assert_eq!(out[0], Output::RemoveVolumes { operation, volumes: volumes.clone() });
    let out = third.step(Input::VolumesRemoved { operation, volumes });
    assert_eq!(short(&out)[0], "forget Doomed(03030303-0303-0303-0303-030303030303)");
    assert!(matches!(out[1], Output::PurgeVolumes { .. }));
    assert!(third.store.iter().all(|record| !matches!(record, Record::Doomed(_))));
}

#[test]
fn who_comes_back_as_somebody_new_brings_what_was_made_and_no_old_report() {
    let mut story = with_disk(Vec::new());
    let disk = reserved(&Resources::scalars([("disk", Milli::units(40))]));
    let make = Conversion::Reserve { source: Resources::none(), resources: disk };
    story.hear(apply(1, Some("op"), make));
    let total = story.agent.total().clone();
    story.hear(ToAgent::Shutdown { why: "gone".to_owned() });

    let mut again = Story::with_store(story.store.clone(), 5);
    again.agent.config.description.resources = with_disk(Vec::new()).agent.total().clone();
    let recovered = Recovered { records: again.store.clone(), ..Recovered::default() };
    again.step(Input::Recovered(recovered));
    let asked = again.step(Input::LinkUp { link: LINK });
    let brought = asked.iter().find_map(|output| match output {
        Output::ToMaster(FromAgent::Register(new)) => Some(&new.total),
        _ => None,
    });
    assert_eq!(brought, Some(&total));
    let ping_timeout = Duration::from_secs(75);
    let out = again.hear(ToAgent::Registered { agent: aid(), ping_timeout });
    assert_eq!(reports(&out), []);
}

#[test]
fn an_agent_that_lacks_what_was_reserved_is_not_to_start() {
    let mut story = Story::registered();
    story.hear(apply(1, None, reserve(3_000)));
    assert_eq!(check_made(&cpus(4_000), &story.store), Ok(()));
    assert_eq!(check_made(&cpus(3_000), &story.store), Ok(()));
    let shortage = check_made(&cpus(2_000), &story.store).expect_err("too little");
    assert_eq!(shortage.to_string(), "cpus:3 is more than available cpus:2");
}

#[test]
fn what_never_got_here_is_dropped_and_said_so() {
    let mut story = Story::registered();
    story.step(Input::LinkDown { link: LINK });
    // Without a link nothing is taken in.
    assert_eq!(story.hear(apply(1, Some("op"), reserve(1_000))), []);
    story.step(Input::LinkUp { link: LINK });
    let out = reregistered(&mut story, vec![operation(1, Some("op"), reserve(1_000))]);
    let report = reports(&out).remove(0);
    assert_eq!(report.state, OperationState::Dropped);
    assert!(report.uuid.is_some(), "it must be kept");
    assert_eq!(*story.agent.total(), cpus(4_000));
}

#[test]
fn what_cannot_be_done_has_the_master_count_anew() {
    let mut story = Story::registered();
    story.hear(command(task("t", 2_000)));
    // The master believes that the task is over.
    let out = story.hear(apply(1, Some("op"), reserve(3_000)));
    assert_eq!(reports(&out)[0].state, OperationState::Dropped);
    assert_eq!(reports(&out)[0].message.as_deref(), Some("cpus:3 is more than available cpus:2"));
    assert_eq!(out.last(), Some(&Output::Reconnect));
    assert_eq!(*story.agent.total(), cpus(4_000));
}

#[test]
fn a_task_runs_on_what_was_reserved_for_it() {
    let mut story = Story::registered();
    story.hear(apply(1, None, reserve(1_000)));
    let mut on_it = task("t", 0);
    on_it.resources = reserved(&cpus(1_000));
    let out = story.hear(command(on_it));
    assert!(short(&out).iter().any(|line| line.starts_with("launch t")), "{out:?}");
    let out = story.hear(command(task("too-much", 4_000)));
    assert_eq!(told(&out), [("too-much".to_owned(), TaskState::Dropped)]);
    // Nor is it taken away while the task runs.
    let out = story.hear(apply(2, None, Conversion::Unreserve(reserved(&cpus(1_000)))));
    assert_eq!(reports(&out)[0].state, OperationState::Dropped);
}

#[test]
fn a_task_that_joins_a_running_executor_has_its_volumes_first_and_only_as_long_as_it_lasts() {
    let mut story = with_disk(Vec::new());
    let disk = reserved(&Resources::parse("disk:10", &Role::any()).expect("ok"));
    let source = Resources::none();
    story.hear(apply(1, None, Conversion::Reserve { source, resources: disk.clone() }));
    story.hear(apply(2, None, Conversion::Create(volume(&disk))));
    story.hear(on_executor(executor("e", 1_000), vec![task("t1", 1_000)], false));
    let container = story.container();
    story.step(Input::Launched { container: container.clone() });
    story.subscribed("e");
    let mut second = task("t2", 1_000);
    second.resources.add(&volume(&disk));
    let out = short(&story.hear(on_executor(executor("e", 1_000), vec![second], false)));
    let shown = out.iter().position(|it| it == "show volumes v").expect("it is shown");
    assert_eq!(out[shown + 1], "event Launch");

    let out = short(&story.step(update("t2", "e", TaskState::Finished, 1)));
    assert!(out.contains(&"show volumes ".to_owned()), "{out:?}");

    let why = "no disk".into();
    let out = short(&story.step(Input::VolumesNotShown { container: container.clone(), why }));
    assert!(out.contains(&"destroy container".to_owned()), "{out:?}");
    let out = short(&story.step(Input::Exited { container, exit: Exit::default() }));
    let failed = "update t1 Failed REASON_CONTAINER_UPDATE_FAILED, latest Failed";
    assert!(out.contains(&failed.to_owned()), "{out:?}");
}
