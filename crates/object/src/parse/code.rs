//! Functions: where each starts and ends.
//!
//! Today's compilers say of each function symbol what it is and how long. Those of 2016 say neither: every symbol is
//! untyped and has size 0, jump targets have symbols too. Then a function is a *global* untyped symbol (labels such as
//! `LBB0_3` are local), and it reaches to the next one or to the end of its section.
//!
//! What the instructions mean is not asked here. One that means nothing is no reason to refuse the object: the other
//! programs are none the worse, and whether one can run is for its engine to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::diagnosis::{Code as ErrorCode, Diagnosis, Error, Result};
use crate::elf::{Binding, Elf, Section, SectionIndex, Symbol, SymbolKind, SymbolPlace};
use crate::insn::{INSN_BYTES, Insn, InsnIndex};
use crate::order;
use crate::spec::{ByteOrder, Function, FunctionIndex, Linkage};

use super::role::Role;

/// All functions of a file and where they stand.
#[derive(Debug, Default)]
pub(super) struct Code {
    /// In the order of the file: by section, then by offset.
    pub(super) functions: Vec<Function>,
    /// Whether each stands among programs (and not in `.text`).
    pub(super) is_among_programs: Vec<bool>,
    /// Functions by section and offset of their first byte.
    starts: BTreeMap<(SectionIndex, u64), FunctionIndex>,
}

/// Where a function stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct FunctionPlace {
    section: SectionIndex,
    function: FunctionIndex,
    /// Offset of the first byte.
    start: u64,
}

/// A function's place in its section, before its code is read.
#[derive(Debug, Clone, Copy)]
struct Extent<'data> {
    name: &'data str,
    linkage: Linkage,
    /// Offset of the first byte.
    start: u64,
    /// Bytes; 0 while only the start is known.
    size: u64,
    /// Whether the compiler said that it is a function.
    is_typed: bool,
}

/// Reads the functions of every section with code.
///
/// # Errors
///
/// If code is not made of whole instructions, or functions overlap or leave their section.
pub(super) fn read(elf: &Elf<'_>, warnings: &mut Vec<String>) -> Result<Code> {
    let mut symbols = symbols_by_section(elf);
    let mut code = Code::default();
    for section in &elf.sections {
        let role = Role::of(section);
        if !matches!(role, Role::Programs | Role::Subprograms) || section.data.is_empty() {
            continue;
        }
        check_whole_instructions(section)?;
        let starts = symbols.remove(&section.index).unwrap_or_default();
        for extent in extents(section, starts, warnings)? {
            let index = FunctionIndex(code.functions.len());
            code.starts.insert((section.index, extent.start), index);
            code.functions
                .push(function(section, extent, elf.byte_order)?);
            code.is_among_programs.push(role == Role::Programs);
        }
    }
    Ok(code)
}

impl Code {
    /// The function whose first instruction stands here.
    pub(super) fn starting_at(&self, section: SectionIndex, offset: u64) -> Option<FunctionIndex> {
        self.starts.get(&(section, offset)).copied()
    }

    /// Functions by section and offset of their first byte, ascending.
    pub(super) fn places(&self) -> &BTreeMap<(SectionIndex, u64), FunctionIndex> {
        &self.starts
    }

    /// The function that holds the instruction at this offset, and the instruction's index in it.
    pub(super) fn containing(
        &self,
        section: SectionIndex,
        offset: u64,
    ) -> Option<(FunctionIndex, InsnIndex)> {
        let (&(_, start), &function) = self
            .starts
            .range((section, 0)..=(section, offset))
            .next_back()?;
        self.within(function, start, offset)
    }

    /// As [`Code::containing`], for a caller that asks for one place after the other; `last` is where the one before was.
    pub(super) fn containing_near(
        &self,
        section: SectionIndex,
        offset: u64,
        last: &mut Option<FunctionPlace>,
    ) -> Option<(FunctionIndex, InsnIndex)> {
        if let Some(last) = last
            && last.section == section
            && let Some(found) = self.within(last.function, last.start, offset)
        {
            return Some(found);
        }
        let (function, at) = self.containing(section, offset)?;
        *last = Some(FunctionPlace {
            section,
            function,
            start: offset - u64::from(at.0) * slot_bytes(),
        });
        Some((function, at))
    }

    /// The instruction at this offset, if the function that starts at `start` has it.
    fn within(
        &self,
        function: FunctionIndex,
        start: u64,
        offset: u64,
    ) -> Option<(FunctionIndex, InsnIndex)> {
        let slot = u32::try_from(offset.checked_sub(start)? / slot_bytes()).ok()?;
        let at = InsnIndex(slot);
        self.functions.get(function.0)?.insns.get(at.get())?;
        Some((function, at))
    }
}

/// Bytes of a slot, for offsets.
pub(super) const fn slot_bytes() -> u64 {
    INSN_BYTES as u64
}

fn symbols_by_section<'data>(elf: &Elf<'data>) -> BTreeMap<SectionIndex, Vec<Extent<'data>>> {
    let mut found: BTreeMap<SectionIndex, Vec<Extent<'data>>> = BTreeMap::new();
    for symbol in &elf.symbols {
        if let SymbolPlace::Section(section) = symbol.place
            && names_a_function(symbol)
        {
            found.entry(section).or_default().push(Extent {
                name: symbol.name,
                linkage: linkage(symbol.binding),
                start: symbol.value,
                size: symbol.size,
                is_typed: symbol.kind == SymbolKind::Function,
            });
        }
    }
    found
}

