//! Keys of longest-prefix-match maps.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// A key of a longest-prefix-match map: how many leading bits count, and the bits, most significant first.
///
/// ```
/// use std::net::Ipv4Addr;
/// use twinbpf::{Engine, LpmKey, Map, MapKind};
///
/// let engine = Engine::vm()?;
/// let routes = Map::<LpmKey<4>, u32>::create(&engine, MapKind::LpmTrie, 16)?;
/// routes.set(&LpmKey::from((Ipv4Addr::new(10, 0, 0, 0), 8)), &1)?;
/// routes.set(&LpmKey::from((Ipv4Addr::new(10, 1, 0, 0), 16)), &2)?;
/// let host = |a, b, c, d| LpmKey::from((Ipv4Addr::new(a, b, c, d), 32));
/// assert_eq!(routes.get(&host(10, 1, 2, 3))?, Some(2));
/// assert_eq!(routes.get(&host(10, 9, 9, 9))?, Some(1));
/// assert_eq!(routes.get(&host(11, 0, 0, 1))?, None);
/// # Ok::<(), twinbpf::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[doc(alias = "bpf_lpm_trie_key")]
#[repr(C)]
pub struct LpmKey<const N: usize> {
    prefix_len: [u8; 4],
    /// The bits; those behind the prefix do not count.
    pub data: [u8; N],
}

impl<const N: usize> LpmKey<N> {
    /// A key of which the first `prefix_len` bits count. More than there are is for the engine to refuse.
    pub fn new(data: [u8; N], prefix_len: u32) -> Self {
        Self {
            prefix_len: prefix_len.to_ne_bytes(),
            data,
        }
    }

    /// How many leading bits count.
    pub fn prefix_len(&self) -> u32 {
        u32::from_ne_bytes(self.prefix_len)
    }
}

impl From<(Ipv4Addr, u32)> for LpmKey<4> {
    fn from((address, prefix_len): (Ipv4Addr, u32)) -> Self {
        Self::new(address.octets(), prefix_len)
    }
}

impl From<(Ipv6Addr, u32)> for LpmKey<16> {
    fn from((address, prefix_len): (Ipv6Addr, u32)) -> Self {
        Self::new(address.octets(), prefix_len)
    }
}

impl<const N: usize> fmt::Debug for LpmKey<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}/{}", self.data, self.prefix_len())
    }
}
