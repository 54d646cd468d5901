//! What only the leading master knows: what keeps offers away, and which agents there are that make none.

use std::time::Duration;

use framework_sdk::store::StoreClient;
use marathon_core::app::App;
use marathon_core::app::pod::Needs;
use marathon_core::launch_queue::Offers;
use marathon_core::matcher::Reason;
use model::amount::Milli;
use model::ids::FrameworkId;
use proto::mesos::v1::master::Response;
use proto::mesos::v1::master::response::get_agents::Agent;
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use serde_json::{Value, json};
use transport::client::location_address;
use transport::identity::Identity;

/// How long all masters together may take. Who asks why an app waits shall not wait for that too.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);

/// Redirections that are followed: from one that does not lead to one that did, and on.
const HOPS_MAX: usize = 4;

/// Bytes of what a master says that is no answer which are passed on.
const WORDS_BYTES_MAX: usize = 1_024;

/// Those who can be asked.
pub(crate) struct Masters {
    /// It knows where they are.
    store: StoreClient,
    http: reqwest::Client,
    scheme: &'static str,
}

/// What the master said of our roles.
pub(crate) struct Told(Value);

enum Answer<T> {
    Told(T),
    Redirected(String),
}

/// A request, and how what is answered to it is read.
struct Question<T> {
    method: Method,
    path: String,
    /// JSON. The answer to it is binary protobuf.
    body: Option<&'static str>,
    read: fn(&[u8]) -> Option<T>,
}

impl Masters {
    pub(crate) fn new(store: StoreClient, identity: &Identity) -> Self {
        let http = identity.http().redirect(reqwest::redirect::Policy::none());
        let http = http.build().expect("nothing in these settings can fail");
        Self { store, http, scheme: identity.scheme() }
    }

    /// Asks what keeps offers from `framework`, or says why nobody answers.
    pub(crate) async fn explain(&self, framework: &FrameworkId) -> Result<Told, String> {
        let path = format!("/agora/v1/explain/framework/{framework}");
        let read = |text: &[u8]| serde_json::from_slice(text).ok().map(Told);
        self.first(&Question { method: Method::GET, path, body: None, read }).await
    }

