//! The reader of kernel verifier logs.
//!
//! A log is lines of a few kinds, told apart by how they start:
//!
//! ```text
//! ; return *value + 1; @ null.bpf.c:7          a source line (the place only since 6.9)
//! 6: (79) r1 = *(u64 *)(r0 +0)  ; R1=scalar()  an instruction, often with register states
//! 4: (55) if r0 != 0x0 goto pc-3 2: R0=1       a jump, followed by the state at its target
//! from 4 to 2: R0=scalar(umin=1) R6=1          a branch taken up again
//! R0 invalid mem access 'map_value_or_null'    the reason: whatever is none of the others
//! processed 6 insns (limit 1000000) ...        statistics
//! ```
//!
//! At level 4 only reason and statistics are there. The log is text from outside: any text is accepted, whatever is not
//! recognised is simply not found.

use twinbpf_object::InsnIndex;
use twinbpf_object::diagnosis::SourceLine;

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
}

impl VerifierLog {
    /// Reads a log of level 1, 2 or 4.
    pub fn read(text: &str) -> Self {
        let mut log = Self::default();
        let mut reason: Vec<&str> = Vec::new();
        for line in text.lines() {
            match Line::of(line.trim_end()) {
                Line::Source(source) => {
                    log.source = Some(source_line(source));
                    reason.clear();
                }
                Line::Insn(index) => {
                    log.insn = Some(index);
                    reason.clear();
                }
                Line::State => reason.clear(),
                Line::Processed(count) => log.processed = Some(count),
                Line::Statistics | Line::Empty => {}
                Line::Words(words) => reason.push(words),
            }
        }
        // Words before the trace are no reason: what counts stands between the last instruction and the statistics.
        let from = reason.len().saturating_sub(REASON_LINES);
        if !reason.is_empty() {
            log.reason = Some(reason[from..].join("; "));
        }
        if log.insn.is_none() {
            log.insn = log.reason.as_deref().and_then(named_insn);
        }
        log
    }
}

/// The last lines that can belong to one reason; the verifier uses at most two for one fact.
const REASON_LINES: usize = 3;

/// One line by its kind.
enum Line<'a> {
    Source(&'a str),
    Insn(InsnIndex),
    State,
    Processed(u64),
    Statistics,
    Words(&'a str),
    Empty,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Self {
        if let Some(source) = line.strip_prefix("; ") {
            return Self::Source(source.trim());
        }
        let line = line.trim();
        if line.is_empty() {
            return Self::Empty;
        }
        // Register states, cut off from their instruction.
        if line.starts_with(';') {
            return Self::State;
        }
        if let Some(rest) = line.strip_prefix("processed ") {
            return match rest.split_once(' ').map(|(count, _)| count.parse()) {
                Some(Ok(count)) => Self::Processed(count),
                _ => Self::Statistics,
            };
        }
        if STATISTICS.iter().any(|start| line.starts_with(start)) {
            return Self::Statistics;
        }
        if let Some((index, rest)) = numbered(line) {
            return match rest.trim_start().starts_with('(') {
                true => Self::Insn(index),
                false => Self::State,
            };
        }
        if TRACE.iter().any(|start| line.starts_with(start)) {
            return Self::State;
        }
        Self::Words(line)
    }
}

/// Lines of numbers at the end.
const STATISTICS: [&str; 4] = [
    "verification time ",
    "stack depth ",
    "insns_processed ",
    "verification_time",
];

/// Lines of the trace that are neither instructions nor reasons.
const TRACE: [&str; 7] = [
    "from ",
    "mark_precise:",
    "func#",
    "last_idx ",
    "regs=",
    "parent ",
    "live regs before insn:",
];

/// `6: rest`
fn numbered(line: &str) -> Option<(InsnIndex, &str)> {
    let (number, rest) = line.split_once(':')?;
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse().ok().map(|index| (InsnIndex(index), rest))
}

/// `text @ file:line`; older kernels give the text alone.
fn source_line(line: &str) -> SourceLine {
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
