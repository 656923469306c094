//! The proof: each engine creates a map and loads a program.

use twinbpf::insn::opcode;
use twinbpf::{Engine, Error, Insn, Linked, LinkedProgram, MapKind, MapSpec, ProgramKind, Result};

use super::Finding;

/// Tries both engines.
pub(super) fn attempt() -> Vec<Finding> {
    let kernel = attempt_on("kernel engine", Engine::kernel(), Finding::bad);
    let vm = attempt_on("vm engine", Engine::vm(), Finding::bad);
    kernel.into_iter().chain(vm).collect()
}

fn attempt_on(
    name: &str,
    engine: Result<Engine>,
    trouble: fn(&str, String, String) -> Finding,
) -> Vec<Finding> {
    let refused = |what: &str, error: &Error| {
        let check = format!("{name}, {what}");
        let finding = trouble(&check, "refused".to_owned(), error.to_string());
        match error.diagnosis().help.first() {
            Some(help) => finding.mended_by(help),
            None => finding,
        }
    };
    let engine = match engine {
        Ok(engine) => engine,
        Err(error) => return vec![refused("opening it", &error)],
    };
    let map = engine.create_map(&MapSpec::new("doctor", MapKind::Array, 4, 4, 1));
    let program = engine.loader(&smallest()).load();
    let report = |what: &str, error: Option<Error>| match error {
        None => Finding::ok(&format!("{name}, {what}"), "works"),
        Some(error) => refused(what, &error),
    };
    vec![
        report("creating a map", map.err()),
        report("loading a program", program.err()),
    ]
}

/// A socket filter that lets nothing pass: `r0 = 0; exit`.
fn smallest() -> Linked {
    let zero = Insn {
        opcode: opcode::ALU64 | opcode::MOV,
        ..Insn::default()
    };
    let exit = Insn {
        opcode: opcode::JMP | opcode::EXIT,
        ..Insn::default()
    };
    let program = LinkedProgram::from_insns("doctor", ProgramKind::SocketFilter, vec![zero, exit]);
    Linked::from_program(program)
}
