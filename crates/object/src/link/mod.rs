//! From an object to programs an engine can load: functions gathered, calls resolved, holes named.

mod config_value;
mod externs;
mod fit;
mod gather;
mod hole;
mod lines;
mod resolve;

pub use hole::{Hole, HoleKind, ProgramTarget};
pub use lines::SourceLines;

pub use crate::core::Unavailable;
pub use crate::target::Target;

use crate::abi::{AttachKind, ProgramKind, nearest_section};
use crate::btf::{TypeId, Upload};
use crate::core::Adapted;
use crate::diagnosis::{Code, Diagnosis, Error, Result, SourceLine};
use crate::insn::{Insn, InsnIndex};
use crate::spec::{ByteOrder, MapSpec, Object, ProgramSpec, Variable};

use externs::Externs;

/// Most instructions all programs of one object may have together. A program's subprograms are copied behind it, so
/// without a limit a small object could ask for the square of its size.
const MOST_INSNS: usize = 1 << 24;

/// Links every program of an object: its functions gathered, calls resolved, everything live left as a hole.
///
/// Instructions with a hole have their source field set to the kind of the hole and their immediates to zero (map,
/// function) or to the offset (map value). Calls between functions are complete and need no hole.
///
/// # Errors
///
/// If a program refers to something that neither the object nor the target has (a symbol, a function, variable or
/// configuration value of the kernel that is not weak), if the object is for the other byte order, or if a CO-RE
/// relocation is malformed, ambiguous, or the target's types are needed and not known.
/// What only a program that is not loaded by itself lacks goes to [`Linked::left_out`] instead.
///
/// # Examples
///
/// ```
/// use twinbpf_object::{Object, Target, link};
///
/// let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/bpf/sockex1_legacy20.bpf.o");
/// let object = Object::parse(&std::fs::read(path)?)?;
/// let target = Target::new(4, 4096, 0x0006_1200);
/// let linked = link(&object, &target)?;
/// assert_eq!(linked.programs[0].holes.len(), 1); // the map
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn link(object: &Object, target: &Target) -> Result<Linked> {
    let mut linked = link_each(object, target)?;
    match linked.left_out.iter().position(|each| each.autoload) {
        None => Ok(linked),
        Some(position) => Err(linked.left_out.swap_remove(position).reason),
    }
}

/// Links what can be linked, each program on its own: as [`link()`], except that a program which cannot be linked goes to
/// [`Linked::left_out`] even if it is to be loaded, and takes no other with it.
///
/// # Errors
///
/// If nothing of the object can be linked: it is for machines of the other byte order, or its programs are too large together.
pub fn link_each(object: &Object, target: &Target) -> Result<Linked> {
    check_byte_order(object)?;
    let mut linked = Linked {
        license: object.license.clone(),
        version: object.version,
        maps: object
            .maps
            .iter()
            .map(|map| fit::fit(map, target))
            .collect(),
        variables: object.variables.clone(),
        upload: object.upload.clone(),
        programs: Vec::with_capacity(object.programs.len()),
        left_out: Vec::new(),
    };
    let resolution = Resolution {
        adapted: Adapted::new(object, target),
        externs: Externs::new(object, target, &mut linked.maps),
    };
    linked.variables.extend(externs::variables(object));
    let mut total: usize = 0;
    for program in &object.programs {
        match link_program(object, program, &resolution) {
            Ok(program) => {
                total = total.saturating_add(program.insns.len());
                check_total(total)?;
                linked.programs.push(program);
            }
            Err(reason) => linked.left_out.push(LeftOut {
                name: program.name.clone(),
                section: program.section.clone(),
                autoload: program.autoload,
                reason,
            }),
        }
    }
    Ok(linked)
}

/// What the target has for the object, the same for all its programs.
struct Resolution {
    adapted: Adapted,
    externs: Externs,
}

fn link_program(
    object: &Object,
    program: &ProgramSpec,
    resolution: &Resolution,
) -> Result<LinkedProgram> {
    let gathered = gather::gather(object, program)?;
    let resolved = resolve::resolve(object, program, &gathered, resolution)?;
    Ok(LinkedProgram {
        name: program.name.clone(),
        section: program.section.clone(),
        kind: program.kind,
        attach: program.attach,
        attach_target: program.attach_target.clone(),
        is_sleepable: program.is_sleepable,
        load_flags: program.load_flags,
        autoload: program.autoload,
        target: ProgramTarget::of(object, program),
        insns: resolved.insns,
        functions: gathered.functions(object, program),
        exception_handler: program
            .exception_handler
            .and_then(|handler| gathered.start_of(handler)),
        holes: resolved.holes,
        lines: resolved.lines,
        unavailable: resolved.unavailable,
    })
}

/// Programs read memory in the order they were compiled for, and both engines run on this machine.
fn check_byte_order(object: &Object) -> Result<()> {
    let host = ByteOrder::HOST;
    if object.byte_order == host {
        return Ok(());
    }
    let message = format!(
        "this is a {} object and the host is {host}",
        object.byte_order
    );
    Err(Diagnosis::new(Code::UNSUPPORTED_REFERENCE, message)
        .help("compile with `-target bpf`, which means the host's byte order")
        .into())
}

fn check_total(total: usize) -> Result<()> {
    if total <= MOST_INSNS {
        return Ok(());
    }
    let message = format!("the programs have more than {MOST_INSNS} instructions together");
    Err(Diagnosis::new(Code::LINK_TOO_LARGE, message).into())
}

