//! Hooks of interfaces and network namespaces.

use twinbpf::hook::{
    Hook, Neighbour, NetfilterFamily, NetfilterPoint, Netkit, NetkitEnd, Order, Position, Tc,
    TcDirection, XdpMode,
};
use twinbpf::{Code, ErrorKind, Link, LinkPlace, Loaded};
use twinbpf_trials::{Case, Need};

use crate::places::{in_own_network, ip, load, load_beside, send_datagrams, value};

const CASES: &[(&str, fn())] = &[
    (
        "xdp_sees_frames_and_can_be_exchanged",
        xdp_sees_frames_and_can_be_exchanged,
    ),
    ("xdp_runs_in_a_driver", xdp_runs_in_a_driver),
    (
        "an_interface_with_xdp_takes_no_second_program",
        an_interface_with_xdp_takes_no_second_program,
    ),
    (
        "xdp_of_an_interface_needs_no_link",
        xdp_of_an_interface_needs_no_link,
    ),
    (
        "tc_programs_run_in_the_order_asked_for",
        tc_programs_run_in_the_order_asked_for,
    ),
    (
        "a_changed_list_is_not_added_to",
        a_changed_list_is_not_added_to,
    ),
    (
        "both_ends_of_a_pair_run_programs_in_order",
        both_ends_of_a_pair_run_programs_in_order,
    ),
    (
        "a_filter_runs_beside_that_of_another_tool",
        a_filter_runs_beside_that_of_another_tool,
    ),
    (
        "a_filter_gives_way_to_another_program",
        a_filter_gives_way_to_another_program,
    ),
    (
        "the_packet_filter_runs_programs",
        the_packet_filter_runs_programs,
    ),
    (
        "a_network_namespace_looks_sockets_up",
        a_network_namespace_looks_sockets_up,
    ),
    ("flows_are_dissected", flows_are_dissected),
    (
        "an_object_is_attached_whole_or_not_at_all",
        an_object_is_attached_whole_or_not_at_all,
    ),
    (
        "a_new_build_takes_over_and_keeps_the_maps",
        a_new_build_takes_over_and_keeps_the_maps,
    ),
    (
        "a_take_over_happens_whole_or_not_at_all",
        a_take_over_happens_whole_or_not_at_all,
    ),
    (
        "a_pinned_link_lives_until_it_is_detached",
        a_pinned_link_lives_until_it_is_detached,
    ),
    (
        "a_link_ends_at_once_whoever_holds_it",
        a_link_ends_at_once_whoever_holds_it,
    ),
    (
        "what_does_not_fit_is_refused_by_name",
        what_does_not_fit_is_refused_by_name,
    ),
];

/// Cases that need a kernel with links for the packet filter, and for traffic control.
const SINCE: &[(&str, u32, u32)] = &[
    ("the_packet_filter_runs_programs", 6, 4),
    ("tc_programs_run_in_the_order_asked_for", 6, 6),
    ("a_changed_list_is_not_added_to", 6, 6),
    ("flows_are_dissected", 6, 6),
    ("an_object_is_attached_whole_or_not_at_all", 6, 6),
    ("a_new_build_takes_over_and_keeps_the_maps", 6, 6),
    ("a_take_over_happens_whole_or_not_at_all", 6, 6),
];

/// The case that needs a pair of devices.
const PAIR: &str = "both_ends_of_a_pair_run_programs_in_order";

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let case = |(name, body): &(&str, fn())| {
        let body = *body;
        let mut needs = vec![Need::Kernel, Need::Network, Need::Bpffs];
        let newer = SINCE.iter().find(|(newer, ..)| newer == name);
        needs.extend(newer.map(|(_, major, minor)| Need::Since(*major, *minor)));
        needs.extend((*name == PAIR).then_some(Need::Netkit));
        Case::new(&format!("network::{name}"), &needs, move || {
            in_own_network(body);
        })
    };
    CASES.iter().map(case).collect()
}

fn attach(loaded: &Loaded, program: &str, hook: &Hook) -> Link {
    loaded.program(program).unwrap().attach(hook).unwrap()
}

