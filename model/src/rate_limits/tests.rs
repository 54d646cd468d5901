use super::*;
use proptest::prelude::*;

fn limits(text: &str) -> RateLimits {
    serde_json::from_str(text).expect("limits")
}

fn at(millis: u64) -> Time {
    Time(Duration::from_millis(millis))
}

/// Ten calls a second, and two may wait.
fn narrow() -> Limiter {
    Limiter::new(limits(
        r#"{"limits": [{"principal": "web", "qps": 10, "capacity": 2}, {"principal": "free"}],
            "aggregate_default_qps": 5.0, "aggregate_default_capacity": 0}"#,
    ))
}

fn web() -> Line {
    Line::Named("web".into())
}

#[test]
fn calls_take_turns_and_those_past_the_capacity_are_refused() {
    let mut limiter = narrow();
    assert_eq!(limiter.enter(&web(), at(1_000)), Ok(at(1_000)));
    assert_eq!(limiter.enter(&web(), at(1_000)), Ok(at(1_100)));
    assert_eq!(limiter.enter(&web(), at(1_000)), Ok(at(1_200)));
    // Two wait. The first of them goes in a tenth of a second, and there is room again.
    let full = Full { waiting: 2, after: Duration::from_millis(100) };
    assert_eq!(limiter.enter(&web(), at(1_000)), Err(full));
    let full = Full { waiting: 2, after: Duration::from_millis(1) };
    assert_eq!(limiter.enter(&web(), at(1_099)), Err(full));
    assert_eq!(limiter.enter(&web(), at(1_100)), Ok(at(1_300)));
    // After a while nobody waits any more; what was not used is not saved up.
    assert_eq!(limiter.enter(&web(), at(9_000)), Ok(at(9_000)));
    assert_eq!(limiter.enter(&web(), at(9_000)), Ok(at(9_100)));
}

#[test]
fn a_line_without_room_takes_what_need_not_wait() {
    let mut limiter = narrow();
    assert_eq!(limiter.enter(&Line::Others, at(0)), Ok(at(0)));
    let full = Full { waiting: 0, after: Duration::from_millis(1) };
    assert_eq!(limiter.enter(&Line::Others, at(199)), Err(full));
    assert_eq!(limiter.enter(&Line::Others, at(200)), Ok(at(200)));
}

#[test]
fn each_has_the_line_that_the_rules_give_it() {
    let limiter = narrow();
    for (principal, of_framework, of_operator) in [
        ("web", Some(web()), Some(web())),
        ("free", None, None),
        ("anybody", Some(Line::Others), None),
    ] {
        assert_eq!(limiter.line_of_framework(Some(principal)), of_framework, "{principal}");
        assert_eq!(limiter.line_of_operator(principal), of_operator, "{principal}");
    }
    assert_eq!(limiter.line_of_framework(None), Some(Line::Others));
    assert_eq!(Limiter::default().line_of_framework(None), None);
}

#[test]
fn limits_that_mean_nothing_are_refused() {
    for (text, why) in [
        (
            r#"{"limits": [{"principal": "a", "qps": 0}]}"#,
            "0 calls a second is no rate for principal 'a'; give a number above 0",
        ),
        (
            r#"{"aggregate_default_qps": -1.5}"#,
            "-1.5 calls a second is no rate for everybody else; give a number above 0",
        ),
        (
            r#"{"limits": [{"principal": "a", "capacity": 5}]}"#,
            "principal 'a' has a capacity and no rate, so nobody would ever wait; give qps too",
        ),
        (
            r#"{"aggregate_default_capacity": 5}"#,
            "everybody else has a capacity and no rate, so nobody would ever wait; give \
             aggregate_default_qps too",
        ),
        (
            r#"{"limits": [{"principal": "a"}, {"principal": "a", "qps": 1}]}"#,
            "principal 'a' has two limits; give one",
        ),
        (r#"{"limits": [{"qps": 1}]}"#, "missing field `principal`"),
        (
            r#"{"limit": []}"#,
            "unknown field `limit`, expected one of `limits`, `aggregate_default_qps`, \
             `aggregate_default_capacity`",
        ),
        (r#"{"limits": [{"principal": "a", "capacity": -1, "qps": 1}]}"#, "invalid value"),
    ] {
        let bad = serde_json::from_str::<RateLimits>(text).expect_err("no limits");
        assert!(bad.to_string().contains(why), "{text}: {bad}");
    }
}

proptest! {
    /// Whoever comes when, and whatever the rule: turns are in order and never closer than the rate
    /// allows, at most `capacity` calls wait at once, a refusal takes nothing, and after the time it
    /// names there is room.
    #[test]
    fn the_rate_and_the_capacity_hold(
        qps in 0.01_f64..5_000.0,
        capacity in 0_u64..20,
        gaps in prop::collection::vec(0_u64..2_000_000, 1..200),
    ) {
        let rate = Rate::per_second(qps, capacity).expect("a rate");
        let named = BTreeMap::from([("web".into(), Some(rate))]);
        let mut limiter = Limiter::new(RateLimits { named, others: None });
        let mut turns: Vec<Time> = Vec::new();
        let mut now = Time::ZERO;
        for gap in gaps {
            now = now + Duration::from_micros(gap);
            match limiter.enter(&web(), now) {
                Ok(turn) => {
                    prop_assert!(turn >= now);
                    if let Some(last) = turns.last() {
                        prop_assert!(turn.since(*last) >= rate.every);
                        // Nobody waits longer than for the one before.
                        prop_assert!(turn == now || turn == *last + rate.every);
                    }
                    turns.push(turn);
                }
                Err(full) => {
                    let waiting = turns.iter().filter(|turn| **turn > now).count();
                    prop_assert_eq!(waiting as u64, full.waiting);
                    prop_assert_eq!(waiting as u64, capacity);
                    prop_assert!(limiter.clone().enter(&web(), now + full.after).is_ok());
                }
            }
            let waiting = turns.iter().filter(|turn| **turn > now).count();
            prop_assert!(waiting as u64 <= capacity);
        }
    }
}
