//! What adapting an object to the running kernel's types costs, step by step: `cargo bench -p twinbpf-object`.
//!
//! Medians. Each round starts from types that nobody has touched, as the first load of a process does; the baseline reads
//! all types and checks them, as is done for an object's own.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "the crate is pure, its benchmark is not"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use twinbpf_object::btf::{Btf, Bytes, Search, TypeKinds};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{Object, Target, link};

const TYPES: &str = "/sys/kernel/btf/vmlinux";
const ROUNDS: usize = 101;

fn main() {
    let Ok(bytes) = std::fs::read(TYPES) else {
        println!("skipped: {TYPES} cannot be read");
        return;
    };
    let owner: Arc<Vec<u8>> = Arc::new(bytes);
    let open = || Btf::open(Bytes::new(owner.clone()), ByteOrder::HOST).unwrap();
    measure("read and check every type", || {
        Btf::parse(&owner, ByteOrder::HOST).unwrap().len()
    });
    measure("find where all types are", || open().len());
    let names = [
        "task_struct",
        "sk_buff",
        "file",
        "inode",
        "mm_struct",
        "cred",
        "sock",
        "pid",
    ];
    for count in [1, names.len()] {
        let names = names.iter().take(count).copied();
        let search = Search::without_flavours(names).of(TypeKinds::DATA);
        measure(&format!("the same, and search {count} data types"), || {
            open().search(&search).len()
        });
    }
    let search = Search::exact(["tcp_v4_connect"]).of(TypeKinds::FUNCTION);
    measure("the same, and search a function", || {
        open().search(&search).len()
    });
    let known = open();
    measure("search a function in known types", || {
        known.search(&search).len()
    });
    let testdata = format!("{}/../../testdata/bpf", env!("CARGO_MANIFEST_DIR"));
    for name in ["core_kernel.bpf.o", "core.bpf.o"] {
        let file = std::fs::read(format!("{testdata}/{name}")).unwrap();
        measure(&format!("{name}: parse"), || {
            Object::parse(&file).unwrap().functions.len()
        });
        let object = Object::parse(&file).unwrap();
        measure(&format!("{name}: link"), || {
            let target = Target {
                btf: Some(Arc::new(open())),
                ..Target::new(1, 4096, 0)
            };
            link(&object, &target).map_or(0, |linked| linked.programs.len())
        });
    }
}

fn measure(what: &str, mut step: impl FnMut() -> usize) {
    let mut rounds: Vec<u128> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(step());
            start.elapsed().as_nanos()
        })
        .collect();
    rounds.sort_unstable();
    println!("{:>9} ns  {what}", rounds[ROUNDS / 2]);
}
