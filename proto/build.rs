//! Compiles the .proto files: messages, gRPC services, and the tables that the JSON mapping reads.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost::Message as _;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FieldOptions, FileDescriptorSet,
    MessageOptions,
};

/// Large fields that most messages of their kind do without. In place they would make each resource four
/// times as large, and an operation seven kilobytes, all of which are cleared and moved about with it.
const BOXED: &[&str] = &[
    ".mesos.v1.ExecutorInfo.container",
    ".mesos.v1.ExecutorInfo.discovery",
    ".mesos.v1.Offer.Operation.create",
    ".mesos.v1.Offer.Operation.create_disk",
    ".mesos.v1.Offer.Operation.destroy",
    ".mesos.v1.Offer.Operation.destroy_disk",
    ".mesos.v1.Offer.Operation.grow_volume",
    ".mesos.v1.Offer.Operation.launch_group",
    ".mesos.v1.Offer.Operation.reserve",
    ".mesos.v1.Offer.Operation.shrink_volume",
    ".mesos.v1.Offer.Operation.unreserve",
    ".mesos.v1.Resource.disk",
    ".mesos.v1.Task.container",
    ".mesos.v1.Task.discovery",
    ".mesos.v1.Task.health_check",
    ".mesos.v1.TaskInfo.check",
    ".mesos.v1.TaskInfo.container",
    ".mesos.v1.TaskInfo.discovery",
    ".mesos.v1.TaskInfo.executor",
    ".mesos.v1.TaskInfo.health_check",
];

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
    fs::write(out.join("tables.rs"), Tables::of(&set).to_rust())?;

    // On the wire a oneof is no more than optional fields, and in Mesos's JSON too. Plain fields
    // make the messages of both APIs alike. And what is deprecated for clients must be served all
    // the same: the compiler need not warn of it.
    for file in &mut set.file {
        if file.package().starts_with("mesos.") {
            file.message_type.iter_mut().for_each(make_plain);
        }
    }
    let mut config = prost_build::Config::new();
    config.bytes(["."]).btree_map(["."]).include_file("packages.rs");
    for field in BOXED {
        config.boxed(field);
    }
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

fn make_plain(message: &mut DescriptorProto) {
    message.oneof_decl.clear();
    for field in &mut message.field {
        field.oneof_index = None;
        if let Some(options) = &mut field.options {
            options.deprecated = None;
        }
    }
    for value in message.enum_type.iter_mut().flat_map(|declared| &mut declared.value) {
        value.options = None;
    }
    message.nested_type.iter_mut().for_each(make_plain);
}

/// The messages and enums that have a JSON form, by full name with a leading dot.
#[derive(Default)]
struct Tables<'a> {
    messages: BTreeMap<String, Entry<'a>>,
    enums: BTreeMap<String, &'a EnumDescriptorProto>,
}

struct Entry<'a> {
    message: &'a DescriptorProto,
    rust_path: String,
    /// Whether it, or anything in it, has required fields.
    checked: bool,
}

impl<'a> Tables<'a> {
    fn of(set: &'a FileDescriptorSet) -> Self {
        let mut tables = Self::default();
        for file in &set.file {
            let package = file.package();
            if !package.starts_with("mesos.") && package != "google.protobuf" {
                continue;
            }
            let name = format!(".{package}");
            let path = format!("crate::{}", package.replace('.', "::"));
            for message in &file.message_type {
                tables.add(&name, &path, message);
            }
            for descriptor in &file.enum_type {
                tables.enums.insert(format!("{name}.{}", descriptor.name()), descriptor);
            }
        }
        tables.mark_checked();
        tables
    }

    fn add(&mut self, scope: &str, path: &str, message: &'a DescriptorProto) {
        let name = format!("{scope}.{}", message.name());
        let inner_path = format!("{path}::{}", message.name().to_snake_case());
        for nested in &message.nested_type {
            self.add(&name, &inner_path, nested);
        }
        for descriptor in &message.enum_type {
            self.enums.insert(format!("{name}.{}", descriptor.name()), descriptor);
        }
        let rust_path = format!("{path}::{}", message.name().to_upper_camel_case());
        self.messages.insert(name, Entry { message, rust_path, checked: false });
    }

    fn mark_checked(&mut self) {
        loop {
            let more: Vec<_> = self
                .messages
                .iter()
                .filter(|(_, entry)| !entry.checked)
                .filter(|(_, entry)| {
                    entry.message.field.iter().any(|field| {
                        field.label() == Label::Required
                            || self.messages.get(field.type_name()).is_some_and(|of| of.checked)
                    })
                })
                .map(|(name, _)| name.clone())
                .collect();
            if more.is_empty() {
                return;
            }
            for name in more {
                self.messages.get_mut(&name).expect("just listed").checked = true;
            }
        }
    }

