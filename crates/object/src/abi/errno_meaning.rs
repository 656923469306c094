//! What an error number means as the answer of one command of `bpf(2)`, where the kernel adds no words.
//!
//! The same number stands for different things: E2BIG is a program that is too long, a map that is too large, or a hash map that is
//! full. The table is for people: it names the causes that are likely, most likely first.

use super::Errno;

/// A command, or a group of commands that answer alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BpfRequest {
    /// `BPF_MAP_CREATE`
    MapCreate,
    /// `BPF_MAP_*_ELEM` and their batches
    MapElement,
    /// `BPF_PROG_LOAD`, without a word of the verifier
    ProgramLoad,
    /// `BPF_BTF_LOAD`
    TypesLoad,
    /// `BPF_PROG_ATTACH`, `BPF_LINK_CREATE`, `BPF_RAW_TRACEPOINT_OPEN`
    Attach,
    /// `BPF_OBJ_PIN`, `BPF_OBJ_GET`
    Pin,
    /// `BPF_PROG_TEST_RUN`
    TestRun,
}

impl BpfRequest {
    /// What it asks for, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::MapCreate => "creating a map",
            Self::MapElement => "reading or writing an element",
            Self::ProgramLoad => "loading a program",
            Self::TypesLoad => "loading BTF",
            Self::Attach => "attaching",
            Self::Pin => "pinning or opening a pin",
            Self::TestRun => "a test run",
        }
    }

    /// What the number means as its answer.
    pub fn meaning_of(self, errno: Errno) -> Option<&'static str> {
        let found = meanings_of(errno).find(|(request, _)| *request == self)?;
        Some(found.1)
    }
}

/// What the number means as the answer of each command that gives it.
pub fn meanings_of(errno: Errno) -> impl Iterator<Item = (BpfRequest, &'static str)> {
    MEANINGS
        .iter()
        .filter(move |(_, found, _)| *found == errno)
        .map(|(request, _, words)| (*request, *words))
}

