//! A program as the vm holds it: checked for shape, holes filled, lowered for the interpreter.
//!
//! Shape means: every slot decodes, every jump stays in its function and lands on an instruction, no function can run off its
//! end, every call reaches a function or a helper the vm has. What the program does with memory is checked while it runs.

use std::sync::{Arc, Weak};

use twinbpf_object::abi::{AttachKind, MapFlags, helper_name};
use twinbpf_object::btf::Btf;
use twinbpf_object::core::UNAVAILABLE_HELPER;
use twinbpf_object::diagnosis::SourceLine;
use twinbpf_object::insn::{
    ArenaCast, Call, DecodeError, Displacement, Operation, Register, WideValue,
};
use twinbpf_object::link::{HoleKind, LinkedProgram, SourceLines, Unavailable};
use twinbpf_object::{
    Code, Diagnosis, Errno, Error, Insn, InsnIndex, MapIndex, MapKind, ProgramKind, Result,
};

use crate::code::{self, Op};
use crate::config::Guard;
use crate::handles::{FIRST_FUNCTION_HANDLE, Handles};
use crate::helpers::{self, Helper};
use crate::jit::{Compiled, Source};
use crate::kfuncs::{self, HostFunctions};
use crate::maps::{LiveMap, MapLayout, VmMap};
use crate::presence::Presence;
use crate::reach::context_reach;
use crate::run::{Image, Kfunc};
use crate::window::{FIRST_HANDLE, user_address};

/// The address of every kernel function: nothing lies there, and no map has this number.
const KFUNC_ADDRESS: u32 = FIRST_HANDLE;

/// A loaded program. Cloning shares it.
#[derive(Debug, Clone)]
pub struct VmProgram(pub(crate) Arc<Program>, pub(crate) Presence);

#[derive(Debug)]
pub(crate) struct Program {
    /// Its number in the vm, from 1.
    pub(crate) number: u32,
    /// Tells the vm that it belongs to from others.
    pub(crate) home: Arc<Handles>,
    /// For who keeps it while it runs.
    pub(crate) itself: Weak<Self>,
    pub(crate) name: String,
    pub(crate) image: Image,
    attach: Option<AttachKind>,
    /// Bytes of its context that it surely needs.
    context_reach: usize,
    pub(crate) code: Vec<Op>,
    /// The meaning of each slot; `None` for the second slot of a wide load.
    pub(crate) operations: Vec<Option<Operation>>,
    /// First slot of each function, ascending, then the program's length.
    bounds: Vec<usize>,
    /// Slots of wide loads that stand for a map's first value, with the value's start and size.
    values: Vec<(usize, u32, u32)>,
    compiled: Option<Compiled>,
    lines: SourceLines,
    unavailable: Vec<Unavailable>,
    /// The slot of the function that runs when the program throws an exception.
    exception_handler: Option<usize>,
}

impl VmProgram {
    /// The program's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its kind.
    pub fn kind(&self) -> ProgramKind {
        self.0.image.kind
    }

    /// Its number in the vm: what a lookup in a prog array answers.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// Its length in instruction slots.
    pub fn insn_count(&self) -> usize {
        self.0.code.len()
    }
}

impl Program {
    /// Checks and lowers a linked program. `maps` are the live maps in the order of the linked object.
    pub(crate) fn new(
        linked: &LinkedProgram,
        maps: &[VmMap],
        host: &HostFunctions,
    ) -> Result<Self> {
        let kind = linked.kind.ok_or_else(|| linked.type_missing())?;
        let mut builder = Builder {
            linked,
            maps,
            host,
            used: Vec::new(),
            kfuncs: Vec::new(),
            values: Vec::new(),
            unavailable: linked.unavailable.clone(),
        };
        let operations = builder.operations()?;
        let bounds = builder.bounds()?;
        builder.check_flow(&operations, &bounds)?;
        let code = operations
            .iter()
            .enumerate()
            .map(|(at, operation)| {
                operation.map_or(Op::SECOND_SLOT, |operation| code::lower(operation, at))
            })
            .map(resolve_helper)
            .collect();
        let first = bounds.get(1).copied().unwrap_or(operations.len());
        let context_reach = context_reach(operations.get(..first).unwrap_or_default());
        Ok(Self {
            number: 0,
            home: Arc::default(),
            itself: Weak::new(),
            name: linked.name.clone(),
            image: Image {
                kind,
                maps: builder.used,
                kfuncs: builder.kfuncs,
            },
            attach: linked.attach,
            context_reach,
            code,
            operations,
            bounds,
            values: builder.values,
            compiled: None,
            lines: linked.lines.clone(),
            unavailable: builder.unavailable,
            exception_handler: linked.exception_handler.map(InsnIndex::get),
        })
    }

