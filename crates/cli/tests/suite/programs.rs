//! `prog list|show|dump|pin|stats` and `link update`: the fields are bpftool's, and the values too.

use serde_json::Value;
use twinbpf::{Engine, Hook, Link, Loaded, Object, Program, TestInput};
use twinbpf_trials::{Case, Need};

use crate::support::{Answer, User, Workshop, fixture};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "programs::bpftool_says_the_same",
            &[Need::Kernel, Need::KernelTypes, Need::Bpftool],
            bpftool_says_the_same,
        ),
        Case::new(
            "programs::code_is_dumped_with_its_source",
            &[Need::Kernel, Need::KernelTypes],
            code_is_dumped_with_its_source,
        ),
        Case::new(
            "programs::a_pinned_program_is_found_by_its_path",
            &[Need::Kernel, Need::Bpffs],
            a_pinned_program_is_found_by_its_path,
        ),
        Case::new(
            "programs::runs_are_counted_while_asked_for",
            &[Need::Kernel],
            runs_are_counted_while_asked_for,
        ),
        Case::new(
            "programs::a_link_is_given_another_program",
            &[Need::Kernel, Need::Cgroups],
            a_link_is_given_another_program,
        ),
        Case::new(
            "programs::what_programs_print_is_shown_and_nothing_is_left_behind",
            &[Need::Kernel, Need::Tracefs],
            what_programs_print_is_shown_and_nothing_is_left_behind,
        ),
        Case::new(
            "programs::what_is_not_there_is_not_found",
            &[Need::Kernel],
            what_is_not_there_is_not_found,
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

fn id(program: &Program) -> String {
    program.info().unwrap().id.to_string()
}

fn run(arguments: &[&str]) -> Answer {
    Workshop::new(User::Myself).run(arguments)
}

fn bpftool_says_the_same() {
    let loaded = load(&["frames", "devices", "first", "kernel_function", "typed"]);
    let ours = run(&["prog", "list", "--json"]).last_document();
    let output = std::process::Command::new("bpftool")
        .args(["-j", "prog", "show"])
        .output()
        .unwrap();
    let theirs: Value = serde_json::from_slice(&output.stdout).unwrap();
    let find = |list: &Value, id: u32| {
        let mut rows = list.as_array().unwrap().iter();
        rows.find(|row| row["id"] == id).unwrap().clone()
    };
    for program in loaded.programs() {
        let id = program.info().unwrap().id;
        let (ours, theirs) = (find(&ours, id), find(&theirs, id));
        for (name, value) in theirs.as_object().unwrap() {
            match name.as_str() {
                // Who holds a program is not looked for.
                "pids" => {}
                "loaded_at" => {
                    let (ours, theirs) = (ours[name].as_u64(), value.as_u64());
                    let apart = ours.unwrap().abs_diff(theirs.unwrap());
                    assert!(apart <= 1, "{ours:?} {theirs:?}");
                }
                name => assert_eq!(&ours[name], value, "{name} of {theirs}"),
            }
        }
        let shown = run(&["prog", "show", &id.to_string(), "--json"]).last_document();
        assert_eq!(shown["tag"], ours["tag"]);
    }
}

/// Others may print meanwhile: one line must be ours.
fn what_programs_print_is_shown_and_nothing_is_left_behind() {
    let workshop = Workshop::new(User::Myself);
    workshop.put_fixture("globals_print.bpf.o");
    let script = "./twinbpf prog log --json --for 20 >log.txt 2>talk.txt & \
        log=$!; until grep -q listening talk.txt; do sleep 0.05; done; \
        ./twinbpf prog run globals_print.bpf.o --engine kernel --data $(printf '%0120d' 0) >run.txt; \
        until grep -q 'of socket' log.txt; do sleep 0.05; done; \
        kill -INT $log; wait $log; echo $? $log >end.txt; ls -d /sys/kernel/*/instances/twinbpf-$log-* \
        /sys/kernel/debug/tracing/instances/twinbpf-$log-* >left.txt 2>/dev/null";
    let status = workshop
        .as_user("/bin/sh".as_ref())
        .args(["-c", script])
        .status();
    status.unwrap();
    let text = |name| std::fs::read_to_string(workshop.path(name)).unwrap();
    let lines = text("log.txt");
    let ours = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .find(|print| print["text"] == "len 46 of socket")
        .unwrap();
    assert!(
        ours["pid"].as_u64().unwrap() > 0 && ours["task"] == "twinbpf",
        "{ours}"
    );
    assert!(text("end.txt").starts_with("0 "), "{}", text("end.txt"));
    assert_eq!(text("left.txt"), "");
}

fn code_is_dumped_with_its_source() {
    let loaded = load(&["first"]);
    let id = id(loaded.program("first").unwrap());
    let xlated = run(&["prog", "dump", "xlated", &id, "--json"]).last_document();
    assert_eq!(xlated[0]["name"], "first", "{xlated}");
    let rows = xlated[0]["rows"].as_array().unwrap();
    assert_eq!(rows.last().unwrap()["text"], "(95) exit");
    let sources = rows.iter().filter_map(|row| row["source"]["text"].as_str());
    let wanted = "sequence = sequence * 10 + 1;";
    assert!(sources.into_iter().any(|text| text == wanted), "{xlated}");

    let answer = run(&["prog", "dump", "jited", &id, "--json"]);
    if answer.status == Some(7) {
        assert!(answer.stdout.contains("P003"), "{answer:?}");
        return;
    }
    let jited = answer.last_document();
    let length: usize = jited
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|function| function["rows"].as_array().unwrap())
        .map(|row| row["bytes"].as_str().unwrap().len() / 2)
        .sum();
    let info = loaded.program("first").unwrap().info().unwrap();
    assert_eq!(length, usize::try_from(info.machine_code_bytes).unwrap());
    let text = run(&["prog", "dump", "jited", &id]).stdout;
    assert!(text.contains("sequence * 10 + 1"), "{text}");
    // KERNEL: 6.18 ends every program so.
    assert!(
        text.contains("ret") || !cfg!(target_arch = "x86_64"),
        "{text}"
    );
}

