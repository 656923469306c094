//! Many places of code in one link: functions of the kernel, or of a program or library, with their text.
//!
//! ```text
//! kprobe.multi:tcp_*    kretprobe.multi:vfs_read,vfs_write    kprobe.session:do_nanosleep
//! uprobe.multi:libc.so.6:mem*    uprobe.session:/a/file:main@pid=17    uprobe.multi:/a/file:0x1234,0x1240
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

use super::Hook;
use super::probe::{narrow, number};

/// Many functions of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KprobeMulti {
    /// Which.
    pub functions: Names,
    /// When the program runs.
    pub moment: Moment,
    /// A number for each function that was named, which the program can ask for; or none.
    pub cookies: Vec<u64>,
}

/// Many places in a program or library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UprobeMulti {
    /// The file; a name without a slash is looked for where programs and libraries are.
    pub path: PathBuf,
    /// Where in the file.
    pub places: CodePlaces,
    /// When the program runs.
    pub moment: Moment,
    /// The only process in which the program runs; `None` is all of them.
    pub pid: Option<u32>,
    /// A number for each place that was named, which the program can ask for; or none.
    pub cookies: Vec<u64>,
    /// For each place the position of a counter in the file that says how many watch it; or none.
    pub counters: Vec<u64>,
}

/// Which functions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Names {
    /// Those whose name the pattern matches: `*` stands for any text, `?` for any letter.
    Pattern(String),
    /// These.
    Listed(Vec<String>),
}

/// Places in a file of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodePlaces {
    /// The begins of functions.
    Functions(Names),
    /// So many bytes behind the file's begin.
    Offsets(Vec<u64>),
}

/// When a program at a function runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Moment {
    /// When the function is called.
    #[default]
    Entry,
    /// When it returns.
    Return,
    /// At both, and the program's answer to the call decides whether it sees the return.
    Session,
}

impl Hook {
    /// The functions of the kernel that a pattern matches.
    pub fn kprobe_multi(pattern: &str) -> Self {
        Self::KprobeMulti(KprobeMulti {
            functions: Names::read(pattern),
            moment: Moment::Entry,
            cookies: Vec::new(),
        })
    }

    /// The functions of a program or library that a pattern matches, in all processes.
    pub fn uprobe_multi(path: impl AsRef<Path>, pattern: &str) -> Self {
        Self::UprobeMulti(UprobeMulti {
            path: path.as_ref().to_owned(),
            places: CodePlaces::Functions(Names::read(pattern)),
            moment: Moment::Entry,
            pid: None,
            cookies: Vec::new(),
            counters: Vec::new(),
        })
    }
}

impl Names {
    fn read(text: &str) -> Self {
        if text.contains(',') {
            return Self::Listed(text.split(',').map(str::to_owned).collect());
        }
        Self::Pattern(text.to_owned())
    }

    /// Whether a function of this name is meant.
    pub fn contain(&self, name: &str) -> bool {
        match self {
            Self::Pattern(pattern) => matches(pattern.as_bytes(), name.as_bytes()),
            Self::Listed(names) => names.iter().any(|each| each == name),
        }
    }

    /// The names, if they need no list of all functions to be known.
    pub fn listed(&self) -> Option<Vec<&str>> {
        match self {
            Self::Pattern(pattern) if pattern.contains(['*', '?']) => None,
            Self::Pattern(name) => Some(vec![name]),
            Self::Listed(names) => Some(names.iter().map(String::as_str).collect()),
        }
    }
}

/// Whether a pattern matches all of a text. After a `*` the shortest stretch is tried first; only the latest `*` is ever widened, so
/// the work is at most the product of the lengths.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut seen) = (0, 0);
    let mut widened: Option<(usize, usize)> = None;
    while seen < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                widened = Some((at, seen));
                at += 1;
            }
            Some(letter) if *letter == b'?' || *letter == text[seen] => {
                at += 1;
                seen += 1;
            }
            _ => match widened {
                Some((star, from)) => {
                    widened = Some((star, from + 1));
                    at = star + 1;
                    seen = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|letter| *letter == b'*')
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pattern(pattern) => f.write_str(pattern),
            Self::Listed(names) => f.write_str(&names.join(",")),
        }
    }
}

/// The sort of hook as its text begins: `kprobe.multi`.
pub(super) fn word(plain: &'static str, moment: Moment) -> &'static str {
    match (plain, moment) {
        ("kprobe", Moment::Entry) => "kprobe.multi",
        ("kprobe", Moment::Return) => "kretprobe.multi",
        ("kprobe", Moment::Session) => "kprobe.session",
        (_, Moment::Entry) => "uprobe.multi",
        (_, Moment::Return) => "uretprobe.multi",
        (_, Moment::Session) => "uprobe.session",
    }
}

impl fmt::Display for KprobeMulti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", word("kprobe", self.moment), self.functions)
    }
}

impl fmt::Display for UprobeMulti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}:",
            word("uprobe", self.moment),
            self.path.display()
        )?;
        match &self.places {
            CodePlaces::Functions(names) => names.fmt(f)?,
            CodePlaces::Offsets(offsets) => {
                let offsets: Vec<String> =
                    offsets.iter().map(|each| format!("{each:#x}")).collect();
                f.write_str(&offsets.join(","))?;
            }
        }
        match self.pid {
            Some(pid) => write!(f, "@pid={pid}"),
            None => Ok(()),
        }
    }
}

/// Reads `tcp_*`, or names with commas between.
pub(super) fn kprobe(text: &str, moment: Moment) -> Hook {
    Hook::KprobeMulti(KprobeMulti {
        functions: Names::read(text),
        moment,
        cookies: Vec::new(),
    })
}

/// Reads `PATH:PATTERN@pid=ID`, or positions with commas between.
pub(super) fn uprobe(text: &str, moment: Moment) -> Result<Hook, String> {
    let (text, pid) = match text.rsplit_once("@pid=") {
        Some((text, pid)) => (text, Some(number(pid).and_then(narrow)?)),
        None => (text, None),
    };
    let (path, places) = text
        .rsplit_once(':')
        .filter(|(path, places)| !path.is_empty() && !places.is_empty())
        .ok_or_else(|| {
            format!("`{text}` names no places in a file: write PATH:PATTERN or PATH:0xOFFSET,...")
        })?;
    let places = if places.starts_with(|first: char| first.is_ascii_digit()) {
        let offsets: Result<Vec<u64>, String> = places.split(',').map(number).collect();
        CodePlaces::Offsets(offsets?)
    } else {
        CodePlaces::Functions(Names::read(places))
    };
    Ok(Hook::UprobeMulti(UprobeMulti {
        path: PathBuf::from(path),
        places,
        moment,
        pid,
        cookies: Vec::new(),
        counters: Vec::new(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, is_match) in [
            ("tcp_*", "tcp_sendmsg", true),
            ("tcp_*", "mptcp_sendmsg", false),
            ("*_send*", "tcp_sendmsg", true),
            ("*msg", "tcp_sendmsg_msg", true),
            ("tcp_?end*", "tcp_sendmsg", true),
            ("tcp", "tcp_sendmsg", false),
            ("*", "", true),
            ("", "", true),
            ("?", "", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXbXbX", false),
        ] {
            let names = Names::Pattern(pattern.to_owned());
            assert_eq!(names.contain(name), is_match, "{pattern} {name}");
        }
        assert!(Names::read("a,b").contain("b"));
        assert!(!Names::read("a,b").contain("c"));
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        let pattern = "*a".repeat(2000);
        let text = "a".repeat(1999) + "b";
        assert!(!Names::Pattern(pattern).contain(&text));
    }
}
