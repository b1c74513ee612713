//! The figures of a comparison as a table: their names in files, their titles for people, their units. A new figure is
//! a row here, and a line where a round is made ([`Round::of`](super::compare_round::Round::of)).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Quantity;

macro_rules! figures {
    ($($(#[doc = $doc:literal])+ $name:ident: $variant:ident, $title:literal, $unit:ident;)+) => {
        /// One figure of a server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Figure {
            $($(#[doc = $doc])+ $variant,)+
        }

        /// The figures of a server: of one round, or over all of them.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        #[schemars(rename = "FiguresOf{T}")]
        pub struct Figures<T> {
            $($(#[doc = $doc])+ pub $name: T,)+
        }

        impl Figure {
            /// All of them, in the order of the reports.
            pub const ALL: &[Figure] = &[$(Figure::$variant,)+];

            /// Its name in JSON and CSV.
            pub fn key(self) -> &'static str {
                match self { $(Figure::$variant => stringify!($name),)+ }
            }

            /// Its name for people.
            pub fn title(self) -> &'static str {
                match self { $(Figure::$variant => $title,)+ }
            }

            /// What it counts.
            pub fn quantity(self) -> Quantity {
                match self { $(Figure::$variant => Quantity::$unit,)+ }
            }
        }

        impl<T> Figures<T> {
            /// One of them.
            pub fn get(&self, figure: Figure) -> &T {
                match figure { $(Figure::$variant => &self.$name,)+ }
            }

            /// The figures that `value` makes.
            pub fn from_fn(mut value: impl FnMut(Figure) -> T) -> Figures<T> {
                Figures { $($name: value(Figure::$variant),)+ }
            }
        }
    };
}

figures! {
    /// Messages that came back whole, per second.
    messages_per_s: MessagesPerS, "round trips", PerSecond;
    /// Bytes that came back and were right, per second.
    bytes_per_s: BytesPerS, "throughput", BytesPerSecond;
    /// The median round trip, in nanoseconds.
    rtt_p50_ns: RttP50Ns, "round trip p50", Nanoseconds;
    /// The 99th percentile of the round trips, in nanoseconds.
    rtt_p99_ns: RttP99Ns, "round trip p99", Nanoseconds;
    /// The 99th percentile of the time to connect, in nanoseconds.
    connect_p99_ns: ConnectP99Ns, "connect p99", Nanoseconds;
    /// CPU time of the server per message, in microseconds.
    server_cpu_us_per_message: ServerCpuUsPerMessage, "CPU a message", Microseconds;
    /// CPU time of the server per GiB echoed, in seconds.
    server_cpu_s_per_gib: ServerCpuSPerGib, "CPU a GiB", Seconds;
    /// Context switches of the server per message.
    context_switches_per_message: ContextSwitchesPerMessage, "context switches a message", Number;
    /// System calls of the server per message, counted in a run of its own before the rounds.
    system_calls_per_message: SystemCallsPerMessage, "system calls a message", Number;
    /// The most threads that the server had.
    threads: Threads, "threads", Number;
    /// Resident memory of the server before the first connection, in bytes.
    memory_at_rest_bytes: MemoryAtRestBytes, "memory at rest", Bytes;
    /// By how much the resident memory of the server grew in the round, in bytes for each connection.
    memory_per_connection_bytes: MemoryPerConnectionBytes, "memory a connection", Bytes;
}

/// The figures that stand along the axis of a sweep and are drawn; the table of all has the others too.
const MAIN: [Figure; 8] = [
    Figure::MessagesPerS,
    Figure::RttP50Ns,
    Figure::RttP99Ns,
    Figure::ConnectP99Ns,
    Figure::ServerCpuUsPerMessage,
    Figure::ContextSwitchesPerMessage,
    Figure::SystemCallsPerMessage,
    Figure::MemoryPerConnectionBytes,
];

/// The main figures, first the one by which the servers are compared.
pub(super) fn main_figures(compared_by: Figure) -> impl Iterator<Item = Figure> {
    std::iter::once(compared_by).chain(MAIN.into_iter().filter(move |figure| *figure != compared_by))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_has_one_name_in_every_format() {
        for figure in Figure::ALL {
            let name = serde_json::to_value(figure).expect("a name is JSON");
            assert_eq!(name, figure.key(), "the enum and the field are named alike");
            assert_eq!(Figure::ALL.iter().filter(|other| other.title() == figure.title()).count(), 1);
        }
        let keys = Figures::from_fn(|figure: Figure| figure.key());
        assert!(Figure::ALL.iter().all(|figure| *keys.get(*figure) == figure.key()));
    }
}
