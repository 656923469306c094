//! The protocol of ring buffers, as state machines without memory: positions and headers in, steps out.
//!
//! ```text
//!            published         position                  producer
//!                v                 v                         v
//!  ---- free ----|-- read, not yet --|-- ready ... busy ... --|-- free ----
//!                     given back
//! ```
//!
//! Positions only grow; a position modulo the size is a place in the ring. Each record is a header of 8 bytes, of which the first 4
//! are its length and two marks, and its bytes; the next one starts at a multiple of 8. Whoever drives a machine loads the
//! words it asks for (with *acquire*) and stores those it answers (with *release*), so the same code serves the kernel's
//! mapped rings, in both directions, and can be tried with every interleaving in a test.
//!
//! A reader gives back many records at once: each time it stores its position, the writer's next look at it waits for the
//! cache line to come across.

/// Bytes before each record.
pub const HEADER_BYTES: u64 = 8;
/// In a header: the writer is not done yet.
const BUSY: u32 = 1 << 31;
/// In a header: the record is to be skipped.
const DISCARDED: u32 = 1 << 30;
/// Records after which a position is given back.
const BATCH_RECORDS: u32 = 64;
/// The part of the ring after which it is given back earlier.
const BATCH_FRACTION: u64 = 8;

/// The reading end of a ring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reader {
    size: u64,
    position: u64,
    published: u64,
    producer: u64,
    unpublished_records: u32,
}

/// What a reader finds at its position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A record: where its bytes are in the ring, and how many. It stays until the position behind it is given back.
    Record {
        /// From the beginning of the ring; the bytes may go on behind its end, where its pages are mapped once more.
        offset: usize,
        /// How many.
        len: usize,
    },
    /// A record that was given up.
    Skipped,
    /// A record that its writer is not done with. Those behind it have to wait.
    Busy,
    /// No record that could be one: somebody else reads this ring, or its memory is damaged.
    Malformed,
}

impl Reader {
    /// A reader of a ring of `size` bytes, which is a power of two; `position` is where the last one stopped.
    pub fn new(size: u64, position: u64) -> Option<Self> {
        (size.is_power_of_two() && size >= HEADER_BYTES).then_some(Self {
            size,
            position,
            published: position,
            producer: position,
            unpublished_records: 0,
        })
    }

    /// Begins a pass: takes both positions as they are now.
    pub fn begin(&mut self, consumer: u64, producer: u64) {
        if consumer != self.published {
            // Somebody else has read, or nobody ever: go on where that was.
            (self.position, self.published) = (consumer, consumer);
            self.unpublished_records = 0;
        }
        self.producer = producer;
    }

    /// Where the next header is; `None` if all that was produced when the pass began has been seen.
    pub fn header_offset(&self) -> Option<usize> {
        let is_behind = self.position < self.producer;
        is_behind.then(|| self.offset(self.position)).flatten()
    }

    /// Looks at the header there, and moves behind its record unless it is busy.
    pub fn step(&mut self, header: u32) -> Step {
        if header & BUSY != 0 {
            return Step::Busy;
        }
        let len = header & !(BUSY | DISCARDED);
        let whole = (u64::from(len) + HEADER_BYTES).next_multiple_of(HEADER_BYTES);
        let place = self.offset(self.position.wrapping_add(HEADER_BYTES));
        let (Some(offset), Ok(len)) = (place, usize::try_from(len)) else {
            return Step::Malformed;
        };
        if whole > self.producer.saturating_sub(self.position) || whole > self.size {
            return Step::Malformed;
        }
        self.position += whole;
        self.unpublished_records += 1;
        match header & DISCARDED {
            0 => Step::Record { offset, len },
            _ => Step::Skipped,
        }
    }

    /// The position to store if enough was read since the last time; `is_pass_over` gives back everything.
    pub fn give_back(&mut self, is_pass_over: bool) -> Option<u64> {
        let bytes = self.position.saturating_sub(self.published);
        let is_due = is_pass_over && bytes > 0
            || self.unpublished_records >= BATCH_RECORDS
            || bytes > self.size / BATCH_FRACTION;
        is_due.then(|| {
            self.published = self.position;
            self.unpublished_records = 0;
            self.position
        })
    }

    /// Leaves out everything that was produced when the pass began.
    pub fn skip_all(&mut self) {
        self.position = self.producer;
    }

    fn offset(&self, position: u64) -> Option<usize> {
        usize::try_from(position & (self.size - 1)).ok()
    }
}

/// The writing end of a ring that programs read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writer {
    size: u64,
    position: u64,
}

