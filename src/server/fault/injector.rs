//! Turns the bytes that one faulty connection receives into a [`Script`] of actions. Pure: no socket, no clock.
//!
//! Places count received bytes, however the transport cuts them: `drop:at=65536,len=3` drops exactly the bytes 65536,
//! 65537 and 65538. One fault is in progress at a time; a fault whose place lies within another is skipped, and not
//! logged.

use std::net::SocketAddr;
use std::rc::Rc;

use super::buffer::FixedBuffer;
use super::choice::{Placement, StaleOrigin};
use super::history::{ByteHistory, MovedBytes, SourcedBytes};
use super::kind::FaultKind;
use super::log::StreamPlace;
use super::schedule::{FaultSchedule, draw};
use super::script::{Action, InjectedFault, Script};
use super::spec::Fault;
use super::terminal::{Passed, TerminalLayer};

/// The faults of one connection.
pub(super) struct Injector {
    faults: Rc<[Fault]>,
    seed: u64,
    conn: u64,
    peer: SocketAddr,
    schedules: Vec<FaultSchedule>,
    whole_buffer: Option<WholeBuffer>,
    /// `telnet`: the number of the fault, and its layer.
    terminal: Option<(usize, TerminalLayer)>,
    /// Bytes received so far.
    offset: u64,
    /// Bytes sent so far that were not received here.
    added: u64,
    edit: Option<ActiveEdit>,
    /// Nothing is echoed any more.
    silent: bool,
}

/// `stale:from=buffer`.
struct WholeBuffer {
    fault: usize,
    buffer: FixedBuffer,
    injected: u64,
}

/// A fault in progress, which changes the bytes that pass.
struct ActiveEdit {
    fault: usize,
    start: u64,
    /// Bytes that it still waits for.
    left: u64,
    kind: EditKind,
}

/// What an edit does to the bytes that pass.
enum EditKind {
    /// Inverts these bits of one byte.
    Flip(u8),
    /// Sets them to zero. Holds the offsets of the first and the last byte that was not zero already.
    Zero(Option<(u64, u64)>),
    /// Drops them.
    Drop,
    /// Drops them here, and collects them for another connection.
    Move(Vec<u8>),
    /// Sends them, and collects them to be sent again.
    Duplicate(Vec<u8>),
    /// Collects them, to be sent later.
    HoldBack(Vec<u8>),
    /// Sends them before the bytes that were held back.
    Overtake(Vec<u8>),
    /// Sends these bytes in their place.
    Replace(SourcedBytes),
}

impl Injector {
    /// An injector for a new connection with this number.
    pub(super) fn new(faults: Rc<[Fault]>, seed: u64, conn: u64, peer: SocketAddr) -> Injector {
        let mut injector = Injector {
            faults,
            seed,
            conn,
            peer,
            schedules: Vec::new(),
            whole_buffer: None,
            terminal: None,
            offset: 0,
            added: 0,
            edit: None,
            silent: false,
        };
        injector.renumber(conn);
        injector
    }

    /// Gives the connection another number, and from here on the faults of that number.
    pub(super) fn renumber(&mut self, conn: u64) {
        self.conn = conn;
        let schedule = |(n, fault)| FaultSchedule::new(fault, n, self.seed, conn);
        self.schedules = self.faults.iter().enumerate().map(schedule).collect();
        let whole_buffer = self.first_that_applies(|fault| fault.sends_whole_buffer());
        self.whole_buffer = whole_buffer.map(|fault| {
            let buffer = FixedBuffer::new(self.faults[fault].len as usize);
            WholeBuffer { fault, buffer, injected: 0 }
        });
        let is_terminal =
            |fault: &&Fault| fault.kind == FaultKind::Telnet && fault.conn.is_none_or(|only| only == conn);
        let terminal = self.faults.iter().enumerate().find(|(_, fault)| is_terminal(fault));
        self.terminal = terminal.map(|(n, fault)| (n, TerminalLayer::new(fault, draw(self.seed, &[n as u64, conn]))));
    }

    /// The first fault of this kind that applies to this connection, and its number.
    pub(super) fn fault(&self, kind: FaultKind) -> Option<(usize, &Fault)> {
        let number = self.first_that_applies(|fault| fault.kind == kind)?;
        Some((number, &self.faults[number]))
    }

    /// Bytes sent so far that were not received here.
    pub(super) fn added(&self) -> u64 {
        self.added
    }

    /// Whether bytes are held back until more come.
    pub(super) fn holds_back(&self) -> bool {
        matches!(&self.edit, Some(ActiveEdit { kind: EditKind::HoldBack(_) | EditKind::Overtake(_), .. }))
    }

