//! Flags of the agent about images.

use std::path::PathBuf;

use super::given;
use agent::ImageSettings;
use agent::images::{Collection, Credentials, Mirror, Registries, Registry};
use anyhow::Context;
use clap::Args;

/// Where images come from, and how they are used.
#[derive(Args, Clone, Debug)]
pub(crate) struct ImageFlags {
    /// Kinds of images that containers may be made of: docker, which OCI images are as well, or
    /// nothing for none
    #[arg(long, env = "AGORA_IMAGE_PROVIDERS", default_value = "docker", value_parser = image_providers)]
    image_providers: ImageProviders,
    /// Types of containers that are run: mesos, and docker for those that were meant for a Docker
    /// daemon, which are run without one
    #[arg(long, env = "AGORA_CONTAINERIZERS", default_value = "mesos,docker", value_parser = containerizers)]
    containerizers: Containerizers,
    /// When unused images are removed, as '{"image_disk_headroom": 0.1, "image_disk_watch_interval":
    /// {"nanoseconds": 3600000000000}, "excluded_images": []}', or the path of a file with that;
    /// these are the defaults
    #[arg(long, env = "AGORA_IMAGE_GC_CONFIG")]
    image_gc_config: Option<String>,
    /// How an image's layers become a container's files: overlay, the only way there is
    #[arg(long, env = "AGORA_IMAGE_PROVISIONER_BACKEND", default_value = "overlay", value_parser = ["overlay"])]
    image_provisioner_backend: String,
    /// Where images come from that name no registry: an address, or a directory of this machine with
    /// archives or OCI layouts in it, from which then all images come
    #[arg(long, env = "AGORA_DOCKER_REGISTRY", default_value = "https://registry-1.docker.io", value_parser = Registry::parse)]
    docker_registry: Registry,
    /// Addresses to ask before a registry, such as `docker.io=https://mirror.example.com`, with commas
    /// between them
    #[arg(long, env = "AGORA_DOCKER_REGISTRY_MIRRORS", value_delimiter = ',', value_parser = Mirror::parse)]
    docker_registry_mirrors: Vec<Mirror>,
    /// Registries as host:port that may be spoken to without TLS, with commas between them; those of
    /// this machine may in any case
    #[arg(long, env = "AGORA_DOCKER_INSECURE_REGISTRIES", value_delimiter = ',')]
    docker_insecure_registries: Vec<String>,
    /// Credentials for registries in the form of Docker's config.json: its path, or all of it
    #[arg(long, env = "AGORA_DOCKER_CONFIG", hide_env_values = true)]
    docker_config: Option<String>,
    /// Where images are kept; agents of one machine must not share it; by default 'store/docker' in
    /// the work directory
    #[arg(long, env = "AGORA_DOCKER_STORE_DIR")]
    docker_store_dir: Option<PathBuf>,
    /// Run images without heeding what they say of entrypoint, command, variables, user and directory
    #[arg(long, env = "AGORA_DOCKER_IGNORE_RUNTIME", num_args = 0..=1, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    docker_ignore_runtime: bool,
}

/// Whether there are images.
#[derive(Clone, Copy, Debug)]
struct ImageProviders {
    docker: bool,
}

fn image_providers(text: &str) -> Result<ImageProviders, String> {
    let mut providers = ImageProviders { docker: false };
    for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        if !name.eq_ignore_ascii_case("docker") {
            return Err(format!("there are no images of kind '{name}'; there are those of docker"));
        }
        providers.docker = true;
    }
    Ok(providers)
}

/// Which types of containers there are.
#[derive(Clone, Copy, Debug)]
struct Containerizers {
    docker: bool,
}

fn containerizers(text: &str) -> Result<Containerizers, String> {
    let names: Vec<&str> = text.split(',').map(str::trim).filter(|it| !it.is_empty()).collect();
    match names.iter().find(|name| !["mesos", "docker"].contains(name)) {
        Some(other) => {
            Err(format!("there is no containerizer '{other}'; there are mesos and docker"))
        }
        None if !names.contains(&"mesos") => {
            Err("mesos must be among them: it runs those of docker as well".to_owned())
        }
        None => Ok(Containerizers { docker: names.contains(&"docker") }),
    }
}

/// Reads credentials from a file, or from the flag itself.
fn docker_config(given: &str) -> anyhow::Result<Credentials> {
    Ok(Credentials::parse(&given::text(given)?)?)
}

impl ImageFlags {
    /// What the agent is told.
    pub(crate) fn settings(self) -> anyhow::Result<Option<ImageSettings>> {
        let credentials = self.docker_config.as_deref().map(docker_config).transpose();
        let settings = ImageSettings {
            registries: Registries {
                default: self.docker_registry,
                mirrors: self.docker_registry_mirrors,
                insecure: self.docker_insecure_registries.into_iter().collect(),
                credentials: credentials.context("--docker_config")?.unwrap_or_default(),
            },
            ignore_runtime: self.docker_ignore_runtime,
            docker_containers: self.containerizers.docker,
            collection: match &self.image_gc_config {
                None => Collection::default(),
                Some(given) => given::text(given)
                    .and_then(|text| Collection::parse(&text).map_err(anyhow::Error::msg))
                    .context("--image_gc_config")?,
            },
            store_dir: self.docker_store_dir,
        };
        Ok(self.image_providers.docker.then_some(settings))
    }
}
