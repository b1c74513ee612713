//! A plan as text: what `--dry-run` prints.

use std::fmt;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use super::options::Close;
use super::steps::{ConnectionPlan, PlanStep};
use crate::units::{Bytes, Time};

/// One connection's plan, or the start of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Described {
    /// The messages, in order.
    pub messages: Vec<DescribedMessage>,
    /// How it ends. Null: the plan goes on, and only its description was cut off.
    pub close: Option<Close>,
    /// The age at which the connection ends, if it gets that old. It is not part of the steps.
    pub max_age: Option<Time>,
}

/// One message of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DescribedMessage {
    /// Counts from 0.
    pub index: u64,
    /// Bytes.
    pub len: u64,
    /// Open loop: when it is scheduled, after all connections of the group are open.
    pub due: Option<Time>,
    /// The writes.
    pub writes: Vec<DescribedWrite>,
}

/// One write of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DescribedWrite {
    /// The pause before it.
    pub gap: Option<Time>,
    /// Bytes.
    pub len: u64,
}

/// Describes a plan to its end, or for `max_writes` writes, whichever comes first.
pub fn describe(plan: ConnectionPlan, max_writes: usize) -> Described {
    let max_age = plan.max_age().map(Time);
    let mut messages: Vec<DescribedMessage> = Vec::new();
    let mut gap: Option<Duration> = None;
    let mut room = max_writes;
    for step in plan {
        match step {
            PlanStep::Close(close) => return Described { messages, close: Some(close), max_age },
            PlanStep::Gap(pause) => gap = Some(pause),
            _ if room == 0 => break,
            PlanStep::Message { index, len, due } => {
                messages.push(DescribedMessage { index, len, due: due.map(Time), writes: Vec::new() });
            }
            PlanStep::Write { len } => {
                room -= 1;
                let write = DescribedWrite { gap: gap.take().map(Time), len: len as u64 };
                messages.last_mut().expect("a write belongs to a message").writes.push(write);
            }
        }
    }
    Described { messages, close: None, max_age }
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for message in &self.messages {
            writeln!(f, "{message}")?;
        }
        if let Some(age) = self.max_age {
            writeln!(f, "ended at the age of {age}, if not before")?;
        }
        match self.close {
            Some(close) => write!(f, "then {}", close.in_words()),
            None => write!(f, "and so on"),
        }
    }
}

impl fmt::Display for DescribedMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "message {}", self.index)?;
        if let Some(due) = self.due {
            write!(f, " due at {due} of the schedule")?;
        }
        write!(f, ": {}", Bytes(self.len))?;
        for (i, write) in self.writes.iter().enumerate() {
            f.write_str(if i == 0 { " = " } else { " + " })?;
            if let Some(gap) = write.gap {
                write!(f, "({gap}) ")?;
            }
            write!(f, "{}", write.len)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::profile::Profile;
    use super::super::profile::tests::{profile, sizes};
    use super::super::slots::Slots;
    use super::*;

    fn described(profile: Profile, max_writes: usize) -> Described {
        let conn = crate::stream::ConnId::new(0).expect("a small id");
        let slot = Slots::new([&profile]).expect("there are ids for every slot").slot(0);
        describe(ConnectionPlan::new(Arc::new(profile), 42, slot, conn), max_writes)
    }

    #[test]
    fn each_message_reads_as_the_sum_of_its_writes() {
        let counted = Profile {
            size: sizes("each:10..12"),
            fragment: Some(sizes("4")),
            gap: "5ms".parse().expect("a time"),
            ..profile()
        };
        assert_eq!(
            described(counted, 1000).to_string(),
            "message 0: 10 = 4 + (5ms) 4 + (5ms) 2\n\
             message 1: 11 = (5ms) 4 + (5ms) 4 + (5ms) 3\n\
             message 2: 12 = (5ms) 4 + (5ms) 4 + (5ms) 4\n\
             then half-close"
        );
    }

    #[test]
    fn a_plan_without_end_is_cut_off_and_says_so() {
        let endless = Profile { messages: None, size: sizes("8"), fragment: None, ..profile() };
        assert_eq!(described(endless, 2).to_string(), "message 0: 8 = 8\nmessage 1: 8 = 8\nand so on");
    }

    #[test]
    fn the_age_is_shown_although_no_step_has_it() {
        let aging = Profile { messages: Some(0), lifetime: Some("5s".parse().expect("an age")), ..profile() };
        assert_eq!(described(aging, 2).to_string(), "ended at the age of 5s, if not before\nthen half-close");
    }
}
