//! Programs that the kernel asks before a process of a group opens a device file.

#![expect(unsafe_code, reason = "the kernel's calls for programs have no safe form")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use super::rules::Instruction;

/// Calls and kinds, from `linux/bpf.h`.
const LOAD: libc::c_int = 5;
const ATTACH: libc::c_int = 8;
const DETACH: libc::c_int = 9;
const BY_ID: libc::c_int = 13;
const QUERY: libc::c_int = 16;
const PROGRAM_FOR_DEVICES: u32 = 15;
const AT_DEVICES: u32 = 6;

/// Groups below may have programs as well: all that there are on the way up must allow it.
const BESIDE_OTHERS: u32 = 1 << 1;

/// How many programs a group can have; the kernel takes no more than 64.
const PROGRAMS_MAX: usize = 64;

#[repr(C)]
struct ToLoad {
    kind: u32,
    instructions_length: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

#[repr(C)]
struct ToAttach {
    group: u32,
    program: u32,
    place: u32,
    flags: u32,
}

#[repr(C)]
struct ToQuery {
    group: u32,
    place: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    ids_length: u32,
    unused: u32,
}

#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

/// Has the kernel ask this program, and none that it asked before, for processes of `group` and of
/// the groups below.
pub(super) fn filter(group: &Path, program: &[Instruction]) -> io::Result<()> {
    let group = File::open(group)?;
    let before = attached(&group)?;
    let program = load(program)?;
    let mut wanted = to_attach(&group, &program, BESIDE_OTHERS);
    call(ATTACH, &mut wanted)?;
    // Only now: at no time nobody is asked.
    for id in before {
        let mut by_id = ById { id, next: 0, flags: 0 };
        let old = owned(call(BY_ID, &mut by_id)?);
        call(DETACH, &mut to_attach(&group, &old, 0))?;
    }
    Ok(())
}

/// Whether this process may have the kernel ask programs.
pub(super) fn is_there() -> bool {
    load(&super::rules::program(&[])).is_ok()
}

fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let length = u32::try_from(program.len()).map_err(io::Error::other)?;
    let mut wanted = ToLoad {
        kind: PROGRAM_FOR_DEVICES,
        instructions_length: length,
        instructions: address(program.as_ptr()),
        license: address(c"Apache-2.0".as_ptr()),
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    call(LOAD, &mut wanted).map(owned)
}

/// The numbers of the programs that are asked for this very group.
fn attached(group: &File) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; PROGRAMS_MAX];
    let mut wanted = ToQuery {
        group: number(group),
        place: AT_DEVICES,
        query_flags: 0,
        attach_flags: 0,
        ids: address(ids.as_mut_ptr()),
        ids_length: u32::try_from(ids.len()).map_err(io::Error::other)?,
        unused: 0,
    };
    call(QUERY, &mut wanted)?;
    let length = usize::try_from(wanted.ids_length).unwrap_or_default();
    Ok(ids.iter().copied().take(length).collect())
}

fn to_attach(group: &File, program: &OwnedFd, flags: u32) -> ToAttach {
    ToAttach { group: number(group), program: number(program), place: AT_DEVICES, flags }
}

fn number(file: &impl AsRawFd) -> u32 {
    file.as_raw_fd().cast_unsigned()
}

fn address<T>(of: *const T) -> u64 {
    of.expose_provenance() as u64
}

/// One of the calls above, with the structure that goes with it.
fn call<T>(which: libc::c_int, wanted: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the structure begins as the kernel's union does for this call and is as long as is
    // said, and what it points to lives until this returns.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, which, &raw mut *wanted, size_of::<T>()) };
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    libc::c_int::try_from(answer).map_err(io::Error::other)
}

/// A descriptor that the kernel has just made.
fn owned(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: it is this process's, and nobody else knows of it. The kernel makes them to be closed
    // when another program is executed.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
