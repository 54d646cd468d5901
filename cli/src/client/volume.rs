//! `agora volume`: volumes on agents whose files outlive the tasks that use them.

use super::node::find;
use super::reservation::{
    agents, maker, messages, operate, or_nothing, part_of, reserved_on, resources_of, role,
    text_of_id,
};
use super::show::{items, print, print_json, table};
use super::{Cluster, Failure};
use crate::say::say;
use clap::{Args, Subcommand};
use framework_sdk::operations::Volume;
use model::amount::Milli;
use model::disk::Disk;
use model::resources::{Kind, Resources, unreserved};
use model::units::parse_bytes;
use proto::convert::resources::{Form, to_wire};
use serde_json::{Value, json};

/// What can be done with volumes.
#[derive(Subcommand, Debug)]
pub(crate) enum VolumeCommand {
    /// List the volumes there are, and whether a task uses them
    List {
        /// Only those on this agent: its id, the beginning or end of it, or its host name
        agent: Option<String>,
    },
    /// Make a volume of disk that is reserved for a role
    ///
    /// A framework in that role is then offered it, and a task that takes it sees it at --path. Reserve
    /// the disk first:
    ///
    ///   agora reserve AGENT disk:1024 --role db
    ///   agora volume create AGENT data --role db --size 1024 --path data
    #[command(verbatim_doc_comment)]
    Create(Create),
    /// Destroy a volume that no task uses, with all that is in it; the disk stays reserved
    Destroy(Which),
    /// Make a volume that no task uses larger, by disk that is reserved for the same role
    Grow(Resize),
    /// Make a volume that no task uses smaller; the disk stays reserved
    Shrink(Resize),
}

/// A volume that is to be.
#[derive(Args, Debug)]
pub(crate) struct Create {
    /// The agent: its id, the beginning or end of it, or its host name
    agent: String,
    /// Id of the volume, unique for its role on the agent; it names a directory
    id: String,
    /// The role that the disk is reserved for
    #[arg(long)]
    role: String,
    /// How large, in MB, or with a unit as in 10GB
    #[arg(long, value_parser = mebibytes)]
    size: Milli,
    /// Where tasks see it: below their sandbox if it is relative
    #[arg(long, default_value = "data")]
    path: String,
    /// Who makes the volume; by default the name in --credential, or in the certificate. Masters that
    /// ask for names take no other
    #[arg(long)]
    principal: Option<String>,
    /// Let several tasks use it at once, of frameworks that know how (SHARED_RESOURCES)
    #[arg(long)]
    shared: bool,
}

/// One volume.
#[derive(Args, Debug)]
pub(crate) struct Which {
    /// The agent: its id, the beginning or end of it, or its host name
    agent: String,
    /// Id of the volume, as `list` shows it
    id: String,
    /// Its role, where several have a volume of that id
    #[arg(long)]
    role: Option<String>,
}

/// How a volume changes its size.
#[derive(Args, Debug)]
pub(crate) struct Resize {
    #[command(flatten)]
    volume: Which,
    /// By how much, in MB, or with a unit as in 10GB
    #[arg(long, value_parser = mebibytes)]
    by: Milli,
}

/// Carries out `command`.
pub(crate) async fn run(command: VolumeCommand, cluster: &Cluster) -> Result<(), Failure> {
    match command {
        VolumeCommand::List { agent } => list(agent.as_deref(), cluster).await,
        VolumeCommand::Create(create) => make(&create, cluster).await,
        VolumeCommand::Destroy(which) => destroy(&which, cluster).await,
        VolumeCommand::Grow(resize) => grow(&resize, cluster).await,
        VolumeCommand::Shrink(resize) => shrink(&resize, cluster).await,
    }
}

/// Reads a size: a number of mebibytes, or one with a unit.
fn mebibytes(text: &str) -> Result<Milli, String> {
    let amount = if let Ok(number) = text.parse::<f64>() {
        Milli::from_f64(number)
    } else {
        let bytes = parse_bytes(text).map_err(|bad| bad.to_string())?;
        i64::try_from(u128::from(bytes) * 1_000 / (1 << 20)).ok().map(Milli)
    };
    let amount = amount.filter(|amount| *amount > Milli::ZERO);
    amount.ok_or_else(|| format!("'{text}' is no size above nothing; write 1024 or 1GB"))
}

async fn make(create: &Create, cluster: &Cluster) -> Result<(), Failure> {
    let role = role(&create.role)?;
    let agent = find(&create.agent, cluster).await?;
    let is_free = |kind: &Kind| !kind.is_persistent_volume() && kind.reserved_for() == Some(&role);
    let free = reserved_on(&agent)?.filtered(|key, _| &*key.name == "disk" && is_free(&key.kind));
    let disk = part_of(&free, &disk_of(create.size)).map_err(|_| {
        let (id, size) = (text_of_id(&agent), create.size);
        Failure::Refused(format!(
            "of disk that is no volume, {} is reserved for role {role} on {id}, and {size} is wanted.\n\
             Reserve it first: agora reserve {id} disk:{size} --role {role}",
            or_nothing(&free)
        ))
    })?;
    let mut volume = Volume::new(&create.id, &create.path);
    if let Some(principal) = maker(create.principal.as_deref(), cluster) {
        volume = volume.by(&principal);
    }
    if create.shared {
        volume = volume.shared();
    }
    let volumes: Vec<_> =
        to_wire(&disk, Form::Stack, None).into_iter().map(|disk| volume.of(disk)).collect();
    operate(&agent, "CREATE_VOLUMES", json!({"volumes": messages(&volumes)}), cluster).await?;
    say(&agent, &create.id, &format!("of {} MB created for role {role}", create.size), cluster);
    Ok(())
}

