//! Any text: reading verifier logs ends, every diagnosis fits on a screen, and the log stays whole.
#![no_main]

use libfuzzer_sys::fuzz_target;
use twinbpf_verify::{diagnose, pasted};

/// Lines of a screen; a word longer than a line is not broken.
const SCREEN_LINES: usize = 24;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for log in pasted::find(&text) {
        let Some(error) = diagnose(&log) else {
            continue;
        };
        let diagnosis = error.diagnosis();
        assert_eq!(diagnosis.kernel_text.as_deref(), Some(log.text.as_str()));
        assert!(diagnosis.render().lines().count() <= SCREEN_LINES);
        assert!(!diagnosis.message.is_empty());
        let code = diagnosis.code.as_str();
        assert!(code.starts_with('V') || code == "L005", "{code}");
        for related in &diagnosis.related {
            assert!(!related.label.is_empty());
        }
    }
});
