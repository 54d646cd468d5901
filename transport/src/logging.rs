//! How much is logged, changed for a while at run time.
//!
//! Whoever sets up the log says once how its level is changed; endpoints of all daemons of the process
//! then ask here. Level 0 is what the process was started with, 1 adds debugging, 2 and 3 everything.

use std::sync::OnceLock;
use std::time::Duration;

use parking_lot::Mutex;

/// The highest level, as Mesos has it.
pub const LEVEL_MAX: u32 = 3;

static CHANGE: OnceLock<Box<dyn Fn(u32) + Send + Sync>> = OnceLock::new();
static PRESENT: Mutex<Present> = Mutex::new(Present { level: 0, changes: 0 });

/// What holds now.
#[derive(Debug)]
struct Present {
    level: u32,
    /// Counts changes, so that the end of an earlier one does not end a later one.
    changes: u64,
}

impl Present {
    /// Another level holds from now on; what is returned ends it.
    fn begin(&mut self, level: u32) -> u64 {
        self.level = level;
        self.changes += 1;
        self.changes
    }

    /// A change has held long enough; says whether that changes anything.
    fn end(&mut self, change: u64) -> bool {
        let is_present = self.changes == change;
        if is_present {
            self.level = 0;
        }
        is_present
    }
}

/// Why the level was not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LevelError {
    /// There is no such level.
    #[error("Invalid level: expecting a number from 0 to {LEVEL_MAX}")]
    OutOfRange,
    /// Nobody has said how.
    #[error("The log of this process cannot be changed at run time")]
    Fixed,
}

/// Says how the level is changed. The first one counts.
pub fn install(change: impl Fn(u32) + Send + Sync + 'static) {
    // An error means that the process has a log already, which goes on.
    let _ = CHANGE.set(Box::new(change));
}

/// The present level.
pub fn level() -> u32 {
    PRESENT.lock().level
}

/// Logs at `level` for a while, and then as at the start. Must be called within a runtime.
pub fn set_for(level: u32, duration: Duration) -> Result<(), LevelError> {
    if level > LEVEL_MAX {
        return Err(LevelError::OutOfRange);
    }
    let change = CHANGE.get().ok_or(LevelError::Fixed)?;
    let begun = PRESENT.lock().begin(level);
    change(level);
    tokio::spawn(async move {
        tokio::time::sleep(duration).await;
        if PRESENT.lock().end(begun) {
            change(0);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_holds_for_its_time_unless_it_is_set_anew() {
        let mut present = Present { level: 0, changes: 0 };
        let first = present.begin(1);
        let second = present.begin(2);
        assert!(!present.end(first), "the second one holds");
        assert_eq!(present.level, 2);
        assert!(present.end(second));
        assert_eq!(present.level, 0);
    }

    #[test]
    fn what_cannot_be_changed_is_told() {
        assert_eq!(set_for(LEVEL_MAX + 1, Duration::ZERO), Err(LevelError::OutOfRange));
        assert_eq!(set_for(1, Duration::ZERO), Err(LevelError::Fixed));
    }
}
