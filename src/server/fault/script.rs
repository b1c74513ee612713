//! What is to be done on one connection, in order: bytes to send, and what happens between them. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::log::Source;
use super::spec::FaultKind;

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Item {
    /// Send these bytes.
    Send(Vec<u8>),
    /// A fault has happened: everything before it was handed to the socket.
    Log(Event),
    /// Do nothing for so long.
    Pause(Duration),
    /// Give bytes that this connection sent to another one, whose stream they do not belong to.
    GiveAway(Passage, usize),
    /// Send the FIN.
    Fin,
    /// Do nothing any more, and keep the socket.
    Hold,
    /// Reset the connection.
    Reset,
}

/// Bytes with their origin.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Passage {
    pub(super) bytes: Vec<u8>,
    pub(super) source: Source,
}

/// A fault that was injected, as far as its connection knows.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Event {
    /// Which of the faults, by its number on the command line.
    pub(super) fault: usize,
    /// What happened to this connection, if it is not what the fault is called.
    pub(super) effect: Option<FaultKind>,
    /// Offset in what the server received on the connection.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) extent: u64,
    /// Own bytes that are missing because others came in their place.
    pub(super) replaced: Option<u64>,
    /// Bytes that were sent before those that should have come before them.
    pub(super) over: Option<u64>,
    /// Bits.
    pub(super) bits: Option<u64>,
    /// Where foreign or old bytes come from.
    pub(super) source: Option<Source>,
}

/// The queue of what is to be done.
#[derive(Debug, Default)]
pub(super) struct Script {
    items: VecDeque<Item>,
    /// Of the first item, if it is bytes: how many are sent.
    done: usize,
    /// Bytes that wait to be sent.
    backlog: usize,
}

impl Script {
    /// Sends bytes after all that is there.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.backlog += bytes.len();
        match self.items.back_mut() {
            Some(Item::Send(waiting)) => waiting.extend_from_slice(bytes),
            _ => self.items.push_back(Item::Send(bytes.to_vec())),
        }
    }

    /// Does this after all that is there.
    pub(super) fn push(&mut self, item: Item) {
        match item {
            Item::Send(bytes) => self.send(&bytes),
            item => self.items.push_back(item),
        }
    }

    /// Bytes that wait to be sent, behind whatever.
    pub(super) fn backlog(&self) -> usize {
        self.backlog
    }

    /// The bytes to be sent now: empty when something else is first, or nothing.
    pub(super) fn to_send(&self) -> &[u8] {
        match self.items.front() {
            Some(Item::Send(bytes)) => &bytes[self.done..],
            _ => &[],
        }
    }

    /// The first `n` bytes of [`to_send`](Self::to_send) are sent.
    pub(super) fn sent(&mut self, n: usize) {
        self.done += n;
        self.backlog -= n;
        if self.to_send().is_empty() {
            self.items.pop_front();
            self.done = 0;
        }
    }

    /// Takes the first item if it is something else than bytes.
    pub(super) fn take_deed(&mut self) -> Option<Item> {
        if matches!(self.items.front(), None | Some(Item::Send(_))) {
            return None;
        }
        self.items.pop_front()
    }

    /// Forgets everything, and says how many bytes were to be sent.
    pub(super) fn clear(&mut self) -> usize {
        self.items.clear();
        self.done = 0;
        std::mem::take(&mut self.backlog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_deeds_come_in_order_whatever_the_socket_takes_at_once() {
        let mut script = Script::default();
        script.send(b"abc");
        script.send(b"def");
        script.push(Item::Pause(Duration::from_millis(1)));
        script.push(Item::Send(b"ghi".to_vec()));
        script.push(Item::Fin);
        assert_eq!((script.to_send(), script.backlog()), (&b"abcdef"[..], 9));
        assert_eq!(script.take_deed(), None, "bytes are first");
        script.sent(4);
        assert_eq!(script.to_send(), b"ef");
        script.sent(2);
        assert_eq!((script.to_send(), script.backlog()), (&b""[..], 3));
        assert_eq!(script.take_deed(), Some(Item::Pause(Duration::from_millis(1))));
        script.sent(3);
        assert_eq!((script.take_deed(), script.take_deed()), (Some(Item::Fin), None));
    }

    #[test]
    fn clearing_says_what_was_not_sent() {
        let mut script = Script::default();
        script.send(b"abcdef");
        script.sent(2);
        script.push(Item::Fin);
        script.send(b"gh");
        assert_eq!(script.clear(), 6);
        assert_eq!((script.backlog(), script.take_deed()), (0, None));
    }
}
