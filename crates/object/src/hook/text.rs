//! Hooks as text, the way a command line names them: `sort[.option]:place`.
//!
//! ```text
//! socket:lo            xdp.generic:eth0      tc.ingress:eth0        netns:/run/netns/blue
//! cgroup:/sys/...      raw_tp:sched_switch   netfilter:ipv4:input:-5   tracing   iter:pid=1
//! ```
//!
//! What cannot be written so (an order among programs, a cookie) takes the library.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{
    Cgroup, CgroupWalk, Hook, IteratorScope, Moment, Neighbour, Netfilter, NetfilterFamily,
    NetfilterPoint, Netkit, NetkitEnd, Order, Position, Route, RouteMoment, SystemCall, Tc,
    TcDirection, TcFilter, Xdp, XdpMode, probe, several, usdt,
};
use crate::abi::AttachKind;

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { interface } => write!(f, "socket:{interface}"),
            Self::Xdp(hook) => hook.fmt(f),
            Self::Tc(hook) => {
                let direction = direction_word(hook.direction);
                write!(f, "tc.{direction}:{}{}", hook.interface, hook.order)
            }
            Self::TcFilter(hook) => {
                let direction = direction_word(hook.direction);
                write!(f, "clsact.{direction}:{}", hook.interface)?;
                if hook.priority != 0 {
                    write!(f, "@priority={}", hook.priority)?;
                }
                match hook.handle {
                    0 => Ok(()),
                    handle => write!(f, "@handle={handle}"),
                }
            }
            Self::Netkit(hook) => {
                let end = end_word(hook.end);
                write!(f, "netkit.{end}:{}{}", hook.interface, hook.order)
            }
            Self::Route(hook) => {
                let moment = moment_word(hook.moment);
                write!(f, "route.{moment}:{}:{}", hook.interface, hook.destination)
            }
            Self::SocketMap { map } => write!(f, "sockmap:{map}"),
            Self::Cgroup(hook) => {
                f.write_str("cgroup")?;
                if let Some(attach) = hook.attach {
                    write!(f, ".{}", cgroup_word(attach))?;
                }
                write!(f, ":{}{}", hook.path.display(), hook.order)
            }
            Self::NetworkNamespace { path: None } => f.write_str("netns"),
            Self::NetworkNamespace { path: Some(path) } => write!(f, "netns:{}", path.display()),
            Self::Netfilter(hook) => {
                let sort = if hook.defragments {
                    "netfilter.defrag"
                } else {
                    "netfilter"
                };
                let (family, point) = (family_word(hook.family), point_word(hook.point));
                write!(f, "{sort}:{family}:{point}:{}", hook.priority)
            }
            Self::Tracing { .. } => f.write_str("tracing"),
            Self::RawTracepoint { name, .. } => write!(f, "raw_tp:{name}"),
            Self::Tracepoint { category, name, .. } => write!(f, "tp:{category}/{name}"),
            Self::Kprobe(hook) => hook.fmt(f),
            Self::Uprobe(hook) => hook.fmt(f),
            Self::SystemCall(hook) => hook.fmt(f),
            Self::KprobeMulti(hook) => hook.fmt(f),
            Self::UprobeMulti(hook) => hook.fmt(f),
            Self::Usdt(hook) => hook.fmt(f),
            Self::PerfEvent(hook) => hook.fmt(f),
            Self::Iterator(scope) => match scope {
                IteratorScope::All => f.write_str("iter"),
                IteratorScope::Map(id) => write!(f, "iter:map={id}"),
                IteratorScope::Thread(id) => write!(f, "iter:tid={id}"),
                IteratorScope::Process(id) => write!(f, "iter:pid={id}"),
                IteratorScope::Cgroup { path, walk } => {
                    write!(f, "iter:{}={}", walk_word(*walk), path.display())
                }
            },
        }
    }
}

