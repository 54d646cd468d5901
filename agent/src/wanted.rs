//! What a container is asked to be like, read from its description.

mod docker;
pub(crate) mod networks;

use std::path::PathBuf;

use proto::mesos::v1::linux_info::IpcMode;
use proto::mesos::v1::r_limit_info::r_limit::Type as Limited;
use proto::mesos::v1::volume::Mode;
use proto::mesos::v1::volume::source::{Type as SourceType, sandbox_path};
use proto::mesos::v1::{
    ContainerInfo, Image, LinuxInfo, RLimitInfo, Secret, Volume as WireVolume, container_info,
};

use crate::containerizer::{Seccomp, Wanted, WantedImageVolume};
use crate::images::{Credentials, Overrides, WantedImage, Way};
use crate::launcher::{Capabilities, Rlimit, UnknownCapability, Volume, VolumeSource};

/// Reads a container's description. An error says what in it this agent does not know.
pub(crate) fn read(container: Option<&ContainerInfo>) -> Result<Wanted, String> {
    let Some(container) = container else { return Ok(Wanted::default()) };
    let mut wanted = Wanted {
        networks: networks::read(container)?,
        image: container.mesos.as_ref().and_then(|it| it.image.as_ref()).map(image).transpose()?,
        hostname: container.hostname.clone(),
        ..Wanted::default()
    };
    if let Some(linux) = &container.linux_info {
        linux_info(linux, &mut wanted).map_err(|error| error.to_string())?;
    }
    if let Some(limits) = &container.rlimit_info {
        wanted.rlimits = rlimits(limits)?;
    }
    // Secrets are read elsewhere.
    let is_secret = |volume: &&WireVolume| {
        volume.source.as_ref().is_some_and(|source| source.r#type() == SourceType::Secret)
    };
    for it in container.volumes.iter().filter(|volume| !is_secret(volume)) {
        match &it.image {
            Some(image) => wanted.image_volumes.push(image_volume(it, image)?),
            None => wanted.volumes.push(volume(it)?),
        }
    }
    // Some frameworks describe both ways and say by the type which one is meant.
    let is_docker = container.r#type() == container_info::Type::Docker;
    if let Some(docker) = container.docker.as_ref().filter(|_| is_docker) {
        docker::read(docker, &mut wanted)?;
    }
    Ok(wanted)
}

/// An image that a container is to be made of, or to see.
fn image(image: &Image) -> Result<WantedImage, String> {
    let Some(docker) = &image.docker else {
        return Err(
            "images of type APPC are not run on this agent; use one of type DOCKER, which \
                    is what OCI images are as well"
                .to_owned(),
        );
    };
    let credentials = docker.config.as_ref().map_or(Ok(Credentials::default()), credentials)?;
    Ok(WantedImage {
        reference: docker.name.clone(),
        cached: image.cached(),
        way: Way::Mesos,
        credentials,
        overrides: Overrides::default(),
    })
}

fn image_volume(volume: &WireVolume, of: &Image) -> Result<WantedImageVolume, String> {
    let failed = |why| format!("volume '{}': {why}", volume.container_path);
    Ok(WantedImageVolume {
        image: image(of).map_err(failed)?,
        container_path: PathBuf::from(&volume.container_path),
        read_only: volume.mode() == Mode::Ro,
    })
}

/// Reads what an image's registry is to be shown. An error does not tell it.
fn credentials(config: &Secret) -> Result<Credentials, String> {
    let Some(value) = &config.value else {
        return Err("the image's 'config' is a reference to a secret, which this agent cannot \
                    resolve; give its value"
            .to_owned());
    };
    let wrong = |error: String| format!("the image's 'config' cannot be read: {error}");
    let text = str::from_utf8(&value.data).map_err(|error| wrong(error.to_string()))?;
    Credentials::parse(text).map_err(|error| wrong(error.to_string()))
}

fn volume(volume: &WireVolume) -> Result<Volume, String> {
    let source = volume_source(volume).ok_or_else(|| {
        format!(
            "volume '{}' is of a kind that this agent has not; it has host paths, paths in \
             sandboxes, images and secrets",
            volume.container_path
        )
    })?;
    Ok(Volume {
        source,
        container_path: PathBuf::from(&volume.container_path),
        read_only: volume.mode() == Mode::Ro,
    })
}

fn volume_source(volume: &WireVolume) -> Option<VolumeSource> {
    // In the older way a relative path of the host is one in the sandbox.
    let host = |path: &str| {
        let path = PathBuf::from(path);
        if path.is_absolute() { VolumeSource::Host(path) } else { VolumeSource::Sandbox(path) }
    };
    if let Some(path) = &volume.host_path {
        return Some(host(path));
    }
    let source = volume.source.as_ref()?;
    match source.r#type() {
        SourceType::HostPath => source.host_path.as_ref().map(|it| host(&it.path)),
        SourceType::SandboxPath => {
            let path = source.sandbox_path.as_ref()?;
            match path.r#type() {
                sandbox_path::Type::Self_ => Some(VolumeSource::Sandbox(path.path.clone().into())),
                sandbox_path::Type::Parent => Some(VolumeSource::Around(path.path.clone().into())),
                sandbox_path::Type::Unknown => None,
            }
        }
        SourceType::Unknown
        | SourceType::DockerVolume
        | SourceType::Secret
        | SourceType::CsiVolume => None,
    }
}

