//! What a container cannot do.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use agent::containerizer::{
    AllowedDevice, Containerizer, ContainerizerOptions, Isolation, Limits, Seccomp, Usage,
};
use agent::launcher::{Capabilities, Identity, Rlimit};

use crate::host::{Host, PATIENCE, eventually, exited, id, run};

const HELPER: &str = env!("CARGO_BIN_EXE_agent-test-helper");

/// The numbers of Linux capabilities, in the form that the kernel shows a set in.
fn shown(names: &str) -> String {
    let bit = |name: &str| match name {
        "CHOWN" => 0,
        "DAC_OVERRIDE" => 1,
        "FOWNER" => 3,
        "FSETID" => 4,
        "KILL" => 5,
        "SETGID" => 6,
        "SETUID" => 7,
        "SETPCAP" => 8,
        "NET_BIND_SERVICE" => 10,
        other => panic!("{other} is not needed here"),
    };
    let names = names.split(',').filter(|name| !name.is_empty());
    format!("{:016x}", names.map(|name| 1_u64 << bit(name)).sum::<u64>())
}

fn set(names: &str) -> Capabilities {
    Capabilities::parse(names).expect("names")
}

/// A containerizer with these isolators only.
fn isolated(host: &Host, isolation: &str, bounding: Capabilities) -> Containerizer {
    let options = ContainerizerOptions {
        isolation: Isolation::parse(isolation).expect("names"),
        capabilities_bounding: bounding,
        ..host.options()
    };
    Containerizer::new(options).expect("these tests run as root, with cgroups")
}

/// Lets others than root into a host's directory.
fn open_to_all(host: &Host) {
    fs::set_permissions(host.dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
}

#[tokio::test]
async fn calls_that_reach_outside_are_refused_and_newer_ones_do_not_exist() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let user_namespace = i64::from(libc::CLONE_NEWUSER);
    let attempts = [
        (vec![libc::SYS_getpid], "done"),
        (vec![libc::SYS_mount], "EPERM"),
        (vec![libc::SYS_umount2], "EPERM"),
        (vec![libc::SYS_fsopen], "EPERM"),
        // With wrong magic numbers, in case it is not refused.
        (vec![libc::SYS_reboot, 1, 2, 3], "EPERM"),
        (vec![libc::SYS_init_module], "EPERM"),
        (vec![libc::SYS_kexec_load], "EPERM"),
        (vec![libc::SYS_unshare, user_namespace], "EPERM"),
        (vec![libc::SYS_clone, user_namespace | i64::from(libc::SIGCHLD)], "EPERM"),
        (vec![libc::SYS_clone3], "ENOSYS"),
        (vec![libc::SYS_setns, -1], "EPERM"),
        (vec![libc::SYS_bpf], "EPERM"),
        (vec![libc::SYS_perf_event_open], "EPERM"),
        (vec![libc::SYS_keyctl], "EPERM"),
        (vec![libc::SYS_io_uring_setup], "EPERM"),
        (vec![libc::SYS_userfaultfd], "EPERM"),
        (vec![libc::SYS_personality, 0xffff_ffff], "done"),
        (vec![libc::SYS_personality, 0x400_0000], "EPERM"),
        (vec![libc::SYS_socket, libc::AF_VSOCK.into(), 1, 0], "EPERM"),
        (vec![libc::SYS_socket, libc::AF_INET.into(), libc::SOCK_STREAM.into(), 0], "done"),
        // By the capabilities.
        (vec![libc::SYS_socket, libc::AF_INET.into(), libc::SOCK_RAW.into(), 1], "EPERM"),
        (vec![467], "ENOSYS"),
        (vec![100_000], "ENOSYS"),
    ];
    let mut commands = String::new();
    for (call, _) in &attempts {
        let numbers: Vec<String> = call.iter().map(ToString::to_string).collect();
        commands += &[HELPER, "syscall", &numbers.join(" "), "\n"].join(" ");
    }
    let spec = host.spec("c1", &commands);
    assert_eq!(run(&host, &containerizer, spec).await.status, exited(0));
    let output = host.stdout("c1");
    let answers: Vec<&str> = output.lines().collect();
    assert_eq!(answers.len(), attempts.len());
    for ((call, expected), answer) in attempts.iter().zip(answers) {
        assert_eq!(answer, *expected, "{call:?}");
    }

    let mut spec = host.spec("c2", &format!("{HELPER} syscall {}", libc::SYS_keyctl));
    spec.wanted.seccomp = Seccomp::Unconfined;
    run(&host, &containerizer, spec).await;
    assert_ne!(host.stdout("c2"), "EPERM\n", "it was asked not to be filtered");

    let mut spec = host.spec("c3", "true");
    spec.wanted.seccomp = Seccomp::Profile("tight".to_owned());
    let error = containerizer.launch(spec).await.expect_err("there is no such profile");
    assert_eq!(
        error.to_string(),
        "isolator linux/seccomp cannot grant seccomp profile 'tight': there is no such profile; \
         there is 'default'"
    );
    host.assert_nothing_left("c3");
}

