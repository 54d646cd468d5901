//! Containers that listen where they may not.

use std::fs;
use std::time::Duration;

use agent::containerizer::{
    Containerizer, ContainerizerOptions, Isolation, Limitation, Networks, PortOptions,
};
use model::amount::Ranges;

use crate::host::{Host, PATIENCE, eventually, id};

/// Listens on a port of the kernel's choice, which it tells, and on none before it is told to.
const LISTENER: &str = "import socket, time, os\n\
    while not os.path.exists('go'): time.sleep(0.01)\n\
    s = socket.socket(); s.bind(('127.0.0.1', int(os.environ['PORT']))); s.listen()\n\
    open('port', 'w').write(str(s.getsockname()[1]))\n\
    time.sleep(1000)\n";

/// Two ports that nobody has.
fn free_ports() -> [u16; 2] {
    let held = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    held.map(|it| it.local_addr().expect("it is bound").port())
}

fn options(host: &Host, enforced: bool) -> ContainerizerOptions {
    let isolation = "cgroups/cpu,namespaces/pid,network/cni,network/ports";
    ContainerizerOptions {
        isolation: Isolation::parse(isolation).expect("names"),
        ports: PortOptions { enforced, interval: Duration::from_millis(20), only: None },
        ..host.options()
    }
}

async fn launched(host: &Host, containerizer: &Containerizer, name: &str, port: u16, own: &[u16]) {
    let mut spec = host.spec(name, "exec /usr/bin/python3 program");
    fs::write(spec.sandbox.join("program"), LISTENER).expect("it is written");
    spec.environment.push(("PORT".to_owned(), port.to_string()));
    spec.ports = own.iter().map(|port| (u64::from(*port), u64::from(*port))).collect();
    if name == "apart" {
        spec.wanted.networks = Networks::Own(Vec::new());
    }
    containerizer.launch(spec).await.expect("it starts");
}

#[tokio::test]
async fn a_container_that_listens_where_it_may_not_is_ended_and_its_neighbours_are_not() {
    let host = Host::new();
    let first = Containerizer::new(options(&host, true)).expect("these tests run as root");
    let [own, foreign] = free_ports();
    launched(&host, &first, "good", own, &[own]).await;
    launched(&host, &first, "bad", foreign, &[own]).await;
    launched(&host, &first, "apart", foreign, &[]).await;
    let go = |name: &str| {
        fs::write(host.dir.path().join(name).join("go"), "").expect("it is there");
    };
    let listens = |name: &str| host.dir.path().join(name).join("port").exists();
    go("good");
    go("apart");
    eventually("they listen", || listens("good") && listens("apart")).await;
    // The next agent knows what is whose.
    drop(first);
    let second = Containerizer::new(options(&host, true)).expect("these tests run as root");
    let known = ["good", "bad", "apart"].map(id);
    assert_eq!(second.recover(&known).await.expect("it is read").running.len(), 3);
    go("bad");
    let ended = tokio::time::timeout(PATIENCE, second.wait(&id("bad"))).await.expect("it ends");
    assert_eq!((ended.limitation, ended.destroyed), (Some(Limitation::Port(foreign)), false));
    host.assert_nothing_left("bad");
    for name in ["good", "apart"] {
        assert_eq!(second.limitation(&id(name)).await, None);
    }
    // What is taken from it, it may not listen on any more.
    second.update_ports(&id("good"), Ranges::default()).await.expect("it runs");
    let ended = tokio::time::timeout(PATIENCE, second.wait(&id("good"))).await.expect("it ends");
    assert_eq!(ended.limitation, Some(Limitation::Port(own)));
    let ended = second.destroy(&id("apart")).await;
    assert_eq!((ended.limitation, ended.destroyed), (None, true));
}