impl fmt::Display for Order {
    /// Empty for the default; else what differs from it, after an `@`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            Position::Last => {}
            Position::First => f.write_str("@first")?,
            Position::Before(neighbour) => write!(f, "@before={neighbour}")?,
            Position::After(neighbour) => write!(f, "@after={neighbour}")?,
        }
        match self.expected_revision {
            Some(revision) => write!(f, "@revision={revision}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Neighbour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Program(id) => write!(f, "prog:{id}"),
            Self::Link(id) => write!(f, "link:{id}"),
        }
    }
}

impl FromStr for Hook {
    type Err = String;

    /// Reads what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, String> {
        let (sort, place) = match text.split_once(':') {
            Some((sort, place)) => (sort, Some(place)),
            None => (text, None),
        };
        let (sort, option) = match sort.split_once('.') {
            Some((sort, option)) => (sort, Some(option)),
            None => (sort, None),
        };
        let named = |form: &str| {
            place
                .filter(|place| !place.is_empty())
                .ok_or_else(|| format!("the hook `{text}` names no place: write {form}"))
        };
        match (sort, option) {
            ("socket", None) => Ok(Self::socket(named("socket:INTERFACE")?)),
            ("xdp", option) => {
                let place = named("xdp:INTERFACE")?;
                let interface = place.strip_suffix(NETLINK);
                Ok(Self::Xdp(Xdp {
                    interface: interface.unwrap_or(place).to_owned(),
                    mode: xdp_mode(option)?,
                    by_netlink: interface.is_some(),
                }))
            }
            ("tc", Some(option)) => tc(option, named("tc.ingress:INTERFACE")?),
            ("clsact", Some(option)) => filter(option, named("clsact.ingress:INTERFACE")?),
            ("netkit", Some(option)) => netkit(option, named("netkit.primary:INTERFACE")?),
            ("route", Some(option)) => route(option, named("route.out:INTERFACE:10.1.0.0/16")?),
            ("sockmap", None) => number(named("sockmap:ID")?).map(Self::socket_map),
            ("cgroup", option) => cgroup(option, named("cgroup:FOLDER")?),
            ("netns", None) => Ok(Self::NetworkNamespace {
                path: place.map(PathBuf::from),
            }),
            ("netfilter", None) => netfilter(named("netfilter:FAMILY:POINT:PRIORITY")?, false),
            ("netfilter", Some("defrag")) => {
                netfilter(named("netfilter.defrag:FAMILY:POINT:PRIORITY")?, true)
            }
            ("tracing", None) if place.is_none() => Ok(Self::tracing()),
            ("raw_tp", None) => Ok(Self::raw_tracepoint(named("raw_tp:NAME")?)),
            ("tp", None) => tracepoint(named("tp:CATEGORY/NAME")?),
            ("kprobe", None) => probe::kprobe(named("kprobe:FUNCTION")?, false),
            ("kretprobe", None) => probe::kprobe(named("kretprobe:FUNCTION")?, true),
            ("uprobe", None) => probe::uprobe(named("uprobe:FILE:FUNCTION")?, false),
            ("uretprobe", None) => probe::uprobe(named("uretprobe:FILE:FUNCTION")?, true),
            ("kprobe" | "kretprobe" | "uprobe" | "uretprobe", Some(option)) => several_places(
                sort,
                option,
                named("kprobe.multi:PATTERN or uprobe.multi:FILE:PATTERN")?,
            ),
            ("ksyscall" | "kretsyscall", None) => Ok(Self::SystemCall(SystemCall {
                name: named("ksyscall:NAME")?.to_owned(),
                is_return: sort == "kretsyscall",
                cookie: 0,
            })),
            ("usdt", None) => usdt::read(named("usdt:FILE:PROVIDER:NAME")?),
            ("perf_event", None) => probe::perf_event(named("perf_event:COUNTER@freq=99")?),
            ("iter", None) => iterator(place).map(Self::Iterator),
            _ => Err(format!("`{text}` is no hook; hooks are {FORMS}")),
        }
    }
}

