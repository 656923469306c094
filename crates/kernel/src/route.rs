//! Programs on the packets of a route: a route that says which program its packets meet on their way.
//!
//! ```text
//! route ── encapsulation of sort bpf ──┬── in:   before delivery or forwarding
//!                                      ├── out:  before the packet is sent on
//!                                      '── xmit: just before the device
//! ```
//!
//! A route stays when its process is killed, so its program's name says who holds it, as a filter's does.

use std::net::IpAddr;
use std::os::fd::AsFd;

use twinbpf_object::hook::{Route, RouteMoment};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Hook, Result};

use crate::attr::fd_number;
use crate::device;
use crate::holder::Holder;
use crate::netlink::{
    ACK, CREATE, DUMP, EXCLUSIVE, Netlink, REPLACE, Refused, Request, attribute, text_of, word,
};
use crate::privilege::{Capability, Privileges};
use crate::program::KernelProgram;

/// A route with a program. Dropping it removes the route.
#[derive(Debug)]
#[must_use = "dropping the route detaches the program"]
pub struct KernelRoute {
    netlink: Netlink,
    found: FoundRoute,
}

/// A route that runs a program, as the kernel lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRoute {
    /// The interface's number.
    pub interface: u32,
    /// Where its packets go: the address of a network.
    pub destination: IpAddr,
    /// How many bits of it are the network's.
    pub prefix: u8,
    /// Where on their way they meet the program.
    pub moment: RouteMoment,
    /// The name it was given.
    pub name: String,
}

impl KernelRoute {
    /// Makes a route with a program, in the main table of this thread's network namespace.
    ///
    /// # Errors
    ///
    /// If the program is none for that moment, the destination is none, there is such a route already, or a privilege is missing.
    pub fn attach(program: &KernelProgram, hook: &Route) -> Result<Self> {
        attach(program, hook)
            .map_err(|error| error.map(|diagnosis| diagnosis.in_program(program.name())))
    }

    /// The route as it was made.
    pub fn found(&self) -> &FoundRoute {
        &self.found
    }

    /// Puts another program in the place of the route's, in one step.
    ///
    /// # Errors
    ///
    /// As [`KernelRoute::attach`].
    pub fn update(&self, new: &KernelProgram) -> Result<()> {
        let request = self.found.put(new, CREATE | REPLACE);
        self.netlink.ask(request).map(drop).map_err(not_made)
    }

    /// Removes the route at once.
    ///
    /// # Errors
    ///
    /// If it has gone already.
    pub fn detach(&self) -> Result<()> {
        self.found.remove(&self.netlink)
    }
}

impl Drop for KernelRoute {
    fn drop(&mut self) {
        // Only what is still ours: somebody may have removed it and made another at its place.
        if list(&self.netlink).is_ok_and(|routes| routes.contains(&self.found)) {
            // There is nobody to tell if it goes in between.
            let _ = self.found.remove(&self.netlink);
        }
    }
}

impl FoundRoute {
    /// Whether it is one of ours whose holder has ended.
    pub fn is_abandoned(&self) -> bool {
        Holder::read(&self.name).is_some_and(|holder| holder.has_ended())
    }

