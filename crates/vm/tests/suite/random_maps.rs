//! Random programs of map operations on every executor: same result, same contents, same records.

use crate::support::{add, call, copy, exit, insn, jump_if_zero, linked, load, mov, store, wide};
use twinbpf_object::link::{Hole, HoleKind};
use twinbpf_object::{Errno, Insn, InsnIndex, MapKind, MapSpec};
use twinbpf_vm::{Clock, Executor, Randomness, Vm, VmConfig, VmMap};

const PROGRAMS: u64 = 1500;

/// Kinds with keys of 4 bytes and values of 16, one map each, then a queue and a ring.
const KEYED: [MapKind; 5] = [
    MapKind::Array,
    MapKind::Hash,
    MapKind::PerCpuArray,
    MapKind::PerCpuHash,
    MapKind::Array,
];
const QUEUE: usize = KEYED.len();
const RING: usize = QUEUE + 1;
/// Offsets from the frame pointer.
const KEY: i16 = -4;
const VALUE: i16 = -24;

struct Engine {
    vm: Vm,
    maps: Vec<VmMap>,
}

impl Engine {
    fn new(executor: Executor) -> Self {
        let vm = Vm::new(VmConfig {
            executor,
            clock: Clock::Manual(1000),
            randomness: Randomness::Seed(1),
            cpu_slots: 2,
            ..VmConfig::default()
        })
        .unwrap();
        let mut specs: Vec<MapSpec> = KEYED
            .into_iter()
            .map(|kind| MapSpec::new("keyed", kind, 4, 16, 4))
            .collect();
        specs.push(MapSpec::new("queue", MapKind::Queue, 0, 16, 3));
        specs.push(MapSpec::new("ring", MapKind::RingBuf, 0, 0, 4096));
        let create = |spec: &MapSpec| vm.create_map(spec).unwrap();
        let maps = specs.iter().map(create).collect();
        Self { vm, maps }
    }

    /// Everything that can be seen from outside.
    fn contents(&self) -> Vec<Vec<u8>> {
        let mut seen = Vec::new();
        for map in &self.maps[..QUEUE] {
            for key in 0..6_u32 {
                let mut value = vec![0; map.value_bytes()];
                let found = map.lookup(&key.to_ne_bytes(), &mut value);
                seen.push(if found.is_ok() { value } else { Vec::new() });
            }
        }
        let mut value = [0; 16];
        while self.maps[QUEUE].take(&[], &mut value, 0) != Err(Errno::ENOENT) {
            seen.push(value.to_vec());
        }
        let mut keep = |record: &[u8]| {
            seen.push(record.to_vec());
            true
        };
        self.maps[RING].drain_ring(usize::MAX, &mut keep).unwrap();
        seen
    }
}

#[test]
fn map_operations_do_the_same_on_every_executor() {
    let engines = [Executor::Interpreter, Executor::Checked, Executor::Jit].map(Engine::new);
    let mut workers = engines.each_ref().map(|engine| engine.vm.worker().unwrap());
    let mut hits = 0;
    for seed in 1..=PROGRAMS {
        let mut generator = Generator {
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            insns: Vec::new(),
            holes: Vec::new(),
            callbacks: Vec::new(),
        };
        let callback = generator.program();
        let mut program = linked(generator.insns, &[0, callback], &[]);
        program.holes = generator.holes;
        let outcomes = [0, 1, 2].map(|index| {
            let engine = &engines[index];
            let loaded = engine.vm.load_program(&program, &engine.maps).unwrap();
            let result = workers[index].run(&loaded, &mut [0; 8]).unwrap();
            (result, engine.contents())
        });
        let [interpreted, checked, compiled] = outcomes;
        assert_eq!(checked, interpreted, "checked and interpreted, seed {seed}");
        assert_eq!(
            compiled, interpreted,
            "compiled and interpreted, seed {seed}"
        );
        hits += interpreted
            .1
            .iter()
            .filter(|value| !value.is_empty())
            .count();
    }
    assert!(hits > 10_000, "only {hits} values were ever seen");
}

struct Generator {
    random: u64,
    insns: Vec<Insn>,
    holes: Vec<Hole>,
    /// Slots of wide loads that name the callback.
    callbacks: Vec<u32>,
}

