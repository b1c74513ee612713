//! What a world is like: drawn from its seed before it begins.

#![cfg(all(test, unix))]

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::dice::Dice;
use super::kernel::{LinkEnd, Moods};
use super::way::{LinkWay, WayFault};
use crate::config::{Fragment, LoadArgs};
use crate::plan::{Close, ConnectionPlan, ExpectedEcho, PlanStep, Profile, Read, Slots};
use crate::units::{Count, Time};

/// Whether something is wrong with the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// Nothing.
    Clean,
    /// One fault, or one on each of several connections.
    Faulty,
}

/// What a world is like.
pub(super) struct WorldPlan {
    pub(super) seed: u64,
    pub(super) groups: Vec<Arc<Profile>>,
    pub(super) moods: Moods,
    pub(super) server_buffer: usize,
    /// The server's wait reports each thing once, as WSAAsyncSelect does, and not for as long as it lasts.
    pub(super) server_is_noticed: bool,
    /// How often in a thousand steps something is reported that does not hold.
    pub(super) spurious: usize,
    /// The most time, in nanoseconds, that passes with one step, and with one reading of the clock.
    pub(super) most_step_ns: u64,
    pub(super) tick: u64,
    pub(super) schedule_begins: Option<u64>,
    /// The run is stopped after this many steps.
    pub(super) stops_after: u64,
    /// Two connections that swap bytes, and the way on which they do.
    pub(super) swap: Option<[usize; 2]>,
    pub(super) swap_way: LinkEnd,
    /// For each connection, what is wrong with it, on which way, and where.
    pub(super) faults: Vec<Option<(WayFault, LinkEnd, u64)>>,
    /// Bytes that each connection sends if nothing stops it.
    pub(super) totals: Vec<u64>,
    buffers: usize,
}

impl WorldPlan {
    pub(super) fn new(seed: u64, nature: Nature) -> WorldPlan {
        let dice = Dice::new(seed);
        // Large messages in tiny buffers only take long.
        let scale = dice.up_to(3000);
        let buffers = dice.up_to(8192).max(scale / 24);
        let groups: Vec<Arc<Profile>> = (0..dice.below(2) + 1).map(|_| Arc::new(load(&dice, scale, nature))).collect();
        let totals = totals(&groups, seed);
        let trouble = |dice: &Dice| if dice.chance(500) { 0 } else { dice.up_to(400) };
        let server_is_noticed = dice.chance(300);
        let mut plan = WorldPlan {
            seed,
            moods: Moods {
                // Windows, which has such notices, interrupts no call that does not block.
                interrupted: if server_is_noticed { 0 } else { trouble(&dice) },
                would_block: trouble(&dice),
                partial: trouble(&dice) * 2,
                reset_discards: dice.chance(500),
            },
            server_buffer: dice.up_to(4096).max(scale / 24),
            server_is_noticed,
            spurious: if dice.chance(700) { 0 } else { dice.up_to(200) },
            most_step_ns: dice.pick(&[1, 1_000, 100_000, 4_000_000]),
            tick: dice.pick(&[0, 1, 1_000]),
            schedule_begins: groups.iter().any(|group| group.rate.is_some()).then(|| dice.below(1_000_000) as u64),
            stops_after: if nature == Nature::Clean && dice.chance(50) { dice.up_to(400) as u64 } else { u64::MAX },
            swap: None,
            swap_way: dice.pick(&[LinkEnd::Client, LinkEnd::Server]),
            faults: vec![None; totals.len()],
            totals,
            groups,
            buffers,
        };
        if nature == Nature::Faulty {
            plan.draw_faults(&dice);
        }
        plan
    }

    fn draw_faults(&mut self, dice: &Dice) {
        let conns = self.totals.len();
        if conns > 1 && dice.chance(150) {
            let one = dice.below(conns);
            let two = (one + 1 + dice.below(conns - 1)) % conns;
            let len = dice.up_to(300);
            for index in [one, two] {
                let at = dice.below(self.totals[index] as usize) as u64;
                self.faults[index] = Some((WayFault::Swap(len), self.swap_way, at));
            }
            self.swap = Some([one, two]);
            return;
        }
        let one = dice.below(conns);
        for index in 0..conns {
            if index == one || dice.chance(200) {
                let fault = fault(dice);
                // Behind the last byte only an end can go wrong, or a byte be too many.
                let ends = matches!(fault, WayFault::Insert(_) | WayFault::Stand | WayFault::Swallow);
                let ends = ends && self.close_of(index) == Close::HalfClose;
                let at = dice.below(self.totals[index] as usize + usize::from(ends)) as u64;
                self.faults[index] = Some((fault, dice.pick(&[LinkEnd::Client, LinkEnd::Server]), at));
            }
        }
    }

