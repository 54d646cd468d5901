//! What a change costs, counted: how often ids of apps are compared and copied.

use super::Marathon;
use crate::ids::{AppId, work};
use crate::io::{Ask, Command, Config, Input, Output, PutApp, PutGroup};
use crate::view::View;
use model::ids::RequestId;
use model::step::{Core, Now, Time, Timestamp};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;

/// A Marathon that leads, with a store that keeps everything at once and somebody who reads.
struct Alone {
    marathon: Marathon,
    view: View,
    /// What somebody still reads.
    held: View,
    answered: Vec<u16>,
}

impl Alone {
    /// With `apps` apps, a hundred in a group.
    fn with(apps: usize) -> Self {
        let view = View::new("*".into());
        let marathon = Marathon::new(Config::default());
        let mut alone = Self { marathon, held: view.clone(), view, answered: Vec::new() };
        alone.step(Input::Lead { stored: Vec::new() });
        let groups = (0..apps / 100).map(|group| {
            let apps = (0..100).map(|app| {
                json!({"id": format!("a{app}"), "cmd": "sleep 1000", "instances": 0,
                       "portDefinitions": []})
            });
            json!({"id": format!("g{group}"), "apps": apps.collect::<Vec<_>>()})
        });
        let body = json!({"groups": groups.collect::<Vec<_>>()});
        alone.ask(Command::PutGroup { id: AppId::root(), body, how: PutGroup::default() });
        alone
    }

    fn step(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            let now = Now { time: Time(Duration::ZERO), wall: Timestamp(1_000_000) };
            self.marathon.step(input, now, &mut out);
            for output in out {
                match output {
                    Output::Store { write, .. } => inputs.push_back(Input::Committed { write }),
                    Output::View(change) => self.view.apply(change),
                    Output::Answer { answer, .. } => {
                        self.answered.push(answer.map_or_else(|it| it.status, |it| it.status));
                    }
                    Output::StepDown
                    | Output::Subscribe { .. }
                    | Output::Roles { .. }
                    | Output::AcceptInverse { .. }
                    | Output::Accept { .. }
                    | Output::Decline { .. }
                    | Output::Revive
                    | Output::Suppress
                    | Output::AskAgents
                    | Output::Kill { .. }
                    | Output::Acknowledge { .. }
                    | Output::Reconcile(_)
                    | Output::Probe(_)
                    | Output::Event(_) => {}
                }
            }
        }
        self.held = self.view.clone();
    }

    fn ask(&mut self, command: Command) {
        let (client, uri) = ("client".into(), "/".into());
        self.step(Input::Ask(Ask { request: RequestId(0), client, uri, command }));
    }

    fn put(&mut self, id: &str, body: Value) {
        let id = AppId::parse(id).expect("an id");
        let how = PutApp { partial: true, create: true, ..PutApp::default() };
        self.ask(Command::PutApp { id, body, how });
    }
}

/// A change of one app: what it is in words, and how it is made.
type Change = (&'static str, fn(&mut Alone));

const CHANGES: [Change; 5] = [
    ("a scale", |it| it.put("/g0/a7", json!({"instances": 3}))),
    ("another command", |it| it.put("/g0/a8", json!({"cmd": "sleep 1"}))),
    ("other dependencies", |it| it.put("/g0/a9", json!({"dependencies": ["/g0/a8"]}))),
    ("a new app with a port", |it| it.put("/g0/new", json!({"cmd": "sleep 1000"}))),
    ("a deletion", |it| {
        let id = AppId::parse("/g0/a10").expect("an id");
        it.ask(Command::DeleteApp { id, force: false });
    }),
];

#[test]
fn what_a_change_costs_does_not_depend_on_how_many_apps_there_are() {
    let (mut few, mut many) = (Alone::with(200), Alone::with(5_000));
    for (what, change) in CHANGES {
        let costs = [&mut few, &mut many].map(|alone| work::of(|| change(alone)));
        let [of_few, of_many] = costs;
        // A way through a tree of 25 times as many is longer by a half.
        assert!(of_many <= of_few * 2, "{what}: {of_few} of few, {of_many} of many");
    }
    assert_eq!(few.answered, [200, 200, 200, 200, 201, 200]);
    assert_eq!(many.answered, few.answered);
}
