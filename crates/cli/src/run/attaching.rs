//! Which program is attached where: as `--attach` says, else as its section does.
//!
//! ```text
//! --attach PROGRAM=HOOK   this program there, and nowhere else
//! --attach HOOK           every other program that such a hook takes, there
//! neither                 where the section says, with the interface and cgroup named; if that leaves it open, nowhere, and said so
//! ```

use twinbpf::hook::Places;
use twinbpf::{
    Code, Diagnosis, EngineKind, Error, Hook, Link, Loaded, Program, ProgramKind, Result,
};

use crate::args::RunArgs;
use crate::choice::HookChoice;

/// What the user said about hooks.
#[derive(Debug)]
pub(super) struct Attaching<'a> {
    choices: &'a [HookChoice],
    places: Places,
    /// Whether the run makes no sense if nothing is attached: there is a command whose doings are to be seen.
    must_attach: bool,
}

/// What became of it.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) links: Vec<Link>,
    /// One sentence for each program that stays where it is.
    pub(super) left: Vec<String>,
}

impl<'a> Attaching<'a> {
    pub(super) fn new(args: &'a RunArgs) -> Self {
        let is_private = !args.command.is_empty();
        let own = is_private.then(|| "lo".to_owned());
        Self {
            choices: &args.attach,
            places: Places {
                interface: args.interface.clone().or(own),
                cgroup: args.cgroup.clone(),
                socket_map: None,
            },
            must_attach: is_private,
        }
    }

    /// Why programs without a type are taken for socket filters, if they are.
    pub(super) fn wants_socket_filters(&self) -> Option<String> {
        let socket = self.choices.iter().find_map(|choice| match &choice.hook {
            hook @ Hook::Socket { .. } => Some(hook.clone()),
            _ => None,
        });
        let own = || {
            let is_open = self.choices.is_empty() && self.must_attach;
            is_open.then(|| Hook::socket("lo"))
        };
        let hook = socket.or_else(own)?;
        Some(format!("it is attached to {hook}"))
    }

    /// Attaches everything, or nothing.
    pub(super) fn attach(&self, loaded: &Loaded) -> Result<Attached> {
        self.check_names(loaded)?;
        let mut attached = Attached::default();
        for program in loaded.programs() {
            let hooks = self.chosen(program);
            if hooks.is_empty() {
                self.attach_by_section(program, &mut attached)?;
                continue;
            }
            for hook in hooks {
                attached.links.push(program.attach(hook)?);
            }
        }
        for table in loaded.tables() {
            attached.links.push(loaded.attach_table(table)?);
        }
        if attached.links.is_empty() && self.must_attach {
            return Err(no_program(loaded, &Hook::socket("lo")));
        }
        Ok(attached)
    }

    fn attach_by_section(&self, program: &Program, attached: &mut Attached) -> Result<()> {
        let link = match program.default_hook(&self.places) {
            Ok(Some(hook)) => program.attach(&hook),
            Ok(None) => return Ok(()),
            Err(error) => Err(error),
        };
        match link {
            Ok(link) => attached.links.push(link),
            // Nobody asked for this hook, so a vm that lacks it, or a section that leaves it open, is no failure.
            Err(error) if is_harmless(&error, program.engine()) => {
                let left = format!("not attached: {}", error.diagnosis().one_line());
                attached.left.push(left);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The hooks named for this program, else those named for all that take it.
    fn chosen(&self, program: &Program) -> Vec<&Hook> {
        let is_named = |choice: &&HookChoice| choice.program.as_deref() == Some(program.name());
        let named: Vec<&Hook> = self
            .choices
            .iter()
            .filter(is_named)
            .map(|choice| &choice.hook)
            .collect();
        if !named.is_empty() {
            return named;
        }
        let takes =
            |choice: &&HookChoice| choice.program.is_none() && choice.hook.takes(program.kind());
        self.choices
            .iter()
            .filter(takes)
            .map(|choice| &choice.hook)
            .collect()
    }

    /// Every hook that was named must be some program's.
    fn check_names(&self, loaded: &Loaded) -> Result<()> {
        for choice in self.choices {
            match &choice.program {
                Some(name) => drop(loaded.program(name)?),
                None if loaded
                    .programs()
                    .any(|program| choice.hook.takes(program.kind())) => {}
                None => return Err(no_program(loaded, &choice.hook)),
            }
        }
        Ok(())
    }
}

fn is_harmless(error: &Error, engine: EngineKind) -> bool {
    let is_open = error.diagnosis().code == Code::ATTACH_OPEN;
    is_open || (engine == EngineKind::Vm && error.is_unsupported())
}

/// The programs that take frames; an error that lists the programs if there are none.
pub(super) fn socket_filters<'a>(loaded: &'a Loaded, purpose: &str) -> Result<Vec<&'a Program>> {
    let filters: Vec<&Program> = loaded
        .programs()
        .filter(|program| program.kind() == ProgramKind::SocketFilter)
        .collect();
    if filters.is_empty() {
        return Err(no_filter(loaded, purpose));
    }
    Ok(filters)
}

fn no_program(loaded: &Loaded, hook: &Hook) -> Error {
    if matches!(hook, Hook::Socket { .. }) {
        return no_filter(loaded, &format!("attached to {hook}"));
    }
    let message = format!("no program can be attached to {hook}");
    Diagnosis::new(Code::ATTACH_KIND, message)
        .fact("programs", programs(loaded))
        .into()
}

fn no_filter(loaded: &Loaded, purpose: &str) -> Error {
    let message = format!("no program can be {purpose}: none is a socket_filter");
    let diagnosis = Diagnosis::new(Code::ATTACH_KIND, message).fact("programs", programs(loaded));
    if loaded.programs().next().is_none() {
        return diagnosis.into();
    }
    diagnosis
        .help("--type SECTION=socket_filter gives the programs of a section another type")
        .into()
}

fn programs(loaded: &Loaded) -> String {
    let programs: Vec<String> = loaded
        .programs()
        .map(|program| format!("`{}` is a {}", program.name(), program.kind()))
        .collect();
    if programs.is_empty() {
        return "none".to_owned();
    }
    programs.join(", ")
}
