//! What the kernel says about a descriptor beside `bpf(2)`: lines of a name and a number in `/proc`.

use std::os::fd::{AsRawFd, BorrowedFd};

/// The lines of `/proc/self/fdinfo/FD`; none where `/proc` is not there.
#[derive(Debug)]
pub(crate) struct FdInfo(String);

impl FdInfo {
    pub(crate) fn read(fd: BorrowedFd<'_>) -> Self {
        let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
        Self(std::fs::read_to_string(path).unwrap_or_default())
    }

    /// The number in the line with this name.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        let mut lines = self.0.lines().filter_map(|line| line.split_once(':'));
        let (_, value) = lines.find(|(each, _)| *each == name)?;
        value.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_found_by_its_whole_name() {
        let info = FdInfo("pos:\t0\nmap_type:\t1\nmemlock:\t8192\nfrozen:\t1\n".to_owned());
        assert_eq!(info.number("memlock"), Some(8192));
        assert_eq!((info.number("mem"), info.number("map_extra")), (None, None));
    }
}