    /// `struct rtmsg`
    fn head(&self) -> [u8; HEAD_BYTES] {
        let family = match self.destination {
            IpAddr::V4(_) => FAMILY_4,
            IpAddr::V6(_) => FAMILY_6,
        };
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&[
            family,
            self.prefix,
            0,
            0,
            MAIN_TABLE,
            BY_ADMINISTRATOR,
            EVERYWHERE,
            UNICAST,
        ]);
        head
    }

    fn place(&self, request: &mut Request) {
        match self.destination {
            IpAddr::V4(address) => request.put(DESTINATION, &address.octets()),
            IpAddr::V6(address) => request.put(DESTINATION, &address.octets()),
        };
        request.put(INTERFACE, &self.interface.to_ne_bytes());
    }

    fn put(&self, program: &KernelProgram, flags: u16) -> Request {
        let mut request = Request::new(NEW_ROUTE, flags | ACK, &self.head());
        self.place(&mut request);
        request.put(SORT, &SORT_BPF.to_ne_bytes());
        request.nest(ENCAPSULATION | NESTED, |request| {
            request.nest(moment_number(self.moment) | NESTED, |request| {
                request
                    .put(PROGRAM_FD, &fd_number(program.as_fd()).to_ne_bytes())
                    .put_text(PROGRAM_NAME, &self.name);
            });
        });
        request
    }

    fn remove(&self, netlink: &Netlink) -> Result<()> {
        let mut request = Request::new(REMOVE_ROUTE, ACK, &self.head());
        self.place(&mut request);
        netlink.ask(request).map(drop).map_err(not_removed)
    }

    fn read(body: &[u8]) -> Option<Self> {
        let attributes = body.get(HEAD_BYTES..)?;
        let encapsulation = attribute(attributes, ENCAPSULATION)?;
        let moments = [
            RouteMoment::Input,
            RouteMoment::Output,
            RouteMoment::Transmit,
        ];
        let (moment, program) = moments
            .into_iter()
            .find_map(|each| Some((each, attribute(encapsulation, moment_number(each))?)))?;
        let destination = attribute(attributes, DESTINATION)?;
        let destination = match body.first()? {
            &FAMILY_4 => IpAddr::from(*destination.first_chunk::<4>()?),
            _ => IpAddr::from(*destination.first_chunk::<16>()?),
        };
        Some(Self {
            interface: word(attribute(attributes, INTERFACE)?, 0)?,
            destination,
            prefix: *body.get(1)?,
            moment,
            name: text_of(attribute(program, PROGRAM_NAME)?),
        })
    }
}

/// Our routes in this network namespace whose holder has ended without removing them, with `remove` removed.
///
/// # Errors
///
/// If the kernel does not answer, or refuses to remove one.
pub fn abandoned_routes(remove: bool) -> Result<Vec<FoundRoute>> {
    let netlink = Netlink::open().map_err(unanswered)?;
    let mut routes = list(&netlink)?;
    routes.retain(FoundRoute::is_abandoned);
    if remove {
        for route in &routes {
            route.remove(&netlink)?;
        }
    }
    Ok(routes)
}

fn attach(program: &KernelProgram, hook: &Route) -> Result<KernelRoute> {
    if !Hook::Route(hook.clone()).takes(program.kind()) {
        let message = format!(
            "a program of type `{}` does not attach to the hook {}",
            program.kind(),
            Hook::Route(hook.clone())
        );
        return Err(Diagnosis::new(Code::ATTACH_KIND, message).into());
    }
    let (destination, prefix) = network(&hook.destination)?;
    let found = FoundRoute {
        interface: device::index_of(&hook.interface)?,
        destination,
        prefix,
        moment: hook.moment,
        name: Holder::own(false).name(program.name()),
    };
    let netlink = Netlink::open().map_err(not_made)?;
    netlink
        .ask(found.put(program, CREATE | EXCLUSIVE))
        .map_err(not_made)?;
    Ok(KernelRoute { netlink, found })
}

/// Reads `10.1.0.0/16`, `fd00::/8`, or one address.
fn network(text: &str) -> Result<(IpAddr, u8)> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, prefix.parse().ok()),
        None => (text, Some(u8::MAX)),
    };
    let found = address.parse::<IpAddr>().ok().zip(prefix);
    let most = |address: &IpAddr| if address.is_ipv4() { 32 } else { 128 };
    match found {
        Some((address, u8::MAX)) => Ok((address, most(&address))),
        Some((address, prefix)) if prefix <= most(&address) => Ok((address, prefix)),
        _ => {
            let message = format!("`{text}` is no destination of a route");
            Err(Diagnosis::new(Code::ATTACH_TARGET, message)
                .help("write an address, or a network as 10.1.0.0/16")
                .into())
        }
    }
}

