//! `linux/seccomp`: the system calls that a container has no business with.
//!
//! What is filtered reaches around a container's walls, or is a part of the kernel that was broken
//! out of again and again and that services do not need. Most of it a capability opens as well:
//! whoever was given that also gets the calls for it. A call that is newer than this list does not
//! exist in a container, as on an older kernel, so nothing slips in with an upgrade.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
};

use super::disk::{WRITE_ATTRIBUTES, WRITE_FLAGS};
use super::isolator::{Container, Isolator, StepError, refused};
use super::spec::Seccomp;
use crate::launcher::{Capabilities, Plan};

/// The newest call that was looked at for this list: `removexattrat`, of Linux 6.13. New calls have
/// one number on all machines.
const NEWEST: u32 = 466;

/// The one profile there is.
const DEFAULT_PROFILE: &str = "default";

/// Which capability opens which calls.
const OPENED: &[(&str, &[c_long])] = &[
    (
        "SYS_ADMIN",
        &[
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_open_tree,
            libc::SYS_move_mount,
            libc::SYS_fsopen,
            libc::SYS_fsconfig,
            libc::SYS_fsmount,
            libc::SYS_fspick,
            libc::SYS_mount_setattr,
            libc::SYS_setns,
            // A user namespace would be a way to every capability, if only in there.
            libc::SYS_unshare,
            libc::SYS_sethostname,
            libc::SYS_setdomainname,
            libc::SYS_quotactl,
            libc::SYS_quotactl_fd,
            libc::SYS_fanotify_init,
            libc::SYS_lookup_dcookie,
            libc::SYS_swapon,
            libc::SYS_swapoff,
        ],
    ),
    ("BPF", &[libc::SYS_bpf]),
    ("PERFMON", &[libc::SYS_perf_event_open]),
    ("SYSLOG", &[libc::SYS_syslog]),
    ("SYS_BOOT", &[libc::SYS_reboot, libc::SYS_kexec_load, libc::SYS_kexec_file_load]),
    ("SYS_MODULE", &[libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module]),
    ("SYS_TIME", &[libc::SYS_settimeofday, libc::SYS_clock_settime]),
    ("SYS_PACCT", &[libc::SYS_acct]),
    ("SYS_PTRACE", &[libc::SYS_kcmp, libc::SYS_pidfd_getfd, libc::SYS_process_madvise]),
    ("SYS_TTY_CONFIG", &[libc::SYS_vhangup]),
    ("DAC_READ_SEARCH", &[libc::SYS_open_by_handle_at]),
    (
        "SYS_NICE",
        &[libc::SYS_mbind, libc::SYS_set_mempolicy, libc::SYS_move_pages, libc::SYS_migrate_pages],
    ),
    #[cfg(target_arch = "x86_64")]
    ("SYS_RAWIO", &[libc::SYS_iopl, libc::SYS_ioperm]),
];

/// What nothing opens: keys that no namespace divides, and large young parts of the kernel.
const NEVER: &[c_long] = &[
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_nfsservctl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_uselib,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ustat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_sysfs,
    #[cfg(target_arch = "x86_64")]
    libc::SYS__sysctl,
];

/// The flags of clone(2) for new namespaces.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The execution domains that programs ask for: Linux, and what is like it but for the size of
/// addresses and their order; the last asks only.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// What changes the project that a file counts to, which its owner can.
const PROJECT_CHANGES: [rustix::ioctl::Opcode; 2] = [WRITE_ATTRIBUTES, WRITE_FLAGS];

/// The isolator.
#[derive(Debug)]
pub(super) struct Filter {
    /// Whether files are to stay in the project that they were made in, since that is what limits them.
    pub(super) projects_stay: bool,
}

