//! Small file systems that are ours to fill, to switch and to take away.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::figures::tell;
use super::until;

/// A file system in memory at a folder; unmounted with the test.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
}

impl Mount {
    /// Mounts `megabytes` at a folder that is made; `None`, said aloud, where this user may not mount.
    pub(crate) fn new(at: &Path, megabytes: u32) -> Option<Mount> {
        std::fs::create_dir_all(at).unwrap();
        let mount = Mount { at: at.to_owned() };
        if mount.mount(megabytes) {
            return Some(mount);
        }
        tell(
            "\n*** LEFT OUT: this user may not mount; run the tests as root to test full and missing disks ***\n",
        );
        None
    }

    /// Mounts a new, empty file system there.
    pub(crate) fn mount(&self, megabytes: u32) -> bool {
        let size = format!("size={megabytes}m,mode=0755");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&self.at))
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// Writes until nothing more fits, and leaves `spare` bytes; the file that takes the room.
    pub(crate) fn fill(&self, spare: u64) -> PathBuf {
        let path = self.at.join("foreign");
        let stat = rustix::fs::statvfs(&self.at).unwrap();
        let free = stat.f_bavail * stat.f_frsize;
        let mut command = Command::new("fallocate");
        assert!(run(command.args(["-l", &free.saturating_sub(spare).max(1).to_string()]).arg(&path)));
        path
    }

    /// Makes it read-only or writable. The system refuses while a file is open for writing.
    pub(crate) fn remount(&self, option: &str) {
        until("a remount", || {
            run(Command::new("mount").args(["-o"]).arg(format!("remount,{option}")).arg(&self.at))
                .then_some(())
        });
    }

    /// Takes the file system away from its folder as if its cable were pulled. It lives on at another one, which
    /// [`Mount::bring_back`] needs.
    pub(crate) fn take_away(&self, elsewhere: &Path) {
        std::fs::create_dir_all(elsewhere).unwrap();
        assert!(run(Command::new("mount").arg("--bind").arg(&self.at).arg(elsewhere)));
        assert!(run(Command::new("umount").arg("-l").arg(&self.at)));
    }

    /// Mounts it again.
    pub(crate) fn bring_back(&self, elsewhere: &Path) {
        assert!(run(Command::new("mount").arg("--bind").arg(elsewhere).arg(&self.at)));
        assert!(run(Command::new("umount").arg("-l").arg(elsewhere)));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached at once; whoever still has a file open keeps only that.
        let _unmounted = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|out| out.status.success())
}
