//! Capture files of every supported shape, built byte by byte, and what becomes of damaged ones.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::time::Duration;

use twinbpf_object::{Code, Error};
use twinbpf_vm::capture::{Capture, Direction, Frame, PacketKind, Vlan};

/// The byte order of a file that is being built.
#[derive(Clone, Copy)]
enum Order {
    Little,
    Big,
}

impl Order {
    fn u16(self, value: u16) -> [u8; 2] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }

    fn u32(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

const MICROSECONDS: u32 = 0xa1b2_c3d4;
const NANOSECONDS: u32 = 0xa1b2_3c4d;

fn pcap(order: Order, magic: u32, network: u32, packets: &[(u32, &[u8])]) -> Vec<u8> {
    let mut file = Vec::new();
    file.extend(order.u32(magic));
    file.extend(order.u16(2));
    file.extend(order.u16(4));
    file.extend([0; 8]);
    file.extend(order.u32(96));
    file.extend(order.u32(network));
    for (index, (original_len, data)) in packets.iter().enumerate() {
        file.extend(order.u32(1000 + len32(index)));
        file.extend(order.u32(7));
        file.extend(order.u32(len32(data.len())));
        file.extend(order.u32(*original_len));
        file.extend(*data);
    }
    file
}

fn little_pcap(network: u32, packet: &[u8]) -> Vec<u8> {
    pcap(
        Order::Little,
        MICROSECONDS,
        network,
        &[(len32(packet.len()), packet)],
    )
}

fn block(order: Order, kind: u32, body: &[u8]) -> Vec<u8> {
    let padding = body.len().next_multiple_of(4) - body.len();
    let len = order.u32(len32(12 + body.len() + padding));
    let mut bytes = order.u32(kind).to_vec();
    bytes.extend(len);
    bytes.extend(body);
    bytes.extend(vec![0; padding]);
    bytes.extend(len);
    bytes
}

fn section(order: Order) -> Vec<u8> {
    let mut body = order.u32(0x1a2b_3c4d).to_vec();
    body.extend(order.u16(1));
    body.extend(order.u16(0));
    body.extend([0xff; 8]);
    block(order, 0x0a0d_0d0a, &body)
}

/// `options` are pairs of code and value; the end mark is added.
fn options(order: Order, options: &[(u16, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (code, value) in options {
        bytes.extend(order.u16(*code));
        bytes.extend(order.u16(u16::try_from(value.len()).unwrap()));
        bytes.extend(*value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    if !bytes.is_empty() {
        bytes.extend([0; 4]);
    }
    bytes
}

fn interface(order: Order, link_type: u16, list: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = order.u16(link_type).to_vec();
    body.extend([0; 2]);
    body.extend(order.u32(0));
    body.extend(options(order, list));
    block(order, 1, &body)
}

fn enhanced(order: Order, number: u32, time: u64, data: &[u8], flags: Option<u32>) -> Vec<u8> {
    let mut body = order.u32(number).to_vec();
    body.extend(order.u32(u32::try_from(time >> 32).unwrap()));
    body.extend(order.u32(u32::try_from(time & 0xffff_ffff).unwrap()));
    body.extend(order.u32(len32(data.len())));
    body.extend(order.u32(len32(data.len())));
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    if let Some(flags) = flags {
        body.extend(options(order, &[(2, &order.u32(flags))]));
    }
    block(order, 6, &body)
}

/// An Ethernet frame with an IPv4 payload of `len` bytes.
fn ethernet(destination: [u8; 6], len: usize) -> Vec<u8> {
    let mut frame = destination.to_vec();
    frame.extend([2, 0, 0, 0, 0, 9]);
    frame.extend([0x08, 0x00]);
    frame.extend(ipv4(len));
    frame
}

fn ipv4(len: usize) -> Vec<u8> {
    let mut packet = vec![0xaa; len];
    packet[0] = 0x45;
    packet
}

fn len32(len: usize) -> u32 {
    u32::try_from(len).unwrap()
}

fn frames(file: &[u8]) -> Vec<Frame> {
    Capture::parse(file.to_vec())
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

fn only_frame(file: &[u8]) -> Frame {
    let mut all = frames(file);
    assert_eq!(all.len(), 1);
    all.remove(0)
}

/// The frames before the first error, and the error.
fn until_error(file: &[u8]) -> (usize, Error) {
    let mut capture = match Capture::parse(file.to_vec()) {
        Ok(capture) => capture,
        Err(error) => return (0, error),
    };
    let mut count = 0;
    loop {
        match capture.next() {
            Some(Ok(_)) => count += 1,
            Some(Err(error)) => {
                assert!(capture.next().is_none(), "nothing follows an error");
                return (count, error);
            }
            None => panic!("{count} frames and no error"),
        }
    }
}

const HOST: [u8; 6] = [2, 0, 0, 0, 0, 1];

#[test]
fn pcap_in_both_byte_orders_and_both_resolutions_gives_the_same_frames() {
    let packet = ethernet(HOST, 40);
    for order in [Order::Little, Order::Big] {
        for (magic, fraction) in [
            (MICROSECONDS, Duration::from_micros(7)),
            (NANOSECONDS, Duration::from_nanos(7)),
        ] {
            let file = pcap(order, magic, 1, &[(54, &packet), (2000, &packet)]);
            let all = frames(&file);
            assert_eq!(all.len(), 2);
            assert_eq!(all[0].data, packet);
            assert_eq!(all[0].original_len, 54);
            assert_eq!(all[0].timestamp, Duration::from_secs(1000) + fraction);
            assert_eq!(all[0].protocol, 0x0800);
            assert_eq!(all[0].direction, None);
            assert_eq!(all[0].packet_kind, PacketKind::Host);
            // Longer on the wire than the snapshot length of 96: cut, and the true length is kept.
            assert_eq!(all[1].original_len, 2000);
            assert_eq!(all[1].timestamp, Duration::from_secs(1001) + fraction);
        }
    }
}

#[test]
fn an_assumed_direction_fills_in_and_never_overrides() {
    let mut frame = only_frame(&little_pcap(1, &ethernet([0xff; 6], 20)));
    assert_eq!(frame.packet_kind, PacketKind::Broadcast);
    frame.assume_direction(Direction::Out);
    assert_eq!(frame.packet_kind, PacketKind::Outgoing);
    frame.assume_direction(Direction::In);
    assert_eq!(frame.direction, Some(Direction::Out));
    assert_eq!(frame.packet_kind, PacketKind::Outgoing);

    let mut group = only_frame(&little_pcap(1, &ethernet([1, 0, 0x5e, 0, 0, 1], 20)));
    group.assume_direction(Direction::In);
    assert_eq!(group.packet_kind, PacketKind::Multicast);
}

#[test]
fn pcapng_flags_tell_direction_and_kind_of_reception() {
    for order in [Order::Little, Order::Big] {
        let packet = ethernet(HOST, 41);
        let mut file = section(order);
        file.extend(interface(order, 1, &[]));
        for flags in [None, Some(0b01), Some(0b10), Some(0b0_1001), Some(0b1_0001)] {
            file.extend(enhanced(order, 0, 1_500_000, &packet, flags));
        }
        let all = frames(&file);
        let seen: Vec<_> = all
            .iter()
            .map(|frame| (frame.direction, frame.packet_kind))
            .collect();
        assert_eq!(
            seen,
            [
                (None, PacketKind::Host),
                (Some(Direction::In), PacketKind::Host),
                (Some(Direction::Out), PacketKind::Outgoing),
                (Some(Direction::In), PacketKind::Multicast),
                (Some(Direction::In), PacketKind::OtherHost),
            ]
        );
        for frame in all {
            assert_eq!(frame.data, packet);
            assert_eq!(frame.timestamp, Duration::from_millis(1500));
        }
    }
}

#[test]
fn a_section_has_its_own_interfaces_byte_order_and_resolution() {
    let packet = ethernet(HOST, 20);
    let mut file = section(Order::Little);
    file.extend(interface(Order::Little, 1, &[(9, &[9])]));
    file.extend(interface(Order::Little, 101, &[(9, &[3])]));
    file.extend(enhanced(Order::Little, 0, 5_000_000_001, &packet, None));
    file.extend(enhanced(Order::Little, 1, 5_001, &ipv4(30), None));
    file.extend(section(Order::Big));
    file.extend(interface(Order::Big, 1, &[(14, &10_u64.to_be_bytes())]));
    file.extend(enhanced(Order::Big, 0, 2_000_000, &packet, None));
    let all = frames(&file);
    assert_eq!(all[0].timestamp, Duration::new(5, 1));
    assert_eq!(all[1].timestamp, Duration::from_millis(5001));
    assert_eq!((all[1].data.len(), all[1].original_len), (44, 44));
    assert_eq!(all[2].timestamp, Duration::from_secs(12));
    assert_eq!(all.len(), 3);
}

#[test]
fn simple_and_obsolete_packet_blocks_are_read() {
    for order in [Order::Little, Order::Big] {
        let packet = ethernet(HOST, 21);
        let mut file = section(order);
        file.extend(interface(order, 1, &[]));
        let mut simple = order.u32(35).to_vec();
        simple.extend(&packet);
        file.extend(block(order, 3, &simple));
        let mut obsolete = order.u16(0).to_vec();
        obsolete.extend(order.u16(0xffff));
        obsolete.extend(order.u32(1));
        obsolete.extend(order.u32(705_032_704));
        obsolete.extend(order.u32(35));
        obsolete.extend(order.u32(1000));
        obsolete.extend(&packet);
        file.extend(block(order, 2, &obsolete));
        let all = frames(&file);
        assert_eq!(all[0].data, packet);
        assert_eq!(all[0].original_len, 35);
        assert_eq!(all[1].data, packet);
        assert_eq!(all[1].original_len, 1000);
        assert_eq!(all[1].timestamp, Duration::from_secs(5000));
    }
}

#[test]
fn blocks_without_packets_are_skipped_even_if_their_inside_is_damaged() {
    let order = Order::Little;
    let mut file = section(order);
    file.extend(interface(order, 1, &[]));
    for kind in [4, 5, 9, 10, 0x8000_0001] {
        file.extend(block(order, kind, &[0xff; 9]));
    }
    let packet = ethernet(HOST, 20);
    file.extend(enhanced(order, 0, 0, &packet, None));
    assert_eq!(only_frame(&file).data, packet);
}

/// Packet type, hardware type, address length, address, protocol; then the payload.
fn cooked(kind: u16, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = kind.to_be_bytes().to_vec();
    packet.extend(1_u16.to_be_bytes());
    packet.extend(6_u16.to_be_bytes());
    packet.extend([2, 0, 0, 0, 0, 9, 0, 0]);
    packet.extend(protocol.to_be_bytes());
    packet.extend(payload);
    packet
}

fn cooked2(kind: u8, protocol: u16, interface: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = protocol.to_be_bytes().to_vec();
    packet.extend([0; 2]);
    packet.extend(interface.to_be_bytes());
    packet.extend(772_u16.to_be_bytes());
    packet.extend([kind, 6]);
    packet.extend([2, 0, 0, 0, 0, 9, 0, 0]);
    packet.extend(payload);
    packet
}

#[test]
fn cooked_frames_become_ethernet_frames_with_direction_and_kind() {
    let kinds = [
        (0, Direction::In, PacketKind::Host, [0; 6]),
        (1, Direction::In, PacketKind::Broadcast, [0xff; 6]),
        (2, Direction::In, PacketKind::Multicast, [1, 0, 0, 0, 0, 0]),
        (3, Direction::In, PacketKind::OtherHost, [0; 6]),
        (4, Direction::Out, PacketKind::Outgoing, [0; 6]),
    ];
    for (number, direction, kind, destination) in kinds {
        let first = cooked(number, 0x0800, &ipv4(84));
        let second = cooked2(u8::try_from(number).unwrap(), 0x0800, 3, &ipv4(84));
        for (network, packet, interface) in [(113, first, None), (276, second, Some(3))] {
            let mut frame = only_frame(&little_pcap(network, &packet));
            assert_eq!(frame.direction, Some(direction));
            assert_eq!(frame.packet_kind, kind);
            assert_eq!(frame.data, ethernet(destination, 84));
            assert_eq!(frame.original_len, 98);
            assert_eq!(frame.protocol, 0x0800);
            assert_eq!(frame.interface, interface);
            frame.assume_direction(Direction::Out);
            assert_eq!(frame.packet_kind, kind, "a recorded direction stays");
        }
    }
}

#[test]
fn a_cut_cooked_frame_keeps_its_true_length() {
    let packet = cooked(4, 0x86dd, &[0x60; 44]);
    let file = pcap(Order::Big, NANOSECONDS, 113, &[(1516, &packet)]);
    let frame = only_frame(&file);
    assert_eq!((frame.data.len(), frame.original_len), (58, 1514));
    assert_eq!(frame.protocol, 0x86dd);
}

#[test]
fn raw_ip_and_bsd_loopback_become_ethernet_frames() {
    let mut ipv6 = vec![0x60];
    ipv6.extend([0; 47]);
    let raw = only_frame(&little_pcap(101, &ipv6));
    assert_eq!((raw.protocol, raw.original_len), (0x86dd, 62));
    assert_eq!(
        raw.data[..14],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x86, 0xdd]
    );
    for network in [12, 14, 101] {
        let frame = only_frame(&little_pcap(network, &ipv4(20)));
        assert_eq!((frame.protocol, frame.data.len()), (0x0800, 34));
    }

    let with_family = |family: [u8; 4]| {
        let mut packet = family.to_vec();
        packet.extend(ipv4(20));
        packet
    };
    let null = with_family([2, 0, 0, 0]);
    assert_eq!(only_frame(&little_pcap(0, &null)).protocol, 0x0800);
    let big = with_family([0, 0, 0, 2]);
    let file = pcap(Order::Big, MICROSECONDS, 0, &[(24, &big)]);
    assert_eq!(only_frame(&file).protocol, 0x0800);
    let looped = only_frame(&little_pcap(108, &with_family([0, 0, 0, 30])));
    assert_eq!((looped.protocol, looped.original_len), (0x86dd, 34));
}

#[test]
fn the_outermost_vlan_tag_moves_beside_the_frame() {
    let mut packet = ethernet(HOST, 30);
    packet.splice(12..12, [0x81, 0x00, 0x20, 0x05]);
    let tag = Vlan {
        tci: 0x2005,
        tpid: 0x8100,
    };
    let frame = only_frame(&little_pcap(1, &packet));
    assert_eq!(frame.vlan, Some(tag));
    assert_eq!(frame.data, ethernet(HOST, 30));
    assert_eq!((frame.original_len, frame.protocol), (44, 0x0800));

    // In a cooked capture the tag is the protocol, and the rest of it starts the payload.
    let mut payload = vec![0x20, 0x05, 0x08, 0x00];
    payload.extend(ipv4(30));
    let frame = only_frame(&little_pcap(113, &cooked(0, 0x8100, &payload)));
    assert_eq!(frame.vlan, Some(tag));
    assert_eq!((frame.original_len, frame.protocol), (44, 0x0800));
}

#[test]
fn a_length_in_place_of_a_type_has_the_kernels_protocol_numbers() {
    let mut packet = ethernet(HOST, 20);
    packet[12..14].copy_from_slice(&[0, 20]);
    packet[14..16].copy_from_slice(&[0x42, 0x42]);
    assert_eq!(only_frame(&little_pcap(1, &packet)).protocol, 4);
    packet[14..16].copy_from_slice(&[0xff, 0xff]);
    assert_eq!(only_frame(&little_pcap(1, &packet)).protocol, 1);
    let frame = only_frame(&little_pcap(113, &cooked(0, 4, &[0x42; 38])));
    assert_eq!(frame.protocol, 4);
    assert_eq!(frame.data[12..14], [0, 38]);
}

#[test]
fn a_frame_check_sequence_is_not_part_of_the_frame() {
    let mut packet = ethernet(HOST, 46);
    packet.extend([0xcc; 4]);
    let file = little_pcap((2 << 28) | (1 << 26) | 1, &packet);
    let frame = only_frame(&file);
    assert_eq!((frame.data.len(), frame.original_len), (60, 60));

    let order = Order::Big;
    let mut file = section(order);
    file.extend(interface(order, 1, &[(13, &[32])]));
    file.extend(enhanced(order, 0, 0, &packet, None));
    file.extend(enhanced(order, 0, 0, &packet, Some(2 << 5)));
    let lens: Vec<u32> = frames(&file)
        .iter()
        .map(|frame| frame.original_len)
        .collect();
    assert_eq!(lens, [60, 62]);
}

#[test]
fn other_link_types_are_refused_by_number() {
    let (count, error) = until_error(&little_pcap(105, &[0; 40]));
    assert_eq!(
        (count, error.diagnosis().code),
        (0, Code::CAPTURE_UNSUPPORTED)
    );
    assert!(error.to_string().contains("link type 105"), "{error}");

    let order = Order::Little;
    let mut file = section(order);
    file.extend(interface(order, 127, &[]));
    file.extend(interface(order, 1, &[]));
    file.extend(enhanced(order, 1, 0, &ethernet(HOST, 20), None));
    file.extend(enhanced(order, 0, 0, &ethernet(HOST, 20), None));
    let (count, error) = until_error(&file);
    assert_eq!(
        (count, error.diagnosis().code),
        (1, Code::CAPTURE_UNSUPPORTED)
    );
    assert!(
        error.to_string().contains("block 5: link type 127"),
        "{error}"
    );
}

#[test]
fn a_cut_last_record_is_an_error_after_the_frames_before_it() {
    let packet = ethernet(HOST, 40);
    let whole = pcap(
        Order::Little,
        MICROSECONDS,
        1,
        &[(54, packet.as_slice()); 3],
    );
    let (count, error) = until_error(&whole[..whole.len() - 1]);
    assert_eq!(
        (count, error.diagnosis().code),
        (2, Code::CAPTURE_MALFORMED)
    );
    assert_eq!(
        error.to_string(),
        "offset 0xa4: record 3: the file ends 69 bytes into it"
    );
}

#[test]
fn what_is_no_capture_is_told_apart() {
    let expected: [(&[u8], &str); 4] = [
        (b"", "empty"),
        (b"\xd4\xc3\xb2\xa1\x02", "ends after 5 bytes"),
        (b"hello world, this is text", "starts with 68 65 6c 6c"),
        (b"\x0a\x0d\x0d\x0a\x1c\x00\x00\x00\x01\x02\x03\x04", "magic"),
    ];
    for (bytes, text) in expected {
        let error = Capture::parse(bytes.to_vec()).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::CAPTURE_MALFORMED);
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[test]
fn malformed_records_name_their_number_and_offset() {
    let (_, error) = until_error(&little_pcap(113, &[0; 15]));
    assert_eq!(
        error.to_string(),
        "offset 0x18: record 1: a Linux cooked header needs 16 bytes but 15 were captured"
    );
    let (_, error) = until_error(&little_pcap(113, &cooked(5, 0x0800, &[])));
    assert!(error.to_string().contains("packet type 5"), "{error}");

    let mut file = section(Order::Big);
    file.extend(enhanced(Order::Big, 3, 0, &[0; 20], None));
    let (_, error) = until_error(&file);
    assert_eq!(
        error.to_string(),
        "offset 0x1c: block 2: the packet names interface 3 but the section describes 0"
    );
}

#[test]
fn a_huge_length_field_is_refused_without_reading_the_whole_file() {
    let mut file = pcap(Order::Little, MICROSECONDS, 1, &[]);
    file.extend([0; 8]);
    file.extend(u32::MAX.to_le_bytes());
    file.extend(u32::MAX.to_le_bytes());
    file.resize(40 << 20, 0);
    let (_, error) = until_error(&file);
    assert_eq!(error.diagnosis().code, Code::CAPTURE_MALFORMED);
    assert!(error.to_string().contains("more than 16777216"), "{error}");
}

#[test]
fn a_file_on_disk_is_named_in_errors() {
    let missing = std::path::Path::new("/nonexistent/traffic.pcap");
    let error = Capture::open(missing).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::FILE_NOT_FOUND);
    assert!(error.to_string().starts_with("/nonexistent/traffic.pcap: "));

    let name = format!("twinbpf-capture-{}.pcap", std::process::id());
    let path = std::env::temp_dir().join(name);
    let whole = little_pcap(1, &ethernet(HOST, 40));
    std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
    let mut capture = Capture::open(&path).unwrap();
    let error = capture.next().unwrap().unwrap_err();
    std::fs::remove_file(&path).unwrap();
    assert!(
        error.to_string().starts_with(path.to_str().unwrap()),
        "{error}"
    );
}

/// Reads to the end and checks what must hold for every frame, whatever the bytes.
fn exhaust(bytes: Vec<u8>) {
    let Ok(capture) = Capture::parse(bytes) else {
        return;
    };
    for frame in capture {
        let Ok(frame) = frame else { return };
        assert!(frame.data.len() <= usize::try_from(frame.original_len).unwrap());
    }
}

#[test]
fn no_truncation_and_no_damaged_byte_panics() {
    let order = Order::Little;
    let mut samples = vec![
        pcap(
            order,
            MICROSECONDS,
            1,
            &[(54, ethernet(HOST, 40).as_slice()); 2],
        ),
        little_pcap(113, &cooked(4, 0x8100, &ipv4(30))),
        little_pcap(276, &cooked2(4, 0x0800, 1, &ipv4(30))),
    ];
    for order in [Order::Little, Order::Big] {
        let mut file = section(order);
        file.extend(interface(order, 1, &[(2, b"lo"), (9, &[9]), (13, &[32])]));
        file.extend(enhanced(order, 0, 77, &ethernet(HOST, 30), Some(0x42)));
        file.extend(block(order, 3, &[0, 0, 0, 30, 1, 2, 3, 4]));
        file.extend(block(order, 2, &[1; 64]));
        samples.push(file);
    }
    for sample in samples {
        for len in 0..sample.len() {
            exhaust(sample[..len].to_vec());
        }
        for position in 0..sample.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff, sample[position] ^ 0x20] {
                let mut damaged = sample.clone();
                damaged[position] = value;
                exhaust(damaged);
            }
        }
    }
}
