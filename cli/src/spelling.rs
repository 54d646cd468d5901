//! Flags may be written with `_` or `-` between words; here they get the one form that clap knows.

use std::ffi::OsString;

/// Turns `--work_dir=x` into `--work-dir=x`. Values, and all after `--`, stay as they are.
pub(crate) fn normalise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut is_over = false;
    args.into_iter()
        .map(|arg| {
            is_over |= arg == "--";
            match arg.to_str() {
                Some(text) if !is_over && text.starts_with("--") => with_dashes(text).into(),
                Some(_) | None => arg,
            }
        })
        .collect()
}

fn with_dashes(flag: &str) -> String {
    match flag.split_once('=') {
        Some((name, value)) => format!("{}={value}", name.replace('_', "-")),
        None => flag.replace('_', "-"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn underscores_in_names_become_dashes_and_values_stay() {
        let given = ["agora", "master", "--work_dir=/a_b", "--offer_timeout", "a_b", "--", "--x_y"];
        let read = normalise(given.map(OsString::from));
        let wanted =
            ["agora", "master", "--work-dir=/a_b", "--offer-timeout", "a_b", "--", "--x_y"];
        assert_eq!(read, wanted.map(OsString::from));
    }
}
