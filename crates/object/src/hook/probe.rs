//! Probes and counters: places in code, and what is counted, with their text.
//!
//! ```text
//! kprobe:vfs_read    kretprobe:vfs_read    kprobe:vfs_read+0x10
//! ksyscall:nanosleep    kretsyscall:nanosleep
//! uprobe:/usr/bin/bash:readline    uprobe:libc.so.6:malloc+0x4    uprobe:/a/file:0x1234@counter=0x4010    ...@pid=17
//! perf_event:cpu-clock@freq=99    perf_event:page-faults@period=1@tid=17    perf_event:cycles@freq=99@cpu=0
//! ```

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::Hook;

/// A function of the kernel, or a place in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kprobe {
    /// The function.
    pub function: String,
    /// Bytes behind its begin.
    pub offset: u64,
    /// Whether the program runs when the function returns.
    pub is_return: bool,
    /// A number that the program can ask for.
    pub cookie: u64,
}

/// A function of a program or library, or a place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uprobe {
    /// The file; a name without a slash is looked for where programs and libraries are.
    pub path: PathBuf,
    /// Where in the file.
    pub place: ProbePlace,
    /// Whether the program runs when the function returns.
    pub is_return: bool,
    /// The only process in which the program runs; `None` is all of them.
    pub pid: Option<u32>,
    /// Where in the file a counter is that says how many watch the place; `None` if the place has none.
    pub counter: Option<u64>,
    /// A number that the program can ask for.
    pub cookie: u64,
}

/// A system call, by the name that manuals give it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SystemCall {
    /// The call, such as `nanosleep`.
    pub name: String,
    /// Whether the program runs when the call returns.
    pub is_return: bool,
    /// A number that the program can ask for.
    pub cookie: u64,
}

/// A place in a file of code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbePlace {
    /// So many bytes behind a function's begin.
    Function {
        /// The function.
        name: String,
        /// Bytes behind its begin.
        offset: u64,
    },
    /// So many bytes behind the file's begin.
    Offset(u64),
}

/// What is counted, and when the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerfEvent {
    /// What is counted.
    pub counter: Counter,
    /// How often the program runs.
    pub sampling: Sampling,
    /// Where it is counted.
    pub scope: PerfScope,
    /// A number that the program can ask for.
    pub cookie: u64,
}

/// How often the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Sampling {
    /// Once for so many counts.
    Period(u64),
    /// About so many times a second.
    Frequency(u64),
}

/// Where something is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PerfScope {
    /// While one thread runs, on any CPU.
    Thread(u32),
    /// On one CPU, whoever runs there.
    Cpu(u32),
    /// On every CPU that is on now.
    EveryCpu,
}

/// What is counted: a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Counter {
    /// `PERF_TYPE_*`
    pub event_type: u32,
    /// Which of that type.
    pub config: u64,
}

impl Counter {
    /// The counter with this name, as `perf list` writes it.
    pub fn named(name: &str) -> Option<Self> {
        let row = COUNTERS.iter().find(|(each, ..)| *each == name)?;
        Some(Self {
            event_type: row.1,
            config: row.2,
        })
    }

    /// Its name, if the table has it.
    pub fn name(self) -> Option<&'static str> {
        let row = COUNTERS
            .iter()
            .find(|row| (row.1, row.2) == (self.event_type, self.config))?;
        Some(row.0)
    }
}

/// Names, `PERF_TYPE_*` (0 of the processor, 1 of the kernel), and numbers within.
const COUNTERS: &[(&str, u32, u64)] = &[
    ("cpu-cycles", 0, 0),
    ("instructions", 0, 1),
    ("cache-references", 0, 2),
    ("cache-misses", 0, 3),
    ("branch-instructions", 0, 4),
    ("branch-misses", 0, 5),
    ("bus-cycles", 0, 6),
    ("stalled-cycles-frontend", 0, 7),
    ("stalled-cycles-backend", 0, 8),
    ("ref-cycles", 0, 9),
    ("cpu-clock", 1, 0),
    ("task-clock", 1, 1),
    ("page-faults", 1, 2),
    ("context-switches", 1, 3),
    ("cpu-migrations", 1, 4),
    ("minor-faults", 1, 5),
    ("major-faults", 1, 6),
    ("alignment-faults", 1, 7),
    ("emulation-faults", 1, 8),
];

impl Hook {
    /// A tracepoint, with its arguments as its format lays them out.
    pub fn tracepoint(category: &str, name: &str) -> Self {
        Self::Tracepoint {
            category: category.to_owned(),
            name: name.to_owned(),
            cookie: 0,
        }
    }

    /// The entry of a function of the kernel.
    pub fn kprobe(function: &str) -> Self {
        Self::Kprobe(Kprobe {
            function: function.to_owned(),
            ..Kprobe::default()
        })
    }

    /// The entry of a function of a program or library, in all processes.
    pub fn uprobe(path: impl AsRef<Path>, function: &str) -> Self {
        Self::Uprobe(Uprobe {
            path: path.as_ref().to_owned(),
            place: ProbePlace::Function {
                name: function.to_owned(),
                offset: 0,
            },
            is_return: false,
            pid: None,
            counter: None,
            cookie: 0,
        })
    }

    /// The entry of a system call.
    pub fn system_call(name: &str) -> Self {
        Self::SystemCall(SystemCall {
            name: name.to_owned(),
            ..SystemCall::default()
        })
    }
}

