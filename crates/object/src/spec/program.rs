//! Programs and functions before they are linked.

use std::sync::Arc;

use super::{ExternIndex, MapIndex};
use crate::abi::{AttachKind, ProgramKind};
use crate::btf::{LineRecord, RelocationKind, TypeId};
use crate::insn::{Insn, InsnIndex};

/// Position of a function in [`Object::functions`](super::Object::functions).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FunctionIndex(pub usize);

/// An entry point: a function that a hook can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgramSpec {
    /// The function's name; where the file has no symbol, the section's.
    pub name: String,
    /// The section it stands in, as written, `?` included.
    pub section: String,
    /// What the section name says, or what the caller says; `None` if neither.
    pub kind: Option<ProgramKind>,
    /// Where within its kind it attaches.
    pub attach: Option<AttachKind>,
    /// What follows the slash in the section name.
    pub attach_target: Option<String>,
    /// Whether it may sleep.
    pub is_sleepable: bool,
    /// Further flags for the kernel's `BPF_PROG_LOAD`, as numbers; 0 unless the caller sets some.
    pub load_flags: u32,
    /// Whether loading the object loads it (`SEC("?..")` says no).
    pub autoload: bool,
    /// Its code.
    pub function: FunctionIndex,
    /// The function that runs when it throws an exception (`__exception_cb`). Nothing calls it, so it is named here.
    pub exception_handler: Option<FunctionIndex>,
}

/// Who can see a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Linkage {
    /// Only its own object.
    Static,
    /// Other objects; verified on its own by newer kernels.
    Global,
    /// Global, and another definition may take its place.
    Weak,
}

/// A run of instructions with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// The symbol's name; empty only where the file has none.
    pub name: String,
    /// The section it stands in.
    pub section: String,
    /// Index of its first instruction in that section.
    pub offset: InsnIndex,
    /// Who can see it.
    pub linkage: Linkage,
    /// The instructions, in host order; both slots of wide ones are present.
    pub insns: Vec<Insn>,
    /// What its instructions refer to, by instruction, ascending.
    pub references: Vec<Reference>,
    /// Instructions that CO-RE adapts to the target's types, ascending; until then they hold the compiler's guess.
    pub type_relocations: Vec<TypeRelocation>,
    /// Its type in the object's BTF.
    pub type_id: Option<TypeId>,
    /// Where its instructions come from, ascending; each entry holds up to the next one. Linked programs share them.
    pub lines: Arc<Vec<LineInfo>>,
}

/// One instruction's dependence on the target's types.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypeRelocation {
    /// The instruction, from the start of the function.
    pub at: InsnIndex,
    /// What it holds.
    pub kind: RelocationKind,
    /// The type it is about, in the object's BTF.
    pub root: TypeId,
    /// Positions from the root on, such as `0:1:2`: element, member, enumerator.
    pub path: String,
}

/// Where instructions come from. Names are in the object's BTF.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineInfo {
    /// The first instruction that it is about.
    pub at: InsnIndex,
    /// File, line, column, text.
    pub line: LineRecord,
}

/// One instruction's reference to something outside its function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The instruction, from the start of the function.
    pub at: InsnIndex,
    /// What it refers to.
    pub to: ReferenceTo,
}

/// What an instruction refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReferenceTo {
    /// A map itself.
    Map(MapIndex),
    /// A place in a map's first value (globals).
    MapValue {
        /// The map.
        map: MapIndex,
        /// Offset in the value, bytes.
        offset: u32,
    },
    /// A function: called, or its address taken.
    Function(FunctionIndex),
    /// A name the object does not define: kfunc, ksym or `.kconfig` value.
    Extern {
        /// The name.
        index: ExternIndex,
        /// Bytes from there on, where its address is taken.
        addend: i64,
    },
    /// A section that has no meaning to us yet; the loader refuses programs that need it, by name.
    Section {
        /// The section's name.
        name: String,
        /// Offset in it, bytes.
        offset: u64,
    },
}
