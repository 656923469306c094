//! One program in both engines.

use twinbpf::btf::SpecialKind;
use twinbpf::{
    Engine, Errno, Linked, LinkedProgram, Loaded, MapKind, MapSpec, Object, ProgramKind, RawMap,
    TestInput, link_each,
};

use super::elsewhere::{Elsewhere, with_written_stack};
use super::packets::Packet;
use super::report::Report;

/// What came of one program.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Everything is the same.
    Agrees,
    /// The kernel does not answer the same when asked twice.
    Unstable,
    /// The vm cannot load it, and why.
    NotLoaded(String),
    /// What differs, the first place first.
    Differs(Vec<String>),
}

/// A program with its verdict.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) object: String,
    /// The object's path within the folder that was named.
    pub(super) short: String,
    pub(super) program: String,
    pub(super) kind: ProgramKind,
    /// Runs whose value, bytes and context are the same.
    pub(super) same_runs: usize,
    pub(super) verdict: Verdict,
    /// Helpers it calls, by number.
    pub(super) helpers: Vec<i32>,
    /// What was seen when looking for the reason of a difference.
    pub(super) clue: Option<Clue>,
}

/// What tells why a program differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clue {
    /// It answers otherwise in a vm whose memory lies elsewhere.
    Memory,
    /// The vm ends it.
    Ended,
}

/// Both engines.
#[derive(Debug)]
pub(super) struct Judge {
    pub(super) kernel: Engine,
    pub(super) vm: Engine,
    pub(super) elsewhere: Elsewhere,
    pub(super) packets: Vec<Packet>,
}

/// What a program did: an answer to each packet, then the contents of its maps.
#[derive(Debug, PartialEq, Eq)]
struct Story {
    answers: Vec<Answer>,
    maps: Vec<(String, Vec<Entry>)>,
}

type Answer = Result<(u32, Vec<u8>), Option<Errno>>;
type Entry = (Vec<u8>, Vec<u8>);

/// Most entries of a map that are compared.
const MOST_ENTRIES: usize = 5000;

impl Judge {
    /// Judges every program of the object that the kernel loads and can test.
    pub(super) fn object(&self, (file, short): (&str, &str), object: &Object, report: &mut Report) {
        let (Ok(for_kernel), Ok(for_vm)) = (
            self.linked(&self.kernel, object),
            self.linked(&self.vm, object),
        ) else {
            return;
        };
        for (position, program) in for_kernel.programs.iter().enumerate() {
            let Some(kind) = program.kind.filter(|kind| has_test_runs(*kind)) else {
                continue;
            };
            // The kernel refuses it or has no test run of it: nothing to compare with.
            let Ok(expected) = self.story(&self.kernel, &for_kernel, position) else {
                continue;
            };
            let (verdict, same_runs, clue) =
                self.verdict((&for_kernel, position), (&for_vm, &program.name), &expected);
            report.add(Judged {
                object: file.to_owned(),
                short: short.to_owned(),
                program: program.name.clone(),
                kind,
                same_runs,
                verdict,
                helpers: helpers(program),
                clue,
            });
        }
    }

    fn linked(&self, engine: &Engine, object: &Object) -> twinbpf::Result<Linked> {
        let mut object = object.clone();
        give_sizes(&mut object);
        let target = engine.target(&object.needs())?;
        link_each(&object, &target)
    }

    fn verdict(
        &self,
        (for_kernel, position): (&Linked, usize),
        (for_vm, name): (&Linked, &str),
        expected: &Story,
    ) -> (Verdict, usize, Option<Clue>) {
        let found = for_vm
            .programs
            .iter()
            .position(|program| program.name == name);
        let Some(vm_position) = found else {
            let left_out = for_vm.left_out.iter().find(|each| each.name == name);
            let reason = left_out.map(|each| each.reason.to_string());
            return (Verdict::NotLoaded(reason.unwrap_or_default()), 0, None);
        };
        let actual = match self.story(&self.vm, for_vm, vm_position) {
            Ok(actual) => actual,
            Err(error) => return (Verdict::NotLoaded(error.to_string()), 0, None),
        };
        let pairs = expected.answers.iter().zip(&actual.answers);
        let same_runs = pairs
            .filter(|(expected, actual)| expected == actual)
            .count();
        if actual == *expected {
            return (Verdict::Agrees, same_runs, None);
        }
        match self.story(&self.kernel, for_kernel, position) {
            Ok(again) if again == *expected => {}
            _ => return (Verdict::Unstable, same_runs, None),
        }
        let clue = self.clue((for_vm, vm_position), &actual);
        let differences = self.differences(expected, &actual);
        (Verdict::Differs(differences), same_runs, clue)
    }

    fn clue(&self, (for_vm, position): (&Linked, usize), actual: &Story) -> Option<Clue> {
        if actual.answers.contains(&Err(None)) {
            return Some(Clue::Ended);
        }
        let written = with_written_stack(for_vm, position);
        let moved = self.story(&self.elsewhere.vm, &written, position);
        let is_same = moved.is_ok_and(|moved| moved == *actual);
        (!is_same).then_some(Clue::Memory)
    }

    /// Loads one program on maps of its own and runs it on all packets.
    fn story(&self, engine: &Engine, linked: &Linked, position: usize) -> twinbpf::Result<Story> {
        let loaded = engine.loader(linked).only_at(position).load()?;
        let mut answers = Vec::new();
        for program in loaded.programs() {
            for packet in &self.packets {
                let outcome = program.test_run(&TestInput {
                    data: &packet.data,
                    ..TestInput::default()
                });
                answers.push(match outcome {
                    Ok(output) => Ok((output.value, output.data)),
                    Err(error) if error.errno() == Some(Errno::ENOTSUPP) => return Err(error),
                    Err(error) => Err(error.errno()),
                });
            }
        }
        Ok(Story {
            answers,
            maps: contents(&loaded),
        })
    }

