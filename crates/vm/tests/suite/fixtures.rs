//! Programs that clang wrote, from `testdata/bpf`, at every instruction-set version they are built for.
//!
//! What each is expected to do stands in its source, as `expect:` lines.

use std::path::Path;

use twinbpf_object::{Code, Object, ProgramKind};
use twinbpf_vm::capture::PacketKind;
use twinbpf_vm::hooks::socket::{SocketFilter, SocketFrame};
use twinbpf_vm::{Fault, Vm, VmMap, VmProgram};

use crate::support::vms;

/// An object, loaded into one vm.
struct Loaded {
    vm: Vm,
    maps: Vec<VmMap>,
    programs: Vec<VmProgram>,
}

impl Loaded {
    fn new(vm: &Vm, file: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
        let mut object = Object::parse(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        for program in &mut object.programs {
            program.kind.get_or_insert(ProgramKind::SocketFilter);
        }
        let linked = twinbpf_object::link(&object, &vm.target()).unwrap();
        let maps: Vec<VmMap> = linked
            .maps
            .iter()
            .map(|spec| vm.create_map(spec).unwrap())
            .collect();
        let programs = linked
            .programs
            .iter()
            .map(|program| vm.load_program(program, &maps).unwrap())
            .collect();
        Self {
            vm: vm.clone(),
            maps,
            programs,
        }
    }

    fn run(&self, program: &str, data: &[u8]) -> Result<u32, Fault> {
        let program = self
            .programs
            .iter()
            .find(|candidate| candidate.name() == program)
            .unwrap();
        SocketFilter::new(&self.vm, program)
            .unwrap()
            .run(&SocketFrame {
                data,
                original_len: u32::try_from(data.len()).unwrap(),
                packet_kind: PacketKind::Outgoing,
                protocol: 0x0800,
                interface: 1,
                vlan: None,
            })
    }

    fn values(&self, map: &str) -> Vec<u64> {
        let map = self
            .maps
            .iter()
            .find(|candidate| candidate.spec().name == map)
            .unwrap();
        let value = |key: u32| {
            let mut value = [0; 8];
            map.lookup(&key.to_ne_bytes(), &mut value).unwrap();
            u64::from_ne_bytes(value)
        };
        (0..map.spec().max_entries).map(value).collect()
    }
}

/// Runs `check` for every file on every executor.
fn on_every(files: &[&str], check: impl Fn(&Loaded, &str)) {
    for file in files {
        for vm in vms() {
            check(&Loaded::new(&vm, file), file);
        }
    }
}

#[test]
fn arithmetic_and_comparisons_of_every_width() {
    on_every(
        &["widths_v1.bpf.o", "widths_v2.bpf.o", "widths_v3.bpf.o"],
        |loaded, file| {
            let expected = [
                (
                    86,
                    [
                        0x50,
                        0xffaa,
                        0x22bf_ead9,
                        0x7d_7d8e,
                        8,
                        8,
                        0xffff_ffff_ffff_ff50,
                        0xb028_0005_b02d_b028u64,
                    ],
                ),
                (
                    100,
                    [
                        0xe0,
                        0xff9c,
                        0x5214_bdaf,
                        0x4d_eb1a,
                        8,
                        8,
                        0xffff_ffff_ffff_ff38,
                        0x202d_0008_2035_202d,
                    ],
                ),
            ];
            for (len, results) in expected {
                assert_eq!(loaded.run("widths", &vec![0; len]), Ok(0), "{file}");
                assert_eq!(loaded.values("results"), results, "{file}, {len} bytes");
            }
        },
    );
}

#[test]
fn every_atomic_operation_fetches_and_stores() {
    on_every(&["atomics.bpf.o"], |loaded, file| {
        assert_eq!(loaded.run("wide", &[0; 64]), Ok(0), "{file}");
        assert_eq!(loaded.run("narrow", &[0; 64]), Ok(0), "{file}");
        let start = 0x1111_1111_0000_0005u64;
        let wide = [
            start,
            start + 3,
            start + 3,
            start + 0x13,
            0x1111_1111_0000_00e7,
            42,
            43,
            43,
        ];
        let narrow = [5, 8, 8, 0x18, 0xe7, 42, 43, 0x1111_1111_0000_002b];
        assert_eq!(loaded.values("fetched"), [wide, narrow].concat(), "{file}");
    });
}

#[test]
fn packet_loads_with_constant_and_computed_offsets() {
    let data: Vec<u8> = (0..64).collect();
    on_every(
        &[
            "packet_loads_v1.bpf.o",
            "packet_loads_v2.bpf.o",
            "packet_loads_v3.bpf.o",
        ],
        |loaded, file| {
            assert_eq!(loaded.run("absolute", &data), Ok(0x1_060e), "{file}");
            assert_eq!(loaded.run("indirect", &data), Ok(0x2021_323c), "{file}");
            assert_eq!(loaded.run("outside", &data), Ok(0), "{file}");
            assert_eq!(loaded.run("network", &data), Ok(23), "{file}");
        },
    );
}

#[test]
fn calls_between_functions_and_sections() {
    on_every(
        &[
            "calls_v1.bpf.o",
            "calls_v2.bpf.o",
            "calls_v3.bpf.o",
            "calls_rela.bpf.o",
        ],
        |loaded, file| {
            assert_eq!(loaded.run("triple_plus_one", &[0; 100]), Ok(301), "{file}");
            assert_eq!(loaded.run("fold", &[0; 100]), Ok(1013), "{file}");
        },
    );
}

#[test]
fn a_hash_map_counts_and_forgets() {
    on_every(
        &["hash_v1.bpf.o", "hash_v2.bpf.o", "hash_v3.bpf.o"],
        |loaded, file| {
            let mut data = [0; 64];
            for (protocol, expected) in [(6, 0), (6, 1), (17, 0), (6, 2)] {
                data[23] = protocol;
                assert_eq!(loaded.run("count", &data), Ok(expected), "{file}");
            }
            assert_eq!(loaded.run("forget", &data), Ok(1), "{file}");
            assert_eq!(loaded.run("forget", &data), Ok(0), "{file}");
            assert_eq!(loaded.run("count", &data), Ok(0), "{file}");
        },
    );
}

#[test]
fn several_programs_share_a_section_and_maps_keep_their_order() {
    on_every(&["several.bpf.o", "several_2016.bpf.o"], |loaded, file| {
        let names: Vec<&str> = loaded
            .maps
            .iter()
            .map(|map| map.spec().name.as_str())
            .collect();
        assert_eq!(names, ["zebra", "ant"], "{file}");
        let verdicts =
            ["first", "second", "third", "fourth"].map(|program| loaded.run(program, &[0; 100]));
        assert_eq!(verdicts, [Ok(1), Ok(100), Ok(3), Ok(0)], "{file}");
    });
}

#[test]
fn what_no_verifier_accepts_ends_as_an_error_value() {
    let cases = [
        ("endless.bpf.o", "endless", Code::RUN_BUDGET),
        ("null_value.bpf.o", "null_value", Code::RUN_FAULT),
        ("wild_pointer.bpf.o", "read_wild", Code::RUN_FAULT),
        ("wild_pointer.bpf.o", "write_wild", Code::RUN_FAULT),
    ];
    for (file, program, code) in cases {
        on_every(&[file], |loaded, file| {
            let fault = loaded.run(program, &[0; 64]).unwrap_err();
            assert_eq!(
                twinbpf_object::Error::from(fault).diagnosis().code,
                code,
                "{file}"
            );
        });
    }
}
