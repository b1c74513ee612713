//! `iocp`: overlapped operations that report to a completion port.
//!
//! # The model
//!
//! A completion port is a queue in the kernel. A socket is bound to it once. From then on each operation of the socket
//! puts a *packet* there when it completes, and any thread may take the packet. All threads wait for the port alone.
//! The last one that began to wait is woken first, because its cache is warm, and the port lets only as many threads
//! run as there are processors. So threads share the load of all connections, as in `threadpool-io` and in no other
//! model of Windows, and there is no limit of handles.
//!
//! Accepts go through the port too. Some AcceptEx operations wait in advance, and their packets come like all others.
//! The thread that takes one serves the new connection and begins the next accept, so no thread is needed to accept.
//!
//! # The rules
//!
//! - **Each operation that was begun has one packet**, also if the call succeeded at once.
//!   FILE_SKIP_COMPLETION_PORT_ON_SUCCESS would save such packets, but a thread would then go on with one busy
//!   connection while others wait in the queue. A program that skips some packets and waits for others loses or doubles
//!   completions. Here no packet is skipped.
//! - **A packet of a failed operation is still a packet.** GetQueuedCompletionStatus returns FALSE with an OVERLAPPED
//!   then. A program that takes this for a time-out leaks the connection. GetQueuedCompletionStatusEx, which is used
//!   here, hands it over like the others, and fails only if the wait fails.
//!
//! The others are those of all servers whose completions come to any thread: see `completion_server`. The thread that
//! called [`run`] is its supervisor.
//!
//! Sources: Microsoft, 'I/O Completion Ports', 'GetQueuedCompletionStatusEx', 'AcceptEx', 'CreateIoCompletionPort'.

#![expect(unsafe_code, reason = "completion ports have no safe wrapper in std or socket2")]

use std::io;
use std::net::TcpListener;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::Builder;

use socket2::Socket;
use windows_sys::Win32::Foundation::{HANDLE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::System::IO::{
    CreateIoCompletionPort, GetQueuedCompletionStatusEx, OVERLAPPED_ENTRY, PostQueuedCompletionStatus,
};
use windows_sys::Win32::System::Threading::INFINITE;

use crate::server::Context;
use crate::server::completion::completion_server::{CompletionServer, Delivered, Delivery};
use crate::server::completion::overlapped_connection::Binding;
use crate::server::completion::winsock::raw;
use crate::server::pool::WorkerThreads;
use crate::server::wait::Waker;

/// Packets that a thread takes at once. No other thread can take these.
const PACKETS_PER_WAIT: usize = 16;

/// Serves until told to stop. This thread supervises; `--workers` threads take packets.
pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    let server = CompletionServer::new(listener, &context, Workers::new(context.options().workers)?)?;
    let mut threads = WorkerThreads::new(server.group());
    let result = start_workers(&server, &mut threads).and_then(|()| {
        server.begin_accepts();
        context.ready(server.group().wake_all());
        server.supervise()
    });
    for _ in 0..threads.count() {
        // If memory is too short for a packet, a worker can't be stopped, and the harness reports that it hung.
        let _ = server.delivery().port.post_stop();
    }
    threads.join(result)
}

fn start_workers(server: &Arc<CompletionServer<Workers>>, threads: &mut WorkerThreads) -> io::Result<()> {
    for i in 0..server.delivery().alive.load(Ordering::Relaxed) {
        let of_worker = Arc::clone(server);
        let thread = Builder::new().name(format!("iocp-{i}"));
        // Nothing wakes a worker but packets: the supervisor looks at the phase for all of them.
        let prepare = || Ok(Arc::new(|| {}) as Waker);
        threads.start_without_mailbox(thread, prepare, move || work(&of_worker))?;
    }
    Ok(())
}