/// What a hook can look like, for messages.
const FORMS: &str = "socket:INTERFACE, xdp[.generic|.native|.offload]:INTERFACE[@netlink], tc.ingress:INTERFACE, \
    tc.egress:INTERFACE, \
    clsact.ingress:INTERFACE, clsact.egress:INTERFACE, netkit.primary:INTERFACE, netkit.peer:INTERFACE, \
    route.in:INTERFACE:NETWORK, route.out:INTERFACE:NETWORK, route.xmit:INTERFACE:NETWORK, sockmap:ID, \
    cgroup:FOLDER, netns[:FILE], netfilter:FAMILY:POINT:PRIORITY, raw_tp:NAME, tp:CATEGORY/NAME, \
    kprobe:FUNCTION, kretprobe:FUNCTION, uprobe:FILE:FUNCTION, uretprobe:FILE:FUNCTION, \
    k[ret]probe.multi:PATTERN, kprobe.session:PATTERN, u[ret]probe.multi:FILE:PATTERN, uprobe.session:FILE:PATTERN, \
    ksyscall:NAME, kretsyscall:NAME, usdt:FILE:PROVIDER:NAME, perf_event:COUNTER, tracing, iter[:SCOPE]";

fn several_places(sort: &str, option: &str, place: &str) -> Result<Hook, String> {
    let is_return = sort.contains("ret");
    let moment = match option {
        "multi" if is_return => Moment::Return,
        "multi" => Moment::Entry,
        "session" if !is_return => Moment::Session,
        _ => {
            return Err(format!(
                "`{sort}.{option}` is no hook; places in code have the forms multi and, without `ret`, session"
            ));
        }
    };
    match sort {
        "kprobe" | "kretprobe" => Ok(several::kprobe(place, moment)),
        _ => several::uprobe(place, moment),
    }
}

fn tracepoint(place: &str) -> Result<Hook, String> {
    match place.split_once('/') {
        Some((category, name)) if !category.is_empty() && !name.is_empty() => {
            Ok(Hook::tracepoint(category, name))
        }
        _ => Err(format!(
            "`{place}` is no tracepoint: write CATEGORY/NAME, as sched/sched_switch"
        )),
    }
}

impl fmt::Display for Xdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("xdp")?;
        if let Some(mode) = mode_word(self.mode) {
            write!(f, ".{mode}")?;
        }
        write!(f, ":{}", self.interface)?;
        f.write_str(if self.by_netlink { NETLINK } else { "" })
    }
}

/// Behind an interface: XDP without a link.
const NETLINK: &str = "@netlink";

fn mode_word(mode: XdpMode) -> Option<&'static str> {
    match mode {
        XdpMode::Any => None,
        XdpMode::Generic => Some("generic"),
        XdpMode::Native => Some("native"),
        XdpMode::Offload => Some("offload"),
    }
}

fn xdp_mode(option: Option<&str>) -> Result<XdpMode, String> {
    let modes = [
        XdpMode::Any,
        XdpMode::Generic,
        XdpMode::Native,
        XdpMode::Offload,
    ];
    let found = modes.into_iter().find(|mode| mode_word(*mode) == option);
    found.ok_or_else(|| "XDP has the modes generic, native and offload".to_owned())
}

fn direction_word(direction: TcDirection) -> &'static str {
    match direction {
        TcDirection::Ingress => "ingress",
        TcDirection::Egress => "egress",
    }
}

fn direction_of(word: &str) -> Result<TcDirection, String> {
    match word {
        "ingress" => Ok(TcDirection::Ingress),
        "egress" => Ok(TcDirection::Egress),
        _ => Err("traffic control has the directions ingress and egress".to_owned()),
    }
}

/// Reads `eth0@priority=7@handle=1`.
fn filter(direction: &str, place: &str) -> Result<Hook, String> {
    let mut parts = place.split('@');
    let mut hook = TcFilter {
        interface: parts.next().unwrap_or_default().to_owned(),
        direction: direction_of(direction)?,
        priority: 0,
        handle: 0,
    };
    for part in parts {
        match part.split_once('=') {
            Some(("priority", value)) => hook.priority = number(value)?,
            Some(("handle", value)) => hook.handle = number(value)?,
            _ => {
                return Err(format!(
                    "`@{part}` is unknown: write @priority=NUMBER or @handle=NUMBER"
                ));
            }
        }
    }
    Ok(Hook::TcFilter(hook))
}

