//! The verifier's words with their numbers, said in plain words.
//!
//! `invalid access to packet, off=23 size=1, R1(id=0,off=23,r=14)` holds everything a user needs, in a form only its authors read. Each
//! function here knows one shape, and returns nothing if a part is missing: then the cause from the table of codes has to do.

use twinbpf_object::Code;
use twinbpf_object::abi::helper_prototype;

/// One sentence about this refusal, if its words have a known shape.
pub(crate) fn detail(code: Code, words: &str) -> Option<String> {
    match code {
        Code::PACKET_BOUNDS => packet(words),
        Code::MAP_VALUE_BOUNDS | Code::INDEX_TOO_LARGE | Code::OFFSET_OUTSIDE => {
            memory(code, words)
        }
        Code::CONTEXT_ACCESS => context(words),
        Code::STACK_BOUNDS => stack(words),
        Code::NULL_NOT_TESTED => null(words),
        Code::NOT_A_POINTER => not_a_pointer(words),
        Code::NULL_ARGUMENT => null_argument(words),
        Code::HELPER_NOT_ALLOWED => helper(words),
        Code::KFUNC_NOT_ALLOWED => kfunc(words),
        Code::HELPER_ARGUMENT | Code::NOT_TRUSTED => argument(words),
        Code::RETURN_RANGE => return_range(words),
        Code::STACK_TOO_LARGE => stack_sum(words),
        Code::TOO_MANY_INSNS => too_large(words),
        Code::TOO_COMPLEX => too_complex(words),
        _ => None,
    }
}

/// `invalid access to packet, off=23 size=1, R1(id=0,off=23,r=14)`
fn packet(words: &str) -> Option<String> {
    let words = after(words, "invalid access to packet, ")?;
    let (offset, size) = (number(words, "off=")?, number(words, "size=")?);
    let proven = number(words, ",r=")?;
    if offset < 0 {
        return Some(format!(
            "{} at offset {offset}, before the packet's beginning",
            bytes(size)
        ));
    }
    let place = match number(words, "(id=") {
        Some(0) => format!("at offset {offset} of the packet"),
        _ => format!("at offset {offset} behind a variable position in the packet"),
    };
    let known = match proven {
        0 => "no byte there is proven to exist".to_owned(),
        1 => "only 1 byte is proven to exist".to_owned(),
        _ => format!("only {proven} bytes are proven to exist"),
    };
    Some(format!("{} {place}, where {known}", bytes(size)))
}

/// `invalid access to map value, value_size=8 off=8 size=8`, `invalid access to memory, mem_size=4 off=8 size=1`
fn memory(code: Code, words: &str) -> Option<String> {
    let (what, key) = [("map value", "value_size="), ("memory", "mem_size=")]
        .into_iter()
        .find(|(what, _)| words.contains(&format!("invalid access to {what}, ")))?;
    let words = after(words, "invalid access to ")?;
    let (limit, offset) = (number(words, key)?, number(words, "off=")?);
    let size = number(words, "size=").filter(|_| words.contains(" size="));
    let size = size.and(number(after(words, "off=")?, "size="))?;
    let reach = match code {
        Code::INDEX_TOO_LARGE => "up to offset",
        _ => "at offset",
    };
    let what = match what {
        "memory" => "memory area",
        what => what,
    };
    Some(format!(
        "{} {reach} {offset} of a {what} of {}",
        bytes(size),
        bytes_plain(limit)
    ))
}

/// `invalid bpf_context access off=4096 size=8`
fn context(words: &str) -> Option<String> {
    let words = after(words, "invalid bpf_context access ")?;
    let (offset, size) = (number(words, "off=")?, number(words, "size=")?);
    Some(format!(
        "{} at offset {offset} of the context, which this program type may not access like this",
        bytes(size)
    ))
}

/// `invalid read from stack R10 off=-520 size=8`
fn stack(words: &str) -> Option<String> {
    let offset = number(words, " off=")?;
    let size = number(words, " size=")?;
    let is_write = words.contains("write to stack");
    let verb = if is_write { "written" } else { "read" };
    let limit = if offset >= 0 {
        "above the frame's end"
    } else if offset < -512 {
        "beyond the 512 bytes of the stack"
    } else if offset.checked_add(size)? > 0 {
        "which is more than there is"
    } else {
        return None;
    };
    Some(format!(
        "{} at offset {offset} from the frame's end are {verb}, {limit}",
        bytes_of(size)
    ))
}

