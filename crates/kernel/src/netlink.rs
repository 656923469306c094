//! Requests about the network's configuration (route netlink), and the kernel's own words where it refuses one.
//!
//! ```text
//! length 4 | kind 2 | flags 2 | sequence 4 | port 4     then a head of the kind, then attributes
//! length 2 | kind 2 | bytes, to a multiple of 4         an attribute; some hold attributes
//! ```
//!
//! A handful of requests does not need a crate of all of them; what is here writes and reads attributes and knows no kind.

use std::os::fd::{AsFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use twinbpf_object::{Diagnosis, Errno, Error};

use crate::sys;

/// A conversation in the network namespace of the thread that opened it; it stays there.
#[derive(Debug)]
pub(crate) struct Netlink(OwnedFd);

/// A request being written.
#[derive(Debug)]
pub(crate) struct Request(Vec<u8>);

/// Why the kernel refused, in its own words if it has any.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) errno: Errno,
    pub(crate) words: Option<String>,
}

impl Refused {
    /// An error with what the kernel says itself, which is often more than its number.
    pub(crate) fn explain(self, diagnosis: Diagnosis) -> Error {
        let diagnosis = diagnosis.errno(self.errno);
        match self.words {
            Some(words) => diagnosis.fact("the kernel says", words),
            None => diagnosis,
        }
        .into()
    }
}

impl From<Errno> for Refused {
    fn from(errno: Errno) -> Self {
        Self { errno, words: None }
    }
}

impl From<rustix::io::Errno> for Refused {
    fn from(errno: rustix::io::Errno) -> Self {
        Errno(errno.raw_os_error()).into()
    }
}

impl Request {
    /// A request of this kind, with the head that its kind has.
    pub(crate) fn new(kind: u16, flags: u16, head: &[u8]) -> Self {
        let mut bytes = vec![0; HEAD_BYTES];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(flags | REQUEST).to_ne_bytes());
        bytes.extend(head);
        Self(bytes)
    }

    /// Adds an attribute.
    pub(crate) fn put(&mut self, kind: u16, value: &[u8]) -> &mut Self {
        self.nest(kind, |request| request.0.extend(value))
    }

    /// Adds a text with its zero.
    pub(crate) fn put_text(&mut self, kind: u16, text: &str) -> &mut Self {
        self.nest(kind, |request| {
            request.0.extend(text.as_bytes());
            request.0.push(0);
        })
    }

    /// Adds an attribute whose value `fill` writes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.0.len();
        self.0.extend([0, 0]);
        self.0.extend(kind.to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.0.len() - start).unwrap_or(u16::MAX);
        self.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn finished(mut self) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&length.to_ne_bytes());
        self.0
    }
}

impl Netlink {
    pub(crate) fn open() -> Result<Self, Refused> {
        let flags = SocketFlags::CLOEXEC;
        // Protocol 0 of netlink is NETLINK_ROUTE.
        let socket =
            rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        sys::netlink_words(socket.as_fd());
        Ok(Self(socket))
    }

    /// Sends a request and waits for the answer: the messages that came before the kernel's word that this was all, each with its
    /// kind and without its head.
    pub(crate) fn ask(&self, request: Request) -> Result<Vec<(u16, Vec<u8>)>, Refused> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let bytes = request.finished();
        rustix::net::sendto(&self.0, &bytes, SendFlags::empty(), &kernel)?;
        let mut answers = Vec::new();
        let mut buffer = vec![0; REPLY_BYTES];
        loop {
            let (length, _) = rustix::net::recv(&self.0, &mut buffer[..], RecvFlags::empty())?;
            let mut rest = buffer.get(..length).unwrap_or_default();
            while let Some((message, behind)) = Message::first(rest) {
                rest = behind;
                match message.kind {
                    ERROR => return message.outcome().map(|()| answers),
                    DONE => return Ok(answers),
                    kind => answers.push((kind, message.body.to_vec())),
                }
            }
        }
    }
}