fn names_a_function(symbol: &Symbol<'_>) -> bool {
    match symbol.kind {
        SymbolKind::Function => true,
        SymbolKind::Untyped => symbol.binding != Binding::Local && !symbol.name.is_empty(),
        SymbolKind::Variable | SymbolKind::Section | SymbolKind::Other => false,
    }
}

fn linkage(binding: Binding) -> Linkage {
    match binding {
        Binding::Local => Linkage::Static,
        Binding::Global => Linkage::Global,
        Binding::Weak => Linkage::Weak,
    }
}

fn check_whole_instructions(section: &Section<'_>) -> Result<()> {
    let left = section.data.len() % INSN_BYTES;
    if left == 0 {
        return Ok(());
    }
    let length = section.data.len();
    let message =
        format!("{length} bytes are not whole instructions of {INSN_BYTES}: {left} are left");
    Err(malformed(section, offset_of(length - left), message))
}

/// Completes what the symbols say to non-overlapping extents in ascending order.
fn extents<'data>(
    section: &Section<'data>,
    mut claims: Vec<Extent<'data>>,
    warnings: &mut Vec<String>,
) -> Result<Vec<Extent<'data>>> {
    if claims.is_empty() {
        // Without any symbol the section is one function, and the section's name has to do.
        claims.push(Extent {
            name: "",
            linkage: Linkage::Global,
            start: 0,
            size: section.size,
            is_typed: false,
        });
    }
    // Of several names for one place the most telling comes first: typed, visible, sized.
    order::sort_by_key(&mut claims, |claim| {
        let is_static = claim.linkage == Linkage::Static;
        (claim.start, !claim.is_typed, is_static, claim.size == 0)
    });
    let mut known: Vec<Extent<'data>> = Vec::with_capacity(claims.len());
    for claim in claims {
        check_start(section, claim)?;
        match known.last() {
            Some(last) if last.start == claim.start => warnings.push(format!(
                "section `{}`: `{}` is another name of function `{}`; the latter is kept",
                section.name, claim.name, last.name
            )),
            // An untyped symbol inside a function of known length is a label that somebody made global.
            Some(last) if !claim.is_typed && claim.start < last.start + last.size => {}
            _ => known.push(claim),
        }
    }
    for position in 0..known.len() {
        let next = known.get(position + 1).map(|next| (next.start, next.name));
        close(section, &mut known[position], next)?;
    }
    warn_of_gaps(section, &known, warnings);
    Ok(known)
}

fn check_start(section: &Section<'_>, claim: Extent<'_>) -> Result<()> {
    let end = claim.start.saturating_add(claim.size);
    if !claim.start.is_multiple_of(slot_bytes()) || !claim.size.is_multiple_of(slot_bytes()) {
        let message = format!(
            "function `{}` of {} bytes does not start and end between instructions",
            claim.name, claim.size
        );
        return Err(malformed(section, claim.start, message));
    }
    if claim.start >= section.size || end > section.size {
        let message = format!(
            "function `{}` reaches to {end:#x} but the section ends at {:#x}",
            claim.name, section.size
        );
        return Err(malformed(section, claim.start, message));
    }
    Ok(())
}

/// Gives an extent its end: its own size, or the next start, or the end of the section.
fn close(section: &Section<'_>, extent: &mut Extent<'_>, next: Option<(u64, &str)>) -> Result<()> {
    let (limit, follower) = next.unwrap_or((section.size, ""));
    if extent.size == 0 {
        extent.size = limit - extent.start;
    }
    if extent.start + extent.size > limit {
        let message = format!(
            "function `{}` reaches to {:#x} but `{follower}` starts at {limit:#x}",
            extent.name,
            extent.start + extent.size
        );
        return Err(malformed(section, extent.start, message));
    }
    Ok(())
}

fn warn_of_gaps(section: &Section<'_>, extents: &[Extent<'_>], warnings: &mut Vec<String>) {
    let mut covered = 0;
    let ends = extents
        .iter()
        .map(|extent| (extent.start, extent.start + extent.size))
        .chain([(section.size, section.size)]);
    for (start, end) in ends {
        if start > covered {
            warnings.push(format!(
                "section `{}`: the code from {covered:#x} to {start:#x} belongs to no function and is left out",
                section.name
            ));
        }
        covered = end;
    }
}

fn function(section: &Section<'_>, extent: Extent<'_>, order: ByteOrder) -> Result<Function> {
    let bytes = crate::bytes::slice_at(section.data, extent.start, extent.size).unwrap_or_default();
    let (slots, _) = bytes.as_chunks::<INSN_BYTES>();
    let insns: Vec<Insn> = slots
        .iter()
        .map(|slot| Insn::from_bytes(*slot, order))
        .collect();
    let too_long = |_| {
        let message = format!(
            "function `{}` has {} instructions",
            extent.name,
            insns.len()
        );
        malformed(section, extent.start, message)
    };
    let first = u32::try_from(extent.start / slot_bytes()).map_err(too_long)?;
    u32::try_from(insns.len()).map_err(too_long)?;
    Ok(Function {
        name: extent.name.to_owned(),
        section: section.name.to_owned(),
        offset: InsnIndex(first),
        linkage: extent.linkage,
        insns,
        references: Vec::new(),
        type_relocations: Vec::new(),
        type_id: None,
        lines: Arc::default(),
    })
}

fn offset_of(position: usize) -> u64 {
    u64::try_from(position).unwrap_or(u64::MAX)
}

fn malformed(section: &Section<'_>, offset: u64, message: String) -> Error {
    Diagnosis::new(ErrorCode::CODE_MALFORMED, message)
        .at(section.name, offset)
        .into()
}