fn linux_info(linux: &LinuxInfo, wanted: &mut Wanted) -> Result<(), UnknownCapability> {
    // Frameworks still say it in the older way.
    let effective = linux.effective_capabilities.as_ref().or(linux.capability_info.as_ref());
    let set = |info: Option<&proto::mesos::v1::CapabilityInfo>| {
        info.map(|info| Capabilities::of_wire(&info.capabilities)).transpose()
    };
    wanted.capabilities_effective = set(effective)?;
    wanted.capabilities_bounding = set(linux.bounding_capabilities.as_ref())?;
    if let Some(seccomp) = &linux.seccomp {
        wanted.seccomp = match &seccomp.profile_name {
            _ if seccomp.unconfined == Some(true) => Seccomp::Unconfined,
            Some(name) => Seccomp::Profile(name.clone()),
            None => Seccomp::Default,
        };
    }
    wanted.shares_ipc = linux.ipc_mode() == IpcMode::ShareParent;
    wanted.shares_pids = linux.share_pid_namespace();
    wanted.has_own_ipc = linux.ipc_mode() == IpcMode::Private;
    wanted.has_own_limits = !linux.share_cgroups();
    // The size is in mebibytes.
    wanted.shm_bytes = linux.shm_size.map(|size| u64::from(size) << 20);
    Ok(())
}

fn rlimits(info: &RLimitInfo) -> Result<Vec<Rlimit>, String> {
    let read = |limit: &proto::mesos::v1::r_limit_info::RLimit| {
        let kind = limit.r#type();
        let name = kind.as_str_name().to_owned();
        let Some(resource) = number(kind) else {
            return Err("a resource limit is of no known type".to_owned());
        };
        if limit.soft.is_some() != limit.hard.is_some() {
            return Err(format!("{name} has one of its soft and hard limit; give both or none"));
        }
        Ok(Rlimit { resource, name, soft: limit.soft, hard: limit.hard })
    };
    info.rlimits.iter().map(read).collect()
}