fn list(netlink: &Netlink) -> Result<Vec<FoundRoute>> {
    let answers = netlink.ask(Request::new(LIST_ROUTES, DUMP, &[0; HEAD_BYTES]));
    let answers = answers.map_err(unanswered)?;
    let found = answers
        .iter()
        .filter_map(|(_, body)| FoundRoute::read(body));
    Ok(found.collect())
}

/// `LWT_BPF_IN` and so on.
fn moment_number(moment: RouteMoment) -> u16 {
    match moment {
        RouteMoment::Input => 1,
        RouteMoment::Output => 2,
        RouteMoment::Transmit => 3,
    }
}

fn not_made(refused: Refused) -> Error {
    let message = "the route with the program was not made";
    let diagnosis = match refused.errno {
        Errno::EPERM | Errno::EACCES => Privileges::read().explain(
            Diagnosis::new(Code::ATTACH_PERMISSION, message),
            &[Capability::NetAdmin],
        ),
        Errno::EEXIST => Diagnosis::new(
            Code::ATTACH_TAKEN,
            "there is a route to this destination already",
        ),
        Errno::EOPNOTSUPP => Diagnosis::new(
            Code::ATTACH_UNSUPPORTED,
            "this kernel was built without programs on routes",
        )
        .help("it takes one with CONFIG_LWTUNNEL_BPF"),
        _ => Diagnosis::new(Code::ATTACH, message),
    };
    refused.explain(diagnosis)
}

fn not_removed(refused: Refused) -> Error {
    refused.explain(Diagnosis::new(Code::ATTACH, "the route was not removed"))
}

fn unanswered(refused: Refused) -> Error {
    refused.explain(Diagnosis::new(Code::HOST_IO, "the routes cannot be listed"))
}

/// `RTM_NEWROUTE` and so on.
const NEW_ROUTE: u16 = 24;
const REMOVE_ROUTE: u16 = 25;
const LIST_ROUTES: u16 = 26;
const HEAD_BYTES: usize = 12;
/// `AF_INET`, `AF_INET6`
const FAMILY_4: u8 = 2;
const FAMILY_6: u8 = 10;
/// `RT_TABLE_MAIN`, `RTPROT_BOOT`, `RT_SCOPE_UNIVERSE`, `RTN_UNICAST`
const MAIN_TABLE: u8 = 254;
const BY_ADMINISTRATOR: u8 = 3;
const EVERYWHERE: u8 = 0;
const UNICAST: u8 = 1;
/// `RTA_DST`, `RTA_OIF`, `RTA_ENCAP_TYPE`, `RTA_ENCAP`
const DESTINATION: u16 = 1;
const INTERFACE: u16 = 4;
const SORT: u16 = 21;
const ENCAPSULATION: u16 = 22;
/// `NLA_F_NESTED`
const NESTED: u16 = 1 << 15;
/// `LWTUNNEL_ENCAP_BPF`
const SORT_BPF: u16 = 6;
/// `LWT_BPF_PROG_FD`, `LWT_BPF_PROG_NAME`
const PROGRAM_FD: u16 = 1;
const PROGRAM_NAME: u16 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_an_address_or_a_network() {
        let four = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(network("10.1.0.0/16").unwrap(), (four("10.1.0.0"), 16));
        assert_eq!(network("10.1.2.3").unwrap(), (four("10.1.2.3"), 32));
        assert_eq!(network("fd00::/8").unwrap(), (four("fd00::"), 8));
        for wrong in [
            "",
            "10.1.0.0/33",
            "fd00::/129",
            "lo",
            "10.1.0.0/",
            "10.1.0.0/x",
        ] {
            let error = network(wrong).unwrap_err();
            assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET, "{wrong}");
        }
    }
}
