//! The page about the agreement of both engines: how many programs do the same, by collection and type, and which do not, by reason.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::judge::{Clue, Judged, Verdict};
use super::report::Report;

/// What differs with certain helpers, and why.
const REASONS: &[(i32, &str)] = &[
    (13, "copies that are sent (`bpf_clone_redirect`)"),
    (20, "tunnels"),
    (21, "tunnels"),
    (24, "the routing realm"),
    (27, "stack traces"),
    (31, "no offset of a function in a process"),
    (69, "routes of the host"),
    (73, "tunnels"),
    (84, "sockets of the host"),
    (85, "sockets of the host"),
    (99, "sockets of the host"),
];
/// Helpers that answer otherwise every time.
const FLEETING: &[(i32, &str)] = &[
    (5, "a clock"),
    (125, "a clock"),
    (160, "a clock"),
    (208, "a clock"),
    (118, "a clock"),
    (7, "random numbers"),
    (34, "a hash with a secret in it"),
];
/// Programs that somebody looked at, and what it was.
const LOOKED_AT: &[(&str, &str)] = &[("test22_x_pkt_ptr_3", "the upper half of an address")];
const MEMORY: &str = "addresses, or memory that nobody wrote";
const ENDED: &str = "structures of the kernel, which the vm has not: it ends the run";
/// File in a collection's folder that says in a line where it comes from.
const ABOUT: &str = "ABOUT";

const HEAD: &str = "\
# Agreement

Programs that others wrote, on the same packets in both engines. Each is loaded alone, on fresh maps, into the running kernel and into the
vm, and sees all packets one after the other: the value, the bytes of the packet and, at the end, the contents of the maps must be the same.
Programs that this kernel refuses, or of which it has no test runs with packets, are not counted; nor are those that do not do the same
twice in the kernel. The objects are outside data, built with clang-19, and not part of this repository.

This page is made by `cargo xtask differential --table docs/AGREEMENT.md FOLDER`, in a network namespace without anything in it
(`unshare -n`).
";

/// What each collection says of itself, by its folder's name.
pub(super) fn about(folders: &[&Path]) -> BTreeMap<String, String> {
    let inside = folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok());
    let said = inside.flatten().filter_map(|entry| {
        let folder = entry.ok()?.path();
        let text = fs::read_to_string(folder.join(ABOUT)).ok()?;
        let name = folder.file_name()?.to_string_lossy().into_owned();
        Some((name, text.lines().next().unwrap_or_default().to_owned()))
    });
    said.collect()
}

impl Report {
    /// The page.
    pub(super) fn page(&self, about: &BTreeMap<String, String>) -> String {
        let (agree, total) = self.agreement();
        let mut page = HEAD.to_owned();
        // Writing to a string cannot fail.
        let _ = writeln!(
            page,
            "\n**{agree} of {total} programs do the same** on {} packets (Linux {}).",
            self.packets,
            kernel()
        );
        let _ = writeln!(page, "\n## By collection\n");
        let _ = writeln!(
            page,
            "| collection | what it is | same | of |\n|---|---|---|---|"
        );
        for (name, (same, all)) in self.counted(|judged| collection(judged).to_owned()) {
            let what = about.get(&name).map_or("", String::as_str);
            let _ = writeln!(page, "| {name} | {what} | {same} | {all} |");
        }
        let _ = writeln!(page, "\n## By type\n\n| type | same | of |\n|---|---|---|");
        for (kind, (same, all)) in self.counted(|judged| judged.kind.to_string()) {
            let _ = writeln!(page, "| `{kind}` | {same} | {all} |");
        }
        let _ = writeln!(page, "\n## What differs, and why\n");
        reasons(&mut page, self.judged.iter(), |judged| {
            match &judged.verdict {
                Verdict::NotLoaded(_) | Verdict::Differs(_) => Some(
                    judged
                        .reason()
                        .unwrap_or_else(|| "not known yet".to_owned()),
                ),
                Verdict::Agrees | Verdict::Unstable => None,
            }
        });
        let _ = writeln!(page, "\n## Not the same twice in the kernel\n");
        reasons(&mut page, self.judged.iter(), |judged| {
            matches!(judged.verdict, Verdict::Unstable).then(|| judged.fleeting().to_owned())
        });
        page
    }