/// `R0 invalid mem access 'map_value_or_null'`
fn null(words: &str) -> Option<String> {
    let (register, rest) = words.split_once(" invalid mem access '")?;
    let kind = rest.split('\'').next()?;
    let register = register_name(register)?;
    Some(format!(
        "{register} is {} and used without a null test",
        kind_in_words(kind)?
    ))
}

/// `R7 invalid mem access 'scalar'`
fn not_a_pointer(words: &str) -> Option<String> {
    let (register, rest) = words.split_once(" invalid mem access '")?;
    let register = register_name(register)?;
    let kind = kind_in_words(rest.split('\'').next()?)?;
    Some(format!(
        "{register} is {kind}, and it is used as an address"
    ))
}

/// `Possibly NULL pointer passed to trusted arg0`
fn null_argument(words: &str) -> Option<String> {
    let number = number(words, "passed to trusted arg").or_else(|| number(words, "helper arg"))?;
    Some(format!(
        "argument {} may be null, and the function does not accept null",
        number.checked_add(1)?
    ))
}

/// `program of this type cannot use helper bpf_redirect#23`, `unknown func bpf_redirect#23`
fn helper(words: &str) -> Option<String> {
    let rest = ["cannot use helper ", "unknown func ", "invalid func "]
        .into_iter()
        .find_map(|start| after(words, start))?;
    let name = rest.split(['#', ' ', ';']).next()?;
    let number = number(rest, "#");
    match (name, number) {
        ("unknown" | "", Some(number)) => Some(
            match i32::try_from(number).ok().and_then(helper_prototype) {
                Some(known) => format!(
                    "this kernel has no helper number {number}: `bpf_{}` came with Linux {}",
                    known.name, known.since
                ),
                None => format!("this kernel has no helper number {number}"),
            },
        ),
        ("unknown" | "", None) => None,
        _ => Some(format!(
            "helper {name} is not available to this program type"
        )),
    }
}

/// `calling kernel function bpf_task_acquire is not allowed`
fn kfunc(words: &str) -> Option<String> {
    if let Some(rest) = after(words, "kfunc '") {
        let name = rest.split('\'').next()?;
        return Some(format!("this kernel has no function {name} for programs"));
    }
    let name = after(words, "calling kernel function ")?
        .split(' ')
        .next()?;
    Some(format!(
        "kernel function {name} is not available to this program"
    ))
}

/// `R1 type=scalar expected=map_ptr`
fn argument(words: &str) -> Option<String> {
    let (register, rest) = words.split_once(" type=")?;
    let register = register_name(register.rsplit([' ', ';']).next()?)?;
    let (has, rest) = rest.split_once(" expected=")?;
    let wanted: Vec<&str> = rest
        .split(';')
        .next()?
        .split(", ")
        .filter_map(kind_in_words)
        .collect();
    let has = kind_in_words(has)?;
    let (last, first) = wanted.split_last()?;
    let wanted = match first {
        [] => (*last).to_owned(),
        [..] if wanted.len() <= MOST_KINDS => format!("{} or {last}", first.join(", ")),
        [..] => format!(
            "an address: {}, ..",
            first[..MOST_KINDS.min(first.len())].join(", ")
        ),
    };
    Some(format!(
        "{register} is {has}, and the call expects {wanted}"
    ))
}

/// Kinds that are listed.
const MOST_KINDS: usize = 3;

/// `At program exit the register R0 has smin=5 smax=5 should have been in [0, 1]`
fn return_range(words: &str) -> Option<String> {
    let (has, wanted) = words.split_once(" should have been in ")?;
    let (low, high) = wanted
        .strip_prefix('[')?
        .split_once(']')?
        .0
        .split_once(", ")?;
    let wanted = match low == high {
        true => format!("exactly {low}"),
        false => format!("{low} to {high}"),
    };
    let has = match (number(has, "smin="), number(has, "smax=")) {
        (Some(low), Some(high)) if low == high => format!("is {low}"),
        (Some(low), Some(high)) => format!("is between {low} and {high}"),
        (Some(low), None) => format!("is {low} or more"),
        (None, Some(high)) => format!("is {high} or less"),
        (None, None) => "can be anything".to_owned(),
    };
    Some(format!("the return value {has}, and {wanted} is allowed"))
}

