//! `net`, `cgroup tree` and `perf list` show what is attached, as bpftool does.

use serde_json::Value;
use twinbpf::{Engine, Hook, Loaded, Object};
use twinbpf_trials::{Case, Need};

use crate::support::{User, Workshop, fixture};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "attached::net_agrees_with_bpftool",
            &[Need::Kernel, Need::Network, Need::Bpftool, Need::Linux618],
            net_agrees_with_bpftool,
        ),
        Case::new(
            "attached::cgroups_agree_with_bpftool",
            &[Need::Kernel, Need::Cgroups, Need::Bpftool],
            cgroups_agree_with_bpftool,
        ),
        Case::new(
            "attached::events_agree_with_bpftool",
            &[Need::Kernel, Need::KernelTypes, Need::Bpftool],
            events_agree_with_bpftool,
        ),
    ]
}

fn load(programs: &[&str]) -> Loaded {
    let mut object = Object::parse(&fixture("attach.bpf.o")).unwrap();
    for program in &mut object.programs {
        program.autoload = programs.contains(&program.name.as_str());
    }
    Engine::kernel().unwrap().load_object(&object).unwrap()
}

fn bpftool(arguments: &[&str]) -> Value {
    let mut command = std::process::Command::new("bpftool");
    let output = command.arg("-j").args(arguments).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Every field of every row of theirs is in one of ours.
fn each_is_there(theirs: &Value, ours: &Value, unseen: &[&str]) {
    for row in theirs.as_array().unwrap() {
        let fields = row.as_object().unwrap();
        let agrees = |mine: &Value| {
            fields
                .iter()
                .filter(|(name, _)| !unseen.contains(&name.as_str()))
                .all(|(name, value)| mine.get(name) == Some(value))
        };
        let found = ours.as_array().is_some_and(|mine| mine.iter().any(agrees));
        assert!(found, "{row} is not in {ours}");
    }
}

/// In a network of its own: attaches at three places, and asks both tools.
const SCRIPT: &str = "set -e
ip link set lo up
./twinbpf run both_ways.bpf.o --engine kernel --attach in=xdp.generic:lo --attach tc.egress:lo \
    --attach clsact.ingress:lo >run.txt 2>&1 &
child=$!
tries=0
until tc filter show dev lo ingress | grep -q twinbpf:; do
    tries=$((tries + 1)); test $tries -lt 400; sleep 0.05
done
./twinbpf net --json >ours.json
./twinbpf net >ours.txt
bpftool -j net >theirs.json
kill $child
wait $child || true
./twinbpf net --json >later.json
";

fn net_agrees_with_bpftool() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("both_ways.bpf.o");
    let output = workshop
        .as_user("/usr/bin/unshare".as_ref())
        .args(["--net", "sh", "-c", SCRIPT])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = |name: &str| std::fs::read_to_string(workshop.path(name)).unwrap();
    let document = |name: &str| -> Value { serde_json::from_str(&text(name)).unwrap() };
    let (ours, theirs) = (document("ours.json"), document("theirs.json"));
    for sort in ["xdp", "tc", "flow_dissector"] {
        each_is_there(&theirs[0][sort], &ours[0][sort], &[]);
    }
    assert_eq!(ours[0]["xdp"][0]["mode"], "generic", "{ours}");
    let kinds: Vec<&Value> = ours[0]["tc"].as_array().unwrap().iter().collect();
    let kinds: Vec<&str> = kinds
        .iter()
        .map(|row| row["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["tcx/egress", "clsact/ingress"], "{ours}");
    assert!(text("ours.txt").contains("clsact/ingress"));
    let later = document("later.json");
    assert_eq!(later[0]["xdp"], Value::Array(Vec::new()), "{later}");
    assert_eq!(later[0]["tc"], Value::Array(Vec::new()), "{later}");
}

fn cgroups_agree_with_bpftool() {
    let loaded = load(&["devices", "egress"]);
    let root = twinbpf_trials::cgroup_root().unwrap();
    let cgroup = root.join(format!("twinbpf-tree-{}", std::process::id()));
    let below = cgroup.join("below");
    std::fs::create_dir_all(&below).unwrap();
    let attach = |program: &str, folder| {
        let program = loaded.program(program).unwrap();
        program.attach(&Hook::cgroup(folder)).unwrap()
    };
    let links = [
        attach("devices", cgroup.as_path()),
        attach("egress", &below),
    ];
    let path = cgroup.to_str().unwrap();
    let workshop = Workshop::new(User::Myself);
    let ours = workshop
        .run(&["cgroup", "tree", path, "--json"])
        .last_document();
    let theirs = bpftool(&["cgroup", "tree", path]);
    let shown = workshop.run(&["cgroup", "tree", path]).stdout;
    links.into_iter().for_each(|link| link.detach().unwrap());
    std::fs::remove_dir(&below).unwrap();
    std::fs::remove_dir(&cgroup).unwrap();

    assert_eq!(ours.as_array().unwrap().len(), 2, "{ours}");
    assert_eq!(ours[1]["programs"][0]["attach_type"], "cgroup_inet_egress");
    for folder in theirs.as_array().unwrap() {
        let mut rows = ours.as_array().unwrap().iter();
        let same = rows.find(|row| row["cgroup"] == folder["cgroup"]);
        // The name of a security hook is not looked up.
        let unseen = ["attach_btf_name"];
        each_is_there(&folder["programs"], &same.unwrap()["programs"], &unseen);
    }
    assert!(shown.contains("cgroup_device"), "{shown}");
}

fn events_agree_with_bpftool() {
    let loaded = load(&["raw", "user_function"]);
    let links = loaded.attacher().attach().unwrap();
    let workshop = Workshop::new(User::Myself);
    let ours = workshop.run(&["perf", "list", "--json"]).last_document();
    let theirs = bpftool(&["perf"]);
    let raw = loaded.program("raw").unwrap().info().unwrap().id;
    let theirs = theirs.as_array().unwrap().iter();
    let own: Vec<Value> = theirs
        .filter(|row| row["prog_id"] == raw)
        .cloned()
        .collect();
    assert_eq!(own.len(), 1);
    // Which process has it as which descriptor is not looked for.
    each_is_there(&Value::Array(own), &ours, &["pid", "fd"]);
    let probe = links[1].info().unwrap().id;
    let rows = ours.as_array().unwrap();
    let row = rows.iter().find(|row| row["link_id"] == probe).unwrap();
    assert_eq!(row["fd_type"], "uprobe", "{row}");
}
