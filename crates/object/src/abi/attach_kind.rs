//! Attach kinds: where within its program kind a program goes (`expected_attach_type`).

use std::fmt;

/// The number that `bpf(2)` takes as `expected_attach_type` or `attach_type`.
///
/// Zero doubles as "none given" in the kernel's interface, and as `BPF_CGROUP_INET_INGRESS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct AttachKind(pub u32);

impl AttachKind {
    /// The kind with this kernel name, with or without `BPF_`.
    pub fn from_kernel_name(name: &str) -> Option<Self> {
        let short = name.strip_prefix("BPF_").unwrap_or(name);
        let index = NAMES.iter().position(|row| *row == short)?;
        u32::try_from(index).ok().map(Self)
    }

    /// All kinds that have a name, ascending.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..).map(Self).take(NAMES.len())
    }

    /// Whether cgroups keep a list of programs of this kind.
    pub fn is_of_cgroups(self) -> bool {
        let name = self.kernel_name().unwrap_or_default();
        name.starts_with("CGROUP_") || name == "LSM_CGROUP"
    }

    /// The kernel's name without `BPF_`, or `None` for a number without a row.
    pub fn kernel_name(self) -> Option<&'static str> {
        NAMES.get(usize::try_from(self.0).ok()?).copied()
    }
}

impl fmt::Display for AttachKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kernel_name() {
            Some(name) => f.write_str(&name.to_ascii_lowercase()),
            None => write!(f, "attach type {}", self.0),
        }
    }
}

/// Names in the order of their numbers, from 0, as in `enum bpf_attach_type`.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "CGROUP_INET_INGRESS",
    "CGROUP_INET_EGRESS",
    "CGROUP_INET_SOCK_CREATE",
    "CGROUP_SOCK_OPS",
    "SK_SKB_STREAM_PARSER",
    "SK_SKB_STREAM_VERDICT",
    "CGROUP_DEVICE",
    "SK_MSG_VERDICT",
    "CGROUP_INET4_BIND",
    "CGROUP_INET6_BIND",
    "CGROUP_INET4_CONNECT",
    "CGROUP_INET6_CONNECT",
    "CGROUP_INET4_POST_BIND",
    "CGROUP_INET6_POST_BIND",
    "CGROUP_UDP4_SENDMSG",
    "CGROUP_UDP6_SENDMSG",
    "LIRC_MODE2",
    "FLOW_DISSECTOR",
    "CGROUP_SYSCTL",
    "CGROUP_UDP4_RECVMSG",
    "CGROUP_UDP6_RECVMSG",
    "CGROUP_GETSOCKOPT",
    "CGROUP_SETSOCKOPT",
    "TRACE_RAW_TP",
    "TRACE_FENTRY",
    "TRACE_FEXIT",
    "MODIFY_RETURN",
    "LSM_MAC",
    "TRACE_ITER",
    "CGROUP_INET4_GETPEERNAME",
    "CGROUP_INET6_GETPEERNAME",
    "CGROUP_INET4_GETSOCKNAME",
    "CGROUP_INET6_GETSOCKNAME",
    "XDP_DEVMAP",
    "CGROUP_INET_SOCK_RELEASE",
    "XDP_CPUMAP",
    "SK_LOOKUP",
    "XDP",
    "SK_SKB_VERDICT",
    "SK_REUSEPORT_SELECT",
    "SK_REUSEPORT_SELECT_OR_MIGRATE",
    "PERF_EVENT",
    "TRACE_KPROBE_MULTI",
    "LSM_CGROUP",
    "STRUCT_OPS",
    "NETFILTER",
    "TCX_INGRESS",
    "TCX_EGRESS",
    "TRACE_UPROBE_MULTI",
    "CGROUP_UNIX_CONNECT",
    "CGROUP_UNIX_SENDMSG",
    "CGROUP_UNIX_RECVMSG",
    "CGROUP_UNIX_GETPEERNAME",
    "CGROUP_UNIX_GETSOCKNAME",
    "NETKIT_PRIMARY",
    "NETKIT_PEER",
    "TRACE_KPROBE_SESSION",
    "TRACE_UPROBE_SESSION",
    "TRACE_FSESSION",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree_with_the_kernel_header() {
        assert_eq!(
            AttachKind::from_kernel_name("BPF_XDP"),
            Some(AttachKind(37))
        );
        assert_eq!(
            AttachKind::from_kernel_name("BPF_NETFILTER"),
            Some(AttachKind(45))
        );
        assert_eq!(
            AttachKind::from_kernel_name("TCX_INGRESS"),
            Some(AttachKind(46))
        );
        assert_eq!(AttachKind(44).kernel_name(), Some("STRUCT_OPS"));
    }
}
