//! The decoder process: reads access units from its standard input, decodes them with libav, and answers with JPEGs and luma
//! planes on the same socket. Its standard output is a note of what it is at.
//!
//! Owns: the system's decoders, and the cage they run in. Never: a file, a socket of its own, a camera. Whatever a stream
//! does to it, this process is all that is lost.

mod av;
mod jpeg;
mod range;
mod render;
mod sandbox;
mod serve;
mod stream;
mod watchdog;

use std::process::ExitCode;

use sandbox::Limits;

fn main() -> ExitCode {
    let Some(limits) = limits(std::env::args().skip(1)) else {
        return fail(
            &"usage: heldar-decoder --nice N --memory-mb N, with a socket as standard input; `heldar` starts it",
        );
    };
    close_inherited();
    av::silence();
    if let Err(error) = watchdog::start() {
        return fail(&error);
    }
    match sandbox::enter(&limits) {
        Ok(()) => {}
        Err(error) => return fail(&error),
    }
    match serve::serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

#[expect(clippy::print_stderr, reason = "the only words of a process that logs nothing")]
fn fail(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{why}");
    ExitCode::FAILURE
}

/// Closes what this process was started with by mistake: only the three standard descriptors are for it.
fn close_inherited() {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> =
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    // The listing's own is closed by now.
    let is_open = |number: &i32| std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
    for number in numbers.into_iter().filter(|number| *number > 2).filter(is_open) {
        // SAFETY: it is open, and nothing in this process has opened or uses it.
        unsafe { rustix::io::close(number) };
    }
}

fn limits(mut args: impl Iterator<Item = String>) -> Option<Limits> {
    let mut limits = Limits { nice: 0, memory_mb: 1024 };
    while let Some(name) = args.next() {
        let value = args.next()?;
        match name.as_str() {
            "--nice" => limits.nice = value.parse().ok()?,
            "--memory-mb" => limits.memory_mb = value.parse().ok()?,
            _ => return None,
        }
    }
    Some(limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &str) -> Option<(i32, u64)> {
        limits(words.split_whitespace().map(str::to_owned)).map(|limits| (limits.nice, limits.memory_mb))
    }

    #[test]
    fn limits_are_read_and_anything_else_is_refused() {
        assert_eq!(read("--nice 7 --memory-mb 300"), Some((7, 300)));
        assert_eq!(read(""), Some((0, 1024)));
        for wrong in ["--nice", "--nice x", "--memory-mb -1", "--file x", "serve"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
