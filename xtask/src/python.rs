//! The Python with third-party clients that the end-to-end tests drive.

use crate::command::{run, target};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What the tests import. Versions are pinned: the tests say how these behave.
const PACKAGES: [&str; 2] = ["pymesos==0.3.15", "marathon==0.13.0"];

/// Makes sure that `<target>/test-python` can import the clients, and returns its interpreter.
///
/// `pymesos` needs a compiled HTTP parser that builds on no current Python, so Debian's
/// `python3-http-parser` must be there and the environment sees the system's packages.
pub(crate) fn prepare() -> anyhow::Result<PathBuf> {
    let home = target().join("test-python");
    let python = home.join("bin/python");
    if works(&python) {
        return Ok(python);
    }
    let mut venv = Command::new("/usr/bin/python3");
    venv.args(["-m", "venv", "--clear", "--system-site-packages"]).arg(&home);
    run(venv)?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES);
    run(pip)?;
    anyhow::ensure!(
        works(&python),
        "{} cannot import pymesos and marathon; install Debian's python3-http-parser",
        python.display()
    );
    Ok(python)
}

fn works(python: &PathBuf) -> bool {
    Command::new(python)
        .args(["-c", "import pymesos, marathon"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
