//! How the ends of a connection are named, cell by cell, over a socket that follows a script.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::*;
use crate::client::clock::RunClock;
use crate::client::half_close_evidence::HalfCloseEvidence;
use crate::client::sent_ledger::SentLedger;
use crate::config::LoadArgs;
use crate::measure::LoadStats;
use crate::plan::{Shard, Slots};
use crate::stream::{Divergence, Stream};

/// Bytes of the only message, or of each of two.
const LEN: usize = 100;

/// What the other side does.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Peer {
    Fin,
    Reset,
    /// Nothing at all.
    Silence,
    /// The system gives the connection up.
    Vanished,
}

/// When the end comes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum When {
    BeforeOwnFin,
    AfterOwnFin,
    DuringProbe,
}

/// A socket that takes all writes, and has what the test puts into it.
#[derive(Default)]
struct ScriptedSocket {
    echo: Vec<u8>,
    /// Met when the echo was read.
    end: Option<Peer>,
    /// Bytes that writes may still take.
    room: usize,
    /// The next write meets the end, and takes the error out of the socket. The wait has not reported yet that there is
    /// something to read.
    write_meets_end: bool,
    sent_fin: bool,
    /// Bytes of urgent data that were sent.
    urgent: Vec<u8>,
}

impl Transport for ScriptedSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.write_meets_end {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if !self.echo.is_empty() {
            let n = into.len().min(self.echo.len());
            into[..n].copy_from_slice(&self.echo[..n]);
            self.echo.drain(..n);
            return Ok(n);
        }
        match self.end {
            None | Some(Peer::Silence) => Err(io::ErrorKind::WouldBlock.into()),
            Some(Peer::Fin) => Ok(0),
            Some(Peer::Reset) => Err(io::ErrorKind::ConnectionReset.into()),
            Some(Peer::Vanished) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        if self.write_meets_end {
            let kind = match self.end {
                // A reset answers what is written after the FIN.
                Some(Peer::Fin) => io::ErrorKind::BrokenPipe,
                Some(Peer::Reset) => io::ErrorKind::ConnectionReset,
                Some(Peer::Vanished) => io::ErrorKind::TimedOut,
                None | Some(Peer::Silence) => io::ErrorKind::WouldBlock,
            };
            // The error is told once; then a read returns 0.
            (self.end, self.write_meets_end) = (Some(Peer::Fin), false);
            return Err(kind.into());
        }
        let n = from.len().min(self.room);
        self.room -= n;
        if n == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(n) }
    }

    fn write_urgent(&mut self, byte: u8) -> io::Result<()> {
        self.urgent.push(byte);
        Ok(())
    }

    fn shutdown(&mut self, how: Shutdown) -> io::Result<()> {
        self.sent_fin |= how != Shutdown::Read;
        Ok(())
    }

    fn is_readable(&mut self) -> bool {
        !self.echo.is_empty()
    }

    fn assume_ready(&mut self) {}

    fn close_with_reset(&mut self) {}
}

/// A connection with everything that a turn needs.
struct Bench {
    connection: ClientConnection,
    socket: ScriptedSocket,
    stream: Stream,
    ledger: SentLedger,
    half_close: HalfCloseEvidence,
    scratch: Vec<u8>,
    found: Vec<Divergence>,
    stats: LoadStats,
    clock: RunClock,
    others_rest: bool,
}

impl Bench {
    /// A connection with these options, over a socket that takes `room` bytes.
    fn new(toml: &str, room: usize) -> Bench {
        let args: LoadArgs = toml::from_str(toml).unwrap_or_else(|error| panic!("{error}"));
        let profile = Arc::new(args.resolve("load").unwrap_or_else(|error| panic!("{error}")));
        let slots = Slots::new([&*profile]).expect("there are enough ids");
        let conn = ConnId::new(0).expect("0 is an id");
        let clock = RunClock::new(Instant::now());
        let plan = ConnectionPlan::new(profile, 7, slots.slot(0), conn);
        Bench {
            connection: ClientConnection::new(plan, conn, clock.read()),
            socket: ScriptedSocket { room, ..ScriptedSocket::default() },
            stream: Stream::new(7),
            ledger: SentLedger::new(slots, Shard::WHOLE),
            half_close: HalfCloseEvidence::default(),
            scratch: vec![0; 4096],
            found: Vec::new(),
            stats: LoadStats::default(),
            clock,
            others_rest: false,
        }
    }