fn tc(direction: &str, place: &str) -> Result<Hook, String> {
    let direction = direction_of(direction)?;
    let (interface, order) = split_order(place)?;
    Ok(Hook::Tc(Tc {
        interface: interface.to_owned(),
        direction,
        order,
    }))
}

fn end_word(end: NetkitEnd) -> &'static str {
    match end {
        NetkitEnd::Primary => "primary",
        NetkitEnd::Peer => "peer",
    }
}

fn netkit(end: &str, place: &str) -> Result<Hook, String> {
    let ends = [NetkitEnd::Primary, NetkitEnd::Peer];
    let end = ends.into_iter().find(|each| end_word(*each) == end);
    let (interface, order) = split_order(place)?;
    Ok(Hook::Netkit(Netkit {
        interface: interface.to_owned(),
        end: end.ok_or("a pair of netkit devices has the ends primary and peer")?,
        order,
    }))
}

fn moment_word(moment: RouteMoment) -> &'static str {
    match moment {
        RouteMoment::Input => "in",
        RouteMoment::Output => "out",
        RouteMoment::Transmit => "xmit",
    }
}

fn route(moment: &str, place: &str) -> Result<Hook, String> {
    let moments = [
        RouteMoment::Input,
        RouteMoment::Output,
        RouteMoment::Transmit,
    ];
    let moment = moments
        .into_iter()
        .find(|each| moment_word(*each) == moment);
    match place.split_once(':') {
        Some((interface, destination)) if !interface.is_empty() && !destination.is_empty() => {
            Ok(Hook::Route(Route {
                interface: interface.to_owned(),
                destination: destination.to_owned(),
                moment: moment.ok_or("packets of a route meet programs at in, out and xmit")?,
            }))
        }
        _ => Err(format!(
            "`{place}` is no route: write INTERFACE:NETWORK, as lo:10.1.0.0/16"
        )),
    }
}

/// The kernel's name of what processes do, as short as it is unmistakable: `inet_ingress`, `device`.
fn cgroup_word(attach: AttachKind) -> String {
    let name = attach.to_string();
    name.strip_prefix("cgroup_").unwrap_or(&name).to_owned()
}

fn cgroup(option: Option<&str>, place: &str) -> Result<Hook, String> {
    let attach = match option {
        None => None,
        Some(word) => {
            let name = format!("CGROUP_{}", word.to_ascii_uppercase());
            let found = AttachKind::from_kernel_name(&name);
            Some(found.ok_or_else(|| {
                format!("`{word}` is nothing that a cgroup attaches to, such as inet_ingress")
            })?)
        }
    };
    let (path, order) = split_order(place)?;
    Ok(Hook::Cgroup(Cgroup {
        path: PathBuf::from(path),
        attach,
        order,
    }))
}

/// Takes the order from the end of a place: `eth0@before=link:7@revision=3`.
fn split_order(place: &str) -> Result<(&str, Order), String> {
    let mut parts = place.split('@');
    let place = parts.next().unwrap_or_default();
    let mut order = Order::default();
    for part in parts {
        let (word, value) = part.split_once('=').unwrap_or((part, ""));
        match word {
            "first" if value.is_empty() => order.position = Position::First,
            "before" => order.position = Position::Before(neighbour(value)?),
            "after" => order.position = Position::After(neighbour(value)?),
            "revision" => order.expected_revision = Some(number(value)?),
            _ => {
                return Err(format!(
                    "`@{part}` is no order: write @first, @before=prog:ID, @after=link:ID, @revision=NUMBER"
                ));
            }
        }
    }
    Ok((place, order))
}

