//! Test runs of flow dissectors: what comes out is not the packet but what was found in it (`struct bpf_flow_keys`).

use std::time::Instant;

use twinbpf_object::{Errno, Result, TestInput, TestOutput};

use super::{ETHERNET_BYTES, Fields, TestRunner, average};
use crate::context::{FLOW, flow_keys, sk_buff};
use crate::run::Packet;
use crate::semantics::low_32;
use crate::worker::HEADROOM_BYTES;

/// KERNEL: the longest packet of such a run is a page (6.18).
const LONGEST: u32 = 4096;
/// Where in the context area the keys lie.
const KEYS_AT: usize = 256;

/// Runs a flow dissector.
pub(super) fn run(runner: &mut TestRunner, input: &TestInput<'_>) -> Result<TestOutput> {
    let laid_out = lay_out(runner, input).map_err(|errno| runner.refuse(errno))?;
    let (packet, given) = laid_out;
    let rounds = input.repeat.max(1);
    let (mut value, mut keys) = (0, Fields::new(flow_keys::SIZE, &[]));
    let started = Instant::now();
    for _ in 0..rounds {
        keys = one_round(runner, (packet, &given), input.data, &mut value)?;
    }
    let mut context = given.0;
    context.truncate(input.context.len());
    Ok(TestOutput {
        value,
        data: keys.0,
        context,
        duration_ns: average(started, rounds),
    })
}

/// KERNEL: every round starts with fresh keys; afterwards the offsets are forced into the packet (6.18).
fn one_round(
    runner: &mut TestRunner,
    (packet, given): (Packet, &Fields),
    frame: &[u8],
    value: &mut u32,
) -> Result<Fields> {
    let start = start_keys(given, frame);
    let area = runner.worker.context.host();
    let copied = area.copy_in(KEYS_AT, &start.0);
    copied.ok_or_else(|| runner.refuse(Errno::EINVAL))?;
    let what = (&FLOW, u32::try_from(sk_buff::SIZE).unwrap_or(0));
    let outcome = runner.worker.execute(&runner.program, what, Some(packet))?;
    *value = low_32(outcome.value);
    let mut keys = Fields::new(flow_keys::SIZE, &[]);
    // The context area is larger than the keys.
    let _ = runner.worker.context.host().copy_out(KEYS_AT, &mut keys.0);
    let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
    let least = u16::try_from(ETHERNET_BYTES).unwrap_or(0);
    let network = half(&keys, flow_keys::NETWORK).clamp(least, len);
    let transport = half(&keys, flow_keys::TRANSPORT).clamp(network, len);
    keys.put_bytes(flow_keys::NETWORK, &network.to_ne_bytes());
    keys.put_bytes(flow_keys::TRANSPORT, &transport.to_ne_bytes());
    Ok(keys)
}

fn start_keys(given: &Fields, frame: &[u8]) -> Fields {
    let mut keys = Fields::new(flow_keys::SIZE, &[]);
    let start = u16::try_from(ETHERNET_BYTES).unwrap_or(0).to_ne_bytes();
    keys.put_bytes(flow_keys::NETWORK, &start);
    keys.put_bytes(flow_keys::TRANSPORT, &start);
    keys.put_bytes(flow_keys::PROTOCOL, frame.get(12..14).unwrap_or_default());
    keys.put(flow_keys::FLAGS, given.get(flow_keys::FLAGS));
    keys
}

fn half(fields: &Fields, offset: usize) -> u16 {
    let bytes = fields.0.get(offset..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u16::from_ne_bytes(*bytes))
}

fn lay_out(
    runner: &mut TestRunner,
    input: &TestInput<'_>,
) -> std::result::Result<(Packet, Fields), Errno> {
    let len = u32::try_from(input.data.len()).map_err(|_| Errno::EINVAL)?;
    if !(ETHERNET_BYTES..=LONGEST).contains(&len) {
        return Err(Errno::EINVAL);
    }
    let given = Fields::given(flow_keys::SIZE, input.context)?;
    // Of the keys that are given, the flags alone mean something.
    let behind = flow_keys::FLAGS + 4..flow_keys::SIZE;
    if !given.is_zero(0..flow_keys::FLAGS) || !given.is_zero(behind) {
        return Err(Errno::EINVAL);
    }
    let area = runner.worker.packet.start();
    let host = runner.worker.packet.host();
    let copied = host.copy_in(HEADROOM_BYTES as usize, input.data);
    copied.ok_or(Errno::EINVAL)?;
    let frame = area + HEADROOM_BYTES;
    let packet = Packet::fixed(frame, frame, frame + ETHERNET_BYTES, frame + len);
    let mut context = Fields::new(sk_buff::SIZE, &[]);
    context.put(sk_buff::DATA, packet.data);
    context.put(sk_buff::DATA_END, packet.end);
    let keys = runner.worker.context.start() + u32::try_from(KEYS_AT).unwrap_or(0);
    context.put_bytes(sk_buff::FLOW_KEYS, &u64::from(keys).to_ne_bytes());
    let copied = runner.worker.context.host().copy_in(0, &context.0);
    copied.ok_or(Errno::EINVAL)?;
    Ok((packet, given))
}