fn xdp_sees_frames_and_can_be_exchanged() {
    let loaded = load(&["frames", "replacement"]);
    let hook = Hook::xdp_in("lo", XdpMode::Generic);
    let link = attach(&loaded, "frames", &hook);
    send_datagrams(3);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), 3);
    assert_eq!(link.info().unwrap().place, LinkPlace::Xdp { interface: 1 });

    let (old, new) = (
        loaded.program("frames").unwrap(),
        loaded.program("replacement").unwrap(),
    );
    let error = link.update(new, Some(new)).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_CHANGED, "{error}");
    link.update(new, Some(old)).unwrap();
    send_datagrams(2);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), 3);
    assert_eq!(value::<u64>(&loaded, "replacement_runs"), 2);

    link.detach().unwrap();
    send_datagrams(2);
    assert_eq!(value::<u64>(&loaded, "replacement_runs"), 2);
}

fn xdp_runs_in_a_driver() {
    ip(&["link", "add", "near", "type", "veth", "peer", "name", "far"]);
    ip(&["link", "set", "near", "up"]);
    ip(&["link", "set", "far", "up"]);
    let loaded = load(&["frames"]);
    let link = attach(&loaded, "frames", &Hook::xdp_in("far", XdpMode::Native));
    let place = link.info().unwrap().place;
    assert_eq!(place.interface_name().as_deref(), Some("far"));
    ip(&["address", "add", "192.0.2.1/24", "dev", "near"]);
    let sender = std::net::UdpSocket::bind("192.0.2.1:0").unwrap();
    sender.set_broadcast(true).unwrap();
    sender.send_to(b"x", "192.0.2.255:9").unwrap();
    assert!(value::<u64>(&loaded, "xdp_runs") >= 1);

    let error = loaded
        .program("frames")
        .unwrap()
        .attach(&Hook::xdp_in("lo", XdpMode::Native))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    assert!(error.diagnosis().help[0].contains("generic"));
}

fn an_interface_with_xdp_takes_no_second_program() {
    let loaded = load(&["frames", "replacement"]);
    let first = attach(&loaded, "frames", &Hook::xdp("lo"));
    let replacement = loaded.program("replacement").unwrap();
    let error = replacement.attach(&Hook::xdp("lo")).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_TAKEN, "{error}");
    first.detach().unwrap();
    let _second = replacement.attach(&Hook::xdp("lo")).unwrap();
}

fn xdp_of_an_interface_needs_no_link() {
    let loaded = load(&["frames", "replacement"]);
    let replacement = loaded.program("replacement").unwrap();
    let frames = loaded.program("frames").unwrap();
    let hook: Hook = "xdp.generic:lo@netlink".parse().unwrap();
    let first = frames.attach(&hook).unwrap();
    send_datagrams(2);
    let seen = value::<u64>(&loaded, "xdp_runs");
    assert_eq!(seen, 2);
    let in_use = twinbpf::attached_xdp().unwrap();
    assert_eq!(in_use[0].program, frames.info().unwrap().id);

    for other in [hook.clone(), Hook::xdp("lo")] {
        let error = replacement.attach(&other).unwrap_err();
        assert_eq!(error.diagnosis().code, Code::ATTACH_TAKEN, "{error}");
    }
    let error = first.update(frames, Some(replacement)).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_CHANGED, "{error}");
    first.update(replacement, Some(frames)).unwrap();
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), seen);
    drop(first);
    assert_eq!(twinbpf::attached_xdp().unwrap(), []);

    // What somebody else puts there in the meantime stays.
    let mine = frames.attach(&hook).unwrap();
    mine.update(replacement, None).unwrap();
    let off = ["link", "set", "dev", "lo", "xdpgeneric", "off"];
    let status = std::process::Command::new("ip").args(off).status();
    assert!(status.unwrap().success());
    let others = frames.attach(&hook).unwrap();
    drop(mine);
    assert_eq!(twinbpf::attached_xdp().unwrap().len(), 1);
    drop(others);

    let native: Hook = "xdp.native:lo@netlink".parse().unwrap();
    let error = frames.attach(&native).unwrap_err();
    let diagnosis = error.diagnosis();
    assert_eq!(diagnosis.code, Code::ATTACH_UNSUPPORTED, "{error}");
    assert!(
        diagnosis
            .facts
            .iter()
            .any(|fact| fact.label == "the kernel says"),
        "{diagnosis:?}"
    );
}

fn tc_at(position: Position, expected_revision: Option<u64>) -> Hook {
    Hook::Tc(Tc {
        interface: "lo".to_owned(),
        direction: TcDirection::Ingress,
        order: Order {
            position,
            expected_revision,
        },
    })
}

