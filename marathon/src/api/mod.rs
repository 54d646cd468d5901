//! The REST API.
//!
//! Ids of apps are paths, so the routes are not a fixed table: a path is cut into segments, and what
//! comes last says what is meant. Reads are answered from the published view; what changes something
//! goes to the core.

mod agora;
mod apps;
mod groups;
mod info;
mod logging;
mod path;
mod pods;
mod proxy;
mod query;
mod reply;
mod secrets;
mod selector;
mod tasks;
mod unknown;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use marathon_core::io::Command;
use marathon_core::launch_queue::Entry;
use marathon_core::view::View;
use model::step::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use transport::auth::{Authenticator, Gate};
use transport::rendering::{Renderers, Whole};
use transport::server::Peer;

use crate::driver;
use crate::election::{Candidate, Leadership};
use crate::events::{Bus, NewReader};
use crate::masters::{Masters, Told};
use crate::options::Options;
use crate::published::Reader;
use crate::vault::Vault;
use query::Query;
use reply::{Refused, Reply, json, refuse};

pub(crate) use proxy::client;

/// How long it is waited for an election that is under way, and how often it is looked.
const UNCLEAR_FOR_MAX: Duration = Duration::from_millis(2_500);
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long a change may take to be stored. Elections of the masters are shorter.
const CHANGE_WITHIN: Duration = Duration::from_secs(60);

/// The realm of the whole API, as Marathon names it.
const REALM: &str = "Mesosphere";

/// What every request needs.
pub(crate) struct Shared {
    /// Where this instance is reached: `host:port`.
    pub(crate) own: String,
    pub(crate) options: Options,
    pub(crate) view: Reader,
    pub(crate) candidate: Candidate,
    pub(crate) requests: mpsc::Sender<driver::Request>,
    pub(crate) bus: Bus,
    /// What seals secrets; absent where there is no key.
    pub(crate) vault: Option<Arc<Vault>>,
    pub(crate) http: reqwest::Client,
    pub(crate) masters: Arc<Masters>,
    /// Make long answers, by path and query.
    pub(crate) renderers: Renderers<String>,
}

/// Where a request is answered.
enum Where {
    Here,
    There(String),
    Nowhere(&'static str),
}

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut gate = Gate::new(realm_of);
    if let Some(credentials) = &shared.options.http_credentials {
        gate = gate.requiring(REALM, vec![Authenticator::Basic(credentials.clone())]);
    }
    let routes = Router::new().fallback(serve).with_state(shared);
    gate.guard(transport::http::compressed(routes))
}

/// Everything but what load balancers ask to see whether we are there.
fn realm_of(method: &Method, path: &str) -> Option<&'static str> {
    // Browsers ask without credentials whether they may ask with them.
    if method == Method::OPTIONS {
        return None;
    }
    let is_ping = matches!(path::segments(path)[..], [ref only] if only == "ping");
    (!is_ping).then_some(REALM)
}

async fn serve(State(shared): State<Arc<Shared>>, mut request: Request) -> Response {
    // A HEAD is a GET whose body the server keeps to itself.
    if request.method() == Method::HEAD {
        *request.method_mut() = Method::GET;
    }
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_read = request.method() == Method::GET;
    let segments = path::segments(request.uri().path());
    let words: Vec<&str> = segments.iter().map(String::as_str).collect();
    let mut response = match dispatch(&shared, &words, request).await {
        Ok(response) => response,
        Err(Refused(response)) => *response,
    };
    if is_read && known.is_some_and(|known| reply::is_known(&response, &known)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = axum::body::Body::empty();
        response.headers_mut().remove(header::CONTENT_TYPE);
    }
    finish(&shared, response.headers_mut());
    admit(&shared.options, origin, response.headers_mut());
    response
}

