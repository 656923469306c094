//! Hooks, and programs attached to them.

use std::fmt;

use twinbpf_kernel::KernelSocketLink;
use twinbpf_object::{Error, Result};
use twinbpf_vm::hooks::socket::{SocketStats, VmSocketLink};

/// A place where programs run.
///
/// ```
/// use twinbpf::Hook;
///
/// assert_eq!(Hook::socket("lo").to_string(), "socket:lo");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Hook {
    /// The frames of one interface, both directions, as a raw packet socket sees them.
    Socket {
        /// The interface's name.
        interface: String,
    },
}

impl Hook {
    /// The frames of one interface.
    pub fn socket(interface: &str) -> Self {
        Self::Socket {
            interface: interface.to_owned(),
        }
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { interface } => write!(f, "socket:{interface}"),
        }
    }
}

/// An attached program. Dropping it detaches.
///
/// A vm does not decide over frames, it *observes* them: it runs the program on a copy of each and counts what the program
/// answered ([`Link::observes`]).
///
/// ```no_run
/// // Not run here: opening a packet socket takes a privilege, or a private network, which a doc test cannot enter.
/// use twinbpf::{Engine, Hook, Object, PrivateNetwork};
///
/// let network = PrivateNetwork::enter()?; // before any thread starts
/// let object = Object::parse(&std::fs::read("examples/sockex1/sockex1.bpf.o")?)?;
/// let loaded = Engine::vm()?.load_object(&object)?;
/// let link = loaded.program("count_outgoing")?.attach(&Hook::socket("lo"))?;
/// // ... traffic ...
/// link.settle()?; // everything sent so far has been counted
/// println!("{} frames missed", link.stats()?.missed);
/// drop(link); // detached
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the link detaches the program"]
pub struct Link {
    pub(crate) hook: Hook,
    pub(crate) handle: LinkHandle,
}

/// The set of engines is closed.
#[derive(Debug)]
pub(crate) enum LinkHandle {
    Kernel(KernelSocketLink),
    Vm(VmSocketLink),
}

/// What a link counted since it was attached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Frames the program ran on; `None` if the engine does not count them.
    pub frames: Option<u64>,
    /// Frames the program let pass.
    pub accepted: u64,
    /// Frames that came and went without the program seeing them, because it could not keep up.
    pub missed: u64,
    /// Runs that ended abnormally.
    pub faults: u64,
    /// The first of them.
    pub first_fault: Option<Error>,
}

impl Link {
    /// Where the program is attached.
    pub fn hook(&self) -> &Hook {
        &self.hook
    }

    /// Whether the program only observes, so that its answer has no effect on the traffic.
    pub fn observes(&self) -> bool {
        matches!(self.handle, LinkHandle::Vm(_))
    }

    /// Waits until the program has run on everything that happened before this call.
    ///
    /// # Errors
    ///
    /// If the engine's source of events has failed.
    pub fn settle(&self) -> Result<()> {
        match &self.handle {
            // The kernel runs the program while it delivers the frame, so there is nothing behind.
            LinkHandle::Kernel(_) => Ok(()),
            LinkHandle::Vm(link) => link.settle(),
        }
    }

    /// What the link counted so far.
    ///
    /// # Errors
    ///
    /// If the kernel's counters cannot be read.
    pub fn stats(&self) -> Result<LinkStats> {
        match &self.handle {
            // Frames the kernel counts as dropped had passed the program: nobody reads them from the socket's queue.
            LinkHandle::Kernel(link) => Ok(LinkStats {
                accepted: link.statistics()?.received,
                ..LinkStats::default()
            }),
            LinkHandle::Vm(link) => Ok(link.stats().into()),
        }
    }

    /// Detaches the program, as dropping the link does.
    pub fn detach(self) {
        drop(self);
    }
}

impl From<SocketStats> for LinkStats {
    fn from(stats: SocketStats) -> Self {
        Self {
            frames: Some(stats.frames),
            accepted: stats.accepted,
            missed: stats.dropped,
            faults: stats.faults,
            first_fault: stats.first_fault.map(Error::from),
        }
    }
}
