//! A plug-in for the public `bpf_conformance` runner: one program on standard input, its result on standard output.
//!
//! ```text
//! conformance [MEMORY] [--jit | --interpret]       MEMORY and the program: pairs of hexadecimal digits, spaces between them
//! ```
//!
//! The program finds the memory in `r1` and its length in `r2`; an instruction for the latter is put before it.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the protocol is result on standard output, error on standard error"
)]

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Read;
use std::process::ExitCode;

use twinbpf_object::insn::{Insn, InsnIndex};
use twinbpf_object::link::{LinkedFunction, LinkedProgram};
use twinbpf_object::spec::ByteOrder;
use twinbpf_object::{ProgramKind, Result};
use twinbpf_vm::{Executor, Vm, VmConfig};

fn main() -> ExitCode {
    match answer() {
        Ok(value) => {
            println!("{value:x}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> Result<u64, Box<dyn Error>> {
    let (mut memory, mut executor) = (Vec::new(), Executor::Jit);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--jit" => executor = Executor::Jit,
            "--interpret" => executor = Executor::Interpreter,
            hex => memory = bytes(hex)?,
        }
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text)?;
    let program = linked(&bytes(&text)?, memory.len())?;
    let vm = Vm::new(VmConfig {
        executor,
        ..VmConfig::default()
    })?;
    let program = vm.load_program(&program, &[])?;
    Ok(vm.worker()?.run(&program, &mut memory)?)
}

fn bytes(hex: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let pairs = hex.split_whitespace();
    Ok(pairs
        .map(|pair| u8::from_str_radix(pair, 16))
        .collect::<Result<_, _>>()?)
}

/// The program, with its functions found by who calls them.
fn linked(bytes: &[u8], memory_bytes: usize) -> Result<LinkedProgram, Box<dyn Error>> {
    let length = Insn {
        opcode: 0xb7,
        dst: 2,
        imm: i32::try_from(memory_bytes)?,
        ..Insn::default()
    };
    let mut insns = vec![length];
    let (words, rest) = bytes.as_chunks::<8>();
    if !rest.is_empty() {
        return Err("an instruction has 8 bytes".into());
    }
    insns.extend(
        words
            .iter()
            .map(|word| Insn::from_bytes(*word, ByteOrder::Little)),
    );
    let mut starts = BTreeSet::from([0]);
    for (at, insn) in insns.iter().enumerate() {
        if insn.opcode == 0x85 && insn.src == 1 {
            let next = i64::try_from(at)? + 1;
            starts.insert(u32::try_from(next + i64::from(insn.imm))?);
        }
    }
    let functions = starts.into_iter().map(|start| LinkedFunction {
        name: format!("function_{start}"),
        start: InsnIndex(start),
        type_id: None,
    });
    Ok(LinkedProgram {
        functions: functions.collect(),
        ..LinkedProgram::from_insns("conformance", ProgramKind::SocketFilter, insns)
    })
}
