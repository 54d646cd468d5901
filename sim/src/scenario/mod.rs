//! Stories between nodes, as text: what is done, and under `----` what came of it.
//!
//! A scenario is paragraphs. Each has steps, one a line, and what was told while they were done. The
//! first line says, after a `#`, what the scenario shows. What was told is not written by hand: playing
//! the scenario writes it, and a person reads it. All of it follows from the text, in virtual time.

mod play;
mod read;
mod story;

use crate::Violation;
use std::fmt;

/// What stands between what is done and what came of it.
const CUT: &str = "----";

/// What is wrong with a scenario, and in which line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wrong {
    /// Counted from one.
    pub line: usize,
    /// What is wrong, and what to write instead.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

/// Plays a scenario and gives it back as it is to be: with what was told under each paragraph.
pub fn play(text: &str) -> Result<String, Wrong> {
    if !text.starts_with("# ") {
        let what = "the first line says what the scenario shows: write '# A task outlives …'";
        return Err(Wrong { line: 1, what: what.to_owned() });
    }
    let mut stage = play::Stage::default();
    let mut out = String::new();
    let mut paragraph = Paragraph::Steps;
    let mut last = 0;
    for (at, line) in text.lines().enumerate().map(|(at, line)| (at + 1, line.trim_end())) {
        let wrong = |what| Wrong { line: at, what };
        last = at;
        match (line, &paragraph) {
            ("", _) => {
                end_paragraph(&mut stage, &mut out);
                out.push('\n');
                paragraph = Paragraph::Steps;
            }
            (CUT, _) => paragraph = Paragraph::Told,
            (_, Paragraph::Told) => {}
            (line, Paragraph::Steps) => {
                out.push_str(line);
                out.push('\n');
                if !line.starts_with('#') {
                    let step = read::step(line).map_err(wrong)?;
                    stage.play(step).map_err(wrong)?;
                }
            }
        }
    }
    if stage.world.is_none() {
        let what = format!("nothing is played: write '{}'", read::CLUSTER);
        return Err(Wrong { line: last, what });
    }
    end_paragraph(&mut stage, &mut out);
    Ok(out)
}

enum Paragraph {
    Steps,
    Told,
}

fn end_paragraph(stage: &mut play::Stage, out: &mut String) {
    let told = stage.take_told();
    if !told.is_empty() {
        out.push_str(CUT);
        out.push('\n');
        for line in told {
            out.push_str(&line);
            out.push('\n');
        }
    }
}

/// How a broken law is said.
fn broken(violation: &Violation) -> String {
    let Violation { what, at } = violation;
    format!("a law is broken at {:.3} s: {what}", at.as_secs_f64())
}

#[cfg(test)]
mod tests;
