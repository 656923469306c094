//! Program types that the user named, or that follow from where a program is to run.

use twinbpf::{Code, Diagnosis, Object, ProgramKind, Result};

use crate::choice::TypeChoice;
use crate::output::Output;

/// Gives programs the types that the user named.
pub(crate) fn apply(object: &mut Object, choices: &[TypeChoice]) -> Result<()> {
    for choice in choices {
        if apply_one(object, choice) == 0 {
            return Err(not_applied(object, choice).into());
        }
    }
    Ok(())
}

/// Gives programs one type; says how many.
pub(crate) fn apply_one(object: &mut Object, choice: &TypeChoice) -> usize {
    let mut applied = 0;
    for program in &mut object.programs {
        let is_meant = match &choice.section {
            Some(section) => program.section.trim_start_matches('?') == section,
            None => program.kind.is_none(),
        };
        if is_meant {
            program.kind = Some(choice.kind);
            program.attach = choice.attach;
            applied += 1;
        }
    }
    applied
}

fn not_applied(object: &Object, choice: &TypeChoice) -> Diagnosis {
    let mut sections: Vec<&str> = object
        .programs
        .iter()
        .map(|program| program.section.trim_start_matches('?'))
        .collect();
    sections.dedup();
    let diagnosis = match &choice.section {
        Some(section) => Diagnosis::new(
            Code::PROGRAM_NOT_FOUND,
            format!("--type: no program stands in section `{section}`"),
        ),
        None => Diagnosis::new(
            Code::USAGE,
            format!(
                "--type {}: every program has its type from its section's name",
                choice.kind
            ),
        )
        .help("name the section to change the type of its programs: --type SECTION=TYPE"),
    };
    diagnosis.fact("sections with programs", sections.join(", "))
}

/// Makes socket filters of the programs that have no type, and says so.
pub(crate) fn assume_socket_filter(object: &mut Object, reason: &str, output: &Output) {
    for program in &mut object.programs {
        if program.kind.is_none() {
            program.kind = Some(ProgramKind::SocketFilter);
            output.talk(&format!(
                "type: program `{}` becomes a {}: {reason}, and its section `{}` says no type",
                program.name,
                ProgramKind::SocketFilter,
                program.section
            ));
        }
    }
}
