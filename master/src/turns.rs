//! When calls may go on: `model::rate_limits` by the clock, and how many calls each principal made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use model::rate_limits::{Limiter, Line, RateLimits};
use model::step::Time;
use parking_lot::Mutex;
use tokio::time::Instant;
use transport::http::Refused;
use transport::metrics::Samples;

/// Principals of frameworks whose calls are counted. Past it those of new ones are not, until some
/// have no framework any more.
const COUNTED_MAX: usize = 1_000;

/// Says when calls may go on.
pub(crate) struct Turns {
    started: Instant,
    limiter: Mutex<Limiter>,
    counts: Mutex<BTreeMap<Arc<str>, Counts>>,
}

/// Calls of the frameworks of one principal.
#[derive(Clone, Copy, Default)]
struct Counts {
    received: u32,
    processed: u32,
}

impl Turns {
    /// Under these rules nobody has called yet.
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self {
            started: Instant::now(),
            limiter: Mutex::new(Limiter::new(limits)),
            counts: Mutex::default(),
        }
    }

    /// A framework calls: the moment its call may go on, or why it may not.
    pub(crate) fn framework_calls(&self, principal: Option<&Arc<str>>) -> Result<Instant, Refused> {
        self.count(principal, |counts| &mut counts.received);
        let mut limiter = self.limiter.lock();
        match limiter.line_of_framework(principal.map(|name| &**name)) {
            Some(line) => self.enter(&mut limiter, &line),
            None => Ok(Instant::now()),
        }
    }

    /// The call of a framework has gone on.
    pub(crate) fn went_on(&self, principal: Option<&Arc<str>>) {
        self.count(principal, |counts| &mut counts.processed);
    }

    /// Waits until the call of a framework may go on.
    pub(crate) async fn of_framework(&self, principal: Option<&Arc<str>>) -> Result<(), Refused> {
        let turn = self.framework_calls(principal)?;
        wait_until(turn).await;
        self.went_on(principal);
        Ok(())
    }

    /// Waits until the call of anybody else may go on.
    pub(crate) async fn of_operator(&self, principal: &str) -> Result<(), Refused> {
        let turn = {
            let mut limiter = self.limiter.lock();
            let Some(line) = limiter.line_of_operator(principal) else { return Ok(()) };
            self.enter(&mut limiter, &line)?
        };
        wait_until(turn).await;
        Ok(())
    }

    /// Adds what is counted to `samples`. `principals` are those that have a framework: the others are
    /// forgotten.
    pub(crate) fn tell(&self, principals: &BTreeSet<&str>, samples: &mut Samples) {
        let mut counts = self.counts.lock();
        counts.retain(|name, _| principals.contains(&**name));
        for (name, counts) in &*counts {
            let (received, processed) = (counts.received.into(), counts.processed.into());
            samples.counter_of("frameworks/<principal>/messages_received", &[name], received);
            samples.counter_of("frameworks/<principal>/messages_processed", &[name], processed);
        }
    }

    fn enter(&self, limiter: &mut Limiter, line: &Line) -> Result<Instant, Refused> {
        let now = Time(self.started.elapsed());
        match limiter.enter(line, now) {
            Ok(turn) => Ok(self.started + turn.0),
            Err(full) => {
                let (whose, whom) = match line {
                    Line::Named(name) => (&**name, format!("principal '{name}'")),
                    Line::Others => ("", "frameworks without a limit of their own".to_owned()),
                };
                metrics::counter!("agora_calls_over_rate_limit", "principal" => whose.to_owned())
                    .increment(1);
                let secs = whole_secs(full.after);
                let text = format!(
                    "The call is dropped: {} wait already, the capacity of the rate limit of {whom}; \
                     try again in {secs} s",
                    full.waiting
                );
                let refused = Refused::new(StatusCode::TOO_MANY_REQUESTS, text);
                Err(refused.try_again_after(Duration::from_secs(secs)))
            }
        }
    }

    fn count(&self, principal: Option<&Arc<str>>, which: fn(&mut Counts) -> &mut u32) {
        let Some(name) = principal else { return };
        let mut counts = self.counts.lock();
        if !counts.contains_key(name) && counts.len() >= COUNTED_MAX {
            return;
        }
        let count = which(counts.entry(name.clone()).or_default());
        *count = count.saturating_add(1);
    }
}

/// In whole seconds, at least one: that is what clients can be told.
fn whole_secs(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() > 0 || wait.is_zero())
}

async fn wait_until(turn: Instant) {
    if turn > Instant::now() {
        tokio::time::sleep_until(turn).await;
    }
}
