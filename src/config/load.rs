//! A load group as it was typed: the flags of `blast` and `compare`, and the keys of a scenario's `[[load]]`.
//!
//! The doc comments are the help texts, and the descriptions in the JSON Schema. What the defaults are, `resolve` says.

use clap::Args;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::flags::{TrueOrFalse, keyword_parser, list_forms, to_flags};
use super::forms::{Fragment, Pipeline};
use crate::plan::{
    Close, Distribution, FirstBytes, FirstSpeaker, Flow, Lifetime, PortRange, Read, Reconnect, TimeRange, Verify,
};
use crate::units::{Bytes, Count, Rate, Time};

/// One load group as it was typed. Each field is a flag (`--connect-rate`), a TOML key (`connect_rate`) and an
/// environment variable (`ECHO_TESTER_CONNECT_RATE`). Absent fields take their defaults in [`resolve`](Self::resolve).
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[command(next_help_heading = "Load", mut_arg("size", list_forms::<Distribution>), mut_arg("read", list_forms::<Read>))]
#[serde(deny_unknown_fields)]
pub struct LoadArgs {
    /// The load's name in reports
    #[arg(skip)]
    pub name: Option<String>,

    /// Connections that are open at a time [default: 100]
    #[arg(short = 'c', long, value_name = "N", env = "ECHO_TESTER_CONNS", hide_env = true)]
    pub conns: Option<Count>,

    /// Messages per connection [default: 100 if nothing else ends it]
    #[arg(short = 'n', long, value_name = "N", env = "ECHO_TESTER_MESSAGES", hide_env = true)]
    pub messages: Option<Count>,

    /// Bytes per connection; the last message is cut to fit [default: no limit]
    ///
    /// With --read after-stall or never, the default is 32MiB if nothing else ends the connection.
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_BYTES", hide_env = true)]
    pub bytes: Option<Bytes>,

    /// Time after which connections end, each after its current message [default: no limit]
    ///
    /// It counts from the start of the run and includes the time to open the connections.
    #[arg(short = 'd', long, value_name = "TIME", env = "ECHO_TESTER_DURATION", hide_env = true)]
    pub duration: Option<Time>,

    /// Message sizes [default: 1..16KiB]
    #[arg(long, value_name = "SIZES", env = "ECHO_TESTER_SIZE", hide_env = true)]
    pub size: Option<Distribution>,

    /// Sizes of writes, in the forms of --size, or off: each message is one write [default: 1..4KiB]
    #[arg(long, value_name = "SIZES", env = "ECHO_TESTER_FRAGMENT", hide_env = true)]
    pub fragment: Option<Fragment>,

    /// Pause between two writes: 5ms, or 0..5ms [default: 0]
    ///
    /// With --rate, it applies only between the writes of one message.
    #[arg(long, value_name = "TIMES", env = "ECHO_TESTER_GAP", hide_env = true)]
    pub gap: Option<TimeRange>,

    /// Messages in flight: sent but not yet echoed [default: 1; unlimited with --rate or --read]
    ///
    /// A number, or unlimited, which is the default with --rate and with any --read other than normal.
    #[arg(long, value_name = "N", env = "ECHO_TESTER_PIPELINE", hide_env = true)]
    pub pipeline: Option<Pipeline>,

    /// Open loop: messages per second of all connections together [default: closed loop]
    ///
    /// The round trip of a message then counts from its scheduled time, even if it could not be sent then. The schedule
    /// starts when every connection is open or has failed to open.
    #[arg(short = 'r', long, value_name = "RATE", env = "ECHO_TESTER_RATE", hide_env = true)]
    pub rate: Option<Rate>,

    /// Connections to open per second [default: all at once]
    #[arg(long, value_name = "RATE", env = "ECHO_TESTER_CONNECT_RATE", hide_env = true)]
    pub connect_rate: Option<Rate>,

    /// Time over which the connections are opened evenly [default: 0]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_RAMP", hide_env = true)]
    pub ramp: Option<Time>,

    /// Connections to end per second, when all end at one time [default: all at once]
    ///
    /// All connections end at one time when the --duration is over, and with --close keep when all are done. Thousands
    /// of ends in one moment can take a machine longer than their time-outs. With --close keep, the default is the pace
    /// at which they were opened: --connect-rate or --ramp.
    #[arg(long, value_name = "RATE", env = "ECHO_TESTER_CLOSE_RATE", hide_env = true)]
    pub close_rate: Option<Rate>,

    /// Time over which connections that end at one time end evenly [default: 0]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_RAMP_DOWN", hide_env = true)]
    pub ramp_down: Option<Time>,

    /// How to read the echo: normal, slow:64KiB/s, pause:2s, dribble:2s, after-stall, never [default: normal]
    #[arg(long, value_name = "HOW", env = "ECHO_TESTER_READ", hide_env = true)]
    pub read: Option<Read>,

