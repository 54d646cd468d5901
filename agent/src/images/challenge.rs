//! What a registry answers that wants to know who asks: `WWW-Authenticate`.

use std::collections::BTreeMap;

/// How it wants to be shown.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Challenge {
    /// By user and password.
    Basic,
    /// By a token that is had from `realm`.
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

impl Challenge {
    /// Reads one header. Of several challenges the first that is understood counts.
    pub(super) fn read(header: &str) -> Option<Self> {
        let mut rest = header.trim_start();
        while !rest.is_empty() {
            let (scheme, after) = rest.split_once(' ').unwrap_or((rest, ""));
            let (values, after) = parameters(after);
            if scheme.eq_ignore_ascii_case("basic") {
                return Some(Self::Basic);
            }
            if scheme.eq_ignore_ascii_case("bearer")
                && let Some(realm) = values.get("realm")
            {
                let value = |name: &str| values.get(name).cloned();
                return Some(Self::Bearer {
                    realm: realm.clone(),
                    service: value("service"),
                    scope: value("scope"),
                });
            }
            rest = after;
        }
        None
    }
}

/// Reads `name=value` and `name="value"` with commas between them, and gives what follows: the next
/// challenge.
fn parameters(mut text: &str) -> (BTreeMap<String, String>, &str) {
    let mut values = BTreeMap::new();
    loop {
        text = text.trim_start_matches([' ', ',']);
        let name_end = text.find(['=', ' ', ',']).unwrap_or(text.len());
        let (name, rest) = text.split_at(name_end);
        let Some(rest) = rest.strip_prefix('=') else { return (values, text) };
        let (value, rest) = if let Some(quoted) = rest.strip_prefix('"') {
            until_quote(quoted)
        } else {
            let end = rest.find([',', ' ']).unwrap_or(rest.len());
            (rest[..end].to_owned(), &rest[end..])
        };
        values.insert(name.to_ascii_lowercase(), value);
        text = rest;
    }
}

fn until_quote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            let owned = |text: Option<&str>| text.map(str::to_owned);
            let (service, scope) = (owned(service), owned(scope));
            Some(Challenge::Bearer { realm: realm.to_owned(), service, scope })
        };
        for (header, expected) in [
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("basic", Some(Challenge::Basic)),
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/a:pull,push""#,
                bearer(
                    "https://auth.docker.io/token",
                    Some("registry.docker.io"),
                    Some("repository:library/a:pull,push"),
                ),
            ),
            (
                r#"bearer Realm=https://h/t, service="a \"b\"""#,
                bearer("https://h/t", Some("a \"b\""), None),
            ),
            (r#"Negotiate, Basic realm="x""#, Some(Challenge::Basic)),
            (r#"Digest realm="x", nonce="y", Bearer realm="r""#, bearer("r", None, None)),
            (r#"Bearer service="x""#, None),
            ("Negotiate", None),
            ("", None),
            (r#"Bearer realm="unfinished"#, bearer("unfinished", None, None)),
        ] {
            assert_eq!(Challenge::read(header), expected, "{header}");
        }
    }
}
