//! What was measured, for people and for programs.

use serde_json::{Value, json};
use std::time::Duration;

/// The figures so far, in the order they were taken.
pub(crate) struct Report {
    is_json: bool,
    sections: Vec<Section>,
}

/// The figures of one measure.
pub(crate) struct Section {
    title: String,
    command: String,
    figures: Vec<Figure>,
}

/// One figure: a value for each run.
struct Figure {
    name: String,
    unit: &'static str,
    values: Vec<f64>,
}

impl Report {
    pub(crate) fn new(is_json: bool) -> Self {
        Self { is_json, sections: Vec::new() }
    }

    /// Begins the figures of one measure; `command` repeats it.
    pub(crate) fn section(&mut self, title: &str, command: String) -> &mut Section {
        let section = Section { title: title.to_owned(), command, figures: Vec::new() };
        self.sections.push(section);
        self.sections.last_mut().expect("it was just put there")
    }

    /// Prints everything on stdout.
    pub(crate) fn print(&self) {
        if self.is_json {
            let all: Vec<Value> = self.sections.iter().map(Section::json).collect();
            println!("{}", json!(all));
            return;
        }
        for section in &self.sections {
            section.print();
        }
    }
}

/// Says on stderr what is being done: some measures take minutes.
pub(crate) fn progress(what: &str) {
    eprintln!("... {what}");
}

impl Section {
    /// Adds one run's value of a figure.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, value: f64) {
        if let Some(figure) = self.figures.iter_mut().find(|figure| figure.name == name) {
            figure.values.push(value);
        } else {
            let name = name.to_owned();
            self.figures.push(Figure { name, unit, values: vec![value] });
        }
    }

    fn json(&self) -> Value {
        let figures: Vec<Value> = self
            .figures
            .iter()
            .map(|figure| {
                let (median, least, most) = figure.summary();
                json!({
                    "name": figure.name, "unit": figure.unit, "median": median, "min": least,
                    "max": most, "runs": figure.values,
                })
            })
            .collect();
        json!({"measure": self.title, "command": self.command, "figures": figures})
    }

    fn print(&self) {
        println!("\n{}\n  repeat: {}", self.title, self.command);
        let width = self.figures.iter().map(|figure| figure.name.len()).max().unwrap_or(0);
        for figure in &self.figures {
            let (median, least, most) = figure.summary();
            let unit = figure.unit;
            println!(
                "  {:<width$}  {:>10} {unit:<9} ({} to {}, {} runs)",
                figure.name,
                shown(median),
                shown(least),
                shown(most),
                figure.values.len(),
            );
        }
    }
}

impl Figure {
    /// Median, least and most.
    fn summary(&self) -> (f64, f64, f64) {
        let sorted = sorted(&self.values);
        (quantile(&sorted, 0.5), quantile(&sorted, 0.0), quantile(&sorted, 1.0))
    }
}

/// A few digits, as many as tell something.
fn shown(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// The value below which the part `q` of `sorted` lies, by nearest rank; 0 of nothing.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a rank within a list in memory"
)]
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * q).round() as usize).copied().unwrap_or(0.0)
}

/// The quantile `q` of latencies, in milliseconds.
pub(crate) fn millis(latencies: &[Duration], q: f64) -> f64 {
    let millis: Vec<f64> = latencies.iter().map(|it| it.as_secs_f64() * 1_000.0).collect();
    quantile(&sorted(&millis), q)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_were_measured() {
        let sorted = [1.0, 2.0, 3.0, 10.0];
        let at = |q| quantile(&sorted, q);
        assert_eq!(
            [at(0.0), at(0.5), at(0.99), at(1.0)].map(shown),
            ["1.00", "3.00", "10.0", "10.0"]
        );
        assert_eq!(shown(quantile(&[], 0.5)), "0.00");
        let latencies = [Duration::from_millis(5), Duration::from_millis(1)];
        assert_eq!(shown(millis(&latencies, 1.0)), "5.00");
    }
}
