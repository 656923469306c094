//! Interfaces of the kernel that programs fill in: maps that are tables of functions.
//!
//! ```text
//! object                    kernel's types                          value of the map
//! struct tcp_congestion_ops struct bpf_struct_ops_tcp_congestion_ops
//!   ssthresh  0x0             common                  0x00           state
//!   name      0x18            data.ssthresh           0x40           descriptor of the program
//!                             data.name               ...            "mine"
//! ```
//!
//! Members find each other by name. A program is verified for the member it implements, which the kernel is told as its
//! position in the interface.

use std::os::fd::AsFd;

use twinbpf_object::spec::{StructOps, StructOpsMember};
use twinbpf_object::{Code, Diagnosis, Errno, Error, MapSpec, Result};

use crate::attr::{MapCreate, TOKEN_FD, fd_number, kernel_name};
use crate::interface::Interface;
use crate::map::{KernelMap, MapContext};
use crate::program::KernelProgram;
use crate::types::KernelTypes;
use crate::{host, map_error, map_fd};

/// A table in use without a link: filling it put it to use, and taking its value out ends that. Dropping this does so.
#[derive(Debug)]
#[must_use = "dropping it takes the table out of use"]
pub struct KernelTable(KernelMap);

impl KernelTable {
    /// Takes charge of a table that was filled and needs no link.
    pub fn in_use(map: &KernelMap) -> Self {
        Self(map.clone())
    }

    /// Takes the table out of use.
    ///
    /// # Errors
    ///
    /// The kernel's number: `EINPROGRESS` if somebody did so already.
    pub fn take_out(&self) -> Result<(), Errno> {
        let first_key = vec![0; self.0.key_bytes()];
        self.0.delete(&first_key)
    }
}

impl Drop for KernelTable {
    fn drop(&mut self) {
        // Whoever took it out before us has done our work; there is nobody to tell of anything else.
        let _ = self.take_out();
    }
}

/// Creates the map of a table of functions, empty.
///
/// # Errors
///
/// If the kernel does not have the interface, the object has no types, or the kernel refuses the map.
pub(crate) fn create(
    spec: &MapSpec,
    table: &StructOps,
    context: &MapContext<'_>,
    types: &KernelTypes,
) -> Result<KernelMap> {
    let interface = Interface::find(&table.interface, types)
        .map_err(|error| error.map(|diagnosis| diagnosis.in_map(&spec.name)))?;
    let link = if table.needs_link { LINK } else { 0 };
    if table.needs_link && !host::is_at_least(LINK_SINCE) {
        return Err(no_links_yet(spec));
    }
    let request = MapCreate {
        map_type: spec.kind.number(),
        key_size: spec.key_size,
        value_size: interface.value_bytes,
        max_entries: spec.max_entries,
        map_flags: spec.flags.0 | link | context.token.map_or(0, |_| TOKEN_FD),
        map_name: kernel_name(&spec.name),
        // KERNEL: 6.18 wants the object's types too, though it looks at its own only.
        btf_fd: context.types.map_or(0, |types| fd_number(types.as_fd())),
        btf_vmlinux_value_type_id: interface.value_id.0,
        map_token_fd: context.token.map_or(0, fd_number),
        ..MapCreate::default()
    };
    let mut spec = spec.clone();
    spec.value_size = interface.value_bytes;
    let fd = map_fd::map_create(&request, 1).map_err(|errno| map_error::explain(&spec, errno))?;
    Ok(KernelMap::adopt(fd, spec))
}

/// Fills a table: settings as the object has them, functions with the programs of their names.
///
/// KERNEL: a table that needs no link is put to use by this at once, one that does is only checked.
///
/// # Errors
///
/// If the map is no table, the table has a member of another size or one that the kernel does not have, a program is not among
/// those given, or the kernel refuses the table.
pub(crate) fn fill(map: &KernelMap, programs: &[KernelProgram], types: &KernelTypes) -> Result<()> {
    let spec = map.spec();
    let Some(table) = &spec.struct_ops else {
        let message = "only tables of functions (`struct_ops`) are filled with programs";
        return Err(Diagnosis::new(Code::USAGE, message)
            .in_map(&spec.name)
            .into());
    };
    let interface = Interface::find(&table.interface, types)?;
    let value = value(table, &interface, programs, map.value_bytes())
        .map_err(|error| error.map(|diagnosis| diagnosis.in_map(&spec.name)))?;
    let first_key = vec![0; map.key_bytes()];
    map.update(&first_key, &value, 0).map_err(|errno| {
        Diagnosis::new(
            Code::MAP_OPERATION,
            format!(
                "the kernel refused the table of interface `{}`",
                table.interface
            ),
        )
        .in_map(&spec.name)
        .errno(errno)
        .into()
    })
}

fn value(
    table: &StructOps,
    interface: &Interface,
    programs: &[KernelProgram],
    value_bytes: usize,
) -> Result<Vec<u8>> {
    let mut value = vec![0; value_bytes];
    for member in &table.members {
        let Some(bytes) = content(table, member, programs)? else {
            continue;
        };
        let place = interface.place(member)?;
        let place = place.and_then(|place| value.get_mut(place));
        match place.filter(|place| place.len() == bytes.len()) {
            Some(place) => place.copy_from_slice(&bytes),
            None => return Err(interface.no_member(&member.name)),
        }
    }
    Ok(value)
}

/// What goes into a member; nothing if it stays zero, which it may even where the kernel does not have it.
fn content(
    table: &StructOps,
    member: &StructOpsMember,
    programs: &[KernelProgram],
) -> Result<Option<Vec<u8>>> {
    if let Some(name) = &member.program {
        let Some(program) = programs.iter().find(|program| program.name() == name) else {
            let message = format!("program `{name}` was not handed over for `{}`", member.name);
            return Err(Diagnosis::new(Code::PROGRAM_NOT_FOUND, message).into());
        };
        let number = u64::from(fd_number(program.as_fd()));
        return Ok(Some(number.to_ne_bytes().to_vec()));
    }
    let bytes = table.bytes_of(member).unwrap_or_default();
    let is_set = bytes.iter().any(|byte| *byte != 0);
    Ok(is_set.then(|| bytes.to_vec()))
}

/// KERNEL: 6.1 answers the flag EINVAL, like everything that it does not know.
fn no_links_yet(spec: &MapSpec) -> Error {
    let message = format!(
        "tables of functions that a link puts to use came with Linux {LINK_SINCE}, this is {}",
        host::shown_version(host::kernel_version())
    );
    Diagnosis::new(Code::MAP_UNSUPPORTED, message)
        .in_map(&spec.name)
        .help("in section `.struct_ops`, without `.link`, a table is put to use when it is filled")
        .into()
}

/// `BPF_F_LINK`
const LINK: u32 = 1 << 13;
const LINK_SINCE: &str = "6.4";
