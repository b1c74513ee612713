//! What one thread waits for, each with an event of its own, and the bell before them: the wait of the models that wait
//! on events, and how it is kept fair.
//!
//! A wait tells the lowest signalled index only, so a busy connection would hide those behind it. Therefore each
//! [`round`](Watched::round) goes on behind the one that was told, without waiting, and gives each signalled one a
//! turn.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::server::thread_pool::Bell;
use crate::sys::event::{Event, MAX_WAIT};

/// Where the bell stands: first, so that no busy connection hides it.
const BELL: usize = 0;

/// An event to wait for, first among others, and how to signal it from any thread.
///
/// # Errors
/// The system's: out of handles or memory.
pub(in crate::server) fn bell() -> io::Result<(Event, Bell)> {
    let event = Event::auto()?;
    let ring = event.try_clone()?;
    Ok((event, Arc::new(move || ring.set())))
}

/// Up to [`CAPACITY`](Self::CAPACITY) things with an event each, and the bell.
pub(in crate::server) struct Watched<T> {
    /// The bell, then one an item, in the order of `items`.
    events: Vec<Event>,
    items: Vec<T>,
}

impl<T> Watched<T> {
    /// One handle of a wait is the bell's.
    pub(in crate::server) const CAPACITY: usize = MAX_WAIT - 1;

    /// Nothing but the bell. It must be one that resets itself.
    pub(in crate::server) fn new(bell: Event) -> Self {
        Watched { events: vec![bell], items: Vec::new() }
    }

    pub(in crate::server) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(in crate::server) fn items(&self) -> impl Iterator<Item = &T> {
        self.items.iter()
    }

    /// Adds one. It gets its first turn when its event is signalled.
    pub(in crate::server) fn push(&mut self, item: T, event: Event) {
        self.items.push(item);
        self.events.push(event);
    }

    /// Waits for the bell or an event, for up to `limit`; then gives each one that is signalled a turn. A turn returns
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
            // Where an item was removed the last one stands now, and has not been looked at.
            let keeps_place = index == BELL || self.turn(index - 1, &mut turn);
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

    /// What is left at the end.
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
    fn signalled(count: u32) -> Watched<u32> {
        let mut watched = Watched::new(Event::auto().expect("a bell"));
        for item in 0..count {
            let event = Event::auto().expect("an event");
            event.set();
            watched.push(item, event);
        }
        watched
    }

    fn turns(watched: &mut Watched<u32>, keep: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut had_a_turn = Vec::new();
        watched
            .round(Some(Duration::ZERO), |&mut item, _| {
                had_a_turn.push(item);
                keep(item)
            })
            .expect("a wait");
        had_a_turn.sort_unstable();
        had_a_turn
    }

    #[test]
    fn each_signalled_one_of_a_full_thread_gets_one_turn_a_round() {
        let mut watched = signalled(Watched::<u32>::CAPACITY as u32);
        assert_eq!(turns(&mut watched, |_| true), (0..63).collect::<Vec<_>>());
        assert!(turns(&mut watched, |_| true).is_empty());
    }

    #[test]
    fn one_that_takes_the_place_of_a_removed_one_is_not_passed_over() {
        let mut watched = signalled(7);
        assert_eq!(turns(&mut watched, |item| item == 3), (0..7).collect::<Vec<_>>());
        let mut left = Vec::new();
        watched.each(|&mut item, _| {
            left.push(item);
            false
        });
        assert_eq!(left, [3]);
        assert!(watched.is_empty());
    }

    #[test]
    fn the_bell_hides_nobody() {
        let mut watched = signalled(2);
        watched.events[BELL].set();
        assert_eq!(turns(&mut watched, |_| true), [0, 1]);
    }
}
