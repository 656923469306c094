//! Whose it is that stays when its process is killed: filters and routes say it in their names.

use std::fs;

/// Who holds something, as its name says: `twinbpf:NAMESPACE:PID:START[:discipline]:PROGRAM`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The process namespace, in which the number means something.
    namespace: String,
    pid: u32,
    /// When the process began, in the kernel's ticks: numbers of processes come again.
    start: u64,
    /// Whether the discipline of traffic control was made for it.
    pub(crate) made_discipline: bool,
}

impl Holder {
    /// This process.
    pub(crate) fn own(made_discipline: bool) -> Self {
        let pid = std::process::id();
        Self {
            namespace: process_namespace(),
            pid,
            start: start_of(pid).unwrap_or(0),
            made_discipline,
        }
    }

    /// The name for what runs this program.
    pub(crate) fn name(&self, program: &str) -> String {
        let discipline = if self.made_discipline {
            ":discipline"
        } else {
            ""
        };
        let name = format!(
            "twinbpf:{}:{}:{}{discipline}:{program}",
            self.namespace, self.pid, self.start
        );
        // KERNEL: CLS_BPF_NAME_LEN and MAX_PROG_NAME of routes are 256 with the zero; programs' names are at most 255 themselves.
        name.chars().take(MOST_NAME).collect()
    }

    /// The holder whom a name speaks of; `None` if it is not one of ours.
    pub(crate) fn read(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix("twinbpf:")?.split(':');
        Some(Self {
            namespace: parts.next()?.to_owned(),
            pid: parts.next()?.parse().ok()?,
            start: parts.next()?.parse().ok()?,
            made_discipline: parts.next()? == "discipline" && parts.next().is_some(),
        })
    }

    /// Whether that process has ended. Those in other process namespaces cannot be seen, and are taken to be alive.
    pub(crate) fn has_ended(&self) -> bool {
        self.namespace == process_namespace() && start_of(self.pid) != Some(self.start)
    }
}

fn process_namespace() -> String {
    let link = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let text = link.to_string_lossy();
    text.chars().filter(char::is_ascii_digit).collect()
}

/// When a process began; `None` if there is none with this number.
fn start_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything, so what counts is behind the last one.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    // A zombie holds nothing any more.
    (fields.next()? != "Z").then_some(())?;
    fields.nth(18)?.parse().ok()
}

const MOST_NAME: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_who_holds_the_filter() {
        let own = Holder::own(true);
        let name = own.name("count:frames");
        assert_eq!(Holder::read(&name), Some(own));
        assert!(!Holder::read(&name).unwrap().has_ended());
        let plain = Holder::own(false).name("discipline");
        assert!(!Holder::read(&plain).unwrap().made_discipline);
        let mut gone = Holder::own(false);
        gone.start += 1;
        assert!(gone.has_ended());
        // Processes elsewhere cannot be seen, so they are taken to be alive.
        gone.namespace = "1".to_owned();
        assert!(!gone.has_ended());
        for foreign in [
            "",
            "bpf",
            "twinbpf",
            "twinbpf:1:2",
            "twinbpf:1:x:3:p",
            "other:1:2:3:p",
        ] {
            assert_eq!(Holder::read(foreign), None, "{foreign}");
        }
    }
}
