//! Ends this process when the one that started it is gone, also in the middle of a picture.

use std::io;
use std::thread;
use std::time::Duration;

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);

/// Starts looking. Before the sandbox is entered, which threads inherit and in which none can be started.
pub(crate) fn start() -> io::Result<()> {
    let parent = rustix::process::getppid();
    thread::Builder::new().name("watchdog".to_owned()).stack_size(64 << 10).spawn(move || {
        while rustix::process::getppid() == parent {
            thread::sleep(LOOK);
        }
        std::process::exit(0);
    })?;
    Ok(())
}
