//! The tester's half of the pairing with `echo-tester backend` on other machines: their control connections. There may
//! be several, behind a balancer.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use super::mode::BackendMode;
use crate::client::Intake;
use crate::transport::{ControlWord, prepare_control};

/// The tokens of control connections, apart from those of connections that wait.
pub(super) const FIRST_PLACE: usize = 1 << (usize::BITS - 2);
/// The most control connections. Each has shown the token, so this is only for mistakes.
const MOST_CONTROLS: usize = 256;

/// The control connections.
pub(super) struct Controls {
    live: HashMap<usize, ControlSocket>,
    next: usize,
    /// What they do with connections.
    mode: BackendMode,
    /// They were asked to change that, and the switch has had no answer.
    is_asked: bool,
    /// Whether one of them serves.
    is_paired: Arc<AtomicBool>,
    /// Who is told of one that was lost.
    intake: Arc<Intake>,
}

struct ControlSocket {
    stream: TcpStream,
    /// Where the other machine is.
    address: IpAddr,
    /// Words that it has not answered.
    outstanding: u32,
    /// It could not obey the last one.
    has_failed: bool,
}

impl Controls {
    pub(super) fn new(is_paired: Arc<AtomicBool>, intake: Arc<Intake>) -> Controls {
        let (live, mode) = (HashMap::new(), BackendMode::Serve);
        Controls { live, next: FIRST_PLACE, mode, is_asked: false, is_paired, intake }
    }

    /// A control connection whose token is right.
    pub(super) fn add(&mut self, registry: &Registry, mut stream: TcpStream) {
        let place = self.next;
        // Without them it is slower to speak, and to be missed.
        let _ = prepare_control(&stream);
        let is_registered = registry.register(&mut stream, Token(place), Interest::READABLE).is_ok();
        if !is_registered || self.live.len() >= MOST_CONTROLS {
            return;
        }
        let address = stream.peer_addr().map_or(Ipv4Addr::UNSPECIFIED.into(), |from| from.ip().to_canonical());
        let mut control = ControlSocket { stream, address, outstanding: 0, has_failed: false };
        if control.say(self.mode) {
            self.next += 1;
            self.live.insert(place, control);
        }
    }

    /// Something has happened to this one.
    pub(super) fn hear(&mut self, registry: &Registry, place: usize) {
        let Some(control) = self.live.get_mut(&place) else { return };
        let mut words = [0; 16];
        let is_open = loop {
            match control.stream.read(&mut words) {
                Ok(0) => break false,
                Ok(n) => {
                    control.has_failed = words[n - 1] == ControlWord::Failed.byte();
                    control.outstanding = control.outstanding.saturating_sub(n as u32);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break false,
            }
        };
        if !is_open && let Some(mut control) = self.live.remove(&place) {
            let _ = registry.deregister(&mut control.stream);
            self.intake.has_lost_backend(control.address, false);
        }
        let is_paired = self.live.values().any(|control| control.outstanding == 0 && !control.has_failed);
        self.is_paired.store(is_paired, Ordering::Relaxed);
    }

    /// Has all of them do this with connections from now on. The answer comes later.
    pub(super) fn ask(&mut self, mode: BackendMode) {
        self.mode = mode;
        self.is_asked = true;
        self.say_again();
    }

    /// Has each of them say once more that it is there. What it should do with connections stays the same.
    pub(super) fn say_again(&mut self) {
        let (mode, intake) = (self.mode, &self.intake);
        self.live.retain(|_, control| {
            let is_there = control.say(mode);
            if !is_there {
                intake.has_lost_backend(control.address, false);
            }
            is_there
        });
    }

    /// Whether none of them owes an answer.
    pub(super) fn have_answered(&self) -> bool {
        self.live.values().all(|control| control.outstanding == 0)
    }

    /// Those that still owe an answer carry nothing any more, as far as can be told from here.
    pub(super) fn miss(&self) {
        let silent = self.live.values().filter(|control| control.outstanding > 0);
        silent.for_each(|control| self.intake.has_lost_backend(control.address, true));
    }

    /// What came of the last request, once it is known.
    pub(super) fn answer(&mut self) -> Option<io::Result<()>> {
        let answer = match () {
            () if !self.is_asked => return None,
            () if self.live.is_empty() => {
                Err(io::Error::new(io::ErrorKind::NotConnected, "no 'echo-tester backend' is connected"))
            }
            () if !self.have_answered() => return None,
            () if self.live.values().any(|control| control.has_failed) => {
                Err(io::Error::new(io::ErrorKind::AddrInUse, "'echo-tester backend' can't listen: its output says why"))
            }
            () => Ok(()),
        };
        self.is_asked = false;
        Some(answer)
    }
}

impl ControlSocket {
    /// Says what to do; `false`: it is gone. There is always room for a byte.
    fn say(&mut self, mode: BackendMode) -> bool {
        let word = match mode {
            BackendMode::Serve => ControlWord::Serve,
            BackendMode::Refuse => ControlWord::Refuse,
            BackendMode::Reset => ControlWord::Reset,
        };
        self.outstanding += 1;
        matches!(self.stream.write(&[word.byte()]), Ok(1))
    }
}
