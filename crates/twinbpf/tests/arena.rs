//! Arenas on both engines: the same requests, one after the other, get the same answers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::ExitCode;

use twinbpf::zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};
use twinbpf::{Engine, Executor, Loaded, Object, TestInput, VmConfig};
use twinbpf_trials::{Case, Need};

const PAGE: u64 = 4096;

/// `struct request` of `testdata/bpf/arena_pages.bpf.c`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Request {
    what: u64,
    address: u64,
    count: u64,
    flags: u64,
    value: u64,
    answer: u64,
}

const TAKE: u64 = 0;
const GIVE_BACK: u64 = 1;
const STORE: u64 = 2;
const LOAD: u64 = 3;
const PUSH: u64 = 4;
const SUM: u64 = 5;

type Body = fn(&Engine);

const BOTH: &[(&str, Body)] = &[
    (
        "pages_are_taken_and_given_back",
        pages_are_taken_and_given_back,
    ),
    ("pages_begin_as_zeros", pages_begin_as_zeros),
    ("a_list_is_built_and_walked", a_list_is_built_and_walked),
    (
        "a_page_that_the_host_touches_is_taken",
        a_page_that_the_host_touches_is_taken,
    ),
];

fn main() -> ExitCode {
    let on_vm = BOTH.iter().map(|(name, body)| {
        Case::new(&format!("{name}::vm"), &[], || {
            for executor in [Executor::Jit, Executor::Interpreter, Executor::Checked] {
                let config = VmConfig {
                    executor,
                    ..VmConfig::default()
                };
                body(&Engine::vm_with(config).unwrap());
            }
        })
    });
    let on_kernel = BOTH.iter().map(|(name, body)| {
        let needs = &[Need::Kernel, Need::Linux618];
        Case::new(&format!("{name}::kernel"), needs, || {
            body(&Engine::kernel().unwrap())
        })
    });
    twinbpf_trials::run(on_vm.chain(on_kernel).collect())
}

/// The program, and where its arena begins for user space.
struct Arena {
    loaded: Loaded,
    base: u64,
}

impl Arena {
    fn new(engine: &Engine) -> Self {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf/arena_pages.bpf.o");
        let object = Object::parse(&std::fs::read(path).unwrap()).unwrap();
        let loaded = engine.load_object(&object).unwrap();
        let mut arena = Self { loaded, base: 0 };
        let any = Request {
            what: TAKE,
            count: 1,
            ..Request::default()
        };
        // The variables have the first page, so this is the second.
        let second = arena.ask(any);
        assert_eq!(second % PAGE, 0);
        arena.base = second - PAGE;
        arena.ask(Request {
            what: GIVE_BACK,
            address: second,
            count: 1,
            ..Request::default()
        });
        arena
    }

    fn ask(&self, request: Request) -> u64 {
        let input = TestInput {
            data: &[],
            context: request.as_bytes(),
            repeat: 1,
        };
        let output = self
            .loaded
            .program("request")
            .unwrap()
            .test_run(&input)
            .unwrap();
        assert_eq!(output.value, 0);
        Request::read_from_bytes(&output.context).unwrap().answer
    }

    fn address(&self, page: u64) -> u64 {
        self.base + page * PAGE
    }

    /// The first of pages that were anywhere, or nowhere.
    fn take(&self, count: u64) -> Option<u64> {
        self.page(Request {
            what: TAKE,
            count,
            ..Request::default()
        })
    }

    fn take_at(&self, address: u64, count: u64) -> Option<u64> {
        self.page(Request {
            what: TAKE,
            address,
            count,
            ..Request::default()
        })
    }

    fn page(&self, request: Request) -> Option<u64> {
        let answer = self.ask(request);
        (answer != 0).then(|| (answer - self.base) / PAGE)
    }

    fn give_back(&self, page: u64, count: u64) {
        let address = self.address(page);
        self.ask(Request {
            what: GIVE_BACK,
            address,
            count,
            ..Request::default()
        });
    }

