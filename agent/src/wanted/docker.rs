//! Containers of type DOCKER: what `docker run` would have been told, said to this agent's own
//! containerizer. There is no Docker daemon.
//!
//! What cannot be done is refused by name: a container that lacks what it asks for would be something
//! else than what was asked for.

use std::path::PathBuf;

use proto::mesos::v1::container_info::DockerInfo;

use crate::containerizer::{Seccomp, Wanted};
use crate::images::{Credentials, Overrides, WantedImage, Way};
use crate::launcher::{Capabilities, Memory, Rlimit, Volume, VolumeSource};

/// Where `docker run` has limits of processes from, by its names for them.
const ULIMITS: [(&str, u32); 15] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rss", libc::RLIMIT_RSS),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// The parameters that are heeded, for messages.
const KNOWN: &str = "add-host, cap-add, cap-drop, entrypoint, env, hostname, init, label, \
    privileged, rm, security-opt, shm-size, tmpfs, ulimit, user, volume, workdir";

/// Reads what a container is asked to be like into `wanted`. An error says what of it cannot be.
pub(super) fn read(docker: &DockerInfo, wanted: &mut Wanted) -> Result<(), String> {
    wanted.image = Some(WantedImage {
        reference: docker.image.clone(),
        cached: !docker.force_pull_image(),
        way: Way::Docker,
        credentials: Credentials::default(),
        overrides: Overrides::default(),
    });
    if docker.privileged() {
        privileged(wanted);
    }
    for parameter in &docker.parameters {
        let key = parameter.key.trim_start_matches('-');
        heed(key, &parameter.value, wanted)
            .map_err(|why| format!("docker parameter '{key}': {why}"))?;
    }
    Ok(())
}

/// All that there is. Whether it is granted the agent's bounding set says.
fn privileged(wanted: &mut Wanted) {
    wanted.capabilities_added = Capabilities::ALL;
    wanted.seccomp = Seccomp::Unconfined;
}

/// Does what one parameter says.
fn heed(key: &str, value: &str, wanted: &mut Wanted) -> Result<(), String> {
    let image = wanted.image.as_mut().expect("it was set before");
    let own = &mut image.overrides;
    match key {
        "env" | "e" => {
            let (name, value) = value.split_once('=').ok_or("write it as NAME=value")?;
            own.env.push((name.to_owned(), value.to_owned()));
        }
        "user" | "u" => own.user = Some(value.to_owned()),
        "workdir" | "w" => own.workdir = Some(value.to_owned()),
        "entrypoint" => {
            let words = Some(value.to_owned()).filter(|value| !value.is_empty());
            own.entrypoint = Some(words.into_iter().collect());
        }
        "hostname" | "h" => wanted.hostname = Some(value.to_owned()),
        "add-host" => {
            let (name, address) = value.split_once(':').ok_or("write it as name:address")?;
            let address = address.trim_start_matches('[').trim_end_matches(']');
            let address = address.parse().map_err(|_| format!("'{address}' is no IP address"))?;
            wanted.hosts.push((name.to_owned(), address));
        }
        "ulimit" => wanted.rlimits.push(ulimit(value)?),
        "cap-add" => wanted.capabilities_added = wanted.capabilities_added.with(capability(value)?),
        "cap-drop" => {
            wanted.capabilities_dropped = wanted.capabilities_dropped.with(capability(value)?);
        }
        "shm-size" => wanted.shm_bytes = Some(size(value)?),
        "tmpfs" => wanted.volumes.push(tmpfs(value)?),
        "volume" | "v" => wanted.volumes.push(volume(value)?),
        "security-opt" => match value {
            "seccomp=unconfined" | "seccomp:unconfined" => wanted.seccomp = Seccomp::Unconfined,
            // It is so in any case.
            "no-new-privileges" | "no-new-privileges=true" | "no-new-privileges:true" => {}
            _ => return Err("'seccomp=unconfined' and 'no-new-privileges' are heeded".to_owned()),
        },
        "privileged" => {
            if flag(value)? {
                privileged(wanted);
            }
        }
        // Every container has an init and is removed, and nobody asks for labels but at a daemon.
        "init" | "rm" => {
            if !flag(value)? {
                return Err("it cannot be turned off".to_owned());
            }
        }
        "label" | "l" => {}
        _ => return Err(format!("this agent has nothing for it; it heeds {KNOWN}")),
    }
    Ok(())
}

