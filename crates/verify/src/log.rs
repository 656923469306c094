//! The reader of kernel verifier logs.
//!
//! What a log says about the end of a verification: the reason, the instruction, its source line, the number of steps. At level 4
//! only reason and statistics are there; at level 1 a trace of every walked instruction stands before them. The log is text from outside:
//! any text is accepted, whatever is not recognised is simply not found.

use twinbpf_object::InsnIndex;
use twinbpf_object::diagnosis::SourceLine;

use crate::line::Line;
use crate::structured::{self, Structured};
use crate::trace::Trace;

/// What a log says about the end of a verification.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VerifierLog {
    /// The lines of the reason, joined by `; `.
    pub reason: Option<String>,
    /// The instruction the verifier looked at last, or that the reason names.
    pub insn: Option<InsnIndex>,
    /// The source line of that instruction. The line is 0 and the file empty where an older kernel gives the text only.
    pub source: Option<SourceLine>,
    /// How many instructions were verified, those on every path counted.
    pub processed: Option<u64>,
    /// The report for people that newer kernels add.
    pub structured: Option<Structured>,
}

impl VerifierLog {
    /// Reads a log of level 1, 2 or 4.
    pub fn read(text: &str) -> Self {
        Reading::of(text).log
    }
}

/// A log with its trace.
#[derive(Debug, Default)]
pub(crate) struct Reading<'a> {
    pub(crate) log: VerifierLog,
    pub(crate) trace: Trace<'a>,
}

impl<'a> Reading<'a> {
    /// Reads a log.
    pub(crate) fn of(text: &'a str) -> Self {
        let (before, structured) = structured::split(text);
        let mut reading = Self::default();
        let mut source = None;
        let mut words: Vec<&str> = Vec::new();
        for whole in before.lines() {
            let (line, tail) = without_statistics(whole.trim_end());
            let line = Line::of(line);
            match line {
                Line::Words(text) => words.push(text),
                Line::Remark | Line::Empty => {}
                Line::Processed(count) => reading.log.processed = Some(count),
                // Words before a part of the trace are no reason.
                _ => words.clear(),
            }
            match line {
                Line::Source(text) => source = Some(text),
                Line::Insn { index, .. } => reading.log.insn = Some(index),
                _ => {}
            }
            if let Some(Line::Processed(count)) = tail.map(Line::of) {
                reading.log.processed = Some(count);
            }
            reading.trace.read(line);
        }
        reading.log.reason = reason(&words);
        reading.log.source = source.map(source_line);
        reading.log.add_structured(structured, text);
        if reading.log.insn.is_none() {
            reading.log.insn = reading.log.reason.as_deref().and_then(named_insn);
        }
        reading
    }
}

impl VerifierLog {
    fn add_structured(&mut self, structured: Option<Structured>, text: &str) {
        let Some(structured) = structured else {
            return;
        };
        self.insn = structured.insn.or(self.insn);
        if structured.source.is_some() {
            self.source.clone_from(&structured.source);
        }
        if self.reason.is_none() {
            let words = [&structured.problem, &structured.reason];
            self.reason = words.into_iter().find(|words| !words.is_empty()).cloned();
        }
        self.processed = text.lines().rev().find_map(|line| match Line::of(line) {
            Line::Processed(count) => Some(count),
            _ => None,
        });
        self.structured = Some(structured);
    }
}

/// The last lines that can belong to one reason; the verifier uses at most two for one fact, and one for the caller.
const REASON_LINES: usize = 3;

/// The reason from the words behind the trace.
fn reason(words: &[&str]) -> Option<String> {
    let count = words.len();
    let is_aside = |at: usize| {
        let next = words.get(at + 1);
        next.is_some_and(|next| !next.starts_with(CALLER_WORDS))
            && ASIDES
                .iter()
                .any(|(start, part)| words[at].starts_with(start) && words[at].contains(part))
    };
    let kept: Vec<&str> = (0..count)
        .filter(|at| !is_aside(*at))
        .map(|at| words[at])
        .collect();
    let from = kept.len().saturating_sub(REASON_LINES);
    (!kept.is_empty()).then(|| kept[from..].join("; "))
}

/// What a caller adds if a function refuses its arguments.
const CALLER_WORDS: &str = "Caller passes invalid args";

/// Remarks about functions that are not refused for it, unless nothing follows: how they start, and what they contain.
const ASIDES: [(&str, &str); 3] = [
    ("arg#", "size cannot be determined"),
    ("Global function ", "doesn't return scalar"),
    ("Failed to determine", ""),
];

/// KERNEL: some reasons of 6.x end without a line break, and the statistics follow at once.
fn without_statistics(line: &str) -> (&str, Option<&str>) {
    for start in ["processed ", "verification time "] {
        let Some(at) = line.find(start).filter(|at| *at > 0) else {
            continue;
        };
        let is_glued = line[..at].ends_with(|c: char| !c.is_whitespace());
        if is_glued {
            return (&line[..at], Some(&line[at..]));
        }
    }
    (line, None)
}

