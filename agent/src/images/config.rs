//! What an image says of how it is to be run, and what comes of it together with what a task says.

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::Reason;
use super::digest;

/// How an image is to be run.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RunConfig {
    /// What is executed, and its first arguments.
    pub entrypoint: Vec<String>,
    /// Arguments, or what is executed where there is no entrypoint.
    pub cmd: Vec<String>,
    /// Variables.
    pub env: Vec<(String, String)>,
    /// Where it starts. Absent: it does not say.
    pub workdir: Option<String>,
    /// Whom it runs as, `user`, `uid`, with `:group` or `:gid` behind it. Absent: it does not say.
    pub user: Option<String>,
}

/// Which of two ways of putting a command together with an image's is meant.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum Way {
    /// Of containers of type MESOS: a value replaces all that the image says.
    #[default]
    Mesos,
    /// Of containers of type DOCKER: what is given are arguments of the image's entrypoint.
    Docker,
}

/// What a task's command is put together with.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Start {
    /// As the image has it.
    pub entrypoint: Vec<String>,
    /// As the image has it.
    pub cmd: Vec<String>,
    /// How they are put together.
    pub way: Way,
    /// Variables of the image. A command's own count before them.
    pub env: Vec<(String, String)>,
}

/// A task's command, as it was given.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// Whether the value is a line for the shell.
    pub shell: bool,
    /// The line or program. Empty: none.
    pub value: &'a str,
    /// Arguments; where there is a value of a MESOS container its own name first.
    pub arguments: &'a [String],
}

impl Start {
    /// The variable by which the built-in executor is told. Its own environment is not the image's:
    /// that may have its loader bring libraries which are not there.
    pub const VARIABLE: &str = "AGORA_IMAGE";

