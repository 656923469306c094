//! Network devices by name and number, in the network namespace of this thread.

use std::os::fd::OwnedFd;

use rustix::net::netdevice::{index_to_name, name_to_index};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use twinbpf_object::abi::nearest_name;
use twinbpf_object::{Code, Diagnosis, Errno, Result};

/// The number of the device with this name.
///
/// # Errors
///
/// If there is none, with the names that there are.
pub(crate) fn index_of(name: &str) -> Result<u32> {
    let index = socket().and_then(|socket| name_to_index(socket, name));
    index.map_err(|errno| missing(name, Errno(errno.raw_os_error())).into())
}

/// The name of the device with this number, if this namespace has it.
pub(crate) fn name_of(index: u32) -> Option<String> {
    index_to_name(socket().ok()?, index).ok()
}

/// The numbers of all devices of this namespace.
pub(crate) fn indices() -> Result<Vec<u32>, Errno> {
    let refused = |errno: rustix::io::Errno| Errno(errno.raw_os_error());
    let socket = socket().map_err(refused)?;
    let table = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    // One that has gone since the table was read has no number any more.
    let found = names(&table)
        .into_iter()
        .filter_map(|name| name_to_index(&socket, &name).ok());
    Ok(found.collect())
}

/// There is no device with this name.
pub(crate) fn missing(name: &str, errno: Errno) -> Diagnosis {
    let names = names(&std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default());
    let diagnosis = Diagnosis::new(
        Code::ATTACH_TARGET,
        format!("there is no network interface `{name}`"),
    )
    .fact("interfaces", names.join(", "))
    .errno(errno);
    match nearest_name(name, names.iter().map(String::as_str)) {
        Some(near) => diagnosis.help(format!("did you mean `{near}`?")),
        None => diagnosis,
    }
}

/// Any socket will do to ask with; one of this family exists in every kernel.
fn socket() -> rustix::io::Result<OwnedFd> {
    socket_with(
        AddressFamily::UNIX,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

/// The names in `/proc/net/dev`: two lines of heading, then one line a device, which begins with the name and a colon.
fn names(table: &str) -> Vec<String> {
    let rows = table.lines().skip(2);
    let names = rows.filter_map(|row| row.split_once(':'));
    let mut names: Vec<String> = names.map(|(name, _)| name.trim().to_owned()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_has_a_number_and_a_name_and_a_slip_is_seen() {
        let index = index_of("lo").unwrap();
        assert_eq!(name_of(index).as_deref(), Some("lo"));
        let error = index_of("l0").unwrap_err();
        assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET);
        assert_eq!(error.diagnosis().errno, Some(Errno::ENODEV));
        assert_eq!(error.diagnosis().help, ["did you mean `lo`?"]);
    }

    #[test]
    fn the_table_of_devices_is_read() {
        let table = "Inter-|   Receive\n face |bytes\n    lo: 1 2\n  eth0:3 4\n";
        assert_eq!(names(table), ["eth0", "lo"]);
    }
}
