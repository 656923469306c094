//! Bytes of a file that were read and not yet used, and where in the file they are.
//!
//! Captures can be larger than memory and can come out of a pipe, so only the record at hand is kept. `read` is called
//! only when the parser asks for more: a frame that has arrived is never held back to fill a buffer.

use std::io::{self, Read};

/// The least that is asked of the reader at once.
const CHUNK: usize = 64 << 10;

/// A reader with the bytes that are in use.
///
/// INVARIANT: `start <= buffer.len()`, and `offset` is the position of `buffer[start]` in the file.
pub(super) struct Source {
    reader: Box<dyn Read + Send>,
    buffer: Vec<u8>,
    start: usize,
    offset: u64,
}

impl Source {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            reader,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
        }
    }

    /// The bytes that are there.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    /// Position of the first of them in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Drops the first `count` bytes, at most all.
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.bytes().len());
        self.start += count;
        self.offset += u64::try_from(count).expect("usize has at most 64 bits");
    }

    /// Reads more; false at the end of the file.
    pub(super) fn fill(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.start);
        self.start = 0;
        // Doubling keeps the cost of a large record linear: the parser starts over after every fill.
        let kept = self.buffer.len();
        self.buffer.resize(kept + kept.max(CHUNK), 0);
        let result = loop {
            match self.reader.read(&mut self.buffer[kept..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        // Nothing was read on an error: the room goes away again before the error is reported.
        self.buffer
            .truncate(kept + result.as_ref().copied().unwrap_or(0));
        result.map(|count| count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time, as a slow pipe might.
    struct Drip(io::Cursor<Vec<u8>>);

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let room = buffer.len().min(1);
            self.0.read(&mut buffer[..room])
        }
    }

    #[test]
    fn offset_counts_consumed_bytes_and_nothing_is_lost_between_fills() {
        let mut source = Source::new(Box::new(Drip(io::Cursor::new((0..100).collect()))));
        let mut seen = Vec::new();
        while source.fill().unwrap() {
            if source.bytes().len() == 3 {
                seen.extend_from_slice(&source.bytes()[..2]);
                source.consume(2);
                assert_eq!(source.offset(), u64::try_from(seen.len()).unwrap());
            }
        }
        seen.extend_from_slice(source.bytes());
        assert_eq!(seen, (0..100).collect::<Vec<u8>>());
    }

    #[test]
    fn consuming_more_than_there_is_consumes_all() {
        let mut source = Source::new(Box::new(io::Cursor::new(vec![1, 2, 3])));
        assert!(source.fill().unwrap());
        source.consume(10);
        assert_eq!((source.bytes().len(), source.offset()), (0, 3));
    }
}
