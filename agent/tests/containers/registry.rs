//! Images of registries: Debian's own, and one that is played by the test and does not behave.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use agent::images::{Credentials, Images, Mirror, Registries, Registry, WantedImage};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use parking_lot::Mutex;
use serde_json::json;

use crate::host::{Host, eventually};
use crate::image::{Built, busybox, digest};
use crate::images::{images_of, wanted};

/// What the played registry does wrong.
#[derive(Default)]
struct Faults {
    /// Breaks every transfer of a layer off half way, once.
    cuts: AtomicBool,
    /// Knows nothing of parts.
    no_parts: AtomicBool,
    /// Sends other bytes than were asked for, for this digest.
    alters: Mutex<Option<String>>,
    /// Sends bytes without an end.
    floods: AtomicBool,
    /// Wants a token.
    wants_token: AtomicBool,
}

/// A registry played by the test. It has one image, `app:1`.
struct Played {
    image: Built,
    faults: Faults,
    address: SocketAddr,
    /// How often each path was asked for.
    asked: Mutex<BTreeMap<String, u32>>,
    tokens: AtomicU32,
    stop: tokio_util::sync::CancellationToken,
}

impl Played {
    async fn start() -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let played = Arc::new(Self {
            image: busybox(&json!({"Cmd": ["cat", "/old/new"]})),
            faults: Faults::default(),
            address: listener.local_addr().expect("it is bound"),
            asked: Mutex::default(),
            tokens: AtomicU32::new(0),
            stop: tokio_util::sync::CancellationToken::new(),
        });
        let router = Router::new()
            .route("/token", axum::routing::get(token))
            .route("/v2/app/{kind}/{name}", axum::routing::get(answer))
            .with_state(Arc::clone(&played));
        let stop = played.stop.clone().cancelled_owned();
        tokio::spawn(axum::serve(listener, router).with_graceful_shutdown(stop).into_future());
        played
    }

    fn reference(&self, rest: &str) -> String {
        format!("{}/app{rest}", self.address)
    }

    fn asked(&self, path: &str) -> u32 {
        self.asked.lock().get(path).copied().unwrap_or(0)
    }
}

