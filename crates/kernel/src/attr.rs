//! The requests of `bpf(2)` and of packet sockets: one struct per command, so that no command can carry a stale field of another.
//!
//! The kernel takes a pointer and a size and treats what is missing at the end as zero; each struct here ends where our use
//! of the command ends. Sizes and offsets are asserted beside each struct, and a test compares them with `union
//! bpf_attr` in the running kernel's BTF. Addresses are plain numbers; only `sys.rs` fills them in.

use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd, BorrowedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Bytes of a name, the final zero included (`BPF_OBJ_NAME_LEN`).
pub(crate) const NAME_BYTES: usize = 16;

/// The commands we use.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Command {
    MapCreate,
    MapLookup,
    MapUpdate,
    MapDelete,
    MapNextKey,
    ProgramLoad,
    ObjectPin,
    ObjectGet,
    ProgramTestRun,
    ProgramNextId,
    MapNextId,
    ProgramById,
    MapById,
    ObjectInfo,
    RawTracepointOpen,
    BtfLoad,
    BtfById,
    BtfNextId,
    MapLookupAndDelete,
    MapFreeze,
    MapLookupBatch,
    MapLookupAndDeleteBatch,
    MapUpdateBatch,
    MapDeleteBatch,
    LinkCreate,
    LinkUpdate,
    LinkById,
    LinkNextId,
    IterCreate,
    LinkDetach,
    TokenCreate,
    EnableStats,
    ProgramQuery,
}

impl Command {
    /// The number in `enum bpf_cmd`.
    pub(crate) fn number(self) -> libc::c_int {
        match self {
            Self::MapCreate => 0,
            Self::MapLookup => 1,
            Self::MapUpdate => 2,
            Self::MapDelete => 3,
            Self::MapNextKey => 4,
            Self::ProgramLoad => 5,
            Self::ObjectPin => 6,
            Self::ObjectGet => 7,
            Self::ProgramTestRun => 10,
            Self::ProgramNextId => 11,
            Self::MapNextId => 12,
            Self::ProgramById => 13,
            Self::MapById => 14,
            Self::ObjectInfo => 15,
            Self::RawTracepointOpen => 17,
            Self::BtfLoad => 18,
            Self::BtfById => 19,
            Self::BtfNextId => 23,
            Self::MapLookupAndDelete => 21,
            Self::MapFreeze => 22,
            Self::MapLookupBatch => 24,
            Self::MapLookupAndDeleteBatch => 25,
            Self::MapUpdateBatch => 26,
            Self::MapDeleteBatch => 27,
            Self::LinkCreate => 28,
            Self::LinkUpdate => 29,
            Self::LinkById => 30,
            Self::LinkNextId => 31,
            Self::IterCreate => 33,
            Self::LinkDetach => 34,
            Self::EnableStats => 32,
            Self::ProgramQuery => 16,
            Self::TokenCreate => 36,
        }
    }
}

/// `BPF_MAP_CREATE`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MapCreate {
    pub(crate) map_type: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) map_flags: u32,
    pub(crate) inner_map_fd: u32,
    pub(crate) numa_node: u32,
    pub(crate) map_name: [u8; NAME_BYTES],
    pub(crate) map_ifindex: u32,
    pub(crate) btf_fd: u32,
    pub(crate) btf_key_type_id: u32,
    pub(crate) btf_value_type_id: u32,
    pub(crate) btf_vmlinux_value_type_id: u32,
    pub(crate) map_extra: u64,
    pub(crate) value_type_btf_obj_fd: u32,
    pub(crate) map_token_fd: u32,
}

const _: () = {
    assert!(size_of::<MapCreate>() == 80);
    assert!(offset_of!(MapCreate, numa_node) == 24);
    assert!(offset_of!(MapCreate, map_name) == 28);
    assert!(offset_of!(MapCreate, map_ifindex) == 44);
    assert!(offset_of!(MapCreate, map_extra) == 64);
};

/// `BPF_PROG_TEST_RUN`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ProgramTestRun {
    pub(crate) prog_fd: u32,
    pub(crate) retval: u32,
    pub(crate) data_size_in: u32,
    pub(crate) data_size_out: u32,
    pub(crate) data_in: u64,
    pub(crate) data_out: u64,
    pub(crate) repeat: u32,
    pub(crate) duration: u32,
    pub(crate) ctx_size_in: u32,
    pub(crate) ctx_size_out: u32,
    pub(crate) ctx_in: u64,
    pub(crate) ctx_out: u64,
}

