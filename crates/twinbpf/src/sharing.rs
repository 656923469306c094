//! Maps handed to other processes over a Unix socket, as descriptors.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Result};

use crate::engine::{Engine, vm_has_no_ids};
use crate::raw_map::RawMap;

impl RawMap {
    /// Hands the map to whoever is at the other end of the socket, for [`Engine::receive_map`] there.
    ///
    /// # Errors
    ///
    /// If the socket is closed, or the map is a vm's, which ends with its process.
    pub fn send(&self, socket: &UnixStream) -> Result<()> {
        let descriptor = self
            .descriptor()
            .ok_or_else(|| Error::from(vm_has_no_ids()))?;
        let descriptors = [descriptor];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        ancillary.push(SendAncillaryMessage::ScmRights(&descriptors));
        // A message of no bytes would be no message on a stream.
        let sent = sendmsg(
            socket,
            &[IoSlice::new(MARK)],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        );
        sent.map(drop)
            .map_err(|errno| broken("sending a map", errno))
    }
}

impl Engine {
    /// Waits for a map that another process sends with [`RawMap::send`]. Its attributes are what the kernel says.
    ///
    /// # Errors
    ///
    /// If the socket is closed, what comes is no map, or the engine is a vm.
    pub fn receive_map(&self, socket: &UnixStream) -> Result<RawMap> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut mark = [0; MARK.len()];
        recvmsg(
            socket,
            &mut [IoSliceMut::new(&mut mark)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        )
        .map_err(|errno| broken("receiving a map", errno))?;
        let mut received = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        let descriptor: Option<OwnedFd> = received.by_ref().flatten().next();
        match descriptor {
            Some(descriptor) => self.map_from_fd(descriptor),
            None => {
                Err(Diagnosis::new(Code::HOST_IO, "what came over the socket is no map").into())
            }
        }
    }
}

/// What goes with the descriptor.
const MARK: &[u8] = b"m";

fn broken(doing: &str, errno: rustix::io::Errno) -> Error {
    Diagnosis::new(Code::HOST_IO, format!("{doing} over a socket was refused"))
        .errno(Errno(errno.raw_os_error()))
        .into()
}
