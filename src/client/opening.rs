//! How a worker opens connections: when it is time, no more handshakes at once than a listener's queue holds, and one
//! generation of a slot after the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::connection::{Connection, nanos};
use super::share::Share;
use super::slot::{Connecting, Open, Slot, Stage};
use super::socket::Link;
use super::worker::{Worker, millis};
use crate::plan::{self, Profile};
use crate::stream::{ConnId, Divergence, Kind};
use crate::sys::{self, Shortage};

/// Connects under way at a time in one worker: fewer than a common listener's queue holds, past which the system drops
/// SYNs and the client waits a second to try again.
const CONNECTING: usize = 256;
/// Connects in a row, before those that are open have their turns.
const IN_A_ROW: usize = 64;
/// The pause after a connect that failed; it doubles with each further one …
const BACK_OFF: Duration = Duration::from_millis(10);
/// … up to this.
const BACK_OFF_MOST: Duration = Duration::from_secs(1);
/// A connection is given up that so often could not be opened for want of something here: after two minutes, as long as
/// any system keeps the port of a closed connection if it is not told otherwise.
const PUT_OFF_MOST: u8 = 126;

impl Worker {
    /// Begins the slots whose time has come, and notes when the next one's does.
    pub(super) fn open_due(&mut self) {
        self.opens_at = u64::MAX;
        for _ in 0..IN_A_ROW {
            if self.stop || self.unopened == self.slots.len() || self.connecting >= CONNECTING {
                return;
            }
            let index = self.unopened;
            let at = nanos(self.shares[index].opens_at(&self.shared.plan));
            if at > self.clock.last() && at > self.clock.read() {
                self.opens_at = at;
                return;
            }
            if !self.shared.order.may_connect(self.index, index) {
                return;
            }
            self.unopened += 1;
            self.live += 1;
            self.open_next(index);
            self.shared.order.has_connected(self.index, index);
        }
        self.opens_at = 0;
    }

    /// Opens the slot's connection of its generation, if there is to be one, after the pause that may come before it.
    pub(super) fn open_next(&mut self, index: usize) {
        let plan = &self.shared.plan;
        let share = self.shares[index];
        let of = share.slot(plan);
        let profile = Arc::clone(&plan.groups[of.group as usize]);
        let slot = &self.slots[index];
        let again = slot.generation > share.first;
        let is_over = self.is_over(&profile);
        if slot.generation > share.last || is_over {
            let late = !again && is_over && !self.stop;
            self.groups[of.group as usize].0.counters.not_in_time += u64::from(late);
            return self.end(index);
        }
        let Some(conn) = plan.slots.id(of, slot.generation) else {
            self.groups[of.group as usize].0.counters.out_of_ids += 1;
            return self.end(index);
        };
        let until = match slot.stage {
            Stage::Next { paused: false } if again => {
                self.clock.read() + nanos(profile.reconnect_delay.max(back_off(slot.failures)))
            }
            Stage::Pausing { until } => until,
            _ => 0,
        };
        if until > self.clock.last() {
            self.slots[index].stage = Stage::Pausing { until };
            return self.wake_at(index, until);
        }
        let target = plan.target(conn);
        let nth = u64::from(of.number) + u64::from(slot.generation) * u64::from(plan.slots.total());
        let source = plan.sources.of(nth, plan.shard.count(), plan.targets.len());
        let begun = self.clock.read();
        let connecting = self.connect(index, target, source, &profile);
        if let Some(shortage) = connecting.as_ref().err().and_then(sys::shortage) {
            return self.put_off(index, shortage);
        }
        self.groups[of.group as usize].0.counters.connects += 1;
        match connecting {
            Ok(stream) => {
                self.connecting += 1;
                let slot = &mut self.slots[index];
                slot.owes(true, begun, millis(profile.connect_timeout), true);
                slot.stage = Stage::Connecting(Box::new(Connecting { stream, target, source, begun }));
            }
            Err(error) => self.could_not_connect(index, conn, (source, target), &error),
        }
    }

    /// Begins to connect, and has the wait say what comes of it.
    fn connect(
        &self,
        index: usize,
        target: SocketAddr,
        source: Option<IpAddr>,
        profile: &Profile,
    ) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(profile.nodelay)?;
        if let Some(bytes) = profile.sndbuf {
            socket.set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = profile.rcvbuf {
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = source {
            sys::choose_port_at_connect(SockRef::from(&socket));
            socket.bind(&SocketAddr::new(source, 0).into()).map_err(|error| of_source(error, source))?;
        }
        match socket.connect(&target.into()) {
            Err(error) if !sys::is_connect_in_progress(&error) => return Err(error),
            _ => {}
        }
        let mut stream = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(stream)
    }

    /// Whether the handshake is over, and how it ended.
    pub(super) fn look_at_handshake(&mut self, index: usize, event: Option<&Event>) {
        let group = usize::from(self.slots[index].group);
        let limit = self.shared.plan.groups[group].connect_timeout;
        let now = self.clock.read();
        let slot = &mut self.slots[index];
        let stalled = slot.take_stalled();
        let Stage::Connecting(connecting) = &slot.stage else { return };
        let outcome = match connecting.stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => match connecting.stream.peer_addr() {
                Ok(_) => Ok(()),
                Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
                Err(_) if self.stop => return self.give_up_connecting(index),
                Err(_) if stalled => {
                    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {limit:?}")))
                }
                Err(_) => return slot.owes(true, now, millis(limit), false),
            },
        };
        slot.settled();
        self.connecting -= 1;
        let Stage::Connecting(connecting) = std::mem::replace(&mut slot.stage, Stage::Next { paused: false }) else {
            return;
        };
        let Connecting { mut stream, target, source, begun } = *connecting;
        let conn = self.conn_of(index);
        match outcome {
            Ok(()) => {
                let mut link = Link::new(stream);
                if let Some(event) = event {
                    link.notice(event);
                }
                self.opened(index, conn, link, begun);
            }
            Err(error) => {
                let _ = self.poll.registry().deregister(&mut stream);
                self.could_not_connect(index, conn, (source, target), &error);
            }
        }
    }

