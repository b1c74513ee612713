//! Which connection belongs to which load group, by arithmetic alone.
//!
//! A run has a fixed number of *slots*: one for each connection that is open at a time, the groups one after the other,
//! the same in all shards. What slot `s` opens as its `g`-th connection (a reconnect is the next generation) has the id
//! `s + g * total`. So the id alone tells slot, group and plan, and no two connections of a run, in whatever process,
//! share an id.

use std::fmt;
use std::str::FromStr;

use super::profile::Profile;
use super::words::Reconnect;
use crate::bytes::ConnId;
use crate::units::text::text_form;

/// How many connection ids there are: the stream has 24 bits for them.
pub const MAX_CONNECTIONS: u32 = ConnId::MAX.get() + 1;

/// A place for one open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Its number in the run, from 0.
    pub number: u32,
    /// The number of its load group, from 0.
    pub group: u32,
    /// Its number in its group, from 0.
    pub index: u32,
}

/// A process's share of a run: its number, from 0, and how many processes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// The slots of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// For each group the number of its first slot, and at the end the total.
    starts: Vec<u32>,
    /// For each group how often it lets a slot connect, if it says so.
    connects: Vec<Option<u32>>,
}

/// Why a run's connections can't be numbered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotsError {
    /// More slots than ids.
    #[error("{conns} connections are more than the {MAX_CONNECTIONS} that one run can tell apart: run several")]
    TooManyConnections {
        /// All groups together.
        conns: u64,
    },
    /// More reconnects than ids are left for.
    #[error(
        "{conns} connections, {times} times reconnected, need more than the {MAX_CONNECTIONS} connections that one run \
         can tell apart: reconnect at most {most} times"
    )]
    TooManyReconnects {
        /// All groups together.
        conns: u32,
        /// As asked for.
        times: u32,
        /// What there is room for.
        most: u32,
    },
    /// An id that no connection of this run can have.
    #[error(
        "there is no connection {conn} in this run: it opens {total} at a time, each at most {generations} times, and \
         numbers them from 0"
    )]
    NoSuchConnection {
        /// As asked for.
        conn: u32,
        /// All groups together.
        total: u32,
        /// How often the slot of this id opens a connection.
        generations: u32,
    },
}

impl Slots {
    /// The slots of these groups, in this order. Errors when there are not enough ids.
    pub fn new<'a>(groups: impl IntoIterator<Item = &'a Profile>) -> Result<Self, SlotsError> {
        let (mut starts, mut connects) = (vec![0], Vec::new());
        let mut total = 0u64;
        for group in groups {
            total += u64::from(group.conns);
            match u32::try_from(total) {
                Ok(end) if end <= MAX_CONNECTIONS => starts.push(end),
                _ => return Err(SlotsError::TooManyConnections { conns: total }),
            }
            connects.push(match group.reconnect {
                Reconnect::Off => Some(1),
                Reconnect::Times(times) => Some(times.saturating_add(1)),
                Reconnect::Forever => None,
            });
        }
        let slots = Slots { starts, connects };
        match slots.connects.iter().flatten().max() {
            Some(&most) if most > slots.generations() => Err(SlotsError::TooManyReconnects {
                conns: slots.total(),
                times: most - 1,
                most: slots.generations() - 1,
            }),
            _ => Ok(slots),
        }
    }

    /// How many there are, in all groups and all shards.
    pub fn total(&self) -> u32 {
        *self.starts.last().expect("starts holds at least the 0 of the first group")
    }

    /// How many groups there are.
    pub fn groups(&self) -> u32 {
        (self.starts.len() - 1) as u32
    }

    /// How many connections each slot can open before the ids run out.
    fn generations(&self) -> u32 {
        MAX_CONNECTIONS / self.total().max(1)
    }

    /// How many connections this slot opens: as many as its group wants, or until the ids run out.
    fn connects(&self, slot: Slot) -> u32 {
        self.connects[slot.group as usize].unwrap_or_else(|| self.generations())
    }

    /// The id of the `generation`-th connection of a slot; `None` when there is no such, because its group wants no
    /// more or the ids have run out.
    pub fn id(&self, slot: Slot, generation: u32) -> Option<ConnId> {
        if generation < self.connects(slot) { ConnId::new(slot.number + generation * self.total()) } else { None }
    }

    /// The slot and the generation that this id belongs to. Errors when the run never opens such a connection.
    pub fn of(&self, conn: ConnId) -> Result<(Slot, u32), SlotsError> {
        let (conn, total) = (conn.get(), self.total());
        let Some(generation) = conn.checked_div(total) else {
            return Err(SlotsError::NoSuchConnection { conn, total, generations: 0 });
        };
        let slot = self.slot(conn % total);
        match self.connects(slot) {
            generations if generation < generations => Ok((slot, generation)),
            generations => Err(SlotsError::NoSuchConnection { conn, total, generations }),
        }
    }

    /// The slot of this number, which must be below [`total`](Self::total).
    pub fn slot(&self, number: u32) -> Slot {
        let group = self.starts.partition_point(|&start| start <= number) - 1;
        Slot { number, group: group as u32, index: number - self.starts[group] }
    }

    /// The slots of one process, in order.
    pub fn of_shard(&self, shard: Shard) -> impl Iterator<Item = Slot> {
        (shard.index..self.total()).step_by(shard.count as usize).map(|number| self.slot(number))
    }
}

impl Shard {
    /// The only one.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Its number, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many there are.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The process of the same run that has this slot.
    pub fn of_slot(self, slot: Slot) -> Shard {
        Shard { index: slot.number % self.count, count: self.count }
    }
}

