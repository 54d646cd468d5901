//! What an instance says of itself: `/ping`, `/metrics`, `/v2/info`, `/v2/leader`.

use axum::extract::Request;
use axum::http::{Method, StatusCode};
use marathon_core::instance::Condition;
use serde_json::{Value, json as object};
use transport::http::accepts;
use transport::metrics::{PROMETHEUS_MIME, prometheus_text};

use super::reply::{self, Reply, json, refuse};
use super::{Call, Shared};
use crate::election::Leadership;

/// The version of the API that is spoken here: what clients choose features by.
const VERSION: &str = "1.8.0";

/// Of the process; answered by every instance for itself.
pub(super) fn process(shared: &Shared, words: &[&str], request: &Request) -> Reply {
    reply::only(request.method(), &[Method::GET])?;
    match words {
        ["ping"] => ping(request),
        ["metrics", "prometheus"] => {
            Ok(reply::with(StatusCode::OK, PROMETHEUS_MIME, prometheus_text()))
        }
        _ => json(StatusCode::OK, &metrics(shared)),
    }
}

fn ping(request: &Request) -> Reply {
    let headers = request.headers();
    if accepts(headers, "text/plain") {
        reply::text("pong")
    } else if accepts(headers, "application/json") {
        json(StatusCode::OK, &object!("pong"))
    } else {
        reply::empty(StatusCode::NO_CONTENT)
    }
}

/// Numbers in the form that Dropwizard gives them.
fn metrics(shared: &Shared) -> Value {
    let view = shared.view.load();
    let instances = || view.instances.values().flat_map(|instances| instances.values());
    let running = instances().filter(|it| it.condition == Condition::Running).count();
    let staged = instances()
        .filter(|it| {
            matches!(
                it.condition,
                Condition::Provisioned | Condition::Staging | Condition::Starting
            )
        })
        .count();
    let waiting: usize = view.queue.values().map(|entry| entry.count).sum();
    let gauges = [
        ("marathon.apps.active.gauge", view.tree.apps.values().filter(|it| !it.is_pod()).count()),
        ("marathon.pods.active.gauge", view.tree.apps.values().filter(|it| it.is_pod()).count()),
        ("marathon.deployments.active.gauge", view.deployments.len()),
        ("marathon.instances.running.gauge", running),
        ("marathon.instances.staged.gauge", staged),
        ("marathon.instances.launch.queue.gauge", waiting),
        ("marathon.leadership.gauge", usize::from(view.is_leading)),
    ];
    let gauges: serde_json::Map<_, _> = gauges
        .into_iter()
        .map(|(name, value)| (name.to_owned(), object!({"value": value})))
        .collect();
    object!({
        "version": "4.0.0",
        "gauges": gauges,
        "counters": {},
        "histograms": {},
        "meters": {},
        "timers": {},
    })
}

/// Of the node; answered by every instance for itself.
pub(super) fn node(shared: &Shared, words: &[&str]) -> Reply {
    let leader = leader(shared);
    if words.last() == Some(&"leader") {
        return match leader {
            Some(leader) => json(StatusCode::OK, &object!({"leader": leader})),
            None => refuse(StatusCode::NOT_FOUND, "There is no leader"),
        };
    }
    let view = shared.view.load();
    let port = shared.own.rsplit_once(':').and_then(|it| it.1.parse::<u16>().ok());
    let http_config = match shared.options.identity.tls() {
        // There is one port, and one language on it. What is absent is left out, as everywhere.
        None => object!({"http_port": port}),
        Some(_) => object!({"https_port": port}),
    };
    let mut info = object!({
        "name": shared.options.framework_name,
        "version": VERSION,
        "buildref": env!("CARGO_PKG_VERSION"),
        "elected": view.is_leading,
        "marathon_config": config(shared),
        "zookeeper_config": {},
        "http_config": http_config,
    });
    if let Some(leader) = leader {
        info["leader"] = leader.into();
    }
    if let Some(framework) = &view.framework {
        info["frameworkId"] = framework.as_str().into();
    }
    json(StatusCode::OK, &info)
}

fn leader(shared: &Shared) -> Option<String> {
    match &*shared.candidate.leadership.borrow() {
        Leadership::Leads(_) => Some(shared.own.clone()),
        Leadership::Follows(leader) => Some(leader.clone()),
        Leadership::Unclear => None,
    }
}

/// Only keys that strict clients know.
fn config(shared: &Shared) -> Value {
    let options = &shared.options;
    let millis =
        |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let mut config = object!({
        "master": options.masters.join(","),
        "checkpoint": options.checkpoint,
        "failover_timeout": options.failover_timeout.as_secs(),
        "framework_name": options.framework_name,
        "ha": true,
        "hostname": shared.own.rsplit_once(':').map(|(host, _)| host),
        "decline_offer_duration": millis(options.decline_offer_duration),
        "features": options.enable_features,
        "launch_token_refresh_interval": millis(options.launch_token_refresh_interval),
        "launch_token": options.launch_tokens,
        "new_group_enforce_role": if options.new_group_enforce_role { "top" } else { "off" },
        "reconciliation_initial_delay": millis(options.reconciliation_initial_delay),
        "scale_apps_initial_delay": millis(options.scale_apps_initial_delay),
        "scale_apps_interval": millis(options.scale_apps_interval),
        "leader_proxy_connection_timeout_ms": 5_000,
        "leader_proxy_read_timeout_ms": 65_000,
        "local_port_min": options.local_ports.0,
        "local_port_max": options.local_ports.1,
        "maintenance_mode": true,
        "max_instances_per_offer": options.max_instances_per_offer,
        "mesos_bridge_name": options.mesos_bridge_name,
        "mesos_role": options.mesos_role,
        "mesos_user": options.mesos_user,
        "min_revive_offers_interval": millis(options.min_revive_offers_interval),
        "reconciliation_interval": millis(options.reconciliation_interval),
        "task_launch_confirm_timeout": millis(options.task_launch_confirm_timeout),
        "task_launch_timeout": millis(options.task_launch_timeout),
        "task_reservation_timeout": millis(options.task_reservation_timeout),
        "webui_url": options.webui_url.clone().unwrap_or_else(|| options.url(&shared.own)),
    });
    if let Some(network) = &options.default_network_name {
        config["default_network_name"] = network.as_str().into();
    }
    if !options.access_control_allow_origin.is_empty() {
        config["access_control_allow_origin"] = object!(options.access_control_allow_origin);
    }
    config
}

/// `DELETE /v2/leader`: another instance is to lead. This one goes on as a standby.
pub(super) fn abdicate(call: &Call<'_>) -> Reply {
    call.only(&[Method::GET, Method::DELETE])?;
    // Whoever asks for a copy must not believe that there is one now.
    for name in ["backup", "restore"] {
        if call.query.first(name).is_some() {
            let why = format!(
                "'{name}' is not supported: the state is kept by the masters, in the work directory of each"
            );
            return refuse(StatusCode::BAD_REQUEST, &why);
        }
    }
    call.shared.candidate.step_down();
    json(StatusCode::OK, &object!({"message": "Leadership abdicated"}))
}
