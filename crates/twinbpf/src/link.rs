//! Programs attached to hooks.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use twinbpf_kernel::{
    FoundFilter, KernelFilter, KernelLink, KernelRoute, KernelSocketLink, KernelTable, KernelXdp,
    LinkInfo,
};
use twinbpf_object::{Code, Diagnosis, Error, Hook, Result};
use twinbpf_vm::hooks::observer::VmLink;
use twinbpf_vm::hooks::socket::SocketStats;

use crate::program::Program;

/// An attached program. Dropping it detaches, once nobody else holds the link: a pin does, and for a moment a child process that another
/// thread is starting. [`Link::detach`] waits for nobody.
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
///
/// A link of the kernel lives as long as any descriptor of it. A child process holds copies of all of this process' descriptors
/// from `fork` until it executes its program, so a link that is dropped while another thread starts a process ends a moment later:
/// [`detach`](Self::detach) does not wait for that, where the kernel can end such a link at once.
#[derive(Debug)]
#[must_use = "dropping the link detaches the program"]
pub struct Link {
    /// `None` for links that somebody else made, and for tables of functions.
    pub(crate) hook: Option<Hook>,
    pub(crate) handle: LinkHandle,
}

/// The set of engines is closed.
#[derive(Debug)]
pub(crate) enum LinkHandle {
    /// A packet socket, which is no link of the kernel's and ends with this process.
    Socket(KernelSocketLink),
    Kernel(KernelLink),
    /// A filter of traffic control, which is no link of the kernel's.
    Filter(KernelFilter),
    /// The XDP program of an interface, which is no link of the kernel's.
    Xdp(KernelXdp),
    /// A route with a program, which is no link of the kernel's.
    Route(KernelRoute),
    /// A table of functions that is in use without a link, and ends with this process.
    Table(KernelTable),
    Vm(VmLink),
}

/// What a link counted since it was attached.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LinkStats {
    /// Frames the program ran on; `None` if the engine does not count them.
    pub frames: Option<u64>,
    /// Frames the program let pass.
    pub accepted: u64,
    /// How often it gave which verdict, by the kernel's words; empty if the engine does not count them.
    pub verdicts: BTreeMap<&'static str, u64>,
    /// Frames that came and went without the program seeing them, because it could not keep up.
    pub missed: u64,
    /// Runs that ended abnormally.
    pub faults: u64,
    /// The first of them.
    pub first_fault: Option<Error>,
}

impl Link {
    /// The link with this name in a bpffs; `None` if the name is free.
    ///
    /// # Errors
    ///
    /// If the name belongs to a map or program, or a privilege is missing.
    pub fn open_pinned(path: &Path) -> Result<Option<Self>> {
        let link = KernelLink::open_pinned(path)?;
        Ok(link.map(Self::of_others))
    }

    /// The link that the kernel gave this number, whoever made it; `None` if there is none. Dropping it changes nothing.
    ///
    /// # Errors
    ///
    /// If a privilege is missing.
    pub fn by_id(id: u32) -> Result<Option<Self>> {
        let link = KernelLink::by_id(id)?;
        Ok(link.map(Self::of_others))
    }

    /// The numbers of all links of this kernel, ascending.
    ///
    /// # Errors
    ///
    /// If a privilege is missing.
    pub fn ids() -> Result<Vec<u32>> {
        twinbpf_kernel::link_ids()
    }

    fn of_others(link: KernelLink) -> Self {
        Self {
            hook: None,
            handle: LinkHandle::Kernel(link),
        }
    }

