//! An object's types in the kernel.
//!
//! With them the kernel knows what keys and values are (spin locks, timers, fields for `bpftool map dump`), verifies global
//! functions on their own, and writes source lines into its log. One request loads them for all maps and programs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use twinbpf_object::btf::Upload;
use twinbpf_object::{Code, Diagnosis, Errno, Result};

use crate::attr::BtfLoad;
use crate::{host, sys};

/// An object's types, as the kernel took them. Clones are the same; they go when the last holder goes.
#[derive(Debug, Clone)]
pub struct KernelBtf(Arc<OwnedFd>);

impl KernelBtf {
    /// Hands an object's types to the kernel; `token` stands for privileges the process does not have.
    ///
    /// # Errors
    ///
    /// What the kernel has against them, with its log. Most maps and programs load without them.
    pub fn load(types: &Upload, token: Option<BorrowedFd<'_>>) -> Result<Self> {
        let bytes = types.bytes_for(host::kernel_version());
        let request = BtfLoad::with_token(token);
        let errno = match sys::btf_load(&request, &bytes, &mut []) {
            Ok(fd) => return Ok(Self(Arc::new(fd))),
            Err(errno) => errno,
        };
        let mut log = vec![0; LOG_BYTES];
        // The first answer counts; this one is asked for its words only.
        let log = match sys::btf_load(&request, &bytes, &mut log) {
            Ok(fd) => return Ok(Self(Arc::new(fd))),
            Err(_) => sys::text_of(&log),
        };
        Err(refused(errno, log))
    }
}

impl AsFd for KernelBtf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn refused(errno: Errno, log: String) -> twinbpf_object::Error {
    let reason = log.lines().rev().find(|line| !line.trim().is_empty());
    let message = match reason {
        Some(reason) => format!("the kernel refused the object's types: {}", reason.trim()),
        None => "the kernel refused the object's types".to_owned(),
    };
    let mut diagnosis = Diagnosis::new(Code::BTF_REFUSED, message).errno(errno);
    if !log.is_empty() {
        diagnosis.kernel_text = Some(log);
    }
    diagnosis.into()
}

/// Room for the kernel's words about one refused type; it writes all types before it, and the rest is cut.
const LOG_BYTES: usize = 1 << 20;