    /// Programs that agree, and all that can be compared, by something.
    fn counted(&self, by: fn(&Judged) -> String) -> BTreeMap<String, (usize, usize)> {
        let mut counts: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for judged in &self.judged {
            let (same, all) = counts.entry(by(judged)).or_default();
            *all += usize::from(!matches!(judged.verdict, Verdict::Unstable));
            *same += usize::from(matches!(judged.verdict, Verdict::Agrees));
        }
        counts
    }
}

impl Judged {
    /// Why it differs or could not be loaded, if that is known.
    pub(super) fn reason(&self) -> Option<String> {
        match &self.verdict {
            Verdict::NotLoaded(text) => Some(lacking(text)),
            Verdict::Differs(_) => {
                let known = REASONS
                    .iter()
                    .find(|(number, _)| self.helpers.contains(number))
                    .map(|(_, reason)| *reason);
                let clue = self.clue.map(|clue| match clue {
                    Clue::Memory => MEMORY,
                    Clue::Ended => ENDED,
                });
                let looked_at = LOOKED_AT
                    .iter()
                    .find(|(name, _)| *name == self.program)
                    .map(|(_, reason)| *reason);
                clue.or(known).or(looked_at).map(str::to_owned)
            }
            Verdict::Agrees | Verdict::Unstable => None,
        }
    }

    fn fleeting(&self) -> &'static str {
        let known = FLEETING
            .iter()
            .find(|(number, _)| self.helpers.contains(number));
        known.map_or(MEMORY, |(_, reason)| *reason)
    }
}

/// What the vm lacks, from the words of its refusal.
fn lacking(text: &str) -> String {
    let after = |mark: &str| {
        let (_, rest) = text.split_once(mark)?;
        rest.split([' ', ',', '`']).next()
    };
    if let Some(name) = after("needs helper ") {
        return format!("a helper that the vm lacks: `{name}`");
    }
    if let Some(kind) = after("does not have maps of type ") {
        return format!("a type of maps that the vm lacks: `{kind}`");
    }
    for thing in ["function", "symbol"] {
        if let Some((before, _)) = text.split_once(&format!("` is a {thing} of the kernel")) {
            let name = before.rsplit('`').next().unwrap_or_default();
            return format!("a {thing} of the kernel that the vm lacks: `{name}`");
        }
    }
    text.to_owned()
}

/// A table with a row for each reason, the most frequent one first.
fn reasons<'a>(
    page: &mut String,
    judged: impl Iterator<Item = &'a Judged>,
    reason: impl Fn(&Judged) -> Option<String>,
) {
    let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for judged in judged {
        if let Some(reason) = reason(judged) {
            let program = format!("`{}` in {}", judged.program, judged.short);
            rows.entry(reason).or_default().push(program);
        }
    }
    let mut rows: Vec<(String, Vec<String>)> = rows.into_iter().collect();
    rows.sort_by_key(|(_, programs)| std::cmp::Reverse(programs.len()));
    // Writing to a string cannot fail.
    let _ = writeln!(page, "| reason | programs | which |\n|---|---|---|");
    for (reason, programs) in rows {
        let _ = writeln!(
            page,
            "| {reason} | {} | {} |",
            programs.len(),
            programs.join(", ")
        );
    }
}

/// The folder within the one that was named.
fn collection(judged: &Judged) -> &str {
    judged.short.split_once('/').map_or("-", |(first, _)| first)
}

/// The running kernel's release: its first two numbers.
fn kernel() -> String {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release.split(['.', '-']);
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => format!("{major}.{minor}"),
        _ => release,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lacking_is_named() {
        for (text, expected) in [
            (
                "program `p`: insn 15 needs helper bpf_get_current_task (35), which the vm does not have",
                "a helper that the vm lacks: `bpf_get_current_task`",
            ),
            (
                "map `m`: the vm does not have maps of type sk_storage yet (ENOTSUPP)",
                "a type of maps that the vm lacks: `sk_storage`",
            ),
            (
                "section `tc`, program `p`: `bpf_skb_ct_lookup` is a function of the kernel, which this engine has not",
                "a function of the kernel that the vm lacks: `bpf_skb_ct_lookup`",
            ),
        ] {
            assert_eq!(lacking(text), expected);
        }
    }
}