    /// The connection that the slot is at.
    fn conn_of(&self, index: usize) -> ConnId {
        let plan = &self.shared.plan;
        let slot = self.shares[index].slot(plan);
        plan.slots.id(slot, self.slots[index].generation).expect("it began to connect under this id")
    }

    fn opened(&mut self, index: usize, conn: ConnId, link: Link, begun: u64) {
        let now = self.clock.last();
        let run = &self.shared.plan;
        let share = self.shares[index];
        let of = share.slot(run);
        let slot = &mut self.slots[index];
        let figures = &mut self.groups[of.group as usize].0;
        figures.counters.opened += 1;
        figures.counters.reconnects += u64::from(slot.generation > share.first);
        figures.connect.record(now - begun);
        figures.span.opened(begun);
        figures.timeline.at(Duration::from_nanos(now)).opened += 1;
        let settles = settles_first(slot, share);
        slot.failures = 0;
        self.shared.ledger.open(conn, slot.generation);
        let mut plan = plan::Plan::new(Arc::clone(&run.groups[of.group as usize]), run.seed, of, conn);
        plan.resume_schedule(slot.arrival);
        slot.stage = Stage::Open(Box::new(Open { connection: Connection::new(plan, conn, now), link }));
        if settles {
            self.first_is_settled(of.group as usize);
        }
        self.drive(index);
    }

    /// Counts a connect that failed, and makes a finding of it. The next one may do better, and has its turn later.
    fn could_not_connect(
        &mut self,
        index: usize,
        conn: ConnId,
        (source, target): (Option<IpAddr>, SocketAddr),
        error: &io::Error,
    ) {
        let now = self.clock.last();
        let group = usize::from(self.slots[index].group);
        let counters = &mut self.groups[group].0.counters;
        counters.connect_failures += 1;
        counters.failed += 1;
        let divergence = Divergence::of_connection(Kind::ConnectFailed, conn, 0, 0);
        let addresses = (source.map(|source| source.to_string()), Some(target.to_string()));
        let finding = self.finding(divergence, now, addresses, Vec::new(), Some(error));
        self.keep(group, finding, now);
        let slot = &mut self.slots[index];
        let settles = settles_first(slot, self.shares[index]);
        slot.stage = Stage::Next { paused: false };
        slot.generation += 1;
        slot.failures = slot.failures.saturating_add(1);
        if settles {
            self.first_is_settled(group);
        }
        self.enqueue(index);
    }

    /// This machine can't open a connection now: the same one is tried again later.
    fn put_off(&mut self, index: usize, shortage: Shortage) {
        let group = usize::from(self.slots[index].group);
        // An open loop does not wait for it: this may take minutes.
        if settles_first(&self.slots[index], self.shares[index]) {
            self.first_is_settled(group);
        }
        let slot = &mut self.slots[index];
        let counters = &mut self.groups[group].0.counters;
        match shortage {
            Shortage::Ports => counters.port_shortages += 1,
            Shortage::Resources => counters.resource_shortages += 1,
        }
        slot.failures = slot.failures.saturating_add(1);
        if slot.failures >= PUT_OFF_MOST {
            counters.not_opened += 1;
            slot.failures = 0;
            slot.stage = Stage::Next { paused: false };
            slot.generation += 1;
            return self.enqueue(index);
        }
        let until = self.clock.read() + nanos(back_off(slot.failures));
        slot.stage = Stage::Pausing { until };
        self.wake_at(index, until);
    }

    /// The run was interrupted in mid-handshake.
    fn give_up_connecting(&mut self, index: usize) {
        self.connecting -= 1;
        self.groups[usize::from(self.slots[index].group)].0.counters.cut_short += 1;
        self.end(index);
    }

    /// The slot has had its last connection.
    fn end(&mut self, index: usize) {
        self.arrive(index);
        self.rest(index);
        self.slots[index].settled();
        self.slots[index].stage = Stage::Ended;
        self.live -= 1;
    }
}

/// Whether it is known only now what becomes of the slot's first connection: it is at that, and no connect of it was
/// put off before.
fn settles_first(slot: &Slot, share: Share) -> bool {
    slot.generation == share.first && slot.failures == 0
}

/// That a source address can't be bound is no shortage: there is none such on this machine.
fn of_source(error: io::Error, source: IpAddr) -> io::Error {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            io::Error::new(error.kind(), format!("{source} is no address of this machine: {error}"))
        }
        _ => error,
    }
}

/// How long to wait after so many connects in a row that failed.
fn back_off(failures: u8) -> Duration {
    let Some(doublings) = failures.checked_sub(1) else { return Duration::ZERO };
    BACK_OFF.saturating_mul(1 << doublings.min(16)).min(BACK_OFF_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_between_connects_that_fail_double_up_to_a_second_and_add_up_to_two_minutes() {
        let pauses: Vec<u128> = (0..=9).map(|failures| back_off(failures).as_millis()).collect();
        assert_eq!(pauses, [0, 10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        assert_eq!(back_off(u8::MAX), BACK_OFF_MOST);
        let all: Duration = (1..PUT_OFF_MOST).map(back_off).sum();
        assert!(all.as_secs().abs_diff(120) <= 1, "{all:?}");
    }
}
