//! The master: which input is handled where. No decision is made here.

use crate::config::Config;
use crate::io::{Input, Output};
use model::step::{Core, Now, Time};

/// The deciding half of a master, leading or standing by.
#[derive(Debug)]
pub struct Master {
    config: Config,
}

impl Master {
    /// A master that stands by.
    pub fn new(config: Config) -> Self {
        Self { config }
    }

    /// What it was told at its start.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl Core for Master {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, _input: Input, _now: Now, _out: &mut Vec<Output>) {}

    fn wake(&mut self, _now: Now, _out: &mut Vec<Output>) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }
}
