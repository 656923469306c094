//! Programs in traffic control as filters of the `clsact` discipline: the way before links, and beside other tools' filters.
//!
//! ```text
//! interface ── clsact ──┬── ingress: filter 1, 2, ...   by priority, then handle
//!                       └── egress:  filter 1, 2, ...
//! ```
//!
//! A filter stays when its process is killed. So each of ours says in its name who holds it, and whether the discipline was made for
//! it: [`abandoned_filters`] finds those whose holder has ended, and nothing else is ever removed.

use std::os::fd::AsFd;

use twinbpf_object::hook::{TcDirection, TcFilter};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Hook, ProgramKind, Result};

use crate::attr::fd_number;
use crate::device;
use crate::holder::Holder;
use crate::netlink::{
    ACK, CREATE, DUMP, ECHO, EXCLUSIVE, Netlink, REPLACE, Refused, Request, attribute, text_of,
    word,
};
use crate::privilege::{Capability, Privileges};
use crate::program::KernelProgram;

/// A program as a filter. Dropping it removes the filter, and the discipline if that was made for it and is empty.
#[derive(Debug)]
#[must_use = "dropping the filter detaches the program"]
pub struct KernelFilter {
    netlink: Netlink,
    found: FoundFilter,
}

/// A filter that runs a program, as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFilter {
    /// The interface's number.
    pub interface: u32,
    /// Which packets.
    pub direction: TcDirection,
    /// Filters with lower numbers run first.
    pub priority: u16,
    /// Its number among those of one priority.
    pub handle: u32,
    /// Its name.
    pub name: String,
    /// The program's number.
    pub program: u32,
    /// The program's fingerprint.
    pub tag: [u8; 8],
    /// Whether the program's answer is the verdict (`direct-action`).
    pub is_direct: bool,
    protocol: u16,
}

impl KernelFilter {
    /// Attaches a program, and makes the interface's discipline if it has none.
    ///
    /// # Errors
    ///
    /// If the program is none for traffic control, the place is taken, or a privilege is missing.
    pub fn attach(program: &KernelProgram, hook: &TcFilter) -> Result<Self> {
        attach(program, hook)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(program.name())))
    }

    /// What the kernel made of it: its priority and handle, if they were left open.
    pub fn found(&self) -> &FoundFilter {
        &self.found
    }

    /// Puts another program in the place of the filter's, in one step. With `expected`, only if that program is there now.
    ///
    /// # Errors
    ///
    /// Code A008 if another program is there; else as [`KernelFilter::attach`].
    pub fn update(&self, new: &KernelProgram, expected: Option<&KernelProgram>) -> Result<()> {
        if let Some(expected) = expected {
            let id = expected
                .info()
                .map_err(|errno| unanswered(errno.into()))?
                .id;
            let now = self.now()?;
            if now.is_none_or(|now| now.program != id) {
                let message = "the filter does not have the program that was expected";
                return Err(Diagnosis::new(Code::ATTACH_CHANGED, message).into());
            }
        }
        let request = self.found.put(new, CREATE | REPLACE, &self.found.name);
        self.netlink.ask(request).map(drop).map_err(not_attached)
    }

    /// Removes the filter at once.
    ///
    /// # Errors
    ///
    /// If it has gone already.
    pub fn detach(&self) -> Result<()> {
        self.found.remove(&self.netlink)
    }

    /// The filter as it is now; `None` if somebody removed it.
    fn now(&self) -> Result<Option<FoundFilter>> {
        let all = list(&self.netlink, self.found.interface, self.found.direction)?;
        let mut same = all.into_iter();
        Ok(same.find(|each| {
            (each.priority, each.handle, &each.name)
                == (self.found.priority, self.found.handle, &self.found.name)
        }))
    }
}

impl Drop for KernelFilter {
    fn drop(&mut self) {
        // Only what is still ours: somebody may have removed it and made another at its place.
        if let Ok(Some(_)) = self.now() {
            // There is nobody to tell if it goes in between.
            let _ = self.found.remove(&self.netlink);
        }
    }
}

impl FoundFilter {
    /// Whether it is one of ours whose holder has ended.
    pub fn is_abandoned(&self) -> bool {
        Holder::read(&self.name).is_some_and(|holder| holder.has_ended())
    }

    fn parent(&self) -> u32 {
        parent(self.direction)
    }

    fn head(&self) -> [u8; 20] {
        let info = u32::from(self.priority) << 16 | u32::from(self.protocol);
        head(self.interface, self.handle, self.parent(), info)
    }

