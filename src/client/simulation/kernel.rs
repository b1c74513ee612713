//! A kernel as far as a connection sees one: two sockets, with a way of bounded buffers in each direction between them.
//!
//! A call may be interrupted, take or give less than it could, or answer 'would block' at any time. What a real kernel
//! guarantees is kept: bytes stay in order, an error of a socket is told once, and a caller that was told 'would block'
//! is told when that is over. The client's wait reports changes (epoll(7), EPOLLET), the server's what lasts
//! (level-triggered), or each thing once until it is asked for again (WSAAsyncSelect).

#![cfg(all(test, unix))]

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::net::Shutdown;
use std::rc::Rc;

use super::dice::Dice;
use super::way::LinkWay;
use crate::client::socket::{Reported, SystemSocket};
use crate::server::simulated::{Report, SimulatedSocket};

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEnd {
    Client,
    Server,
}

impl LinkEnd {
    fn other(self) -> LinkEnd {
        match self {
            LinkEnd::Client => LinkEnd::Server,
            LinkEnd::Server => LinkEnd::Client,
        }
    }
}

/// How this kernel treats its callers: for each kind of trouble, how often in a thousand calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moods {
    pub(super) interrupted: usize,
    pub(super) would_block: usize,
    pub(super) partial: usize,
    /// A reset discards what has arrived and was not read, as on some systems.
    pub(super) reset_discards: bool,
}

/// What one end's socket remembers.
#[derive(Debug, Default)]
struct SocketState {
    /// Told once, by the next call.
    error: Option<io::ErrorKind>,
    is_broken: bool,
    is_closed: bool,
    reading_is_shut: bool,
    closes_with_reset: bool,
    /// A write was told 'would block', or took less than it was given.
    wants_room: bool,
    /// Something has changed that its wait has not reported.
    is_reported_next: bool,
    /// What its wait has reported and no call has asked for again (WSAAsyncSelect).
    told: Report,
}

/// One connection.
pub(super) struct Link {
    dice: Rc<Dice>,
    moods: Moods,
    /// From the client to the server, and back.
    pub(super) ways: [LinkWay; 2],
    sockets: [SocketState; 2],
    /// Every byte that the client's reads were given.
    pub(super) received: Vec<u8>,
    /// Bytes that the client's writes have handed over.
    pub(super) sent: u64,
}

impl Link {
    pub(super) fn new(dice: &Rc<Dice>, moods: Moods, ways: [LinkWay; 2]) -> Rc<RefCell<Link>> {
        let sockets = [SocketState::default(), SocketState::default()];
        let dice = Rc::clone(dice);
        Rc::new(RefCell::new(Link { dice, moods, ways, sockets, received: Vec::new(), sent: 0 }))
    }

    fn socket(&mut self, end: LinkEnd) -> &mut SocketState {
        &mut self.sockets[end as usize]
    }

    /// The way on which this end writes.
    fn out(&mut self, end: LinkEnd) -> &mut LinkWay {
        &mut self.ways[end as usize]
    }

    /// The way from which this end reads.
    fn incoming(&mut self, end: LinkEnd) -> &mut LinkWay {
        &mut self.ways[end.other() as usize]
    }

