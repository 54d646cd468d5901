//! Streams that are refused, and why.

use proto::mesos::v1 as mesos;
use proto::mesos::v1::agent::ProcessIo;
use proto::mesos::v1::agent::call::attach_container_input::Type as InputType;
use proto::mesos::v1::agent::call::{self, Type};
use proto::mesos::v1::agent::process_io::{self, data};

use crate::client;
use crate::containers::{BOTH, Encoding, Isolated, PREFIX, of};
use crate::streams::{attach_input, attach_output, input, session, told, typed};

/// A container that there is not.
fn nobody() -> mesos::ContainerId {
    mesos::ContainerId { value: "no-such".to_owned(), parent: None }
}

#[tokio::test]
async fn sessions_that_cannot_be_are_refused() {
    let isolated = Isolated::new().await;
    let root = isolated.id(&[]);
    let absent = |field: &str| format!("{PREFIX}Expecting '{field}' to be present");
    let with = |change: &dyn Fn(&mut call::LaunchNestedContainerSession)| {
        let mut call = session(isolated.id(&["s"]), "true");
        change(call.launch_nested_container_session.as_mut().expect("it is set"));
        call
    };
    let alone = |what: &str| {
        format!(
            "Failed to launch container: a session sees what its container sees; leave the {what}"
        )
    };
    let volume = mesos::Volume {
        container_path: "v".to_owned(),
        host_path: Some("/tmp".to_owned()),
        ..mesos::Volume::default()
    };
    let volumes = mesos::ContainerInfo { volumes: vec![volume], ..Default::default() };
    let uri = mesos::command_info::Uri { value: "/etc/passwd".to_owned(), ..Default::default() };
    let inside = isolated.id(&["gone", "s"]);
    let gone = format!("Failed to launch container: container {}.gone does not run", root.value);
    isolated
        .refused(vec![
            (
                of(Type::LaunchNestedContainerSession),
                400,
                absent("launch_nested_container_session"),
            ),
            (of(Type::AttachContainerOutput), 400, absent("attach_container_output")),
            (
                session(root.clone(), "true"),
                400,
                absent("launch_nested_container_session.container_id.parent"),
            ),
            (with(&|it| it.command = None), 400, absent("command")),
            (with(&|it| it.container = Some(volumes.clone())), 400, alone("volumes")),
            (
                with(&|it| it.command.as_mut().expect("one").uris = vec![uri.clone()]),
                400,
                alone("URIs"),
            ),
            (session(inside, "true"), 400, gone),
            (attach_output(nobody()), 404, "Container no-such cannot be found".to_owned()),
            (attach_input(root.clone()), 415, "Expecting 'Content-Type' of".to_owned()),
        ])
        .await;
    isolated.end().await;
}

#[tokio::test]
async fn input_that_makes_no_sense_is_refused() {
    let isolated = Isolated::new().await;
    let (root, site) = (isolated.id(&[]), &isolated.site);
    let long = isolated.id(&["long"]);
    let output = site.output(&session(long.clone(), "cat"), Encoding::Json).await;
    site.expect(&session(long.clone(), "true"), Encoding::Json, 202).await;
    let absent = |field: &str| format!("{PREFIX}Expecting '{field}' to be present");
    let first = |kind: Option<InputType>, id: Option<mesos::ContainerId>| {
        input(call::AttachContainerInput {
            r#type: kind.map(Into::into),
            container_id: id,
            ..Default::default()
        })
    };
    let known = || attach_input(long.clone());
    let io = |change: &dyn Fn(&mut ProcessIo)| {
        let mut call = typed("x");
        let input = call.attach_container_input.as_mut().expect("it is set");
        change(input.process_io.as_mut().expect("it is set"));
        call
    };
    let cases = [
        (vec![of(Type::AttachContainerInput)], 400, absent("attach_container_input")),
        (vec![first(None, Some(long.clone()))], 400, absent("attach_container_input.type")),
        (
            vec![first(Some(InputType::ContainerId), None)],
            400,
            absent("attach_container_input.container_id"),
        ),
        (
            vec![typed("x")],
            400,
            format!("{PREFIX}Expecting 'attach_container_input.type' of the first"),
        ),
        (vec![attach_input(nobody())], 404, "Container no-such cannot be found".to_owned()),
        (vec![attach_input(root)], 400, format!("Container {} takes no input", isolated.root)),
        (
            vec![of(Type::GetHealth)],
            415,
            "Streaming 'Content-Type' application/recordio".to_owned(),
        ),
        (vec![known(), of(Type::GetHealth)], 400, format!("{PREFIX}Expecting 'type' of a record")),
        (
            vec![known(), known()],
            400,
            format!("{PREFIX}Expecting 'attach_container_input.type' of a"),
        ),
        (
            vec![known(), io(&|it| it.r#type = None)],
            400,
            absent("attach_container_input.process_io.type"),
        ),
        (
            vec![known(), io(&|it| it.data = None)],
            400,
            absent("attach_container_input.process_io.data"),
        ),
        (
            vec![
                known(),
                io(&|it| {
                    it.data.as_mut().expect("it is set").r#type = Some(data::Type::Stdout.into());
                }),
            ],
            400,
            format!("{PREFIX}Expecting 'attach_container_input.process_io.data.type' of a record"),
        ),
        (
            vec![known(), told(process_io::Control::default())],
            400,
            absent("attach_container_input.process_io.control.type"),
        ),
    ];
    for encoding in BOTH {
        for (calls, status, text) in &cases {
            let records = calls.iter().map(|call| proto::recordio::encode(&encoding.write(call)));
            let request = site.streamed(encoding).body(records.collect::<Vec<_>>().concat());
            let answer = request.send().await.expect("an answer");
            let (got, said) = (answer.status(), answer.text().await.expect("a body"));
            assert!(got == *status && said.starts_with(text), "{calls:?}: {got} {said}");
        }
        for bad in ["x\n", "5\nabc", "9999999\n", "2\n{]"] {
            let request = site.streamed(encoding).body(bad);
            assert_eq!(request.send().await.expect("an answer").status(), 400, "{bad}");
        }
    }
    let without = client().post(site.url("/api/v1")).header("content-type", "application/recordio");
    assert_eq!(without.body("").send().await.expect("an answer").status(), 400);
    drop(output);
    isolated.end().await;
}