#[tokio::test]
async fn root_has_the_default_capabilities_and_others_have_none() {
    let host = Host::new();
    open_to_all(&host);
    let containerizer = host.containerizer();
    let status = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | cut -f 2";
    let default = shown(Capabilities::DEFAULT);

    run(&host, &containerizer, host.spec("root", status)).await;
    assert_eq!(host.stdout("root"), format!("{default}\n{default}\n1\n2\n"));
    let mut spec = host.spec("nobody", status);
    spec.user = Some("nobody".to_owned());
    run(&host, &containerizer, spec).await;
    assert_eq!(host.stdout("nobody"), format!("{}\n{default}\n1\n2\n", shown("")));

    // Asked for, they are there exactly, whoever the user is, and also without the other isolators
    // that keep root from getting more.
    let alone = isolated(&host, "linux/capabilities", set(Capabilities::DEFAULT));
    for (name, containerizer, user, rest) in [
        ("c1", &containerizer, "root", "1\n2\n"),
        ("c2", &containerizer, "nobody", "1\n2\n"),
        ("c3", &alone, "root", "0\n0\n"),
        ("c4", &alone, "nobody", "0\n0\n"),
    ] {
        let mut spec = host.spec(name, status);
        spec.user = Some(user.to_owned());
        spec.wanted.capabilities_effective = Some(set("NET_BIND_SERVICE"));
        spec.wanted.capabilities_bounding = Some(set("CHOWN,NET_BIND_SERVICE"));
        run(&host, containerizer, spec).await;
        let (has, most) = (shown("NET_BIND_SERVICE"), shown("CHOWN,NET_BIND_SERVICE"));
        assert_eq!(host.stdout(name), format!("{has}\n{most}\n{rest}"), "{user}");
    }

    let mut spec = host.spec("greedy", status);
    spec.wanted.capabilities_bounding = Some(set("CHOWN,SYS_ADMIN"));
    let error = containerizer.launch(spec).await.expect_err("it is too much").to_string();
    let expected = "isolator linux/capabilities cannot grant SYS_ADMIN: the bounding set of this \
                    agent is ";
    assert!(error.starts_with(expected), "{error}");
    host.assert_nothing_left("greedy");
}

#[tokio::test]
async fn without_capabilities_root_makes_no_mounts_devices_and_raw_packets() {
    let host = Host::new();
    // No filter of calls and no namespace of processes, which would refuse it as well.
    let default = set(Capabilities::DEFAULT);
    let containerizer = isolated(&host, "filesystem/linux,linux/capabilities", default);
    let outsider = std::process::id();
    let commands = format!(
        "mount -t tmpfs none /mnt && echo mounted; mknod null c 1 3 && echo made; \
         {HELPER} syscall {} {} {} 1; {HELPER} syscall {} {} {outsider}; \
         {HELPER} syscall {} 1 2 3; cat /proc/{outsider}/environ && echo read",
        libc::SYS_socket,
        libc::AF_INET,
        libc::SOCK_RAW,
        libc::SYS_ptrace,
        libc::PTRACE_SEIZE,
        libc::SYS_reboot,
    );
    run(&host, &containerizer, host.spec("c1", &commands)).await;
    assert_eq!(host.stdout("c1"), "EPERM\nEPERM\nEPERM\n");
}

#[tokio::test]
async fn the_machine_is_seen_in_part_and_cannot_be_changed() {
    let host = Host::new();
    let (runtime, hidden) = (host.dir.path().join("run"), host.dir.path().join("hidden"));
    let options = ContainerizerOptions { hidden: vec![hidden.clone()], ..host.options() };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let secret = runtime.join("containers/secret");
    fs::create_dir_all(&secret).expect("it is ours");
    fs::create_dir_all(hidden.join("secret")).expect("it is ours");
    let tree = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
    let tree = tree.into_iter().find(|tree| Path::new(tree).is_dir()).expect("it is mounted");
    let commands = format!(
        "wc -c < /proc/timer_list; ls /sys/firmware | wc -l; ls {} {} | grep -c secret; \
         echo changed > /proc/sys/kernel/core_pattern; mkdir {tree}/agora-test; \
         echo $$ > {tree}/cgroup.procs; touch {}/new; \
         grep CapEff /proc/1/status | cut -f 2; cat /proc/1/environ | wc -c; readlink /proc/1/fd/1 /proc/1/root",
        runtime.join("containers").display(),
        hidden.display(),
        runtime.display(),
    );
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("it can be read");
    run(&host, &containerizer, host.spec("c1", &commands)).await;
    // The container's init has nothing that could be taken from it, and cannot be looked into.
    assert_eq!(host.stdout("c1"), format!("0\n0\n0\n{}\n0\n", shown("")));
    let refused = fs::read_to_string(host.dir.path().join("c1/stderr")).expect("it was made");
    assert_eq!(refused.matches("Read-only file system").count(), 4, "{refused}");
    assert_eq!(refused.matches("Permission denied").count(), 1, "{refused}");
    let after = fs::read_to_string("/proc/sys/kernel/core_pattern").expect("it can be read");
    assert_eq!(after, pattern);
    fs::remove_dir(secret).expect("it is empty");
}

