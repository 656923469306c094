//! Layouts of program contexts: what the bytes behind `r1` mean.
//!
//! The layouts are the kernel's UAPI structs (`linux/bpf.h`). Their 32-bit packet pointers are addresses in the window, so
//! they need no rewriting.

/// A context type.
#[derive(Debug)]
pub(crate) struct ContextLayout {
    /// The struct's name.
    pub(crate) name: &'static str,
    /// Fields that hold packet pointers, by offset.
    pub(crate) packet_pointers: &'static [(u32, PacketPointer)],
    /// The field that holds the packet's length, if there is one.
    pub(crate) length: Option<u32>,
}

/// What a packet pointer field points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketPointer {
    /// The first byte.
    Data,
    /// Behind the last byte.
    DataEnd,
    /// The first byte of the metadata, which ends where the packet starts.
    DataMeta,
}

/// Offsets of the fields, of 8 bytes, in which a context of the host's own says where its data start and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DataFields {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// Offsets of the fields of `struct __sk_buff`.
pub(crate) mod sk_buff {
    pub(crate) const LEN: usize = 0;
    pub(crate) const PKT_TYPE: usize = 4;
    pub(crate) const MARK: usize = 8;
    pub(crate) const PROTOCOL: usize = 16;
    pub(crate) const VLAN_PRESENT: usize = 20;
    pub(crate) const VLAN_TCI: usize = 24;
    pub(crate) const VLAN_PROTO: usize = 28;
    pub(crate) const PRIORITY: usize = 32;
    pub(crate) const INGRESS_IFINDEX: usize = 36;
    pub(crate) const IFINDEX: usize = 40;
    pub(crate) const CB: usize = 48;
    pub(crate) const HASH: usize = 68;
    pub(crate) const DATA: usize = 76;
    pub(crate) const DATA_END: usize = 80;
    pub(crate) const FAMILY: usize = 88;
    pub(crate) const REMOTE_IP4: usize = 92;
    pub(crate) const LOCAL_IP4: usize = 96;
    pub(crate) const REMOTE_IP6: usize = 100;
    pub(crate) const LOCAL_IP6: usize = 116;
    pub(crate) const DATA_META: usize = 140;
    pub(crate) const FLOW_KEYS: usize = 144;
    pub(crate) const TSTAMP: usize = 152;
    pub(crate) const WIRE_LEN: usize = 160;
    pub(crate) const GSO_SEGS: usize = 164;
    pub(crate) const SK: usize = 168;
    pub(crate) const GSO_SIZE: usize = 176;
    pub(crate) const TSTAMP_KIND: usize = 180;
    pub(crate) const HWTSTAMP: usize = 184;
    pub(crate) const SIZE: usize = 192;
}

/// Offsets of the fields of `struct xdp_md`.
pub(crate) mod xdp_md {
    pub(crate) const DATA: usize = 0;
    pub(crate) const DATA_END: usize = 4;
    pub(crate) const DATA_META: usize = 8;
    pub(crate) const INGRESS_IFINDEX: usize = 12;
    pub(crate) const RX_QUEUE_INDEX: usize = 16;
    pub(crate) const EGRESS_IFINDEX: usize = 20;
    pub(crate) const SIZE: usize = 24;
}

/// Offsets of the fields of `struct bpf_flow_keys` that a test run fills in.
pub(crate) mod flow_keys {
    pub(crate) const NETWORK: usize = 0;
    pub(crate) const TRANSPORT: usize = 2;
    pub(crate) const PROTOCOL: usize = 10;
    pub(crate) const FLAGS: usize = 48;
    pub(crate) const SIZE: usize = 56;
}

/// Offsets of the fields of `struct bpf_sk_lookup`.
pub(crate) mod sk_lookup {
    pub(crate) const FAMILY: usize = 8;
    pub(crate) const PROTOCOL: usize = 12;
    pub(crate) const REMOTE_IP4: usize = 16;
    pub(crate) const REMOTE_IP6: usize = 20;
    pub(crate) const REMOTE_PORT: usize = 36;
    pub(crate) const LOCAL_IP4: usize = 40;
    pub(crate) const LOCAL_IP6: usize = 44;
    pub(crate) const LOCAL_PORT: usize = 60;
    pub(crate) const SIZE: usize = 72;
}

/// Offsets of the fields of `struct bpf_sock`.
pub(crate) mod sock {
    pub(crate) const FAMILY: usize = 4;
    pub(crate) const SRC_IP4: usize = 24;
    pub(crate) const SRC_IP6: usize = 28;
    pub(crate) const DST_IP4: usize = 52;
    pub(crate) const DST_IP6: usize = 56;
    pub(crate) const STATE: usize = 72;
    pub(crate) const SIZE: usize = 80;
}

/// `struct __sk_buff`: sockets, traffic control, cgroups.
pub(crate) static SK_BUFF: ContextLayout = ContextLayout {
    name: "struct __sk_buff",
    packet_pointers: &[
        (76, PacketPointer::Data),
        (80, PacketPointer::DataEnd),
        (140, PacketPointer::DataMeta),
    ],
    length: Some(0),
};

/// `struct xdp_md`: the driver's view of a packet.
pub(crate) static XDP_MD: ContextLayout = ContextLayout {
    name: "struct xdp_md",
    packet_pointers: &[
        (0, PacketPointer::Data),
        (4, PacketPointer::DataEnd),
        (8, PacketPointer::DataMeta),
    ],
    length: None,
};

/// `struct __sk_buff` as flow dissectors see it: the packet and nothing about it.
pub(crate) static FLOW: ContextLayout = ContextLayout {
    name: "struct __sk_buff",
    packet_pointers: &[(76, PacketPointer::Data), (80, PacketPointer::DataEnd)],
    length: None,
};

/// `struct bpf_sk_lookup`: between whom a connection is.
pub(crate) static SK_LOOKUP: ContextLayout = ContextLayout {
    name: "struct bpf_sk_lookup",
    packet_pointers: &[],
    length: None,
};

/// Plain bytes, for runs with a context of the caller's own.
pub(crate) static BYTES: ContextLayout = ContextLayout {
    name: "the context",
    packet_pointers: &[],
    length: None,
};
