// Types as C has them, laid out for this machine. Their names are C's too:
//
//     mod types {
//         #![allow(dead_code, non_camel_case_types, non_snake_case, non_upper_case_globals)]
//         include!("types.rs");
//     }

use twinbpf::zerocopy::{FromBytes, Immutable, IntoBytes};

pub type __u32 = u32;

pub type __u8 = u8;

/// 8 bytes.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
#[zerocopy(crate = "twinbpf::zerocopy")]
pub struct flow_key {
    pub source: __u32,
    pub port: __u16,
    pub protocol: __u16,
}

const _: () = {
    assert!(size_of::<flow_key>() == 8);
    assert!(core::mem::offset_of!(flow_key, source) == 0);
    assert!(core::mem::offset_of!(flow_key, port) == 4);
    assert!(core::mem::offset_of!(flow_key, protocol) == 6);
};

pub type __u16 = u16;

/// 24 bytes.
#[repr(C)]
#[derive(Clone, Copy, FromBytes, Immutable, IntoBytes)]
#[zerocopy(crate = "twinbpf::zerocopy")]
pub struct flow {
    pub packets: __u64,
    pub balance: __s32,
    pub verdict: verdict,
    pub device: [u8; 8],
}

const _: () = {
    assert!(size_of::<flow>() == 24);
    assert!(core::mem::offset_of!(flow, packets) == 0);
    assert!(core::mem::offset_of!(flow, balance) == 8);
    assert!(core::mem::offset_of!(flow, verdict) == 12);
    assert!(core::mem::offset_of!(flow, device) == 16);
};

pub type __u64 = u64;

pub type __s32 = i32;

#[repr(transparent)]
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, FromBytes, Immutable, IntoBytes)]
#[zerocopy(crate = "twinbpf::zerocopy")]
pub struct verdict(pub u32);

impl verdict {
    pub const DROP: Self = Self(0);
    pub const PASS: Self = Self(1);
    pub const REDIRECT: Self = Self(2);
}
