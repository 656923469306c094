//! The table of reasons: which words of the verifier mean which code.
//!
//! A row matches if all its pieces occur in the reason followed by `@` and the instruction, in any order. The first match
//! wins, so narrower rows stand first. The pieces are what has stayed the same between kernels 5.x and 6.18; whatever
//! matches nothing stays `V000`. Cause and help are those of the code ([`Code::explanation`]), unless a row knows better.

use twinbpf_object::Code;
use twinbpf_object::diagnosis::Category;

/// One row: from a shape of words to a code.
#[derive(Debug, Clone, Copy)]
pub struct Reason {
    /// Our stable code.
    pub code: Code,
    /// Pieces of the verifier's words; all must occur.
    pieces: &'static [&'static str],
    cause: Option<&'static str>,
    help: Option<&'static str>,
}

impl Reason {
    /// The kernel's category.
    pub fn category(&self) -> Option<Category> {
        self.code.explanation().and_then(|row| row.category)
    }

    /// The cause, one sentence.
    pub fn cause(&self) -> &'static str {
        let general = || self.code.explanation().map(|row| row.cause);
        self.cause.or_else(general).unwrap_or_default()
    }

    /// What to write instead.
    pub fn help(&self) -> &'static str {
        let general = || self.code.explanation().map(|row| row.help);
        self.help.or_else(general).unwrap_or_default()
    }
}

/// The row for the verifier's words at an instruction (empty if unknown), if there is one.
pub fn find(words: &str, insn: &str) -> Option<&'static Reason> {
    let words = format!("{words} @ {insn}");
    REASONS
        .iter()
        .find(|reason| reason.pieces.iter().all(|piece| words.contains(piece)))
}

/// A row that says what its code says.
const fn row(code: Code, pieces: &'static [&'static str]) -> Reason {
    special(code, pieces, None, None)
}

/// A row that knows more than its code.
const fn special(
    code: Code,
    pieces: &'static [&'static str],
    cause: Option<&'static str>,
    help: Option<&'static str>,
) -> Reason {
    Reason {
        code,
        pieces,
        cause,
        help,
    }
}