/// The rows, by command.
#[rustfmt::skip]
const MEANINGS: &[(BpfRequest, Errno, &str)] = &[
    (BpfRequest::MapCreate, Errno::EPERM, "CAP_BPF is missing, or CAP_NET_ADMIN or CAP_SYS_ADMIN for this type; before 5.11 also RLIMIT_MEMLOCK"),
    (BpfRequest::MapCreate, Errno::EINVAL, "an attribute breaks a rule of the map's type, or the kernel does not know the type or a flag"),
    (BpfRequest::MapCreate, Errno::E2BIG, "key, value or number of entries are larger than the type allows"),
    (BpfRequest::MapCreate, Errno::ENOMEM, "the memory could not be allocated, or the control group's limit is reached"),
    (BpfRequest::MapCreate, Errno::EBADF, "the map for inside, the BTF or the token is no open file of that kind"),
    (BpfRequest::MapCreate, Errno::ENOENT, "the type that a struct_ops map names is not in the kernel's BTF"),
    (BpfRequest::MapCreate, Errno::ENOTSUPP, "this kernel is built without what the map is for"),
    (BpfRequest::MapCreate, Errno::EOPNOTSUPP, "this kernel is built without what the map is for, or the machine cannot do it"),
    (BpfRequest::MapElement, Errno::ENOENT, "no element has this key; as an answer to an update with BPF_EXIST too"),
    (BpfRequest::MapElement, Errno::EEXIST, "an element has this key, and the update was with BPF_NOEXIST"),
    (BpfRequest::MapElement, Errno::E2BIG, "the map is full, or the index is behind the array's end"),
    (BpfRequest::MapElement, Errno::EINVAL, "the flags do not fit the operation, or the type of map does not have it"),
    (BpfRequest::MapElement, Errno::EPERM, "the map is frozen, or was opened or created for the other direction only"),
    (BpfRequest::MapElement, Errno::EBUSY, "another CPU works on the same bucket, or the element is in use"),
    (BpfRequest::MapElement, Errno::ENOMEM, "no memory for another element"),
    (BpfRequest::MapElement, Errno::ENOTSUPP, "this type of map does not have the operation"),
    (BpfRequest::MapElement, Errno::EOPNOTSUPP, "this type of map does not have the operation"),
    (BpfRequest::ProgramLoad, Errno::EPERM, "CAP_BPF is missing, or CAP_PERFMON or CAP_NET_ADMIN for this type; a security module or lockdown can refuse it too; before 5.11 also RLIMIT_MEMLOCK"),
    (BpfRequest::ProgramLoad, Errno::EINVAL, "the attach type does not fit the program type, or the kernel does not know the type or a flag"),
    (BpfRequest::ProgramLoad, Errno::E2BIG, "more than a million instructions (4096 without CAP_BPF), none at all, or attributes that this kernel does not know"),
    (BpfRequest::ProgramLoad, Errno::EBADF, "a file descriptor in the request is not what it should be: BTF, token, map or target program"),
    (BpfRequest::ProgramLoad, Errno::ENOENT, "the target's type id is not in its BTF"),
    (BpfRequest::ProgramLoad, Errno::ENOMEM, "no memory for the program or for verifying it"),
    (BpfRequest::ProgramLoad, Errno::EFAULT, "an address in the request cannot be read"),
    (BpfRequest::ProgramLoad, Errno::ENOSPC, "the verifier's log does not fit into its buffer: the program itself may be right"),
    (BpfRequest::ProgramLoad, Errno::EOPNOTSUPP, "this kernel or machine cannot do what the program asks for, such as offloading or trampolines"),
    (BpfRequest::ProgramLoad, Errno::ENOTSUPP, "the compiler of this machine cannot translate the program, and nothing interprets it"),
    (BpfRequest::ProgramLoad, Errno::EAGAIN, "a signal interrupted the verifier: ask again"),
    (BpfRequest::ProgramLoad, Errno::EBUSY, "what the program extends is in use in a way that does not allow it"),
    (BpfRequest::TypesLoad, Errno::EPERM, "CAP_BPF is missing"),
    (BpfRequest::TypesLoad, Errno::EINVAL, "a kind of type that this kernel does not know, or contradictions"),
    (BpfRequest::TypesLoad, Errno::E2BIG, "more types or text than a kernel accepts"),
    (BpfRequest::TypesLoad, Errno::ENOSPC, "the log does not fit into its buffer"),
    (BpfRequest::Attach, Errno::EPERM, "CAP_NET_ADMIN, CAP_PERFMON or CAP_SYS_ADMIN is missing; at a control group also that one above it does not allow more programs"),
    (BpfRequest::Attach, Errno::EINVAL, "the program was loaded for another place, or the kernel does not know the attach type or a flag"),
    (BpfRequest::Attach, Errno::EBUSY, "another program is attached there, and only one fits"),
    (BpfRequest::Attach, Errno::EEXIST, "this program is attached there already"),
    (BpfRequest::Attach, Errno::ENOENT, "the place does not exist: a tracepoint, function or hook of that name"),
    (BpfRequest::Attach, Errno::ENODEV, "the network interface does not exist"),
    (BpfRequest::Attach, Errno::EBADF, "the target is no open control group, program or map"),
    (BpfRequest::Attach, Errno::EOPNOTSUPP, "the driver or this kernel does not support it; XDP then needs its generic mode"),
    (BpfRequest::Attach, Errno::ENOTSUPP, "this kernel or machine does not have the trampolines that the program needs"),
    (BpfRequest::Attach, Errno::EACCES, "the event does not belong to this user"),
    (BpfRequest::Pin, Errno::EPERM, "the folder is on no BPF file system, or the name has a dot"),
    (BpfRequest::Pin, Errno::EACCES, "the pin or a folder above it does not allow it to this user"),
    (BpfRequest::Pin, Errno::EEXIST, "something has this name already"),
    (BpfRequest::Pin, Errno::ENOENT, "there is no such pin or folder; BPF file systems are mounted with `mount -t bpf bpf /sys/fs/bpf`"),
    (BpfRequest::Pin, Errno::EINVAL, "the flags are not known, or the file is no pin"),
    (BpfRequest::TestRun, Errno::EPERM, "CAP_BPF is missing"),
    (BpfRequest::TestRun, Errno::EINVAL, "the input is too short or too long, or the context has fields that cannot be set"),
    (BpfRequest::TestRun, Errno::ENOTSUPP, "this type of program has no test run"),
    (BpfRequest::TestRun, Errno::EOPNOTSUPP, "this type of program has no test run"),
    (BpfRequest::TestRun, Errno::ENOSPC, "the output does not fit into its buffer"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_means_different_things_to_different_commands() {
        let full = BpfRequest::MapElement
            .meaning_of(Errno::E2BIG)
            .unwrap_or_default();
        let long = BpfRequest::ProgramLoad
            .meaning_of(Errno::E2BIG)
            .unwrap_or_default();
        assert!(full.contains("full") && long.contains("million"));
        assert_eq!(BpfRequest::Pin.meaning_of(Errno::E2BIG), None);
    }

    #[test]
    fn rows_are_unique_and_end_without_a_full_stop() {
        for (at, (request, errno, words)) in MEANINGS.iter().enumerate() {
            let is_same = |row: &&(BpfRequest, Errno, &str)| (row.0, row.1) == (*request, *errno);
            assert_eq!(
                MEANINGS.iter().position(|row| is_same(&row)),
                Some(at),
                "{words}"
            );
            assert!(!words.is_empty() && !words.ends_with('.'), "{words}");
        }
    }
}