    fn to_rust(&self) -> String {
        let mut rust = String::new();
        for (at, descriptor) in self.enums.values().enumerate() {
            let values: Vec<_> =
                descriptor.value.iter().map(|value| (value.name(), value.number())).collect();
            writeln!(rust, "static E{at}: Enum = Enum {{ values: &{values:?} }};").expect("text");
        }
        for (at, (name, entry)) in self.messages.iter().enumerate() {
            self.message_to_rust(at, name, entry, &mut rust);
        }
        let all: Vec<_> = (0..self.messages.len()).map(|at| format!("&M{at}")).collect();
        let all = all.join(", ");
        writeln!(rust, "pub(super) static ALL: &[&Message] = &[{all}];").expect("text");
        rust
    }

    fn message_to_rust(&self, at: usize, name: &str, entry: &Entry<'_>, rust: &mut String) {
        let declared = &entry.message.field;
        let mut fields: Vec<_> = declared.iter().collect();
        fields.sort_by_key(|field| field.number());
        let mut by_name: Vec<_> = (0..fields.len()).collect();
        by_name.sort_by_key(|&index| fields[index].name());
        let required: Vec<_> = declared
            .iter()
            .filter(|field| field.label() == Label::Required)
            .map(|field| fields.iter().position(|other| other.number() == field.number()))
            .map(|index| index.expect("the same fields"))
            .collect();
        assert!(fields.len() <= 128, "wire::is_complete counts fields in 128 bits");
        let lines: String = fields.iter().map(|field| self.field_to_rust(field)).collect();
        let (name, checked) = (&name[1..], entry.checked);
        writeln!(
            rust,
            "static M{at}: Message = Message {{ name: {name:?}, fields: &[{lines}], \
             by_name: &{by_name:?}, required: &{required:?}, checked: {checked} }};"
        )
        .expect("text");
        if !is_map_entry(entry) {
            writeln!(
                rust,
                "impl Described for {} {{ fn schema() -> &'static Message {{ &M{at} }} }}",
                entry.rust_path
            )
            .expect("text");
        }
    }

    fn field_to_rust(&self, field: &FieldDescriptorProto) -> String {
        let is_map = self.messages.get(field.type_name()).is_some_and(is_map_entry);
        let kind = match field.r#type() {
            Type::Message if is_map => {
                format!("Map(&M{})", index_of(self.messages.keys(), field.type_name()))
            }
            Type::Message => {
                format!("Message(&M{})", index_of(self.messages.keys(), field.type_name()))
            }
            Type::Enum => format!("Enum(&E{})", index_of(self.enums.keys(), field.type_name())),
            Type::Double
            | Type::Int32
            | Type::Int64
            | Type::Uint32
            | Type::Uint64
            | Type::Bool
            | Type::String
            | Type::Bytes => format!("{:?}", field.r#type()),
            Type::Float
            | Type::Fixed32
            | Type::Fixed64
            | Type::Sfixed32
            | Type::Sfixed64
            | Type::Sint32
            | Type::Sint64
            | Type::Group => panic!("schema::Kind has no {:?} yet", field.r#type()),
        };
        let rule = match field.label() {
            Label::Required => "Required",
            Label::Repeated => "Repeated",
            Label::Optional => "Optional",
        };
        format!(
            "Field {{ number: {}, name: {:?}, rule: Rule::{rule}, kind: Kind::{kind}, \
             default: {:?}, oneof: {:?} }},",
            field.number(),
            field.name(),
            json_default(field),
            field.oneof_index.map(i32::unsigned_abs),
        )
    }
}

fn is_map_entry(entry: &Entry<'_>) -> bool {
    entry.message.options.as_ref().is_some_and(MessageOptions::map_entry)
}

fn index_of<'a>(mut names: impl Iterator<Item = &'a String>, name: &str) -> usize {
    names.position(|other| other == name).expect("a type of the set")
}

/// The default as JSON text; empty where none is written for a field that is not set.
fn json_default(field: &FieldDescriptorProto) -> String {
    let deprecated = field.options.as_ref().is_some_and(FieldOptions::deprecated);
    match (&field.default_value, field.r#type()) {
        (Some(value), _) if deprecated || value.is_empty() => String::new(),
        (Some(value), Type::String | Type::Enum) => format!("{value:?}"),
        (Some(value), Type::Double) if !value.contains('.') => format!("{value}.0"),
        (Some(value), _) => value.clone(),
        (None, _) => String::new(),
    }
}
