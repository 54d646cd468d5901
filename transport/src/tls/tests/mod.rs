mod authority;
mod files;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use rcgen::SanType;
use rustls::ClientConfig;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use self::authority::Authority;
use super::*;
use crate::auth::Principal;
use crate::identity::Identity;
use crate::server::Server;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Serves, at every path, the name of who asks.
async fn serve(files: TlsFiles, open: &'static [&'static str]) -> (Tls, SocketAddr) {
    let tls = Tls::load(files).expect("they fit together");
    let whoami = |request: Request| async move {
        let name = Principal::name_of(request.extensions());
        name.as_deref().unwrap_or("nobody").to_owned()
    };
    let bound = Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let bound = bound.with_tls(Some(tls.clone())).open_without_certificate(open);
    let address = bound.local_addr();
    let router = Router::new().route("/", get(whoami)).route("/open", get(whoami));
    tokio::spawn(bound.serve(router, CancellationToken::new()));
    (tls, address)
}

fn identity(files: TlsFiles) -> Identity {
    Identity::default().with_tls(Some(Tls::load(files).expect("they fit together")))
}

/// What is answered over HTTP/1.1, or what TLS has against it.
async fn ask(identity: &Identity, url: &str) -> Result<(u16, String), String> {
    ask_with(identity.http(), url).await
}

async fn ask_with(client: reqwest::ClientBuilder, url: &str) -> Result<(u16, String), String> {
    let client = client.no_proxy().timeout(PATIENCE).build().expect("a client");
    let explained =
        |error: reqwest::Error| explain(&error).unwrap_or_else(|| format!("not of TLS: {error:?}"));
    let answer = client.get(url).send().await.map_err(explained)?;
    let status = answer.status().as_u16();
    Ok((status, answer.text().await.map_err(explained)?))
}

/// What is answered over HTTP/2, on a channel of gRPC.
async fn ask_grpc(identity: &Identity, address: &str) -> Result<String, String> {
    let channel = crate::grpc::channel(address, identity).expect("an address");
    let request = axum::http::Request::get("/").body(tonic::body::Body::empty());
    let answer = channel.oneshot(request.expect("a request")).await.map_err(|error| {
        let error: Box<dyn Error + Send + Sync> = error.into();
        explain(&*error).unwrap_or_else(|| format!("not of TLS: {error:?}"))
    })?;
    let body = axum::body::to_bytes(axum::body::Body::new(answer.into_body()), 1_000).await;
    Ok(String::from_utf8(body.expect("a body").to_vec()).expect("text"))
}

/// A client that shows what is in the files, whether that is good or not.
fn careless(files: &TlsFiles) -> reqwest::ClientBuilder {
    let own = files.own.as_ref().expect("it has a certificate");
    let certified = material::certified(own).expect("a pair");
    let trusting =
        Tls::load(TlsFiles { own: None, client_certs: ClientCerts::None, ..files.clone() });
    let verifier = trusting.expect("whole").0.current.clone();
    let resolver = rustls::sign::SingleCertAndKey::from(certified);
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("all are there")
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(resolver));
    reqwest::Client::builder().tls_backend_preconfigured(config)
}

/// Serves whatever is in the files, whether that is good or not.
async fn serve_careless(files: &TlsFiles) -> SocketAddr {
    let own = files.own.as_ref().expect("it has a certificate");
    let certified = Arc::new(material::certified(own).expect("a pair"));
    let acceptor =
        TlsAcceptor::from(material::server(WebPkiClientVerifier::no_client_auth(), &certified));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // The client ends it.
            let _ = acceptor.accept(stream).await;
        }
    });
    address
}

