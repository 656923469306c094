//! What `feature` says a kernel knows.

use twinbpf_trials::{Case, Need, is_since};

use crate::support::{User, Workshop};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "features::this_kernel_knows_what_came_before_it",
            &[Need::KernelTypes],
            this_kernel_knows_what_came_before_it,
        ),
        Case::new(
            "features::types_of_no_kernel_are_refused",
            &[],
            types_of_no_kernel_are_refused,
        ),
    ]
}

fn this_kernel_knows_what_came_before_it() {
    let workshop = Workshop::new(User::Myself);
    let rows = workshop.run(&["feature", "--json"]).last_document();
    let rows = rows.as_array().unwrap();
    for row in rows {
        let since = row["since"].as_str().unwrap();
        let (major, minor) = since.split_once('.').unwrap();
        let is_old = is_since(major.parse().unwrap(), minor.parse().unwrap());
        assert!(!is_old || row["is_known"] == true, "{row}");
    }
    let of_sort = |sort: &str| rows.iter().filter(|row| row["sort"] == sort).count();
    assert!(of_sort("program") > 30 && of_sort("map") > 30);
    assert_eq!(of_sort("helper"), 211);
    let text = workshop.run(&["feature"]).stdout;
    assert!(text.contains("bpf_map_lookup_elem"), "{text}");
}

fn types_of_no_kernel_are_refused() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("target.bpf.o");
    let answer = workshop.run(&["feature", "--btf", "target.bpf.o"]);
    assert!(answer.stdout.is_empty(), "{answer:?}");
    assert!(answer.stderr.contains("`bpf_prog_type`"), "{answer:?}");
    assert_ne!(answer.status, Some(0));
}
