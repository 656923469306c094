//! The socket filter: sees the frames of a packet socket and answers how many bytes to keep.
//!
//! The context is the kernel's `struct __sk_buff`. A filter attached to a raw packet socket sees frames from their
//! link-layer header on, in both directions. Frames come one by one ([`SocketFilter`]), out of a capture ([`replay`]) or
//! from a live interface ([`observer::attach`](super::observer::attach)).

mod replay;

use std::collections::BTreeMap;

use twinbpf_object::abi::verdict;
use twinbpf_object::{ProgramKind, Result};

use super::packets::{PacketHook, PacketProgram};
use crate::capture::{PacketKind, Vlan};
use crate::fault::Fault;
use crate::program::VmProgram;
use crate::vm::Vm;
use crate::worker::AbortHandle;

pub use replay::replay;

/// A frame as a packet socket sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketFrame<'a> {
    /// The bytes at hand, from the link-layer header on.
    pub data: &'a [u8],
    /// Bytes the frame had; more than `data` if a capture cut it. This is what `skb->len` says.
    pub original_len: u32,
    /// To whom it is addressed, or that it is leaving (`pkt_type`).
    pub packet_kind: PacketKind,
    /// Protocol of the payload as in the Ethernet header, host order (0x0800 for IPv4).
    pub protocol: u16,
    /// Index of the interface.
    pub interface: u32,
    /// The VLAN tag that the host took off the frame.
    pub vlan: Option<Vlan>,
}

/// What a program said about the frames it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketStats {
    /// Frames the program was run on.
    pub frames: u64,
    /// Frames it would have let pass, whole or in part.
    pub accepted: u64,
    /// How often it gave which verdict, by the kernel's words.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Runs that ended abnormally.
    pub faults: u64,
    /// The first abnormal end.
    pub first_fault: Option<Fault>,
    /// Frames that the socket had to drop before the program could see them.
    pub dropped: u64,
    /// Frames longer than what is at hand of them: packet loads beyond that end the program with 0.
    pub cut: u64,
}

impl SocketStats {
    pub(super) fn count(
        &mut self,
        kind: ProgramKind,
        frame: &SocketFrame<'_>,
        answer: std::result::Result<u32, Fault>,
    ) {
        self.frames += 1;
        self.cut += u64::from(u64::from(frame.original_len) > frame.data.len() as u64);
        match answer {
            Ok(value) => {
                if let Some(verdict) = verdict(kind, value) {
                    self.accepted += u64::from(verdict.passes);
                    *self.verdicts.entry(verdict.word).or_default() += 1;
                }
            }
            Err(fault) => {
                self.faults += 1;
                self.first_fault.get_or_insert(fault);
            }
        }
    }
}

/// A socket filter with a worker of its own.
#[derive(Debug)]
pub struct SocketFilter(PacketProgram);

impl SocketFilter {
    /// Prepares a program to be run on frames.
    ///
    /// # Errors
    ///
    /// If the program is not a socket filter, or the vm has no free CPU slot.
    pub fn new(vm: &Vm, program: &VmProgram) -> Result<Self> {
        PacketProgram::new(vm, program, PacketHook::Socket).map(Self)
    }

    /// Runs the program on one frame. The answer is the number of bytes it would keep; 0 drops the frame.
    ///
    /// # Errors
    ///
    /// If the run ends abnormally.
    pub fn run(&mut self, frame: &SocketFrame<'_>) -> std::result::Result<u32, Fault> {
        self.0.run(frame)
    }

    /// A handle that ends a run from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.0.abort_handle()
    }
}
