//! The values of one daemon at one moment, in both forms in which they are told.
//!
//! A value has one name. Flat it is told as Mesos tells it, `allocator/mesos/roles/web/shares/dominant`.
//! For Prometheus the variable parts are labels, `agora_allocator_mesos_roles_shares_dominant{role="web"}`:
//! whoever writes a value says which parts these are, and no one else decides anything about names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// How a value behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    /// It only grows, until the daemon is started again.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// One value. The variable parts of its name stand as `<part>` between slashes.
struct Sample {
    name: Cow<'static, str>,
    parts: Vec<String>,
    kind: Kind,
    value: f64,
}

/// The values of one daemon at one moment.
#[derive(Default)]
pub struct Samples(Vec<Sample>);

impl Samples {
    /// Adds what was counted.
    #[expect(clippy::cast_precision_loss, reason = "doubles go on the wire: exact up to 2^53")]
    pub fn counter(&mut self, name: impl Into<Cow<'static, str>>, count: u64) {
        self.push(name.into(), Vec::new(), Kind::Counter, count as f64);
    }

    /// Adds what was measured.
    pub fn gauge(&mut self, name: impl Into<Cow<'static, str>>, value: f64) {
        self.push(name.into(), Vec::new(), Kind::Gauge, value);
    }

    /// Adds what was counted of something: `parts` stand for the variable parts of `name`, in order.
    #[expect(clippy::cast_precision_loss, reason = "doubles go on the wire: exact up to 2^53")]
    pub fn counter_of(&mut self, name: &'static str, parts: &[&str], count: u64) {
        self.push(name.into(), owned(parts), Kind::Counter, count as f64);
    }

    /// Adds what was measured of something: `parts` stand for the variable parts of `name`, in order.
    pub fn gauge_of(&mut self, name: &'static str, parts: &[&str], value: f64) {
        self.push(name.into(), owned(parts), Kind::Gauge, value);
    }

    /// Every name with its value, as `/metrics/snapshot` has it.
    pub fn flat(&self) -> BTreeMap<String, f64> {
        self.0.iter().map(|sample| (sample.flat_name(), sample.value)).collect()
    }

    /// All of it as Prometheus reads it.
    pub fn prometheus(&self) -> String {
        let mut families: BTreeMap<String, Vec<&Sample>> = BTreeMap::new();
        for sample in &self.0 {
            families.entry(family(&sample.name)).or_default().push(sample);
        }
        let mut text = String::new();
        for (family, samples) in families {
            let kind = match samples[0].kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
            };
            let _ = writeln!(text, "# TYPE {family} {kind}");
            for sample in samples {
                let _ = writeln!(text, "{family}{} {}", sample.labels(), sample.value);
            }
        }
        text
    }

    fn push(&mut self, name: Cow<'static, str>, parts: Vec<String>, kind: Kind, value: f64) {
        debug_assert_eq!(variables(&name).count(), parts.len(), "{name}");
        self.0.push(Sample { name, parts, kind, value });
    }
}

impl Sample {
    fn flat_name(&self) -> String {
        if self.parts.is_empty() {
            return self.name.clone().into_owned();
        }
        let mut parts = self.parts.iter();
        let filled = self.name.split('/').map(|step| match variable(step) {
            Some(_) => parts.next().map_or("", String::as_str),
            None => step,
        });
        filled.collect::<Vec<_>>().join("/")
    }

    fn labels(&self) -> String {
        if self.parts.is_empty() {
            return String::new();
        }
        let escaped =
            |part: &str| part.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
        let named = variables(&self.name).zip(&self.parts);
        let labels = named.map(|(label, part)| format!("{label}=\"{}\"", escaped(part)));
        format!("{{{}}}", labels.collect::<Vec<_>>().join(","))
    }
}

fn owned(parts: &[&str]) -> Vec<String> {
    parts.iter().map(|&part| part.to_owned()).collect()
}

/// The name of a variable part, if a step of a name is one.
fn variable(step: &str) -> Option<&str> {
    step.strip_prefix('<')?.strip_suffix('>')
}

fn variables(name: &str) -> impl Iterator<Item = &str> {
    name.split('/').filter_map(variable)
}

/// The name as Prometheus allows it. Variable parts are labels and leave it, but for a last one: without
/// `by_…` there would be no telling the sum, `…/calls`, from its parts, `…/calls/<call>`.
fn family(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let mut family = "agora".to_owned();
    let mut steps = name.split('/').peekable();
    while let Some(step) = steps.next() {
        match variable(step) {
            None => family.extend(std::iter::once('_').chain(step.chars().map(legal))),
            Some(label) if steps.peek().is_none() => {
                let _ = write!(family, "_by_{label}");
            }
            Some(_) => {}
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        let mut samples = Samples::default();
        samples.gauge("master/cpus_total", 4.5);
        samples.counter("master/dropped_messages", 3);
        samples.gauge_of("allocator/mesos/roles/<role>/shares/dominant", &["eng/web"], 0.25);
        let all = "master/frameworks/<name>/<framework>/calls";
        samples.counter_of(all, &["a%20b", "f-1"], 7);
        samples.counter_of(all, &["c\"\\", "f-2"], 1);
        let each = "master/frameworks/<name>/<framework>/calls/<call>";
        samples.counter_of(each, &["a%20b", "f-1", "accept"], 5);
        let flat = samples.flat();
        let expected = [
            ("allocator/mesos/roles/eng/web/shares/dominant", 0.25),
            ("master/cpus_total", 4.5),
            ("master/dropped_messages", 3.0),
            ("master/frameworks/a%20b/f-1/calls", 7.0),
            ("master/frameworks/a%20b/f-1/calls/accept", 5.0),
            ("master/frameworks/c\"\\/f-2/calls", 1.0),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(flat, BTreeMap::from(expected));
        let text = "\
# TYPE agora_allocator_mesos_roles_shares_dominant gauge
agora_allocator_mesos_roles_shares_dominant{role=\"eng/web\"} 0.25
# TYPE agora_master_cpus_total gauge
agora_master_cpus_total 4.5
# TYPE agora_master_dropped_messages counter
agora_master_dropped_messages 3
# TYPE agora_master_frameworks_calls counter
agora_master_frameworks_calls{name=\"a%20b\",framework=\"f-1\"} 7
agora_master_frameworks_calls{name=\"c\\\"\\\\\",framework=\"f-2\"} 1
# TYPE agora_master_frameworks_calls_by_call counter
agora_master_frameworks_calls_by_call{name=\"a%20b\",framework=\"f-1\",call=\"accept\"} 5
";
        assert_eq!(samples.prometheus(), text);
    }
}
