//! The lists that the kernel keeps with a program: its code before and after compilation, its maps, lines and functions.
#![expect(unsafe_code, reason = "bpf(2) takes addresses")]

use std::os::fd::{BorrowedFd, OwnedFd};

use twinbpf_object::Errno;
use zerocopy::IntoBytes;

use super::{bpf, bpf_descriptor, info_request, program_info, writable};
use crate::attr::{Command, EnableStats, ProgramInfoReply, ProgramQuery};

/// What the kernel gave; a list that it does not show is empty, or all zeros.
#[derive(Debug, Default)]
pub(crate) struct ProgramLists {
    pub(crate) map_ids: Vec<u32>,
    /// Instructions as the verifier left them.
    pub(crate) translated: Vec<u8>,
    /// Machine code of all functions, one behind the other.
    pub(crate) machine: Vec<u8>,
    /// Where each function's machine code is.
    pub(crate) addresses: Vec<u64>,
    /// Bytes of each.
    pub(crate) lengths: Vec<u32>,
    /// Two words a function: its first instruction, its type.
    pub(crate) functions: Vec<u32>,
    /// Four words a line: its first instruction, file and text as positions in the types' strings, line and column.
    pub(crate) lines: Vec<u32>,
    /// For each line, where its machine code is.
    pub(crate) machine_lines: Vec<u64>,
}

/// Asks for all lists.
pub(crate) fn program_lists(program: BorrowedFd<'_>) -> Result<ProgramLists, Errno> {
    let first = program_info(program)?;
    let mut lists = ProgramLists {
        map_ids: room(first.nr_map_ids, 1)?,
        translated: room(first.xlated_prog_len, 1)?,
        machine: room(first.jited_prog_len, 1)?,
        addresses: room(first.nr_jited_ksyms, 1)?,
        lengths: room(first.nr_jited_func_lens, 1)?,
        functions: room(first.nr_func_info, FUNCTION_WORDS)?,
        lines: room(first.nr_line_info, LINE_WORDS)?,
        machine_lines: room(first.nr_jited_line_info, 1)?,
    };
    let mut reply = ProgramInfoReply {
        nr_map_ids: first.nr_map_ids,
        map_ids: writable(lists.map_ids.as_mut_bytes()),
        xlated_prog_len: first.xlated_prog_len,
        xlated_prog_insns: writable(&mut lists.translated),
        jited_prog_len: first.jited_prog_len,
        jited_prog_insns: writable(&mut lists.machine),
        nr_jited_ksyms: first.nr_jited_ksyms,
        jited_ksyms: writable(lists.addresses.as_mut_bytes()),
        nr_jited_func_lens: first.nr_jited_func_lens,
        jited_func_lens: writable(lists.lengths.as_mut_bytes()),
        nr_func_info: first.nr_func_info,
        func_info_rec_size: FUNCTION_WORDS * 4,
        func_info: writable(lists.functions.as_mut_bytes()),
        nr_line_info: first.nr_line_info,
        line_info_rec_size: LINE_WORDS * 4,
        line_info: writable(lists.lines.as_mut_bytes()),
        nr_jited_line_info: first.nr_jited_line_info,
        jited_line_info_rec_size: 8,
        jited_line_info: writable(lists.machine_lines.as_mut_bytes()),
        ..ProgramInfoReply::default()
    };
    let mut request = info_request(program, reply.as_mut_bytes())?;
    // SAFETY: the kernel writes at most `info_len` bytes to `reply`. To each address in it that is not 0 it writes at most as many
    // entries as the count beside it says, of the size that the list's type has or that the record size beside it says: each list
    // was made with exactly that room by `room`, and is exclusively borrowed. `prog_tags` is 0.
    unsafe { bpf(Command::ObjectInfo, &mut request) }?;
    Ok(lists)
}

/// Has the kernel count runs of all programs, and the time they take, as long as the descriptor is open.
pub(crate) fn count_runs() -> Result<OwnedFd, Errno> {
    let mut request = EnableStats { kind: 0 };
    // SAFETY: the struct has one number, no address. The command makes a descriptor.
    unsafe { bpf_descriptor(Command::EnableStats, &mut request) }
}

/// What is attached at a place: the answer, the programs' numbers, and their links' as far as the kernel says them.
pub(crate) fn program_query(
    place: &ProgramQuery,
    has_links: bool,
) -> Result<(ProgramQuery, Vec<u32>, Vec<u32>), Errno> {
    let mut count = FIRST_QUERY;
    loop {
        let (mut programs, mut links) = (room::<u32>(count, 1)?, room::<u32>(count, 1)?);
        let mut request = ProgramQuery {
            count,
            prog_ids: writable(programs.as_mut_bytes()),
            link_ids: match has_links {
                true => writable(links.as_mut_bytes()),
                false => 0,
            },
            ..*place
        };
        // SAFETY: the kernel writes at most `count` numbers to each address that is not 0; both lists have that room and are
        // exclusively borrowed. The other two addresses are the caller's zeros.
        match unsafe { bpf(Command::ProgramQuery, &mut request) } {
            // KERNEL: 6.18 says how many there are if they did not fit.
            Err(Errno::ENOSPC) if request.count > count => count = request.count,
            Err(errno) => return Err(errno),
            Ok(_) => {
                let length = usize::try_from(request.count).map_err(|_| Errno::E2BIG)?;
                programs.truncate(length);
                links.truncate(length);
                return Ok((request, programs, links));
            }
        }
    }
}

/// Zeros for so many entries of so many words.
fn room<T: Clone + Default>(count: u32, words: u32) -> Result<Vec<T>, Errno> {
    let entries = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(usize::try_from(words).ok()?))
        .filter(|entries| *entries <= MOST_ENTRIES)
        .ok_or(Errno::E2BIG)?;
    Ok(vec![T::default(); entries])
}

const FUNCTION_WORDS: u32 = 2;
const LINE_WORDS: u32 = 4;
/// Far more than any program has.
const MOST_ENTRIES: usize = 1 << 26;
/// A list of programs this long takes one request.
const FIRST_QUERY: u32 = 64;
