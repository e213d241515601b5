//! What the operating system says about this process.

use std::fs;

/// Figures of the process; `None` where the system does not tell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Process {
    /// CPU time of all threads.
    pub(super) cpu_seconds: f64,
    /// Resident memory.
    pub(super) resident_bytes: Option<f64>,
    /// Open file descriptors.
    pub(super) open_fds: Option<f64>,
}

impl Process {
    /// As of now.
    pub(super) fn read() -> Process {
        let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        Process {
            cpu_seconds: cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9,
            resident_bytes: fs::read_to_string("/proc/self/status").ok().and_then(|text| resident(&text)),
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as f64),
        }
    }
}

/// The line `VmRSS:     1234 kB` of proc(5), in bytes.
fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_figures() {
        let process = Process::read();
        assert!(process.cpu_seconds > 0.0);
        assert!(process.resident_bytes.unwrap() > 100_000.0);
        assert!(process.open_fds.unwrap() >= 3.0);
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
    }
}
