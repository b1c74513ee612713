//! The events that one thread waits for: one for each connection, and before them the wake event. It keeps the wait of
//! the event models fair.
//!
//! A wait returns only the lowest signalled index, so a busy connection would hide those behind it. Therefore each
//! [`round`](EventSet::round) continues behind the returned index, without waiting, and gives each signalled item a
//! turn.
//!
//! What an item is, and what its turn does, is the model's business.
//!
//! Source: Microsoft, 'WaitForMultipleObjects'.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::Waker;
use crate::sys::event::{Event, MAX_WAIT};

/// Where the wake event stands: first, so that no busy connection hides it.
const WAKE_INDEX: usize = 0;

/// An event that interrupts a wait, to be waited for first, and the waker that signals it.
///
/// # Errors
/// The system's: out of handles or memory.
pub(in crate::server) fn wake_event() -> io::Result<(Event, Waker)> {
    let event = Event::auto()?;
    let signal = event.try_clone()?;
    Ok((event, Arc::new(move || signal.set())))
}

/// Up to [`CAPACITY`](Self::CAPACITY) items with an event each, and the wake event.
pub(in crate::server) struct EventSet<T> {
    /// The wake event, then one event for each item, in the order of `items`.
    events: Vec<Event>,
    items: Vec<T>,
}

impl<T> EventSet<T> {
    /// One handle of a wait is the wake event's.
    pub(in crate::server) const CAPACITY: usize = MAX_WAIT - 1;

    /// Only the wake event, which must reset itself.
    pub(in crate::server) fn new(wake_event: Event) -> Self {
        EventSet { events: vec![wake_event], items: Vec::new() }
    }

    pub(in crate::server) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(in crate::server) fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Adds an item. It gets its first turn when its event is signalled.
    pub(in crate::server) fn push(&mut self, item: T, event: Event) {
        self.items.push(item);
        self.events.push(event);
    }

    /// Waits for an event, for up to `limit`; then gives each item whose event is signalled a turn. A turn returns
    /// whether to keep the item.
    ///
    /// # Errors
    /// The wait's.
    pub(in crate::server) fn round(
        &mut self,
        limit: Option<Duration>,
        mut turn: impl FnMut(&mut T, &Event) -> bool,
    ) -> io::Result<()> {
        let mut signalled = Event::wait_any(&self.events, limit)?;
        while let Some(index) = signalled {
            // The last item moves to the place of a removed one, and has not had its turn yet.
            let keeps_place = index == WAKE_INDEX || self.turn(index - 1, &mut turn);
            let rest = index + usize::from(keeps_place);
            if rest == self.events.len() {
                break;
            }
            signalled = Event::wait_any(&self.events[rest..], Some(Duration::ZERO))?.map(|next| rest + next);
        }
        Ok(())
    }

    /// Gives each item a turn, signalled or not.
    pub(in crate::server) fn each(&mut self, mut turn: impl FnMut(&mut T, &Event) -> bool) {
        for at in (0..self.items.len()).rev() {
            self.turn(at, &mut turn);
        }
    }

    /// The items that are left at the end.
    pub(in crate::server) fn into_items(self) -> impl Iterator<Item = T> {
        self.items.into_iter()
    }

    /// `false`: the item was removed, and the last one has taken its place.
    fn turn(&mut self, at: usize, turn: &mut impl FnMut(&mut T, &Event) -> bool) -> bool {
        let keep = turn(&mut self.items[at], &self.events[at + 1]);
        if !keep {
            self.items.swap_remove(at);
            self.events.swap_remove(at + 1);
        }
        keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items 0 to `count`, each with a signalled event that resets itself.
    fn signalled(count: u32) -> EventSet<u32> {
        let mut set = EventSet::new(Event::auto().expect("an event"));
        for item in 0..count {
            let event = Event::auto().expect("an event");
            event.set();
            set.push(item, event);
        }
        set
    }

    fn turns(set: &mut EventSet<u32>, keep: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut had_a_turn = Vec::new();
        set.round(Some(Duration::ZERO), |&mut item, _| {
            had_a_turn.push(item);
            keep(item)
        })
        .expect("a wait");
        had_a_turn.sort_unstable();
        had_a_turn
    }

    #[test]
    fn each_signalled_item_of_a_full_set_gets_one_turn_a_round() {
        let mut set = signalled(EventSet::<u32>::CAPACITY as u32);
        assert_eq!(turns(&mut set, |_| true), (0..63).collect::<Vec<_>>());
        assert!(turns(&mut set, |_| true).is_empty());
    }

    #[test]
    fn the_item_that_takes_the_place_of_a_removed_one_gets_its_turn() {
        let mut set = signalled(7);
        assert_eq!(turns(&mut set, |item| item == 3), (0..7).collect::<Vec<_>>());
        let mut left = Vec::new();
        set.each(|&mut item, _| {
            left.push(item);
            false
        });
        assert_eq!(left, [3]);
        assert!(set.is_empty());
    }

    #[test]
    fn the_wake_event_hides_no_item() {
        let mut set = signalled(2);
        set.events[WAKE_INDEX].set();
        assert_eq!(turns(&mut set, |_| true), [0, 1]);
    }
}