    fn put(&self, program: &KernelProgram, flags: u16, name: &str) -> Request {
        let mut request = Request::new(NEW_FILTER, flags | ACK | ECHO, &self.head());
        request.put_text(KIND, "bpf").nest(OPTIONS, |options| {
            options
                .put(BPF_FD, &fd_number(program.as_fd()).to_ne_bytes())
                .put_text(BPF_NAME, name)
                .put(BPF_FLAGS, &DIRECT.to_ne_bytes());
        });
        request
    }

    /// Removes it, and the discipline that was made for it if nothing else is there.
    fn remove(&self, netlink: &Netlink) -> Result<()> {
        let mut request = Request::new(REMOVE_FILTER, ACK, &self.head());
        request.put_text(KIND, "bpf");
        netlink.ask(request).map_err(not_removed)?;
        if Holder::read(&self.name).is_some_and(|holder| holder.made_discipline) {
            let is_empty = |direction| {
                list_any(netlink, self.interface, direction).is_ok_and(|count| count == 0)
            };
            if is_empty(TcDirection::Ingress) && is_empty(TcDirection::Egress) {
                let head = head(self.interface, DISCIPLINE_HANDLE, DISCIPLINE, 0);
                let mut request = Request::new(REMOVE_DISCIPLINE, ACK, &head);
                request.put_text(KIND, "clsact");
                netlink.ask(request).map_err(not_removed)?;
            }
        }
        Ok(())
    }

    fn read(body: &[u8], direction: TcDirection) -> Option<Self> {
        let attributes = body.get(HEAD_BYTES..)?;
        let options = attribute(attributes, OPTIONS)?;
        let info = word(body, 16)?;
        let is_bpf = attribute(attributes, KIND).map(text_of).as_deref() == Some("bpf");
        is_bpf.then_some(())?;
        Some(Self {
            interface: word(body, 4)?,
            direction,
            priority: u16::try_from(info >> 16).ok()?,
            handle: word(body, 8)?,
            name: attribute(options, BPF_NAME)
                .map(text_of)
                .unwrap_or_default(),
            program: word(attribute(options, BPF_ID)?, 0)?,
            tag: *attribute(options, BPF_TAG)?.first_chunk()?,
            is_direct: attribute(options, BPF_FLAGS)
                .and_then(|flags| word(flags, 0))
                .is_some_and(|flags| flags & DIRECT != 0),
            protocol: u16::try_from(info & 0xffff).ok()?,
        })
    }
}

/// The filters that run programs at one interface, in the order in which they run.
///
/// # Errors
///
/// If the kernel does not answer.
pub fn filters(interface: u32, direction: TcDirection) -> Result<Vec<FoundFilter>> {
    let netlink = Netlink::open().map_err(unanswered)?;
    list(&netlink, interface, direction)
}

/// Our filters in this network namespace whose holder has ended without removing them, with `remove` removed.
///
/// Holders in other process namespaces cannot be seen from here, so their filters are left alone.
///
/// # Errors
///
/// If the kernel does not answer, or refuses to remove one.
pub fn abandoned_filters(remove: bool) -> Result<Vec<FoundFilter>> {
    let netlink = Netlink::open().map_err(unanswered)?;
    let mut abandoned = Vec::new();
    for interface in device::indices().map_err(|errno| unanswered(errno.into()))? {
        for direction in [TcDirection::Ingress, TcDirection::Egress] {
            let found = list(&netlink, interface, direction)?.into_iter();
            abandoned.extend(found.filter(FoundFilter::is_abandoned));
        }
    }
    if remove {
        for filter in &abandoned {
            filter.remove(&netlink)?;
        }
    }
    Ok(abandoned)
}

fn attach(program: &KernelProgram, hook: &TcFilter) -> Result<KernelFilter> {
    if !Hook::TcFilter(hook.clone()).takes(program.kind()) {
        let message = format!(
            "a program of type `{}` is no filter of traffic control, `{}` is",
            program.kind(),
            ProgramKind::SchedCls
        );
        return Err(Diagnosis::new(Code::ATTACH_KIND, message).into());
    }
    let interface = device::index_of(&hook.interface)?;
    let netlink = Netlink::open().map_err(not_attached)?;
    let made_discipline = make_discipline(&netlink, interface)?;
    let name = Holder::own(made_discipline).name(program.name());
    let wanted = FoundFilter {
        interface,
        direction: hook.direction,
        priority: hook.priority,
        handle: hook.handle,
        name: name.clone(),
        program: 0,
        tag: [0; 8],
        is_direct: true,
        protocol: ALL_PROTOCOLS.to_be(),
    };
    let answers = netlink.ask(wanted.put(program, CREATE | EXCLUSIVE, &name));
    let made = answers.map(|answers| {
        let mut made = answers.into_iter();
        made.find_map(|(kind, body)| {
            (kind == NEW_FILTER)
                .then(|| FoundFilter::read(&body, hook.direction))
                .flatten()
        })
    });
    match made {
        Ok(found) => Ok(KernelFilter {
            netlink,
            found: found.unwrap_or(wanted),
        }),
        Err(refused) => {
            if made_discipline {
                remove_discipline(&netlink, interface);
            }
            Err(not_attached(refused))
        }
    }
}

