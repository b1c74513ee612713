//! What a connection says at the end of its turn: what it waits for, and whether silence would be a stall.

use std::io;

/// What a turn came to.
#[derive(Debug)]
pub(in crate::client) enum TurnResult {
    /// Nothing moves any more: call again when the socket is ready, or at `timer`.
    Wait {
        /// When to call again even if the socket does not stir.
        timer: Option<u64>,
        /// The other side owes something: silence counts as a stall.
        owed: bool,
        /// Whether it is others that it waits for.
        waits_for: WaitsFor,
        /// What is owed has come nearer in this turn.
        progress: bool,
    },
    /// Others should have their turn; call again soon. The same as for `Wait` holds for silence.
    Yield {
        /// See `Wait`.
        owed: bool,
        /// See `Wait`.
        progress: bool,
    },
    /// It is over. The error is what the system said, if that ended it.
    Over(Option<io::Error>),
}

/// Whose move it is that a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum WaitsFor {
    /// Its own, or that of the other side.
    Itself,
    /// That of the other connections of its load, so that all can end together.
    Group,
    /// The end of the run.
    Run,
}
