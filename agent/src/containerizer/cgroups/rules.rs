//! Which device files may be opened, as a program for the kernel: the v2 tree has no files for it.
//!
//! A rule is a line as the v1 files take it: `c 1:3 rw`, with `*` for any number.

use std::fmt;
use std::io;
use std::str::FromStr;

use super::devices::{Access, DeviceKind};

/// Lets some devices be used in some ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Rule {
    kind: DeviceKind,
    /// Absent: any.
    major: Option<u32>,
    /// Absent: any.
    minor: Option<u32>,
    access: Access,
}

/// A line that is no rule.
#[derive(Debug, thiserror::Error)]
#[error("'{0}' is no rule for devices")]
pub(super) struct NoRule(String);

impl From<NoRule> for io::Error {
    fn from(error: NoRule) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

impl FromStr for Rule {
    type Err = NoRule;

    fn from_str(line: &str) -> Result<Self, NoRule> {
        let read = || {
            let (kind, rest) = line.split_once(' ')?;
            let (numbers, access) = rest.split_once(' ')?;
            let (major, minor) = numbers.split_once(':')?;
            let number = |text: &str| match text {
                "*" => Some(None),
                number => number.parse().ok().map(Some),
            };
            let kind = match kind {
                "c" => DeviceKind::Character,
                "b" => DeviceKind::Block,
                _ => return None,
            };
            if access.is_empty() || access.contains(|letter| !"rwm".contains(letter)) {
                return None;
            }
            let access = Access {
                read: access.contains('r'),
                write: access.contains('w'),
                mknod: access.contains('m'),
            };
            Some(Self { kind, major: number(major)?, minor: number(minor)?, access })
        };
        read().ok_or_else(|| NoRule(line.to_owned()))
    }
}

/// An instruction of the kernel's virtual machine.
#[derive(Clone, Copy, Eq, PartialEq)]
#[repr(C)]
pub(super) struct Instruction {
    code: u8,
    /// The one that is written to in the lower half, the one that is read in the upper.
    registers: u8,
    offset: i16,
    value: i32,
}

impl fmt::Debug for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, registers, offset, value } = self;
        write!(f, "{code:02x} {registers:02x} {offset} {value:x}")
    }
}

/// Numbers of the kernel's, from `linux/bpf.h` and `linux/bpf_common.h`.
mod kernel {
    /// Loads 32 bits from where a register points to.
    pub(super) const LOAD: u8 = 0x61;
    pub(super) const MOVE_REGISTER: u8 = 0xbf;
    pub(super) const MOVE_VALUE: u8 = 0xb7;
    pub(super) const AND_VALUE: u8 = 0x57;
    pub(super) const SHIFT_RIGHT: u8 = 0x77;
    /// Goes on further down if a register is not equal to the value.
    pub(super) const JUMP_UNLESS_EQUAL: u8 = 0x55;
    pub(super) const EXIT: u8 = 0x95;

    pub(super) const BLOCK: i32 = 1;
    pub(super) const CHARACTER: i32 = 2;
    pub(super) const MKNOD: i32 = 1;
    pub(super) const READ: i32 = 2;
    pub(super) const WRITE: i32 = 4;
    pub(super) const ALL: i32 = MKNOD | READ | WRITE;
}

/// What the program returns, and where it keeps what.
const RESULT: u8 = 0;
/// Where the kernel puts what is asked for; free once that is read.
const ASKED: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;