const _: () = {
    assert!(size_of::<ProgramTestRun>() == 64);
    assert!(offset_of!(ProgramTestRun, data_in) == 16);
    assert!(offset_of!(ProgramTestRun, repeat) == 32);
    assert!(offset_of!(ProgramTestRun, ctx_in) == 48);
};

/// `BPF_MAP_LOOKUP_ELEM`, `BPF_MAP_UPDATE_ELEM`, `BPF_MAP_DELETE_ELEM`, `BPF_MAP_GET_NEXT_KEY` and
/// `BPF_MAP_LOOKUP_AND_DELETE_ELEM`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MapElement {
    pub(crate) map_fd: u32,
    pub(crate) padding: u32,
    pub(crate) key: u64,
    /// The value, or where the next key goes.
    pub(crate) value: u64,
    pub(crate) flags: u64,
}

const _: () = {
    assert!(size_of::<MapElement>() == 32);
    assert!(offset_of!(MapElement, key) == 8);
    assert!(offset_of!(MapElement, value) == 16);
    assert!(offset_of!(MapElement, flags) == 24);
};

/// `BPF_MAP_LOOKUP_BATCH` and its kin.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MapBatch {
    /// Where to go on, or 0.
    pub(crate) in_batch: u64,
    /// Where the place to go on from is written.
    pub(crate) out_batch: u64,
    pub(crate) keys: u64,
    pub(crate) values: u64,
    /// How many there is room for, and in the answer how many there were.
    pub(crate) count: u32,
    pub(crate) map_fd: u32,
    pub(crate) elem_flags: u64,
    pub(crate) flags: u64,
}

const _: () = {
    assert!(size_of::<MapBatch>() == 56);
    assert!(offset_of!(MapBatch, count) == 32);
    assert!(offset_of!(MapBatch, elem_flags) == 40);
};

/// `BPF_MAP_GET_NEXT_ID`, `BPF_MAP_GET_FD_BY_ID` and `BPF_BTF_GET_FD_BY_ID`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ObjectId {
    pub(crate) id: u32,
    pub(crate) next_id: u32,
    pub(crate) open_flags: u32,
}

const _: () = {
    assert!(size_of::<ObjectId>() == 12);
    assert!(offset_of!(ObjectId, next_id) == 4);
};

/// `BPF_PROG_LOAD`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ProgramLoad {
    pub(crate) prog_type: u32,
    pub(crate) insn_cnt: u32,
    pub(crate) insns: u64,
    pub(crate) license: u64,
    pub(crate) log_level: u32,
    pub(crate) log_size: u32,
    pub(crate) log_buf: u64,
    pub(crate) kern_version: u32,
    pub(crate) prog_flags: u32,
    pub(crate) prog_name: [u8; NAME_BYTES],
    pub(crate) prog_ifindex: u32,
    pub(crate) expected_attach_type: u32,
    pub(crate) prog_btf_fd: u32,
    pub(crate) func_info_rec_size: u32,
    pub(crate) func_info: u64,
    pub(crate) func_info_cnt: u32,
    pub(crate) line_info_rec_size: u32,
    pub(crate) line_info: u64,
    pub(crate) line_info_cnt: u32,
    pub(crate) attach_btf_id: u32,
    /// The program to attach to, or the BTF that has `attach_btf_id`; 0 is the kernel's own.
    pub(crate) attach_fd: u32,
    pub(crate) core_relo_cnt: u32,
    pub(crate) fd_array: u64,
    pub(crate) core_relos: u64,
    pub(crate) core_relo_rec_size: u32,
    pub(crate) log_true_size: u32,
    pub(crate) prog_token_fd: u32,
    pub(crate) fd_array_cnt: u32,
}

const _: () = {
    assert!(size_of::<ProgramLoad>() == 152);
    assert!(offset_of!(ProgramLoad, func_info) == 80);
    assert!(offset_of!(ProgramLoad, line_info) == 96);
    assert!(offset_of!(ProgramLoad, attach_btf_id) == 108);
    assert!(offset_of!(ProgramLoad, fd_array) == 120);
    assert!(offset_of!(ProgramLoad, log_true_size) == 140);
    assert!(offset_of!(ProgramLoad, insns) == 8);
    assert!(offset_of!(ProgramLoad, license) == 16);
    assert!(offset_of!(ProgramLoad, log_level) == 24);
    assert!(offset_of!(ProgramLoad, log_buf) == 32);
    assert!(offset_of!(ProgramLoad, prog_name) == 48);
    assert!(offset_of!(ProgramLoad, expected_attach_type) == 68);
};

