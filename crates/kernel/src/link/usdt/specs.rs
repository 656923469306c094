//! What programs are told about a probe's arguments: entries of the map `__bpf_usdt_specs`, as libbpf's header for programs reads them.
//!
//! The header has had two forms, told apart by the size of the map's values. Only the later one can say that an index register is added.
//!
//! ```text
//!                         value  sort  index register and shift  register  sign  bits cut  bytes
//! 12 arguments, earlier   0      8     -                         12        14    15        16
//! 12 arguments, later     0      8     10 (12 + 4 bits)          14        16    17        24
//! then a cookie (8 bytes) and the count (2 bytes)
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
    let forms = [&EARLIER, &LATER].into_iter();
    let mut forms = forms.filter(|_| map.key_bytes() == 4);
    let form = forms.find(|form| form.entry_bytes() == map.value_bytes());
    let form = form.ok_or_else(|| unknown_form(map))?;
    let entry = form
        .encode(arguments, cookie)
        .ok_or_else(|| no_index(map))?;
    let last = map.spec().max_entries.saturating_sub(1);
    let free = vec![0; entry.len()];
    if entry == free {
        return Ok(u64::from(last));
    }
    // Two threads must not take the same free entry. This is the only thing that links share, so one lock serves all maps.
    static TAKING: Mutex<()> = Mutex::new(());
    let taking = TAKING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found = free.clone();
    for number in 0..last {
        let key = number.to_ne_bytes();
        map.lookup(&key, &mut found)
            .map_err(|errno| refused(map, errno))?;
        if found == entry {
            return Ok(u64::from(number));
        }
        if found == free {
            map.update(&key, &entry, 0)
                .map_err(|errno| refused(map, errno))?;
            return Ok(u64::from(number));
        }
    }
    drop(taking);
    Err(full(map))
}

/// Where in an argument's description things stand.
struct Form {
    /// `None` where there is no room for an index register.
    index: Option<usize>,
    register: usize,
    sign: usize,
    cut: usize,
    argument_bytes: usize,
}

const EARLIER: Form = Form {
    index: None,
    register: 12,
    sign: 14,
    cut: 15,
    argument_bytes: 16,
};

const LATER: Form = Form {
    index: Some(10),
    register: 14,
    sign: 16,
    cut: 17,
    argument_bytes: 24,
};

impl Form {
    /// The cookie and the count take 16 bytes.
    const fn entry_bytes(&self) -> usize {
        MOST_ARGUMENTS * self.argument_bytes + 16
    }

    /// The entry; `None` if an argument cannot be said in this form.
    fn encode(&self, arguments: &[Argument], cookie: u64) -> Option<Vec<u8>> {
        let mut entry = Vec::with_capacity(self.entry_bytes());
        for argument in arguments {
            entry.extend(self.encode_one(argument)?);
        }
        entry.resize(MOST_ARGUMENTS * self.argument_bytes, 0);
        entry.extend(cookie.to_ne_bytes());
        let count = u16::try_from(arguments.len()).unwrap_or(u16::MAX);
        entry.extend(count.to_ne_bytes());
        entry.resize(self.entry_bytes(), 0);
        Some(entry)
    }

    fn encode_one(&self, argument: &Argument) -> Option<Vec<u8>> {
        let (sort, value, register, indexed) = match argument.source {
            Source::Constant(value) => (0, value, 0, None),
            Source::Register(register) => (1, 0, register, None),
            Source::Memory { base, offset } => (2, offset, base, None),
            Source::Indexed {
                base,
                index,
                shift,
                offset,
            } => (3, offset, base, Some(index | u16::from(shift) << 12)),
        };
        let mut bytes = vec![0; self.argument_bytes];
        let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
        put(0, &value.to_ne_bytes());
        // KERNEL: both machines whose arguments are read keep the low byte first, so the earlier form's four bytes begin with it.
        put(8, &[sort]);
        if let Some(indexed) = indexed {
            put(self.index?, &indexed.to_le_bytes());
        }
        put(self.register, &register.to_ne_bytes());
        put(self.sign, &[u8::from(argument.is_signed)]);
        put(self.cut, &[64 - argument.size_bytes * 8]);
        Some(bytes)
    }
}

fn no_index(map: &KernelMap) -> Error {
    let message =
        "an argument is at the sum of two registers, which the object's map has no room to say";
    Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
        .in_map(&map.spec().name)
        .help("build the object with the header usdt.bpf.h of libbpf 1.7 or later")
        .into()
}

fn unknown_form(map: &KernelMap) -> Error {
    let message = format!(
        "the map that describes a probe's arguments has values of {} bytes, and {} and {} are known",
        map.value_bytes(),
        EARLIER.entry_bytes(),
        LATER.entry_bytes()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same_at_other_places() {
        let memory = Argument {
            source: Source::Memory {
                base: 32,
                offset: -8,
            },
            size_bytes: 4,
            is_signed: true,
        };
        let earlier = EARLIER.encode(&[memory], 7).unwrap();
        let later = LATER.encode(&[memory], 7).unwrap();
        assert_eq!((earlier.len(), later.len()), (208, 304));
        for (entry, register) in [(&earlier, 12), (&later, 14)] {
            assert_eq!(entry[..8], (-8_i64).to_ne_bytes());
            assert_eq!(entry[8], 2);
            assert_eq!(entry[register..register + 4], [32, 0, 1, 32]);
            let end = entry.len() - 16;
            assert_eq!(entry[end..end + 10], [7, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
        }
        let indexed = Argument {
            source: Source::Indexed {
                base: 80,
                index: 64,
                shift: 3,
                offset: 0,
            },
            size_bytes: 8,
            is_signed: false,
        };
        assert!(EARLIER.encode(&[indexed], 0).is_none());
        let entry = LATER.encode(&[indexed], 0).unwrap();
        assert_eq!(entry[10..12], [64, 3 << 4]);
    }
}