/// `text @ file:line`; older kernels give the text alone.
pub(crate) fn source_line(line: &str) -> SourceLine {
    let place = line.rsplit_once(" @ ").and_then(|(text, place)| {
        let (file, number) = place.rsplit_once(':')?;
        Some(SourceLine {
            file: file.to_owned(),
            line: number.parse().ok()?,
            column: 0,
            text: text.to_owned(),
        })
    });
    place.unwrap_or_else(|| SourceLine {
        file: String::new(),
        line: 0,
        column: 0,
        text: line.to_owned(),
    })
}

/// `unreachable insn 2`, `jump out of range from insn 0 to 11`, `back-edge from insn 3 to 1`.
fn named_insn(reason: &str) -> Option<InsnIndex> {
    let (_, after) = reason.split_once("insn ")?;
    let digits = after.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(InsnIndex)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Level 1 of Linux 6.18, a program with BTF.
    const WITH_SOURCE: &str = "\
0: R1=ctx() R10=fp0
; int main(struct __sk_buff *skb) @ null.bpf.c:3
0: (7a) *(u64 *)(r10 -8) = 0          ; R10=fp0 fp-8=0
1: (bf) r2 = r10                      ; R2=fp0 R10=fp0
2: (07) r2 += -8                      ; R2=fp-8
; long *value = bpf_map_lookup_elem(&counts, &key); @ null.bpf.c:6
3: (18) r1 = 0xffff8884eaba7200       ; R1=map_ptr(ks=4,vs=8)
5: (85) call bpf_map_lookup_elem#1    ; R0=map_value_or_null(id=1,ks=4,vs=8)
; return *value + 1; @ null.bpf.c:7
6: (79) r1 = *(u64 *)(r0 +0)
R0 invalid mem access 'map_value_or_null'
processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
";

    #[test]
    fn a_trace_gives_reason_instruction_and_source() {
        let log = VerifierLog::read(WITH_SOURCE);
        assert_eq!(
            log.reason.as_deref(),
            Some("R0 invalid mem access 'map_value_or_null'")
        );
        assert_eq!(log.insn, Some(InsnIndex(6)));
        let source = log.source.unwrap();
        assert_eq!((source.file.as_str(), source.line), ("null.bpf.c", 7));
        assert_eq!(source.text, "return *value + 1;");
        assert_eq!(log.processed, Some(6));
    }

    #[test]
    fn a_log_before_6_9_has_the_source_text_without_a_place() {
        let older = WITH_SOURCE.replace(" @ null.bpf.c:7", "");
        let source = VerifierLog::read(&older).source.unwrap();
        assert_eq!(
            (source.text.as_str(), source.line),
            ("return *value + 1;", 0)
        );
    }

    #[test]
    fn statistics_alone_give_the_reason() {
        let log = VerifierLog::read(
            "invalid access to map value, value_size=8 off=8 size=8\nR0 min value is outside of the allowed memory \
             range\nverification time 68 usec\nstack depth 8\nprocessed 7 insns (limit 1000000) max_states_per_insn 0\n",
        );
        assert_eq!(
            log.reason.as_deref(),
            Some(
                "invalid access to map value, value_size=8 off=8 size=8; R0 min value is outside of the allowed memory \
                 range"
            )
        );
        assert_eq!((log.insn, log.source, log.processed), (None, None, Some(7)));
    }

    #[test]
    fn the_end_of_a_rotated_trace_is_enough() {
        let log = VerifierLog::read(
            "1) R6=0x30d3a R10=fp0\n2: (07) r6 += 1                       ; R6=0x30d3b\n4: (55) if r0 != 0x0 goto pc-3 \
             2: R0=scalar(umin=1) R6=0x30d3b R10=fp0\n2: (07) r6 += 1   ; R6=0x30d40\n3: (85) call \
             bpf_ktime_get_ns#5       ; R0=scalar()\n4: (55) if r0 != 0x0 goto pc-3        ; R0=0\nBPF program is too \
             large. Processed 1000001 insn\nprocessed 1000001 insns (limit 1000000) max_states_per_insn 4\n",
        );
        assert_eq!(
            log.reason.as_deref(),
            Some("BPF program is too large. Processed 1000001 insn")
        );
        assert_eq!(
            (log.insn, log.processed),
            (Some(InsnIndex(4)), Some(1_000_001))
        );
    }

    #[test]
    fn register_states_cut_off_from_their_instruction_are_no_source() {
        let log = VerifierLog::read("          ; R6=0x30bc9\n1: (95) exit\nR0 !read_ok\n");
        assert_eq!((log.source, log.insn), (None, Some(InsnIndex(1))));
    }

    #[test]
    fn a_reason_without_a_trace_may_name_its_instruction() {
        for (text, index) in [
            ("unreachable insn 2\nprocessed 0 insns (limit 1000000)\n", 2),
            ("jump out of range from insn 0 to 11\n", 0),
        ] {
            assert_eq!(
                VerifierLog::read(text).insn,
                Some(InsnIndex(index)),
                "{text}"
            );
        }
    }

    #[test]
    fn any_text_is_accepted() {
        for text in [
            "",
            "\n\n",
            ";",
            ":",
            "99999999999999999999: (00)",
            "processed ",
            "insn ",
            "; @ :",
            "\u{0}\u{fffd}",
        ] {
            let log = VerifierLog::read(text);
            assert_eq!(log.processed, None, "{text:?}");
        }
    }
}
