//! XDP programs that an interface has without a link: the only way before 5.9, and what `ip link set dev eth0 xdp ...` makes.
//!
//! An interface has one such program, and keeps it when its process ends. Whoever changes it says which one is meant to be there, so that
//! nobody takes another's away.

use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use twinbpf_object::hook::{Xdp, XdpMode};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Hook, ProgramKind, Result};

use crate::attr::fd_number;
use crate::netlink::{ACK, Netlink, Refused, Request};
use crate::privilege::{Capability, Privileges};
use crate::program::KernelProgram;
use crate::{device, host};

/// The program of an interface. Dropping it takes the program away, if it is still there.
#[derive(Debug)]
#[must_use = "dropping it detaches the program"]
pub struct KernelXdp {
    netlink: Netlink,
    interface: u32,
    mode: u32,
    program: Mutex<KernelProgram>,
}

impl KernelXdp {
    /// Whether this kernel has no links for XDP.
    pub fn is_the_only_way() -> bool {
        !host::is_at_least("5.9")
    }

    /// Gives an interface the program.
    ///
    /// # Errors
    ///
    /// Code A007 if it has one; or if the program is none for XDP, the mode is none of the driver's, or a privilege is missing.
    pub fn attach(program: &KernelProgram, hook: &Xdp) -> Result<Self> {
        attach(program, hook)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(program.name())))
    }

    /// Puts another program in the place of this one, in one step. With `expected`, only if that program is there now.
    ///
    /// # Errors
    ///
    /// Code A008 if another program is there; else as [`KernelXdp::attach`].
    pub fn update(&self, new: &KernelProgram, expected: Option<&KernelProgram>) -> Result<()> {
        let mut program = self.program();
        let old = expected.unwrap_or(&program);
        let set = set(&self.netlink, self.interface, self.mode, new_over(new, old));
        set.map_err(|refused| match refused.errno {
            Errno::EEXIST => {
                let message = "the interface does not have the program that was expected";
                refused.explain(Diagnosis::new(Code::ATTACH_CHANGED, message))
            }
            _ => not_attached(refused),
        })?;
        *program = new.clone();
        Ok(())
    }

    /// Takes the program away at once.
    ///
    /// # Errors
    ///
    /// If the interface does not have it any more.
    pub fn detach(&self) -> Result<()> {
        self.take_away().map_err(|refused| {
            let message = "the interface's XDP program was not taken away";
            refused.explain(Diagnosis::new(Code::ATTACH, message))
        })
    }

    fn take_away(&self) -> Result<(), Refused> {
        let change = Change {
            new: NO_PROGRAM,
            flags: REPLACE,
            old: Some(fd_number(self.program().as_fd())),
        };
        set(&self.netlink, self.interface, self.mode, change)
    }

    fn program(&self) -> MutexGuard<'_, KernelProgram> {
        self.program.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for KernelXdp {
    fn drop(&mut self) {
        // The kernel compares; what somebody else put there stays.
        let _ = self.take_away();
    }
}

/// What becomes of an interface's program.
struct Change {
    new: u32,
    flags: u32,
    /// The program that is to be there.
    old: Option<u32>,
}

fn new_over(new: &KernelProgram, old: &KernelProgram) -> Change {
    Change {
        new: fd_number(new.as_fd()),
        flags: REPLACE,
        old: Some(fd_number(old.as_fd())),
    }
}

fn attach(program: &KernelProgram, hook: &Xdp) -> Result<KernelXdp> {
    if !Hook::Xdp(hook.clone()).takes(program.kind()) {
        let message = format!(
            "a program of type `{}` does not go to an interface's driver, `{}` does",
            program.kind(),
            ProgramKind::Xdp
        );
        return Err(Diagnosis::new(Code::ATTACH_KIND, message).into());
    }
    let mode = mode_flag(hook.mode);
    let interface = device::index_of(&hook.interface)?;
    let netlink = Netlink::open().map_err(not_attached)?;
    let change = Change {
        new: fd_number(program.as_fd()),
        flags: IF_NONE,
        old: None,
    };
    set(&netlink, interface, mode, change).map_err(not_attached)?;
    Ok(KernelXdp {
        netlink,
        interface,
        mode,
        program: Mutex::new(program.clone()),
    })
}

fn set(netlink: &Netlink, interface: u32, mode: u32, change: Change) -> Result<(), Refused> {
    let mut head = [0; 16];
    head[4..8].copy_from_slice(&interface.to_ne_bytes());
    let mut request = Request::new(SET_INTERFACE, ACK, &head);
    request.nest(XDP | NESTED, |xdp| {
        xdp.put(XDP_FD, &change.new.to_ne_bytes())
            .put(XDP_FLAGS, &(mode | change.flags).to_ne_bytes());
        if let Some(old) = change.old {
            xdp.put(XDP_EXPECTED_FD, &old.to_ne_bytes());
        }
    });
    netlink.ask(request).map(drop)
}

fn not_attached(refused: Refused) -> Error {
    let message = "the interface was not given the XDP program";
    let diagnosis = match refused.errno {
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(Code::ATTACH_PERMISSION, message),
            &[Capability::NetAdmin],
        ),
        Errno::EBUSY | Errno::EEXIST => {
            Diagnosis::new(Code::ATTACH_TAKEN, "the interface has an XDP program")
                .help("`twinbpf net` shows it")
        }
        Errno::EOPNOTSUPP => Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
            .help("let the kernel run it: mode generic (`xdp.generic:INTERFACE`)"),
        _ => Diagnosis::new(Code::ATTACH, message),
    };
    refused.explain(diagnosis)
}

/// What requests of both ways say about the mode.
pub(crate) fn mode_flag(mode: XdpMode) -> u32 {
    match mode {
        XdpMode::Any => 0,
        // `XDP_FLAGS_SKB_MODE`, `XDP_FLAGS_DRV_MODE`, `XDP_FLAGS_HW_MODE`
        XdpMode::Generic => 1 << 1,
        XdpMode::Native => 1 << 2,
        XdpMode::Offload => 1 << 3,
    }
}

/// Minus one: a descriptor that is none.
const NO_PROGRAM: u32 = u32::MAX;
/// `RTM_SETLINK`
const SET_INTERFACE: u16 = 19;
/// `IFLA_XDP`, and the flag of attributes that hold attributes.
const XDP: u16 = 43;
const NESTED: u16 = 1 << 15;
/// `IFLA_XDP_FD` and so on.
const XDP_FD: u16 = 1;
const XDP_FLAGS: u16 = 3;
const XDP_EXPECTED_FD: u16 = 8;
/// `XDP_FLAGS_UPDATE_IF_NOEXIST`, `XDP_FLAGS_REPLACE`
const IF_NONE: u32 = 1;
const REPLACE: u32 = 1 << 4;