async fn dispatch(shared: &Arc<Shared>, words: &[&str], request: Request) -> Reply {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    let is_preflight = request.method() == Method::OPTIONS
        && !shared.options.access_control_allow_origin.is_empty();
    if is_preflight {
        return reply::empty(StatusCode::OK);
    }
    if let ["config"] = words {
        reply::only(request.method(), &[Method::GET])?;
        return json(StatusCode::OK, &serde_json::json!(shared.options.flags));
    }
    if let ["logging"] = words {
        return logging::route(request).await;
    }
    if let ["ping" | "metrics"] | ["metrics", "prometheus"] = words {
        return info::process(shared, words, &request);
    }
    if let ["v2", "info"] = words {
        reply::only(request.method(), &[Method::GET])?;
    }
    if is_read && matches!(words, ["v2", "info" | "leader"]) {
        return info::node(shared, words);
    }
    match place(shared).await {
        Where::Here => {}
        Where::There(leader) if matches!(words, ["v2", "events"]) => {
            return proxy::redirect(shared, &leader, request.uri());
        }
        Where::There(leader) => return proxy::forward(shared, &leader, request).await,
        Where::Nowhere(why) => return refuse(StatusCode::BAD_GATEWAY, why),
    }
    if let ["v2", "events"] = words {
        return events(shared, &request);
    }
    let (parts, body) = request.into_parts();
    let body = transport::http::read_body(body).await;
    let body = body.map_err(|refused| reply::error(refused.status, &refused.text))?;
    let call = Call { shared, view: shared.view.load(), query: Query::of(&parts.uri), parts, body };
    route(&call, words).await
}

/// A request that is answered here.
struct Call<'a> {
    shared: &'a Arc<Shared>,
    view: Arc<View>,
    query: Query,
    parts: Parts,
    body: Bytes,
}

async fn route(call: &Call<'_>, words: &[&str]) -> Reply {
    match words {
        ["v2", "apps", rest @ ..] => apps::route(call, rest).await,
        ["v2", "tasks", rest @ ..] => tasks::route(call, rest).await,
        ["v2", "groups", rest @ ..] => groups::route(call, rest).await,
        ["v2", "deployments", rest @ ..] => deployments(call, rest).await,
        ["v2", "queue", rest @ ..] => queue(call, rest).await,
        ["agora", "v1", "secrets", rest @ ..] => secrets::route(call, rest).await,
        ["agora", "v1", rest @ ..] => agora::route(call, rest).await,
        ["v2", "leader"] => info::abdicate(call),
        ["v2", "plugins"] => {
            call.only(&[Method::GET])?;
            json(StatusCode::OK, &serde_json::json!({"plugins": []}))
        }
        ["v2", "pods", rest @ ..] => pods::route(call, rest).await,
        ["v2", word, rest @ ..] if word.starts_with("pods::") => {
            let rest: Vec<&str> =
                [&word["pods".len()..]].into_iter().chain(rest.iter().copied()).collect();
            pods::route(call, &rest).await
        }
        _ => refuse(StatusCode::NOT_FOUND, "URI not found"),
    }
}

