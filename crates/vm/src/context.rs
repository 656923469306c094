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
}

/// What a packet pointer field points to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PacketPointer {
    /// The first byte.
    Data,
    /// Behind the last byte.
    DataEnd,
}

/// The context of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContextView {
    /// Where it lies in the window.
    pub(crate) address: u32,
    /// What it is.
    pub(crate) layout: &'static ContextLayout,
}

/// Offsets of the fields of `struct __sk_buff` that hooks fill in.
pub(crate) mod sk_buff {
    pub(crate) const LEN: usize = 0;
    pub(crate) const PKT_TYPE: usize = 4;
    pub(crate) const PROTOCOL: usize = 16;
    pub(crate) const VLAN_PRESENT: usize = 20;
    pub(crate) const VLAN_TCI: usize = 24;
    pub(crate) const VLAN_PROTO: usize = 28;
    pub(crate) const INGRESS_IFINDEX: usize = 36;
    pub(crate) const IFINDEX: usize = 40;
    pub(crate) const DATA: usize = 76;
    pub(crate) const DATA_END: usize = 80;
    pub(crate) const SIZE: usize = 192;
}

/// `struct __sk_buff`: sockets, traffic control, cgroups.
pub(crate) static SK_BUFF: ContextLayout = ContextLayout {
    name: "struct __sk_buff",
    packet_pointers: &[(76, PacketPointer::Data), (80, PacketPointer::DataEnd)],
};

/// Plain bytes, for runs with a context of the caller's own.
pub(crate) static BYTES: ContextLayout = ContextLayout {
    name: "the context",
    packet_pointers: &[],
};
