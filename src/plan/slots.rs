//! Which connection belongs to which load group, by arithmetic alone.
//!
//! A run has a fixed number of *slots*: one for each connection that is open at a time, group after group, the same in
//! all shards. The first connection of slot `s` has the id `s`. Then come the ids of the reconnects, generation by
//! generation. A generation has only the slots of groups that reconnect, so the ids last as long as possible. The id
//! alone tells slot, group and plan, and no two connections of a run share an id, whichever process opens them.
//!
//! The ids below the number of slots, which is below 2^24, have words that no other connection shares. The ids from
//! there to 2^24 share theirs with greater ids (see `stream::pattern`), so there are enough for a churn of days, with
//! 64 GiB each. The greater ids that would share words with the first connections of slots are left out.

use std::fmt;
use std::str::FromStr;

use super::options::Reconnect;
use super::profile::Profile;
use crate::stream::{ConnId, MAX_SHARED_STREAM_BYTES, MAX_STREAM_BYTES};
use crate::units::text::{Form, TextForm, text_form};
use crate::units::{ParseError, counted};

/// How many connections can be open at a time. Each has words that no other connection shares.
pub const MAX_CONNECTIONS: u32 = ConnId::PERIOD;

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

/// One process's share of a run: its number, from 0, and how many processes there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// The slots of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The number of the first slot of each group, and the total at the end.
    starts: Vec<u32>,
    /// The same, counting only the slots of groups that reconnect.
    reconnecting_starts: Vec<u32>,
    /// How often each group lets a slot connect. None: without a limit.
    connects: Vec<Option<u32>>,
}

/// Why the connections of a run cannot be numbered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlotsError {
    /// There are more slots than ids.
    #[error("{conns} connections are more than the {MAX_CONNECTIONS} that one run can tell apart: make several runs")]
    TooManyConnections {
        /// All groups together.
        conns: u64,
    },
    /// There are not enough ids left for the reconnects.
    #[error(
        "{times} reconnects of {} are more than one run can tell apart: let them reconnect at most {most} times",
        counted(u64::from(*conns), "connection")
    )]
    TooManyReconnects {
        /// All groups that reconnect together.
        conns: u32,
        /// As asked for.
        times: u32,
        /// As often as there are ids for.
        most: u32,
    },
    /// No connection of this run can have this id.
    #[error("there is no connection {conn} in this run: {}", numbering(*total, *again, *times))]
    NoSuchConnection {
        /// As asked for.
        conn: u32,
        /// All groups together.
        total: u32,
        /// How many of them reconnect.
        again: u32,
        /// How often the slot that would have this id reconnects.
        times: u32,
    },
}

/// Says which connections a run has.
fn numbering(total: u32, again: u32, times: u32) -> String {
    let first = format!("it opens {total} at a time, numbered from 0");
    match again {
        0 => first,
        _ => format!("{first}, and reopens {again} of them at most {times} times"),
    }
}

