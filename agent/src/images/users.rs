//! Users of an image: looked up in its own files, before any of it runs.

use std::path::{Path, PathBuf};

use super::layer::read_file;
use crate::launcher::Identity;

/// Bytes that are read of an image's lists of users and groups. Those of a whole company have not
/// as many.
const BYTES_MAX: u64 = 1 << 20;

/// A user that an image does not know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no {what} '{name}' in the image; use a number, or one that its files name")]
pub struct UnknownInImage {
    /// Whether it is a user or a group.
    pub what: &'static str,
    /// As it was given.
    pub name: String,
}

/// A user of an image.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageUser {
    /// With its groups.
    pub identity: Identity,
    /// Its directory, if the image's files name it.
    pub home: Option<String>,
}

/// Looks up `user`, `uid`, `user:group` or `uid:gid` in the image of `layers`, the topmost first.
pub(super) fn find(layers: &[PathBuf], text: &str) -> Result<ImageUser, UnknownInImage> {
    let read = |path: &str| read_file(layers, Path::new(path), BYTES_MAX).unwrap_or_default();
    find_in(&read("etc/passwd"), &read("etc/group"), text)
}

fn find_in(passwd: &str, group: &str, text: &str) -> Result<ImageUser, UnknownInImage> {
    let (user, given_group) = match text.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let entry = passwd.lines().filter_map(User::read).find(|it| it.name == user);
    let number = user.parse::<u32>().ok();
    // A name that is a number is rather a name, as everywhere.
    let entry =
        entry.or_else(|| passwd.lines().filter_map(User::read).find(|it| Some(it.uid) == number));
    let uid = entry.as_ref().map(|it| it.uid).or(number);
    let unknown = |what, name: &str| UnknownInImage { what, name: name.to_owned() };
    let uid = uid.ok_or_else(|| unknown("user", user))?;
    let gid = match given_group {
        None => entry.as_ref().map_or(0, |it| it.gid),
        Some(name) => {
            let named = group.lines().filter_map(Group::read).find(|it| it.name == name);
            let gid = named.map(|it| it.gid).or_else(|| name.parse().ok());
            gid.ok_or_else(|| unknown("group", name))?
        }
    };
    let mut groups = vec![gid];
    // Whoever names the group wants just that one.
    if let (Some(entry), None) = (&entry, given_group) {
        let member = |it: &Group<'_>| it.members.split(',').any(|name| name == entry.name);
        groups.extend(group.lines().filter_map(Group::read).filter(member).map(|it| it.gid));
    }
    groups.dedup();
    let home = entry.map(|it| it.home.to_owned()).filter(|home| !home.is_empty());
    Ok(ImageUser { identity: Identity { uid, gid, groups }, home })
}

struct User<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> User<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, _, home, ..] = fields[..] else { return None };
        Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    }
}

struct Group<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

impl<'a> Group<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members, ..] = fields[..] else { return None };
        Some(Self { name, gid: gid.parse().ok()?, members })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_in_all_the_forms_that_images_use() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102:,,,:/srv:/bin/false\nodd line\n";
        let group = "root:x:0:\nweb:x:102:\nlogs:x:4:web,other\nnone:x:9:webs\n";
        let identity = |uid, gid, groups: &[u32]| Identity { uid, gid, groups: groups.to_vec() };
        for (text, uid, gid, groups, home) in [
            ("web", 101, 102, &[102, 4][..], Some("/srv")),
            ("101", 101, 102, &[102, 4], Some("/srv")),
            ("web:logs", 101, 4, &[4], Some("/srv")),
            ("web:7", 101, 7, &[7], Some("/srv")),
            ("1000:1001", 1000, 1001, &[1001], None),
            ("1000", 1000, 0, &[0], None),
            ("web:", 101, 102, &[102, 4], Some("/srv")),
        ] {
            let found = find_in(passwd, group, text).expect(text);
            assert_eq!(found.identity, identity(uid, gid, groups), "{text}");
            assert_eq!(found.home.as_deref(), home, "{text}");
        }
        let error = |text: &str| find_in(passwd, group, text).expect_err(text).to_string();
        assert!(error("nobody").starts_with("there is no user 'nobody' in the image;"));
        assert!(error("web:wheel").starts_with("there is no group 'wheel' in the image;"));
        assert!(find_in("", "", "root").is_err());
        assert_eq!(find_in("", "", "0").expect("a number").identity, identity(0, 0, &[0]));
    }
}
