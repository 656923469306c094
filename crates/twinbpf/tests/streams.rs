//! Records as streams on `tokio`, the same on both engines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use futures_core::Stream;
use twinbpf::zerocopy::{FromBytes, IntoBytes};
use twinbpf::{Code, Engine, Loaded, Object, PerfBuffer, RawRing, Ring, TestInput, WhenFull};
use twinbpf_trials::{Case, Need};

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    (
        "a_stream_brings_what_was_there_and_what_comes",
        what_was_there_and_what_comes,
    ),
    ("a_waiting_stream_is_woken", a_waiting_stream_is_woken),
    (
        "records_that_wake_nobody_are_found_by_streams",
        records_that_wake_nobody,
    ),
    ("streams_miss_nothing_of_several_writers", several_writers),
    (
        "a_stream_goes_on_behind_a_record_that_is_too_short",
        too_short,
    ),
    ("perf_buffers_are_streams_too", perf_buffers),
    ("other_tasks_have_their_turn", other_tasks),
    ("without_a_runtime_there_is_no_stream", without_a_runtime),
];

const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let on_vm = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::vm"), &[], || body(&Engine::vm().unwrap()))
    });
    let on_kernel = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::kernel"), &[Need::Kernel], || {
            body(&Engine::kernel().unwrap());
        })
    });
    twinbpf_trials::run(on_vm.chain(on_kernel).collect())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes)]
#[repr(C)]
struct Event {
    number: u64,
    writer: u32,
    kind: u32,
}

fn events(engine: &Engine, count: u32, wakeup: u64) -> Loaded {
    let mut object = Object::parse(include_bytes!("../../../testdata/bpf/events.bpf.o")).unwrap();
    object.set_variable("count", count.as_bytes()).unwrap();
    object.set_variable("wakeup", wakeup.as_bytes()).unwrap();
    engine.load_object(&object).unwrap()
}

fn ring(loaded: &Loaded) -> Ring<Event> {
    Ring::open(loaded.raw_map("ring").unwrap()).unwrap()
}

fn run(loaded: &Loaded, program: &str) {
    let packet = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    let output = loaded.program(program).unwrap().test_run(&packet).unwrap();
    assert_eq!(output.value, 0);
}

fn number(loaded: &Loaded, name: &str) -> u64 {
    loaded.variable::<u64>(name).unwrap().get().unwrap()
}

fn block_on<T>(body: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let patient = async { tokio::time::timeout(PATIENCE, body).await };
    runtime.block_on(patient).expect("it came in time")
}

/// Whether it has something now.
fn now<T: Stream + Unpin>(stream: &mut T) -> Option<T::Item> {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(stream).as_mut().poll_next(&mut context) {
        Poll::Ready(item) => item,
        Poll::Pending => None,
    }
}

fn what_was_there_and_what_comes(engine: &Engine) {
    let loaded = events(engine, 100, 0);
    run(&loaded, "send");
    block_on(async {
        let mut stream = ring(&loaded).into_stream().unwrap();
        // More than the stream takes out at a time, and around the end of the ring.
        for pass in 0..20 {
            for expected in pass * 86..(pass + 1) * 86 {
                assert_eq!(stream.next().await.unwrap().number, expected);
            }
            assert_eq!(now(&mut stream), None);
            run(&loaded, "send");
        }
        assert_eq!(stream.lost(), 0);
    });
    assert_eq!(number(&loaded, "dropped"), 0);
}

fn a_waiting_stream_is_woken(engine: &Engine) {
    let loaded = events(engine, 1, 0);
    let (sender, receiver) = std::sync::mpsc::channel();
    let start = Instant::now();
    std::thread::scope(|scope| {
        // Each record is sent when the one before was seen, so the stream waits for every one. Its clock alone would take 100 ms.
        scope.spawn(|| {
            for _ in receiver {
                std::thread::sleep(Duration::from_millis(1));
                run(&loaded, "send");
            }
        });
        block_on(async {
            let mut stream = ring(&loaded).into_stream().unwrap();
            for expected in 0..50 {
                sender.send(()).unwrap();
                assert_eq!(stream.next().await.unwrap().number, expected);
            }
        });
        drop(sender);
    });
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_millis(2500), "{elapsed:?}");
}

