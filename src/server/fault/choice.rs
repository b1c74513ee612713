//! The values of the keys that take a keyword: `from=older`, `mode=insert`, `until=input`.

use crate::units::ParseError;

/// Where the bytes of `stale` come from (`from`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleOrigin {
    /// A fixed buffer, whose whole content is sent after each receive.
    Buffer,
    /// An earlier place in the stream of the same connection.
    Older,
    /// A closed connection.
    Closed,
}

/// Where foreign or old bytes go (`mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// They replace as many of the connection's own bytes, as when a buffer is reused too early.
    Replace,
    /// They are inserted between the connection's own bytes.
    Insert,
    /// Crosstalk only: the connection's own bytes are inserted on another connection instead.
    Move,
}

/// The fate of connections beyond a `limit` (`beyond`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverLimit {
    /// They are never served, as when a table of connections is full.
    Ignore,
    /// They are served when earlier ones have ended, as with a pool of threads.
    Queue,
}

/// What ends the silence of a connection whose wake-up was lost (`until`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SilentUntil {
    /// Nothing: no event of its socket is waited for any more.
    Never,
    /// More bytes: each receive tries to send once.
    Input,
}

/// What a client meets when its connection was idle for too long (`then`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterIdle {
    /// Nothing ever comes, as behind a translator of addresses that has forgotten the connection.
    Silence,
    /// The next packet is answered with a reset.
    Reset,
}

/// What an urgent byte cuts (`cuts`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrgentCut {
    /// The connection ends.
    Connection,
    /// The bytes that wait to be sent, and those of the next receive, are dropped.
    Pending,
}

/// Which bytes a terminal layer does not pass (`what`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TerminalRule {
    /// NUL is dropped (RFC 854: NUL is no operation).
    Nul,
    /// 0xFF starts a command, which is swallowed; 0xFF 0xFF is one 0xFF (RFC 854, IAC).
    Iac,
    /// 0xFF is sent twice.
    Double,
    /// XON and XOFF (0x11, 0x13) are dropped, as by a terminal with IXON.
    Xon,
}

pub(super) const ORIGINS: &[(&str, StaleOrigin)] =
    &[("buffer", StaleOrigin::Buffer), ("older", StaleOrigin::Older), ("closed", StaleOrigin::Closed)];
pub(super) const MODES: &[(&str, Placement)] =
    &[("replace", Placement::Replace), ("insert", Placement::Insert), ("move", Placement::Move)];
pub(super) const BEYOND: &[(&str, OverLimit)] = &[("ignore", OverLimit::Ignore), ("queue", OverLimit::Queue)];
pub(super) const UNTIL: &[(&str, SilentUntil)] = &[("never", SilentUntil::Never), ("input", SilentUntil::Input)];
pub(super) const THEN: &[(&str, AfterIdle)] = &[("silence", AfterIdle::Silence), ("reset", AfterIdle::Reset)];
pub(super) const CUTS: &[(&str, UrgentCut)] = &[("connection", UrgentCut::Connection), ("pending", UrgentCut::Pending)];
pub(super) const RULES: &[(&str, TerminalRule)] = &[
    ("nul", TerminalRule::Nul),
    ("iac", TerminalRule::Iac),
    ("double", TerminalRule::Double),
    ("xon", TerminalRule::Xon),
];

/// The meaning of one of these keywords.
pub(super) fn keyword<T: Copy>(value: &str, keywords: &[(&str, T)]) -> Result<T, ParseError> {
    keywords.iter().find(|(keyword, _)| *keyword == value).map(|(_, meaning)| *meaning).ok_or_else(|| {
        let keywords: Vec<_> = keywords.iter().map(|(keyword, _)| *keyword).collect();
        ParseError::new("unknown value").with_remedy(format!("write {}", keywords.join(" or ")))
    })
}

/// The keyword with this meaning.
pub(super) fn keyword_for<T: PartialEq>(meaning: &T, keywords: &'static [(&str, T)]) -> &'static str {
    keywords.iter().find(|(_, known)| known == meaning).expect("every meaning has a keyword").0
}
