//! Programs on the packets of an interface: which of them a hook sees, from which header on, and what a program left of them.
//!
//! ```text
//!  hook        frames          the packet starts at   context
//!  socket      both ways       link-layer header      struct __sk_buff
//!  XDP         received        link-layer header      struct xdp_md; a VLAN tag is in the frame
//!  tc          one way         link-layer header      struct __sk_buff; a VLAN tag is beside the frame
//!  cgroup skb  one way, IP     network header         struct __sk_buff
//! ```
//!
//! Nobody knows the socket behind a frame that was only seen on the wire, so there is none.

use std::borrow::Cow;

use twinbpf_object::{Code, Diagnosis, Error, ProgramKind, Result};

use super::socket::SocketFrame;
use crate::capture::{Direction, Vlan, with_tag};
use crate::context::{ContextLayout, SK_BUFF, XDP_MD, sk_buff, xdp_md};
use crate::fault::Fault;
use crate::program::VmProgram;
use crate::run::{Notes, Packet};
use crate::semantics::low_32;
use crate::vm::Vm;
use crate::worker::{AbortHandle, HEADROOM_BYTES, PACKET_BYTES, Worker};

/// Bytes of an Ethernet header: where the network header of a frame starts.
const ETHERNET_BYTES: u32 = 14;
/// Protocols that cgroups see.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;

/// A place in the network stack where programs see packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketHook {
    /// A packet socket.
    Socket,
    /// Where frames are received.
    Xdp,
    /// Traffic control; without a direction, both.
    Tc(Option<Direction>),
    /// The processes of a cgroup: IP packets; without a direction, both.
    CgroupSkb(Option<Direction>),
}

impl PacketHook {
    /// The hook of programs of this kind; `None` if they see no packets of an interface.
    pub fn of(kind: ProgramKind, direction: Option<Direction>) -> Option<Self> {
        Some(match kind {
            ProgramKind::SocketFilter => Self::Socket,
            ProgramKind::Xdp => Self::Xdp,
            ProgramKind::SchedCls | ProgramKind::SchedAct => Self::Tc(direction),
            ProgramKind::CgroupSkb => Self::CgroupSkb(direction),
            _ => return None,
        })
    }

    /// Whether a frame of this protocol comes by here; one of unknown direction does.
    pub fn sees(self, direction: Option<Direction>, protocol: u16) -> bool {
        let wanted = match self {
            Self::Socket => None,
            Self::Xdp => Some(Direction::In),
            Self::Tc(wanted) | Self::CgroupSkb(wanted) => wanted,
        };
        let is_ip = matches!(protocol, IPV4 | IPV6);
        let comes_by = match (wanted, direction) {
            (Some(wanted), Some(direction)) => wanted == direction,
            _ => true,
        };
        comes_by && (is_ip || !matches!(self, Self::CgroupSkb(_)))
    }

    fn takes(self, kind: ProgramKind) -> bool {
        let hook = Self::of(kind, None);
        hook.is_some_and(|hook| std::mem::discriminant(&hook) == std::mem::discriminant(&self))
    }

    /// Whether what a program does to a packet stays.
    fn can_change(self) -> bool {
        matches!(self, Self::Xdp | Self::Tc(_))
    }
}

/// A program at such a place, with a worker of its own.
#[derive(Debug)]
pub struct PacketProgram {
    hook: PacketHook,
    worker: Worker,
    program: VmProgram,
    /// Where the packet lies after the last run that ended well.
    left: Option<Packet>,
}

impl PacketProgram {
    /// Prepares a program to be run on frames.
    ///
    /// # Errors
    ///
    /// If programs of this kind do not go there, or the vm has no free CPU slot.
    pub fn new(vm: &Vm, program: &VmProgram, hook: PacketHook) -> Result<Self> {
        if !hook.takes(program.kind()) {
            return Err(wrong_kind(program, hook));
        }
        Ok(Self {
            hook,
            worker: vm.worker()?,
            program: program.clone(),
            left: None,
        })
    }

    /// Where it is.
    pub fn hook(&self) -> PacketHook {
        self.hook
    }

    /// What kind of program it is.
    pub fn kind(&self) -> ProgramKind {
        self.program.kind()
    }

