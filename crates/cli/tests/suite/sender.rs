//! The command whose traffic is counted: known datagrams, echoes and a connection, and a capture of what `lo` saw.
//!
//! The capture is a pcap file of Linux "cooked" packets, because that form records each packet's direction.

use std::fs;
use std::path::Path;

use twinbpf_vm::capture::PacketKind;
use twinbpf_vm::live::{LiveFrame, PacketSocket};

use crate::traffic::Traffic;

/// The argument that makes this program a sender.
pub(crate) const MODE: &str = "traffic";

/// Bytes in outgoing UDP frames: 7 of 142 and 3 of 1042.
pub(crate) const UDP_BYTES: u64 = 4120;
/// Bytes in outgoing ICMP frames: 5 echoes and 5 replies of 98.
pub(crate) const ICMP_BYTES: u64 = 980;

const ETHERNET_HEADER: usize = 14;

/// Sends the pattern, and writes what a packet socket without any filter saw of it.
pub(crate) fn send_and_capture(path: &Path) {
    let mut socket = PacketSocket::open("lo").unwrap();
    let mut traffic = Traffic::open().unwrap();
    let udp = traffic.udp(7, 100).unwrap() + traffic.udp(3, 1000).unwrap();
    let icmp = traffic.icmp_echo(5, 56).unwrap();
    assert_eq!((udp, icmp), (UDP_BYTES, ICMP_BYTES));
    traffic.tcp(10_000).unwrap();

    let mut capture = file_header();
    let mut buffer = vec![0; 1 << 16];
    while let Some(frame) = socket.recv(&mut buffer).unwrap() {
        capture.extend(record(&frame, &buffer[..frame.captured_len]));
    }
    assert_eq!(socket.statistics().unwrap().dropped, 0);
    fs::write(path, capture).unwrap();
}

/// Magic, version 2.4, snapshot length, link type 113: Linux cooked.
fn file_header() -> Vec<u8> {
    let words: [u32; 6] = [0xa1b2_c3d4, 2 | 4 << 16, 0, 0, 1 << 16, 113];
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A record header, a cooked header in place of the Ethernet header, and the packet.
fn record(frame: &LiveFrame, data: &[u8]) -> Vec<u8> {
    let cooked = cooked_header(frame.packet_kind, frame.protocol);
    let packet = &data[ETHERNET_HEADER..];
    let len = u32::try_from(cooked.len() + packet.len()).unwrap();
    let times_and_lengths: [u32; 4] = [0, 0, len, len];
    let header = times_and_lengths.iter().flat_map(|word| word.to_le_bytes());
    header.chain(cooked).chain(packet.iter().copied()).collect()
}

/// Packet type, hardware type 772 (loopback), no address, protocol.
fn cooked_header(kind: PacketKind, protocol: u16) -> Vec<u8> {
    let mut header = vec![0, kind.number()];
    header.extend(772_u16.to_be_bytes());
    header.extend([0; 10]);
    header.extend(protocol.to_be_bytes());
    header
}
