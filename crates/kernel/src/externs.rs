//! What externs ask of the running kernel: its configuration, the addresses of its symbols.
//!
//! Each source is read only if something in it is asked for, in one pass. One that cannot be read is left out, and the target
//! says where it was looked for: whether a program can do without is decided when it is linked.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};

use twinbpf_object::Target;
use twinbpf_object::spec::Needs;
use twinbpf_object::target::{KernelConfig, KernelSymbols};

use crate::host;

/// Completes a target with what externs ask for.
pub(crate) fn fetch(needs: &Needs, target: &mut Target) {
    target.config = configuration(needs);
    // KERNEL: `bpf_get_attach_cookie` came with 5.15.
    target.config.has_bpf_cookie = host::is_at_least("5.15");
    let asks_for_wrapper = needs.config_names().any(|name| name == SYSCALL_WRAPPER);
    let mut wanted: BTreeSet<&str> = needs.symbol_names().collect();
    if asks_for_wrapper {
        wanted.extend(WRAPPERS);
    }
    if wanted.is_empty() {
        return;
    }
    target.symbols.origin = match read_symbols(&mut target.symbols, &wanted) {
        Ok(()) => SYMBOLS.to_owned(),
        Err(error) => format!("{SYMBOLS}, which cannot be read: {error}"),
    };
    // The addresses may be hidden, the names are not.
    let has = |name: &&str| target.symbols.addresses.contains_key(*name);
    target.config.has_syscall_wrapper = WRAPPERS.iter().any(has);
}

/// Reads the list of symbols in parts: it has many megabytes.
fn read_symbols(symbols: &mut KernelSymbols, wanted: &BTreeSet<&str>) -> io::Result<()> {
    let mut file = File::open(SYMBOLS)?;
    let mut part = Vec::with_capacity(PART_BYTES);
    loop {
        let room = PART_BYTES.saturating_sub(part.len()).max(1);
        let room = u64::try_from(room).unwrap_or(1);
        let is_last = Read::by_ref(&mut file).take(room).read_to_end(&mut part)? == 0;
        let whole = match part.iter().rposition(|byte| *byte == b'\n') {
            Some(end) if !is_last => end + 1,
            _ => part.len(),
        };
        symbols.read(part.get(..whole).unwrap_or_default(), |name| {
            wanted.contains(name)
        });
        part.drain(..whole);
        if is_last {
            return Ok(());
        }
    }
}

/// The running kernel's configuration, as far as `needs` asks for it. One that cannot be read has no options, and its
/// origin says why.
pub fn configuration(needs: &Needs) -> KernelConfig {
    let wanted: BTreeSet<&str> = needs
        .config_names()
        .filter(|name| name.starts_with("CONFIG_"))
        .collect();
    match wanted.is_empty() {
        true => KernelConfig::new(),
        false => host::configuration(&wanted),
    }
}

const SYMBOLS: &str = "/proc/kallsyms";
const SYSCALL_WRAPPER: &str = "LINUX_HAS_SYSCALL_WRAPPER";
/// What `bpf(2)` is called in kernels whose system calls take a `struct pt_regs`.
const WRAPPERS: [&str; 4] = [
    "__x64_sys_bpf",
    "__arm64_sys_bpf",
    "__s390x_sys_bpf",
    "__riscv_sys_bpf",
];
/// Bytes of the list of symbols that are looked at together.
const PART_BYTES: usize = 1 << 18;