/// The loop of a worker.
fn work(server: &CompletionServer<Workers>) -> io::Result<()> {
    let _exit = WorkerExit(server);
    let port = &server.delivery().port;
    let mut entries = [OVERLAPPED_ENTRY::default(); PACKETS_PER_WAIT];
    loop {
        let mut stops = 0;
        for packet in port.take(&mut entries)? {
            match packet {
                Packet::Stop => stops += 1,
                Packet::Completion(completion) => server.handle(completion),
            }
        }
        // One stops this worker. The others were meant for other workers and go back.
        for _ in 1..stops {
            port.post_stop()?;
        }
        if stops > 0 {
            return Ok(());
        }
    }
}

/// Threads that take packets from a port.
struct Workers {
    port: CompletionPort,
    /// Those that have not ended.
    alive: AtomicUsize,
}

impl Workers {
    fn new(count: usize) -> io::Result<Workers> {
        Ok(Workers { port: CompletionPort::new()?, alive: AtomicUsize::new(count.max(1)) })
    }
}

impl Delivery for Workers {
    fn bind(&self, _server: &Weak<CompletionServer<Self>>, socket: &Socket) -> io::Result<Box<dyn Binding>> {
        self.port.bind(socket)?;
        Ok(Box::new(()))
    }

    fn has_ended(&self) -> bool {
        self.alive.load(Ordering::Acquire) == 0
    }

    /// The workers are waited for after the supervisor has returned.
    fn is_at_rest(&self) -> bool {
        true
    }
}

/// Tells the supervisor that a worker has ended, even if it has panicked.
struct WorkerExit<'server>(&'server CompletionServer<Workers>);

impl Drop for WorkerExit<'_> {
    fn drop(&mut self) {
        self.0.delivery().alive.fetch_sub(1, Ordering::AcqRel);
        self.0.wake_supervisor();
    }
}

/// The completion port. All operations that report to it are those of one server.
struct CompletionPort(OwnedHandle);

