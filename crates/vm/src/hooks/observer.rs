//! A program on a live interface: a thread that runs it on every frame that comes by its hook.
//!
//! The vm observes. The verdict is counted; the frame goes its way whatever the program says, and what the program changes is a copy.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use twinbpf_object::{Code, Diagnosis, Error, Result};

use super::packets::{PacketHook, PacketProgram};
use super::socket::{SocketFrame, SocketStats};
use crate::live::PacketSocket;
use crate::presence::Presence;
use crate::program::VmProgram;
use crate::vm::Vm;
use crate::worker::{AbortHandle, PACKET_BYTES};

/// A program that observes an interface. Dropping it ends that.
#[derive(Debug)]
#[must_use = "dropping a link detaches the program"]
pub struct VmLink {
    shared: Arc<Shared>,
    abort: AbortHandle,
    thread: Option<JoinHandle<()>>,
    interface: String,
    _presence: Presence,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    settled: Condvar,
    stop: AtomicBool,
    /// Wakes the thread when it waits for frames.
    wake: OwnedFd,
}

#[derive(Debug, Default)]
struct State {
    stats: SocketStats,
    /// How often `settle` was called.
    asked: u64,
    /// Up to which call the frames have been run.
    answered: u64,
    /// Why the thread ended early, if it did.
    failure: Option<Error>,
    is_over: bool,
}

/// Runs a program on every frame of an interface that comes by the hook, until the link is dropped.
///
/// # Errors
///
/// If the program does not go there, the interface does not exist, or a packet socket may not be opened.
pub fn attach(vm: &Vm, program: &VmProgram, hook: PacketHook, interface: &str) -> Result<VmLink> {
    let observed = PacketProgram::new(vm, program, hook)?;
    let socket = PacketSocket::open(interface)?;
    let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|errno| host_error("eventfd", errno))?;
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        settled: Condvar::new(),
        stop: AtomicBool::new(false),
        wake,
    });
    let abort = observed.abort_handle();
    let observer = Observer {
        shared: Arc::clone(&shared),
        program: observed,
        socket,
        buffer: vec![0; PACKET_BYTES as usize],
    };
    let thread = std::thread::Builder::new()
        .name("twinbpf-packets".to_owned())
        .spawn(move || observer.observe())
        .map_err(|error| {
            Error::from(Diagnosis::new(
                Code::HOST_IO,
                format!("a thread could not be started: {error}"),
            ))
        })?;
    Ok(VmLink {
        shared,
        abort,
        thread: Some(thread),
        interface: interface.to_owned(),
        _presence: vm.1,
    })
}

impl VmLink {
    /// Waits until the program has been run on every frame that arrived before the call.
    ///
    /// # Errors
    ///
    /// Why the observing thread ended, if it did: the interface vanished, or the system refused to deliver frames.
    pub fn settle(&self) -> Result<()> {
        let mut state = self.shared.state();
        state.asked += 1;
        let ticket = state.asked;
        drop(state);
        self.shared.wake();
        let mut state = self.shared.state();
        while state.answered < ticket && !state.is_over {
            state = self
                .shared
                .settled
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    /// What happened so far.
    pub fn stats(&self) -> SocketStats {
        self.shared.state().stats.clone()
    }

    /// The interface's name.
    pub fn interface(&self) -> &str {
        &self.interface
    }
}

impl Drop for VmLink {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.abort.abort();
        self.shared.wake();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic hook already; there is nothing left to undo.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Counters and tickets: what a panicking thread leaves is still true.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // EAGAIN means the counter is already far above zero, which wakes as well.
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }
}

/// The thread's side.
struct Observer {
    shared: Arc<Shared>,
    program: PacketProgram,
    socket: PacketSocket,
    buffer: Vec<u8>,
}

impl Observer {
    fn observe(mut self) {
        let result = self.work();
        let mut state = self.shared.state();
        state.failure = result.err();
        state.is_over = true;
        self.shared.settled.notify_all();
    }

    fn work(&mut self) -> Result<()> {
        while !self.shared.stop.load(Ordering::Relaxed) {
            // Read before draining: only frames that arrived before the question are part of the answer.
            let asked = self.shared.state().asked;
            self.drain()?;
            let dropped = self.socket.statistics()?.dropped;
            let mut state = self.shared.state();
            state.stats.dropped = dropped;
            state.answered = asked;
            self.shared.settled.notify_all();
            let is_asked_again = state.asked > asked;
            drop(state);
            if !is_asked_again {
                self.wait()?;
            }
        }
        Ok(())
    }

    /// Runs the program on every frame at hand. A flood that never ends is left after a round, so that questions are answered.
    fn drain(&mut self) -> Result<()> {
        for _ in 0..FRAMES_PER_ROUND {
            if self.shared.stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let Some(received) = self.socket.recv(&mut self.buffer)? else {
                return Ok(());
            };
            let frame = SocketFrame {
                data: self
                    .buffer
                    .get(..received.captured_len)
                    .unwrap_or(&self.buffer),
                original_len: received.original_len,
                packet_kind: received.packet_kind,
                protocol: received.protocol,
                interface: received.interface,
                vlan: received.vlan,
            };
            let direction = frame.packet_kind.direction();
            if self.program.hook().sees(Some(direction), frame.protocol) {
                let answer = self.program.run(&frame);
                let mut state = self.shared.state();
                state.stats.count(self.program.kind(), &frame, answer);
            }
        }
        Ok(())
    }

    /// Waits for a frame or a call.
    fn wait(&self) -> Result<()> {
        let mut waiting = [
            PollFd::new(&self.socket, PollFlags::IN),
            PollFd::from_borrowed_fd(self.shared.wake.as_fd(), PollFlags::IN),
        ];
        match poll(&mut waiting, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(host_error("poll", errno)),
        }
        let mut counter = [0; 8];
        // EAGAIN means nobody called; the counter's value does not matter.
        let _ = rustix::io::read(&self.shared.wake, &mut counter);
        Ok(())
    }
}

/// More frames than a socket's buffer holds.
const FRAMES_PER_ROUND: usize = 1 << 18;

fn host_error(call: &str, errno: rustix::io::Errno) -> Error {
    let diagnosis = Diagnosis::new(Code::HOST_IO, format!("{call} failed"));
    diagnosis
        .errno(twinbpf_object::Errno(errno.raw_os_error()))
        .into()
}
