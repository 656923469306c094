//! What a run waits for: Ctrl-C, a child's end, the next tick.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Instant;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use twinbpf::{Code, Diagnosis, Error, Result};

/// Signals that ask for the end.
const REQUESTS: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// The status of a process that a second Ctrl-C ends at once.
const INTERRUPTED: i32 = 130;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// Somebody asked for the end.
    Interrupted,
    /// A child may have ended.
    ChildChanged,
    /// The moment waited for has come.
    TimeReached,
}

/// The receiving end of a thread that waits for signals.
#[derive(Debug)]
pub(super) struct Events(Receiver<Event>);

impl Events {
    /// Starts listening. From here on Ctrl-C is an event; a second one ends the process at once, without waiting for
    /// anything, and the system then detaches and unloads.
    pub(super) fn listen() -> Result<Self> {
        let was_asked = Arc::new(AtomicBool::new(false));
        for signal in REQUESTS {
            // In this order: the first signal finds the flag unset and sets it, the second finds it set.
            signal_hook::flag::register_conditional_shutdown(
                signal,
                INTERRUPTED,
                Arc::clone(&was_asked),
            )
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&was_asked)))
            .map_err(|error| no_signals(&error))?;
        }
        let mut signals =
            Signals::new(REQUESTS.iter().chain([&SIGCHLD])).map_err(|error| no_signals(&error))?;
        let (sender, receiver) = channel();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                for signal in signals.forever() {
                    let event = match signal {
                        SIGCHLD => Event::ChildChanged,
                        _ => Event::Interrupted,
                    };
                    // Nobody listens any more once the run is over.
                    if sender.send(event).is_err() {
                        break;
                    }
                }
            })
            .map_err(|error| no_signals(&error))?;
        Ok(Self(receiver))
    }

    /// The next event, at the latest when `moment` comes.
    pub(super) fn wait_until(&self, moment: Instant) -> Event {
        let left = moment.saturating_duration_since(Instant::now());
        match self.0.recv_timeout(left) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => Event::TimeReached,
            // The thread lives as long as this end does; should it have died, ending is the safe answer.
            Err(RecvTimeoutError::Disconnected) => Event::Interrupted,
        }
    }
}

fn no_signals(error: &std::io::Error) -> Error {
    let message = format!("signals cannot be listened to: {error}");
    Diagnosis::new(Code::HOST_IO, message).into()
}
