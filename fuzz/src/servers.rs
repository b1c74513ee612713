//! The pure halves of the servers: the ring and the rules of half-close, and the faulty server's script.

use std::collections::VecDeque;

use echo_tester::server::echo::Echo;
use echo_tester::server::fault::{Fault, FaultKind, Rehearsal};

use super::input::Input;

/// The ring beside a plain queue: whatever the order of calls, the same bytes come out, and what is due follows from
/// what waits.
pub fn echo_ring(data: &[u8]) {
    let mut input = Input(data);
    let mut memory = vec![0; input.below(70) + 1];
    let mut echo = Echo::new(memory.len());
    let (mut queue, mut next, mut has_fin, mut fin_sent) = (VecDeque::new(), 0u8, false, false);
    while !input.is_empty() {
        match input.byte() % 6 {
            0 | 1 if !has_fin => {
                let at: Vec<usize> = echo.space().into_iter().flatten().collect();
                assert_eq!(at.len(), memory.len() - queue.len(), "what is not pending is free");
                let n = input.below(80).min(at.len());
                for place in &at[..n] {
                    next = next.wrapping_add(1);
                    memory[*place] = next;
                    queue.push_back(next);
                }
                echo.received(n);
            }
            2 | 3 => {
                let at: Vec<usize> = echo.pending().into_iter().flatten().collect();
                assert!(at.iter().map(|place| &memory[*place]).eq(&queue), "what waits is what came");
                let n = input.below(80).min(at.len());
                queue.drain(..n);
                echo.sent(n);
            }
            4 => {
                if input.byte() & 1 == 0 {
                    echo.rewind();
                } else if !queue.is_empty() || input.byte() & 1 == 0 {
                    let capacity = queue.len().max(1) + input.below(30);
                    memory = queue.iter().copied().chain(std::iter::repeat(0)).take(capacity).collect();
                    echo.moved(capacity);
                }
            }
            5 if input.byte() == 0 => {
                has_fin = true;
                echo.fin_received();
            }
            _ if echo.due().finish => {
                fin_sent = true;
                echo.fin_sent();
            }
            _ => {}
        }
        let due = echo.due();
        assert_eq!(echo.backlog(), queue.len());
        assert_eq!(due.send, !queue.is_empty());
        assert_eq!(due.receive, !has_fin && queue.len() < memory.len());
        assert_eq!(due.finish, has_fin && queue.is_empty() && !fin_sent);
        assert_eq!(echo.is_over(), has_fin && queue.is_empty() && fin_sent);
    }
}

/// The faulty server: whatever its faults, it ends; the cuts of what it receives make no difference, except to faults
/// that are about them; and without a fault it echoes.
pub fn fault_script(data: &[u8]) {
    let split = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let (specs, rest) = data.split_at(split);
    let Ok(specs) = std::str::from_utf8(specs) else { return };
    let Ok(faults) =
        specs.split(' ').filter(|spec| !spec.is_empty()).map(str::parse).collect::<Result<Vec<Fault>, _>>()
    else {
        return;
    };
    if faults.iter().any(|fault| fault.len > 4096) {
        // A MiB at each of many places would take long, and shows nothing else.
        return;
    }
    let mut input = Input(rest.get(1..).unwrap_or_default());
    let (seed, conn) = (u64::from(input.byte()), u64::from(input.byte() % 4));
    let cuts = [input.below(300) + 1, input.below(9) + 1];
    let received: Vec<u8> = input.0.repeat(usize::from(input.byte() % 8) + 1);
    let whole = Rehearsal::of(&faults, seed, conn, [&received[..]]);
    let mut pieces = Vec::new();
    let (mut left, mut sizes) = (&received[..], cuts.iter().cycle());
    while !left.is_empty() {
        let (piece, later) = left.split_at(left.len().min(*sizes.next().expect("the sizes repeat")));
        pieces.push(piece);
        left = later;
    }
    let cut = Rehearsal::of(&faults, seed, conn, pieces);
    if faults.is_empty() {
        assert_eq!(whole.sent, received);
    }
    let is_of_receives = |fault: &Fault| {
        fault.sends_whole_buffer() || matches!(fault.kind, FaultKind::FinWithoutDrain | FaultKind::Telnet)
    };
    if !faults.iter().any(is_of_receives) {
        assert_eq!(cut, whole, "{specs}: the cuts {cuts:?} make a difference");
    }
}
