//! What the kernel is asked about the project quotas of XFS, and told.
//!
//! Quotas are asked for by the block device of the file system, the project of a file by the file itself.
//! Structures are as `linux/dqblk_xfs.h` and `linux/fs.h` have them.

#![expect(unsafe_code, reason = "quotas and the projects of files have no safe form")]

use std::ffi::{CStr, c_int, c_long};
use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, ioctl, opcode};

/// Bytes in the unit that quotas are counted in.
const BLOCK: u64 = 512;

/// The kind of quota: of projects, rather than of users or groups.
const PROJECTS: c_int = 2;

/// How quotas of projects are called in the flags of the file system: counted, and enforced.
const COUNTED: u16 = 1 << 4;
const ENFORCED: u16 = 1 << 5;

/// Which of its fields the kernel is to read: the limits of blocks.
const LIMITS: u16 = 1 << 2 | 1 << 3;

/// That a directory gives its project to what is made in it.
const INHERITED: u32 = 1 << 9;

/// Reads what a file has besides its usual attributes, its project among it.
const READ_ATTRIBUTES: Opcode = opcode::read::<Attributes>(b'X', 31);

/// Changes that.
pub(crate) const WRITE_ATTRIBUTES: Opcode = opcode::write::<Attributes>(b'X', 32);

/// Changes flags of a file, of which one is whether a directory gives on its project.
pub(crate) const WRITE_FLAGS: Opcode = opcode::write::<c_long>(b'f', 2);

/// Has XFS give up space that it holds for files to grow into.
const FREE_AHEAD: Opcode = opcode::read::<HeldAhead>(b'X', 58);

/// That it is to be waited for, and is about the files of one project.
const WAITS: u32 = 1 << 0;
const OF_PROJECT: u32 = 1 << 3;

/// A command about quotas of projects, by its number among those that are for XFS.
const fn command(number: c_int) -> c_int {
    let xfs = (b'X' as c_int) << 8;
    ((xfs + number) << 8) | PROJECTS
}

const READ_QUOTA: c_int = command(3);
const SET_LIMITS: c_int = command(4);
const READ_STATE: c_int = command(5);
const READ_NEXT_QUOTA: c_int = command(9);

/// What one project takes and may take. A limit of 0 is none.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Quota {
    pub(super) used_bytes: u64,
    /// Files and directories that are of it, those included that are removed and still open.
    pub(super) files: u64,
    pub(super) soft_bytes: u64,
    pub(super) hard_bytes: u64,
}

/// Whether the quotas of a file system do anything.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct State {
    pub(super) is_counted: bool,
    pub(super) is_enforced: bool,
}

/// `struct fs_disk_quota`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct DiskQuota {
    version: i8,
    kind: i8,
    fields: u16,
    id: u32,
    hard_blocks: u64,
    soft_blocks: u64,
    hard_inodes: u64,
    soft_inodes: u64,
    blocks: u64,
    inodes: u64,
    timers: [i32; 2],
    warnings: [u16; 2],
    timers_high: [i8; 4],
    realtime: [u64; 3],
    realtime_timer: i32,
    realtime_warnings: u16,
    padding: i16,
    more_padding: [u8; 8],
}

/// `struct fs_quota_stat`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct QuotaState {
    version: i8,
    flags: u16,
    padding: i8,
    files: [QuotaFile; 2],
    in_core: u32,
    time_limits: [i32; 3],
    warning_limits: [u16; 2],
}

/// `struct fs_qfilestat`.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct QuotaFile {
    inode: u64,
    blocks: u64,
    extents: u32,
}

/// `struct fsxattr`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct Attributes {
    flags: u32,
    extent_size: u32,
    extents: u32,
    project: u32,
    copy_extent_size: u32,
    padding: [u8; 8],
}

/// `struct xfs_fs_eofblocks`.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
struct HeldAhead {
    version: u32,
    flags: u32,
    user: u32,
    group: u32,
    project: u32,
    padding: u32,
    file_bytes_min: u64,
    more_padding: [u64; 12],
}

const _: () = assert!(size_of::<HeldAhead>() == 128);
const _: () = assert!(size_of::<DiskQuota>() == 112);
const _: () = assert!(size_of::<QuotaState>() == 80);
const _: () = assert!(size_of::<Attributes>() == 28);

/// Whether the quotas of projects are on.
pub(super) fn state(device: &CStr) -> io::Result<State> {
    let mut state = QuotaState::default();
    // SAFETY: this command writes one such structure.
    match unsafe { quotactl(READ_STATE, device, 0, &mut state) } {
        // So says a file system of which no quota is on, and one that knows of none.
        Err(Errno::ENOSYS) => Ok(State::default()),
        Err(errno) => Err(errno.into()),
        Ok(()) => Ok(State {
            is_counted: state.flags & COUNTED != 0,
            is_enforced: state.flags & ENFORCED != 0,
        }),
    }
}

