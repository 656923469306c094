//! A ring that is full most of the time.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use twinbpf::zerocopy::IntoBytes;
use twinbpf::{Engine, Error, Loaded, RawRing, TestInput};

const WRITERS: u64 = 4;
/// Records that a run tries to write: more than fit the ring's 4096 bytes.
const RECORDS: u32 = 300;

/// Four threads write as fast as they can, one reads with pauses.
pub(super) fn run(engine: &Engine, time: Duration) -> Result<String, String> {
    let mut object = super::object("events.bpf.o")?;
    let words = |error: Error| error.to_string();
    object
        .set_variable("count", RECORDS.as_bytes())
        .map_err(words)?;
    let loaded = engine.load_object(&object).map_err(words)?;
    let mut reader = Reader::new(&loaded)?;
    let is_over = AtomicBool::new(false);
    let runs: u64 = thread::scope(|scope| {
        let write = || {
            let mut runs = 0;
            while !is_over.load(Ordering::Relaxed) {
                send(&loaded)?;
                runs += 1;
            }
            Ok::<u64, String>(runs)
        };
        let writers: Vec<_> = (0..WRITERS).map(|_| scope.spawn(write)).collect();
        let deadline = Instant::now() + time;
        while Instant::now() < deadline {
            reader.read()?;
            thread::sleep(Duration::from_micros(200));
        }
        is_over.store(true, Ordering::Relaxed);
        let mut all = 0;
        for writer in writers {
            all += writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok::<u64, String>(all)
    })?;
    reader.read()?;
    let count = |name: &str| {
        let variable = loaded.variable::<u64>(name).map_err(words)?;
        variable.get().map_err(words)
    };
    let (sent, lost, given_up) = (count("sent")?, count("dropped")?, count("given_up")?);
    if sent + lost + given_up != runs * u64::from(RECORDS) {
        return Err(format!(
            "{runs} runs of {RECORDS} records, but {sent} were sent, {lost} lost and {given_up} given up"
        ));
    }
    reader.judge(sent)?;
    Ok(format!(
        "{sent} records, each delivered once; {lost} counted as lost"
    ))
}

fn send(loaded: &Loaded) -> Result<(), String> {
    let packet = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    let program = loaded.program("send").map_err(|error| error.to_string())?;
    program
        .test_run(&packet)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Which numbers have come.
struct Reader {
    ring: RawRing,
    seen: Vec<u64>,
    count: u64,
    twice: Option<u64>,
}

impl Reader {
    fn new(loaded: &Loaded) -> Result<Self, String> {
        let ring = loaded.raw_map("ring").and_then(RawRing::open);
        Ok(Self {
            ring: ring.map_err(|error| error.to_string())?,
            seen: Vec::new(),
            count: 0,
            twice: None,
        })
    }

    fn read(&mut self) -> Result<(), String> {
        let Self {
            ring,
            seen,
            count,
            twice,
        } = self;
        let mut is_whole = true;
        let drained = ring.drain(|record| {
            let bytes = record.to_vec();
            let Some(number) = bytes.first_chunk().filter(|_| bytes.len() == 16) else {
                is_whole = false;
                return ControlFlow::Break(());
            };
            let number = u64::from_ne_bytes(*number);
            let place = usize::try_from(number / 64).unwrap_or(usize::MAX);
            if place >= seen.len() {
                seen.resize(place + 1, 0);
            }
            let bit = 1 << (number % 64);
            if seen[place] & bit != 0 {
                *twice = Some(number);
            }
            seen[place] |= bit;
            *count += 1;
            ControlFlow::Continue(())
        });
        drained.map_err(|error| error.to_string())?;
        match is_whole {
            true => Ok(()),
            false => Err("a record is not as it was written".to_owned()),
        }
    }

    fn judge(&self, sent: u64) -> Result<(), String> {
        if let Some(number) = self.twice {
            return Err(format!("record {number} came twice"));
        }
        let seen: u64 = self
            .seen
            .iter()
            .map(|word| u64::from(word.count_ones()))
            .sum();
        if seen != sent || self.count != sent {
            return Err(format!("{sent} records were sent, {} came", self.count));
        }
        Ok(())
    }
}