    /// What `text`, the value of that variable, says.
    pub fn from_variable(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The value of that variable.
    pub fn to_variable(&self) -> String {
        serde_json::to_string(self).expect("it is plain strings")
    }

    /// The argument vector to execute, the program first as it is to be found: what
    /// `docker/runtime` of Mesos does, and what `docker run` does.
    pub fn command_line(&self, given: Given<'_>) -> Result<(String, Vec<String>), String> {
        let Given { shell, value, arguments } = given;
        if shell {
            if value.is_empty() {
                return Err("The command is for the shell and has no value".to_owned());
            }
            let line = ["sh", "-c", value].map(str::to_owned).to_vec();
            return Ok(("/bin/sh".to_owned(), line));
        }
        let all = match self.way {
            Way::Mesos if !value.is_empty() => {
                let named = || vec![value.to_owned()];
                let all = if arguments.is_empty() { named() } else { arguments.to_vec() };
                return Ok((value.to_owned(), all));
            }
            // Arguments of nothing.
            Way::Mesos if self.entrypoint.is_empty() && self.cmd.is_empty() => Vec::new(),
            Way::Mesos => self.joined(arguments.to_vec(), self.cmd.get(..1).unwrap_or_default()),
            Way::Docker => {
                let value = Some(value.to_owned()).filter(|value| !value.is_empty());
                let all: Vec<String> = value.into_iter().chain(arguments.to_vec()).collect();
                self.joined(all, &[])
            }
        };
        match all.first() {
            Some(program) => Ok((program.clone(), all)),
            None => Err("Neither the command nor the image says what to execute".to_owned()),
        }
    }

    /// The entrypoint with arguments, those of the image where none are given. Without an entrypoint
    /// `program` goes before what is given.
    fn joined(&self, arguments: Vec<String>, program: &[String]) -> Vec<String> {
        let head = if self.entrypoint.is_empty() && !arguments.is_empty() {
            program
        } else {
            &self.entrypoint
        };
        let rest = if arguments.is_empty() { self.cmd.clone() } else { arguments };
        head.iter().cloned().chain(rest).collect()
    }
}

/// Reads an image's configuration: how to run it, and its layers' digests, the lowest first.
pub(super) fn read(bytes: &[u8]) -> Result<(RunConfig, Vec<String>), Reason> {
    let config = ImageConfiguration::from_reader(bytes)
        .map_err(|error| Reason::Manifest(format!("its configuration cannot be read: {error}")))?;
    let mut layers = Vec::new();
    for layer in config.rootfs().diff_ids() {
        digest::parse(layer)?;
        layers.push(layer.clone());
    }
    let Some(config) = config.config() else { return Ok((RunConfig::default(), layers)) };
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let variables = config.env().iter().flatten().filter_map(|each| each.split_once('='));
    let run = RunConfig {
        entrypoint: config.entrypoint().clone().unwrap_or_default(),
        cmd: config.cmd().clone().unwrap_or_default(),
        env: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        workdir: some(config.working_dir()),
        user: some(config.user()),
    };
    Ok((run, layers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// All cases of a table: whether for the shell, value, arguments; then what comes of it without
    /// anything in the image, with a cmd, with an entrypoint, with both.
    fn assert_table(way: Way, table: &[(bool, &str, &str, [&str; 4])]) {
        for (shell, value, arguments, expected) in table {
            let images = [("", ""), ("", "cmd c1"), ("entry e1", ""), ("entry e1", "cmd c1")];
            for ((entrypoint, cmd), expected) in images.into_iter().zip(expected) {
                let start = Start {
                    entrypoint: words(entrypoint),
                    cmd: words(cmd),
                    way,
                    ..Start::default()
                };
                let arguments = words(arguments);
                let given = Given { shell: *shell, value, arguments: &arguments };
                let line = start.command_line(given).map(|(program, all)| {
                    assert!(!all.is_empty());
                    format!("{program}: {}", all.join(" "))
                });
                let line = line.unwrap_or_else(|_| "error".to_owned());
                assert_eq!(line, **expected, "{way:?} {given:?} on '{entrypoint}' '{cmd}'");
            }
        }
    }

    #[test]
    fn a_mesos_container_runs_what_the_table_of_docker_runtime_says() {
        let shell = "/bin/sh: sh -c line";
        assert_table(
            Way::Mesos,
            &[
                (
                    false,
                    "",
                    "",
                    ["error", "cmd: cmd c1", "entry: entry e1", "entry: entry e1 cmd c1"],
                ),
                (
                    false,
                    "",
                    "a b",
                    ["error", "cmd: cmd a b", "entry: entry e1 a b", "entry: entry e1 a b"],
                ),
                (false, "value", "", ["value: value"; 4]),
                (false, "value", "zero b", ["value: zero b"; 4]),
                (true, "", "", ["error"; 4]),
                (true, "line", "", [shell; 4]),
            ],
        );
    }

    #[test]
    fn a_docker_container_runs_what_docker_run_would() {
        let shell = "/bin/sh: sh -c line";
        assert_table(
            Way::Docker,
            &[
                (
                    false,
                    "",
                    "",
                    ["error", "cmd: cmd c1", "entry: entry e1", "entry: entry e1 cmd c1"],
                ),
                (
                    false,
                    "",
                    "a b",
                    ["a: a b", "a: a b", "entry: entry e1 a b", "entry: entry e1 a b"],
                ),
                (
                    false,
                    "value",
                    "b",
                    [
                        "value: value b",
                        "value: value b",
                        "entry: entry e1 value b",
                        "entry: entry e1 value b",
                    ],
                ),
                (true, "", "", ["error"; 4]),
                (true, "line", "", [shell; 4]),
            ],
        );
    }

    #[test]
    fn what_docker_writes_is_read_with_its_nulls() {
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","rootfs":{{"type":"layers","diff_ids":["sha256:{}"]}},
               "config":{{"Env":["PATH=/bin","EMPTY=","ODD"],"Cmd":["sh"],"Entrypoint":null,
               "ExposedPorts":{{"80/tcp":{{}}}},"Volumes":null,"WorkingDir":"","User":"1000:1000",
               "OnBuild":null,"Healthcheck":{{"Test":["NONE"]}}}}}}"#,
            "0".repeat(64)
        );
        let (run, layers) = read(text.as_bytes()).expect("it is what docker build makes");
        assert_eq!(layers.len(), 1);
        let variables = [("PATH", "/bin"), ("EMPTY", "")];
        assert_eq!(run.env, variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((run.cmd, run.entrypoint, run.workdir), (words("sh"), Vec::new(), None));
        assert_eq!(run.user.as_deref(), Some("1000:1000"));
        assert!(read(b"{}").is_err());
    }
}
