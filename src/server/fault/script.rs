//! The actions of one connection of the faulty server, in order: bytes to send, and actions between them. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::history::MovedBytes;
use super::kind::FaultKind;
use super::log::StreamPlace;

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Send these bytes.
    Send(Vec<u8>),
    /// Log a fault: everything before it was handed to the socket.
    Log(InjectedFault),
    /// Do nothing for this time.
    Pause(Duration),
    /// Send bytes that this connection received on another one, where they do not belong.
    Move(MovedBytes),
    /// Send the FIN.
    Fin,
    /// Do nothing from now on, and keep the socket open.
    Hold,
    /// Reset the connection.
    Reset,
}

/// A fault that was injected, as far as its connection knows it. [`FaultRecord`](super::log::FaultRecord) says what the
/// fields mean.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct InjectedFault {
    /// The number of the fault on the command line.
    pub(super) fault: usize,
    /// What happened to this connection, where that is not the fault's own kind.
    pub(super) effect: Option<FaultKind>,
    /// Offset in the bytes that the server received on the connection.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) extent: u64,
    /// The connection's own bytes that are missing because others were sent in their place.
    pub(super) replaced: Option<u64>,
    /// Later bytes that were sent before these.
    pub(super) over: Option<u64>,
    /// Bits.
    pub(super) bits: Option<u64>,
    /// Where foreign or old bytes come from.
    pub(super) source: Option<StreamPlace>,
}

/// The queue of actions.
#[derive(Debug, Default)]
pub(super) struct Script {
    actions: VecDeque<Action>,
    /// If the first action sends bytes: how many of them are sent.
    sent: usize,
    /// Bytes that wait to be sent.
    backlog: usize,
}

impl Script {
    /// Sends bytes after everything queued.
    pub(super) fn send(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        self.backlog += bytes.len();
        match self.actions.back_mut() {
            Some(Action::Send(waiting)) => waiting.extend_from_slice(bytes),
            _ => self.actions.push_back(Action::Send(bytes.to_vec())),
        }
    }

    /// Performs an action after everything queued.
    pub(super) fn push(&mut self, action: Action) {
        match action {
            Action::Send(bytes) => self.send(&bytes),
            action => self.actions.push_back(action),
        }
    }

    /// Bytes that wait to be sent, at any place in the queue.
    pub(super) fn backlog(&self) -> usize {
        self.backlog
    }

    /// Whether nothing is left to do.
    pub(super) fn is_done(&self) -> bool {
        self.actions.is_empty()
    }

    /// The bytes to send now: empty if another action is first, or none.
    pub(super) fn to_send(&self) -> &[u8] {
        match self.actions.front() {
            Some(Action::Send(bytes)) => &bytes[self.sent..],
            _ => &[],
        }
    }

    /// Records that the first `n` bytes of [`to_send`](Self::to_send) were sent.
    pub(super) fn sent(&mut self, n: usize) {
        self.sent += n;
        self.backlog -= n;
        if self.to_send().is_empty() {
            self.actions.pop_front();
            self.sent = 0;
        }
    }

    /// Takes the first action, unless it sends bytes.
    pub(super) fn take_action(&mut self) -> Option<Action> {
        if matches!(self.actions.front(), None | Some(Action::Send(_))) {
            return None;
        }
        self.actions.pop_front()
    }

    /// Drops the bytes that could be sent now, up to the next other action. Returns how many they were.
    pub(super) fn drop_next(&mut self) -> usize {
        let dropped = self.to_send().len();
        if dropped > 0 {
            self.sent(dropped);
        }
        dropped
    }

    /// Drops everything queued. Returns how many bytes were not sent.
    pub(super) fn clear(&mut self) -> usize {
        self.actions.clear();
        self.sent = 0;
        std::mem::take(&mut self.backlog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_actions_keep_their_order_however_much_a_socket_takes() {
        let mut script = Script::default();
        script.send(b"abc");
        script.send(b"def");
        script.push(Action::Pause(Duration::from_millis(1)));
        script.push(Action::Send(b"ghi".to_vec()));
        script.push(Action::Fin);
        assert_eq!((script.to_send(), script.backlog()), (&b"abcdef"[..], 9));
        assert_eq!(script.take_action(), None, "bytes come first");
        script.sent(4);
        assert_eq!(script.to_send(), b"ef");
        script.sent(2);
        assert_eq!((script.to_send(), script.backlog()), (&b""[..], 3));
        assert_eq!(script.take_action(), Some(Action::Pause(Duration::from_millis(1))));
        script.sent(3);
        assert_eq!((script.take_action(), script.take_action()), (Some(Action::Fin), None));
    }

    #[test]
    fn dropping_what_is_next_leaves_the_actions_behind_it() {
        let mut script = Script::default();
        script.send(b"abcdef");
        script.sent(2);
        script.push(Action::Fin);
        assert_eq!((script.drop_next(), script.backlog()), (4, 0));
        assert_eq!((script.take_action(), script.drop_next()), (Some(Action::Fin), 0));
    }

    #[test]
    fn clearing_returns_how_many_bytes_were_not_sent() {
        let mut script = Script::default();
        script.send(b"abcdef");
        script.sent(2);
        script.push(Action::Fin);
        script.send(b"gh");
        assert_eq!(script.clear(), 6);
        assert_eq!((script.backlog(), script.take_action()), (0, None));
    }
}
