//! The Windows half: a snapshot of all processes (Microsoft, 'Tool Help Library'), and what each of the tree says of
//! itself. Windows counts handles of every kind, of which sockets are some.

#![expect(unsafe_code, reason = "snapshots, handle counts, memory and times of a process have no safe wrapper")]

use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::time::Duration;

use windows_sys::Win32::Foundation::{FILETIME, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetProcessHandleCount, GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
};

use super::{Process, ProcessUsage};

/// What the snapshot has told besides the family.
#[derive(Clone, Copy)]
pub(super) struct Listed {
    /// Only a snapshot of all processes tells it.
    threads: Option<u64>,
}

/// All processes.
pub(super) fn list() -> Option<Vec<Process>> {
    // SAFETY: the call takes no pointer.
    let snapshot = unsafe { CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0) };
    if snapshot == INVALID_HANDLE_VALUE {
        return None;
    }
    // SAFETY: the call has just returned this open handle, and nobody else owns it.
    let snapshot = unsafe { OwnedHandle::from_raw_handle(snapshot) };
    let mut entry = PROCESSENTRY32W { dwSize: size_of::<PROCESSENTRY32W>() as u32, ..Default::default() };
    let mut all = Vec::new();
    // SAFETY: the handle is open, and the call writes the live `entry`, whose dwSize is its size.
    let mut is_there = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    while is_there != 0 {
        let known = Listed { threads: Some(u64::from(entry.cntThreads)) };
        let (pid, parent) = (entry.th32ProcessID, entry.th32ParentProcessID);
        all.push(Process { pid, parent, group: None, is_zombie: false, known });
        // SAFETY: as above.
        is_there = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    Some(all)
}

/// This process, without a snapshot: its parent is of no interest.
pub(super) fn own() -> Option<Process> {
    let known = Listed { threads: None };
    Some(Process { pid: std::process::id(), parent: 0, group: None, is_zombie: false, known })
}

/// A handle that may ask for figures.
fn open(process: &Process) -> Option<OwnedHandle> {
    // SAFETY: the call takes no pointer.
    let handle = unsafe { OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, process.pid) };
    // SAFETY: the call has just returned this open handle, and nobody else owns it.
    (!handle.is_null()).then(|| unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// When it began, in units of 100 ns.
pub(super) fn begun(process: &Process) -> Option<u64> {
    times(&open(process)?).map(|[created, ..]| created)
}

/// Its own usage. `None`: it has ended.
pub(super) fn usage(process: &Process) -> Option<ProcessUsage> {
    let handle = open(process)?;
    let cpu = times(&handle).map(|[_, _, kernel, user]| Duration::from_nanos((kernel + user) * 100));
    let threads = process.known.threads;
    Some(ProcessUsage { fds: handles(&handle), threads, memory: memory(&handle), cpu })
}

/// The times of creation, of exit, in the kernel and in user mode, in units of 100 ns.
fn times(handle: &OwnedHandle) -> Option<[u64; 4]> {
    let mut times = [FILETIME { dwLowDateTime: 0, dwHighDateTime: 0 }; 4];
    let [created, exited, kernel, user] = &mut times;
    // SAFETY: the handle is open, and the call writes the four live times.
    let ok = unsafe { GetProcessTimes(handle.as_raw_handle(), created, exited, kernel, user) };
    (ok != 0).then(|| times.map(|time| (u64::from(time.dwHighDateTime) << 32) | u64::from(time.dwLowDateTime)))
}

fn handles(handle: &OwnedHandle) -> Option<u64> {
    let mut count = 0;
    // SAFETY: the handle is open, and the call writes the live number.
    let ok = unsafe { GetProcessHandleCount(handle.as_raw_handle(), &raw mut count) };
    (ok != 0).then_some(u64::from(count))
}

fn memory(handle: &OwnedHandle) -> Option<u64> {
    let size = size_of::<PROCESS_MEMORY_COUNTERS>() as u32;
    let mut counters = PROCESS_MEMORY_COUNTERS { cb: size, ..Default::default() };
    // SAFETY: the handle is open, and the call writes at most `size` bytes, which is the size of the live `counters`.
    let ok = unsafe { K32GetProcessMemoryInfo(handle.as_raw_handle(), &raw mut counters, size) };
    (ok != 0).then_some(counters.WorkingSetSize as u64)
}
