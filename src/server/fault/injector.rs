//! What one faulty connection makes of the bytes it receives. Pure: bytes in, a [`Script`] out; no socket, no clock.
//!
//! Places count bytes received, however the transport cuts them: `drop:at=65536,len=3` leaves out exactly the bytes
//! 65536, 65537 and 65538. One fault is under way at a time; one whose place lies within another is passed over and not
//! logged.

use std::net::SocketAddr;
use std::rc::Rc;

use super::buffer::FixedBuffer;
use super::log::Source;
use super::schedule::{Schedule, draw};
use super::script::{Event, Item, Passage, Script};
use super::spec::{Fault, FaultKind, Mode, Origin};

/// What other connections, and this one in the past, have received. `pick` is a random number that chooses.
pub(super) trait Archive {
    /// Whether another connection is open that bytes can be given to.
    fn has_another(&self) -> bool;
    /// Bytes that another open connection has received just now.
    fn of_another(&self, len: usize, pick: u64) -> Option<Passage>;
    /// Bytes that this connection has received, well before stream offset `before`.
    fn older(&self, len: usize, before: u64, pick: u64) -> Option<Passage>;
    /// Bytes of a connection that is closed.
    fn of_a_closed_one(&self, len: usize, pick: u64) -> Option<Passage>;
}

/// The faults of one connection.
pub(super) struct Injector {
    faults: Rc<[Fault]>,
    seed: u64,
    conn: u64,
    peer: SocketAddr,
    schedules: Vec<Schedule>,
    whole_buffer: Option<WholeBuffer>,
    /// Bytes received so far.
    offset: u64,
    /// Bytes put in so far that were not received here.
    added: u64,
    edit: Option<Edit>,
    /// Nothing is echoed any more.
    silent: bool,
}

/// `stale:from=buffer`.
struct WholeBuffer {
    fault: usize,
    buffer: FixedBuffer,
    injected: u64,
}

/// A fault that is under way.
struct Edit {
    fault: usize,
    start: u64,
    /// Bytes that it still waits for.
    left: u64,
    what: What,
}

enum What {
    /// These bits of one byte.
    Flip(u8),
    /// The first and the last byte that were not zero already.
    Zero(Option<(u64, u64)>),
    Drop,
    /// Left out here, and collected for another connection.
    Move(Vec<u8>),
    /// Sent, and collected to be sent again.
    Duplicate(Vec<u8>),
    /// Collected, to be sent later.
    KeepBack(Vec<u8>),
    /// Sent ahead of what was kept back.
    Overtake(Vec<u8>),
    /// These are sent in their place.
    Replace(Passage),
}

impl Injector {
    /// For the connection with this number, of which nothing was received yet.
    pub(super) fn new(faults: Rc<[Fault]>, seed: u64, conn: u64, peer: SocketAddr) -> Injector {
        let mut injector = Injector {
            faults,
            seed,
            conn,
            peer,
            schedules: Vec::new(),
            whole_buffer: None,
            offset: 0,
            added: 0,
            edit: None,
            silent: false,
        };
        injector.renumber(conn);
        injector
    }

    /// The connection turned out to have this number: from here on it meets the faults of that one.
    pub(super) fn renumber(&mut self, conn: u64) {
        self.conn = conn;
        let schedule = |(n, fault)| Schedule::new(fault, n, self.seed, conn);
        self.schedules = self.faults.iter().enumerate().map(schedule).collect();
        let whole_buffer = self.first_that_concerns(|fault| fault.is_whole_buffer());
        self.whole_buffer = whole_buffer.map(|fault| {
            let buffer = FixedBuffer::new(self.faults[fault].len as usize);
            WholeBuffer { fault, buffer, injected: 0 }
        });
    }

    /// Bytes put in so far that were not received here.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    /// Whether bytes are kept back until more come.
    pub(super) fn keeps_back(&self) -> bool {
        matches!(&self.edit, Some(Edit { what: What::KeepBack(_) | What::Overtake(_), .. }))
    }

