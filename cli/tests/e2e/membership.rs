//! Masters are added, removed and replaced while the cluster runs.

use crate::harness::{Daemon, Masters, PATIENCE, World, free_ports, until, until_async};
use serde_json::{Value, json};
use std::process::Command;

/// What a verb has said: its exit code, stdout and stderr.
pub(crate) type Said = (Option<i32>, String, String);

/// Runs `agora operator raft` with `args`.
pub(crate) fn raft(masters: &str, args: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_agora"))
        .args(["operator", "raft"])
        .args(args)
        .arg(format!("--master={masters}"))
        .output()
        .expect("the binary is built");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The masters, as whoever leads lists them.
fn members(masters: &str) -> Option<Vec<Value>> {
    let (code, out, _) = raft(masters, &["list", "--json"]);
    let listed: Value = serde_json::from_str(&out).ok().filter(|_| code == Some(0))?;
    listed["leader"].as_str()?;
    listed["members"].as_array().cloned()
}

/// Waits until the masters at `addresses`, and no others, are voters.
pub(crate) async fn voters_are(masters: &str, addresses: &[String]) {
    let mut expected = addresses.to_vec();
    expected.sort();
    until("the voters are as wanted", || {
        let all = members(masters)?;
        let voters = all.iter().filter(|one| one["role"] == "voter");
        let mut voters: Vec<_> = voters.filter_map(|one| one["address"].as_str()).collect();
        voters.sort_unstable();
        (voters == expected && all.len() == expected.len()).then_some(())
    })
    .await;
}

impl World {
    /// Starts a master that joins `others`.
    async fn join_master(&self, name: &str, others: &str) -> Daemon {
        let (port, join) = (free_ports(1)[0], format!("--join={others}"));
        self.start(name, &["master", "--ip=127.0.0.1", &format!("--port={port}"), &join]).await
    }

    /// Has a new master take the place of the one that has been there for the longest; `all` are the
    /// addresses of all masters, of which some may be gone. Returns once all is agreed on.
    pub(crate) async fn replace_first(&self, daemons: &mut Vec<Daemon>, name: &str, all: &str) {
        let others: Vec<_> = daemons.iter().map(|one| one.address.clone()).collect();
        daemons.push(self.join_master(name, &others.join(",")).await);
        let mut addresses: Vec<_> = daemons.iter().map(|one| one.address.clone()).collect();
        let all = format!("{all},{}", addresses.join(","));
        voters_are(&all, &addresses).await;
        let mut old = daemons.remove(0);
        addresses.remove(0);
        let (code, _, err) = raft(&all, &["remove", &old.address]);
        assert_eq!(code, Some(0), "{err}");
        assert_eq!(old.ended("the removed master ends").await, Some(1));
        voters_are(&all, &addresses).await;
    }
}

fn split(masters: &mut Masters, at: usize) -> (Daemon, Vec<String>) {
    let one = masters.daemons.remove(at);
    (one, masters.daemons.iter().map(|daemon| daemon.address.clone()).collect())
}

#[tokio::test]
async fn a_dead_master_is_replaced_with_a_command_on_the_old_and_one_on_the_new() {
    let world = World::new();
    let mut masters = world.start_masters(&[]).await;
    let _agent = world.start_agent("agent", &masters.peers, "31000-31499").await;
    let marathon = world.start_marathon("marathon", &masters.peers).await;
    let app =
        json!({ "id": "/kept", "cmd": "exec sleep 10000", "instances": 2, "cpus": 0.1, "mem": 32 });
    world.deploy(&marathon.address, &app).await;

    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let leader = world.leader(&all).await;
    let (mut dead, rest) = split(&mut masters, leader);
    dead.kill();
    let rest = rest.join(",");
    let (code, out, err) = raft(&rest, &["remove", &dead.address]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with(&format!("{} removed", dead.address)), "{out}");
    let mut new = world.join_master("master-new", &rest).await;
    let addresses: Vec<_> =
        masters.daemons.iter().chain([&new]).map(|one| one.address.clone()).collect();
    voters_are(&rest, &addresses).await;

    // The new one can lead, and knows all that was agreed on before it came.
    let (code, out, err) = raft(&rest, &["transfer-leader", &new.address]);
    assert_eq!((code, out), (Some(0), format!("{} leads\n", new.address)), "{err}");
    let state = until_async("the new master serves", PATIENCE, async || {
        let state = world.json(&new.address, "/state").await?;
        (state["activated_slaves"] == 1.0).then_some(state)
    })
    .await;
    assert_eq!(state["frameworks"].as_array().map(Vec::len), Some(1), "{state}");

    // The old one is told when it comes back, and ends.
    let port = dead.address.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let mut back = world.start_master(&dead.name, port, &masters.peers, &[]).await;
    assert_eq!(back.ended("the removed master ends").await, Some(1));
    let log = world.log(&dead.name);
    assert!(log.contains("this master was removed from the cluster"), "{log}");

    // A restart needs no other flags, nor anybody to ask.
    let port = new.address.rsplit(':').next().expect("a port").to_owned();
    let join = format!("--join={rest}");
    new.kill();
    let args = ["master", "--ip=127.0.0.1", &format!("--port={port}"), &join];
    let _new = world.start("master-new", &args).await;
    voters_are(&rest, &addresses).await;
}

#[tokio::test]
async fn a_marathon_finds_masters_that_its_flag_does_not_name_also_after_a_restart() {
    let world = World::new();
    let mut masters = world.start_masters(&[]).await;
    let mut daemons = std::mem::take(&mut masters.daemons);
    let mut marathon = world.start_marathon("marathon", &masters.peers).await;
    let app = json!({ "id": "/kept", "cmd": "true", "instances": 0, "cpus": 0.1, "mem": 32 });
    world.deploy(&marathon.address, &app).await;
    for number in 0..3 {
        let name = format!("master-new-{number}");
        world.replace_first(&mut daemons, &name, &masters.peers).await;
        let mut last: Vec<_> = daemons.iter().map(|one| json!(one.address)).collect();
        last.sort_by_key(ToString::to_string);
        // It can follow as long as one of those that it knows is left.
        until("Marathon has kept where the masters are", || {
            let text = std::fs::read(marathon.work_dir.join("masters")).ok()?;
            let kept: Value = serde_json::from_slice(&text).ok()?;
            let mut kept = kept["masters"].as_array()?.clone();
            kept.sort_by_key(ToString::to_string);
            (kept == last).then_some(())
        })
        .await;
    }

    // None of those in its flag is there any more.
    marathon.kill();
    let marathon = world.start_marathon("marathon", &masters.peers).await;
    let found = until_async("Marathon serves", PATIENCE, async || {
        world.json(&marathon.address, "/v2/apps/kept").await
    })
    .await;
    assert_eq!(found["app"]["id"], "/kept");
    let leader = world.leader(&daemons.iter().collect::<Vec<_>>()).await;
    let leader = &daemons[leader].address;
    until_async("its framework is subscribed", PATIENCE, async || {
        let state = world.json(leader, "/state").await?;
        (state["frameworks"][0]["connected"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_list_is_for_people_and_refusals_have_reasons() {
    let world = World::new();
    let masters = world.start_masters(&[]).await;
    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let leader = world.leader(&all).await;
    let address = |at: usize| masters.daemons[at % 3].address.clone();
    let (code, out, err) = raft(&masters.peers, &["list"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.trim_start().starts_with("ADDRESS"), "{out}");
    assert_eq!(out.matches("voter").count(), 3, "{out}");
    let leads: Vec<_> = out.lines().filter(|line| line.contains("  yes")).collect();
    assert!(leads.len() == 1 && leads[0].contains(&address(leader)), "{out}");

    let (code, _, err) = raft(&masters.peers, &["remove", "127.0.0.1:1"]);
    assert!(code == Some(4) && err.contains("no master has the address"), "{err}");
    let (code, _, err) = raft(&masters.peers, &["add", "127.0.0.1:1"]);
    assert!(code == Some(1) && err.contains("start a master there with --join"), "{err}");
    let (code, _, err) = raft("127.0.0.1:1", &["list"]);
    assert!(code == Some(3) && err.contains("no master answers"), "{err}");

    // One that is there already is not added again.
    let (code, out, err) = raft(&masters.peers, &["add", &address(leader + 1)]);
    assert!(code == Some(0) && out.starts_with(&address(leader + 1)), "{out}{err}");
    voters_are(&masters.peers, &[address(0), address(1), address(2)]).await;

    // The leading one hands on and is removed by the next.
    let (code, out, err) = raft(&address(leader), &["remove", &address(leader)]);
    assert!(code == Some(0) && out.contains("removed"), "{out}{err}");
    let others = format!("{},{}", address(leader + 1), address(leader + 2));
    until("the removed master says so", || {
        world
            .log(&masters.daemons[leader].name)
            .contains("was removed from the cluster")
            .then_some(())
    })
    .await;
    voters_are(&others, &[address(leader + 1), address(leader + 2)]).await;
}

/// Waits until nothing has been heard of a master for so long that it does not count any more.
async fn is_silent(masters: &str, address: &str) {
    until("its silence is noticed", || {
        let all = members(masters)?;
        let one = all.iter().find(|one| one["address"] == address)?;
        one["heard_ms_ago"].as_u64().is_some_and(|ago| ago > 2_000).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_removal_that_leaves_too_few_is_refused_unless_it_is_forced() {
    let world = World::new();
    let mut masters = world.start_masters(&[]).await;
    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let leader = world.leader(&all).await;
    let [leads, away, other] = [0, 1, 2].map(|n| masters.daemons[(leader + n) % 3].address.clone());
    masters.daemons[(leader + 1) % 3].kill();
    is_silent(&leads, &away).await;
    for _ in 0..2 {
        let (code, out, err) = raft(&leads, &["remove", &other]);
        let why = "of the 2 voters that would be left only 1 can be reached, and 2 must be to agree \
                   on anything; start another one first, or use --force";
        assert!(code == Some(1) && err.contains(why) && out.is_empty(), "{code:?} {out}{err}");
        // Nothing has come of it, the first time and the second.
        let listed = members(&leads).expect("it is listed");
        let voters = listed.iter().filter(|one| one["role"] == "voter");
        assert_eq!(voters.count(), 3, "{listed:?}");
    }

    // By force it is done, and there is no leader until the one that was away is back.
    let (code, out, err) = raft(&leads, &["remove", &other, "--force"]);
    assert!(code == Some(0) && out.starts_with(&format!("{other} removed")), "{out}{err}");
    until("it leads no more", || members(&leads).is_none().then_some(())).await;
    let at = (leader + 1) % 3;
    let port = away.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let name = masters.daemons[at].name.clone();
    masters.daemons[at] = world.start_master(&name, port, &masters.peers, &[]).await;
    let both = [leads, away];
    voters_are(&both.join(","), &both).await;

    // The last one stays, whatever is said.
    let world = World::new();
    let port = free_ports(1)[0];
    let address = format!("127.0.0.1:{port}");
    let alone = world.start_master("alone", port, &address, &[]).await;
    world.leader(&[&alone]).await;
    for args in [&["remove", &address][..], &["remove", &address, "--force"]] {
        let (code, _, err) = raft(&address, args);
        assert!(code == Some(1) && err.contains("the last master cannot be removed"), "{err}");
    }
}

/// A file system of a few MiB, unmounted with the test.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mounted_at(path: std::path::PathBuf) -> Self {
        std::fs::create_dir_all(&path).expect("a directory");
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), &path, Some("tmpfs"), flags, Some("size=6m"))
            .expect("root may mount");
        Self(path)
    }

    /// Leaves no byte free.
    fn fill(&self) {
        use std::io::Write as _;
        let mut file = std::fs::File::create(self.0.join("filler")).expect("a file");
        while file.write_all(&[1; 4096]).is_ok() {}
        while file.write_all(&[1]).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it is there");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_leader_whose_disk_is_full_hands_on_and_takes_part_again_when_there_is_space() {
    let world = World::new();
    let small = SmallDisk::mounted_at(world.path("master-0"));
    let masters = world.start_masters(&[]).await;
    let marathon = world.start_marathon("marathon", &masters.peers).await;
    let all: Vec<&Daemon> = masters.daemons.iter().collect();
    let first = &masters.daemons[0];
    let (code, _, err) = raft(&masters.peers, &["transfer-leader", &first.address]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(world.leader(&all).await, 0);

    small.fill();
    // Apps are written to the log: one of these finds the disk full.
    let leader = until_async("another master leads", PATIENCE, async || {
        for number in 0..8 {
            let app = json!({ "id": format!("/full-{number}"), "cmd": "true", "instances": 0, "labels": { "long": "x".repeat(8_000) } });
            let path = format!("/v2/apps/full-{number}?force=true");
            let request =
                world.http.put(format!("http://{}{path}", marathon.address)).json(&app);
            let _ = request.send().await;
        }
        let all = members(&masters.peers)?;
        let leader = all.iter().find(|one| one["leading"] == true)?["address"].as_str()?;
        (leader != first.address).then(|| leader.to_owned())
    })
    .await;
    let log = world.log("master-0");
    assert!(log.contains("cannot write the log") && log.contains("make space"), "{log}");
    let serves = world.json(&first.address, "/state").await;
    assert!(serves.is_none(), "it does not serve");
    world
        .deploy(&marathon.address, &json!({ "id": "/meanwhile", "cmd": "true", "instances": 0 }))
        .await;

    small.empty();
    until("it can write again", || {
        world.log("master-0").contains("the log can be written again").then_some(())
    })
    .await;
    until("it has caught up", || {
        let all = members(&leader)?;
        let one = |address: &str| all.iter().find(|one| one["address"] == address).cloned();
        (one(&first.address)?["matched_index"].as_u64()?
            == one(&leader)?["matched_index"].as_u64()?)
        .then_some(())
    })
    .await;
    let (code, _, err) = raft(&masters.peers, &["transfer-leader", &first.address]);
    assert_eq!(code, Some(0), "{err}");
    let apps = until_async("Marathon leads", PATIENCE, async || {
        world.json(&marathon.address, "/v2/apps/meanwhile").await
    })
    .await;
    assert_eq!(apps["app"]["id"], "/meanwhile");
    assert_eq!(world.leader(&all).await, 0);
}
