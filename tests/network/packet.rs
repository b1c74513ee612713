//! IPv4 packets as bytes: what the relay has to know of them (RFC 791, 792 and 9293).

/// The header of an ICMP message, and the part of the offending packet's payload that it returns.
const ICMP_HEADER: usize = 8;
const RETURNED_PAYLOAD: usize = 8;
const MIN_IP_HEADER: usize = 20;
const MIN_TCP_HEADER: usize = 20;
const ICMP: u8 = 1;
const TCP: u8 = 6;

/// Whether the packet is a TCP segment.
pub(super) fn is_tcp(packet: &[u8]) -> bool {
    packet.len() >= MIN_IP_HEADER + MIN_TCP_HEADER && packet[0] >> 4 == 4 && packet[9] == TCP
}

fn ip_header(packet: &[u8]) -> usize {
    usize::from(packet[0] & 15) * 4
}

/// Where the payload of a TCP segment begins.
pub(super) fn payload(packet: &[u8]) -> usize {
    let tcp = ip_header(packet);
    tcp + usize::from(packet[tcp + 12] >> 4) * 4
}

/// The port that a TCP segment goes to.
pub(super) fn destination_port(packet: &[u8]) -> u16 {
    let tcp = ip_header(packet);
    u16::from_be_bytes([packet[tcp + 2], packet[tcp + 3]])
}

/// Whether no router may cut the packet into fragments.
pub(super) fn must_not_be_fragmented(packet: &[u8]) -> bool {
    packet[6] & 0x40 != 0
}

/// The checksum of these bytes, with a sum that was begun elsewhere (RFC 1071).
fn checksum(bytes: &[u8], begun: u32) -> [u8; 2] {
    let words = bytes.chunks(2).map(|word| u32::from(word[0]) << 8 | word.get(1).copied().map_or(0, u32::from));
    let mut sum = begun + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    (!(sum as u16)).to_be_bytes()
}

/// The checksum of a TCP segment, over all but its own field.
fn tcp_checksum(packet: &[u8]) -> [u8; 2] {
    let mut segment = packet[ip_header(packet)..].to_vec();
    segment[16..18].fill(0);
    // The pseudo header: both addresses, the protocol and the length.
    let addresses: u32 = packet[12..20].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word[1])).sum();
    checksum(&segment, addresses + u32::from(TCP) + segment.len() as u32)
}

/// Makes the checksum of a TCP segment that of its bytes.
pub(super) fn mend_checksum(packet: &mut [u8]) {
    let right = tcp_checksum(packet);
    let field = ip_header(packet) + 16;
    packet[field..field + 2].copy_from_slice(&right);
}

/// What a router answers to a packet that is too large for its next link: 'fragmentation needed', with the MTU there.
pub(super) fn too_large(packet: &[u8], mtu: u16) -> Vec<u8> {
    let returned = &packet[..(ip_header(packet) + RETURNED_PAYLOAD).min(packet.len())];
    let length = (MIN_IP_HEADER + ICMP_HEADER + returned.len()) as u16;
    let mut answer = vec![0; MIN_IP_HEADER + ICMP_HEADER];
    answer[0] = 0x45;
    answer[2..4].copy_from_slice(&length.to_be_bytes());
    answer[8] = 64;
    answer[9] = ICMP;
    // It comes from the other end, since the relay has no address of its own.
    answer[12..16].copy_from_slice(&packet[16..20]);
    answer[16..20].copy_from_slice(&packet[12..16]);
    let sum = checksum(&answer[..MIN_IP_HEADER], 0);
    answer[10..12].copy_from_slice(&sum);
    answer[20..22].copy_from_slice(&[3, 4]);
    answer[26..28].copy_from_slice(&mtu.to_be_bytes());
    answer.extend_from_slice(returned);
    let sum = checksum(&answer[MIN_IP_HEADER..], 0);
    answer[22..24].copy_from_slice(&sum);
    answer
}

/// A SYN from 10.0.0.1 to 10.0.0.2 with the options that Linux sends; its TCP checksum is left out.
#[cfg(test)]
const SYN: [u8; 60] = [
    0x45, 0, 0, 60, 0x1c, 0x46, 0x40, 0, 0x40, 6, 0x0a, 0x74, 10, 0, 0, 1, 10, 0, 0, 2, 0x9c, 0x40, 0x1b, 0x58, 0x12,
    0x34, 0x56, 0x78, 0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0, 0, 0, 0, 2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0,
    1, 3, 3, 7,
];

#[test]
fn a_mended_checksum_is_right_and_a_flipped_bit_makes_it_wrong() {
    let mut packet = SYN;
    mend_checksum(&mut packet);
    assert_ne!(packet[36..38], [0, 0]);
    assert_eq!(packet[36..38], tcp_checksum(&packet));
    assert_eq!((payload(&packet), destination_port(&packet)), (60, 7000), "a SYN without data");
    for at in (20..60).filter(|at| ![36, 37].contains(at)) {
        let mut changed = packet;
        changed[at] ^= 0x10;
        assert_ne!(changed[36..38], tcp_checksum(&changed), "byte {at}");
    }
}

#[test]
fn the_header_of_an_answer_has_a_right_checksum() {
    let answer = too_large(&SYN, 576);
    assert_eq!(answer.len(), 20 + 8 + 28);
    assert_eq!(checksum(&answer[..20], 0), [0, 0], "a sum over all of it, with its own field, is 0");
    assert_eq!(checksum(&answer[20..], 0), [0, 0]);
    assert_eq!(checksum(&SYN[..20], 0), [0, 0], "and that of a packet of the kernel");
    assert_eq!((&answer[12..16], &answer[16..20], &answer[26..28]), (&SYN[16..20], &SYN[12..16], &[2, 64][..]));
}
