//! Test runs of programs on socket buffers.

use twinbpf_object::{Errno, ProgramKind, Result, TestInput, TestOutput};

use super::{ETHERNET_BYTES, Fields, LINEAR_BYTES, LOOPBACK, TestRunner};
use crate::context::{SK_BUFF, sk_buff, sock};
use crate::run::{Notes, Packet};
use crate::semantics::low_32;
use crate::worker::{HEADROOM_BYTES, PACKET_BYTES};

/// KERNEL: headroom of a test run's buffer (`NET_SKB_PAD`, 6.18); it limits how long the linear part is.
const KERNEL_HEADROOM: u32 = 64;
/// Zeros behind a packet.
const BEHIND_BYTES: usize = 4096;
/// Where in the context area the socket lies.
const SOCKET_AT: usize = 256;
/// Protocols.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// `TCP_CLOSE`: the state of the socket of a test run.
const CLOSED: u32 = 7;
/// KERNEL: largest segment (`GSO_LEGACY_MAX_SIZE`) and most segments (`GSO_MAX_SEGS`, 6.18).
const LARGEST_SEGMENT: u32 = 65_536;
const MOST_SEGMENTS: u32 = 65_535;

/// Runs a program on a socket buffer.
pub(super) fn run(runner: &mut TestRunner, input: &TestInput<'_>) -> Result<TestOutput> {
    let is_whole = matches!(
        runner.program.kind(),
        ProgramKind::SchedCls | ProgramKind::SchedAct
    );
    let laid_out = lay_out(runner, input, is_whole).map_err(|errno| runner.refuse(errno))?;
    let (packet, given) = laid_out;
    let what = (&SK_BUFF, sk_buff::SIZE);
    let (outcome, packet, duration_ns) = runner.repeat(what, packet, input.repeat)?;
    let mut data = runner.bytes(packet.data, packet.total_end);
    if !is_whole {
        // KERNEL: what precedes the network header comes out as zeros (6.18).
        data.splice(0..0, [0; ETHERNET_BYTES as usize]);
    }
    Ok(TestOutput {
        value: low_32(outcome.value),
        data,
        context: context_out(runner, given, input.context.len()),
        duration_ns,
    })
}

/// The fields that a program may have written, in the context that was given.
fn context_out(runner: &TestRunner, mut given: Fields, len: usize) -> Vec<u8> {
    let mut written = Fields::new(sk_buff::SIZE, &[]);
    // The context area is larger than the struct.
    let _ = runner.worker.context.host().copy_out(0, &mut written.0);
    for (offset, size) in [
        (sk_buff::MARK, 4),
        (sk_buff::PRIORITY, 4),
        (sk_buff::INGRESS_IFINDEX, 4),
        (sk_buff::IFINDEX, 4),
        (sk_buff::CB, 20),
        (sk_buff::TSTAMP, 8),
        (sk_buff::WIRE_LEN, 4),
        (sk_buff::GSO_SEGS, 4),
        (sk_buff::HWTSTAMP, 8),
    ] {
        let field = written.0.get(offset..offset + size).unwrap_or_default();
        given.put_bytes(offset, field);
    }
    given.0.truncate(len);
    given.0
}

fn lay_out(
    runner: &mut TestRunner,
    input: &TestInput<'_>,
    is_whole: bool,
) -> std::result::Result<(Packet, Fields), Errno> {
    let given = Fields::given(sk_buff::SIZE, input.context)?;
    let len = u32::try_from(input.data.len()).map_err(|_| Errno::EINVAL)?;
    if !(ETHERNET_BYTES..=LINEAR_BYTES - KERNEL_HEADROOM).contains(&len) {
        return Err(Errno::EINVAL);
    }
    let protocol = protocol_of(input.data);
    let least = match protocol {
        IPV4 => 20,
        IPV6 => 40,
        _ => 0,
    };
    if len - ETHERNET_BYTES < least {
        return Err(Errno::EINVAL);
    }
    if !input.context.is_empty() {
        check_context(&given, len)?;
    }
    let area = runner.worker.packet.start();
    // KERNEL: packets start behind the headroom of an allocation with a round address, and programs can tell (6.18).
    let start = HEADROOM_BYTES + KERNEL_HEADROOM;
    let frame = area + start;
    let host = runner.worker.packet.host();
    host.copy_in(start as usize, input.data)
        .ok_or(Errno::EINVAL)?;
    // KERNEL: zeros follow a packet, and helpers can reach some of them (6.18).
    host.zero(start as usize + input.data.len(), BEHIND_BYTES)
        .ok_or(Errno::EINVAL)?;
    let network = frame + ETHERNET_BYTES;
    let data = if is_whole { frame } else { network };
    let packet = Packet {
        head: frame,
        data,
        network,
        end: frame + len,
        total_end: frame + len,
        meta: data,
        floor: area,
        ceiling: area + HEADROOM_BYTES + PACKET_BYTES,
        notes: Notes {
            // KERNEL: nobody knows where the transport header is, which is noted as -1; once the buffer was replaced by a larger
            // one that is a place, the last byte in front of the old buffer, and packets may not be cut before it (6.18).
            transport: Some(frame - KERNEL_HEADROOM - 1),
            ..Notes::default()
        },
    };
    let context = fill_context(runner, &packet, &given, (input, protocol));
    let host = runner.worker.context.host();
    let copied = host.copy_in(0, &context.0);
    copied.ok_or(Errno::EINVAL)?;
    Ok((packet, given))
}

