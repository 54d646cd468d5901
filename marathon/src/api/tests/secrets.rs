//! Secrets: kept, named, and never told.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use serde_json::json;

use super::harness::Api;
use crate::options::Options;

/// A key file that goes with the test.
struct Key(PathBuf);

impl Key {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("agora-{name}-{}", std::process::id()));
        std::fs::write(&path, [3; 32]).expect("written");
        let permissions = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, permissions).expect("set");
        Self(path)
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[tokio::test]
async fn a_secret_is_kept_named_and_forgotten_and_its_value_told_nowhere() {
    let key = Key::new("secrets");
    let options = Options { secrets_key_file: Some(key.0.clone()), ..Options::default() };
    let api = Api::with(options).await;
    let put = async |path: &str, value: &str| {
        let request = api.http.put(format!("{}/agora/v1/secrets/{path}", api.base));
        request.body(value.to_owned()).send().await.expect("answered").status().as_u16()
    };
    assert_eq!(put("shop/key", "s3cr3t-value").await, 204);
    assert_eq!(put("/other", "x").await, 204);
    assert_eq!(put("bad path!", "x").await, 422);
    assert_eq!(put("empty", "").await, 400);
    assert_eq!(put("long", &"x".repeat(70_000)).await, 413);
    assert_eq!(api.get("/agora/v1/secrets").await, json!({"secrets": ["other", "shop/key"]}));
    let read = api.ask("GET", "/agora/v1/secrets/shop/key", None).await;
    assert_eq!(read.0, 405, "nobody reads one: {}", read.1);

    let app = json!({"id": "/web", "cmd": "x", "env": {"KEY": {"secret": "k"}},
                     "secrets": {"k": {"source": "/shop/key"}}});
    api.create(&app).await;
    for path in ["/v2/apps/web", "/v2/queue", "/config", "/agora/v1/explain/app/web", "/v2/groups"]
    {
        let told = api.get(path).await.to_string();
        assert!(!told.contains("s3cr3t"), "{path}: {told}");
    }
    let (status, refusal) = api.ask("DELETE", "/agora/v1/secrets/shop/key", None).await;
    assert_eq!(status, 409, "{refusal}");
    assert!(refusal["message"].to_string().contains("used by /web"), "{refusal}");
    assert_eq!(api.ask("DELETE", "/agora/v1/secrets/shop/key?force=true", None).await.0, 204);
    assert_eq!(api.ask("DELETE", "/agora/v1/secrets/shop/key", None).await.0, 404);
}

#[tokio::test]
async fn without_a_key_nothing_is_kept() {
    let api = Api::start().await;
    let (status, refusal) = api.ask("PUT", "/agora/v1/secrets/a", Some(&json!("x"))).await;
    assert_eq!(status, 501);
    assert!(refusal["message"].to_string().contains("--secrets_key_file"), "{refusal}");
    assert_eq!(api.get("/agora/v1/secrets").await, json!({"secrets": []}));
}
