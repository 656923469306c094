//! What a program section's name means: libbpf's convention as one table.
//!
//! A name is either exact (`xdp`), or a prefix with a target after a slash (`kprobe/do_nanosleep`). A leading `?`
//! switches automatic loading off. Names that have no row keep their program, untyped; the caller may name the type.

use super::{AttachKind, ProgramKind};

/// One row of the convention.
#[derive(Debug, Clone, Copy)]
pub struct SectionRow {
    /// The whole name, or the part before the slash.
    pub name: &'static str,
    /// The program kind it means.
    pub kind: ProgramKind,
    /// The kernel's name of the attach kind it means, if it means one.
    pub attach: Option<&'static str>,
    /// Whether a target may follow after a slash.
    pub takes_target: bool,
}

/// What a section name says about the programs in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SectionMeaning {
    /// The program kind.
    pub kind: ProgramKind,
    /// The attach kind, if the name implies one that this table knows by number.
    pub attach: Option<AttachKind>,
    /// What follows the slash: a function, a tracepoint, a path.
    pub target: Option<String>,
    /// Whether programs of this section may sleep (`.s`).
    pub is_sleepable: bool,
}

/// Reads a section name (without the leading `?`); `None` if the convention does not know it.
pub fn meaning_of_section(section: &str) -> Option<SectionMeaning> {
    let row = SECTIONS
        .iter()
        .filter(|row| section == row.name || (row.takes_target && is_prefix_of(row.name, section)))
        .max_by_key(|row| row.name.len())
        .or_else(|| {
            SECTIONS
                .iter()
                .find(|row| !row.takes_target && is_loose_match(row.name, section))
        })?;
    Some(SectionMeaning {
        kind: row.kind,
        attach: row.attach.and_then(AttachKind::from_kernel_name),
        target: section
            .strip_prefix(row.name)
            .and_then(|rest| rest.strip_prefix('/'))
            .map(str::to_owned),
        is_sleepable: row.name.ends_with(".s") || row.name == "syscall",
    })
}