/// The protocol that the kernel finds in a frame.
fn protocol_of(frame: &[u8]) -> u16 {
    let at = |offset: usize| {
        let bytes = frame.get(offset..).and_then(|rest| rest.first_chunk());
        bytes.copied().unwrap_or_default()
    };
    Packet::protocol(u16::from_be_bytes(at(12)), at(14))
}

/// To whom the frame is addressed: 0 us, 2 several, 3 another. KERNEL: loopback's own address is zeros, and so is the one for
/// all, which therefore no frame has (6.18).
fn packet_type(frame: &[u8]) -> u32 {
    match frame.get(..6) {
        Some([0, 0, 0, 0, 0, 0]) | None => 0,
        Some([first, ..]) if first & 1 != 0 => 2,
        Some(_) => 3,
    }
}

/// Fields between those that may be given must be 0, and those must make sense.
fn check_context(given: &Fields, len: u32) -> std::result::Result<(), Errno> {
    let zero = [
        0..sk_buff::MARK,
        sk_buff::MARK + 4..sk_buff::PRIORITY,
        sk_buff::IFINDEX + 4..sk_buff::CB,
        sk_buff::HASH..sk_buff::TSTAMP,
        sk_buff::GSO_SEGS + 4..sk_buff::GSO_SIZE,
        sk_buff::GSO_SIZE + 4..sk_buff::HWTSTAMP,
    ];
    let wire_len = given.get(sk_buff::WIRE_LEN);
    let is_wrong = zero.into_iter().any(|range| !given.is_zero(range))
        || (wire_len != 0 && (wire_len < len || wire_len > LARGEST_SEGMENT))
        || given.get(sk_buff::GSO_SEGS) > MOST_SEGMENTS;
    if is_wrong {
        return Err(Errno::EINVAL);
    }
    match given.get(sk_buff::IFINDEX) {
        0 | LOOPBACK => Ok(()),
        _ => Err(Errno::ENODEV),
    }
}

fn fill_context(
    runner: &TestRunner,
    packet: &Packet,
    given: &Fields,
    (input, protocol): (&TestInput<'_>, u16),
) -> Fields {
    let (frame, has_context) = (input.data, !input.context.is_empty());
    let mut context = Fields::new(SOCKET_AT + sock::SIZE, &[]);
    for (offset, size) in [
        (sk_buff::MARK, 4),
        (sk_buff::PRIORITY, 4),
        (sk_buff::INGRESS_IFINDEX, 4),
        (sk_buff::CB, 20),
        (sk_buff::TSTAMP, 8),
        (sk_buff::WIRE_LEN, 4),
        (sk_buff::GSO_SEGS, 4),
        (sk_buff::GSO_SIZE, 4),
        (sk_buff::HWTSTAMP, 8),
    ] {
        let field = given.0.get(offset..offset + size).unwrap_or_default();
        context.put_bytes(offset, field);
    }
    // KERNEL: with a context given, a length on the wire of 0 stands for the packet's; without, it stays 0 (6.18).
    if has_context && given.get(sk_buff::WIRE_LEN) == 0 {
        context.put(sk_buff::WIRE_LEN, packet.len());
    }
    context.put(sk_buff::LEN, packet.len());
    context.put(sk_buff::PKT_TYPE, packet_type(frame));
    context.put(sk_buff::PROTOCOL, u32::from(protocol.to_be()));
    context.put(sk_buff::IFINDEX, LOOPBACK);
    context.put(sk_buff::DATA, packet.data);
    context.put(sk_buff::DATA_END, packet.end);
    context.put(sk_buff::DATA_META, packet.meta);
    fill_addresses(&mut context, frame, protocol);
    context.put(SOCKET_AT + sock::STATE, CLOSED);
    let socket = runner.worker.context.start() + u32::try_from(SOCKET_AT).unwrap_or(0);
    context.put_bytes(sk_buff::SK, &u64::from(socket).to_ne_bytes());
    context
}

/// KERNEL: the socket of a test run has the packet's source as its own address and the destination as the other's (6.18).
fn fill_addresses(context: &mut Fields, frame: &[u8], protocol: u16) {
    let (family, size, at) = match protocol {
        IPV4 => (2, 4, 26),
        IPV6 => (10, 16, 22),
        _ => return,
    };
    context.put(sk_buff::FAMILY, family);
    context.put(SOCKET_AT + sock::FAMILY, family);
    let source = frame.get(at..at + size).unwrap_or_default();
    let destination = frame.get(at + size..at + 2 * size).unwrap_or_default();
    let places = match protocol {
        IPV4 => [
            (sk_buff::LOCAL_IP4, sk_buff::REMOTE_IP4),
            (SOCKET_AT + sock::SRC_IP4, SOCKET_AT + sock::DST_IP4),
        ],
        _ => [
            (sk_buff::LOCAL_IP6, sk_buff::REMOTE_IP6),
            (SOCKET_AT + sock::SRC_IP6, SOCKET_AT + sock::DST_IP6),
        ],
    };
    for (local, remote) in places {
        context.put_bytes(local, source);
        context.put_bytes(remote, destination);
    }
}
