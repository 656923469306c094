//! Helpers on packets.

use twinbpf_object::Errno;

use crate::fault::FaultKind;
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// `long bpf_skb_load_bytes(skb, offset, to, len)`: 0, or -EFAULT with the buffer zeroed.
///
/// KERNEL (6.18): an offset above 0xffff is refused like one beyond the packet, and on failure all `len` bytes become zero.
pub(super) fn skb_load_bytes(
    run: &mut Run<'_>,
    arguments: &Arguments,
) -> Result<Returned, FaultKind> {
    let [skb, offset, _, len, _] = arguments.values;
    let packet = run
        .packet
        .filter(|_| low_32(skb) == run.context.address)
        .ok_or(FaultKind::NoPacket)?;
    let (offset, len) = (low_32(offset), low_32(len));
    let to = run.memory(arguments, 2, len, Need::Write)?;
    let start = u64::from(packet.data) + u64::from(offset);
    let is_inside = offset <= 0xffff && start + u64::from(len) <= u64::from(packet.end);
    let from = if is_inside {
        run.window.range(start, len, Need::Read)
    } else {
        None
    };
    let copied = from.and_then(|from| to.copy_from(0, from));
    if copied.is_none() {
        to.zero(0, to.len()).ok_or(FaultKind::Access {
            address: start,
            size: len,
            is_write: true,
        })?;
    }
    Ok(Returned::status(copied.ok_or(Errno::EFAULT)))
}
