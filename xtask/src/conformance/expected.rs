//! Which codes fit the words that a test declares.
//!
//! Written from the words, not from our reader's table, so that the two can disagree. A row fits if its words occur in the declared
//! ones; the first row that fits decides. Words that no row fits assert nothing, and are counted.

/// The codes that fit, or `None` if these words say too little.
pub(super) fn codes_for(message: &str) -> Option<&'static [&'static str]> {
    EXPECTED
        .iter()
        .find(|(words, _)| message.contains(words))
        .map(|(_, codes)| *codes)
}

#[rustfmt::skip]
const EXPECTED: &[(&str, &[&str])] = &[
    ("offset is outside of the packet", &["V010"]),
    ("invalid access to packet", &["V010"]),
    ("invalid bpf_context access", &["V024", "V044"]),
    ("Unreleased reference", &["V034", "V035"]),
    ("tail_call would lead to reference leak", &["V035"]),
    ("cannot be mixed with socket references", &["V035"]),
    ("invalid access to map value", &["V011", "V012", "V014"]),
    ("invalid access to memory", &["V011", "V012", "V014"]),
    ("max value is outside of the allowed memory range", &["V012"]),
    ("min value is outside of the allowed memory range", &["V011", "V014"]),
    ("invalid mem access 'scalar'", &["V002"]),
    ("invalid mem access 'mem_or_null'", &["V001", "V045"]),
    ("_or_null'", &["V001"]),
    ("invalid mem access 'map_value_or_null", &["V001"]),
    ("invalid mem access 'dynptr_ptr'", &["V051"]),
    ("At program exit the register", &["V037"]),
    ("At callback return the register", &["V037"]),
    ("should have been in [", &["V037"]),
    ("is not a known value", &["V037"]),
    ("R0 !read_ok", &["V003", "V004"]),
    ("!read_ok", &["V003"]),
    ("min value is negative", &["V013"]),
    ("unbounded min value", &["V017"]),
    ("math between", &["V017", "V067"]),
    ("unbounded memory access, use", &["V016"]),
    ("unbounded memory access, make", &["V015"]),
    ("unbounded memory access", &["V015", "V016"]),
    ("NULL pointer passed to", &["V053"]),
    ("nitialized dynptr", &["V051"]),
    ("cannot overwrite referenced dynptr", &["V051"]),
    ("dynptr at", &["V051"]),
    ("unowned const bpf_dynptr", &["V051"]),
    ("tried to subtract pointer from scalar", &["V007"]),
    ("initialized iter_", &["V052"]),
    ("div by zero", &["V063"]),
    ("invalid kptr access", &["V072"]),
    ("type=untrusted_ptr_", &["V054"]),
    ("kptr", &["V072", "V044"]),
    ("expected=percpu_ptr_", &["V005", "V054"]),
    ("expected=", &["V005", "V044", "V072"]),
    ("write into map forbidden", &["V022", "V044"]),
    ("read from map forbidden", &["V023"]),
    ("loop detected", &["V040"]),
    ("tracing progs cannot use", &["V061"]),
    ("same insn cannot be used with different pointers", &["V050"]),
    ("program of this type cannot use helper", &["V028"]),
    ("negative offset ctx ptr", &["V008"]),
    ("dereference of modified ctx ptr", &["V008", "V044"]),
    ("variable ctx access", &["V008"]),
    ("negative offset dynptr_ptr ptr", &["V051"]),
    ("dereference of modified dynptr_ptr ptr", &["V051", "V044"]),
    ("invalid indirect read from stack", &["V019"]),
    ("invalid indirect access to stack", &["V019", "V020", "V044"]),
    ("write to stack", &["V020"]),
    ("invalid read from stack", &["V019", "V020", "V044"]),
    ("sock access", &["V066"]),
    ("sock_common access", &["V066"]),
    ("beyond the end of member", &["V066"]),
    ("get_local_storage() doesn't support non-zero flags", &["V005"]),
    ("must be referenced when passed to release function", &["V036"]),
    ("is an unacquired reference", &["V036"]),
    ("expects refcounted", &["V036"]),
    ("bpf_preempt_enable", &["V033"]),
    ("misaligned", &["V021"]),
    ("calls are not allowed while holding a lock", &["V032"]),
    ("bpf_spin_unlock is missing", &["V033"]),
    ("without taking a lock", &["V056"]),
    ("unlock of different lock", &["V056"]),
    ("must be held for bpf_", &["V056"]),
    ("frame pointer is read only", &["V025"]),
    ("is not pointing to valid bpf_map", &["V048"]),
    ("combined stack size", &["V026"]),
    ("the call stack of", &["V027"]),
    ("cannot update sockmap in this context", &["V030"]),
    ("cannot pass map_type", &["V030"]),
    ("bpf_spin_lock cannot be accessed directly", &["V049"]),
    ("calling kernel function", &["V046"]),
    ("pointer arithmetic on map_value_or_null", &["V006"]),
    ("_or_null prohibited", &["V006"]),
    ("dereference of modified ptr_or_null_", &["V006"]),
    ("pointer arithmetic", &["V007"]),
    ("pointer += pointer", &["V007"]),
    ("bitwise operator", &["V007"]),
    ("subtraction from stack pointer", &["V007"]),
    ("invalid zero-sized read", &["V018"]),
    ("stores into R", &["V064"]),
    ("makes map_value pointer be out of bounds", &["V067"]),
    ("fp pointer offset", &["V067"]),
    ("must have zero offset when passed to release", &["V067"]),
    ("unreachable", &["V042"]),
    ("jump out of range", &["V043"]),
    ("last insn is not an exit", &["V043"]),
    ("only read from bpf_array is supported", &["V057"]),
    ("only read is supported", &["V057"]),
    ("cannot write into", &["V057"]),
    ("helper access to the packet", &["V005"]),
    ("Caller passes invalid args", &["V044"]),
    ("doesn't return scalar", &["V044", "V058"]),
    ("exception cb", &["V058"]),
    ("bpf_throw", &["V058"]),
    ("multiple exception callback tags", &["V058"]),
    ("must be referenced or trusted", &["V054"]),
    ("must be a rcu pointer", &["V054"]),
    ("expected pointer to STRUCT", &["V054", "V055"]),
    ("expected pointer to allocated object", &["V060"]),
    ("LD_ABS is only allowed", &["V070"]),
    ("BPF program is too large", &["V038"]),
    ("program is too large", &["V038"]),
    ("must be a known constant", &["V065"]),
    ("attach to unsupported member", &["V068"]),
    ("leaks addr", &["V009"]),
    ("pointer comparison prohibited", &["V009"]),
    ("invalid size of register", &["V071"]),
    ("in rbtree cb", &["V059"]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_table_exists_and_rows_can_be_reached() {
        for (at, (words, codes)) in EXPECTED.iter().enumerate() {
            for code in *codes {
                assert!(twinbpf::Code::from_name(code).is_some(), "{code}");
            }
            let first = EXPECTED
                .iter()
                .position(|(earlier, _)| words.contains(earlier));
            let first = &EXPECTED[first.unwrap_or(at)];
            assert!(
                first.0 == *words || first.1.iter().any(|code| codes.contains(code)),
                "{words}"
            );
        }
    }
}
