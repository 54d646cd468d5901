//! `agora app`: long-running apps, through Marathon.

use super::deployment::{Change, finish, last_failure};
use super::http::bare;
use super::show::{amount, items, number, print, print_json, table, text};
use super::update::Update;
use super::version::{self, Rollback};
use super::{Cluster, Failure};
use crate::say::say;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Read;
use std::path::{Path, PathBuf};

/// What can be done with apps.
#[derive(Subcommand, Debug)]
pub(crate) enum AppCommand {
    /// Create an app from its JSON definition, or from --cmd
    ///
    /// Example: agora app create --id /web --cmd 'python3 -m http.server $PORT0' --instances 3
    Create(Create),
    /// List all apps
    List,
    /// Show one app with its tasks
    Show {
        /// The app's id, such as /web
        id: String,
    },
    /// Tell why an app is as it is: what its instances wait for, and what spoke against each agent
    Explain {
        /// The app's id
        id: String,
    },
    /// Change some fields of an app; the others stay as they are
    ///
    /// Example: agora app update /web cpus=0.5 'env={"LEVEL": "debug"}'
    Update(Update),
    /// Set how many instances of an app run
    Scale {
        /// The app's id
        id: String,
        /// How many are to run
        instances: u32,
        #[command(flatten)]
        change: Change,
    },
    /// Replace every instance of an app, by its upgrade strategy
    Restart {
        /// The app's id
        id: String,
        #[command(flatten)]
        change: Change,
    },
    /// Move instances to where the app's constraints want them of the agents there are now
    ///
    /// Only those are replaced that are one too many where they are, or may not be there any more, by the app's
    /// upgrade strategy. Nothing is done where all is even.
    Rebalance {
        /// The app's id
        id: String,
        #[command(flatten)]
        change: Change,
    },
    /// End instances of an app; others take their place
    Kill {
        /// The app's id
        id: String,
        /// Ids of instances or of their tasks, as 'agora app explain' and 'agora app show' tell them
        #[arg(required = true)]
        instances: Vec<String>,
        /// Lower the app's instances by as many, so that nothing takes their place
        #[arg(long, conflicts_with = "wipe")]
        scale: bool,
        /// Give up their volumes with all data; who waits for an agent waits no longer and starts anew
        #[arg(long)]
        wipe: bool,
    },
    /// List the versions of an app, the latest first
    Versions {
        /// The app's id
        id: String,
    },
    /// Have an app be as it was at an earlier version
    Rollback(Rollback),
    /// Start instances now that are held back after failures
    Retry {
        /// The app's id
        id: String,
    },
    /// Delete an app and end all its instances
    Delete {
        /// The app's id
        id: String,
        #[command(flatten)]
        change: Change,
    },
}

/// What an app is to be.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("definition").required(true).args(["file", "id"]))]
pub(crate) struct Create {
    /// File with the app's JSON; - for standard input
    #[arg(conflicts_with = "cmd")]
    file: Option<PathBuf>,
    /// The app's id, such as /web
    #[arg(long, requires = "cmd")]
    id: Option<String>,
    /// The command that each instance runs in a shell; $PORT0 is its port
    #[arg(long, requires = "id")]
    cmd: Option<String>,
    /// How many instances run
    #[arg(long, default_value_t = 1)]
    instances: u32,
    /// Cores of each instance
    #[arg(long, default_value_t = 0.1)]
    cpus: f64,
    /// Memory of each instance in MiB
    #[arg(long, default_value_t = 64.0)]
    mem: f64,
    #[command(flatten)]
    change: Change,
}

