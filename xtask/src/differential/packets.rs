//! Packets with the headers that programs look for, whole, cut short and wrong.

/// A packet with its name.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) name: String,
    pub(super) data: Vec<u8>,
}

/// Payloads that follow an IP header: name, protocol number, bytes.
#[expect(clippy::too_many_lines, reason = "a flat list of packets")]
fn payloads() -> Vec<(&'static str, u8, Vec<u8>)> {
    let counted = |len: u16| {
        (0..len)
            .map(|index| index.to_le_bytes()[0])
            .collect::<Vec<u8>>()
    };
    let segment = |from: u16, to: u16, flags: u8, options: &[u8], data: &[u8]| {
        let words = u8::try_from(5 + options.len() / 4).unwrap_or(5);
        let mut bytes = [from.to_be_bytes(), to.to_be_bytes()].concat();
        bytes.extend([
            0,
            0,
            3,
            232,
            0,
            0,
            0,
            1,
            words << 4,
            flags,
            0xff,
            0xff,
            0x12,
            0x34,
            0,
            0,
        ]);
        [&bytes[..], options, data].concat()
    };
    let datagram = |from: u16, to: u16, data: &[u8]| {
        let len = u16::try_from(8 + data.len()).unwrap_or(8);
        let mut bytes = [
            from.to_be_bytes(),
            to.to_be_bytes(),
            len.to_be_bytes(),
            [0x43, 0x21],
        ]
        .concat();
        bytes.extend(data);
        bytes
    };
    let options = [
        2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    let mut query = vec![0xbe, 0xef, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 7];
    query.extend(b"example\x03com\x00\x00\x01\x00\x01");
    let inner = ethernet(0x0800, &ipv4(&Ip::new(17), &datagram(5, 6, b"inside")));
    let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &inner].concat();
    let gre = [
        &[0, 0, 8, 0][..],
        &ipv4(&Ip::new(6), &segment(1, 80, 2, &[], &[])),
    ]
    .concat();
    let gre_key = [
        &[0x20, 0, 0x86, 0xdd, 0, 0, 0, 9][..],
        &ipv6(17, &datagram(3, 4, b"keyed")),
    ]
    .concat();
    vec![
        ("tcp_syn", 6, segment(40_000, 80, 2, &options, &[])),
        (
            "tcp_data",
            6,
            segment(
                40_000,
                443,
                0x18,
                &[],
                b"GET / HTTP/1.1\r\nHost: example\r\n\r\n",
            ),
        ),
        ("tcp_rst", 6, segment(80, 40_000, 4, &[], &[])),
        ("tcp_ssh_fin", 6, segment(22, 50_000, 0x11, &options, &[])),
        (
            "tcp_short",
            6,
            segment(40_000, 80, 2, &[], &[])[..12].to_vec(),
        ),
        ("tcp_offset_small", 6, {
            let mut bytes = segment(1, 2, 2, &[], &[]);
            bytes[12] = 0x20;
            bytes
        }),
        ("tcp_offset_large", 6, {
            let mut bytes = segment(1, 2, 2, &[], &[]);
            bytes[12] = 0xf0;
            bytes
        }),
        ("udp_dns", 17, datagram(5353, 53, &query)),
        ("udp_9", 17, datagram(1111, 9, b"hello")),
        ("udp_empty", 17, datagram(1234, 4321, &[])),
        ("udp_short", 17, vec![0, 53, 0, 53, 0]),
        ("udp_big", 17, datagram(7777, 8888, &counted(1400))),
        ("udp_vxlan", 17, datagram(50_000, 4789, &vxlan)),
        ("udp_dhcp", 17, datagram(68, 67, &counted(240))),
        (
            "icmp_echo",
            1,
            [&[8, 0, 0x3c, 0x5a, 0, 7, 0, 1][..], &counted(32)].concat(),
        ),
        (
            "icmp_reply",
            1,
            [&[0, 0, 0x44, 0x5a, 0, 7, 0, 1][..], &counted(56)].concat(),
        ),
        (
            "icmp_unreachable",
            1,
            [
                &[3, 4, 0, 0, 0, 0, 5, 0xdc][..],
                &ipv4(&Ip::new(17), &datagram(1, 2, &[])),
            ]
            .concat(),
        ),
        (
            "icmp6_solicit",
            58,
            [&[135, 0, 0, 0, 0, 0, 0, 0, 0xfd][..], &counted(15)].concat(),
        ),
        (
            "icmp6_echo",
            58,
            [&[128, 0, 0, 0, 0, 7, 0, 1][..], &counted(24)].concat(),
        ),
        (
            "sctp",
            132,
            [
                &[0x13, 0x88, 0x13, 0x89, 0, 0, 0, 0, 1, 2, 3, 4, 1, 0, 0, 20][..],
                &counted(16),
            ]
            .concat(),
        ),
        ("gre", 47, gre),
        ("gre_key", 47, gre_key),
        (
            "ipip",
            4,
            ipv4(
                &Ip {
                    source: [192, 168, 0, 1],
                    ..Ip::new(6)
                },
                &segment(1, 80, 2, &[], &[]),
            ),
        ),
        ("sit", 41, ipv6(17, &datagram(7, 8, b"six"))),
        ("esp", 50, counted(40)),
        (
            "ah",
            51,
            [&[17, 4, 0, 0][..], &counted(20), &datagram(1, 2, b"auth")].concat(),
        ),
        ("igmp", 2, vec![0x16, 0, 9, 4, 224, 0, 0, 251]),
        ("ospf", 89, counted(44)),
        ("none", 59, Vec::new()),
        ("unknown", 253, counted(30)),
    ]
}