    pub(super) fn close_of(&self, index: usize) -> Close {
        let mut of = self.groups.iter().flat_map(|group| std::iter::repeat_n(group, group.conns as usize));
        of.nth(index).expect("every connection has a group").close
    }

    /// Both ways of a connection.
    pub(super) fn ways(&self, index: usize) -> [LinkWay; 2] {
        [LinkEnd::Client, LinkEnd::Server].map(|end| {
            let noise = self.seed ^ ((index as u64) << 8) ^ end as u64;
            let mut way = LinkWay::new(self.buffers, self.buffers, noise);
            if let Some((fault, _, at)) = self.faults[index].filter(|(_, on, _)| *on == end) {
                way.plan(fault, at);
            }
            way
        })
    }
}

/// A load. In a faulty world it is one that asserts every byte, so that a fault cannot hide behind it.
fn load(dice: &Dice, scale: usize, nature: Nature) -> Profile {
    loop {
        // Combinations that make no sense are refused.
        if let Some(profile) = any_load(dice, scale, nature) {
            return profile;
        }
    }
}

fn any_load(dice: &Dice, scale: usize, nature: Nature) -> Option<Profile> {
    let is_clean = nature == Nature::Clean;
    let closes: &[Close] = if is_clean {
        &[
            Close::HalfClose,
            Close::AfterEcho,
            Close::Reset,
            Close::HalfCloseReset,
            Close::Abandon,
            Close::ShutdownRead,
            Close::ShutdownBoth,
            Close::Together,
            Close::Keep,
        ]
    } else {
        &[Close::HalfClose, Close::Keep, Close::AfterEcho, Close::Together]
    };
    // Half of the loads are the plain case.
    let close = if dice.chance(500) { Close::HalfClose } else { dice.pick(closes) };
    let (pause, rate) = (Duration::from_millis(dice.up_to(3000) as u64), dice.up_to(1_000_000).max(500) as u64);
    let odd = [Read::Pause(pause), Read::Dribble(pause), Read::Slow { bytes_per_second: rate }, Read::AfterStall];
    let reads = match dice.below(10) {
        0..6 => Read::Normal,
        9 if is_clean => Read::Never,
        _ => dice.pick(&odd),
    };
    let args = LoadArgs {
        conns: Some(Count(dice.up_to(3) as u64)),
        messages: Some(Count(dice.up_to(8) as u64)),
        size: read(format!("1..{scale}")),
        fragment: if dice.chance(400) { read("off".to_owned()) } else { fragment(dice, scale) },
        gap: if dice.chance(600) { None } else { read(format!("0..{}us", dice.up_to(5000))) },
        pipeline: read(dice.up_to(9).to_string()),
        rate: if dice.chance(850) { None } else { read(format!("{}/s", dice.up_to(2000))) },
        read: Some(reads),
        close: Some(close),
        duration: if is_clean && dice.chance(100) { Some(Time(pause)) } else { None },
        stall_timeout: Some(Time(Duration::from_secs(60))),
        grace: Some(Time(Duration::from_secs(600))),
        ..LoadArgs::default()
    };
    args.resolve("load").ok()
}

/// A value as a person writes it.
fn read<T: FromStr>(text: String) -> Option<T> {
    text.parse().ok()
}

fn fragment(dice: &Dice, scale: usize) -> Option<Fragment> {
    let least = (scale / 64).max(1);
    read(format!("{least}..{}", least + dice.up_to(scale)))
}

fn fault(dice: &Dice) -> WayFault {
    let len = || dice.up_to(300);
    match dice.below(14) {
        0 | 1 => WayFault::Lose(len()),
        2 | 3 => WayFault::Duplicate(len()),
        4 | 5 => WayFault::Change(len()),
        6 | 7 => WayFault::Reorder(len(), len()),
        8 => WayFault::Insert(len()),
        9 => WayFault::Cut,
        10 => WayFault::LoseRest,
        11 => WayFault::Stand,
        12 => WayFault::Swallow,
        _ => WayFault::Reset,
    }
}

/// Bytes that each connection of these loads sends.
fn totals(groups: &[Arc<Profile>], seed: u64) -> Vec<u64> {
    let slots = Slots::new(groups.iter().map(|group| &**group)).expect("there are ids for so few connections");
    let total = |index| {
        let slot = slots.slot(index);
        let conn = slots.id(slot, 0).expect("the slot has a first connection");
        let plan = ConnectionPlan::new(Arc::clone(&groups[slot.group as usize]), seed, slot, conn);
        let len = |step| if let PlanStep::Message { len, .. } = step { len } else { 0 };
        plan.map(len).sum()
    };
    (0..slots.total()).map(total).collect()
}

/// Whether every byte of this load is asserted.
pub(super) fn is_exact(profile: &Profile) -> bool {
    profile.expected_echo() == ExpectedEcho::Exact
}