/// Carries out `command`.
pub(crate) async fn run(command: AppCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        AppCommand::Create(create) => self::create(create, cluster).await,
        AppCommand::List => list(cluster).await,
        AppCommand::Show { id } => show(&id, cluster).await,
        AppCommand::Explain { id } => explain(&id, cluster).await,
        AppCommand::Update(update) => super::update::update(update, cluster).await,
        AppCommand::Scale { id, instances, change } => {
            let body = json!({ "instances": instances });
            let path = app_path(&id, "", change.force);
            let answer = cluster.change(Method::PUT, &path, Some(&body)).await?;
            finish(cluster, &answer, &change, &format!("{id} scaled to {instances}")).await
        }
        AppCommand::Restart { id, change } => {
            let path = app_path(&id, "/restart", change.force);
            let answer = cluster.change(Method::POST, &path, None).await?;
            finish(cluster, &answer, &change, &format!("{id} restarted")).await
        }
        AppCommand::Rebalance { id, change } => {
            let path = format!("/agora/v1/apps/{}/rebalance?force={}", bare(&id), change.force);
            let answer = cluster.change(Method::POST, &path, None).await?;
            let done = answer["message"].as_str().map(str::to_owned);
            let done = done.unwrap_or_else(|| format!("{id} rebalanced"));
            finish(cluster, &answer, &change, &done).await
        }
        AppCommand::Kill { id, instances, scale, wipe } => {
            let mut answers = Vec::new();
            for instance in &instances {
                let id = bare(&id);
                let path = format!("/v2/apps/{id}/tasks/{instance}?scale={scale}&wipe={wipe}");
                answers.push(cluster.change(Method::DELETE, &path, None).await?);
                if !cluster.json {
                    say!("{instance} is being ended");
                }
            }
            if cluster.json {
                print_json(&answers.into());
            }
            Ok(())
        }
        AppCommand::Versions { id } => {
            version::list(&format!("/v2/apps/{}", bare(&id)), cluster).await
        }
        AppCommand::Rollback(rollback) => {
            let path = app_path(&rollback.id, "", rollback.change.force);
            version::go_back(&rollback, &path, cluster).await
        }
        AppCommand::Retry { id } => {
            let path = format!("/v2/queue/{}/delay", bare(&id));
            let done = cluster.change(Method::DELETE, &path, None).await;
            if let Err(Failure::NotFound(_)) = done {
                let message = format!("no instance of '{id}' waits to be started");
                return Err(Failure::NotFound(message));
            }
            done?;
            say!("{id}: whoever was held back is started as soon as there is an offer");
            Ok(())
        }
        AppCommand::Delete { id, change } => {
            let path = app_path(&id, "", change.force);
            let answer = cluster.change(Method::DELETE, &path, None).await?;
            finish(cluster, &answer, &change, &format!("{id} deleted")).await
        }
    }
}

fn app_path(id: &str, verb: &str, force: bool) -> String {
    format!("/v2/apps/{}{verb}?force={force}", bare(id))
}

async fn create(create: Create, cluster: &Cluster) -> Result<(), Failure> {
    let app = match (&create.file, &create.id, &create.cmd) {
        (Some(file), _, _) => read_json(file)?,
        (None, Some(id), Some(cmd)) => json!({
            "id": id, "cmd": cmd, "instances": create.instances,
            "cpus": create.cpus, "mem": create.mem,
        }),
        (None, _, _) => return Err(Failure::Local("give a file, or --id and --cmd".to_owned())),
    };
    let path = format!("/v2/apps?force={}", create.change.force);
    let answer = cluster.change(Method::POST, &path, Some(&app)).await?;
    let id = text(&answer, "/id");
    finish(cluster, &answer, &create.change, &format!("{id} created")).await
}

pub(super) fn read_json(file: &Path) -> Result<Value, Failure> {
    let shown = file.display();
    let mut body = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut body).map(|_| ())
    } else {
        std::fs::read_to_string(file).map(|read| body = read)
    };
    read.map_err(|error| Failure::Local(format!("cannot read {shown}: {error}")))?;
    serde_json::from_str(&body)
        .map_err(|error| Failure::Local(format!("{shown} is not JSON: {error}")))
}

async fn list(cluster: &Cluster) -> Result<(), Failure> {
    let answer = cluster.marathon("/v2/apps").await?;
    if cluster.json {
        print_json(&answer);
        return Ok(());
    }
    let mut table = table(["ID", "RUNNING", "HEALTHY", "STAGED", "CPUS", "MEM", "DEPLOYING"]);
    for app in items(&answer, "/apps") {
        table.add_row([
            text(app, "/id"),
            format!("{}/{}", text(app, "/tasksRunning"), text(app, "/instances")),
            text(app, "/tasksHealthy"),
            text(app, "/tasksStaged"),
            amount(number(app, "/cpus")),
            amount(number(app, "/mem")),
            (if items(app, "/deployments").is_empty() { "no" } else { "yes" }).to_owned(),
        ]);
    }
    print(&table);
    Ok(())
}

async fn show(id: &str, cluster: &Cluster) -> Result<(), Failure> {
    let answer = cluster.marathon(&format!("/v2/apps/{}", bare(id))).await?;
    if cluster.json {
        print_json(&answer["app"]);
        return Ok(());
    }
    let app = &answer["app"];
    say!("id        {}", text(app, "/id"));
    say!("command   {}", text(app, "/cmd"));
    say!("instances {} wanted, {} running", text(app, "/instances"), text(app, "/tasksRunning"));
    say!("each      {} cpus, {} MiB", amount(number(app, "/cpus")), amount(number(app, "/mem")));
    say!("version   {}", text(app, "/version"));
    if let Some(failure) = app.get("lastTaskFailure") {
        say!("failed    {}", last_failure(failure));
    }
    say!("");
    let mut table = table(["TASK", "STATE", "HOST", "PORTS", "STARTED"]);
    for task in items(app, "/tasks") {
        let ports: Vec<_> = items(task, "/ports").iter().map(ToString::to_string).collect();
        table.add_row([
            text(task, "/id"),
            text(task, "/state"),
            text(task, "/host"),
            ports.join(","),
            text(task, "/startedAt"),
        ]);
    }
    print(&table);
    Ok(())
}