impl CompletionPort {
    fn new() -> io::Result<CompletionPort> {
        // SAFETY: without a file handle the call only makes a port. 0 threads means as many as there are processors.
        let handle = unsafe { CreateIoCompletionPort(INVALID_HANDLE_VALUE, ptr::null_mut(), 0, 0) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just returned this open handle, and nobody else owns it.
        Ok(CompletionPort(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    /// Binds a socket: from now on each of its operations puts a packet here.
    fn bind(&self, socket: &Socket) -> io::Result<()> {
        // SAFETY: both handles are open during the call. The completion key is not used: the OVERLAPPED leads to the
        // owner.
        let handle = unsafe { CreateIoCompletionPort(raw(socket) as HANDLE, self.0.as_raw_handle(), 0, 0) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Waits for packets and takes them.
    fn take<'entries>(
        &self,
        entries: &'entries mut [OVERLAPPED_ENTRY; PACKETS_PER_WAIT],
    ) -> io::Result<impl Iterator<Item = Packet> + 'entries> {
        let mut count = 0;
        // SAFETY: the call writes at most PACKETS_PER_WAIT entries to the live array, and the live count.
        let taken = unsafe {
            let (port, entries) = (self.0.as_raw_handle(), entries.as_mut_ptr());
            GetQueuedCompletionStatusEx(port, entries, PACKETS_PER_WAIT as u32, &raw mut count, INFINITE, 0)
        };
        if taken == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(entries[..count as usize].iter().map(|entry| match entry.lpOverlapped {
            overlapped if overlapped.is_null() => Packet::Stop,
            // SAFETY: the packet was just taken from the port, and an operation has one packet. Only the sockets of one
            // server are bound to the port.
            overlapped => Packet::Completion(unsafe { Delivered::new(overlapped) }),
        }))
    }

    /// Puts a packet there that stops one worker.
    fn post_stop(&self) -> io::Result<()> {
        // SAFETY: the handle is open as long as `self` lives. The system passes the OVERLAPPED on without using it, so
        // it may be null.
        let posted = unsafe { PostQueuedCompletionStatus(self.0.as_raw_handle(), 0, 0, ptr::null()) };
        if posted == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// A packet that was taken from the port.
enum Packet {
    /// The thread that takes it ends.
    Stop,
    /// An operation has completed.
    Completion(Delivered),
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, TcpStream};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::*;
    use crate::server::{Options, ServerPhase};

    const LIMIT: Duration = Duration::from_secs(20);

    fn server(listener: TcpListener, context: &Arc<Context>) -> Arc<CompletionServer<Workers>> {
        let workers = Workers::new(context.options().workers).expect("a port can be made");
        CompletionServer::new(listener, context, workers).expect("the listener can be bound to it")
    }

    /// Starts the workers and has the server drain. Tells of the end of its supervisor.
    fn drains(
        server: &Arc<CompletionServer<Workers>>,
        context: &Arc<Context>,
    ) -> (WorkerThreads, Receiver<io::Result<()>>) {
        let mut threads = WorkerThreads::new(server.group());
        start_workers(server, &mut threads).expect("threads can be started");
        context.advance(ServerPhase::Drain);
        let (ended, has_ended) = channel();
        let supervised = Arc::clone(server);
        std::thread::spawn(move || ended.send(supervised.supervise()));
        (threads, has_ended)
    }

    #[test]
    fn a_panic_closes_its_connection_and_no_other() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let context = Arc::new(Context::new(Options { workers: 1, ..Options::default() }, channel().0));
        let of_server = listener.try_clone().expect("a handle can be duplicated");
        let server = server(of_server, &context);
        let clients = [(); 2].map(|()| TcpStream::connect(address).expect("the client connects"));
        for _ in &clients {
            server.adopt(listener.accept().expect("the client is accepted").0.into());
        }
        let broken = server.connections().swap_remove(0);
        server.advance(Some(broken), |_| panic!("the test panics"));
        let (threads, has_ended) = drains(&server, &context);
        drop(clients);
        has_ended.recv_timeout(LIMIT).expect("the server drains").expect("it ends without an error");
        server.delivery().port.post_stop().expect("a packet can be posted");
        threads.join(Ok(())).expect("the worker ends without an error");
        let counters = context.snapshot();
        assert_eq!((counters.closed, counters.connection_errors), (2, 1));
    }

    #[test]
    fn a_drain_serves_those_who_wait_when_no_accept_is_outstanding() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound");
        let context = Arc::new(Context::new(Options { workers: 1, ..Options::default() }, channel().0));
        let server = server(listener, &context);
        // Nothing was accepted yet.
        let clients = [(); 3].map(|()| TcpStream::connect(address).expect("the backlog has room"));
        let (threads, has_ended) = drains(&server, &context);
        for client in &clients {
            client.set_read_timeout(Some(LIMIT)).expect("a time-out can be set");
            client.shutdown(Shutdown::Write).expect("a FIN is sent");
            assert_eq!((&*client).read(&mut [0]).expect("the FIN is answered by a FIN"), 0);
        }
        has_ended.recv_timeout(LIMIT).expect("the server drains").expect("it ends without an error");
        TcpStream::connect(address).expect_err("the listener is closed");
        server.delivery().port.post_stop().expect("a packet can be posted");
        threads.join(Ok(())).expect("the worker ends without an error");
        assert_eq!(context.snapshot().accepted, 3);
    }

    #[test]
    fn a_worker_that_takes_the_stop_packets_of_others_gives_them_back() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let context = Arc::new(Context::new(Options { workers: 3, ..Options::default() }, channel().0));
        let server = server(listener, &context);
        for _ in 0..3 {
            server.delivery().port.post_stop().expect("a packet can be posted");
        }
        // The workers start after the posts, so the first one takes all three packets at once.
        let mut threads = WorkerThreads::new(server.group());
        start_workers(&server, &mut threads).expect("threads can be started");
        let (ended, have_ended) = channel();
        std::thread::spawn(move || ended.send(threads.join(Ok(()))));
        have_ended.recv_timeout(LIMIT).expect("all workers end").expect("they end without an error");
        assert_eq!(server.delivery().alive.load(Ordering::Acquire), 0);
    }
}