/// `BPF_BTF_LOAD`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct BtfLoad {
    pub(crate) btf: u64,
    pub(crate) btf_log_buf: u64,
    pub(crate) btf_size: u32,
    pub(crate) btf_log_size: u32,
    pub(crate) btf_log_level: u32,
    pub(crate) btf_log_true_size: u32,
    pub(crate) btf_flags: u32,
    pub(crate) btf_token_fd: u32,
}

const _: () = {
    assert!(size_of::<BtfLoad>() == 40);
    assert!(offset_of!(BtfLoad, btf_size) == 16);
    assert!(offset_of!(BtfLoad, btf_flags) == 32);
};

impl BtfLoad {
    /// A request with a token in place of privileges, if there is one.
    pub(crate) fn with_token(token: Option<BorrowedFd<'_>>) -> Self {
        Self {
            btf_flags: token.map_or(0, |_| TOKEN_FD),
            btf_token_fd: token.map_or(0, fd_number),
            ..Self::default()
        }
    }
}

/// `BPF_TOKEN_CREATE`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct TokenCreate {
    pub(crate) flags: u32,
    pub(crate) bpffs_fd: u32,
}

const _: () = {
    assert!(size_of::<TokenCreate>() == 8);
    assert!(offset_of!(TokenCreate, bpffs_fd) == 4);
};

/// `BPF_PROG_QUERY`: what is attached at a place.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ProgramQuery {
    /// A descriptor or an interface's number.
    pub(crate) target: u32,
    pub(crate) attach_type: u32,
    pub(crate) query_flags: u32,
    pub(crate) attach_flags: u32,
    pub(crate) prog_ids: u64,
    pub(crate) count: u32,
    pub(crate) padding: u32,
    pub(crate) prog_attach_flags: u64,
    pub(crate) link_ids: u64,
    pub(crate) link_attach_flags: u64,
    pub(crate) revision: u64,
}

const _: () = {
    assert!(size_of::<ProgramQuery>() == 64);
    assert!(offset_of!(ProgramQuery, prog_ids) == 16);
    assert!(offset_of!(ProgramQuery, link_ids) == 40);
};

/// `BPF_ENABLE_STATS`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct EnableStats {
    pub(crate) kind: u32,
}

/// `BPF_F_TOKEN_FD`: the request has a token.
pub(crate) const TOKEN_FD: u32 = 1 << 16;

/// Descriptors are never negative, so the number is the same without its sign.
pub(crate) fn fd_number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// `struct bpf_func_info`: the type of the function that starts at an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct FunctionRecord {
    pub(crate) insn_off: u32,
    pub(crate) type_id: u32,
}

/// `struct bpf_line_info`: where the instructions from one on come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct LineRecord {
    pub(crate) insn_off: u32,
    pub(crate) file_name_off: u32,
    pub(crate) line_off: u32,
    pub(crate) line_col: u32,
}

const _: () = {
    assert!(size_of::<FunctionRecord>() == 8);
    assert!(size_of::<LineRecord>() == 16);
};

/// `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ObjectPath {
    pub(crate) pathname: u64,
    pub(crate) bpf_fd: u32,
    pub(crate) file_flags: u32,
}

const _: () = {
    assert!(size_of::<ObjectPath>() == 16);
    assert!(offset_of!(ObjectPath, bpf_fd) == 8);
    assert!(offset_of!(ObjectPath, file_flags) == 12);
};

/// `BPF_OBJ_GET_INFO_BY_FD`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ObjectInfo {
    pub(crate) bpf_fd: u32,
    pub(crate) info_len: u32,
    pub(crate) info: u64,
}

const _: () = {
    assert!(size_of::<ObjectInfo>() == 16);
    assert!(offset_of!(ObjectInfo, info) == 8);
};

/// The answer about a map (`struct bpf_map_info`), as far as we read it.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct MapInfoReply {
    pub(crate) map_type: u32,
    pub(crate) id: u32,
    pub(crate) key_size: u32,
    pub(crate) value_size: u32,
    pub(crate) max_entries: u32,
    pub(crate) map_flags: u32,
    pub(crate) name: [u8; NAME_BYTES],
    pub(crate) ifindex: u32,
    pub(crate) btf_vmlinux_value_type_id: u32,
    pub(crate) netns_dev: u64,
    pub(crate) netns_ino: u64,
    pub(crate) btf_id: u32,
    pub(crate) btf_key_type_id: u32,
    pub(crate) btf_value_type_id: u32,
    pub(crate) btf_vmlinux_id: u32,
    pub(crate) map_extra: u64,
}

