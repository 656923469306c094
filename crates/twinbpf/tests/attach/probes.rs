//! Many places of code in one link, and probes that an author left in a program: built here, watched, and told to work.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use twinbpf::hook::{CodePlaces, Hook, Moment, Names, UprobeMulti, Usdt};
use twinbpf::{Code, Engine, LinkPlace, Loaded, Object};
use twinbpf_trials::{Case, Need, watched};

use crate::places::value;

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    let case = |name: &str, needs: &[Need], body: fn()| {
        let mut all = vec![Need::Kernel, Need::KernelTypes];
        all.extend(needs);
        Case::new(&format!("probes::{name}"), &all, body)
    };
    vec![
        case(
            "every_form_of_argument_is_read",
            &[Need::WatchedProgram, Need::Since(5, 15)],
            every_form_of_argument_is_read,
        ),
        case(
            "a_probe_at_several_places_is_one_link",
            &[Need::WatchedProgram, Need::Since(5, 15)],
            a_probe_at_several_places_is_one_link,
        ),
        case(
            "a_guarded_probe_counts_its_watchers",
            &[Need::WatchedProgram, Need::Since(5, 15)],
            a_guarded_probe_counts_its_watchers,
        ),
        case(
            "attaching_again_takes_no_more_entries",
            &[Need::WatchedProgram, Need::Since(5, 15)],
            attaching_again_takes_no_more_entries,
        ),
        case(
            "a_probe_that_is_not_there_has_a_neighbour",
            &[Need::WatchedProgram, Need::Since(5, 15)],
            a_probe_that_is_not_there_has_a_neighbour,
        ),
        case(
            "many_functions_of_a_program_are_one_link",
            &[Need::WatchedProgram, Need::Since(6, 6)],
            many_functions_of_a_program_are_one_link,
        ),
        case(
            "a_session_sees_entry_and_return",
            &[Need::WatchedProgram, Need::Since(6, 13)],
            a_session_sees_entry_and_return,
        ),
        case(
            "a_system_call_is_probed_by_its_section",
            &[Need::Kprobes],
            a_system_call_is_probed_by_its_section,
        ),
        case(
            "functions_of_the_kernel_are_probed_by_a_pattern",
            &[Need::Kprobes, Need::ManyKprobes, Need::FunctionTracing],
            functions_of_the_kernel_are_probed_by_a_pattern,
        ),
    ]
}

/// The program to be watched, built in a folder of its own.
struct Watched {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Watched {
    fn build(form: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = watched::build(form, folder.path()).unwrap();
        Self {
            _folder: folder,
            path,
        }
    }

    fn start(&self) -> Running {
        let mut process = Command::new(&self.path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Running { process, answers }
    }
}

/// The program while it runs.
struct Running {
    process: Child,
    answers: BufReader<ChildStdout>,
}

impl Running {
    /// Has it work once; how many watch its probes, as it sees it.
    fn work(&mut self) -> u32 {
        let stdin = self.process.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").unwrap();
        stdin.flush().unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.split(' ').next().unwrap().parse().unwrap()
    }

    /// Has it work and end, so that everything it does has been done.
    fn work_and_end(mut self) {
        self.work();
        self.end();
    }