/// An object, linked: what an engine loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linked {
    /// Text of the license, if there is one.
    pub license: Option<String>,
    /// Number of the `version` section.
    pub version: Option<u32>,
    /// Maps in the object's order. [`HoleKind::Map`] points here.
    pub maps: Vec<MapSpec>,
    /// Global variables; each lies in one of the maps.
    pub variables: Vec<Variable>,
    /// The object's types as the kernel takes them: those of functions, lines, keys and values.
    pub upload: Option<Upload>,
    /// Programs in the object's order.
    pub programs: Vec<LinkedProgram>,
    /// Programs that could not be linked. From [`link()`] only those that need not be, because the object does not load them
    /// by itself (`SEC("?..")`).
    pub left_out: Vec<LeftOut>,
}

impl Linked {
    /// A program without any object around it: no license, no maps.
    pub fn from_program(program: LinkedProgram) -> Self {
        Self {
            license: None,
            version: None,
            maps: Vec::new(),
            variables: Vec::new(),
            upload: None,
            programs: vec![program],
            left_out: Vec::new(),
        }
    }
}

/// A program that is not among the linked ones, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// The program's name.
    pub name: String,
    /// The section it came from.
    pub section: String,
    /// Whether it was to be loaded with the object.
    pub autoload: bool,
    /// What is wrong with it.
    pub reason: Error,
}

/// One program with everything it calls behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedProgram {
    /// The program's name.
    pub name: String,
    /// The section it came from.
    pub section: String,
    /// Its kind; `None` if neither section nor caller says.
    pub kind: Option<ProgramKind>,
    /// Where within its kind it attaches.
    pub attach: Option<AttachKind>,
    /// What follows the slash in the section name.
    pub attach_target: Option<String>,
    /// Whether it may sleep.
    pub is_sleepable: bool,
    /// Further flags for the kernel's `BPF_PROG_LOAD`, as numbers; 0 unless the caller sets some.
    pub load_flags: u32,
    /// Whether it is loaded with the object.
    pub autoload: bool,
    /// What else of the engine the program as a whole refers to.
    pub target: ProgramTarget,
    /// Entry function first, then every function it reaches, each once.
    pub insns: Vec<Insn>,
    /// Where each function starts, ascending; the first is the entry at 0.
    pub functions: Vec<LinkedFunction>,
    /// Where the function starts that runs when the program throws an exception.
    pub exception_handler: Option<InsnIndex>,
    /// What the engine has to fill in, ascending by instruction.
    pub holes: Vec<Hole>,
    /// Where the instructions come from in the source.
    pub lines: SourceLines,
    /// Instructions that the target has nothing for, ascending: each is a call that no engine has.
    pub unavailable: Vec<Unavailable>,
}

impl LinkedProgram {
    /// A program without any object: its instructions are one function, and nothing is to be filled in.
    pub fn from_insns(name: &str, kind: ProgramKind, insns: Vec<Insn>) -> Self {
        let function = LinkedFunction {
            name: name.to_owned(),
            start: InsnIndex(0),
            type_id: None,
        };
        Self {
            name: name.to_owned(),
            section: String::new(),
            kind: Some(kind),
            attach: None,
            attach_target: None,
            is_sleepable: false,
            load_flags: 0,
            autoload: true,
            target: ProgramTarget::None,
            insns,
            functions: vec![function],
            exception_handler: None,
            holes: Vec::new(),
            lines: SourceLines::default(),
            unavailable: Vec::new(),
        }
    }

    /// The source line that an instruction comes from, if the object says so.
    pub fn source_line(&self, at: InsnIndex) -> Option<SourceLine> {
        let function = self.functions.iter().rev().find(|each| each.start <= at);
        self.lines
            .find(at, function.map_or(InsnIndex(0), |each| each.start))
    }

    /// What is missing, if the target has nothing for an instruction.
    pub fn unavailable_at(&self, at: InsnIndex) -> Option<&Unavailable> {
        self.unavailable.iter().find(|each| each.at == at)
    }

    /// Why an instruction is unavailable, if the target has nothing for it.
    pub fn unavailable_reason(&self, at: InsnIndex) -> Option<&str> {
        self.unavailable_at(at).map(|found| found.reason.as_str())
    }

    /// What to say where the program's type is needed and neither section nor caller names one.
    pub fn type_missing(&self) -> Error {
        let name = self.section.trim_start_matches('?');
        let message = format!("section `{name}` names no program type, and none was given");
        let diagnosis = Diagnosis::new(Code::PROGRAM_UNTYPED, message).in_program(&self.name);
        let slip = (name.len() <= LONGEST_SLIP)
            .then(|| nearest_section(name))
            .flatten();
        let diagnosis = match slip {
            Some(near) => diagnosis.help(format!("did you mean SEC(\"{near}\")?")),
            None => diagnosis,
        };
        diagnosis
            .help("or name the type when loading, for example `--type socket_filter`")
            .into()
    }
}

/// Longer section names are no typing slips of known ones.
const LONGEST_SLIP: usize = 64;

/// A function within a linked program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedFunction {
    /// Its name.
    pub name: String,
    /// Its first instruction.
    pub start: InsnIndex,
    /// Its type in the object's BTF, if that has one.
    pub type_id: Option<TypeId>,
}
