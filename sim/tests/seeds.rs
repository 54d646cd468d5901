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
    // Ten of the seventy seeds that have everything in every way: each of what is deployed, and each way.
    for seed in (0..70).step_by(7) {
        let crashes = succession(seed, 3, None);
        assert!(crashes.as_ref().is_ok_and(|it| it.crashes > 0), "seed {seed}: {crashes:?}");
    }
}
