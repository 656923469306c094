//! Logs in texts that people paste: terminal output of loaders, kernel messages, bug reports.
//!
//! Such a text holds more than the log: what the loader said before and after it, time stamps, indentation, the logs of several
//! programs. A log is found by its end, the line of statistics; what stands before that line on its own row stands before every
//! line of the log, digits aside.

use twinbpf_object::Errno;

use crate::line::Line;

/// One log in a text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PastedLog {
    /// The program it is about, if the loader said so.
    pub program: Option<String>,
    /// The number the kernel answered with, if the loader said so.
    pub errno: Option<Errno>,
    /// The log itself.
    pub text: String,
}

/// The logs in a text, in its order.
pub fn find(text: &str) -> Vec<PastedLog> {
    let mut logs = Vec::new();
    let mut part = Part::default();
    for line in text.lines() {
        part.read(line, &mut logs);
    }
    part.end(&mut logs);
    if !logs.iter().any(|log| has_insn(&log.text)) {
        logs.extend(text.lines().filter_map(in_one_line));
    }
    logs
}

/// Go programs print one line: `permission denied: 6: (79) r1 = *(u64 *)(r0 +0): R0 invalid mem access 'scalar' (9 line(s) omitted)`
fn in_one_line(line: &str) -> Option<PastedLog> {
    let (line, _) = line.rsplit_once(" line(s) omitted)")?;
    let (line, _) = line.rsplit_once(" (")?;
    let mut rest = line;
    // What stands before the instruction is what was being done.
    while !matches!(Line::of(rest), Line::Insn { .. }) {
        rest = rest.split_once(": ")?.1;
    }
    let (insn, reason) = rest.rsplit_once(": ")?;
    Some(PastedLog {
        text: format!("{insn}\n{reason}\n"),
        ..PastedLog::default()
    })
}

/// Lines since the last log.
#[derive(Default)]
struct Part<'a> {
    lines: Vec<&'a str>,
    program: Option<String>,
    errno: Option<Errno>,
    /// Whether the log has begun or ended as loaders mark it.
    is_marked: bool,
    /// What stands before every line of the log.
    prefix: Option<&'a str>,
}

impl<'a> Part<'a> {
    fn read(&mut self, line: &'a str, logs: &mut Vec<PastedLog>) {
        if let Some(name) = program_name(line) {
            self.program = Some(name);
        }
        let is_failure =
            line.contains("BPF program load failed: ") || line.contains("failed to load: ");
        if let Some(errno) = errno_in(line).filter(|_| is_failure) {
            match logs.last_mut() {
                // It is said before the log, and again behind it.
                Some(last)
                    if self.lines.is_empty()
                        && last.program.is_some()
                        && last.program == self.program =>
                {
                    last.errno.get_or_insert(errno);
                }
                _ => self.errno = Some(errno),
            }
        }
        if line.contains(BEGIN) {
            self.lines.clear();
            self.prefix = None;
            self.is_marked = true;
            return;
        }
        if line.contains(END) {
            self.end(logs);
            return;
        }
        if !is_loaders(line) {
            self.lines.push(line);
        }
        if let Some(prefix) = statistics_prefix(line) {
            self.prefix = Some(prefix);
            // Where nobody marks the end, this is it.
            if !self.is_marked {
                self.end(logs);
            }
        }
    }

    /// Ends a log, if there is one.
    fn end(&mut self, logs: &mut Vec<PastedLog>) {
        let part = std::mem::take(self);
        let prefix = part.prefix.unwrap_or_default();
        let text: String = part
            .lines
            .iter()
            .flat_map(|line| [without_prefix(line, prefix), "\n"])
            .collect();
        let is_complete = part.is_marked || part.prefix.is_some();
        // What follows the last log is what the loader said about it.
        let is_log = is_complete || logs.is_empty() || has_insn(&text);
        if text.trim().is_empty() || !is_log {
            // Who said what the next log is about has said it already.
            self.program = part.program;
            self.errno = part.errno;
            return;
        }
        logs.push(PastedLog {
            program: part.program,
            errno: part.errno,
            text,
        });
    }
}

fn has_insn(text: &str) -> bool {
    text.lines()
        .any(|line| matches!(Line::of(line), Line::Insn { .. }))
}

const BEGIN: &str = "BEGIN PROG LOAD LOG --";
const END: &str = "END PROG LOAD LOG --";

/// What loaders say around a log.
fn is_loaders(line: &str) -> bool {
    line.starts_with("libbpf: ") || line.starts_with("Error: ") || line.starts_with("Caused by:")
}

