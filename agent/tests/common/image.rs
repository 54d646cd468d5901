//! Images for tests, made here: busybox and a little around it, in two layers.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// An image: all its blobs by their digests, and which of them is its manifest.
pub(crate) struct Built {
    pub(crate) blobs: BTreeMap<String, Vec<u8>>,
    pub(crate) manifest: String,
    /// Digests of the layers as they are stored.
    pub(crate) layers: Vec<String>,
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("a string takes any text");
    }
    text
}

/// One entry of a layer, of user 0 unless its name lies in the home directory of user 1234.
fn add(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    let owner = if name.starts_with("home/web") { 1234 } else { 0 };
    header.set_entry_type(kind);
    header.set_uid(owner);
    header.set_gid(owner);
    header.set_mtime(1_000_000_000);
    let mode = if name == "tmp/" { 0o1777 } else { 0o755 };
    header.set_mode(mode);
    if kind.is_symlink() {
        let target = str::from_utf8(content).expect("a path");
        header.set_size(0);
        tar.append_link(&mut header, name, target).expect("in memory");
    } else {
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, content).expect("in memory");
    }
}

fn layers() -> [Vec<u8>; 2] {
    use tar::EntryType::{Directory, Regular, Symlink};
    let busybox = fs::read("/bin/busybox").expect("busybox-static is installed");
    let mut lower = tar::Builder::new(Vec::new());
    for name in ["bin/", "etc/", "tmp/", "home/", "home/web/", "old/", "old/deep/"] {
        add(&mut lower, name, Directory, b"");
    }
    add(&mut lower, "bin/busybox", Regular, &busybox);
    for name in
        ["sh", "cat", "ls", "id", "env", "pwd", "sleep", "test", "hostname", "grep", "chmod"]
    {
        add(&mut lower, &format!("bin/{name}"), Symlink, b"busybox");
    }
    let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:1234:1235::/home/web:/bin/sh\n";
    add(&mut lower, "etc/passwd", Regular, passwd.as_bytes());
    add(&mut lower, "etc/group", Regular, b"root:x:0:\nweb:x:1235:\nlogs:x:77:web\n");
    // As many systems have it, to where there is nothing in a container.
    add(&mut lower, "etc/resolv.conf", Symlink, b"../run/systemd/resolve/stub-resolv.conf");
    add(&mut lower, "old/gone", Regular, b"x");
    add(&mut lower, "old/deep/gone", Regular, b"x");
    let mut upper = tar::Builder::new(Vec::new());
    add(&mut upper, "old/.wh.gone", Regular, b"");
    add(&mut upper, "old/.wh.deep", Regular, b"");
    add(&mut upper, "old/new", Regular, b"new\n");
    [lower, upper].map(|tar| tar.into_inner().expect("in memory"))
}

fn packed(tar: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut gzip, tar).expect("in memory");
    gzip.finish().expect("in memory")
}

/// Makes an image that is run as `config` says, in the words of image configurations.
pub(crate) fn busybox(config: &Value) -> Built {
    let tars = layers();
    let stored: Vec<Vec<u8>> = tars.iter().map(|tar| packed(tar)).collect();
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "config": config,
        "rootfs": {"type": "layers", "diff_ids": tars.iter().map(|it| digest(it)).collect::<Vec<_>>()},
    });
    let config = config.to_string().into_bytes();
    let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
    let part = |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": digest(bytes), "size": bytes.len()});
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": part("application/vnd.oci.image.config.v1+json", &config),
        "layers": stored.iter().map(|it| part(layer, it)).collect::<Vec<_>>(),
    });
    let manifest = manifest.to_string().into_bytes();
    let name = digest(&manifest);
    let layers = stored.iter().map(|it| digest(it)).collect();
    let all = stored.into_iter().chain([config, manifest]);
    Built { blobs: all.map(|it| (digest(&it), it)).collect(), manifest: name, layers }
}

impl Built {
    /// Writes it as an OCI layout, in which it is called `name`.
    pub(crate) fn write_layout(&self, dir: &Path, name: &str) {
        let blobs = dir.join("blobs/sha256");
        fs::create_dir_all(&blobs).expect("a directory");
        for (digest, bytes) in &self.blobs {
            let file = digest.trim_start_matches("sha256:");
            fs::write(blobs.join(file), bytes).expect("a file");
        }
        fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.manifest,
            "size": self.blobs[&self.manifest].len(),
            "annotations": {"org.opencontainers.image.ref.name": name},
        }]});
        fs::write(dir.join("index.json"), index.to_string()).expect("a file");
    }
}
