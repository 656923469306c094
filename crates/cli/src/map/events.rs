//! Records that programs send, as they come: ring buffers and perf event arrays.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::Serialize;
use twinbpf::{MapKind, PerfBuffer, RawMap, RawRing, Record, WhenFull};

use super::EventsArgs;
use super::words::Words;
use crate::exit::Exit;
use crate::output::{Failure, Output};

#[derive(Debug, Serialize)]
struct EventDocument {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu: Option<u32>,
    bytes: usize,
    data: String,
}

/// Pages of the buffer that each CPU gets.
const PERF_PAGES: usize = 64;

/// `map events MAP`
pub(super) fn events(args: &EventsArgs, output: &Output) -> Result<Exit, Failure> {
    let mut words = Words::new(&args.words);
    let map = words.map()?;
    words.end()?;
    let mut printer = Printer {
        output,
        left: args.count.unwrap_or(u64::MAX),
        failure: None,
    };
    let time = args.time.unwrap_or(Duration::MAX);
    match map.spec().kind {
        MapKind::PerfEventArray => perf(&map, time, &mut printer)?,
        _ => {
            RawRing::open(&map)?.serve(time, |record| printer.print(None, record))?;
        }
    }
    printer.failure.map_or(Ok(Exit::Done), Err)
}

fn perf(map: &RawMap, time: Duration, printer: &mut Printer<'_>) -> twinbpf::Result<()> {
    let mut buffer = PerfBuffer::open(map, PERF_PAGES, WhenFull::LoseNewest)?;
    buffer.serve(time, |cpu, record| printer.print(Some(cpu), record))?;
    if buffer.lost() > 0 {
        let text = format!("{} records were lost", buffer.lost());
        printer.output.talk(&text);
    }
    Ok(())
}

/// Prints records until there were enough, or nobody reads them.
struct Printer<'a> {
    output: &'a Output,
    left: u64,
    failure: Option<Failure>,
}

impl Printer<'_> {
    fn print(&mut self, cpu: Option<u32>, record: Record<'_>) -> ControlFlow<()> {
        let bytes = record.to_vec();
        let document = EventDocument {
            cpu,
            bytes: bytes.len(),
            data: hex(&bytes),
        };
        let printed = if self.output.wants_json() {
            self.output.document(&document)
        } else {
            let EventDocument { bytes, data, .. } = document;
            let cpu = cpu.map(|cpu| format!("cpu{cpu}  ")).unwrap_or_default();
            self.output.data(&format!("{cpu}{bytes} bytes  {data}"))
        };
        self.left = self.left.saturating_sub(1);
        self.failure = printed.err();
        match self.failure.is_some() || self.left == 0 {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