impl Slots {
    /// The slots of these groups, in this order.
    ///
    /// # Errors
    /// If there are not enough ids.
    pub fn new<'a>(groups: impl IntoIterator<Item = &'a Profile>) -> Result<Self, SlotsError> {
        let mut slots = Slots { starts: vec![0], reconnecting_starts: vec![0], connects: Vec::new() };
        let (mut total, mut again, mut times) = (0u64, 0, 0);
        for group in groups {
            total += u64::from(group.conns);
            match u32::try_from(total) {
                Ok(end) if end <= MAX_CONNECTIONS => slots.starts.push(end),
                _ => return Err(SlotsError::TooManyConnections { conns: total }),
            }
            // A group that reconnects for ever must have ids to do so once at least.
            let (connects, at_least) = match group.reconnect {
                Reconnect::Off => (Some(1), 0),
                Reconnect::Times(n) => (Some(n.saturating_add(1)), n),
                Reconnect::Forever => (None, 1),
            };
            if group.conns > 0 && at_least > 0 {
                again += group.conns;
                times = times.max(at_least);
            }
            slots.reconnecting_starts.push(again);
            slots.connects.push(connects);
        }
        let most = slots.reconnects();
        if times > most { Err(SlotsError::TooManyReconnects { conns: again, times, most }) } else { Ok(slots) }
    }

    /// How many slots there are, in all groups and all shards.
    pub fn total(&self) -> u32 {
        *self.starts.last().expect("the list starts with the 0 of the first group")
    }

    /// How many slots belong to groups that reconnect.
    fn reconnecting(&self) -> u32 {
        *self.reconnecting_starts.last().expect("the list starts with the 0 of the first group")
    }

    /// How many groups there are.
    pub fn groups(&self) -> u32 {
        (self.starts.len() - 1) as u32
    }

    /// How many ids in each round have words that they share.
    fn shared(&self) -> u32 {
        ConnId::PERIOD - self.total()
    }

    /// How often each slot of a group that reconnects can do so before the ids run out.
    pub fn reconnects(&self) -> u32 {
        (self.shared() * (ConnId::MAX.round() + 1)).checked_div(self.reconnecting()).unwrap_or(0)
    }

    /// How many connections this slot opens: as many as its group asks for, or until the ids run out.
    fn connects(&self, slot: Slot) -> u32 {
        self.connects[slot.group as usize].unwrap_or_else(|| self.reconnects() + 1)
    }

    /// The id of a slot's connection of this generation, counted from 0. `None` if there is none, because its group
    /// asks for no more or the ids have run out.
    pub fn id(&self, slot: Slot, generation: u32) -> Option<ConnId> {
        if generation >= self.connects(slot) {
            return None;
        }
        let Some(before) = generation.checked_sub(1) else { return ConnId::new(slot.number) };
        let nth = before * self.reconnecting() + self.reconnecting_starts[slot.group as usize] + slot.index;
        let (round, index) = (nth / self.shared(), nth % self.shared());
        ConnId::new(round * ConnId::PERIOD + self.total() + index)
    }

    /// The slot and the generation that this id belongs to.
    ///
    /// # Errors
    /// If the run never opens such a connection.
    pub fn of(&self, conn: ConnId) -> Result<(Slot, u32), SlotsError> {
        let (total, again) = (self.total(), self.reconnecting());
        if conn.get() < total {
            return Ok((self.slot(conn.get()), 0));
        }
        let none = |times| SlotsError::NoSuchConnection { conn: conn.get(), total, again, times };
        // Its index among all reconnects of the run.
        let nth = conn.base().checked_sub(total).map(|index| conn.round() * self.shared() + index);
        let Some(nth) = nth.filter(|_| again > 0) else { return Err(none(0)) };
        let (before, number) = (nth / again, nth % again);
        let group = group_of(&self.reconnecting_starts, number);
        let slot = self.slot(self.starts[group] + number - self.reconnecting_starts[group]);
        let times = self.connects(slot) - 1;
        if before < times { Ok((slot, before + 1)) } else { Err(none(times)) }
    }

    /// How many bytes the stream of this connection can have.
    pub fn stream_max(&self, conn: ConnId) -> u64 {
        if conn.get() < self.total() { MAX_STREAM_BYTES } else { MAX_SHARED_STREAM_BYTES }
    }

    /// The slot of this number, which must be below [`total`](Self::total).
    pub fn slot(&self, number: u32) -> Slot {
        let group = group_of(&self.starts, number);
        Slot { number, group: group as u32, index: number - self.starts[group] }
    }

    /// The slots of one process, in order.
    pub fn of_shard(&self, shard: Shard) -> impl Iterator<Item = Slot> {
        (shard.index..self.total()).step_by(shard.count as usize).map(|number| self.slot(number))
    }
}

/// The group that a number belongs to, given where each group starts.
fn group_of(starts: &[u32], number: u32) -> usize {
    starts.partition_point(|&start| start <= number) - 1
}

/// Sanity limit on the shard count: a number that a report contains must not make a list of four billion.
const MAX_SHARDS: u32 = 1 << 16;

impl Shard {
    /// The only shard of a run.
    pub const WHOLE: Shard = Shard { index: 0, count: 1 };

    /// Its number, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// How many shards the run has.
    pub fn count(self) -> u32 {
        self.count
    }

    /// The shard of the same run that this slot belongs to.
    pub fn of_slot(self, slot: Slot) -> Shard {
        Shard { index: slot.number % self.count, count: self.count }
    }
}

