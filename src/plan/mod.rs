//! What one connection does: a pure, seeded iterator of steps.
//!
//! [`Profile`] says what all connections of a load group have in common, [`Slots`] which connection belongs to which
//! group, and [`Plan`] what one of them does, step by step, drawn from the seed. The plan of a connection follows from the
//! seed, the profile and the connection's id alone: that is what makes `--only-conn` replay exactly what failed.
//!
//! No I/O and no clock here. The client interprets the steps.

mod describe;
mod distribution;
mod draw;
mod log2;
mod profile;
mod slots;
mod steps;
mod time_range;

pub use crate::bytes::{ConnId, Expect};
pub use describe::{Described, describe};
pub use distribution::{Distribution, DistributionError, MAX_SIZE};
pub use profile::{Close, Lifetime, Profile, Read, Reconnect, UNLIMITED, Verify, WordError};
pub use slots::{MAX_CONNECTIONS, Shard, Slot, Slots, SlotsError};
pub use steps::{MAX_STREAM, MAX_WRITE, Plan, Step};
pub use time_range::TimeRange;
