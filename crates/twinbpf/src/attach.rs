//! Attaching: one program to one hook, or all programs of an object to theirs.
//!
//! ```text
//! Program ── its section, Places, the caller's hooks ──> Hook ──> Link
//! table of functions ── filled with its programs ──> Link
//! ```
//!
//! An object is attached as a whole or not at all: if one program is refused, those before it are detached again.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;

use twinbpf_kernel::{
    KernelFilter, KernelLink, KernelMap, KernelProgram, KernelRoute, KernelSocketLink, KernelTable,
    KernelXdp,
};
use twinbpf_object::hook::{Hook, Order, Places, Tc, TcDirection, TcFilter, XdpMode};
use twinbpf_object::{Code, Diagnosis, Errno, Error, ProgramKind, Result};
use twinbpf_vm::capture::Direction;
use twinbpf_vm::hooks::observer;
use twinbpf_vm::hooks::packets::PacketHook;

use crate::engine::kernel_map;
use crate::link::{Link, LinkHandle};
use crate::loaded::{Loaded, missing};
use crate::program::{Program, ProgramHandle};

impl Program {
    /// Attaches the program. It runs until the link is dropped.
    ///
    /// In a vm, programs of packet sockets, XDP and traffic control observe the packets of an interface ([`Link::observes`]); programs
    /// on a cgroup's packets do so at a packet socket, which knows no cgroups.
    ///
    /// # Errors
    ///
    /// If the program's kind does not go there, the hook does not exist, or a privilege is missing.
    pub fn attach(&self, hook: &Hook) -> Result<Link> {
        let handle = match (&self.handle, hook) {
            (ProgramHandle::Kernel(program), Hook::Socket { interface }) => {
                LinkHandle::Socket(KernelSocketLink::attach(program, interface)?)
            }
            (ProgramHandle::Kernel(program), Hook::TcFilter(hook)) => {
                LinkHandle::Filter(KernelFilter::attach(program, hook)?)
            }
            (ProgramHandle::Kernel(program), Hook::Xdp(hook))
                if hook.by_netlink || KernelXdp::is_the_only_way() =>
            {
                LinkHandle::Xdp(KernelXdp::attach(program, hook)?)
            }
            (ProgramHandle::Kernel(program), Hook::Tc(hook)) => tc(program, hook)?,
            (ProgramHandle::Kernel(program), Hook::Route(hook)) => {
                LinkHandle::Route(KernelRoute::attach(program, hook)?)
            }
            (ProgramHandle::Kernel(program), hook) => {
                LinkHandle::Kernel(KernelLink::attach(program, hook)?)
            }
            (ProgramHandle::Vm { vm, program }, hook) => {
                let (place, interface) =
                    observed(self, hook).ok_or_else(|| vm_has_no(self, hook))?;
                LinkHandle::Vm(observer::attach(vm, program, place, interface)?)
            }
        };
        Ok(Link {
            hook: Some(hook.clone()),
            handle,
        })
    }
}

impl Program {
    /// Gives a socket of the caller's the program: a socket filter decides what it receives, an `sk_reuseport` program which of the
    /// sockets that share its port. It stays until the socket is closed or is given another one.
    ///
    /// ```no_run
    /// // Not run here: it takes root.
    /// use twinbpf::{Engine, Object};
    ///
    /// let object = Object::parse(&std::fs::read("balance.bpf.o")?)?;
    /// let loaded = Engine::kernel()?.load_object(&object)?;
    /// let socket = std::net::UdpSocket::bind("127.0.0.1:5353")?;
    /// loaded.program("only_queries")?.attach_to_socket(&socket)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the program is of neither kind or lives in a vm, the descriptor is no socket that takes one, or a privilege is missing.
    pub fn attach_to_socket(&self, socket: impl AsFd) -> Result<()> {
        twinbpf_kernel::attach_to_socket(self.kernel()?, socket.as_fd())
    }