impl FromStr for Shard {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let parsed = text.trim().split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parsed {
            None => Err(ParseError::new(format!("{text} is not a shard"))
                .with_remedy("write 0/4 for the first of four processes")),
            Some((_, 0)) => {
                Err(ParseError::new("a run has at least 1 shard").with_remedy("write 0/1 for the only one"))
            }
            Some((_, count)) if count > MAX_SHARDS => {
                Err(ParseError::new(format!("{text}: a run cannot have {count} shards"))
                    .with_remedy(format!("the most is {MAX_SHARDS}")))
            }
            Some((index, count)) if index >= count => {
                Err(ParseError::new(format!("there is no shard {index} of {count}"))
                    .with_remedy(format!("they count from 0, so 0/{count} to {}/{count}", count - 1)))
            }
            Some((index, count)) => Ok(Shard { index, count }),
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl TextForm for Shard {
    const WHAT: &'static str = "a process's share of the run such as";

    fn forms() -> Vec<Form> {
        let pattern = r"\+?[0-9]+/\+?[0-9]+";
        vec![Form::new("0/4", pattern).meaning("the first of four processes"), Form::new("3/4", pattern)]
    }
}

text_form!(Shard);

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
        Slots::new(&groups(conns)).expect("there are ids for every slot")
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
    fn a_group_without_connections_takes_no_slot() {
        assert_eq!(slots(&[1, 0, 1]).slot(1), Slot { number: 1, group: 2, index: 0 });
        assert_eq!(slots(&[]).total(), 0);
        assert!(slots(&[]).of(conn(0)).is_err());
        let never = Profile { conns: 0, reconnect: Reconnect::Times(u32::MAX), ..profile() };
        assert!(Slots::new([&never, &groups(&[0])[0]]).is_ok(), "and no ids to reconnect");
    }