#[tokio::test]
async fn a_certificate_names_who_calls_in_both_protocols() {
    let authority = Authority::new();
    let (_, address) = serve(authority.issue("m", ClientCerts::Required), &[]).await;
    let web = identity(authority.issue("web", ClientCerts::None));
    assert_eq!(web.scheme(), "https");
    let url = format!("https://{address}/");
    assert_eq!(ask(&web, &url).await, Ok((200, "x:web".to_owned())));
    assert_eq!(ask_grpc(&web, &address.to_string()).await, Ok("x:web".to_owned()));
    let by_name = format!("localhost:{}", address.port());
    assert_eq!(ask_grpc(&web, &by_name).await, Ok("x:web".to_owned()));
    // A certificate without a name is one all the same, and proves nothing.
    let nameless = authority.issue_as("nameless", ClientCerts::None, |_| {});
    assert_eq!(ask_with(careless(&nameless), &url).await, Ok((200, "nobody".to_owned())));
}

#[tokio::test]
async fn certificates_are_asked_for_as_the_settings_say() {
    let authority = Authority::new();
    let nobody = identity(authority.nobody());
    let web = identity(authority.issue("web", ClientCerts::None));
    for (settings, of_nobody, of_web) in [
        (ClientCerts::None, Ok("nobody"), "nobody"),
        (ClientCerts::Accepted, Ok("nobody"), "x:web"),
        (ClientCerts::Required, Err("asks for a certificate"), "x:web"),
    ] {
        let (_, address) = serve(authority.issue("m", settings), &[]).await;
        let url = format!("https://{address}/");
        assert_eq!(ask(&web, &url).await, Ok((200, of_web.to_owned())), "{settings:?}");
        match (of_nobody, ask(&nobody, &url).await) {
            (Ok(name), answer) => assert_eq!(answer, Ok((200, name.to_owned())), "{settings:?}"),
            (Err(why), answer) => {
                let told = answer.expect_err("it has none");
                assert!(told.contains(why), "{told}");
                let told = ask_grpc(&nobody, &address.to_string()).await.expect_err("nor here");
                assert!(told.contains(why), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn who_is_not_trusted_is_refused_on_either_side() {
    let (authority, other) = (Authority::new(), Authority::new());
    let mut certificates_of_both = std::fs::read_to_string(authority.ca()).expect("read");
    certificates_of_both += &std::fs::read_to_string(other.ca()).expect("read");
    let both = authority.path("both.pem");
    std::fs::write(&both, certificates_of_both).expect("written");

    // A server that only its own authority trusts.
    let (_, address) = serve(other.issue("m", ClientCerts::None), &[]).await;
    let url = format!("https://{address}/");
    let told = ask(&identity(authority.nobody()), &url).await.expect_err("another's");
    assert!(told.contains("is not from whom this side trusts"), "{told}");
    let trusting = TlsFiles { ca: both.clone(), ..authority.nobody() };
    assert_eq!(ask(&identity(trusting), &url).await, Ok((200, "nobody".to_owned())));

    // Clients of the other authority, and one whose time is over.
    let past = |params: &mut rcgen::CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        params.subject_alt_names = vec![SanType::IpAddress([127, 0, 0, 1].into())];
    };
    let stranger = TlsFiles { ca: both.clone(), ..other.issue("stranger", ClientCerts::None) };
    let expired = authority.issue_as("expired", ClientCerts::None, past);
    for settings in [ClientCerts::Accepted, ClientCerts::Required] {
        let (_, address) = serve(authority.issue("m", settings), &[]).await;
        let url = format!("https://{address}/");
        for (client, why) in [(&stranger, "does not trust"), (&expired, "has expired")] {
            let told = ask_with(careless(client), &url).await.expect_err("not good");
            assert!(told.contains(why), "{told}");
        }
    }

    let address = serve_careless(&expired).await;
    let told = ask(&identity(authority.nobody()), &format!("https://{address}/")).await;
    let told = told.expect_err("its time is over");
    assert!(told.contains("the other side's certificate has expired"), "{told}");
}

#[tokio::test]
async fn a_server_must_be_who_was_called() {
    let authority = Authority::new();
    let elsewhere = authority.issue_as("elsewhere", ClientCerts::None, |params| {
        params.subject_alt_names = vec![
            SanType::DnsName("m1.example".try_into().expect("ASCII")),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ];
    });
    let (_, address) = serve(elsewhere, &[]).await;
    let nobody = identity(authority.nobody());
    for host in ["127.0.0.1", "localhost"] {
        let address = format!("{host}:{}", address.port());
        for told in [
            ask(&nobody, &format!("https://{address}/")).await.expect_err("another's name"),
            ask_grpc(&nobody, &address).await.expect_err("another's name"),
        ] {
            assert!(told.contains("not for the name or address it was called by"), "{told}");
        }
    }
    let resolved = nobody.http().resolve("m1.example", address);
    let url = format!("https://m1.example:{}/", address.port());
    assert_eq!(ask_with(resolved, &url).await, Ok((200, "nobody".to_owned())));
}

#[tokio::test]
async fn who_does_not_speak_tls_is_told() {
    let authority = Authority::new();
    let (_, address) = serve(authority.issue("m", ClientCerts::Required), &[]).await;
    let plain = Identity::default().http().build().expect("a client");
    // Even one who sends much is left the time to hear it.
    let post = plain.post(format!("http://{address}/x")).body(vec![b'x'; 40_000]);
    let answer = post.send().await.expect("an answer");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().await.expect("a body").starts_with("This port speaks TLS: use https://"));

    let told = ask_grpc(&Identity::default(), &address.to_string()).await.expect_err("plain");
    assert!(told.contains("This port speaks TLS"), "{told}");

    // The other way round.
    let bound = Server::bind("127.0.0.1:0".parse().expect("an address")).await.expect("a port");
    let address = bound.local_addr();
    tokio::spawn(bound.serve(Router::new(), CancellationToken::new()));
    let told = ask(&identity(authority.nobody()), &format!("https://{address}/")).await;
    let told = told.expect_err("no TLS there");
    assert!(told.contains("the other side does not speak TLS on this port"), "{told}");
}

#[tokio::test]
async fn only_open_paths_are_answered_without_a_certificate() {
    let authority = Authority::new();
    let (_, address) = serve(authority.issue("m", ClientCerts::Required), &["/open"]).await;
    let nobody = identity(authority.nobody());
    let url = |path: &str| format!("https://{address}{path}");
    assert_eq!(ask(&nobody, &url("/open")).await, Ok((200, "nobody".to_owned())));
    for path in ["/", "/open/", "//open", "/nowhere"] {
        let (status, text) = ask(&nobody, &url(path)).await.expect("an answer");
        assert_eq!((status, &*text), (401, "A client certificate is needed, with a name in it"));
    }
    let web = identity(authority.issue("web", ClientCerts::None));
    assert_eq!(ask(&web, &url("/")).await, Ok((200, "x:web".to_owned())));
    // One that is not right is not looked over.
    let other = Authority::new();
    let stranger = TlsFiles { ca: authority.ca(), ..other.issue("stranger", ClientCerts::None) };
    assert!(ask_with(careless(&stranger), &url("/open")).await.is_err());
}

/// Waits until `ask` is answered with something.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let found = async {
        loop {
            if let Some(found) = ask().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, found).await.expect("in time")
}

#[tokio::test]
async fn new_files_are_taken_while_it_runs_and_bad_ones_are_not() {
    let authority = Authority::new();
    let files = authority.issue("m", ClientCerts::Required);
    let (tls, address) = serve(files.clone(), &[]).await;
    tokio::spawn(tls.clone().watch_every(Duration::from_millis(2)));
    let url = format!("https://{address}/");
    let client = identity(authority.issue("web", ClientCerts::None));
    assert_eq!(ask(&client, &url).await, Ok((200, "x:web".to_owned())));

    // A client that was made before shows its new certificate too, and asks by a new connection.
    let named = |name: &str| {
        let name = SanType::URI(name.try_into().expect("ASCII"));
        let here = SanType::IpAddress([127, 0, 0, 1].into());
        move |params: &mut rcgen::CertificateParams| params.subject_alt_names = vec![here, name]
    };
    authority.issue_as("web", ClientCerts::None, named("x:newer"));
    client.tls().expect("it has one").reload().expect("whole");
    assert_eq!(ask(&client, &url).await, Ok((200, "x:newer".to_owned())));

    authority.issue_as("m", ClientCerts::Required, named("x:m2"));
    until(async || (tls.principal().as_deref() == Some("x:m2")).then_some(())).await;
    assert_eq!(ask(&client, &url).await, Ok((200, "x:newer".to_owned())));

    let own = files.own.as_ref().expect("it serves");
    let before = tls.0.read.lock().clone();
    authority::replace(&own.cert, "-----BEGIN CERTIFICATE-----\n!");
    until(async || (*tls.0.read.lock() != before).then_some(())).await;
    assert_eq!(tls.principal().as_deref(), Some("x:m2"));
    assert_eq!(ask(&client, &url).await, Ok((200, "x:newer".to_owned())));

    // The next good ones are taken; those of the former authority are then strangers.
    let other = Authority::new();
    let newest = other.issue("m", ClientCerts::Required).own.expect("it serves");
    for (from, to) in [(&newest.cert, &own.cert), (&newest.key, &own.key), (&other.ca(), &files.ca)]
    {
        authority::replace(to, &std::fs::read_to_string(from).expect("read"));
    }
    until(async || (tls.principal().as_deref() == Some("x:m")).then_some(())).await;
    assert!(ask(&client, &url).await.is_err());
    let known = identity(other.issue("web", ClientCerts::None));
    assert_eq!(ask(&known, &url).await, Ok((200, "x:web".to_owned())));
}

/// A connection to a port, and its other end.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
    (near.expect("connected"), far.expect("accepted").0)
}

#[tokio::test]
async fn a_handshake_that_does_not_end_is_given_up() {
    let authority = Authority::new();
    let tls = Tls::load(authority.issue("m", ClientCerts::None)).expect("whole");
    let within = Duration::from_millis(20);
    let acceptor = Acceptor::with_limits(tls, false, 1, within);
    // Neither who says nothing nor who only begins holds a place for long.
    let (_silent, far) = pair().await;
    assert!(timeout(PATIENCE, acceptor.accept(far, within)).await.expect("given up").is_none());
    let (mut slow, far) = pair().await;
    slow.write_all(&[0x16, 3, 1]).await.expect("a write");
    assert!(timeout(PATIENCE, acceptor.accept(far, PATIENCE)).await.expect("given up").is_none());
    let mut end = [0];
    assert!(matches!(slow.read(&mut end).await, Ok(0) | Err(_)));
}

#[tokio::test]
async fn handshakes_past_the_limit_wait_their_turn() {
    let authority = Authority::new();
    let tls = Tls::load(authority.issue("m", ClientCerts::None)).expect("whole");
    let acceptor = Acceptor::with_limits(tls, false, 1, PATIENCE);
    let (mut first, far) = pair().await;
    first.write_all(&[0x16]).await.expect("a write");
    let (holding, held) = (acceptor.clone(), CancellationToken::new());
    let released = held.clone();
    tokio::spawn(async move { held.run_until_cancelled(holding.accept(far, PATIENCE)).await });
    until(async || (acceptor.free_places() == 0).then_some(())).await;

    let (near, far) = pair().await;
    let client = Tls::load(authority.nobody()).expect("whole").0.grpc.clone();
    let name = "127.0.0.1".try_into().expect("an address");
    let connecting = tokio_rustls::TlsConnector::from(client).connect(name, near);
    let second = acceptor.clone();
    let mut accepted = tokio::spawn(async move { second.accept(far, PATIENCE).await.is_some() });
    let connecting = tokio::spawn(connecting);
    let waited = timeout(Duration::from_millis(50), &mut accepted).await;
    assert!(waited.is_err(), "the only place is taken");
    released.cancel();
    assert!(accepted.await.expect("it ends"));
    connecting.await.expect("it ends").expect("connected");
}