/// What stands before `processed 6 insns (limit ..`, if the line is that.
fn statistics_prefix(line: &str) -> Option<&str> {
    let at = line.find("processed ")?;
    let rest = &line[at + "processed ".len()..];
    let (count, rest) = rest.split_once(' ')?;
    let is_count = !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = &line[..at];
    let is_prefix = prefix.is_empty() || prefix.ends_with(char::is_whitespace);
    (is_count && is_prefix && rest.starts_with("insns")).then_some(prefix)
}

/// The line without what stands before every line; digits of time stamps differ.
fn without_prefix<'a>(line: &'a str, prefix: &str) -> &'a str {
    let mut rest = line.char_indices();
    for expected in prefix.chars() {
        let Some((_, found)) = rest.next() else {
            return line;
        };
        if stands_for(found) != stands_for(expected) {
            return line;
        }
    }
    rest.as_str()
}

/// Digits of a time stamp and the blanks before short ones are alike.
fn stands_for(c: char) -> char {
    if c.is_ascii_digit() || c == ' ' {
        '0'
    } else {
        c
    }
}

/// `libbpf: prog 'count': ...`
fn program_name(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("prog '")?;
    let (name, _) = rest.split_once('\'')?;
    Some(name.to_owned())
}

/// `...: Permission denied`, `...: -EACCES`, `...: -13`
fn errno_in(line: &str) -> Option<Errno> {
    let words = line.rsplit(": ").next()?.trim();
    let number = words
        .strip_prefix('-')
        .and_then(|number| number.parse().ok());
    if let Some(number) = number {
        return Some(Errno(number));
    }
    let found = ERRNO_WORDS.iter().find(|(errno, text)| {
        words.starts_with(text) || errno.name().is_some_and(|name| words == format!("-{name}"))
    })?;
    Some(found.0)
}

const ERRNO_WORDS: &[(Errno, &str)] = &[
    (Errno::EPERM, "Operation not permitted"),
    (Errno::EACCES, "Permission denied"),
    (Errno::EFAULT, "Bad address"),
    (Errno::EINVAL, "Invalid argument"),
    (Errno::E2BIG, "Argument list too long"),
    (Errno::ENOSPC, "No space left on device"),
    (Errno::ENOMEM, "Cannot allocate memory"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str =
        "0: R1=ctx() R10=fp0\n0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n";

    #[test]
    fn a_bare_log_is_found_whole() {
        let logs = find(LOG);
        assert_eq!(logs.len(), 1);
        assert_eq!(logs[0].text, LOG);
    }

    #[test]
    fn libbpf_names_program_and_error_and_marks_the_log() {
        let text = format!(
            "libbpf: prog 'count': BPF program load failed: Permission denied\n\
             libbpf: prog 'count': -- BEGIN PROG LOAD LOG --\n{LOG}-- END PROG LOAD LOG --\n\
             libbpf: prog 'count': failed to load: -13\nlibbpf: failed to load object 'a.o'\nError: failed to load object file\n"
        );
        let logs = find(&text);
        assert_eq!(logs.len(), 1, "{logs:?}");
        assert_eq!(logs[0].program.as_deref(), Some("count"));
        assert_eq!(logs[0].errno, Some(Errno::EACCES));
        assert_eq!(logs[0].text, LOG);
    }

    #[test]
    fn a_log_cut_to_one_line_is_taken_apart() {
        let line = "load program: permission denied: 1030: (71) r1 = *(u8 *)(r9 +23): R9 invalid mem access 'inv' (646 line(s) omitted)\n";
        let logs = find(line);
        let last = logs.last().unwrap();
        assert_eq!(
            last.text,
            "1030: (71) r1 = *(u8 *)(r9 +23)\nR9 invalid mem access 'inv'\n"
        );
        assert_eq!(in_one_line("nothing (3 line(s) omitted)"), None);
    }

    #[test]
    fn time_stamps_and_indentation_are_taken_off() {
        let stamped: String = LOG
            .lines()
            .enumerate()
            .map(|(at, line)| format!("Nov 23 03:0{at}:00 host agent[{}]: \t{line}\n", 990 + at))
            .collect();
        assert_eq!(find(&stamped)[0].text, LOG);
        let indented: String = LOG.lines().map(|line| format!("\t{line}\n")).collect();
        assert_eq!(find(&indented)[0].text, LOG);
    }

    #[test]
    fn several_logs_are_told_apart_by_their_statistics() {
        assert_eq!(find(&format!("{LOG}{LOG}")).len(), 2);
        let marked = format!("x BEGIN PROG LOAD LOG --\n{LOG}x END PROG LOAD LOG --\n");
        assert_eq!(find(&format!("{marked}{marked}")).len(), 2);
        assert_eq!(find(""), []);
        assert_eq!(find("\n\n"), []);
    }
}
