//! The network between two TUN devices: a thread that takes packets from each, treats them by a script, and gives what
//! is left of them to the other. Chances are drawn from a seed.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::fs::File;
use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use echo_tester::random::{below, split_mix};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::packet;

/// No packet is larger: its length has 16 bits.
const MAX_PACKET: usize = 1 << 16;
/// The seed of all scripts.
const SEED: u64 = 0x6e65_7477_6f72_6b73;

/// How packets are treated. Chances are in 1,000.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Treatment {
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    /// One bit of the packet is flipped.
    pub(crate) corruption: u64,
    /// One bit of the payload is flipped, and the checksum is made to match.
    pub(crate) forgery: u64,
    pub(crate) delay: Duration,
    /// Up to this long is added to the delay, drawn for each packet: so they overtake each other.
    pub(crate) jitter: Duration,
    /// The MTU of a link in between, if it is smaller than those at the ends.
    pub(crate) path_mtu: Option<u16>,
    /// Whether the sender of a packet that is too large for that link is told.
    pub(crate) tells_path_mtu: bool,
}

impl Treatment {
    /// A network without fault.
    pub(crate) const NONE: Treatment = Treatment {
        loss: 0,
        duplication: 0,
        corruption: 0,
        forgery: 0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        path_mtu: None,
        tells_path_mtu: false,
    };
    /// A network that no packet gets through.
    pub(crate) const HOLE: Treatment = Treatment { loss: 1000, ..Treatment::NONE };
}

/// What happened to TCP packets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) packets: u64,
    pub(crate) lost: u64,
    pub(crate) duplicated: u64,
    pub(crate) corrupted: u64,
    pub(crate) forged: u64,
    pub(crate) delayed: u64,
    /// They arrived after one that was sent later.
    pub(crate) overtaken: u64,
    /// They were too large for the path.
    pub(crate) too_large: u64,
    /// The device that they were for did not take them, because its link was down.
    pub(crate) refused: u64,
    /// They were exactly [`SMALL_MTU`](super::SMALL_MTU) long, and longer.
    pub(crate) of_small_mtu: u64,
    pub(crate) above_small_mtu: u64,
}

impl Tally {
    /// All that is no trait of a network without fault.
    pub(crate) fn faults(&self) -> u64 {
        let changed = self.lost + self.duplicated + self.corrupted + self.forged;
        changed + self.delayed + self.overtaken + self.too_large + self.refused
    }
}

/// A change in mid-run: something is done while no packet moves, and from then on packets are treated in another way.
pub(crate) struct Turn {
    /// When this many packets have been carried …
    pub(crate) at: u64,
    /// … and the server has sent data on this many connections: one that is still opening takes a change differently.
    pub(crate) answered: usize,
    pub(crate) act: Box<dyn FnOnce() + Send>,
    pub(crate) then: Treatment,
}

/// The two ways through the network, by the index of the device that packets come from.
type Way = usize;
const FROM_SERVER: Way = 1;

/// A relay that runs until it is ended or dropped.
pub(crate) struct PacketRelay {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<Tally>>,
}

impl PacketRelay {
    /// Starts a relay between these devices. The channel tells of the turn.
    pub(super) fn start(devices: [File; 2], treatment: Treatment, turn: Option<Turn>) -> (PacketRelay, Receiver<()>) {
        let (stopped, stop) = std::io::pipe().expect("a pipe can be made");
        let (turned, turning) = channel();
        let work = Relaying {
            devices,
            treatment,
            turn: turn.map(|turn| (turn, turned)),
            answered: BTreeSet::new(),
            dice: SEED,
            tally: Tally::default(),
            under_way: BinaryHeap::new(),
            taken: 0,
            newest: [0; 2],
        };
        let thread = thread::spawn(move || work.run(&stopped));
        (PacketRelay { stop: Some(stop), thread: Some(thread) }, turning)
    }

    /// Ends the relay.
    pub(super) fn end(&mut self) -> Tally {
        self.stop.take();
        self.thread.take().expect("it is ended once").join().expect("the relay does not panic")
    }
}

impl Drop for PacketRelay {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // If it has panicked, that was printed, and this may be a panic already.
            let _ = thread.join();
        }
    }
}

/// A packet on its way: when it arrives, which it is in the order in which they were sent, and where it comes from.
type UnderWay = Reverse<(Instant, u64, Way, Vec<u8>)>;

struct Relaying {
    devices: [File; 2],
    treatment: Treatment,
    turn: Option<(Turn, Sender<()>)>,
    /// The client's ports that the server has sent data to, until the turn.
    answered: BTreeSet<u16>,
    dice: u64,
    tally: Tally,
    under_way: BinaryHeap<UnderWay>,
    /// How many packets were taken so far.
    taken: u64,
    /// Of each way, the number of the newest packet that has arrived.
    newest: [u64; 2],
}

