//! Holes: what a linked instruction still misses, by name instead of by number.

use crate::abi::ProgramKind;
use crate::btf::TypeId;
use crate::insn::InsnIndex;
use crate::spec::{MapIndex, Object, ProgramSpec};

/// An instruction that the engine completes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hole {
    /// The instruction; for wide ones, the first slot.
    pub at: InsnIndex,
    /// What goes in.
    pub kind: HoleKind,
}

/// What goes into a hole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HoleKind {
    /// A map (`BPF_PSEUDO_MAP_FD`).
    Map(MapIndex),
    /// A place in a map's first value (`BPF_PSEUDO_MAP_VALUE`).
    MapValue {
        /// The map.
        map: MapIndex,
        /// Offset in the value, bytes.
        offset: u32,
    },
    /// The address of a function of this program (`BPF_PSEUDO_FUNC`), for callbacks.
    Function(InsnIndex),
    /// A function of the kernel: called (`BPF_PSEUDO_KFUNC_CALL`), or its address taken (`BPF_PSEUDO_BTF_ID`).
    Kfunc {
        /// Its name, flavour cut off.
        name: String,
        /// The module that has it; `None` for the kernel itself.
        module: Option<String>,
        /// Its number in that BTF; `None` if the engine offers it by name.
        id: Option<TypeId>,
    },
    /// A variable of the kernel (`BPF_PSEUDO_BTF_ID`).
    Ksym {
        /// Its name.
        name: String,
        /// The module that has it; `None` for the kernel itself.
        module: Option<String>,
        /// Its number in that BTF.
        id: TypeId,
    },
}

/// What a program as a whole refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ProgramTarget {
    /// Nothing: most kinds.
    #[default]
    None,
    /// A function or type in the engine's BTF (`attach_btf_id`).
    AttachBtf {
        /// The name to look up.
        name: String,
        /// The module that has it, where the section names one (`fentry/module:function`).
        module: Option<String>,
    },
    /// A function of another loaded program (freplace).
    Freplace {
        /// The function to replace.
        function: String,
    },
    /// A member of a struct_ops type.
    StructOpsMember {
        /// The struct type.
        type_name: String,
        /// The member's name.
        member: String,
    },
}

impl ProgramTarget {
    /// What kind and section name of a program say about its target, or the table it stands in; nothing if neither does.
    pub(super) fn of(object: &Object, program: &ProgramSpec) -> Self {
        if program.kind == Some(ProgramKind::StructOps) {
            return Self::of_table(object, program);
        }
        let Some(name) = &program.attach_target else {
            return Self::None;
        };
        match program.kind {
            Some(ProgramKind::Tracing | ProgramKind::Lsm) => {
                let (module, name) = match name.split_once(':') {
                    Some((module, name)) => (Some(module.to_owned()), name),
                    None => (None, name.as_str()),
                };
                Self::AttachBtf {
                    name: format!("{}{name}", btf_prefix(program)),
                    module,
                }
            }
            Some(ProgramKind::Ext) => Self::Freplace {
                function: name.clone(),
            },
            _ => Self::None,
        }
    }

    /// The first table of functions that holds the program says what it implements; its section's name says nothing.
    fn of_table(object: &Object, program: &ProgramSpec) -> Self {
        let tables = object.maps.iter().filter_map(|map| map.struct_ops.as_ref());
        let mut found = tables.filter_map(|table| {
            Some(Self::StructOpsMember {
                type_name: table.interface.clone(),
                member: table.member_of(&program.name)?.to_owned(),
            })
        });
        found.next().unwrap_or_default()
    }
}

/// The kernel's BTF has the attach points of some hooks under a name of their own.
fn btf_prefix(program: &ProgramSpec) -> &'static str {
    match program.attach.and_then(|attach| attach.kernel_name()) {
        Some("TRACE_RAW_TP") => "btf_trace_",
        Some("TRACE_ITER") => "bpf_iter_",
        Some("LSM_MAC" | "LSM_CGROUP") => "bpf_lsm_",
        _ => "",
    }
}
