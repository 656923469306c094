//! What `doctor` finds.

use serde_json::Value;
use twinbpf_trials::{Case, Need};

use crate::support::{Answer, User, Workshop};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new("doctor::root_can_load", &[Need::Kernel], root_can_load),
        Case::new(
            "doctor::an_ordinary_user_is_told_what_is_missing_and_what_works",
            &[Need::ClosedBpf],
            an_ordinary_user_is_told_what_is_missing_and_what_works,
        ),
    ]
}

fn state<'a>(document: &'a Value, check: &str) -> &'a str {
    let findings = document["findings"].as_array().unwrap();
    let found = findings.iter().find(|each| each["check"] == check);
    found.unwrap_or_else(|| panic!("{check:?}: {document}"))["state"]
        .as_str()
        .unwrap()
}

fn doctor(user: User, flags: &[&str]) -> Answer {
    Workshop::new(user).run(&[&["doctor"], flags].concat())
}

fn root_can_load() {
    let document = doctor(User::Myself, &["--json"]).last_document();
    for engine in ["kernel engine", "vm engine"] {
        for what in ["creating a map", "loading a program"] {
            assert_eq!(state(&document, &format!("{engine}, {what}")), "ok");
        }
    }
    let text = doctor(User::Myself, &[]).stdout;
    assert!(
        text.contains("ok    kernel engine, creating a map: works\n"),
        "{text}"
    );
}

fn an_ordinary_user_is_told_what_is_missing_and_what_works() {
    let answer = doctor(User::Ordinary, &["--json"]);
    assert_eq!(answer.status, Some(1), "{answer:?}");
    let document = answer.last_document();
    assert_eq!(document["ok"], false);
    assert_eq!(state(&document, "CAP_BPF"), "bad");
    assert_eq!(state(&document, "CAP_NET_ADMIN"), "warn");
    assert_eq!(state(&document, "kernel engine, creating a map"), "bad");
    assert_eq!(state(&document, "vm engine, loading a program"), "ok");
    let answer = doctor(User::Ordinary, &[]);
    for part in [
        "BAD   CAP_BPF: missing\n",
        "\n        mend: sudo setcap cap_bpf,cap_perfmon,cap_net_admin,cap_net_raw+ep ",
    ] {
        assert!(answer.stdout.contains(part), "{part:?}: {answer:?}");
    }
}
