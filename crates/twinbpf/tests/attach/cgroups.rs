//! What processes of a cgroup do.

use twinbpf::hook::{Cgroup, Hook, Order, Position};
use twinbpf::{AttachKind, Code, ErrorKind, LinkPlace};
use twinbpf_trials::{Case, Need};

use crate::places::{OwnCgroup, in_own_network, load, value};

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let cases: [(&str, fn()); 4] = [
        (
            "every_family_sees_what_the_process_does",
            every_family_sees_what_the_process_does,
        ),
        ("a_link_knows_its_cgroup", a_link_knows_its_cgroup),
        (
            "a_folder_that_is_no_cgroup_is_refused",
            a_folder_that_is_no_cgroup_is_refused,
        ),
        (
            "a_program_can_go_before_the_others",
            a_program_can_go_before_the_others,
        ),
    ];
    let case = |(name, body): (&str, fn())| {
        let mut needs = vec![Need::Kernel, Need::Network, Need::Cgroups];
        if name == "a_program_can_go_before_the_others" {
            needs.push(Need::Since(6, 17));
        }
        Case::new(&format!("cgroups::{name}"), &needs, move || {
            in_own_network(body);
        })
    };
    cases.into_iter().map(case).collect()
}

fn every_family_sees_what_the_process_does() {
    let families = [
        ("egress", "egress_runs"),
        ("sockets", "socket_runs"),
        ("connections", "connect_runs"),
        ("binds", "bind_runs"),
        ("options", "option_runs"),
        ("settings", "setting_runs"),
        ("devices", "device_runs"),
        ("operations", "operation_runs"),
    ];
    let loaded = load(&families.map(|(program, _)| program));
    let cgroup = OwnCgroup::new("families");
    let links = loaded.attacher().cgroup(cgroup.path()).attach().unwrap();
    assert_eq!(links.len(), families.len());
    cgroup.act();
    let runs = families.map(|(program, counter)| (program, value::<u64>(&loaded, counter)));
    assert!(runs.iter().all(|(_, runs)| *runs > 0), "{runs:?}");

    links.into_iter().for_each(|link| link.detach().unwrap());
    cgroup.act();
    let later = families.map(|(program, counter)| (program, value::<u64>(&loaded, counter)));
    assert_eq!(later, runs);
}

fn a_link_knows_its_cgroup() {
    use std::os::unix::fs::MetadataExt;
    let loaded = load(&["devices"]);
    let cgroup = OwnCgroup::new("info");
    let hook = Hook::cgroup(cgroup.path());
    let link = loaded.program("devices").unwrap().attach(&hook).unwrap();
    let expected = LinkPlace::Cgroup {
        cgroup: std::fs::metadata(cgroup.path()).unwrap().ino(),
        attach: AttachKind::from_kernel_name("CGROUP_DEVICE").unwrap(),
    };
    assert_eq!(link.info().unwrap().place, expected);
}

fn a_folder_that_is_no_cgroup_is_refused() {
    let loaded = load(&["devices", "egress"]);
    let devices = loaded.program("devices").unwrap();
    let error = devices.attach(&Hook::cgroup("/tmp")).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET);
    assert!(error.diagnosis().help[0].contains("mounted at"), "{error}");
    let error = devices.attach(&Hook::cgroup("/no/such")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);

    let cgroup = OwnCgroup::new("wrong");
    let elsewhere = Hook::Cgroup(Cgroup {
        path: cgroup.path().to_owned(),
        attach: AttachKind::from_kernel_name("CGROUP_INET_INGRESS"),
        order: Order::default(),
    });
    let error = devices.attach(&elsewhere).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH, "{error}");
    assert!(error.to_string().contains("inet_ingress"), "{error}");
}

fn a_program_can_go_before_the_others() {
    let loaded = load(&["egress"]);
    let cgroup = OwnCgroup::new("order");
    let egress = loaded.program("egress").unwrap();
    let _last = egress.attach(&Hook::cgroup(cgroup.path())).unwrap();
    let first = Hook::Cgroup(Cgroup {
        path: cgroup.path().to_owned(),
        attach: None,
        order: Order {
            position: Position::First,
            expected_revision: None,
        },
    });
    // The same program a second time: links may, and each of them counts.
    let _first = load(&["egress"])
        .program("egress")
        .unwrap()
        .attach(&first)
        .unwrap();
    cgroup.act();
    assert!(value::<u64>(&loaded, "egress_runs") > 0);
}
