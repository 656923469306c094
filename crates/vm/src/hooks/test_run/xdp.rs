//! Test runs of XDP programs.

use twinbpf_object::{Errno, Result, TestInput, TestOutput};

use super::{ETHERNET_BYTES, Fields, LINEAR_BYTES, LOOPBACK, TestRunner};
use crate::context::{XDP_MD, xdp_md};
use crate::run::{Notes, Packet};
use crate::semantics::low_32;

/// KERNEL: free bytes before a packet (`XDP_PACKET_HEADROOM`, 6.18).
const HEADROOM_BYTES: u32 = 256;
/// Of these, what the kernel keeps for itself at the start (`struct xdp_frame`, 6.18).
const FRAME_RECORD_BYTES: u32 = 40;
const PAGE_BYTES: u32 = 4096;
/// KERNEL: most fragments of a page each (`MAX_SKB_FRAGS`, 6.18).
const FRAGMENT_BYTES: u32 = 17 * PAGE_BYTES;

/// Runs an XDP program.
pub(super) fn run(runner: &mut TestRunner, input: &TestInput<'_>) -> Result<TestOutput> {
    let laid_out = lay_out(runner, input).map_err(|errno| runner.refuse(errno))?;
    let (packet, mut given) = laid_out;
    let what = (&XDP_MD, xdp_md::SIZE);
    let (outcome, packet, duration_ns) = runner.repeat(what, packet, input.repeat)?;
    given.put(xdp_md::DATA, packet.data.saturating_sub(packet.meta));
    given.put(xdp_md::DATA_END, packet.end.saturating_sub(packet.meta));
    let mut context = given.0;
    context.truncate(input.context.len());
    Ok(TestOutput {
        value: low_32(outcome.value),
        data: runner.bytes(packet.meta, packet.total_end),
        context,
        duration_ns,
    })
}

/// Copies packet and context in. In the context that is given, `data` is the length of the metadata in front of the packet.
fn lay_out(
    runner: &mut TestRunner,
    input: &TestInput<'_>,
) -> std::result::Result<(Packet, Fields), Errno> {
    let given = Fields::given(xdp_md::SIZE, input.context)?;
    let len = u32::try_from(input.data.len()).map_err(|_| Errno::EINVAL)?;
    let (meta_len, mut linear) = metadata(&given, input, len)?;
    let most = LINEAR_BYTES - HEADROOM_BYTES;
    linear = linear.min(most);
    if len < ETHERNET_BYTES || len > linear + FRAGMENT_BYTES {
        return Err(Errno::EINVAL);
    }
    check_interface(&given)?;
    let area = runner.worker.packet.start();
    let meta = area + HEADROOM_BYTES - meta_len;
    let copied = runner
        .worker
        .packet
        .host()
        .copy_in((HEADROOM_BYTES - meta_len) as usize, input.data);
    copied.ok_or(Errno::EINVAL)?;
    let packet = Packet {
        head: meta + meta_len,
        data: meta + meta_len,
        network: meta + meta_len + ETHERNET_BYTES,
        end: meta + linear,
        total_end: meta + len,
        meta,
        floor: area,
        ceiling: area + LINEAR_BYTES,
        notes: Notes::default(),
    };
    let mut context = Fields::new(xdp_md::SIZE, &[]);
    context.put(xdp_md::DATA, packet.data);
    context.put(xdp_md::DATA_END, packet.end);
    context.put(xdp_md::DATA_META, packet.meta);
    context.put(xdp_md::INGRESS_IFINDEX, LOOPBACK);
    let copied = runner.worker.context.host().copy_in(0, &context.0);
    copied.ok_or(Errno::EINVAL)?;
    Ok((packet, given))
}

/// Lengths of the metadata, and of metadata and linear part together.
fn metadata(
    given: &Fields,
    input: &TestInput<'_>,
    len: u32,
) -> std::result::Result<(u32, u32), Errno> {
    if input.context.is_empty() {
        return Ok((0, len));
    }
    let (data, end) = (given.get(xdp_md::DATA), given.get(xdp_md::DATA_END));
    if given.get(xdp_md::DATA_META) != 0 || end > len || data > end {
        return Err(Errno::EINVAL);
    }
    if !data.is_multiple_of(4) || data > 252.min(HEADROOM_BYTES - FRAME_RECORD_BYTES) {
        return Err(Errno::EINVAL);
    }
    Ok((data, end))
}

fn check_interface(given: &Fields) -> std::result::Result<(), Errno> {
    let interface = given.get(xdp_md::INGRESS_IFINDEX);
    let queue = given.get(xdp_md::RX_QUEUE_INDEX);
    if given.get(xdp_md::EGRESS_IFINDEX) != 0 {
        return Err(Errno::EINVAL);
    }
    match interface {
        // KERNEL: loopback has one queue (6.18).
        0 | LOOPBACK if queue != 0 => Err(Errno::EINVAL),
        0 | LOOPBACK => Ok(()),
        _ => Err(Errno::ENODEV),
    }
}