#[tokio::test]
async fn a_device_that_is_not_listed_cannot_be_opened_whoever_makes_a_file_for_it() {
    let host = Host::new();
    let fuse = r#"{"allowed_devices": [{"device": {"number": {"major_number": 1,
        "minor_number": 11}}, "access": {"read": true}}]}"#;
    let options = ContainerizerOptions {
        isolation: Isolation::parse("cgroups/devices").expect("a name"),
        allowed_devices: AllowedDevice::parse_list(fuse).expect("a list"),
        ..host.options()
    };
    let containerizer = Containerizer::new(options).expect("these tests run as root");
    let commands = "mknod zero c 1 5 && head -c 3 zero | wc -c; \
                    mknod mem c 1 1 && head -c 3 mem; mknod disk b 254 0 && head -c 3 disk; \
                    mknod log c 1 11 && exec 3< log && echo read; ( exec 3> log ) && echo written";
    let spec = host.spec("c1", commands);
    run(&host, &containerizer, spec).await;
    assert_eq!(host.stdout("c1"), "3\nread\n");
    let refused = fs::read_to_string(host.dir.path().join("c1/stderr")).expect("it was made");
    assert_eq!(refused.matches("Operation not permitted").count(), 3, "{refused}");
}

#[tokio::test]
async fn a_program_gives_nobody_the_rights_of_its_owner() {
    for (isolation, who) in [("filesystem/linux", "0"), ("filesystem/linux,linux/nnp", "nobody")] {
        let host = Host::new();
        open_to_all(&host);
        let containerizer = isolated(&host, isolation, Capabilities::ALL);
        let mut spec = host.spec("c1", "./id -u");
        let program = spec.sandbox.join("id");
        fs::copy("/usr/bin/id", &program).expect("there is one");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o4755)).expect("it is ours");
        spec.user = Some("nobody".to_owned());
        run(&host, &containerizer, spec).await;
        let uid = Identity::of(who).expect("there is one").uid;
        assert_eq!(host.stdout("c1"), format!("{uid}\n"), "{isolation}");
    }
}

#[tokio::test]
async fn limits_of_single_processes_are_as_asked() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let limit = |soft, hard| Rlimit {
        resource: libc::RLIMIT_NOFILE,
        name: "RLMT_NOFILE".to_owned(),
        soft: Some(soft),
        hard: Some(hard),
    };
    let mut spec = host.spec("c1", "ulimit -Sn; ulimit -Hn");
    spec.wanted.rlimits = vec![limit(60, 70)];
    run(&host, &containerizer, spec).await;
    assert_eq!(host.stdout("c1"), "60\n70\n");

    let mut spec = host.spec("c2", "true");
    spec.wanted.rlimits = vec![limit(70, 60)];
    let error = containerizer.launch(spec).await.expect_err("it makes no sense").to_string();
    let expected = "isolator posix/rlimits cannot grant RLMT_NOFILE: its soft limit is above its \
                    hard one";
    assert_eq!(error, expected);
    host.assert_nothing_left("c2");
}

#[tokio::test]
async fn a_cpu_hog_is_held_to_its_quota() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let mut spec = host.spec("hog", "while :; do :; done");
    // Weights that get it what it may have also while other tests run.
    spec.limits.cpus_milli = 32_000;
    for group in host.groups() {
        for (file, weight) in [("cpu.shares", "32768"), ("cpu.weight", "1000")] {
            let file = group.join(file);
            assert!(!file.exists() || fs::write(file, weight).is_ok());
        }
    }
    spec.limits.cpus_limit_milli = Some(200);
    containerizer.launch(spec).await.expect("it starts");
    let until = Instant::now() + PATIENCE;
    let first = containerizer.usage(&id("hog")).await;
    let mut usage = first.clone();
    // Twenty periods are two seconds.
    while usage.cpu_periods < first.cpu_periods + 20 {
        assert!(Instant::now() < until, "it does not run");
        usage = containerizer.usage(&id("hog")).await;
    }
    let total = |usage: &Usage| usage.cpus_user + usage.cpus_system;
    let used = total(&usage).saturating_sub(total(&first));
    let periods = u32::try_from(usage.cpu_periods - first.cpu_periods).expect("a few");
    let quota = Duration::from_millis(20) * periods;
    assert!(used <= quota * 11 / 10, "{used:?} of {quota:?}");
    assert!(used >= quota * 9 / 10, "{used:?} of {quota:?}");
    containerizer.destroy(&id("hog")).await;
    host.assert_nothing_left("hog");
}

