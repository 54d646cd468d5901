//! A smoke of the simulator itself: a few seeds, and that a seed is a seed.

use sim::{Settings, run, succession};

#[test]
fn a_few_seeds_break_no_law() {
    for seed in 1..=3 {
        let summary = run(&Settings::new(seed, 5));
        assert!(summary.is_ok(), "seed {seed}: {summary:?}");
    }
}

#[test]
fn one_seed_tells_one_story() {
    let settings = Settings::new(11, 5);
    assert_eq!(run(&settings), run(&settings));
}

#[test]
fn a_leader_of_marathon_may_crash_at_any_step_of_a_deployment() {
    // One seed of each kind of deployment, from the first start to a restart; of a plain app, of one with
    // volumes, of a pod, and of one with volumes.
    for seed in (6..12).chain(66..72).chain(126..132).chain(186..192) {
        let crashes = succession(seed, 3, None);
        assert!(crashes.as_ref().is_ok_and(|it| it.crashes > 0), "seed {seed}: {crashes:?}");
    }
}