fn flag(value: &str) -> Result<bool, String> {
    match value {
        "" | "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        other => Err(format!("'{other}' is neither true nor false")),
    }
}

fn capability(name: &str) -> Result<Capabilities, String> {
    if name.eq_ignore_ascii_case("all") {
        return Ok(Capabilities::ALL);
    }
    Capabilities::parse(&name.to_ascii_uppercase()).map_err(|error| error.to_string())
}

/// `nofile=1024:2048`, or one number for both.
fn ulimit(text: &str) -> Result<Rlimit, String> {
    let form = || "write it as nofile=1024:2048".to_owned();
    let (name, limits) = text.split_once('=').ok_or_else(form)?;
    let found = ULIMITS.iter().find(|(known, _)| *known == name);
    let &(name, resource) = found.ok_or_else(|| format!("there is no limit '{name}'"))?;
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let read = |text: &str| match text {
        "-1" | "unlimited" => Ok(None),
        text => text.parse().map(Some).map_err(|_| form()),
    };
    Ok(Rlimit { resource, name: name.to_owned(), soft: read(soft)?, hard: read(hard)? })
}

/// A number of bytes, with b, k, m or g behind it in units of 1024.
fn size(text: &str) -> Result<u64, String> {
    let lower = text.to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &lower[digits.len()..] {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        _ => return Err(format!("'{text}' is not a size such as 64m")),
    };
    let number: u64 = digits.parse().map_err(|_| format!("'{text}' is not a size such as 64m"))?;
    number.checked_mul(1 << shift).ok_or_else(|| format!("'{text}' is too much"))
}

/// `/on/the/machine:/in/the/container:ro`.
fn volume(text: &str) -> Result<Volume, String> {
    let mut parts = text.split(':');
    let (Some(source), Some(target), mode, None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("write it as /on/the/machine:/in/the/container:ro".to_owned());
    };
    if !source.starts_with('/') || !target.starts_with('/') {
        return Err("both paths must be absolute; there are no named volumes".to_owned());
    }
    let read_only = match mode.unwrap_or("rw") {
        "ro" => true,
        "rw" | "z" | "Z" => false,
        other => return Err(format!("'{other}' is neither ro nor rw")),
    };
    let source = VolumeSource::Host(source.into());
    Ok(Volume { source, container_path: PathBuf::from(target), read_only })
}

