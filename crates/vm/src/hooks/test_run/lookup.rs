//! Test runs of programs that choose the socket for a connection: the context says between whom it is.
//!
//! The vm has no sockets: a program can let a connection pass or drop it, and choose none.

use std::time::Instant;

use twinbpf_object::{Errno, Result, TestInput, TestOutput};

use super::{Fields, TestRunner, average};
use crate::context::{SK_LOOKUP, sk_lookup};
use crate::semantics::low_32;

const IPV4_FAMILY: u32 = 2;
const IPV6_FAMILY: u32 = 10;
/// `SK_PASS`.
const PASS: u32 = 1;

/// Runs a program.
pub(super) fn run(runner: &mut TestRunner, input: &TestInput<'_>) -> Result<TestOutput> {
    let seen = check(input).map_err(|errno| runner.refuse(errno))?;
    let rounds = input.repeat.max(1);
    let mut value = 0;
    let started = Instant::now();
    for _ in 0..rounds {
        let copied = runner.worker.context.host().copy_in(0, &seen.0);
        copied.ok_or_else(|| runner.refuse(Errno::EINVAL))?;
        let what = (&SK_LOOKUP, u32::try_from(sk_lookup::SIZE).unwrap_or(0));
        let outcome = runner.worker.execute(&runner.program, what, None)?;
        value = u32::from(low_32(outcome.value) == PASS);
    }
    let len = input.context.len().min(sk_lookup::SIZE);
    let context = input.context.get(..len).unwrap_or_default();
    // Where a program reads the socket stands a cookie for user space: 0, no socket was chosen.
    Ok(TestOutput {
        value,
        data: Vec::new(),
        context: context.to_vec(),
        duration_ns: average(started, rounds),
    })
}

/// The context that the program sees, from the one that was given.
///
/// KERNEL: protocols and families of more than 16 bits are cut, ports refused; addresses of the other family are not shown (6.18).
fn check(input: &TestInput<'_>) -> std::result::Result<Fields, Errno> {
    let given = Fields::given(sk_lookup::SIZE, input.context)?;
    let has_packet = !input.data.is_empty();
    let behind = sk_lookup::LOCAL_PORT + 4..sk_lookup::SIZE;
    let is_wrong = has_packet || input.context.is_empty() || !given.is_zero(0..sk_lookup::FAMILY);
    if is_wrong || !given.is_zero(behind) {
        return Err(Errno::EINVAL);
    }
    let port = given.get(sk_lookup::LOCAL_PORT);
    if port > 0xffff {
        return Err(Errno::ERANGE);
    }
    let mut seen = Fields::new(sk_lookup::SIZE, &[]);
    let family = given.get(sk_lookup::FAMILY) & 0xffff;
    let shown = match family {
        IPV4_FAMILY => [(sk_lookup::REMOTE_IP4, 4), (sk_lookup::LOCAL_IP4, 4)],
        IPV6_FAMILY => [(sk_lookup::REMOTE_IP6, 16), (sk_lookup::LOCAL_IP6, 16)],
        _ => return Err(Errno::EAFNOSUPPORT),
    };
    for (offset, len) in shown.into_iter().chain([(sk_lookup::REMOTE_PORT, 2)]) {
        let field = given.0.get(offset..offset + len).unwrap_or_default();
        seen.put_bytes(offset, field);
    }
    seen.put(sk_lookup::FAMILY, family);
    seen.put(sk_lookup::PROTOCOL, given.get(sk_lookup::PROTOCOL) & 0xffff);
    seen.put(sk_lookup::LOCAL_PORT, port);
    Ok(seen)
}
