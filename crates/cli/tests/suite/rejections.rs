//! The classic failures, as a user meets them: cause and next step on one screen, the right line, its own exit status.
//!
//! Each has a program of its own, `testdata/bpf/rejected_*.bpf.c`. Where Linux 6.18 says the same every time the whole screen is
//! compared, elsewhere its parts.

use twinbpf_trials::{Case, Need};

use crate::support::{User, Workshop};

/// Lines and columns of the screen.
const SCREEN: (usize, usize) = (24, 100);

const KERNEL: &[Need] = &[Need::Kernel, Need::KernelTypes, Need::Linux618];

/// One failure.
struct Row {
    name: &'static str,
    object: &'static str,
    status: i32,
    /// The screen, whole; or its parts, if they do not begin with an error.
    says: &'static [&'static str],
}

const ROWS: &[Row] = &[
    Row {
        name: "a_missing_null_check",
        object: "rejected_null.bpf.o",
        status: 5,
        says: &["\
error[V001]: program `count`: r0 is a map value that may be null and used without a null test
  (EACCES)
  --> ./testdata/bpf/rejected_null.bpf.c:18:9, insn 7: r1 = *(u64 *)(r0 +0)
    16 | __u64 *value = bpf_map_lookup_elem(&packets, &key);
       | r0 is what this call returns, insn 6: call bpf_map_lookup_elem#1
    18 | *value += 1;
       |        ^
  r0: map_value_or_null(id=1,map=packets,ks=4,vs=8)
  verifier: R0 invalid mem access 'map_value_or_null'
  instructions verified: 7
"],
    },
    Row {
        name: "packet_bounds",
        object: "rejected_bounds.bpf.o",
        status: 5,
        says: &["\
error[V010]: program `drop_udp`: 1 byte is accessed at offset 23 of the packet, where only 14 bytes
  are proven to exist (EACCES)
  --> ./testdata/bpf/rejected_bounds.bpf.c:15:10, insn 6: r1 = *(u8 *)(r1 +23)
     8 | void *data = (void *)(long)ctx->data;
       | r1 comes from here, insn 2: r1 = *(u32 *)(r1 +0)
    13 | if ((void *)(eth + 1) > data_end)
       | the last comparison with the packet's end, insn 5: if r3 > r2 goto pc+4
    15 | if (ip->protocol == 17)
       |         ^
"],
    },
    Row {
        name: "an_endless_loop",
        object: "rejected_loop.bpf.o",
        status: 5,
        says: &[
            "error[V038]: program `wait`: the verifier gave up after 1,000,001 steps (E2BIG)",
            "the loop starts here, insn ",
            "and goes back from here, insn ",
            "    10 | while (rounds < 0x100000000ULL)",
            "    11 | rounds += 1;",
            "changes in a round: r",
            "hint: bound the loops",
        ],
    },
    Row {
        name: "a_helper_that_is_not_allowed",
        object: "rejected_helper.bpf.o",
        status: 5,
        says: &["\
error[V028]: program `forward`: helper bpf_redirect is not available to this program type (EINVAL)
  --> ./testdata/bpf/rejected_helper.bpf.c:10:9, insn 2: call bpf_redirect#23
    10 | return bpf_redirect(skb->ifindex, 0);
       |        ^
  verifier: program of this type cannot use helper bpf_redirect#23
"],
    },
    Row {
        name: "a_field_that_the_kernel_lacks",
        object: "rejected_field.bpf.o",
        status: 7,
        says: &[
            "error[L005]: program `look`: ",
            "`struct task_struct.no_such_field`",
            "./testdata/bpf/rejected_field.bpf.c:",
            "hint: ask first with bpf_core_field_exists()",
        ],
    },
    Row {
        name: "a_kernel_function_that_nobody_has",
        object: "rejected_kfunc.bpf.o",
        status: 7,
        says: &["\
error[L011]: section `xdp`, offset 0x0, program `call`: the kernel has no function
  `bpf_no_such_function`
  --> ./testdata/bpf/rejected_kfunc.bpf.c:10:2
    10 | bpf_no_such_function(ctx);
       | ^
hint: programs that can do without it declare it `__weak` and ask with bpf_ksym_exists()
"],
    },
    Row {
        name: "a_typing_slip_in_the_section",
        object: "unknown_section.bpf.o",
        status: 2,
        says: &["\
error[P001]: program `misspelt`: section `sokcet` names no program type, and none was given
hint: did you mean SEC(\"socket\")?
hint: or name the type when loading, for example `--type socket_filter`
"],
    },
    Row {
        name: "a_map_without_entries",
        object: "rejected_entries.bpf.o",
        status: 5,
        says: &["\
error[M001]: map `counts`: a `hash` map needs at least one entry, this one has max_entries 0
  (EINVAL)
  attribute: max_entries
hint: set max_entries to the number of elements it shall hold
"],
    },
    Row {
        name: "a_trie_without_its_flag",
        object: "rejected_lpm.bpf.o",
        status: 5,
        says: &["\
error[M001]: map `routes`: a `lpm_trie` map needs BPF_F_NO_PREALLOC (EINVAL)
  attribute: map_flags
hint: add BPF_F_NO_PREALLOC to map_flags
"],
    },
    Row {
        name: "an_array_of_4_tebibytes",
        object: "rejected_memory.bpf.o",
        status: 8,
        says: &[
            "error[M003]: map `pages`: ",
            "4.0 TiB",
            "ENOMEM",
            "hint: lower max_entries",
        ],
    },
];

pub(crate) fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = ROWS
        .iter()
        .map(|row| {
            Case::new(&format!("rejections::{}", row.name), KERNEL, || {
                check(row, User::Myself)
            })
        })
        .collect();
    cases.push(Case::new(
        "rejections::no_privilege",
        &[Need::ClosedBpf],
        || {
            let row = Row {
                name: "no_privilege",
                object: "rejected_null.bpf.o",
                status: 4,
                says: &[
                    "error[M002]: map `packets`: ",
                    "lacks",
                    "CAP_BPF",
                    "hint: run it with CAP_BPF",
                    "`--engine vm`",
                ],
            };
            check(&row, User::Ordinary);
        },
    ));
    cases
}

fn check(row: &Row, user: User) {
    let workshop = Workshop::new(user);
    workshop.put_fixture(row.object);
    let answer = workshop.run(&["check", "--verbose", row.object]);
    assert_eq!(answer.status, Some(row.status), "{}: {answer:?}", row.name);
    let start = answer.stdout.find("error[").unwrap_or_default();
    let screen = &answer.stdout[start..];
    for part in row.says {
        assert!(screen.contains(part), "{part}\nis not in\n{screen}");
    }
    assert!(screen.contains("hint: "), "{screen}");
    let (lines, columns) = SCREEN;
    assert!(screen.lines().count() <= lines, "{screen}");
    for line in screen.lines() {
        assert!(line.chars().count() <= columns, "{line}");
    }
}
