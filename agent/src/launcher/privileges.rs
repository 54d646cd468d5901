//! What a container's processes may ask of the kernel: limits, capabilities, system calls.

#![expect(unsafe_code, reason = "a limit by its number has no safe form")]

use std::fs;

use nix::errno::Errno;
use nix::unistd::{Gid, Uid};
use seccompiler::{BpfProgram, sock_filter};

use super::{Identity, Plan, capabilities};

/// Takes from this process, for good, what neither the container's init nor its command is to have.
/// To be called once everything is mounted.
pub(super) fn restrict(plan: &Plan) -> Result<(), String> {
    if let Some(adjustment) = plan.oom_score_adj {
        fs::write("/proc/self/oom_score_adj", adjustment.to_string())
            .map_err(|error| format!("cannot set its oom_score_adj: {error}"))?;
    }
    if let Some(bounding) = plan.capabilities_bounding {
        capabilities::bound(bounding).map_err(failed("bound its capabilities"))?;
    }
    if plan.no_new_privileges {
        nix::sys::prctl::set_no_new_privs().map_err(failed("forbid new privileges"))?;
    }
    if !plan.seccomp.is_empty() {
        let program: BpfProgram =
            plan.seccomp.iter().map(|&(code, jt, jf, k)| sock_filter { code, jt, jf, k }).collect();
        seccompiler::apply_filter(&program)
            .map_err(|error| format!("cannot filter its system calls: {error}"))?;
    }
    Ok(())
}

/// Leaves a container's init nothing: it only waits. A command that could attach to it would have
/// its rights and the launcher's files.
pub(super) fn disarm() {
    let _ = capabilities::drop_all();
    let _ = nix::sys::prctl::set_dumpable(false);
}

/// Sets the command's resource limits. To be called while still root, who may raise some.
pub(super) fn limit(plan: &Plan) -> Result<(), String> {
    for limit in &plan.rlimits {
        let wanted = libc::rlimit {
            rlim_cur: limit.soft.unwrap_or(libc::RLIM_INFINITY),
            rlim_max: limit.hard.unwrap_or(libc::RLIM_INFINITY),
        };
        // SAFETY: `wanted` outlives the call, which only reads it.
        let set = unsafe { libc::setrlimit(limit.resource, &raw const wanted) };
        Errno::result(set).map_err(|errno| format!("cannot set limit {}: {errno}", limit.name))?;
    }
    Ok(())
}

/// Becomes the user that the command runs as, with the capabilities that the plan names.
pub(super) fn become_user(plan: &Plan) -> Result<(), String> {
    let effective = plan.capabilities_effective;
    if effective.is_some() {
        capabilities::keep_over_change_of_user().map_err(failed("keep its capabilities"))?;
    }
    if let Some(identity) = &plan.identity {
        switch(identity)?;
    }
    if let Some(effective) = effective {
        capabilities::become_exactly(effective).map_err(failed("set its capabilities"))?;
    }
    Ok(())
}

fn switch(identity: &Identity) -> Result<(), String> {
    let groups: Vec<Gid> = identity.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    let gid = Gid::from_raw(identity.gid);
    let uid = Uid::from_raw(identity.uid);
    if nix::unistd::geteuid().is_root() {
        nix::unistd::setgroups(&groups).map_err(failed("set its groups"))?;
    }
    nix::unistd::setresgid(gid, gid, gid).map_err(failed("set its group"))?;
    nix::unistd::setresuid(uid, uid, uid).map_err(failed("set its user"))
}

fn failed<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> String {
    move |errno| format!("cannot {what}: {errno}")
}
