//! Secrets that tasks are given: the values themselves, or the names of files in a directory that
//! the operator keeps.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use proto::mesos::v1::environment::variable;
use proto::mesos::v1::secret::Type;
use proto::mesos::v1::volume::{Mode, source};
use proto::mesos::v1::{CommandInfo, ContainerInfo, Secret, TaskInfo};
use rustix::fs::{CWD, Mode as FileMode, OFlags, ResolveFlags};

/// The largest secret. Keys and certificates take a few thousand bytes.
const BYTES_MAX: usize = 1 << 20;

/// A value that is not shown.
#[derive(Clone, Eq, PartialEq)]
pub struct Hidden(pub Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

/// A secret that a container sees as a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SecretVolume {
    /// Where. A relative path is one in the sandbox; an absolute one must be there.
    pub container_path: PathBuf,
    /// Whether nobody in the container can write to it.
    pub read_only: bool,
    /// What is in it.
    pub data: Hidden,
}

/// Finds out what secrets are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Secrets {
    /// Holds a file for each secret that is named rather than given. Absent: none can be named.
    pub(crate) dir: Option<PathBuf>,
}

impl Secrets {
    /// The value of a secret. An error says why there is none, and never what one is.
    fn value(&self, secret: Option<&Secret>) -> Result<Vec<u8>, String> {
        let secret = secret.ok_or("there is no secret in it")?;
        let data = match secret.r#type() {
            Type::Value => {
                let value = secret.value.as_ref().ok_or("its secret has no value")?;
                value.data.to_vec()
            }
            Type::Reference => {
                let reference = secret.reference.as_ref().ok_or("its secret names nothing")?;
                self.named(&reference.name, reference.key.as_deref())?
            }
            Type::Unknown => return Err("its secret is of no known type".to_owned()),
        };
        if data.len() > BYTES_MAX {
            return Err(format!("its secret is larger than {BYTES_MAX} bytes"));
        }
        Ok(data)
    }

    fn named(&self, name: &str, key: Option<&str>) -> Result<Vec<u8>, String> {
        let Some(dir) = &self.dir else {
            return Err(format!(
                "it refers to the secret '{name}', and this agent knows of none: give them to it in \
                 --secret_resolver, or put the value into the task"
            ));
        };
        let path = key.map_or_else(|| PathBuf::from(name), |key| Path::new(name).join(key));
        let read = || -> std::io::Result<Vec<u8>> {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let dir = rustix::fs::openat(CWD, dir, flags, FileMode::empty())?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let rules = ResolveFlags::BENEATH;
            let file = rustix::fs::openat2(&dir, &path, flags, FileMode::empty(), rules)?;
            let mut data = Vec::new();
            File::from(file).take(BYTES_MAX as u64 + 1).read_to_end(&mut data)?;
            Ok(data)
        };
        read().map_err(|error| {
            format!("the secret '{}' is not in --secret_resolver: {error}", path.display())
        })
    }

    /// The secrets that a container is to see as files.
    pub(crate) fn volumes(&self, container: &ContainerInfo) -> Result<Vec<SecretVolume>, String> {
        let mut volumes = Vec::new();
        for volume in &container.volumes {
            let Some(source) = &volume.source else { continue };
            if source.r#type() != source::Type::Secret {
                continue;
            }
            let data = self
                .value(source.secret.as_ref())
                .map_err(|why| format!("volume '{}': {why}", volume.container_path))?;
            volumes.push(SecretVolume {
                container_path: PathBuf::from(&volume.container_path),
                read_only: volume.mode() == Mode::Ro,
                data: Hidden(data),
            });
        }
        Ok(volumes)
    }

    /// Puts values in the place of secrets in a command's environment.
    pub(crate) fn reveal(&self, command: &mut CommandInfo) -> Result<(), String> {
        let Some(environment) = &mut command.environment else { return Ok(()) };
        for variable in &mut environment.variables {
            if variable.r#type() != variable::Type::Secret {
                continue;
            }
            let named = |why: String| format!("environment variable '{}': {why}", variable.name);
            let data = self.value(variable.secret.as_ref()).map_err(named)?;
            let text = String::from_utf8(data).ok().filter(|text| !text.contains('\0'));
            let unfit = || named("its secret is no text, which variables are".to_owned());
            let text = text.ok_or_else(unfit)?;
            variable.value = Some(text);
            variable.secret = None;
            variable.r#type = Some(variable::Type::Value.into());
        }
        Ok(())
    }

    /// As [`Secrets::reveal`], in all that a task executes.
    pub(crate) fn reveal_in_task(&self, task: &mut TaskInfo) -> Result<(), String> {
        let health = task.health_check.as_mut().into_iter().flat_map(|check| {
            let more = check.additional_checks.iter_mut().filter_map(|it| it.command.as_mut());
            check.command.as_mut().into_iter().chain(more)
        });
        let check = task.check.as_mut().and_then(|check| check.command.as_mut());
        let check = check.map(|check| &mut check.command);
        let mut commands = task.command.as_mut().into_iter().chain(health).chain(check);
        commands.try_for_each(|command| self.reveal(command))
    }
}

