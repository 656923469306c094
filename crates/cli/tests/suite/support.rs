//! Starting the command as oneself or as an ordinary user, and reading its answer.

use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use tempfile::TempDir;

/// The user that root becomes to be an ordinary one: `nobody`.
const NOBODY: u32 = 65534;

/// Characters of an output that a failed test shows.
const MOST_SHOWN: usize = 3000;

/// The map of that object as the file has it: type array, key, value, entries, flags.
const MY_MAP: [u32; 5] = [2, 4, 8, 256, 0];

/// Who runs the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Whoever runs the tests.
    Myself,
    /// Somebody without privileges; myself, if I have none.
    Ordinary,
}

/// Copies of the programs where every user may run them: an ordinary user may not be allowed into the build folder.
///
/// Made once, before any test starts: a program cannot be started while a file descriptor for writing it is open, and a
/// process that another test is just starting would hold one.
#[derive(Debug)]
pub(crate) struct Programs(TempDir);

static PROGRAMS: OnceLock<PathBuf> = OnceLock::new();

impl Programs {
    /// Copies them; they go with the value.
    pub(crate) fn install() -> Self {
        let folder = folder_with_mode(0o755);
        fs::copy(env!("CARGO_BIN_EXE_twinbpf"), folder.path().join("twinbpf")).unwrap();
        fs::copy("/proc/self/exe", folder.path().join("sender")).unwrap();
        PROGRAMS.set(folder.path().to_owned()).unwrap();
        Self(folder)
    }

    /// Removes them.
    pub(crate) fn remove(self) {
        self.0.close().unwrap();
    }
}

/// A folder that every user may read and write, with the programs in it.
#[derive(Debug)]
pub(crate) struct Workshop {
    folder: TempDir,
    user: User,
}

/// What the command answered.
pub(crate) struct Answer {
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Workshop {
    pub(crate) fn new(user: User) -> Self {
        let folder = folder_with_mode(0o777);
        for name in ["twinbpf", "sender"] {
            let program = PROGRAMS.get().unwrap().join(name);
            symlink(program, folder.path().join(name)).unwrap();
        }
        Self { folder, user }
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a file into the folder.
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Puts one of the repository's objects into the folder.
    pub(crate) fn put_fixture(&self, name: &str) -> PathBuf {
        self.put(name, &fixture(name))
    }

    /// The command, ready to be given arguments.
    pub(crate) fn command(&self) -> Command {
        self.as_user(&self.path("twinbpf"))
    }

    /// Runs the command in the folder, so that messages do not depend on where that is.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Answer {
        self.command()
            .args(arguments)
            .output()
            .map(Answer::from)
            .unwrap()
    }

    /// Any program, as the workshop's user.
    pub(crate) fn as_user(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.folder.path());
        if self.user == User::Ordinary && rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }
}

impl fmt::Debug for Answer {
    /// Both outputs as they are, cut where a verifier's log would drown the rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit status {:?}", self.status)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let shown: String = text.chars().take(MOST_SHOWN).collect();
            write!(f, "\n--- {name}\n{shown}")?;
        }
        Ok(())
    }
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Answer {
    /// The documents on stdout, one a line.
    pub(crate) fn documents(&self) -> Vec<Value> {
        let lines = self.stdout.lines();
        lines
            .map(|line| {
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
            })
            .collect()
    }

    /// The last document on stdout.
    pub(crate) fn last_document(&self) -> Value {
        let last = self.documents().pop();
        last.unwrap_or_else(|| panic!("no document on stdout; stderr says\n{}", self.stderr))
    }
}

fn folder_with_mode(mode: u32) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
    folder
}

/// The bytes of one of the repository's objects.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bpf");
    fs::read(folder.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Puts the 20-byte legacy object into the folder, with another definition in the place of its map's.
pub(crate) fn put_with_map(workshop: &Workshop, name: &str, definition: [u32; 5]) {
    let mut bytes = fixture("sockex1_legacy20.bpf.o");
    let old: Vec<u8> = MY_MAP.iter().flat_map(|word| word.to_le_bytes()).collect();
    let new: Vec<u8> = definition
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let places: Vec<usize> = (0..=bytes.len() - old.len())
        .filter(|at| bytes[*at..].starts_with(&old))
        .collect();
    assert_eq!(
        places.len(),
        1,
        "the map's definition stands in the file once"
    );
    bytes[places[0]..places[0] + new.len()].copy_from_slice(&new);
    workshop.put(name, &bytes);
}
