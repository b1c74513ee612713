//! `poll` (Unix): one call watches a list of descriptors.
//!
//! **Mechanism.** The program hands over an array of (descriptor, events wanted), the kernel looks at each entry,
//! sleeps until one is ready, and writes what it saw into the same array, which the program then searches. Descriptors
//! may be any number, so it has no FD_SETSIZE; that is what it was made for, after `select`.
//!
//! **Drawback, and its limit.** Each call costs O(connections), in the kernel (every entry is looked at, and a wait
//! queue entered and left) and in the program (every entry is searched), however few are ready: with 10,000 idle
//! connections the one that speaks pays for all. There is no way past it but another model, epoll or kqueue, whose
//! kernel keeps the list. Since the search is linear anyway, so is the list's making here: it is laid anew for each
//! call.
//!
//! Source: poll(2); POSIX, `poll`.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::server::context::{Context, Phase};
use crate::server::readiness::connection::{Interest, NonblockingConnection, Ready, TurnOutcome};
use crate::server::readiness::crew::{self, Worker};
use crate::server::readiness::self_pipe::SelfPipe;
use crate::server::readiness::timespec;

pub(super) fn run(listener: TcpListener, context: Arc<Context>) -> io::Result<()> {
    crew::run(listener, context, serve)
}

fn serve(worker: &mut Worker) -> io::Result<()> {
    let pipe = Arc::new(SelfPipe::new()?);
    let of_wake = Arc::clone(&pipe);
    worker.ready(move || of_wake.wake());
    let mut connections: Vec<NonblockingConnection> = Vec::new();
    let mut answers: Vec<PollFlags> = Vec::new();
    loop {
        connections.append(&mut worker.adopt());
        match worker.phase() {
            Phase::Run => {}
            Phase::Drain if connections.is_empty() && worker.is_done() => return Ok(()),
            Phase::Drain => {}
            Phase::Abort => {
                connections.into_iter().for_each(NonblockingConnection::abort);
                return Ok(());
            }
        }

        let accepts = wait(&pipe, worker, &connections, &mut answers)?;

        // From the back, so that the connection that takes a closed one's place has had its turn.
        for (index, answer) in answers.iter().enumerate().rev().filter(|(_, answer)| !answer.is_empty()) {
            if connections[index].turn(ready(*answer), &mut worker.pool) == TurnOutcome::Close {
                drop(connections.swap_remove(index));
            }
        }
        if accepts {
            worker.accept();
        }
        if let Some(now) = worker.sweep_due() {
            connections.retain(|connection| !connection.is_idle(now));
        }
    }
}

/// Waits; `answers` gets one entry a connection. Returns whether the listener is ready.
fn wait(
    pipe: &SelfPipe,
    worker: &mut Worker,
    connections: &[NonblockingConnection],
    answers: &mut Vec<PollFlags>,
) -> io::Result<bool> {
    let timeout = worker.timeout().map(timespec);
    let listener = worker.listening();
    let mut list = Vec::with_capacity(connections.len() + 2);
    list.extend(connections.iter().map(|c| PollFd::new(c.stream(), events(c.interest()))));
    list.push(PollFd::new(pipe, PollFlags::IN));
    list.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
    match poll(&mut list, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(e) => return Err(e.into()),
    }
    let (of_connections, others) = list.split_at(connections.len());
    answers.clear();
    answers.extend(of_connections.iter().map(PollFd::revents));
    if !others[0].revents().is_empty() {
        pipe.clear();
    }
    Ok(others.get(1).is_some_and(|listener| !listener.revents().is_empty()))
}

fn events(interest: Interest) -> PollFlags {
    let mut events = PollFlags::empty();
    events.set(PollFlags::IN, interest.read);
    events.set(PollFlags::OUT, interest.write);
    events
}

fn ready(answer: PollFlags) -> Ready {
    Ready {
        read: answer.contains(PollFlags::IN),
        write: answer.contains(PollFlags::OUT),
        hangup: answer.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL),
    }
}
