//! What the answers of programs on packets mean: to which kind of program which number is which word.

use super::ProgramKind;

/// What a program said should become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// The kernel's word for it, in small letters; `unknown` for a number without a meaning.
    pub word: &'static str,
    /// Whether the packet goes on its way through this machine.
    pub passes: bool,
}

/// `XDP_*`. KERNEL: any other number is warned about and drops the packet (6.18).
const XDP: &[(u32, &str, bool)] = &[
    (0, "aborted", false),
    (1, "drop", false),
    (2, "pass", true),
    (3, "tx", false),
    (4, "redirect", false),
];
/// `TC_ACT_*`.
const TC: &[(u32, &str, bool)] = &[
    (u32::MAX, "unspec", true),
    (0, "ok", true),
    (1, "reclassify", true),
    (2, "shot", false),
    (3, "pipe", true),
    (4, "stolen", false),
    (5, "queued", false),
    (6, "repeat", true),
    (7, "redirect", false),
    (8, "trap", false),
];
/// What a program of a cgroup answers: the first bit lets a packet pass, the second announces congestion (`cn`).
const CGROUP_SKB: &[(u32, &str, bool)] = &[
    (0, "drop", false),
    (1, "pass", true),
    (2, "drop_cn", false),
    (3, "pass_cn", true),
];

/// What this answer of a program of this kind means; `None` if programs of this kind have no packets to decide about.
///
/// ```
/// use twinbpf_object::{ProgramKind, abi::verdict};
///
/// assert_eq!(verdict(ProgramKind::Xdp, 1).unwrap().word, "drop");
/// assert!(verdict(ProgramKind::SocketFilter, 60).unwrap().passes);
/// assert!(verdict(ProgramKind::Syscall, 0).is_none());
/// ```
pub fn verdict(kind: ProgramKind, value: u32) -> Option<Verdict> {
    let (table, otherwise) = match kind {
        ProgramKind::Xdp => (XDP, false),
        ProgramKind::SchedCls | ProgramKind::SchedAct => (TC, true),
        ProgramKind::CgroupSkb => (CGROUP_SKB, false),
        ProgramKind::SocketFilter => {
            let passes = value > 0;
            let word = if passes { "keep" } else { "drop" };
            return Some(Verdict { word, passes });
        }
        _ => return None,
    };
    let found = table.iter().find(|(number, ..)| *number == value);
    let (_, word, passes) = found.copied().unwrap_or((value, "unknown", otherwise));
    Some(Verdict { word, passes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_without_a_meaning_drops_for_xdp_and_goes_on_for_tc() {
        let of = |kind| verdict(kind, 99).unwrap();
        assert!(!of(ProgramKind::Xdp).passes);
        assert!(of(ProgramKind::SchedCls).passes);
        assert_eq!(of(ProgramKind::Xdp).word, "unknown");
    }

    #[test]
    fn a_socket_filter_keeps_any_number_of_bytes_but_none() {
        assert!(verdict(ProgramKind::SocketFilter, 1).unwrap().passes);
        assert!(!verdict(ProgramKind::SocketFilter, 0).unwrap().passes);
    }
}