    /// Puts the program (`SEC("freplace/...")`) in the place of a function of `target`, which need not be the program that it was verified
    /// for ([`Loader::target`](crate::Loader::target)): one whose function takes and answers the same will do, and one program may be put
    /// into many. Where it was verified for, [`attach`](Self::attach) with [`Hook::tracing`] puts it, once.
    ///
    /// # Errors
    ///
    /// If the program is of another type or a vm's; `target` has no such function, or one of another shape; code A007 if the function is
    /// replaced already; or a privilege is missing.
    pub fn attach_into(&self, target: &Self, function: &str, cookie: u64) -> Result<Link> {
        let link = KernelLink::attach_into(self.kernel()?, target.kernel()?, function, cookie)?;
        Ok(Link {
            hook: Some(Hook::Tracing { cookie }),
            handle: LinkHandle::Kernel(link),
        })
    }
}

impl Loaded {
    /// Puts the table of functions with this name (`struct_ops`) to use, until the link is dropped: with a link of the kernel's if it
    /// was declared for one (`SEC(".struct_ops.link")`).
    ///
    /// ```no_run
    /// // Not run here: it takes root.
    /// use twinbpf::{Engine, Object};
    ///
    /// let object = Object::parse(&std::fs::read("congestion.bpf.o")?)?;
    /// let loaded = Engine::kernel()?.load_object(&object)?;
    /// let link = loaded.attach_table("halving")?; // sockets can ask for it by its name now
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no such table, a program of it was not loaded, the interface has one with this name already, or a privilege is
    /// missing.
    pub fn attach_table(&self, name: &str) -> Result<Link> {
        let map = self.filled_table(name)?;
        let needs_link = map
            .spec()
            .struct_ops
            .as_ref()
            .is_some_and(|it| it.needs_link);
        let handle = match needs_link {
            true => LinkHandle::Kernel(KernelLink::attach_struct_ops(map)?),
            false => LinkHandle::Table(KernelTable::in_use(map)),
        };
        Ok(Link { hook: None, handle })
    }

    /// Puts the table with this name in the place of the one that a link has in use, in one step. With `expected`, only if the link
    /// has that object's table of the same name now.
    ///
    /// # Errors
    ///
    /// Code A008 if the link has another table; else as [`attach_table`](Self::attach_table), or if the interface cannot exchange
    /// tables.
    pub fn replace_table(&self, link: &Link, name: &str, expected: Option<&Self>) -> Result<()> {
        let link = link.kernel_link("have its table exchanged")?;
        let expected = match expected {
            None => None,
            Some(object) => kernel_map(object.raw_map(name)?),
        };
        link.update_struct_ops(self.filled_table(name)?, expected)
    }

    /// The table's map, filled with what the object says.
    fn filled_table(&self, name: &str) -> Result<&KernelMap> {
        let map = self.raw_map(name)?;
        let (Some(kernel), Some(map)) = (&self.kernel, kernel_map(map)) else {
            let message = "the vm has no interfaces that tables of functions fill in";
            return Err(Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
                .in_map(name)
                .into());
        };
        let programs: Vec<KernelProgram> = self
            .programs()
            .filter_map(|program| program.kernel().ok().cloned())
            .collect();
        let needs_link = map
            .spec()
            .struct_ops
            .as_ref()
            .is_some_and(|it| it.needs_link);
        match kernel.fill_struct_ops(map, &programs) {
            Err(error) if needs_link && error.diagnosis().errno == Some(Errno::EBUSY) => {
                // It was filled before; only its links come and go.
                Ok(map)
            }
            filled => filled.map(|()| map),
        }
    }

    /// Puts this object's programs in the places of those of `old`, a build that runs: each link's program gives way to the one of the
    /// same name, in one step, so that every event meets the one or the other. Maps are kept by loading this object with
    /// [`Loader::reuse`](crate::Loader::reuse).
    ///
    /// All links are changed, or none: after a refusal the programs before come back.
    ///
    /// # Errors
    ///
    /// The first refusal: code A008 if somebody else has exchanged a program meanwhile; if this object lacks one of the programs, or a
    /// link's sort cannot exchange its program.
    pub fn take_over(&self, old: &Self, links: &[Link]) -> Result<()> {
        let pairs: Vec<(&Link, &Program, &Program)> = links
            .iter()
            .map(|link| {
                let before = old.program_of(link)?;
                Ok((link, before, self.program(before.name())?))
            })
            .collect::<Result<_>>()?;
        for (position, (link, before, after)) in pairs.iter().enumerate() {
            if let Err(error) = link.update(after, Some(before)) {
                let back = pairs
                    .iter()
                    .take(position)
                    .rev()
                    .map(|(link, before, after)| link.update(before, Some(after)).err());
                // What cannot be taken back is said beside the refusal that it follows from.
                let failed: Vec<Error> = back.flatten().collect();
                return Err(error.map(|diagnosis| {
                    failed.iter().fold(diagnosis, |diagnosis, also| {
                        diagnosis.fact("not taken back", also)
                    })
                }));
            }
        }
        Ok(())
    }

