//! Programs on sockets: in maps, sharing a port, alone; and on the packets of routes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketType, bind, getsockname, socket, sockopt};
use twinbpf::hook::{Hook, Route, RouteMoment};
use twinbpf::{Code, Engine, LinkPlace, Loaded, Object, UpdateMode};
use twinbpf_trials::{Case, Need};

use crate::places::{in_own_network, ip, send_datagrams, value};

const CASES: &[(&str, fn())] = &[
    (
        "a_packet_socket_runs_a_filter",
        a_packet_socket_runs_a_filter,
    ),
    (
        "what_sockets_in_a_map_send_is_seen",
        what_sockets_in_a_map_send_is_seen,
    ),
    (
        "what_a_socket_in_a_map_receives_goes_to_another",
        what_a_socket_in_a_map_receives_goes_to_another,
    ),
    (
        "a_program_chooses_among_sockets_that_share_a_port",
        a_program_chooses_among_sockets_that_share_a_port,
    ),
    (
        "a_filter_is_given_to_a_socket_of_the_caller",
        a_filter_is_given_to_a_socket_of_the_caller,
    ),
    (
        "packets_of_a_route_meet_a_program",
        packets_of_a_route_meet_a_program,
    ),
];

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let case = |(name, body): &(&str, fn())| {
        let body = *body;
        let mut needs = vec![Need::Kernel, Need::Network];
        if name.contains("in_a_map") {
            // Links to maps of sockets.
            needs.push(Need::Since(6, 10));
        }
        Case::new(&format!("sockets::{name}"), &needs, move || {
            in_own_network(body);
        })
    };
    CASES.iter().map(case).collect()
}

fn load(programs: &[&str]) -> Loaded {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf/sockets.bpf.o");
    let mut object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    for program in &mut object.programs {
        program.autoload = programs.contains(&program.name.as_str());
    }
    Engine::kernel().unwrap().load_object(&object).unwrap()
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    (client, server)
}

fn insert(loaded: &Loaded, map: &str, index: u32, socket: impl AsFd) {
    let map = loaded.raw_map(map).unwrap();
    let number = u64::from(socket.as_fd().as_raw_fd().cast_unsigned()).to_ne_bytes();
    let len = map.spec().value_size as usize;
    map.update(&index.to_ne_bytes(), &number[..len], UpdateMode::Any)
        .unwrap();
}

fn a_packet_socket_runs_a_filter() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sockex1/sockex1.bpf.o");
    let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
    let loaded = Engine::kernel().unwrap().load_object(&object).unwrap();
    let filter = loaded.program("count_outgoing").unwrap();
    let link = filter.attach(&Hook::socket("lo")).unwrap();
    send_datagrams(3);
    // Each has 14 bytes of Ethernet, 28 of headers, and one of its own.
    let bytes = loaded.map::<u32, u64>("my_map").unwrap();
    assert_eq!(bytes.get(&17).unwrap(), Some(3 * 43));
    link.detach().unwrap();
    send_datagrams(1);
    assert_eq!(bytes.get(&17).unwrap(), Some(3 * 43));
}

fn what_sockets_in_a_map_send_is_seen() {
    let loaded = load(&["sending"]);
    let map = loaded
        .raw_map("sockets")
        .unwrap()
        .info()
        .unwrap()
        .id
        .unwrap();
    let open = loaded.attacher().attach().unwrap_err();
    assert_eq!(open.diagnosis().code, Code::ATTACH_OPEN, "{open}");
    let links = loaded.attacher().socket_map(map).attach().unwrap();
    let LinkPlace::SockMap { map: found, .. } = links[0].info().unwrap().place else {
        unreachable!("the link is at a map of sockets");
    };
    assert_eq!(found, map);
    let (mut client, mut server) = pair();
    insert(&loaded, "sockets", 0, &client);
    client.write_all(b"seven b").unwrap();
    let mut bytes = [0; 7];
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(value::<u64>(&loaded, "sent_bytes"), 7);
    // The socket has taken the program with it.
    links.into_iter().for_each(|link| link.detach().unwrap());
    client.write_all(b"seven c").unwrap();
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(value::<u64>(&loaded, "sent_bytes"), 14);
    let sockets = loaded.raw_map("sockets").unwrap();
    sockets.remove(&0_u32.to_ne_bytes()).unwrap();
    client.write_all(b"seven d").unwrap();
    server.read_exact(&mut bytes).unwrap();
    assert_eq!(value::<u64>(&loaded, "sent_bytes"), 14);
}