    fn differences(&self, expected: &Story, actual: &Story) -> Vec<String> {
        let mut differences = Vec::new();
        let answers = expected.answers.iter().zip(&actual.answers);
        for (packet, (expected, actual)) in self.packets.iter().zip(answers) {
            if expected != actual {
                differences.push(format!(
                    "{}: kernel {}, vm {}",
                    packet.name,
                    told(expected, &packet.data),
                    told(actual, &packet.data)
                ));
            }
        }
        for ((name, expected), (_, actual)) in expected.maps.iter().zip(&actual.maps) {
            let missing = expected.iter().find(|entry| !actual.contains(entry));
            let surplus = actual.iter().find(|entry| !expected.contains(entry));
            if missing.is_some() || surplus.is_some() {
                differences.push(format!(
                    "map {name}: kernel {}, vm {}",
                    entry(missing),
                    entry(surplus)
                ));
            }
        }
        differences
    }
}

/// Types that are given packets.
fn has_test_runs(kind: ProgramKind) -> bool {
    matches!(
        kind,
        ProgramKind::SocketFilter
            | ProgramKind::SchedCls
            | ProgramKind::SchedAct
            | ProgramKind::Xdp
            | ProgramKind::CgroupSkb
            | ProgramKind::LwtIn
            | ProgramKind::LwtOut
            | ProgramKind::LwtXmit
            | ProgramKind::LwtSeg6local
            | ProgramKind::FlowDissector
    )
}

/// Some maps are sized by user space before loading.
fn give_sizes(object: &mut Object) {
    for map in &mut object.maps {
        let is_sized_otherwise =
            matches!(map.kind, MapKind::PerfEventArray) || map.kind.to_string().contains("storage");
        if map.max_entries == 0 && !is_sized_otherwise {
            map.max_entries = match map.kind {
                MapKind::RingBuf | MapKind::UserRingBuf => 256 * 1024,
                _ => 64,
            };
        }
    }
}

/// What the maps with keys hold; of arrays, what is not zero. The CPU a program ran on is not its doing: values of all CPUs are sorted.
fn contents(loaded: &Loaded) -> Vec<(String, Vec<Entry>)> {
    let maps = loaded.maps().filter(|(_, _, map)| !map.spec().is_frozen);
    maps.filter_map(|(name, spec, map)| {
        let (is_array, is_per_cpu) = match spec.kind {
            MapKind::Array => (true, false),
            MapKind::PerCpuArray => (true, true),
            MapKind::Hash | MapKind::LruHash | MapKind::LpmTrie => (false, false),
            MapKind::PerCpuHash | MapKind::LruPerCpuHash => (false, true),
            _ => return None,
        };
        let size = spec.value_size as usize;
        let heads = heads(spec);
        let reading = Reading {
            is_array,
            per_cpu: is_per_cpu.then_some(size),
            heads,
        };
        Some((name.to_owned(), reading.entries(map)))
    })
    .collect()
}

/// Where in a value heads of lists are. KERNEL: callers see addresses of the kernel there, made for their copy of the value (6.18).
fn heads(spec: &MapSpec) -> Vec<(usize, usize)> {
    spec.special
        .iter()
        .filter(|field| field.kind == SpecialKind::Head)
        .map(|field| (field.offset as usize, field.size as usize))
        .collect()
}

/// How the entries of a map are read.
struct Reading {
    is_array: bool,
    /// The size of one CPU's value.
    per_cpu: Option<usize>,
    /// Offset and size of what is not compared.
    heads: Vec<(usize, usize)>,
}

impl Reading {
    fn entries(&self, map: &RawMap) -> Vec<Entry> {
        let mut entries = Vec::new();
        // What cannot be read, as write-only maps, has nothing to compare.
        for (key, mut value) in map.entries().filter_map(Result::ok).take(MOST_ENTRIES) {
            for (offset, size) in &self.heads {
                if let Some(head) = value.get_mut(*offset..offset + size) {
                    head.fill(0);
                }
            }
            if self.is_array && value.iter().all(|byte| *byte == 0) {
                continue;
            }
            if let Some(size) = self.per_cpu {
                let mut parts: Vec<&[u8]> = value.chunks(size.next_multiple_of(8)).collect();
                parts.sort_unstable();
                value = parts.concat();
            }
            entries.push((key, value));
        }
        entries.sort();
        entries
    }
}

/// The numbers of the helpers that a program calls.
fn helpers(program: &LinkedProgram) -> Vec<i32> {
    let calls = program
        .insns
        .iter()
        .filter(|insn| insn.opcode == 0x85 && insn.src == 0);
    let mut numbers: Vec<i32> = calls.map(|insn| insn.imm).collect();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

fn told(answer: &Answer, sent: &[u8]) -> String {
    match answer {
        Ok((value, data)) if data == sent => format!("{value:#x} unchanged"),
        Ok((value, data)) => format!("{value:#x} {} {}", data.len(), hex(data)),
        Err(Some(errno)) => format!("{errno}"),
        Err(None) => "an abnormal end".to_owned(),
    }
}

fn entry(entry: Option<&Entry>) -> String {
    entry.map_or("-".to_owned(), |(key, value)| {
        format!("{}={}", hex(key), hex(value))
    })
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().take(64).map(|byte| format!("{byte:02x}"));
    let mut text: String = digits.collect();
    if bytes.len() > 64 {
        text.push_str("..");
    }
    text
}
