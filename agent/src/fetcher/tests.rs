//! Good and bad things to fetch.

use std::fs;
use std::io::{Cursor, Read, Write};
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

fn bzip2(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = bzip2::read::BzEncoder::new(bytes, bzip2::Compression::best());
    encoder.read_to_end(&mut packed).expect("memory takes any write");
    packed
}

fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut packed = Vec::new();
    let mut encoder = liblzma::read::XzEncoder::new(bytes, 1);
    encoder.read_to_end(&mut packed).expect("memory takes any write");
    packed
}

/// Something whose header asks for so much memory to be unpacked.
fn xz_of_dictionary(bytes: u32) -> Vec<u8> {
    let mut options = liblzma::stream::LzmaOptions::new_preset(0).expect("a preset");
    options.dict_size(bytes);
    let mut filters = liblzma::stream::Filters::new();
    filters.lzma2(&options);
    let check = liblzma::stream::Check::Crc32;
    let stream = liblzma::stream::Stream::new_stream_encoder(&filters, check).expect("memory");
    let mut packed = Vec::new();
    let mut encoder = liblzma::read::XzEncoder::new_stream(&b"hello"[..], stream);
    encoder.read_to_end(&mut packed).expect("memory takes any write");
    packed
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory takes any write")
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
        })
        .expect("it has no cache");
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
        ("a.tbz2", bzip2(&archive)),
        ("a.tar.bz2", bzip2(&archive)),
        ("a.txz", xz(&archive)),
        ("a.tar.xz", xz(&archive)),
        ("a.tar.zst", zstd(&archive)),
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
    for (name, bytes) in [
        ("gzip.gz", gzip(b"hello")),
        ("bzip2.bz2", bzip2(b"hello")),
        ("xz.xz", xz(b"hello")),
        ("zstd.zst", zstd(b"hello")),
        // As `cat` of two would make it.
        ("two.xz", [xz(b"hel"), xz(b"lo")].concat()),
        ("two.bz2", [bzip2(b"hel"), bzip2(b"lo")].concat()),
    ] {
        scene.fetch(scene.source(name, &bytes)).await.expect(name);
        assert_eq!(scene.read(name.split('.').next().expect("a name")), "hello", "{name}");
    }
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
        ("junk.tar.xz", b"junk".to_vec(), "cannot be unpacked"),
        ("junk.tbz2", b"junk".to_vec(), "cannot be unpacked"),
        ("junk.tar.zst", b"junk".to_vec(), "cannot be unpacked"),
        ("bomb.bz2", bzip2(&vec![0; 5 << 20]), "more than 1048576 bytes"),
        ("bomb.tar.xz", xz(&bomb), "more than 1048576 bytes"),
        ("bomb.zst", zstd(&vec![0; 5 << 20]), "more than 1048576 bytes"),
        ("greedy.xz", xz_of_dictionary(512 << 20), "cannot be unpacked"),
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

/// The sha256 of "hello".
const HELLO: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[tokio::test]
async fn content_must_be_what_the_uri_says_it_is() {
    let scene = Scene::new();
    let plain = scene.source("file.gz", b"hello");
    let with = |sum: &str| Uri { value: format!("{}#sha256:{sum}", plain.value), ..plain.clone() };
    let right = Uri { extract: false, ..with(&HELLO.to_uppercase()) };
    scene.fetch(right).await.expect("it is right");
    assert_eq!(scene.read("file.gz"), "hello");
    let error = scene.fetch(with(&HELLO.replace('2', "3"))).await.expect_err("it is wrong");
    assert!(
        error.contains(&format!("its sha256 is {HELLO}, and 3cf34")),
        "before it is unpacked: {error}"
    );
    let error = scene.fetch(with("abc")).await.expect_err("too short");
    assert!(error.contains("'abc' is no checksum; '#sha256:' is followed by 64"), "{error}");
}

/// A fetcher whose cache keeps so much.
fn caching(scene: &Scene, bytes_max: u64) -> Fetcher {
    let cache_dir = Some(scene.outside.path().join("cache"));
    let options =
        FetcherOptions { cache_dir, cache_bytes_max: bytes_max, ..FetcherOptions::default() };
    Fetcher::new(options).expect("the directory can be made")
}

fn answer(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn one_download_serves_all_who_want_it() {
    let scene = Scene::new();
    let fetcher = caching(&scene, 100);
    // The server has it once; the failure before that is only the first one's.
    let broken = "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned();
    let address = server(vec![broken, answer("hello")]).await;
    let uri = Uri { cache: true, ..Uri::new(format!("http://{address}/file")) };
    let error = fetcher.fetch(std::slice::from_ref(&uri), &scene.sandbox(), None).await;
    assert!(error.is_err_and(|error| error.to_string().contains("answered 500")));
    let sandboxes: Vec<PathBuf> =
        (0..20).map(|n| scene.outside.path().join(n.to_string())).collect();
    let all = sandboxes.iter().map(async |sandbox| {
        fs::create_dir(sandbox).expect("a directory");
        fetcher.fetch(std::slice::from_ref(&uri), sandbox, None).await.expect("it is there");
        assert_eq!(fs::read_to_string(sandbox.join("file")).expect("it came"), "hello");
    });
    futures::future::join_all(all).await;
    // Another start knows nothing of what was there.
    caching(&scene, 100);
    assert_eq!(fs::read_dir(scene.outside.path().join("cache")).expect("it is there").count(), 0);
}

#[tokio::test]
async fn the_cache_keeps_what_was_used_last_and_nothing_too_large() {
    let scene = Scene::new();
    let fetcher = caching(&scene, 10);
    let ten = "0123456789";
    let bodies = ["aaaa", "bbbb", "cccc", "bbbb", ten, "eleven bytes", "eleven bytes"];
    let address = server(bodies.map(answer).to_vec()).await;
    let fetch = async |name: &str| {
        let uri = Uri { cache: true, ..Uri::new(format!("http://{address}/{name}")) };
        fetcher.fetch(&[uri], &scene.sandbox(), None).await.expect(name);
        scene.read(name)
    };
    let kept = || {
        let directory = fs::read_dir(scene.outside.path().join("cache")).expect("it is there");
        directory.count()
    };
    assert_eq!(fetch("a").await, "aaaa");
    assert_eq!(fetch("b").await, "bbbb");
    assert_eq!(fetch("a").await, "aaaa", "from the cache: the server would say something else");
    // There is no room for three: the one whose use is the longest ago goes.
    assert_eq!(fetch("c").await, "cccc");
    assert_eq!(kept(), 2);
    assert_eq!(fetch("a").await, "aaaa");
    assert_eq!(fetch("b").await, "bbbb", "downloaded again");
    assert_eq!(fetch("ten").await, ten);
    assert_eq!(kept(), 1, "it takes all the room");
    // Refused by its length, then downloaded past the cache.
    assert_eq!(fetch("large").await, "eleven bytes");
    assert_eq!(kept(), 1);
}
