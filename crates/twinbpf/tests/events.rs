//! Records between programs and user space, the same on both engines where both have them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use twinbpf::zerocopy::{FromBytes, IntoBytes};
use twinbpf::{
    Code, Engine, EngineKind, ErrorKind, Loaded, Object, PerfBuffer, RawRing, Ring, TestInput,
    UserRing, WhenFull,
};
use twinbpf_trials::{Case, Need};

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    (
        "records_come_typed_and_in_order",
        records_come_typed_and_in_order,
    ),
    ("what_does_not_fit_is_counted", what_does_not_fit_is_counted),
    (
        "a_pass_can_break_off_and_go_on",
        a_pass_can_break_off_and_go_on,
    ),
    ("a_record_that_is_too_short_is_an_error", too_short),
    (
        "a_ring_is_waited_for_with_other_descriptors",
        waited_for_with_others,
    ),
    ("a_wait_in_vain_ends_at_its_deadline", a_wait_in_vain),
    (
        "records_that_wake_nobody_are_found",
        records_that_wake_nobody,
    ),
    (
        "records_come_while_they_are_written",
        while_they_are_written,
    ),
    ("several_writers_lose_nothing_uncounted", several_writers),
    ("only_ring_buffers_are_opened", only_ring_buffers_are_opened),
    (
        "programs_take_what_user_space_sends",
        programs_take_what_user_space_sends,
    ),
    (
        "a_full_user_ring_is_waited_for",
        a_full_user_ring_is_waited_for,
    ),
    (
        "perf_events_come_in_order_and_lost_ones_are_counted",
        perf_events,
    ),
    (
        "a_second_reader_goes_on_where_the_first_stopped",
        a_second_reader,
    ),
];

fn main() -> ExitCode {
    let on_vm = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::vm"), &[], || body(&Engine::vm().unwrap()))
    });
    let on_kernel = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::kernel"), &[Need::Kernel], || {
            body(&Engine::kernel().unwrap());
        })
    });
    let mut cases: Vec<Case> = on_vm.chain(on_kernel).collect();
    cases.push(Case::new(
        "a_perf_buffer_that_overwrites_keeps_the_newest::kernel",
        &[Need::Kernel],
        a_perf_buffer_that_overwrites,
    ));
    twinbpf_trials::run(cases)
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

