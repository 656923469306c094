//! Tables of functions in the running kernel: created, filled, and put to use by a link.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use twinbpf_kernel::{
    Kernel, KernelBtf, KernelLink, KernelMap, KernelProgram, LinkPlace, LoadContext, MapContext,
};
use twinbpf_object::{Code, Errno, Linked, MapSpec, Object, Result, link};
use twinbpf_trials::{Case, Need};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "struct_ops::a_table_is_created_filled_and_checked_by_the_kernel",
            &[Need::Kernel, Need::KernelTypes, Need::Since(6, 4)],
            a_table_is_created_filled_and_checked_by_the_kernel,
        ),
        Case::new(
            "struct_ops::a_congestion_control_carries_traffic_while_it_is_linked",
            &[
                Need::Kernel,
                Need::KernelTypes,
                Need::Network,
                Need::Since(6, 4),
            ],
            a_congestion_control_carries_traffic_while_it_is_linked,
        ),
        Case::new(
            "struct_ops::a_table_without_a_link_is_in_use_from_when_it_is_filled",
            &[Need::Kernel, Need::KernelTypes, Need::Network],
            a_table_without_a_link_is_in_use_from_when_it_is_filled,
        ),
        Case::new(
            "struct_ops::what_the_kernel_lacks_is_named",
            &[Need::Kernel, Need::KernelTypes],
            what_the_kernel_lacks_is_named,
        ),
    ]
}

struct Loading {
    kernel: Kernel,
    linked: Linked,
    types: KernelBtf,
}

impl Loading {
    fn new() -> Self {
        let bytes = include_bytes!("../../../../testdata/bpf/struct_ops.bpf.o");
        let object = Object::parse(bytes).unwrap();
        let kernel = Kernel::open().unwrap();
        let target = kernel.target_for(&object.needs()).unwrap();
        let linked = link(&object, &target).unwrap();
        let types = kernel
            .load_types(linked.upload.as_ref().unwrap(), None)
            .unwrap();
        Self {
            kernel,
            linked,
            types,
        }
    }

    fn spec(&self, name: &str) -> MapSpec {
        let mut maps = self.linked.maps.iter();
        maps.find(|map| map.name == name).unwrap().clone()
    }

    /// The object's table under another name: names of congestion controls are the whole machine's.
    fn table(&self, name: &str, needs_link: bool) -> MapSpec {
        let mut spec = self.spec("halving");
        let mut table = spec.struct_ops.take().unwrap();
        let mut bytes = [0; 16];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let table_mut = std::sync::Arc::make_mut(&mut table);
        table_mut.needs_link = needs_link;
        assert!(table_mut.set("name", &bytes));
        spec.struct_ops = Some(table);
        spec
    }

    fn create(&self, spec: &MapSpec) -> Result<KernelMap> {
        let context = MapContext {
            types: Some(&self.types),
            ..MapContext::default()
        };
        self.kernel.create_map(spec, &context)
    }

    fn program(&self, name: &str) -> Result<KernelProgram> {
        let mut programs = self.linked.programs.iter();
        let program = programs.find(|program| program.name == name).unwrap();
        let context = LoadContext {
            license: self.linked.license.as_deref(),
            types: Some(&self.types),
            ..LoadContext::default()
        };
        self.kernel.load_program(program, &context)
    }
}

fn a_table_is_created_filled_and_checked_by_the_kernel() {
    let loading = Loading::new();
    let programs = ["half", "keep", "stay"].map(|name| loading.program(name).unwrap());
    let map = loading.create(&loading.spec("halving")).unwrap();
    let error = loading
        .kernel
        .fill_struct_ops(&map, &programs[1..])
        .unwrap_err();
    assert_eq!(error.diagnosis().code, Code::PROGRAM_NOT_FOUND, "{error}");
    loading.kernel.fill_struct_ops(&map, &programs).unwrap();
    let again = loading.kernel.fill_struct_ops(&map, &programs).unwrap_err();
    assert_eq!(again.diagnosis().errno, Some(Errno::EBUSY), "{again}");
    let mut value = vec![0; map.value_bytes()];
    map.lookup(&[0; 4], &mut value).unwrap();
    let name = b"twinbpf_halving\0";
    assert!(value.windows(name.len()).any(|window| window == name));
}

fn a_congestion_control_carries_traffic_while_it_is_linked() {
    let loading = Loading::new();
    let programs = ["half", "keep", "stay"].map(|name| loading.program(name).unwrap());
    let name = "twinbpf_linked";
    let map = loading.create(&loading.table(name, true)).unwrap();
    let empty = KernelLink::attach_struct_ops(&map).unwrap_err();
    assert_eq!(empty.diagnosis().code, Code::ATTACH_KIND, "{empty}");
    loading.kernel.fill_struct_ops(&map, &programs).unwrap();

    let link = KernelLink::attach_struct_ops(&map).unwrap();
    let id = map.info().unwrap().id;
    assert_eq!(link.info().unwrap().place, LinkPlace::StructOps { map: id });
    std::thread::spawn(move || carry(name)).join().unwrap();
    link.detach().unwrap();
    assert_gone(name);
}

fn a_table_without_a_link_is_in_use_from_when_it_is_filled() {
    let loading = Loading::new();
    let programs = ["half", "keep", "stay"].map(|name| loading.program(name).unwrap());
    let name = "twinbpf_filled";
    let map = loading.create(&loading.table(name, false)).unwrap();
    loading.kernel.fill_struct_ops(&map, &programs).unwrap();
    std::thread::spawn(move || carry(name)).join().unwrap();
    map.delete(&[0; 4]).unwrap();
    assert_gone(name);
}

fn assert_gone(name: &str) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = rustix::net::sockopt::set_tcp_congestion(&socket, name);
    assert_eq!(gone, Err(rustix::io::Errno::NOENT));
}

/// Sends a MiB over loopback, in a network of this thread's own, with the congestion control of this name at both ends.
fn carry(name: &str) {
    #[expect(
        deprecated,
        reason = "the replacement is unsafe; only the network namespace is changed here"
    )]
    rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status();
    assert!(up.unwrap().success());
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

fn what_the_kernel_lacks_is_named() {
    let loading = Loading::new();
    for error in [
        loading.create(&loading.spec("imagined")).unwrap_err(),
        loading.program("never").unwrap_err(),
    ] {
        let diagnosis = error.diagnosis();
        assert_eq!(diagnosis.code, Code::PROGRAM_TARGET_MISSING, "{error}");
        assert!(diagnosis.message.contains("`imagined_ops`"), "{error}");
        let known = &diagnosis.facts[0].value;
        assert!(known.contains("tcp_congestion_ops"), "{known}");
        assert!(!known.contains("common_value"), "{known}");
    }
    // A name without its NUL is no text, and the kernel's interface says so itself.
    let map = loading.create(&loading.table("", false)).unwrap();
    let programs = ["half", "keep", "stay"].map(|name| loading.program(name).unwrap());
    let error = loading.kernel.fill_struct_ops(&map, &programs).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::MAP_OPERATION, "{error}");
    assert_eq!(error.diagnosis().errno, Some(Errno::EINVAL), "{error}");
}