/// Makes an interface's discipline; whether there was none.
fn make_discipline(netlink: &Netlink, interface: u32) -> Result<bool> {
    let head = head(interface, DISCIPLINE_HANDLE, DISCIPLINE, 0);
    let mut request = Request::new(NEW_DISCIPLINE, ACK | CREATE | EXCLUSIVE, &head);
    request.put_text(KIND, "clsact");
    match netlink.ask(request) {
        Ok(_) => Ok(true),
        Err(refused) if refused.errno == Errno::EEXIST => Ok(false),
        Err(refused) => Err(not_attached(refused)),
    }
}

fn remove_discipline(netlink: &Netlink, interface: u32) {
    let head = head(interface, DISCIPLINE_HANDLE, DISCIPLINE, 0);
    let mut request = Request::new(REMOVE_DISCIPLINE, ACK, &head);
    request.put_text(KIND, "clsact");
    // The refusal that brought us here is what the caller hears of.
    let _ = netlink.ask(request);
}

fn list(netlink: &Netlink, interface: u32, direction: TcDirection) -> Result<Vec<FoundFilter>> {
    let answers = dump(netlink, interface, direction).map_err(unanswered)?;
    let found = answers
        .iter()
        .filter_map(|(_, body)| FoundFilter::read(body, direction));
    Ok(found.collect())
}

/// How many filters of any sort there are.
fn list_any(netlink: &Netlink, interface: u32, direction: TcDirection) -> Result<usize> {
    let answers = dump(netlink, interface, direction).map_err(unanswered)?;
    Ok(answers
        .iter()
        .filter(|(kind, _)| *kind == NEW_FILTER)
        .count())
}

fn dump(
    netlink: &Netlink,
    interface: u32,
    direction: TcDirection,
) -> Result<Vec<(u16, Vec<u8>)>, Refused> {
    let head = head(interface, 0, parent(direction), 0);
    match netlink.ask(Request::new(LIST_FILTERS, DUMP, &head)) {
        // KERNEL: 6.18 answers EINVAL where an interface has no discipline.
        Err(refused) if matches!(refused.errno, Errno::EINVAL | Errno::ENODEV) => Ok(Vec::new()),
        answers => answers,
    }
}

fn parent(direction: TcDirection) -> u32 {
    match direction {
        TcDirection::Ingress => 0xffff_fff2,
        TcDirection::Egress => 0xffff_fff3,
    }
}

/// `struct tcmsg`
fn head(interface: u32, handle: u32, parent: u32, info: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    for (index, word) in [0, interface, handle, parent, info].into_iter().enumerate() {
        head[index * 4..index * 4 + 4].copy_from_slice(&word.to_ne_bytes());
    }
    head
}

fn not_attached(refused: Refused) -> Error {
    let message = "the filter was not added to traffic control";
    let diagnosis = match refused.errno {
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(Code::ATTACH_PERMISSION, message),
            &[Capability::NetAdmin],
        ),
        Errno::EEXIST => Diagnosis::new(
            Code::ATTACH_TAKEN,
            "a filter with this priority and handle is there already",
        ),
        _ => Diagnosis::new(Code::ATTACH, message),
    };
    refused.explain(diagnosis)
}

fn not_removed(refused: Refused) -> Error {
    let message = "the filter was not removed from traffic control";
    refused.explain(Diagnosis::new(Code::ATTACH, message))
}

fn unanswered(refused: Refused) -> Error {
    let message = "the filters of traffic control cannot be listed";
    refused.explain(Diagnosis::new(Code::HOST_IO, message))
}

/// `RTM_NEWQDISC` and so on.
const NEW_DISCIPLINE: u16 = 36;
const REMOVE_DISCIPLINE: u16 = 37;
const NEW_FILTER: u16 = 44;
const REMOVE_FILTER: u16 = 45;
const LIST_FILTERS: u16 = 46;
/// `TC_H_CLSACT`, and the handle that the kernel gives that discipline.
const DISCIPLINE: u32 = 0xffff_fff1;
const DISCIPLINE_HANDLE: u32 = 0xffff_0000;
/// `TCA_KIND`, `TCA_OPTIONS`
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
/// `TCA_BPF_FD` and so on.
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_TAG: u16 = 10;
const BPF_ID: u16 = 11;
/// `TCA_BPF_FLAG_ACT_DIRECT`
const DIRECT: u32 = 1;
/// `ETH_P_ALL`
const ALL_PROTOCOLS: u16 = 3;
const HEAD_BYTES: usize = 20;
