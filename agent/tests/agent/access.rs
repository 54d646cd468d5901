//! Who is let in by an agent that asks for names and secrets.

use std::sync::Arc;

use agent::Authentication;
use transport::auth::{Credential, Credentials};

use crate::{Site, client};

#[tokio::test]
async fn an_agent_asks_for_a_name_and_its_secret() {
    let known = Credentials::new([Credential::new("ops", "o")]);
    let site = Site::with(move |options| {
        options.authentication =
            Authentication { credentials: Some(Arc::new(known)), readonly: true, readwrite: true };
    })
    .await;
    for (path, realm) in [
        ("/state", "mesos-agent-readonly"),
        ("/slave(1)/files/browse", "mesos-agent-readonly"),
        ("/metrics", "mesos-agent-readonly"),
        ("/api/v1", "mesos-agent-readwrite"),
    ] {
        let answer = client().get(site.url(path)).send().await.expect("an answer");
        assert_eq!(answer.status(), 401, "{path}");
        let challenge = answer.headers()["www-authenticate"].to_str().expect("text");
        assert_eq!(challenge, format!("Basic realm=\"{realm}\""), "{path}");
        for (secret, is_let_in) in [("o", true), ("x", false)] {
            let shown = Credential::new("ops", secret).basic();
            let answer = client().get(site.url(path)).header("authorization", shown).send().await;
            assert_eq!(answer.expect("an answer").status() != 401, is_let_in, "{path}");
        }
    }
    // Executors have their own proof, and balancers ask without any.
    for path in ["/health", "/version", "/api/v1/executor"] {
        let answer = client().get(site.url(path)).send().await.expect("an answer");
        assert_ne!(answer.status(), 401, "{path}");
    }
    site.end().await;
}
