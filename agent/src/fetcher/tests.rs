//! Good and bad things to fetch.

use std::fs;
use std::io::{Cursor, Write};
use std::os::unix::fs::PermissionsExt;

use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// An entry of a tar archive, made by hand: the library's own builder refuses bad names.
fn tar_entry(kind: tar::EntryType, name: &str, link: &str, body: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(0o4_755);
    header.set_size(body.len() as u64);
    let raw = header.as_mut_bytes();
    raw[..name.len()].copy_from_slice(name.as_bytes());
    raw[157..157 + link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(body);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar_of(entries: &[Vec<u8>]) -> Vec<u8> {
    [entries.concat(), vec![0; 1_024]].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes any write");
    encoder.finish().expect("memory takes any write")
}

fn zip_of(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, mode, body) in entries {
        let options = zip::write::SimpleFileOptions::default().unix_permissions(*mode);
        if mode & 0o170_000 == 0o120_000 {
            let target = String::from_utf8_lossy(body);
            writer.add_symlink(*name, target, options).expect("memory takes any write");
        } else {
            writer.start_file(*name, options).expect("memory takes any write");
            writer.write_all(body).expect("memory takes any write");
        }
    }
    writer.finish().expect("memory takes any write").into_inner()
}

struct Scene {
    outside: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let scene = Self { outside: tempfile::tempdir().expect("a directory") };
        fs::create_dir(scene.sandbox()).expect("a directory");
        scene
    }

    fn sandbox(&self) -> PathBuf {
        self.outside.path().join("sandbox")
    }

    fn source(&self, name: &str, bytes: &[u8]) -> Uri {
        let path = self.outside.path().join(name);
        fs::write(&path, bytes).expect("a file");
        Uri::new(path.display().to_string())
    }

    async fn fetch(&self, uri: Uri) -> Result<(), String> {
        let fetcher = Fetcher::new(FetcherOptions {
            unpacked_bytes_max: 1 << 20,
            entries_max: 100,
            stall_timeout: Duration::from_millis(200),
            download_bytes_max: 10_000,
            ..FetcherOptions::default()
        });
        let done = fetcher.fetch(&[uri], &self.sandbox(), None).await;
        done.map_err(|error| error.to_string())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.sandbox().join(name)).expect("it was fetched")
    }
}

const FILE: tar::EntryType = tar::EntryType::Regular;

#[tokio::test]
async fn archives_are_unpacked_and_other_files_are_not() {
    let archive = tar_of(&[
        tar_entry(tar::EntryType::Directory, "./", "", b""),
        tar_entry(FILE, "./bin/run", "", b"go"),
        tar_entry(tar::EntryType::Symlink, "bin/link", "../bin/run", b""),
        tar_entry(tar::EntryType::Link, "hard", "bin/run", b""),
    ]);
    for (name, bytes) in [
        ("a.tar", archive.clone()),
        ("a.tgz", gzip(&archive)),
        ("a.tar.gz", gzip(&archive)),
        (
            "a.zip",
            zip_of(&[
                ("bin/run", 0o100_755, b"go"),
                ("bin/link", 0o120_777, b"run"),
                ("hard", 0o755, b"go"),
            ]),
        ),
    ] {
        let scene = Scene::new();
        scene.fetch(scene.source(name, &bytes)).await.expect(name);
        for file in ["bin/run", "bin/link", "hard"] {
            assert_eq!(scene.read(file), "go", "{name}: {file}");
        }
        let mode = fs::metadata(scene.sandbox().join("bin/run")).expect("there").permissions();
        assert_eq!(mode.mode() & 0o7_777, 0o755, "{name}: no set-user-ID");
        assert!(scene.sandbox().join(name).exists(), "the archive stays");
    }

    let scene = Scene::new();
    scene.fetch(scene.source("text.gz", &gzip(b"hello"))).await.expect("it unpacks");
    assert_eq!(scene.read("text"), "hello");
    scene.fetch(scene.source("plain", b"hello")).await.expect("it is a file");
    assert_eq!(scene.read("plain"), "hello");
    let kept = Uri { extract: false, ..scene.source("b.tar", b"no archive at all") };
    scene.fetch(kept).await.expect("nobody looks into it");
    let program = Uri { executable: true, ..scene.source("c.zip", b"#!/bin/sh") };
    scene.fetch(program).await.expect("a program is not unpacked");
    let mode = fs::metadata(scene.sandbox().join("c.zip")).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let renamed = Uri { output_file: Some("in/here/d".to_owned()), ..scene.source("d", b"x") };
    scene.fetch(renamed).await.expect("directories are made");
    assert_eq!(scene.read("in/here/d"), "x");
}

