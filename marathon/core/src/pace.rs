//! How an app wants to be deployed, beyond its upgrade strategy: what its labels say.
//!
//! Labels, because clients of Marathon refuse to read fields that they do not know.

use crate::app::App;
use crate::planner::Deployment;
use std::collections::BTreeMap;
use std::time::Duration;

/// Seconds without progress after which a deployment of the app fails.
pub const PROGRESS_SECONDS: &str = "AGORA_DEPLOYMENT_PROGRESS_SECONDS";

/// Failures of new tasks that a deployment of the app may see; one more and it fails.
pub const MAX_FAILURES: &str = "AGORA_DEPLOYMENT_MAX_FAILURES";

/// Whether a deployment that fails is taken back: `true` or `false`.
pub const ROLLBACK: &str = "AGORA_DEPLOYMENT_ROLLBACK";

/// Instances that are replaced at a time.
pub const BATCH: &str = "AGORA_DEPLOYMENT_BATCH";

/// Numbers of new instances, rising, with commas between them: at each the upgrade stops until somebody
/// has it go on.
pub const CANARY: &str = "AGORA_DEPLOYMENT_CANARY";

/// Whether instances that fail their health check are replaced before they go: `true` or `false`. Marathon
/// then ends them, not the agent.
pub const REPLACE_FIRST: &str = "AGORA_HEALTH_REPLACE_FIRST";

/// With [`REPLACE_FIRST`], how many are replaced at once; 1 unless said.
pub const REPLACE_AT_ONCE: &str = "AGORA_HEALTH_REPLACE_AT_ONCE";

/// Seconds between telling that a serving instance is to end and asking it to: time for load balancers to
/// look elsewhere.
pub const DRAIN_SECONDS: &str = "AGORA_DRAIN_SECONDS";

/// Stops on the way of one upgrade. Somebody has to say "go on" at each.
const STOPS_MAX: usize = 16;

/// How an app wants to be deployed. What is absent does not limit anything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pace {
    /// How long nothing may get on.
    pub progress_within: Option<Duration>,
    /// How many new tasks may fail.
    pub failures_max: Option<u32>,
    /// Whether a deployment that fails is taken back.
    pub rolls_back: bool,
    /// How many instances are replaced at a time; not 0.
    pub batch: Option<usize>,
    /// At how many new instances it is waited for somebody to go on.
    pub canary: Vec<usize>,
    /// How many instances that fail their health check are replaced at once; not 0.
    pub ailing_at_once: usize,
}

/// How long a serving instance of `app` goes on between its end being told and asked for.
pub fn drains_for(app: &App) -> Duration {
    let seconds = app.labels.get(DRAIN_SECONDS).and_then(|text| positive(text));
    seconds.map(Duration::from_secs).unwrap_or_default()
}

/// Whether instances of `app` that fail their health check are replaced before they go. One that must be
/// alone, or needs the place it has, cannot be.
pub fn replaces_first(app: &App) -> bool {
    let wants = app.labels.get(REPLACE_FIRST).and_then(|text| flag(text)).unwrap_or(false);
    wants && !app.is_single_instance() && !app.is_resident()
}

impl Pace {
    /// What the labels of `app` say. A value that cannot be says nothing; clients are told of it by
    /// [`check`].
    pub fn of(app: &App) -> Self {
        let text = |name| app.labels.get(name).map(String::as_str);
        Self {
            progress_within: text(PROGRESS_SECONDS).and_then(positive).map(Duration::from_secs),
            failures_max: text(MAX_FAILURES).and_then(|text| text.trim().parse().ok()),
            rolls_back: text(ROLLBACK).and_then(flag).unwrap_or(false),
            batch: text(BATCH).and_then(positive).and_then(|batch| usize::try_from(batch).ok()),
            canary: text(CANARY).and_then(stops).unwrap_or_default(),
            ailing_at_once: text(REPLACE_AT_ONCE)
                .and_then(positive)
                .and_then(|count| usize::try_from(count).ok())
                .unwrap_or(1),
        }
    }
}

impl Pace {
    /// At how many new instances `deployment` waits for somebody; absent if at none. What takes another one
    /// back is not tried out: it goes to where all was well.
    pub fn stop_of(&self, deployment: &Deployment) -> Option<usize> {
        let stop = self.canary.get(deployment.stage).copied();
        stop.filter(|_| !deployment.is_return)
    }
}

/// What is wrong with the labels, by name.
pub fn check(labels: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
    let mut wrong = Vec::new();
    let mut test = |name: &'static str, is_good: fn(&str) -> bool, wanted: &str| {
        if let Some(text) = labels.get(name).filter(|text| !is_good(text)) {
            wrong.push((name, format!("got '{text}', expected {wanted}")));
        }
    };
    let count = "a number that is 1 or more";
    test(PROGRESS_SECONDS, |text| positive(text).is_some(), count);
    test(DRAIN_SECONDS, |text| positive(text).is_some(), count);
    test(BATCH, |text| positive(text).is_some(), count);
    let failures = "a number that is 0 or more";
    test(MAX_FAILURES, |text| text.trim().parse::<u32>().is_ok(), failures);
    test(REPLACE_FIRST, |text| flag(text).is_some(), "true or false");
    test(REPLACE_AT_ONCE, |text| positive(text).is_some(), count);
    test(ROLLBACK, |text| flag(text).is_some(), "true or false");
    let rising = "at most 16 numbers, rising, with commas between them";
    test(CANARY, |text| stops(text).is_some(), rising);
    wrong
}

fn positive(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|number| *number > 0 && u32::try_from(*number).is_ok())
}

fn flag(text: &str) -> Option<bool> {
    text.trim().parse().ok()
}

fn stops(text: &str) -> Option<Vec<usize>> {
    let stops: Option<Vec<usize>> = text.split(',').map(|stop| stop.trim().parse().ok()).collect();
    let is_rising = |stops: &Vec<usize>| stops.is_sorted_by(|a, b| a < b);
    stops.filter(|all| all[0] > 0 && all.len() <= STOPS_MAX && is_rising(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_mean_nothing_are_told() {
        let wrong = |name: &str, text: &str| {
            check(&BTreeMap::from([(name.to_owned(), text.to_owned())])).len()
        };
        for (name, good, bad) in [
            (PROGRESS_SECONDS, &["1", " 600 "][..], &["0", "-1", "soon", ""][..]),
            (MAX_FAILURES, &["0", "7"], &["-1", "many"]),
            (ROLLBACK, &["true", "false"], &["yes", "1"]),
            (BATCH, &["1"], &["0", "1.5"]),
            (REPLACE_FIRST, &["true"], &["TRUE"]),
            (REPLACE_AT_ONCE, &["3"], &["0"]),
            (DRAIN_SECONDS, &["30"], &["0", "1m"]),
            (CANARY, &["1", "1, 3,10"], &["", "0", "3,1", "1,1", "1,,2"]),
        ] {
            assert!(good.iter().all(|text| wrong(name, text) == 0), "{name}");
            assert!(bad.iter().all(|text| wrong(name, text) == 1), "{name}");
        }
        assert_eq!(wrong("ANYTHING", "else"), 0);
    }
}
