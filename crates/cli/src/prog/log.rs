//! `prog log`: what the programs of this kernel print, as they print it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use twinbpf::{Code, Diagnosis, Error, ProgramPrint, ProgramPrints};

use crate::exit::Exit;
use crate::output::{Failure, Output};

/// What `prog log` is told.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// End after so many lines [default: never]
    #[arg(long, value_name = "NUMBER")]
    count: Option<u64>,

    /// End after this time: 5, 5s, 500ms
    #[arg(long = "for", value_name = "TIME", value_parser = crate::choice::parse_time)]
    time: Option<Duration>,

    /// Print a JSON document for each line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Serialize)]
struct PrintDocument<'a> {
    task: &'a str,
    pid: u32,
    cpu: u32,
    time: &'a str,
    text: &'a str,
}

/// How long to wait at most before a request to end is looked for.
const PATIENCE: Duration = Duration::from_millis(100);

/// Prints lines until there were enough, the time is over, or somebody asks for the end.
pub(super) fn log(args: &LogArgs, output: &Output) -> Result<Exit, Failure> {
    let is_asked = asked_to_end()?;
    let start = Instant::now();
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut prints = ProgramPrints::open()?;
    output.talk("listening to what programs print (bpf_trace_printk)");
    while left > 0 && !is_asked.load(Ordering::Relaxed) {
        let time = args.time.map(|time| time.saturating_sub(start.elapsed()));
        if time == Some(Duration::ZERO) {
            break;
        }
        let patience = time.unwrap_or(PATIENCE).min(PATIENCE);
        for print in prints.wait(patience)? {
            if left > 0 {
                show(&print, output)?;
                left -= 1;
            }
        }
    }
    Ok(Exit::Done)
}

fn show(print: &ProgramPrint, output: &Output) -> Result<(), Failure> {
    if output.wants_json() {
        return output.document(&PrintDocument {
            task: &print.task,
            pid: print.pid,
            cpu: print.cpu,
            time: &print.time,
            text: &print.text,
        });
    }
    // A line that continues the one before has no head.
    match print.pid {
        0 if print.time.is_empty() => output.data(&print.text),
        pid => output.data(&format!(
            "{} {} {pid} cpu {}: {}",
            print.time, print.task, print.cpu, print.text
        )),
    }
}

/// A flag that is set by the first request to end; the listener then removes what it made.
fn asked_to_end() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|error| no_signals(&error))?;
    }
    Ok(flag)
}

fn no_signals(error: &io::Error) -> Error {
    Diagnosis::new(
        Code::HOST_IO,
        format!("signals cannot be listened to: {error}"),
    )
    .into()
}
