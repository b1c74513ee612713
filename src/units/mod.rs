//! Quantities as people write them: counts, bytes, durations and rates.
//!
//! A quantity is a newtype with one grammar (`FromStr`), one normal form (`Display`, which parses back to the same
//! value), and the same form in flags, TOML and JSON. A leaf: nothing here imports anything else of this crate.
//!
//! For words that are not quantities there is `nearest`, 'did you mean'.
//!
//! Units of bytes are binary (`KiB`, `k` = 1024), as in `dd` and `iperf`. `KB` is refused: it means 1000 to some and
//! 1024 to others. Byte *rates* accept `MB/s`, which is 10⁶ bytes, as on every network interface.

mod amount;
mod decimal;
mod grouped;
pub(crate) mod nearest;
mod parse_error;
pub(crate) mod range;
mod rate;
pub(crate) mod text;
mod time;

pub use amount::{Bytes, Count};
pub use grouped::{counted, counted_were, grouped};
pub use parse_error::ParseError;
pub use rate::{ByteRate, Rate};
pub use time::Time;
