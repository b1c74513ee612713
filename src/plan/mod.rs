//! The plan of one connection: a pure, seeded iterator of steps.
//!
//! [`Profile`] says what all connections of a load group have in common. [`Slots`] says which connection belongs to
//! which group. [`ConnectionPlan`] says what one connection does, step by step. It follows from the seed, the profile
//! and the connection's id alone, so `--only-conn` replays exactly what failed.
//!
//! No I/O and no clock. The client carries out the steps.

mod case_seed;
mod describe;
mod distribution;
mod draw;
mod first_bytes;
mod first_speaker;
mod flow;
mod log2;
mod options;
mod port_range;
mod profile;
mod slots;
mod steps;
mod time_range;
mod two_sides;

pub use crate::stream::ConnId;
pub use case_seed::{backend_seed, case_seed};
pub use describe::{Described, DescribedMessage, DescribedWrite, describe};
pub use distribution::{Distribution, MAX_SIZE};
pub use first_bytes::FirstBytes;
pub use first_speaker::FirstSpeaker;
pub use flow::{Flow, OtherHalf, RECOGNIZED_BY_BYTES};
pub use options::{Close, Lifetime, Read, Reconnect, Verify};
pub use port_range::PortRange;
pub use profile::{ExpectedEcho, Profile, UNLIMITED};
pub use slots::{MAX_CONNECTIONS, Shard, Slot, Slots, SlotsError};
pub use steps::{ConnectionPlan, MAX_WRITE_BYTES, PlanStep};
pub use time_range::TimeRange;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::text::checks;
    use proptest::prelude::*;

    #[test]
    fn the_examples_in_the_schemas_are_valid() {
        checks::examples_are_valid::<Distribution>();
        checks::examples_are_valid::<TimeRange>();
        checks::examples_are_valid::<PortRange>();
        checks::examples_are_valid::<FirstBytes>();
        checks::examples_are_valid::<Shard>();
        checks::examples_are_valid::<Flow>();
        checks::examples_are_valid::<FirstSpeaker>();
        checks::examples_are_valid::<Read>();
        checks::examples_are_valid::<Close>();
        checks::examples_are_valid::<Verify>();
        checks::examples_are_valid::<Lifetime>();
        checks::examples_are_valid::<Reconnect>();
    }

    proptest! {
        #[test]
        fn no_text_makes_a_parser_panic(text in checks::texts()) {
            checks::any_text_is_handled::<Distribution>(&text);
            checks::any_text_is_handled::<TimeRange>(&text);
            checks::any_text_is_handled::<PortRange>(&text);
            checks::any_text_is_handled::<FirstBytes>(&text);
            checks::any_text_is_handled::<Shard>(&text);
            checks::any_text_is_handled::<Flow>(&text);
            checks::any_text_is_handled::<FirstSpeaker>(&text);
            checks::any_text_is_handled::<Read>(&text);
            checks::any_text_is_handled::<Close>(&text);
            checks::any_text_is_handled::<Verify>(&text);
            checks::any_text_is_handled::<Lifetime>(&text);
            checks::any_text_is_handled::<Reconnect>(&text);
        }
    }
}