    /// Whether nothing can be put in now: a fault is under way, or nothing is echoed any more.
    pub(super) fn is_busy(&self) -> bool {
        self.silent || self.edit.is_some()
    }

    /// Nothing is echoed from the first byte on.
    pub(super) fn silence(&mut self) {
        self.silent = true;
    }

    /// Takes bytes in.
    pub(super) fn received(&mut self, bytes: &[u8], archive: &dyn Archive, script: &mut Script) {
        if let Some(fault) = self.first_that_concerns(|fault| fault.kind == FaultKind::FinWithoutDrain) {
            script.push(Item::Pause(self.faults[fault].time));
        }
        let most = self.whole_buffer.as_ref().map_or(bytes.len(), |whole| whole.buffer.capacity());
        for receive in bytes.chunks(most.max(1)) {
            let offset = self.offset;
            self.echo(receive, archive, script);
            self.send_whole_buffer(receive, offset, script);
        }
    }

    /// Bytes that another connection sent come in here.
    pub(super) fn receive_gift(&mut self, fault: usize, passage: Passage, script: &mut Script) {
        self.put_in(fault, passage, script);
    }

    /// No more bytes came for a while, or none will: what waits for some ends as it is.
    pub(super) fn settle(&mut self, script: &mut Script) {
        if let Some(edit) = self.edit.take() {
            self.end(edit, script);
        }
        // What was kept back now waits for bytes that overtake it, of which there are none.
        if let Some(edit) = self.edit.take() {
            self.end(edit, script);
        }
    }

    /// The client has ended its direction.
    pub(super) fn fin(&mut self, script: &mut Script) {
        self.settle(script);
        if std::mem::replace(&mut self.silent, true) {
            return;
        }
        if let Some(fault) = self.first_that_concerns(|fault| fault.kind == FaultKind::Surplus && !fault.is_placed()) {
            self.put_in_surplus(fault, script);
        }
        if let Some(fault) = self.first_that_concerns(|fault| fault.kind == FaultKind::FinWithoutDrain) {
            let extent = script.clear() as u64;
            if extent > 0 {
                let offset = self.offset.saturating_sub(extent);
                script.push(Item::Log(Event { fault, offset, extent, ..Event::default() }));
            }
        }
        if let Some(fault) = self.first_that_concerns(|fault| fault.kind == FaultKind::NoFin) {
            script.push(Item::Log(Event { fault, offset: self.offset, ..Event::default() }));
            script.push(Item::Hold);
        } else {
            script.push(Item::Fin);
        }
    }

    /// The first of the faults that is of this sort and meant for this connection, where that is decided once for all
    /// of it and not place by place.
    fn first_that_concerns(&self, sort: impl Fn(&Fault) -> bool) -> Option<usize> {
        (0..self.faults.len()).find(|n| {
            let fault = &self.faults[*n];
            let is_meant = fault.conn.is_none_or(|only| only == self.conn);
            sort(fault) && is_meant && fault.happens(draw(self.seed, &[*n as u64, self.conn]), 0)
        })
    }

    fn echo(&mut self, mut bytes: &[u8], archive: &dyn Archive, script: &mut Script) {
        while !bytes.is_empty() {
            let most = match &self.edit {
                Some(edit) => edit.left,
                None if self.silent => u64::MAX,
                None => match self.next_place() {
                    Some((fault, place)) if place == self.offset => {
                        self.begin(fault, archive, script);
                        continue;
                    }
                    Some((_, place)) => place - self.offset,
                    None => u64::MAX,
                },
            };
            let n = usize::try_from(most).unwrap_or(usize::MAX).min(bytes.len());
            let (piece, rest) = bytes.split_at(n);
            self.pass(piece, script);
            bytes = rest;
        }
    }

    /// The fault that is due next, and where.
    fn next_place(&mut self) -> Option<(usize, u64)> {
        let offset = self.offset;
        let places = self.schedules.iter_mut().enumerate();
        places.filter_map(|(fault, schedule)| Some((fault, schedule.next(offset)?))).min_by_key(|(_, place)| *place)
    }

