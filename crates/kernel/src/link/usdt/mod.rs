//! Probes that a program's author left in it: found in the file's notes, attached as places in code, their arguments described.
//!
//! ```text
//! .note.stapsdt ──notes──> places, counters, "-4@%eax 8@16(%rbp)" ──arguments──> where each argument is
//!                                                                                   │ specs
//! the program asks its link's cookie: a number in the map `__bpf_usdt_specs` <──────┘
//! ```
//!
//! One probe can have many places, each with its arguments elsewhere. So each place is an event of its own, whose cookie says which
//! entry of the map describes it.

mod arguments;
mod notes;
mod specs;

use std::os::fd::OwnedFd;

use twinbpf_object::hook::{ProbePlace, Uprobe, Usdt};
use twinbpf_object::{Code, Diagnosis, Errno, Error, Result};

use super::{code_file, perf, refusal};
use crate::host;
use crate::program::KernelProgram;

/// Attaches to every place of the probe; one event each.
pub(super) fn attach(program: &KernelProgram, hook: &Usdt) -> Result<Vec<Result<OwnedFd, Errno>>> {
    if !host::is_at_least("5.15") {
        return Err(too_old());
    }
    let path = code_file::locate(&hook.path, hook.pid)?;
    let places = notes::find(&path, &hook.provider, &hook.name)?;
    let specs = program.probe_specs();
    let mut made = Vec::new();
    for place in places {
        let cookie = match specs {
            Some(map) => {
                let arguments = arguments::parse(&place.arguments)
                    .map_err(|error| error.map(|it| it.fact("probe", hook)))?;
                specs::number_of(map, &arguments, hook.cookie)?
            }
            // A program that never asks for arguments brings no map of them.
            None => hook.cookie,
        };
        let event = Uprobe {
            path: path.clone(),
            place: ProbePlace::Offset(place.offset),
            is_return: false,
            pid: hook.pid,
            counter: place.counter,
            cookie,
        };
        made.push(perf::uprobe(program, &event)?);
    }
    match made.is_empty() {
        true => Err(refusal::not_in_file(&path, &hook.name)),
        false => Ok(made),
    }
}

fn too_old() -> Error {
    let message = "this kernel gives programs at places in code no cookie, by which they tell a probe's places apart";
    Diagnosis::new(Code::ATTACH_UNSUPPORTED, message)
        .fact("they came with", "Linux 5.15")
        .fact("this is", host::shown_version(host::kernel_version()))
        .into()
}
