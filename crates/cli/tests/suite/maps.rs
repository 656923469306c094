//! What `map` prints and changes, on maps of the running kernel that the test made.

use std::process::Command;

use serde_json::{Value, json};
use twinbpf::{Engine, Loaded, Object};
use twinbpf_trials::{Case, Need};

use crate::support::{Answer, User, Workshop, fixture};

pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 10] = [
        (
            "entries_are_written_and_shown_by_their_types",
            by_their_types,
        ),
        (
            "what_does_not_fit_is_an_error_and_nothing_is_stored",
            what_does_not_fit,
        ),
        ("bpftools_grammar_is_understood", bpftools_grammar),
        ("documents_are_bpftools", documents_are_bpftools),
        ("zero_slots_are_left_out_and_cpus_added_up", zeros_and_sums),
        ("maps_without_keys_push_peek_and_pop", without_keys),
        ("snapshots_are_compared_and_restored", snapshots),
        ("a_map_is_made_pinned_frozen_and_found", made_and_pinned),
        ("records_of_a_ring_are_printed", records_of_a_ring),
        (
            "records_of_a_perf_event_array_are_printed_with_their_cpu",
            records_of_a_perf_event_array_with_their_cpu,
        ),
    ];
    cases
        .into_iter()
        .map(|(name, body)| {
            let needs: &[Need] = match name {
                "a_map_is_made_pinned_frozen_and_found" => &[Need::Kernel, Need::Bpffs],
                _ => &[Need::Kernel],
            };
            Case::new(&format!("maps::{name}"), needs, body)
        })
        .collect()
}

struct Maps {
    loaded: Loaded,
    workshop: Workshop,
}

impl Maps {
    fn new(object: &str) -> Self {
        let object = Object::parse(&fixture(object)).unwrap();
        Self {
            loaded: Engine::kernel().unwrap().load_object(&object).unwrap(),
            workshop: Workshop::new(User::Myself),
        }
    }

    fn id(&self, name: &str) -> String {
        let info = self.loaded.raw_map(name).unwrap().info().unwrap();
        info.id.unwrap().to_string()
    }

    /// `map COMMAND id ID WORDS...`
    fn run(&self, command: &str, map: &str, words: &[&str]) -> Answer {
        let id = self.id(map);
        self.workshop
            .run(&[&["map", command, "id", &id], words].concat())
    }

    fn done(&self, command: &str, map: &str, words: &[&str]) -> String {
        let answer = self.run(command, map, words);
        assert_eq!(answer.status, Some(0), "{answer:?}");
        answer.stdout
    }
}

const KEY: &str = "{source=10.0.0.1, port=443}";

fn by_their_types() {
    let maps = Maps::new("flows.bpf.o");
    let value = "{packets=7, balance=-2, verdict=REDIRECT, device=eth0}";
    maps.done("set", "flows", &[KEY, value]);
    let shown = maps.done("get", "flows", &[KEY]);
    assert_eq!(
        shown,
        "{packets: 7, balance: -2, verdict: \"REDIRECT\", device: \"eth0\"}\n"
    );
    let dumped = maps.done("dump", "flows", &[]);
    assert!(
        dumped.starts_with("{source: 16777226, port: 443, protocol: 0}: {packets: 7"),
        "{dumped}"
    );
    maps.done("set", "flows", &["hex:0a00000101bb0000", value, "noexist"]);
    let raw = maps.loaded.raw_map("flows").unwrap();
    let bytes = raw.get(&[10, 0, 0, 1, 0xbb, 1, 0, 0]).unwrap().unwrap();
    assert_eq!(
        &bytes[..12],
        [7, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff]
    );
    maps.done("del", "flows", &[KEY]);
    let answer = maps.run("get", "flows", &[KEY]);
    assert_eq!(answer.status, Some(3), "{answer:?}");
}

const FULL: &str = "{packets=1}";

