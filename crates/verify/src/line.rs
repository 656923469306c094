//! One line of a log by its kind.
//!
//! ```text
//! ; return *value + 1; @ null.bpf.c:7          a source line (the place only since 6.9)
//! 6: (79) r1 = *(u64 *)(r0 +0)  ; R1=scalar()  an instruction, often with register states
//! 4: (55) if r0 != 0x0 goto pc-3 2: R0=1       a jump, followed by the state at its target
//! from 4 to 2: R0=scalar(umin=1) R6=1          a branch taken up again
//! caller: / callee: / returning from callee:   around calls of functions
//! R0=map_value(id=0,off=0) R1_w=inv0           states on a line of their own, before 6.0
//! R0 invalid mem access 'map_value_or_null'    the reason: whatever is none of the others
//! processed 6 insns (limit 1000000) ...        statistics
//! ```

use twinbpf_object::InsnIndex;

/// One line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Source text, without the semicolon.
    Source(&'a str),
    /// An instruction: its index, its text, the states behind it.
    Insn {
        index: InsnIndex,
        text: &'a str,
        states: &'a str,
    },
    /// Another path begins, at the jump `from`.
    Branch { from: InsnIndex, states: &'a str },
    /// Register and stack states.
    States(&'a str),
    /// What follows are states of the calling function.
    Caller,
    /// What follows are states of the function that was called.
    Callee,
    /// The called function is over.
    Returned,
    /// The number of verified instructions.
    Processed(u64),
    /// Numbers at the end, and remarks that are no reason.
    Remark,
    /// Words, perhaps of the reason.
    Words(&'a str),
    /// Nothing.
    Empty,
}

impl<'a> Line<'a> {
    /// Tells what a line is.
    pub(crate) fn of(line: &'a str) -> Self {
        if let Some(source) = line.strip_prefix("; ") {
            return Self::Source(source.trim());
        }
        let line = line.trim();
        if line.is_empty() || line == ";" {
            return Self::Empty;
        }
        // Register states, cut off from their instruction.
        if let Some(states) = line.strip_prefix(';') {
            return Self::States(states);
        }
        if let Some(rest) = line.strip_prefix("processed ") {
            let count = rest
                .split_once(' ')
                .and_then(|(count, _)| count.parse().ok());
            return count.map_or(Self::Remark, Self::Processed);
        }
        if REMARKS.iter().any(|start| line.starts_with(start)) {
            return Self::Remark;
        }
        if let Some((index, rest)) = numbered(line) {
            return insn_or_states(index, rest);
        }
        trace_line(line).unwrap_or(Self::Words(line))
    }
}

/// What stands behind `6: `.
fn insn_or_states(index: InsnIndex, rest: &str) -> Line<'_> {
    let rest = rest.trim_start();
    let code = rest.strip_prefix('(').and_then(|rest| rest.split_once(')'));
    let Some((_, text)) = code.filter(|(code, _)| code.len() <= 2) else {
        return Line::States(rest);
    };
    let (text, states) = split_states(text);
    Line::Insn {
        index,
        text: text.trim(),
        states: states.trim(),
    }
}

/// The instruction's text, and the states behind it: after a semicolon, or after a jump's target.
fn split_states(text: &str) -> (&str, &str) {
    if let Some(parts) = text.split_once(';') {
        return parts;
    }
    let jump = text.find("goto pc").or_else(|| text.find("goto_or_nop pc"));
    let end = jump.and_then(|jump| {
        let target = text[jump..].find("pc")? + jump + "pc".len();
        let length = text[target..].find(' ')?;
        Some(target + length)
    });
    match end {
        Some(end) => {
            let (text, states) = text.split_at(end);
            let states = states.trim_start();
            (text, numbered(states).map_or(states, |(_, states)| states))
        }
        None => (text, ""),
    }
}

fn trace_line(line: &str) -> Option<Line<'_>> {
    if let Some(rest) = line.strip_prefix("from ") {
        let (from, rest) = rest.split_once(" to ")?;
        let (_, states) = rest.split_once(':').unwrap_or((rest, ""));
        let from = InsnIndex(from.parse().ok()?);
        return Some(Line::Branch { from, states });
    }
    match line {
        "caller:" => return Some(Line::Caller),
        "callee:" => return Some(Line::Callee),
        "returning from callee:" => return Some(Line::Returned),
        _ if line.starts_with("to caller at ") => return Some(Line::Caller),
        _ => {}
    }
    is_states(line).then_some(Line::States(line))
}

/// `R0=..`, `R1_w=..`, `fp-8=..`, `frame1: R0=..`
fn is_states(line: &str) -> bool {
    let line = match line.strip_prefix("frame") {
        Some(rest) => rest.split_once(": ").map_or("", |(_, rest)| rest),
        None => line,
    };
    let name = line.split('=').next().unwrap_or_default();
    let is_register = name
        .strip_prefix('R')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let is_slot = name
        .strip_prefix("fp-")
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    line.contains('=') && !name.contains(' ') && (is_register || is_slot)
}

/// Lines that are neither instructions nor reasons.
const REMARKS: [&str; 22] = [
    "HINT: ",
    "Traceback ",
    "Caused by:",
    "Error: ",
    "libbpf: ",
    "verification time ",
    "stack depth ",
    // KERNEL: from 7.2 on, among the statistics.
    "insns processed ",
    "insns_processed ",
    "mark_precise:",
    "func#",
    "Func#",
    "Validating ",
    "last_idx ",
    "regs=",
    "parent ",
    "cur state:",
    "old state:",
    "live regs before insn:",
    "propagating ",
    "Live regs before insn:",
    "frame 0: propagating",
];

/// `6: rest`
pub(crate) fn numbered(line: &str) -> Option<(InsnIndex, &str)> {
    let (number, rest) = line.split_once(':')?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse().ok().map(|index| (InsnIndex(index), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn<'a>(index: u32, text: &'a str, states: &'a str) -> Line<'a> {
        Line::Insn {
            index: InsnIndex(index),
            text,
            states,
        }
    }

    #[test]
    fn instructions_have_text_and_states() {
        for (line, expected) in [
            (
                "6: (79) r1 = *(u64 *)(r0 +0)",
                insn(6, "r1 = *(u64 *)(r0 +0)", ""),
            ),
            (
                "1: (bf) r2 = r10       ; R2=fp0 R10=fp0",
                insn(1, "r2 = r10", "R2=fp0 R10=fp0"),
            ),
            (
                "13: (55) if r0 != 0x0 goto pc+1 15: R0=sock() refs=2",
                insn(13, "if r0 != 0x0 goto pc+1", "R0=sock() refs=2"),
            ),
            ("4: (e5) may_goto pc+2", insn(4, "may_goto pc+2", "")),
            ("2: (85) call pc+1", insn(2, "call pc+1", "")),
        ] {
            assert_eq!(Line::of(line), expected, "{line}");
        }
    }

    #[test]
    fn states_stand_alone_in_older_logs() {
        for line in [
            "0: R1=ctx(id=0,off=0,imm=0) R10=fp0",
            " R0=map_value(id=0,off=0,ks=4,vs=8,imm=0) R1_w=inv0 R10=fp0 fp-8=mmmm",
            " frame1: R0=inv(id=0) R10=fp0",
            "          ; R6=0x30bc9",
        ] {
            assert!(matches!(Line::of(line), Line::States(_)), "{line}");
        }
    }

    #[test]
    fn reasons_are_words_even_if_they_begin_with_a_register() {
        for line in [
            "R0 invalid mem access 'map_value_or_null'",
            "R1 type=ctx expected=fp",
            "R0 !read_ok",
            "from here on nothing is known",
            "invalid access to packet, off=23 size=1, R1(id=0,off=23,r=14)",
        ] {
            assert_eq!(Line::of(line), Line::Words(line));
        }
    }

    #[test]
    fn paths_calls_and_statistics_are_told_apart() {
        let branch = Line::of("from 4 to 2: R0=1");
        assert!(matches!(
            branch,
            Line::Branch {
                from: InsnIndex(4),
                ..
            }
        ));
        assert_eq!(Line::of("callee:"), Line::Callee);
        assert_eq!(Line::of("to caller at 3:"), Line::Caller);
        assert_eq!(Line::of("processed 6 insns (limit 1)"), Line::Processed(6));
        assert_eq!(Line::of("processed many"), Line::Remark);
        assert_eq!(Line::of("cur state: R0=1"), Line::Remark);
    }
}