    /// Where the program was attached; `None` for tables of functions and for links that were opened, whose [`info`](Self::info) says it.
    pub fn hook(&self) -> Option<&Hook> {
        self.hook.as_ref()
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
            LinkHandle::Socket(_)
            | LinkHandle::Kernel(_)
            | LinkHandle::Filter(_)
            | LinkHandle::Xdp(_)
            | LinkHandle::Route(_)
            | LinkHandle::Table(_) => Ok(()),
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
            LinkHandle::Socket(link) => Ok(LinkStats {
                accepted: link.statistics()?.received,
                ..LinkStats::default()
            }),
            // The kernel counts runs per program, and only where that is switched on.
            LinkHandle::Kernel(_)
            | LinkHandle::Filter(_)
            | LinkHandle::Xdp(_)
            | LinkHandle::Route(_)
            | LinkHandle::Table(_) => Ok(LinkStats::default()),
            LinkHandle::Vm(link) => Ok(link.stats().into()),
        }
    }

    /// Puts another program in the place of the link's, in one step: every event meets the one or the other. With `expected`, only
    /// if that program is the one there now.
    ///
    /// # Errors
    ///
    /// Code A008 if another program is there; or if links of this sort, or programs of this kind, cannot be exchanged.
    pub fn update(&self, new: &Program, expected: Option<&Program>) -> Result<()> {
        let expected = expected.map(Program::kernel).transpose()?;
        if let LinkHandle::Filter(filter) = &self.handle {
            return filter.update(new.kernel()?, expected);
        }
        if let LinkHandle::Xdp(xdp) = &self.handle {
            return xdp.update(new.kernel()?, expected);
        }
        if let (LinkHandle::Route(route), None) = (&self.handle, expected) {
            return route.update(new.kernel()?);
        }
        let link = self.kernel_link("have its program exchanged on a condition")?;
        link.update(new.kernel()?, expected)
    }

    /// Detaches the program at once, even if the link is pinned or somebody else holds it too.
    ///
    /// # Errors
    ///
    /// If links of this sort end only when their last holder and last pin go; this handle has gone then, too.
    pub fn detach(self) -> Result<()> {
        match &self.handle {
            LinkHandle::Kernel(link) => link.detach(),
            LinkHandle::Filter(filter) => filter.detach(),
            LinkHandle::Xdp(xdp) => xdp.detach(),
            LinkHandle::Route(route) => route.detach(),
            LinkHandle::Table(table) => table.take_out().map_err(|errno| {
                let message = "the table of functions was not taken out of use";
                Diagnosis::new(Code::ATTACH, message).errno(errno).into()
            }),
            LinkHandle::Socket(link) => link.detach(),
            LinkHandle::Vm(_) => Ok(()),
        }
    }

    /// Gives the link a name in a bpffs, under which the program stays attached until the name is removed. Folders in between are
    /// made.
    ///
    /// # Errors
    ///
    /// If the path is not in a bpffs, the name is taken, or the link cannot outlive this process: packet sockets and the vm's.
    pub fn pin(&self, path: &Path) -> Result<()> {
        self.kernel_link("be pinned")?.pin(path)
    }

    /// What the kernel says about the link.
    ///
    /// # Errors
    ///
    /// If it is no link of the kernel's: packet sockets and the vm's are not.
    pub fn info(&self) -> Result<LinkInfo> {
        self.kernel_link("be asked about")?.info()
    }

    /// The filter of traffic control that it is, with the priority and handle the kernel chose; `None` for all others.
    pub fn filter(&self) -> Option<&FoundFilter> {
        match &self.handle {
            LinkHandle::Filter(filter) => Some(filter.found()),
            _ => None,
        }
    }

    /// A new reading of an iterator: the program writes its lines as they are read.
    ///
    /// # Errors
    ///
    /// If the link is no iterator.
    pub fn read(&self) -> Result<File> {
        self.kernel_link("be read")?.read()
    }

    pub(crate) fn kernel_link(&self, action: &str) -> Result<&KernelLink> {
        let what = match &self.handle {
            LinkHandle::Kernel(link) => return Ok(link),
            LinkHandle::Socket(_) => "a packet socket's link",
            LinkHandle::Filter(_) => "a filter of traffic control",
            LinkHandle::Xdp(_) => "an interface's XDP program without a link",
            LinkHandle::Route(_) => "a route with a program",
            LinkHandle::Table(_) => "a table of functions without a link",
            LinkHandle::Vm(_) => "a link of the vm",
        };
        let message = format!("{what} cannot {action}");
        Err(Diagnosis::new(Code::ATTACH_UNSUPPORTED, message).into())
    }
}

impl From<SocketStats> for LinkStats {
    fn from(stats: SocketStats) -> Self {
        Self {
            frames: Some(stats.frames),
            accepted: stats.accepted,
            verdicts: stats.verdicts,
            missed: stats.dropped,
            faults: stats.faults,
            first_fault: stats.first_fault.map(Error::from),
        }
    }
}
