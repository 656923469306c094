//! Two halves of a program, linked into one object and run on both engines.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::ExitCode;

use twinbpf::combine::{Input, combine};
use twinbpf::{Engine, Object, TestInput};
use twinbpf_trials::{Case, Need};

fn main() -> ExitCode {
    twinbpf_trials::run(vec![
        Case::new("the_halves_work_together::vm", &[], || {
            the_halves_work_together(&Engine::vm().unwrap());
        }),
        Case::new("the_halves_work_together::kernel", &[Need::Kernel], || {
            the_halves_work_together(&Engine::kernel().unwrap());
        }),
    ])
}

fn object() -> Object {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (main, rest) = (read("parts_main.bpf.o"), read("parts_rest.bpf.o"));
    let inputs = [("main", &*main), ("rest", &*rest)].map(|(name, bytes)| Input { name, bytes });
    Object::parse(&combine(&inputs).unwrap().bytes).unwrap()
}

fn the_halves_work_together(engine: &Engine) {
    let loaded = engine.load_object(&object()).unwrap();
    let packet = [0; 64];
    let answer = |program: &str| {
        let input = TestInput {
            data: &packet,
            ..TestInput::default()
        };
        let output = loaded.program(program).unwrap().test_run(&input);
        output.unwrap().value
    };
    // The limit and the table of the other half, its answer instead of the weak one, and each half's own static function.
    assert_eq!(answer("count"), 1000 + 12 + 7 + 5);
    assert_eq!(answer("second"), 9 + 4);
    assert_eq!(answer("count"), 1000 + 12 + 7 + 5);
    let seen = loaded.variable::<u64>("seen").unwrap();
    assert_eq!(seen.get().unwrap(), 2);
    let tallies = loaded.map::<u32, [u64; 2]>("tallies").unwrap();
    let [packets, _] = tallies.get(&0).unwrap().unwrap();
    assert_eq!(packets, 2);
}