fn what_a_socket_in_a_map_receives_goes_to_another() {
    let loaded = load(&["receiving"]);
    let map = loaded
        .raw_map("sockets")
        .unwrap()
        .info()
        .unwrap()
        .id
        .unwrap();
    let link = loaded.program("receiving").unwrap();
    let link = link.attach(&Hook::socket_map(map)).unwrap();
    let (mut one, one_here) = pair();
    let (mut other, other_here) = pair();
    insert(&loaded, "sockets", 0, &one_here);
    insert(&loaded, "sockets", 1, &other_here);
    one.write_all(b"across").unwrap();
    other
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut bytes = [0; 6];
    other.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"across");
    assert!(value::<u64>(&loaded, "received_runs") >= 1);
    let again = loaded.program("receiving").unwrap();
    let again = again.attach(&Hook::socket_map(map)).unwrap_err();
    assert_eq!(again.diagnosis().code, Code::ATTACH_TAKEN, "{again}");
    link.detach().unwrap();
}

/// A socket that shares its port.
fn shared(port: u16) -> OwnedFd {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).unwrap();
    sockopt::set_socket_reuseport(&socket, true).unwrap();
    bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).unwrap();
    socket
}

fn a_program_chooses_among_sockets_that_share_a_port() {
    let loaded = load(&["choosing"]);
    let first = shared(0);
    let address = SocketAddr::try_from(getsockname(&first).unwrap()).unwrap();
    let second = shared(address.port());
    insert(&loaded, "group", 0, &first);
    insert(&loaded, "group", 1, &second);
    loaded
        .program("choosing")
        .unwrap()
        .attach_to_socket(&first)
        .unwrap();
    let (first, second) = (UdpSocket::from(first), UdpSocket::from(second));
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (chosen, receiver) in [(1_u32, &second), (0, &first), (1, &second)] {
        loaded.variable("chosen").unwrap().set(&chosen).unwrap();
        receiver
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        sender.send_to(b"x", address).unwrap();
        assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 1);
    }
    assert_eq!(value::<u64>(&loaded, "chosen_runs"), 3);

    let alone = UdpSocket::bind("127.0.0.1:0").unwrap();
    let refused = loaded.program("choosing").unwrap().attach_to_socket(&alone);
    let refused = refused.unwrap_err();
    assert_eq!(refused.diagnosis().code, Code::ATTACH_TARGET, "{refused}");
}

fn a_filter_is_given_to_a_socket_of_the_caller() {
    let loaded = load(&["filtering"]);
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let program = loaded.program("filtering").unwrap();
    program.attach_to_socket(&receiver).unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = receiver.local_addr().unwrap();
    for _ in 0..2 {
        sender.send_to(b"x", address).unwrap();
        receiver.recv(&mut [0; 8]).unwrap();
    }
    assert_eq!(value::<u64>(&loaded, "filtered_runs"), 2);
    let file = std::fs::File::open("/dev/null").unwrap();
    let refused = program.attach_to_socket(&file).unwrap_err();
    assert_eq!(refused.diagnosis().code, Code::ATTACH_TARGET, "{refused}");
}

fn packets_of_a_route_meet_a_program() {
    ip(&[
        "link", "add", "twin0", "type", "veth", "peer", "name", "twin1",
    ]);
    ip(&["link", "set", "twin1", "up"]);
    ip(&["addr", "add", "10.9.0.1/24", "dev", "twin0"]);
    ip(&["link", "set", "twin0", "up"]);
    let loaded = load(&["leaving"]);
    let program = loaded.program("leaving").unwrap();
    let hook = Hook::Route(Route {
        interface: "twin0".to_owned(),
        destination: "10.77.0.0/16".to_owned(),
        moment: RouteMoment::Output,
    });
    let link = program.attach(&hook).unwrap();
    let sender = UdpSocket::bind("10.9.0.1:0").unwrap();
    sender.send_to(b"x", "10.77.1.2:9").unwrap();
    assert_eq!(value::<u64>(&loaded, "left_runs"), 1);
    let again = program.attach(&hook).unwrap_err();
    assert_eq!(again.diagnosis().code, Code::ATTACH_TAKEN, "{again}");
    link.update(program, None).unwrap();
    sender.send_to(b"x", "10.77.1.3:9").unwrap();
    assert_eq!(value::<u64>(&loaded, "left_runs"), 2);
    drop(link);
    assert!(
        sender.send_to(b"x", "10.77.1.2:9").is_err(),
        "the route has gone"
    );
    let inbound = "route.in:twin0:10.78.0.0/16".parse().unwrap();
    let wrong = program.attach(&inbound).unwrap_err();
    assert_eq!(wrong.diagnosis().code, Code::ATTACH_KIND, "{wrong}");
}
