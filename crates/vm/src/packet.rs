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
    /// `total_end` may not get above as long as the packet has no fragments.
    pub(crate) ceiling: u32,
    /// What else is known of it.
    pub(crate) notes: Notes,
}

/// What a socket buffer remembers of its packet besides the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Notes {
    /// Address of the transport header, or of what the kernel takes for it.
    pub(crate) transport: Option<u32>,
    /// Bytes from the link-layer header to the network header when tags or headers were last changed; 0 before that.
    pub(crate) link_len: u32,
    /// It is in a tunnel: it has headers of its own behind those that were added.
    pub(crate) is_in_tunnel: bool,
    /// Its checksum is said to be right, and that of as many inner headers.
    pub(crate) verified: Option<u8>,
    /// The hash in the context counts, even if it is 0.
    pub(crate) has_hash: bool,
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
            notes: Notes::default(),
        }
    }

    /// Bytes of the packet, fragments included.
    pub(crate) fn len(&self) -> u32 {
        self.total_end.saturating_sub(self.data)
    }

    /// Bytes of the link-layer header.
    pub(crate) fn link_len(&self) -> u32 {
        self.network.saturating_sub(self.head)
    }

    /// The same packet `by` bytes further on.
    pub(crate) fn moved(self, by: i32) -> Option<Self> {
        let moved = |address: u32| address.checked_add_signed(by);
        let transport = match self.notes.transport {
            Some(address) => Some(moved(address)?),
            None => None,
        };
        Some(Self {
            head: moved(self.head)?,
            data: moved(self.data)?,
            network: moved(self.network)?,
            end: moved(self.end)?,
            total_end: moved(self.total_end)?,
            meta: moved(self.meta)?,
            floor: self.floor,
            ceiling: self.ceiling,
            notes: Notes {
                transport,
                ..self.notes
            },
        })
    }

    /// The address of `len` bytes at `offset`; `None` if the packet has no such bytes.
    pub(crate) fn part(&self, offset: u32, len: u32) -> Option<u32> {
        let end = u64::from(offset) + u64::from(len);
        if end > u64::from(self.len()) {
            return None;
        }
        self.data.checked_add(offset)
    }

    /// The protocol that a frame's type field means: numbers below are lengths, and what follows says whose.
    ///
    /// KERNEL: such frames have protocols of their own, raw 802.3 and 802.2 (6.18).
    pub(crate) fn protocol(type_field: u16, behind: [u8; 2]) -> u16 {
        const LEAST: u16 = 0x600;
        const RAW_802_3: u16 = 1;
        const RAW_802_2: u16 = 4;
        match type_field {
            LEAST.. => type_field,
            _ if behind == [0xff; 2] => RAW_802_3,
            _ => RAW_802_2,
        }
    }
}
