//! A whole hash map copied out by a small program inside the kernel, into memory that this process has mapped.
//!
//! ```text
//! test run ──> bpf_for_each_map_elem(map, copy)         once for each entry:
//!                                                         seen += 1
//!                                                         if it fits: key and value behind the last, position += stride
//! output:  position u64 | seen u64 | key, value | key, value | ...
//! ```
//!
//! One system call for all entries, and nothing is copied twice. What the verifier must know, sizes and the last position at which
//! an entry fits, are numbers in the program, so each map gets its own. The callback runs for every entry even where the output is
//! full: then `seen` says how large the next one has to be.

use std::fmt::Write;
use std::ops::ControlFlow;

use twinbpf_object::abi::MapFlags;
use twinbpf_object::btf::{BtfBuilder, Function, FunctionPrototype, Linkage, Type, TypeId, Upload};
use twinbpf_object::insn::{InsnIndex, assemble};
use twinbpf_object::link::{Hole, HoleKind, LinkedFunction};
use twinbpf_object::spec::MapIndex;
use twinbpf_object::{
    Code, Diagnosis, Errno, LinkedProgram, MapKind, MapSpec, ProgramKind, Result, TestInput,
};

use crate::btf::KernelBtf;
use crate::map::KernelMap;
use crate::program::{KernelProgram, LoadContext};
use crate::test_run::test_run;
use crate::types::KernelTypes;

/// Copies a map out, as often as is wanted.
#[derive(Debug)]
pub struct MapCopier {
    map: KernelMap,
    types: KernelBtf,
    layout: EntryLayout,
    prepared: Prepared,
}

/// The program and what it writes to.
#[derive(Debug)]
struct Prepared {
    output: KernelMap,
    program: KernelProgram,
    /// Entries that the output has room for.
    room: usize,
}

/// How an entry lies in the output; all places are multiples of 8.
#[derive(Debug, Clone, Copy)]
struct EntryLayout {
    key: usize,
    value: usize,
}

impl MapCopier {
    /// Prepares for a map; `None` where this cannot be done: kinds that are no plain hash tables, large entries, values whose locks
    /// or timers no program may read, kernels before 5.14, missing privileges. Batches do the same there.
    pub fn new(map: &KernelMap) -> Option<Self> {
        let spec = map.spec();
        let layout = EntryLayout {
            key: map.key_bytes(),
            value: map.value_bytes(),
        };
        let is_readable = !spec.flags.contains(MapFlags::WRONLY);
        let is_plain = matches!(spec.kind, MapKind::Hash | MapKind::LruHash);
        if !is_plain || !is_readable || layout.key.max(layout.value) > LARGEST_PART {
            return None;
        }
        let types = KernelBtf::load(&function_types().ok()?, None).ok()?;
        let most = usize::try_from(spec.max_entries).ok()?;
        let room = most.min(FIRST_ROOM_BYTES / layout.stride()).max(1);
        let prepared = Prepared::new(map, &types, layout, room)?;
        Some(Self {
            map: map.clone(),
            types,
            layout,
            prepared,
        })
    }

    /// Copies the map out and shows `look` the entries. False if the map grew faster than the output, or beyond what one may have, or
    /// the kernel does not run the program: then nothing was shown.
    ///
    /// # Errors
    ///
    /// If the output cannot be read to its end.
    pub fn copy(&mut self, look: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>) -> Result<bool> {
        for _ in 0..ATTEMPTS {
            let Some(seen) = self.prepared.run() else {
                return Ok(false);
            };
            if seen <= self.prepared.room {
                return self.show(seen, look).map(|()| true).map_err(unreadable);
            }
            // Some more than there were, for those that come meanwhile.
            let room = seen.saturating_add(seen / 8);
            if room.saturating_mul(self.layout.stride()) > MOST_BYTES {
                return Ok(false);
            }
            match Prepared::new(&self.map, &self.types, self.layout, room) {
                Some(prepared) => self.prepared = prepared,
                None => return Ok(false),
            }
        }
        Ok(false)
    }

    fn show(
        &self,
        count: usize,
        look: &mut impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Errno> {
        let stride = self.layout.stride();
        let at_once = (CHUNK_BYTES / stride).max(1);
        let mut chunk = vec![0; at_once.min(count) * stride];
        let mut shown = 0;
        while shown < count {
            let entries = at_once.min(count - shown);
            let bytes = chunk.get_mut(..entries * stride).ok_or(Errno::EFAULT)?;
            let offset = HEADER_BYTES + shown * stride;
            self.prepared.output.read_part(offset, bytes)?;
            for entry in bytes.chunks_exact(stride) {
                let (key, value) = self.layout.parts(entry).ok_or(Errno::EFAULT)?;
                if look(key, value).is_break() {
                    return Ok(());
                }
            }
            shown += entries;
        }
        Ok(())
    }
}

impl Prepared {
    fn new(map: &KernelMap, types: &KernelBtf, layout: EntryLayout, room: usize) -> Option<Self> {
        let size = HEADER_BYTES.checked_add(room.checked_mul(layout.stride())?)?;
        let mut spec = MapSpec::new("copied", MapKind::Array, 4, u32::try_from(size).ok()?, 1);
        spec.flags = MapFlags::MMAPABLE;
        let output = KernelMap::create(&spec).ok()?;
        let context = LoadContext {
            maps: &[map.clone(), output.clone()],
            types: Some(types),
            ..LoadContext::default()
        };
        let program = program(layout, room).ok()?;
        let program = KernelProgram::load_with(&program, &context, &KernelTypes::default()).ok()?;
        Some(Self {
            output,
            program,
            room,
        })
    }