fn a_pinned_program_is_found_by_its_path() {
    let loaded = load(&["frames"]);
    let folder = format!("/sys/fs/bpf/twinbpf-programs-{}", std::process::id());
    let path = format!("{folder}/frames");
    let id = id(loaded.program("frames").unwrap());
    let answer = run(&["prog", "pin", &id, &path]);
    assert_eq!(answer.status, Some(0), "{answer:?}");
    drop(loaded);
    let shown = run(&["prog", "show", &path, "--json"]).last_document();
    assert_eq!(shown["id"].to_string(), id);
    std::fs::remove_dir_all(&folder).unwrap();
    let answer = run(&["prog", "show", &path]);
    assert_eq!(answer.status, Some(3), "{answer:?}");
}

fn runs_are_counted_while_asked_for() {
    let loaded = load(&["frames"]);
    let program = loaded.program("frames").unwrap().clone();
    let id = id(&program);
    let (end, wait) = std::sync::mpsc::channel::<()>();
    let runner = std::thread::spawn(move || {
        while wait.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            let input = TestInput {
                data: &[0; 64],
                ..TestInput::default()
            };
            program.test_run(&input).unwrap();
        }
    });
    let counted = run(&["prog", "stats", "0.2", "--json"]).last_document();
    drop(end);
    runner.join().unwrap();
    let rows = counted.as_array().unwrap();
    let number: u32 = id.parse().unwrap();
    let row = rows.iter().find(|row| row["id"] == number);
    let row = row.unwrap();
    assert!(row["run_cnt"].as_u64().unwrap() > 0, "{row}");
    assert_eq!(row["name"], "frames");
}

fn a_link_is_given_another_program() {
    let loaded = load(&["devices"]);
    let others = load(&["devices"]);
    let root = twinbpf_trials::cgroup_root().unwrap();
    let cgroup = root.join(format!("twinbpf-update-{}", std::process::id()));
    std::fs::create_dir(&cgroup).unwrap();
    let (old, new) = (
        loaded.program("devices").unwrap(),
        others.program("devices").unwrap(),
    );
    let link = old.attach(&Hook::cgroup(&cgroup)).unwrap();
    let number = link.info().unwrap().id.to_string();
    let (old, new) = (id(old), id(new));
    let wrong = run(&["link", "update", &number, &new, "--expect", &new]);
    assert_eq!(wrong.status, Some(1), "{wrong:?}");
    let done = run(&["link", "update", &number, &new, "--expect", &old]);
    assert_eq!(done.status, Some(0), "{done:?}");
    assert_eq!(link.info().unwrap().program.to_string(), new);
    let by_number = Link::by_id(number.parse().unwrap()).unwrap().unwrap();
    by_number.detach().unwrap();
    std::fs::remove_dir(&cgroup).unwrap();
}

fn what_is_not_there_is_not_found() {
    for program in [
        "4294967295",
        "no_such_program_at_all",
        "/sys/fs/bpf/no/such",
    ] {
        let answer = run(&["prog", "show", program, "--json"]);
        assert_eq!(answer.status, Some(3), "{answer:?}");
        assert_eq!(answer.last_document()["error"]["code"], "P004", "{program}");
    }
}