fn tc_programs_run_in_the_order_asked_for() {
    let loaded = load(&["first", "second"]);
    let second = attach(&loaded, "second", &Hook::tc_ingress("lo"));
    let first = attach(&loaded, "first", &tc_at(Position::First, None));
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "sequence"), 12);
    first.detach().unwrap();

    let neighbour = Neighbour::Link(second.info().unwrap().id);
    let first = attach(&loaded, "first", &tc_at(Position::Before(neighbour), None));
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "sequence"), 1212);
    first.detach().unwrap();

    let neighbour = Neighbour::Program(second.info().unwrap().program);
    let first = attach(&loaded, "first", &tc_at(Position::After(neighbour), None));
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "sequence"), 121_221);
    first.detach().unwrap();

    let gone = loaded
        .program("first")
        .unwrap()
        .attach(&tc_at(Position::Before(Neighbour::Link(u32::MAX)), None))
        .unwrap_err();
    assert_eq!(gone.diagnosis().code, Code::ATTACH_CHANGED, "{gone}");
}

fn a_changed_list_is_not_added_to() {
    let loaded = load(&["first", "second"]);
    // An empty list has revision 1.
    let _second = attach(&loaded, "second", &tc_at(Position::Last, Some(1)));
    let first = loaded.program("first").unwrap();
    let error = first.attach(&tc_at(Position::Last, Some(1))).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_CHANGED, "{error}");
    let _first = first.attach(&tc_at(Position::Last, Some(2))).unwrap();
}

fn both_ends_of_a_pair_run_programs_in_order() {
    // The kernel names the other one.
    ip(&["link", "add", "near", "type", "netkit"]);
    for (device, address) in [("near", "192.0.2.1/25"), ("nk0", "192.0.2.129/25")] {
        ip(&["address", "add", address, "dev", device]);
        ip(&["link", "set", device, "up"]);
    }
    let at = |end, position| {
        Hook::Netkit(Netkit {
            interface: "near".to_owned(),
            end,
            order: Order {
                position,
                expected_revision: None,
            },
        })
    };
    let loaded = load(&["first", "second"]);
    let second = attach(&loaded, "second", &at(NetkitEnd::Primary, Position::Last));
    let _first = attach(&loaded, "first", &at(NetkitEnd::Primary, Position::First));
    let place = second.info().unwrap().place;
    assert!(matches!(place, LinkPlace::Netkit { .. }), "{place:?}");
    assert_eq!(place.interface_name().as_deref(), Some("near"));
    // A packet that leaves the first device; the kernel may send some of its own.
    let leave = |from: &str, to: &str| {
        let socket = std::net::UdpSocket::bind(from).unwrap();
        socket.send_to(b"x", to).unwrap();
    };
    let before = value::<u64>(&loaded, "second_runs");
    leave("192.0.2.1:0", "192.0.2.2:9");
    assert!(value::<u64>(&loaded, "second_runs") > before);
    assert!(
        value::<u64>(&loaded, "sequence")
            .to_string()
            .ends_with("12")
    );

    // Programs of the other end are attached to the first device, too.
    let peer = load(&["first"]);
    let on_peer = attach(&peer, "first", &at(NetkitEnd::Peer, Position::Last));
    let before = value::<u64>(&peer, "first_runs");
    leave("192.0.2.129:0", "192.0.2.130:9");
    let after = value::<u64>(&peer, "first_runs");
    assert!(after > before);
    on_peer.detach().unwrap();
    leave("192.0.2.129:0", "192.0.2.130:9");
    assert_eq!(value::<u64>(&peer, "first_runs"), after);

    // The other device takes none.
    let refused = loaded
        .program("first")
        .unwrap()
        .attach(&Hook::Netkit(Netkit {
            interface: "nk0".to_owned(),
            end: NetkitEnd::Primary,
            order: Order::default(),
        }));
    let error = refused.unwrap_err();
    assert!(error.diagnosis().errno.is_some(), "{error}");
}

/// What `tc` shows.
fn tc_shows(what: &str) -> String {
    let mut command = std::process::Command::new("tc");
    let output = command.args([what, "show", "dev", "lo"]);
    let output = match what {
        "filter" => output.arg("ingress"),
        _ => output,
    };
    String::from_utf8(output.output().unwrap().stdout).unwrap()
}

