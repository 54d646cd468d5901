//! Which calls about containers somebody may make: by the rules of operators and, where an executor
//! shows its token, by that.
//!
//! An executor needs no rule to have to do with the containers in its own. What it runs there runs as
//! itself or as one of its tasks, which its framework was allowed; as others only if a rule lets it.

use axum::http::StatusCode;
use model::acl::Action;
use model::ids::ContainerId;
use proto::mesos::v1 as mesos;
use proto::mesos::v1::CommandInfo;
use proto::mesos::v1::agent::Call;
use proto::mesos::v1::agent::call::Type;
use transport::http::Refused;

use super::caller::{Caller, Whose, is_user_in, whose};
use super::{Api, Shared};
use crate::nested::ByRight;
use crate::options::Options;

/// Warns of rules that keep executors out of their own containers: without tokens they are nobody.
pub(crate) fn warn_of_kept_out_executors(options: &Options) {
    let deeds = [Deed::Launch, Deed::Session, Deed::Wait, Deed::Kill, Deed::Remove];
    let mut needed = deeds.into_iter().flat_map(|it| [Some(it.in_executors()), it.as_user()]);
    let is_shut = |action: &Action| !options.acls.allow_whatever(*action, None);
    if options.authentication.executors.is_none()
        && let Some(action) = needed.find_map(|action| action.filter(is_shut))
    {
        tracing::warn!(
            action = action.name(),
            "--acls keeps those without a name from containers, and that is what executors are: task \
             groups will fail; start the agent with --authenticate_http_executors, or allow it to ANY"
        );
    }
}

/// Refuses a call about a container that whoever makes it may not make, and any other that an executor
/// may not. What the others are about their handlers ask.
pub(super) fn check_call(api: &Api, caller: &Caller, call: &Call) -> Result<(), Refused> {
    let touch = match Touched::by(call) {
        // What should name one and does not is no good call, and its handler says so.
        Touched::Nothing | Touched::Container(Touch { container: None, .. }) => return Ok(()),
        Touched::Container(touch) => touch,
        Touched::More if caller.is_confined() => {
            let kind = call.r#type().as_str_name();
            return Err(forbidden(format!("The token of an executor does not allow {kind} calls")));
        }
        Touched::More => return Ok(()),
    };
    // One that is no id is refused by its handler too.
    let Some(Ok(container)) = touch.container.map(ContainerId::try_from) else { return Ok(()) };
    if let Some(own) = caller.own_around(&container) {
        return check_own(&api.shared, caller, own, &touch);
    }
    if caller.is_confined() {
        return Err(forbidden(format!(
            "Container {container} is not in the container of the executor whose token this is"
        )));
    }
    check_rules(&api.shared, caller, &container, &touch)
}

fn forbidden(why: String) -> Refused {
    Refused::new(StatusCode::FORBIDDEN, why)
}

/// By whose right the image of a container may say whom it runs as, where `caller` has it launched. What
/// executors launch has the images of tasks.
pub(super) fn by_right(
    shared: &Shared,
    caller: &Caller,
    container: &ContainerId,
) -> Option<ByRight> {
    if caller.own_around(container).is_some() {
        return None;
    }
    let is_standalone = matches!(whose(shared, container), None | Some(Whose::Standalone(_)));
    let action = if is_standalone {
        Action::LaunchStandaloneContainer
    } else {
        Action::LaunchNestedContainerAsUser
    };
    Some(ByRight { asker: caller.asker().clone(), action })
}

/// Whether the executor in `own` may do it to what is in there.
fn check_own(
    shared: &Shared,
    caller: &Caller,
    own: &ContainerId,
    touch: &Touch<'_>,
) -> Result<(), Refused> {
    // As the container around it, if nobody is named, and that was allowed.
    let Some((action, user)) = touch.deed.as_user().zip(touch.user()) else { return Ok(()) };
    if caller.may_to_user(action, Some(user)) || is_user_in(shared, own, user) {
        return Ok(());
    }
    Err(forbidden(format!(
        "The token of an executor does not allow containers of user '{user}', as whom neither it nor a \
         task of its runs"
    )))
}