    fn read(&mut self, end: LinkEnd, into: &mut [u8]) -> io::Result<usize> {
        let Moods { interrupted, would_block, partial, .. } = self.moods;
        if self.dice.chance(interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let (is_late, is_short) = (self.dice.chance(would_block), self.dice.chance(partial));
        self.socket(end).told.read = false;
        // What has been told of the end once is not told again, so such a call must not pass it over.
        let is_late = is_late && !self.socket(end).told.hangup;
        let available = self.incoming(end).arrived.len();
        if is_late && available > 0 {
            // As if it arrived just after the call.
            self.socket(end).is_reported_next = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut n = available.min(into.len());
        if is_short && n > 1 {
            n = self.dice.up_to(n - 1);
            self.socket(end).is_reported_next = true;
        }
        if n > 0 {
            let arrived = self.incoming(end).arrived.drain(..n);
            arrived.zip(&mut *into).for_each(|(byte, to)| *to = byte);
            if end == LinkEnd::Client {
                self.received.extend_from_slice(&into[..n]);
            }
            return Ok(n);
        }
        let has_fin = self.incoming(end).has_fin_arrived();
        let socket = self.socket(end);
        match socket.error.take() {
            Some(error) => Err(error.into()),
            None if socket.is_broken || has_fin || socket.reading_is_shut => Ok(0),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn write(&mut self, end: LinkEnd, from: &[u8]) -> io::Result<usize> {
        let Moods { interrupted, would_block, partial, .. } = self.moods;
        if self.dice.chance(interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let (is_late, is_short) = (self.dice.chance(would_block), self.dice.chance(partial));
        let is_shut = self.out(end).is_fin_sent();
        let room = self.out(end).room();
        let socket = self.socket(end);
        socket.told.write = false;
        if let Some(error) = socket.error.take() {
            return Err(error.into());
        }
        if socket.is_broken || is_shut {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut n = room.min(from.len());
        if n == 0 || is_late {
            socket.wants_room = true;
            // As if there were room just after the call.
            socket.is_reported_next |= n > 0;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if is_short && n > 1 {
            n = self.dice.up_to(n - 1);
        }
        if n < from.len() {
            let is_full = n == room;
            let socket = self.socket(end);
            socket.wants_room = true;
            socket.is_reported_next |= !is_full;
        }
        self.out(end).take(&from[..n]);
        if end == LinkEnd::Client {
            self.sent += n as u64;
        }
        Ok(n)
    }

    fn shut_down(&mut self, end: LinkEnd, how: Shutdown) -> io::Result<()> {
        if self.socket(end).is_broken {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if how != Shutdown::Write {
            self.socket(end).reading_is_shut = true;
        }
        if how != Shutdown::Read {
            self.out(end).send_fin();
        }
        Ok(())
    }

    /// The process closes the socket.
    fn close(&mut self, end: LinkEnd) {
        let unread = !self.incoming(end).arrived.is_empty();
        let socket = self.socket(end);
        let resets = (socket.closes_with_reset || unread) && !socket.is_broken;
        (socket.is_closed, socket.error) = (true, None);
        if resets {
            self.reset_by(end);
        } else if !self.socket(end).is_broken {
            self.out(end).send_fin();
        }
    }

    /// This end ends the connection with a reset, which the other end learns at once.
    pub(super) fn reset_by(&mut self, end: LinkEnd) {
        self.break_socket(end, None);
        self.break_socket(end.other(), Some(io::ErrorKind::ConnectionReset));
    }

    /// Something between the ends resets both of them.
    pub(super) fn reset_both(&mut self) {
        self.break_socket(LinkEnd::Client, Some(io::ErrorKind::ConnectionReset));
        self.break_socket(LinkEnd::Server, Some(io::ErrorKind::ConnectionReset));
    }

    fn break_socket(&mut self, end: LinkEnd, error: Option<io::ErrorKind>) {
        let discards = self.moods.reset_discards;
        self.out(end).discard();
        let socket = self.socket(end);
        if socket.is_broken {
            return;
        }
        (socket.is_broken, socket.error) = (true, error.filter(|_| !socket.is_closed));
        socket.is_reported_next = true;
        if discards {
            self.incoming(end).arrived.clear();
        }
    }

    /// Lets the network carry some bytes from `end` to the other one. Returns whether anything moved.
    pub(super) fn carry(&mut self, from: LinkEnd) -> bool {
        let most = self.dice.up_to(4096);
        let Some(carried) = self.out(from).carry(most) else { return false };
        let to = from.other();
        if carried.resets {
            self.reset_both();
            return true;
        }
        let socket = self.socket(to);
        if socket.is_closed && !socket.is_broken && carried.bytes > 0 {
            // Nobody will read that.
            self.reset_by(to);
            return true;
        }
        socket.is_reported_next = true;
        let socket = self.socket(from);
        socket.is_reported_next |= socket.wants_room;
        true
    }

    /// Whether the network has something to carry from this end.
    pub(super) fn can_carry(&self, from: LinkEnd) -> bool {
        self.ways[from as usize].can_carry()
    }

    /// Whether the client's wait has something to report.
    pub(super) fn has_news(&self, end: LinkEnd) -> bool {
        self.sockets[end as usize].is_reported_next
    }

    /// What the client's wait reports: on each change, all that holds.
    pub(super) fn report_to_client(&mut self) -> Reported {
        let (has_fin, has_bytes) = (self.incoming(LinkEnd::Client).has_fin_arrived(), self.has_bytes(LinkEnd::Client));
        let (room, is_shut) = (self.out(LinkEnd::Client).room(), self.out(LinkEnd::Client).is_fin_sent());
        let socket = self.socket(LinkEnd::Client);
        socket.is_reported_next = false;
        let is_broken = socket.is_broken;
        socket.wants_room &= room == 0;
        Reported {
            readable: has_bytes || has_fin || is_broken,
            writable: room > 0 || is_broken,
            read_closed: has_fin || is_broken,
            write_closed: is_broken || (has_fin && is_shut),
            error: socket.error.is_some(),
            urgent: false,
        }
    }

    fn has_bytes(&self, end: LinkEnd) -> bool {
        !self.ways[end.other() as usize].arrived.is_empty()
    }

    /// What holds of the server's socket.
    fn holds_for_server(&self) -> Report {
        let socket = &self.sockets[LinkEnd::Server as usize];
        let (incoming, out) = (&self.ways[LinkEnd::Client as usize], &self.ways[LinkEnd::Server as usize]);
        let (has_fin, is_broken) = (incoming.has_fin_arrived(), socket.is_broken);
        Report {
            read: self.has_bytes(LinkEnd::Server) || has_fin || is_broken,
            write: out.room() > 0 || is_broken,
            hangup: is_broken || (has_fin && out.is_fin_sent()),
        }
    }

    /// What a level-triggered wait for this reports of the server's socket.
    pub(super) fn report_to_server(&self, (read, write): (bool, bool)) -> Option<Report> {
        let holds = self.holds_for_server();
        let report = Report { read: holds.read && read, write: holds.write && write, ..holds };
        (report != Report::default()).then_some(report)
    }

    /// What a wait reports that reports each thing once, until a call asks for it again.
    pub(super) fn notify_server(&self) -> Option<Report> {
        let holds = self.holds_for_server();
        let socket = &self.sockets[LinkEnd::Server as usize];
        let (bytes, fin) = (self.has_bytes(LinkEnd::Server), self.ways[LinkEnd::Client as usize].has_fin_arrived());
        let only = |read, write, hangup| Some(Report { read, write, hangup });
        match () {
            () if bytes && !socket.told.read => only(true, false, false),
            () if holds.write && socket.wants_room && !socket.told.write => only(false, true, false),
            () if (fin && !bytes || socket.is_broken) && !socket.told.hangup => only(false, false, true),
            () => None,
        }
    }

    /// The server was told that.
    pub(super) fn told_server(&mut self, report: Report) {
        let socket = self.socket(LinkEnd::Server);
        socket.told.read |= report.read;
        socket.told.write |= report.write;
        socket.told.hangup |= report.hangup;
        socket.wants_room &= !report.write;
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [client, server] = &self.sockets;
        let [up, down] = &self.ways;
        write!(f, "  client {client:?}\n  server {server:?}\n  up {up}\n  down {down}")
    }
}

/// The client's socket, or the server's.
pub(super) struct KernelSocket {
    link: Rc<RefCell<Link>>,
    end: LinkEnd,
}

impl KernelSocket {
    pub(super) fn new(link: &Rc<RefCell<Link>>, end: LinkEnd) -> KernelSocket {
        KernelSocket { link: Rc::clone(link), end }
    }
}

impl Drop for KernelSocket {
    fn drop(&mut self) {
        self.link.borrow_mut().close(self.end);
    }
}

impl SystemSocket for KernelSocket {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.link.borrow_mut().read(self.end, into)
    }

    fn send(&self, from: &[u8]) -> io::Result<usize> {
        self.link.borrow_mut().write(self.end, from)
    }

    fn send_urgent(&self, _: u8) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn receive_urgent(&self) -> io::Result<u8> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.link.borrow_mut().shut_down(self.end, how)
    }

    fn close_with_reset(&self) {
        self.link.borrow_mut().socket(self.end).closes_with_reset = true;
    }
}

impl SimulatedSocket for KernelSocket {
    fn receive(&self, into: &mut [u8]) -> io::Result<usize> {
        self.link.borrow_mut().read(self.end, into)
    }

    fn send(&self, from: &[u8]) -> io::Result<usize> {
        self.link.borrow_mut().write(self.end, from)
    }

    fn send_fin(&self) -> io::Result<()> {
        self.link.borrow_mut().shut_down(self.end, Shutdown::Write)
    }
}