/// Tells why an app or a pod is as it is.
pub(super) async fn explain(id: &str, cluster: &Cluster) -> Result<(), Failure> {
    let path = format!("/agora/v1/explain/app/{}", bare(id));
    let told = cluster.marathon(&path).await?;
    if cluster.json {
        print_json(&told);
        return Ok(());
    }
    say!("{}", text(&told, "/why"));
    for deployment in items(&told, "/deployments") {
        let step = ["/currentStep", "/totalSteps"].map(|at| text(deployment, at)).join(" of ");
        say!("deployment {} is at step {step}", text(deployment, "/id"));
        for waited in items(deployment, "/waitsFor").iter().filter(|it| it["app"] != told["app"]) {
            say!("  it waits for {}", text(waited, "/why"));
        }
    }
    if let Some(failure) = told.get("lastTaskFailure") {
        say!("{}", last_failure(failure));
    }
    say!("");
    let mut instances = table(["INSTANCE", "CONDITION", "SERVES", "HOST", "NEXT ATTEMPT"]);
    for one in items(&told, "/all") {
        let row = ["/id", "/condition", "/isServing", "/host", "/nextAttemptAt"];
        instances.add_row(row.map(|at| text(one, at)));
    }
    print(&instances);
    if told.get("waiting").is_some() {
        for line in kept(id, &told) {
            say!("\n{line}");
        }
    }
    if let Some(why) = told.pointer("/master/why").and_then(Value::as_str) {
        say!("\nThe master says: {why}.");
    }
    if let Some(why) = told.pointer("/master/error").and_then(Value::as_str) {
        say!("\nThe master cannot be asked what else keeps offers away: {why}.");
    }
    if told.pointer("/waiting/nextAttemptAt").is_some() {
        say!(
            "\nWhoever waits has failed not long ago, and wants no offer before the next attempt."
        );
    } else if told.get("waiting").is_some() && items(&told, "/waiting/agents").is_empty() {
        say!("\nNo offer has come meanwhile: 'agora framework explain marathon' tells more.");
        let mut reasons = table(["AGENTS", "NOT OFFERED BECAUSE"]);
        for reason in items(&told, "/master/notOffered") {
            reasons.add_row(["/agents", "/reason"].map(|at| text(reason, at)));
        }
        if !reasons.is_empty() {
            print(&reasons);
        }
    } else if told.get("waiting").is_some() {
        say!("");
        let mut agents = table(["AGENT", "HOST", "WHY NOT"]);
        for agent in items(&told, "/waiting/agents") {
            agents.add_row(["/agentId", "/hostname", "/why"].map(|at| text(agent, at)));
        }
        print(&agents);
    }
    Ok(())
}

/// What those who wait may wait for: places where their data is, or where nobody has it any more.
fn kept(id: &str, told: &Value) -> Vec<String> {
    let verb = if told["isPod"] == true { "pod" } else { "app" };
    let unused = items(told, "/reserved").iter().filter(|it| it["isUsed"] == false);
    let lines = unused.map(|kept| {
        let place = format!("{} (agent {})", text(kept, "/hostname"), text(kept, "/agentId"));
        let waiting = || {
            let mut all = items(told, "/all").iter();
            all.find(|it| it["condition"] == "Scheduled").map(|it| text(it, "/id"))
        };
        let instance = match kept["instance"].as_str() {
            Some(instance) => Some(instance.to_owned()),
            None => waiting(),
        };
        let instance = instance.unwrap_or_else(|| "INSTANCE".to_owned());
        format!(
            "{instance} waits for what is reserved for it on {place}.\nTo start elsewhere, without its \
             data: agora {verb} kill {id} {instance} --wipe"
        )
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_its_data_is_told_where_it_is_and_how_to_go_without() {
        let mut told = json!({
            "all": [{"id": "db.instance-1", "condition": "Running"},
                    {"id": "db.instance-2", "condition": "Scheduled"}],
            "reserved": [
                {"hostname": "host1", "agentId": "S1", "instance": "db.instance-1", "isUsed": true},
                {"hostname": "host2", "agentId": "S2", "isUsed": false},
            ],
        });
        assert_eq!(
            kept("/db", &told),
            [
                "db.instance-2 waits for what is reserved for it on host2 (agent S2).\nTo start elsewhere, \
              without its data: agora app kill /db db.instance-2 --wipe"
            ]
        );
        told["isPod"] = true.into();
        assert!(kept("/db", &told)[0].ends_with("agora pod kill /db db.instance-2 --wipe"));
        assert!(kept("/db", &json!({})).is_empty());
    }
}