/// The known name nearest to `section` by edits, if one is near enough to be a likely typing slip.
pub fn nearest_section(section: &str) -> Option<&'static str> {
    let head = section.split('/').next().unwrap_or(section);
    let allowed = most_edits(head);
    SECTIONS
        .iter()
        .map(|row| {
            let compared = if row.name.contains('/') {
                section
            } else {
                head
            };
            (edit_distance(row.name, compared), row.name)
        })
        .filter(|(distance, _)| *distance > 0 && *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// The candidate nearest to `name` by edits, if one is near enough to be a likely typing slip. Candidates may be many: those
/// of quite another length are not looked at.
pub fn nearest_name<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = most_edits(name);
    candidates
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= allowed)
        .map(|candidate| (edit_distance(candidate, name), candidate))
        .filter(|(distance, _)| *distance > 0 && *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// How many slips a name of this length can have and still be meant.
fn most_edits(name: &str) -> usize {
    (name.len() / 3).clamp(1, 3)
}

fn is_prefix_of(name: &str, section: &str) -> bool {
    section
        .strip_prefix(name)
        .is_some_and(|rest| rest.starts_with('/'))
}

/// `socket` also names `socket/http`; `socket1` is not covered: libbpf takes neither, old loaders took both.
fn is_loose_match(name: &str, section: &str) -> bool {
    is_prefix_of(name, section) && !name.contains('/')
}

/// Levenshtein distance in bytes, with a swap of neighbours counted as one edit.
fn edit_distance(left: &str, right: &str) -> usize {
    let (left, right) = (left.as_bytes(), right.as_bytes());
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, l) in left.iter().enumerate() {
        let mut current = vec![row + 1];
        for (column, r) in right.iter().enumerate() {
            let replaced = last[column] + usize::from(l != r);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && *l == right[column - 1] && left[row - 1] == *r {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

const fn exact(name: &'static str, kind: ProgramKind, attach: Option<&'static str>) -> SectionRow {
    SectionRow {
        name,
        kind,
        attach,
        takes_target: false,
    }
}

const fn with_target(
    name: &'static str,
    kind: ProgramKind,
    attach: Option<&'static str>,
) -> SectionRow {
    SectionRow {
        name,
        kind,
        attach,
        takes_target: true,
    }
}

/// The table. Source: libbpf's documentation of program types, checked against libbpf 1.8-dev.
#[rustfmt::skip]
pub const SECTIONS: &[SectionRow] = &[
    exact("socket", ProgramKind::SocketFilter, None),
    exact("sk_reuseport/migrate", ProgramKind::SkReuseport, Some("BPF_SK_REUSEPORT_SELECT_OR_MIGRATE")),
    exact("sk_reuseport", ProgramKind::SkReuseport, Some("BPF_SK_REUSEPORT_SELECT")),
    with_target("kprobe", ProgramKind::Kprobe, None),
    with_target("uprobe", ProgramKind::Kprobe, None),
    with_target("uprobe.s", ProgramKind::Kprobe, None),
    with_target("kretprobe", ProgramKind::Kprobe, None),
    with_target("uretprobe", ProgramKind::Kprobe, None),
    with_target("uretprobe.s", ProgramKind::Kprobe, None),
    with_target("kprobe.multi", ProgramKind::Kprobe, Some("BPF_TRACE_KPROBE_MULTI")),
    with_target("kretprobe.multi", ProgramKind::Kprobe, Some("BPF_TRACE_KPROBE_MULTI")),
    with_target("kprobe.session", ProgramKind::Kprobe, Some("BPF_TRACE_KPROBE_SESSION")),
    with_target("uprobe.multi", ProgramKind::Kprobe, Some("BPF_TRACE_UPROBE_MULTI")),
    with_target("uretprobe.multi", ProgramKind::Kprobe, Some("BPF_TRACE_UPROBE_MULTI")),
    with_target("uprobe.session", ProgramKind::Kprobe, Some("BPF_TRACE_UPROBE_SESSION")),
    with_target("uprobe.multi.s", ProgramKind::Kprobe, Some("BPF_TRACE_UPROBE_MULTI")),
    with_target("uretprobe.multi.s", ProgramKind::Kprobe, Some("BPF_TRACE_UPROBE_MULTI")),
    with_target("uprobe.session.s", ProgramKind::Kprobe, Some("BPF_TRACE_UPROBE_SESSION")),
    with_target("ksyscall", ProgramKind::Kprobe, None),
    with_target("kretsyscall", ProgramKind::Kprobe, None),
    with_target("usdt", ProgramKind::Kprobe, None),
    with_target("usdt.s", ProgramKind::Kprobe, None),
    exact("tc/ingress", ProgramKind::SchedCls, Some("BPF_TCX_INGRESS")),
    exact("tc/egress", ProgramKind::SchedCls, Some("BPF_TCX_EGRESS")),
    exact("tcx/ingress", ProgramKind::SchedCls, Some("BPF_TCX_INGRESS")),
    exact("tcx/egress", ProgramKind::SchedCls, Some("BPF_TCX_EGRESS")),
    exact("tc", ProgramKind::SchedCls, None),
    exact("classifier", ProgramKind::SchedCls, None),
    exact("action", ProgramKind::SchedAct, None),
    exact("netkit/primary", ProgramKind::SchedCls, Some("BPF_NETKIT_PRIMARY")),
    exact("netkit/peer", ProgramKind::SchedCls, Some("BPF_NETKIT_PEER")),
    with_target("tracepoint", ProgramKind::Tracepoint, None),
    with_target("tp", ProgramKind::Tracepoint, None),
    with_target("tracepoint.s", ProgramKind::Tracepoint, None),
    with_target("tp.s", ProgramKind::Tracepoint, None),
    with_target("raw_tracepoint", ProgramKind::RawTracepoint, None),
    with_target("raw_tp", ProgramKind::RawTracepoint, None),
    with_target("raw_tracepoint.s", ProgramKind::RawTracepoint, None),
    with_target("raw_tp.s", ProgramKind::RawTracepoint, None),
    with_target("raw_tracepoint.w", ProgramKind::RawTracepointWritable, None),
    with_target("raw_tp.w", ProgramKind::RawTracepointWritable, None),
    with_target("tp_btf", ProgramKind::Tracing, Some("BPF_TRACE_RAW_TP")),
    with_target("tp_btf.s", ProgramKind::Tracing, Some("BPF_TRACE_RAW_TP")),
    with_target("fentry", ProgramKind::Tracing, Some("BPF_TRACE_FENTRY")),
    with_target("fmod_ret", ProgramKind::Tracing, Some("BPF_MODIFY_RETURN")),
    with_target("fexit", ProgramKind::Tracing, Some("BPF_TRACE_FEXIT")),
    with_target("fentry.s", ProgramKind::Tracing, Some("BPF_TRACE_FENTRY")),
    with_target("fmod_ret.s", ProgramKind::Tracing, Some("BPF_MODIFY_RETURN")),
    with_target("fexit.s", ProgramKind::Tracing, Some("BPF_TRACE_FEXIT")),
    with_target("fsession", ProgramKind::Tracing, Some("BPF_TRACE_FSESSION")),
    with_target("fsession.s", ProgramKind::Tracing, Some("BPF_TRACE_FSESSION")),
    with_target("fsession.multi", ProgramKind::Tracing, Some("BPF_TRACE_FSESSION_MULTI")),
    with_target("fsession.multi.s", ProgramKind::Tracing, Some("BPF_TRACE_FSESSION_MULTI")),
    with_target("fentry.multi", ProgramKind::Tracing, Some("BPF_TRACE_FENTRY_MULTI")),
    with_target("fexit.multi", ProgramKind::Tracing, Some("BPF_TRACE_FEXIT_MULTI")),
    with_target("fentry.multi.s", ProgramKind::Tracing, Some("BPF_TRACE_FENTRY_MULTI")),
    with_target("fexit.multi.s", ProgramKind::Tracing, Some("BPF_TRACE_FEXIT_MULTI")),
    with_target("freplace", ProgramKind::Ext, None),
    with_target("lsm", ProgramKind::Lsm, Some("BPF_LSM_MAC")),
    with_target("lsm.s", ProgramKind::Lsm, Some("BPF_LSM_MAC")),
    with_target("lsm_cgroup", ProgramKind::Lsm, Some("BPF_LSM_CGROUP")),
    with_target("iter", ProgramKind::Tracing, Some("BPF_TRACE_ITER")),
    with_target("iter.s", ProgramKind::Tracing, Some("BPF_TRACE_ITER")),
    exact("syscall", ProgramKind::Syscall, None),
    exact("xdp.frags/devmap", ProgramKind::Xdp, Some("BPF_XDP_DEVMAP")),
    exact("xdp/devmap", ProgramKind::Xdp, Some("BPF_XDP_DEVMAP")),
    exact("xdp.frags/cpumap", ProgramKind::Xdp, Some("BPF_XDP_CPUMAP")),
    exact("xdp/cpumap", ProgramKind::Xdp, Some("BPF_XDP_CPUMAP")),
    exact("xdp.frags", ProgramKind::Xdp, Some("BPF_XDP")),
    exact("xdp", ProgramKind::Xdp, Some("BPF_XDP")),
    exact("perf_event", ProgramKind::PerfEvent, None),
    exact("lwt_in", ProgramKind::LwtIn, None),
    exact("lwt_out", ProgramKind::LwtOut, None),
    exact("lwt_xmit", ProgramKind::LwtXmit, None),
    exact("lwt_seg6local", ProgramKind::LwtSeg6local, None),
    exact("sockops", ProgramKind::SockOps, Some("BPF_CGROUP_SOCK_OPS")),
    exact("sk_skb/stream_parser", ProgramKind::SkSkb, Some("BPF_SK_SKB_STREAM_PARSER")),
    exact("sk_skb/stream_verdict", ProgramKind::SkSkb, Some("BPF_SK_SKB_STREAM_VERDICT")),
    exact("sk_skb/verdict", ProgramKind::SkSkb, Some("BPF_SK_SKB_VERDICT")),
    exact("sk_skb", ProgramKind::SkSkb, None),
    exact("sk_msg", ProgramKind::SkMsg, Some("BPF_SK_MSG_VERDICT")),
    exact("lirc_mode2", ProgramKind::LircMode2, Some("BPF_LIRC_MODE2")),
    exact("flow_dissector", ProgramKind::FlowDissector, Some("BPF_FLOW_DISSECTOR")),
    exact("cgroup_skb/ingress", ProgramKind::CgroupSkb, Some("BPF_CGROUP_INET_INGRESS")),
    exact("cgroup_skb/egress", ProgramKind::CgroupSkb, Some("BPF_CGROUP_INET_EGRESS")),
    exact("cgroup/skb", ProgramKind::CgroupSkb, None),
    exact("cgroup/sock_create", ProgramKind::CgroupSock, Some("BPF_CGROUP_INET_SOCK_CREATE")),
    exact("cgroup/sock_release", ProgramKind::CgroupSock, Some("BPF_CGROUP_INET_SOCK_RELEASE")),
    exact("cgroup/sock", ProgramKind::CgroupSock, Some("BPF_CGROUP_INET_SOCK_CREATE")),
    exact("cgroup/post_bind4", ProgramKind::CgroupSock, Some("BPF_CGROUP_INET4_POST_BIND")),
    exact("cgroup/post_bind6", ProgramKind::CgroupSock, Some("BPF_CGROUP_INET6_POST_BIND")),
    exact("cgroup/bind4", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_INET4_BIND")),
    exact("cgroup/bind6", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_INET6_BIND")),
    exact("cgroup/connect4", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_INET4_CONNECT")),
    exact("cgroup/connect6", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_INET6_CONNECT")),
    exact("cgroup/connect_unix", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UNIX_CONNECT")),
    exact("cgroup/sendmsg4", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UDP4_SENDMSG")),
    exact("cgroup/sendmsg6", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UDP6_SENDMSG")),
    exact("cgroup/sendmsg_unix", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UNIX_SENDMSG")),
    exact("cgroup/recvmsg4", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UDP4_RECVMSG")),
    exact("cgroup/recvmsg6", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UDP6_RECVMSG")),
    exact("cgroup/recvmsg_unix", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UNIX_RECVMSG")),
    exact("cgroup/getpeername4", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_INET4_GETPEERNAME")),
    exact("cgroup/getpeername6", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_INET6_GETPEERNAME")),
    exact("cgroup/getpeername_unix", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UNIX_GETPEERNAME")),
    exact("cgroup/getsockname4", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_INET4_GETSOCKNAME")),
    exact("cgroup/getsockname6", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_INET6_GETSOCKNAME")),
    exact("cgroup/getsockname_unix", ProgramKind::CgroupSockAddr, Some("BPF_CGROUP_UNIX_GETSOCKNAME")),
    exact("cgroup/sysctl", ProgramKind::CgroupSysctl, Some("BPF_CGROUP_SYSCTL")),
    exact("cgroup/getsockopt", ProgramKind::CgroupSockopt, Some("BPF_CGROUP_GETSOCKOPT")),
    exact("cgroup/setsockopt", ProgramKind::CgroupSockopt, Some("BPF_CGROUP_SETSOCKOPT")),
    exact("cgroup/dev", ProgramKind::CgroupDevice, Some("BPF_CGROUP_DEVICE")),
    with_target("struct_ops", ProgramKind::StructOps, None),
    with_target("struct_ops.s", ProgramKind::StructOps, None),
    exact("sk_lookup", ProgramKind::SkLookup, Some("BPF_SK_LOOKUP")),
    exact("netfilter", ProgramKind::Netfilter, Some("BPF_NETFILTER")),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_wins_and_the_target_is_kept() {
        let meaning = meaning_of_section("kprobe.multi/tcp_*").unwrap();
        assert_eq!(meaning.kind, ProgramKind::Kprobe);
        assert_eq!(
            meaning.attach,
            AttachKind::from_kernel_name("TRACE_KPROBE_MULTI")
        );
        assert_eq!(meaning.target.as_deref(), Some("tcp_*"));
        assert_eq!(
            meaning_of_section("xdp.frags/devmap").unwrap().attach,
            AttachKind::from_kernel_name("XDP_DEVMAP")
        );
        assert!(meaning_of_section("fentry.s/f").unwrap().is_sleepable);
    }

    #[test]
    fn the_nearest_name_is_a_slip_away_or_none() {
        let names = ["vfs_read", "vfs_write", "vfs_readv", "do_exit"];
        assert_eq!(
            nearest_name("vfs_raed", names.into_iter()),
            Some("vfs_read")
        );
        assert_eq!(nearest_name("tcp_sendmsg", names.into_iter()), None);
    }

    #[test]
    fn the_historic_name_socket1_is_unknown_but_near_to_socket() {
        assert_eq!(meaning_of_section("socket1"), None);
        assert_eq!(nearest_section("socket1"), Some("socket"));
        assert_eq!(nearest_section("sokcet"), Some("socket"));
        assert_eq!(nearest_section("completely_different"), None);
    }
}
