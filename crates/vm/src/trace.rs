//! What programs print: `bpf_trace_printk` and its kin, kept until the host takes it.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// Bytes kept; the oldest text goes first.
const MOST_BYTES: usize = 1 << 20;

/// What programs print.
#[derive(Debug, Default)]
pub(crate) struct Trace(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    texts: VecDeque<Printed>,
    bytes: usize,
    lost: u64,
}

/// One print of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// The CPU slot it ran on.
    pub cpu: u32,
    /// The text, with the line end if the program wrote one.
    pub text: String,
}

impl Trace {
    /// Keeps a text.
    pub(crate) fn add(&self, cpu: u32, text: &str) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let printed = Printed {
            cpu,
            text: text.to_owned(),
        };
        kept.bytes += printed.size();
        kept.texts.push_back(printed);
        while kept.bytes > MOST_BYTES {
            let Some(oldest) = kept.texts.pop_front() else {
                break;
            };
            kept.bytes -= oldest.size();
            kept.lost += 1;
        }
    }

    /// Takes everything out, and how many texts were lost since the last time.
    pub(crate) fn take(&self) -> (Vec<Printed>, u64) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bytes = 0;
        let lost = std::mem::take(&mut kept.lost);
        (kept.texts.drain(..).collect(), lost)
    }
}

impl Printed {
    fn size(&self) -> usize {
        self.text.len() + size_of::<Self>()
    }
}
