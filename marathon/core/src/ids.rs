//! Names of what Marathon keeps: apps, instances, deployments, writes.

use model::ids::TaskId;
use model::rng::Rng;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Last segments that the REST paths use for themselves.
const RESERVED: [&str; 3] = ["restart", "tasks", "versions"];

/// Longest id of an app: with a UUID and a number behind it, it is still an id of a task.
pub(crate) const ID_BYTES_MAX: usize = 180;

/// What an app id must look like, for messages to users.
pub const ID_RULE: &str = "must fully match regular expression '^(([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])\\.)*\
                           ([a-z0-9]|[a-z0-9][a-z0-9\\-]*[a-z0-9])$'";

/// The id of an app or a group: an absolute path such as `/prod/web`; `/` is the root group.
#[derive(Eq, Hash, PartialEq)]
pub struct AppId(Arc<str>);

impl Clone for AppId {
    fn clone(&self) -> Self {
        #[cfg(test)]
        work::one_more();
        Self(self.0.clone())
    }
}

impl Ord for AppId {
    fn cmp(&self, other: &Self) -> Ordering {
        #[cfg(test)]
        work::one_more();
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for AppId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Counting how often ids of apps are looked at: what tests measure work by.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local! {
        static DONE: Cell<usize> = const { Cell::new(0) };
    }

    pub(super) fn one_more() {
        DONE.set(DONE.get() + 1);
    }

    /// How often ids are compared or copied while `act` runs on this thread.
    pub(crate) fn of(act: impl FnOnce()) -> usize {
        let before = DONE.get();
        act();
        DONE.get() - before
    }
}

impl AppId {
    /// The root group.
    pub fn root() -> Self {
        Self("/".into())
    }

    /// Reads `text`, taking relative paths from the root. Repeated and trailing slashes collapse.
    pub fn parse(text: &str) -> Result<Self, BadAppId> {
        Self::parse_in(&Self::root(), text)
    }

    /// Reads `text`, taking relative paths (and `.` and `..`) from the group `base`.
    pub fn parse_in(base: &Self, text: &str) -> Result<Self, BadAppId> {
        let mut path: Vec<&str> =
            if text.starts_with('/') { Vec::new() } else { base.segments().collect() };
        for segment in text.split('/').filter(|segment| !segment.is_empty()) {
            match segment {
                "." => {}
                ".." => {
                    path.pop().ok_or(BadAppId::AboveRoot)?;
                }
                _ if is_segment(segment) => path.push(segment),
                _ => return Err(BadAppId::Segment(segment.to_owned())),
            }
        }
        Ok(Self(format!("/{}", path.join("/")).into()))
    }

    /// Like [`Self::parse`], for what must be an app: neither the root nor a reserved word.
    pub fn parse_app(text: &str) -> Result<Self, BadAppId> {
        let id = Self::parse(text)?;
        let given = text.rsplit('/').find(|segment| !segment.is_empty());
        match id.segments().last() {
            None => Err(BadAppId::Root),
            // What a path leads to is for its last word to say.
            Some(_) if matches!(given, Some("." | "..")) => {
                Err(BadAppId::Reserved(given.unwrap_or_default().to_owned()))
            }
            Some(_) if id.0.len() > ID_BYTES_MAX => Err(BadAppId::TooLong),
            Some(last) if RESERVED.contains(&last) => Err(BadAppId::Reserved(last.to_owned())),
            Some(_) => Ok(id),
        }
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts between the slashes, outermost first; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }

    /// Whether this is the root group.
    pub fn is_root(&self) -> bool {
        &*self.0 == "/"
    }

    /// The group it is in; the root is in itself.
    #[must_use]
    pub fn parent(&self) -> Self {
        match self.0.rsplit_once('/') {
            Some(("", _)) | None => Self::root(),
            Some((parent, _)) => Self(parent.into()),
        }
    }

    /// The groups it is in, innermost first; the root last.
    pub fn ancestors(&self) -> impl Iterator<Item = Self> + use<> {
        let first = (!self.is_root()).then(|| self.parent());
        std::iter::successors(first, |id| (!id.is_root()).then(|| id.parent()))
    }

    /// The group on top of all that it is in; absent for what lies in the root itself.
    pub fn top(&self) -> Option<Self> {
        let mut segments = self.segments();
        let first = segments.next()?;
        segments.next().map(|_| Self(format!("/{first}").into()))
    }

    /// Whether `self` lies strictly below the group `other`.
    pub fn is_below(&self, other: &Self) -> bool {
        if other.is_root() {
            return !self.is_root();
        }
        self.0.strip_prefix(&*other.0).is_some_and(|rest| rest.starts_with('/'))
    }

    /// What everything below this group, and nothing else that begins like it, follows in an ordered
    /// table. It is no id of anything.
    pub(crate) fn before_below(&self) -> Self {
        if self.is_root() { self.clone() } else { Self(format!("{self}/").into()) }
    }

    /// The id as ids of instances begin: `prod_web`.
    pub fn safe(&self) -> String {
        self.segments().collect::<Vec<_>>().join("_")
    }