    /// Runs the program on one frame, whether or not it would come by here; its answer.
    ///
    /// # Errors
    ///
    /// If the run ends abnormally.
    pub fn run(&mut self, frame: &SocketFrame<'_>) -> std::result::Result<u32, Fault> {
        self.left = None;
        let packet = self.lay_out(frame);
        let what = self.fill_context(frame, packet);
        let outcome = self.worker.execute(&self.program, what, Some(packet))?;
        self.left = outcome.packet;
        Ok(low_32(outcome.value))
    }

    /// The frame as the last run left it, with its VLAN tag in it; `None` if it ended abnormally, or nothing can be changed here.
    pub fn frame_left(&self) -> Option<Vec<u8>> {
        let packet = self.left.filter(|_| self.hook.can_change())?;
        let mut bytes = vec![0; packet.len() as usize];
        let offset = packet.data.checked_sub(self.worker.packet.start())?;
        let area = self.worker.packet.host();
        area.copy_out(offset as usize, &mut bytes)?;
        Some(match self.tag_left() {
            Some(tag) => with_tag(&bytes, Some(tag)).into_owned(),
            None => bytes,
        })
    }

    /// A handle that ends a run from another thread.
    pub fn abort_handle(&self) -> AbortHandle {
        self.worker.abort_handle()
    }

    /// The tag beside the packet after the last run.
    fn tag_left(&self) -> Option<Vlan> {
        if !matches!(self.hook, PacketHook::Tc(_)) || self.field(sk_buff::VLAN_PRESENT) == 0 {
            return None;
        }
        let [_, _, high, low] = self.field(sk_buff::VLAN_TCI).to_be_bytes();
        let [first, second, _, _] = self.field(sk_buff::VLAN_PROTO).to_ne_bytes();
        Some(Vlan {
            tci: u16::from_be_bytes([high, low]),
            tpid: u16::from_be_bytes([first, second]),
        })
    }

    fn field(&self, offset: usize) -> u32 {
        let mut bytes = [0; 4];
        // The context area is larger than the struct.
        let _ = self.worker.context.host().copy_out(offset, &mut bytes);
        u32::from_ne_bytes(bytes)
    }

    /// Copies the frame into the worker's packet area.
    fn lay_out(&mut self, frame: &SocketFrame<'_>) -> Packet {
        let data = match self.hook {
            PacketHook::Xdp => with_tag(frame.data, frame.vlan),
            _ => Cow::Borrowed(frame.data),
        };
        let kept = data.len().min(PACKET_BYTES as usize);
        let area = self.worker.packet.host();
        let bytes = data.get(..kept).unwrap_or_default();
        let copied = area.copy_in(HEADROOM_BYTES as usize, bytes);
        let len = copied.and_then(|()| u32::try_from(kept).ok()).unwrap_or(0);
        let floor = self.worker.packet.start();
        let start = floor + HEADROOM_BYTES;
        let network = start + ETHERNET_BYTES.min(len);
        let end = start + len;
        match self.hook {
            PacketHook::Socket => Packet::fixed(start, start, network, end),
            PacketHook::CgroupSkb(_) => Packet::fixed(start, network, network, end),
            PacketHook::Xdp | PacketHook::Tc(_) => Packet {
                head: start,
                data: start,
                network,
                end,
                total_end: end,
                meta: start,
                floor,
                ceiling: start + PACKET_BYTES,
                notes: Notes::default(),
            },
        }
    }

    /// Writes a fresh context; fields that have no meaning here are 0.
    fn fill_context(
        &mut self,
        frame: &SocketFrame<'_>,
        packet: Packet,
    ) -> (&'static ContextLayout, u32) {
        let host = self.worker.context.host();
        let (copied, layout, len) = match self.hook {
            PacketHook::Xdp => {
                let bytes = xdp_context(frame, packet);
                (host.copy_in(0, &bytes), &XDP_MD, bytes.len())
            }
            hook => {
                let bytes = buffer_context(hook, frame, packet);
                (host.copy_in(0, &bytes), &SK_BUFF, bytes.len())
            }
        };
        debug_assert!(
            copied.is_some(),
            "the context area is larger than the struct"
        );
        (layout, u32::try_from(len).unwrap_or(0))
    }
}