impl Isolator for Filter {
    fn name(&self) -> &'static str {
        "linux/seccomp"
    }

    fn prepare(&self, container: &Container, plan: &mut Plan) -> Result<(), StepError> {
        match &container.wanted.seccomp {
            Seccomp::Default => {}
            Seccomp::Unconfined => return Ok(()),
            Seccomp::Profile(name) if name == DEFAULT_PROFILE => {}
            Seccomp::Profile(name) => {
                let why = format!("there is no such profile; there is '{DEFAULT_PROFILE}'");
                return Err(refused(self.name(), &format!("seccomp profile '{name}'"), why));
            }
        }
        // Whoever could gain privileges could run programs that do not expect their calls to fail,
        // so the kernel wants this where it is not root that filters.
        plan.no_new_privileges = true;
        let held = plan.capabilities_bounding.unwrap_or(Capabilities::ALL);
        let program = filter(held, self.projects_stay)
            .map_err(|error| refused(self.name(), "a filter of system calls", error.to_string()))?;
        plan.seccomp = program.iter().map(|it| (it.code, it.jt, it.jf, it.k)).collect();
        Ok(())
    }
}

/// The filter for a container that can have the capabilities `held`.
fn filter(held: Capabilities, projects_stay: bool) -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    let closed = OPENED.iter().filter(|(capability, _)| !held.has(capability));
    for call in closed.flat_map(|(_, calls)| *calls).chain(NEVER) {
        rules.insert(*call, Vec::new());
    }
    let namespaces = held.has("SYS_ADMIN");
    if !namespaces {
        let with = |flag: libc::c_int| {
            let flag = u64::from(flag.cast_unsigned());
            SeccompRule::new(vec![argument(0, SeccompCmpOp::MaskedEq(flag), flag)?])
        };
        let asked = NEW_NAMESPACES.into_iter().map(with).collect::<Result<_, _>>()?;
        rules.insert(libc::SYS_clone, asked);
    }
    let other = PERSONALITIES.into_iter().map(|known| argument(0, SeccompCmpOp::Ne, known));
    let other = SeccompRule::new(other.collect::<Result<_, _>>()?)?;
    rules.insert(libc::SYS_personality, vec![other]);
    // To the machine below a virtual one; no namespace divides that.
    let family = u64::from(libc::AF_VSOCK.cast_unsigned());
    let vsock = SeccompRule::new(vec![argument(0, SeccompCmpOp::Eq, family)?])?;
    rules.insert(libc::SYS_socket, vec![vsock]);
    if projects_stay && !held.has("SYS_ADMIN") {
        let with = |call: rustix::ioctl::Opcode| {
            SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, call.into())?])
        };
        let asked = PROJECT_CHANGES.into_iter().map(with).collect::<Result<_, _>>()?;
        rules.insert(libc::SYS_ioctl, asked);
    }

    let refuse = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
    let mut program = newer_calls(!namespaces);
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

fn argument(
    index: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

/// Instructions that answer "no such call" to what is newer than the list, to what comes by another
/// calling convention under a number of its own, and to `clone3` where `clone` is looked at: its
/// flags cannot be, and programs fall back to `clone`.
fn newer_calls(clone3: bool) -> BpfProgram {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_GREATER: u16 = 0x25;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let unknown = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
    let second = if clone3 { libc::SYS_clone3.cast_unsigned() } else { u64::from(u32::MAX) };
    let second = u32::try_from(second).unwrap_or(u32::MAX);
    vec![
        sock_filter { code: LOAD_NUMBER, jt: 0, jf: 0, k: 0 },
        sock_filter { code: JUMP_IF_GREATER, jt: 1, jf: 0, k: NEWEST },
        sock_filter { code: JUMP_IF_EQUAL, jt: 0, jf: 1, k: second },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: unknown },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_shorter_the_more_is_allowed() {
        let none = filter(Capabilities::default(), true).expect("a filter");
        let all = filter(Capabilities::ALL, true).expect("a filter");
        assert!(all.len() < none.len(), "{} and {}", all.len(), none.len());
        let less = filter(Capabilities::default(), false).expect("a filter");
        assert!(less.len() < none.len(), "projects may change");
        // The kernel's own limit.
        assert!(none.len() < 4_096);
    }

    #[test]
    fn no_call_is_opened_by_two_or_by_what_is_no_capability() {
        let mut seen = std::collections::BTreeSet::new();
        for (capability, calls) in OPENED {
            Capabilities::parse(capability).expect("a name");
            assert!(calls.iter().all(|call| seen.insert(*call)), "{capability}");
        }
        assert!(NEVER.iter().all(|call| seen.insert(*call)));
        assert!(seen.iter().all(|call| *call <= i64::from(NEWEST)));
    }
}