#[cfg(test)]
mod tests {
    use proto::mesos::v1::environment::Variable;
    use proto::mesos::v1::secret::{Reference, Value};
    use proto::mesos::v1::{Environment, Volume};

    use super::*;

    fn given(data: &[u8]) -> Secret {
        let value = Value { data: data.to_vec().into() };
        Secret { r#type: Some(Type::Value.into()), value: Some(value), ..Secret::default() }
    }

    fn named(name: &str, key: Option<&str>) -> Secret {
        let reference = Reference { name: name.to_owned(), key: key.map(str::to_owned) };
        Secret {
            r#type: Some(Type::Reference.into()),
            reference: Some(reference),
            ..Secret::default()
        }
    }

    fn revealed(secrets: &Secrets, secret: Secret) -> Result<Variable, String> {
        let variable = Variable {
            name: "KEY".to_owned(),
            r#type: Some(variable::Type::Secret.into()),
            secret: Some(secret),
            ..Variable::default()
        };
        let environment = Some(Environment { variables: vec![variable] });
        let mut command = CommandInfo { environment, ..CommandInfo::default() };
        secrets.reveal(&mut command)?;
        Ok(command.environment.expect("it is there").variables.remove(0))
    }

    #[test]
    fn a_variable_has_the_value_of_its_secret() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("db")).expect("a directory");
        std::fs::write(dir.path().join("db/password"), "blue").expect("a file");
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("out")).expect("a link");
        let secrets = Secrets { dir: Some(dir.path().to_owned()) };
        let variable = revealed(&secrets, given(b"green")).expect("it is given");
        assert_eq!((variable.value(), variable.secret.is_none()), ("green", true));
        let variable = revealed(&secrets, named("db", Some("password"))).expect("it is there");
        assert_eq!(variable.value(), "blue");
        for name in ["none", "../etc/passwd", "/etc/passwd", "out", "db"] {
            let error = revealed(&secrets, named(name, None)).expect_err(name);
            let start = format!(
                "environment variable 'KEY': the secret '{name}' is not in --secret_resolver: "
            );
            assert!(error.starts_with(&start), "{error}");
        }
        let error = revealed(&Secrets::default(), named("db", None)).expect_err("none is known");
        assert!(error.contains("it refers to the secret 'db', and this agent knows of none"));
        let error = revealed(&secrets, given(&[0xff])).expect_err("no text");
        assert!(error.ends_with("its secret is no text, which variables are"), "{error}");
    }

    #[test]
    fn volumes_of_secrets_are_read_and_never_shown() {
        let source = proto::mesos::v1::volume::Source {
            r#type: Some(source::Type::Secret.into()),
            secret: Some(given(b"green")),
            ..Default::default()
        };
        let volume = Volume {
            container_path: "key".to_owned(),
            mode: Mode::Ro.into(),
            source: Some(source),
            ..Volume::default()
        };
        let container =
            ContainerInfo { volumes: vec![volume, Volume::default()], ..ContainerInfo::default() };
        let volumes = Secrets::default().volumes(&container).expect("it is given");
        assert_eq!((volumes.len(), &volumes[0].data), (1, &Hidden(b"green".to_vec())));
        assert!(!format!("{volumes:?}").contains("green") && volumes[0].read_only);
    }
}