/// The rows, narrower ones first.
#[rustfmt::skip]
pub const REASONS: &[Reason] = &[
    row(Code::LICENSE_NOT_GPL, &["cannot call GPL-restricted function"]),
    row(Code::LICENSE_NOT_GPL, &["cannot call GPL only function"]),
    row(Code::HELPER_NOT_ALLOWED, &["program of this type cannot use helper"]),
    row(Code::HELPER_NOT_ALLOWED, &["unknown func "]),
    special(Code::HELPER_NOT_ALLOWED, &["helper call is not allowed in probe"],
        Some("this helper is not available where the program attaches"),
        Some("attach to one of the functions that the helper allows")),
    special(Code::HELPER_NOT_ALLOWED, &["invalid func "],
        None,
        Some("a number like 195896080 stands for a failed CO-RE relocation; else see `man bpf-helpers`")),
    row(Code::KFUNC_NOT_ALLOWED, &["calling kernel function", "is not allowed"]),
    row(Code::KFUNC_NOT_ALLOWED, &["is referenced but wasn't resolved"]),
    row(Code::KFUNC_NOT_ALLOWED, &["kernel function", "not found"]),
    row(Code::KFUNC_NOT_ALLOWED, &["calling kernel function"]),
    row(Code::KFUNC_NOT_ALLOWED, &["invalid kernel function"]),
    row(Code::HELPER_MAP_KIND, &["cannot pass map_type"]),
    row(Code::HELPER_MAP_KIND, &["cannot update sockmap in this context"]),
    row(Code::HELPER_MAP_KIND, &["expected prog array map for tail call"]),
    row(Code::HELPER_MAP_KIND, &["type of map incompatible"]),
    special(Code::FUNCTION_ARGUMENT, &["Caller passes invalid args"],
        Some("a global function is called with an argument that does not fit its prototype"),
        Some("pass what the prototype says, or make the function static: then it is verified together with its caller")),
    row(Code::FUNCTION_ARGUMENT, &["size cannot be determined"]),
    row(Code::FUNCTION_ARGUMENT, &["Global function", "doesn't return scalar", "exception"]),
    row(Code::EXCEPTION, &["exception c"]),
    row(Code::EXCEPTION, &["exception_cb"]),
    special(Code::FUNCTION_ARGUMENT, &["Global function", "doesn't return scalar"],
        Some("a global function must return a number"),
        Some("return int, or make the function static")),
    row(Code::FUNCTION_ARGUMENT, &["expects pointer to ctx"]),
    special(Code::FUNCTION_ARGUMENT, &["Arg#", "is not supported yet"],
        Some("a global function takes an argument that this kernel cannot verify on its own"),
        Some("make the function static, or pass numbers and the context only")),
    row(Code::KERNEL_POINTER_FIELD, &["kptr access"]),
    row(Code::NOT_TRUSTED, &["type=untrusted_ptr_"]),
    special(Code::NOT_TRUSTED, &["type=", "expected=percpu_ptr_"],
        Some("the call expects a per-CPU kernel object, or a lock where one is declared"),
        Some("pass what bpf_ksym_exists() or bpf_per_cpu_ptr() are for: a per-CPU variable of the kernel")),
    row(Code::HELPER_ARGUMENT, &["type=", "expected="]),
    row(Code::MIXED_POINTERS, &["same insn cannot be used with different pointers"]),
    row(Code::NULL_NOT_TESTED, &["invalid mem access", "_or_null"]),
    special(Code::DYNPTR_STATE, &["invalid mem access 'dynptr_ptr'"],
        Some("the inside of a dynptr is opaque"),
        Some("use bpf_dynptr_read(), bpf_dynptr_write() or bpf_dynptr_data()")),
    row(Code::NOT_A_POINTER, &["invalid mem access 'scalar'"]),
    row(Code::NOT_A_POINTER, &["invalid mem access 'inv'"]),
    special(Code::NOT_A_POINTER, &["invalid mem access"],
        Some("this kind of pointer cannot be read or written through"),
        Some("read what it points to with the helper or kernel function made for it")),
    row(Code::NO_RETURN_VALUE, &["R0 !read_ok @ exit"]),
    row(Code::NEVER_WRITTEN, &["!read_ok"]),
    special(Code::UNKNOWN_INSN, &[" is invalid @ "],
        Some("an instruction names a register that does not exist"),
        Some("the instructions were cut or put together wrongly")),
    row(Code::NULL_ARITHMETIC, &["pointer arithmetic on", "_or_null"]),
    row(Code::NULL_ARITHMETIC, &["dereference of modified", "_or_null"]),
    row(Code::POINTER_ARITHMETIC, &["pointer arithmetic"]),
    row(Code::POINTER_ARITHMETIC, &["bitwise operator", "on pointer"]),
    special(Code::POINTER_ARITHMETIC, &["tried to subtract pointer from scalar"],
        Some("a pointer is subtracted from a number"),
        Some("subtract the number from the pointer, or two pointers of the same kind")),
    special(Code::POINTER_ARITHMETIC, &["subtraction from stack pointer prohibited"],
        Some("a variable is subtracted from a stack address"),
        Some("index from the beginning of the variable")),
    special(Code::POINTER_ARITHMETIC, &["pointer += pointer"],
        Some("two pointers are added"),
        Some("add a number to one of them")),
    special(Code::POINTER_ARITHMETIC, &["cannot subtract pointers of different"],
        Some("two pointers of different kinds are subtracted"),
        Some("subtract pointers into the same memory")),
    row(Code::POINTER_ARITHMETIC, &["sign-extension part of pointer"]),
    special(Code::POINTER_ARITHMETIC, &["partial copy of pointer"],
        Some("a part of a pointer is copied"),
        Some("copy all 64 bits")),
    row(Code::POINTER_ARITHMETIC, &["leaks addr as part of"]),
    row(Code::CONTEXT_MOVED, &["dereference of modified ctx"]),
    row(Code::CONTEXT_MOVED, &["negative offset ctx ptr"]),
    special(Code::CONTEXT_MOVED, &["variable ctx access"],
        Some("the context is read at a variable offset"),
        Some("use constant offsets into the context")),
    special(Code::DYNPTR_STATE, &["dynptr_ptr ptr"],
        Some("a dynptr is passed or used at an offset"),
        Some("pass the address of the dynptr itself")),
    row(Code::POINTER_MOVED, &["dereference of modified"]),
    row(Code::POINTER_MOVED, &["negative offset"]),
    row(Code::POINTER_MOVED, &["must have zero offset"]),
    special(Code::POINTER_MOVED, &["pointer offset", "is not allowed"],
        Some("the offset added to a pointer is too large to be followed"),
        Some("keep offsets within 512 MiB")),
    special(Code::POINTER_MOVED, &["variable", "access var_off="],
        Some("a kernel object is accessed at a variable offset"),
        Some("use constant offsets into kernel objects")),
    row(Code::ADDRESS_LEAK, &["leaks addr"]),
    row(Code::ADDRESS_LEAK, &["pointer comparison prohibited"]),
    row(Code::ADDRESS_LEAK, &["leak pointer"]),
    row(Code::PACKET_BOUNDS, &["invalid access to packet"]),
    row(Code::PACKET_BOUNDS, &["offset is outside of the packet"]),
    special(Code::READ_ONLY, &["does not allow writes to packet"],
        Some("this program type may not write into packets"),
        Some("change packets in a tc or xdp program, or with bpf_skb_store_bytes()")),
    special(Code::READ_ONLY, &["cannot write into packet"],
        Some("this program type may not write into packets"),
        Some("change packets in a tc or xdp program, or with bpf_skb_store_bytes()")),
    special(Code::HELPER_ARGUMENT, &["helper access to the packet is not allowed"],
        Some("this helper does not accept packet addresses in this program type"),
        Some("copy the bytes to the stack first, with bpf_skb_load_bytes()")),
    row(Code::MAP_READ_ONLY, &["write into map forbidden"]),
    row(Code::MAP_WRITE_ONLY, &["read from map forbidden"]),
    row(Code::INDEX_TOO_LARGE, &["max value is outside of the allowed memory range"]),
    row(Code::SIZE_UNBOUNDED, &["unbounded memory access, use 'var &= const'"]),
    row(Code::INDEX_NEGATIVE, &["min value is negative"]),
    row(Code::ZERO_SIZE, &["invalid access to map value", " size=0;"]),
    row(Code::MAP_VALUE_BOUNDS, &["invalid access to map value"]),
    special(Code::MAP_VALUE_BOUNDS, &["invalid access to map key"],
        Some("the access ends behind the map's key"),
        Some("compare the map's key_size with the type that is read")),
    row(Code::OFFSET_OUTSIDE, &["min value is outside of the allowed memory range"]),
    row(Code::INDEX_UNBOUNDED, &["unbounded memory access"]),
    special(Code::SIZE_UNBOUNDED, &["len pair leads to invalid memory access"],
        Some("a buffer and its size do not fit each other"),
        Some("pass the size of the buffer, at most")),
    row(Code::MATH_UNBOUNDED, &["math between", "unbounded"]),
    special(Code::POINTER_MOVED, &["math between", "is not allowed"],
        Some("the offset added to a pointer is too large to be followed"),
        Some("bound the number before adding it")),
    special(Code::POINTER_MOVED, &["pointer be out of bounds"],
        Some("the offset added to a pointer is too large to be followed"),
        Some("bound the number before adding it")),
    row(Code::ZERO_SIZE, &["invalid zero-sized read"]),
    row(Code::ZERO_SIZE, &["invalid zero-size"]),
    row(Code::STACK_NEVER_WRITTEN, &["invalid indirect read from stack"]),
    row(Code::STACK_NEVER_WRITTEN, &["invalid read from stack off"]),
    row(Code::STACK_NEVER_WRITTEN, &["invalid read from stack R", " off -"]),
    special(Code::STACK_BOUNDS, &["variable-offset"],
        Some("the stack is accessed at an offset that may lie outside what was written"),
        Some("bound the index to the variable's size")),
    row(Code::STACK_BOUNDS, &["invalid", "stack", "off"]),
    row(Code::POINTER_IN_PARTS, &["invalid size of register"]),
    row(Code::POINTER_IN_PARTS, &["corrupted spill memory"]),
    row(Code::POINTER_IN_PARTS, &["attempt to corrupt spilled pointer"]),
    row(Code::MISALIGNED, &["misaligned", "access"]),
    special(Code::NOT_TRUSTED, &["cannot access ptr member"],
        Some("a member of a kernel object that is not trusted is followed"),
        Some("read it with BPF_CORE_READ() or bpf_probe_read_kernel()")),
    row(Code::CONTEXT_ACCESS, &["invalid bpf_context access"]),
    special(Code::CONTEXT_ACCESS, &["bpf verifier is misconfigured"],
        Some("this field of the context can only be read in its full width"),
        Some("read it as the type it is declared with")),
    special(Code::CONTEXT_ACCESS, &["BPF_ST stores into"],
        Some("this memory cannot be written with a constant in this kernel"),
        Some("put the value into a variable first")),
    row(Code::FRAME_POINTER, &["frame pointer is read only"]),
    row(Code::ATOMIC_TARGET, &["BPF_ATOMIC"]),
    row(Code::ATOMIC_TARGET, &["BPF_XADD"]),
    row(Code::LOCK_ACCESSED, &["cannot be accessed directly by"]),
    row(Code::LOCK_ACCESSED, &["direct access to bpf_"]),
    row(Code::LOCK_ACCESSED, &["cannot be accessed by helper"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["beyond the end of member"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["access beyond struct"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["access beyond the end of"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["invalid sock access"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["invalid sock_common access"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["invalid tcp_sock access"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["invalid xdp_sock access"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["invalid access to flow keys"]),
    special(Code::KERNEL_OBJECT_ACCESS, &["invalid variable buffer offset"],
        Some("a buffer is accessed at a variable offset"),
        Some("use constant offsets into it")),
    row(Code::KERNEL_OBJECT_ACCESS, &["buffer access"]),
    row(Code::KERNEL_OBJECT_ACCESS, &["invalid negative access"]),
    row(Code::READ_ONLY, &["only read is supported"]),
    row(Code::READ_ONLY, &["only read from", "is supported"]),
    special(Code::READ_ONLY, &["no write support to"],
        Some("this field of a kernel object may not be written"),
        Some("only fields that the kernel lists for programs may be written; helpers or kernel functions set others")),
    row(Code::READ_ONLY, &["cannot write into"]),
    row(Code::READ_ONLY, &["may write into memory pointed by"]),
    row(Code::READ_ONLY, &["write to change key"]),
    row(Code::GPL_STRUCT, &["from non-GPL compatible program"]),
    row(Code::GPL_STRUCT, &["must have a GPL compatible license"]),
    row(Code::NOT_RELEASED, &["Unreleased reference", "BPF_EXIT"]),
    row(Code::LEAK_BY_CALL, &["would lead to reference leak", "tail_call"]),
    row(Code::LEAK_BY_CALL, &["would lead to reference leak", "bpf_throw"]),
    row(Code::LEAK_BY_CALL, &["would lead to reference leak", "BPF_LD_"]),
    row(Code::NOT_RELEASED, &["would lead to reference leak"]),
    row(Code::LEAK_BY_CALL, &["cannot be mixed with socket references"]),
    row(Code::NOT_RELEASED, &["Unreleased reference"]),
    row(Code::NOT_RELEASED, &["reference leak"]),
    row(Code::NOT_OWNED, &["is an unacquired reference"]),
    row(Code::NOT_OWNED, &["reference has not been acquired before"]),
    row(Code::NOT_OWNED, &["must be referenced when passed to release function"]),
    row(Code::NOT_OWNED, &["expects refcounted"]),
    row(Code::DYNPTR_STATE, &["cannot release unowned const bpf_dynptr"]),
    row(Code::DYNPTR_STATE, &["dynptr"]),
    row(Code::DYNPTR_STATE, &["Dynptr"]),
    row(Code::ITERATOR_STATE, &["nitialized iter_"]),
    row(Code::ITERATOR_STATE, &["iter_", "as arg #"]),
    row(Code::NULL_ARGUMENT, &["NULL pointer passed to"]),
    row(Code::NOT_TRUSTED, &["must be referenced or trusted"]),
    row(Code::NOT_TRUSTED, &["must be a rcu pointer"]),
    row(Code::KERNEL_POINTER_FIELD, &["has no valid kptr"]),
    row(Code::KERNEL_POINTER_FIELD, &["kptr"]),
    row(Code::LOCK_MISMATCH, &["must be held for bpf_"]),
    row(Code::LOCK_MISMATCH, &["held lock and object are not in the same allocation"]),
    row(Code::LOCK_MISMATCH, &["_unlock of different lock"]),
    special(Code::LOCK_MISMATCH, &["without taking a lock"],
        Some("a lock is released that is not held"),
        Some("take it first, on every path that leads here")),
    special(Code::LOCK_MISMATCH, &["has no valid bpf_spin_lock"],
        Some("there is no lock where one is expected"),
        Some("put a `struct bpf_spin_lock` into the map's value, and pass its address")),
    special(Code::LOCK_MISMATCH, &["doesn't point to 'struct bpf_"],
        Some("the address of the lock itself is expected"),
        Some("pass `&value->lock`")),
    row(Code::LOCK_MISMATCH, &["unmatched rcu read unlock"]),
    row(Code::LOCK_MISMATCH, &["unmatched attempt to enable preemption"]),
    special(Code::LOCK_MISMATCH, &["restoring IRQ state"],
        Some("interrupt states are restored in another order than they were saved"),
        Some("restore the last saved state first")),
    row(Code::LOCK_MISMATCH, &["expected an initialized irq flag"]),
    row(Code::REGION_LEFT_OPEN, &["BPF_EXIT", "-ed region"]),
    row(Code::EXCEPTION, &["bpf_throw"]),
    row(Code::LOAD_PACKET, &["BPF_LD_[ABS|IND]"]),
    row(Code::LOAD_PACKET, &["LD_ABS is"]),
    row(Code::LOAD_PACKET, &["BPF_LD_ABS"]),
    row(Code::REGION_LEFT_OPEN, &["-ed region"]),
    row(Code::REGION_LEFT_OPEN, &["bpf_spin_unlock is missing"]),
    row(Code::REGION_LEFT_OPEN, &["bpf_rcu_read_unlock is missing"]),
    row(Code::REGION_LEFT_OPEN, &["bpf_preempt_enable", " missing"]),
    row(Code::CALL_UNDER_LOCK, &["calls are not allowed while holding a lock"]),
    row(Code::CALL_UNDER_LOCK, &["global function calls are not allowed"]),
    row(Code::CALL_UNDER_LOCK, &["bpf_spin_lock-ed"]),
    row(Code::CALL_UNDER_LOCK, &["use static function instead"]),
    row(Code::MAY_SLEEP, &["might sleep"]),
    row(Code::MAY_SLEEP, &["may sleep"]),
    row(Code::MAY_SLEEP, &["is sleepable within"]),
    row(Code::MAY_SLEEP, &["sleepable helper"]),
    row(Code::CALLBACK, &["in rbtree cb"]),
    row(Code::CALLBACK, &["callback subprog"]),
    special(Code::RETURN_RANGE, &["At callback return"],
        Some("a callback's return value is outside the range its caller allows"),
        Some("bpf_loop() and the like take 0 to go on and 1 to stop")),
    row(Code::RETURN_RANGE, &["At program exit the register"]),
    row(Code::RETURN_RANGE, &["At async callback"]),
    row(Code::RETURN_RANGE, &["At program exit"]),
    row(Code::RETURN_RANGE, &["is not a known value"]),
    row(Code::SYMBOL_MISSING, &["failed to find the address for kernel symbol"]),
    row(Code::OBJECT_FIELD, &["expected pointer to allocated object"]),
    row(Code::OBJECT_FIELD, &["bpf_obj_new"]),
    row(Code::OBJECT_FIELD, &["bpf_list"]),
    row(Code::OBJECT_FIELD, &["bpf_rb"]),
    row(Code::OBJECT_FIELD, &["bpf_refcount"]),
    row(Code::OBJECT_FIELD, &["type ID argument"]),
    row(Code::NOT_CONSTANT, &["must be a known constant"]),
    row(Code::NOT_CONSTANT, &["doesn't have constant offset"]),
    special(Code::NOT_CONSTANT, &["is not zero-terminated"],
        Some("a constant string has no zero at its end"),
        Some("declare it as `static const char text[] = \"..\";`")),
    special(Code::NOT_CONSTANT, &["does not point to a readonly map"],
        Some("a string must lie in constant memory"),
        Some("declare it as `static const char text[] = \"..\";`")),
    row(Code::NOT_CONSTANT, &["is not a constant"]),
    row(Code::NOT_CONSTANT, &["is not a const string"]),
    row(Code::NOT_CONSTANT, &["must be constant"]),
    row(Code::NOT_CONSTANT, &["not a known const"]),
    special(Code::HELPER_ARGUMENT, &["doesn't support non-zero flags"],
        Some("the flags of this call must be zero"),
        Some("pass 0 as flags")),
    special(Code::HELPER_ARGUMENT, &["is of type", "is expected"],
        Some("a helper gets a pointer to another kernel type than it expects"),
        None),
    row(Code::KFUNC_ARGUMENT, &["kernel function", "args#"]),
    special(Code::KFUNC_ARGUMENT, &["isn't map pointer"],
        Some("an argument must be the map itself"),
        Some("pass the map that holds the field, `&map`")),
    special(Code::KFUNC_ARGUMENT, &["doesn't match map pointer"],
        Some("two arguments belong to different maps"),
        Some("pass the map that holds the field")),
    row(Code::KFUNC_ARGUMENT, &["arg#", "pointer type"]),
    row(Code::KFUNC_ARGUMENT, &["arg#", "expected"]),
    row(Code::KFUNC_ARGUMENT, &["must point to scalar, or struct with scalar"]),
    row(Code::KIND_LACKS_FEATURE, &["tracing progs cannot use"]),
    row(Code::KIND_LACKS_FEATURE, &["progs cannot use bpf_"]),
    special(Code::KIND_LACKS_FEATURE, &["require device-bound program"],
        Some("metadata of network cards is open to programs loaded for one card only"),
        Some("load the program for the device (BPF_F_XDP_DEV_BOUND_ONLY)")),
    row(Code::KIND_LACKS_FEATURE, &["offload device mismatch"]),
    row(Code::KIND_LACKS_FEATURE, &["program of this type cannot"]),
    special(Code::KIND_LACKS_FEATURE, &["programs can be sleepable"],
        Some("a program of this type cannot be sleepable in this kernel"),
        Some("leave out the `.s` in the section's name")),
    row(Code::ATTACH_POINT, &["attach to unsupported member"]),
    row(Code::ATTACH_POINT, &["attach_btf_id"]),
    row(Code::ATTACH_POINT, &["is not a function"]),
    row(Code::ATTACH_POINT, &["Tracing program"]),
    row(Code::ATTACH_POINT, &["FENTRY/FEXIT"]),
    row(Code::ATTACH_POINT, &["Cannot replace"]),
    row(Code::ATTACH_POINT, &["Cannot recursively attach"]),
    row(Code::ATTACH_POINT, &["Cannot extend"]),
    row(Code::ATTACH_POINT, &["is not modifiable"]),
    row(Code::ATTACH_POINT, &["is not sleepable"]),
    row(Code::ATTACH_POINT, &["points to disabled hook"]),
    row(Code::ATTACH_POINT, &["The address of function", "cannot be found"]),
    row(Code::ATTACH_POINT, &["incompatible", "program"]),
    row(Code::ENDLESS_LOOP, &["infinite loop detected"]),
    row(Code::TOO_MANY_INSNS, &["BPF program is too large"]),
    row(Code::TOO_COMPLEX, &["jumps is too complex"]),
    row(Code::LOOP_NOT_ALLOWED, &["back-edge from insn"]),
    row(Code::UNREACHABLE, &["unreachable insn"]),
    row(Code::MALFORMED_FLOW, &["last insn is not an exit or jmp"]),
    row(Code::MALFORMED_FLOW, &["jump out of range"]),
    row(Code::MALFORMED_FLOW, &["jump into the middle of ldimm64"]),
    row(Code::MALFORMED_FLOW, &["jump to insn"]),
    row(Code::MALFORMED_FLOW, &["no program starts at insn"]),
    row(Code::MALFORMED_FLOW, &["call to invalid destination"]),
    row(Code::CALLS_TOO_DEEP, &["the call stack of"]),
    special(Code::CALLS_TOO_DEEP, &["recursive call"],
        Some("functions call each other in a circle"),
        Some("use a loop, or a tail call")),
    row(Code::STACK_TOO_LARGE, &["combined stack size"]),
    row(Code::DIVISION_BY_ZERO, &["div by zero"]),
    row(Code::UNKNOWN_INSN, &["unknown opcode"]),
    row(Code::UNKNOWN_INSN, &["reserved field"]),
    row(Code::UNKNOWN_INSN, &["invalid BPF_LD_IMM insn"]),
    row(Code::UNKNOWN_INSN, &["unrecognized bpf_ld_imm64"]),
    row(Code::UNKNOWN_INSN, &["invalid shift"]),
    row(Code::UNKNOWN_INSN, &["invalid atomic operand"]),
    row(Code::UNKNOWN_INSN, &["invalid BPF_"]),
    row(Code::MAP_HANDLE, &["is not pointing to valid bpf_map"]),
    row(Code::MAP_HANDLE, &["fd_idx"]),
    row(Code::MAP_HANDLE, &["invalid map"]),
    row(Code::TYPES_REFUSED, &["func_info"]),
    row(Code::TYPES_REFUSED, &["without BTF"]),
    row(Code::TYPES_REFUSED, &["line_info"]),
    row(Code::TYPES_REFUSED, &["BTF is malformed"]),
    row(Code::TYPES_REFUSED, &["in-kernel BTF"]),
    row(Code::TYPES_REFUSED, &["CO-RE"]),
    row(Code::PRIVILEGE, &["CAP_"]),
    row(Code::PRIVILEGE, &["for !root"]),
    row(Code::PRIVILEGE, &["privileged"]),
    row(Code::OTHER_LIMIT, &["too many"]),
    row(Code::OTHER_LIMIT, &["The total number of maps"]),
    row(Code::OTHER_LIMIT, &["is not supported"]),
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
        // Of 5.10 and 6.1.
        (
            "V018",
            "invalid access to map value, value_size=48 off=0 size=0; R1 min value is outside",
        ),
        ("V028", "unknown func bpf_redirect#23"),
        ("V033", "bpf_spin_unlock is missing"),
        ("V034", "Unreleased reference id=2 alloc_insn=6"),
        (
            "V037",
            "At program exit the register R0 has value (0x0; 0xffffffff) should have been in (0x0; 0x3)",
        ),
        ("V041", "back-edge from insn 7 to 3"),
        ("V044", "Arg#0 type PTR in foo() is not supported yet."),
        ("V069", "unknown opcode e5"),
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
    fn every_row_has_category_cause_and_help() {
        for reason in REASONS {
            assert!(reason.category().is_some(), "{}", reason.code);
            for text in [reason.cause(), reason.help()] {
                assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
            }
            assert!(!reason.cause().starts_with(char::is_uppercase));
        }
    }

    #[test]
    fn every_row_can_be_reached() {
        for (at, row) in REASONS.iter().enumerate() {
            let words = row.pieces.join(" ");
            let before = REASONS[..at].iter().find(|reason| {
                reason.code != row.code && reason.pieces.iter().all(|piece| words.contains(piece))
            });
            assert!(before.is_none(), "{words:?} is taken by {before:?}");
        }
    }

    #[test]
    fn unknown_words_find_nothing() {
        assert!(find("something nobody has seen", "exit").is_none());
        assert!(find("", "").is_none());
    }
}
