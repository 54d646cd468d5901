//! The page of the book that lists every flag of every daemon: made from the flags themselves, so that
//! it cannot say anything else. `UPDATE_EXPECT=1` writes it anew.

use clap::CommandFactory;
use std::fmt::Write;
use std::path::Path;

const INTRODUCTION: &str = "# Flags and ports

Words of a flag may be joined by `_` or `-`; each flag can be given by the environment variable beside it,
and what is given on the command line wins. Durations are written `500ms`, `10secs`, `5mins`, `1.5hrs`;
sizes `64MB`. `/flags` of a running daemon shows what it runs with.
";

/// The page as it is to be.
fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for daemon in ["local", "master", "agent", "marathon"] {
        let definition = crate::Cli::command();
        let definition = definition.find_subcommand(daemon).expect("each is a verb");
        write!(
            page,
            "\n## agora {daemon}\n\n| flag | default | environment | meaning |\n|---|---|---|---|\n"
        )
        .expect("a string takes any write");
        for argument in definition.get_arguments() {
            let Some(long) = argument.get_long() else { continue };
            let default: Vec<_> =
                argument.get_default_values().iter().map(|it| it.to_string_lossy()).collect();
            let default = match (default.join(","), argument.is_required_set()) {
                (_, true) => "required".to_owned(),
                (none, false) if none.is_empty() => String::new(),
                (some, false) => format!("`{}`", some.replace('|', "\\|")),
            };
            let environment = argument.get_env().map(|name| name.to_string_lossy());
            let environment = environment.map(|name| format!("`{name}`")).unwrap_or_default();
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            let (name, help) = (long.replace('-', "_"), help.replace('|', "\\|"));
            writeln!(page, "| `--{name}` | {default} | {environment} | {help} |")
                .expect("a string takes any write");
        }
    }
    page
}

#[test]
fn the_page_of_flags_is_as_the_flags_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src/operators/flags.md");
    let page = page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &page).expect("the book is there");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/src/operators/flags.md is not up to date: run UPDATE_EXPECT=1 cargo nextest run -p cli"
    );
}

/// clap looks for names that clash, of groups of flags too, only when it is asked to.
#[test]
fn the_command_line_contradicts_itself_nowhere() {
    crate::Cli::command().debug_assert();
}
