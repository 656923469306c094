//! Asks apt for packages: of the releases that this system uses, or of all that Debian has, through lists of its own in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Releases whose kernels are older or newer than this one's.
const SUITES: &[(&str, &str)] = &[
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm-backports"),
    ("debian", "trixie"),
    ("debian", "trixie-backports"),
];
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Which lists apt works with.
#[derive(Debug, Clone, Default)]
pub(super) struct Apt {
    /// `-o` and what follows it, in turn.
    options: Vec<String>,
}

impl Apt {
    /// Debian's releases, whatever this system uses. Their lists are fetched again each time; the system's are not touched.
    ///
    /// # Errors
    ///
    /// If they cannot be fetched.
    pub(super) fn of_debian(cache: &Path) -> Result<Self, String> {
        let folder = cache.join("apt");
        let write = |path: PathBuf, text: &str| {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        for name in ["lists/partial", "archives/partial"] {
            let path = folder.join(name);
            fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let line = |(archive, suite): &(&str, &str)| {
            format!("deb [signed-by={KEYS}] http://deb.debian.org/{archive} {suite} main\n")
        };
        let sources = folder.join("sources.list");
        write(
            sources.clone(),
            &SUITES.iter().map(line).collect::<String>(),
        )?;
        let settings = [
            format!("Dir::Etc::SourceList={}", sources.display()),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={}", folder.join("lists").display()),
            format!("Dir::Cache={}", folder.display()),
            "Acquire::Languages=none".to_owned(),
        ];
        let apt = Self {
            options: settings
                .into_iter()
                .flat_map(|setting| ["-o".to_owned(), setting])
                .collect(),
        };
        let mut update = apt.command("apt-get");
        update.args(["update", "-qq"]);
        super::succeed(update, "the lists of Debian's releases")?;
        Ok(apt)
    }

    /// `apt-get` or `apt-cache` with these lists.
    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(name);
        command.args(&self.options);
        command
    }

    /// What `apt-cache` prints; nothing where there is no apt.
    pub(super) fn asked(&self, words: &[&str]) -> String {
        let output = self.command("apt-cache").args(words).output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text).into_owned()
    }
}
