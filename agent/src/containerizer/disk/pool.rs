//! Which projects an agent may use, and which of these are taken.

use std::collections::BTreeSet;

use model::amount::Ranges;

/// Numbers of projects that an agent may use. Nobody else may.
///
/// Invariant: there is one, and all are numbers that a file can have and does not have by itself.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ProjectRange(Ranges);

/// Why these cannot be numbers of projects.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadProjects {
    /// There is none.
    #[error("there is no number in it")]
    Empty,
    /// One is that of files which are of no project.
    #[error("0 is the number of files that are of no project; begin with 1 or more")]
    Zero,
    /// One is none that the kernel takes.
    #[error("{0} is too large; the largest number is {LARGEST}")]
    TooLarge(u64),
}

/// The largest number of a project. The one after it stands for none.
const LARGEST: u32 = u32::MAX - 1;

impl ProjectRange {
    /// What Mesos has by default.
    pub const DEFAULT: (u32, u32) = (5_000, 10_000);

    /// Takes these numbers.
    pub fn new(numbers: Ranges) -> Result<Self, BadProjects> {
        let first = numbers.iter().next().ok_or(BadProjects::Empty)?;
        if first.0 == 0 {
            return Err(BadProjects::Zero);
        }
        let too_large = numbers.iter().find(|(_, end)| *end > u64::from(LARGEST));
        match too_large {
            Some((_, end)) => Err(BadProjects::TooLarge(end)),
            None => Ok(Self(numbers)),
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.0.count()
    }

    pub(super) fn contains(&self, project: u32) -> bool {
        self.0.iter().any(|(begin, end)| (begin..=end).contains(&project.into()))
    }

    /// Both ends of each part, in order.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u32, u32)> {
        self.0.iter().map(|(begin, end)| (number(begin), number(end)))
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        self.0.numbers().map(number)
    }
}

impl Default for ProjectRange {
    fn default() -> Self {
        let (begin, end) = Self::DEFAULT;
        Self([(begin.into(), end.into())].into_iter().collect())
    }
}

fn number(number: u64) -> u32 {
    u32::try_from(number).expect("it was looked at when the range was made")
}

/// The projects of one file system, and which of them are taken.
#[derive(Debug)]
pub(super) struct Pool {
    range: ProjectRange,
    taken: BTreeSet<u32>,
    /// Those of the taken ones that nothing on the disk has yet, since they are being given to something.
    given: BTreeSet<u32>,
}

impl Pool {
    /// None is taken.
    pub(super) fn new(range: ProjectRange) -> Self {
        Self { range, taken: BTreeSet::new(), given: BTreeSet::new() }
    }

    pub(super) fn range(&self) -> &ProjectRange {
        &self.range
    }

    /// Notes that one is taken. Says whether it is of the range; others are nobody's business here.
    pub(super) fn note(&mut self, project: u32) -> bool {
        let is_ours = self.range.contains(project);
        if is_ours {
            self.taken.insert(project);
        }
        is_ours
    }

    /// Takes one that is free. Until [`Pool::settle`] it cannot be given back. Absent: all are taken.
    pub(super) fn take(&mut self) -> Option<u32> {
        let project = self.range.numbers().find(|project| !self.taken.contains(project))?;
        self.taken.insert(project);
        self.given.insert(project);
        Some(project)
    }

    /// One that was taken has been given to something, or will not be.
    pub(super) fn settle(&mut self, project: u32) {
        self.given.remove(&project);
    }

    /// Those that may be given back.
    pub(super) fn settled(&self) -> Vec<u32> {
        self.taken.difference(&self.given).copied().collect()
    }

    /// Frees one that nothing has any more.
    pub(super) fn give_back(&mut self, project: u32) {
        self.taken.remove(&project);
    }

    /// How many are free.
    pub(super) fn free(&self) -> u64 {
        self.range.count() - self.taken.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(parts: &[(u64, u64)]) -> Result<ProjectRange, BadProjects> {
        ProjectRange::new(parts.iter().copied().collect())
    }

    #[test]
    fn numbers_that_no_project_can_have_are_refused() {
        assert_eq!(range(&[]), Err(BadProjects::Empty));
        assert_eq!(range(&[(0, 5)]), Err(BadProjects::Zero));
        let largest = u64::from(LARGEST);
        assert_eq!(range(&[(5, largest + 1)]), Err(BadProjects::TooLarge(largest + 1)));
        assert_eq!(range(&[(1, largest)]).map(|all| all.count()), Ok(largest));
        assert_eq!(range(&[(5_000, 10_000)]), Ok(ProjectRange::default()));
    }

    #[test]
    fn a_project_is_one_things_until_it_is_given_back() {
        let mut pool = Pool::new(range(&[(7, 8), (11, 12)]).expect("numbers"));
        // Somebody has these already; the one is not of the range.
        assert_eq!([pool.note(8), pool.note(9)], [true, false]);
        assert_eq!(pool.free(), 3);
        assert_eq!([pool.take(), pool.take(), pool.take()], [Some(7), Some(11), Some(12)]);
        assert_eq!((pool.take(), pool.free()), (None, 0));
        pool.settle(11);
        assert_eq!(pool.settled(), [8, 11], "the others are not yet on the disk");
        pool.give_back(11);
        assert_eq!((pool.free(), pool.take()), (1, Some(11)));
    }

    #[test]
    fn a_range_of_all_there_are_is_as_quick_as_a_small_one() {
        let mut pool = Pool::new(range(&[(1, LARGEST.into())]).expect("numbers"));
        assert_eq!((pool.take(), pool.take()), (Some(1), Some(2)));
        assert_eq!(pool.free(), u64::from(LARGEST) - 2);
    }
}