#[tokio::test]
async fn memory_comes_without_swap_and_a_growing_container_goes_first() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let mut spec =
        host.spec("c1", "cat /proc/self/oom_score_adj; while ! test -e end; do sleep 0.01; done");
    spec.limits.mem_limit_bytes = Some(128 << 20);
    let limits = spec.limits;
    containerizer.launch(spec).await.expect("it starts");
    let swap = || {
        let groups = host.groups_of("c1");
        let files = ["memory.memsw.limit_in_bytes", "memory.swap.max"];
        let mut found = groups.iter().flat_map(|group| files.map(|file| group.join(file)));
        found.find_map(|file| fs::read_to_string(file).ok()).map(|text| text.trim().to_owned())
    };
    // A kernel that does not count swap has no such file.
    let is = |bytes: u64| {
        let with_swap = (bytes + (1 << 20)).to_string();
        swap().is_none_or(|swap| swap == with_swap || swap == "0")
    };
    assert!(is(128 << 20), "{:?}", swap());
    for bytes in [256 << 20, 64 << 20] {
        let limits = Limits { mem_limit_bytes: Some(bytes), ..limits };
        containerizer.update(&id("c1"), limits).await.expect("it runs");
        assert!(is(bytes), "{:?}", swap());
    }
    fs::write(host.dir.path().join("c1/end"), "").expect("the sandbox is there");
    containerizer.wait(&id("c1")).await;
    let score: i32 = host.stdout("c1").trim().parse().expect("a number");
    assert!((2..=999).contains(&score), "{score}");
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn all_cgroups_are_those_that_the_machine_has() {
    let host = Host::new();
    let containerizer = isolated(&host, "cgroups/all", Capabilities::ALL);
    let all = Isolation::parse("cgroups/all").expect("a name");
    assert!(all.names().len() >= 3, "{all:?}");
    let spec = host.spec("c1", "cat /proc/self/cgroup > inside; mv inside seen; exec sleep 1000");
    let launched = containerizer.launch(spec).await.expect("it starts");
    let output = fs::read_to_string(format!("/proc/{}/cgroup", launched.pid)).expect("it runs");
    let seen = host.dir.path().join("c1/seen");
    eventually("it looks", || seen.exists()).await;
    let seen = fs::read_to_string(seen).expect("it is whole");
    let of_groups = |lines: &str| -> Vec<String> {
        lines.lines().filter_map(|line| line.split_once(':').map(|it| it.1.to_owned())).collect()
    };
    let (output, seen) = (of_groups(&output), of_groups(&seen));
    let group = format!("/{}/c1", host.root);
    for name in all.names() {
        let controller = name.trim_start_matches("cgroups/").replace("mem", "memory");
        let inside = |line: &str| {
            line.split_once(':').is_some_and(|(controllers, at)| {
                at == group
                    && (controllers.is_empty() || controllers.split(',').any(|it| it == controller))
            })
        };
        assert!(output.iter().any(|line| inside(line)), "{name}: {output:?}");
    }
    // Itself it sees none of where that is.
    assert_eq!(seen.len(), output.len(), "{seen:?}");
    for (outside, inside) in output.iter().zip(&seen) {
        let at = |line: &str| line.rsplit_once(':').map(|it| it.1.to_owned());
        let is_own = at(outside).is_some_and(|at| at == group);
        assert!(!is_own || at(inside).as_deref() == Some("/"), "{outside} {inside}");
        assert!(!inside.contains(&host.root), "{inside}");
    }
    containerizer.destroy(&id("c1")).await;
    host.assert_nothing_left("c1");
}

#[tokio::test]
async fn programs_of_tasks_may_have_huge_pages_whatever_the_agent_does_without() {
    let host = Host::new();
    let containerizer = host.containerizer();
    rustix::thread::disable_transparent_huge_pages(true).expect("this kernel has them");
    let spec = host.spec("c1", "grep THP_enabled /proc/self/status | cut -f 2");
    run(&host, &containerizer, spec).await;
    assert_eq!(host.stdout("c1"), "1\n");
}