fn all(ring: &mut Ring<Event>) -> Vec<Event> {
    let mut events = Vec::new();
    let count = ring
        .drain(|event| {
            events.push(event);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(count, events.len());
    events
}

fn records_come_typed_and_in_order(engine: &Engine) {
    let loaded = events(engine, 30, 0);
    let mut ring = ring(&loaded);
    // Around the end of the ring several times.
    for pass in 0..50_u64 {
        run(&loaded, "send");
        let events = all(&mut ring);
        let first = pass * 26;
        let expected: Vec<u64> = (first..first + 26).collect();
        assert_eq!(
            events.iter().map(|event| event.number).collect::<Vec<_>>(),
            expected
        );
        assert!(events.iter().all(|event| event.kind == 1));
    }
    assert_eq!(number(&loaded, "given_up"), 50 * 4);
    assert_eq!((number(&loaded, "dropped"), all(&mut ring).len()), (0, 0));
}

fn what_does_not_fit_is_counted(engine: &Engine) {
    let loaded = events(engine, 1000, 0);
    let mut ring = ring(&loaded);
    run(&loaded, "send");
    let read = u64::try_from(all(&mut ring).len()).unwrap();
    let (sent, dropped) = (number(&loaded, "sent"), number(&loaded, "dropped"));
    assert_eq!(read, sent);
    assert_eq!(sent + dropped + number(&loaded, "given_up"), 1000);
    assert!(dropped > 800, "the ring holds 4096 bytes: {dropped}");
}

fn a_pass_can_break_off_and_go_on(engine: &Engine) {
    let loaded = events(engine, 6, 0);
    let mut ring = ring(&loaded);
    run(&loaded, "send");
    for expected in 0..6 {
        let event = ring.next_within(Duration::from_secs(5)).unwrap().unwrap();
        assert_eq!(event.number, expected);
    }
    assert_eq!(ring.next_within(Duration::ZERO).unwrap(), None);
}

fn too_short(engine: &Engine) {
    let loaded = events(engine, 1, 0);
    let mut ring = ring(&loaded);
    run(&loaded, "send_short");
    run(&loaded, "send");
    let error = ring.drain(|_| ControlFlow::Continue(())).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::MAP_TYPE_SIZE);
    assert!(
        error.to_string().contains("a record has 3 bytes"),
        "{error}"
    );
    assert_eq!(all(&mut ring).len(), 1, "the one behind it is not lost");
    run(&loaded, "send_short");
    let mut lengths = Vec::new();
    ring.raw()
        .drain(|record| {
            lengths.push((record.len(), record.to_vec()[0], record.read::<u32>()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(lengths, [(3, 64, None)]);
}

fn a_wait_in_vain(engine: &Engine) {
    let loaded = events(engine, 1, 0);
    let mut ring = ring(&loaded);
    let start = Instant::now();
    let count = ring.serve(Duration::from_millis(30), |_| ControlFlow::Continue(()));
    assert_eq!(count, Ok(0));
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert_eq!(ring.raw().wait(Duration::ZERO), Ok(false));
    run(&loaded, "send");
    assert_eq!(ring.raw().wait(Duration::from_secs(5)), Ok(true));
}

fn waited_for_with_others(engine: &Engine) {
    let loaded = events(engine, 4, 0);
    let mut ring = ring(&loaded);
    run(&loaded, "send");
    assert!(is_readable(ring.raw().descriptor().unwrap(), 5));
    all(&mut ring);
    assert!(!is_readable(ring.raw().descriptor().unwrap(), 0));
    std::thread::scope(|scope| {
        for _ in 0..100 {
            let writer = scope.spawn(|| run(&loaded, "send"));
            assert!(is_readable(ring.raw().descriptor().unwrap(), 5));
            writer.join().unwrap();
            // Not all of them: there is still something.
            ring.raw().drain(|_| ControlFlow::Break(())).unwrap();
            assert!(is_readable(ring.raw().descriptor().unwrap(), 0));
            all(&mut ring);
            assert!(!is_readable(ring.raw().descriptor().unwrap(), 0));
        }
    });
    let mut buffer =
        PerfBuffer::open(loaded.raw_map("perf").unwrap(), 1, WhenFull::LoseNewest).unwrap();
    let any = |buffer: &PerfBuffer| {
        let descriptors = buffer.descriptors().unwrap();
        descriptors.iter().any(|one| is_readable(*one, 0))
    };
    assert!(!any(&buffer));
    run(&loaded, "send_perf");
    assert!(any(&buffer));
    perf_numbers(&mut buffer);
    assert!(!any(&buffer));
}

fn is_readable(descriptor: BorrowedFd<'_>, tv_sec: i64) -> bool {
    let mut waiting = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    let timeout = Timespec { tv_sec, tv_nsec: 0 };
    poll(&mut waiting, Some(&timeout)).unwrap() > 0
}

fn records_that_wake_nobody(engine: &Engine) {
    // BPF_RB_NO_WAKEUP
    let loaded = events(engine, 1, 1);
    let mut ring = ring(&loaded);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| ring.next_within(Duration::from_secs(20)).unwrap());
        run(&loaded, "send");
        assert_eq!(reader.join().unwrap().unwrap().number, 0);
    });
}

fn while_they_are_written(engine: &Engine) {
    let loaded = events(engine, 20, 0);
    let mut ring = ring(&loaded);
    let mut expected = 0;
    let mut check = |event: Event| {
        assert_eq!(event.number, expected);
        expected += 1;
        ControlFlow::Continue(())
    };
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..300 {
                run(&loaded, "send");
            }
        });
        while !writer.is_finished() {
            ring.serve(Duration::from_millis(5), &mut check).unwrap();
        }
    });
    ring.drain(&mut check).unwrap();
    let sent = number(&loaded, "sent");
    assert_eq!(expected, sent);
    assert_eq!(
        sent + number(&loaded, "dropped") + number(&loaded, "given_up"),
        300 * 20
    );
}

