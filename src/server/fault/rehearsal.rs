//! What a faulty server would do with the bytes of one connection: the injector and its script, without a socket and
//! without a clock. Whoever writes a fault sees its effect, and the fuzzer tries what nobody would write.

use std::net::{Ipv4Addr, SocketAddr};

use super::FaultKind;
use super::history::{ByteHistory, RecentBytes, SourcedBytes};
use super::injector::Injector;
use super::registry::MIN_STALE_DISTANCE;
use super::script::{Action, Script};
use super::spec::Fault;

/// What a connection does that is alone, receives some bytes and then a FIN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rehearsal {
    /// The bytes that it sends, up to its end.
    pub sent: Vec<u8>,
    /// What happened to the stream: the kind, the offset in the received bytes, and how many bytes it concerns.
    pub injected: Vec<(FaultKind, u64, u64)>,
    /// Whether it ends with a FIN. If not, it is reset, or stays open and silent.
    pub ends_with_fin: bool,
}

/// The past of a connection beside which there is no other.
struct OwnPast(RecentBytes);

impl ByteHistory for OwnPast {
    fn has_another(&self) -> bool {
        false
    }

    fn of_another(&self, _: usize, _: u64) -> Option<SourcedBytes> {
        None
    }

    fn of_own_past(&self, len: usize, before: u64, pick: u64) -> Option<SourcedBytes> {
        self.0.choose(len, before.checked_sub(MIN_STALE_DISTANCE)?, pick)
    }

    fn of_closed(&self, _: usize, _: u64) -> Option<SourcedBytes> {
        None
    }
}

impl Rehearsal {
    /// These faults, drawn from this seed, on the connection of this number, which receives these pieces.
    pub fn of<'r>(faults: &[Fault], seed: u64, conn: u64, receives: impl IntoIterator<Item = &'r [u8]>) -> Rehearsal {
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let mut injector = Injector::new(faults.into(), seed, conn, peer);
        let (mut script, mut past) = (Script::default(), OwnPast(RecentBytes::new(conn, peer)));
        let mut rehearsal = Rehearsal::default();
        for received in receives {
            past.0.push(received, usize::MAX);
            injector.received(received, &past, &mut script);
        }
        injector.fin(&mut script);
        rehearsal.perform(faults, &mut script);
        rehearsal
    }

    /// Performs the script up to its end, or to an action after which nothing is sent any more.
    fn perform(&mut self, faults: &[Fault], script: &mut Script) {
        loop {
            let bytes = script.to_send();
            if !bytes.is_empty() {
                self.sent.extend_from_slice(bytes);
                script.sent(bytes.len());
                continue;
            }
            match script.take_action() {
                Some(Action::Log(injected)) => {
                    let kind = injected.effect.unwrap_or(faults[injected.fault].kind);
                    self.injected.push((kind, injected.offset, injected.extent));
                }
                Some(Action::Fin) => return self.ends_with_fin = true,
                Some(Action::Hold | Action::Reset) | None => return,
                Some(Action::Pause(_) | Action::Move(_) | Action::Send(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rehearse(specs: &[&str]) -> Rehearsal {
        let faults: Vec<Fault> = specs.iter().map(|spec| spec.parse().expect("the fault is well-formed")).collect();
        Rehearsal::of(&faults, 7, 0, [&b"abcdef"[..], b"ghij"])
    }

    #[test]
    fn what_is_sent_and_what_happened_are_told() {
        let sound = Rehearsal { sent: b"abcdefghij".to_vec(), injected: vec![], ends_with_fin: true };
        assert_eq!(rehearse(&[]), sound);
        let drop = rehearse(&["drop:at=5,len=2"]);
        assert_eq!((&drop.sent[..], &drop.injected[..]), (&b"abcdehij"[..], &[(FaultKind::Drop, 5, 2)][..]));
        let stall = rehearse(&["stall:at=3"]);
        assert_eq!((&stall.sent[..], stall.ends_with_fin), (&b"abc"[..], false));
    }
}