fn a_filter_runs_beside_that_of_another_tool() {
    let loaded = load(&["first", "second"]);
    let hook: Hook = "clsact.ingress:lo@priority=7".parse().unwrap();
    let link = attach(&loaded, "first", &hook);
    send_datagrams(2);
    assert_eq!(value::<u64>(&loaded, "first_runs"), 2);
    let found = link.filter().unwrap().clone();
    assert!(found.priority == 7 && found.handle == 1, "{found:?}");
    assert_eq!(twinbpf::filters(1, TcDirection::Ingress).unwrap(), [found]);
    assert!(tc_shows("filter").contains("twinbpf:"));
    let taken = loaded.program("second").unwrap();
    let taken = taken
        .attach(&"clsact.ingress:lo@priority=7@handle=1".parse().unwrap())
        .unwrap_err();
    assert_eq!(taken.diagnosis().code, Code::ATTACH_TAKEN, "{taken}");
    drop(link);
    assert!(!tc_shows("qdisc").contains("clsact"));

    // A discipline and a filter that somebody else made stay.
    let status = |arguments: &[&str]| {
        let status = std::process::Command::new("tc").args(arguments).status();
        assert!(status.unwrap().success());
    };
    status(&["qdisc", "add", "dev", "lo", "clsact"]);
    let others = "filter add dev lo ingress protocol ip u32 match u32 0 0 flowid 1:1";
    let others: Vec<&str> = others.split(' ').collect();
    status(&others);
    let link = attach(
        &loaded,
        "second",
        &"clsact.ingress:lo@priority=1".parse().unwrap(),
    );
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "second_runs"), 1);
    link.detach().unwrap();
    assert!(tc_shows("filter").contains("u32"));
    assert!(tc_shows("qdisc").contains("clsact"));
}

fn a_filter_gives_way_to_another_program() {
    let loaded = load(&["first", "second", "frames"]);
    let link = attach(&loaded, "first", &"clsact.ingress:lo".parse().unwrap());
    let (first, second) = (
        loaded.program("first").unwrap(),
        loaded.program("second").unwrap(),
    );
    let changed = link.update(second, Some(second)).unwrap_err();
    assert_eq!(changed.diagnosis().code, Code::ATTACH_CHANGED, "{changed}");
    link.update(second, Some(first)).unwrap();
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "sequence"), 2);
    let wrong = loaded.program("frames").unwrap();
    let wrong = wrong
        .attach(&"clsact.ingress:lo".parse().unwrap())
        .unwrap_err();
    assert_eq!(wrong.diagnosis().code, Code::ATTACH_KIND, "{wrong}");
}

fn the_packet_filter_runs_programs() {
    let loaded = load(&["filter"]);
    let hook = Hook::netfilter(NetfilterFamily::Ipv4, NetfilterPoint::Output, -5);
    let link = attach(&loaded, "filter", &hook);
    send_datagrams(2);
    assert_eq!(value::<u64>(&loaded, "filter_runs"), 2);
    let expected = LinkPlace::Netfilter {
        family: 2,
        point: 3,
        priority: -5,
        defragments: false,
    };
    assert_eq!(link.info().unwrap().place, expected);
    let again = loaded.program("filter").unwrap().attach(&hook).unwrap_err();
    assert_eq!(again.diagnosis().code, Code::ATTACH_TAKEN, "{again}");
}

fn a_network_namespace_looks_sockets_up() {
    let loaded = load(&["lookup"]);
    let link = attach(&loaded, "lookup", &Hook::network_namespace());
    send_datagrams(1);
    assert!(value::<u64>(&loaded, "lookup_runs") >= 1);
    let name = std::fs::read_link("/proc/thread-self/ns/net").unwrap();
    let LinkPlace::NetworkNamespace { inode, .. } = link.info().unwrap().place else {
        unreachable!("a lookup program is in a namespace");
    };
    assert_eq!(name.to_str().unwrap(), format!("net:[{inode}]"));
}

fn flows_are_dissected() {
    let loaded = load(&["dissector", "first"]);
    let _hashes = attach(&loaded, "first", &Hook::tc_ingress("lo"));
    let _dissector = attach(&loaded, "dissector", &Hook::network_namespace());
    send_datagrams(1);
    assert!(value::<u64>(&loaded, "dissector_runs") >= 1);
}

