//! What is known of a task's health: what its agent reports of its health checks.

use crate::io::FailingCheck;
use model::step::Timestamp;
use std::sync::Arc;

/// What is known of a task's health.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Health {
    /// What all checks say together; absent before the first verdict.
    pub is_healthy: Option<bool>,
    /// Each check, in the order of the app; empty before the first verdict.
    pub checks: Vec<Probed>,
    /// Whether its agent has begun to end it for that, which nobody here has asked for.
    pub ends_task: bool,
}

/// What is known of one check of a task. Since when it fails is stored; reconciliation brings the rest back.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Probed {
    /// Whether it was well; absent before it is known.
    pub is_alive: Option<bool>,
    /// Failures since it was last well.
    pub consecutive_failures: u32,
    /// When it first failed after it had last been well; absent while it does not.
    pub failing_since: Option<Timestamp>,
    /// When it was first well.
    pub first_success: Option<Timestamp>,
    /// When it was last found to be well again.
    pub last_success: Option<Timestamp>,
    /// When it last failed.
    pub last_failure: Option<Timestamp>,
    /// What was wrong then.
    pub last_failure_cause: Option<Arc<str>>,
}

/// What a report says of a task's health.
#[derive(Clone, Copy, Debug)]
pub struct Verdict<'a> {
    /// Of all checks together.
    pub is_healthy: bool,
    /// Which of several fail. Empty: nobody says, so it is the first.
    pub failing: &'a [FailingCheck],
    /// Whether a check was just made, and this is not merely said again.
    pub is_fresh: bool,
    /// When it was said.
    pub at: Timestamp,
    /// What is said to be wrong.
    pub cause: Option<&'a Arc<str>>,
}

impl Health {
    /// What is known of a task with `count` checks of which only what they say together is kept, and since when
    /// those fail that do.
    pub fn kept(is_healthy: Option<bool>, failing: &[(usize, u64)], count: usize) -> Self {
        // Of several that fail nobody may know which, until its agent says so.
        let is_told = is_healthy == Some(true) || (count < 2 && failing.is_empty());
        let is_alive = is_healthy.filter(|_| is_told);
        let check = Probed { is_alive, ..Probed::default() };
        let count = if is_healthy.is_some() { count.max(1) } else { 0 };
        let mut checks = vec![check; count];
        for (place, since) in failing {
            if let Some(check) = checks.get_mut(*place) {
                check.is_alive = Some(false);
                check.failing_since = Some(Timestamp(*since));
            }
        }
        Self { is_healthy, checks, ..Self::default() }
    }

    /// The places of the checks that fail, and since when they do.
    pub fn failing(&self) -> impl Iterator<Item = (usize, Timestamp)> {
        let checks = self.checks.iter().enumerate();
        checks.filter_map(|(place, check)| Some((place, check.failing_since?)))
    }

    /// Since when a check fails, the longest one if several do; absent if none does.
    pub fn unhealthy_since(&self) -> Option<Timestamp> {
        self.checks.iter().filter_map(|check| check.failing_since).min()
    }

    /// What was wrong at the latest failure.
    pub fn last_failure_cause(&self) -> Option<&Arc<str>> {
        let latest = self.checks.iter().max_by_key(|check| check.last_failure)?;
        latest.last_failure_cause.as_ref()
    }

    /// Takes in a verdict about a task with `count` checks. The places of those that have failed anew.
    pub fn hear(&mut self, verdict: Verdict<'_>, count: usize) -> Vec<usize> {
        if verdict.is_healthy && self.is_healthy == Some(true) {
            return Vec::new();
        }
        self.is_healthy = Some(verdict.is_healthy);
        self.checks.resize_with(count.max(1), Probed::default);
        let mut failed = Vec::new();
        for (place, check) in self.checks.iter_mut().enumerate() {
            let failing = verdict.failing.iter().find(|failing| failing.place == place);
            if failing.is_some_and(|failing| failing.failures == 0) {
                continue;
            }
            let is_unnamed = place == 0 && verdict.failing.is_empty();
            if !verdict.is_healthy && (failing.is_some() || is_unnamed) {
                if check.fails(failing.map(|it| it.failures), verdict) {
                    failed.push(place);
                }
            } else if verdict.is_healthy || check.is_alive == Some(false) {
                check.is_well(verdict.at);
            }
        }
        failed
    }
}

