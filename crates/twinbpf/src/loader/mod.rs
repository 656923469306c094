//! Loading: maps first, then programs on all CPUs, all or nothing or each on its own.
//!
//! ```text
//! plan.rs      what is wanted, and which program waits for which
//! fit.rs       whether a map that exists already may be used
//! parallel.rs  jobs that wait for each other
//! pins.rs      maps shared with the loads before and after
//! slots.rs     maps and programs put into the maps that hold them
//! ```

mod fit;
mod parallel;
mod pins;
mod plan;
mod slots;

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use twinbpf_kernel::{KernelBtf, LoadContext, Token};
use twinbpf_object::link::LeftOut;
use twinbpf_object::spec::MapIndex;
use twinbpf_object::{
    Code, Diagnosis, Error, HoleKind, Linked, LinkedProgram, MapSpec, Object, Result,
};

use crate::engine::{Engine, Given, inner_index, kernel_map, vm_map};
use crate::loaded::{LoadReport, Loaded, NotLoaded, NotLoadedReason, ObjectTypes, missing};
use crate::program::{Program, ProgramHandle};
use crate::raw_map::RawMap;

use pins::Pin;
use plan::Plan;

/// Loads a linked object. Made by [`Engine::loader`].
///
/// ```
/// use twinbpf::{Engine, Object};
///
/// let mut object = Object::parse(&std::fs::read("examples/sockex1/sockex1.bpf.o")?)?;
/// object.programs[0].autoload = false; // an object is data: edit what is to be loaded
///
/// let engine = Engine::vm()?;
/// let linked = twinbpf::link(&object, &engine.target(&object.needs())?)?;
/// let (loaded, report) = engine.loader(&linked).load_each()?;
/// assert_eq!(loaded.maps().count(), 1);
/// assert_eq!(report.programs[0].to_string(), "`count_outgoing`: loading it is switched off");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is loaded before `load` or `load_each`"]
pub struct Loader<'a> {
    engine: &'a Engine,
    linked: &'a Linked,
    reused: Vec<(&'a str, RawMap)>,
    only: Option<Only<'a>>,
    pin_root: Option<&'a Path>,
    token: Option<&'a Token>,
    /// By program of the object: the live one that it replaces a function of, or traces.
    targets: Vec<(&'a str, Program)>,
    /// The object's types in the kernel, once loading has begun.
    types: Option<KernelBtf>,
}

/// The one program to load.
#[derive(Debug, Clone, Copy)]
enum Only<'a> {
    Name(&'a str),
    Position(usize),
}

impl Engine {
    /// Prepares loading. Nothing happens before [`Loader::load`] or [`Loader::load_each`].
    pub fn loader<'a>(&'a self, linked: &'a Linked) -> Loader<'a> {
        Loader {
            engine: self,
            linked,
            reused: Vec::new(),
            only: None,
            pin_root: None,
            token: None,
            targets: Vec::new(),
            types: None,
        }
    }

    /// Links an object for this engine and loads it, all or nothing.
    ///
    /// # Errors
    ///
    /// The first thing that failed: a reference, a map, a program.
    pub fn load_object(&self, object: &Object) -> Result<Loaded> {
        let target = self.target(&object.needs())?;
        let linked = twinbpf_object::link::link(object, &target)?;
        self.loader(&linked).load()
    }
}

/// What became of one thing to be loaded.
type Outcome<T> = Result<T, NotLoadedReason>;

/// What became of each map of the object; `None` if it was not wanted.
type Maps = [Option<Outcome<RawMap>>];

impl<'a> Loader<'a> {
    /// Uses a map that is there already instead of creating the object's map `name`. Its definition must agree.
    pub fn reuse(mut self, name: &'a str, map: &RawMap) -> Self {
        self.reused.push((name, map.clone()));
        self
    }

    /// Uses the maps pinned in this folder of a bpffs instead of creating those that the object wants pinned, if they are
    /// what the object defines; pins those that are new once everything is loaded. Without this nothing is pinned.
    ///
    /// A map that wants to be pinned by name is `ROOT/name`, one that iproute2 shares among all objects `ROOT/globals/name`.
    pub fn pin_root(mut self, root: &'a Path) -> Self {
        self.pin_root = Some(root);
        self
    }

    /// Says that the program `name` of the object replaces (`freplace`) or traces (`fentry`, `fexit`) a function of `target`, which
    /// is loaded; its section names the function. The kernel verifies it for that program and no other.
    pub fn target(mut self, name: &'a str, target: &Program) -> Self {
        self.targets.push((name, target.clone()));
        self
    }

    /// Hands this token over with every request, in place of privileges that the process lacks. The vm needs none.
    pub fn token(mut self, token: &'a Token) -> Self {
        self.token = Some(token);
        self
    }

    /// Loads the program with this name and no other, even if loading it is switched off, and creates only the maps it needs.
    /// Slots of prog arrays stay empty.
    pub fn only(mut self, program: &'a str) -> Self {
        self.only = Some(Only::Name(program));
        self
    }

    /// As [`Loader::only`], for the program at this position of [`Linked::programs`](crate::Linked::programs).
    pub fn only_at(mut self, position: usize) -> Self {
        self.only = Some(Only::Position(position));
        self
    }

    /// Loads everything that is not switched off, or nothing.
    ///
    /// # Errors
    ///
    /// The first refusal in the object's order; further ones are listed among its facts. What was created is gone again.
    pub fn load(self) -> Result<Loaded> {
        let (loaded, report, pins) = self.load_unpinned()?;
        let maps = report.maps.into_iter().map(|each| each.reason);
        let programs = report.programs.into_iter().map(|each| each.reason);
        let slots = report.slots.into_iter().map(|each| each.reason);
        let reasons = maps.chain(programs).chain(slots);
        let mut refused = reasons.filter_map(NotLoadedReason::into_refusal);
        match refused.next() {
            None => pins::create(&pins).map(|()| loaded),
            Some(error) => Err(error.map(|diagnosis| {
                refused.fold(diagnosis, |diagnosis, also| {
                    diagnosis.fact("also refused", also)
                })
            })),
        }
    }

    /// Loads what can be loaded, each map and program on its own, and says what was not and why.
    ///
    /// # Errors
    ///
    /// If a map given to [`Loader::reuse`] or pinned already does not fit, or a new one cannot be pinned. Refusals are in the
    /// report.
    pub fn load_each(self) -> Result<(Loaded, LoadReport)> {
        let (loaded, report, pins) = self.load_unpinned()?;
        pins::create(&pins)?;
        Ok((loaded, report))
    }

    /// Loads what can be loaded, and leaves the pins to be made to whoever decides whether that was enough.
    fn load_unpinned(mut self) -> Result<(Loaded, LoadReport, Vec<Pin>)> {
        self.check_reused()?;
        let plan = Plan::new(self.linked, self.selected()?);
        if let Some(root) = self.pin_root {
            let named = self.reused.iter().map(|(name, _)| *name);
            let open = plan.maps_without(self.linked, named);
            let pinned = pins::open(self.engine, root, self.linked, &open)?;
            self.reused.extend(pinned);
        }
        let types = self.engine.load_types(self.linked, self.token);
        let refused_types = types.as_ref().err().cloned();
        self.types = types.ok().flatten();
        let maps = self.create_maps(&plan);
        let is_new = |spec: &MapSpec| self.reused_map(spec).is_none();
        let mut slots = slots::put_maps(self.linked, &maps, is_new);
        let programs = self.load_programs(&plan, &maps);
        if self.only.is_none() {
            slots.extend(slots::put_programs(self.linked, &maps, &programs));
        }
        let (loaded, mut report) = self.sort(maps, programs);
        report.slots = slots;
        report.types = refused_types;
        let pins = self.pins_of(&loaded);
        Ok((loaded, report, pins))
    }

    /// The maps that are new and want to be pinned.
    fn pins_of(&self, loaded: &Loaded) -> Vec<Pin> {
        let Some(root) = self.pin_root else {
            return Vec::new();
        };
        let created = loaded.maps.iter().map(|(_, map)| map);
        created
            .filter(|map| self.reused_map(map.spec()).is_none())
            .filter_map(|map| Some((pins::place(root, map.spec())?, map.clone())))
            .collect()
    }

    /// What is live and what is not, each in the object's order.
    fn sort(
        &self,
        maps: Vec<Option<Outcome<RawMap>>>,
        programs: Vec<Option<Outcome<Program>>>,
    ) -> (Loaded, LoadReport) {
        let (mut loaded, mut report) = (Loaded::default(), LoadReport::default());
        loaded.kernel = match self.engine {
            Engine::Kernel(kernel) => Some(kernel.clone()),
            Engine::Vm(_) => None,
        };
        loaded.types = self.linked.upload.clone().map(|all| ObjectTypes {
            all,
            of_maps: self
                .linked
                .maps
                .iter()
                .map(|spec| (spec.name.clone(), spec.types))
                .collect(),
        });
        if self.only.is_none() {
            let left_out = self.linked.left_out.iter().map(left_out);
            report.programs.extend(left_out);
        }
        for (program, outcome) in self.linked.programs.iter().zip(programs) {
            let name = program.name.clone();
            match outcome {
                Some(Ok(program)) => loaded.programs.push(program),
                Some(Err(reason)) => report.programs.push(NotLoaded { name, reason }),
                None if self.only.is_some() => {}
                None => report.programs.push(NotLoaded {
                    name,
                    reason: NotLoadedReason::SwitchedOff(None),
                }),
            }
        }
        for variable in &self.linked.variables {
            if let Some(Some(Ok(map))) = maps.get(variable.map.0) {
                loaded.variables.push((variable.clone(), map.clone()));
            }
        }
        for (spec, map) in self.linked.maps.iter().zip(maps) {
            let name = spec.name.clone();
            match map {
                Some(Ok(map)) => loaded.maps.push((name, map)),
                Some(Err(reason)) => report.maps.push(NotLoaded { name, reason }),
                None => {}
            }
        }
        (loaded, report)
    }

    /// The position of the one program that was asked for.
    fn selected(&self) -> Result<Option<usize>> {
        let programs = &self.linked.programs;
        let found = match self.only {
            None => return Ok(None),
            Some(Only::Position(position)) if position < programs.len() => Some(position),
            Some(Only::Position(position)) => {
                let message = format!(
                    "there is no program {position}, there are {}",
                    programs.len()
                );
                return Err(Diagnosis::new(Code::PROGRAM_NOT_FOUND, message).into());
            }
            Some(Only::Name(name)) => programs.iter().position(|each| each.name == name),
        };
        match (found, self.only) {
            (None, Some(Only::Name(name))) => Err(self.not_there(name)),
            (found, _) => Ok(found),
        }
    }

    /// A program that could not be linked is there, with its reason.
    fn not_there(&self, name: &str) -> Error {
        let left_out = self.linked.left_out.iter().find(|each| each.name == name);
        match left_out {
            Some(left_out) => left_out.reason.clone(),
            None => {
                let names = self.linked.programs.iter().map(|each| each.name.as_str());
                missing(Code::PROGRAM_NOT_FOUND, "program", name, names)
            }
        }
    }

    /// Every reused map belongs to the same engine and agrees with the definition it stands for.
    fn check_reused(&self) -> Result<()> {
        for (name, map) in &self.reused {
            let Some(spec) = self.linked.maps.iter().find(|spec| spec.name == *name) else {
                let names = self.linked.maps.iter().map(|spec| spec.name.as_str());
                return Err(missing(Code::MAP_NOT_FOUND, "map", name, names));
            };
            if map.engine() != self.engine.kind() {
                let message = format!(
                    "the map to be reused belongs to the {}, not to the {}",
                    map.engine(),
                    self.engine.kind()
                );
                return Err(Diagnosis::new(Code::USAGE, message).in_map(name).into());
            }
            fit::agrees(spec, map.spec())?;
        }
        Ok(())
    }

    fn reused_map(&self, spec: &MapSpec) -> Option<&RawMap> {
        let found = self.reused.iter().find(|(name, _)| spec.name == *name);
        found.map(|(_, map)| map)
    }

    /// One outcome per map, in the object's order; `None` for maps that are not wanted. Templates of inner maps come before
    /// the maps that name them.
    fn create_maps(&self, plan: &Plan) -> Vec<Option<Outcome<RawMap>>> {
        let specs = &self.linked.maps;
        let mut maps: Vec<Option<Outcome<RawMap>>> = specs.iter().map(|_| None).collect();
        let wanted = (0..specs.len()).filter(|index| plan.maps[*index]);
        let (templated, plain): (Vec<usize>, Vec<usize>) =
            wanted.partition(|index| inner_index(&specs[*index]).is_some());
        for index in plain {
            maps[index] = Some(self.create_map(&specs[index], None));
        }
        for index in templated {
            let inner = inner_index(&specs[index]).unwrap_or(usize::MAX);
            let created = match maps.get(inner) {
                Some(Some(Ok(template))) => self.create_map(&specs[index], Some(template)),
                Some(Some(Err(_))) => Err(NotLoadedReason::MapMissing {
                    map: specs[inner].name.clone(),
                }),
                _ => Err(NotLoadedReason::Refused(no_template(&specs[index]))),
            };
            maps[index] = Some(created);
        }
        maps
    }

    fn create_map(&self, spec: &MapSpec, inner: Option<&RawMap>) -> Outcome<RawMap> {
        match self.reused_map(spec) {
            Some(map) => Ok(map.clone()),
            None => self
                .engine
                .create_map_like(spec, inner, &self.given())
                .map_err(NotLoadedReason::Refused),
        }
    }

    /// One outcome per program, in the object's order; `None` for those that are not wanted. Programs that need not wait for
    /// each other are loaded at the same time.
    fn load_programs(&self, plan: &Plan, maps: &Maps) -> Vec<Option<Outcome<Program>>> {
        let (wanted, after) = plan.jobs();
        let outcomes = parallel::run(&after, |job| {
            self.load_program(&self.linked.programs[wanted[job]], maps)
        });
        let mut all: Vec<_> = plan.programs.iter().map(|_| None).collect();
        for (position, outcome) in wanted.into_iter().zip(outcomes) {
            all[position] = Some(outcome);
        }
        all
    }

    fn load_program(&self, program: &LinkedProgram, maps: &Maps) -> Outcome<Program> {
        let (renumbered, used) = self.renumber(program, maps)?;
        let program = renumbered.as_ref().unwrap_or(program);
        self.hand_over(program, &used)
            .map_err(NotLoadedReason::Refused)
    }

    /// What goes with every request.
    fn given(&self) -> Given<'_> {
        Given {
            types: self.types.as_ref(),
            token: self.token,
        }
    }

    fn hand_over(&self, program: &LinkedProgram, maps: &[RawMap]) -> Result<Program> {
        match self.engine {
            Engine::Kernel(kernel) => {
                let maps: Vec<_> = maps.iter().filter_map(kernel_map).cloned().collect();
                let context = LoadContext {
                    maps: &maps,
                    license: self.linked.license.as_deref(),
                    version: self.linked.version,
                    types: self.types.as_ref(),
                    token: self.token.map(AsFd::as_fd),
                    replaces: self.target_of(program)?,
                };
                kernel
                    .load_program(program, &context)
                    .map(|loaded| Program::new(ProgramHandle::Kernel(loaded), program))
            }
            Engine::Vm(vm) => {
                let maps: Vec<_> = maps.iter().filter_map(vm_map).cloned().collect();
                let handle = ProgramHandle::Vm {
                    vm: vm.clone(),
                    program: vm.load_program(program, &maps)?,
                };
                Ok(Program::new(handle, program))
            }
        }
    }

    /// The live program that this one is verified for, if one was given.
    fn target_of(&self, program: &LinkedProgram) -> Result<Option<BorrowedFd<'_>>> {
        let found = self.targets.iter().find(|(name, _)| program.name == *name);
        match found.map(|(_, target)| &target.handle) {
            None => Ok(None),
            Some(ProgramHandle::Kernel(target)) => Ok(Some(target.as_fd())),
            Some(ProgramHandle::Vm { .. }) => {
                let message = "the program given as target belongs to the vm, not to the kernel";
                Err(Diagnosis::new(Code::USAGE, message)
                    .in_program(&program.name)
                    .into())
            }
        }
    }

    /// The maps to hand over. An engine takes a slice without gaps, so if a map of the object is not there, the program's
    /// references are numbered anew; a program that needs the missing map is not loaded.
    fn renumber(
        &self,
        program: &LinkedProgram,
        maps: &Maps,
    ) -> Outcome<(Option<LinkedProgram>, Vec<RawMap>)> {
        let present: Vec<RawMap> = maps.iter().flatten().flatten().cloned().collect();
        if present.len() == maps.len() {
            return Ok((None, present));
        }
        // By map: how many before it are there.
        let mut position = 0;
        let positions: Vec<usize> = maps
            .iter()
            .map(|map| {
                let here = position;
                position += usize::from(matches!(map, Some(Ok(_))));
                here
            })
            .collect();
        let mut renumbered = program.clone();
        for hole in &mut renumbered.holes {
            let (HoleKind::Map(index) | HoleKind::MapValue { map: index, .. }) = &mut hole.kind
            else {
                continue;
            };
            if let Some(Some(Err(_))) = maps.get(index.0) {
                let map = self.linked.maps[index.0].name.clone();
                return Err(NotLoadedReason::MapMissing { map });
            }
            // An index beyond the object's maps stays what it is: the engine says so.
            let beyond = index.0.saturating_sub(maps.len());
            let known = positions.get(index.0).copied();
            *index = MapIndex(known.unwrap_or(position.saturating_add(beyond)));
        }
        Ok((Some(renumbered), present))
    }
}

/// What became of a program that could not be linked.
fn left_out(program: &LeftOut) -> NotLoaded {
    let reason = program.reason.clone();
    NotLoaded {
        name: program.name.clone(),
        reason: match program.autoload {
            true => NotLoadedReason::NotLinked(reason),
            false => NotLoadedReason::SwitchedOff(Some(reason)),
        },
    }
}

fn no_template(spec: &MapSpec) -> Error {
    let message =
        "the map that its inner maps should look like is a map of maps itself, or missing";
    Diagnosis::new(Code::MAP_INVALID, message)
        .in_map(&spec.name)
        .into()
}