    #[test]
    fn shards_divide_the_slots_and_lose_none() {
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
    fn only_groups_that_reconnect_take_ids_for_it() {
        let steady = Profile { conns: 2000, ..profile() };
        let churn = Profile { conns: 20, reconnect: Reconnect::Forever, ..profile() };
        let twice = Profile { conns: 5, reconnect: Reconnect::Times(2), ..profile() };
        let slots = Slots::new([&churn, &steady, &twice]).expect("there are ids for every slot");
        assert_eq!(slots.reconnects(), (MAX_CONNECTIONS - 2025) * 128 / 25, "85 million");
        let (first, last) = (slots.slot(0), slots.slot(2024));
        assert_eq!([0, 1, 2].map(|generation| slots.id(first, generation)), [0, 2025, 2050].map(ConnId::new));
        let of_last = [0, 1, 2, 3].map(|generation| slots.id(last, generation).map(ConnId::get));
        assert_eq!(of_last, [Some(2024), Some(2049), Some(2074), None]);
        assert_eq!(slots.id(slots.slot(20), 1), None, "it does not reconnect");
        assert_eq!(slots.of(conn(2049)), Ok((last, 1)));
        assert_eq!(slots.of(conn(2050)), Ok((first, 2)));
    }

    /// `total` slots. The last two reconnect.
    fn last_two_reconnect(total: u32) -> Slots {
        Slots::new([&Profile { conns: total - 2, ..profile() }, &groups(&[2])[0]]).expect("there are ids for them")
    }

    #[test]
    fn the_first_ids_share_their_words_with_none_and_the_others_do() {
        let slots = last_two_reconnect(MAX_CONNECTIONS - 5);
        let (total, last) = (slots.total(), slots.slot(slots.total() - 1));
        assert_eq!(slots.id(last, 1), ConnId::new(total + 1));
        assert_eq!((slots.stream_max(conn(total - 1)), slots.stream_max(conn(total))), (8 << 40, 64 << 30));
        // Five ids a round: the sixth reconnect of all has the first id of the second round.
        assert_eq!(slots.id(last, 3), ConnId::new(MAX_CONNECTIONS + total));
        assert_eq!(slots.of(conn(MAX_CONNECTIONS + total)), Ok((last, 3)));
        assert!(slots.of(conn(MAX_CONNECTIONS + total - 1)).is_err(), "it would share words with a first connection");
    }

    #[test]
    fn ids_run_out_and_never_repeat_or_exceed_31_bits() {
        let slots = last_two_reconnect(MAX_CONNECTIONS - 1);
        assert_eq!(slots.reconnects(), 64);
        let both = [slots.total() - 2, slots.total() - 1].map(|number| slots.slot(number));
        let ids = (1..=64).flat_map(|generation| both.map(|slot| slots.id(slot, generation)));
        let ids: Vec<ConnId> = ids.collect::<Option<_>>().expect("there are ids for 64 generations");
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_eq!((ids.last(), slots.id(both[1], 65)), (Some(&ConnId::MAX), None));
    }

    #[test]
    fn an_id_that_the_run_never_opens_is_refused() {
        let once = Profile { conns: 5, ..profile() };
        let twice = Profile { conns: 1, reconnect: Reconnect::Times(1), ..profile() };
        let both = Slots::new([&once, &twice]).expect("there are ids for every slot");
        assert_eq!(both.of(conn(6)), Ok((Slot { number: 5, group: 1, index: 0 }, 1)));
        let none = SlotsError::NoSuchConnection { conn: 7, total: 6, again: 1, times: 1 };
        assert_eq!(both.of(conn(7)), Err(none.clone()));
        assert_eq!(both.id(both.slot(5), 2), None);
        assert_eq!(
            none.to_string(),
            "there is no connection 7 in this run: it opens 6 at a time, numbered from 0, and reopens 1 of them at most \
             1 times"
        );
        let none = Slots::new([&once])
            .expect("there are ids for every slot")
            .of(conn(5))
            .expect_err("the run opens five connections");
        assert_eq!(
            none.to_string(),
            "there is no connection 5 in this run: it opens 5 at a time, numbered from 0",
            "without reconnects there are no others"
        );
    }

    #[test]
    fn too_many_connections_are_refused_with_the_number_that_is_possible() {
        let error = Slots::new(&groups(&[MAX_CONNECTIONS, 1])).expect_err("there are more connections than ids");
        assert_eq!(error, SlotsError::TooManyConnections { conns: u64::from(MAX_CONNECTIONS) + 1 });

        let churning = Profile { conns: 1 << 20, reconnect: Reconnect::Times(2000), ..profile() };
        let error = Slots::new([&churning]).expect_err("there are more reconnects than ids");
        assert_eq!(error, SlotsError::TooManyReconnects { conns: 1 << 20, times: 2000, most: 15 * 128 });
        let churning = Profile { reconnect: Reconnect::Times(15 * 128), ..churning };
        assert!(Slots::new([&churning]).is_ok());

        let error = Slots::new(&groups(&[MAX_CONNECTIONS])).expect_err("no id is left for the first reconnect");
        assert_eq!(error, SlotsError::TooManyReconnects { conns: MAX_CONNECTIONS, times: 1, most: 0 });
    }

    #[test]
    fn a_shard_that_does_not_exist_is_refused() {
        let refusal = |text: &str| text.parse::<Shard>().expect_err(text).to_string();
        assert_eq!(refusal("4/4"), "there is no shard 4 of 4: they count from 0, so 0/4 to 3/4");
        assert_eq!(refusal("0/0"), "a run has at least 1 shard: write 0/1 for the only one");
        assert_eq!(refusal("0/65537"), "0/65537: a run cannot have 65537 shards: the most is 65536");
        assert!("65535/65536".parse::<Shard>().is_ok());
        assert_eq!(refusal("2"), "2 is not a shard: write 0/4 for the first of four processes");
    }

    proptest! {
        #[test]
        fn an_id_leads_back_to_its_slot_and_generation(
            conns in prop::collection::vec((0u32..5000, any::<bool>()), 1..6), pick: u32, generation in 0u32..60_000
        ) {
            let reconnect = |again: bool| if again { Reconnect::Forever } else { Reconnect::Off };
            let group = |&(conns, again): &(u32, bool)| Profile { conns, reconnect: reconnect(again), ..profile() };
            let groups = conns.iter().map(group);
            let slots = Slots::new(&groups.collect::<Vec<_>>()).expect("there are ids for every slot");
            prop_assume!(slots.total() > 0);
            let slot = slots.slot(pick % slots.total());
            let (most, again) = conns[slot.group as usize];
            prop_assert!(slot.index < most);
            match slots.id(slot, generation) {
                Some(id) => prop_assert_eq!(slots.of(id), Ok((slot, generation))),
                None => prop_assert!(!again && generation > 0),
            }
        }
    }
}
