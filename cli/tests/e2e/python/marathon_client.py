"""The life of an app through the `marathon` client library, which rejects keys it does not know."""
import collections
import collections.abc
import sys
import threading
import time

# The library uses a name that Python 3.10 took away; it itself stays as it was published.
collections.Iterable = collections.abc.Iterable

from marathon import MarathonClient
from marathon.exceptions import NotFoundError
from marathon.models import MarathonApp, MarathonGroup, MarathonHealthCheck


def until(what, look):
    deadline = time.time() + 60
    while time.time() < deadline:
        if look():
            return
        time.sleep(0.1)
    raise SystemExit("not in time: " + what)


def done(client):
    until("the deployment is done", lambda: not client.list_deployments())


def groups(client):
    """A group is made, scaled, taken back and deleted, and the events of it can be read."""
    seen = []

    def listen():
        for event in client.event_stream():
            seen.append(type(event).__name__)

    threading.Thread(target=listen, daemon=True).start()
    until("the stream is there", lambda: "MarathonEventStreamAttached" in seen)
    leaf = MarathonApp(id="leaf", cmd="exec sleep 1000", mem=32, cpus=0.1, instances=1)
    made = client.create_group(MarathonGroup(id="/tree", groups=[MarathonGroup(id="branch", apps=[leaf])]))
    done(client)
    group = client.get_group("tree")
    assert group.groups[0].apps[0].id == "/tree/branch/leaf", group
    assert [one.id for one in client.list_groups()] == ["/tree"]
    client.scale_group("tree", 2)
    done(client)
    leaf = lambda: client.get_app("tree/branch/leaf")
    assert leaf().instances == 2
    client.rollback_group("tree", made["version"])
    done(client)
    assert leaf().instances == 1
    client.delete_group("tree")
    done(client)
    assert client.list_groups() == []
    until("events were read", lambda: "MarathonDeploymentSuccess" in seen)


def main(url):
    client = MarathonClient(url)
    assert client.ping() == b'"pong"', client.ping()
    info = client.get_info()
    assert info.framework_id, info
    assert client.get_leader()
    groups(client)

    check = MarathonHealthCheck(protocol="MESOS_HTTP", path="/", port_index=0, interval_seconds=1,
                                grace_period_seconds=30)
    made = client.create_app("third-party", MarathonApp(
        cmd="exec python3 -m http.server $PORT0 --bind 127.0.0.1", mem=64, cpus=0.1, instances=2,
        labels={"made-by": "client"}, health_checks=[check]))
    assert made.id == "/third-party", made
    app = lambda: client.get_app("third-party")
    until("two run", lambda: app().tasks_running == 2)
    until("two are healthy", lambda: app().tasks_healthy == 2)
    until("the deployment is done", lambda: not client.list_deployments())

    client.scale_app("third-party", instances=3)
    until("three run", lambda: app().tasks_running == 3)
    until("the deployment is done", lambda: not client.list_deployments())
    assert [one.id for one in client.list_apps()] == ["/third-party"]
    assert [one.id for one in client.list_apps(label="made-by==client")] == ["/third-party"]
    tasks = client.list_tasks("third-party")
    assert len(tasks) == 3 and all(task.ports for task in tasks), tasks
    assert client.list_versions("third-party")

    victim = tasks[0].id
    client.kill_task("third-party", victim)
    until("the killed task is replaced", lambda: app().tasks_running == 3
          and victim not in [task.id for task in client.list_tasks("third-party")])
    client.restart_app("third-party")
    until("the restart is done", lambda: not client.list_deployments())
    assert client.list_queue() == []

    client.delete_app("third-party")
    until("the deletion is done", lambda: not client.list_deployments())
    try:
        client.get_app("third-party")
    except NotFoundError:
        return
    raise SystemExit("the app is still there")


if __name__ == "__main__":
    main(sys.argv[1])
    print("done")