    /// Whether no bytes can be inserted now: a fault is in progress, or nothing is echoed any more.
    pub(super) fn is_busy(&self) -> bool {
        self.silent || self.edit.is_some()
    }

    /// Stops the echo before the first byte.
    pub(super) fn silence(&mut self) {
        self.silent = true;
    }

    /// Takes note of received bytes that are not echoed.
    pub(super) fn discard(&mut self, n: usize) {
        self.offset += n as u64;
    }

    /// Processes received bytes.
    pub(super) fn received(&mut self, bytes: &[u8], history: &dyn ByteHistory, script: &mut Script) {
        if let Some(fault) = self.first_that_applies(|fault| fault.kind == FaultKind::FinWithoutDrain) {
            script.push(Action::Pause(self.faults[fault].time));
        }
        let most = self.whole_buffer.as_ref().map_or(bytes.len(), |whole| whole.buffer.capacity());
        for receive in bytes.chunks(most.max(1)) {
            let offset = self.offset;
            self.echo(receive, history, script);
            self.send_whole_buffer(receive, offset, script);
        }
    }

    /// Inserts bytes that another connection received.
    pub(super) fn insert_moved(&mut self, moved: MovedBytes, script: &mut Script) {
        self.insert(moved.fault, moved.bytes, script);
    }

    /// Ends the fault in progress with the bytes that it has: no more came for a while, or none will.
    pub(super) fn release_held_back(&mut self, script: &mut Script) {
        if let Some(edit) = self.edit.take() {
            self.end(edit, script);
        }
        // Bytes that were held back now wait for others to overtake them, and there are none.
        if let Some(edit) = self.edit.take() {
            self.end(edit, script);
        }
    }

    /// Processes the client's FIN.
    pub(super) fn fin(&mut self, script: &mut Script) {
        self.release_held_back(script);
        if std::mem::replace(&mut self.silent, true) {
            return;
        }
        if let Some(fault) = self.first_that_applies(|fault| fault.kind == FaultKind::Surplus && !fault.is_placed()) {
            self.insert_surplus(fault, script);
        }
        if let Some((fault, (offset, extent))) =
            self.terminal.as_mut().and_then(|(fault, layer)| Some((*fault, layer.end()?)))
        {
            script.push(Action::Log(dropped(fault, offset, extent)));
        }
        let is_early = |fault: &Fault| matches!(fault.kind, FaultKind::FinWithoutDrain | FaultKind::EarlyFin);
        if let Some(fault) = self.first_that_applies(is_early) {
            let extent = script.clear() as u64;
            if extent > 0 {
                let offset = self.offset.saturating_sub(extent);
                script.push(Action::Log(InjectedFault { fault, offset, extent, ..InjectedFault::default() }));
            }
        }
        let instead = |fault: &Fault| matches!(fault.kind, FaultKind::NoFin | FaultKind::ResetAtEnd);
        if let Some(fault) = self.first_that_applies(instead) {
            script.push(Action::Log(InjectedFault { fault, offset: self.offset, ..InjectedFault::default() }));
            let resets = self.faults[fault].kind == FaultKind::ResetAtEnd;
            script.push(if resets { Action::Reset } else { Action::Hold });
        } else {
            script.push(Action::Fin);
        }
    }

    /// The first fault that `is_wanted` and applies to this connection, for faults that are decided once per connection
    /// and not per place.
    fn first_that_applies(&self, is_wanted: impl Fn(&Fault) -> bool) -> Option<usize> {
        (0..self.faults.len()).find(|n| {
            let fault = &self.faults[*n];
            let is_here = fault.conn.is_none_or(|only| only == self.conn);
            is_wanted(fault) && is_here && fault.happens(draw(self.seed, &[*n as u64, self.conn]), 0)
        })
    }