/// Why a shard could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ShardError(String);

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let parsed = text.trim().split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            None => Err(ShardError(format!("{text} is not a shard: write 0/4 for the first of four processes"))),
            Some((_, 0)) => Err(ShardError("there are no shards of 0: write 0/1 for the only one".to_owned())),
            Some((index, count)) if index >= count => Err(ShardError(format!(
                "there is no shard {index} of {count}: they count from 0, so 0/{count} to {}/{count}",
                count - 1
            ))),
            Some((index, count)) => Ok(Shard { index, count }),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

text_form!(
    Shard,
    "Shard",
    "a process's share of the run: 0/4 to 3/4 for four processes",
    r"^\s*[0-9]+/[0-9]+\s*$",
    ["0/4", "3/4"]
);

#[cfg(test)]
mod tests {
    use super::super::profile::tests::profile;
    use super::*;
    use proptest::prelude::*;

    fn groups(conns: &[u32]) -> Vec<Profile> {
        conns.iter().map(|&conns| Profile { conns, reconnect: Reconnect::Forever, ..profile() }).collect()
    }

    fn conn(id: u32) -> ConnId {
        ConnId::new(id).expect("a small id")
    }

    fn slots(conns: &[u32]) -> Slots {
        Slots::new(&groups(conns)).expect("few enough")
    }

    #[test]
    fn groups_follow_one_another_and_reconnects_follow_all_of_them() {
        let slots = slots(&[2, 3]);
        assert_eq!((slots.total(), slots.groups()), (5, 2));
        let first_of_second = Slot { number: 2, group: 1, index: 0 };
        assert_eq!(slots.slot(2), first_of_second);
        assert_eq!(slots.id(first_of_second, 0), ConnId::new(2));
        assert_eq!(slots.id(first_of_second, 1), ConnId::new(7));
        assert_eq!(slots.of(conn(7)), Ok((first_of_second, 1)));
    }

    #[test]
    fn a_group_of_none_takes_no_slot() {
        assert_eq!(slots(&[1, 0, 1]).slot(1), Slot { number: 1, group: 2, index: 0 });
        assert_eq!(slots(&[]).total(), 0);
        assert!(slots(&[]).of(conn(0)).is_err());
    }

    #[test]
    fn shards_part_the_slots_among_them_and_lose_none() {
        let slots = slots(&[4, 7]);
        let mut numbers: Vec<u32> = Vec::new();
        for shard in ["0/3", "1/3", "2/3"] {
            numbers.extend(slots.of_shard(shard.parse().expect("a shard")).map(|slot| slot.number));
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..11).collect::<Vec<_>>());
        assert_eq!(slots.of_shard(Shard::WHOLE).count(), 11);
    }

    #[test]
    fn ids_run_out_and_never_repeat_or_pass_24_bits() {
        let slots = slots(&[MAX_CONNECTIONS / 2 - 1]);
        assert_eq!(slots.generations(), 2);
        let last = slots.slot(slots.total() - 1);
        assert!(slots.id(last, 1).expect("the second generation") <= ConnId::MAX);
        assert_eq!(slots.id(last, 2), None);
        assert!(slots.of(ConnId::MAX).is_err(), "left over by the division");
    }

    #[test]
    fn an_id_that_the_run_never_opens_is_none_of_it() {
        let once = Profile { conns: 5, ..profile() };
        let twice = Profile { conns: 1, reconnect: Reconnect::Times(1), ..profile() };
        let slots = Slots::new([&once, &twice]).expect("few enough");
        assert_eq!(slots.of(conn(11)), Ok((Slot { number: 5, group: 1, index: 0 }, 1)));
        assert_eq!(slots.of(conn(17)), Err(SlotsError::NoSuchConnection { conn: 17, total: 6, generations: 2 }));
        assert_eq!(slots.id(slots.slot(5), 2), None);
        assert_eq!(
            slots.of(conn(6)).expect_err("the first group does not reconnect").to_string(),
            "there is no connection 6 in this run: it opens 6 at a time, each at most 1 times, and numbers them from 0"
        );
    }

    #[test]
    fn too_many_are_refused_with_what_there_is_room_for() {
        let error = Slots::new(&groups(&[MAX_CONNECTIONS, 1])).expect_err("one too many");
        assert_eq!(error, SlotsError::TooManyConnections { conns: u64::from(MAX_CONNECTIONS) + 1 });

        let churning = Profile { conns: 1 << 20, reconnect: Reconnect::Times(16), ..profile() };
        let error = Slots::new([&churning]).expect_err("one reconnect too many");
        assert_eq!(error, SlotsError::TooManyReconnects { conns: 1 << 20, times: 16, most: 15 });
        let churning = Profile { reconnect: Reconnect::Times(15), ..churning };
        assert!(Slots::new([&churning]).is_ok());
    }

    #[test]
    fn a_shard_is_refused_when_there_is_none_such() {
        let refusal = |text: &str| text.parse::<Shard>().expect_err(text).to_string();
        assert_eq!(refusal("4/4"), "there is no shard 4 of 4: they count from 0, so 0/4 to 3/4");
        assert_eq!(refusal("0/0"), "there are no shards of 0: write 0/1 for the only one");
        assert_eq!(refusal("2"), "2 is not a shard: write 0/4 for the first of four processes");
    }

    proptest! {
        #[test]
        fn an_id_leads_back_to_its_slot_and_generation(
            conns in prop::collection::vec(0u32..5000, 1..6), pick: u32, generation in 0u32..100
        ) {
            let slots = slots(&conns);
            prop_assume!(slots.total() > 0);
            let slot = slots.slot(pick % slots.total());
            let id = slots.id(slot, generation).expect("room for a hundred generations");
            prop_assert_eq!(slots.of(id), Ok((slot, generation)));
            prop_assert!(slot.index < conns[slot.group as usize]);
        }
    }
}
