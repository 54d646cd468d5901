//! Marathon itself: apps, instances, deployments, offers and status reports brought together.

use crate::io::{Config, Input, Output};
use model::step::{Core, Now, Time};

/// The deciding half of Marathon.
#[derive(Debug)]
pub struct Marathon {
    config: Config,
}

impl Marathon {
    /// One that does not lead yet.
    pub fn new(config: Config) -> Self {
        Self { config }
    }
}

impl Core for Marathon {
    type Input = Input;
    type Output = Output;

    fn step(&mut self, _input: Input, _now: Now, _out: &mut Vec<Output>) {
        let _ = &self.config;
    }

    fn wake(&mut self, _now: Now, _out: &mut Vec<Output>) {}

    fn next_deadline(&self) -> Option<Time> {
        None
    }
}