#[tokio::test]
async fn bad_archives_are_refused_and_nothing_lands_outside() {
    let file = |name| tar_of(&[tar_entry(FILE, name, "", b"x")]);
    let link = |kind, target| tar_of(&[tar_entry(kind, "l", target, b"")]);
    let symlink = tar::EntryType::Symlink;
    let through = tar_of(&[
        // Each link stays inside by itself; together they do not.
        tar_entry(tar::EntryType::Directory, "d", "", b""),
        tar_entry(symlink, "d/up", "..", b""),
        tar_entry(symlink, "out", "d/up/..", b""),
        tar_entry(FILE, "out/x", "", b"x"),
    ]);
    let many: Vec<_> = (0..101).map(|n| tar_entry(FILE, &format!("f{n}"), "", b"")).collect();
    let bomb = tar_of(&[tar_entry(FILE, "big", "", &vec![0; (1 << 20) + 1])]);
    for (name, bytes, says) in [
        ("up.tar", file("../x"), "'../x', which leads out of the sandbox"),
        ("deep.tar", file("a/../../x"), "'a/../../x', which leads out"),
        ("root.tar", file("/x"), "'/x', which leads out of the sandbox"),
        ("abs.tar", link(symlink, "/etc/passwd"), "a link to '/etc/passwd', out of the sandbox"),
        ("rel.tar", link(symlink, "../x"), "a link to '../x', out of the sandbox"),
        ("hard.tar", link(tar::EntryType::Link, "../x"), "a link to '../x', out of"),
        ("through.tar", through, "cannot be unpacked"),
        ("dev.tar", link(tar::EntryType::Char, ""), "neither file, directory nor link"),
        ("fifo.tar", link(tar::EntryType::Fifo, ""), "neither file, directory nor link"),
        ("many.tar", tar_of(&many), "more than 100 entries"),
        ("bomb.tgz", gzip(&bomb), "more than 1048576 bytes"),
        ("bomb.gz", gzip(&vec![0; 5 << 20]), "more than 1048576 bytes"),
        ("bomb.zip", zip_of(&[("big", 0o644, &vec![0; 2 << 20])]), "more than 1048576 bytes"),
        ("up.zip", zip_of(&[("../x", 0o644, b"x")]), "'../x', which leads out of the sandbox"),
        ("abs.zip", zip_of(&[("l", 0o120_777, b"/etc")]), "a link to '/etc', out of the sandbox"),
        ("torn.tgz", gzip(&file("x"))[..20].to_vec(), "cannot be unpacked"),
        ("junk.zip", b"junk".to_vec(), "cannot be unpacked"),
        ("a.tar.xz", b"junk".to_vec(), "repack it as .tar.gz or .zip"),
        ("a.tbz2", b"junk".to_vec(), "repack it as .tar.gz or .zip"),
    ] {
        let scene = Scene::new();
        let error = scene.fetch(scene.source(name, &bytes)).await.expect_err(name);
        assert!(error.starts_with("cannot fetch '/"), "{error}");
        assert!(error.contains(name) && error.contains(says), "{name}: {error}");
        assert!(!scene.outside.path().join("x").exists(), "{name} got out");
    }
}

#[tokio::test]
async fn bad_uris_say_what_to_do() {
    let scene = Scene::new();
    let output =
        |file: &str| Uri { output_file: Some(file.to_owned()), ..Uri::new("/etc/hostname") };
    for (uri, says) in [
        (Uri::new("hdfs://namenode/x"), "'hdfs' is no scheme this agent fetches; use a path"),
        (Uri::new("relative/x"), "start the agent with --frameworks_home"),
        (Uri::new("file://relative/x"), "give an absolute one"),
        (Uri::new("/no/such/file"), "No such file"),
        (Uri::new("/etc/.."), "set 'output_file'"),
        (Uri::new("http://host"), "set 'output_file'"),
        (Uri::new("http://host/dir/?name=x"), "set 'output_file'"),
        (output("../x"), "leads out of the sandbox; it must be relative"),
        (output("/tmp/x"), "leads out of the sandbox; it must be relative"),
        (output(""), "set 'output_file'"),
        (Uri { value: "/dev/zero".to_owned(), ..Uri::new("") }, "not a plain file"),
    ] {
        let error = scene.fetch(uri.clone()).await.expect_err(&uri.value);
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(shown("https://me:secret@host:1/a/b?token=x#y"), "https://host:1/a/b");
}

#[tokio::test]
async fn a_file_its_user_may_not_read_is_not_fetched() {
    let scene = Scene::new();
    let uri = scene.source("secret", b"x");
    let path = PathBuf::from(&uri.value);
    fs::set_permissions(scene.outside.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let nobody = Identity { uid: 65_534, gid: 65_534, groups: vec![65_534] };
    let mode = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
    mode(0o604);
    assert!(local::open(&path, Some(&nobody)).is_ok());
    mode(0o600);
    assert!(local::open(&path, Some(&nobody)).is_err());
    assert!(local::open(&path, None).is_ok());
    mode(0o604);
    fs::set_permissions(scene.outside.path(), fs::Permissions::from_mode(0o700)).expect("ours");
    assert!(local::open(&path, Some(&nobody)).is_err(), "the directory is closed to others");
}

/// Answers each connection with the next of `answers` and leaves it open after the last.
async fn server(answers: Vec<String>) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        let mut open = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("a client");
            let mut request = vec![0; 4_096];
            let _ = stream.read(&mut request).await;
            stream.write_all(answer.as_bytes()).await.expect("a client");
            open.push(stream);
        }
        std::future::pending::<()>().await;
    });
    address
}

#[tokio::test]
async fn downloads_come_through_and_bad_ones_end() {
    let body = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";
    let moved =
        "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let cases = [
        (vec![body], Ok("hello")),
        (vec![moved, body], Ok("hello")),
        (vec![moved; 12], Err("redirected too often")),
        (
            vec!["HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"],
            Err("the server answered 404"),
        ),
        (vec!["HTTP/1.1 200 OK\r\nContent-Length: 20000\r\n\r\n"], Err("larger than 10000 bytes")),
        (vec!["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel"], Err("nothing came for 200ms")),
    ];
    for (answers, expected) in cases {
        let scene = Scene::new();
        let address = server(answers.into_iter().map(str::to_owned).collect()).await;
        let fetched = scene.fetch(Uri::new(format!("http://{address}/file?secret=1"))).await;
        match expected {
            Ok(text) => {
                fetched.expect("it comes");
                assert_eq!(scene.read("file"), text);
            }
            Err(says) => {
                let error = fetched.expect_err(says);
                assert!(error.contains(says), "{error}");
                assert!(!error.contains("secret"), "{error}");
            }
        }
    }
}
