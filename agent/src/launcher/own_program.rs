//! Brings a program of the agent's own into a container that has files of its own.
//!
//! The built-in executor runs beside its task, so that health checks and sessions see what the task
//! sees. An image has neither the program nor, perhaps, any of the libraries that it is linked with.
//! They are brought along, read-only, and the program is started by its own loader.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Plan, Volume, VolumeSource};

/// Where the container sees them.
const PLACE: &str = "/mnt/mesos/executor";

/// The plan, with the agent's own program where the container can execute it.
///
/// The libraries are those that this process has loaded: it is the same program in another mode.
pub(super) fn bring_along(mut plan: Plan) -> Result<Plan, String> {
    if plan.rootfs.is_none() || !plan.small {
        return Ok(plan);
    }
    let program = plan.programs.first().cloned().unwrap_or_default();
    let mut bring = |source: &Path| {
        let place = Path::new(PLACE).join(source.file_name().unwrap_or_default());
        plan.shown.push(Volume {
            source: VolumeSource::Host(source.to_owned()),
            container_path: place.clone(),
            read_only: true,
        });
        place
    };
    let inside = bring(&program);
    let maps = fs::read_to_string("/proc/self/maps")
        .map_err(|error| format!("cannot see which libraries the executor needs: {error}"))?;
    let libraries: BTreeSet<&Path> = libraries(&maps).collect();
    let mut loader: Option<PathBuf> = None;
    for library in libraries {
        let place = bring(library);
        if is_loader(library) {
            loader = Some(place);
        }
    }
    let Some(loader) = loader else {
        // It is linked with none.
        plan.programs = vec![inside];
        return Ok(plan);
    };
    let own_name = plan.arguments.first().cloned().unwrap_or_default();
    let words = [loader.display().to_string(), "--library-path".to_owned(), PLACE.to_owned()];
    let named = ["--argv0".to_owned(), own_name, inside.display().to_string()];
    let rest = plan.arguments.drain(..).skip(1);
    plan.arguments = words.into_iter().chain(named).chain(rest).collect();
    plan.programs = vec![loader];
    Ok(plan)
}

/// The libraries among what a process has mapped.
fn libraries(maps: &str) -> impl Iterator<Item = &Path> {
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    paths.filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        path.extension().is_some_and(|it| it == "so") || name.contains(".so.")
    })
}

fn is_loader(library: &Path) -> bool {
    let name = library.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("ld-") || name.starts_with("ld.so")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launcher::Rootfs;

    #[test]
    fn the_program_is_started_by_its_loader_with_its_libraries() {
        let arguments = ["/opt/agora", "executor"].map(str::to_owned).to_vec();
        let plan = Plan {
            programs: vec!["/opt/agora".into()],
            arguments: arguments.clone(),
            rootfs: Some(Rootfs::default()),
            small: true,
            ..Plan::default()
        };
        let brought = bring_along(plan.clone()).expect("this process can see itself");
        let shown = &brought.shown;
        assert_eq!(shown[0].source, VolumeSource::Host("/opt/agora".into()));
        assert_eq!(shown[0].container_path, Path::new("/mnt/mesos/executor/agora"));
        assert!(shown.iter().all(|each| each.read_only));
        let has_libc = |each: &Volume| each.container_path.to_string_lossy().contains("/libc.so");
        assert!(shown.iter().any(has_libc));
        assert!(is_loader(&brought.programs[0]), "{:?}", brought.programs);
        let last = ["--argv0", "/opt/agora", "/mnt/mesos/executor/agora", "executor"];
        assert_eq!(brought.arguments[3..], last);

        let other = bring_along(Plan { small: false, ..plan }).expect("nothing to do");
        assert_eq!(other.arguments, arguments, "a program of the image is started as it is");
    }
}