    /// Runs the program once; the answer is how many entries there were, or `None` if it did not run.
    fn run(&self) -> Option<usize> {
        let mut header = [0; HEADER_BYTES];
        let start = u64::try_from(HEADER_BYTES).ok()?;
        header[..8].copy_from_slice(&start.to_ne_bytes());
        self.output.write_part(0, &header).ok()?;
        test_run(&self.program, &TestInput::default()).ok()?;
        self.output.read_part(0, &mut header).ok()?;
        let seen = u64::from_ne_bytes(*header.last_chunk()?);
        usize::try_from(seen).ok()
    }
}

impl EntryLayout {
    fn value_place(self) -> usize {
        self.key.next_multiple_of(8)
    }

    /// Key and value of an entry.
    fn parts(self, entry: &[u8]) -> Option<(&[u8], &[u8])> {
        let value = entry.get(self.value_place()..)?.get(..self.value)?;
        Some((entry.get(..self.key)?, value))
    }

    /// From one entry to the next.
    fn stride(self) -> usize {
        (self.value_place() + self.value).next_multiple_of(8)
    }
}

fn unreadable(errno: Errno) -> twinbpf_object::Error {
    let message = "what the kernel copied out cannot be read";
    Diagnosis::new(Code::MAP_OPERATION, message)
        .errno(errno)
        .into()
}

/// The program for entries of this layout, and an output with room for so many.
fn program(layout: EntryLayout, room: usize) -> Result<LinkedProgram> {
    let stride = layout.stride();
    // The last position at which an entry fits.
    let last = HEADER_BYTES + room.saturating_sub(1) * stride;
    let mut text = format!(
        "r1 = 0 ll
         r2 = 0 ll
         r3 = 0
         r4 = 0
         call 164
         r0 = 0
         exit
         r5 = 0 ll
         r0 = *(u64 *)(r5 +8)
         r0 += 1
         *(u64 *)(r5 +8) = r0
         r0 = *(u64 *)(r5 +0)
         if r0 > {last} goto out
         r4 = r0
         r4 += {stride}
         *(u64 *)(r5 +0) = r4
         r5 += r0
        "
    );
    copy_part(&mut text, 2, 0, layout.key);
    copy_part(&mut text, 3, layout.value_place(), layout.value);
    text.push_str("out:\nr0 = 0\nexit\n");
    let mut program = LinkedProgram::from_insns("copy_out", ProgramKind::Syscall, assemble(&text)?);
    program.is_sleepable = true;
    let function = |name: &str, start, type_id| LinkedFunction {
        name: name.to_owned(),
        start: InsnIndex(start),
        type_id: Some(type_id),
    };
    program.functions = vec![
        function("copy_out", 0, ENTRY_TYPE),
        function("copy_entry", CALLBACK, CALLBACK_TYPE),
    ];
    let hole = |at, kind| Hole {
        at: InsnIndex(at),
        kind,
    };
    let output = HoleKind::MapValue {
        map: MapIndex(1),
        offset: 0,
    };
    program.holes = vec![
        hole(0, HoleKind::Map(MapIndex(0))),
        hole(2, HoleKind::Function(InsnIndex(CALLBACK))),
        hole(CALLBACK, output),
    ];
    Ok(program)
}

/// Copies `len` bytes that a register points to behind `place`, in the largest pieces.
fn copy_part(text: &mut String, from: u32, place: usize, len: usize) {
    let mut at = 0;
    while at < len {
        let (piece, name) = match len - at {
            8.. => (8, "u64"),
            4.. => (4, "u32"),
            2.. => (2, "u16"),
            _ => (1, "u8"),
        };
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "r0 = *({name} *)(r{from} +{at})\n*({name} *)(r5 +{}) = r0\n",
            place + at
        );
        at += piece;
    }
}

/// Types of the two functions, without which the kernel takes no callbacks: `ENTRY_TYPE` and `CALLBACK_TYPE`.
fn function_types() -> Result<Upload> {
    let mut types = BtfBuilder::new();
    let number = types.add_integer("unsigned int", 4);
    let prototype = types.add(Type::FunctionPrototype(FunctionPrototype {
        result: number,
        parameters: Vec::new(),
    }));
    for (name, linkage) in [
        ("copy_out", Linkage::Global),
        ("copy_entry", Linkage::Static),
    ] {
        let name = types.name(name);
        types.add(Type::Function(Function {
            name,
            prototype,
            linkage,
        }));
    }
    Upload::of(&types)
}

const ENTRY_TYPE: TypeId = TypeId(3);
const CALLBACK_TYPE: TypeId = TypeId(4);
/// Where the callback starts.
const CALLBACK: u32 = 9;
/// Position and count.
const HEADER_BYTES: usize = 16;
/// Keys and values larger than this are left to batches, for which they are cheap already.
const LARGEST_PART: usize = 2048;
/// The first output is at most so large; one that does not do is replaced by one that does.
const FIRST_ROOM_BYTES: usize = 1 << 20;
/// No output is larger. KERNEL: 6.18 lets programs reach half a gigabyte into a value.
const MOST_BYTES: usize = 1 << 28;
/// Outputs that may turn out too small, one after the other.
const ATTEMPTS: u32 = 4;
/// Bytes that are copied from the output at a time, few enough for the processor's cache.
const CHUNK_BYTES: usize = 1 << 14;