fn neighbour(text: &str) -> Result<Neighbour, String> {
    match text.split_once(':') {
        Some(("prog", id)) => number(id).map(Neighbour::Program),
        Some(("link", id)) => number(id).map(Neighbour::Link),
        _ => Err(format!(
            "`{text}` is no neighbour: write prog:ID or link:ID"
        )),
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse()
        .map_err(|_| format!("`{text}` is not the number that is expected there"))
}

fn family_word(family: NetfilterFamily) -> &'static str {
    match family {
        NetfilterFamily::Ipv4 => "ipv4",
        NetfilterFamily::Ipv6 => "ipv6",
    }
}

fn point_word(point: NetfilterPoint) -> &'static str {
    match point {
        NetfilterPoint::Prerouting => "prerouting",
        NetfilterPoint::Input => "input",
        NetfilterPoint::Forward => "forward",
        NetfilterPoint::Output => "output",
        NetfilterPoint::Postrouting => "postrouting",
    }
}

fn netfilter(place: &str, defragments: bool) -> Result<Hook, String> {
    let mut parts = place.splitn(3, ':');
    let mut next = || parts.next().unwrap_or_default();
    let (family, point, priority) = (next(), next(), next());
    let families = [NetfilterFamily::Ipv4, NetfilterFamily::Ipv6];
    let points = [
        NetfilterPoint::Prerouting,
        NetfilterPoint::Input,
        NetfilterPoint::Forward,
        NetfilterPoint::Output,
        NetfilterPoint::Postrouting,
    ];
    let family = families
        .into_iter()
        .find(|each| family_word(*each) == family);
    let point = points.into_iter().find(|each| point_word(*each) == point);
    Ok(Hook::Netfilter(Netfilter {
        family: family.ok_or("the packet filter has the families ipv4 and ipv6")?,
        point: point.ok_or(
            "the packet filter has the points prerouting, input, forward, output, postrouting",
        )?,
        priority: number(priority)?,
        defragments,
    }))
}

fn walk_word(walk: CgroupWalk) -> &'static str {
    match walk {
        CgroupWalk::Itself => "cgroup",
        CgroupWalk::ParentsFirst => "cgroups",
        CgroupWalk::ChildrenFirst => "cgroups_children_first",
        CgroupWalk::Upwards => "cgroups_upwards",
    }
}