    fn turn(
        &mut self,
        take: impl FnOnce(&mut ClientConnection, &mut ScriptedSocket, &mut TurnContext<'_>) -> TurnResult,
    ) -> TurnResult {
        let mut context = TurnContext {
            stream: &self.stream,
            ledger: &self.ledger,
            incoming: &self.stream,
            incoming_ledger: &self.ledger,
            half_close: &self.half_close,
            scratch: &mut self.scratch,
            found: &mut self.found,
            stats: &mut self.stats,
            clock: &self.clock,
            others_rest: self.others_rest,
            group_arrived: false,
            deadline: NEVER,
        };
        context.clock.read();
        take(&mut self.connection, &mut self.socket, &mut context)
    }

    fn advance(&mut self) -> TurnResult {
        self.turn(|connection, socket, turn| connection.advance(socket, turn))
    }

    fn stall(&mut self) -> TurnResult {
        self.turn(|connection, socket, turn| connection.stalled(socket, turn))
    }

    /// What the peer echoes: the first `len` bytes that were not echoed yet.
    fn echo(&mut self, len: usize) {
        let mut bytes = vec![0; len];
        self.stream.fill(ConnId::new(0).expect("0 is an id"), self.connection.receiver.received(), &mut bytes);
        self.socket.echo.extend(bytes);
    }

    /// The kinds that were found, with the bytes that were missing.
    fn kinds(&self) -> Vec<(&'static str, u64)> {
        self.found.iter().map(|found| (found.kind.name(), found.extent)).collect()
    }
}

/// What is found if a connection of 100 bytes has such an end when `came` of them have come back.
fn named(peer: Peer, when: When, came: usize) -> Vec<(&'static str, u64)> {
    // With `keep` nothing ends the connection.
    let close = if when == When::AfterOwnFin { "half-close" } else { "keep" };
    let mut bench = Bench::new(&format!("messages = 1\nsize = 100\nfragment = 'off'\nclose = '{close}'"), LEN);
    bench.advance();
    if when == When::DuringProbe {
        assert!(matches!(bench.stall(), TurnResult::Wait { owed: true, .. }), "it probes");
    }
    assert_eq!(bench.socket.sent_fin, when != When::BeforeOwnFin);
    bench.echo(came);
    bench.socket.end = Some(peer);
    let mut result = bench.advance();
    // The first stall makes the probe, and the second one is the end.
    let stalls = if when == When::BeforeOwnFin { 2 } else { 1 };
    for _ in 0..if peer == Peer::Silence { stalls } else { 0 } {
        result = bench.stall();
    }
    assert!(matches!(result, TurnResult::Over(_)), "{peer:?}, {when:?}: {result:?}");
    bench.kinds()
}

#[test]
fn an_end_that_a_read_meets_has_the_name_of_the_table() {
    use Peer::{Fin, Reset, Silence, Vanished};
    use When::{AfterOwnFin, BeforeOwnFin, DuringProbe};
    for (peer, when, missing, complete) in [
        (Fin, BeforeOwnFin, "truncated", Some("truncated")),
        (Fin, AfterOwnFin, "truncated", None),
        (Fin, DuringProbe, "stalled", Some("stalled")),
        (Reset, BeforeOwnFin, "reset", Some("reset")),
        (Reset, AfterOwnFin, "reset", Some("reset")),
        (Reset, DuringProbe, "stalled", Some("stalled")),
        (Vanished, BeforeOwnFin, "stalled", Some("stalled")),
        (Vanished, AfterOwnFin, "stalled", Some("no-fin")),
        (Vanished, DuringProbe, "stalled", Some("stalled")),
        (Silence, AfterOwnFin, "stalled", Some("no-fin")),
        (Silence, DuringProbe, "stalled", Some("stalled")),
    ] {
        let cells = [LEN, 40, 0].map(|came| named(peer, when, came));
        let complete = complete.map(|kind| (kind, 0)).into_iter().collect();
        assert_eq!(cells, [complete, vec![(missing, 60)], vec![(missing, 100)]], "{peer:?}, {when:?}");
    }
}

#[test]
fn silence_is_a_stall_only_while_something_is_owed() {
    for came in [40, 0] {
        let missing = (LEN - came) as u64;
        assert_eq!(named(Peer::Silence, When::BeforeOwnFin, came), [("stalled", missing)]);
    }
    let mut bench = Bench::new("messages = 1\nsize = 100\nfragment = 'off'\nclose = 'keep'", LEN);
    bench.advance();
    bench.echo(LEN);
    assert!(matches!(bench.advance(), TurnResult::Wait { owed: false, waits_for: WaitsFor::Run, .. }));
}

#[test]
fn an_end_that_a_write_meets_has_the_same_name() {
    use Peer::{Fin, Reset, Vanished};
    for (peer, kind) in [(Fin, "truncated"), (Reset, "reset"), (Vanished, "stalled")] {
        let cells = [LEN, 40, 0].map(|came| named_at_write(peer, came));
        assert_eq!(cells, [vec![(kind, 0)], vec![(kind, 60)], vec![(kind, 100)]], "{peer:?}");
    }
}

/// As `named`, but a write of the second message meets the end, before what came is read.
fn named_at_write(peer: Peer, came: usize) -> Vec<(&'static str, u64)> {
    let mut bench = Bench::new("messages = 2\nsize = 100\nfragment = 'off'\nclose = 'keep'\npipeline = 2", LEN);
    bench.advance();
    bench.echo(came);
    bench.socket.end = Some(peer);
    bench.socket.write_meets_end = true;
    let result = bench.advance();
    assert!(matches!(result, TurnResult::Over(_)), "{peer:?}: {result:?}");
    bench.kinds()
}

#[test]
fn what_came_only_after_the_probe_was_stalled_and_says_so() {
    let mut bench = Bench::new("messages = 1\nsize = 100\nfragment = 'off'\nclose = 'keep'", LEN);
    bench.advance();
    bench.stall();
    bench.echo(LEN);
    bench.socket.end = Some(Peer::Fin);
    bench.advance();
    assert_eq!(bench.kinds(), [("stalled", 0)]);
    let ending = bench.found[0].ending.as_deref().expect("a finding about an end says how it came");
    assert_eq!((ending.by, ending.probed, ending.received_after_fin), (EndedBy::Fin, true, 100));
}

#[test]
fn a_stall_reads_first_and_is_none_if_the_echo_lies_in_the_socket() {
    let mut bench = Bench::new("messages = 1\nsize = 100\nfragment = 'off'\nclose = 'keep'", LEN);
    bench.advance();
    bench.echo(LEN);
    assert!(matches!(bench.stall(), TurnResult::Wait { owed: false, progress: true, .. }));
    assert!(!bench.socket.sent_fin && bench.found.is_empty());
}

#[test]
fn bytes_are_lost_at_the_probe_if_another_connection_kept_its_half() {
    let mut bench = Bench::new("messages = 1\nsize = 100\nfragment = 'off'\nclose = 'keep'", LEN);
    bench.half_close.note(true);
    bench.advance();
    bench.stall();
    bench.socket.end = Some(Peer::Fin);
    bench.advance();
    assert_eq!(bench.kinds(), [("lost", 100)]);
}

#[test]
fn a_connection_shows_whether_its_peer_keeps_half_closed_connections_open() {
    for (came, shown) in [(LEN, true), (40, false)] {
        let mut bench = Bench::new("messages = 1\nsize = 100\nfragment = 'off'", LEN);
        bench.advance();
        bench.echo(came);
        bench.socket.end = Some(Peer::Fin);
        bench.advance();
        assert_eq!(bench.half_close.shows_that_they_stay_open(), shown, "{came} of {LEN} bytes came");
    }
}

#[test]
fn what_is_not_done_when_the_grace_is_over_was_too_slow() {
    let mut bench = Bench::new("size = 100\nfragment = 'off'\nduration = '1ms'\ngrace = 0", LEN);
    bench.advance();
    // The time of the group is up.
    let over = loop {
        let result = bench.turn(|connection, socket, turn| {
            turn.deadline = 1_000_000;
            connection.advance(socket, turn)
        });
        match result {
            TurnResult::Over(_) => break true,
            TurnResult::Wait { .. } if bench.clock.read() < Duration::from_secs(10).as_nanos() as u64 => {}
            _ => break false,
        }
    };
    assert!(over && bench.kinds() == [("too-slow", 100)], "{:?}", bench.kinds());
}

#[test]
fn time_in_which_the_client_stood_still_is_no_silence_and_no_overtime() {
    let mut bench = Bench::new("messages = 1\nsize = 100\nfragment = 'off'", LEN);
    bench.advance();
    bench.connection.must_end_by = 5;
    let now = bench.clock.read();
    bench.connection.leave_out(1_000_000_000_000);
    bench.connection.note_stand_still(1_000_000_000_000, now);
    assert_eq!(bench.connection.must_end_by, 1_000_000_000_005);
    assert_eq!(bench.connection.receiver.silence(now), 0);
    let last = bench.connection.recent_ops(now).pop().expect("it stands in the history");
    assert_eq!((last.kind, last.len), (OpKind::StoodStill, 1_000_000));
}

/// A connection of one message of 100 bytes, whose peer sends back what `change` makes of its bytes.
fn found_in(toml: &str, change: impl FnOnce(&mut Vec<u8>)) -> Bench {
    let mut bench =
        Bench::new(&format!("messages = 1\nsize = 100\nfragment = 'off'\nclose = 'after-echo'\n{toml}"), LEN);
    bench.advance();
    bench.echo(LEN);
    change(&mut bench.socket.echo);
    if matches!(bench.advance(), TurnResult::Wait { .. }) {
        bench.socket.end = Some(Peer::Fin);
        bench.advance();
    }
    bench
}

#[test]
fn an_urgent_byte_may_be_dropped_or_come_at_its_place() {
    let own = found_in("", |_| {});
    let mut bytes = vec![0; LEN + 1];
    own.stream.fill(ConnId::new(0).expect("0 is an id"), 0, &mut bytes);
    for at in [0, 40, 99, LEN] {
        let urgent = format!("urgent = {at}");
        for inline in [false, true] {
            let bench = found_in(&urgent, |echo| {
                if inline {
                    echo.insert(at, !bytes[at])
                }
            });
            assert_eq!((bench.socket.urgent.as_slice(), bench.kinds()), (&[!bytes[at]][..], vec![]), "{at} {inline}");
            assert_eq!(bench.connection.receiver.received(), LEN as u64);
        }
    }
    assert!(!found_in("urgent = 40", |echo| echo.insert(41, !bytes[40])).found.is_empty(), "at another place");
    assert!(!found_in("urgent = 40", |echo| echo[40] = !bytes[40]).found.is_empty(), "in place of a byte");
}

#[test]
fn first_bytes_come_back_as_they_were_sent_and_are_shown_so() {
    use crate::plan::FirstBytes;
    let ssh = FirstBytes::Ssh.bytes();
    assert!(!found_in("first_bytes = 'ssh'", |_| {}).found.is_empty(), "these are the bytes of the stream");
    let right = found_in("first_bytes = 'ssh'", |echo| echo[..ssh.len()].copy_from_slice(ssh));
    assert!(right.kinds().is_empty(), "{:?}", right.found);
    let wrong = found_in("first_bytes = 'ssh'", |echo| {
        echo[..ssh.len()].copy_from_slice(ssh);
        echo[0] = b'Z';
    });
    let [finding] = wrong.found.as_slice() else { panic!("{:?}", wrong.found) };
    assert_eq!((finding.offset, finding.excerpt_offset, finding.extent), (0, 0, 1));
    assert!(finding.expected.starts_with(b"SSH-2.0-") && finding.received.starts_with(b"ZSH-2.0-"), "{finding:?}");
}

#[test]
fn a_connection_that_shut_down_reading_reads_no_more_and_closes_a_moment_later() {
    for (close, is_fin_sent) in [("shutdown-read", false), ("shutdown-both", true)] {
        let mut bench = Bench::new(&format!("messages = 1\nsize = 100\nfragment = 'off'\nclose = '{close}'"), LEN);
        // After a shutdown the socket reads as ended.
        bench.socket.end = Some(Peer::Fin);
        bench.echo(40);
        let result = bench.turn(|connection, socket, turn| {
            socket.end = None;
            let result = connection.advance(socket, turn);
            socket.end = Some(Peer::Fin);
            result
        });
        assert!(matches!(result, TurnResult::Wait { timer: Some(_), owed: false, .. }), "{close}: {result:?}");
        let closed_after =
            (0..1000).map(|_| bench.advance()).take_while(|result| matches!(result, TurnResult::Wait { .. })).count();
        assert_eq!((closed_after, bench.socket.sent_fin), (1000, is_fin_sent), "{close}: it lingers");
        assert!(bench.kinds().is_empty());
    }
}

/// Found by the simulation: it waited for a stall that could not come.
#[test]
fn reading_after_a_stall_begins_when_the_writes_wait_for_echo() {
    let toml = "messages = 3\nsize = 100\nfragment = 'off'\npipeline = 1\nread = 'after-stall'";
    let mut bench = Bench::new(toml, 10 * LEN);
    for message in 1..=3 {
        bench.advance();
        assert_eq!(bench.connection.sender.sent(), message * LEN as u64);
        bench.echo(LEN);
    }
    bench.socket.end = Some(Peer::Fin);
    assert!(matches!(bench.advance(), TurnResult::Over(None)));
    assert_eq!(bench.kinds(), []);
}
