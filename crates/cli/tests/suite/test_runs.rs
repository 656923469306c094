//! What `prog run` prints, from both engines.

use serde_json::{Value, json};
use twinbpf_trials::{Case, Need};

use crate::support::{Answer, User, Workshop};

/// An Ethernet frame of nobody in particular, and one that is too short.
const PACKETS: &str =
    "# name, then bytes\nzeros 0000000000000000000000000000000000000000\nshort 00\n";

/// A kernel that nobody built.
const CONFIG: &[u8] = b"CONFIG_BPF_SYSCALL=y\nCONFIG_BPF=m\nCONFIG_NET=m\nCONFIG_HZ=100\nCONFIG_PHYSICAL_START=0x1000\n\
    CONFIG_LOG_BUF_SHIFT=9\nCONFIG_DEFAULT_HOSTNAME=\"(none)\"\nCONFIG_LSM=\"bpf\"\n";

pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, needs: &[Need], body: fn()| {
        Case::new(&format!("prog_run::{name}"), needs, body)
    };
    vec![
        case("the_vm_runs_packets_in_order", &[], || {
            runs_packets_in_order("vm")
        }),
        case("the_kernel_says_the_same", &[Need::Kernel], || {
            runs_packets_in_order("kernel")
        }),
        case("an_unknown_program_is_not_found", &[], || {
            let answer = prog_run("several.bpf.o:nobody", "vm");
            assert_eq!(answer.status, Some(3), "{answer:?}");
        }),
        case("a_packet_and_a_context_can_be_arguments", &[], || {
            let workshop = Workshop::new(User::Myself);
            workshop.put_fixture("several.bpf.o");
            let packet = "00".repeat(20);
            let arguments = ["prog", "run", "several.bpf.o:first", "--data", &packet];
            let choices = ["--type", "socket_filter", "--json", "--engine", "vm"];
            let answer = workshop.run(&[&arguments[..], &choices[..]].concat());
            assert_eq!(answer.status, Some(0), "{answer:?}");
            let document = answer.last_document();
            assert_eq!(document["programs"][0]["runs"][0]["len"], json!(20));
            let context = [&choices[..], &["--ctx", "0g"]].concat();
            let answer = workshop.run(&[&arguments[..], &context[..]].concat());
            assert_eq!(answer.status, Some(2), "{answer:?}");
        }),
        case("options_of_the_kernel_can_be_given", &[], || {
            let workshop = Workshop::new(User::Myself);
            workshop.put_fixture("kconfig.bpf.o");
            workshop.put("config", CONFIG);
            let packet = "00".repeat(14);
            let arguments = ["prog", "run", "kconfig.bpf.o:reads", "--data", &packet];
            let one = "CONFIG_HZ=777";
            let choices = ["--json", "--kconfig", "config", "--kconfig", one];
            let answer = workshop.run(&[&arguments[..], &choices[..]].concat());
            assert_eq!(answer.status, Some(0), "{answer:?}");
            let maps = answer.last_document()["programs"][0]["maps"].to_string();
            // CONFIG_BPF_SYSCALL, CONFIG_BPF, CONFIG_NET, CONFIG_HZ, CONFIG_PHYSICAL_START as eight bytes each.
            let seen = ["01", "02", "6d", "0903", "001000"].map(|start| format!("{start:0<16}"));
            assert!(maps.contains(&seen.concat()), "{maps}");
            let wrong = ["--kconfig", "HZ=100"];
            let answer = workshop.run(&[&arguments[..], &wrong[..]].concat());
            assert_eq!(answer.status, Some(2), "{answer:?}");
        }),
        case("hex_that_is_none_is_misuse", &[], || {
            let workshop = Workshop::new(User::Myself);
            workshop.put_fixture("several.bpf.o");
            let answer = workshop.run(&["prog", "run", "several.bpf.o", "--data", "0g"]);
            assert_eq!(answer.status, Some(2), "{answer:?}");
        }),
    ]
}

fn prog_run(object: &str, engine: &str) -> Answer {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("several.bpf.o");
    workshop.put("packets", PACKETS.as_bytes());
    let arguments = ["prog", "run", object, "--packets", "packets", "--json"];
    let choices = ["--engine", engine, "--type", "socket_filter"];
    workshop.run(&[&arguments[..], &choices[..]].concat())
}

fn runs_packets_in_order(engine: &str) {
    let answer = prog_run("several.bpf.o:first", engine);
    assert_eq!(answer.status, Some(2), "a run was refused: {answer:?}");
    let document = answer.last_document();
    let program = &document["programs"][0];
    assert_eq!(program["program"], "first");
    let runs = program["runs"].as_array().unwrap();
    let names: Vec<&Value> = runs.iter().map(|run| &run["packet"]).collect();
    assert_eq!(names, ["zeros", "short"]);
    assert_eq!(runs[0]["same"], json!(true));
    assert_eq!(runs[0]["len"], json!(20));
    assert_eq!(runs[1]["error"]["code"], "R006");
    assert_eq!(runs[1]["error"]["errno"]["name"], "EINVAL", "{document}");
}
