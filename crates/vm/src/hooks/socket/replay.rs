//! A socket filter over a capture, frame by frame.

use twinbpf_object::Result;

use super::{SocketFilter, SocketFrame, SocketStats};
use crate::capture::{Capture, Direction, Frame};
use crate::program::VmProgram;
use crate::vm::Vm;

/// Interface index of frames whose capture does not record one: that of `lo`.
const LOOPBACK: u32 = 1;

/// Runs a program on every frame of a capture. `direction` counts for frames whose capture records none.
///
/// # Errors
///
/// If the program is not a socket filter, or the capture is malformed; the frames before the malformed place were run and
/// their effects on maps stay. A run that ends abnormally is counted, not an error.
pub fn replay(
    vm: &Vm,
    program: &VmProgram,
    capture: &mut Capture,
    direction: Option<Direction>,
) -> Result<SocketStats> {
    let mut filter = SocketFilter::new(vm, program)?;
    let mut stats = SocketStats::default();
    for frame in capture {
        let mut frame = frame?;
        if let Some(direction) = direction {
            frame.assume_direction(direction);
        }
        let frame = SocketFrame::from(&frame);
        stats.count(program.kind(), &frame, filter.run(&frame));
    }
    Ok(stats)
}

impl<'a> From<&'a Frame> for SocketFrame<'a> {
    fn from(frame: &'a Frame) -> Self {
        Self {
            data: &frame.data,
            original_len: frame.original_len,
            packet_kind: frame.packet_kind,
            protocol: frame.protocol,
            interface: frame.interface.unwrap_or(LOOPBACK),
            vlan: frame.vlan,
        }
    }
}
