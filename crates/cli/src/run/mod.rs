//! `twinbpf run`: from an object file to counts on the screen, and everything undone at the end.
//!
//! ```text
//! object ── types ──> private network, if a command is given ──> engine, load, attach ──> source of packets ──> the end
//!                     (before the first thread starts)                                    │ once a second
//!                                                                                         └> what changed
//! ```

mod attaching;
mod child;
mod ending;
mod events;
mod session;
mod variables;
mod view;
mod watch;

use std::time::{Duration, Instant};

use twinbpf::spec::Object;
use twinbpf::{Code, Diagnosis, LinkStats, PrivateNetwork};

use crate::args::RunArgs;
use crate::choice::EngineChoice;
use crate::exit::Exit;
use crate::object_file;
use crate::output::{Failure, Output};
use crate::program_types;

use attaching::Attaching;
use child::Child;
use ending::Ending;
use events::{Event, Events};
use session::Session;
use view::View;
use watch::Watch;

/// How often what changed is printed.
const TICK: Duration = Duration::from_secs(1);

/// Loads, attaches, prints, undoes.
pub(crate) fn run(args: &RunArgs, output: &Output) -> Result<Exit, Failure> {
    let mut object = object_file::read(&args.object)?;
    refuse_capture_in_kernel(args)?;
    let attaching = Attaching::new(args);
    prepare_types(&mut object, args, &attaching, output)?;
    variables::apply(&mut object, &args.variables)
        .map_err(|error| error.in_file(args.object.display().to_string()))?;
    if !args.command.is_empty() {
        let network = PrivateNetwork::enter()?;
        output.talk(&format!("network: {network}"));
    }
    let session = Session::start(args, &object, &attaching, output)?;
    session.left.iter().for_each(|left| output.talk(left));
    if args.log {
        session.print_logs(output);
    }
    let mut watch = Watch::new(&session.loaded, &args.watch)
        .map_err(|error| error.in_file(args.object.display().to_string()))?;
    let view = View::new(output, args, session.engine);
    let (ending, stats) = match &args.pcap {
        Some(path) => (
            Ending::CaptureRead,
            session.replay(path, args.direction.map(Into::into))?,
        ),
        None if session.links.is_empty() => {
            output.talk(
                "nothing is attached, so nothing runs: name a hook (--attach socket:lo), a capture (--pcap FILE), \
                 or a command (-- COMMAND)",
            );
            (Ending::Loaded, Vec::new())
        }
        None => observe(args, &session, &mut watch, &view)?,
    };
    session.say_verdicts(&stats, output);
    view.end(&ending, &mut watch, &stats)?;
    Ok(ending.exit(&stats))
}

fn prepare_types(
    object: &mut Object,
    args: &RunArgs,
    attaching: &Attaching<'_>,
    output: &Output,
) -> Result<(), Failure> {
    program_types::apply(object, &args.types)?;
    let reason = if args.pcap.is_some() {
        Some("it is run on a capture".to_owned())
    } else {
        attaching.wants_socket_filters()
    };
    if let Some(reason) = reason {
        program_types::assume_socket_filter(object, &reason, output);
    }
    Ok(())
}

/// Checked before anything is loaded: loading may need a privilege that would not help.
fn refuse_capture_in_kernel(args: &RunArgs) -> Result<(), Failure> {
    if args.pcap.is_none() || args.engine != EngineChoice::Kernel {
        return Ok(());
    }
    let message = "the kernel engine cannot replay a capture";
    Err(Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
        .fact(
            "why",
            "a test run in the kernel has no direction, so sent frames cannot be told from received ones",
        )
        .help("use `--engine vm`")
        .into())
}

/// Prints what changes until something ends it: the command, the time, or Ctrl-C.
fn observe(
    args: &RunArgs,
    session: &Session,
    watch: &mut Watch,
    view: &View<'_>,
) -> Result<(Ending, Vec<LinkStats>), Failure> {
    let events = Events::listen()?;
    let mut child = match args.command.split_first() {
        Some((program, arguments)) => Some(Child::start(program, arguments)?),
        None => None,
    };
    let ending = watch_until_the_end(args, &events, child.as_mut(), |elapsed| {
        view.tick(elapsed, &watch.changes()?)
    })?;
    if let Some(child) = &mut child {
        child.end();
    }
    // An interrupted run ends now; any other one counts every frame that came before its end.
    if !matches!(ending, Ending::Interrupted { .. }) {
        session.settle()?;
    }
    Ok((ending, session.stats()?))
}

/// Waits for the end, and calls `tick` once a second.
fn watch_until_the_end(
    args: &RunArgs,
    events: &Events,
    mut child: Option<&mut Child>,
    mut tick: impl FnMut(Duration) -> Result<(), Failure>,
) -> Result<Ending, Failure> {
    let start = Instant::now();
    let deadline = args.time.and_then(|time| start.checked_add(time));
    let mut next_tick = start + TICK;
    loop {
        let wake = deadline.map_or(next_tick, |deadline| deadline.min(next_tick));
        match events.wait_until(wake) {
            Event::Interrupted => {
                return Ok(Ending::Interrupted {
                    cut_short: args.time.is_some() || child.is_some(),
                });
            }
            Event::ChildChanged => {
                if let Some(child) = &mut child
                    && let Some(status) = child.status()?
                {
                    return Ok(Ending::Command(status));
                }
            }
            Event::TimeReached => {
                let now = Instant::now();
                if now >= next_tick {
                    tick(next_tick - start)?;
                    // A tick that took longer than a second leaves out those it missed.
                    while next_tick <= now {
                        next_tick += TICK;
                    }
                }
                if deadline.is_some_and(|deadline| now >= deadline) {
                    return Ok(Ending::TimeOver {
                        cut_short: child.is_some(),
                    });
                }
            }
        }
    }
}
