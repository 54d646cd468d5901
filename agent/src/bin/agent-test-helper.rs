//! The modes of the product's binary that tests need and the test runner's own binary lacks.

#![expect(unsafe_code, reason = "system calls by number have no safe form")]

use std::ffi::OsString;

use nix::errno::Errno;

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
        Some("syscall") => println!("{}", syscall(arguments)),
        other => {
            let mode = OsString::from(other.unwrap_or_default());
            eprintln!(
                "there is no mode {}; tests use: launcher, executor, syscall",
                mode.display()
            );
            std::process::exit(2)
        }
    }
}

/// Makes the system call of a number, with numbers as its arguments, and says how it went.
fn syscall(arguments: impl Iterator<Item = OsString>) -> String {
    let mut numbers: [libc::c_long; 5] = [0; 5];
    let given = arguments.filter_map(|it| it.to_str()?.parse::<libc::c_long>().ok());
    for (place, number) in numbers.iter_mut().zip(given) {
        *place = number;
    }
    let [call, first, second, third, fourth] = numbers;
    // SAFETY: tests name calls that are refused, or that take no pointers to write to; a process
    // that comes of one ends at once.
    let returned = unsafe { libc::syscall(call, first, second, third, fourth, 0, 0) };
    match Errno::result(returned) {
        Ok(_) => "done".to_owned(),
        Err(errno) => format!("{errno:?}"),
    }
}