/// Room for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Where its header is in the ring.
    pub header_offset: usize,
    /// Where its bytes are; they may go on behind the ring's end, where its pages are mapped once more.
    pub offset: usize,
    /// How many.
    pub len: usize,
    /// What the header is while the record is written.
    pub busy_header: u32,
    /// What it is when the record is done.
    pub ready_header: u32,
    /// What it is when the record is given up.
    pub discarded_header: u32,
    /// The producer's position behind it: to be stored after the busy header.
    pub producer: u64,
}

impl Writer {
    /// A writer of a ring of `size` bytes, which is a power of two; `position` is where the last one stopped.
    pub fn new(size: u64, position: u64) -> Option<Self> {
        (size.is_power_of_two() && size >= HEADER_BYTES).then_some(Self { size, position })
    }

    /// Room for a record of `len` bytes, while the reader is at `consumer`; `None` if there is none now.
    pub fn reserve(&mut self, len: usize, consumer: u64) -> Option<Room> {
        let bytes = u64::try_from(len).ok()?;
        let whole = bytes
            .checked_add(HEADER_BYTES)?
            .checked_next_multiple_of(HEADER_BYTES)?;
        let used = self.position.checked_sub(consumer)?;
        if whole > self.size.checked_sub(used)? {
            return None;
        }
        let header = u32::try_from(len)
            .ok()
            .filter(|header| *header < DISCARDED)?;
        let place = |position: u64| usize::try_from(position & (self.size - 1)).ok();
        let room = Room {
            header_offset: place(self.position)?,
            offset: place(self.position + HEADER_BYTES)?,
            len,
            busy_header: header | BUSY,
            ready_header: header,
            discarded_header: header | DISCARDED,
            producer: self.position + whole,
        };
        self.position += whole;
        Some(room)
    }

