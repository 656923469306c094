//! What a killed process leaves behind, and that `cleanup` removes that and nothing else.

use serde_json::Value;
use twinbpf::{Engine, Hook, LinkPlace, Object};
use twinbpf_trials::{Case, Need};

use crate::support::{User, Workshop, fixture};

const OBJECT: &str = "both_ways.bpf.o";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "cleanup::what_a_killed_process_left_is_removed_and_the_rest_stays",
            &[Need::Kernel, Need::Network, Need::Cgroups],
            what_a_killed_process_left_is_removed_and_the_rest_stays,
        ),
        Case::new(
            "cleanup::a_discipline_made_for_a_filter_goes_with_it",
            &[Need::Kernel, Need::Network],
            a_discipline_made_for_a_filter_goes_with_it,
        ),
        Case::new(
            "cleanup::the_route_of_a_killed_process_goes_and_others_stay",
            &[Need::Kernel, Need::Network],
            the_route_of_a_killed_process_goes_and_others_stay,
        ),
    ]
}

/// In a network of its own: attaches XDP and a filter, kills the process, cleans up, and notes what is there in between.
const SCRIPT: &str = "set -e
ip link set lo up
eval \"$BEFORE\"
./twinbpf run both_ways.bpf.o --engine kernel --attach in=xdp.generic:lo --attach clsact.egress:lo >run.txt 2>&1 &
child=$!
tries=0
until tc filter show dev lo egress | grep -q twinbpf:; do
    tries=$((tries + 1)); test $tries -lt 400; sleep 0.05
done
./twinbpf cleanup --json >alive.json
kill -9 $child
wait $child || true
tries=0
while ip link show dev lo | grep -q xdp; do
    tries=$((tries + 1)); test $tries -lt 400; sleep 0.05
done
tc filter show dev lo egress >left.txt
./twinbpf cleanup --dry-run --json >dry.json
./twinbpf cleanup --json >done.json
./twinbpf cleanup --json >again.json
tc filter show dev lo egress >after.txt
tc filter show dev lo ingress >others.txt
tc qdisc show dev lo >discipline.txt
";

fn workshop(before: &str) -> Workshop {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture(OBJECT);
    let output = workshop
        .as_user("/usr/bin/unshare".as_ref())
        .args(["--net", "sh", "-c", SCRIPT])
        .env("BEFORE", before)
        .output()
        .unwrap();
    let run = std::fs::read_to_string(workshop.path("run.txt")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{run}");
    workshop
}

fn text(workshop: &Workshop, name: &str) -> String {
    std::fs::read_to_string(workshop.path(name)).unwrap()
}

fn rows(workshop: &Workshop, name: &str) -> Vec<Value> {
    serde_json::from_str(&text(workshop, name)).unwrap()
}

fn what_a_killed_process_left_is_removed_and_the_rest_stays() {
    // Somebody's program at a cgroup.
    let object = Object::parse(&fixture("attach.bpf.o")).unwrap();
    let mut object = object;
    for program in &mut object.programs {
        program.autoload = program.name == "devices";
    }
    let loaded = Engine::kernel().unwrap().load_object(&object).unwrap();
    let root = twinbpf_trials::cgroup_root().unwrap();
    let cgroup = root.join(format!("twinbpf-cleanup-{}", std::process::id()));
    std::fs::create_dir(&cgroup).unwrap();
    let devices = loaded.program("devices").unwrap();
    let foreign = devices.attach(&Hook::cgroup(&cgroup)).unwrap();

    let workshop = workshop(
        "tc qdisc add dev lo clsact && \
         tc filter add dev lo ingress protocol ip u32 match u32 0 0 flowid 1:1",
    );
    assert!(rows(&workshop, "alive.json").is_empty());
    assert!(text(&workshop, "left.txt").contains("twinbpf:"));
    let removed = rows(&workshop, "done.json");
    assert_eq!(removed, rows(&workshop, "dry.json"));
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0]["kind"], "clsact/egress");
    assert_eq!(removed[0]["devname"], "lo");
    assert!(rows(&workshop, "again.json").is_empty());
    assert!(!text(&workshop, "after.txt").contains("twinbpf:"));
    assert!(text(&workshop, "others.txt").contains("u32"));
    assert!(text(&workshop, "discipline.txt").contains("clsact"));

    let place = foreign.info().unwrap().place;
    assert!(
        matches!(place, LinkPlace::Cgroup { cgroup, .. } if cgroup != 0),
        "{place:?}"
    );
    foreign.detach().unwrap();
    std::fs::remove_dir(&cgroup).unwrap();
}

fn a_discipline_made_for_a_filter_goes_with_it() {
    let workshop = workshop("true");
    assert!(rows(&workshop, "alive.json").is_empty());
    assert_eq!(rows(&workshop, "done.json").len(), 1);
    assert!(!text(&workshop, "discipline.txt").contains("clsact"));
}

/// As above, with a route; somebody else's goes the same way.
const ROUTE_SCRIPT: &str = "set -e
ip link set lo up
ip route add 10.78.0.0/16 dev lo
./twinbpf run sockets.bpf.o --engine kernel --attach leaving=route.out:lo:10.77.0.0/16 >run.txt 2>&1 &
child=$!
tries=0
until ip route | grep -q 10.77.0.0; do
    tries=$((tries + 1)); test $tries -lt 400; sleep 0.05
done
./twinbpf cleanup --json >alive.json
kill -9 $child
wait $child || true
ip route >left.txt
./twinbpf cleanup --json >done.json
ip route >after.txt
";

fn the_route_of_a_killed_process_goes_and_others_stay() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("sockets.bpf.o");
    let output = workshop
        .as_user("/usr/bin/unshare".as_ref())
        .args(["--net", "sh", "-c", ROUTE_SCRIPT])
        .output()
        .unwrap();
    let run = std::fs::read_to_string(workshop.path("run.txt")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{run}");
    assert!(rows(&workshop, "alive.json").is_empty());
    assert!(text(&workshop, "left.txt").contains("10.77.0.0"));
    let removed = rows(&workshop, "done.json");
    assert_eq!(removed.len(), 1);
    assert_eq!(removed[0]["kind"], "route/out");
    assert_eq!(removed[0]["dst"], "10.77.0.0/16");
    let after = text(&workshop, "after.txt");
    assert!(
        !after.contains("10.77.0.0") && after.contains("10.78.0.0"),
        "{after}"
    );
}
