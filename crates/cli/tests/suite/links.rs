//! `run` attaches by sections, and `link` shows what is attached, as `bpftool link` does.

use serde_json::Value;
use twinbpf_trials::{Case, Need};

use crate::sender::MODE;
use crate::support::{User, Workshop};

const OBJECT: &str = "both_ways.bpf.o";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "links::sections_say_where_and_the_private_network_says_the_rest",
            &[Need::Kernel, Need::Network],
            sections_say_where_and_the_private_network_says_the_rest,
        ),
        Case::new(
            "links::a_hook_can_be_named_for_one_program",
            &[Need::Kernel, Need::Network],
            a_hook_can_be_named_for_one_program,
        ),
        Case::new(
            "links::what_a_section_leaves_open_is_said",
            &[Need::Kernel],
            what_a_section_leaves_open_is_said,
        ),
        Case::new(
            "links::the_vm_says_which_hooks_it_lacks",
            &[],
            the_vm_says_which_hooks_it_lacks,
        ),
        Case::new(
            "links::a_link_that_is_not_there_is_not_found",
            &[Need::Kernel],
            a_link_that_is_not_there_is_not_found,
        ),
    ]
}

fn workshop() -> Workshop {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture(OBJECT);
    workshop
}

fn seen(document: &Value, slot: usize) -> u64 {
    let entries = document["maps"][0]["entries"].as_array().unwrap();
    let entry = entries.iter().find(|entry| entry["key"] == slot);
    entry.map_or(0, |entry| entry["value"].as_u64().unwrap())
}

/// The documents of the links in a file that a command wrote.
fn links(workshop: &Workshop, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(workshop.path(file)).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

fn sections_say_where_and_the_private_network_says_the_rest() {
    let workshop = workshop();
    let script = format!(
        "./sender {MODE} all.pcap && ./twinbpf link list --json > ours.json; \
         bpftool --json link list > theirs.json || true"
    );
    let arguments = [
        "run", OBJECT, "--engine", "kernel", "--json", "--", "sh", "-c", &script,
    ];
    let answer = workshop.run(&arguments);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let end = answer.last_document();
    assert!(seen(&end, 0) > 0 && seen(&end, 1) > 0, "{end}");

    let ours = links(&workshop, "ours.json");
    for sort in ["xdp", "tcx"] {
        let found = ours
            .iter()
            .any(|link| link["type"] == sort && link["devname"] == "lo");
        assert!(found, "{sort}: {ours:?}");
    }
    // Every link that both saw, field by field as far as bpftool knows its sort. It need not be installed.
    for theirs in links(&workshop, "theirs.json") {
        let Some(ours) = ours.iter().find(|link| link["id"] == theirs["id"]) else {
            continue;
        };
        for name in ["id", "type", "prog_id", "ifindex", "devname", "attach_type"] {
            if let Some(value) = theirs.get(name).filter(|_| theirs["type"].is_string()) {
                assert_eq!(&ours[name], value, "{name} of {theirs}");
            }
        }
    }
}

fn a_hook_can_be_named_for_one_program() {
    let workshop = workshop();
    let mut arguments = vec!["run", OBJECT, "--engine", "kernel", "--json"];
    arguments.extend(["--attach", "in=xdp.generic:lo", "--attach", "tc.ingress:lo"]);
    arguments.extend(["--", "./sender", MODE, "all.pcap"]);
    let answer = workshop.run(&arguments);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let end = answer.last_document();
    // On `lo` what goes out comes in: both see the same frames, now that both look at the way in.
    assert!(seen(&end, 0) > 0, "{end}");
    assert_eq!(seen(&end, 0), seen(&end, 1), "{end}");

    let unknown = [
        "run",
        OBJECT,
        "--engine",
        "kernel",
        "--attach",
        "inn=xdp:lo",
    ];
    let answer = workshop.run(&unknown);
    assert_eq!(answer.status, Some(3), "{answer:?}");
}

fn what_a_section_leaves_open_is_said() {
    let answer = workshop().run(&["run", OBJECT, "--engine", "kernel"]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    assert!(
        answer.stderr.contains("not attached: ") && answer.stderr.contains("to which interface"),
        "{answer:?}"
    );
    assert!(answer.stderr.contains("nothing is attached"), "{answer:?}");
}

fn the_vm_says_which_hooks_it_lacks() {
    let workshop = workshop();
    workshop.put_fixture("packets.bpf.o");
    let arguments = ["run", "packets.bpf.o", "--engine", "vm", "--cgroup", "/"];
    let answer = workshop.run(&arguments);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    let lacks = "the vm has no hook cgroup";
    assert!(answer.stderr.contains(lacks), "{answer:?}");
    let named = ["run", OBJECT, "--engine", "vm", "--attach", "xdp.native:lo"];
    let answer = workshop.run(&named);
    assert_eq!(answer.status, Some(7), "{answer:?}");
}

fn a_link_that_is_not_there_is_not_found() {
    let answer = workshop().run(&["link", "show", "4294967295", "--json"]);
    assert_eq!(answer.status, Some(3), "{answer:?}");
    assert_eq!(answer.last_document()["error"]["code"], "A009");
    let answer = workshop().run(&["link", "detach", "4294967295"]);
    assert_eq!(answer.status, Some(3), "{answer:?}");
}
