//! How far a long dump has come: a bar on standard error, where that is a terminal and the entries go elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use twinbpf::{MapKind, MapSpec};

/// A dump that is over sooner shows no bar.
const QUIET: Duration = Duration::from_millis(500);
/// How often the bar may be looked after: asking the clock for every entry would cost more than the entry.
const ENTRIES_PER_LOOK: u64 = 1024;

/// The bar, once there is one.
#[derive(Debug)]
pub(super) struct Progress {
    started: Instant,
    /// How many entries there are, where that is known before they are read.
    total: Option<u64>,
    done: u64,
    is_wanted: bool,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn start(map: &MapSpec) -> Self {
        let is_whole = matches!(map.kind, MapKind::Array | MapKind::PerCpuArray);
        Self {
            started: Instant::now(),
            total: is_whole.then_some(u64::from(map.max_entries)),
            done: 0,
            // Between entries on the same screen a bar would only be in the way.
            is_wanted: !std::io::stdout().is_terminal(),
            bar: None,
        }
    }

    /// One more entry was read.
    pub(super) fn step(&mut self) {
        self.done += 1;
        let is_early = || self.bar.is_none() && self.started.elapsed() < QUIET;
        if !self.is_wanted || !self.done.is_multiple_of(ENTRIES_PER_LOOK) || is_early() {
            return;
        }
        let total = self.total;
        self.bar
            .get_or_insert_with(|| bar(total))
            .set_position(self.done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{percent:>3}% {wide_bar} {pos}/{len} entries {eta}",
        ),
        None => (
            ProgressBar::no_length(),
            "{spinner} {pos} entries {per_sec}",
        ),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_dumps_have_a_bar_and_arrays_know_their_length() {
        let array = MapSpec::new("a", MapKind::Array, 4, 8, 4096);
        let mut progress = Progress::start(&array);
        progress.is_wanted = true;
        for _ in 0..ENTRIES_PER_LOOK {
            progress.step();
        }
        assert!(progress.bar.is_none());
        progress.started -= QUIET;
        for _ in 0..ENTRIES_PER_LOOK {
            progress.step();
        }
        let bar = progress.bar.as_ref().unwrap();
        assert_eq!((bar.position(), bar.length()), (2048, Some(4096)));
        let hash = MapSpec::new("h", MapKind::Hash, 4, 8, 4096);
        assert_eq!(Progress::start(&hash).total, None);
    }
}