    /// Whether it belongs to the vm with these handles.
    #[inline(always)]
    pub(crate) fn is_of(&self, handles: &Arc<Handles>) -> bool {
        Arc::ptr_eq(&self.home, handles)
    }

    /// Whether it is for entries of maps, which run it on packets that are sent to them.
    pub(crate) fn is_run_by_a_map(&self) -> bool {
        let name = self.attach.and_then(AttachKind::kernel_name);
        matches!(name, Some("XDP_DEVMAP" | "XDP_CPUMAP"))
    }

    /// Bytes of its context that it surely needs.
    pub(crate) fn context_reach(&self) -> usize {
        self.context_reach
    }

    /// The helper at this position of the table; positions were put in at load.
    #[inline(always)]
    pub(crate) fn helper(&self, position: u64) -> Helper {
        let position = usize::try_from(position).unwrap_or(0);
        // INVARIANT: `resolve_helper` wrote a valid position into every call.
        helpers::TABLE
            .get(position)
            .unwrap_or(&helpers::TABLE[0])
            .call
    }

    /// Compiles the program to machine code, where there is a compiler for this CPU. `is_vouched`: somebody promised what is else checked.
    ///
    /// # Errors
    ///
    /// If the host gives no executable memory or refuses signal handlers.
    pub(crate) fn compile(&mut self, guard: Guard, is_vouched: bool) -> Result<()> {
        let maps: Vec<MapLayout> = self.image.maps.iter().map(LiveMap::layout).collect();
        // Pages that can be written but not read do not exist in hardware.
        let is_write_only = |map: &LiveMap| map.spec().flags.contains(MapFlags::WRONLY_PROG);
        let guard = match self.image.maps.iter().any(is_write_only) {
            true => Guard::Compare,
            false => guard,
        };
        let source = Source {
            operations: &self.operations,
            bounds: &self.bounds,
            maps: &maps,
            is_vouched,
        };
        let compiled = Compiled::new(&source, guard).map_err(|errno| {
            let message =
                "the host gives no executable memory for compiled code, or no signal handler";
            let diagnosis = Diagnosis::new(Code::PROGRAM_UNSUPPORTED, message)
                .in_program(&self.name)
                .errno(errno);
            Error::from(diagnosis.help("choose the interpreter, or `Guard::Compare`"))
        })?;
        self.compiled = Some(compiled);
        Ok(())
    }

    /// The program in machine code, if it was compiled.
    pub(crate) fn compiled(&self) -> Option<&Compiled> {
        self.compiled.as_ref()
    }

    /// Where its machine code begins; null if it was not compiled.
    pub(crate) fn entry(&self) -> *mut u8 {
        let compiled = self.compiled.as_ref();
        compiled.map_or(std::ptr::null_mut(), Compiled::entry)
    }

    /// The maps that the program refers to.
    pub(crate) fn maps(&self) -> &[LiveMap] {
        &self.image.maps
    }

    /// Start and size of the map value that the wide load at `at` points into, if it does.
    pub(crate) fn value_at(&self, at: usize) -> Option<(u32, u32)> {
        let found = self.values.iter().find(|(slot, ..)| *slot == at)?;
        Some((found.1, found.2))
    }

    /// Whether a function starts at this slot.
    pub(crate) fn is_function(&self, start: usize) -> bool {
        start < self.code.len() && self.bounds.contains(&start)
    }

    /// Slots of the function that starts at `start`.
    pub(crate) fn function_len(&self, start: usize) -> usize {
        let next = self.bounds.iter().find(|bound| **bound > start).copied();
        next.unwrap_or(self.code.len()).saturating_sub(start)
    }