/// Every packet.
pub(super) fn all() -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut add = |name: String, data: Vec<u8>| packets.push(Packet { name, data });
    let udp = [0x04, 0xd2, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4];
    for (name, protocol, payload) in payloads() {
        add(
            format!("ip4_{name}"),
            ethernet(0x0800, &ipv4(&Ip::new(protocol), &payload)),
        );
        add(
            format!("ip6_{name}"),
            ethernet(0x86dd, &ipv6(protocol, &payload)),
        );
    }
    for (name, ip) in ip_variants() {
        add(format!("ip4_{name}"), ethernet(0x0800, &ipv4(&ip, &udp)));
    }
    for (name, extensions) in extensions() {
        let payload = [&extensions[1..], &udp].concat();
        add(
            format!("ip6_{name}"),
            ethernet(0x86dd, &ipv6(extensions[0], &payload)),
        );
    }
    let whole = ethernet(0x0800, &ipv4(&Ip::new(17), &udp));
    let whole6 = ethernet(0x86dd, &ipv6(17, &udp));
    for (name, tags) in [
        ("vlan", &[0x81, 0, 0x20, 0x64][..]),
        ("vlan_0", &[0x81, 0, 0, 0]),
        ("service", &[0x88, 0xa8, 0, 5]),
        ("qinq", &[0x88, 0xa8, 0, 5, 0x81, 0, 0xf0, 0x64]),
        ("three", &[0x81, 0, 0, 1, 0x81, 0, 0, 2, 0x81, 0, 0, 3]),
        ("mpls", &[0x88, 0x47, 0, 1, 1, 64]),
        ("pppoe", &[0x88, 0x64, 0x11, 0, 0, 1, 0, 30, 0, 0x21]),
    ] {
        for (version, frame) in [("ip4", &whole), ("ip6", &whole6)] {
            let mut frame = frame.clone();
            frame.splice(12..12, tags.iter().copied());
            add(format!("{version}_{name}"), frame);
        }
    }
    for (name, data) in others(&whole) {
        add(name.to_owned(), data);
    }
    for len in [0, 1, 13, 14, 15, 18, 20, 33, 34, 35, 38, 41, 42, 45] {
        add(
            format!("cut4_{len}"),
            whole.get(..len).unwrap_or_default().to_vec(),
        );
    }
    for len in [53, 54, 55, 60, 61] {
        add(
            format!("cut6_{len}"),
            whole6.get(..len).unwrap_or_default().to_vec(),
        );
    }
    packets
}