/// The kernel's number of a limit.
fn number(limited: Limited) -> Option<u32> {
    Some(match limited {
        Limited::Unknown => return None,
        Limited::RlmtAs => libc::RLIMIT_AS,
        Limited::RlmtCore => libc::RLIMIT_CORE,
        Limited::RlmtCpu => libc::RLIMIT_CPU,
        Limited::RlmtData => libc::RLIMIT_DATA,
        Limited::RlmtFsize => libc::RLIMIT_FSIZE,
        Limited::RlmtLocks => libc::RLIMIT_LOCKS,
        Limited::RlmtMemlock => libc::RLIMIT_MEMLOCK,
        Limited::RlmtMsgqueue => libc::RLIMIT_MSGQUEUE,
        Limited::RlmtNice => libc::RLIMIT_NICE,
        Limited::RlmtNofile => libc::RLIMIT_NOFILE,
        Limited::RlmtNproc => libc::RLIMIT_NPROC,
        Limited::RlmtRss => libc::RLIMIT_RSS,
        Limited::RlmtRtprio => libc::RLIMIT_RTPRIO,
        Limited::RlmtRttime => libc::RLIMIT_RTTIME,
        Limited::RlmtSigpending => libc::RLIMIT_SIGPENDING,
        Limited::RlmtStack => libc::RLIMIT_STACK,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::mesos::v1::r_limit_info::RLimit;
    use proto::mesos::v1::{CapabilityInfo, SeccompInfo, image};

    #[test]
    fn an_image_is_read_and_other_kinds_are_refused() {
        let docker_of =
            |name: &str| Some(image::Docker { name: name.to_owned(), ..Default::default() });
        let of = |image| {
            let mesos = Some(container_info::MesosInfo { image: Some(image) });
            read(Some(&ContainerInfo { mesos, ..ContainerInfo::default() }))
        };
        let docker =
            Image { docker: docker_of("nginx:2"), cached: Some(false), ..Image::default() };
        let wanted = of(docker.clone()).expect("it is an image").image.expect("it is wanted");
        assert_eq!((wanted.reference.as_str(), wanted.cached), ("nginx:2", false));
        let usual = of(Image { cached: None, ..docker }).expect("it is an image").image;
        assert!(usual.is_some_and(|image| image.cached));
        let mut volume = WireVolume { container_path: "pages".to_owned(), ..WireVolume::default() };
        volume.set_mode(Mode::Ro);
        volume.image = Some(Image { docker: docker_of("pages:1"), ..Image::default() });
        let info = ContainerInfo { volumes: vec![volume], ..ContainerInfo::default() };
        let volumes = read(Some(&info)).expect("it is an image").image_volumes;
        assert_eq!((volumes[0].image.reference.as_str(), volumes[0].read_only), ("pages:1", true));
        let appc = Image { appc: Some(image::Appc::default()), ..Image::default() };
        let error = of(appc).expect_err("there are none");
        assert!(error.starts_with("images of type APPC are not run"), "{error}");
    }

    #[test]
    fn a_description_is_read_and_what_is_unknown_is_named() {
        let effective = CapabilityInfo { capabilities: vec![1_013] };
        let linux = LinuxInfo {
            effective_capabilities: Some(effective),
            seccomp: Some(SeccompInfo { unconfined: Some(true), ..SeccompInfo::default() }),
            shm_size: Some(8),
            ..LinuxInfo::default()
        };
        let files =
            RLimit { r#type: Some(Limited::RlmtNofile.into()), soft: Some(5), hard: Some(9) };
        let mut info = ContainerInfo {
            linux_info: Some(linux),
            rlimit_info: Some(RLimitInfo { rlimits: vec![files] }),
            ..ContainerInfo::default()
        };
        let wanted = read(Some(&info)).expect("all is known");
        assert_eq!(wanted.capabilities_effective, Capabilities::parse("NET_RAW").ok());
        assert_eq!(wanted.capabilities_bounding, None);
        assert_eq!(wanted.seccomp, Seccomp::Unconfined);
        assert_eq!(wanted.shm_bytes, Some(8 << 20));
        let limit = &wanted.rlimits[0];
        assert_eq!(
            (limit.resource, limit.soft, limit.hard),
            (libc::RLIMIT_NOFILE, Some(5), Some(9))
        );

        let mut wire = WireVolume { container_path: "data".to_owned(), ..WireVolume::default() };
        wire.mode = Mode::Ro.into();
        wire.host_path = Some("/srv".to_owned());
        info.volumes = vec![wire.clone()];
        let wanted = read(Some(&info)).expect("a path of the host");
        assert_eq!(wanted.volumes[0].source, VolumeSource::Host("/srv".into()));
        assert!(wanted.volumes[0].read_only);
        wire.host_path = None;
        info.volumes = vec![wire];
        let error = read(Some(&info)).expect_err("it has no source");
        assert!(error.starts_with("volume 'data' is of a kind that this agent has not"), "{error}");
        info.volumes.clear();

        info.rlimit_info.as_mut().expect("it is set").rlimits[0].hard = None;
        let error = read(Some(&info)).expect_err("half a limit");
        assert_eq!(error, "RLMT_NOFILE has one of its soft and hard limit; give both or none");
    }
}