    /// Whether a record of `len` bytes fits the ring when it is empty.
    pub fn can_ever_hold(&self, len: usize) -> bool {
        let bytes = u64::try_from(len).unwrap_or(u64::MAX);
        bytes.saturating_add(2 * HEADER_BYTES - 1) / HEADER_BYTES * HEADER_BYTES <= self.size
            && u32::try_from(len).is_ok_and(|len| len < DISCARDED)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// A ring in memory: what the words of a mapped one would be.
    struct Memory {
        headers: Vec<u32>,
        producer: u64,
        consumer: u64,
    }

    impl Memory {
        fn new(size: usize) -> Self {
            Self {
                headers: vec![0; size / 8],
                producer: 0,
                consumer: 0,
            }
        }

        fn pass(&self, reader: &mut Reader) {
            reader.begin(self.consumer, self.producer);
        }

        fn next(&self, reader: &mut Reader) -> Option<Step> {
            let at = reader.header_offset()?;
            Some(reader.step(self.headers[at / 8]))
        }
    }

    #[test]
    fn records_come_in_the_order_of_their_reservation_and_skipped_ones_do_not() {
        let mut memory = Memory::new(64);
        let (mut writer, mut reader) = (Writer::new(64, 0).unwrap(), Reader::new(64, 0).unwrap());
        let rooms: Vec<Room> = [4, 9, 0]
            .map(|len| writer.reserve(len, 0).unwrap())
            .to_vec();
        assert_eq!(
            rooms.iter().map(|room| room.offset).collect::<Vec<_>>(),
            [8, 24, 48]
        );
        for room in &rooms {
            memory.headers[room.header_offset / 8] = room.busy_header;
            memory.producer = room.producer;
        }
        memory.pass(&mut reader);
        assert_eq!(memory.next(&mut reader), Some(Step::Busy));
        memory.headers[rooms[1].header_offset / 8] = rooms[1].ready_header;
        assert_eq!(
            memory.next(&mut reader),
            Some(Step::Busy),
            "the first is not done"
        );
        memory.headers[0] = rooms[0].discarded_header;
        assert_eq!(memory.next(&mut reader), Some(Step::Skipped));
        assert_eq!(
            memory.next(&mut reader),
            Some(Step::Record { offset: 24, len: 9 })
        );
        assert_eq!(memory.next(&mut reader), Some(Step::Busy));
        memory.headers[rooms[2].header_offset / 8] = rooms[2].ready_header;
        assert_eq!(
            memory.next(&mut reader),
            Some(Step::Record { offset: 48, len: 0 })
        );
        assert_eq!(memory.next(&mut reader), None);
        assert_eq!(reader.give_back(true), Some(48));
        assert_eq!(reader.give_back(true), None);
    }

    #[test]
    fn a_full_ring_has_no_room_until_positions_are_given_back() {
        let mut writer = Writer::new(32, 0).unwrap();
        assert!(writer.reserve(8, 0).is_some() && writer.reserve(8, 0).is_some());
        assert_eq!(writer.reserve(0, 0), None);
        let room = writer.reserve(8, 16).unwrap();
        assert_eq!((room.header_offset, room.offset), (0, 8), "around the end");
        assert_eq!(writer.reserve(1, 16), None);
        assert_eq!(
            writer.reserve(1, 999),
            None,
            "a reader ahead of the writer is no room"
        );
        assert!(writer.can_ever_hold(24) && !writer.can_ever_hold(25));
        assert!(!writer.can_ever_hold(usize::MAX));
        assert_eq!(Writer::new(24, 0), None);
    }

    #[test]
    fn positions_are_given_back_in_batches() {
        let size = 1 << 16;
        let mut reader = Reader::new(size, 0).unwrap();
        reader.begin(0, size);
        let mut published = Vec::new();
        for _ in 0..130 {
            assert!(matches!(reader.step(8), Step::Record { .. }));
            published.extend(reader.give_back(false));
        }
        assert_eq!(published, [64 * 16, 128 * 16]);
        let mut reader = Reader::new(size, 0).unwrap();
        reader.begin(0, size);
        assert!(matches!(reader.step(10_000), Step::Record { .. }));
        assert_eq!(reader.give_back(false), Some(10_008), "large ones earlier");
    }

    #[test]
    fn headers_that_cannot_be_are_not_followed() {
        for header in [9, 24, 1 << 29, DISCARDED | 17] {
            let mut reader = Reader::new(64, 0).unwrap();
            reader.begin(0, 16);
            assert_eq!(reader.step(header), Step::Malformed, "{header:#x}");
            reader.skip_all();
            assert_eq!(
                (reader.header_offset(), reader.give_back(true)),
                (None, Some(16))
            );
        }
        let mut reader = Reader::new(64, u64::MAX - 7).unwrap();
        reader.begin(u64::MAX - 7, u64::MAX);
        assert_eq!(
            reader.step(0),
            Step::Malformed,
            "positions do not wrap in a lifetime"
        );
    }

    /// Every interleaving of a few reservations, commits and reads: each committed record is read exactly once and in order.
    #[test]
    fn every_interleaving_delivers_each_record_once() {
        struct State {
            memory: Memory,
            writer: Writer,
            reader: Reader,
            open: VecDeque<(Room, u32)>,
            next: u32,
            read: Vec<usize>,
        }
        fn explore(trace: &mut Vec<u8>, runs: &mut usize) {
            let mut state = State {
                memory: Memory::new(64),
                writer: Writer::new(64, 0).unwrap(),
                reader: Reader::new(64, 0).unwrap(),
                open: VecDeque::new(),
                next: 1,
                read: Vec::new(),
            };
            let mut committed = Vec::new();
            for action in trace.iter() {
                match action {
                    0 => {
                        if let Some(room) = state
                            .writer
                            .reserve(state.next as usize, state.memory.consumer)
                        {
                            state.memory.headers[room.header_offset / 8] = room.busy_header;
                            state.memory.producer = room.producer;
                            state.open.push_back((room, state.next));
                            state.next += 1;
                        }
                    }
                    // The newest first, so that order of commits and of reservations differ.
                    1 => {
                        if let Some((room, len)) = state.open.pop_back() {
                            state.memory.headers[room.header_offset / 8] = room.ready_header;
                            committed.push(len as usize);
                        }
                    }
                    _ => {
                        state.memory.pass(&mut state.reader);
                        while let Some(step) = state.memory.next(&mut state.reader) {
                            match step {
                                Step::Record { len, .. } => state.read.push(len),
                                Step::Busy => break,
                                other => panic!("{other:?}"),
                            }
                        }
                        if let Some(position) = state.reader.give_back(true) {
                            state.memory.consumer = position;
                        }
                    }
                }
            }
            *runs += 1;
            let expected: Vec<usize> = (1..=state.read.len()).collect();
            assert_eq!(state.read, expected, "{trace:?}");
            assert!(
                state.read.iter().all(|len| committed.contains(len)),
                "{trace:?}"
            );
            if trace.len() < 9 {
                for action in 0..3 {
                    trace.push(action);
                    explore(trace, runs);
                    trace.pop();
                }
            }
        }
        let mut runs = 0;
        explore(&mut Vec::new(), &mut runs);
        assert!(runs > 20_000);
    }
}
