//! `cargo xtask tidy`: rules of the house that no lint knows.

mod counted;
mod edges;
mod files;
mod licences;
mod protos;
mod shown;
mod texts;

use crate::command::root;
use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What breaks a rule: where, and what to do.
pub(crate) type Findings = Vec<String>;

/// Checks everything; with `update_ratchet` the sizes of large files are written down anew first.
pub(crate) fn run(update_ratchet: bool) -> anyhow::Result<()> {
    let tree = Tree::read()?;
    let mut findings = Findings::new();
    counted::check(&tree, &mut findings);
    edges::check(&mut findings)?;
    licences::check(&mut findings)?;
    files::check(&tree, update_ratchet, &mut findings)?;
    protos::check(&tree, &mut findings);
    shown::check(&tree, &mut findings);
    texts::check(&tree, &mut findings);
    if findings.is_empty() {
        println!("tidy: {} files, nothing to say", tree.files.len());
        return Ok(());
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    bail!("tidy: {} findings", findings.len())
}

/// The text files that git tracks or would track.
pub(crate) struct Tree {
    /// Paths from the root, with contents.
    pub(crate) files: Vec<(PathBuf, String)>,
}

impl Tree {
    fn read() -> anyhow::Result<Self> {
        let listed = Command::new("git")
            .args(["ls-files", "--cached", "--others", "--exclude-standard"])
            .current_dir(root())
            .output()
            .context("cannot list files: is git installed?")?;
        let names = String::from_utf8(listed.stdout).context("a file name is not UTF-8")?;
        let mut files = Vec::new();
        for name in names.lines() {
            // Files that are gone or binary hold no text to check.
            if let Ok(text) = std::fs::read_to_string(root().join(name)) {
                files.push((PathBuf::from(name), text));
            }
        }
        Ok(Self { files })
    }

    /// The files whose names end in `extension`.
    pub(crate) fn with_extension(&self, extension: &str) -> impl Iterator<Item = (&Path, &str)> {
        self.files
            .iter()
            .filter(move |(path, _)| path.extension().is_some_and(|have| have == extension))
            .map(|(path, text)| (path.as_path(), text.as_str()))
    }
}