fn several_writers(engine: &Engine) {
    let loaded = events(engine, 64, 0);
    let mut ring = ring(&loaded);
    let mut seen = BTreeMap::<u64, u32>::new();
    let deadline = Instant::now() + Duration::from_millis(700);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut runs = 0_u64;
                    while Instant::now() < deadline {
                        run(&loaded, "send");
                        runs += 1;
                    }
                    runs
                })
            })
            .collect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            ring.serve(Duration::from_millis(20), |event| {
                *seen.entry(event.number).or_default() += 1;
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        let runs: u64 = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .sum();
        for event in all(&mut ring) {
            *seen.entry(event.number).or_default() += 1;
        }
        let sent = number(&loaded, "sent");
        assert_eq!(
            sent + number(&loaded, "dropped") + number(&loaded, "given_up"),
            runs * 64
        );
        assert_eq!(u64::try_from(seen.len()).unwrap(), sent);
        assert!(
            seen.values().all(|times| *times == 1),
            "a record came twice"
        );
    });
}

fn only_ring_buffers_are_opened(engine: &Engine) {
    let loaded = events(engine, 1, 0);
    let error = RawRing::open(loaded.raw_map("perf").unwrap()).unwrap_err();
    assert!(error.to_string().contains("perf_event_array"), "{error}");
    assert!(UserRing::open(loaded.raw_map("ring").unwrap()).is_err());
}

fn a_second_reader(engine: &Engine) {
    let loaded = events(engine, 6, 0);
    let mut first = ring(&loaded);
    run(&loaded, "send");
    assert_eq!(
        first.next_within(Duration::ZERO).unwrap().unwrap().number,
        0
    );
    let mut second = ring(&loaded);
    assert_eq!(
        second.next_within(Duration::ZERO).unwrap().unwrap().number,
        1
    );
    assert_eq!(
        first.next_within(Duration::ZERO).unwrap().unwrap().number,
        2
    );
    drop(first);
    assert_eq!(all(&mut second).len(), 3);
}

fn commands(engine: &Engine) -> Loaded {
    let object = Object::parse(include_bytes!("../../../testdata/bpf/commands.bpf.o")).unwrap();
    engine.load_object(&object).unwrap()
}

fn receive(loaded: &Loaded) -> u32 {
    let packet = TestInput {
        data: &[0; 64],
        ..TestInput::default()
    };
    loaded
        .program("receive")
        .unwrap()
        .test_run(&packet)
        .unwrap()
        .value
}

fn programs_take_what_user_space_sends(engine: &Engine) {
    let loaded = commands(engine);
    let mut ring = UserRing::open(loaded.raw_map("commands").unwrap()).unwrap();
    for number in 1..=100_u64 {
        assert!(ring.send(number.as_bytes()).unwrap());
    }
    assert!(ring.send(b"abc").unwrap());
    drop(ring.reserve(8).unwrap().unwrap());
    let mut room = ring.reserve(16).unwrap().unwrap();
    assert!(room.write(0, 1000_u64.as_bytes()) && !room.write(9, &[0; 8]));
    room.submit();
    assert_eq!(receive(&loaded), 102);
    assert_eq!(
        (number(&loaded, "sum"), number(&loaded, "short_ones")),
        (5050 + 1000, 1)
    );
    assert_eq!(receive(&loaded), 0);
    let error = ring.send(&[0; 4090]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("4090 bytes"), "{error}");
}

