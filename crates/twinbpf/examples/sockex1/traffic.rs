//! Traffic on the loopback interface, of which we know every byte: UDP, ICMP echo and TCP.
//!
//! On `lo` each frame leaves and arrives, so a packet socket sees it twice, and a program that counts outgoing frames
//! counts it once. An echo reply is an outgoing frame as well: the kernel sends it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto};

/// The sockets that send, and those that take what is sent.
pub(crate) struct Traffic {
    udp_sender: UdpSocket,
    // Kept open: a datagram to a closed port would be answered with an ICMP error, which nobody ordered.
    udp_receiver: UdpSocket,
    icmp: OwnedFd,
    sequence: u16,
}

impl Traffic {
    /// Opens the sockets. ICMP needs a raw socket, which root of a private network may open.
    pub(crate) fn open() -> io::Result<Self> {
        let udp_receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let udp_sender = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        udp_sender.connect(udp_receiver.local_addr()?)?;
        let icmp = rustix::net::socket_with(
            AddressFamily::INET,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            Some(ipproto::ICMP),
        )?;
        set_socket_timeout(&icmp, Timeout::Recv, Some(ANSWER_TIMEOUT))?;
        udp_receiver.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self {
            udp_sender,
            udp_receiver,
            icmp,
            sequence: 0,
        })
    }

    /// Sends datagrams with `payload` bytes each, and takes them in. Returns the bytes in outgoing frames.
    pub(crate) fn udp(&mut self, count: u64, payload: usize) -> io::Result<u64> {
        let bytes = vec![0x55; payload];
        let mut received = vec![0; payload + 1];
        for _ in 0..count {
            self.udp_sender.send(&bytes)?;
            self.udp_receiver.recv(&mut received)?;
        }
        Ok(count * frame_len(UDP_HEADER, payload))
    }

    /// Sends echo requests with `payload` bytes each, and waits for the kernel's replies. Returns the bytes in outgoing
    /// frames, requests and replies.
    pub(crate) fn icmp_echo(&mut self, count: u64, payload: usize) -> io::Result<u64> {
        for _ in 0..count {
            self.sequence = self.sequence.wrapping_add(1);
            let request = echo_request(self.sequence, payload);
            let target = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
            rustix::net::sendto(&self.icmp, &request, SendFlags::empty(), &target)?;
            self.wait_for_reply(&request)?;
        }
        Ok(count * 2 * frame_len(ICMP_HEADER, payload))
    }

    /// Sends `payload` bytes over a connection of its own, from handshake to close. Returns the payload: how many segments
    /// and acknowledgements carry it is TCP's business.
    pub(crate) fn tcp(&mut self, payload: usize) -> io::Result<u64> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let mut client = TcpStream::connect(listener.local_addr()?)?;
        let (mut server, _) = listener.accept()?;
        // The far end reads in its own thread, so that no payload is too large for the buffers between.
        let received = std::thread::scope(|scope| {
            let reader = scope.spawn(move || io::copy(&mut server, &mut io::sink()));
            client.write_all(&vec![0x54; payload])?;
            client.shutdown(Shutdown::Write)?;
            // The far end closes when it has read everything; then the connection is over on both sides.
            client.read_to_end(&mut Vec::new())?;
            reader
                .join()
                .map_err(|_| io::Error::other("the reading thread panicked"))?
        })?;
        Ok(received)
    }

    /// Waits until the reply to `request` arrived. The socket sees all ICMP of the namespace, our own requests included.
    fn wait_for_reply(&self, request: &[u8]) -> io::Result<()> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut packet = vec![0; IP_HEADER + request.len()];
        while Instant::now() < deadline {
            let (len, _) = rustix::net::recv(&self.icmp, &mut packet[..], RecvFlags::empty())?;
            // Type 0 is an echo reply; identifier and sequence (bytes 4 to 7) and the payload are those of the request.
            let message = packet[..len].get(IP_HEADER..).unwrap_or_default();
            if message.first() == Some(&0) && message.get(4..) == request.get(4..) {
                return Ok(());
            }
        }
        Err(io::ErrorKind::TimedOut.into())
    }
}

/// An ICMP echo request: type, code, checksum, identifier, sequence, payload.
fn echo_request(sequence: u16, payload: usize) -> Vec<u8> {
    let [id_high, id_low, ..] = std::process::id().to_le_bytes();
    let [sequence_high, sequence_low] = sequence.to_be_bytes();
    let mut message = vec![8, 0, 0, 0, id_high, id_low, sequence_high, sequence_low];
    message.resize(ICMP_HEADER + payload, 0x49);
    let checksum = internet_checksum(&message).to_be_bytes();
    message[2..4].copy_from_slice(&checksum);
    message
}

/// The checksum of RFC 1071: the inverted sum of 16-bit words, with carries added back in.
fn internet_checksum(bytes: &[u8]) -> u16 {
    let word = |pair: &[u8]| u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)]);
    let sum = bytes.chunks(2).map(word).fold(0_u16, |sum, word| {
        let (sum, has_carry) = sum.overflowing_add(word);
        sum + u16::from(has_carry)
    });
    !sum
}

/// Length of a frame on `lo`: Ethernet header, IPv4 header, the protocol's header, payload.
fn frame_len(header: usize, payload: usize) -> u64 {
    (ETHERNET_HEADER + IP_HEADER + header + payload) as u64
}

const ETHERNET_HEADER: usize = 14;
const IP_HEADER: usize = 20;
const UDP_HEADER: usize = 8;
const ICMP_HEADER: usize = 8;

/// How long an answer on the loopback interface may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
