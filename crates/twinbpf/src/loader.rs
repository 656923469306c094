//! Loading: maps first, then programs, all or nothing or each on its own.

use twinbpf_object::spec::MapIndex;
use twinbpf_object::{
    Code, Diagnosis, Error, HoleKind, Linked, LinkedProgram, MapSpec, Object, Result,
};

use crate::engine::{Engine, inner_index, kernel_map, vm_map};
use crate::loaded::{LoadReport, Loaded, NotLoaded, NotLoadedReason, missing};
use crate::program::{Program, ProgramHandle};
use crate::raw_map::RawMap;

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
}

impl Engine {
    /// Prepares loading. Nothing happens before [`Loader::load`] or [`Loader::load_each`].
    pub fn loader<'a>(&'a self, linked: &'a Linked) -> Loader<'a> {
        Loader {
            engine: self,
            linked,
            reused: Vec::new(),
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

impl<'a> Loader<'a> {
    /// Uses a map that is there already instead of creating the object's map `name`. Its definition must agree.
    pub fn reuse(mut self, name: &'a str, map: &RawMap) -> Self {
        self.reused.push((name, map.clone()));
        self
    }

    /// Loads everything that is not switched off, or nothing.
    ///
    /// # Errors
    ///
    /// The first refusal in the object's order; further ones are listed among its facts. What was created is gone again.
    pub fn load(self) -> Result<Loaded> {
        let (loaded, report) = self.load_each()?;
        let mut refused = report
            .maps
            .into_iter()
            .chain(report.programs)
            .filter_map(|each| match each.reason {
                NotLoadedReason::Refused(error) => Some((each.name, error)),
                // A missing map was refused itself, and what is switched off is no failure.
                _ => None,
            });
        match refused.next() {
            None => Ok(loaded),
            Some((_, error)) => Err(error.map(|diagnosis| {
                refused.fold(diagnosis, |diagnosis, (_, also)| {
                    diagnosis.fact("also refused", also)
                })
            })),
        }
    }

    /// Loads what can be loaded, each map and program on its own, and says what was not and why.
    ///
    /// # Errors
    ///
    /// If a map given to [`Loader::reuse`] does not fit. Refusals are in the report.
    pub fn load_each(self) -> Result<(Loaded, LoadReport)> {
        self.check_reused()?;
        let maps = self.create_maps();
        let mut report = LoadReport::default();
        report
            .programs
            .extend(self.linked.left_out.iter().map(|left_out| NotLoaded {
                name: left_out.name.clone(),
                reason: NotLoadedReason::NotLinked(left_out.reason.clone()),
            }));
        let mut loaded = Loaded::default();
        for program in &self.linked.programs {
            match self.load_program(program, &maps) {
                Ok(program) => loaded.programs.push(program),
                Err(reason) => report.programs.push(NotLoaded {
                    name: program.name.clone(),
                    reason,
                }),
            }
        }
        for variable in &self.linked.variables {
            if let Some(Ok(map)) = maps.get(variable.map.0) {
                loaded.variables.push((variable.clone(), map.clone()));
            }
        }
        for (spec, map) in self.linked.maps.iter().zip(maps) {
            let name = spec.name.clone();
            match map {
                Ok(map) => loaded.maps.push((name, map)),
                Err(reason) => report.maps.push(NotLoaded { name, reason }),
            }
        }
        Ok((loaded, report))
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
            agrees(spec, map.spec())?;
        }
        Ok(())
    }

    /// One outcome per map, in the object's order. Templates of inner maps come before the maps that name them.
    fn create_maps(&self) -> Vec<Outcome<RawMap>> {
        let specs = &self.linked.maps;
        let mut maps: Vec<Option<Outcome<RawMap>>> = specs.iter().map(|_| None).collect();
        let (templated, plain): (Vec<usize>, Vec<usize>) =
            (0..specs.len()).partition(|index| inner_index(&specs[*index]).is_some());
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
        // Every index is in one of the two lists, so nothing is left out.
        maps.into_iter().flatten().collect()
    }

    fn create_map(&self, spec: &MapSpec, inner: Option<&RawMap>) -> Outcome<RawMap> {
        match self.reused.iter().find(|(name, _)| spec.name == *name) {
            Some((_, map)) => Ok(map.clone()),
            None => self
                .engine
                .create_map_like(spec, inner)
                .map_err(NotLoadedReason::Refused),
        }
    }

    fn load_program(&self, program: &LinkedProgram, maps: &[Outcome<RawMap>]) -> Outcome<Program> {
        if !program.autoload {
            return Err(NotLoadedReason::SwitchedOff);
        }
        let (renumbered, used) = self.renumber(program, maps)?;
        let program = renumbered.as_ref().unwrap_or(program);
        self.hand_over(program, &used)
            .map_err(NotLoadedReason::Refused)
    }

    fn hand_over(&self, program: &LinkedProgram, maps: &[RawMap]) -> Result<Program> {
        let license = self.linked.license.as_deref();
        match self.engine {
            Engine::Kernel(kernel) => {
                let maps: Vec<_> = maps.iter().filter_map(kernel_map).cloned().collect();
                kernel
                    .load_program(program, &maps, license, self.linked.version)
                    .map(|program| Program(ProgramHandle::Kernel(program)))
            }
            Engine::Vm(vm) => {
                let maps: Vec<_> = maps.iter().filter_map(vm_map).cloned().collect();
                let program = vm.load_program(program, &maps)?;
                let vm = vm.clone();
                Ok(Program(ProgramHandle::Vm { vm, program }))
            }
        }
    }

    /// The maps to hand over. An engine takes a slice without gaps, so if a map of the object could not be created, the
    /// program's references are numbered anew; a program that needs the missing map is not loaded.
    fn renumber(
        &self,
        program: &LinkedProgram,
        maps: &[Outcome<RawMap>],
    ) -> Outcome<(Option<LinkedProgram>, Vec<RawMap>)> {
        let present: Vec<RawMap> = maps.iter().flatten().cloned().collect();
        if present.len() == maps.len() {
            return Ok((None, present));
        }
        let mut renumbered = program.clone();
        for hole in &mut renumbered.holes {
            let (HoleKind::Map(index) | HoleKind::MapValue { map: index, .. }) = &mut hole.kind
            else {
                continue;
            };
            if let Some(Err(_)) = maps.get(index.0) {
                let map = self.linked.maps[index.0].name.clone();
                return Err(NotLoadedReason::MapMissing { map });
            }
            *index = MapIndex(maps.iter().take(index.0).flatten().count());
        }
        Ok((Some(renumbered), present))
    }
}

/// A map to be reused must be what the object defines; the first field that differs is named.
fn agrees(wanted: &MapSpec, has: &MapSpec) -> Result<()> {
    let fields = [
        ("type", wanted.kind.to_string(), has.kind.to_string()),
        (
            "key size",
            wanted.key_size.to_string(),
            has.key_size.to_string(),
        ),
        (
            "value size",
            wanted.value_size.to_string(),
            has.value_size.to_string(),
        ),
        (
            "max_entries",
            wanted.max_entries.to_string(),
            has.max_entries.to_string(),
        ),
        (
            "flags",
            format!("{:#x}", wanted.flags.0),
            format!("{:#x}", has.flags.0),
        ),
    ];
    match fields.iter().find(|(_, wanted, has)| wanted != has) {
        None => Ok(()),
        Some((field, wanted_value, has_value)) => {
            let message = format!(
                "the map to be reused does not fit: {field} is {has_value}, the object wants {wanted_value}"
            );
            Err(Diagnosis::new(Code::USAGE, message)
                .in_map(&wanted.name)
                .into())
        }
    }
}

fn no_template(spec: &MapSpec) -> Error {
    let message =
        "the map that its inner maps should look like is a map of maps itself, or missing";
    Diagnosis::new(Code::MAP_INVALID, message)
        .in_map(&spec.name)
        .into()
}