fn records_that_wake_nobody(engine: &Engine) {
    // BPF_RB_NO_WAKEUP
    let loaded = events(engine, 1, 1);
    block_on(async {
        let mut stream = ring(&loaded).into_stream().unwrap();
        assert_eq!(now(&mut stream), None);
        run(&loaded, "send");
        assert_eq!(stream.next().await.unwrap().number, 0);
    });
}

fn several_writers(engine: &Engine) {
    let loaded = events(engine, 64, 0);
    let deadline = Instant::now() + Duration::from_millis(700);
    let mut numbers = Vec::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while Instant::now() < deadline {
                        run(&loaded, "send");
                    }
                })
            })
            .collect();
        block_on(async {
            let mut stream = ring(&loaded).into_stream().unwrap();
            while writers.iter().any(|writer| !writer.is_finished()) {
                let next = tokio::time::timeout(Duration::from_millis(5), stream.next());
                if let Ok(event) = next.await {
                    numbers.push(event.unwrap().number);
                }
            }
            // A stream that has given many records in a row lets others have their turn: being asked once proves nothing.
            let a_moment = Duration::from_millis(100);
            while let Ok(event) = tokio::time::timeout(a_moment, stream.next()).await {
                numbers.push(event.unwrap().number);
            }
        });
    });
    numbers.sort_unstable();
    assert_eq!(numbers, (0..number(&loaded, "sent")).collect::<Vec<_>>());
}

fn too_short(engine: &Engine) {
    let loaded = events(engine, 1, 0);
    run(&loaded, "send_short");
    run(&loaded, "send");
    block_on(async {
        let mut stream = ring(&loaded).into_stream().unwrap();
        let error = stream.next().await.unwrap_err();
        assert_eq!(error.diagnosis().code, Code::MAP_TYPE_SIZE);
        assert_eq!(stream.next().await.unwrap().number, 0);
    });
}

fn perf_buffers(engine: &Engine) {
    let loaded = events(engine, 40, 0);
    let map = loaded.raw_map("perf").unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    let start = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in receiver {
                std::thread::sleep(Duration::from_millis(1));
                run(&loaded, "send_perf");
            }
        });
        block_on(async {
            let buffer = PerfBuffer::open(map, 2, WhenFull::LoseNewest).unwrap();
            let mut stream = buffer.into_stream().unwrap();
            for pass in 0..30_u64 {
                sender.send(()).unwrap();
                for expected in pass * 40..(pass + 1) * 40 {
                    let (_, record) = stream.next().await.unwrap();
                    let (event, _) = Event::read_from_prefix(&record).unwrap();
                    assert_eq!(event.number, expected);
                }
            }
            assert_eq!(stream.lost(), 0);
        });
        drop(sender);
    });
    let elapsed = start.elapsed();
    assert!(elapsed < Duration::from_millis(1500), "{elapsed:?}");
}

fn other_tasks(engine: &Engine) {
    let loaded = events(engine, 100, 0);
    let turns = Arc::new(AtomicU32::new(0));
    block_on(async {
        let raw = RawRing::open(loaded.raw_map("ring").unwrap()).unwrap();
        let mut stream = raw.into_stream().unwrap();
        let counted = Arc::clone(&turns);
        let other = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        // There is always a record, so the stream itself never has to wait.
        for _ in 0..40 {
            run(&loaded, "send");
            for _ in 0..86 {
                stream.next().await.unwrap();
            }
        }
        other.abort();
    });
    let turns = turns.load(Ordering::Relaxed);
    assert!(turns >= 10, "the other task had {turns} turns");
}

fn without_a_runtime(engine: &Engine) {
    let loaded = events(engine, 1, 0);
    let error = ring(&loaded).into_stream().unwrap_err();
    assert!(error.to_string().contains("tokio"), "{error}");
}
