//! Paths as clients write them.

use axum::http::StatusCode;
use marathon_core::ids::AppId;

use super::reply::{self, Refused};

/// The segments of a path: repeated and trailing slashes do not count, and an encoded slash is one.
pub(super) fn segments(path: &str) -> Vec<String> {
    decoded(path).split('/').filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

fn decoded(path: &str) -> String {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match code.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(code) if byte == b'%' => {
                bytes.push(code);
                rest = &after[2..];
            }
            _ => {
                bytes.push(byte);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The id that these segments are. One that cannot be is one that does not exist.
pub(super) fn app_id(words: &[&str]) -> Result<AppId, Refused> {
    let text = words.join("/");
    AppId::parse(&text).map_err(|_| no_app(&format!("/{text}")))
}

/// There is no such app.
pub(super) fn no_app(id: &str) -> Refused {
    reply::error(StatusCode::NOT_FOUND, &format!("App '{id}' does not exist"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_taken_as_they_come() {
        for path in ["/v2/apps/a/b", "/v2/apps//a/b/", "//v2/apps/a%2Fb", "/v2/apps/%2Fa%2fb//"] {
            assert_eq!(segments(path), ["v2", "apps", "a", "b"], "{path}");
        }
        assert_eq!(segments("/a%zz/%"), ["a%zz", "%"]);
        assert_eq!(segments("/"), [""; 0]);
    }
}
