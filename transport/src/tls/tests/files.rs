//! Files that are of no use.

use super::authority::{Authority, replace};
use super::*;

/// What is said of files that cannot be used.
fn refused(files: TlsFiles) -> String {
    Tls::load(files).expect_err("they are of no use").to_string()
}

#[test]
fn what_is_wrong_with_files_is_told_with_their_names() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = authority.issue("good", ClientCerts::Required);
    let own = good.own.clone().expect("it has them");
    let with = |cert: &str, key: &str| {
        let own = OwnFiles { cert: authority.path(cert), key: authority.path(key) };
        TlsFiles { own: Some(own), ..good.clone() }
    };
    assert!(refused(with("nowhere", "good.key")).starts_with("cannot read "));
    assert!(refused(with("good.pem", "nowhere")).contains("/nowhere"));
    assert!(
        refused(TlsFiles { ca: authority.path("nowhere"), ..good.clone() }).contains("/nowhere")
    );

    replace(&authority.path("empty"), "");
    assert!(
        refused(with("empty", "good.key")).ends_with("empty: there is no certificate in PEM in it")
    );
    let told = refused(with("good.pem", "empty"));
    assert!(told.ends_with("empty: there is no private key without a passphrase in PEM in it"));
    assert!(refused(TlsFiles { ca: own.key.clone(), ..good.clone() }).contains("no certificate"));

    for (name, text) in [
        ("cut", "-----BEGIN CERTIFICATE-----\nMIIB"),
        ("no-base64", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"),
        ("no-certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
    ] {
        replace(&authority.path(name), text);
        assert!(refused(with(name, "good.key")).contains(name), "{name}");
        assert!(
            refused(TlsFiles { ca: authority.path(name), ..good.clone() }).contains(name),
            "{name}"
        );
    }

    authority.issue("other", ClientCerts::None);
    let told = refused(with("good.pem", "other.key"));
    assert!(told.contains("other.key is not the one of the certificate in"), "{told}");

    let told = refused(TlsFiles { ca: other.ca(), ..good.clone() });
    assert!(told.contains("is not good for a server by what is in"), "{told}");
    let expired = authority.issue_as("expired", ClientCerts::None, |params| {
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    });
    assert!(refused(expired).contains("expired"));
    let server_only = |params: &mut rcgen::CertificateParams| {
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    };
    let files = authority.issue_as("server", ClientCerts::Accepted, server_only);
    assert!(refused(files.clone()).contains("is not good for a client"));
    // Where nobody shows one nobody has to have one for that.
    let files = TlsFiles { client_certs: ClientCerts::None, ..files };
    assert!(Tls::load(files).is_ok());

    let files = TlsFiles { client_certs: ClientCerts::Accepted, ..authority.nobody() };
    assert!(refused(files).contains("a certificate and a key are needed"));
}

#[test]
fn what_a_key_is_does_not_show() {
    let authority = Authority::new();
    let files = authority.issue("m", ClientCerts::None);
    let key = std::fs::read_to_string(&files.own.as_ref().expect("it has one").key).expect("read");
    let line = key.lines().nth(1).expect("the key");
    let tls = Tls::load(files).expect("whole");
    assert!(!format!("{tls:?} {:?}", tls.0.current).contains(line));
    assert!(format!("{tls:?}").contains("m.pem"));
}