/// Whether the rules let `caller` do it.
fn check_rules(
    shared: &Shared,
    caller: &Caller,
    container: &ContainerId,
    touch: &Touch<'_>,
) -> Result<(), Refused> {
    if caller.acls().allow_everything() {
        return Ok(());
    }
    let deed = touch.deed;
    let check = |action: Action, user: Option<&str>, what: &str| {
        if caller.may_to_user(action, user) {
            return Ok(());
        }
        let whose = match user {
            Some(user) => format!("user '{user}'"),
            None => "a user who is not known".to_owned(),
        };
        Err(caller.refused(&format!("{what} {whose}")))
    };
    if deed == Deed::Launch && container.parent().is_none() {
        let user = user_of_new(shared, container, touch);
        return check(deed.in_standalone(), user.as_deref(), "launch standalone containers as");
    }
    match whose(shared, container) {
        // Its handler says so.
        None => Ok(()),
        Some(Whose::Executors(user)) => {
            check(deed.in_executors(), Some(&user), &deed.words("containers"))?;
            match deed.as_user() {
                None => Ok(()),
                Some(action) => {
                    let user = user_of_new(shared, container, touch);
                    check(action, user.as_deref(), "run containers as")
                }
            }
        }
        Some(Whose::Standalone(user)) => {
            let what = deed.words("standalone containers");
            check(deed.in_standalone(), user.as_deref(), &what)?;
            let action = match deed {
                Deed::Launch => Action::LaunchStandaloneContainer,
                Deed::Session => Action::LaunchNestedContainerSessionAsUser,
                Deed::Wait | Deed::Kill | Deed::Remove | Deed::Input | Deed::Output => {
                    return Ok(());
                }
            };
            check(action, user_of_new(shared, container, touch).as_deref(), "run containers as")
        }
    }
}

/// As whom a container is to run that is asked for: as its command says, or else as the one around it.
/// Absent: it is not known whom that one runs as.
fn user_of_new(shared: &Shared, container: &ContainerId, touch: &Touch<'_>) -> Option<String> {
    if let Some(user) = touch.user() {
        return Some(user.to_owned());
    }
    let Some(parent) = container.parent() else { return Some(shared.own_user.clone()) };
    shared.real.containerizer.known_as(&parent)
}

/// What a call has to do with.
enum Touched<'a> {
    /// What everybody may know.
    Nothing,
    /// One container.
    Container(Touch<'a>),
    /// All of the agent.
    More,
}

/// What a call has to do with a container.
struct Touch<'a> {
    deed: Deed,
    /// Which one, if it names it.
    container: Option<&'a mesos::ContainerId>,
    /// What is to run in it, if anything is.
    command: Option<&'a CommandInfo>,
}

impl<'a> Touch<'a> {
    fn on(deed: Deed, container: Option<&'a mesos::ContainerId>) -> Touched<'a> {
        Touched::Container(Self { deed, container, command: None })
    }

    fn launching(
        deed: Deed,
        container: Option<&'a mesos::ContainerId>,
        command: Option<&'a CommandInfo>,
    ) -> Touched<'a> {
        Touched::Container(Self { deed, container, command })
    }

    /// As whom that is to run, if it says so.
    fn user(&self) -> Option<&'a str> {
        let user = self.command.and_then(|command| command.user.as_deref());
        user.filter(|user| !user.is_empty())
    }
}

/// What is done to a container.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Deed {
    Launch,
    Session,
    Wait,
    Kill,
    Remove,
    Input,
    Output,
}

impl Deed {
    /// What it takes in an executor's container.
    fn in_executors(self) -> Action {
        match self {
            Self::Launch => Action::LaunchNestedContainer,
            Self::Session => Action::LaunchNestedContainerSession,
            Self::Wait => Action::WaitNestedContainer,
            Self::Kill => Action::KillNestedContainer,
            Self::Remove => Action::RemoveNestedContainer,
            Self::Input => Action::AttachContainerInput,
            Self::Output => Action::AttachContainerOutput,
        }
    }