fn an_object_is_attached_whole_or_not_at_all() {
    let loaded = load(&["frames", "first", "lookup"]);
    let nowhere = loaded.attacher().attach().unwrap_err();
    assert_eq!(nowhere.diagnosis().code, Code::ATTACH_OPEN, "{nowhere}");

    let no_such = loaded
        .attacher()
        .interface("lo")
        .hook(
            "lookup",
            Hook::NetworkNamespace {
                path: Some("/no/such/file".into()),
            },
        )
        .attach()
        .unwrap_err();
    assert_eq!(no_such.kind(), ErrorKind::NotFound, "{no_such}");
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), 0);

    let links = loaded.attacher().interface("lo").attach().unwrap();
    assert_eq!(links.len(), 3);
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), 1);
    assert_eq!(value::<u64>(&loaded, "first_runs"), 1);
    links.into_iter().for_each(|link| link.detach().unwrap());

    let report = loaded.attacher().skip("first").attach_each().unwrap();
    assert_eq!(report.links.len(), 1);
    assert_eq!(report.links[0].0, "lookup");
    assert_eq!(report.not_attached.len(), 1);
    let unknown = loaded.attacher().skip("frist").attach().unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
}

fn a_new_build_takes_over_and_keeps_the_maps() {
    let programs = ["frames", "first", "lookup"];
    let old = load(&programs);
    let links = old.attacher().interface("lo").attach().unwrap();
    send_datagrams(2);
    let new = load_beside(&programs, &old);
    new.take_over(&old, &links).unwrap();
    let id = |name: &str| new.program(name).unwrap().info().unwrap().id;
    let now: Vec<u32> = links
        .iter()
        .map(|link| link.info().unwrap().program)
        .collect();
    assert_eq!(now, programs.map(id));
    drop(old);
    send_datagrams(3);
    // One map counts for both builds.
    assert_eq!(value::<u64>(&new, "xdp_runs"), 5);
    assert_eq!(value::<u64>(&new, "first_runs"), 5);
}

fn a_take_over_happens_whole_or_not_at_all() {
    let old = load(&["frames", "first"]);
    let links = old.attacher().interface("lo").attach().unwrap();
    let ids = || -> Vec<u32> {
        links
            .iter()
            .map(|link| link.info().unwrap().program)
            .collect()
    };
    let before = ids();
    let fewer = load(&["frames"]);
    let error = fewer.take_over(&old, &links).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(ids(), before);
    // A link that was detached refuses last; the one before it gets its program back.
    let new = load(&["frames", "first"]);
    let last = Link::by_id(links[1].info().unwrap().id).unwrap().unwrap();
    last.detach().unwrap();
    let error = new.take_over(&old, &links).unwrap_err();
    assert_eq!(
        error.diagnosis().errno,
        Some(twinbpf::Errno::ENOLINK),
        "{error}"
    );
    assert_eq!(ids()[0], before[0]);
    let others = load(&["frames", "first"]);
    let error = new.take_over(&others, &links[..1]).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_CHANGED, "{error}");
}

fn a_pinned_link_lives_until_it_is_detached() {
    let loaded = load(&["frames"]);
    let folder = format!("/sys/fs/bpf/twinbpf-attach-{}", std::process::id());
    let path = std::path::Path::new(&folder).join("link");
    let link = attach(&loaded, "frames", &Hook::xdp("lo"));
    link.pin(&path).unwrap();
    drop(link);
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), 1);

    let link = Link::open_pinned(&path).unwrap().unwrap();
    let by_number = Link::by_id(link.info().unwrap().id).unwrap().unwrap();
    assert_eq!(by_number.info().unwrap(), link.info().unwrap());
    link.detach().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), 1);
    assert!(Link::open_pinned(&path).unwrap().is_none());
}

/// A child process holds copies of all descriptors until it executes its program.
fn a_link_ends_at_once_whoever_holds_it() {
    let loaded = load(&["frames"]);
    let link = attach(&loaded, "frames", &Hook::xdp_in("lo", XdpMode::Generic));
    let holder = Link::by_id(link.info().unwrap().id).unwrap().unwrap();
    drop(link);
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), 1);
    holder.detach().unwrap();
    send_datagrams(1);
    assert_eq!(value::<u64>(&loaded, "xdp_runs"), 1);
}

fn what_does_not_fit_is_refused_by_name() {
    let loaded = load(&["frames"]);
    let frames = loaded.program("frames").unwrap();
    let error = frames.attach(&Hook::tc_ingress("lo")).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_KIND, "{error}");
    let error = frames.attach(&Hook::xdp("l0")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.diagnosis().help, ["did you mean `lo`?"]);
}