fn a_full_user_ring_is_waited_for(engine: &Engine) {
    let loaded = commands(engine);
    let mut ring = UserRing::open(loaded.raw_map("commands").unwrap()).unwrap();
    let mut sent = 0_u64;
    while ring.send(&sent.to_ne_bytes()).unwrap() {
        sent += 1;
    }
    assert_eq!(sent, 4096 / 16);
    let start = Instant::now();
    assert!(
        !ring
            .send_within(&[1; 8], Duration::from_millis(20))
            .unwrap()
    );
    assert!(start.elapsed() >= Duration::from_millis(20));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (0..2000_u64).all(|number| {
                ring.send_within(number.as_bytes(), Duration::from_secs(30))
                    .unwrap()
            })
        });
        while !writer.is_finished() {
            receive(&loaded);
        }
        assert!(writer.join().unwrap());
    });
    receive(&loaded);
    assert_eq!(number(&loaded, "taken"), sent + 2000);
}

fn perf_numbers(buffer: &mut PerfBuffer) -> Vec<u64> {
    let mut numbers = Vec::new();
    buffer
        .drain(|_, record| {
            numbers.push(record.read::<Event>().unwrap().number);
            ControlFlow::Continue(())
        })
        .unwrap();
    numbers
}

fn perf_events(engine: &Engine) {
    let loaded = events(engine, 40, 0);
    let map = loaded.raw_map("perf").unwrap();
    let mut buffer = PerfBuffer::open(map, 2, WhenFull::LoseNewest).unwrap();
    for pass in 0..20_u64 {
        run(&loaded, "send_perf");
        let mut numbers = perf_numbers(&mut buffer);
        // The test may wander from CPU to CPU.
        numbers.sort_unstable();
        assert_eq!(numbers, (pass * 40..(pass + 1) * 40).collect::<Vec<_>>());
    }
    assert_eq!(buffer.lost(), 0);
    for _ in 0..100 {
        run(&loaded, "send_perf");
    }
    let (sent, dropped) = (number(&loaded, "sent"), number(&loaded, "dropped"));
    let read = u64::try_from(perf_numbers(&mut buffer).len()).unwrap();
    assert_eq!(read, sent - 800);
    assert!(dropped > 1000, "{dropped} of 4000 did not fit 8 KiB");
    // The kernel says what was lost when there is room again.
    run(&loaded, "send_perf");
    perf_numbers(&mut buffer);
    assert_eq!(buffer.lost(), dropped);
    assert_eq!(
        buffer.serve(Duration::from_millis(5), |_, _| ControlFlow::Continue(())),
        Ok(0)
    );
    drop(buffer);
    run(&loaded, "send_perf");
    assert_eq!(
        number(&loaded, "dropped"),
        dropped + 40,
        "nobody reads any more"
    );
    assert!(
        PerfBuffer::open(map, 3, WhenFull::LoseNewest).is_err() || engine.kind() == EngineKind::Vm
    );
    assert!(PerfBuffer::open(loaded.raw_map("ring").unwrap(), 1, WhenFull::LoseNewest).is_err());
}

fn a_perf_buffer_that_overwrites() {
    let loaded = events(&Engine::kernel().unwrap(), 10, 0);
    let map = loaded.raw_map("perf").unwrap();
    let mut buffer = PerfBuffer::open(map, 1, WhenFull::OverwriteOldest).unwrap();
    run(&loaded, "send_perf");
    let mut numbers = perf_numbers(&mut buffer);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..10).collect::<Vec<_>>());
    assert_eq!(perf_numbers(&mut buffer), [], "only what is new");
    for _ in 0..100 {
        run(&loaded, "send_perf");
    }
    let numbers = perf_numbers(&mut buffer);
    assert_eq!(number(&loaded, "dropped"), 0);
    assert!(numbers.contains(&1009), "the newest is there: {numbers:?}");
    assert!((50..500).contains(&numbers.len()), "{}", numbers.len());
}
