//! What a client and one proxy say to each other before the stream begins.

/// The client's side of a dialogue. It takes the proxy's answers in parts of known sizes, because whatever comes after
/// the last part belongs to the stream.
pub(super) trait Dialogue {
    /// The first thing to send.
    fn begin(&mut self) -> Vec<u8>;

    /// How many bytes the next part of the answer has at least; 0: the proxy has opened the way.
    fn wanted(&self) -> usize;

    /// Takes a part of exactly [`wanted`](Self::wanted) bytes. Returns what to send next; may be empty.
    ///
    /// # Errors
    /// The proxy refuses, or does not speak this protocol.
    fn take(&mut self, part: &[u8]) -> Result<Vec<u8>, Refusal>;
}

/// Why a proxy does not open the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It refuses the connect, for this reason.
    Connect(String),
    /// It wants to know who asks, or does not accept who does; what to do.
    User(String),
    /// It speaks another protocol: it answered this.
    Foreign(String),
}

/// The first bytes of an answer that is not understood: as text, if that is what it is.
pub(super) fn shown(bytes: &[u8]) -> String {
    const SHOWN: usize = 24;
    let bytes = &bytes[..bytes.len().min(SHOWN)];
    match std::str::from_utf8(bytes) {
        Ok(text) if text.chars().all(|c| !c.is_control() || c == '\r' || c == '\n') => format!("{text:?}"),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}

/// Has a dialogue take an answer in pieces of at most `cut` bytes. Returns what it sent after its beginning, how much
/// of the answer it took, and how it ended.
#[cfg(test)]
pub(super) fn converse(dialogue: &mut dyn Dialogue, answer: &[u8], cut: usize) -> (Vec<u8>, usize, Option<Refusal>) {
    let (mut sent, mut part, mut taken) = (Vec::new(), Vec::new(), 0);
    while dialogue.wanted() > 0 && taken < answer.len() {
        let n = cut.min(dialogue.wanted() - part.len()).min(answer.len() - taken);
        part.extend_from_slice(&answer[taken..taken + n]);
        taken += n;
        if part.len() == dialogue.wanted() {
            match dialogue.take(&std::mem::take(&mut part)) {
                Ok(next) => sent.extend(next),
                Err(refusal) => return (sent, taken, Some(refusal)),
            }
        }
    }
    (sent, taken, None)
}
