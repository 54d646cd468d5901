//! A smoke of the simulator itself: a few seeds, and that a seed is a seed.

use sim::{Settings, run};

#[test]
fn a_few_seeds_break_no_law() {
    for seed in 1..=5 {
        let summary = run(&Settings::new(seed, 5));
        assert!(summary.is_ok(), "seed {seed}: {summary:?}");
    }
}

#[test]
fn one_seed_tells_one_story() {
    let settings = Settings::new(11, 5);
    assert_eq!(run(&settings), run(&settings));
}
