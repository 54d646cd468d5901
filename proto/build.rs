//! Compiles the .proto files: messages, gRPC services, and the tables that the JSON mapping reads.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_types::{DescriptorProto, FileDescriptorSet};

fn main() -> Result<(), Box<dyn Error>> {
    let mut files = Vec::new();
    for root in ["mesos", "agora"] {
        println!("cargo::rerun-if-changed={root}");
        proto_files(Path::new(root), &mut files)?;
    }
    files.sort();
    let mut set = protox::compile(&files, ["."])?;

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), without_comments(&set).encode_to_vec())?;

    // On the wire a oneof is no more than optional fields, and in Mesos's JSON too. Plain fields
    // make the messages of both APIs alike.
    for file in &mut set.file {
        if file.package().starts_with("mesos.") {
            file.message_type.iter_mut().for_each(drop_oneofs);
        }
    }
    let mut config = prost_build::Config::new();
    config.bytes(["."]).btree_map(["."]).include_file("packages.rs");
    tonic_prost_build::configure()
        // Clients are made of a channel that `transport` has set up; besides, a constructor called
        // `connect` would be in the way of a call of that name.
        .build_transport(false)
        .compile_well_known_types(true)
        .compile_fds_with_config(set, config)?;
    Ok(())
}

fn proto_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            proto_files(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

fn without_comments(set: &FileDescriptorSet) -> FileDescriptorSet {
    let mut set = set.clone();
    for file in &mut set.file {
        file.source_code_info = None;
    }
    set
}

fn drop_oneofs(message: &mut DescriptorProto) {
    message.oneof_decl.clear();
    for field in &mut message.field {
        field.oneof_index = None;
    }
    message.nested_type.iter_mut().for_each(drop_oneofs);
}
