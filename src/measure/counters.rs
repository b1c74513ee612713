//! Totals of a run or of a part of it.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stream::FindingKind;

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)+ rare: $($(#[doc = $rare_doc:literal])+ $rare:ident,)+) => {
        /// Totals. Bytes are bytes of payload. A message counts once it is complete.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
            $(
                $(#[doc = $rare_doc])+
                #[serde(default, skip_serializing_if = "is_zero")]
                pub $rare: u64,
            )+
            /// Places at which bytes were wrong before it was certain what had happened to them. Not in reports, since
            /// each becomes a finding.
            #[serde(skip)]
            pub undecided: u64,
            /// Findings of each kind, including those beyond the number that is kept in full.
            #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
            pub findings: BTreeMap<FindingKind, u64>,
        }

        impl Counters {
            /// Adds other totals. They may be those of a file, which can say anything.
            pub fn add(&mut self, other: &Counters) {
                $(self.$name = self.$name.saturating_add(other.$name);)+
                $(self.$rare = self.$rare.saturating_add(other.$rare);)+
                self.undecided = self.undecided.saturating_add(other.undecided);
                for (kind, n) in &other.findings {
                    let sum = self.findings.entry(*kind).or_default();
                    *sum = sum.saturating_add(*n);
                }
            }

            /// The names and values of the plain totals, in the order of the report.
            pub fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

counters! {
    /// Connects begun.
    connects,
    /// Connections opened.
    opened,
    /// Connects that failed or timed out.
    connect_failures,
    /// Connections that ended as planned, with nothing wrong.
    passed,
    /// Connections with at least one finding, including those that could not be opened.
    failed,
    /// Connections without a finding that were cut short because the run was stopped. Nothing is asserted about them.
    cut_short,
    /// Connections opened after another one in the same slot.
    reconnects,
    /// Connections not begun because the time was up before their turn came.
    not_in_time,
    /// Connects postponed and retried because this machine had no local port left for the target.
    port_shortages,
    /// Connects postponed and retried because this machine had no descriptors or no memory left.
    resource_shortages,
    /// Connections not begun because such a shortage lasted for minutes.
    not_opened,
    /// Slots that were to reconnect after the ids had run out.
    out_of_ids,
    /// Messages whose sending has begun.
    messages_sent,
    /// Messages whose last byte came back.
    messages_echoed,
    /// Bytes handed to the sockets.
    bytes_sent,
    /// Bytes that came back, right or wrong.
    bytes_received,
    /// Bytes that came back and were right.
    bytes_verified,
    /// Write calls that accepted at least one byte.
    writes,
    /// Read calls that returned at least one byte.
    reads,
    /// Connections whose own writes were blocked for 200 ms or longer at least once.
    write_stalls,
    // A report leaves them out where they are 0.
    rare:
    /// Of the connects that failed, those that nobody answered in time.
    connect_timeouts,
    /// Connects postponed and retried because this machine still kept the source port for an earlier connection.
    source_ports_refused,
    /// Connections whose SYN carried data that the other side acknowledged with its SYN (Fast Open).
    fast_open,
    /// Connections over TLS on which the server chose no protocol of `--alpn`.
    without_alpn,
    /// Connections that were given up after 250 findings.
    given_up,
    /// Connections that never reached the backend because it was down, as the case wants it. They have neither passed
    /// nor failed.
    unserved,
    /// Of these, those that were reset.
    unserved_resets,
    /// Of these, those that nothing ended in time.
    unserved_silent,
    /// Of these, those that could not be opened.
    unserved_connects,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Counters {
    /// Counts one finding.
    pub fn found(&mut self, kind: FindingKind) {
        *self.findings.entry(kind).or_default() += 1;
    }

    /// Findings of all kinds.
    pub fn findings_total(&self) -> u64 {
        self.findings.values().copied().fold(0, u64::saturating_add)
    }

    /// Connections that are open now. One that could not be opened has failed too.
    pub fn open(&self) -> u64 {
        let unserved = self.unserved.saturating_sub(self.unserved_connects);
        let failed = self.failed.saturating_sub(self.connect_failures);
        [self.passed, self.cut_short, unserved, failed].into_iter().fold(self.opened, u64::saturating_sub)
    }

    /// Connections that have not ended yet, in whichever way.
    pub fn unfinished(&self) -> u64 {
        let ended = [self.passed, self.failed, self.cut_short, self.unserved];
        ended.into_iter().fold(self.connects, u64::saturating_sub)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adding_keeps_every_total() {
        let mut one = Counters { opened: 2, bytes_sent: 10, ..Counters::default() };
        one.found(FindingKind::Lost);
        let mut two = one.clone();
        two.found(FindingKind::Lost);
        two.found(FindingKind::Reset);
        one.add(&two);
        assert_eq!((one.opened, one.bytes_sent, one.findings_total()), (4, 20, 4));
        assert_eq!(one.findings[&FindingKind::Lost], 3);
    }

    #[test]
    fn open_are_those_that_were_opened_and_have_not_ended() {
        let counters =
            Counters { connects: 10, opened: 8, connect_failures: 2, failed: 3, passed: 4, ..Counters::default() };
        assert_eq!(counters.open(), 3);
        let down = Counters { connects: 14, opened: 11, unserved: 4, unserved_connects: 1, ..counters };
        assert_eq!((down.open(), down.unfinished()), (3, 3), "two connects failed, and one found its way closed");
    }

    #[test]
    fn adding_zero_changes_nothing() {
        let some = Counters { reads: 7, connects: 3, ..Counters::default() };
        let mut sum = Counters::default();
        sum.add(&some);
        assert_eq!(sum, some);
    }
}