    /// The program of this object that a link has.
    fn program_of(&self, link: &Link) -> Result<&Program> {
        let id = match link.filter() {
            Some(filter) => filter.program,
            None => link.info()?.program,
        };
        let mut programs = self.programs();
        let found = programs.find(|program| program.info().is_ok_and(|info| info.id == id));
        found.ok_or_else(|| {
            let message = format!(
                "a link has program {id}, which is none of the object that is to be replaced"
            );
            Diagnosis::new(Code::ATTACH_CHANGED, message).into()
        })
    }

    /// Attaches every program where its section says.
    ///
    /// ```no_run
    /// // Not run here: it takes root.
    /// use twinbpf::{Engine, Object};
    ///
    /// let object = Object::parse(&std::fs::read("monitor.bpf.o")?)?;
    /// let loaded = Engine::kernel()?.load_object(&object)?;
    /// let links = loaded.attacher().interface("eth0").attach()?;
    /// println!("{} programs run", links.len());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn attacher(&self) -> Attacher<'_> {
        Attacher {
            loaded: self,
            places: Places::default(),
            hooks: BTreeMap::new(),
        }
    }
}

/// How the programs of an object are attached: by their sections, and by what is said here.
#[derive(Debug, Clone)]
#[must_use = "nothing is attached before `attach`"]
pub struct Attacher<'a> {
    loaded: &'a Loaded,
    places: Places,
    hooks: BTreeMap<String, Option<Hook>>,
}

/// What was attached, and what was not and why.
#[derive(Debug, Default)]
#[must_use = "dropping the links detaches the programs"]
pub struct AttachReport {
    /// The links with the names of their programs or tables, in the object's order.
    pub links: Vec<(String, Link)>,
    /// Programs and tables that were to be attached and were not, with the reason.
    pub not_attached: Vec<(String, Error)>,
}

impl Attacher<'_> {
    /// For sections that name no interface, such as `xdp` and `tc`: this one.
    pub fn interface(mut self, name: &str) -> Self {
        self.places.interface = Some(name.to_owned());
        self
    }

    /// For sections that name no cgroup, such as `cgroup/dev`: this folder.
    pub fn cgroup(mut self, path: &Path) -> Self {
        self.places.cgroup = Some(path.to_owned());
        self
    }

    /// For sections that name no map of sockets, such as `sk_msg`: the one with this number.
    pub fn socket_map(mut self, id: u32) -> Self {
        self.places.socket_map = Some(id);
        self
    }

    /// Attaches a program elsewhere than its section says.
    pub fn hook(mut self, program: &str, hook: Hook) -> Self {
        self.hooks.insert(program.to_owned(), Some(hook));
        self
    }

    /// Leaves a program, or a table of functions, alone.
    pub fn skip(mut self, program: &str) -> Self {
        self.hooks.insert(program.to_owned(), None);
        self
    }

    /// Attaches all programs but those that others run (a map, another program, a caller), then the tables of functions: all of
    /// them, or none.
    ///
    /// # Errors
    ///
    /// The first refusal, or the first program whose place stays open; what was attached before is detached again. Also if a
    /// program that was named does not exist.
    pub fn attach(&self) -> Result<Vec<Link>> {
        self.check_names()?;
        let hooks: Vec<(&Program, Hook)> = self
            .loaded
            .programs()
            .filter_map(|program| Some((program, self.hook_of(program).transpose()?)))
            .map(|(program, hook)| Ok((program, hook?)))
            .collect::<Result<_>>()?;
        let programs = hooks.iter().map(|(program, hook)| program.attach(hook));
        let tables = self.tables().map(|name| self.loaded.attach_table(name));
        let mut links = Vec::new();
        for link in programs.chain(tables) {
            match link {
                Ok(link) => links.push(link),
                Err(error) => {
                    undo(links);
                    return Err(error);
                }
            }
        }
        Ok(links)
    }

    /// Attaches what can be attached, and says what could not.
    ///
    /// # Errors
    ///
    /// If a program that was named does not exist.
    pub fn attach_each(&self) -> Result<AttachReport> {
        self.check_names()?;
        let mut report = AttachReport::default();
        for program in self.loaded.programs() {
            let name = program.name().to_owned();
            let link = self
                .hook_of(program)
                .and_then(|hook| hook.map(|hook| program.attach(&hook)).transpose());
            match link {
                Ok(Some(link)) => report.links.push((name, link)),
                Ok(None) => {}
                Err(error) => report.not_attached.push((name, error)),
            }
        }
        for name in self.tables() {
            match self.loaded.attach_table(name) {
                Ok(link) => report.links.push((name.to_owned(), link)),
                Err(error) => report.not_attached.push((name.to_owned(), error)),
            }
        }
        Ok(report)
    }

    /// The tables of functions that are not left alone.
    fn tables(&self) -> impl Iterator<Item = &str> {
        let tables = self.loaded.tables();
        tables.filter(|name| !self.hooks.contains_key(*name))
    }

    fn hook_of(&self, program: &Program) -> Result<Option<Hook>> {
        match self.hooks.get(program.name()) {
            Some(hook) => Ok(hook.clone()),
            None => program.default_hook(&self.places),
        }
    }

    fn check_names(&self) -> Result<()> {
        let is_program = |name: &str| self.loaded.programs().any(|program| program.name() == name);
        let exists =
            |name: &str| is_program(name) || self.loaded.tables().any(|table| table == name);
        match self.hooks.keys().find(|name| !exists(name)) {
            None => Ok(()),
            Some(name) => {
                let names = self.loaded.programs().map(Program::name);
                Err(missing(Code::PROGRAM_NOT_FOUND, "program", name, names))
            }
        }
    }
}

