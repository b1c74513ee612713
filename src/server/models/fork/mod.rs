//! `fork` (Unix): a process for each connection.
//!
//! **Mechanism.** The server accepts, forks, closes its copy of the socket, and accepts again. The child has a copy of
//! everything, serves the one connection with calls that block, and exits. It is how the first servers were written
//! (4.2BSD; inetd; the concurrent server of every textbook), and the reason why a socket is a descriptor: the child
//! inherits it. A child that crashes takes no other connection with it.
//!
//! Its rules, each of which has broken servers:
//! - **Each process closes what it does not serve.** The connection ends when its last copy is closed. So the parent
//!   closes its copy at once, and the child every descriptor but its own: it would otherwise hold the listener and, in
//!   a program that does more, the connections of others open.
//! - **Ended children are reaped.** Until its parent has waited for it, a process that has ended is a zombie and counts
//!   against the limit of processes. SIGCHLD says that some have ended, not how many: several such signals become one.
//!   So each leads to waits until there is none left (`children.rs`).
//! - **A refused fork (EAGAIN) is no reason to end**, nor to drop the client: it waits until a child has ended, or a
//!   moment has passed. Meanwhile the others wait in the backlog.
//! - **Signals of the terminal and of a service manager reach all processes.** The children ignore them: what SIGTERM
//!   means, the parent decides. It ends a child by SIGUSR1.
//!
//! The bytes are counted in memory that the processes share; how a connection has ended is the child's exit code.
//!
//! **Fork in a program with threads.** Only the forking thread exists in the child, and a lock that another one held
//! is held for ever. So between fork and exit a child may call only what POSIX names async-signal-safe: it allocates
//! nothing, takes no lock, and does not panic. `child.rs` is all of its code.
//!
//! **Drawbacks.** A fork copies the page tables (some 100 µs and more), a process has a kernel stack and page tables of
//! its own, and each message that finds its process asleep costs a switch of the address space. Nothing is shared
//! between connections unless it is put into shared memory.
//!
//! **Limit.** Processes: `ulimit -u`, `/proc/sys/kernel/pid_max`, `pids.max` of a container. It is survived as said
//! above.
//!
//! Source: fork(2), waitid(2), sigaction(2), signal-safety(7); Stevens, 'UNIX Network Programming', volume 1, 5.8 to
//! 5.10 (SIGCHLD) and chapter 30 (servers).

mod child;
mod children;
mod slots;

use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use socket2::SockRef;

use crate::server::accepting::accept;
use crate::server::readiness::timespec;
use crate::server::wait::self_pipe::SelfPipe;
use crate::server::{Accept, Context, ServerPhase};
use crate::sys;
use children::{ChildEnd, Children, ForkFn};

/// Connections accepted in a row, before the children are looked after.
const ACCEPTS_PER_TURN: usize = 64;
/// A child that was told to end does so at once. After this time it is killed.
const ABORT_GRACE: Duration = Duration::from_secs(2);

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    run_with(listener, context, child::fork)
}

/// Serves with this fork.
fn run_with(listener: TcpListener, context: Arc<Context>, fork: ForkFn) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let pipe = Arc::new(SelfPipe::new()?);
    let children = Children::new(&pipe, context.options().buffer, fork)?;
    context.count_bytes_elsewhere(children.bytes());
    let of_waker = Arc::clone(&pipe);
    context.ready(move || of_waker.wake());
    let mut server =
        ForkServer { context, pipe, children, waiting: VecDeque::new(), resume_at: None, has_crashed: false };
    server.serve(listener)?;
    match server.has_crashed {
        true => Err(io::Error::other("the process of a connection crashed")),
        false => Ok(()),
    }
}

/// The parent of all.
struct ForkServer {
    context: Arc<Context>,
    /// Written to by the waker, and when a child has ended.
    pipe: Arc<SelfPipe>,
    children: Children,
    /// Admitted connections that have no process yet, because the system refused one.
    waiting: VecDeque<TcpStream>,
    /// When to accept or to fork again, after something was short.
    resume_at: Option<Instant>,
    /// A child crashed. That ended its own connection, and is reported at the end.
    has_crashed: bool,
}

