//! What becomes of a layer's entries. As root, which may make what hides.

use std::os::unix::fs::symlink;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use super::*;

/// An entry of an archive: its name, its kind, and its content or target.
type Entry = (&'static str, tar::EntryType, &'static str);

const FILE: tar::EntryType = tar::EntryType::Regular;
const DIR: tar::EntryType = tar::EntryType::Directory;
const LINK: tar::EntryType = tar::EntryType::Symlink;
const HARD: tar::EntryType = tar::EntryType::Link;

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, text) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(if *kind == DIR { 0o1751 } else { 0o4640 });
        header.set_uid(12);
        header.set_gid(34);
        header.set_mtime(1_000_000_000);
        // As it is, also where the crate would rather not write it.
        header.as_gnu_mut().expect("it is one").name[..name.len()].copy_from_slice(name.as_bytes());
        if matches!(*kind, LINK | HARD) {
            header.set_size(0);
            let link = &mut header.as_gnu_mut().expect("it is one").linkname;
            link[..text.len()].copy_from_slice(text.as_bytes());
            header.set_cksum();
            archive.append(&header, io::empty()).expect("in memory");
        } else {
            header.set_size(text.len() as u64);
            header.set_cksum();
            archive.append(&header, text.as_bytes()).expect("in memory");
        }
    }
    archive.into_inner().expect("in memory")
}

fn packed(tar: &[u8], stored: Vec<u8>) -> Packed {
    Packed {
        digest: Some(digest::of(&stored)),
        diff_id: digest::of(tar),
        content: Box::new(io::Cursor::new(stored)),
    }
}

fn unpack_whole(packed: Packed, budget: Budget) -> Result<tempfile::TempDir, String> {
    let dir = tempfile::tempdir().expect("a directory");
    let unpacked = unpack(packed, dir.path(), budget, &AtomicBool::new(false));
    unpacked.map(|()| dir).map_err(|error| error.to_string())
}

fn unpacked(entries: &[Entry]) -> Result<tempfile::TempDir, String> {
    let tar = archive(entries);
    unpack_whole(packed(&tar, tar.clone()), Budget::new(1 << 20, 100))
}