impl fmt::Display for Kprobe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = if self.is_return {
            "kretprobe"
        } else {
            "kprobe"
        };
        write!(f, "{sort}:{}", self.function)?;
        behind(f, self.offset)
    }
}

impl fmt::Display for SystemCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = if self.is_return {
            "kretsyscall"
        } else {
            "ksyscall"
        };
        write!(f, "{sort}:{}", self.name)
    }
}

impl fmt::Display for Uprobe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sort = if self.is_return {
            "uretprobe"
        } else {
            "uprobe"
        };
        write!(f, "{sort}:{}:", self.path.display())?;
        match &self.place {
            ProbePlace::Function { name, offset } => {
                f.write_str(name)?;
                behind(f, *offset)?;
            }
            ProbePlace::Offset(offset) => write!(f, "{offset:#x}")?,
        }
        if let Some(counter) = self.counter {
            write!(f, "@counter={counter:#x}")?;
        }
        match self.pid {
            Some(pid) => write!(f, "@pid={pid}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for PerfEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counter { event_type, config } = self.counter;
        match self.counter.name() {
            Some(name) => write!(f, "perf_event:{name}")?,
            None => write!(f, "perf_event:{event_type}/{config:#x}")?,
        }
        match self.sampling {
            Sampling::Period(period) => write!(f, "@period={period}")?,
            Sampling::Frequency(frequency) => write!(f, "@freq={frequency}")?,
        }
        match self.scope {
            PerfScope::Thread(tid) => write!(f, "@tid={tid}"),
            PerfScope::Cpu(cpu) => write!(f, "@cpu={cpu}"),
            PerfScope::EveryCpu => Ok(()),
        }
    }
}

fn behind(f: &mut fmt::Formatter<'_>, offset: u64) -> fmt::Result {
    match offset {
        0 => Ok(()),
        offset => write!(f, "+{offset:#x}"),
    }
}

/// Reads `vfs_read+0x10`.
pub(super) fn kprobe(text: &str, is_return: bool) -> Result<Hook, String> {
    let (function, offset) = function(text)?;
    Ok(Hook::Kprobe(Kprobe {
        function: function.to_owned(),
        offset,
        is_return,
        cookie: 0,
    }))
}

/// Reads `PATH:FUNCTION+OFFSET@counter=OFFSET@pid=ID`. Paths may have colons, functions not.
pub(super) fn uprobe(text: &str, is_return: bool) -> Result<Hook, String> {
    let (text, pid) = match text.rsplit_once("@pid=") {
        Some((text, pid)) => (text, Some(number(pid)?)),
        None => (text, None),
    };
    let (text, counter) = match text.rsplit_once("@counter=") {
        Some((text, counter)) => (text, Some(number(counter)?)),
        None => (text, None),
    };
    let (path, place) = text
        .rsplit_once(':')
        .filter(|(path, place)| !path.is_empty() && !place.is_empty())
        .ok_or_else(|| {
            format!("`{text}` is no place in a file: write PATH:FUNCTION or PATH:0xOFFSET")
        })?;
    let place = if place.starts_with(|first: char| first.is_ascii_digit()) {
        ProbePlace::Offset(number(place)?)
    } else {
        let (name, offset) = function(place)?;
        ProbePlace::Function {
            name: name.to_owned(),
            offset,
        }
    };
    Ok(Hook::Uprobe(Uprobe {
        path: PathBuf::from(path),
        place,
        is_return,
        pid: pid.map(narrow).transpose()?,
        counter,
        cookie: 0,
    }))
}

/// Reads `COUNTER@freq=99@tid=17`.
pub(super) fn perf_event(text: &str) -> Result<Hook, String> {
    let mut parts = text.split('@');
    let name = parts.next().unwrap_or_default();
    let mut event = PerfEvent {
        counter: counter(name)?,
        sampling: Sampling::Frequency(99),
        scope: PerfScope::EveryCpu,
        cookie: 0,
    };
    for part in parts {
        let (word, value) = part.split_once('=').unwrap_or((part, ""));
        match word {
            "period" => event.sampling = Sampling::Period(number(value)?),
            "freq" => event.sampling = Sampling::Frequency(number(value)?),
            "tid" => event.scope = PerfScope::Thread(narrow(number(value)?)?),
            "cpu" => event.scope = PerfScope::Cpu(narrow(number(value)?)?),
            _ => {
                return Err(format!(
                    "`@{part}` is unknown: write @period=, @freq=, @tid= or @cpu= with a number"
                ));
            }
        }
    }
    Ok(Hook::PerfEvent(event))
}

fn counter(name: &str) -> Result<Counter, String> {
    if let Some((event_type, config)) = name.split_once('/') {
        return Ok(Counter {
            event_type: narrow(number(event_type)?)?,
            config: number(config)?,
        });
    }
    Counter::named(name).ok_or_else(|| {
        let names: Vec<&str> = COUNTERS.iter().map(|(name, ..)| *name).collect();
        format!("`{name}` is no counter; counters are {}", names.join(", "))
    })
}

fn function(text: &str) -> Result<(&str, u64), String> {
    match text.split_once('+') {
        Some((name, offset)) if !name.is_empty() => Ok((name, number(offset)?)),
        None if !text.is_empty() => Ok((text, 0)),
        _ => Err(format!("`{text}` names no function")),
    }
}

pub(super) fn number(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => u64::from_str(text),
    };
    parsed.map_err(|_| format!("`{text}` is not the number that is expected there"))
}

pub(super) fn narrow(number: u64) -> Result<u32, String> {
    u32::try_from(number).map_err(|_| format!("{number} is too large there"))
}