const _: () = {
    assert!(size_of::<MapInfoReply>() == 88);
    assert!(offset_of!(MapInfoReply, name) == 24);
    assert!(offset_of!(MapInfoReply, map_extra) == 80);
};

/// The answer about a program (`struct bpf_prog_info`), as far as we read it. The addresses in it stay zero, which asks the
/// kernel for counts only.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct ProgramInfoReply {
    pub(crate) prog_type: u32,
    pub(crate) id: u32,
    pub(crate) tag: [u8; 8],
    pub(crate) jited_prog_len: u32,
    pub(crate) xlated_prog_len: u32,
    pub(crate) jited_prog_insns: u64,
    pub(crate) xlated_prog_insns: u64,
    pub(crate) load_time: u64,
    pub(crate) created_by_uid: u32,
    pub(crate) nr_map_ids: u32,
    pub(crate) map_ids: u64,
    pub(crate) name: [u8; NAME_BYTES],
    pub(crate) ifindex: u32,
    pub(crate) gpl_compatible: u32,
    pub(crate) netns_dev: u64,
    pub(crate) netns_ino: u64,
    pub(crate) nr_jited_ksyms: u32,
    pub(crate) nr_jited_func_lens: u32,
    pub(crate) jited_ksyms: u64,
    pub(crate) jited_func_lens: u64,
    pub(crate) btf_id: u32,
    pub(crate) func_info_rec_size: u32,
    pub(crate) func_info: u64,
    pub(crate) nr_func_info: u32,
    pub(crate) nr_line_info: u32,
    pub(crate) line_info: u64,
    pub(crate) jited_line_info: u64,
    pub(crate) nr_jited_line_info: u32,
    pub(crate) line_info_rec_size: u32,
    pub(crate) jited_line_info_rec_size: u32,
    pub(crate) nr_prog_tags: u32,
    pub(crate) prog_tags: u64,
    pub(crate) run_time_ns: u64,
    pub(crate) run_cnt: u64,
    pub(crate) recursion_misses: u64,
    pub(crate) verified_insns: u32,
    pub(crate) attach_btf_obj_id: u32,
    pub(crate) attach_btf_id: u32,
    pub(crate) padding: u32,
}

const _: () = {
    assert!(size_of::<ProgramInfoReply>() == 232);
    assert!(offset_of!(ProgramInfoReply, func_info) == 136);
    assert!(offset_of!(ProgramInfoReply, run_time_ns) == 192);
    assert!(offset_of!(ProgramInfoReply, attach_btf_id) == 224);
    assert!(offset_of!(ProgramInfoReply, load_time) == 40);
    assert!(offset_of!(ProgramInfoReply, map_ids) == 56);
    assert!(offset_of!(ProgramInfoReply, name) == 64);
    assert!(offset_of!(ProgramInfoReply, gpl_compatible) == 84);
    assert!(offset_of!(ProgramInfoReply, btf_id) == 128);
};

/// The answer about types (`struct bpf_btf_info`).
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct BtfInfoReply {
    pub(crate) btf: u64,
    pub(crate) btf_size: u32,
    pub(crate) id: u32,
    pub(crate) name: u64,
    pub(crate) name_len: u32,
    pub(crate) kernel_btf: u32,
}

const _: () = {
    assert!(size_of::<BtfInfoReply>() == 32);
    assert!(offset_of!(BtfInfoReply, name) == 16);
};

/// `struct sockaddr_ll` as far as binding uses it: family, protocol in network order, interface.
#[derive(Debug, Clone, Copy, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct LinkAddress {
    pub(crate) family: u16,
    pub(crate) protocol: u16,
    pub(crate) interface: u32,
    pub(crate) hardware_type: u16,
    pub(crate) packet_type: u8,
    pub(crate) address_length: u8,
    pub(crate) address: [u8; 8],
}

const _: () = {
    assert!(size_of::<LinkAddress>() == size_of::<libc::sockaddr_ll>());
    assert!(offset_of!(LinkAddress, protocol) == offset_of!(libc::sockaddr_ll, sll_protocol));
    assert!(offset_of!(LinkAddress, interface) == offset_of!(libc::sockaddr_ll, sll_ifindex));
};

