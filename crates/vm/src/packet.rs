//! The packet of a run: where its parts lie in the window, and how far it may move.
//!
//! ```text
//!  floor        meta    data                     end           total_end          ceiling
//!    | headroom | meta- | packet: linear part    | its rest    | tailroom             |
//!    |          | data  |                        | (fragments) |                      |
//! ```
//!
//! The kernel keeps the rest of a long packet in fragments that programs reach through helpers alone. Here it lies behind the
//! linear part, and `end` says where direct access ends.

/// The packet of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Address of the link-layer header, which negative offsets of packet loads reach.
    pub(crate) head: u32,
    /// Address that offset 0 means.
    pub(crate) data: u32,
    /// Address of the network header.
    pub(crate) network: u32,
    /// Address behind the last byte that programs may access directly.
    pub(crate) end: u32,
    /// Address behind the last byte.
    pub(crate) total_end: u32,
    /// Address of the metadata, which ends at `data`.
    pub(crate) meta: u32,
    /// `data` or `meta` may not get below.
    pub(crate) floor: u32,
    /// `total_end` may not get above.
    pub(crate) ceiling: u32,
}

impl Packet {
    /// A linear packet without metadata that cannot grow.
    pub(crate) fn fixed(head: u32, data: u32, network: u32, end: u32) -> Self {
        Self {
            head,
            data,
            network,
            end,
            total_end: end,
            meta: data,
            floor: head.min(data),
            ceiling: end,
        }
    }

    /// Bytes of the packet, fragments included.
    pub(crate) fn len(&self) -> u32 {
        self.total_end.saturating_sub(self.data)
    }

    /// The address of `len` bytes at `offset`; `None` if the packet has no such bytes.
    pub(crate) fn part(&self, offset: u32, len: u32) -> Option<u32> {
        let end = u64::from(offset) + u64::from(len);
        if end > u64::from(self.len()) {
            return None;
        }
        self.data.checked_add(offset)
    }
}
