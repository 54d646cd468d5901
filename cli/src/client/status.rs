//! `agora status`: the cluster at a glance.

use super::show::{amount, items, number, print_json, text};
use super::{Cluster, Failure};
use crate::say::say;
use serde_json::{Value, json};

/// Prints who leads, what there is and what runs.
pub(crate) async fn run(cluster: &Cluster) -> Result<(), Failure> {
    let state = cluster.master("/state").await?;
    let apps = cluster.marathon("/v2/apps").await.ok();
    let summary = summarise(&state, apps.as_ref());
    if cluster.json {
        print_json(&summary);
        return Ok(());
    }
    let s = &summary;
    say!(
        "leader     {} ({}, speaks for Mesos {})",
        text(s, "/leader"),
        text(s, "/version"),
        text(s, "/mesos_version")
    );
    say!(
        "agents     {} active, {} out of service, {} disconnected, {} unreachable, {} recovered",
        text(s, "/agents/active"),
        text(s, "/agents/out_of_service"),
        text(s, "/agents/disconnected"),
        text(s, "/agents/unreachable"),
        text(s, "/agents/recovered"),
    );
    say!("frameworks {}", text(s, "/frameworks"));
    say!(
        "tasks      {} live, {} unreachable",
        text(s, "/tasks/live"),
        text(s, "/tasks/unreachable")
    );
    for kind in ["cpus", "mem", "disk"] {
        say!(
            "{kind:<10} {} of {} used",
            amount(number(s, &format!("/used/{kind}"))),
            amount(number(s, &format!("/total/{kind}"))),
        );
    }
    match apps {
        Some(_) => say!(
            "apps       {} ({} of {} instances running)",
            text(s, "/apps/count"),
            text(s, "/apps/running"),
            text(s, "/apps/wanted"),
        ),
        None => say!("apps       Marathon does not answer"),
    }
    Ok(())
}

fn summarise(state: &Value, apps: Option<&Value>) -> Value {
    let agents = items(state, "/slaves");
    let frameworks = items(state, "/frameworks");
    let sum = |group: &str, kind: &str| -> f64 {
        // An empty sum of floats would be -0.
        agents.iter().fold(0.0, |sum, agent| sum + number(agent, &format!("/{group}/{kind}")))
    };
    let count = |list: &str| -> usize {
        frameworks.iter().map(|framework| items(framework, &format!("/{list}")).len()).sum()
    };
    let standing = |wanted| agents.iter().filter(|agent| standing(agent) == wanted).count();
    let kinds = |group: &str| json!({ "cpus": sum(group, "cpus"), "mem": sum(group, "mem"), "disk": sum(group, "disk") });
    let apps = apps.map(|apps| {
        let all = items(apps, "/apps");
        let total = |field: &str| all.iter().map(|app| whole(app, field)).sum::<u64>();
        json!({
            "count": all.len(),
            "wanted": total("/instances"),
            "running": total("/tasksRunning"),
        })
    });
    json!({
        "leader": text(state, "/leader"),
        "version": text(state, "/git_tag"),
        "mesos_version": text(state, "/version"),
        "agents": {
            "active": standing("active"),
            "out_of_service": standing("out of service"),
            "disconnected": standing("disconnected"),
            "unreachable": whole(state, "/unreachable_slaves"),
            "recovered": items(state, "/recovered_slaves").len(),
        },
        "frameworks": frameworks.len(),
        "tasks": { "live": count("tasks"), "unreachable": count("unreachable_tasks") },
        "total": kinds("resources"),
        "used": kinds("used_resources"),
        "apps": apps,
    })
}

/// How an agent stands: operators took it out of service, or its link is down, or neither.
fn standing(agent: &Value) -> &'static str {
    if agent["deactivated"] == true {
        "out of service"
    } else if agent["active"] == false {
        "disconnected"
    } else {
        "active"
    }
}

/// The count at `path`: the master writes counts as it writes amounts, `2.0`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count is whole")]
fn whole(value: &Value, path: &str) -> u64 {
    number(value, path).max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_adds_up_agents_and_frameworks() {
        let state = json!({
            "leader": "master@h:1", "version": "1.11.0", "git_tag": "agora-0.1.0", "unreachable_slaves": 1.0,
            "slaves": [
                {"deactivated": true, "active": false},
                {"active": false},
                {"active": true, "resources": {"cpus": 2.0}, "used_resources": {"cpus": 0.5}},
                {"resources": {"cpus": 4.0}, "used_resources": {"cpus": 1.0}},
            ],
            "frameworks": [{"tasks": [1, 2]}, {"tasks": [3], "unreachable_tasks": [4]}],
        });
        let summary = summarise(&state, None);
        let agents = json!({
            "active": 2, "out_of_service": 1, "disconnected": 1, "unreachable": 1, "recovered": 0,
        });
        assert_eq!(summary["agents"], agents, "a count is shown as one");
        assert_eq!(summary["version"], "agora-0.1.0");
        assert_eq!(summary["total"]["cpus"], 6.0);
        assert_eq!(summary["used"]["cpus"], 1.5);
        assert_eq!(summary["tasks"], json!({"live": 3, "unreachable": 1}));
        let empty = summarise(&json!({}), None);
        assert_eq!(amount(number(&empty, "/used/cpus")), "0");
        assert_eq!(summary["apps"], Value::Null);
    }
}