impl Call<'_> {
    /// Refuses other methods.
    fn only(&self, allowed: &[Method]) -> Result<(), Refused> {
        reply::only(&self.parts.method, allowed)
    }

    /// The body as JSON.
    fn json(&self) -> Result<Value, Refused> {
        reply::parsed(&self.body)
    }

    /// The part of a list that `offset` and `limit` ask for.
    fn page(&self) -> Result<Page, Refused> {
        let number = |name| match self.query.first(name) {
            None => Ok(None),
            Some(text) => text.parse::<usize>().map(Some).map_err(|_| {
                let message = format!("'{name}' must be a number that is 0 or more");
                reply::error(StatusCode::UNPROCESSABLE_ENTITY, &message)
            }),
        };
        let (offset, limit) = (number("offset")?.unwrap_or(0), number("limit")?);
        Ok(Page { offset, limit: limit.unwrap_or(usize::MAX) })
    }

    /// Answers with JSON that may be long: made from the latest view, once for all who ask the same.
    async fn read(&self, make: impl FnOnce(&View) -> String + Send + 'static) -> Reply {
        let uri = &self.parts.uri;
        let question = uri.path_and_query().map_or_else(String::new, ToString::to_string);
        let view = self.shared.view.clone();
        let work = move || {
            let body = make(&view.load());
            let tag = reply::tag(&body);
            Ok(Whole::new(reply::JSON, body).tagged(tag))
        };
        Ok(self.shared.renderers.answer(question, &self.parts.headers, work).await)
    }

    /// Asks the leading master what keeps offers from us.
    async fn why_no_offers(&self) -> Result<Told, String> {
        match &self.view.framework {
            Some(framework) => self.shared.masters.explain(framework).await,
            None => Err("no master has met us yet".to_owned()),
        }
    }

    /// What of that is about an app that waits.
    fn held_back(&self, told: &Result<Told, String>, entry: &Entry) -> Value {
        match told {
            Ok(told) => told.of(&entry.app, &self.view.role, &entry.offers),
            Err(why) => serde_json::json!({"error": why}),
        }
    }

    /// Has the core do something.
    async fn ask(&self, command: Command) -> Reply {
        let (answer, answered) = oneshot::channel();
        let request = driver::Request {
            command,
            client: remote(&self.parts.headers, &self.parts.extensions).into(),
            uri: self.parts.uri.path().into(),
            answer,
        };
        if self.shared.requests.try_send(request).is_err() {
            return refuse(StatusCode::SERVICE_UNAVAILABLE, "Too many requests wait; try again");
        }
        match tokio::time::timeout(CHANGE_WITHIN, answered).await {
            Ok(Ok(Ok(answer))) => reply::answer(answer),
            Ok(Ok(Err(refusal))) => {
                let status = StatusCode::from_u16(refusal.status)
                    .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                json(status, &refusal.body)
            }
            Ok(Err(_)) => refuse(
                StatusCode::BAD_GATEWAY,
                "This instance stopped leading before the change was stored; look whether it was made",
            ),
            Err(_) => refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "The change was not stored in time; look whether it was made later",
            ),
        }
    }
}

/// A part of a list.
#[derive(Clone, Copy)]
struct Page {
    offset: usize,
    limit: usize,
}

impl Page {
    fn of<T>(self, all: impl Iterator<Item = T>) -> impl Iterator<Item = T> {
        all.skip(self.offset).take(self.limit)
    }
}

