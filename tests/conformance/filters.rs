//! The cases about TCP's options, against boxes on the way with the defect that each of them is for. A filter at the
//! socket of a server stands in for the box (socket(7), SO_ATTACH_FILTER).

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::thread;
use std::time::Duration;

use socket2::{SockFilter, SockRef};

use super::command_line::said;
use super::sockets::echo;
use super::{failed, serve, server};

/// An instruction of a filter: operation, jumps if true and if not, operand (linux/filter.h).
type Op = (u32, u8, u8, u32);

fn op(code: u32, jt: u8, jf: u8, k: u32) -> Op {
    (code, jt, jf, k)
}

/// Makes these instructions the filter of a socket.
fn attach(socket: SockRef<'_>, ops: &[Op]) -> io::Result<()> {
    let filter: Vec<SockFilter> =
        ops.iter().map(|(code, jt, jf, k)| SockFilter::new(*code as u16, *jt, *jf, *k)).collect();
    socket.attach_filter(&filter)
}

const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
const LOAD_SHORT: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const IF_AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const AND: u32 = libc::BPF_ALU | libc::BPF_AND | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
/// The byte of a TCP header with its flags, and those of a SYN.
const FLAGS: u32 = 13;
const SYN_AND_ACK: u32 = 0x12;
const SYN: u32 = 0x02;

/// An echo server whose listener sees no SYN that this filter drops. The filter gets SYNs alone.
fn behind(drops: &[Op]) -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let only_syns =
        [op(LOAD_BYTE, 0, 0, FLAGS), op(AND, 0, 0, SYN_AND_ACK), op(IF_EQUAL, 1, 0, SYN), op(RETURN, 0, 0, u32::MAX)];
    attach(SockRef::from(&socket), &[&only_syns, drops].concat()).expect("the filter is valid");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    socket.listen(1024).expect("the socket is bound");
    serve(socket.into(), echo)
}

#[test]
fn a_filter_that_drops_syns_with_a_small_mss_fails_7_1_alone() {
    // The first option of a SYN is the MSS, at byte 20: kind 2, length 4, value.
    let filter = behind(&[
        op(LOAD_SHORT, 0, 0, 22),
        op(IF_AT_LEAST, 1, 0, 501),
        op(RETURN, 0, 0, 0),
        op(RETURN, 0, 0, u32::MAX),
    ]);
    assert_eq!(failed(filter, &["1.1", "7.1", "7.2"]), ["7.1"]);
}

#[test]
fn a_filter_that_drops_syns_whose_windows_are_not_scaled_fails_7_2_alone() {
    // Linux sends MSS, SACK, time stamps, NOP, and at byte 37 the window scale: kind 3, length 3, shift.
    let filter = behind(&[
        op(LOAD_SHORT, 0, 0, 37),
        op(IF_EQUAL, 0, 2, 0x0303),
        op(LOAD_BYTE, 0, 0, 39),
        op(IF_EQUAL, 1, 0, 0),
        op(RETURN, 0, 0, u32::MAX),
        op(RETURN, 0, 0, 0),
    ]);
    assert_eq!(failed(filter, &["1.1", "7.1", "7.2"]), ["7.2"]);
}

#[test]
fn a_path_that_drops_segments_without_data_fails_7_6_alone() {
    let drops_probes = server(|mut stream| {
        let mut buffer = vec![0; 1 << 16];
        let mut is_first = true;
        loop {
            let n = stream.read(&mut buffer)?;
            if n == 0 {
                return stream.shutdown(Shutdown::Write);
            }
            stream.write_all(&buffer[..n])?;
            // The client acknowledges the first echo before the filter stands.
            if std::mem::take(&mut is_first) && stream.set_read_timeout(Some(Duration::from_millis(300))).is_ok() {
                let _ = stream.peek(&mut buffer[..1]);
                stream.set_read_timeout(None)?;
                attach(SockRef::from(&stream), &no_bare_acks())?;
            }
        }
    });
    assert_eq!(failed(drops_probes, &["1.1", "6.2", "7.6"]), ["7.6"]);
}

#[test]
fn a_server_that_takes_no_fast_open_is_not_judged_by_it() {
    let target = server(echo).to_string();
    let (_, out, err) = said(&["check", &target, "--filter", "7.5 ", "-q", "--json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {err}"));
    let case = &report["cases"][0];
    assert_eq!(case["outcome"], "unsupported", "{case}");
    assert!(case["reasons"][0].to_string().contains("takes no Fast Open"), "{case}");
}

/// Drops a segment that has no data and neither SYN, FIN nor RST.
fn no_bare_acks() -> [Op; 11] {
    [
        op(LOAD_BYTE, 0, 0, FLAGS),
        op(AND, 0, 0, 0x07),
        op(IF_EQUAL, 0, 6, 0),
        // The length of the header: the upper four bits of byte 12, in words.
        op(LOAD_BYTE, 0, 0, 12),
        op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 0, 0, 2),
        op(AND, 0, 0, 0x3c),
        op(libc::BPF_MISC | libc::BPF_TAX, 0, 0, 0),
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_X, 1, 0, 0),
        op(RETURN, 0, 0, u32::MAX),
        op(RETURN, 0, 0, 0),
    ]
}

#[test]
fn connects_whose_syn_is_dropped_once_pass_and_are_told() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    let nothing = [op(RETURN, 0, 0, 0)];
    attach(SockRef::from(&socket), &nothing).expect("the filter is valid");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port is free");
    socket.listen(64).expect("the socket is bound");
    let listener: TcpListener = socket.into();
    let gate = listener.try_clone().expect("a descriptor is free");
    let target = serve(listener, echo).to_string();
    thread::spawn(move || {
        // sleep: the first SYNs come in this time, and are dropped.
        thread::sleep(Duration::from_millis(600));
        SockRef::from(&gate).detach_filter().expect("there is one");
    });
    let load = ["blast", &target, "-q", "--conns", "6", "--messages", "2", "--plain"];
    let (code, out, err) = said(&load);
    let said = format!("{out}{err}");
    assert!(code == 0 && said.contains("took 1 s and more: their SYN was dropped"), "{said}");
}