    /// The source line of the instruction at `at`.
    pub(crate) fn source(&self, at: InsnIndex) -> Option<SourceLine> {
        let function = self.bounds.iter().rev().find(|start| **start <= at.get());
        let start = u32::try_from(*function?).ok()?;
        self.lines.find(at, InsnIndex(start))
    }

    /// The slot of the function that runs when the program throws an exception.
    pub(crate) fn exception_handler(&self) -> Option<usize> {
        self.exception_handler
    }

    /// The types of the object it is from.
    pub(crate) fn types(&self) -> Option<&Btf> {
        self.lines.types()
    }

    /// What is missing at an instruction that the target has nothing for.
    pub(crate) fn unavailable(&self, at: InsnIndex) -> Option<&Unavailable> {
        self.unavailable.iter().find(|each| each.at == at)
    }

    /// The instruction at `at` as text.
    pub(crate) fn text(&self, at: usize) -> String {
        match self.operations.get(at).copied().flatten() {
            Some(operation) => operation.to_string(),
            None => "no instruction".to_owned(),
        }
    }
}

struct Builder<'a> {
    linked: &'a LinkedProgram,
    maps: &'a [VmMap],
    host: &'a HostFunctions,
    used: Vec<LiveMap>,
    kfuncs: Vec<Kfunc>,
    values: Vec<(usize, u32, u32)>,
    unavailable: Vec<Unavailable>,
}

