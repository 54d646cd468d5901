//! The files by which programs in a container of its own network look up names: its own, and those of
//! others.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::super::dns::Dns;

/// A file that is made, and where a container sees it.
pub(super) const SEEN_AT: [(&str, &str); 3] =
    [("hosts", "/etc/hosts"), ("hostname", "/etc/hostname"), ("resolv.conf", "/etc/resolv.conf")];

/// Writes them into `dir`.
pub(super) fn write(dir: &Path, hostname: &str, addresses: &[IpAddr], dns: &Dns) -> io::Result<()> {
    let resolver = if dns.nameservers.is_empty() {
        // A network that says nothing has the machine's.
        fs::read_to_string("/etc/resolv.conf").unwrap_or_default()
    } else {
        dns.text()
    };
    let texts = [hosts(hostname, addresses), format!("{hostname}\n"), resolver];
    for ((name, _), text) in SEEN_AT.iter().zip(texts) {
        fs::write(dir.join(name), text)?;
    }
    Ok(())
}

/// Where they are, with where they are seen.
pub(super) fn all(dir: &Path) -> impl Iterator<Item = (PathBuf, PathBuf)> {
    SEEN_AT.iter().map(move |(name, at)| (dir.join(name), PathBuf::from(at)))
}

fn hosts(hostname: &str, addresses: &[IpAddr]) -> String {
    let mut text = "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n".to_owned();
    for address in addresses {
        let _ = writeln!(text, "{address} {hostname}");
    }
    if addresses.is_empty() {
        let _ = writeln!(text, "127.0.1.1 {hostname}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_network_says_of_names_is_written_down() {
        let dir = tempfile::tempdir().expect("a directory");
        let dns = Dns {
            nameservers: vec!["10.0.0.1".to_owned(), "10.0.0.2".to_owned()],
            domain: "example".to_owned(),
            search: vec!["a".to_owned(), "b".to_owned()],
            options: vec!["ndots:2".to_owned()],
        };
        let address = "10.0.0.9".parse().expect("an address");
        write(dir.path(), "web", &[address], &dns).expect("it is written");
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).expect("it is there");
        assert_eq!(read("hostname"), "web\n");
        assert!(read("hosts").ends_with("\n10.0.0.9 web\n"));
        assert_eq!(
            read("resolv.conf"),
            "domain example\nsearch a b\noptions ndots:2\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n"
        );
        write(dir.path(), "web", &[], &Dns::default()).expect("it is written");
        assert_eq!(read("resolv.conf"), fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        assert!(read("hosts").ends_with("\n127.0.1.1 web\n"));
    }
}
