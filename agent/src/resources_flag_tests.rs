use super::*;

use model::amount::Milli;
use serde_json::json;

fn read_in(work_dir: &Path, list: &serde_json::Value) -> Result<Given, ResourcesError> {
    read(&list.to_string(), &Role::new("web").expect("a role"), work_dir)
}

fn disk(kind: &str, root: &Path) -> serde_json::Value {
    let source = json!({"type": kind, kind.to_lowercase(): {"root": root}});
    json!({"name": "disk", "type": "SCALAR", "scalar": {"value": 64}, "disk": {"source": source}})
}

#[test]
fn the_array_says_what_the_text_says_and_more() {
    let dir = tempfile::tempdir().expect("a directory");
    let list = json!([
        {"name": "cpus", "type": "SCALAR", "scalar": {"value": 2}},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 64}, "role": "*"},
        {"name": "mem", "type": "SCALAR", "scalar": {"value": 0}, "role": "db"},
        {"name": "ports", "type": "RANGES", "ranges": {"range": [{"begin": 1, "end": 9}]},
         "reservations": [{"type": "STATIC", "role": "db"}]},
        {"name": "bugs", "type": "SET", "set": {"item": ["a", "b"]}},
    ]);
    let text = "cpus:2;mem(*):64;mem(db):0;ports(db):[1-9];bugs:{a,b}";
    let given = read_in(dir.path(), &list).expect("well formed");
    let same = read(text, &Role::new("web").expect("a role"), dir.path()).expect("well formed");
    assert_eq!(given.resources, same.resources);
    assert_eq!(given.names, same.names);

    let file = dir.path().join("resources.json");
    fs::write(&file, list.to_string()).expect("written");
    for flag in [file.display().to_string(), format!("file://{}", file.display())] {
        let from_file = read(&flag, &Role::new("web").expect("a role"), dir.path());
        assert_eq!(from_file.expect("it is there").resources, given.resources, "{flag}");
    }
    let none = read("/none/such", &Role::any(), dir.path()).expect_err("it is not there");
    assert!(none.to_string().starts_with("cannot read /none/such: "), "{none}");
}

#[test]
fn a_path_disk_may_have_parts_for_several_roles_and_the_size_it_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut mine, yours) = (disk("PATH", dir.path()), disk("PATH", dir.path()));
    mine["role"] = json!("db");
    let given = read_in(Path::new("/agora"), &json!([mine, yours])).expect("well formed");
    assert_eq!(given.resources.scalar("disk"), Milli::units(128));
    assert_eq!(given.resources.iter().count(), 2);
    mine.as_object_mut().expect("it is one").remove("scalar");
    let given = read_in(Path::new("/agora"), &json!([mine])).expect("well formed");
    let there = detect::disk_bytes(dir.path()).expect("it is there") >> 20;
    let there = i64::try_from(there).expect("it is no larger");
    assert_eq!(given.resources.scalar("disk"), Milli::units(there));
}

#[test]
fn what_cannot_be_is_told_with_its_number() {
    let dir = tempfile::tempdir().expect("a directory");
    let with = |field: &str, value: serde_json::Value| {
        let mut it = json!({"name": "cpus", "type": "SCALAR", "scalar": {"value": 1}});
        it[field] = value;
        it
    };
    let missing = dir.path().join("none");
    let cases = [
        (with("type", json!("SET")), "'type' must be SCALAR, with 'scalar'"),
        (with("type", json!("LIST")), "LIST"),
        (with("name", json!("")), "'name'"),
        (with("name", json!("a/b")), "'name'"),
        (with("scalar", json!({"value": -1})), "less than nothing"),
        (with("role", json!("-x")), "Invalid role"),
        (with("reservation", json!({"principal": "p"})), "are STATIC"),
        (with("reservations", json!([{"type": "DYNAMIC", "role": "a"}])), "are STATIC"),
        (with("reservations", json!([{"type": "STATIC"}])), "'role' is missing"),
        (with("revocable", json!({})), "leave 'revocable' away"),
        (with("shared", json!({})), "leave 'shared' away"),
        (with("disk", json!({})), "of that name only"),
        (disk("PATH", Path::new("relative")), "absolute path"),
        (disk("PATH", &missing), "make the directory"),
        (disk("MOUNT", dir.path()), "nothing is mounted at"),
        (disk("MOUNT", Path::new("/")), "the work directory of the agent is in it"),
        (disk("BLOCK", dir.path()), "PATH or MOUNT"),
    ];
    for (element, why) in cases {
        let list = json!([with("name", json!("mem")), element]);
        let said = read_in(dir.path(), &list).expect_err(why).to_string();
        assert!(said.starts_with("element 2 ('") && said.contains(why), "{why}: {said}");
    }
    let twice = json!([disk("PATH", dir.path()), disk("PATH", &dir.path().join("."))]);
    let said = read_in(Path::new("/agora"), &twice).expect_err("twice").to_string();
    assert!(said.contains("element 1 is the disk at"), "{said}");
    let said = read("[1", &Role::any(), dir.path()).expect_err("open").to_string();
    assert!(said.starts_with("it is not a JSON array of resources: "), "{said}");
    let much = with("scalar", json!({"value": 9e11}));
    let said = read_in(dir.path(), &json!([much, much])).expect_err("too much").to_string();
    assert!(said.contains("all elements together: Invalid scalar"), "{said}");
    let many = json!(vec![with("name", json!("x")); ELEMENTS_MAX + 1]);
    let said = read_in(dir.path(), &many).expect_err("too many").to_string();
    assert!(said.contains("it has 1001 elements"), "{said}");
    let mixed = json!([with("name", json!("x")), with("name", json!("x"))]);
    let mut mixed = mixed.as_array().expect("it is one").clone();
    mixed[1] = json!({"name": "x", "type": "SET", "set": {"item": ["a"]}});
    let said = read_in(dir.path(), &json!(mixed)).expect_err("mixed").to_string();
    assert!(said.contains("an element before it is of type SCALAR"), "{said}");
}
