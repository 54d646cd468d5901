//! `agora app update`: changing some fields of an app and leaving the others as they are.

use super::app::read_json;
use super::deployment::{Change, finish};
use super::group::told;
use super::http::bare;
use super::show::print_json;
use super::{Cluster, Failure};
use crate::say::say;
use clap::Args;
use reqwest::Method;
use serde_json::{Map, Value};
use std::path::PathBuf;

/// Fields that are text, whatever the text looks like.
const TEXTS: [&str; 5] = ["cmd", "executor", "killSelection", "role", "user"];

/// What is to change of an app.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("changes").required(true).args(["file", "fields"]))]
pub(crate) struct Update {
    /// The app's id, such as /web
    id: String,
    /// The fields with their new values, as JSON or as plain text; null brings a default back
    #[arg(value_name = "KEY=VALUE")]
    fields: Vec<String>,
    /// File with the fields as JSON; - for standard input
    #[arg(long)]
    file: Option<PathBuf>,
    /// Tell what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    change: Change,
}

/// Changes an app that is there.
pub(super) async fn update(update: Update, cluster: &Cluster) -> Result<(), Failure> {
    let body = match &update.file {
        Some(file) => read_json(file)?,
        None => object(&update.fields)?,
    };
    let (id, dry_run, force) = (&update.id, update.dry_run, update.change.force);
    // Whoever misspells a field is to hear of it.
    let query = format!("force={force}&dryRun={dry_run}&strict=true&nulls=remove");
    let path = format!("/v2/apps/{}?{query}", bare(id));
    let answer = cluster.change(Method::PATCH, &path, Some(&body)).await?;
    if !dry_run {
        return finish(cluster, &answer, &update.change, &format!("{id} changed")).await;
    }
    if cluster.json {
        print_json(&answer);
        return Ok(());
    }
    for line in told(&answer) {
        say!("{line}");
    }
    Ok(())
}

/// The object that fields written as `key=value` make.
fn object(fields: &[String]) -> Result<Value, Failure> {
    let mut body = Map::new();
    for field in fields {
        let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            let message = format!("'{field}' is not KEY=VALUE, such as instances=3");
            return Err(Failure::Local(message));
        };
        if body.insert(key.to_owned(), read(key, value)).is_some() {
            return Err(Failure::Local(format!("{key} is given twice")));
        }
    }
    Ok(body.into())
}

/// A value: as JSON if it is, and else as text.
fn read(key: &str, value: &str) -> Value {
    let is_taken = |value: &Value| {
        let is_text = TEXTS.contains(&key);
        !is_text || value.is_string() || value.is_null()
    };
    let parsed = serde_json::from_str(value).ok().filter(is_taken);
    parsed.unwrap_or_else(|| value.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_json_or_text() {
        let fields = [
            "instances=3",
            "cpus=0.5",
            "cmd=true",
            "user=1000",
            "role=null",
            r#"env={"A": "b=c"}"#,
            "unreachableStrategy=disabled",
            "requirePorts=true",
        ];
        let body = object(&fields.map(str::to_owned)).expect("all are right");
        assert_eq!(
            body,
            json!({"instances": 3, "cpus": 0.5, "cmd": "true", "user": "1000", "role": null,
                   "env": {"A": "b=c"}, "unreachableStrategy": "disabled", "requirePorts": true})
        );
        assert_eq!(read("cmd", r#""null""#), json!("null"));
        for wrong in [&["instances"][..], &["=3"], &["cpus=1", "cpus=2"]] {
            let fields: Vec<_> = wrong.iter().map(|it| (*it).to_owned()).collect();
            assert!(object(&fields).is_err(), "{wrong:?}");
        }
    }
}
