//! Who has stepped back, and until when.
//!
//! A framework that declines holds little, so by its share it comes first again: whatever is freed
//! goes to it, is declined, goes to the next such framework, and those with work for it wait. So a
//! framework that declines a whole offer *steps back*: it is ranked after all that have not, and a
//! role after its siblings once all in it have. Nobody is refused anything: what those in front do
//! not want reaches it as before.
//!
//! It comes forward after a while: a second at first, doubling each time it comes forward in vain, and
//! at least [`WAIT_PER_HELD`] times as long as it sat on an offer. Then it is on trial: with one offer
//! it steps back again, so that it never has more than one that others could use. Using an offer, or
//! reviving, ends all of it at once.

use super::{FrameworkIx, RoleIx, Roles};
use model::step::Time;
use std::time::Duration;

/// How long a first decline has a framework step back: one pass of the others.
const WAIT_MIN: Duration = Duration::from_secs(1);

/// The longest that declining at once has a framework step back. It bounds how long what only it
/// could use may go to others before it is asked.
const WAIT_MAX: Duration = Duration::from_secs(64);

/// A framework that sits on offers and then declines keeps them idle at most one part in this and
/// one of the time.
const WAIT_PER_HELD: u32 = 4;

/// The longest a framework steps back at all: one that slept for a day is not gone for four.
const WAIT_FOR_HELD_MAX: Duration = Duration::from_secs(600);

/// Whether a framework has stepped back in a role.
#[derive(Debug, Default)]
pub(super) struct Wait {
    until: Option<Time>,
    /// How often in a row it was in front in vain. It is on trial if that is not zero.
    times: u32,
}

impl Wait {
    pub(super) fn has_stepped_back(&self) -> bool {
        self.until.is_some()
    }

    pub(super) fn until(&self) -> Option<Time> {
        self.until
    }

    /// Whether it was in front in vain and is in front again.
    pub(super) fn is_on_trial(&self) -> bool {
        self.times > 0 && self.until.is_none()
    }

    /// It was offered something while on trial.
    pub(super) fn after_offer(&mut self, now: Time) {
        self.step_back(now);
    }

    /// It has declined what it held for `held`.
    fn after_decline(&mut self, held: Duration, now: Time) {
        if self.until.is_none() {
            self.step_back(now);
        }
        // What it declines while it stands back nobody else wanted: only what it sat on counts.
        let for_held = now + held.saturating_mul(WAIT_PER_HELD).min(WAIT_FOR_HELD_MAX);
        self.until = self.until.max(Some(for_held));
    }

    fn step_back(&mut self, now: Time) {
        let wait = WAIT_MIN.saturating_mul(1 << self.times.min(16)).min(WAIT_MAX);
        self.until = Some(now + wait);
        self.times = self.times.saturating_add(1);
    }
}

impl Roles {
    /// Has a framework step back that has declined what it held for `held`.
    pub(crate) fn step_back(
        &mut self,
        at: RoleIx,
        framework: FrameworkIx,
        held: Duration,
        now: Time,
    ) {
        self.change_wait(at, framework, |wait| wait.after_decline(held, now));
    }

    /// Has a framework come forward that has shown that it wants what it is offered.
    pub(crate) fn come_forward(&mut self, at: RoleIx, framework: FrameworkIx) {
        self.change_wait(at, framework, |wait| *wait = Wait::default());
    }

    /// Has those come forward whose time it is.
    pub(crate) fn end_waits(&mut self, now: Time) {
        while let Some(&(until, at, framework)) = self.waits_end.first()
            && until <= now
        {
            self.change_wait(at, framework, |wait| wait.until = None);
        }
    }

    /// Until when a framework has stepped back in a role, if it has.
    pub(crate) fn steps_back_until(&self, at: RoleIx, framework: FrameworkIx) -> Option<Time> {
        self.nodes.get(at).clients.get(&framework)?.wait.until
    }

    pub(super) fn change_wait(
        &mut self,
        at: RoleIx,
        framework: FrameworkIx,
        change: impl FnOnce(&mut Wait),
    ) {
        let Some(client) = self.nodes.get_mut(at).clients.get_mut(&framework) else { return };
        let (until, before) = (client.wait.until, client.active());
        change(&mut client.wait);
        let (until_after, after) = (client.wait.until, client.active());
        if until == until_after {
            return;
        }
        if let Some(until) = until {
            self.waits_end.remove(&(until, at, framework));
        }
        if let Some(until) = until_after {
            self.waits_end.insert((until, at, framework));
        }
        if before.stepped_back != after.stepped_back {
            self.change_active(at, before, after);
            self.rank_path(at, framework);
        }
    }
}
