//! The macOS half: libproc (`<libproc.h>`, `<sys/proc_info.h>`). Only the same user's processes, or those of everybody
//! for root, are told about.

#![expect(unsafe_code, reason = "libproc has no safe wrapper")]

use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::time::Duration;

use super::{Process, ProcessUsage};

/// What the list has told besides the family.
#[derive(Clone, Copy)]
pub(super) struct Listed {
    /// When it began, in microseconds since 1970.
    begun: u64,
    threads: u64,
    memory: u64,
    cpu: Duration,
}

/// All processes that this one may look at.
pub(super) fn list() -> Option<Vec<Process>> {
    // SAFETY: without a buffer the call writes nothing and returns how many processes there are.
    let count = unsafe { libc::proc_listallpids(std::ptr::null_mut(), 0) };
    // Some may be started until the second call.
    let mut pids = vec![0 as libc::pid_t; usize::try_from(count).ok()? + 64];
    let bytes = i32::try_from(size_of_val(pids.as_slice())).ok()?;
    // SAFETY: the call writes at most `bytes` bytes to the live vector, which is as long.
    let count = unsafe { libc::proc_listallpids(pids.as_mut_ptr().cast(), bytes) };
    pids.truncate(usize::try_from(count).ok()?);
    Some(pids.into_iter().filter_map(process).collect())
}

fn process(pid: libc::pid_t) -> Option<Process> {
    let mut info = MaybeUninit::<libc::proc_taskallinfo>::zeroed();
    let size = size_of::<libc::proc_taskallinfo>() as libc::c_int;
    // SAFETY: the call writes at most `size` bytes, which is the size of the live `info`.
    let written = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDTASKALLINFO, 0, info.as_mut_ptr().cast(), size) };
    if written != size {
        return None;
    }
    // SAFETY: it consists of integers, was zeroed, and the call has written all of it.
    let libc::proc_taskallinfo { pbsd, ptinfo } = unsafe { info.assume_init() };
    let known = Listed {
        begun: pbsd.pbi_start_tvsec * 1_000_000 + pbsd.pbi_start_tvusec,
        threads: u64::try_from(ptinfo.pti_threadnum).unwrap_or_default(),
        memory: ptinfo.pti_resident_size,
        cpu: time(ptinfo.pti_total_user + ptinfo.pti_total_system),
    };
    Some(Process { pid: pbsd.pbi_pid, parent: pbsd.pbi_ppid, group: Some(pbsd.pbi_pgid), is_zombie: false, known })
}

/// A time that is counted in units of the processor's timer, such as 125/3 ns on Apple's own.
#[expect(deprecated, reason = "the crate that libc names instead is needed for nothing else")]
fn time(units: u64) -> Duration {
    static UNIT: OnceLock<(u32, u32)> = OnceLock::new();
    let (numerator, denominator) = *UNIT.get_or_init(|| {
        let mut unit = libc::mach_timebase_info { numer: 1, denom: 1 };
        // SAFETY: the call writes the live struct.
        let status = unsafe { libc::mach_timebase_info(&raw mut unit) };
        if status == 0 && unit.denom != 0 { (unit.numer, unit.denom) } else { (1, 1) }
    });
    let nanos = u128::from(units) * u128::from(numerator) / u128::from(denominator);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// This process.
pub(super) fn own() -> Option<Process> {
    process(libc::pid_t::try_from(std::process::id()).ok()?)
}

/// When it began.
pub(super) fn begun(process: &Process) -> Option<u64> {
    Some(process.known.begun)
}

/// Its own usage.
pub(super) fn usage(process: &Process) -> Option<ProcessUsage> {
    let Listed { threads, memory, cpu, .. } = process.known;
    let fds = descriptors(libc::pid_t::try_from(process.pid).ok()?);
    Some(ProcessUsage { fds, threads: Some(threads), memory: Some(memory), cpu: Some(cpu) })
}

/// The open descriptors of a process.
fn descriptors(pid: libc::pid_t) -> Option<u64> {
    let one = size_of::<libc::proc_fdinfo>();
    // SAFETY: without a buffer the call writes nothing and returns how many bytes it would need at most.
    let bytes = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, std::ptr::null_mut(), 0) };
    let room = usize::try_from(bytes).ok().filter(|bytes| *bytes > 0)? / one + 64;
    let mut list: Vec<MaybeUninit<libc::proc_fdinfo>> = Vec::new();
    list.resize_with(room, MaybeUninit::uninit);
    let bytes = i32::try_from(room * one).ok()?;
    // SAFETY: the call writes at most `bytes` bytes to the live vector, which is as long.
    let written = unsafe { libc::proc_pidinfo(pid, libc::PROC_PIDLISTFDS, 0, list.as_mut_ptr().cast(), bytes) };
    usize::try_from(written).ok().filter(|written| *written > 0).map(|written| (written / one) as u64)
}