impl ForkServer {
    fn serve(&mut self, listener: TcpListener) -> io::Result<()> {
        let mut listener = Some(listener);
        loop {
            match self.context.phase() {
                ServerPhase::Run => {}
                ServerPhase::Drain => {
                    if let Some(listener) = listener.take() {
                        self.accept_rest(listener);
                    }
                    if self.children.is_empty() && self.waiting.is_empty() {
                        return Ok(());
                    }
                }
                ServerPhase::Abort => {
                    drop(listener);
                    return self.abort();
                }
            }
            let accepts = listener.as_ref().filter(|_| self.waiting.is_empty() && self.resume_at.is_none());
            self.wait(accepts, self.resume_at)?;
            let has_reaped = self.reap();
            if has_reaped || self.resume_at.is_some_and(|at| at <= Instant::now()) {
                self.resume_at = None;
                self.fork_waiting();
            }
            if let Some(listener) = &listener {
                self.accept(listener);
            }
        }
    }

    /// Waits for a connection, if there is a listener; and in any case for a wake, the end of a child, or this time.
    fn wait(&self, listener: Option<&TcpListener>, until: Option<Instant>) -> io::Result<()> {
        let mut list = vec![PollFd::new(&self.pipe, PollFlags::IN)];
        list.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        let timeout = until.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        match poll(&mut list, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
        // Before the children are looked at: the end of another one is told again.
        self.pipe.clear();
        Ok(())
    }

    /// Accepts what waits at the listener, unless something is short.
    fn accept(&mut self, listener: &TcpListener) {
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.waiting.is_empty() || self.resume_at.is_some() {
                return;
            }
            match accept(listener) {
                Ok(stream) => self.take(stream),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(e) => self.pause(&e),
            }
            self.fork_waiting();
        }
        // The listener is still readable, so the next wait returns at once.
    }

    /// Takes the last connections, and closes the listener before it forks for them: who connects during the forks
    /// would be reset by the close.
    fn accept_rest(&mut self, listener: TcpListener) {
        self.context.accept_rest(&listener).into_iter().for_each(|stream| self.take(stream));
        // A child that was just forked still has a copy, in which clients could connect. On Linux this ends all copies,
        // and resets who waits, so it comes after the last accept. Elsewhere it may be refused.
        let _ = SockRef::from(&listener).shutdown(Shutdown::Read);
        drop(listener);
        self.fork_waiting();
    }

    /// Takes a connection on, if `--max-conns` allows it.
    fn take(&mut self, stream: TcpStream) {
        if !self.context.admit(&stream) {
            return;
        }
        let idle_timeout = self.context.options().idle_timeout;
        // On Linux an accepted socket blocks, whatever the listener does; on the BSDs it is like the listener.
        let prepared = has_no_error(&stream)
            .and_then(|()| stream.set_nonblocking(false))
            .and_then(|()| stream.set_read_timeout(idle_timeout))
            .and_then(|()| stream.set_write_timeout(idle_timeout));
        match prepared {
            Ok(()) => self.waiting.push_back(stream),
            Err(_) => {
                drop(stream);
                self.context.failed();
                self.context.closed(0);
            }
        }
    }

    /// Gives the waiting connections their processes, until the system refuses one.
    fn fork_waiting(&mut self) {
        while let Some(stream) = self.waiting.front() {
            if let Err(e) = self.children.start(stream) {
                return self.pause(&e);
            }
            // Closes our copy.
            self.waiting.pop_front();
        }
    }

    fn pause(&mut self, error: &io::Error) {
        if let Accept::After(time) = self.context.accept_failed(error) {
            self.resume_at = Some(Instant::now() + time);
        }
    }

    /// Reaps the children that have ended, and counts their connections as closed. Returns whether there were any.
    fn reap(&mut self) -> bool {
        let context = &self.context;
        let has_crashed = &mut self.has_crashed;
        self.children.reap(|end, discarded| {
            match end {
                ChildEnd::Over | ChildEnd::Aborted => {}
                ChildEnd::Idle => context.idle(),
                ChildEnd::Broken | ChildEnd::Killed => context.failed(),
                ChildEnd::Crashed => {
                    context.failed();
                    *has_crashed = true;
                }
            }
            context.closed(discarded);
        })
    }

    /// Ends all connections with a reset.
    fn abort(&mut self) -> io::Result<()> {
        for stream in self.waiting.drain(..) {
            sys::close_with_reset(&stream);
            drop(stream);
            self.context.closed(0);
        }
        self.children.tell_to_abort();
        let kill_at = Instant::now() + ABORT_GRACE;
        let mut until = Some(kill_at);
        while !self.children.is_empty() {
            self.wait(None, until)?;
            self.reap();
            if until.is_some() && Instant::now() >= kill_at {
                self.children.kill();
                until = None;
            }
        }
        Ok(())
    }
}

/// A client that has reset its connection in the backlog needs no process, which costs far more than this call.
fn has_no_error(stream: &TcpStream) -> io::Result<()> {
    stream.take_error()?.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests;