/// Where the request belongs. Waits for an election that is under way.
async fn place(shared: &Shared) -> Where {
    let give_up = tokio::time::Instant::now() + UNCLEAR_FOR_MAX;
    loop {
        let why = match &*shared.candidate.leadership.borrow() {
            Leadership::Follows(leader) if *leader != shared.own => {
                return Where::There(leader.clone());
            }
            Leadership::Leads(_) if shared.view.load().is_leading => return Where::Here,
            Leadership::Leads(_) => "the leader is still reading its state; try again",
            // A lease of an earlier process at this address is no leader.
            Leadership::Follows(_) | Leadership::Unclear => "no current leader",
        };
        if tokio::time::Instant::now() >= give_up {
            return Where::Nowhere(why);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn events(shared: &Shared, request: &Request) -> Reply {
    reply::only(request.method(), &[Method::GET])?;
    if !transport::http::accepts(request.headers(), "text/event-stream") {
        return refuse(StatusCode::METHOD_NOT_ALLOWED, "Use GET, and accept 'text/event-stream'");
    }
    let query = Query::of(request.uri());
    let kinds = query.all("event_type").map(str::to_owned).collect();
    let is_light = query.first("plan-format") == Some("light");
    let remote = remote(request.headers(), request.extensions());
    let last = request.headers().get("last-event-id").and_then(|value| value.to_str().ok());
    let reader =
        NewReader { remote, kinds, wants_light_plans: is_light, last: last.map(Into::into) };
    let body = shared.bus.attach(reader, request.extensions());
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static("text/event-stream;charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

async fn deployments(call: &Call<'_>, rest: &[&str]) -> Reply {
    match rest {
        [] => {
            call.only(&[Method::GET])?;
            json(StatusCode::OK, &call.view.deployments().into())
        }
        [id] => {
            call.only(&[Method::DELETE])?;
            let force = call.query.flag("force", false);
            call.ask(Command::CancelDeployment { id: (*id).to_owned(), force }).await
        }
        _ => refuse(StatusCode::NOT_FOUND, "URI not found"),
    }
}

async fn queue(call: &Call<'_>, rest: &[&str]) -> Reply {
    match rest {
        [] => {
            call.only(&[Method::GET])?;
            let embeds = |name: &str| call.query.all("embed").any(|embed| embed == name);
            let with_offers = embeds("lastUnusedOffers");
            let mut shown = call.view.queue(crate::clock::wall(), with_offers);
            // Clients that read strictly do not know of this.
            if embeds("master") && !call.view.queue.is_empty() {
                let told = call.why_no_offers().await;
                let entries = shown["queue"].as_array_mut().into_iter().flatten();
                for (shown, entry) in entries.zip(call.view.queue.values()) {
                    shown["master"] = call.held_back(&told, entry);
                }
            }
            json(StatusCode::OK, &shown)
        }
        [id @ .., "delay"] if !id.is_empty() => {
            call.only(&[Method::DELETE])?;
            let id = path::app_id(id)?;
            call.ask(Command::ResetDelay { id }).await
        }
        _ => refuse(StatusCode::NOT_FOUND, "URI not found"),
    }
}

/// A version as it stands in a path.
fn timestamp(text: &str) -> Result<Timestamp, Refused> {
    let message = || format!("'{text}' is no timestamp such as 2019-04-02T09:08:07.000Z");
    let at = marathon_core::clock::parse(text);
    at.ok_or_else(|| reply::error(StatusCode::UNPROCESSABLE_ENTITY, &message()))
}

/// Who sent the request.
fn remote(headers: &HeaderMap, extensions: &axum::http::Extensions) -> String {
    let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok());
    if let Some(first) = forwarded.and_then(|list| list.split(',').next()) {
        return first.trim().to_owned();
    }
    extensions.get::<Peer>().map(|Peer(address)| address.ip().to_string()).unwrap_or_default()
}

/// Headers that every answer has.
fn finish(shared: &Shared, headers: &mut HeaderMap) {
    let leader = match &*shared.candidate.leadership.borrow() {
        Leadership::Leads(_) => Some(shared.own.clone()),
        Leadership::Follows(leader) => Some(leader.clone()),
        Leadership::Unclear => None,
    };
    if let Some(leader) = leader.and_then(|leader| shared.options.url(&leader).parse().ok()) {
        headers.insert("x-marathon-leader", leader);
    }
    for (name, value) in [
        ("cache-control", "no-cache, no-store, must-revalidate"),
        ("pragma", "no-cache"),
        ("expires", "0"),
        ("x-frame-options", "DENY"),
        ("x-xss-protection", "1; mode=block"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

/// Lets pages of the origins that may call read the answer.
fn admit(options: &Options, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    let may_call = &options.access_control_allow_origin;
    if may_call.is_empty() {
        return;
    }
    let admitted = if may_call.iter().any(|it| it == "*") {
        Some(HeaderValue::from_static("*"))
    } else {
        // Browsers take one origin, not a list, so the answer depends on who asks.
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
        origin.filter(|origin| may_call.iter().any(|it| *origin == *it))
    };
    let Some(admitted) = admitted else { return };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, admitted);
    let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE, OPTIONS");
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    let allowed = HeaderValue::from_static("Content-Type, Authorization, Accept");
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
}

#[cfg(test)]
mod tests;