/// Command, map, words, exit status, and a part of what is said.
const MISTAKES: &[(&str, &str, &[&str], i32, &str)] = &[
    (
        "set",
        "levels",
        &["1", "300"],
        2,
        "300 does not fit __u8: it holds 0 to 255",
    ),
    ("set", "levels", &["-1", "3"], 2, "-1 does not fit __u32"),
    (
        "set",
        "levels",
        &["16", "3"],
        2,
        "index 16 is out of range, the last one is 15",
    ),
    (
        "set",
        "levels",
        &["key", "1", "0", "0", "300", "value", "3"],
        2,
        "`300` is no byte",
    ),
    ("set", "levels", &["1"], 2, "a value is missing"),
    (
        "set",
        "levels",
        &["1", "2", "never"],
        2,
        "`never` is none of any, exist, noexist",
    ),
    (
        "set",
        "levels",
        &["1", "2", "any", "3"],
        2,
        "`3` is one word too many",
    ),
    (
        "set",
        "levels",
        &["1", "2", "noexist"],
        1,
        "key 1 is already in the map",
    ),
    ("del", "levels", &["1"], 2, "cannot be removed"),
    (
        "set",
        "flows",
        &["{port=70000}", FULL],
        2,
        "member `port`: 70000 does not fit __u16",
    ),
    (
        "set",
        "flows",
        &["{ports=1}", FULL],
        2,
        "has no member `ports`; it has source, port, protocol",
    ),
    (
        "set",
        "flows",
        &[KEY, "{verdict=MAYBE}"],
        2,
        "it has DROP, PASS, REDIRECT",
    ),
    (
        "set",
        "flows",
        &[KEY, FULL],
        8,
        "the map is full: all 4 entries are used",
    ),
    (
        "set",
        "flows",
        &[KEY, FULL, "exist"],
        3,
        "is not in the map",
    ),
    ("get", "flows", &["hex:00"], 2, "is not 8 bytes"),
    ("push", "levels", &["1"], 7, "has keys"),
];

fn what_does_not_fit() {
    let maps = Maps::new("flows.bpf.o");
    for port in 1..=4 {
        maps.done("set", "flows", &[&format!("{{port={port}}}"), FULL]);
    }
    for (command, map, words, status, expected) in MISTAKES {
        let answer = maps.run(command, map, words);
        assert_eq!(answer.status, Some(*status), "{words:?}: {answer:?}");
        let words_of = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words_of(&answer.stderr).contains(expected),
            "{words:?}: {answer:?}"
        );
    }
    let levels = maps.loaded.raw_map("levels").unwrap();
    assert_eq!(
        levels.get(&1_u32.to_ne_bytes()).unwrap(),
        Some(vec![0]),
        "nothing was stored"
    );
    let answer = maps.workshop.run(&["map", "show", "id", "4294967295"]);
    assert_eq!(answer.status, Some(3), "{answer:?}");
    let answer = maps
        .workshop
        .run(&["map", "show", "name", "no_such_map_here"]);
    assert_eq!(answer.status, Some(3), "{answer:?}");
    let ordinary = Workshop::new(User::Ordinary);
    let answer = ordinary.run(&["map", "show"]);
    if rustix::process::geteuid().is_root() {
        assert_eq!(answer.status, Some(4), "{answer:?}");
        assert!(answer.stderr.contains("CAP_SYS_ADMIN"), "{answer:?}");
    }
}

fn bpftools_grammar() {
    let maps = Maps::new("flows.bpf.o");
    maps.done(
        "update",
        "levels",
        &["key", "3", "0", "0", "0", "value", "9", "any"],
    );
    maps.done(
        "update",
        "levels",
        &["key", "hex", "04", "00", "00", "00", "value", "hex", "ff"],
    );
    assert_eq!(
        maps.done("lookup", "levels", &["key", "0x03", "0", "0", "0"]),
        "9\n"
    );
    assert_eq!(maps.done("get", "levels", &["4"]), "255\n");
    maps.done("set", "counts", &["2", "5"]);
    maps.done("enqueue", "waiting", &["value", "1", "2", "3", "4"]);
    assert_eq!(maps.done("dequeue", "waiting", &[]), "67305985\n");
}