/// `combined stack size of 2 calls is 544. Too large`
fn stack_sum(words: &str) -> Option<String> {
    let words = after(words, "combined stack size of ")?;
    let calls = leading_number(words)?;
    let size = number(words, "calls is ")?;
    Some(format!(
        "{calls} functions that call each other need {size} bytes of stack together, and 512 are allowed"
    ))
}

/// `BPF program is too large. Processed 1000001 insn`
fn too_large(words: &str) -> Option<String> {
    let count = number(words, "Processed ")?;
    Some(format!(
        "the verifier gave up after {} steps",
        grouped(count)
    ))
}

/// `The sequence of 8193 jumps is too complex.`
fn too_complex(words: &str) -> Option<String> {
    let count = number(words, "The sequence of ")?;
    Some(format!(
        "{} branches are open at once, mostly in a loop that does not converge",
        grouped(count)
    ))
}

/// libbpf puts its own words where the verifier found a CO-RE relocation without an answer:
/// `failed to resolve CO-RE relocation <byte_off> [5] struct task_struct.gone (0:1 @ offset 4)`
pub(crate) fn missing_of_libbpf(words: &str) -> Option<String> {
    let rest = after(words, "failed to resolve CO-RE relocation ")?;
    let (_, rest) = rest.split_once("] ")?;
    let name = rest.split(" (").next()?;
    Some(format!(
        "the kernel's types have no `{name}`, or not as the program expects it"
    ))
}

/// What the verifier's name of a kind of value means.
pub(crate) fn kind_in_words(kind: &str) -> Option<&'static str> {
    let kind = kind.trim();
    KINDS
        .iter()
        .find(|(name, _)| *name == kind)
        .map(|(_, words)| *words)
}

const KINDS: &[(&str, &str)] = &[
    ("scalar", "a number"),
    ("inv", "a number"),
    ("ctx", "the context"),
    ("fp", "an address on the stack"),
    ("map_ptr", "a map"),
    ("map_value", "a map value"),
    ("map_key", "a map key"),
    ("map_value_or_null", "a map value that may be null"),
    ("pkt", "a packet address"),
    ("pkt_meta", "an address in packet metadata"),
    ("pkt_end", "the packet's end"),
    ("mem", "memory"),
    ("mem_or_null", "memory that may be null"),
    ("ringbuf_mem", "a ring buffer record"),
    (
        "ringbuf_mem_or_null",
        "a ring buffer record that may be null",
    ),
    ("alloc_mem_or_null", "a ring buffer record that may be null"),
    ("buf", "a buffer"),
    ("rdonly_buf_or_null", "a buffer that may be null"),
    ("sock", "a socket"),
    ("sock_or_null", "a socket that may be null"),
    ("sock_common", "a socket"),
    ("sock_common_or_null", "a socket that may be null"),
    ("tcp_sock", "a TCP socket"),
    ("tcp_sock_or_null", "a TCP socket that may be null"),
    ("xdp_sock", "an XDP socket"),
    ("ptr_", "a kernel object"),
    ("ptr_or_null_", "a kernel object that may be null"),
    ("trusted_ptr_", "a kernel object"),
    ("trusted_ptr_or_null_", "a kernel object that may be null"),
    ("rcu_ptr_", "a kernel object under RCU"),
    (
        "rcu_ptr_or_null_",
        "a kernel object under RCU that may be null",
    ),
    ("untrusted_ptr_", "a kernel object that may be gone"),
    ("percpu_ptr_", "a per-CPU kernel object"),
    ("percpu_rcu_ptr_", "a per-CPU kernel object"),
    ("percpu_trusted_ptr_", "a per-CPU kernel object"),
    ("dynptr_ptr", "a dynptr"),
    ("rdonly_mem", "read-only memory"),
    ("flow_keys", "flow keys"),
    ("func", "a function"),
];

/// `r1` from `R1`
fn register_name(word: &str) -> Option<String> {
    let digits = word.strip_prefix('R')?;
    let number: u8 = digits.parse().ok()?;
    Some(format!("r{number}"))
}

fn after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    text.split_once(start).map(|(_, rest)| rest)
}

/// The number behind a key: `off=-8`.
fn number(text: &str, key: &str) -> Option<i64> {
    leading_number(after(text, key)?)
}

fn leading_number(text: &str) -> Option<i64> {
    let end = text
        .char_indices()
        .find(|(at, c)| !(c.is_ascii_digit() || (*at == 0 && *c == '-')))
        .map_or(text.len(), |(at, _)| at);
    text[..end].parse().ok()
}