    /// What it takes with a standalone container and in one.
    fn in_standalone(self) -> Action {
        match self {
            Self::Launch => Action::LaunchStandaloneContainer,
            Self::Wait => Action::WaitStandaloneContainer,
            Self::Kill => Action::KillStandaloneContainer,
            Self::Remove => Action::RemoveStandaloneContainer,
            Self::Session | Self::Input | Self::Output => self.in_executors(),
        }
    }

    /// What it takes for the user that is to run, in an executor's container.
    fn as_user(self) -> Option<Action> {
        match self {
            Self::Launch => Some(Action::LaunchNestedContainerAsUser),
            Self::Session => Some(Action::LaunchNestedContainerSessionAsUser),
            Self::Wait | Self::Kill | Self::Remove | Self::Input | Self::Output => None,
        }
    }

    /// It in words, up to whose the containers are.
    fn words(self, containers: &str) -> String {
        match self {
            Self::Launch => format!("launch containers in {containers} of"),
            Self::Session => format!("open sessions in {containers} of"),
            Self::Wait => format!("wait for {containers} of"),
            Self::Kill => format!("kill {containers} of"),
            Self::Remove => format!("remove {containers} of"),
            Self::Input => format!("type for {containers} of"),
            Self::Output => format!("read the output of {containers} of"),
        }
    }
}

impl<'a> Touched<'a> {
    fn by(call: &'a Call) -> Self {
        match call.r#type() {
            Type::GetHealth | Type::GetVersion => Self::Nothing,
            Type::LaunchNestedContainer => {
                let it = call.launch_nested_container.as_ref();
                let command = it.and_then(|it| it.command.as_ref());
                Touch::launching(Deed::Launch, it.map(|it| &it.container_id), command)
            }
            Type::LaunchContainer => {
                let it = call.launch_container.as_ref();
                let command = it.and_then(|it| it.command.as_ref());
                Touch::launching(Deed::Launch, it.map(|it| &it.container_id), command)
            }
            Type::LaunchNestedContainerSession => {
                let it = call.launch_nested_container_session.as_ref();
                let command = it.and_then(|it| it.command.as_ref());
                Touch::launching(Deed::Session, it.map(|it| &it.container_id), command)
            }
            Type::WaitNestedContainer => {
                let it = call.wait_nested_container.as_ref();
                Touch::on(Deed::Wait, it.map(|it| &it.container_id))
            }
            Type::WaitContainer => {
                let it = call.wait_container.as_ref();
                Touch::on(Deed::Wait, it.map(|it| &it.container_id))
            }
            Type::KillNestedContainer => {
                let it = call.kill_nested_container.as_ref();
                Touch::on(Deed::Kill, it.map(|it| &it.container_id))
            }
            Type::KillContainer => {
                let it = call.kill_container.as_ref();
                Touch::on(Deed::Kill, it.map(|it| &it.container_id))
            }
            Type::RemoveNestedContainer => {
                let it = call.remove_nested_container.as_ref();
                Touch::on(Deed::Remove, it.map(|it| &it.container_id))
            }
            Type::RemoveContainer => {
                let it = call.remove_container.as_ref();
                Touch::on(Deed::Remove, it.map(|it| &it.container_id))
            }
            Type::AttachContainerInput => {
                let it = call.attach_container_input.as_ref();
                Touch::on(Deed::Input, it.and_then(|it| it.container_id.as_ref()))
            }
            Type::AttachContainerOutput => {
                let it = call.attach_container_output.as_ref();
                Touch::on(Deed::Output, it.map(|it| &it.container_id))
            }
            Type::Unknown
            | Type::GetFlags
            | Type::GetMetrics
            | Type::GetLoggingLevel
            | Type::SetLoggingLevel
            | Type::ListFiles
            | Type::ReadFile
            | Type::GetState
            | Type::GetContainers
            | Type::GetFrameworks
            | Type::GetExecutors
            | Type::GetOperations
            | Type::GetTasks
            | Type::GetAgent
            | Type::GetResourceProviders
            | Type::AddResourceProviderConfig
            | Type::UpdateResourceProviderConfig
            | Type::RemoveResourceProviderConfig
            | Type::MarkResourceProviderGone
            | Type::PruneImages => Self::More,
        }
    }
}
