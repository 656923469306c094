//! Loading inside a user namespace with a token: the administrator lends, the child takes.
//!
//! ```text
//! parent, privileged              child, in a user namespace of its own
//!                                 fsopen("bpf")
//!   <------ file system ------------
//! delegate_cmds=any ... create
//!   --------- done ---------------->
//!                                 fsmount, token, load
//! ```
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use twinbpf::{Engine, ErrorKind, Object, Result, Token};
use twinbpf_trials::{Case, Need};

/// Set for the process that takes the token.
const CHILD: &str = "TWINBPF_TEST_TAKES_A_TOKEN";

fn main() -> ExitCode {
    if std::env::var_os(CHILD).is_some() {
        return take();
    }
    let needs = [Need::Kernel, Need::Linux618, Need::UserNamespaces];
    twinbpf_trials::run(vec![
        Case::new(
            "a_user_namespace_loads_with_what_was_lent_to_it",
            &needs,
            a_user_namespace_loads_with_what_was_lent_to_it,
        ),
        Case::new(
            "a_token_that_cannot_be_made_says_why",
            &[Need::Kernel, Need::Linux618, Need::Bpffs],
            a_token_that_cannot_be_made_says_why,
        ),
    ])
}

fn a_user_namespace_loads_with_what_was_lent_to_it() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let child = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, "1")
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let system = receive(ours.as_fd());
    for option in [
        "delegate_cmds",
        "delegate_maps",
        "delegate_progs",
        "delegate_attachs",
    ] {
        rustix::mount::fsconfig_set_string(system.as_fd(), option, "any").unwrap();
    }
    rustix::mount::fsconfig_create(system.as_fd()).unwrap();
    ours.write_all(b"!").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "without: Permission\nwith: 1 map, 1 program\n"
    );
}

fn a_token_that_cannot_be_made_says_why() {
    let error = |folder: &str| Token::create(Path::new(folder)).unwrap_err();
    assert_eq!(error("/nowhere").kind(), ErrorKind::NotFound);
    let no_bpffs = error("/proc");
    assert_eq!(no_bpffs.kind(), ErrorKind::Usage);
    assert!(
        no_bpffs
            .to_string()
            .ends_with("a bpffs is mounted (EINVAL)"),
        "{no_bpffs}"
    );
}

/// The child's part: its standard input is the parent.
fn take() -> ExitCode {
    let mut parent = std::io::stdin();
    let system = rustix::mount::fsopen("bpf", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    send(parent.as_fd(), system.as_fd());
    parent.read_exact(&mut [0]).unwrap();
    let mount = rustix::mount::fsmount(
        system.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    );
    let mount = mount.unwrap();
    let root = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
    let refused = load(None).unwrap_err();
    let mut stdout = std::io::stdout();
    writeln!(stdout, "without: {:?}", refused.kind()).unwrap();
    let token = Token::create(&root).unwrap();
    let (maps, programs) = load(Some(&token)).unwrap();
    writeln!(stdout, "with: {maps} map, {programs} program").unwrap();
    ExitCode::SUCCESS
}

/// How many maps and programs it makes.
fn load(token: Option<&Token>) -> Result<(usize, usize)> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sockex1/sockex1.bpf.o");
    let object = Object::parse(&std::fs::read(file).unwrap())?;
    let engine = Engine::kernel()?;
    let linked = twinbpf::link(&object, &engine.target(&object.needs())?)?;
    let mut loader = engine.loader(&linked);
    if let Some(token) = token {
        loader = loader.token(token);
    }
    let loaded = loader.load()?;
    Ok((loaded.maps().count(), loaded.programs().count()))
}

fn send(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
    let flags = SendFlags::empty();
    rustix::net::sendmsg(socket, &[IoSlice::new(b"!")], &mut ancillary, flags).unwrap();
}

fn receive(socket: BorrowedFd<'_>) -> OwnedFd {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    let mut descriptors = ancillary.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptors.next().unwrap()
}
