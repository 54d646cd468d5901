//! Whom executors run as: as their command says, else their image, else their framework.

use model::acl::{Acls, Action};
use model::framework::Framework;
use proto::mesos::v1::CommandInfo;

use crate::images::{Provisioned, Way};
use crate::launcher::Identity;

/// Whom a container runs as.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Whom {
    /// Absent: as the agent, or as the container around it.
    pub(crate) identity: Option<Identity>,
    /// That user's directory in the image.
    pub(crate) home: Option<String>,
    /// What rules call that user. Absent: as the container around it.
    pub(crate) known_as: Option<String>,
}

/// Whom the executor runs as. Without `switch_user` that is whom the agent runs as, whatever is asked.
pub(crate) fn of_executor(
    command: &CommandInfo,
    framework: &Framework,
    image: Option<&Provisioned>,
    (switch_user, acls): (bool, &Acls),
) -> Result<Whom, String> {
    let said = |user: &str| Some(user.to_owned()).filter(|user| !user.is_empty());
    let asked = command.user.as_deref().and_then(said);
    let usual = said(&framework.user);
    let Some(image) = image.filter(|_| switch_user) else {
        let user = asked.or(usual);
        let other = user.as_deref().filter(|_| switch_user);
        let identity = other.map(Identity::of).transpose().map_err(|error| error.to_string())?;
        let known_as = Some(user.unwrap_or_else(Identity::own_name));
        return Ok(Whom { identity, home: None, known_as });
    };
    let of_image = |user: &str| image.user(user).map_err(|error| error.to_string());
    // Docker asks nobody but the image.
    let usual = usual.filter(|_| image.way == Way::Mesos);
    let (user, found) = match (asked, &image.config.user, usual) {
        // Whom a parameter names the master's rules, and this agent's, have spoken of.
        (_, Some(given), _) if image.user_is_given => (given.clone(), of_image(given)?),
        (None, Some(own), _) => (allowed(own.clone(), framework, acls)?, of_image(own)?),
        (Some(user), _, _) | (None, None, Some(user)) => {
            let Ok(found) = of_image(&user) else {
                // Somebody the image does not name may still be known here.
                let identity = Identity::of(&user).map_err(|error| error.to_string())?;
                let (identity, known_as) = (Some(identity), Some(user));
                return Ok(Whom { identity, home: None, known_as });
            };
            (user, found)
        }
        (None, None, None) => (allowed("0".to_owned(), framework, acls)?, of_image("0")?),
    };
    Ok(Whom { identity: Some(found.identity), home: found.home, known_as: Some(user) })
}

/// The user that an image chose, if the framework may run tasks as that one. Nobody could know before the
/// image was here.
fn allowed(user: String, framework: &Framework, acls: &Acls) -> Result<String, String> {
    if acls.allow_user(Action::RunTask, framework.principal.as_deref(), &user) {
        return Ok(user);
    }
    Err(format!(
        "its image is run as user '{user}', as whom framework '{}' may run nothing by this agent's \
         --acls (run_tasks); name another user",
        framework.name
    ))
}
