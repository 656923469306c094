//! Where the value of a register came from: the path walked backwards.
//!
//! ```text
//! 5: call bpf_map_lookup_elem#1        <- the origin: what r0 returned
//! 6: *(u64 *)(r10 -16) = r0            kept on the stack
//! 9: r1 = *(u64 *)(r10 -16)            loaded again
//! 10: r1 += 8                          changed
//! 11: r2 = *(u64 *)(r1 +0)             refused: where does r1 come from?
//! ```
//!
//! Only the text of the log is used, so this works for logs whose program is not at hand.

use crate::trace::{MOST_STEPS_BACK, Step, StepIndex, Trace};

/// Where a value was made, and where it was changed on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// Where it was made; `None` if the log does not reach that far.
    pub(crate) made: Option<(StepIndex, Making)>,
    /// The last change on its way.
    pub(crate) changed: Option<StepIndex>,
}

/// How a value was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Making {
    /// A call returned it.
    Returned,
    /// A call left nothing in it.
    Lost,
    /// It was loaded from memory.
    Loaded,
    /// It was written as it is.
    Written,
}

/// What is being followed backwards.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Register(u8),
    /// An offset from the frame's end.
    Slot(i32),
}

/// What a step did to a place.
enum Effect {
    Nothing,
    /// The value came from there.
    Moved(Place),
    /// The value was changed.
    Changed,
    /// The value was made.
    Made(Making),
}

/// Follows `register` backwards from the step `at`, which has not run yet.
pub(crate) fn origin(trace: &Trace<'_>, at: StepIndex, register: u8) -> Origin {
    let mut origin = Origin {
        made: None,
        changed: None,
    };
    let Some(start) = trace.get(at) else {
        return origin;
    };
    let mut place = Place::Register(register);
    let mut depth = start.depth;
    for (index, step) in trace.path_before(at).take(MOST_STEPS_BACK) {
        if step.depth > depth {
            // Inside a function that was called and is over: only what it returns matters.
            if place != Place::Register(0) || step.text != "exit" || step.depth != depth + 1 {
                continue;
            }
            depth = step.depth;
            continue;
        }
        if step.depth < depth {
            // The call that led here: r1 to r5 are its arguments.
            depth = step.depth;
            if matches!(place, Place::Register(1..=5)) {
                continue;
            }
            return origin;
        }
        match effect(step, place) {
            Effect::Nothing => {}
            Effect::Moved(from) => place = from,
            Effect::Changed => {
                origin.changed.get_or_insert(index);
            }
            Effect::Made(making) => {
                origin.made = Some((index, making));
                return origin;
            }
        }
    }
    origin
}

fn effect(step: &Step<'_>, place: Place) -> Effect {
    if step.text.starts_with("call ") || step.text.starts_with("callx ") {
        return match place {
            Place::Register(0) => Effect::Made(Making::Returned),
            Place::Register(1..=5) => Effect::Made(Making::Lost),
            _ => Effect::Nothing,
        };
    }
    let Some((target, operator, value)) = assignment(step.text) else {
        return Effect::Nothing;
    };
    if place_of(target) != Some(place) {
        return Effect::Nothing;
    }
    match (operator, place_of(value)) {
        ("=", Some(from)) if from == place => Effect::Changed,
        ("=", Some(from)) => Effect::Moved(from),
        ("=", None) if value.starts_with("*(") => Effect::Made(Making::Loaded),
        ("=", None) if mentions(value, target) => Effect::Changed,
        ("=", None) => Effect::Made(Making::Written),
        _ => Effect::Changed,
    }
}

/// `r1 += r2` in three parts.
fn assignment(text: &str) -> Option<(&str, &str, &str)> {
    if text.starts_with("if ") {
        return None;
    }
    let equals = text.find('=')?;
    let (before, value) = (&text[..equals], text[equals + 1..].trim());
    let target = before
        .trim_end_matches(|c: char| "+-*/%&|^<>s".contains(c))
        .trim();
    let operator = match before.trim_end().len() == target.len() {
        true => "=",
        false => "",
    };
    Some((target, operator, value))
}

