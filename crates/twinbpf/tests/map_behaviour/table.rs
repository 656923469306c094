//! The table of answers: `table.txt`, whose every line is asked of both engines.
//!
//! A section is a map; a line is a request and what Linux 6.18 answers to it for each flag. Lines `before 6.1` and `since 6.19` are what
//! other kernels answer instead; the vm answers as 6.18 does. Requests follow one another, so each finds the map as the ones before left it.
//! With `TWINBPF_RECORD=yes` on 6.18 the lines are written instead of compared; what is behind `before` and `since` stays.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use twinbpf::abi::MapFlags;
use twinbpf::{Errno, MapKind, MapSpec};
use twinbpf_kernel::KernelMap;
use twinbpf_trials::{Case, Need, is_since};
use twinbpf_vm::VmMap;

use crate::walk::{open_file, vm};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    if std::env::var_os("TWINBPF_RECORD").is_some() {
        return vec![Case::new(
            "table::record",
            &[Need::Kernel, Need::Linux618],
            record,
        )];
    }
    let mut cases = Vec::new();
    for section in sections() {
        let kind = section.kind;
        let name = kind.to_string();
        let on_vm = section.clone();
        cases.push(Case::new(&format!("table::{name}::vm"), &[], move || {
            let map = vm().create_map(&on_vm.spec()).unwrap();
            on_vm.compare(&map, &|_| false);
        }));
        let needs = [Need::Kernel, since(kind)];
        cases.push(Case::new(
            &format!("table::{name}::kernel"),
            &needs,
            move || {
                let map = KernelMap::create(&section.spec()).unwrap();
                section.compare(&map, &Condition::holds);
            },
        ));
    }
    cases
}

/// The release that brought a kind, as far as any kernel that is tested is older.
fn since(kind: MapKind) -> Need {
    match kind {
        MapKind::BloomFilter => Need::Since(5, 16),
        MapKind::UserRingBuf => Need::Since(6, 1),
        MapKind::Arena => Need::Since(6, 9),
        _ => Need::Since(4, 18),
    }
}

/// The kinds of maps, and the sizes that they are tried with: bytes of keys and values, and entries.
const KINDS: &[(MapKind, u32, u32, u32)] = &[
    (MapKind::Hash, 4, 8, 3),
    (MapKind::Array, 4, 8, 3),
    (MapKind::ProgArray, 4, 4, 3),
    (MapKind::PerfEventArray, 4, 4, 2),
    (MapKind::PerCpuHash, 4, 8, 3),
    (MapKind::PerCpuArray, 4, 8, 3),
    (MapKind::StackTrace, 4, 80, 4),
    (MapKind::CgroupArray, 4, 4, 3),
    (MapKind::LruHash, 4, 8, 100),
    (MapKind::LruPerCpuHash, 4, 8, 100),
    (MapKind::LpmTrie, 8, 8, 3),
    (MapKind::DevMap, 4, 4, 3),
    (MapKind::SockMap, 4, 4, 3),
    (MapKind::CpuMap, 4, 4, 2),
    (MapKind::XskMap, 4, 4, 3),
    (MapKind::SockHash, 4, 8, 3),
    (MapKind::CgroupStorage, 8, 8, 0),
    (MapKind::ReuseportSockArray, 4, 8, 3),
    (MapKind::PerCpuCgroupStorage, 8, 8, 0),
    (MapKind::Queue, 0, 8, 3),
    (MapKind::Stack, 0, 8, 3),
    (MapKind::DevMapHash, 4, 8, 3),
    (MapKind::RingBuf, 0, 0, 4096),
    (MapKind::BloomFilter, 0, 8, 100),
    (MapKind::UserRingBuf, 0, 0, 4096),
    (MapKind::Arena, 0, 0, 3),
];

/// What makes a line that of other kernels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Condition {
    Before(u32, u32),
    Since(u32, u32),
}

impl Condition {
    fn holds(&self) -> bool {
        match *self {
            Self::Before(major, minor) => !is_since(major, minor),
            Self::Since(major, minor) => is_since(major, minor),
        }
    }

    /// `before 6.1 request: answers` or `since 6.1 ...`, and what follows.
    fn read(line: &str) -> Option<(Self, &str)> {
        let (word, rest) = line.split_once(' ')?;
        let (release, rest) = rest.split_once(' ')?;
        let (major, minor) = release.split_once('.')?;
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        match word {
            "before" => Some((Self::Before(major, minor), rest)),
            "since" => Some((Self::Since(major, minor), rest)),
            _ => None,
        }
    }
}

