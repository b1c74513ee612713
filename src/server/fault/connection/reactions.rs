//! What faults of the connection itself do: those that concern its socket, its time or its neighbours rather than the
//! bytes of its stream, which the [`Injector`](super::super::injector::Injector) changes.

use std::io;
use std::mem::MaybeUninit;

use socket2::SockRef;
use tokio::time::Instant;

use super::super::choice::{AfterIdle, SilentUntil, UrgentCut};
use super::super::injector::dropped;
use super::super::kind::FaultKind;
use super::super::script::{Action, InjectedFault};
use super::{DEAF_POLL, FaultyConnection};
use crate::sys;

impl FaultyConnection {
    /// `rdhup`: the input counts as over, and the connection as done when what was received is sent.
    pub(super) fn hang_up(&mut self, fault: usize) {
        let mut byte = [MaybeUninit::uninit()];
        if matches!(SockRef::from(&self.stream).peek(&mut byte), Ok(1)) {
            let offset = self.registration.received;
            self.script.push(Action::Log(InjectedFault { fault, offset, ..InjectedFault::default() }));
        }
        self.fin_received = true;
        self.closes_when_flushed = true;
        self.registration.shared.registry_mut().fin_received(self.registration.id);
        self.injector.silence();
    }

    /// `idle-drop`: the client's first packet after the connection was forgotten. True: the connection is over.
    pub(super) fn answer_when_forgotten(&mut self) -> bool {
        self.is_forgotten = false;
        let Some((fault, then)) = self.injector.fault(FaultKind::IdleDrop).map(|(n, fault)| (n, fault.then)) else {
            return false;
        };
        self.log_at(fault, self.registration.received);
        match then {
            AfterIdle::Silence => self.fall_silent(),
            AfterIdle::Reset => sys::close_with_reset(&self.stream),
        }
        then == AfterIdle::Reset
    }

    /// `urgent-cut`. True: an urgent byte came, and the connection is over.
    pub(super) fn cut_at_urgent_byte(&mut self) -> bool {
        let Some((fault, cuts)) = self.injector.fault(FaultKind::UrgentCut).map(|(n, fault)| (n, fault.cuts)) else {
            return false;
        };
        let mut byte = [MaybeUninit::uninit()];
        if !matches!(SockRef::from(&self.stream).recv_out_of_band(&mut byte), Ok(1)) {
            return false;
        }
        match cuts {
            UrgentCut::Connection => self.log_at(fault, self.unsent_from()),
            UrgentCut::Pending => {
                self.drop_unsent(FaultKind::UrgentCut);
                self.drops_next = true;
            }
        }
        cuts == UrgentCut::Connection
    }

    /// `lockup`: bytes wait and more came, so it depends on the socket whether anything moves again.
    pub(super) fn lock_up(&mut self) -> io::Result<()> {
        if self.send()? || self.has_room() {
            return Ok(());
        }
        if let Some((fault, _)) = self.injector.fault(FaultKind::Lockup) {
            self.log_at(fault, self.unsent_from());
            self.held = true;
            self.deaf_poll = Some(Instant::now() + DEAF_POLL);
        }
        Ok(())
    }

    /// `busy-writers`: a connection that gets something to send while many others have something.
    pub(super) fn join_writers(&mut self) {
        if self.script.to_send().is_empty() || self.held {
            return;
        }
        let others = self.registration.begins_to_write();
        let fault = self.injector.fault(FaultKind::BusyWriters).map(|(n, fault)| (n, fault.n, fault.until));
        if let Some((others, (fault, n, until))) = others.zip(fault)
            && others >= n
            && !self.send_side.is_lost()
        {
            self.send_side.lose();
            self.registration.ends_writing();
            self.lose_wakeup(fault, until);
        }
    }

    /// `session-reset`: another connection was reset.
    pub(super) fn reset_with_session(&mut self) {
        if let Some(fault) = self.registration.shared.session_fault() {
            self.log_at(fault, self.registration.received);
        }
        sys::close_with_reset(&self.stream);
    }

    /// The wake-up of this connection was just lost.
    pub(super) fn lose_wakeup(&mut self, fault: usize, until: SilentUntil) {
        self.log_at(fault, self.unsent_from());
        if until == SilentUntil::Never {
            self.fall_silent();
        }
    }

    /// Sends nothing any more, and discards what comes.
    pub(super) fn fall_silent(&mut self) {
        self.script.clear();
        self.injector.silence();
        self.held = true;
    }

    /// The offset of the first byte that was not sent, if all bytes are sent as they came.
    pub(super) fn unsent_from(&self) -> u64 {
        self.registration.received.saturating_sub(self.script.backlog() as u64)
    }

    pub(super) fn log_at(&self, fault: usize, offset: u64) {
        self.registration.log(InjectedFault { fault, offset, ..InjectedFault::default() });
    }

    /// Drops all bytes that were not sent, and everything queued.
    pub(super) fn drop_unsent(&mut self, kind: FaultKind) {
        let n = self.script.clear();
        self.log_dropped(kind, n);
    }

    /// Logs that the last `n` bytes before those that still wait were dropped.
    pub(super) fn log_dropped(&self, kind: FaultKind, n: usize) {
        let Some((fault, _)) = self.injector.fault(kind).filter(|_| n > 0) else { return };
        let (offset, extent) = (self.unsent_from().saturating_sub(n as u64), n as u64);
        let injected = match kind {
            FaultKind::CloseTimer => InjectedFault { fault, offset, extent, ..InjectedFault::default() },
            _ => dropped(fault, offset, extent),
        };
        self.registration.log(injected);
    }

    /// The socket takes nothing: from here on its space must wake the connection.
    pub(super) fn blocked(&mut self) {
        let fault = self.injector.fault(FaultKind::LostWakeup).map(|(n, fault)| (n, fault.n, fault.until));
        let is_lost = self.send_side.blocked(fault.map(|(_, n, _)| n));
        if let Some((fault, _, until)) = fault.filter(|_| is_lost) {
            self.lose_wakeup(fault, until);
        }
    }
}