    /// The name its tasks have, for people and DNS: `/prod/web` is `web.prod`.
    pub fn task_name(&self) -> String {
        let mut parts: Vec<_> = self.segments().collect();
        parts.reverse();
        parts.join(".")
    }
}

fn is_segment(segment: &str) -> bool {
    segment.split('.').all(|label| {
        let bytes = label.as_bytes();
        !bytes.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && bytes.iter().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
    })
}

impl fmt::Display for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no app id.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadAppId {
    /// A segment with characters that DNS names cannot have.
    #[error("{}", ID_RULE)]
    Segment(String),
    /// More `..` than there are groups.
    #[error("must not lead above the root group")]
    AboveRoot,
    /// The root group is no app.
    #[error("must not be the root group")]
    Root,
    /// Ids of its tasks would be longer than may be.
    #[error("must not be longer than {ID_BYTES_MAX} characters")]
    TooLong,
    /// The REST paths need that word.
    #[error("must not end with '{0}', which is reserved")]
    Reserved(String),
}

/// One wanted copy of an app, over all its tasks: `prod_web.instance-<uuid>`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    /// A new one of `app`.
    pub fn draw(app: &AppId, rng: &mut Rng) -> Self {
        Self(format!("{}.instance-{}", app.safe(), draw_uuid(rng)).into())
    }

    /// Reads one back; absent when `text` has not its form.
    pub fn parse(text: &str) -> Option<Self> {
        let (safe, rest) = text.rsplit_once('.')?;
        let uuid = rest.strip_prefix("instance-")?;
        (!safe.is_empty() && is_uuid(uuid)).then(|| Self(text.into()))
    }

    /// The instance a task id is of; absent when it is none of ours.
    pub fn of_task(task: &str) -> Option<Self> {
        let (rest, number) = task.rsplit_once('.')?;
        let (instance, _container) = rest.rsplit_once('.')?;
        number.bytes().all(|b| b.is_ascii_digit()).then(|| Self::parse(instance))?
    }

    /// The id as it stands in the API.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of its `number`th task.
    pub fn task(&self, number: u64) -> TaskId {
        TaskId::new(format!("{}._app.{number}", self.0))
            .expect("ids of apps are bounded and without slashes when safe")
    }

    /// The id of the task of `container` among its `number`th tasks, if it is a pod.
    pub fn container_task(&self, container: &str, number: u64) -> TaskId {
        TaskId::new(format!("{}.{container}.{number}", self.0))
            .expect("names of containers are bounded and plain")
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A deployment, a UUID.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DeploymentId(Arc<str>);

impl DeploymentId {
    /// A new one.
    pub fn draw(rng: &mut Rng) -> Self {
        Self(draw_uuid(rng).into())
    }

    /// Takes any text: one that names no deployment is simply not found.
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The id as it stands in the API.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One write to the framework store, counted from the start of this process.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WriteId(pub u64);

fn draw_uuid(rng: &mut Rng) -> String {
    model::ids::UpdateId(rng.uuid()).to_string()
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, b)| match at {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_as_clients_write_them() {
        let id = |text| AppId::parse(text).expect("well formed").to_string();
        assert_eq!(id("web"), "/web");
        assert_eq!(id("//prod//web/"), "/prod/web");
        assert_eq!(id("/prod/../web"), "/web");
        assert_eq!(id(""), "/");
        let prod = AppId::parse("/prod/web").expect("well formed");
        let db = AppId::parse_in(&prod.parent(), "../db").expect("well formed");
        assert_eq!(db.as_str(), "/db");
        assert_eq!((prod.safe().as_str(), prod.task_name().as_str()), ("prod_web", "web.prod"));
        assert!(prod.is_below(&AppId::root()) && prod.is_below(&prod.parent()));
        assert_eq!(prod.top().expect("a group").as_str(), "/prod");
        assert_eq!(prod.parent().top(), None);
        assert!(!AppId::parse("/production").expect("fine").is_below(&prod.parent()));
    }

    #[test]
    fn what_dns_cannot_name_is_refused() {
        for bad in ["/Web", "/a_b", "/-a", "/a-", "/a..b", "/a b"] {
            assert!(AppId::parse(bad).is_err(), "{bad}");
        }
        for bad in ["/", "/a/tasks", "/restart", "/a/versions", "/.."] {
            assert!(AppId::parse_app(bad).is_err(), "{bad}");
        }
        assert!(AppId::parse_app("/a.b-c/d0").is_ok());
        let long = |length: usize| AppId::parse_app(&format!("/{}", "a".repeat(length - 1)));
        assert_eq!(long(ID_BYTES_MAX + 1), Err(BadAppId::TooLong));
        let longest = long(ID_BYTES_MAX).expect("it just fits");
        let _ = InstanceId::draw(&longest, &mut Rng::new(1)).task(u64::MAX);
    }

    #[test]
    fn a_task_id_leads_back_to_its_instance() {
        let app = AppId::parse("/prod/web").expect("well formed");
        let instance = InstanceId::draw(&app, &mut Rng::new(1));
        let task = instance.task(3);
        assert!(task.as_str().starts_with("prod_web.instance-"), "{task}");
        assert!(task.as_str().ends_with("._app.3"), "{task}");
        assert_eq!(InstanceId::of_task(task.as_str()), Some(instance.clone()));
        assert_eq!(InstanceId::parse(instance.as_str()), Some(instance.clone()));
        let container = instance.container_task("side-car", 12);
        assert!(container.as_str().ends_with(".side-car.12"), "{container}");
        assert_eq!(InstanceId::of_task(container.as_str()), Some(instance.clone()));
        for foreign in ["x", "x._app.1", "x.instance-1._app.1", "prod_web.instance-._app.1"] {
            assert_eq!(InstanceId::of_task(foreign), None, "{foreign}");
        }
    }
}