impl Builder<'_> {
    fn operations(&mut self) -> Result<Vec<Option<Operation>>> {
        let insns = &self.linked.insns;
        let mut operations = Vec::with_capacity(insns.len());
        let mut at = 0;
        while let Some(rest) = insns.get(at..).filter(|rest| !rest.is_empty()) {
            let rest = self.without_hole_marks(at, rest);
            match Operation::decode(&rest) {
                Ok(decoded) => {
                    operations.push(Some(self.fill(at, decoded.operation)?));
                    operations.extend((1..decoded.slots).map(|_| None));
                }
                // KERNEL: such an instruction may stand where nothing arrives (6.18).
                Err(error @ DecodeError::FrameWritten) if !insns[at].is_wide() => {
                    operations.push(Some(self.end_of_run(at, &error)));
                }
                Err(error) => return Err(self.malformed(at, &error.to_string())),
            }
            at = operations.len();
        }
        Ok(operations)
    }

    /// What stands for an instruction that must never be reached: a call that ends the run.
    fn end_of_run(&mut self, at: usize, reason: &DecodeError) -> Operation {
        self.unavailable.push(Unavailable {
            at: InsnIndex(u32::try_from(at).unwrap_or(u32::MAX)),
            code: Code::RUN_INVALID,
            reason: reason.to_string(),
        });
        Operation::Call(Call::Helper(UNAVAILABLE_HELPER))
    }

    /// The slots to decode: a wide load with a hole is decoded as a plain number, whatever its marks say.
    fn without_hole_marks(&self, at: usize, slots: &[Insn]) -> Vec<Insn> {
        let mut first: Vec<Insn> = slots.iter().take(2).copied().collect();
        if self.hole(at).is_some() && first.first().is_some_and(|insn| insn.is_wide()) {
            for (index, insn) in first.iter_mut().enumerate() {
                insn.imm = 0;
                if index == 0 {
                    insn.src = 0;
                }
            }
        }
        first
    }

    fn hole(&self, at: usize) -> Option<&HoleKind> {
        self.linked
            .holes
            .iter()
            .find(|hole| hole.at.get() == at)
            .map(|hole| &hole.kind)
    }

    /// Puts handles where the engine has to fill in, and refuses what it does not have.
    fn fill(&mut self, at: usize, operation: Operation) -> Result<Operation> {
        let hole = self.hole(at).cloned();
        match (operation, hole) {
            (Operation::LoadWide { dst, .. }, Some(hole)) => {
                let number = self.handle_for(at, &hole)?;
                Ok(Operation::LoadWide {
                    dst,
                    value: WideValue::Number(number),
                })
            }
            (Operation::Call(Call::Kfunc { module, .. }), Some(HoleKind::Kfunc { name, .. })) => {
                let id = self.kfunc(at, &name)?;
                Ok(Operation::Call(Call::Kfunc { id, module }))
            }
            (Operation::LoadWide { value, .. }, None) if !matches!(value, WideValue::Number(_)) => {
                Err(self.missing(
                    at,
                    &format!("the reference `{value}`, which belongs to a kernel,"),
                ))
            }
            (Operation::Call(Call::Kfunc { id, .. }), _) => {
                Err(self.missing(at, &format!("kernel function number {id}")))
            }
            (Operation::Call(Call::Helper(number)), _) if !has_helper(number) => {
                Err(self.missing(at, &helper_text(number)))
            }
            (Operation::Cast { dst, src, cast }, _) => self.cast(at, dst, src, cast),
            (operation, _) => Ok(operation),
        }
    }

    /// A cast, of which nothing is left to the host's addresses if the arena says so.
    fn cast(&self, at: usize, dst: Register, src: Register, cast: ArenaCast) -> Result<Operation> {
        let mut arenas = self.maps.iter().map(VmMap::spec);
        let Some(arena) = arenas.find(|map| map.kind == MapKind::Arena) else {
            let message = "casts an address of an arena, and there is no arena";
            return Err(self.malformed(at, message));
        };
        let cast = match arena.flags.contains(MapFlags::NO_USER_CONV) {
            true => ArenaCast::ToKernel,
            false => cast,
        };
        Ok(Operation::Cast { dst, src, cast })
    }

    /// The number that a reference becomes.
    fn handle_for(&mut self, at: usize, hole: &HoleKind) -> Result<u64> {
        match hole {
            HoleKind::Map(index) => {
                let map = self.map(at, *index)?;
                Ok(u64::from(map.handle()))
            }
            HoleKind::Function(start) => Ok(u64::from(FIRST_FUNCTION_HANDLE | start.0)),
            HoleKind::MapValue { map, offset } => {
                let map = self.map(at, *map)?;
                if let Some(arena) = map.arena() {
                    let (start, len) = (arena.start(), arena.len());
                    if *offset >= len {
                        return Err(self.malformed(at, "refers to a place outside its arena"));
                    }
                    return Ok(user_address(start + offset));
                }
                let start = map.first_value().filter(|_| *offset < map.value_size());
                let start = start.ok_or_else(|| {
                    self.malformed(at, "refers to a place outside its map's value")
                })?;
                self.values.push((at, start, map.value_size()));
                Ok(u64::from(start + offset))
            }
            // Programs only ask whether it is there.
            HoleKind::Kfunc { name, .. } => self.kfunc(at, name).map(|_| u64::from(KFUNC_ADDRESS)),
            HoleKind::Ksym { name, .. } => {
                Err(self.missing(at, &format!("the kernel symbol `{name}`")))
            }
        }
    }

    /// The position of the function in the program's list.
    fn kfunc(&mut self, at: usize, name: &str) -> Result<i32> {
        let found = kfuncs::find(self.host, name);
        let found =
            found.ok_or_else(|| self.missing(at, &format!("the kernel function `{name}`")))?;
        let position = self.kfuncs.len();
        self.kfuncs.push(found);
        i32::try_from(position).map_err(|_| self.malformed(at, "calls too many kernel functions"))
    }

    /// The live map with this index; the program keeps it alive from here on.
    fn map(&mut self, at: usize, index: MapIndex) -> Result<LiveMap> {
        let map = self.maps.get(index.0);
        let map = map.ok_or_else(|| self.malformed(at, "refers to a map that was not created"))?;
        let map = map.live();
        if self.linked.kind.is_some_and(|kind| !map.admits(kind)) {
            return Err(self.other_kind(at, map));
        }
        if self.used.iter().all(|used| used.handle() != map.handle()) {
            self.used.push(map.clone());
        }
        Ok(map.clone())
    }

    fn bounds(&self) -> Result<Vec<usize>> {
        let mut bounds: Vec<usize> = self
            .linked
            .functions
            .iter()
            .map(|function| function.start.get())
            .collect();
        let len = self.linked.insns.len();
        if len == 0 {
            return Err(
                Diagnosis::new(Code::INSN_MALFORMED, "the program has no instructions")
                    .in_program(&self.linked.name)
                    .into(),
            );
        }
        if bounds.first() != Some(&0) {
            bounds.insert(0, 0);
        }
        let is_ascending = bounds.is_sorted_by(|before, after| before < after);
        if !is_ascending || bounds.last().is_some_and(|last| *last >= len) {
            return Err(self.malformed(0, "its list of functions does not match its instructions"));
        }
        bounds.push(len);
        Ok(bounds)
    }

    fn check_flow(&self, operations: &[Option<Operation>], bounds: &[usize]) -> Result<()> {
        for pair in bounds.windows(2) {
            let [start, end] = *pair else { continue };
            // This also keeps functions from starting inside a wide load: the one before would end with its first slot.
            let last = operations[start..end].iter().rev().flatten().next();
            if !matches!(last, Some(Operation::Exit | Operation::Jump { .. })) {
                return Err(self.malformed(end - 1, "the function can run off its end"));
            }
            for (at, operation) in operations.iter().enumerate().take(end).skip(start) {
                let Some(operation) = operation else { continue };
                self.check_jump(at, operation, operations, start..end)?;
                if let Operation::Call(Call::Local(to)) = operation {
                    self.check_call(at, *to, bounds)?;
                }
            }
        }
        Ok(())
    }

    fn check_jump(
        &self,
        at: usize,
        operation: &Operation,
        operations: &[Option<Operation>],
        function: std::ops::Range<usize>,
    ) -> Result<()> {
        let (Operation::Jump { to, .. } | Operation::Branch { to, .. } | Operation::MayGoto { to }) =
            operation
        else {
            return Ok(());
        };
        let Displacement(displacement) = *to;
        let target = code::destination(at, displacement).filter(|target| function.contains(target));
        match target.and_then(|target| operations.get(target)) {
            Some(Some(_)) => Ok(()),
            Some(None) => Err(self.malformed(at, "jumps into the middle of a 64-bit load")),
            None => Err(self.malformed(at, "jumps out of its function")),
        }
    }

    fn check_call(&self, at: usize, displacement: i32, bounds: &[usize]) -> Result<()> {
        let target = code::destination(at, displacement);
        match target.filter(|target| bounds[..bounds.len() - 1].contains(target)) {
            Some(_) => Ok(()),
            None => Err(self.malformed(at, "calls something that is not the start of a function")),
        }
    }

    fn malformed(&self, at: usize, what: &str) -> Error {
        let diagnosis = Diagnosis::new(Code::INSN_MALFORMED, format!("insn {at}: {what}"));
        diagnosis.in_program(&self.linked.name).into()
    }

    fn other_kind(&self, at: usize, map: &LiveMap) -> Error {
        let message = format!(
            "insn {at} uses the prog array `{}`, which belongs to programs of another type",
            map.spec().name
        );
        Diagnosis::new(Code::MAP_INVALID, message)
            .in_program(&self.linked.name)
            .errno(Errno::EINVAL)
            .into()
    }

    fn missing(&self, at: usize, what: &str) -> Error {
        let message = format!("insn {at} needs {what} which the vm does not have");
        let diagnosis =
            Diagnosis::new(Code::PROGRAM_HELPER_MISSING, message).in_program(&self.linked.name);
        diagnosis
            .help("try `--engine kernel`; docs/LIMITS.md lists what the vm has")
            .into()
    }
}

/// Whether the vm has this helper.
fn has_helper(number: i32) -> bool {
    number == code::TAIL_CALL || helpers::position(number).is_some()
}

/// A helper as its users know it.
fn helper_text(number: i32) -> String {
    match helper_name(number) {
        Some(name) => format!("helper bpf_{name} ({number}),"),
        None => format!("helper number {number}, which no kernel has,"),
    }
}

/// Replaces a helper's number by its position in the table.
fn resolve_helper(op: Op) -> Op {
    if op.opcode != code::Opcode::CallHelper {
        return op;
    }
    let number = i32::from_ne_bytes(crate::semantics::low_32(op.imm).to_ne_bytes());
    let position = helpers::position(number).and_then(|position| u64::try_from(position).ok());
    Op {
        imm: position.unwrap_or(0),
        ..op
    }
}
