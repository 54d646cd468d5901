//! What who writes a scenario wrong is told.

use super::play;

fn wrong(text: &str) -> String {
    play(text).expect_err("it is wrong").to_string()
}

#[test]
fn who_writes_a_step_wrong_is_told_what_to_write() {
    assert_eq!(
        wrong("cluster agents=1"),
        "line 1: the first line says what the scenario shows: write '# A task outlives …'"
    );
    let unknown = wrong("# It crashes.\ncluster agents=1\ncrsh leader\n");
    assert!(
        unknown.starts_with("line 3: 'crsh' is no step: write one of cluster, framework, run,")
    );
    assert_eq!(
        wrong("# It crashes.\ncluster agents=1\nrun fast\n"),
        "line 3: 'run fast' cannot be read: write run 2s"
    );
    let rest = wrong("# It crashes.\ncluster agents=1\nrun 2s more\n");
    assert_eq!(rest, "line 3: 'run 2s more' cannot be read: write run 2s");
    for line in ["accept f agent-1 reserve cpus", "cut agent-1 sideways 3s", "crash f", "expect"] {
        let told = wrong(&format!("# It crashes.\ncluster agents=1\n{line}\n"));
        assert!(told.starts_with(&format!("line 3: '{line}' cannot be read: write ")), "{told}");
    }
}

#[test]
fn a_step_that_cannot_be_done_says_what_is_missing() {
    let begin = "# It crashes.\ncluster agents=1\n";
    assert!(wrong("# It crashes.\nrun 1s\n").starts_with("line 2: there is no cluster yet"));
    assert!(wrong("# It crashes.\n").contains("nothing is played: write 'cluster agents=2"));
    let told = |step: &str| wrong(&format!("{begin}{step}\n"));
    assert!(told("kill f t1").contains("write 'framework f' first"));
    assert!(told("crash agent-2").contains("there is no agent-2 of 1"));
    assert!(told("crash leader").contains("no master leads"));
    assert!(told("app /web instances=1").contains("'cluster … marathons=3'"));
    assert!(told("drain agent-1").contains("'wait 10s for agent-1 is registered' first"));
    let lost = told("framework f\nlose f ACCEPT");
    assert!(lost.contains("calls=requests"), "{lost}");
    let waited = told("wait 3s for agent-7");
    assert!(waited.contains("'agent-7' was not told within 3s"), "{waited}");
    let expected = told("run 5s\nexpect running t1");
    assert!(expected.contains("line 4: there run {}"), "{expected}");
}

#[test]
fn what_was_told_takes_the_place_of_what_stood_there() {
    let text =
        "# It begins.\ncluster agents=1\nwait 10s for leads\n----\nsomething else\n\n# Nothing.\n";
    let told = play(text).expect("it is well formed");
    assert!(told.contains("----\nmaster-"), "{told}");
    assert!(told.ends_with("leads\n\n# Nothing.\n"), "{told}");
    assert_eq!(play(&told), Ok(told.clone()));
}
