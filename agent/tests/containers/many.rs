//! Many containers at once, again and again.

use std::fs;
use std::path::Path;

use futures::future::join_all;

use crate::host::{Host, exited, id, processes_in};

/// How many run at once.
const CONTAINERS: usize = 100;

/// How often. After the first round all that is made once is there.
const ROUNDS: usize = 3;

/// Files that this process has open.
fn open_files() -> usize {
    fs::read_dir("/proc/self/fd").expect("it can be read").count()
}

/// Mounts that this process sees. Those in the directories of other tests are theirs.
fn mounts(own: &Path) -> usize {
    let temporary = std::env::temp_dir();
    let counts = |line: &&str| {
        let at = Path::new(line.split(' ').nth(4).unwrap_or_default());
        at.starts_with(own) || !at.starts_with(&temporary)
    };
    let text = fs::read_to_string("/proc/self/mountinfo").expect("it can be read");
    text.lines().filter(counts).count()
}

/// What lies below a directory.
fn entries(directory: &Path) -> usize {
    fs::read_dir(directory).expect("it is there").count()
}

#[tokio::test]
async fn a_hundred_containers_come_and_go_and_nothing_stays() {
    let host = Host::new();
    let containerizer = host.containerizer();
    let runtime = host.dir.path().join("run/containers");
    let mounted = mounts(host.dir.path());
    let mut open = None;
    for round in 0..ROUNDS {
        let names: Vec<String> = (0..CONTAINERS).map(|n| format!("r{round}-c{n}")).collect();
        // Half of them end by themselves, half are ended.
        let spec = |(n, name): (usize, &String)| {
            host.spec(name, if n % 2 == 0 { "exit 3" } else { "sleep 1000" })
        };
        let specs: Vec<_> = names.iter().enumerate().map(spec).collect();
        for launched in join_all(specs.into_iter().map(|it| containerizer.launch(it))).await {
            launched.expect("it starts");
        }
        let ends = names.iter().enumerate().map(async |(n, name)| {
            let container = id(name);
            let ended = match n % 2 {
                0 => containerizer.wait(&container).await,
                _ => containerizer.destroy(&container).await,
            };
            containerizer.forget(&container).await;
            ended
        });
        for (n, ended) in join_all(ends).await.into_iter().enumerate() {
            assert_eq!(ended.leftovers, "");
            assert_eq!((ended.destroyed, ended.status == exited(3)), (n % 2 == 1, n % 2 == 0));
        }

        assert_eq!(entries(&runtime), 0);
        assert!(names.iter().all(|name| host.groups_of(name).is_empty()));
        assert!(processes_in(&host.dir.path().display().to_string()).is_empty());
        assert_eq!(mounts(host.dir.path()), mounted);
        let now = open_files();
        assert!(now <= *open.get_or_insert(now), "{now} files are open, {open:?} before");
    }
}
