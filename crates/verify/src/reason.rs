//! The table of reasons: what the verifier's words mean and what to do about them.
//!
//! A row matches if all its pieces occur in the reason followed by `@` and the instruction, in any order. The first match
//! wins, so narrower rows stand first. The pieces are what has stayed the same between kernels 5.x and 6.18; whatever
//! matches nothing stays `V000`.

use twinbpf_object::Code;
use twinbpf_object::diagnosis::Category;

/// One row: from a shape of words to a cause and its cure.
#[derive(Debug, Clone, Copy)]
pub struct Reason {
    /// Our stable code.
    pub code: Code,
    /// The kernel's category.
    pub category: Category,
    /// The cause, one sentence.
    pub cause: &'static str,
    /// What to write instead.
    pub help: &'static str,
    /// Pieces of the verifier's words; all must occur.
    pieces: &'static [&'static str],
}

/// The row for the verifier's words at an instruction (empty if unknown), if there is one.
pub fn find(words: &str, insn: &str) -> Option<&'static Reason> {
    let words = format!("{words} @ {insn}");
    REASONS
        .iter()
        .find(|reason| reason.pieces.iter().all(|piece| words.contains(piece)))
}

const fn row(
    code: Code,
    category: Category,
    pieces: &'static [&'static str],
    cause: &'static str,
    help: &'static str,
) -> Reason {
    Reason {
        code,
        category,
        cause,
        help,
        pieces,
    }
}

