//! The modes of the product's binary that tests need and the test runner's own binary lacks.

use std::ffi::OsString;

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next().as_ref().and_then(|mode| mode.to_str()) {
        Some("launcher") => agent::launcher::main(arguments),
        Some("executor") => match agent::executor::ExecutorOptions::from_env() {
            Ok(options) => std::process::exit(agent::executor::main(&options)),
            Err(error) => {
                eprintln!("{error}");
                std::process::exit(2)
            }
        },
        other => {
            let mode = OsString::from(other.unwrap_or_default());
            eprintln!("there is no mode {}; tests use: launcher, executor", mode.display());
            std::process::exit(2)
        }
    }
}