/// The program that allows what any of the rules does.
pub(super) fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut program = vec![
        // Of the first word the lower half is the kind, the upper one what is to be done.
        load(KIND, 0),
        register(kernel::MOVE_REGISTER, ACCESS, KIND),
        value(kernel::AND_VALUE, KIND, 0xffff),
        value(kernel::SHIFT_RIGHT, ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    for rule in rules {
        add(rule, &mut program);
    }
    program.extend([value(kernel::MOVE_VALUE, RESULT, 0), value(kernel::EXIT, 0, 0)]);
    program
}

/// Adds what returns "allowed" if the rule fits, and else goes on behind it.
fn add(rule: &Rule, program: &mut Vec<Instruction>) {
    let mut checks = vec![];
    let kind = match rule.kind {
        DeviceKind::Block => kernel::BLOCK,
        DeviceKind::Character => kernel::CHARACTER,
    };
    checks.push(value(kernel::JUMP_UNLESS_EQUAL, KIND, kind));
    let Access { read, write, mknod } = rule.access;
    let ways = [(read, kernel::READ), (write, kernel::WRITE), (mknod, kernel::MKNOD)];
    let allowed: i32 = ways.iter().filter(|(is_allowed, _)| *is_allowed).map(|(_, bit)| bit).sum();
    if allowed != kernel::ALL {
        checks.push(register(kernel::MOVE_REGISTER, ASKED, ACCESS));
        checks.push(value(kernel::AND_VALUE, ASKED, kernel::ALL & !allowed));
        checks.push(value(kernel::JUMP_UNLESS_EQUAL, ASKED, 0));
    }
    for (at, number) in [(MAJOR, rule.major), (MINOR, rule.minor)] {
        // The kernel keeps fewer than 31 bits of each.
        if let Some(number) = number {
            checks.push(value(kernel::JUMP_UNLESS_EQUAL, at, number.cast_signed()));
        }
    }
    checks.extend([value(kernel::MOVE_VALUE, RESULT, 1), value(kernel::EXIT, 0, 0)]);
    let behind = checks.len();
    for (at, check) in checks.iter_mut().enumerate() {
        if check.code == kernel::JUMP_UNLESS_EQUAL {
            check.offset = i16::try_from(behind - at - 1).expect("a rule is a few instructions");
        }
    }
    program.append(&mut checks);
}

const fn load(to: u8, offset: i16) -> Instruction {
    Instruction { code: kernel::LOAD, registers: to | ASKED << 4, offset, value: 0 }
}

const fn register(code: u8, to: u8, from: u8) -> Instruction {
    Instruction { code, registers: to | from << 4, offset: 0, value: 0 }
}

const fn value(code: u8, to: u8, value: i32) -> Instruction {
    Instruction { code, registers: to, offset: 0, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a program says, by running it as the kernel does.
    fn allows(program: &[Instruction], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let mut registers = [0_i32; 6];
        let mut at = 0;
        loop {
            let Instruction { code, registers: both, offset, value } = program[at];
            let (to, from) = (usize::from(both & 0xf), usize::from(both >> 4));
            at += 1;
            match code {
                kernel::LOAD => {
                    assert_eq!(from, usize::from(ASKED));
                    registers[to] = match offset {
                        0 => access << 16 | kind,
                        4 => major,
                        8 => minor,
                        other => panic!("nothing is at {other}"),
                    };
                }
                kernel::MOVE_REGISTER => registers[to] = registers[from],
                kernel::MOVE_VALUE => registers[to] = value,
                kernel::AND_VALUE => registers[to] &= value,
                kernel::SHIFT_RIGHT => registers[to] >>= value,
                kernel::JUMP_UNLESS_EQUAL if registers[to] != value => {
                    at += usize::try_from(offset).expect("never back");
                }
                kernel::JUMP_UNLESS_EQUAL => {}
                kernel::EXIT => return registers[usize::from(RESULT)] == 1,
                other => panic!("{other:x} is not used"),
            }
        }
    }

    #[test]
    fn what_a_rule_says_is_allowed_and_nothing_else() {
        let rules = ["c *:* m", "c 136:* rwm", "c 1:3 rw", "b 8:0 r"];
        let rules: Vec<Rule> = rules.iter().map(|line| line.parse().expect("a rule")).collect();
        let program = program(&rules);
        let (read, write, mknod) = (kernel::READ, kernel::WRITE, kernel::MKNOD);
        let (block, character) = (kernel::BLOCK, kernel::CHARACTER);
        for (kind, access, major, minor, expected) in [
            (character, mknod, 7, 7, true),
            (character, mknod | read, 7, 7, false),
            (block, mknod, 7, 7, false),
            (character, read | write, 136, 5, true),
            (character, read | write | mknod, 136, 5, true),
            (character, read, 1, 3, true),
            (character, read | write, 1, 3, true),
            // Each rule stands alone.
            (character, read | mknod, 1, 3, false),
            (character, read, 1, 1, false),
            (character, read, 3, 3, false),
            (block, read, 8, 0, true),
            (block, write, 8, 0, false),
            (block, read, 8, 1, false),
        ] {
            let allowed = allows(&program, kind, access, major, minor);
            assert_eq!(allowed, expected, "{kind} {access} {major}:{minor}");
        }
        assert!(!allows(&super::program(&[]), character, read, 1, 3));
    }

    #[test]
    fn a_rule_is_a_line_of_the_kernels_older_form() {
        for bad in ["", "a *:* rwm", "c 1:3", "c 1 rw", "c 1:x rw", "c 1:3 rx", "c 1:3 "] {
            let error = bad.parse::<Rule>().expect_err(bad).to_string();
            assert_eq!(error, format!("'{bad}' is no rule for devices"));
        }
    }
}
