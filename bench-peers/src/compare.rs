//! Our final instructions against libbpf's, function by function.
//!
//! Both copy what a program calls behind it, perhaps in another order; so the comparison starts at the two entries and
//! follows calls in pairs. What differs from run to run is not compared: descriptors of maps, numbers of kernel functions
//! and variables. Whether an instruction was poisoned is.

use std::collections::BTreeMap;
use std::fmt;

use twinbpf::LinkedProgram;
use twinbpf_object::insn::{Insn, opcode};

/// `BPF_JMP | BPF_CALL`.
const CALL: u8 = 0x85;
/// From here on, libbpf's helper numbers are none: they mark calls of what is not there.
const POISON: i32 = 195_896_080;

/// The first place where two programs differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The function, by our name.
    pub function: String,
    /// Slot within the function.
    pub slot: usize,
    /// Ours.
    pub ours: String,
    /// libbpf's.
    pub theirs: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "function `{}`, slot {}: ours is {}, libbpf's is {}",
            self.function, self.slot, self.ours, self.theirs
        )
    }
}

/// Compares whole programs; `Ok` tells how many functions were held against each other.
///
/// # Errors
///
/// The first difference.
pub fn compare(ours: &LinkedProgram, theirs: &[Insn]) -> Result<usize, Difference> {
    let mut pairs = BTreeMap::from([(0, 0)]);
    let mut waiting = vec![(0, 0)];
    while let Some((our_start, their_start)) = waiting.pop() {
        let pair = FunctionPair::new(ours, our_start, theirs, their_start);
        for (our_callee, their_callee) in pair.callees()? {
            match pairs.insert(our_callee, their_callee) {
                None => waiting.push((our_callee, their_callee)),
                Some(known) if known == their_callee => {}
                Some(known) => {
                    return Err(Difference {
                        function: pair.name.to_owned(),
                        slot: 0,
                        ours: format!("one function at {our_callee}"),
                        theirs: format!("two, at {known} and {their_callee}"),
                    });
                }
            }
        }
    }
    Ok(pairs.len())
}

struct FunctionPair<'a> {
    name: &'a str,
    ours: &'a [Insn],
    our_start: usize,
    theirs: &'a [Insn],
    their_start: usize,
}

impl<'a> FunctionPair<'a> {
    fn new(
        program: &'a LinkedProgram,
        our_start: usize,
        theirs: &'a [Insn],
        their_start: usize,
    ) -> Self {
        let starts = || program.functions.iter().map(|each| each.start.get());
        let end = starts()
            .find(|start| *start > our_start)
            .unwrap_or(program.insns.len());
        let function = program
            .functions
            .iter()
            .find(|each| each.start.get() == our_start);
        Self {
            name: function.map_or("?", |function| &function.name),
            ours: &program.insns[our_start..end],
            our_start,
            theirs: theirs.get(their_start..).unwrap_or_default(),
            their_start,
        }
    }

    /// Compares the bodies and returns where calls lead, ours and theirs.
    fn callees(&self) -> Result<Vec<(usize, usize)>, Difference> {
        let mut callees = Vec::new();
        let mut slot = 0;
        while slot < self.ours.len() {
            let ours = self.ours[slot];
            let Some(theirs) = self.theirs.get(slot).copied() else {
                return Err(self.difference(slot, "there", "missing"));
            };
            if is_call_of_function(ours) && is_call_of_function(theirs) {
                callees.push(self.targets(slot, ours.imm, theirs.imm));
                slot += 1;
                continue;
            }
            let width = if ours.is_wide() { 2 } else { 1 };
            if ours.is_wide() && ours.src == opcode::PSEUDO_FUNC && theirs.src == ours.src {
                callees.push(self.targets(slot, ours.imm, theirs.imm));
            }
            for part in slot..slot + width {
                let ours = masked(self.ours, slot, part);
                let theirs = masked(self.theirs, slot, part);
                if ours != theirs {
                    return Err(self.difference(
                        part,
                        &format!("{ours:?}"),
                        &format!("{theirs:?}"),
                    ));
                }
            }
            slot += width;
        }
        Ok(callees)
    }

    fn targets(&self, slot: usize, our_distance: i32, their_distance: i32) -> (usize, usize) {
        let lead = |start: usize, distance: i32| {
            let target = (start + slot) as i64 + 1 + i64::from(distance);
            usize::try_from(target).unwrap_or(usize::MAX)
        };
        (
            lead(self.our_start, our_distance),
            lead(self.their_start, their_distance),
        )
    }

    fn difference(&self, slot: usize, ours: &str, theirs: &str) -> Difference {
        Difference {
            function: self.name.to_owned(),
            slot,
            ours: ours.to_owned(),
            theirs: theirs.to_owned(),
        }
    }
}

fn is_call_of_function(insn: Insn) -> bool {
    insn.opcode == CALL && insn.src == opcode::PSEUDO_CALL
}

/// One slot with everything taken out that differs from run to run; `head` is the first slot of its instruction.
fn masked(insns: &[Insn], head: usize, slot: usize) -> Option<Insn> {
    let first = *insns.get(head)?;
    let mut insn = *insns.get(slot)?;
    let is_second = slot != head;
    if first.is_wide() {
        match first.src {
            opcode::PSEUDO_MAP_FD | opcode::PSEUDO_FUNC | opcode::PSEUDO_BTF_ID => insn.imm = 0,
            opcode::PSEUDO_MAP_VALUE if !is_second => insn.imm = 0,
            _ => {}
        }
    }
    if insn.opcode == CALL && !is_second {
        if insn.src == opcode::PSEUDO_KFUNC_CALL {
            (insn.imm, insn.offset) = (0, 0);
        } else if insn.imm >= POISON {
            insn.imm = POISON;
        }
    }
    Some(insn)
}
