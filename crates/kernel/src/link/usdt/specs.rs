//! What programs are told about a probe's arguments: entries of the map `__bpf_usdt_specs`, as libbpf's header for programs reads them.
//!
//! ```text
//! 12 times   0 constant or offset (8 bytes) | 8 sort | 9 index register and shift (12 + 4 bits) | 12 register | 14 sign | 15 bits cut
//! 192 cookie (8 bytes) | 200 count (2 bytes) | 202 nothing
//! ```
//!
//! The map is also the list of which entries are taken: places whose arguments are alike share one, so that attaching again takes
//! no more; entries are never given back. The last is for places without arguments and cookie, which is all zeros as free ones are.

use std::sync::{Mutex, PoisonError};

use twinbpf_object::{Code, Diagnosis, Errno, Error, ErrorKind, Result};

use super::arguments::{Argument, Source};
use crate::map::KernelMap;

/// So many arguments an entry describes.
pub(super) const MOST_ARGUMENTS: usize = 12;

/// The number of the entry that describes these arguments, made if there is none yet.
///
/// # Errors
///
/// If the map is not of the form above, or full.
pub(super) fn number_of(map: &KernelMap, arguments: &[Argument], cookie: u64) -> Result<u64> {
    if map.value_bytes() != ENTRY_BYTES || map.key_bytes() != 4 {
        return Err(unknown_form(map));
    }
    let entry = encode(arguments, cookie);
    let last = map.spec().max_entries.saturating_sub(1);
    if entry == [0; ENTRY_BYTES] {
        return Ok(u64::from(last));
    }
    // Two threads must not take the same free entry. This is the only thing that links share, so one lock serves all maps.
    static TAKING: Mutex<()> = Mutex::new(());
    let taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = [0; ENTRY_BYTES];
    for number in 0..last {
        let key = number.to_ne_bytes();
        map.lookup(&key, &mut found)
            .map_err(|errno| refused(map, errno))?;
        if found == entry {
            return Ok(u64::from(number));
        }
        if found == [0; ENTRY_BYTES] {
            map.update(&key, &entry, 0)
                .map_err(|errno| refused(map, errno))?;
            return Ok(u64::from(number));
        }
    }
    drop(taking);
    Err(full(map))
}

fn encode(arguments: &[Argument], cookie: u64) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    for (place, argument) in entry.chunks_exact_mut(ARGUMENT_BYTES).zip(arguments) {
        place.copy_from_slice(&encode_one(argument));
    }
    let count = u16::try_from(arguments.len()).unwrap_or(u16::MAX);
    entry[COOKIE_AT..COOKIE_AT + 8].copy_from_slice(&cookie.to_ne_bytes());
    entry[COUNT_AT..COUNT_AT + 2].copy_from_slice(&count.to_ne_bytes());
    entry
}

fn encode_one(argument: &Argument) -> [u8; ARGUMENT_BYTES] {
    let (sort, value, register, indexed) = match argument.source {
        Source::Constant(value) => (0, value, 0, 0),
        Source::Register(register) => (1, 0, register, 0),
        Source::Memory { base, offset } => (2, offset, base, 0),
        Source::Indexed {
            base,
            index,
            shift,
            offset,
        } => (3, offset, base, index | u16::from(shift) << 12),
    };
    let mut bytes = [0; ARGUMENT_BYTES];
    bytes[..8].copy_from_slice(&value.to_ne_bytes());
    bytes[8] = sort;
    // KERNEL: both machines whose arguments are read keep the low byte first.
    bytes[9..11].copy_from_slice(&indexed.to_le_bytes());
    bytes[12..14].copy_from_slice(&register.to_ne_bytes());
    bytes[14] = u8::from(argument.is_signed);
    bytes[15] = 64 - argument.size_bytes * 8;
    bytes
}

fn unknown_form(map: &KernelMap) -> Error {
    let message = format!(
        "the map that describes a probe's arguments has values of {} bytes, and {ENTRY_BYTES} are known",
        map.value_bytes()
    );
    Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
        .in_map(&map.spec().name)
        .into()
}

fn full(map: &KernelMap) -> Error {
    let message = format!(
        "none of the {} entries is free for another place of a probe",
        map.spec().max_entries
    );
    Diagnosis::new(Code::ATTACH, message)
        .kind(ErrorKind::Limit)
        .in_map(&map.spec().name)
        .help("give the map more entries (BPF_USDT_MAX_SPEC_CNT)")
        .into()
}

fn refused(map: &KernelMap, errno: Errno) -> Error {
    Diagnosis::new(Code::MAP_OPERATION, "the entries cannot be read or written")
        .in_map(&map.spec().name)
        .errno(errno)
        .into()
}

const ARGUMENT_BYTES: usize = 16;
const COOKIE_AT: usize = MOST_ARGUMENTS * ARGUMENT_BYTES;
const COUNT_AT: usize = COOKIE_AT + 8;
const ENTRY_BYTES: usize = COUNT_AT + 8;