/// A map and its lines.
#[derive(Debug, Clone)]
struct Section {
    kind: MapKind,
    key: u32,
    value: u32,
    entries: u32,
    /// Request and answers, in order.
    lines: Vec<(String, String)>,
    /// Other answers to requests.
    others: Vec<(Condition, String, String)>,
}

impl Section {
    fn spec(&self) -> MapSpec {
        let mut spec = MapSpec::new("table", self.kind, self.key, self.value, self.entries);
        spec.flags = match self.kind {
            MapKind::LpmTrie => MapFlags::NO_PREALLOC,
            MapKind::Arena => MapFlags::MMAPABLE,
            _ => spec.flags,
        };
        spec
    }

    fn heading(&self) -> String {
        let Self {
            kind,
            key,
            value,
            entries,
            ..
        } = self;
        format!("[{kind}: keys of {key} bytes, values of {value}, {entries} entries]")
    }

    fn compare(&self, map: &impl Requests, holds: &dyn Fn(&Condition) -> bool) {
        let asked = ask(self, map);
        let mut expected: BTreeMap<&str, &str> = BTreeMap::new();
        for (request, answers) in &self.lines {
            expected.insert(request, answers);
        }
        for (condition, request, answers) in &self.others {
            if holds(condition) {
                expected.insert(request, answers);
            }
        }
        let differing: Vec<String> = asked
            .iter()
            .filter(|(request, answers)| {
                expected.get(request.as_str()).copied() != Some(answers.as_str())
            })
            .map(|(request, answers)| format!("{request}: {answers}"))
            .collect();
        assert!(
            differing.is_empty(),
            "{}\n{}",
            self.heading(),
            differing.join("\n")
        );
        assert_eq!(asked.len(), self.lines.len());
    }
}

const EVERY_MAP: &str = "[every map]";
const TABLE: &str = include_str!("table.txt");

fn sections() -> Vec<Section> {
    let mut sections: Vec<Section> = KINDS
        .iter()
        .map(|&(kind, key, value, entries)| Section {
            kind,
            key,
            value,
            entries,
            lines: Vec::new(),
            others: Vec::new(),
        })
        .collect();
    // What stands before the first map is about all of them.
    let mut common = Vec::new();
    let mut current = None;
    for line in TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        if line == EVERY_MAP {
            continue;
        }
        if line.starts_with('[') {
            current = sections
                .iter_mut()
                .find(|section| section.heading() == line);
            assert!(current.is_some(), "{line} is no map that is tried");
            continue;
        }
        let (condition, line) = match Condition::read(line) {
            Some((condition, line)) => (Some(condition), line),
            None => (None, line),
        };
        let (request, answers) = line.split_once(": ").unwrap();
        let (request, answers) = (request.trim().to_owned(), answers.to_owned());
        let section: Option<&mut Section> = current.as_deref_mut();
        match (condition, section) {
            (Some(condition), None) => common.push((condition, request, answers)),
            (Some(condition), Some(section)) => section.others.push((condition, request, answers)),
            (None, section) => section.unwrap().lines.push((request, answers)),
        }
    }
    for section in &mut sections {
        section.others.splice(0..0, common.iter().cloned());
    }
    sections
}