impl Probed {
    /// Takes in that it fails, for so many times in a row if that is known. Whether that is news.
    fn fails(&mut self, failures: Option<u32>, verdict: Verdict<'_>) -> bool {
        let is_news = self.is_alive != Some(false)
            || self.failing_since.is_none()
            || failures.map_or(verdict.is_fresh, |failures| failures != self.consecutive_failures);
        if !is_news {
            return false;
        }
        self.is_alive = Some(false);
        self.consecutive_failures = failures.unwrap_or(self.consecutive_failures.saturating_add(1));
        self.failing_since = self.failing_since.or(Some(verdict.at));
        self.last_failure = Some(verdict.at);
        self.last_failure_cause = verdict.cause.cloned();
        true
    }

    fn is_well(&mut self, at: Timestamp) {
        self.is_alive = Some(true);
        self.consecutive_failures = 0;
        self.failing_since = None;
        self.first_success = self.first_success.or(Some(at));
        self.last_success = Some(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Timestamp {
        Timestamp(secs * 1_000_000)
    }

    fn verdict(secs: u64, failing: Option<&[FailingCheck]>) -> Verdict<'_> {
        let (is_healthy, failing) = (failing.is_none(), failing.unwrap_or_default());
        Verdict { is_healthy, failing, is_fresh: true, at: at(secs), cause: None }
    }

    fn failing(place: usize, failures: u32) -> FailingCheck {
        FailingCheck { place, failures }
    }

    fn none() -> Vec<usize> {
        Vec::new()
    }

    fn alive(health: &Health) -> Vec<Option<bool>> {
        health.checks.iter().map(|check| check.is_alive).collect()
    }

    #[test]
    fn of_several_checks_each_is_known() {
        let mut health = Health::default();
        assert_eq!(health.hear(verdict(1, Some(&[failing(1, 1)])), 3), [1]);
        assert_eq!(alive(&health), [None, Some(false), None], "of the others nothing is known");
        assert_eq!(health.hear(verdict(2, Some(&[failing(0, 1), failing(1, 1)])), 3), [0]);
        assert_eq!(health.unhealthy_since(), Some(at(1)));
        let again = health.hear(verdict(3, Some(&[failing(0, 4), failing(1, 1)])), 3);
        assert_eq!(again, [0], "the second has not been made again");
        assert_eq!(health.checks[0].consecutive_failures, 4, "some reports may be lost");
        assert_eq!(health.hear(verdict(4, Some(&[failing(0, 4)])), 3), none());
        assert_eq!(alive(&health), [Some(false), Some(true), None]);
        assert_eq!(health.unhealthy_since(), Some(at(2)));
        assert_eq!(health.hear(verdict(5, None), 3), none());
        assert_eq!(alive(&health), [Some(true); 3]);
        assert_eq!((health.is_healthy, health.unhealthy_since()), (Some(true), None));
        assert_eq!(health.checks[1].first_success, Some(at(4)));
    }

    #[test]
    fn a_check_that_was_never_well_nor_bad_is_not_known() {
        let mut health = Health::default();
        health.hear(verdict(1, Some(&[failing(0, 1)])), 2);
        assert_eq!(health.hear(verdict(2, Some(&[failing(1, 0)])), 2), none());
        assert_eq!(alive(&health), [Some(true), None]);
        assert_eq!((health.is_healthy, health.unhealthy_since()), (Some(false), None));
    }

    #[test]
    fn a_verdict_that_names_no_check_is_of_the_first() {
        let mut health = Health::default();
        assert_eq!(health.hear(verdict(1, Some(&[])), 1), [0]);
        assert_eq!(health.hear(verdict(2, Some(&[])), 1), [0], "it was made again");
        let repeated = Verdict { is_fresh: false, ..verdict(3, Some(&[])) };
        assert_eq!(health.hear(repeated, 1), none(), "each state tells it");
        assert_eq!(health.checks[0].consecutive_failures, 2);
        assert_eq!(health.hear(verdict(4, None), 0), none());
        assert_eq!(health.hear(verdict(9, None), 0), none());
        assert_eq!(health.checks[0].last_success, Some(at(4)));
    }
}
