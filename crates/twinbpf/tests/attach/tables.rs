//! Tables of functions: an object's congestion control carries traffic, and another build takes its place.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;

use twinbpf::{Code, Engine, ErrorKind, LinkPlace, Loaded, Object};
use twinbpf_trials::{Case, Need};

use crate::places::in_own_network;

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 3] = [
        (
            "a_congestion_control_carries_traffic",
            a_congestion_control_carries_traffic,
        ),
        (
            "a_table_gives_way_to_that_of_another_build",
            a_table_gives_way_to_that_of_another_build,
        ),
        (
            "a_table_without_a_link_is_in_use_until_it_is_dropped",
            a_table_without_a_link_is_in_use_until_it_is_dropped,
        ),
    ];
    let case = |(name, body): (&str, fn())| {
        // KERNEL: 6.4 brought links for tables; 6.1 refuses the map.
        let needs = [
            Need::Kernel,
            Need::KernelTypes,
            Need::Network,
            Need::Since(6, 4),
        ];
        Case::new(&format!("tables::{name}"), &needs, move || {
            in_own_network(body);
        })
    };
    cases.into_iter().map(case).collect()
}

/// The fixture's table under a name of its own: those of congestion controls are the whole machine's.
fn load(name: &str, needs_link: bool) -> Loaded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    let bytes = std::fs::read(folder.join("struct_ops.bpf.o")).unwrap();
    let mut object = Object::parse(&bytes).unwrap();
    object.programs.retain(|program| program.name != "never");
    for map in &mut object.maps {
        let Some(table) = &mut map.struct_ops else {
            continue;
        };
        let table = Arc::make_mut(table);
        table.autoload = map.name == "halving";
        table.needs_link = needs_link;
        if map.name == "halving" {
            let mut text = [0; 16];
            text[..name.len()].copy_from_slice(name.as_bytes());
            assert!(table.set("name", &text));
        }
    }
    Engine::kernel().unwrap().load_object(&object).unwrap()
}

fn own_name(letter: char) -> String {
    format!("tb{letter}{}", std::process::id())
}

/// Whether sockets may ask for the congestion control.
fn is_there(name: &str) -> bool {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_tcp_congestion(&socket, name).is_ok()
}

/// Sends a MiB over loopback, with the congestion control of this name at the sender.
fn carry(name: &str) {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::sockopt::set_tcp_congestion(&server, name).unwrap();
    let address = server.local_addr().unwrap();
    let sender = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        stream.write_all(&vec![7; 1 << 20]).unwrap();
        rustix::net::sockopt::tcp_congestion(&stream).unwrap()
    });
    let mut received = Vec::new();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.read_to_end(&mut received).unwrap();
    assert_eq!(sender.join().unwrap(), name);
    assert_eq!(received, vec![7; 1 << 20]);
}

fn a_congestion_control_carries_traffic() {
    let name = own_name('a');
    let loaded = load(&name, true);
    assert_eq!(loaded.tables().collect::<Vec<_>>(), ["halving"]);
    let links = loaded.attacher().attach().unwrap();
    assert_eq!(links.len(), 1);
    carry(&name);
    let id = loaded.raw_map("halving").unwrap().info().unwrap().id;
    let place = links[0].info().unwrap().place;
    assert_eq!(place, LinkPlace::StructOps { map: id.unwrap() });
    let taken = load(&name, true).attach_table("halving").unwrap_err();
    assert_eq!(taken.diagnosis().code, Code::ATTACH_TAKEN, "{taken}");
    drop(links);
    assert!(!is_there(&name));
    // A table that is filled can be put to use as often as one likes.
    let again = loaded.attach_table("halving").unwrap();
    assert!(is_there(&name));
    again.detach().unwrap();
    assert!(!is_there(&name));
    let unknown = loaded.attach_table("halfing").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound, "{unknown}");
}

fn a_table_gives_way_to_that_of_another_build() {
    let name = own_name('b');
    let (old, new) = (load(&name, true), load(&name, true));
    let link = old.attach_table("halving").unwrap();
    carry(&name);
    let changed = new.replace_table(&link, "halving", Some(&new)).unwrap_err();
    assert_eq!(changed.diagnosis().code, Code::ATTACH_CHANGED, "{changed}");
    new.replace_table(&link, "halving", Some(&old)).unwrap();
    let id = new.raw_map("halving").unwrap().info().unwrap().id.unwrap();
    assert_eq!(link.info().unwrap().place, LinkPlace::StructOps { map: id });
    drop(old);
    carry(&name);
    let other = load(&own_name('c'), true);
    let error = other.replace_table(&link, "halving", None).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_KIND, "{error}");
    link.detach().unwrap();
}

fn a_table_without_a_link_is_in_use_until_it_is_dropped() {
    let name = own_name('d');
    let loaded = load(&name, false);
    assert!(!is_there(&name));
    let link = loaded.attach_table("halving").unwrap();
    carry(&name);
    let unsupported = link.info().unwrap_err();
    assert!(unsupported.is_unsupported(), "{unsupported}");
    drop(link);
    assert!(!is_there(&name));
}