    /// How connections end [default: half-close; keep with --read never]
    ///
    /// half-close: FIN, then every byte must come, then EOF · after-echo: every byte must come, then close · reset: RST
    /// in mid-stream · half-close-reset: FIN, half of the echo, then RST · abandon: close with the echo unread ·
    /// shutdown-read, shutdown-both: shut down that direction of the socket while echo is owed, and close a moment
    /// later · together: as after-echo, but no connection closes before every connection of the load has its echo ·
    /// keep: stay open until the run ends
    #[arg(
        long, value_name = "HOW", env = "ECHO_TESTER_CLOSE", hide_env = true,
        value_parser = keyword_parser(Close::KEYWORDS), hide_possible_values = false
    )]
    pub close: Option<Close>,

    /// End connections early: after 10 or 1..20 messages, or after 5s or 1s..10s [default: never]
    #[arg(long, value_name = "HOW-LONG", env = "ECHO_TESTER_LIFETIME", hide_env = true)]
    pub lifetime: Option<Lifetime>,

    /// Open another connection after one that ended: off, forever, or a number of times [default: off]
    ///
    /// With --lifetime and --duration, the default is forever. The new connection has its own id and plan, and its own
    /// --messages and --bytes.
    #[arg(long, value_name = "TIMES", env = "ECHO_TESTER_RECONNECT", hide_env = true)]
    pub reconnect: Option<Reconnect>,

    /// Pause before a connection is reopened [default: 0]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_RECONNECT_DELAY", hide_env = true)]
    pub reconnect_delay: Option<Time>,

    /// How long opening a connection may take [default: 10s]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_CONNECT_TIMEOUT", hide_env = true)]
    pub connect_timeout: Option<Time>,

    /// How long a connection may wait for the server without progress [default: 10s]
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_STALL_TIMEOUT", hide_env = true)]
    pub stall_timeout: Option<Time>,

    /// How long a connection may take to finish after --duration or --lifetime [default: 10s; that of --stall-timeout]
    ///
    /// It finishes the message that it is in, and ends. What is not done by then is too-slow.
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_GRACE", hide_env = true)]
    pub grace: Option<Time>,

    /// End the run at the first finding [default: false]
    #[arg(
        long, value_name = "BOOL", env = "ECHO_TESTER_FAIL_FAST", hide_env = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = TrueOrFalse,
        hide_possible_values = true
    )]
    pub fail_fast: Option<bool>,

    /// Whether to compare the echo byte for byte; off only counts it, and never passes [default: full]
    ///
    /// off is for measuring: as nothing was verified, the verdict is inconclusive at best (exit code 4).
    #[arg(
        long, value_name = "HOW", env = "ECHO_TESTER_VERIFY", hide_env = true, value_parser = keyword_parser(Verify::KEYWORDS)
    )]
    pub verify: Option<Verify>,

    /// Leave Nagle's algorithm on: no TCP_NODELAY [default: false]
    #[arg(
        long, value_name = "BOOL", env = "ECHO_TESTER_NAGLE", hide_env = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = TrueOrFalse,
        hide_possible_values = true
    )]
    pub nagle: Option<bool>,

    /// Send buffer, SO_SNDBUF [default: the system's choice]
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_SNDBUF", hide_env = true)]
    pub sndbuf: Option<Bytes>,

    /// Receive buffer, SO_RCVBUF [default: the system's choice]
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_RCVBUF", hide_env = true)]
    pub rcvbuf: Option<Bytes>,

    /// The largest segment that is asked for and sent, TCP_MAXSEG; not on Windows [default: the system's choice]
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_MSS", hide_env = true)]
    pub mss: Option<Bytes>,

    /// Probe a silent connection after this time, and again after each such time [default: the system's choice]
    ///
    /// Three lost probes end it; ten on Windows.
    #[arg(long, value_name = "TIME", env = "ECHO_TESTER_KEEPALIVE", hide_env = true)]
    pub keepalive: Option<Time>,

    /// Send the first bytes with the SYN, TCP Fast Open; only on Linux [default: false]
    ///
    /// It happens once the server has given a cookie, which takes a first connection, and only if the server takes part
    /// (net.ipv4.tcp_fastopen). The metric fast_open counts the connections for which it happened.
    #[arg(
        long, value_name = "BOOL", env = "ECHO_TESTER_FAST_OPEN", hide_env = true, num_args = 0..=1,
        require_equals = true, default_missing_value = "true", value_parser = TrueOrFalse,
        hide_possible_values = true
    )]
    pub fast_open: Option<bool>,

    /// Ports to connect from, used in turn: 20000, or 20000..20100 [default: the system's choice]
    ///
    /// A reconnect that comes to a port again has the addresses and ports of the connection before it. As long as this
    /// machine keeps a port for a closed connection (TIME_WAIT), the connect is put off, for --connect-timeout at most.
    #[arg(long, value_name = "PORTS", env = "ECHO_TESTER_SOURCE_PORT", hide_env = true)]
    pub source_port: Option<PortRange>,

    /// First bytes that look like tls, http, ssh, proxy-v1 or proxy-v2 [default: the stream's own]
    ///
    /// They stand in place of the first bytes of the stream, and must come back like all others. A proxy that looks
    /// into connections treats them as it finds right.
    #[arg(
        long, value_name = "PROTOCOL", env = "ECHO_TESTER_FIRST_BYTES", hide_env = true,
        value_parser = keyword_parser(FirstBytes::KEYWORDS), hide_possible_values = true
    )]
    pub first_bytes: Option<FirstBytes>,

    /// Send a byte of urgent data (MSG_OOB) before this offset of each connection's stream [default: none]
    ///
    /// It is not a byte of the stream. The server may drop it or send it back at its place; all others must be exact.
    /// With the stream's length as OFFSET it goes behind the last byte.
    #[arg(long, value_name = "OFFSET", env = "ECHO_TESTER_URGENT", hide_env = true)]
    pub urgent: Option<Bytes>,

    /// Who sends what: echo; with --backend, both, upload, download or request [default: echo; both with --backend]
    ///
    /// echo: the server sends back what it gets · both: client and server send, and neither waits for the other ·
    /// upload: the client sends alone · download: the server sends alone, as much as --messages, --bytes and --size
    /// say, once the client's first 16 bytes have told it which connection this is · request: the server answers each
    /// message with one of its own, of --backend-size
    #[arg(
        long, value_name = "FLOW", env = "ECHO_TESTER_FLOW", hide_env = true,
        value_parser = keyword_parser(Flow::KEYWORDS), hide_possible_values = true
    )]
    pub flow: Option<Flow>,

    /// Who sends the first bytes: client, or with --backend server, as in FTP, SMTP and SSH [default: client]
    ///
    /// server: the server sends 16 bytes on each connection that it accepts, and the client sends nothing before these
    /// have come. By them it knows which connection it is. All loads of a run must have the same.
    #[arg(
        long, value_name = "SIDE", env = "ECHO_TESTER_SPEAKS_FIRST", hide_env = true,
        value_parser = keyword_parser(FirstSpeaker::KEYWORDS), hide_possible_values = true
    )]
    pub speaks_first: Option<FirstSpeaker>,

    /// Sizes of the server's messages, with --backend; by default as --size
    #[arg(long, value_name = "SIZES", env = "ECHO_TESTER_BACKEND_SIZE", hide_env = true)]
    pub backend_size: Option<Distribution>,

    /// Messages that the server sends on each connection, with --backend; by default as --messages
    #[arg(long, value_name = "N", env = "ECHO_TESTER_BACKEND_MESSAGES", hide_env = true)]
    pub backend_messages: Option<Count>,

    /// Bytes that the server sends on each connection, with --backend; by default as --bytes
    #[arg(long, value_name = "BYTES", env = "ECHO_TESTER_BACKEND_BYTES", hide_env = true)]
    pub backend_bytes: Option<Bytes>,

    /// Pause between two writes of the server, with --backend; by default none
    #[arg(long, value_name = "TIMES", env = "ECHO_TESTER_BACKEND_GAP", hide_env = true)]
    pub backend_gap: Option<TimeRange>,

    /// Messages per second that the server sends, on all connections together, with --backend; by default no limit
    ///
    /// With --flow both or download. The schedule starts with that of --rate, when every connection is open. Messages
    /// that are due before the server knows a connection, by the client's first 16 bytes, are sent as soon as it does.
    #[arg(long, value_name = "RATE", env = "ECHO_TESTER_BACKEND_RATE", hide_env = true)]
    pub backend_rate: Option<Rate>,

    /// How the server reads, with --backend, in the forms of --read; by default normal
    #[arg(long, value_name = "HOW", env = "ECHO_TESTER_BACKEND_READ", hide_env = true)]
    pub backend_read: Option<Read>,

    /// How the server ends a connection, with --backend; by default half-close, and after-echo with --flow upload
    ///
    /// half-close: FIN once it has sent everything, and goes on reading · after-echo: FIN once everything and the FIN
    /// of the client have come · reset: RST once it has sent everything · abandon: close with bytes of the client
    /// unread
    #[arg(
        long, value_name = "HOW", env = "ECHO_TESTER_BACKEND_CLOSE", hide_env = true,
        value_parser = keyword_parser(Close::KEYWORDS), hide_possible_values = true
    )]
    pub backend_close: Option<Close>,
}

impl LoadArgs {
    /// The flags that say the same, for a command line that runs it again: `--conns 500 --fail-fast …`.
    pub fn to_flags(&self) -> Vec<String> {
        to_flags(self, &["name"])
    }
}