async fn destroy(which: &Which, cluster: &Cluster) -> Result<(), Failure> {
    let (agent, volume) = find_volume(which, cluster).await?;
    let volumes = messages(&to_wire(&volume, Form::Stack, None));
    operate(&agent, "DESTROY_VOLUMES", json!({"volumes": volumes}), cluster).await?;
    say(&agent, &which.id, "destroyed; its disk stays reserved", cluster);
    Ok(())
}

async fn grow(resize: &Resize, cluster: &Cluster) -> Result<(), Failure> {
    let (agent, volume) = find_volume(&resize.volume, cluster).await?;
    // Of the same reservation and source.
    let space = volume.with_kinds(|kind| {
        kind.disk = kind.disk.as_ref().and_then(Disk::without_volume);
    });
    let kinds: Vec<&Kind> = space.iter().map(|(key, _)| &*key.kind).collect();
    let free =
        reserved_on(&agent)?.filtered(|key, _| &*key.name == "disk" && kinds.contains(&&*key.kind));
    let addition = part_of(&free, &disk_of(resize.by)).map_err(|_| {
        let volume = &resize.volume.id;
        Failure::Refused(format!(
            "of disk reserved as that of volume {volume} is, {} is free on {}, and {} is wanted.\n\
             Reserve it first, for the same role and by the same name.",
            or_nothing(&free),
            text_of_id(&agent),
            resize.by
        ))
    })?;
    let body = json!({"volume": one(&volume), "addition": one(&addition)});
    operate(&agent, "GROW_VOLUME", body, cluster).await?;
    say(&agent, &resize.volume.id, &format!("grown by {} MB", resize.by), cluster);
    Ok(())
}

async fn shrink(resize: &Resize, cluster: &Cluster) -> Result<(), Failure> {
    let (agent, volume) = find_volume(&resize.volume, cluster).await?;
    let body = json!({"volume": one(&volume), "subtract": {"value": resize.by.as_f64()}});
    operate(&agent, "SHRINK_VOLUME", body, cluster).await?;
    say(&agent, &resize.volume.id, &format!("shrunk by {} MB", resize.by), cluster);
    Ok(())
}

async fn list(name: Option<&str>, cluster: &Cluster) -> Result<(), Failure> {
    let mut rows = Vec::new();
    for agent in agents(name, cluster).await? {
        let used = resources_of(items(&agent, "/used_resources_full").iter())?;
        for (key, value) in reserved_on(&agent)?.iter() {
            let Some(disk) = key.kind.disk.as_ref() else { continue };
            let Some(persistence) = &disk.persistence else { continue };
            let path = disk.volume.as_ref().map(|volume| volume.container_path.to_string());
            rows.push(json!({
                "agent": text_of_id(&agent),
                "role": key.kind.reserved_for().map(ToString::to_string),
                "id": persistence.id.to_string(),
                "size": value.to_string().parse::<f64>().unwrap_or_default(),
                "path": path,
                "principal": persistence.principal.as_deref(),
                "shared": key.kind.is_shared,
                "used": used.has(key),
            }));
        }
    }
    if cluster.json {
        print_json(&rows.into());
        return Ok(());
    }
    let mut table = table(["AGENT", "ROLE", "ID", "MB", "PATH", "BY", "SHARED", "USED"]);
    let columns = ["agent", "role", "id", "size", "path", "principal", "shared", "used"];
    for row in rows {
        table.add_row(columns.map(|column| super::show::text(&row, &format!("/{column}"))));
    }
    print(&table);
    Ok(())
}

/// The agent, and the volume on it.
async fn find_volume(which: &Which, cluster: &Cluster) -> Result<(Value, Resources), Failure> {
    let wanted = which.role.as_deref().map(role).transpose()?;
    let agent = find(&which.agent, cluster).await?;
    let is_it = |kind: &Kind| {
        let persistence = kind.disk.as_ref().and_then(|disk| disk.persistence.as_ref());
        persistence.is_some_and(|persistence| persistence.id.as_str() == which.id)
            && wanted.as_ref().is_none_or(|role| kind.reserved_for() == Some(role))
    };
    let found = reserved_on(&agent)?.filtered(|key, _| is_it(&key.kind));
    let roles: Vec<String> = found
        .iter()
        .filter_map(|(key, _)| key.kind.reserved_for())
        .map(ToString::to_string)
        .collect();
    match roles.len() {
        0 => Err(Failure::NotFound(format!(
            "no volume is called {} on {}; 'agora volume list' shows those there are",
            which.id,
            text_of_id(&agent)
        ))),
        1 => Ok((agent, found)),
        _ => Err(Failure::Refused(format!(
            "roles {} have a volume {} on {}; choose one by --role",
            roles.join(", "),
            which.id,
            text_of_id(&agent)
        ))),
    }
}

fn disk_of(size: Milli) -> Resources {
    Resources::from_iter([(unreserved("disk"), model::resources::Value::Scalar(size))])
}

/// The one resource as the operator API takes it.
fn one(resource: &Resources) -> Value {
    messages(&to_wire(resource, Form::Stack, None))[0].take()
}

fn say(agent: &Value, volume: &str, done: &str, cluster: &Cluster) {
    let id = text_of_id(agent);
    if cluster.json {
        print_json(&json!({"agent": id, "volume": volume, "done": done}));
    } else {
        say!("volume {volume} on {id} {done}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_mebibytes_unless_they_say_otherwise() {
        assert_eq!(mebibytes("64"), Ok(Milli::units(64)));
        assert_eq!(mebibytes("0.5"), Ok(Milli(500)));
        assert_eq!(mebibytes("2GB"), Ok(Milli::units(2_048)));
        for bad in ["0", "-1", "NaN", "much", "0MB"] {
            assert!(mebibytes(bad).is_err(), "{bad}");
        }
    }
}