fn xdp_context(frame: &SocketFrame<'_>, packet: Packet) -> [u8; xdp_md::SIZE] {
    let mut bytes = [0; xdp_md::SIZE];
    put(&mut bytes, xdp_md::DATA, packet.data);
    put(&mut bytes, xdp_md::DATA_END, packet.end);
    put(&mut bytes, xdp_md::DATA_META, packet.meta);
    put(&mut bytes, xdp_md::INGRESS_IFINDEX, frame.interface);
    bytes
}

fn buffer_context(
    hook: PacketHook,
    frame: &SocketFrame<'_>,
    packet: Packet,
) -> [u8; sk_buff::SIZE] {
    let mut bytes = [0; sk_buff::SIZE];
    let len = match hook {
        PacketHook::Socket => frame.original_len,
        PacketHook::CgroupSkb(_) => frame.original_len.saturating_sub(ETHERNET_BYTES),
        // Programs change it, so it counts the bytes that are there.
        PacketHook::Tc(_) | PacketHook::Xdp => packet.len(),
    };
    put(&mut bytes, sk_buff::LEN, len);
    let kind = u32::from(frame.packet_kind.number());
    put(&mut bytes, sk_buff::PKT_TYPE, kind);
    let protocol = u32::from(frame.protocol.to_be());
    put(&mut bytes, sk_buff::PROTOCOL, protocol);
    if let Some(vlan) = frame.vlan {
        put(&mut bytes, sk_buff::VLAN_PRESENT, 1);
        put(&mut bytes, sk_buff::VLAN_TCI, u32::from(vlan.tci));
        let tpid = u32::from(vlan.tpid.to_be());
        put(&mut bytes, sk_buff::VLAN_PROTO, tpid);
    }
    put(&mut bytes, sk_buff::INGRESS_IFINDEX, frame.interface);
    put(&mut bytes, sk_buff::IFINDEX, frame.interface);
    put(&mut bytes, sk_buff::DATA, packet.data);
    put(&mut bytes, sk_buff::DATA_END, packet.end);
    let is_outgoing = frame.packet_kind.direction() == Direction::Out;
    match hook {
        PacketHook::Tc(_) => {
            put(&mut bytes, sk_buff::DATA_META, packet.meta);
            put(&mut bytes, sk_buff::WIRE_LEN, frame.original_len);
            if is_outgoing {
                put(&mut bytes, sk_buff::INGRESS_IFINDEX, 0);
            }
        }
        PacketHook::CgroupSkb(_) => put_addresses(&mut bytes, frame, is_outgoing),
        PacketHook::Socket | PacketHook::Xdp => {}
    }
    bytes
}

/// Between whom the packet travels, seen from this machine.
fn put_addresses(bytes: &mut [u8], frame: &SocketFrame<'_>, is_outgoing: bool) {
    let (family, size, at, local, remote) = match frame.protocol {
        IPV4 => (2, 4, 26, sk_buff::LOCAL_IP4, sk_buff::REMOTE_IP4),
        IPV6 => (10, 16, 22, sk_buff::LOCAL_IP6, sk_buff::REMOTE_IP6),
        _ => return,
    };
    put(bytes, sk_buff::FAMILY, family);
    let (source, destination) = if is_outgoing {
        (local, remote)
    } else {
        (remote, local)
    };
    for (offset, at) in [(source, at), (destination, at + size)] {
        let address = frame.data.get(at..at + size);
        let field = bytes.get_mut(offset..offset + size);
        if let (Some(address), Some(field)) = (address, field) {
            field.copy_from_slice(address);
        }
    }
}

fn put(bytes: &mut [u8], offset: usize, value: u32) {
    if let Some(field) = bytes.get_mut(offset..offset + 4) {
        field.copy_from_slice(&value.to_ne_bytes());
    }
}

fn wrong_kind(program: &VmProgram, hook: PacketHook) -> Error {
    let place = match hook {
        PacketHook::Socket => "be a socket filter",
        PacketHook::Xdp => "be an XDP program",
        PacketHook::Tc(_) => "be run by traffic control",
        PacketHook::CgroupSkb(_) => "see the packets of a cgroup",
    };
    let message = format!("a program of type {} cannot {place}", program.kind());
    Diagnosis::new(Code::ATTACH_KIND, message)
        .in_program(program.name())
        .into()
}
