//! `twinbpf check`: each program of the objects loaded alone, and whether it was accepted.
//!
//! An object that cannot be read is a row like any other, and a program that is not accepted takes none with it: whatever is
//! given, every object and program has its row.

mod report;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use twinbpf::{Engine, Linked, MapKind, Object, ProgramSpec, Result, Target, Token, map_rules};

use crate::choice::{NamedEngine, TypeChoice};
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};
use crate::program_types;
use crate::target_choice::{TargetArgs, TargetChoice};

use report::{Checked, CheckedObject, Report};

/// What `check` is told.
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// The BPF object files
    #[arg(required = true, value_name = "OBJECT")]
    objects: Vec<PathBuf>,

    /// Where to load them
    #[arg(long, value_enum, default_value_t = NamedEngine::Kernel)]
    engine: NamedEngine,

    /// Program type, of the programs in SECTION, or of those whose section says none
    #[arg(long = "type", value_name = "[SECTION=]TYPE", value_parser = TypeChoice::parse)]
    types: Vec<TypeChoice>,

    /// Check only this program of the objects; may be given several times
    #[arg(long = "program", value_name = "NAME")]
    programs: Vec<String>,

    /// Load with what the bpffs mounted at this folder lends to this user namespace (a BPF token); kernel only
    #[arg(long, value_name = "BPFFS")]
    token: Option<PathBuf>,

    /// Entries of maps whose size the object leaves open, to be set by its own loader
    #[arg(long, value_name = "NUMBER")]
    entries: Option<u32>,

    #[command(flatten)]
    target: TargetArgs,

    /// Print each diagnosis whole
    #[arg(long, short)]
    verbose: bool,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    /// Print the verifier's log whole
    #[arg(long)]
    pub(crate) log: bool,
}

/// Loads each program of each object alone.
pub(crate) fn check(args: &CheckArgs, output: &Output) -> Result<Exit, Failure> {
    let target = args.target.read()?;
    let engine = args.engine.open()?;
    let token = args.token.as_deref().map(Token::create).transpose()?;
    let checker = Checker {
        args,
        engine,
        target,
        token,
    };
    let objects = args.objects.iter().map(|path| checker.object(path));
    let report = Report {
        engine: checker.engine.kind(),
        objects: objects.collect(),
    };
    if output.wants_json() {
        output.document(&report.document())?;
    } else {
        output.data(&report.text(args.verbose, args.log))?;
        output.talk(&report.summary());
    }
    Ok(report.exit())
}

/// What is the same for every object.
struct Checker<'a> {
    args: &'a CheckArgs,
    engine: Engine,
    target: TargetChoice,
    token: Option<Token>,
}

impl Checker<'_> {
    fn object(&self, path: &Path) -> CheckedObject {
        let mut checked = CheckedObject {
            file: path.display().to_string(),
            error: None,
            warnings: Vec::new(),
            programs: Vec::new(),
        };
        let object = object_file::read(path).and_then(|object| self.prepare(object));
        let result = object.and_then(|mut object| {
            checked.warnings = std::mem::take(&mut object.warnings);
            self.programs(&object)
        });
        match result {
            Ok(programs) => checked.programs = programs,
            Err(error) => checked.error = Some(error.in_file(&checked.file)),
        }
        checked
    }

    /// Gives programs their types; a choice that fits nothing is an error only where it cannot be meant for another object.
    fn prepare(&self, mut object: Object) -> Result<Object> {
        if self.args.objects.len() == 1 {
            program_types::apply(&mut object, &self.args.types)?;
            return Ok(object);
        }
        for choice in &self.args.types {
            program_types::apply_one(&mut object, choice);
        }
        Ok(object)
    }

    /// One row per program, in the object's order.
    fn programs(&self, object: &Object) -> Result<Vec<Checked>> {
        let target = self.target.target(&self.engine, &object.needs())?;
        let mut linked = twinbpf::link_each(object, &target)?;
        if let Some(entries) = self.args.entries {
            give_entries(&mut linked, entries, &target);
        }
        let mut position = 0;
        let mut left_out = linked.left_out.iter();
        let mut rows = Vec::with_capacity(object.programs.len());
        for program in &object.programs {
            // The linked programs and those left out are each in the object's order.
            let next = linked.programs.get(position);
            let is_linked = next
                .is_some_and(|next| next.name == program.name && next.section == program.section);
            let row = if is_linked {
                position += 1;
                self.is_wanted(program)
                    .then(|| self.load(program, &linked, position - 1))
            } else {
                let reason = left_out.next().map(|each| each.reason.clone());
                self.is_wanted(program)
                    .then(|| Checked::not_linked(program, object, reason))
            };
            rows.extend(row);
        }
        Ok(rows)
    }

    fn is_wanted(&self, program: &ProgramSpec) -> bool {
        self.args.programs.is_empty() || self.args.programs.contains(&program.name)
    }

    /// Loads one program, on maps of its own, and lets it go.
    fn load(&self, program: &ProgramSpec, linked: &Linked, position: usize) -> Checked {
        let start = Instant::now();
        let mut loader = self.engine.loader(linked).only_at(position);
        if let Some(token) = &self.token {
            loader = loader.token(token);
        }
        let result = loader.load();
        let time = start.elapsed();
        let insns = linked
            .programs
            .get(position)
            .map_or(0, |each| each.insns.len());
        let result = result.map(|loaded| {
            let program = loaded.programs().next();
            program.and_then(twinbpf::Program::verified_insns)
        });
        Checked::new(program, insns, time, result)
    }
}

/// `kernel.perf_event_max_stack`, where nobody changed it.
const USUAL_STACK_FRAMES: u32 = 127;
const FRAME_BYTES: u32 = 8;

/// Gives the maps that cannot be created without a size one.
fn give_entries(linked: &mut Linked, entries: u32, target: &Target) {
    // Loaders of stack traces take the depth from the system; this is its usual one.
    for map in &mut linked.maps {
        if map.kind == MapKind::StackTrace && map.value_size == 0 {
            map.value_size = USUAL_STACK_FRAMES * FRAME_BYTES;
        }
    }
    for map in linked.maps.iter_mut().filter(|map| map.max_entries == 0) {
        let refusal = map_rules::check(map, target).err();
        if refusal.is_some_and(|refusal| refusal.attribute == "max_entries") {
            map.max_entries = match map.kind {
                MapKind::RingBuf | MapKind::UserRingBuf => target.page_size_bytes,
                MapKind::CpuMap => entries.min(target.cpu_slots),
                _ => entries,
            };
        }
    }
}