fn documents_are_bpftools() {
    let maps = Maps::new("flows.bpf.o");
    let value = "{packets=7, balance=-2, verdict=PASS, device=eth0}";
    maps.done("set", "flows", &[KEY, value]);
    maps.done("set", "counts", &["1", "5"]);
    let ours = |command: &str, map: &str| -> Value {
        serde_json::from_str(&maps.done(command, map, &["--json"])).unwrap()
    };
    let flow = &ours("dump", "flows")[0];
    assert_eq!(
        flow["key"],
        json!([
            "0x0a", "0x00", "0x00", "0x01", "0xbb", "0x01", "0x00", "0x00"
        ])
    );
    assert_eq!(flow["formatted"]["value"]["balance"], -2);
    for map in ["flows", "counts", "levels"] {
        for command in ["show", "dump"] {
            let id = maps.id(map);
            let Ok(theirs) = Command::new("bpftool")
                .args(["-j", "map", command, "id", &id])
                .output()
            else {
                return;
            };
            let mut theirs: Value = serde_json::from_slice(&theirs.stdout).unwrap();
            // Who has it open takes bpftool a look at every process.
            if let Some(fields) = theirs.as_object_mut() {
                fields.remove("pids");
            }
            assert_eq!(ours(command, map), theirs, "{command} {map}");
        }
    }
}

fn zeros_and_sums() {
    let maps = Maps::new("flows.bpf.o");
    maps.done("set", "levels", &["3", "9"]);
    assert_eq!(maps.done("dump", "levels", &[]), "3: 9\n");
    assert_eq!(maps.done("dump", "levels", &["--all"]).lines().count(), 16);
    maps.done("set", "counts", &["2", "5"]);
    let cpus = maps.loaded.raw_map("counts").unwrap().value_len() / 8;
    assert_eq!(
        maps.done("dump", "counts", &[]),
        format!("2: {}\n", 5 * cpus)
    );
    let each = maps.done("dump", "counts", &["--per-cpu"]);
    assert!(each.starts_with("2: cpu0=5"), "{each}");
    let watched = maps.run("watch", "counts", &["--interval", "20ms", "--count", "1"]);
    assert_eq!((watched.status, watched.stdout.as_str()), (Some(0), ""));
}

fn without_keys() {
    let maps = Maps::new("flows.bpf.o");
    maps.done("push", "waiting", &["7"]);
    maps.done("push", "waiting", &["8"]);
    let full = maps.run("push", "waiting", &["9"]);
    assert_eq!(full.status, Some(8), "{full:?}");
    assert_eq!(maps.done("peek", "waiting", &[]), "7\n");
    assert_eq!(maps.done("pop", "waiting", &[]), "7\n");
    assert_eq!(
        maps.done("pop", "waiting", &["--json"]),
        "{\"value\":[\"0x08\",\"0x00\",\"0x00\",\"0x00\"]}\n"
    );
    let empty = maps.run("pop", "waiting", &[]);
    assert_eq!(empty.status, Some(3), "{empty:?}");
}

fn snapshots() {
    let maps = Maps::new("flows.bpf.o");
    maps.done("set", "flows", &["{port=1}", "{packets=1}"]);
    maps.done("set", "flows", &["{port=2}", "{packets=2}"]);
    maps.done("snapshot", "flows", &["-o", "before"]);
    let id = maps.id("flows");
    let diff = |words: &[&str]| maps.workshop.run(&[&["map", "diff"], words].concat());
    let same = diff(&["before", "id", &id]);
    assert_eq!(
        (same.status, same.stdout.as_str()),
        (Some(0), ""),
        "{same:?}"
    );
    maps.done("set", "flows", &["{port=1}", "{packets=10}"]);
    maps.done("del", "flows", &["{port=2}"]);
    maps.done("set", "flows", &["{port=3}", "{packets=3}"]);
    maps.done("snapshot", "flows", &["-o", "after"]);
    let live = diff(&["before", "id", &id]);
    assert_eq!(live.status, Some(1));
    let lines: Vec<&str> = live
        .stdout
        .lines()
        .map(|line| &line[..line.find(", balance").unwrap()])
        .collect();
    assert_eq!(
        lines,
        [
            "~ {source: 0, port: 1, protocol: 0}: {packets: 1",
            "- {source: 0, port: 2, protocol: 0}: {packets: 2",
            "+ {source: 0, port: 3, protocol: 0}: {packets: 3",
        ]
    );
    let files = diff(&["before", "after", "--json"]).last_document();
    assert_eq!(files.as_array().unwrap().len(), 3);
    maps.done("restore", "flows", &["before"]);
    assert_eq!(maps.done("dump", "flows", &[]).lines().count(), 3);
    maps.done("restore", "flows", &["before", "--exact"]);
    assert_eq!(diff(&["before", "id", &id]).status, Some(0));
    maps.workshop.put("broken", b"{\"name\": 1}");
    assert_eq!(diff(&["broken", "id", &id]).status, Some(6));
    assert_eq!(diff(&["absent", "id", &id]).status, Some(3));
    let other = maps.run("restore", "levels", &["before"]);
    assert_eq!(other.status, Some(2), "{other:?}");
}

