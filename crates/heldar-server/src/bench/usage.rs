//! What processes use, as the kernel counts it (proc(5)).

use std::collections::BTreeMap;

use serde::Serialize;

/// Clock ticks of `/proc` in a second; fixed in the kernel's interface (`USER_HZ`).
const TICKS: f64 = 100.0;

/// What a process, or several together, have used and hold now.
#[derive(Clone, Debug, Default)]
pub(super) struct Usage {
    /// User and system time since the start, in seconds; a whole number of hundredths for each process.
    pub(super) cpu_s: f64,
    /// Resident memory, in KiB.
    pub(super) rss_kib: u64,
    /// Largest resident memory so far, in KiB.
    pub(super) peak_kib: u64,
    /// Resident memory with shared pages divided among their users, in KiB.
    pub(super) pss_kib: u64,
    /// Open file descriptors.
    pub(super) fds: u64,
    /// How often its threads went to sleep by themselves.
    pub(super) sleeps: u64,
    /// CPU seconds by thread name.
    pub(super) threads: BTreeMap<String, f64>,
}

impl Usage {
    /// Reads all of it for a process.
    ///
    /// # Errors
    /// The process has ended, or is somebody else's.
    pub(super) fn of(pid: u32) -> Result<Usage, String> {
        let read = |name: &str| {
            let path = format!("/proc/{pid}/{name}");
            std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))
        };
        let status = read("status")?;
        let folder = format!("/proc/{pid}/fd");
        let fds = std::fs::read_dir(&folder).map_err(|error| format!("{folder}: {error}"))?.count();
        let mut usage = Usage {
            cpu_s: cpu_seconds(&read("stat")?).ok_or("/proc/PID/stat has another form")?,
            rss_kib: figure(&status, "VmRSS").unwrap_or(0),
            peak_kib: figure(&status, "VmHWM").unwrap_or(0),
            pss_kib: figure(&read("smaps_rollup")?, "Pss").unwrap_or(0),
            fds: fds as u64,
            ..Usage::default()
        };
        usage.add_threads(pid);
        Ok(usage)
    }

    /// A thread that ends meanwhile is left out.
    fn add_threads(&mut self, pid: u32) {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return };
        for task in tasks.flatten() {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name));
            let (Ok(stat), Ok(status), Ok(name)) = (read("stat"), read("status"), read("comm")) else {
                continue;
            };
            self.sleeps += figure(&status, "voluntary_ctxt_switches").unwrap_or(0);
            *self.threads.entry(name.trim().to_owned()).or_default() += cpu_seconds(&stat).unwrap_or(0.0);
        }
    }

    /// Both together.
    pub(super) fn and(mut self, other: Usage) -> Usage {
        self.cpu_s += other.cpu_s;
        self.rss_kib += other.rss_kib;
        self.peak_kib += other.peak_kib;
        self.pss_kib += other.pss_kib;
        self.fds += other.fds;
        self.sleeps += other.sleeps;
        for (name, cpu_s) in other.threads {
            *self.threads.entry(name).or_default() += cpu_s;
        }
        self
    }

    /// CPU seconds since an earlier look, by thread name, without those that have used next to nothing.
    pub(super) fn threads_since(&self, before: &Usage) -> BTreeMap<String, f64> {
        let earlier = |name: &str| before.threads.get(name).copied().unwrap_or(0.0);
        let since = self.threads.iter().map(|(name, now)| (name.clone(), now - earlier(name)));
        since.filter(|(_, cpu_s)| *cpu_s >= 0.005).collect()
    }
}

/// Seconds that all cores together were busy and idle since the machine started.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    busy_s: f64,
    idle_s: f64,
}

impl Machine {
    /// Reads `/proc/stat`.
    ///
    /// # Errors
    /// It cannot be read or has another form.
    pub(super) fn now() -> Result<Machine, String> {
        let text = std::fs::read_to_string("/proc/stat").map_err(|error| format!("/proc/stat: {error}"))?;
        Self::parse(&text).ok_or_else(|| "/proc/stat has another form".to_owned())
    }

    /// user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user time already.
    fn parse(text: &str) -> Option<Machine> {
        let fields = text.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<f64> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
        let idle_s = (ticks.get(3)? + ticks.get(4)?) / TICKS;
        let busy_s = ticks.iter().take(8).sum::<f64>() / TICKS - idle_s;
        Some(Machine { busy_s, idle_s })
    }

    /// Share of all cores that was busy since an earlier look, 0..=1.
    pub(super) fn busy_since(self, before: Machine) -> f64 {
        let (busy, idle) = (self.busy_s - before.busy_s, self.idle_s - before.idle_s);
        if busy + idle > 0.0 { busy / (busy + idle) } else { 0.0 }
    }
}

/// The machine in a line, for reports.
#[derive(Clone, Debug, Serialize)]
pub(super) struct MachineInfo {
    cores: usize,
    cpu: String,
    memory_mib: u64,
    kernel: String,
}

impl MachineInfo {
    /// What the kernel says of it; what cannot be read is left blank.
    pub(super) fn read() -> MachineInfo {
        let file = |path| std::fs::read_to_string(path).unwrap_or_default();
        let cpuinfo = file("/proc/cpuinfo");
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name"));
        MachineInfo {
            cores: std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
            cpu: model.unwrap_or_default().trim_matches([' ', '\t', ':']).to_owned(),
            memory_mib: figure(&file("/proc/meminfo"), "MemTotal").unwrap_or(0) / 1024,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }

    /// In words.
    pub(super) fn line(&self) -> String {
        let MachineInfo { cores, cpu, memory_mib, kernel } = self;
        format!("{cores} cores of {cpu}, {memory_mib} MiB, Linux {kernel}")
    }
}

/// User and system time in seconds: fields 14 and 15 of `stat`, counted behind the name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// The figure behind `name:`.
fn figure(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_with_any_name() {
        let check = |stat: &str, expect: Option<f64>| assert_eq!(cpu_seconds(stat), expect, "{stat}");
        check("7 (a) b (c)) S 1 7 7 0 -1 4 5 0 0 0 123 77 0 0 20 0 1 0", Some(2.0));
        check("7 (a) S 1", None);
        check("", None);
    }

    #[test]
    fn figures_by_their_whole_name() {
        let text = "VmRSS:\t  42 kB\nPss_Dirty: 5 kB\nPss:      17 kB\n";
        assert_eq!(
            (figure(text, "VmRSS"), figure(text, "Pss"), figure(text, "Vm")),
            (Some(42), Some(17), None)
        );
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(
            usage.rss_kib > 0 && usage.peak_kib >= usage.rss_kib / 2 && usage.pss_kib > 0 && usage.fds > 2
        );
        let twice = usage.clone().and(usage.clone());
        assert_eq!(twice.fds, 2 * usage.fds);
    }

    #[test]
    fn busy_share_of_the_machine() {
        let machine = |text| Machine::parse(text).unwrap();
        let before = machine("cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1");
        let after = machine("cpu  150 0 120 750 110 10 10 0 40 0\n");
        assert!((after.busy_since(before) - 0.6).abs() < 1e-9);
        assert!(Machine::parse("cpu0 1 2").is_none());
    }
}
