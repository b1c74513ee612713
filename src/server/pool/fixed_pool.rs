//! A fixed number of workers, for models whose threads can serve any number of connections. There are `--workers`
//! threads. The first one, the calling thread, also accepts, and deals the connections out in turn.
//!
//! A connection stays with its worker, so no two threads touch the same socket. Dealing in turn gives the workers equal
//! shares; if each of them accepted, it would not (epoll(7): the last waiter is woken first).

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread::{self, Builder};

use super::mailbox::{MailSender, Mailbox, mailbox};
use super::worker_threads::{WorkerGroup, WorkerThreads};
use crate::server::Context;
use crate::server::wait::Waker;

/// A worker's place among the others, besides the things that it has prepared.
pub(in crate::server) struct Position<T> {
    /// The phase, and the context.
    pub(in crate::server) group: WorkerGroup,
    /// Receives the items that the first worker deals to this one.
    pub(in crate::server) mailbox: Mailbox<T>,
    /// The listener and the dealer, for the first worker.
    pub(in crate::server) accepting: Option<(TcpListener, Dealer<T>)>,
}

/// Hands items to the workers in turn. When it is dropped, they know that no more comes.
pub(in crate::server) struct Dealer<T> {
    /// The first one is that of the dealing worker.
    senders: Vec<MailSender<T>>,
    next: usize,
}

impl<T> Dealer<T> {
    /// Sends an item to the worker whose turn it is.
    pub(in crate::server) fn deal(&mut self, item: T) {
        let index = self.turn();
        self.senders[index].send(item);
    }

    /// The same, but if it is the dealing worker's own turn, the item is returned: that worker is awake, and needs no
    /// message.
    pub(in crate::server) fn deal_to_others(&mut self, item: T) -> Option<T> {
        match self.turn() {
            0 => Some(item),
            index => {
                self.senders[index].send(item);
                None
            }
        }
    }

    fn turn(&mut self) -> usize {
        let index = self.next;
        self.next = (index + 1) % self.senders.len();
        index
    }
}

/// Serves until all workers have returned. `thread` configures a worker's thread, by its number; its name is set here.
/// `prepare` and `serve` run on the worker's own thread.
///
/// # Errors
/// A thread can't be started or can't prepare; or the error of the first worker that failed, which aborted the others.
pub(in crate::server) fn run_workers<W, T: Send + 'static>(
    listener: TcpListener,
    context: &Arc<Context>,
    thread: impl Fn(usize) -> Builder,
    prepare: impl FnOnce() -> io::Result<(W, Waker)> + Clone + Send + 'static,
    serve: impl FnOnce(W, Position<T>) -> io::Result<()> + Clone + Send + 'static,
) -> io::Result<()> {
    let group = WorkerGroup::new(context);
    let mut threads = WorkerThreads::new(&group);
    let name = thread::current().name().unwrap_or("serve").to_owned();
    let (first, waker) = prepare.clone()()?;
    group.add_waker(&waker);
    let (sender, own_mailbox) = mailbox(waker);
    let mut senders = vec![sender];
    for index in 1..context.options().workers.max(1) {
        let (serve, group) = (serve.clone(), group.clone());
        let serve = move |worker, mailbox| serve(worker, Position { group, mailbox, accepting: None });
        senders.push(threads.start(thread(index).name(format!("{name}-{index}")), prepare.clone(), serve)?);
    }
    context.ready(group.wake_all());
    let accepting = Some((listener, Dealer { senders, next: 0 }));
    let result = group.clone().guard(|| serve(first, Position { group, mailbox: own_mailbox, accepting }));
    threads.join(result)
}