    /// Begins the fault that is due here, if it can be done here.
    fn begin(&mut self, fault: usize, archive: &dyn Archive, script: &mut Script) {
        let Fault { kind, len, n, time, .. } = self.faults[fault];
        let event = Event { fault, offset: self.offset, ..Event::default() };
        let injected = match kind {
            FaultKind::Flip => self.edit(fault, 1, What::Flip(mask(n, self.pick(fault)))),
            FaultKind::Zero => self.edit(fault, len, What::Zero(None)),
            FaultKind::Drop => self.edit(fault, len, What::Drop),
            FaultKind::Duplicate => self.edit(fault, len, What::Duplicate(Vec::new())),
            FaultKind::Reorder => self.edit(fault, len, What::KeepBack(Vec::new())),
            FaultKind::Crosstalk | FaultKind::Stale => self.begin_foreign(fault, archive, script),
            FaultKind::Surplus => self.put_in_surplus(fault, script),
            FaultKind::Delay => {
                script.push(Item::Log(event));
                script.push(Item::Pause(time));
                true
            }
            FaultKind::Truncate => self.end_here(event, Item::Fin, script),
            FaultKind::Stall => self.end_here(event, Item::Hold, script),
            FaultKind::Reset => self.end_here(event, Item::Reset, script),
            FaultKind::NoFin | FaultKind::FinWithoutDrain | FaultKind::OneAtATime | FaultKind::Limit => {
                unreachable!("{kind} has no place in the stream, so the schedule gives none")
            }
        };
        self.schedules[fault].done(injected);
    }

    /// A random number for this fault at this place.
    fn pick(&self, fault: usize) -> u64 {
        draw(self.seed, &[fault as u64, self.conn, self.offset])
    }

    fn edit(&mut self, fault: usize, left: u64, what: What) -> bool {
        self.edit = Some(Edit { fault, start: self.offset, left, what });
        true
    }

    fn end_here(&mut self, event: Event, end: Item, script: &mut Script) -> bool {
        self.silent = true;
        script.push(Item::Log(event));
        script.push(end);
        true
    }

    /// False: there is no other connection to take bytes from or to give them to, or no past.
    fn begin_foreign(&mut self, fault: usize, archive: &dyn Archive, script: &mut Script) -> bool {
        let Fault { kind, len, mode, from, .. } = self.faults[fault];
        let (bytes, pick) = (len as usize, self.pick(fault));
        let passage = match (kind, from) {
            (FaultKind::Crosstalk, _) => archive.of_another(bytes, pick),
            (_, Origin::Closed) => archive.of_a_closed_one(bytes, pick),
            (_, _) => archive.older(bytes, self.offset, pick),
        };
        match (mode, passage) {
            (Mode::Move, _) => archive.has_another() && self.edit(fault, len, What::Move(Vec::new())),
            (_, None) => false,
            (Mode::Replace, Some(passage)) => self.edit(fault, len, What::Replace(passage)),
            (Mode::Insert, Some(passage)) => self.put_in(fault, passage, script),
        }
    }

    fn put_in(&mut self, fault: usize, passage: Passage, script: &mut Script) -> bool {
        let extent = passage.bytes.len() as u64;
        let event = Event { fault, offset: self.offset, extent, source: Some(passage.source), ..Event::default() };
        self.add(&passage.bytes, script);
        script.push(Item::Log(event));
        true
    }

    /// Random bytes, which no connection has sent but by a chance of 1 in 2^40 or less.
    fn put_in_surplus(&mut self, fault: usize, script: &mut Script) -> bool {
        let extent = self.faults[fault].len;
        let words = (0..extent.div_ceil(8)).flat_map(|n| draw(self.pick(fault), &[n]).to_le_bytes());
        let bytes: Vec<u8> = words.take(extent as usize).collect();
        self.add(&bytes, script);
        script.push(Item::Log(Event { fault, offset: self.offset, extent, ..Event::default() }));
        true
    }

    fn add(&mut self, bytes: &[u8], script: &mut Script) {
        self.added += bytes.len() as u64;
        script.send(bytes);
    }

