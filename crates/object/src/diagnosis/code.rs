//! The stable codes: one row each, with the kind and stage they imply.
//!
//! Codes never change their meaning and are never reused. `O` object files, `L` linking, `M` maps, `P` programs (before a
//! verifier sees them), `V` verdicts of a verifier, `A` attaching, `R` runs, `H` the host around it.

use std::fmt;

use super::{ErrorKind, Stage};

/// A stable code such as `O003`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code(&'static str);

/// What a code means.
#[derive(Debug, Clone, Copy)]
pub struct CodeRow {
    /// The code.
    pub code: Code,
    /// The error kind it implies.
    pub kind: ErrorKind,
    /// The stage it belongs to.
    pub stage: Stage,
    /// One line about it.
    pub title: &'static str,
}

impl Code {
    /// The code as text, for example `O003`.
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// The row of this code.
    pub fn row(self) -> &'static CodeRow {
        // INVARIANT: every `Code` is a constant of this file and every constant has a row (tested below).
        CODES
            .iter()
            .find(|row| row.code == self)
            .unwrap_or(&CODES[0])
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Declares constant and row together, so that neither can be forgotten: a function cannot make constants.
macro_rules! codes {
    ($($name:ident = $code:literal, $kind:ident, $stage:ident, $title:literal;)*) => {
        impl Code {
            $(#[doc = $title] pub const $name: Self = Self($code);)*
        }

        /// Every code, in the order of this table.
        pub const CODES: &[CodeRow] = &[
            $(CodeRow { code: Code($code), kind: ErrorKind::$kind, stage: Stage::$stage, title: $title },)*
        ];
    };
}

codes! {
    INTERNAL = "H000", Io, Host, "an unexpected condition inside twinbpf";
    FILE_NOT_FOUND = "O001", NotFound, Read, "the file does not exist";
    FILE_UNREADABLE = "O002", Io, Read, "the file cannot be read";
    EMPTY_FILE = "O003", BadObject, Parse, "the file is empty";
    NOT_ELF = "O004", BadObject, Parse, "the file is not an ELF file";
    NOT_BPF = "O005", BadObject, Parse, "the ELF file is for another machine, not BPF";
    NOT_RELOCATABLE = "O006", BadObject, Parse, "the ELF file is not a relocatable object";
    TRUNCATED = "O007", BadObject, Parse, "the file ends before the data it announces";
    MALFORMED_ELF = "O008", BadObject, Parse, "the ELF container contradicts itself";
    MAP_DEFINITION = "O010", BadObject, Parse, "a map definition is malformed";
    MAP_DEFINITION_TAIL = "O011", BadObject, Parse, "a legacy map definition has a non-zero tail";
    BTF_MISSING = "O012", BadObject, Parse, "the object needs BTF but has none";
    BTF_MALFORMED = "O013", BadObject, Parse, "the BTF contradicts itself";
    LICENSE_MALFORMED = "O014", BadObject, Parse, "the license or version section is malformed";
    CODE_MALFORMED = "O015", BadObject, Parse, "a program's bytes are not whole instructions";
    RELOCATION_MALFORMED = "O016", BadObject, Parse, "a relocation points nowhere";
    INSN_MALFORMED = "O017", BadObject, Parse, "an instruction is not valid BPF";
    NO_PROGRAMS = "O018", BadObject, Parse, "the object has no programs";
    DATA_MALFORMED = "O019", BadObject, Parse, "a section of global variables is malformed";
    ASSEMBLY = "O020", BadObject, Parse, "a line of assembly is not an instruction";
    UNRESOLVED_SYMBOL = "L001", BadObject, Link, "a reference to something the object does not define";
    UNSUPPORTED_REFERENCE = "L002", Unsupported, Link, "a kind of reference that is not supported yet";
    CALL_OUTSIDE = "L003", BadObject, Link, "a call leaves the code of its object";
    LINK_TOO_LARGE = "L004", Limit, Link, "the programs are too large together";
    CORE_MISSING = "L005", Unsupported, Link, "the program needs a type or field that the target does not have";
    CORE_AMBIGUOUS = "L006", Unsupported, Link, "the target has several types of one name that disagree";
    CORE_MALFORMED = "L007", BadObject, Link, "a CO-RE relocation does not fit its type or instruction";
    TARGET_TYPES_MISSING = "L008", Unsupported, Link, "the target's types are needed and not known";
    CONFIG_MISSING = "L009", Unsupported, Link, "a configuration value of the kernel is needed and not set";
    CONFIG_VALUE = "L010", Unsupported, Link, "a configuration value does not fit the program's variable";
    KFUNC_MISSING = "L011", Unsupported, Link, "the engine does not have a kernel function that the program calls";
    KFUNC_PROTOTYPE = "L012", Unsupported, Link, "a kernel function has another prototype than the program declares";
    KSYM_MISSING = "L013", Unsupported, Link, "the engine does not have a kernel symbol that the program uses";
    KSYM_TYPE = "L014", Unsupported, Link, "a kernel variable has another type than the program declares";
    KSYM_HIDDEN = "L015", Permission, Link, "the address of a kernel symbol is not shown to this process";
    KSYM_AMBIGUOUS = "L016", Unsupported, Link, "the kernel has several symbols of one name";
    DEFINED_TWICE = "L017", BadObject, Link, "two objects that are linked into one define the same name";
    OBJECTS_DISAGREE = "L018", BadObject, Link, "objects that are linked into one say different things of the same";
    MAP_INVALID = "M001", Rejected, CreateMap, "a map attribute breaks a rule of its map type";
    MAP_PERMISSION = "M002", Permission, CreateMap, "no privilege to create this map";
    MAP_NO_MEMORY = "M003", Limit, CreateMap, "not enough memory for this map";
    MAP_UNSUPPORTED = "M004", Unsupported, CreateMap, "this kernel or engine lacks the map type";
    MAP_CREATE = "M005", Rejected, CreateMap, "the map could not be created";
    MAP_NOT_FOUND = "M006", NotFound, MapOperation, "there is no map with this name";
    MAP_TYPE_SIZE = "M007", Usage, MapOperation, "the Rust type does not fit the map";
    MAP_OPERATION = "M008", Usage, MapOperation, "the map operation was refused";
    MAP_FULL = "M009", Limit, MapOperation, "the map is full";
    MAP_KEY_NOT_FOUND = "M010", NotFound, MapOperation, "the key is not in the map";
    MAP_KEY_EXISTS = "M011", Exists, MapOperation, "the key is already in the map";
    VARIABLE_NOT_FOUND = "M012", NotFound, MapOperation, "there is no global variable with this name";
    VARIABLE_SIZE = "M013", Usage, MapOperation, "the value does not fit the global variable";
    PIN_PATH = "M014", Usage, CreateMap, "the place for a pin is not in a bpffs";
    PIN_DIFFERS = "M015", Usage, CreateMap, "the pinned map is not what the object defines";
    PIN_REFUSED = "M016", Io, CreateMap, "a pin could not be made or opened";
    VALUE_MISFIT = "M017", Usage, MapOperation, "the text is no value of this type";
    PROGRAM_UNTYPED = "P001", Usage, LoadProgram, "the section name says no program type and none was given";
    PROGRAM_PERMISSION = "P002", Permission, LoadProgram, "no privilege to load this program";
    PROGRAM_UNSUPPORTED = "P003", Unsupported, LoadProgram, "this kernel or engine lacks the program type or a feature it needs";
    PROGRAM_NOT_FOUND = "P004", NotFound, LoadProgram, "there is no program with this name";
    PROGRAM_HELPER_MISSING = "P005", Unsupported, LoadProgram, "the engine does not have a helper the program calls";
    PROGRAM_LOAD = "P006", Rejected, LoadProgram, "the program could not be loaded";
    PROGRAM_TARGET_MISSING = "P007", NotFound, LoadProgram, "the kernel does not have what the program attaches to";
    PROGRAM_TARGET_UNNAMED = "P008", Usage, LoadProgram, "the program type attaches to something named, and nothing is named";
    BTF_REFUSED = "P009", Rejected, LoadProgram, "the kernel refused the object's types";
    TOKEN = "P010", Permission, LoadProgram, "a BPF token could not be made";
    VERIFIER_REJECTED = "V000", Rejected, LoadProgram, "the verifier refused the program";
    NULL_NOT_TESTED = "V001", Rejected, LoadProgram, "a pointer that may be null is used before a null test";
    NOT_A_POINTER = "V002", Rejected, LoadProgram, "a number is used as an address";
    NEVER_WRITTEN = "V003", Rejected, LoadProgram, "a register is read that was never written on this path";
    NO_RETURN_VALUE = "V004", Rejected, LoadProgram, "a path ends without a return value";
    HELPER_ARGUMENT = "V005", Rejected, LoadProgram, "a helper gets the wrong kind of argument";
    NULL_ARITHMETIC = "V006", Rejected, LoadProgram, "a pointer that may be null is moved before a null test";
    POINTER_ARITHMETIC = "V007", Rejected, LoadProgram, "pointers can only be added to and subtracted from";
    CONTEXT_MOVED = "V008", Rejected, LoadProgram, "the context pointer was moved before it is used";
    ADDRESS_LEAK = "V009", Rejected, LoadProgram, "an address would become visible to user space";
    PACKET_BOUNDS = "V010", Rejected, LoadProgram, "a packet access is not proven to lie inside the packet";
    MAP_VALUE_BOUNDS = "V011", Rejected, LoadProgram, "an access lies outside the map's value";
    INDEX_TOO_LARGE = "V012", Rejected, LoadProgram, "an index may be too large for what it indexes";
    INDEX_NEGATIVE = "V013", Rejected, LoadProgram, "an index may be negative";
    OFFSET_OUTSIDE = "V014", Rejected, LoadProgram, "an access lies wholly outside what it points to";
    INDEX_UNBOUNDED = "V015", Rejected, LoadProgram, "an index has no upper bound";
    SIZE_UNBOUNDED = "V016", Rejected, LoadProgram, "a size given to a helper has no upper bound";
    MATH_UNBOUNDED = "V017", Rejected, LoadProgram, "an unbounded number is added to a pointer";
    ZERO_SIZE = "V018", Rejected, LoadProgram, "a size given to a helper may be zero";
    STACK_NEVER_WRITTEN = "V019", Rejected, LoadProgram, "bytes of the stack are read that were never written";
    STACK_BOUNDS = "V020", Rejected, LoadProgram, "an access lies outside the stack";
    MISALIGNED = "V021", Rejected, LoadProgram, "an access is not aligned to its size";
    MAP_READ_ONLY = "V022", Rejected, LoadProgram, "a map is written that programs may only read";
    MAP_WRITE_ONLY = "V023", Rejected, LoadProgram, "a map is read that programs may only write";
    CONTEXT_ACCESS = "V024", Rejected, LoadProgram, "a context field is not accessible to this program type";
    FRAME_POINTER = "V025", Rejected, LoadProgram, "the frame pointer is written";
    STACK_TOO_LARGE = "V026", Rejected, LoadProgram, "the functions need more than 512 bytes of stack together";
    CALLS_TOO_DEEP = "V027", Rejected, LoadProgram, "more than 8 functions call each other";
    HELPER_NOT_ALLOWED = "V028", Rejected, LoadProgram, "a helper is not available to this program type";
    LICENSE_NOT_GPL = "V029", Rejected, LoadProgram, "a GPL-only helper in a program whose license is not GPL";
    HELPER_MAP_KIND = "V030", Rejected, LoadProgram, "a helper does not work on this type of map";
    MAY_SLEEP = "V031", Rejected, LoadProgram, "a call that may sleep in a program that may not";
    CALL_UNDER_LOCK = "V032", Rejected, LoadProgram, "a call that is not allowed while a lock is held";
    REGION_LEFT_OPEN = "V033", Rejected, LoadProgram, "a path ends with a lock held or a region open";
    NOT_RELEASED = "V034", Rejected, LoadProgram, "a path ends without releasing what it acquired";
    LEAK_BY_CALL = "V035", Rejected, LoadProgram, "a tail call or exception would lose what is still held";
    NOT_OWNED = "V036", Rejected, LoadProgram, "something is released that is not held";
    RETURN_RANGE = "V037", Rejected, LoadProgram, "the return value is outside the range of its hook";
    TOO_MANY_INSNS = "V038", Rejected, LoadProgram, "verifying the program takes too many steps";
    TOO_COMPLEX = "V039", Rejected, LoadProgram, "the program has too many open branches";
    ENDLESS_LOOP = "V040", Rejected, LoadProgram, "a loop repeats without anything changing";
    LOOP_NOT_ALLOWED = "V041", Rejected, LoadProgram, "loops are not allowed here";
    UNREACHABLE = "V042", Rejected, LoadProgram, "an instruction can never be reached";
    MALFORMED_FLOW = "V043", Rejected, LoadProgram, "the program's control flow leaves its code";
    FUNCTION_ARGUMENT = "V044", Rejected, LoadProgram, "a global function gets or declares an argument it cannot have";
    NULL_IN_FUNCTION = "V045", Rejected, LoadProgram, "a global function uses a pointer argument without a null test";
    KFUNC_NOT_ALLOWED = "V046", Rejected, LoadProgram, "a kernel function is not available to this program";
    TYPES_REFUSED = "V047", Rejected, LoadProgram, "the types or function records do not fit the program";
    MAP_HANDLE = "V048", Rejected, LoadProgram, "an instruction names a map that is not there";
    LOCK_ACCESSED = "V049", Rejected, LoadProgram, "a lock, timer or other special field is accessed as plain memory";
    MIXED_POINTERS = "V050", Rejected, LoadProgram, "one instruction works on different kinds of memory";
    DYNPTR_STATE = "V051", Rejected, LoadProgram, "a dynptr is used in a state it is not in";
    ITERATOR_STATE = "V052", Rejected, LoadProgram, "an iterator is used in a state it is not in";
    NULL_ARGUMENT = "V053", Rejected, LoadProgram, "an argument may be null where null is not accepted";
    NOT_TRUSTED = "V054", Rejected, LoadProgram, "a kernel pointer is not known to stay valid";
    KFUNC_ARGUMENT = "V055", Rejected, LoadProgram, "a kernel function gets the wrong kind of argument";
    LOCK_MISMATCH = "V056", Rejected, LoadProgram, "the lock that is held is not the one that is needed";
    READ_ONLY = "V057", Rejected, LoadProgram, "memory is written that may only be read";
    EXCEPTION = "V058", Rejected, LoadProgram, "an exception is thrown where it cannot be";
    CALLBACK = "V059", Rejected, LoadProgram, "a callback does something callbacks may not";
    OBJECT_FIELD = "V060", Rejected, LoadProgram, "a list, tree or allocated object is used in the wrong place";
    KIND_LACKS_FEATURE = "V061", Rejected, LoadProgram, "this program type cannot use a feature";
    SYMBOL_MISSING = "V062", Rejected, LoadProgram, "a kernel variable has no address in this kernel";
    DIVISION_BY_ZERO = "V063", Rejected, LoadProgram, "a division by a constant zero";
    ATOMIC_TARGET = "V064", Rejected, LoadProgram, "an atomic operation on memory that has none";
    NOT_CONSTANT = "V065", Rejected, LoadProgram, "a value must be known when the program is loaded";
    KERNEL_OBJECT_ACCESS = "V066", Rejected, LoadProgram, "an access does not fit the fields of a kernel object";
    POINTER_MOVED = "V067", Rejected, LoadProgram, "a pointer was moved where its beginning is needed";
    ATTACH_POINT = "V068", Rejected, LoadProgram, "the program cannot belong to what it names to attach to";
    UNKNOWN_INSN = "V069", Rejected, LoadProgram, "an instruction is unknown or uses reserved fields";
    LOAD_PACKET = "V070", Rejected, LoadProgram, "a legacy packet load is not allowed here";
    POINTER_IN_PARTS = "V071", Rejected, LoadProgram, "a pointer on the stack is read or overwritten in parts";
    KERNEL_POINTER_FIELD = "V072", Rejected, LoadProgram, "a map field that holds a kernel pointer is used wrongly";
    GPL_STRUCT = "V073", Rejected, LoadProgram, "something reserved to GPL programs is used";
    PRIVILEGE = "V074", Rejected, LoadProgram, "the loading user may not do this in a program";
    OTHER_LIMIT = "V075", Rejected, LoadProgram, "the program breaks another limit of the verifier";
    ATTACH_PERMISSION = "A001", Permission, Attach, "no privilege to attach here";
    ATTACH_TARGET = "A002", NotFound, Attach, "the thing to attach to does not exist";
    ATTACH_KIND = "A003", Usage, Attach, "this program type does not attach to this hook";
    ATTACH = "A004", Io, Attach, "attaching was refused";
    ATTACH_UNSUPPORTED = "A005", Unsupported, Attach, "this engine cannot attach to this hook";
    ATTACH_OPEN = "A006", Usage, Attach, "it is not said where the program attaches";
    ATTACH_TAKEN = "A007", Exists, Attach, "another program has the place already";
    ATTACH_CHANGED = "A008", Exists, Attach, "the programs at the hook are not those that were expected";
    LINK_NOT_FOUND = "A009", NotFound, Attach, "there is no such link";
    RUN_FAULT = "R001", Fault, Run, "the program touched memory it may not touch";
    RUN_BUDGET = "R002", Limit, Run, "the program used up its instruction budget";
    RUN_ABORTED = "R003", Fault, Run, "the run was aborted from outside";
    RUN_INVALID = "R004", Fault, Run, "the program did something that has no meaning";
    VM_NO_MEMORY = "R005", Limit, Run, "the memory window has no room left";
    RUN_REFUSED = "R006", Usage, Run, "the input does not fit a test run of this program";
    CAPTURE_MALFORMED = "H001", BadObject, Host, "the capture file is malformed";
    CAPTURE_UNSUPPORTED = "H002", Unsupported, Host, "the capture's link type is not supported";
    NAMESPACE = "H003", Permission, Host, "a private network namespace could not be made";
    COMMAND = "H004", NotFound, Host, "the command could not be started";
    HOST_IO = "H005", Io, Host, "a system service failed";
    USAGE = "H006", Usage, Host, "the request contradicts itself";
    TEXT_WITHOUT_LOG = "H007", NotFound, Host, "there is nothing to explain in this text";
    SNAPSHOT_MALFORMED = "H008", BadObject, Host, "the file is no snapshot of a map";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_every_one_finds_its_own_row() {
        let mut seen = std::collections::BTreeSet::new();
        for row in CODES {
            assert!(seen.insert(row.code), "{} twice", row.code);
            assert_eq!(row.code.row().title, row.title);
        }
    }
}
