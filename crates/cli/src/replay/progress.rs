//! How far a long capture has been read: a bar on standard error, where that is a terminal.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A replay that is over sooner shows no bar.
const QUIET: Duration = Duration::from_millis(500);
/// How often the bar may be looked after: asking the clock for every packet would cost more than the packet.
const PACKETS_PER_LOOK: u32 = 256;

/// The bar, once there is one.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    total_bytes: u64,
    until_look: u32,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn start(capture: &Path) -> Self {
        // A pipe has no length; its bar counts bytes and nothing else.
        let total_bytes = std::fs::metadata(capture).map_or(0, |about| about.len());
        Self {
            started: Instant::now(),
            total_bytes,
            until_look: PACKETS_PER_LOOK,
            bar: None,
        }
    }

    /// So many bytes of the capture were used.
    pub(super) fn reached(&mut self, bytes: u64) {
        self.until_look -= 1;
        if self.until_look > 0 {
            return;
        }
        self.until_look = PACKETS_PER_LOOK;
        if self.bar.is_none() && self.started.elapsed() < QUIET {
            return;
        }
        let total_bytes = self.total_bytes;
        let bar = self.bar.get_or_insert_with(|| bar(total_bytes));
        bar.set_position(bytes);
    }

    /// Takes the bar away.
    pub(super) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total_bytes: u64) -> ProgressBar {
    if total_bytes == 0 {
        return ProgressBar::no_length();
    }
    let style =
        ProgressStyle::with_template("{percent:>3}% {wide_bar} {bytes}/{total_bytes} {eta}");
    let bar = ProgressBar::new(total_bytes);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