impl Relaying {
    fn run(mut self, stopped: &PipeReader) -> Tally {
        let mut buffer = vec![0; MAX_PACKET];
        while self.wait(stopped) {
            for from in 0..self.devices.len() {
                // It would wait, or its link is down.
                while let Ok(length) = (&self.devices[from]).read(&mut buffer) {
                    self.take(from, &buffer[..length]);
                }
            }
            self.deliver();
        }
        self.tally
    }

    /// Waits for a packet, or until one is due. False: the relay is to end.
    fn wait(&self, stopped: &PipeReader) -> bool {
        let [client, server] = &self.devices;
        let mut waits = [
            PollFd::new(client, PollFlags::IN),
            PollFd::new(server, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        let due = self.under_way.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
        let timeout = due.map(|due| Timespec { tv_sec: due.as_secs() as _, tv_nsec: due.subsec_nanos() as _ });
        poll(&mut waits, timeout.as_ref()).expect("the descriptors are open");
        waits[2].revents().is_empty()
    }

    /// Whether something happens whose chance in 1,000 this is.
    fn draws(&mut self, chance: u64) -> bool {
        below(split_mix(&mut self.dice), 1000) < chance
    }

    /// Treats a packet that was sent.
    fn take(&mut self, from: Way, sent: &[u8]) {
        if !packet::is_tcp(sent) {
            self.send(from, sent.to_vec());
            return;
        }
        self.tally.packets += 1;
        self.turn_if_due();
        if self.turn.is_some() && from == FROM_SERVER && packet::payload(sent) < sent.len() {
            self.answered.insert(packet::destination_port(sent));
        }
        let small = usize::from(super::SMALL_MTU);
        self.tally.of_small_mtu += u64::from(sent.len() == small);
        self.tally.above_small_mtu += u64::from(sent.len() > small);
        if self.is_too_large(from, sent) {
            return;
        }
        if self.draws(self.treatment.loss) {
            self.tally.lost += 1;
            return;
        }
        if self.draws(self.treatment.duplication) {
            self.tally.duplicated += 1;
            self.send(from, sent.to_vec());
        }
        let changed = self.changed(sent);
        self.send(from, changed);
    }

    fn turn_if_due(&mut self) {
        let is_due = |turn: &Turn| self.tally.packets > turn.at && self.answered.len() >= turn.answered;
        if let Some((turn, turned)) = self.turn.take_if(|(turn, _)| is_due(turn)) {
            (turn.act)();
            self.treatment = turn.then;
            // Not every test waits for it.
            let _ = turned.send(());
        }
    }

    /// Drops a packet that is too large for the path, and tells its sender, if that is the script.
    fn is_too_large(&mut self, from: Way, sent: &[u8]) -> bool {
        let Some(mtu) = self.treatment.path_mtu.filter(|mtu| sent.len() > usize::from(*mtu)) else { return false };
        assert!(packet::must_not_be_fragmented(sent), "this relay cuts no packets into fragments");
        self.tally.too_large += 1;
        if self.treatment.tells_path_mtu {
            self.send(1 - from, packet::too_large(sent, mtu));
        }
        true
    }

    /// The packet with what the script does to its bits.
    fn changed(&mut self, sent: &[u8]) -> Vec<u8> {
        let mut changed = sent.to_vec();
        let data = packet::payload(sent);
        if self.draws(self.treatment.corruption) {
            self.tally.corrupted += 1;
            // By its first byte the device already tells IPv4 from IPv6.
            self.flip_a_bit(&mut changed[1..]);
        }
        if self.draws(self.treatment.forgery) && data < sent.len() {
            self.tally.forged += 1;
            self.flip_a_bit(&mut changed[data..]);
            packet::mend_checksum(&mut changed);
        }
        changed
    }

    fn flip_a_bit(&mut self, bytes: &mut [u8]) {
        let bit = below(split_mix(&mut self.dice), bytes.len() as u64 * 8);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
    }

    /// Sends a packet on its way through the network.
    fn send(&mut self, from: Way, packet: Vec<u8>) {
        let jitter = u64::try_from(self.treatment.jitter.as_nanos()).expect("a jitter is short");
        let delay = self.treatment.delay + Duration::from_nanos(below(split_mix(&mut self.dice), jitter.max(1)));
        self.tally.delayed += u64::from(delay > Duration::ZERO);
        self.taken += 1;
        self.under_way.push(Reverse((Instant::now() + delay, self.taken, from, packet)));
    }

    /// Hands over the packets that are due.
    fn deliver(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((_, number, from, packet))) =
            self.under_way.peek().filter(|Reverse((due, ..))| *due <= now).cloned()
        {
            self.under_way.pop();
            self.tally.overtaken += u64::from(number < self.newest[from]);
            self.newest[from] = self.newest[from].max(number);
            // Its link is down: then a packet is lost, as in any network.
            self.tally.refused += u64::from((&self.devices[1 - from]).write(&packet).is_err());
        }
    }
}