/// `struct tpacket_stats`.
#[derive(Debug, Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(crate) struct PacketStatistics {
    pub(crate) packets: u32,
    pub(crate) drops: u32,
}

const _: () = assert!(size_of::<PacketStatistics>() == 8);

/// A name as the kernel takes it: at most 15 bytes, other characters than letters, digits, `_` and `.` replaced by `_`.
///
/// KERNEL: 6.18 answers EINVAL for any other character, and for 16 bytes without a zero.
pub(crate) fn kernel_name(name: &str) -> [u8; NAME_BYTES] {
    let mut bytes = [0; NAME_BYTES];
    for (to, from) in bytes[..NAME_BYTES - 1].iter_mut().zip(name.bytes()) {
        *to = if from.is_ascii_alphanumeric() || from == b'.' {
            from
        } else {
            b'_'
        };
    }
    bytes
}

/// A name in the kernel's answer as text, up to its zero.
pub(crate) fn name_text(name: &[u8; NAME_BYTES]) -> String {
    let end = name
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(NAME_BYTES);
    String::from_utf8_lossy(&name[..end]).into_owned()
}

/// Where the fields of a request or reply stand, by the kernel's names: for comparing with a kernel's BTF.
#[derive(Debug)]
pub struct Layout {
    /// The kernel's struct; empty for the anonymous ones inside `union bpf_attr`.
    pub name: &'static str,
    /// The first members of the kernel's struct, which tell anonymous ones apart; an unnamed member is empty.
    pub first_members: &'static [&'static str],
    /// Our fields by the kernel's names, with their offsets in bytes; a member without a name is an anonymous union.
    pub fields: &'static [(&'static str, usize)],
}

/// One constant per struct and field; `offset_of!` cannot be called with variables.
macro_rules! layout {
    ($name:literal $first:expr, $type:ty: $($field:ident = $kernel:literal),* $(,)?) => {
        Layout { name: $name, first_members: $first, fields: &[$(($kernel, offset_of!($type, $field))),*] }
    };
}

// Behind the macro, which is visible only from there on.
mod link;

pub use link::LINK_LAYOUTS;
pub(crate) use link::{
    ARM_BYTES, Arm, CookieArm, IterCreate, IterateCgroups, IterateMap, IterateTasks, IteratorArm,
    KprobesArm, LinkCreate, LinkDetach, LinkInfoReply, LinkUpdate, NetfilterArm, OrderedArm,
    PerfEventAttributes, RawTracepointOpen, TracingArm, UprobesArm, link_type, perf_event_type,
};