fn made_and_pinned() {
    let workshop = Workshop::new(User::Myself);
    let run = |words: &str| workshop.run(&words.split(' ').collect::<Vec<_>>());
    let name = format!("twinbpf_{}", std::process::id());
    let path = format!("/sys/fs/bpf/{name}");
    let made = run(&format!(
        "map create {path} type hash key 4 value 2 entries 8 name {name}"
    ));
    assert_eq!(made.status, Some(0), "{made:?}");
    assert_eq!(run(&format!("map set {path} 1 2")).status, Some(0));
    assert_eq!(run(&format!("map get name {name} 1")).stdout, "2\n");
    let second = format!("{path}_too");
    assert_eq!(
        run(&format!("map pin pinned {path} {second}")).status,
        Some(0)
    );
    let taken = run(&format!("map pin pinned {path} {second}"));
    assert_eq!(taken.status, Some(1), "{taken:?}");
    assert_eq!(run(&format!("map freeze {second}")).status, Some(0));
    let frozen = run(&format!("map set {path} 1 3"));
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(&second).unwrap();
    assert_eq!(frozen.status, Some(4), "{frozen:?}");
    assert!(frozen.stderr.contains("froze"), "{frozen:?}");
    let refused = run(&format!(
        "map create {path} type hash key 0 value 2 entries 8"
    ));
    assert_eq!(refused.status, Some(5), "{refused:?}");
    assert_eq!(run(&format!("map create {path} type hsah")).status, Some(2));
}

fn records_of_a_ring() {
    let maps = Maps::new("events.bpf.o");
    let packet = twinbpf::TestInput {
        data: &[0; 64],
        ..twinbpf::TestInput::default()
    };
    maps.loaded
        .program("send")
        .unwrap()
        .test_run(&packet)
        .unwrap();
    maps.loaded
        .program("send")
        .unwrap()
        .test_run(&packet)
        .unwrap();
    let printed = maps.done("events", "ring", &["--count", "2", "--json"]);
    let second: Value = serde_json::from_str(printed.lines().nth(1).unwrap()).unwrap();
    assert_eq!(
        second,
        json!({"bytes": 16, "data": "01000000000000000000000001000000"})
    );
    assert_eq!(maps.done("events", "ring", &["--for", "20ms"]), "");
    let wrong = maps.run("events", ".bss", &["--for", "20ms"]);
    assert_ne!(wrong.status, Some(0), "{wrong:?}");
}

fn records_of_a_perf_event_array_with_their_cpu() {
    let maps = Maps::new("events.bpf.o");
    let packet = twinbpf::TestInput {
        data: &[0; 64],
        ..twinbpf::TestInput::default()
    };
    let sender = maps.loaded.program("send_perf").unwrap().clone();
    let options = ["--count", "1", "--for", "30s", "--json"];
    let printed = std::thread::scope(|scope| {
        let reader = scope.spawn(|| maps.done("events", "perf", &options));
        // The reader opens its buffers when it is ready; what is sent before is sent to nobody.
        while !reader.is_finished() {
            sender.test_run(&packet).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        reader.join().unwrap()
    });
    let event: Value = serde_json::from_str(printed.trim()).unwrap();
    assert!(event["cpu"].is_u64(), "{printed}");
    let data = event["data"].as_str().unwrap();
    assert_eq!(event["bytes"], json!(data.len() / 2));
    assert!(data.len() >= 32, "{printed}");
}
