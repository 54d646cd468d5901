//! Executes a plug-in: its orders in the environment, the configuration on its standard input, the
//! result or an error on its standard output.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;
use serde_json::Value;

/// How long a plug-in may take. They ask address servers and change firewalls; a launch that waits
/// longer than this has something wrong with it.
const WITHIN: Duration = Duration::from_secs(60);

/// How long to wait between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// Bytes that are read of what a plug-in prints.
const OUTPUT_BYTES_MAX: u64 = 1 << 20;

/// Bytes shown of what one prints that fails without an error in the known form.
const SHOWN_BYTES_MAX: usize = 512;

/// Where plug-ins find the tools they call.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What is to be done to a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    /// Join it to the network.
    Add,
    /// Undo that. To be done as often as one likes.
    Del,
}

/// What one plug-in is told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Order<'a> {
    pub(super) verb: Verb,
    pub(super) container: &'a str,
    /// The file that holds its network namespace.
    pub(super) namespace: &'a Path,
    /// The name of the interface in it.
    pub(super) interface: &'a str,
    /// Where plug-ins are.
    pub(super) dirs: &'a [PathBuf],
}

/// The error that plug-ins print.
#[derive(Deserialize)]
struct Told {
    msg: String,
    #[serde(default)]
    details: String,
}

/// Executes the plug-in `kind` with `config`; gives what it printed.
pub(super) fn execute(order: Order<'_>, kind: &str, config: &Value) -> Result<Value, String> {
    let path = find(order.dirs, kind)?;
    let failed = |error: std::io::Error| format!("cannot execute {}: {error}", path.display());
    let mut child = Command::new(&path)
        .env_clear()
        .env("PATH", PATH)
        .env("CNI_COMMAND", if order.verb == Verb::Add { "ADD" } else { "DEL" })
        .env("CNI_CONTAINERID", order.container)
        .env("CNI_NETNS", order.namespace)
        .env("CNI_IFNAME", order.interface)
        .env("CNI_PATH", std::env::join_paths(order.dirs).map_err(|error| error.to_string())?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .current_dir("/")
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let output = reader(child.stdout.take());
    let errors = reader(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        // One that does not read it says why by its end.
        let _ = stdin.write_all(config.to_string().as_bytes());
    }
    let success = wait(&mut child)?;
    let output = output.join().unwrap_or_default();
    let errors = errors.join().unwrap_or_default();
    if !success {
        return Err(reason(&output, &errors));
    }
    if output.trim().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&output).map_err(|error| format!("its result is no JSON: {error}"))
}

/// Where the plug-in `kind` is.
pub(super) fn find(dirs: &[PathBuf], kind: &str) -> Result<PathBuf, String> {
    let found = dirs.iter().map(|dir| dir.join(kind)).find(|path| path.is_file());
    found.ok_or_else(|| {
        let dirs: Vec<_> = dirs.iter().map(|dir| dir.display().to_string()).collect();
        format!("it is not in --network_cni_plugins_dir={}", dirs.join(":"))
    })
}

/// Reads in a thread of its own, so that no plug-in waits for a full pipe.
fn reader(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(from) = from {
            // What cannot be read counts as not printed.
            let _ = from.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for its end, and brings that about when it takes too long.
fn wait(child: &mut Child) -> Result<bool, String> {
    let until = Instant::now() + WITHIN;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status.success()),
            Ok(None) if Instant::now() < until => std::thread::sleep(PAUSE),
            Ok(None) => {
                let _ = killpg(Pid::from_raw(child.id().cast_signed()), Signal::SIGKILL);
                let _ = child.wait();
                return Err(format!("it did not end within {} seconds", WITHIN.as_secs()));
            }
            Err(error) => return Err(format!("cannot wait for it: {error}")),
        }
    }
}

fn reason(output: &str, errors: &str) -> String {
    if let Ok(Told { msg, details }) = serde_json::from_str(output) {
        return if details.is_empty() { msg } else { format!("{msg}; {details}") };
    }
    let text = [output.trim(), errors.trim()].join(" ");
    let shown: String = text.trim().chars().take(SHOWN_BYTES_MAX).collect();
    if shown.is_empty() { "it failed and did not say why".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn played(script: &str) -> Result<Value, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plugin");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let order = Order {
            verb: Verb::Add,
            container: "c1",
            namespace: Path::new("/run/ns"),
            interface: "eth0",
            dirs: &[dir.path().to_owned()],
        };
        execute(order, "plugin", &serde_json::json!({"name": "n"}))
    }

    #[test]
    fn a_plugin_has_its_orders_and_its_answer_counts() {
        let told = played(
            r#"read config; echo "{\"all\": \"$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME\", \"config\": $config}""#,
        );
        let told = told.expect("it succeeds");
        assert_eq!(told["all"], "ADD c1 /run/ns eth0");
        assert_eq!(told["config"]["name"], "n");
        assert_eq!(played("exit 0"), Ok(Value::Null));
        let error = played(r#"echo '{"code": 7, "msg": "bad", "details": "worse"}'; exit 1"#);
        assert_eq!(error, Err("bad; worse".to_owned()));
        assert_eq!(played("echo oh no >&2; exit 3"), Err("oh no".to_owned()));
        assert_eq!(played("exit 3"), Err("it failed and did not say why".to_owned()));
        assert!(played("echo x").expect_err("no JSON").starts_with("its result is no JSON"));
    }
}