#[expect(clippy::too_many_lines, reason = "a flat list of packets")]
fn ip_variants() -> Vec<(&'static str, Ip)> {
    let plain = Ip::new(17);
    vec![
        (
            "fragment_first",
            Ip {
                fragment: 0x2000,
                ..plain.clone()
            },
        ),
        (
            "fragment_middle",
            Ip {
                fragment: 0x2008,
                ..plain.clone()
            },
        ),
        (
            "fragment_last",
            Ip {
                fragment: 0x0010,
                ..plain.clone()
            },
        ),
        (
            "fragment_never",
            Ip {
                fragment: 0x4000,
                ..plain.clone()
            },
        ),
        (
            "options",
            Ip {
                options: vec![148, 4, 0, 0],
                ..plain.clone()
            },
        ),
        (
            "options_long",
            Ip {
                options: vec![1; 40],
                ..plain.clone()
            },
        ),
        (
            "ttl_1",
            Ip {
                ttl: 1,
                ..plain.clone()
            },
        ),
        (
            "ttl_0",
            Ip {
                ttl: 0,
                ..plain.clone()
            },
        ),
        (
            "version_6",
            Ip {
                first: Some(0x65),
                ..plain.clone()
            },
        ),
        (
            "header_4_words",
            Ip {
                first: Some(0x44),
                ..plain.clone()
            },
        ),
        (
            "header_0_words",
            Ip {
                first: Some(0x40),
                ..plain.clone()
            },
        ),
        (
            "header_15_words",
            Ip {
                first: Some(0x4f),
                ..plain.clone()
            },
        ),
        (
            "loopback",
            Ip {
                source: [127, 0, 0, 1],
                ..plain.clone()
            },
        ),
        (
            "public",
            Ip {
                source: [8, 8, 8, 8],
                ..plain.clone()
            },
        ),
        (
            "marked",
            Ip {
                service: 0xb9,
                ..plain.clone()
            },
        ),
        (
            "congested",
            Ip {
                service: 3,
                ..plain.clone()
            },
        ),
        (
            "length_0",
            Ip {
                length: Some(0),
                ..plain.clone()
            },
        ),
        (
            "length_large",
            Ip {
                length: Some(0xffff),
                ..plain
            },
        ),
    ]
}

/// Extension headers of IPv6, each behind the number that the header before it names.
fn extensions() -> Vec<(&'static str, Vec<u8>)> {
    let hop = |next: u8| [next, 0, 5, 2, 0, 0, 1, 0];
    let routing = |next: u8| {
        [
            next, 2, 0, 1, 0, 0, 0, 0, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
        ]
    };
    let fragment = |next: u8, offset: u8, more: u8| [next, 0, offset, more, 0, 0, 0, 77];
    vec![
        ("hop", [&[0][..], &hop(17)].concat()),
        ("routing", [&[43][..], &routing(17)].concat()),
        (
            "segments",
            [&[43, 17, 2, 4, 0, 0, 0, 0, 0][..], &[0xfd; 16]].concat(),
        ),
        ("destination", [&[60][..], &hop(17)].concat()),
        ("fragment_first", [&[44][..], &fragment(17, 0, 1)].concat()),
        (
            "fragment_middle",
            [&[44][..], &fragment(17, 1, 0x41)].concat(),
        ),
        (
            "fragment_last",
            [&[44][..], &fragment(17, 1, 0x40)].concat(),
        ),
        (
            "many",
            [
                &[0][..],
                &hop(60),
                &hop(43),
                &routing(44),
                &fragment(17, 0, 0),
            ]
            .concat(),
        ),
        (
            "hop_long",
            [&[0][..], &[17, 255, 1, 0, 0, 0, 0, 0]].concat(),
        ),
        ("flow", vec![17]),
    ]
}