    /// Lets bytes pass, or does to them what is under way.
    fn pass(&mut self, piece: &[u8], script: &mut Script) {
        let offset = self.offset;
        self.offset += piece.len() as u64;
        let Some(edit) = &mut self.edit else {
            if !self.silent {
                script.send(piece);
            }
            return;
        };
        match &mut edit.what {
            What::Flip(mask) => script.send(&[piece[0] ^ *mask]),
            What::Zero(changed) => {
                let first = piece.iter().position(|byte| *byte != 0).map(|n| offset + n as u64);
                let last = piece.iter().rposition(|byte| *byte != 0).map(|n| offset + n as u64);
                if let Some((first, last)) = first.zip(last) {
                    *changed = Some((changed.map_or(first, |(first, _)| first), last));
                }
                script.send(&vec![0; piece.len()]);
            }
            What::Drop => {}
            What::Move(copy) | What::KeepBack(copy) => copy.extend_from_slice(piece),
            What::Duplicate(copy) => {
                copy.extend_from_slice(piece);
                script.send(piece);
            }
            What::Overtake(_) => script.send(piece),
            What::Replace(passage) => {
                let done = (offset - edit.start) as usize;
                script.send(&passage.bytes[done..done + piece.len()]);
                self.added += piece.len() as u64;
            }
        }
        edit.left -= piece.len() as u64;
        if edit.left == 0
            && let Some(edit) = self.edit.take()
        {
            self.end(edit, script);
        }
    }

    /// Everything that the fault waited for came, or all that will.
    fn end(&mut self, edit: Edit, script: &mut Script) {
        let extent = self.offset - edit.start;
        let mut event = Event { fault: edit.fault, offset: edit.start, extent, ..Event::default() };
        match edit.what {
            What::Flip(mask) => event.bits = Some(u64::from(mask.count_ones())),
            What::Zero(None) => return,
            What::Zero(Some((first, last))) => (event.offset, event.extent) = (first, last - first + 1),
            What::Drop => {}
            What::Move(bytes) => {
                let source = Source { conn: self.conn, peer: self.peer, offset: edit.start };
                script.push(Item::GiveAway(Passage { bytes, source }, edit.fault));
                event.effect = Some(FaultKind::Drop);
            }
            What::Duplicate(copy) => self.add(&copy, script),
            What::KeepBack(bytes) => {
                self.edit = Some(Edit { left: bytes.len() as u64, what: What::Overtake(bytes), ..edit });
                return;
            }
            What::Overtake(bytes) => {
                script.send(&bytes);
                event.extent = bytes.len() as u64;
                event.over = Some(extent - event.extent).filter(|over| *over > 0);
                if event.over.is_none() {
                    return;
                }
            }
            What::Replace(passage) => (event.replaced, event.source) = (Some(extent), Some(passage.source)),
        }
        script.push(Item::Log(event));
    }

    /// After a receive into a fixed buffer: sends the old bytes behind it too.
    fn send_whole_buffer(&mut self, receive: &[u8], offset: u64, script: &mut Script) {
        let (conn, peer, busy) = (self.conn, self.peer, self.is_busy());
        let Some(whole) = &mut self.whole_buffer else { return };
        whole.buffer.received(receive, offset);
        if busy || self.faults[whole.fault].times.is_some_and(|times| whole.injected >= times) {
            return;
        }
        let old = whole
            .buffer
            .old()
            .map(|(bytes, offset)| Passage { bytes: bytes.to_vec(), source: Source { conn, peer, offset } });
        let old: Vec<Passage> = old.collect();
        whole.injected += u64::from(!old.is_empty());
        let fault = whole.fault;
        for passage in old {
            self.put_in(fault, passage, script);
        }
    }
}

/// `n` different bits of a byte.
fn mask(n: u64, pick: u64) -> u8 {
    let mut bits: Vec<u8> = (0..8).collect();
    let chosen = (0..n.min(8)).map(|k| bits.swap_remove((draw(pick, &[k]) % bits.len() as u64) as usize));
    chosen.fold(0, |mask, bit| mask | 1 << bit)
}

#[cfg(test)]
mod tests;
