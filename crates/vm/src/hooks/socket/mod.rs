//! The socket filter: sees the frames of a packet socket and answers how many bytes to keep.
//!
//! The context is the kernel's `struct __sk_buff`. A filter attached to a raw packet socket sees frames from their
//! link-layer header on, in both directions. Frames come one by one ([`SocketFilter`]), out of a capture ([`replay`]) or
//! from a live interface ([`attach`]).

mod live;
mod replay;

use twinbpf_object::{Code, Diagnosis, Error, ProgramKind, Result};
use twinbpf_shm::SharedBytes;

use crate::capture::{PacketKind, Vlan};
use crate::context::{SK_BUFF, sk_buff};
use crate::fault::Fault;
use crate::program::VmProgram;
use crate::run::Packet;
use crate::vm::Vm;
use crate::worker::{AbortHandle, HEADROOM_BYTES, PACKET_BYTES, Worker};

/// Bytes of an Ethernet header: where the network header of a frame starts.
const ETHERNET_BYTES: u32 = 14;

pub use live::{VmSocketLink, attach};
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

/// What a filter did with the frames it was given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketStats {
    /// Frames the program was run on.
    pub frames: u64,
    /// Frames it would have kept, whole or in part.
    pub accepted: u64,
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
    fn count(&mut self, frame: &SocketFrame<'_>, verdict: std::result::Result<u32, Fault>) {
        self.frames += 1;
        self.cut += u64::from(u64::from(frame.original_len) > frame.data.len() as u64);
        match verdict {
            Ok(kept) => self.accepted += u64::from(kept > 0),
            Err(fault) => {
                self.faults += 1;
                self.first_fault.get_or_insert(fault);
            }
        }
    }
}

/// A socket filter with a worker of its own.
#[derive(Debug)]
pub struct SocketFilter {
    worker: Worker,
    program: VmProgram,
}

impl SocketFilter {
    /// Prepares a program to be run on frames.
    ///
    /// # Errors
    ///
    /// If the program is not a socket filter, or the vm has no free CPU slot.
    pub fn new(vm: &Vm, program: &VmProgram) -> Result<Self> {
        if program.kind() != ProgramKind::SocketFilter {
            return Err(wrong_kind(program));
        }
        Ok(Self {
            worker: vm.worker()?,
            program: program.clone(),
        })
    }

    /// Runs the program on one frame. The answer is the number of bytes it would keep; 0 drops the frame.
    ///
    /// # Errors
    ///
    /// If the run ends abnormally.
    pub fn run(&mut self, frame: &SocketFrame<'_>) -> std::result::Result<u32, Fault> {
        let packet = self.lay_out(frame);
        let result = self
            .worker
            .execute(&self.program, (&SK_BUFF, SK_BUFF_BYTES), Some(packet))?;
        Ok(crate::semantics::low_32(result.value))
    }

    /// A handle that ends a run from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.worker.abort_handle()
    }

    /// Copies the frame into the worker's packet area and fills in the context.
    fn lay_out(&mut self, frame: &SocketFrame<'_>) -> Packet {
        let kept = frame.data.len().min(PACKET_BYTES as usize);
        let area = self.worker.packet.host();
        let copied = area.copy_in(
            HEADROOM_BYTES as usize,
            frame.data.get(..kept).unwrap_or_default(),
        );
        let len = if copied.is_some() {
            u32::try_from(kept).unwrap_or(0)
        } else {
            0
        };
        let data = self.worker.packet.start() + HEADROOM_BYTES;
        let packet = Packet::fixed(data, data, data + ETHERNET_BYTES.min(len), data + len);
        fill_context(self.worker.context.host(), frame, packet);
        packet
    }
}

/// Bytes of the context.
const SK_BUFF_BYTES: u32 = 192;

/// Writes a fresh `struct __sk_buff`; fields that have no meaning here are 0.
fn fill_context(context: SharedBytes, frame: &SocketFrame<'_>, packet: Packet) {
    let mut bytes = [0u8; sk_buff::SIZE];
    let mut put = |offset: usize, value: u32| {
        if let Some(field) = bytes.get_mut(offset..offset + 4) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
    };
    put(sk_buff::LEN, frame.original_len);
    put(sk_buff::PKT_TYPE, u32::from(frame.packet_kind.number()));
    put(sk_buff::PROTOCOL, u32::from(frame.protocol.to_be()));
    if let Some(vlan) = frame.vlan {
        put(sk_buff::VLAN_PRESENT, 1);
        put(sk_buff::VLAN_TCI, u32::from(vlan.tci));
        put(sk_buff::VLAN_PROTO, u32::from(vlan.tpid.to_be()));
    }
    put(sk_buff::INGRESS_IFINDEX, frame.interface);
    put(sk_buff::IFINDEX, frame.interface);
    put(sk_buff::DATA, packet.data);
    put(sk_buff::DATA_END, packet.end);
    let copied = context.copy_in(0, &bytes);
    debug_assert!(
        copied.is_some(),
        "the context area is larger than the struct"
    );
}

fn wrong_kind(program: &VmProgram) -> Error {
    let message = format!(
        "a program of type {} cannot be a socket filter",
        program.kind()
    );
    Diagnosis::new(Code::ATTACH_KIND, message)
        .in_program(program.name())
        .into()
}