/// Writes the table anew from what this kernel answers.
fn record() {
    let is_map = |line: &str| line.starts_with('[') && line != EVERY_MAP;
    let opening = TABLE.lines().take_while(|line| !is_map(line));
    let mut text: String = opening.map(|line| format!("{line}\n")).collect();
    text.truncate(text.trim_end().len() + 1);
    let written = text.clone();
    for section in sections() {
        let map = KernelMap::create(&section.spec()).unwrap();
        writeln!(text, "\n{}", section.heading()).unwrap();
        for (request, answers) in ask(&section, &map) {
            writeln!(text, "{request}: {answers}").unwrap();
            for (condition, other, answers) in &section.others {
                let line = format!("{other}: {answers}\n");
                if *other == request && !written.contains(&line) {
                    let (word, (major, minor)) = match *condition {
                        Condition::Before(major, minor) => ("before", (major, minor)),
                        Condition::Since(major, minor) => ("since", (major, minor)),
                    };
                    writeln!(text, "{word} {major}.{minor} {request}: {answers}").unwrap();
                }
            }
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/map_behaviour/table.txt");
    std::fs::write(path, text).unwrap();
}

/// What is asked of a map of either engine.
trait Requests {
    fn value_bytes(&self) -> usize;
    fn lookup(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno>;
    fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno>;
    fn delete(&self, key: &[u8]) -> Result<(), Errno>;
    fn take(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno>;
    fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno>;
    fn freeze(&self) -> Result<(), Errno>;
}

macro_rules! requests {
    ($map:ty) => {
        impl Requests for $map {
            fn value_bytes(&self) -> usize {
                <$map>::value_bytes(self)
            }

            fn lookup(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
                self.lookup_with(key, value, flags)
            }

            fn update(&self, key: &[u8], value: &[u8], flags: u64) -> Result<(), Errno> {
                <$map>::update(self, key, value, flags)
            }

            fn delete(&self, key: &[u8]) -> Result<(), Errno> {
                <$map>::delete(self, key)
            }

            fn take(&self, key: &[u8], value: &mut [u8], flags: u64) -> Result<(), Errno> {
                <$map>::take(self, key, value, flags)
            }

            fn next_key(&self, key: Option<&[u8]>, next: &mut [u8]) -> Result<(), Errno> {
                <$map>::next_key(self, key, next)
            }

            fn freeze(&self) -> Result<(), Errno> {
                <$map>::freeze(self)
            }
        }
    };
}

requests!(VmMap);
requests!(KernelMap);

/// The flags of `bpf(2)` and numbers that are none.
const FLAGS: &[(&str, u64)] = &[
    ("any", 0),
    ("noexist", 1),
    ("exist", 2),
    ("both", 3),
    ("lock", 4),
    ("2^40", 1 << 40),
];

/// Asks everything, in a fixed order.
fn ask(section: &Section, map: &impl Requests) -> Vec<(String, String)> {
    let mut asked = Asked {
        section,
        map,
        lines: Vec::new(),
    };
    let behind = section.entries.min(4);
    asked.look("while empty", 0);
    asked.update(
        "while empty",
        0,
        &["exist", "noexist", "both", "lock", "2^40", "any"],
    );
    asked.look("with one", 0);
    asked.update(
        "with one",
        0,
        &["noexist", "exist", "both", "lock", "2^40", "any"],
    );
    asked.look("beyond the last", behind);
    asked.update("beyond the last", behind, &["any", "noexist", "exist"]);
    for number in 1..behind {
        asked.update("until full", number, &["noexist", "any"]);
    }
    asked.update("when full", behind, &["any", "noexist", "exist"]);
    asked.update("when full", 1, &["any", "exist"]);
    asked.walk("when full");
    asked.take("of many", 1);
    asked.take("of many", 1);
    asked.delete("of many", 2);
    asked.delete("of many", 2);
    asked.delete("of many", behind);
    asked.freeze();
    asked.update("when frozen", 0, &["any", "2^40"]);
    asked.look("when frozen", 0);
    asked.delete("when frozen", 0);
    asked.take("when frozen", 0);
    asked.lines
}

struct Asked<'a, M> {
    section: &'a Section,
    map: &'a M,
    lines: Vec<(String, String)>,
}

impl<M: Requests> Asked<'_, M> {
    fn line(&mut self, request: &str, moment: &str, answers: &[String]) {
        // The same request may come twice: lines are told apart by their number.
        let times = self
            .lines
            .iter()
            .filter(|(line, _)| line.starts_with(&format!("{request} {moment}")))
            .count();
        let again = if times == 0 {
            String::new()
        } else {
            format!(" ({})", times + 1)
        };
        self.lines
            .push((format!("{request} {moment}{again}"), answers.join(", ")));
    }

    fn look(&mut self, moment: &str, number: u32) {
        let key = self.key(number);
        let answers: Vec<String> = FLAGS
            .iter()
            .filter(|(name, _)| !matches!(*name, "both" | "exist"))
            .map(|(name, flags)| {
                let mut value = self.room();
                let answer = self.map.lookup(&key, &mut value, *flags);
                format!("{name} {}", self.shown(answer, &value))
            })
            .collect();
        self.line(&format!("lookup {number}"), moment, &answers);
    }

    fn update(&mut self, moment: &str, number: u32, flags: &[&str]) {
        let key = self.key(number);
        for (name, value) in self.values(number) {
            let answers: Vec<String> = flags
                .iter()
                .map(|wanted| {
                    let (_, flags) = FLAGS.iter().find(|(name, _)| name == wanted).unwrap();
                    let answer = self.map.update(&key, &value, *flags);
                    format!("{wanted} {}", word(answer))
                })
                .collect();
            self.line(&format!("update {number} {name}"), moment, &answers);
        }
    }

    fn delete(&mut self, moment: &str, number: u32) {
        let answer = word(self.map.delete(&self.key(number)));
        self.line(&format!("delete {number}"), moment, &[answer]);
    }

    fn take(&mut self, moment: &str, number: u32) {
        let key = self.key(number);
        let answers: Vec<String> = [("lock", 4), ("any", 0)]
            .iter()
            .map(|(name, flags)| {
                let mut value = self.room();
                let answer = self.map.take(&key, &mut value, *flags);
                format!("{name} {}", self.shown(answer, &value))
            })
            .collect();
        self.line(&format!("take {number}"), moment, &answers);
    }

    /// All keys: how many there are, for their order is the engine's own.
    fn walk(&mut self, moment: &str) {
        let mut next = vec![0; self.section.key as usize];
        let mut key: Option<Vec<u8>> = None;
        let mut count = 0;
        let end = loop {
            match self.map.next_key(key.as_deref(), &mut next) {
                Ok(()) => key = Some(next.clone()),
                Err(errno) => break word(Err(errno)),
            }
            count += 1;
        };
        let unknown = self.map.next_key(Some(&self.key(77)), &mut next);
        let answers = [
            format!("{count} keys"),
            end,
            format!("after another {}", word(unknown)),
        ];
        self.line("walk", moment, &answers);
    }

    fn freeze(&mut self) {
        let answers = [word(self.map.freeze()), word(self.map.freeze())];
        self.line("freeze", "twice", &answers);
    }

    fn room(&self) -> Vec<u8> {
        vec![0; self.map.value_bytes()]
    }

    /// A value as its first byte, which is what was stored.
    fn shown(&self, answer: Result<(), Errno>, value: &[u8]) -> String {
        match (answer, value.first()) {
            (Ok(()), Some(first)) => first.to_string(),
            (answer, _) => word(answer),
        }
    }

    fn key(&self, number: u32) -> Vec<u8> {
        let mut key = number.to_ne_bytes().to_vec();
        if self.section.kind == MapKind::LpmTrie {
            key = [32_u32.to_ne_bytes(), number.to_be_bytes()].concat();
        }
        key.resize(self.section.key as usize, 0);
        key
    }

    /// What may be stored under a number: for maps of files, an open one that does not fit, and none.
    fn values(&self, number: u32) -> Vec<(String, Vec<u8>)> {
        let bytes = |number: u64| {
            let size = self.section.value as usize;
            let mut slot = number.to_ne_bytes().to_vec();
            slot.resize(size.next_multiple_of(8).max(8), 0);
            let slots = self.map.value_bytes().div_ceil(slot.len());
            let mut value = slot.repeat(slots);
            value.truncate(self.map.value_bytes());
            value
        };
        match self.section.kind {
            MapKind::ProgArray | MapKind::PerfEventArray | MapKind::CgroupArray => {
                vec![("no file".to_owned(), bytes(u64::MAX))]
            }
            MapKind::XskMap
            | MapKind::SockMap
            | MapKind::SockHash
            | MapKind::ReuseportSockArray => {
                vec![
                    ("no file".to_owned(), bytes(1 << 30)),
                    ("another file".to_owned(), bytes(open_file())),
                ]
            }
            MapKind::DevMap | MapKind::DevMapHash => vec![
                ("no interface".to_owned(), bytes(0)),
                ("interface 1".to_owned(), bytes(1)),
                ("interface -1".to_owned(), bytes(u64::from(u32::MAX))),
            ],
            MapKind::CpuMap => vec![("queue of 16".to_owned(), bytes(16))],
            _ => vec![(
                format!("value {}", number + 10),
                bytes(u64::from(number) + 10),
            )],
        }
    }
}

/// An answer in a word.
fn word(answer: Result<(), Errno>) -> String {
    match answer {
        Ok(()) => "ok".to_owned(),
        Err(errno) => errno.to_string(),
    }
}
