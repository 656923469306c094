//! A loaded object and its links, on the engine that was asked for or that turned out to work.

use std::path::Path;

use twinbpf::{
    Capture, Direction, Engine, EngineKind, Hook, Link, LinkStats, Loaded, Object, Result, Token,
};

use crate::args::RunArgs;
use crate::choice::EngineChoice;
use crate::output::Output;

use super::attaching::{Attached, Attaching, socket_filters};

/// What lives while `run` runs. Dropping it detaches and unloads.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) engine: EngineKind,
    // Before `loaded`, so that programs are detached before they go.
    pub(super) links: Vec<Link>,
    /// What was not attached, one sentence each.
    pub(super) left: Vec<String>,
    pub(super) loaded: Loaded,
}

impl Session {
    /// Loads and attaches on the engine that was asked for. `auto` takes the kernel, unless a privilege or an ability is missing.
    pub(super) fn start(
        args: &RunArgs,
        object: &Object,
        attaching: &Attaching<'_>,
        output: &Output,
    ) -> Result<Self> {
        let session = match args.engine {
            EngineChoice::Kernel => Self::on_kernel(args, object, attaching),
            EngineChoice::Vm => Self::on_vm(args, object, attaching),
            EngineChoice::Auto if args.pcap.is_some() => {
                output.talk("engine: vm, because only there a capture can be replayed");
                Self::on_vm(args, object, attaching)
            }
            EngineChoice::Auto => Self::on_either(args, object, attaching, output),
        };
        session.map_err(|error| error.in_file(args.object.display().to_string()))
    }

    fn on_kernel(args: &RunArgs, object: &Object, attaching: &Attaching<'_>) -> Result<Self> {
        Self::open(&Engine::kernel()?, args, object, attaching)
    }

    fn on_vm(args: &RunArgs, object: &Object, attaching: &Attaching<'_>) -> Result<Self> {
        Self::open(&Engine::vm()?, args, object, attaching)
    }

    fn on_either(
        args: &RunArgs,
        object: &Object,
        attaching: &Attaching<'_>,
        output: &Output,
    ) -> Result<Self> {
        let refusal = match Self::on_kernel(args, object, attaching) {
            Ok(session) => {
                output.talk("engine: kernel, which accepted the object");
                return Ok(session);
            }
            Err(error) if error.is_permission() || error.is_unsupported() => error,
            Err(error) => return Err(error),
        };
        let session = Self::on_vm(args, object, attaching).map_err(|error| {
            error.map(|diagnosis| diagnosis.fact("the kernel engine was tried first", &refusal))
        })?;
        if !session.links.iter().all(is_at_a_socket) {
            return Err(refusal.map(|diagnosis| {
                diagnosis
                    .help("`--engine vm` needs less, but only observes: the traffic goes its way")
            }));
        }
        output.talk(&format!("engine: vm, because the kernel said: {refusal}"));
        Ok(session)
    }

    fn open(
        engine: &Engine,
        args: &RunArgs,
        object: &Object,
        attaching: &Attaching<'_>,
    ) -> Result<Self> {
        let linked = twinbpf::link(
            object,
            &args.target.read()?.target(engine, &object.needs())?,
        )?;
        let token = args.token.as_deref().map(Token::create).transpose()?;
        let mut loader = engine.loader(&linked);
        if let Some(root) = &args.pin_root {
            loader = loader.pin_root(root);
        }
        if let Some(token) = &token {
            loader = loader.token(token);
        }
        let loaded = loader.load()?;
        let attached = if args.pcap.is_some() {
            Attached::default()
        } else {
            attaching.attach(&loaded)?
        };
        Ok(Self {
            engine: engine.kind(),
            links: attached.links,
            left: attached.left,
            loaded,
        })
    }

    /// Runs every socket filter on every frame of a capture.
    pub(super) fn replay(
        &self,
        path: &Path,
        direction: Option<Direction>,
    ) -> Result<Vec<LinkStats>> {
        let filters = socket_filters(&self.loaded, "run on a capture")?;
        filters
            .into_iter()
            .map(|program| {
                let stats = program.replay(&mut Capture::open(path)?, direction)?;
                Ok(stats.into())
            })
            .collect()
    }

    /// Waits until every frame that came so far has been run.
    pub(super) fn settle(&self) -> Result<()> {
        self.links.iter().try_for_each(Link::settle)
    }

    /// What each link counted.
    pub(super) fn stats(&self) -> Result<Vec<LinkStats>> {
        self.links.iter().map(Link::stats).collect()
    }

    /// Says what the programs answered, where somebody counted.
    pub(super) fn say_verdicts(&self, stats: &[LinkStats], output: &Output) {
        for (link, stats) in self.links.iter().zip(stats) {
            let Some(hook) = link.hook().filter(|_| !stats.verdicts.is_empty()) else {
                continue;
            };
            let verdicts: Vec<String> = stats
                .verdicts
                .iter()
                .map(|(word, count)| format!("{word} {count}"))
                .collect();
            output.talk(&format!("observed at {hook}: {}", verdicts.join(", ")));
        }
    }

    /// Prints what the verifier said about the programs it accepted.
    pub(super) fn print_logs(&self, output: &Output) {
        for program in self.loaded.programs() {
            let log = program.verifier_log().map_or("no verifier", str::trim_end);
            output.talk(&format!("verifier on `{}`: {log}", program.name()));
        }
    }
}

/// Whether the vm in the kernel's place makes no difference: a packet socket of nobody's only counts, too.
fn is_at_a_socket(link: &Link) -> bool {
    matches!(link.hook(), Some(Hook::Socket { .. }))
}