#[test]
fn a_layer_is_the_same_however_it_is_packed() {
    let tar = archive(&[
        ("a/", DIR, ""),
        ("a/file", FILE, "text"),
        ("b", HARD, "a/file"),
        ("c", LINK, "/a"),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::Write::write_all(&mut gzip, &tar).expect("in memory");
    let zstd = zstd::encode_all(&tar[..], 1).expect("in memory");
    for stored in [tar.clone(), gzip.finish().expect("in memory"), zstd] {
        let dir =
            unpack_whole(packed(&tar, stored), Budget::new(1 << 20, 100)).expect("it is whole");
        let file = dir.path().join("a/file").metadata().expect("it is there");
        assert_eq!((file.uid(), file.gid(), file.mode() & 0o7777), (12, 34, 0o4640));
        assert_eq!((file.mtime(), file.nlink()), (1_000_000_000, 2));
        let directory = dir.path().join("a").metadata().expect("it is there");
        assert_eq!((directory.mode() & 0o7777, directory.mtime()), (0o1751, 1_000_000_000));
        let link = std::fs::read_link(dir.path().join("c")).expect("a link");
        assert_eq!(link, Path::new("/a"), "what it means is known in the container only");
    }
}

#[test]
fn content_that_is_not_what_it_is_called_is_refused() {
    let tar = archive(&[("file", FILE, "text")]);
    let other = archive(&[("file", FILE, "test")]);
    let error = |packed| unpack_whole(packed, Budget::new(1 << 20, 100)).expect_err("it is wrong");
    let text = error(Packed { digest: None, ..packed(&other, tar.clone()) });
    let (found, wanted) = (digest::of(&tar), digest::of(&other));
    assert_eq!(text, format!("an unpacked layer has digest {found}, and {wanted} was wanted"));
    let text = error(Packed { digest: Some(wanted), ..packed(&tar, tar.clone()) });
    assert!(text.starts_with("a layer has digest"), "{text}");
    // What is behind the end counts.
    let mut longer = tar.clone();
    longer.push(1);
    assert!(error(packed(&tar, longer)).contains("digest"));
    assert!(error(packed(&tar, tar[..700].to_vec())).starts_with("layer sha256:"));
}

#[test]
fn what_hides_is_put_in_the_form_of_overlayfs() {
    let dir = unpacked(&[
        ("gone/", DIR, ""),
        ("gone/.wh.file", FILE, ""),
        ("bare/.wh..wh..opq", FILE, ""),
        ("anew/file", FILE, "x"),
        (".wh.anew", FILE, ""),
        (".wh.again", FILE, ""),
        ("again/", DIR, ""),
        (".wh.back", FILE, ""),
        ("back", FILE, "y"),
        (".wh..wh.plnk", FILE, ""),
    ])
    .expect("it is well formed");
    let at = |name: &str| dir.path().join(name);
    let file = at("gone/file").symlink_metadata().expect("it is there");
    assert!(file.file_type().is_char_device() && file.rdev() == 0);
    let opaque = |name: &str| {
        let directory =
            rustix::fs::open(at(name), OFlags::PATH, Mode::empty()).expect("it is there");
        is_opaque(&directory)
    };
    let seen = ["bare", "anew", "again", "gone"].map(opaque);
    assert_eq!(seen, [true, true, true, false]);
    assert_eq!(std::fs::read_to_string(at("back")).expect("it is there"), "y");
    assert_eq!(std::fs::read_dir(dir.path()).expect("it is there").count(), 5);
    for name in [".wh.", ".wh..", ".wh..."] {
        let error = unpacked(&[(name, FILE, "")]).expect_err(name);
        assert!(error.contains("hides nothing"), "{error}");
    }
}

#[test]
fn nothing_gets_out_of_a_layer() {
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::write(outside.path().join("secret"), "x").expect("a file");
    let target: &'static str = outside.path().display().to_string().leak();
    let secret: &'static str = format!("{target}/secret").leak();
    for (entries, says) in [
        (vec![("../file", FILE, "x")], "leads out"),
        (vec![("a/../../file", FILE, "x")], "leads out"),
        (vec![("b", HARD, "../../etc/passwd")], "leads out"),
        (vec![("b", HARD, secret)], "as a name of"),
        (vec![("l", LINK, target), ("b", HARD, "l/secret")], "as a name of"),
        (vec![("l", LINK, target), ("l/file", FILE, "x")], ""),
        (vec![("l", LINK, "../../../.."), ("l/file", FILE, "x")], ""),
    ] {
        match unpacked(&entries) {
            Ok(dir) => {
                assert_eq!(says, "", "{entries:?}");
                assert!(dir.path().join("file").exists() || dir.path().join(&target[1..]).exists());
            }
            Err(error) => assert!(says.is_empty() || error.contains(says), "{entries:?}: {error}"),
        }
    }
    assert_eq!(std::fs::read_dir(outside.path()).expect("it is there").count(), 1);
    // An absolute path is one of the layer.
    let dir = unpacked(&[("/abs/file", FILE, "x")]).expect("it is well formed");
    assert!(dir.path().join("abs/file").exists());
}

#[test]
fn devices_are_left_out_and_too_much_is_refused() {
    let dir = unpacked(&[("null", tar::EntryType::Char, ""), ("pipe", tar::EntryType::Fifo, "")])
        .expect("it is well formed");
    let names = std::fs::read_dir(dir.path()).expect("it is there").flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["pipe"]);
    let tar = archive(&[("a", FILE, "0123456789"), ("b", FILE, "0123456789")]);
    for (bytes, entries, says) in
        [(15, 9, "more than 15 bytes"), (1 << 20, 1, "more than 1 entries")]
    {
        let error = unpack_whole(packed(&tar, tar.clone()), Budget::new(bytes, entries));
        let error = error.expect_err("it is too much");
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_file_is_read_as_the_container_will_see_it() {
    let lower =
        unpacked(&[("etc/passwd", FILE, "lower"), ("etc/group", FILE, "lower")]).expect("well");
    let upper =
        unpacked(&[("etc/passwd", FILE, "upper"), ("etc/.wh.group", FILE, "")]).expect("well");
    let bare = unpacked(&[("etc/.wh..wh..opq", FILE, "")]).expect("well");
    let linked = tempfile::tempdir().expect("a directory");
    symlink("/etc", linked.path().join("etc")).expect("a link");
    let read = |layers: &[&tempfile::TempDir], path: &str| {
        let layers: Vec<PathBuf> = layers.iter().map(|it| it.path().to_owned()).collect();
        read_file(&layers, Path::new(path), 5)
    };
    assert_eq!(read(&[&upper, &lower], "etc/passwd").as_deref(), Some("upper"));
    assert_eq!(read(&[&lower], "etc/group").as_deref(), Some("lower"));
    assert_eq!(read(&[&upper, &lower], "etc/group"), None);
    assert_eq!(read(&[&bare, &lower], "etc/passwd"), None);
    assert_eq!(read(&[&linked, &lower], "etc/passwd"), None, "the host's is nobody's matter");
    assert_eq!(read(&[], "etc/passwd"), None);
}
