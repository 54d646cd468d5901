//! `/files/*`: what can be read, and what cannot.

use std::os::unix::fs::symlink;

use model::task::TaskState;

use crate::master::{AGENT, framework_id};
use crate::{Site, command_task};

#[tokio::test]
async fn only_what_lies_in_a_sandbox_is_read() {
    let mut site = Site::new().await;
    site.master.launch(command_task(AGENT, "t1", "printf 0123456789 > data; mkdir dir"));
    site.master.status_of(TaskState::Finished).await;
    let base = format!("/frameworks/{}/executors/t1/runs/latest", framework_id());
    let debug = site.get_json("/files/debug").await;
    let real = debug
        .as_object()
        .and_then(|all| all.iter().find(|(path, _)| path.starts_with("/frameworks/")))
        .and_then(|(_, real)| real.as_str())
        .expect("the sandbox is shown")
        .to_owned();
    std::fs::write(site.work_dir.path().join("secret"), "secret").expect("a file");
    for (name, target) in [
        ("out", "/etc"),
        ("up", "../../../.."),
        ("passwd", "/etc/passwd"),
        ("circle", "circle"),
        ("proc", "/proc/self/root"),
        ("fine", "data"),
    ] {
        symlink(target, format!("{real}/{name}")).expect("a link");
    }
    for (path, status) in [
        (format!("{base}/data"), 200),
        (format!("{base}/fine"), 200),
        (format!("{real}/data"), 200),
        (format!("{base}/dir/../data"), 200),
        (format!("{base}/none"), 404),
        (format!("{base}/dir"), 400),
        (format!("{base}/data/x"), 400),
        (format!("{base}/passwd"), 400),
        (format!("{base}/out/passwd"), 400),
        (format!("{base}/up/secret"), 400),
        (format!("{base}/circle"), 400),
        (format!("{base}/proc/etc/passwd"), 400),
        (format!("{base}/../../../../../../secret"), 400),
        (format!("{base}/dir/../../data"), 400),
        (format!("{base}//etc/passwd"), 404),
        ("/etc/passwd".to_owned(), 404),
        ("../../etc/passwd".to_owned(), 404),
        ("/frameworks/../../secret".to_owned(), 404),
        (format!("{}/secret", site.work_dir.path().display()), 404),
        (format!("{}/meta/agent.redb", site.work_dir.path().display()), 404),
        (String::new(), 400),
    ] {
        for endpoint in ["read", "download"] {
            let asked = format!("/files/{endpoint}?offset=0&path={path}");
            let (got, text) = site.get(&asked).await;
            assert_eq!(got.as_u16(), status, "{asked}: {text}");
            assert!(!text.contains("root:") && !text.contains("secret\""), "{asked}: {text}");
        }
    }
    site.parts(&base).await;
    site.end().await;
}

#[tokio::test]
async fn the_agents_own_log_is_read_where_it_is_in_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let log = dir.path().join("agora-agent.log");
    std::fs::write(&log, "0123456789").expect("a file");
    let site = Site::with(|options| options.log_file = Some(log.clone())).await;
    for path in ["/slave/log", log.to_str().expect("text")] {
        let part = site.get_json(&format!("/files/read?path={path}&offset=8")).await;
        assert_eq!(part, serde_json::json!({"data": "89", "offset": 8}));
    }
    let known = site.get_json("/files/debug").await;
    assert_eq!(known["/slave/log"], log.display().to_string());
    assert_eq!(site.get("/files/read?path=/slave/secret").await.0, 404);
    site.end().await;
}

impl Site {
    async fn parts(&self, base: &str) {
        for (query, answer) in [
            ("offset=0&length=4", r#"{"data":"0123","offset":0}"#),
            ("offset=8&length=100", r#"{"data":"89","offset":8}"#),
            ("offset=50", r#"{"data":"","offset":50}"#),
            ("offset=-1", r#"{"data":"","offset":10}"#),
            ("", r#"{"data":"","offset":10}"#),
        ] {
            let (status, text) = self.get(&format!("/files/read?path={base}/data&{query}")).await;
            assert_eq!((status.as_u16(), text.as_str()), (200, answer), "{query}");
        }
        let wrong = self.get(&format!("/files/read?path={base}/data&offset=x")).await;
        assert_eq!(wrong.0, 400);
        let (_, whole) = self.get(&format!("/files/download.json?path={base}/data")).await;
        assert_eq!(whole, "0123456789");

        let listed = self.get_json(&format!("/files/browse?path={base}")).await;
        let listed = listed.as_array().expect("a list");
        let data =
            listed.iter().find(|it| it["path"] == format!("{base}/data")).expect("it is there");
        assert_eq!((&data["size"], &data["mode"]), (&10.into(), &"-rw-r--r--".into()));
        let out =
            listed.iter().find(|it| it["path"] == format!("{base}/out")).expect("it is there");
        assert!(out["mode"].as_str().is_some_and(|mode| mode.starts_with('l')), "{out}");
        assert_eq!(self.get(&format!("/files/browse?path={base}/out")).await.0, 400);
        assert_eq!(self.get("/files/browse").await.0, 400);
    }
}