/// `/in/the/container:size=64m,mode=1777,exec`.
fn tmpfs(text: &str) -> Result<Volume, String> {
    let (target, options) = text.split_once(':').unwrap_or((text, ""));
    if !target.starts_with('/') {
        return Err("write it as /in/the/container:size=64m,mode=1777".to_owned());
    }
    let mut memory = Memory { bytes: None, mode: 0o1777, executable: false };
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", amount)) => memory.bytes = Some(size(amount)?),
            Some(("mode", mode)) => {
                let bits = u32::from_str_radix(mode, 8).ok().filter(|bits| *bits <= 0o7777);
                memory.mode = bits.ok_or_else(|| format!("'{mode}' is no mode such as 1777"))?;
            }
            None if option == "exec" => memory.executable = true,
            None if option == "ro" => read_only = true,
            // It is so in any case.
            None if ["rw", "noexec", "nosuid", "nodev"].contains(&option) => {}
            _ => return Err(format!("'{option}' is none of size, mode, exec, noexec, ro, rw")),
        }
    }
    let source = VolumeSource::Memory(memory);
    Ok(Volume { source, container_path: PathBuf::from(target), read_only })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::mesos::v1::Parameter;

    fn with(parameters: &[(&str, &str)]) -> Result<Wanted, String> {
        let parameters = parameters
            .iter()
            .map(|(key, value)| Parameter { key: (*key).to_owned(), value: (*value).to_owned() });
        let docker = DockerInfo {
            image: "nginx:1".to_owned(),
            parameters: parameters.collect(),
            ..DockerInfo::default()
        };
        let mut wanted = Wanted::default();
        read(&docker, &mut wanted).map(|()| wanted)
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn parameters_are_heeded_as_docker_run_would() {
        let wanted = with(&[
            ("env", "A=1"),
            ("e", "B=x=y"),
            ("user", "web:logs"),
            ("workdir", "/srv"),
            ("entrypoint", "/bin/run"),
            ("--hostname", "here"),
            ("add-host", "db:10.0.0.1"),
            ("ulimit", "nofile=10:20"),
            ("ulimit", "core=-1"),
            ("cap-add", "net_admin"),
            ("cap-drop", "ALL"),
            ("shm-size", "64m"),
            ("volume", "/a:/b:ro"),
            ("tmpfs", "/run:rw,size=1m,mode=700,exec"),
            ("security-opt", "seccomp=unconfined"),
            ("label", "team=web"),
            ("init", "true"),
        ])
        .expect("all of it can be");
        let image = wanted.image.expect("it is wanted");
        assert_eq!(
            (image.reference.as_str(), image.cached, image.way),
            ("nginx:1", true, Way::Docker)
        );
        let expected = Overrides {
            entrypoint: Some(vec!["/bin/run".to_owned()]),
            workdir: Some("/srv".to_owned()),
            user: Some("web:logs".to_owned()),
            env: pairs(&[("A", "1"), ("B", "x=y")]),
        };
        assert_eq!(image.overrides, expected);
        assert_eq!(wanted.hostname.as_deref(), Some("here"));
        assert_eq!(wanted.hosts[0].0, "db");
        let limits: Vec<_> =
            wanted.rlimits.iter().map(|it| (it.name.as_str(), it.soft, it.hard)).collect();
        assert_eq!(limits, [("nofile", Some(10), Some(20)), ("core", None, None)]);
        assert_eq!(wanted.capabilities_added, Capabilities::parse("NET_ADMIN").expect("one"));
        assert_eq!(wanted.capabilities_dropped, Capabilities::ALL);
        assert_eq!(wanted.shm_bytes, Some(64 << 20));
        assert!(wanted.volumes[0].read_only);
        let memory = Memory { bytes: Some(1 << 20), mode: 0o700, executable: true };
        assert_eq!(wanted.volumes[1].source, VolumeSource::Memory(memory));
        assert_eq!(wanted.seccomp, Seccomp::Unconfined);
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (key, value, says) in [
            (
                "log-driver",
                "syslog",
                "docker parameter 'log-driver': this agent has nothing for it",
            ),
            ("env", "A", "docker parameter 'env': write it as NAME=value"),
            ("ulimit", "files=1", "docker parameter 'ulimit': there is no limit 'files'"),
            ("cap-add", "MOON", "docker parameter 'cap-add': there is no capability 'MOON'"),
            ("volume", "data:/b", "docker parameter 'volume': both paths must be absolute"),
            ("volume", "/a:/b:shared", "docker parameter 'volume': 'shared' is neither"),
            ("tmpfs", "run", "docker parameter 'tmpfs': write it as /in/the/container"),
            ("tmpfs", "/run:mode=9", "docker parameter 'tmpfs': '9' is no mode"),
            ("tmpfs", "/run:uid=1", "docker parameter 'tmpfs': 'uid=1' is none of size"),
            ("shm-size", "much", "docker parameter 'shm-size': 'much' is not a size"),
            ("init", "false", "docker parameter 'init': it cannot be turned off"),
            ("add-host", "db:there", "docker parameter 'add-host': 'there' is no IP address"),
        ] {
            let error = with(&[(key, value)]).expect_err(key);
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn a_privileged_container_wants_all_and_a_forced_pull_no_cache() {
        let docker = DockerInfo {
            privileged: Some(true),
            force_pull_image: Some(true),
            ..DockerInfo::default()
        };
        let mut wanted = Wanted::default();
        read(&docker, &mut wanted).expect("whether it is granted others say");
        assert_eq!(wanted.capabilities_added, Capabilities::ALL);
        assert!(wanted.image.is_some_and(|image| !image.cached));
    }
}