async fn token(
    State(played): State<Arc<Played>>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let shown = base64::engine::general_purpose::STANDARD.encode("me:secret");
    let shown = format!("Basic {shown}");
    if headers.get("authorization").is_none_or(|it| *it != shown) {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    assert_eq!(query["service"], "played");
    assert_eq!(query["scope"], "repository:app:pull");
    played.tokens.fetch_add(1, Ordering::Relaxed);
    axum::Json(json!({"token": "abc"})).into_response()
}

async fn answer(
    State(played): State<Arc<Played>>,
    UrlPath((kind, name)): UrlPath<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let faults = &played.faults;
    let header = |name: &str| headers.get(name).and_then(|it| it.to_str().ok());
    if faults.wants_token.load(Ordering::Relaxed) && header("authorization") != Some("Bearer abc") {
        let challenge = format!(
            r#"Bearer realm="http://{}/token",service="played",scope="repository:app:pull""#,
            played.address
        );
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    let count = {
        let mut asked = played.asked.lock();
        let count = asked.entry(name.clone()).or_default();
        *count += 1;
        *count
    };
    let name = if name == "1" { played.image.manifest.clone() } else { name };
    let Some(bytes) = played.image.blobs.get(&name) else {
        let words = json!({"errors": [{"code": "MANIFEST_UNKNOWN"}]});
        return (StatusCode::NOT_FOUND, axum::Json(words)).into_response();
    };
    let mut bytes = bytes.clone();
    if faults.alters.lock().as_ref() == Some(&name) {
        let last = bytes.last_mut().expect("it has bytes");
        *last ^= 1;
    }
    if faults.floods.load(Ordering::Relaxed) && kind == "manifests" {
        let spaces = Bytes::from(vec![b' '; 65_536]);
        let endless = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(spaces.clone()));
        return Body::from_stream(endless).into_response();
    }
    let from =
        header("range").and_then(|it| it.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let from: usize = from.filter(|_| !faults.no_parts.load(Ordering::Relaxed)).unwrap_or(0);
    let rest = bytes.split_off(from);
    let status = if from > 0 { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let is_layer = played.image.layers.contains(&name);
    if is_layer && faults.cuts.load(Ordering::Relaxed) && count == 1 {
        let length = rest.len().to_string();
        let half = Bytes::from(rest[..rest.len() / 2].to_vec());
        let broken = std::io::Error::other("cut");
        let body = Body::from_stream(futures::stream::iter([Ok(half), Err(broken)]));
        return (status, [("content-length", length)], body).into_response();
    }
    (status, rest).into_response()
}

/// A registry that has no images of its own is asked for them by their whole names.
fn images(host: &Host) -> Images {
    images_of(host, Registries::default())
}

fn left(host: &Host, what: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(host.dir.path().join("store").join(what)).expect("it is there");
    entries.flatten().map(|entry| entry.path()).collect()
}

async fn refused(images: &Images, wanted: &WantedImage) -> String {
    images.provision(wanted).await.expect_err("it is refused").to_string()
}

#[tokio::test]
async fn many_that_want_an_image_at_once_cause_one_download() {
    let (host, played) = (Host::new(), Played::start().await);
    let images = images(&host);
    let one = wanted(&played.reference(":1"));
    let all = futures::future::join_all((0..10).map(|_| images.provision(&one))).await;
    let all: Vec<_> = all.into_iter().map(|it| it.expect("it is there")).collect();
    assert!(all.iter().all(|it| it.layers == all[0].layers && it.layers.len() == 2));
    assert_eq!(all[0].config.cmd, ["cat", "/old/new"]);
    for layer in &played.image.layers {
        assert_eq!(played.asked(layer), 1);
    }
    assert_eq!(played.asked("1"), 1);
    // It is in the store, also for the next agent; by its digest it is asked for anew, but not its
    // layers.
    drop((all, images));
    let images = self::images(&host);
    images.provision(&one).await.expect("it is in the store");
    assert_eq!(played.asked("1"), 1);
    let digest = format!("@{}", played.image.manifest);
    images.provision(&wanted(&played.reference(&digest))).await.expect("it is the same");
    images.provision(&WantedImage { cached: false, ..one }).await.expect("it has not changed");
    assert_eq!((played.asked("1"), played.asked(&played.image.layers[0])), (2, 1));
    assert_eq!(left(&host, "staging"), Vec::<PathBuf>::new());
    played.stop.cancel();
}

#[tokio::test]
async fn a_transfer_that_breaks_off_is_taken_up_again() {
    for no_parts in [false, true] {
        let (host, played) = (Host::new(), Played::start().await);
        played.faults.cuts.store(true, Ordering::Relaxed);
        played.faults.no_parts.store(no_parts, Ordering::Relaxed);
        let image = images(&host).provision(&wanted(&played.reference(":1"))).await;
        assert_eq!(image.expect("it is whole in the end").layers.len(), 2);
        let asked: Vec<u32> = played.image.layers.iter().map(|it| played.asked(it)).collect();
        assert_eq!(asked, [2, 2]);
        played.stop.cancel();
    }
}

#[tokio::test]
async fn what_is_not_what_it_is_called_is_never_taken_for_an_image() {
    let (host, played) = (Host::new(), Played::start().await);
    let images = images(&host);
    let by_digest = wanted(&played.reference(&format!("@{}", played.image.manifest)));
    let manifest = played.image.manifest.clone();
    let config: String = {
        let text = &played.image.blobs[&manifest];
        let value: serde_json::Value = serde_json::from_slice(text).expect("JSON");
        value["config"]["digest"].as_str().expect("text").to_owned()
    };
    for (altered, what) in [
        (manifest, "its manifest has digest"),
        (config, "its configuration has digest"),
        (played.image.layers[1].clone(), "a layer has digest"),
    ] {
        *played.faults.alters.lock() = Some(altered);
        let error = refused(&images, &by_digest).await;
        assert!(error.contains(what) && error.contains("was wanted"), "{error}");
    }
    *played.faults.alters.lock() = None;
    assert!(left(&host, "images").is_empty() && left(&host, "staging").is_empty());
    played.faults.floods.store(true, Ordering::Relaxed);
    let error = refused(&images, &by_digest).await;
    assert!(error.ends_with("its manifest is larger than 4194304 bytes"), "{error}");
    played.faults.floods.store(false, Ordering::Relaxed);
    images.provision(&by_digest).await.expect("nothing of all that is left");
    played.stop.cancel();
}

#[tokio::test]
async fn a_registry_is_shown_who_asks_and_says_why_not() {
    let (host, played) = (Host::new(), Played::start().await);
    played.faults.wants_token.store(true, Ordering::Relaxed);
    let auths = |password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("me:{password}"));
        let text = json!({"auths": {played.address.to_string(): {"auth": auth}}});
        Credentials::parse(&text.to_string()).expect("it is well formed")
    };
    let one = wanted(&played.reference(":1"));
    let nobody = images(&host);
    let error = refused(&nobody, &one).await;
    let address = played.address;
    assert!(error.contains(&format!("{address} does not let this agent have it")), "{error}");
    let wrong = WantedImage { credentials: auths("wrong"), ..one.clone() };
    let error = refused(&nobody, &wrong).await;
    assert!(error.contains("no token is given") && !error.contains("wrong"), "{error}");
    let own = WantedImage { credentials: auths("secret"), ..one.clone() };
    nobody.provision(&own).await.expect("it is shown the image's own");
    assert_eq!(played.tokens.load(Ordering::Relaxed), 1, "one token is enough for all of an image");

    let other = Host::new();
    let registries = Registries { credentials: auths("secret"), ..Registries::default() };
    let images = images_of(&other, registries);
    images.provision(&one).await.expect("it is shown the agent's");
    let error = refused(&images, &wanted(&played.reference(":2"))).await;
    assert!(error.contains(&format!("there is no such image at {address}")), "{error}");
    let error = refused(&images, &wanted("No:Reference")).await;
    assert!(error.contains("it is no reference"), "{error}");
    played.stop.cancel();
}

#[tokio::test]
async fn a_mirror_is_asked_first_and_the_registry_itself_if_that_fails() {
    let (host, played) = (Host::new(), Played::start().await);
    let closed = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = closed.local_addr().expect("it is bound");
    drop(closed);
    let mirror = |address: SocketAddr| Mirror::parse(&format!("hub.example=http://{address}"));
    let registries = Registries {
        mirrors: [nobody, played.address].map(|it| mirror(it).expect("an address")).to_vec(),
        ..Registries::default()
    };
    images_of(&host, registries).provision(&wanted("hub.example/app:1")).await.expect("a mirror");
    let other = Host::new();
    let registries = Registries {
        mirrors: vec![Mirror::parse(&format!("http://{nobody}")).expect("an address")],
        default: Registry::parse(&format!("http://{}", played.address)).expect("an address"),
        ..Registries::default()
    };
    let images = images_of(&other, registries);
    let error = refused(&images, &wanted("app:1")).await;
    assert!(error.contains(&format!("no such image at {}", played.address)), "{error}");
    assert_eq!(played.asked("1"), 1, "without a registry it is 'library/app'");
    played.stop.cancel();
}

#[tokio::test]
async fn a_pull_that_nobody_waits_for_leaves_nothing() {
    let (host, played) = (Host::new(), Played::start().await);
    let images = images(&host);
    let one = wanted(&played.reference(":1"));
    let begun = tokio::time::timeout(Duration::from_millis(1), images.provision(&one)).await;
    drop(begun);
    eventually("nothing is left of it", || left(&host, "staging").is_empty()).await;
    images.provision(&one).await.expect("another time");
    // As an agent leaves it that is killed in the middle.
    drop(images);
    let store = host.dir.path().join("store");
    fs::create_dir_all(store.join("staging/7/layer/etc")).expect("a directory");
    let torn = store.join("layers").join(digest(b"torn").replace(':', "-"));
    fs::create_dir(&torn).expect("a directory");
    let record = &left(&host, "images")[0];
    let text = fs::read(record).expect("it is there");
    fs::write(store.join("images/sha256-00.json"), &text[..20]).expect("a file");
    fs::remove_dir_all(left(&host, "layers").into_iter().find(|it| *it != torn).expect("one"))
        .expect("it is ours");
    let images = self::images(&host);
    let counts = ["staging", "layers", "images"].map(|what| left(&host, what).len());
    assert_eq!(counts, [0, 0, 0], "what is not whole is not taken for whole");
    let shared = agent::images::ImagesOptions {
        store_dir: store,
        registries: Registries::default(),
        ignore_runtime: false,
        stall_timeout: Duration::from_secs(1),
        in_use: Arc::new(|| Ok(std::collections::BTreeSet::new())),
        collection: agent::images::Collection::default(),
        meters: Arc::default(),
    };
    let error = Images::open(shared).expect_err("it is in use").to_string();
    assert!(error.contains("another agent may be using it"), "{error}");
    images.provision(&one).await.expect("it is pulled anew");
    played.stop.cancel();
}

/// Debian's registry, with passwords.
struct Debians {
    child: Child,
    address: String,
}

impl Drop for Debians {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Debians {
    async fn start(dir: &Path) -> Self {
        // The registry cannot say which port it has taken, so a free one is looked for first.
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = free.local_addr().expect("it is bound").to_string();
        drop(free);
        // Of the user 'me' and the password 'secret'.
        let users = "me:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n";
        fs::write(dir.join("users"), users).expect("a file");
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {dir}/blobs}}}}\n\
             http: {{addr: '{address}'}}\nauth: {{htpasswd: {{realm: test, path: {dir}/users}}}}\n",
            dir = dir.display()
        );
        fs::write(dir.join("config.yml"), config).expect("a file");
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(dir.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("docker-registry is installed; .ci/run does it");
        let started = Self { child, address: address.clone() };
        eventually("it listens", || std::net::TcpStream::connect(&address).is_ok()).await;
        started
    }
}

