//! A terminal's layer under a stream of bytes (`telnet`): NUL, 0xFF, XON and XOFF mean something there (RFC 854). Pure.

use super::choice::TerminalRule;
use super::spec::Fault;

/// 0xFF, which starts a command (RFC 854, IAC).
const IAC: u8 = 0xFF;
/// WILL, WON'T, DO and DON'T, which an option follows.
const WITH_OPTION: std::ops::RangeInclusive<u8> = 251..=254;
const XON: u8 = 0x11;
const XOFF: u8 = 0x13;

/// What the layer does with bytes of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Passed<'b> {
    /// They pass.
    Bytes(&'b [u8]),
    /// Bytes from this offset on are swallowed.
    Dropped {
        /// Offset in the bytes that were received.
        offset: u64,
        /// Bytes.
        extent: u64,
    },
    /// The byte at this offset, which has just passed, is sent once more.
    Doubled {
        /// Offset in the bytes that were received.
        offset: u64,
    },
}

/// The layer of one connection.
pub(super) struct TerminalLayer {
    fault: Fault,
    /// The seed of the places at which it happens.
    key: u64,
    /// A command that is not complete yet: its offset, and how many of its bytes came.
    command: Option<(u64, u64)>,
}

impl TerminalLayer {
    pub(super) fn new(fault: &Fault, key: u64) -> TerminalLayer {
        TerminalLayer { fault: fault.clone(), key, command: None }
    }

    /// Takes bytes that were received from this offset on, and says in order what becomes of them.
    pub(super) fn pass<'b>(&mut self, bytes: &'b [u8], offset: u64, mut out: impl FnMut(Passed<'b>)) {
        // Bytes from here on pass, and are not told yet.
        let mut from = 0;
        for (n, byte) in bytes.iter().enumerate() {
            let (here, before) = (offset + n as u64, from);
            if self.command.is_none() && !self.fault.happens(self.key, here) {
                continue;
            }
            let mut tell = |to: usize| {
                if before < to {
                    out(Passed::Bytes(&bytes[before..to]));
                }
            };
            match self.fault.what {
                _ if self.command.is_some() => {
                    let (end, passes) = self.in_command(*byte);
                    from = if passes { n } else { n + 1 };
                    if let Some((offset, extent)) = end {
                        out(Passed::Dropped { offset, extent });
                    }
                }
                TerminalRule::Iac if *byte == IAC => {
                    tell(n);
                    (self.command, from) = (Some((here, 1)), n + 1);
                }
                TerminalRule::Double if *byte == IAC => {
                    tell(n + 1);
                    out(Passed::Doubled { offset: here });
                    from = n + 1;
                }
                TerminalRule::Nul if *byte == 0 => {
                    tell(n);
                    out(Passed::Dropped { offset: here, extent: 1 });
                    from = n + 1;
                }
                TerminalRule::Xon if matches!(*byte, XON | XOFF) => {
                    tell(n);
                    out(Passed::Dropped { offset: here, extent: 1 });
                    from = n + 1;
                }
                _ => {}
            }
        }
        if from < bytes.len() {
            out(Passed::Bytes(&bytes[from..]));
        }
    }

    /// The command that the end of the stream cuts: its offset, and its length so far.
    pub(super) fn end(&mut self) -> Option<(u64, u64)> {
        self.command.take()
    }

    /// A byte within a command. Returns what is swallowed if that is known now, and whether the byte itself passes.
    fn in_command(&mut self, byte: u8) -> (Option<(u64, u64)>, bool) {
        let Some((start, len)) = self.command.take() else { return (None, true) };
        if len == 1 && WITH_OPTION.contains(&byte) {
            self.command = Some((start, 2));
            return (None, false);
        }
        // 0xFF 0xFF is one 0xFF.
        if len == 1 && byte == IAC { (Some((start, 1)), true) } else { (Some((start, len + 1)), false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(what: &str) -> TerminalLayer {
        TerminalLayer::new(&format!("telnet:what={what}").parse().expect("a valid fault spec"), 7)
    }

    /// What passes of these bytes, and what is dropped or doubled where, cut into receives of this many bytes.
    fn through(what: &str, bytes: &[u8], cut: usize) -> (Vec<u8>, Vec<(u64, u64)>) {
        let (mut layer, mut sent, mut places) = (layer(what), Vec::new(), Vec::new());
        for (n, piece) in bytes.chunks(cut).enumerate() {
            layer.pass(piece, (n * cut) as u64, |passed| match passed {
                Passed::Bytes(bytes) => sent.extend_from_slice(bytes),
                Passed::Dropped { offset, extent } => places.push((offset, extent)),
                Passed::Doubled { offset } => {
                    sent.push(bytes[offset as usize]);
                    places.push((offset, 1));
                }
            });
        }
        places.extend(layer.end());
        (sent, places)
    }

    #[test]
    fn each_rule_eats_its_bytes_however_the_stream_is_cut() {
        for cut in 1..12 {
            let text = b"a\0b\0\0c";
            assert_eq!(through("nul", text, cut), (b"abc".to_vec(), vec![(1, 1), (3, 1), (4, 1)]));
            let text = b"\x11a\x13\x12b";
            assert_eq!(through("xon", text, cut), (b"a\x12b".to_vec(), vec![(0, 1), (2, 1)]));
            let text = b"\xFFa\0\xFF";
            assert_eq!(through("double", text, cut).0, b"\xFF\xFFa\0\xFF\xFF");
        }
    }

    #[test]
    fn a_probability_spares_most_bytes() {
        let sent = through("nul,p=0.1", &[0; 1000], 64).0.len();
        assert!((850..950).contains(&sent), "{sent}");
    }

    #[test]
    fn a_command_is_swallowed_and_two_iac_are_one() {
        for cut in 1..16 {
            let text = b"a\xFF\xFFb\xFF\xF1c\xFF\xFB\x01d\xFF\xFD";
            let (sent, places) = through("iac", text, cut);
            assert_eq!(sent, b"a\xFFbcd", "in pieces of {cut}");
            assert_eq!(places, [(1, 1), (4, 2), (7, 3), (11, 2)], "in pieces of {cut}");
        }
    }
}