impl Generator {
    fn below(&mut self, limit: i32) -> i32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let limit = u64::try_from(limit).unwrap();
        i32::try_from((self.random >> 20) % limit).unwrap()
    }

    /// Blocks that leave their findings in r6, then a callback; the answer is where that starts.
    fn program(&mut self) -> u32 {
        self.insns.extend([
            mov(6, 1),
            insn(0x7a, 10, 0, VALUE, 3),
            insn(0x7a, 10, 0, VALUE + 8, 4),
        ]);
        for _ in 0..4 + self.below(12) {
            self.block();
        }
        self.insns.extend([copy(0, 6), exit()]);
        let callback = self.at();
        // callback(round or key, context): context's word becomes 31 times itself plus 1; 5 ends the loop
        self.insns.extend([
            load(3, 2, 0),
            insn(0x27, 3, 0, 0, 31),
            add(3, 1),
            store(2, 0, 3),
        ]);
        self.insns
            .extend([mov(0, 0), insn(0x55, 1, 0, 1, 5), mov(0, 1), exit()]);
        for at in &self.callbacks {
            self.holes.push(Hole {
                at: InsnIndex(*at),
                kind: HoleKind::Function(InsnIndex(callback)),
            });
        }
        callback
    }

    fn at(&self) -> u32 {
        u32::try_from(self.insns.len()).unwrap()
    }

    fn map(&mut self, register: u8, index: usize) {
        self.holes.push(Hole {
            at: InsnIndex(self.at()),
            kind: HoleKind::Map(twinbpf_object::MapIndex(index)),
        });
        self.insns.extend(wide(register, 0));
    }

    fn stack(&mut self, register: u8, offset: i16) {
        self.insns
            .extend([copy(register, 10), add(register, i32::from(offset))]);
    }

    /// r6 = 31 * r6 + r0
    fn mix(&mut self) {
        self.insns
            .extend([insn(0x27, 6, 0, 0, 31), insn(0x0f, 6, 0, 0, 0)]);
    }

    fn block(&mut self) {
        let map = usize::try_from(self.below(i32::try_from(QUEUE).unwrap())).unwrap();
        let key = self.below(6);
        self.insns.push(insn(0x62, 10, 0, KEY, key));
        match self.below(9) {
            0..=2 => self.lookup(map),
            3 | 4 => {
                self.insns.push(store(10, VALUE, 6));
                self.map(1, map);
                self.stack(2, KEY);
                self.stack(3, VALUE);
                let flags = self.below(5);
                self.insns.extend([mov(4, flags), call(2)]);
                self.mix();
            }
            5 => {
                self.map(1, map);
                self.stack(2, KEY);
                self.insns.push(call(3));
                self.mix();
            }
            6 => {
                let helper = [87, 88, 89][usize::try_from(self.below(3)).unwrap()];
                self.map(1, QUEUE);
                self.stack(2, VALUE);
                let flags = self.below(2) * 2;
                self.insns.extend([mov(3, flags), call(helper)]);
                self.mix();
            }
            7 => self.record(),
            _ => {
                let rounds = self.below(9);
                self.insns.push(mov(1, rounds));
                self.callbacks.push(self.at());
                self.insns.extend(wide(2, 0));
                self.stack(3, VALUE);
                self.insns.extend([mov(4, 0), call(181)]);
                self.mix();
            }
        }
    }

    fn lookup(&mut self, map: usize) {
        let offset = [0, 8][usize::try_from(self.below(2)).unwrap()];
        self.map(1, map);
        self.stack(2, KEY);
        self.insns
            .extend([call(1), jump_if_zero(0, 5), load(1, 0, offset)]);
        self.insns
            .extend([insn(0x27, 6, 0, 0, 31), insn(0x0f, 6, 1, 0, 0)]);
        self.insns.extend([add(6, 7), store(0, 0, 6)]);
    }

    /// Reserves, writes and commits a record, or forgets to.
    fn record(&mut self) {
        let end = [132, 133, 8][usize::try_from(self.below(3)).unwrap()];
        let size = 8 * (1 + self.below(4));
        self.map(1, RING);
        self.insns
            .extend([mov(2, size), mov(3, 0), call(131), jump_if_zero(0, 4)]);
        self.insns
            .extend([insn(0x7a, 0, 0, 0, 77), copy(1, 0), mov(2, 0), call(end)]);
    }
}
