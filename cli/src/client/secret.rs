//! `agora secret`: values that Marathon keeps for apps and pods, and tells nobody.

use super::show::{items, print, print_json, table, text};
use super::{Cluster, Failure};
use crate::say::say;
use clap::Subcommand;
use reqwest::Method;
use std::io::Read;
use std::path::{Path, PathBuf};

/// What can be done with secrets.
#[derive(Subcommand, Debug)]
pub(crate) enum SecretCommand {
    /// Keep a secret; its value comes from a file or from standard input, never from the command line
    ///
    /// Example: printf %s \"$PASSWORD\" | agora secret put shop/db-password -
    Put {
        /// Where it is kept, such as shop/db-password: the 'source' that apps name
        path: String,
        /// File with the value, all of it; - for standard input
        file: PathBuf,
    },
    /// List where secrets are kept
    List,
    /// Forget a secret
    Delete {
        /// Where it is kept
        path: String,
        /// Even if apps or pods use it: they cannot be launched any more
        #[arg(long)]
        force: bool,
    },
}

/// Carries out `command`.
pub(crate) async fn run(command: SecretCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        SecretCommand::Put { path, file } => {
            let path = path.trim_matches('/');
            cluster.put_bytes(&format!("/agora/v1/secrets/{path}"), read(&file)?).await?;
            say!("{path} is kept; tasks that run keep the value they were launched with");
            Ok(())
        }
        SecretCommand::List => list(cluster).await,
        SecretCommand::Delete { path, force } => {
            let path = path.trim_matches('/');
            let url = format!("/agora/v1/secrets/{path}?force={force}");
            cluster.change(Method::DELETE, &url, None).await?;
            say!("{path} is forgotten");
            Ok(())
        }
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let mut value = Vec::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut value).map(|_| ())
    } else {
        std::fs::read(file).map(|read| value = read)
    };
    let shown = file.display();
    read.map_err(|error| Failure::Local(format!("cannot read {shown}: {error}")))?;
    Ok(value)
}

async fn list(cluster: &Cluster) -> Result<(), Failure> {
    let answer = cluster.marathon("/agora/v1/secrets").await?;
    if cluster.json {
        print_json(&answer["secrets"]);
        return Ok(());
    }
    let mut table = table(["PATH"]);
    for path in items(&answer, "/secrets") {
        table.add_row([text(path, "")]);
    }
    print(&table);
    Ok(())
}