    fn end(mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().unwrap().success());
    }
}

fn load(program: &str) -> Loaded {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    let bytes = fs::read(folder.join("probes.bpf.o")).unwrap();
    let mut object = Object::parse(&bytes).unwrap();
    for each in &mut object.programs {
        each.autoload = each.name == program;
    }
    object
        .set_variable("process", &std::process::id().to_ne_bytes())
        .unwrap();
    Engine::kernel().unwrap().load_object(&object).unwrap()
}

fn every_form_of_argument_is_read() {
    for form in ["moving", "fixed"] {
        let watched = Watched::build(form);
        let loaded = load("probe");
        let hook = Hook::Usdt(Usdt {
            cookie: 77,
            path: watched.path.clone(),
            provider: "twinbpf".to_owned(),
            name: "forms".to_owned(),
            pid: None,
        });
        let link = loaded.program("probe").unwrap().attach(&hook).unwrap();
        watched.start().work_and_end();
        drop(link);
        assert_eq!(value::<u64>(&loaded, "probe_runs"), 1, "{form}");
        assert_eq!(value::<u64>(&loaded, "probe_cookie"), 77);
        assert_eq!(value::<u64>(&loaded, "probe_count"), 8);
        let arguments = value::<[i64; 12]>(&loaded, "arguments");
        assert_eq!(
            arguments[..8],
            [-7, 22, 33, -5, 249, 65529, 11, 44],
            "{form}"
        );
    }
}

fn a_probe_at_several_places_is_one_link() {
    for form in ["moving", "fixed", "unoptimised", "stripped"] {
        let watched = Watched::build(form);
        let loaded = load("probe");
        let mut running = watched.start();
        let mut other = watched.start();
        let hook = format!(
            "usdt:{}:twinbpf:numbers@pid={}",
            watched.path.display(),
            running.process.id()
        );
        let program = loaded.program("probe").unwrap();
        let link = program.attach(&hook.parse().unwrap()).unwrap();
        other.work();
        assert_eq!(value::<u64>(&loaded, "probe_runs"), 0, "{form}");
        running.work();
        assert_eq!(value::<u64>(&loaded, "probe_runs"), 3, "{form}");
        assert_eq!(value::<u64>(&loaded, "probe_count"), 3);
        assert_eq!(value::<u64>(&loaded, "first_arguments"), 1 + 20 + 33);
        let arguments = value::<[i64; 12]>(&loaded, "arguments");
        assert_eq!(arguments[..3], [33, 3, 1]);
        assert!(link.info().is_ok());
        drop(link);
        running.work_and_end();
        other.end();
        assert_eq!(value::<u64>(&loaded, "probe_runs"), 3, "{form}");
    }
}

fn a_guarded_probe_counts_its_watchers() {
    for form in ["guarded-moving", "guarded-fixed"] {
        let watched = Watched::build(form);
        let loaded = load("probe");
        let mut running = watched.start();
        assert_eq!(running.work(), 0);
        let hook = Hook::usdt(&watched.path, "twinbpf", "numbers");
        let link = loaded.program("probe").unwrap().attach(&hook).unwrap();
        // One counter serves all three places.
        assert_eq!(running.work(), 3, "{form}");
        assert_eq!(value::<u64>(&loaded, "probe_runs"), 3, "{form}");
        drop(link);
        assert_eq!(running.work(), 0, "{form}");
        running.end();
    }
}

fn attaching_again_takes_no_more_entries() {
    let watched = Watched::build("plain");
    let loaded = load("probe");
    let program = loaded.program("probe").unwrap();
    // The map has 8 entries, three places take three, and one is kept for places without arguments.
    for _ in 0..5 {
        let hook = Hook::usdt(&watched.path, "twinbpf", "numbers");
        drop(program.attach(&hook).unwrap());
    }
    let bare = Hook::usdt(&watched.path, "twinbpf", "bare");
    let link = program.attach(&bare).unwrap();
    watched.start().work_and_end();
    assert_eq!(value::<u64>(&loaded, "probe_runs"), 1);
    assert_eq!(value::<u64>(&loaded, "probe_count"), 0);
    drop(link);
    let with = |cookie| {
        Hook::Usdt(Usdt {
            cookie,
            path: watched.path.clone(),
            provider: "twinbpf".to_owned(),
            name: "numbers".to_owned(),
            pid: None,
        })
    };
    drop(program.attach(&with(1)).unwrap());
    let full = program.attach(&with(2)).unwrap_err();
    assert_eq!(full.diagnosis().code, Code::ATTACH, "{full}");
    assert!(full.to_string().contains("8 entries"), "{full}");
}

fn a_probe_that_is_not_there_has_a_neighbour() {
    let watched = Watched::build("plain");
    let loaded = load("probe");
    let program = loaded.program("probe").unwrap();
    let error = program
        .attach(&Hook::usdt(&watched.path, "twinbpf", "number"))
        .unwrap_err();
    assert_eq!(error.diagnosis().code, Code::ATTACH_TARGET, "{error}");
    assert_eq!(error.diagnosis().help, ["did you mean `twinbpf:numbers`?"]);
    let error = program
        .attach(&Hook::usdt(&watched.path, "python", "function__entry"))
        .unwrap_err();
    let known = &error.diagnosis().facts[0].value;
    assert!(known.contains("twinbpf:forms"), "{known}");
}

fn many_functions_of_a_program_are_one_link() {
    let watched = Watched::build("plain");
    let loaded = load("many");
    let many = loaded.program("many").unwrap();
    let link = many
        .attach(&Hook::uprobe_multi(&watched.path, "alpha_*"))
        .unwrap();
    watched.start().work_and_end();
    assert_eq!(value::<u64>(&loaded, "many_runs"), 2);
    let place = link.info().unwrap().place;
    let LinkPlace::UprobeMulti { path, count, .. } = &place else {
        unreachable!("{place:?}");
    };
    assert!(*path == watched.path && *count == 2, "{place:?}");
    drop(link);
    let named = UprobeMulti {
        path: watched.path.clone(),
        places: CodePlaces::Functions(Names::Listed(vec!["beta".into(), "alpha_one".into()])),
        moment: Moment::Return,
        pid: None,
        cookies: vec![100, 10],
        counters: Vec::new(),
    };
    let link = many.attach(&Hook::UprobeMulti(named.clone())).unwrap();
    watched.start().work_and_end();
    drop(link);
    assert_eq!(value::<u64>(&loaded, "many_runs"), 4);
    assert_eq!(value::<u64>(&loaded, "many_cookies"), 110);
    let short = UprobeMulti {
        cookies: vec![1],
        ..named
    };
    let error = many.attach(&Hook::UprobeMulti(short)).unwrap_err();
    assert_eq!(error.diagnosis().code, Code::USAGE, "{error}");
    let none = many.attach(&Hook::uprobe_multi(&watched.path, "gamma_*"));
    let none = none.unwrap_err();
    assert_eq!(none.diagnosis().code, Code::ATTACH_TARGET, "{none}");
}

fn a_session_sees_entry_and_return() {
    let watched = Watched::build("plain");
    let loaded = load("session");
    let running = watched.start();
    let hook = format!(
        "uprobe.session:{}:beta@pid={}",
        watched.path.display(),
        running.process.id()
    );
    let session = loaded.program("session").unwrap();
    let link = session.attach(&hook.parse().unwrap()).unwrap();
    running.work_and_end();
    drop(link);
    assert_eq!(value::<u64>(&loaded, "session_runs"), 2);
}

fn a_system_call_is_probed_by_its_section() {
    let loaded = load("call");
    let links = loaded.attacher().attach().unwrap();
    let soon = rustix::thread::Timespec {
        tv_sec: 0,
        tv_nsec: 1,
    };
    let slept = rustix::thread::nanosleep(&soon);
    assert!(matches!(slept, rustix::thread::NanosleepRelativeResult::Ok));
    drop(links);
    assert_eq!(value::<u64>(&loaded, "call_runs"), 1);
    let slip = loaded.program("call").unwrap();
    let error = slip.attach(&Hook::system_call("nanosleeep")).unwrap_err();
    assert_eq!(error.diagnosis().help, ["did you mean `nanosleep`?"]);
}

fn functions_of_the_kernel_are_probed_by_a_pattern() {
    let loaded = load("kernel_many");
    let links = loaded.attacher().attach().unwrap();
    std::thread::sleep(std::time::Duration::from_nanos(1));
    let place = links[0].info().unwrap().place;
    assert!(
        matches!(place, LinkPlace::KprobeMulti { count: 1, .. }),
        "{place:?}"
    );
    drop(links);
    assert_eq!(value::<u64>(&loaded, "kernel_runs"), 1);
}
