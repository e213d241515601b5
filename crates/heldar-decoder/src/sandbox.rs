//! The cage: what this process may still do once it has started.
//!
//! Owns: limits of memory and of the processor's time among others, no file (landlock, where the kernel has it), few system
//! calls (seccomp). Entered before the first byte of a stream is read. A kernel without landlock leaves that layer out, as
//! the system calls that open files are refused anyway; a kernel without seccomp is refused.

use std::collections::BTreeMap;

use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _};
use rustix::process::{Resource, Rlimit, nice, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads,
};

/// What it may take.
pub(crate) struct Limits {
    /// Steps back behind others, 0 to 19.
    pub(crate) nice: i32,
    /// Address space in MiB.
    pub(crate) memory_mb: u64,
}

/// The cage cannot be closed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("limits cannot be set: {0}")]
    Limits(#[from] rustix::io::Errno),
    #[error("files cannot be shut out: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("system calls cannot be shut out: {0}")]
    Filter(#[from] seccompiler::BackendError),
    #[error("system calls cannot be shut out: {0}")]
    Seccomp(#[from] seccompiler::Error),
}

/// Closes the cage around all threads.
pub(crate) fn enter(limits: &Limits) -> Result<(), SandboxError> {
    let _niceness = nice(limits.nice)?;
    for (resource, bound) in [
        (Resource::As, limits.memory_mb << 20),
        (Resource::Core, 0),
        // The note of what it is at.
        (Resource::Fsize, 4096),
        (Resource::Nproc, 0),
    ] {
        setrlimit(resource, Rlimit { current: Some(bound), maximum: Some(bound) })?;
    }
    // Best effort by itself: on a kernel that knows less, less is shut out.
    Ruleset::default()
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::from_all(ABI::V5))?
        .create()?
        .restrict_self()?;
    apply_filter_all_threads(&filter()?)?;
    Ok(())
}

#[cfg(target_arch = "x86_64")]
const ARCH: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCH: TargetArch = TargetArch::aarch64;

/// Protection of memory that may be executed.
const PROT_EXEC: u64 = 4;

/// Everything that is not listed fails with `EPERM`.
fn filter() -> Result<BpfProgram, SandboxError> {
    let mut rules = BTreeMap::new();
    for call in calls::ALLOWED {
        rules.insert(*call, Vec::new());
    }
    for call in calls::MEMORY {
        let not_executable =
            SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(PROT_EXEC), 0)?;
        rules.insert(*call, vec![SeccompRule::new(vec![not_executable])?]);
    }
    let refused = SeccompAction::Errno(1);
    Ok(SeccompFilter::new(rules, refused, SeccompAction::Allow, ARCH)?.try_into()?)
}

/// Numbers of system calls, as the kernel gives them out for each architecture.
mod calls {
    /// With `PROT_EXEC` refused: mmap, mprotect.
    #[cfg(target_arch = "x86_64")]
    pub(super) const MEMORY: &[i64] = &[9, 10];
    #[cfg(target_arch = "aarch64")]
    pub(super) const MEMORY: &[i64] = &[222, 226];

    /// read, write, close, munmap, brk, rt_sigaction, rt_sigprocmask, rt_sigreturn, pwrite64, writev, sched_yield, mremap,
    /// madvise, nanosleep, getpid, exit, getppid, sigaltstack, gettid, futex, sched_getaffinity, clock_gettime,
    /// clock_nanosleep, exit_group, tgkill, getrandom, membarrier, rseq.
    #[cfg(target_arch = "x86_64")]
    pub(super) const ALLOWED: &[i64] = &[
        0, 1, 3, 11, 12, 13, 14, 15, 18, 20, 24, 25, 28, 35, 39, 60, 110, 131, 186, 202, 204, 228, 230, 231,
        234, 318, 324, 334,
    ];
    #[cfg(target_arch = "aarch64")]
    pub(super) const ALLOWED: &[i64] = &[
        63, 64, 57, 215, 214, 134, 135, 139, 68, 66, 124, 216, 233, 101, 172, 93, 173, 132, 178, 98, 123,
        113, 115, 94, 131, 278, 283, 293,
    ];
}