/// Every request and reply whose layout the kernel shares; those about links are in [`LINK_LAYOUTS`].
pub const LAYOUTS: &[Layout] = &[
    layout!("" &["map_type", "key_size"], MapCreate:
        map_type = "map_type", key_size = "key_size", value_size = "value_size", max_entries
        = "max_entries", map_flags = "map_flags", inner_map_fd = "inner_map_fd", numa_node =
        "numa_node", map_name = "map_name", map_ifindex = "map_ifindex", btf_fd = "btf_fd",
        btf_key_type_id = "btf_key_type_id", btf_value_type_id = "btf_value_type_id",
        btf_vmlinux_value_type_id = "btf_vmlinux_value_type_id", map_extra = "map_extra",
        value_type_btf_obj_fd = "value_type_btf_obj_fd", map_token_fd = "map_token_fd"),
    layout!("" &["btf", "btf_log_buf"], BtfLoad:
        btf = "btf", btf_log_buf = "btf_log_buf", btf_size = "btf_size", btf_log_size =
        "btf_log_size", btf_log_level = "btf_log_level", btf_log_true_size =
        "btf_log_true_size", btf_flags = "btf_flags", btf_token_fd = "btf_token_fd"),
    layout!("" &["map_fd", "key", "", "flags"], MapElement:
        map_fd = "map_fd", key = "key", value = "", flags = "flags"),
    layout!("" &["in_batch", "out_batch"], MapBatch:
        in_batch = "in_batch", out_batch = "out_batch", keys = "keys", values = "values", count =
        "count", map_fd = "map_fd", elem_flags = "elem_flags", flags = "flags"),
    layout!("" &["", "next_id"], ObjectId:
        id = "", next_id = "next_id", open_flags = "open_flags"),
    layout!("bpf_btf_info" &["btf"], BtfInfoReply:
        btf = "btf", btf_size = "btf_size", id = "id", name = "name", name_len = "name_len",
        kernel_btf = "kernel_btf"),
    layout!("" &["prog_type", "insn_cnt"], ProgramLoad:
        prog_type = "prog_type", insn_cnt = "insn_cnt", insns = "insns", license =
        "license", log_level = "log_level", log_size = "log_size", log_buf = "log_buf",
        kern_version = "kern_version", prog_flags = "prog_flags", prog_name = "prog_name",
        prog_ifindex = "prog_ifindex", expected_attach_type = "expected_attach_type",
        prog_btf_fd = "prog_btf_fd", func_info_rec_size = "func_info_rec_size", func_info =
        "func_info", func_info_cnt = "func_info_cnt", line_info_rec_size =
        "line_info_rec_size", line_info = "line_info", line_info_cnt = "line_info_cnt",
        attach_btf_id = "attach_btf_id", attach_fd = "", core_relo_cnt = "core_relo_cnt",
        fd_array = "fd_array", core_relos = "core_relos", core_relo_rec_size =
        "core_relo_rec_size", log_true_size = "log_true_size", prog_token_fd =
        "prog_token_fd", fd_array_cnt = "fd_array_cnt"),
    layout!("" &["flags", "bpffs_fd"], TokenCreate: flags = "flags", bpffs_fd = "bpffs_fd"),
    layout!("" &["pathname", "bpf_fd"], ObjectPath:
        pathname = "pathname", bpf_fd = "bpf_fd", file_flags = "file_flags"),
    layout!("" &["bpf_fd", "info_len"], ObjectInfo:
        bpf_fd = "bpf_fd", info_len = "info_len", info = "info"),
    layout!("bpf_map_info" &["type"], MapInfoReply:
        map_type = "type", id = "id", key_size = "key_size", value_size = "value_size",
        max_entries = "max_entries", map_flags = "map_flags", name = "name", ifindex =
        "ifindex", btf_vmlinux_value_type_id = "btf_vmlinux_value_type_id", netns_dev =
        "netns_dev", netns_ino = "netns_ino", btf_id = "btf_id", btf_key_type_id =
        "btf_key_type_id", btf_value_type_id = "btf_value_type_id", btf_vmlinux_id =
        "btf_vmlinux_id", map_extra = "map_extra"),
    layout!("bpf_prog_info" &["type"], ProgramInfoReply:
        prog_type = "type", id = "id", tag = "tag", jited_prog_len = "jited_prog_len",
        xlated_prog_len = "xlated_prog_len", load_time = "load_time", created_by_uid =
        "created_by_uid", nr_map_ids = "nr_map_ids", map_ids = "map_ids", name = "name",
        ifindex = "ifindex", gpl_compatible = "gpl_compatible", netns_dev = "netns_dev",
        netns_ino = "netns_ino", nr_jited_ksyms = "nr_jited_ksyms", nr_jited_func_lens =
        "nr_jited_func_lens", jited_ksyms = "jited_ksyms", jited_func_lens =
        "jited_func_lens", btf_id = "btf_id", func_info_rec_size = "func_info_rec_size", func_info =
        "func_info", nr_func_info = "nr_func_info", nr_line_info = "nr_line_info", line_info =
        "line_info", jited_line_info = "jited_line_info", nr_jited_line_info =
        "nr_jited_line_info", line_info_rec_size = "line_info_rec_size", jited_line_info_rec_size =
        "jited_line_info_rec_size", nr_prog_tags = "nr_prog_tags", prog_tags = "prog_tags",
        run_time_ns = "run_time_ns", run_cnt = "run_cnt", recursion_misses = "recursion_misses",
        verified_insns = "verified_insns", attach_btf_obj_id = "attach_btf_obj_id", attach_btf_id =
        "attach_btf_id"),
    layout!("" &["", "attach_type", "query_flags"], ProgramQuery:
        attach_type = "attach_type", query_flags = "query_flags", attach_flags = "attach_flags",
        prog_ids = "prog_ids", prog_attach_flags = "prog_attach_flags", link_ids = "link_ids",
        link_attach_flags = "link_attach_flags", revision = "revision"),
    layout!("" &["type"], EnableStats: kind = "type"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_to_15_bytes_and_cleaned() {
        assert_eq!(name_text(&kernel_name("a.b-c d\u{e9}")), "a.b_c_d__");
        assert_eq!(
            name_text(&kernel_name("0123456789abcdefgh")),
            "0123456789abcde"
        );
    }
}
