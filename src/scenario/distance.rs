//! How the conformance suite adapts to a distant target: the time of a round trip decides how long a connection may
//! wait, and how much of the work of a case is under way at once. Near targets get the values of the files.
//!
//! At 110 ms, 1.2 with one message at a time takes 4 minutes, and 5.6 with 50 connections at a time 90 seconds.

use std::time::Duration;

use super::conformance;
use crate::units::Time;

/// Below this round trip nothing changes.
const NEAR: Duration = Duration::from_millis(20);
/// How long a connection may wait where the target is near; the default in the files.
const USUAL_PATIENCE: Duration = Duration::from_secs(5);
/// What a far target adds to it: a few retransmissions and the slow start of a connection take this many round trips.
const ROUND_TRIPS_OF_PATIENCE: u32 = 40;
/// A message each 5 ms, as a case has them whose target is near.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(5);
/// More messages in flight would be another case.
const MAX_IN_FLIGHT: u128 = 64;

/// What a case of the suite does differently, because its target is far away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Distance {
    round_trip: Duration,
}

impl Distance {
    /// `None`: with this round trip the target is near.
    pub fn of(round_trip: Duration) -> Option<Distance> {
        (round_trip >= NEAR).then_some(Distance { round_trip })
    }

    /// How long a connection may wait, in whole seconds.
    pub fn patience(self) -> Duration {
        let patience = USUAL_PATIENCE + self.round_trip * ROUND_TRIPS_OF_PATIENCE;
        Duration::from_secs(patience.as_secs() + u64::from(patience.subsec_nanos() > 0))
    }

    /// How many of the messages of case 1.2 are in flight.
    pub fn in_flight(self) -> u32 {
        self.round_trip.as_nanos().div_ceil(BETWEEN_MESSAGES.as_nanos()).min(MAX_IN_FLIGHT) as u32
    }

    /// What it changes, as a sentence. `patience`: what the user gave, which stays.
    pub fn in_words(self, patience: Option<Duration>) -> String {
        let round_trip = self.round_trip.as_millis();
        let waits = match patience {
            Some(_) => String::new(),
            None => format!("a connection may wait {} (--patience), ", Time(self.patience())),
        };
        let in_flight = self.in_flight();
        format!(
            "a round trip to the target takes {round_trip} ms: {waits}1.2 keeps {in_flight} messages in flight, and 5.6 \
             has 200 connections at a time"
        )
    }

    /// The variables of the files, with the values that this distance gives them.
    pub fn variables(self) -> Vec<(String, String)> {
        let named = |name: &str, value: String| (name.to_owned(), value);
        let of_work = [
            named("IN_FLIGHT", self.in_flight().to_string()),
            // 5.6 and 5.6L: four times as many at once, and a quarter as often one after the other.
            named("AT_ONCE", "200".to_owned()),
            named("REPEATED", "99".to_owned()),
            named("REPEATED_LONG", "349".to_owned()),
        ];
        conformance::patience(self.patience()).into_iter().chain(of_work).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Profile, Reconnect};
    use crate::scenario::{Scenario, Variables};

    #[test]
    fn a_near_target_changes_nothing_and_a_far_one_gets_time_and_company() {
        let ms = Duration::from_millis;
        assert_eq!(Distance::of(ms(19)), None);
        for (round_trip, patience, in_flight) in [(20, 6, 4), (110, 10, 22), (600, 29, 64)] {
            let distance = Distance::of(ms(round_trip)).expect("it is far");
            assert_eq!((distance.patience().as_secs(), distance.in_flight()), (patience, in_flight), "{round_trip} ms");
        }
    }

    #[test]
    fn every_variable_is_used_and_the_number_of_connections_stays() {
        let distance = Distance::of(Duration::from_millis(110)).expect("it is far");
        let variables = Variables::new(distance.variables(), |_| None);
        let far = Scenario::conformance(&variables).expect("the values fit");
        assert_eq!(variables.unused(), None);
        for (case, usual) in far.iter().zip(Scenario::conformance(&Variables::none()).expect("the files are valid")) {
            let opens = |case: &Scenario| {
                let of = |load: &Profile| match load.reconnect {
                    Reconnect::Times(times) => load.conns as u64 * (1 + u64::from(times)),
                    _ => load.conns as u64,
                };
                case.loads.iter().map(of).sum::<u64>()
            };
            assert_eq!(opens(case), opens(&usual), "{}", case.title());
        }
    }
}
