//! Any bytes: reading a capture ends, in frames or an error, and no frame is longer than it was on the wire.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinbpf_vm::capture::{Capture, Direction, PacketKind};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut capture) = Capture::parse(bytes.to_vec()) else {
        return;
    };
    for frame in capture.by_ref() {
        let Ok(mut frame) = frame else { break };
        assert!(frame.data.len() as u64 <= u64::from(frame.original_len));
        let recorded = frame.direction;
        frame.assume_direction(Direction::Out);
        let is_outgoing = frame.packet_kind == PacketKind::Outgoing;
        assert_eq!(is_outgoing, recorded != Some(Direction::In));
    }
    assert!(capture.next().is_none());
});