fn others(whole: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut arp = vec![0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1];
    arp.extend([0, 0, 0, 0, 0, 0, 10, 0, 0, 2]);
    let mut to_all = whole.to_vec();
    to_all[..6].fill(0xff);
    let mut to_many = whole.to_vec();
    to_many[..6].copy_from_slice(&[1, 0, 0x5e, 0, 0, 251]);
    let mut to_us = whole.to_vec();
    to_us[..6].fill(0);
    let mut padded = whole.to_vec();
    padded.resize(60, 0);
    let mut huge = ethernet(0x0800, &ipv4(&Ip::new(17), &[0x5a; 3400]));
    huge[30] = 11;
    vec![
        ("arp", ethernet(0x0806, &arp)),
        ("arp_reply", {
            arp[7] = 2;
            ethernet(0x0806, &arp)
        }),
        ("rarp", ethernet(0x8035, &arp)),
        ("lldp", ethernet(0x88cc, &[2, 7, 4, 2, 0, 0, 0, 0, 1, 0, 0])),
        ("zeros_64", vec![0; 64]),
        ("ones_64", vec![0xff; 64]),
        ("zeros_1500", vec![0; 1500]),
        ("raw_802_3", ethernet(40, &[0xff; 46])),
        ("raw_802_2", ethernet(38, &[0x42, 0x42, 3, 0, 0])),
        ("to_all", to_all),
        ("to_many", to_many),
        ("to_us", to_us),
        ("padded", padded),
        ("huge", huge),
        (
            "larger_than_a_page",
            ethernet(0x0800, &ipv4(&Ip::new(17), &[0xa5; 6000])),
        ),
        ("only_ip6_type", ethernet(0x86dd, &[])),
        ("only_vlan_type", ethernet(0x8100, &[])),
        ("only_tag", ethernet(0x8100, &[0, 1, 8, 0])),
    ]
}

/// Fields of an IPv4 header.
#[derive(Debug, Clone)]
struct Ip {
    protocol: u8,
    fragment: u16,
    ttl: u8,
    service: u8,
    source: [u8; 4],
    options: Vec<u8>,
    /// Version and length, if they are not what they should be.
    first: Option<u8>,
    /// The length of the packet, if it is not what it should be.
    length: Option<u16>,
}

impl Ip {
    fn new(protocol: u8) -> Self {
        Self {
            protocol,
            fragment: 0,
            ttl: 64,
            service: 0,
            source: [10, 0, 0, 1],
            options: Vec::new(),
            first: None,
            length: None,
        }
    }
}

fn ethernet(protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    frame.extend(protocol.to_be_bytes());
    frame.extend(payload);
    frame
}

fn ipv4(ip: &Ip, payload: &[u8]) -> Vec<u8> {
    let header_len = 20 + ip.options.len();
    let words = u8::try_from(header_len / 4).unwrap_or(5);
    let len = u16::try_from(header_len + payload.len()).unwrap_or(u16::MAX);
    let mut header = vec![ip.first.unwrap_or(0x40 | words), ip.service];
    header.extend(ip.length.unwrap_or(len).to_be_bytes());
    header.extend([0x12, 0x34]);
    header.extend(ip.fragment.to_be_bytes());
    header.extend([ip.ttl, ip.protocol, 0, 0]);
    header.extend(ip.source);
    header.extend([10, 0, 0, 2]);
    header.extend(&ip.options);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    header.extend(payload);
    header
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0x0a, 0xbc, 0xde];
    header.extend(
        u16::try_from(payload.len())
            .unwrap_or(u16::MAX)
            .to_be_bytes(),
    );
    header.extend([next, 64]);
    for last in [1, 2] {
        header.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    header.extend(payload);
    header
}

/// The Internet checksum.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(!sum & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn packets_have_different_names_and_right_sums() {
        let packets = all();
        let names: BTreeSet<&str> = packets.iter().map(|packet| packet.name.as_str()).collect();
        assert_eq!(names.len(), packets.len());
        assert!(packets.len() > 120, "{}", packets.len());
        let plain = packets
            .iter()
            .find(|packet| packet.name == "ip4_udp_9")
            .map(|packet| &packet.data[14..34]);
        assert_eq!(plain.map(checksum), Some(0));
    }
}