    fn echo(&mut self, mut bytes: &[u8], history: &dyn ByteHistory, script: &mut Script) {
        while !bytes.is_empty() {
            let most = match &self.edit {
                Some(edit) => edit.left,
                None if self.silent => u64::MAX,
                None => match self.next_place() {
                    Some((fault, place)) if place == self.offset => {
                        self.begin(fault, history, script);
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

    /// The fault that is due next, and its place.
    fn next_place(&mut self) -> Option<(usize, u64)> {
        let offset = self.offset;
        let places = self.schedules.iter_mut().enumerate();
        places.filter_map(|(fault, schedule)| Some((fault, schedule.next(offset)?))).min_by_key(|(_, place)| *place)
    }

    /// Begins the fault that is due here, if it is possible here.
    fn begin(&mut self, fault: usize, history: &dyn ByteHistory, script: &mut Script) {
        let Fault { kind, len, n, time, .. } = self.faults[fault];
        let injected = InjectedFault { fault, offset: self.offset, ..InjectedFault::default() };
        let has_begun = match kind {
            FaultKind::Flip => self.edit(fault, 1, EditKind::Flip(mask(n, self.pick(fault)))),
            FaultKind::Zero => self.edit(fault, len, EditKind::Zero(None)),
            FaultKind::Drop => self.edit(fault, len, EditKind::Drop),
            FaultKind::Duplicate => self.edit(fault, len, EditKind::Duplicate(Vec::new())),
            FaultKind::Reorder => self.edit(fault, len, EditKind::HoldBack(Vec::new())),
            FaultKind::Crosstalk | FaultKind::Stale => self.begin_foreign(fault, history, script),
            FaultKind::Surplus => self.insert_surplus(fault, script),
            FaultKind::Delay => {
                script.push(Action::Log(injected));
                script.push(Action::Pause(time));
                true
            }
            FaultKind::Truncate => self.end_connection(injected, Action::Fin, script),
            FaultKind::Stall => self.end_connection(injected, Action::Hold, script),
            FaultKind::Reset => self.end_connection(injected, Action::Reset, script),
            _ => {
                unreachable!("{kind} has no place in the stream, so its schedule never returns one")
            }
        };
        self.schedules[fault].done(has_begun);
    }

    /// A random number for this fault at this place.
    fn pick(&self, fault: usize) -> u64 {
        draw(self.seed, &[fault as u64, self.conn, self.offset])
    }

    fn edit(&mut self, fault: usize, left: u64, kind: EditKind) -> bool {
        self.edit = Some(ActiveEdit { fault, start: self.offset, left, kind });
        true
    }

    fn end_connection(&mut self, injected: InjectedFault, end: Action, script: &mut Script) -> bool {
        self.silent = true;
        script.push(Action::Log(injected));
        script.push(end);
        true
    }

    /// Begins a fault with foreign or old bytes. False: no other connection can give or take bytes, or there are no old
    /// ones.
    fn begin_foreign(&mut self, fault: usize, history: &dyn ByteHistory, script: &mut Script) -> bool {
        let Fault { kind, len, mode, from, .. } = self.faults[fault];
        let (n, pick) = (len as usize, self.pick(fault));
        let bytes = match (kind, from) {
            (FaultKind::Crosstalk, _) => history.of_another(n, pick),
            (_, StaleOrigin::Closed) => history.of_closed(n, pick),
            (_, _) => history.of_own_past(n, self.offset, pick),
        };
        match (mode, bytes) {
            (Placement::Move, _) => history.has_another() && self.edit(fault, len, EditKind::Move(Vec::new())),
            (_, None) => false,
            (Placement::Replace, Some(bytes)) => self.edit(fault, len, EditKind::Replace(bytes)),
            (Placement::Insert, Some(bytes)) => self.insert(fault, bytes, script),
        }
    }

    fn insert(&mut self, fault: usize, SourcedBytes { bytes, source }: SourcedBytes, script: &mut Script) -> bool {
        self.add(&bytes, script);
        script.push(Action::Log(InjectedFault {
            fault,
            offset: self.offset,
            extent: bytes.len() as u64,
            source: Some(source),
            ..InjectedFault::default()
        }));
        true
    }

    /// Inserts random bytes. The chance that a connection sent the same ones is 1 in 2^40 or less.
    fn insert_surplus(&mut self, fault: usize, script: &mut Script) -> bool {
        let extent = self.faults[fault].len;
        let words = (0..extent.div_ceil(8)).flat_map(|n| draw(self.pick(fault), &[n]).to_le_bytes());
        let bytes: Vec<u8> = words.take(extent as usize).collect();
        self.add(&bytes, script);
        script.push(Action::Log(InjectedFault { fault, offset: self.offset, extent, ..InjectedFault::default() }));
        true
    }

    fn add(&mut self, bytes: &[u8], script: &mut Script) {
        self.added += bytes.len() as u64;
        script.send(bytes);
    }

    /// Echoes bytes, or applies the fault in progress to them.
    fn pass(&mut self, piece: &[u8], script: &mut Script) {
        let offset = self.offset;
        self.offset += piece.len() as u64;
        let Some(edit) = &mut self.edit else {
            if !self.silent {
                self.echo_unchanged(piece, offset, script);
            }
            return;
        };
        match &mut edit.kind {
            EditKind::Flip(mask) => script.send(&[piece[0] ^ *mask]),
            EditKind::Zero(changed) => {
                let first = piece.iter().position(|byte| *byte != 0).map(|n| offset + n as u64);
                let last = piece.iter().rposition(|byte| *byte != 0).map(|n| offset + n as u64);
                if let Some((first, last)) = first.zip(last) {
                    *changed = Some((changed.map_or(first, |(first, _)| first), last));
                }
                script.send(&vec![0; piece.len()]);
            }
            EditKind::Drop => {}
            EditKind::Move(copy) | EditKind::HoldBack(copy) => copy.extend_from_slice(piece),
            EditKind::Duplicate(copy) => {
                copy.extend_from_slice(piece);
                script.send(piece);
            }
            EditKind::Overtake(_) => script.send(piece),
            EditKind::Replace(foreign) => {
                let done = (offset - edit.start) as usize;
                script.send(&foreign.bytes[done..done + piece.len()]);
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

    /// Echoes bytes that no fault in progress changes, through the terminal's layer if there is one.
    fn echo_unchanged(&mut self, piece: &[u8], offset: u64, script: &mut Script) {
        let Some((fault, layer)) = &mut self.terminal else { return script.send(piece) };
        let (fault, added, first) = (*fault, &mut self.added, offset);
        layer.pass(piece, offset, |passed| match passed {
            Passed::Bytes(bytes) => script.send(bytes),
            Passed::Dropped { offset, extent } => script.push(Action::Log(dropped(fault, offset, extent))),
            Passed::Doubled { offset } => {
                *added += 1;
                script.send(&[piece[(offset - first) as usize]]);
                let effect = Some(FaultKind::Duplicate);
                script.push(Action::Log(InjectedFault {
                    fault,
                    effect,
                    offset,
                    extent: 1,
                    ..InjectedFault::default()
                }));
            }
        });
    }

    /// Ends a fault: every byte that it waited for came, or no more will.
    fn end(&mut self, edit: ActiveEdit, script: &mut Script) {
        let extent = self.offset - edit.start;
        let mut injected = InjectedFault { fault: edit.fault, offset: edit.start, extent, ..InjectedFault::default() };
        match edit.kind {
            EditKind::Flip(mask) => injected.bits = Some(u64::from(mask.count_ones())),
            EditKind::Zero(None) => return,
            EditKind::Zero(Some((first, last))) => (injected.offset, injected.extent) = (first, last - first + 1),
            EditKind::Drop => {}
            EditKind::Move(bytes) => {
                let source = StreamPlace { conn: self.conn, peer: self.peer, offset: edit.start };
                let bytes = SourcedBytes { bytes, source };
                script.push(Action::Move(MovedBytes { bytes, fault: edit.fault }));
                injected.effect = Some(FaultKind::Drop);
            }
            EditKind::Duplicate(copy) => self.add(&copy, script),
            EditKind::HoldBack(bytes) => {
                self.edit = Some(ActiveEdit { left: bytes.len() as u64, kind: EditKind::Overtake(bytes), ..edit });
                return;
            }
            EditKind::Overtake(bytes) => {
                script.send(&bytes);
                injected.extent = bytes.len() as u64;
                injected.over = Some(extent - injected.extent).filter(|over| *over > 0);
                if injected.over.is_none() {
                    return;
                }
            }
            EditKind::Replace(foreign) => {
                (injected.replaced, injected.source) = (Some(extent), Some(foreign.source));
            }
        }
        script.push(Action::Log(injected));
    }

    /// After a receive into a fixed buffer: also sends the old bytes behind it.
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
            .map(|(bytes, offset)| SourcedBytes { bytes: bytes.to_vec(), source: StreamPlace { conn, peer, offset } });
        let old: Vec<SourcedBytes> = old.collect();
        whole.injected += u64::from(!old.is_empty());
        let fault = whole.fault;
        for bytes in old {
            self.insert(fault, bytes, script);
        }
    }
}

/// Bytes that are left out by a fault whose kind has another name.
pub(super) fn dropped(fault: usize, offset: u64, extent: u64) -> InjectedFault {
    InjectedFault { fault, effect: Some(FaultKind::Drop), offset, extent, ..InjectedFault::default() }
}

/// A mask of `n` different bits of a byte.
fn mask(n: u64, pick: u64) -> u8 {
    let mut bits: Vec<u8> = (0..8).collect();
    let chosen = (0..n.min(8)).map(|k| bits.swap_remove((draw(pick, &[k]) % bits.len() as u64) as usize));
    chosen.fold(0, |mask, bit| mask | 1 << bit)
}

#[cfg(test)]
mod tests;