/// The register or stack slot that a text names: `r1`, `w1`, `(s32)r1`, `*(u64 *)(r10 -8)`.
fn place_of(text: &str) -> Option<Place> {
    if let Some(slot) = text.strip_prefix("*(") {
        let (_, address) = slot.split_once("*)(r10 ")?;
        let offset = address.strip_suffix(')')?.trim_start_matches('+');
        return offset.parse().ok().map(Place::Slot);
    }
    let name = match text.strip_prefix('(') {
        Some(cast) => cast.split_once(')')?.1,
        None => text,
    };
    register(name).map(Place::Register)
}

/// The number in `r1` or `w1`.
pub(crate) fn register(name: &str) -> Option<u8> {
    let digits = name.strip_prefix(['r', 'w'])?;
    digits.parse().ok().filter(|number| *number <= 10)
}

/// Whether an expression names the register.
fn mentions(expression: &str, name: &str) -> bool {
    expression
        .split(|c: char| !c.is_ascii_alphanumeric())
        .any(|word| word == name || (register(word).is_some() && register(word) == register(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::Line;

    /// Follows a register from the last line of a trace.
    fn follow(text: &str, register: u8) -> (Option<(u32, Making)>, Option<u32>) {
        let mut trace = Trace::default();
        for line in text.lines() {
            trace.read(Line::of(line));
        }
        let found = origin(&trace, trace.last().unwrap(), register);
        let insn = |at: StepIndex| trace.get(at).unwrap().insn.0;
        (
            found.made.map(|(at, making)| (insn(at), making)),
            found.changed.map(insn),
        )
    }

    #[test]
    fn moves_spills_and_changes_are_followed() {
        let text = "5: (85) call bpf_map_lookup_elem#1\n6: (7b) *(u64 *)(r10 -16) = r0\n9: (79) r1 = *(u64 *)(r10 -16)\n\
                    10: (07) r1 += 8\n11: (79) r2 = *(u64 *)(r1 +0)\n";
        assert_eq!(follow(text, 1), (Some((5, Making::Returned)), Some(10)));
    }

    #[test]
    fn loads_constants_and_lost_registers_are_told_apart() {
        let text = "0: (61) r6 = *(u32 *)(r1 +4)\n1: (b7) r7 = 1\n2: (85) call 5\n3: (95) exit\n";
        assert_eq!(follow(text, 6).0, Some((0, Making::Loaded)));
        assert_eq!(follow(text, 7).0, Some((1, Making::Written)));
        assert_eq!(follow(text, 3).0, Some((2, Making::Lost)));
        assert_eq!(follow(text, 9).0, None);
    }

    #[test]
    fn arguments_and_return_values_cross_calls() {
        let text = "0: (b7) r1 = 7\n1: (85) call pc+1\ncaller:\n R10=fp0\ncallee:\n frame1: R1=7\n3: (bf) r0 = r1\n\
                    4: (95) exit\nreturning from callee:\n frame1: R0=7\nto caller at 2:\n R0=7\n2: (79) r2 = *(u64 *)(r0 +0)\n";
        assert_eq!(follow(text, 0).0, Some((0, Making::Written)));
        // What the caller kept is not touched by the function.
        assert_eq!(
            follow(&format!("9: (b7) r6 = 1\n{text}"), 6).0,
            Some((9, Making::Written))
        );
    }

    #[test]
    fn odd_texts_have_no_effect() {
        for text in [
            "=",
            "r1 =",
            "= r1",
            "r11 = 1",
            "*( = r1",
            "if r1 == 0x0 goto pc+1",
            "(s32 = 4",
        ] {
            let log = format!("0: (b7) {text}\n1: (95) exit\n");
            assert_eq!(follow(&log, 9), (None, None), "{text}");
        }
    }
}