/// What a project takes and may take. One that nothing is known of takes nothing.
pub(super) fn quota(device: &CStr, project: u32) -> io::Result<Quota> {
    let mut found = DiskQuota::default();
    // SAFETY: this command writes one such structure.
    match unsafe { quotactl(READ_QUOTA, device, project, &mut found) } {
        Err(Errno::ENOENT) => Ok(Quota::default()),
        Err(errno) => Err(errno.into()),
        Ok(()) => Ok(Quota {
            used_bytes: found.blocks.saturating_mul(BLOCK),
            files: found.inodes,
            soft_bytes: found.soft_blocks.saturating_mul(BLOCK),
            hard_bytes: found.hard_blocks.saturating_mul(BLOCK),
        }),
    }
}

/// The first project from this number on that takes something or has a limit. Absent: there is none.
pub(super) fn next_project(device: &CStr, from: u32) -> io::Result<Option<u32>> {
    let mut found = DiskQuota::default();
    // SAFETY: this command writes one such structure.
    match unsafe { quotactl(READ_NEXT_QUOTA, device, from, &mut found) } {
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
        Ok(()) => Ok(Some(found.id)),
    }
}

/// Limits what a project may take; 0 is no limit. What is no whole number of blocks is rounded down, but not
/// to none.
pub(super) fn set_limits(device: &CStr, project: u32, (soft, hard): (u64, u64)) -> io::Result<()> {
    let blocks = |bytes: u64| if bytes == 0 { 0 } else { (bytes / BLOCK).max(1) };
    let mut wanted = DiskQuota {
        version: 1,
        kind: 1 << 1,
        fields: LIMITS,
        id: project,
        soft_blocks: blocks(soft),
        hard_blocks: blocks(hard),
        ..DiskQuota::default()
    };
    // SAFETY: this command reads one such structure.
    Ok(unsafe { quotactl(SET_LIMITS, device, project, &mut wanted) }?)
}

/// Calls quotactl(2).
///
/// # Safety
///
/// `T` must be what the kernel reads or writes for this command.
unsafe fn quotactl<T>(
    command: c_int,
    device: &CStr,
    project: u32,
    data: &mut T,
) -> Result<(), Errno> {
    let data = std::ptr::from_mut(data).cast();
    // SAFETY: the name ends with a zero, and the structure is the one for the command.
    let done = unsafe { libc::quotactl(command, device.as_ptr(), project.cast_signed(), data) };
    Errno::result(done).map(drop)
}

/// The project that a file or directory counts to. 0 is none.
pub(super) fn project_of(file: impl AsFd) -> io::Result<u32> {
    Ok(attributes(&file)?.project)
}

/// Has a file or directory count to a project, and what is made in a directory as well.
pub(super) fn set_project(file: impl AsFd, project: u32, is_directory: bool) -> io::Result<()> {
    let mut attributes = attributes(&file)?;
    attributes.project = project;
    if is_directory {
        attributes.flags |= INHERITED;
    }
    // SAFETY: this call reads one such structure.
    Ok(unsafe { ioctl(file, Setter::<WRITE_ATTRIBUTES, Attributes>::new(attributes)) }?)
}

/// Has the file system that `any` is on give up what it holds beyond the ends of files of a project, for
/// them to grow into. Who writes goes on; it will hold some again.
pub(super) fn free_ahead(any: impl AsFd, project: u32) -> io::Result<()> {
    let held = HeldAhead { version: 1, flags: WAITS | OF_PROJECT, project, ..HeldAhead::default() };
    // SAFETY: this call reads one such structure, whatever its number says.
    Ok(unsafe { ioctl(any, Setter::<FREE_AHEAD, HeldAhead>::new(held)) }?)
}

fn attributes(file: impl AsFd) -> io::Result<Attributes> {
    // SAFETY: this call writes one such structure.
    Ok(unsafe { ioctl(file, Getter::<READ_ATTRIBUTES, Attributes>::new()) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_the_numbers_of_the_kernel() {
        // `QCMD(Q_XGETQUOTA, PRJQUOTA)` and so on.
        let commands = [READ_QUOTA, SET_LIMITS, READ_STATE, READ_NEXT_QUOTA];
        assert_eq!(commands, [0x0058_0302, 0x0058_0402, 0x0058_0502, 0x0058_0902]);
        assert_eq!(READ_ATTRIBUTES, 0x801c_581f);
        assert_eq!(WRITE_ATTRIBUTES, 0x401c_5820);
        assert_eq!(FREE_AHEAD, 0x8080_583a);
    }
}
