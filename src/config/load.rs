//! A load group as it was typed: the flags of `blast` and `compare`, and the keys of a scenario's `[[load]]`.
//!
//! The doc comments are the help texts, and the descriptions in the JSON Schema.

use clap::Args;
use clap::builder::{BoolishValueParser, PossibleValuesParser, TypedValueParser};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forms::{Fragment, Pipeline};
use crate::plan::{Close, Distribution, Lifetime, Read, Reconnect, TimeRange, Verify};
use crate::units::{Bytes, Count, Rate, Time};

/// One load group. Each field is a flag (`--connect-rate`), a TOML key (`connect_rate`) and an environment variable
/// (`ECHO_TESTER_CONNECT_RATE`); what is absent takes its default in [`resolve`](Self::resolve).
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[command(next_help_heading = "Load")]
#[serde(deny_unknown_fields)]
pub struct LoadArgs {
    /// The group's name in reports
    #[arg(skip)]
    pub name: Option<String>,

    /// Connections open at a time [default: 100]
    #[arg(short = 'c', long, value_name = "N", env = "ECHO_TESTER_CONNS", hide_env = true)]
    pub conns: Option<Count>,

    /// Messages of each connection [default: 100 if nothing else ends it]
    #[arg(short = 'n', long, value_name = "N", env = "ECHO_TESTER_MESSAGES", hide_env = true)]
    pub messages: Option<Count>,

    /// Bytes of each connection; the last message is cut to fit [default: no limit]
    ///
    /// With --read after-stall or never: 32MiB if nothing else ends the connection.
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_BYTES", hide_env = true)]
    pub bytes: Option<Bytes>,

    /// Time after which connections end, each with its message finished [default: no limit]
    ///
    /// It counts from the start of the run; opening the connections is part of it.
    #[arg(short = 'd', long, value_name = "TIME", env = "ECHO_TESTER_DURATION", hide_env = true)]
    pub duration: Option<Time>,

    /// Message sizes [default: 1..16KiB]
    ///
    /// 64 · 1..16KiB (uniform) · log:1..1MiB (log-uniform) · edges:1000,1024,4096 (each, one below, one above) ·
    /// pick:1,64,1460 (one of these) · each:1..2048 (every value in order; also each:1,64 and each:edges:64,512)
    #[arg(long, value_name = "SIZES", env = "ECHO_TESTER_SIZE", hide_env = true)]
    pub size: Option<Distribution>,

    /// Sizes of single writes, in the forms of --size, or off: a message is one write [default: 1..4KiB]
    #[arg(long, value_name = "SIZES", env = "ECHO_TESTER_FRAGMENT", hide_env = true)]
    pub fragment: Option<Fragment>,

    /// Pause between one write and the next: 5ms, or 0..5ms [default: 0]
    ///
    /// With --rate only between the writes of one message.
    #[arg(long, value_name = "TIMES", env = "ECHO_TESTER_GAP", hide_env = true)]
    pub gap: Option<TimeRange>,

    /// Messages in flight: sent ahead of their echo [default: 1; unlimited with --rate or --read]
    ///
    /// A number, or unlimited: that is the default with --rate, and with a --read other than normal.
    #[arg(long, value_name = "N", env = "ECHO_TESTER_PIPELINE", hide_env = true)]
    pub pipeline: Option<Pipeline>,

    /// Open loop: messages a second of all connections together [default: closed loop]
    ///
    /// The round trip of a message then counts from its scheduled time, whether or not it could be sent. The schedule
    /// begins when all connections are open, or could not be opened.
    #[arg(short = 'r', long, value_name = "RATE", env = "ECHO_TESTER_RATE", hide_env = true)]
    pub rate: Option<Rate>,

    /// Connections to open a second [default: all at once]
    #[arg(long, value_name = "RATE", env = "ECHO_TESTER_CONNECT_RATE", hide_env = true)]
    pub connect_rate: Option<Rate>,

