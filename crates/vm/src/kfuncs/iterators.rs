//! Open-coded iterators: loops over numbers (`bpf_for`) and over the bits of words.
//!
//! The program keeps a struct on its stack. Only what the program reads is written there, the present number; where a loop stands
//! is remembered by the struct's address, outside the window.

use twinbpf_object::Errno;
use twinbpf_shm::SharedBytes;

use crate::fault::FaultKind;
use crate::held::{Iterator, Place};
use crate::run::{Arguments, Returned, Run};
use crate::semantics::low_32;
use crate::window::Need;

/// KERNEL: longest loop over numbers (`BPF_MAX_LOOPS`, 6.18).
const MOST_ROUNDS: i64 = 8 << 20;
/// KERNEL: most words whose bits can be walked through (6.18).
const MOST_WORDS: u32 = 511;
/// Bytes of `struct bpf_iter_num`, whose start holds the number.
const NUMBER_BYTES: u32 = 8;
/// Bytes of `struct bpf_iter_bits`, and where the bit's number is in it.
const BITS_BYTES: u32 = 16;
const BIT_OFFSET: u32 = 12;

/// `int bpf_iter_num_new(iterator, start, end)`
pub(super) fn new_numbers(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, start, end, ..] = arguments.values;
    let start = i64::from(low_32(start).cast_signed());
    let end = i64::from(low_32(end).cast_signed());
    let place = place(run, arguments, NUMBER_BYTES)?;
    // KERNEL: an iterator that could not be made is an empty one (6.18).
    let (range, result) = match end - start {
        ..0 => (0..0, Err(Errno::EINVAL)),
        rounds if rounds > MOST_ROUNDS => (0..0, Err(Errno::E2BIG)),
        _ => (start..end, Ok(())),
    };
    run.held.begin_iterator(place, Iterator::Numbers(range))?;
    Ok(Returned::status(result))
}

/// `int *bpf_iter_num_next(iterator)`: the address of the number, or 0.
pub(super) fn next_number(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let place = place(run, arguments, NUMBER_BYTES)?;
    let Iterator::Numbers(range) = run.held.iterator(place)? else {
        return Err(NOT_MADE);
    };
    let number = range.next().and_then(|number| i32::try_from(number).ok());
    show(run, arguments, (0, NUMBER_BYTES), number)
}

/// `int bpf_iter_bits_new(iterator, words, count)`
pub(super) fn new_bits(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let [_, words, count, ..] = arguments.values;
    let place = place(run, arguments, BITS_BYTES)?;
    let count = low_32(count);
    let result = match count {
        0 => Err(Errno::EINVAL),
        _ if count > MOST_WORDS => Err(Errno::E2BIG),
        // KERNEL: the words are read as by `bpf_probe_read_kernel` (6.18).
        _ => match run.memory_at(words, count * 8, Need::Read) {
            Ok(view) => copied(view).ok_or(Errno::EFAULT),
            Err(_) => Err(Errno::EFAULT),
        },
    };
    let (words, result) = match result {
        Ok(words) => (words, Ok(())),
        Err(errno) => (Box::default(), Err(errno)),
    };
    run.held
        .begin_iterator(place, Iterator::Bits { words, next: 0 })?;
    Ok(Returned::status(result))
}

/// `int *bpf_iter_bits_next(iterator)`: the address of the number of the next bit that is set, or 0.
pub(super) fn next_bit(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let place = place(run, arguments, BITS_BYTES)?;
    let Iterator::Bits { words, next } = run.held.iterator(place)? else {
        return Err(NOT_MADE);
    };
    let is_set = |bit: &u32| {
        let word = words.get((*bit / 64) as usize);
        word.is_some_and(|word| word >> (*bit % 64) & 1 == 1)
    };
    let end = u32::try_from(words.len() * 64).unwrap_or(0);
    let bit = (*next..end).find(is_set);
    *next = bit.map_or(end, |bit| bit + 1);
    let number = bit.and_then(|bit| i32::try_from(bit).ok());
    show(run, arguments, (BIT_OFFSET, BITS_BYTES), number)
}

/// `void bpf_iter_num_destroy(iterator)`, and that of bits.
pub(super) fn destroy(run: &mut Run<'_>, arguments: &Arguments) -> Result<Returned, FaultKind> {
    let place = Place(low_32(arguments.values[0]));
    run.held.end_iterator(place)?;
    Ok(Returned::number(0))
}

const NOT_MADE: FaultKind = FaultKind::NotHeld {
    what: "this iterator",
};

/// The iterator's struct, which must be the program's to write.
fn place(run: &Run<'_>, arguments: &Arguments, bytes: u32) -> Result<Place, FaultKind> {
    run.memory(arguments, 0, bytes, Need::Both)?;
    Ok(Place(low_32(arguments.values[0])))
}

/// Writes the number into the struct, where the program reads it.
fn show(
    run: &Run<'_>,
    arguments: &Arguments,
    (offset, bytes): (u32, u32),
    number: Option<i32>,
) -> Result<Returned, FaultKind> {
    let Some(number) = number else {
        return Ok(Returned::number(0));
    };
    let view = run.memory(arguments, 0, bytes, Need::Both)?;
    view.copy_in(offset as usize, &number.to_ne_bytes())
        .ok_or(FaultKind::Unsupported("this iterator"))?;
    let address = low_32(arguments.values[0]).saturating_add(offset);
    Ok(Returned::object(address, 4, "an iterator's number"))
}

fn copied(view: SharedBytes) -> Option<Box<[u64]>> {
    (0..view.len() / 8)
        .map(|index| view.load_u64(index * 8))
        .collect()
}