#[tokio::test]
async fn an_image_that_other_tools_made_comes_from_debians_registry() {
    let (host, dir) = (Host::new(), tempfile::tempdir().expect("a directory"));
    let debians = Debians::start(dir.path()).await;
    let layout = dir.path().join("layout");
    let built = busybox(&json!({"Entrypoint": ["cat"], "Cmd": ["/old/new"]}));
    built.write_layout(&layout, "latest");
    let copy = |arguments: &[&str]| {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        skopeo.args(["--dest-creds", "me:secret"]).args(arguments);
        let output = skopeo.output().expect("skopeo is installed; .ci/run does it");
        assert!(output.status.success(), "{output:?}");
    };
    let source = format!("oci:{}:latest", layout.display());
    let target = |tag: &str| format!("docker://{}/team/app:{tag}", debians.address);
    copy(&[&source, &target("oci")]);
    copy(&["--format", "v2s2", &source, &target("docker")]);
    let text = json!({"auths": {&debians.address: {"username": "me", "password": "secret"}}});
    let credentials = Credentials::parse(&text.to_string()).expect("it is well formed");
    let registries = Registries { credentials, ..Registries::default() };
    let images = images_of(&host, registries);
    for tag in ["oci", "docker"] {
        let reference = format!("{}/team/app:{tag}", debians.address);
        let image = images.provision(&wanted(&reference)).await.expect(tag);
        assert_eq!(
            (image.layers.len(), image.config.entrypoint.as_slice()),
            (2, &["cat".to_owned()][..])
        );
    }
    assert_eq!(left(&host, "layers").len(), 2, "both images have the same layers");
    let error = refused(&images, &wanted(&format!("{}/team/none:1", debians.address))).await;
    assert!(error.contains("there is no such image at"), "{error}");
    let nobody = Host::new();
    let reference = format!("{}/team/app:oci", debians.address);
    let error = refused(&self::images(&nobody), &wanted(&reference)).await;
    assert!(error.contains("it wants a user and password"), "{error}");

    // And from the archives that tools write.
    let archives = dir.path().join("archives");
    fs::create_dir(&archives).expect("a directory");
    for (kind, name) in [("docker-archive", "saved:1"), ("oci-archive", "packed:latest")] {
        // As skopeo knows archives, a colon ends the path.
        let target = format!("{kind}:{}/file:{name}", archives.display());
        copy(&[&source, &target]);
        fs::rename(archives.join("file"), archives.join(format!("{name}.tar")))
            .expect("it is there");
    }
    let local = Host::new();
    let default = Registry::Directory(archives);
    let images = images_of(&local, Registries { default, ..Registries::default() });
    for name in ["saved:1", "packed"] {
        let image = images.provision(&wanted(name)).await.expect(name);
        assert_eq!(image.config.cmd, ["/old/new"]);
    }
    let error = refused(&images, &wanted("other:1")).await;
    assert!(error.contains("'other:1.tar'"), "{error}");
}
