use std::sync::Arc;

use reqwest::Method;
use transport::auth::{Credential, Credentials};

use super::harness::{Api, PATIENCE};
use crate::options::Options;

#[tokio::test]
async fn with_credentials_everything_but_ping_asks_for_them() {
    let known = Credentials::new([Credential::new("ada", "l")]);
    let api = Api::with(Options { http_credentials: Some(Arc::new(known)), ..Options::default() });
    let api = api.await;
    for (method, path, status) in [
        ("GET", "/ping", 200),
        ("OPTIONS", "/v2/apps", 405),
        ("GET", "/v2/apps", 401),
        ("POST", "/v2/apps", 401),
        ("GET", "/v2/info", 401),
        ("GET", "/v2/events", 401),
        ("GET", "/metrics", 401),
        ("GET", "/config", 401),
        ("GET", "//ping/../v2/apps", 401),
    ] {
        let answer = api.send(method, path, None).await;
        assert_eq!(answer.status(), status, "{method} {path}");
        if status == 401 {
            assert_eq!(answer.headers()["www-authenticate"], "Basic realm=\"Mesosphere\"");
        }
    }
    for (password, status) in [("l", 200), ("x", 401)] {
        let shown = Credential::new("ada", password).basic();
        let request = api.http.request(Method::GET, format!("{}/v2/apps", api.base));
        let request = request.header("authorization", shown).timeout(PATIENCE);
        assert_eq!(request.send().await.expect("answered").status(), status);
    }
}