/// The rows, narrower ones first.
#[rustfmt::skip]
pub const REASONS: &[Reason] = &[
    row(Code::NULL_NOT_TESTED, Category::RegisterType, &["invalid mem access", "_or_null'"],
        "a pointer that may be null is used without a null test before it",
        "test it first: `if (!value) return 0;` between the call that gave it and this line"),
    row(Code::NOT_A_POINTER, Category::RegisterType, &["invalid mem access 'scalar'"],
        "a plain number is used as an address",
        "a kernel address is read with bpf_probe_read_kernel(); a pointer kept across a helper that changes the packet is loaded again"),
    row(Code::NOT_A_POINTER, Category::RegisterType, &["invalid mem access 'inv'"],
        "a plain number is used as an address",
        "a kernel address is read with bpf_probe_read_kernel(); a pointer kept across a helper that changes the packet is loaded again"),
    row(Code::NO_RETURN_VALUE, Category::RegisterType, &["R0 !read_ok @ exit"],
        "a path ends without a return value",
        "return a value on every path"),
    row(Code::NEVER_WRITTEN, Category::RegisterType, &["!read_ok"],
        "a register is read that holds nothing on this path: never written, or lost in a call",
        "give the variable a value on every path; r1 to r5 do not survive a call"),
    row(Code::NULL_ARITHMETIC, Category::RegisterType, &["pointer arithmetic on", "_or_null prohibited"],
        "an offset is added to a pointer that may be null",
        "test the pointer first, then add to it"),
    row(Code::POINTER_ARITHMETIC, Category::RegisterType, &["pointer arithmetic with", "operator prohibited"],
        "a pointer is multiplied, shifted or masked",
        "compute the offset as a number and add it to the pointer last"),
    row(Code::POINTER_ARITHMETIC, Category::RegisterType, &["bitwise operator", "on pointer prohibited"],
        "a pointer is masked",
        "compute the offset as a number and add it to the pointer last"),
    row(Code::CONTEXT_MOVED, Category::RegisterType, &["dereference of modified ctx ptr"],
        "the context pointer was moved before a field is read through it",
        "read fields from the context as it came, with constant offsets"),
    row(Code::PACKET_BOUNDS, Category::Memory, &["invalid access to packet"],
        "these packet bytes are not proven to be inside the packet",
        "before reading, compare the end of what is read with data_end: `if ((void *)(header + 1) > data_end) return ...;`"),
    row(Code::INDEX_TOO_LARGE, Category::Memory, &["max value is outside of the allowed memory range"],
        "an index may be larger than what it indexes",
        "bound it just before use: `if (index >= COUNT) return 0;`, or `index &= COUNT - 1` for powers of two"),
    row(Code::INDEX_NEGATIVE, Category::Memory, &["min value is negative"],
        "an index or size may be negative",
        "make it unsigned, or test `>= 0` before use"),
    row(Code::MAP_VALUE_BOUNDS, Category::Memory, &["invalid access to map value"],
        "the access ends behind the map's value",
        "compare the map's value_size with the type that is read or written"),
    row(Code::OFFSET_OUTSIDE, Category::Memory, &["min value is outside of the allowed memory range"],
        "the access lies wholly outside what the pointer points to",
        "check the constant offset and the size of the element"),
    row(Code::INDEX_UNBOUNDED, Category::Memory, &["unbounded memory access"],
        "an index or size has no upper bound",
        "bound it just before use: `if (index >= COUNT) return 0;`"),
    row(Code::MATH_UNBOUNDED, Category::Memory, &["math between", "is not allowed"],
        "a number without bounds is added to a pointer",
        "bound the number on both sides before adding it; an unsigned type spares the lower side"),
    row(Code::STACK_BOUNDS, Category::Memory, &["stack R", "off="],
        "the access lies outside the 512 bytes of the stack",
        "use fewer or smaller local variables, or a per-CPU array of one element as scratch memory"),
    row(Code::MISALIGNED, Category::Memory, &["misaligned", "access"],
        "the address is not a multiple of the size that is accessed",
        "align the field, or copy it byte by byte"),
    row(Code::CONTEXT_ACCESS, Category::RegisterType, &["invalid bpf_context access"],
        "this program type may not access these bytes of its context",
        "check that the field exists for this program type, and that it is read or written in its full width"),
    row(Code::FRAME_POINTER, Category::RegisterType, &["frame pointer is read only"],
        "r10, the frame pointer, is written",
        "copy it to another register first"),
    row(Code::HELPER_NOT_ALLOWED, Category::CallType, &["program of this type cannot use helper"],
        "this helper is not available to this program type",
        "another program type may have it: `man bpf-helpers` lists them"),
    row(Code::HELPER_NOT_ALLOWED, Category::CallType, &["unknown func"],
        "this helper does not exist in this kernel, or not for this program type",
        "a number like 195896080 stands for a failed CO-RE relocation; else see `man bpf-helpers`"),
    row(Code::HELPER_NOT_ALLOWED, Category::CallType, &["invalid func unknown#"],
        "this helper does not exist in this kernel",
        "a number like 195896080 stands for a failed CO-RE relocation; else see `man bpf-helpers`"),
    row(Code::LICENSE_NOT_GPL, Category::Policy, &["cannot call GPL-restricted function"],
        "a helper for GPL programs only is called, and the object's license is missing or another",
        "declare it: `char _license[] SEC(\"license\") = \"GPL\";`"),
    row(Code::RETURN_RANGE, Category::CallType, &["At program exit the register R0"],
        "the return value is outside the range that the hook allows",
        "return one of the hook's codes on every path"),
    row(Code::HELPER_ARGUMENT, Category::CallType, &["type=", "expected="],
        "a helper gets the wrong kind of argument",
        "pass the address of a variable on the stack, of the map, or of the context, as the helper's prototype says"),
    row(Code::TOO_MANY_INSNS, Category::ProgramStructure, &["BPF program is too large"],
        "verifying every path takes more than the kernel's limit of steps",
        "bound the loops, use bpf_loop(), or move parts to functions that are not inlined"),
    row(Code::TOO_COMPLEX, Category::ProgramStructure, &["jumps is too complex"],
        "too many branches are open at once, mostly in a loop that does not converge",
        "bound the loop by a counter that the verifier can follow, or use bpf_loop()"),
    row(Code::UNREACHABLE, Category::ProgramStructure, &["unreachable insn"],
        "an instruction can never be reached",
        "compile with -O2; in hand-written code, remove it"),
    row(Code::MALFORMED_FLOW, Category::ProgramStructure, &["last insn is not an exit or jmp"],
        "the program runs past its last instruction",
        "end it with a return"),
    row(Code::MALFORMED_FLOW, Category::ProgramStructure, &["jump out of range"],
        "a jump leaves the program",
        "the instructions were cut or put together wrongly"),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of Linux 6.18, each from a program made to be refused.
    const SEEN: &[(&str, &str)] = &[
        ("V001", "R0 invalid mem access 'map_value_or_null'"),
        ("V002", "R1 invalid mem access 'scalar'"),
        ("V003", "R3 !read_ok"),
        ("V005", "R1 type=scalar expected=map_ptr"),
        (
            "V006",
            "R0 pointer arithmetic on map_value_or_null prohibited, null-check it first",
        ),
        ("V007", "R2 pointer arithmetic with *= operator prohibited"),
        (
            "V008",
            "dereference of modified ctx ptr R1 off=4 disallowed",
        ),
        (
            "V010",
            "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0); R2 offset is outside of the packet",
        ),
        (
            "V011",
            "invalid access to map value, value_size=8 off=8 size=8; R0 min value is outside of the allowed memory range",
        ),
        (
            "V012",
            "invalid access to map value, value_size=8 off=255 size=1; R0 max value is outside of the allowed memory range",
        ),
        (
            "V013",
            "R0 min value is negative, either use unsigned index or do a if (index >=0) check.",
        ),
        (
            "V013",
            "R2 min value is negative, either use unsigned or 'var &= const'",
        ),
        (
            "V015",
            "R0 unbounded memory access, make sure to bounds check any such access",
        ),
        (
            "V017",
            "math between map_value pointer and register with unbounded min value is not allowed",
        ),
        ("V020", "invalid read from stack R10 off=-520 size=8"),
        ("V020", "invalid write to stack R10 off=8 size=8"),
        ("V021", "misaligned stack access off 0+0+-12 size 8"),
        ("V024", "invalid bpf_context access off=4096 size=8"),
        ("V025", "frame pointer is read only"),
        (
            "V028",
            "program of this type cannot use helper bpf_redirect#23",
        ),
        ("V028", "invalid func unknown#9999"),
        (
            "V029",
            "cannot call GPL-restricted function from non-GPL compatible program",
        ),
        (
            "V037",
            "At program exit the register R0 has smin=5 smax=5 should have been in [0, 1]",
        ),
        ("V038", "BPF program is too large. Processed 1000001 insn"),
        ("V042", "unreachable insn 2"),
        ("V043", "last insn is not an exit or jmp"),
        ("V043", "jump out of range from insn 0 to 11"),
    ];

    #[test]
    fn words_of_6_18_find_their_rows() {
        for (code, words) in SEEN {
            assert_eq!(
                find(words, "").map(|reason| reason.code.as_str()),
                Some(*code),
                "{words}"
            );
        }
    }

    #[test]
    fn causes_and_helps_are_one_sentence_each() {
        for reason in REASONS {
            for text in [reason.cause, reason.help] {
                assert!(!text.ends_with('.') && !text.contains('\n'), "{text}");
                assert!(!text.starts_with(char::is_uppercase), "{text}");
            }
        }
    }

    #[test]
    fn unknown_words_find_nothing() {
        assert!(find("fd 999 is not pointing to valid bpf_map", "exit").is_none());
        assert!(find("", "").is_none());
    }
}