struct Message<'a> {
    kind: u16,
    flags: u16,
    body: &'a [u8],
}

impl<'a> Message<'a> {
    fn first(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let length = usize::try_from(word(bytes, 0)?).ok()?;
        let body = bytes.get(HEAD_BYTES..length)?;
        let message = Self {
            kind: half(bytes, 4)?,
            flags: half(bytes, 6)?,
            body,
        };
        let behind = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((message, behind))
    }

    /// A number, 0 for success, the head of what was asked, then the kernel's words if it has any.
    fn outcome(&self) -> Result<(), Refused> {
        let code = word(self.body, 0).ok_or(Errno::EIO)?.cast_signed();
        if code == 0 {
            return Ok(());
        }
        let words = (self.flags & HAS_WORDS != 0)
            .then(|| self.body.get(4 + HEAD_BYTES..))
            .flatten()
            .and_then(|rest| attribute(rest, WORDS));
        Err(Refused {
            errno: Errno(code.saturating_neg()),
            words: words.map(text_of),
        })
    }
}

/// The value of the first attribute of this kind among those in `bytes`.
pub(crate) fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(half(bytes, 0)?);
        let value = bytes.get(4..length)?;
        // The two highest bits say how the value is written, not what it is.
        if half(bytes, 2)? & 0x3fff == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// A text up to its zero.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    sys::text_of(bytes)
}

/// The word at an offset.
pub(crate) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*bytes))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*bytes))
}

/// `NLM_F_ACK`, `NLM_F_ECHO`, `NLM_F_REPLACE`, `NLM_F_EXCL`, `NLM_F_CREATE`, `NLM_F_DUMP`
pub(crate) const ACK: u16 = 0x4;
pub(crate) const ECHO: u16 = 0x8;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const EXCLUSIVE: u16 = 0x200;
pub(crate) const CREATE: u16 = 0x400;
pub(crate) const DUMP: u16 = 0x300;
const REQUEST: u16 = 0x1;
/// `NLMSG_ERROR`, `NLMSG_DONE`
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_ACK_TLVS`, `NLMSGERR_ATTR_MSG`
const HAS_WORDS: u16 = 0x200;
const WORDS: u16 = 1;
const HEAD_BYTES: usize = 16;
/// Larger than any message the kernel makes for a list.
const REPLY_BYTES: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_torn_ones_end_the_search() {
        let mut request = Request::new(44, ACK, &[7; 4]);
        request.put(1, &[1, 2, 3]).put_text(2, "bpf");
        request.nest(3, |inner| {
            inner.put(6, &9_u32.to_ne_bytes());
        });
        let bytes = request.finished();
        assert_eq!(word(&bytes, 0), Some(u32::try_from(bytes.len()).unwrap()));
        let attributes = &bytes[20..];
        assert_eq!(attribute(attributes, 1), Some(&[1, 2, 3][..]));
        assert_eq!(
            attribute(attributes, 2).map(text_of).as_deref(),
            Some("bpf")
        );
        let inner = attribute(attributes, 3).unwrap();
        assert_eq!(word(attribute(inner, 6).unwrap(), 0), Some(9));
        assert_eq!(attribute(attributes, 4), None);
        for end in 0..attributes.len() {
            assert_eq!(attribute(&attributes[..end], 4), None);
        }
        // An attribute shorter than its own head must not be stepped over for ever.
        assert_eq!(attribute(&[0; 64], 4), None);
    }

    #[test]
    fn the_kernel_says_in_its_own_words_what_is_wrong() {
        let netlink = Netlink::open().unwrap();
        // A new queueing discipline for an interface that nobody has, which every user may be refused.
        let mut head = [0; 20];
        head[4..8].copy_from_slice(&i32::MAX.to_ne_bytes());
        let refused = netlink.ask(Request::new(36, ACK, &head)).unwrap_err();
        assert!(refused.errno != Errno(0), "{refused:?}");
    }
}