fn iterator(place: Option<&str>) -> Result<IteratorScope, String> {
    let Some(place) = place else {
        return Ok(IteratorScope::All);
    };
    let (word, value) = place.split_once('=').unwrap_or((place, ""));
    match word {
        "map" => return number(value).map(IteratorScope::Map),
        "tid" => return number(value).map(IteratorScope::Thread),
        "pid" => return number(value).map(IteratorScope::Process),
        _ => {}
    }
    let walks = [
        CgroupWalk::Itself,
        CgroupWalk::ParentsFirst,
        CgroupWalk::ChildrenFirst,
        CgroupWalk::Upwards,
    ];
    let walk = walks.into_iter().find(|walk| walk_word(*walk) == word);
    match walk.filter(|_| !value.is_empty()) {
        Some(walk) => Ok(IteratorScope::Cgroup {
            path: PathBuf::from(value),
            walk,
        }),
        None => Err(format!(
            "`{place}` is no scope: write map=ID, tid=ID, pid=ID, cgroup=FOLDER, cgroups=FOLDER"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_was_read() {
        for text in [
            "socket:lo",
            "xdp:eth0",
            "xdp.generic:eth0",
            "xdp.native:eth0",
            "xdp.offload:eth0",
            "xdp.generic:eth0@netlink",
            "tc.ingress:lo",
            "tc.egress:lo@first",
            "tc.egress:lo@before=prog:7@revision=3",
            "tc.egress:lo@after=link:7",
            "clsact.ingress:lo",
            "clsact.egress:eth0@priority=7@handle=2",
            "netkit.primary:nk0",
            "netkit.peer:nk0@first@revision=2",
            "route.out:lo:10.1.0.0/16",
            "route.xmit:eth0:fd00::/8",
            "sockmap:7",
            "cgroup:/sys/fs/cgroup/a",
            "cgroup.inet_egress:/sys/fs/cgroup/a@first",
            "netns",
            "netns:/run/netns/blue",
            "netfilter:ipv4:input:-5",
            "netfilter.defrag:ipv6:postrouting:5",
            "tracing",
            "raw_tp:sched_switch",
            "tp:sched/sched_switch",
            "kprobe:vfs_read",
            "kretprobe:vfs_read",
            "kprobe:vfs_read+0x10",
            "uprobe:/usr/bin/bash:readline",
            "uretprobe:libc.so.6:malloc@pid=7",
            "uprobe:/a:b/file:0x1234",
            "uprobe:/a/file:f+0x4",
            "uprobe:/a/file:0x8@counter=0x4010@pid=7",
            "kprobe.multi:tcp_*",
            "kretprobe.multi:vfs_read,vfs_write",
            "kprobe.session:vfs_read",
            "uprobe.multi:libc.so.6:mem*",
            "uretprobe.multi:/a/b:f,g@pid=3",
            "uprobe.session:/a:b:0x1,0x20",
            "ksyscall:nanosleep",
            "kretsyscall:nanosleep",
            "usdt:/a:b:provider:name@pid=9",
            "usdt:libc.so.6:libc:setjmp",
            "perf_event:cpu-clock@freq=99",
            "perf_event:page-faults@period=1@tid=17",
            "perf_event:4/0x1c2@freq=99@cpu=0",
            "iter",
            "iter:map=1",
            "iter:tid=2",
            "iter:pid=3",
            "iter:cgroup=/a",
            "iter:cgroups=/a",
            "iter:cgroups_children_first=/a",
            "iter:cgroups_upwards=/a",
        ] {
            let hook: Hook = text.parse().unwrap();
            assert_eq!(hook.to_string(), text);
            assert!(text.starts_with(hook.word()));
        }
    }

    #[test]
    fn what_is_no_hook_says_what_one_looks_like() {
        for (text, hint) in [
            ("", "socket:INTERFACE"),
            ("xpd:lo", "xdp"),
            ("socket", "socket:INTERFACE"),
            ("socket:", "socket:INTERFACE"),
            ("xdp.fast:lo", "native"),
            ("tc:lo", "tc.ingress"),
            ("clsact.ingress:lo@first", "@priority"),
            ("clsact.ingress:lo@priority=65536", "number"),
            ("tc.sideways:lo", "egress"),
            ("tc.ingress:lo@second", "@first"),
            ("tc.ingress:lo@before=7", "prog:ID"),
            ("netkit.middle:nk0", "peer"),
            ("netkit:nk0", "netkit.primary"),
            ("sockmap:x", "number"),
            ("route.out:lo", "INTERFACE:NETWORK"),
            ("route.over:lo:10.1.0.0/16", "xmit"),
            ("cgroup.nothing:/a", "inet_ingress"),
            ("netfilter:arp:input:1", "ipv6"),
            ("netfilter:ipv4:middle:1", "prerouting"),
            ("netfilter:ipv4:input", "number"),
            ("iter:pid=x", "number"),
            ("iter:cgroups", "cgroup=FOLDER"),
            ("tracing:x", "tracing"),
            ("tp:sched", "CATEGORY/NAME"),
            ("kprobe:+4", "function"),
            ("uprobe:/bin/true", "PATH:FUNCTION"),
            ("uprobe:/bin/true:f@pid=x", "number"),
            ("kretprobe.session:f", "without `ret`"),
            ("uprobe.multi:/a", "PATH:PATTERN"),
            ("uprobe.multi:/a:0x1,b", "number"),
            ("usdt:/a:b", "PATH:PROVIDER:NAME"),
            ("usdt:/a:b:c@pid=z", "number"),
            ("ksyscall", "ksyscall:NAME"),
            ("perf_event:nothing", "page-faults"),
            ("perf_event:cpu-clock@often", "@freq="),
            ("perf_event:cpu-clock@cpu=4294967296", "too large"),
        ] {
            let error = text.parse::<Hook>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