    fn store(&self, address: u64, value: u64) {
        self.ask(Request {
            what: STORE,
            address,
            value,
            ..Request::default()
        });
    }

    fn load(&self, address: u64) -> u64 {
        self.ask(Request {
            what: LOAD,
            address,
            ..Request::default()
        })
    }
}

fn pages_are_taken_and_given_back(engine: &Engine) {
    let arena = Arena::new(engine);
    assert_eq!(arena.take(1), Some(1));
    assert_eq!(arena.take(0), None);
    assert_eq!(arena.take(20), None);
    let flagged = Request {
        what: TAKE,
        count: 1,
        flags: 1,
        ..Request::default()
    };
    assert_eq!(arena.page(flagged), None);
    let fifth = arena.address(5);
    assert_eq!(arena.take_at(fifth, 2), Some(5));
    assert_eq!(arena.take_at(fifth, 1), None, "taken");
    assert_eq!(arena.take_at(fifth + PAGE, 2), None, "half taken");
    assert_eq!(arena.take_at(fifth + 8, 1), None, "in the middle of a page");
    assert_eq!(
        arena.take_at(arena.address(12), 1),
        None,
        "behind the last page"
    );
    assert_eq!(arena.take_at(arena.address(11), 2), None, "half behind it");
    // 2 to 4 and 7 to 11 are free.
    assert_eq!(arena.take(3), Some(2), "the shortest that has them");
    assert_eq!(arena.take(1), Some(7));
    arena.give_back(3, 1);
    assert_eq!(arena.take(1), Some(3));
    arena.give_back(3, 0);
    assert_eq!(
        arena.take_at(arena.address(3), 1),
        None,
        "nothing was given back"
    );
    arena.give_back(3, 1000);
    assert_eq!(arena.take(9), Some(3), "all up to the end");
    assert_eq!(arena.take(1), None);
    arena.give_back(20, 1);
    arena.give_back(5, 1);
    arena.give_back(5, 1);
    assert_eq!(arena.take(1), Some(5));
    assert_eq!(arena.take(1), None, "given back twice is there once");
}

fn pages_begin_as_zeros(engine: &Engine) {
    let arena = Arena::new(engine);
    let page = arena.address(arena.take(2).unwrap());
    arena.store(page + 8, 77);
    arena.store(page + PAGE, 78);
    assert_eq!(arena.load(page + 8), 77);
    assert_eq!(arena.load(page + PAGE), 78);
    arena.give_back(1, 2);
    assert_eq!(arena.load(page + 8), 0);
    arena.take_at(page, 2).unwrap();
    assert_eq!((arena.load(page + 8), arena.load(page + PAGE)), (0, 0));
}

fn a_list_is_built_and_walked(engine: &Engine) {
    let arena = Arena::new(engine);
    let page = arena.address(arena.take(3).unwrap());
    let mut last = 0;
    for value in 1..=100 {
        last = page + value * 112;
        arena.ask(Request {
            what: PUSH,
            address: last,
            value,
            ..Request::default()
        });
    }
    let sum = arena.ask(Request {
        what: SUM,
        ..Request::default()
    });
    // The newest eleven: 100 to 90.
    assert_eq!(sum, (90..=100).sum::<u64>() + 0x1234);
    // Pointers are those of user space.
    let head = arena.loaded.variable::<u64>("head").unwrap();
    assert_eq!(head.get().unwrap(), last);
}

fn a_page_that_the_host_touches_is_taken(engine: &Engine) {
    let arena = Arena::new(engine);
    let magic = arena.loaded.variable::<u64>("magic").unwrap();
    assert_eq!(magic.get().unwrap(), 0x1234);
    magic.set(&5).unwrap();
    assert_eq!(
        arena.ask(Request {
            what: SUM,
            ..Request::default()
        }),
        5
    );
    assert_eq!(arena.take_at(arena.address(0), 1), None);
}