/// `8 bytes are accessed`
fn bytes(count: i64) -> String {
    match count {
        1 => "1 byte is accessed".to_owned(),
        _ => format!("{count} bytes are accessed"),
    }
}

fn bytes_of(count: i64) -> String {
    match count {
        1 => "1 byte".to_owned(),
        _ => format!("{count} bytes"),
    }
}

fn bytes_plain(count: i64) -> String {
    bytes_of(count)
}

/// `1,000,001`
pub(crate) fn grouped(count: i64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code, words, and what is said.
    const CASES: &[(Code, &str, &str)] = &[
        (
            Code::KFUNC_NOT_ALLOWED,
            "kfunc 'bpf_iter_num_new' is referenced but wasn't resolved",
            "this kernel has no function bpf_iter_num_new for programs",
        ),
        (
            Code::PACKET_BOUNDS,
            "invalid access to packet, off=23 size=1, R1(id=0,off=23,r=14); R1 offset is outside of the packet",
            "1 byte is accessed at offset 23 of the packet, where only 14 bytes are proven to exist",
        ),
        (
            Code::PACKET_BOUNDS,
            "invalid access to packet, off=0 size=8, R3(id=1,off=0,r=0)",
            "8 bytes are accessed at offset 0 behind a variable position in the packet, where no byte there is proven to \
                 exist",
        ),
        (
            Code::MAP_VALUE_BOUNDS,
            "invalid access to map value, value_size=8 off=8 size=8; R0 min value is outside of the allowed memory range",
            "8 bytes are accessed at offset 8 of a map value of 8 bytes",
        ),
        (
            Code::INDEX_TOO_LARGE,
            "invalid access to memory, mem_size=4 off=255 size=1; R0 max value is outside",
            "1 byte is accessed up to offset 255 of a memory area of 4 bytes",
        ),
        (
            Code::NULL_NOT_TESTED,
            "R0 invalid mem access 'map_value_or_null'",
            "r0 is a map value that may be null and used without a null test",
        ),
        (
            Code::HELPER_NOT_ALLOWED,
            "program of this type cannot use helper bpf_redirect#23",
            "helper bpf_redirect is not available to this program type",
        ),
        (
            Code::HELPER_NOT_ALLOWED,
            "invalid func unknown#9999",
            "this kernel has no helper number 9999",
        ),
        (
            Code::HELPER_NOT_ALLOWED,
            "invalid func unknown#174",
            "this kernel has no helper number 174: `bpf_get_attach_cookie` came with Linux 5.15",
        ),
        (
            Code::HELPER_ARGUMENT,
            "R1 type=scalar expected=map_ptr",
            "r1 is a number, and the call expects a map",
        ),
        (
            Code::NOT_A_POINTER,
            "R7 invalid mem access 'scalar'",
            "r7 is a number, and it is used as an address",
        ),
        (
            Code::STACK_BOUNDS,
            "invalid write to stack R3 off=-1 size=8",
            "8 bytes at offset -1 from the frame's end are written, which is more than there is",
        ),
        (
            Code::RETURN_RANGE,
            "At program exit the register R0 has smin=5 smax=5 should have been in [0, 1]",
            "the return value is 5, and 0 to 1 is allowed",
        ),
        (
            Code::STACK_BOUNDS,
            "invalid read from stack R10 off=-520 size=8",
            "8 bytes at offset -520 from the frame's end are read, beyond the 512 bytes of the stack",
        ),
        (
            Code::TOO_MANY_INSNS,
            "BPF program is too large. Processed 1000001 insn",
            "the verifier gave up after 1,000,001 steps",
        ),
        (
            Code::STACK_TOO_LARGE,
            "combined stack size of 2 calls is 544. Too large",
            "2 functions that call each other need 544 bytes of stack together, and 512 are allowed",
        ),
    ];

    #[test]
    fn numbers_are_put_into_plain_words() {
        for (code, words, expected) in CASES {
            assert_eq!(detail(*code, words).as_deref(), Some(*expected), "{words}");
        }
    }

    #[test]
    fn words_with_parts_missing_have_no_detail() {
        for row in twinbpf_object::diagnosis::CODES {
            for words in [
                "",
                "off=",
                "R1 type= expected=",
                "invalid access to packet, ",
                "At ]",
                "-",
            ] {
                let text = detail(row.code, words);
                assert_eq!(text, None, "{}: {words}", row.code);
            }
        }
    }
}
