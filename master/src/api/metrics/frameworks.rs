//! What is told of each framework, until it is over.

use std::fmt::Write as _;

use master_core::figures::{CALLS, ENDS, EVENTS, OPERATIONS, OfFramework};
use model::task::TaskState;
use transport::metrics::{Samples, double};

use crate::view::Counts;

/// The states of tasks that are not over.
const ACTIVE: [TaskState; 5] = [
    TaskState::Staging,
    TaskState::Starting,
    TaskState::Running,
    TaskState::Killing,
    TaskState::Unreachable,
];

pub(super) fn tell(frameworks: &[OfFramework], counts: &Counts, all: &mut Samples) {
    for framework in frameworks {
        tell_one(framework, counts, all);
    }
}

fn tell_one(framework: &OfFramework, counts: &Counts, all: &mut Samples) {
    let (name, id) = (encoded(&framework.name), framework.id.as_str());
    let itself = &[&*name, id];
    let of = &framework.counts;
    let subscribed = f64::from(u8::from(framework.is_subscribed));
    all.gauge_of("master/frameworks/<name>/<framework>/subscribed", itself, subscribed);
    let mut counter = |what, count| all.counter_of(what, itself, count);
    counter("master/frameworks/<name>/<framework>/calls", of.calls.sum());
    counter("master/frameworks/<name>/<framework>/events", of.events.sum());
    let operations = of.operations.sum() + of.operations_unnamed;
    counter("master/frameworks/<name>/<framework>/operations", operations);
    counter("master/frameworks/<name>/<framework>/offers/sent", of.offers_sent);
    counter("master/frameworks/<name>/<framework>/offers/accepted", of.offers_accepted);
    counter("master/frameworks/<name>/<framework>/offers/declined", of.offers_declined);
    counter("master/frameworks/<name>/<framework>/offers/rescinded", of.offers_rescinded);
    for (call, count) in of.calls.of(&CALLS) {
        let what = "master/frameworks/<name>/<framework>/calls/<call>";
        all.counter_of(what, &[&name, id, call], count);
    }
    for (event, count) in of.events.of(&EVENTS) {
        let what = "master/frameworks/<name>/<framework>/events/<event>";
        all.counter_of(what, &[&name, id, event], count);
    }
    for (operation, count) in of.operations.of(&OPERATIONS) {
        let what = "master/frameworks/<name>/<framework>/operations/<operation>";
        all.counter_of(what, &[&name, id, operation], count);
    }
    for state in ACTIVE {
        let count = double(counts.tasks_of(&framework.id, state));
        let what = "master/frameworks/<name>/<framework>/tasks/active/<state>";
        all.gauge_of(what, &[&name, id, &state.name().to_lowercase()], count);
    }
    for (state, count) in of.ended.of(&ENDS) {
        let what = "master/frameworks/<name>/<framework>/tasks/terminal/<state>";
        all.counter_of(what, &[&name, id, &state.name().to_lowercase()], count);
    }
    for (role, is_suppressed) in &framework.suppressed {
        let what = "master/frameworks/<name>/<framework>/roles/<role>/suppressed";
        let suppressed = f64::from(u8::from(*is_suppressed));
        all.gauge_of(what, &[&name, id, role.as_str()], suppressed);
    }
}

/// A framework calls itself what it likes, which a name of a metric must survive: what is neither a letter,
/// a digit nor one of `-_.~` is written as in addresses.
fn encoded(name: &str) -> String {
    let mut encoded = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_frameworks_are_one_step_of_a_name() {
        assert_eq!(encoded("Job 7/ä.b-c_~"), "Job%207%2F%C3%A4.b-c_~");
    }
}