/// A link where the kernel has such (6.6), else a filter, which knows no neighbours.
fn tc(program: &KernelProgram, hook: &Tc) -> Result<LinkHandle> {
    match KernelLink::attach(program, &Hook::Tc(hook.clone())) {
        Err(error) if error.is_unsupported() && hook.order == Order::default() => {
            let filter = TcFilter {
                interface: hook.interface.clone(),
                direction: hook.direction,
                priority: 0,
                handle: 0,
            };
            KernelFilter::attach(program, &filter).map(LinkHandle::Filter)
        }
        made => made.map(LinkHandle::Kernel),
    }
}

/// Where a vm runs a program on copies of an interface's packets, if it can for this hook.
fn observed<'a>(program: &Program, hook: &'a Hook) -> Option<(PacketHook, &'a str)> {
    let way = |direction| match direction {
        TcDirection::Ingress => Direction::In,
        TcDirection::Egress => Direction::Out,
    };
    Some(match hook {
        Hook::Socket { interface } if program.kind() == ProgramKind::CgroupSkb => {
            (PacketHook::CgroupSkb(program.direction()), interface)
        }
        Hook::Socket { interface } => (PacketHook::Socket, interface),
        Hook::Xdp(hook) if matches!(hook.mode, XdpMode::Any | XdpMode::Generic) => {
            (PacketHook::Xdp, &hook.interface)
        }
        Hook::Tc(hook) => (PacketHook::Tc(Some(way(hook.direction))), &hook.interface),
        Hook::TcFilter(hook) => (PacketHook::Tc(Some(way(hook.direction))), &hook.interface),
        _ => return None,
    })
}

fn vm_has_no(program: &Program, hook: &Hook) -> Error {
    let message = format!("the vm has no hook {hook}");
    let diagnosis = Diagnosis::new(Code::ATTACH_UNSUPPORTED, message).in_program(program.name());
    let diagnosis = match program.kind() {
        ProgramKind::CgroupSkb => diagnosis.help(
            "`socket:INTERFACE` lets it observe the packets of an interface, of whatever cgroup",
        ),
        _ => diagnosis,
    };
    diagnosis
        .help("use the kernel (`--engine kernel`), or run the program on packets of your own (`prog run`)")
        .into()
}

/// Ends links now rather than with their last descriptor, of which a child process that is just being started may hold a copy.
fn undo(links: Vec<Link>) {
    for link in links.into_iter().rev() {
        // Links of some sorts only end with their descriptors: those are closed here in any case.
        let _ = link.detach();
    }
}
