//! What was begun ends before leadership is handed on, and what cannot end is said to be unknown.

use crate::harness::{Daemon, PATIENCE, World, kill, until_async};
use crate::membership::raft;
use crate::rolling::Load;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

/// Operators who ask at the same time.
const OPERATORS: usize = 4;

/// How often leadership is handed on.
const HANDED_ON: usize = 6;

const UNKNOWN: &str = "The leading master has changed meanwhile; see whether it was done, and try again \
                       if it was not";

fn weight_of(role: &str) -> Value {
    let infos = json!([{"role": role, "weight": 2.0}]);
    json!({"type": "UPDATE_WEIGHTS", "update_weights": {"weight_infos": infos}})
}

impl World {
    /// Asks one master for a change: the status, and what it says.
    async fn change(&self, master: &str, call: &Value) -> reqwest::Result<(u16, String)> {
        let answer = self.http.post(format!("http://{master}/api/v1")).json(call).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }
}

#[tokio::test]
async fn who_asked_a_leader_that_lost_the_others_is_told_that_nobody_knows() {
    let world = World::new();
    let masters = world.start_masters(&[]).await;
    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let mut is_told = false;
    // On a busy machine the leader may have noticed before it is asked.
    for _ in 0..10 {
        let at = world.leader(&all).await;
        let others = [1, 2].map(|next| all[(at + next) % 3].pid());
        for pid in others {
            kill(pid, Signal::SIGSTOP);
        }
        let answer = world.change(&all[at].address, &weight_of("web")).await;
        for pid in others {
            kill(pid, Signal::SIGCONT);
        }
        let (status, text) = answer.expect("it is answered");
        assert_eq!(status, 503, "{text}");
        is_told = text == UNKNOWN;
        if is_told {
            break;
        }
        assert_eq!(text, "No leader elected");
    }
    assert!(is_told, "the leader always knew");
    // Whether it was done or not, it can be asked for again.
    until_async("it is done", PATIENCE, async || {
        let leader = &all[world.leader(&all).await].address;
        let answer = world.change(leader, &weight_of("web")).await;
        answer.is_ok_and(|(status, _)| status == 200).then_some(())
    })
    .await;
}

/// An operator who gives one role after the other a weight until told to stop: which ones, all of them said
/// to be done in the end. To those that were not at once it was said to ask again.
async fn weigh(world: &World, masters: &[String], name: usize, stop: &AtomicBool) -> Vec<String> {
    let (mut done, mut at) = (Vec::new(), 0);
    while !stop.load(Ordering::Relaxed) {
        let role = format!("role-{name}-{}", done.len());
        until_async("its weight is set", PATIENCE, async || {
            let answer = world.change(&masters[at % masters.len()], &weight_of(&role)).await;
            match answer.expect("none is cut off without an answer") {
                (200, _) => return Some(()),
                (307, _) => at += 1,
                (503, text) => {
                    let again = ["try again", "No leader", "recovery"];
                    assert!(again.iter().any(|it| text.contains(it)) && text != UNKNOWN, "{text}");
                }
                other => panic!("{other:?}"),
            }
            None
        })
        .await;
        done.push(role);
    }
    done
}

#[tokio::test]
async fn leadership_is_handed_on_without_a_call_that_is_lost_or_cut_off() {
    let world = World::new();
    let masters = world.start_masters(&[]).await;
    let load = Load::start(&world, &masters.peers).await;
    let addresses: Vec<_> = masters.daemons.iter().map(|one| one.address.clone()).collect();
    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let stop = AtomicBool::new(false);
    let operators = (0..OPERATORS).map(|name| weigh(&world, &addresses, name, &stop));
    let handing_on = async {
        for _ in 0..HANDED_ON {
            let next = addresses[(world.leader(&all).await + 1) % 3].clone();
            let (peers, to) = (masters.peers.clone(), next.clone());
            let verb = move || raft(&peers, &["transfer-leader", &to]);
            let said = tokio::task::spawn_blocking(verb).await.expect("it does not panic");
            assert_eq!((said.0, said.1), (Some(0), format!("{next} leads\n")), "{}", said.2);
            load.goes_on().await;
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (done, ()) = tokio::join!(futures::future::join_all(operators), handing_on);
    let done = done.concat();
    let leader = &addresses[world.leader(&all).await];
    let weights = world.json(leader, "/weights").await.expect("the leader answers");
    let known: Vec<_> =
        weights.as_array().expect("a list").iter().map(|one| &one["role"]).collect();
    let lost: Vec<_> = done.iter().filter(|role| !known.contains(&&json!(role))).collect();
    assert!(lost.is_empty() && done.len() > HANDED_ON, "{lost:?} of {}", done.len());
    let lost = load.ends_well().await;
    assert!(lost.is_empty(), "taken, and lost without a word: {lost:?}");
}
