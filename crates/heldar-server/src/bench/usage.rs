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
    /// How many processes these are.
    processes: u32,
    /// Their threads by their ids.
    threads: BTreeMap<u32, Thread>,
}

/// A thread and what it has used, to the nanosecond.
#[derive(Clone, Debug)]
struct Thread {
    name: String,
    cpu_s: f64,
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
            processes: 1,
            ..Usage::default()
        };
        usage.add_threads(pid);
        Ok(usage)
    }

    /// The same of this process.
    ///
    /// # Errors
    /// `/proc` cannot be read.
    pub(super) fn own() -> Result<Usage, String> {
        Self::of(std::process::id())
    }

    /// The same of a process and all that descend from it. One of these that ends meanwhile is left out.
    ///
    /// # Errors
    /// The process itself has ended.
    pub(super) fn of_family(pid: u32) -> Result<Usage, String> {
        let parents = parents()?;
        let mut family = vec![pid];
        let mut at = 0;
        while let Some(parent) = family.get(at).copied() {
            let children = parents.iter().filter(|(child, of)| *of == parent && !family.contains(child));
            let children: Vec<u32> = children.map(|(child, _)| *child).collect();
            family.extend(children);
            at += 1;
        }
        let descendants = family.iter().skip(1).filter_map(|child| Usage::of(*child).ok());
        Ok(descendants.fold(Usage::of(pid)?, Usage::and))
    }

    /// How many processes these are.
    pub(super) fn processes(&self) -> u32 {
        self.processes
    }

    /// Resident memory in MiB, and with shared pages divided among their users.
    pub(super) fn memory_mib(&self) -> (f64, f64) {
        (self.rss_kib as f64 / 1024.0, self.pss_kib as f64 / 1024.0)
    }

    /// A thread that ends meanwhile is left out.
    fn add_threads(&mut self, pid: u32) {
        let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return };
        for task in tasks.flatten() {
            let read = |name: &str| std::fs::read_to_string(task.path().join(name));
            let id = task.file_name().to_str().and_then(|id| id.parse().ok());
            let (Some(id), Ok(ran), Ok(status), Ok(name)) =
                (id, read("schedstat"), read("status"), read("comm"))
            else {
                continue;
            };
            self.sleeps += figure(&status, "voluntary_ctxt_switches").unwrap_or(0);
            let thread = Thread { name: name.trim().to_owned(), cpu_s: run_seconds(&ran).unwrap_or(0.0) };
            self.threads.insert(id, thread);
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
        self.processes += other.processes;
        self.threads.extend(other.threads);
        self
    }

    /// CPU seconds since an earlier look: to the nanosecond by the threads' own clocks, unless one of them has ended. One that
    /// came and went meanwhile shows by the ticks of its process, of which both looks cut off up to one of user and one of
    /// system time.
    pub(super) fn cpu_since(&self, before: &Usage) -> f64 {
        let by_ticks = self.cpu_s - before.cpu_s;
        let by_threads: f64 = self.threads.iter().map(|(id, thread)| before.since(*id, thread)).sum();
        let live_on = before.threads.keys().all(|id| self.threads.contains_key(id));
        let cut_off = 2.0 / TICKS * f64::from(self.processes);
        if live_on && by_threads >= by_ticks - cut_off { by_threads } else { by_ticks }
    }

    /// What a thread has used after this look.
    fn since(&self, id: u32, thread: &Thread) -> f64 {
        thread.cpu_s - self.threads.get(&id).map_or(0.0, |earlier| earlier.cpu_s)
    }

    /// CPU seconds since an earlier look, by thread name, without those that have used next to nothing.
    pub(super) fn threads_since(&self, before: &Usage) -> BTreeMap<String, f64> {
        let mut since = BTreeMap::<String, f64>::new();
        for (id, thread) in &self.threads {
            *since.entry(thread.name.clone()).or_default() += before.since(*id, thread);
        }
        since.retain(|_, cpu_s| *cpu_s >= 0.005);
        since
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

/// Every process with its parent. One that ends meanwhile is left out.
fn parents() -> Result<Vec<(u32, u32)>, String> {
    let all = std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
    let pid = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse::<u32>().ok();
    let parent = |pid: u32| Some((pid, parent(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?));
    Ok(all.flatten().filter_map(pid).filter_map(parent).collect())
}

/// The parent of a process: field 4 of `stat`, counted behind the name, which may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// User and system time in seconds: fields 14 and 15 of `stat`, counted behind the name, which may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS)
}

/// Seconds on a processor: the first field of `schedstat`, in nanoseconds.
fn run_seconds(schedstat: &str) -> Option<f64> {
    let nanoseconds: f64 = schedstat.split_whitespace().next()?.parse().ok()?;
    Some(nanoseconds / 1e9)
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
        assert_eq!((parent("7 (a) b (c)) S 12 7"), parent("7 (a) S")), (Some(12), None));
    }

    #[test]
    fn a_family_is_a_process_and_its_children() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let family = Usage::of_family(std::process::id()).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        // Other tests of this process may have children of their own.
        assert!(family.processes() >= 2, "{family:?}");
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
    fn time_of_threads_that_live_is_exact_and_else_by_ticks() {
        let usage = |cpu_s, threads: &[(u32, f64)]| Usage {
            cpu_s,
            processes: 1,
            threads: threads
                .iter()
                .map(|&(id, cpu_s)| (id, Thread { name: format!("t{}", id % 2), cpu_s }))
                .collect(),
            ..Usage::default()
        };
        let before = usage(0.01, &[(1, 0.010), (2, 0.004)]);
        let after = usage(0.03, &[(1, 0.011), (2, 0.004), (3, 0.008)]);
        assert!((after.cpu_since(&before) - 0.009).abs() < 1e-9);
        let missed_one = Usage { cpu_s: 0.05, ..after.clone() };
        assert!((missed_one.cpu_since(&before) - 0.04).abs() < 1e-9);
        assert_eq!(after.threads_since(&before).into_keys().collect::<Vec<_>>(), ["t1"]);
        let ended = usage(0.05, &[(1, 0.011)]);
        assert!((ended.cpu_since(&before) - 0.04).abs() < 1e-9);
        assert_eq!(run_seconds("1500000000 7 9"), Some(1.5));
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