    /// Asks for all agents, or says why nobody answers.
    pub(crate) async fn agents(&self) -> Result<Vec<Agent>, String> {
        let (path, body) = ("/api/v1".to_owned(), Some(r#"{"type":"GET_AGENTS"}"#));
        let read = |bytes: &[u8]| {
            let response: Response = proto::wire::decode(bytes).ok()?;
            Some(response.get_agents?.agents)
        };
        self.first(&Question { method: Method::POST, path, body, read }).await
    }

    async fn first<T>(&self, question: &Question<T>) -> Result<T, String> {
        let asked = tokio::time::timeout(ANSWER_WITHIN, self.one_after_another(question)).await;
        asked.unwrap_or_else(|_| Err(format!("no master answers within {ANSWER_WITHIN:?}")))
    }

    async fn one_after_another<T>(&self, question: &Question<T>) -> Result<T, String> {
        let mut last = "no master is known".to_owned();
        for mut master in self.store.masters() {
            for _ in 0..HOPS_MAX {
                match self.ask(&master, question).await {
                    Ok(Answer::Told(told)) => return Ok(told),
                    Ok(Answer::Redirected(leader)) => master = leader,
                    Err(why) => {
                        last = why;
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    async fn ask<T>(&self, master: &str, question: &Question<T>) -> Result<Answer<T>, String> {
        let url = format!("{}://{master}{}", self.scheme, question.path);
        let mut request = self.http.request(question.method.clone(), url);
        if let Some(body) = question.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
            request = request.header(ACCEPT, "application/x-protobuf");
        }
        let answer = request.send().await;
        let answer = answer.map_err(|_| format!("the master at {master} cannot be reached"))?;
        let status = answer.status();
        if status.is_redirection() {
            let location = answer.headers().get(LOCATION).and_then(|it| it.to_str().ok());
            let leader = location.and_then(location_address);
            return leader.map(Answer::Redirected).ok_or_else(|| format!("{master} leads nowhere"));
        }
        let bytes = answer.bytes().await.unwrap_or_default();
        let told = Some(&bytes).filter(|_| status.is_success()).and_then(|it| (question.read)(it));
        told.map(Answer::Told).ok_or_else(|| {
            let text = String::from_utf8_lossy(&bytes[..bytes.len().min(WORDS_BYTES_MAX)]);
            format!("the master at {master} answers {status}: {}", text.trim())
        })
    }
}

impl Told {
    /// What it says of the role of `app`, of which something waits and for which `offers` came.
    pub(crate) fn of(&self, app: &App, own_role: &str, offers: &Offers) -> Value {
        let role = app.role.as_deref().unwrap_or(own_role);
        let all = self.0["roles"].as_array().into_iter().flatten();
        let Some(of) = all.into_iter().find(|of| of["role"] == role) else {
            return json!({"role": role, "why": format!("the master knows us in no role '{role}' yet")});
        };
        let reasons = of["not_offered"].as_array().into_iter().flatten();
        let reasons = reasons.map(|it| json!({"reason": it["reason"], "agents": it["agents"]}));
        let mut out = json!({
            "role": role,
            "quota": of["quota"],
            "keptForOtherRoles": of["kept_for_other_roles"],
            "notOffered": reasons.collect::<Vec<_>>(),
        });
        let needs = app.parts().iter().fold(Needs::default(), |sum, part| sum.and(part.needs));
        if let Some(why) = limited(of, role, needs).or_else(|| kept(of, needs, offers)) {
            out["why"] = why.into();
        }
        out
    }
}

/// That the limit of the role leaves too little, if it does.
fn limited(of: &Value, role: &str, needs: Needs) -> Option<String> {
    let (limit, consumed) = (&of["quota"]["limit"], &of["quota"]["consumed"]);
    let is_short = |(name, need): (&str, Milli)| {
        let has = amount(consumed, name).unwrap_or_default();
        !need.is_nothing() && amount(limit, name).is_some_and(|limit| has + need > limit)
    };
    needs.named().into_iter().any(is_short).then(|| {
        // Quota is given to roles at the top, and counts for those below them too.
        let top = role.split('/').next().unwrap_or(role);
        format!(
            "by its quota role '{top}' may have {} at most, and has {}: that leaves too little for an \
             instance, which takes {}",
            written(limit),
            written(&only(consumed, limit)),
            written_needs(needs)
        )
    })
}

/// That what is free is kept for others, if that may be what is missing.
fn kept(of: &Value, needs: Needs, offers: &Offers) -> Option<String> {
    let kept = &of["kept_for_other_roles"];
    let is_needed = |(name, need): (&str, Milli)| !need.is_nothing() && kept.get(name).is_some();
    let is_short = |reason: Reason| match reason {
        Reason::InsufficientCpus
        | Reason::InsufficientMemory
        | Reason::InsufficientDisk
        | Reason::InsufficientGpus => true,
        Reason::UnfulfilledRole
        | Reason::UnfulfilledConstraint
        | Reason::NoCorrespondingReservationFound
        | Reason::AgentMaintenance
        | Reason::InsufficientPorts
        | Reason::DeclinedScarceResources => false,
    };
    let mut refused = offers.last_unused.values().map(|unused| unused.why.reason());
    let may_miss = offers.last_unused.is_empty() || refused.any(is_short);
    let is_kept = may_miss && needs.named().into_iter().any(is_needed);
    is_kept.then(|| {
        format!("of what is free, {} is kept for what other roles are guaranteed", written(kept))
    })
}

fn amount(amounts: &Value, name: &str) -> Option<Milli> {
    amounts.get(name)?.as_f64().and_then(Milli::from_f64)
}

/// Those of `amounts` that `limit` speaks of.
fn only(amounts: &Value, limit: &Value) -> Value {
    let names = limit.as_object().into_iter().flatten();
    names.map(|(name, _)| (name.clone(), json!(amounts[name].as_f64().unwrap_or(0.0)))).collect()
}

/// Amounts as resources are written.
fn written(amounts: &Value) -> String {
    let all = amounts.as_object().into_iter().flatten();
    let one = |(name, _): (&String, &Value)| Some(format!("{name}:{}", amount(amounts, name)?));
    all.filter_map(one).collect::<Vec<_>>().join("; ")
}

fn written_needs(needs: Needs) -> String {
    let all = needs.named().into_iter().filter(|(_, need)| !need.is_nothing());
    all.map(|(name, need)| format!("{name}:{need}")).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use marathon_core::app::parse::{Defaults, Update, whole};
    use marathon_core::ids::AppId;

    fn app(body: &Value) -> App {
        let update = Update::read(body, "").expect("a body");
        let id = AppId::parse("/web").expect("an id");
        whole(&id, &update, &Defaults { role: "web".into(), network: None }).expect("a valid app")
    }

    fn why(of: &Value, body: &Value) -> Option<String> {
        let told = Told(json!({"roles": [{"role": "*"}, of]}));
        let told = told.of(&app(body), "web", &Offers::default());
        assert_eq!(told["role"], "web");
        told.get("why").and_then(Value::as_str).map(str::to_owned)
    }

    #[test]
    fn a_limit_is_told_where_it_leaves_too_little_for_one_instance() {
        let of = |limit: Value, consumed: Value| {
            json!({"role": "web", "kept_for_other_roles": {}, "not_offered": [],
                   "quota": {"guarantee": {}, "limit": limit, "consumed": consumed}})
        };
        let body = json!({"cmd": "x", "cpus": 0.5, "mem": 64});
        let cpus =
            |limit: f64, has: f64| of(json!({"cpus": limit}), json!({"cpus": has, "mem": 9}));
        assert_eq!(
            why(&cpus(2.0, 1.75), &body).expect("it is too little"),
            "by its quota role 'web' may have cpus:2 at most, and has cpus:1.75: that leaves too little \
             for an instance, which takes cpus:0.5; mem:64"
        );
        assert_eq!(why(&cpus(2.0, 1.5), &body), None);
        assert_eq!(why(&of(json!({}), json!({})), &body), None);
        assert!(why(&of(json!({"mem": 32}), json!({})), &body).is_some());
        assert_eq!(why(&of(json!({"gpus": 0}), json!({})), &body), None, "it takes none");
    }

    #[test]
    fn what_is_kept_for_others_is_told_to_those_who_could_use_it() {
        let of = json!({"role": "web", "kept_for_other_roles": {"gpus": 1, "cpus": 2},
                        "not_offered": [{"reason": "it is kept", "agents": 3, "agent_ids": ["S1"]}],
                        "quota": {"guarantee": {}, "limit": {}, "consumed": {}}});
        let body = json!({"cmd": "x"});
        assert_eq!(
            why(&of, &body).expect("cpus are missing"),
            "of what is free, cpus:2; gpus:1 is kept for what other roles are guaranteed"
        );
        let told = Told(json!({"roles": [of]})).of(&app(&body), "web", &Offers::default());
        assert_eq!(told["notOffered"], json!([{"reason": "it is kept", "agents": 3}]));
        let none = Told(json!({"roles": []})).of(&app(&body), "web", &Offers::default());
        assert_eq!(none["why"], "the master knows us in no role 'web' yet");
    }
}
