//! Places that belong to one test: a network namespace, a cgroup with a process in it; and the fixture.

use std::fs;
use std::io::Read;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use twinbpf::zerocopy::FromBytes;
use twinbpf::{Engine, Loaded, Object};
use twinbpf_trials::is_since;

/// The fixture with only these programs, in the kernel.
pub(crate) fn load(programs: &[&str]) -> Loaded {
    let object = object(programs);
    Engine::kernel().unwrap().load_object(&object).unwrap()
}

fn object(programs: &[&str]) -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    let bytes = fs::read(folder.join("attach.bpf.o")).unwrap();
    let mut object = Object::parse(&bytes).unwrap();
    for program in &mut object.programs {
        program.autoload = programs.contains(&program.name.as_str());
    }
    object
        .set_variable("process", &std::process::id().to_ne_bytes())
        .unwrap();
    for (variable, (major, minor)) in [("has_cookies", (5, 15)), ("has_raw_cookies", (6, 10))] {
        let has = u32::from(is_since(major, minor));
        object.set_variable(variable, &has.to_ne_bytes()).unwrap();
    }
    object
}

/// The fixture again, on the variables of one that is loaded already.
pub(crate) fn load_beside(programs: &[&str], other: &Loaded) -> Loaded {
    let object = object(programs);
    let engine = Engine::kernel().unwrap();
    let target = engine.target(&object.needs()).unwrap();
    let linked = twinbpf::link(&object, &target).unwrap();
    let variables = other.raw_map(".bss").unwrap();
    engine
        .loader(&linked)
        .reuse(".bss", variables)
        .load()
        .unwrap()
}

/// The value of a variable now.
pub(crate) fn value<T: FromBytes>(loaded: &Loaded, name: &str) -> T {
    loaded.variable(name).unwrap().get().unwrap()
}

/// Runs `action` on a thread in a network namespace of its own with `lo` up; the namespace goes with the thread.
pub(crate) fn in_own_network(action: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(|| {
        #[expect(
            deprecated,
            reason = "the replacement is unsafe; only the network namespace is changed here"
        )]
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
        ip(&["link", "set", "lo", "up"]);
        action();
    });
    thread.join().unwrap();
}

/// Calls `ip` in this thread's namespaces.
pub(crate) fn ip(arguments: &[&str]) {
    let status = Command::new("ip").args(arguments).status();
    assert!(
        status.unwrap().success(),
        "`ip {arguments:?}` does not work"
    );
}

/// Sends datagrams to this host.
pub(crate) fn send_datagrams(count: usize) {
    let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut buffer = [0; 8];
    for _ in 0..count {
        let address = receiver.local_addr().unwrap();
        sender.send_to(b"x", address).unwrap();
        receiver.recv(&mut buffer).unwrap();
    }
}

/// A cgroup of its own, removed at the end.
pub(crate) struct OwnCgroup(PathBuf);

impl OwnCgroup {
    pub(crate) fn new(name: &str) -> Self {
        let root = twinbpf_trials::cgroup_root().unwrap();
        let path = root.join(format!("twinbpf-test-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Runs a process in the cgroup, and in this thread's network, that uses sockets, a setting and a device.
    pub(crate) fn act(&self) {
        let status = Command::new(std::env::current_exe().unwrap())
            .env(CHILD, &self.0)
            .status();
        assert!(status.unwrap().success());
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        // A test that failed has said so already.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Whether this process is the one that [`OwnCgroup::act`] started.
pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// What that process does.
pub(crate) fn act() {
    let cgroup = PathBuf::from(std::env::var_os(CHILD).unwrap());
    fs::write(cgroup.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    send_datagrams(1);
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    rustix::net::sockopt::set_socket_keepalive(client.as_fd(), true).unwrap();
    fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let mut byte = [0];
    let mut zero = fs::File::open("/dev/zero").unwrap();
    zero.read_exact(&mut byte).unwrap();
}

const CHILD: &str = "TWINBPF_TEST_CGROUP";