    /// Time over which connections are opened evenly [default: 0]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_RAMP", hide_env = true)]
    pub ramp: Option<Time>,

    /// How to read: normal, slow:64KiB/s, pause:2s, after-stall, never [default: normal]
    ///
    /// normal: as it comes · slow:64KiB/s: no more than that · pause:2s: not in the first 2 s · after-stall: not before
    /// the own writes stall · never: not at all
    #[arg(long, value_name = "HOW", env = "ECHO_TESTER_READ", hide_env = true)]
    pub read: Option<Read>,

    /// How connections end [default: half-close; keep with --read never]
    ///
    /// half-close: FIN, then every byte must come, then EOF · after-echo: every byte must come, then close · reset: RST
    /// in mid-stream · abandon: close with echo unread · together: after-echo, but none closes before every connection
    /// of the load has its echo · keep: stay open until the run ends
    #[arg(
        long, value_name = "HOW", env = "ECHO_TESTER_CLOSE", hide_env = true,
        value_parser = words(Close::WORDS), hide_possible_values = false
    )]
    pub close: Option<Close>,

    /// End connections early: after 10 or 1..20 messages, or after 5s or 1s..10s [default: never]
    #[arg(long, value_name = "HOW-LONG", env = "ECHO_TESTER_LIFETIME", hide_env = true)]
    pub lifetime: Option<Lifetime>,

    /// Follow a connection that ended by another: off, forever, or a number of times [default: off]
    ///
    /// With --lifetime and --duration the default is forever. Each has an id and a plan of its own, and the whole
    /// amount of messages and bytes.
    #[arg(long, value_name = "TIMES", env = "ECHO_TESTER_RECONNECT", hide_env = true)]
    pub reconnect: Option<Reconnect>,

    /// Pause before that other connection is opened [default: 0]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_RECONNECT_DELAY", hide_env = true)]
    pub reconnect_delay: Option<Time>,

    /// How long opening a connection may take [default: 10s]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_CONNECT_TIMEOUT", hide_env = true)]
    pub connect_timeout: Option<Time>,

    /// How long a connection may wait for the server without progress [default: 10s]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_STALL_TIMEOUT", hide_env = true)]
    pub stall_timeout: Option<Time>,

    /// End the run at the first finding [default: false]
    #[arg(
        long, value_name = "BOOL", env = "ECHO_TESTER_FAIL_FAST", hide_env = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    pub fail_fast: Option<bool>,

    /// Whether to compare the echo byte for byte; off only counts it [default: full]
    #[arg(
        long, value_name = "HOW", env = "ECHO_TESTER_VERIFY", hide_env = true, value_parser = words(Verify::WORDS)
    )]
    pub verify: Option<Verify>,

    /// Leave Nagle's algorithm on: no TCP_NODELAY [default: false]
    #[arg(
        long, value_name = "BOOL", env = "ECHO_TESTER_NAGLE", hide_env = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new(),
        hide_possible_values = true
    )]
    pub nagle: Option<bool>,

    /// Send buffer, SO_SNDBUF [default: the system's choice]
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_SNDBUF", hide_env = true)]
    pub sndbuf: Option<Bytes>,

    /// Receive buffer, SO_RCVBUF [default: the system's choice]
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_RCVBUF", hide_env = true)]
    pub rcvbuf: Option<Bytes>,
}

impl LoadArgs {
    /// The flags that say the same, for a command line that runs it again: `--conns 500 --fail-fast …`.
    pub fn to_flags(&self) -> Vec<String> {
        super::forms::flags(self, &["name"])
    }
}

/// Takes one of these words, and names them in help and completions.
fn words<T: Copy + Send + Sync>(words: &'static [(&'static str, T)]) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(words.iter().map(|(word, _)| *word)).map(move |given| {
        let found = words.iter().find(|(word, _)| *word == given);
        found.expect("clap lets only these words through").1
    })
}
