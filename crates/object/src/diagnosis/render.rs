//! Text from a diagnosis: one line for logs, one screen for people.

use std::fmt::Write as _;

use super::{Diagnosis, Place};

/// A screen: longer texts are cut, with a line that says so.
const SCREEN_LINES: usize = 25;

/// Lines of the kernel's own words that a screen shows.
const KERNEL_LINES: usize = 6;

impl Diagnosis {
    /// Place and message in one line, without help.
    pub fn one_line(&self) -> String {
        let mut text = self.place.prefix();
        for action in self.context.iter().rev() {
            let _ = write!(text, "{action}: "); // writing to a String cannot fail
        }
        text.push_str(&self.message);
        if let Some(errno) = self.errno {
            let _ = write!(text, " ({errno})"); // writing to a String cannot fail
        }
        text
    }

    /// At most 25 lines: the cause first, then facts, the kernel's last words, and what to do next.
    pub fn render(&self) -> String {
        let mut lines = vec![format!("error[{}]: {}", self.code, self.one_line())];
        if let Some((index, text)) = &self.place.insn {
            lines.push(format!("  insn {index}: {text}"));
        }
        if let Some(source) = &self.place.source {
            lines.push(format!(
                "  {}:{}: {}",
                source.file,
                source.line,
                source.text.trim()
            ));
        }
        for fact in &self.facts {
            lines.push(format!("  {}: {}", fact.label, fact.value));
        }
        if let Some(text) = &self.kernel_text {
            lines.extend(last_lines(text));
        }
        let room = SCREEN_LINES.saturating_sub(self.help.len() + 1);
        if lines.len() > room {
            let left_out = lines.len() - room;
            lines.truncate(room);
            lines.push(format!(
                "  ... {left_out} more lines; --json has everything"
            ));
        }
        lines.extend(self.help.iter().map(|help| format!("hint: {help}")));
        lines.truncate(SCREEN_LINES);
        lines.join("\n")
    }
}

impl Place {
    /// `count.o: section `maps`, offset 0x14: `, from whatever is known.
    fn prefix(&self) -> String {
        let mut outer = String::new();
        if let Some(file) = &self.file {
            let _ = write!(outer, "{file}: "); // writing to a String cannot fail
        }
        let mut parts = Vec::new();
        if let Some(section) = &self.section {
            parts.push(format!("section `{section}`"));
        }
        if let Some(offset) = self.offset {
            parts.push(format!("offset {offset:#x}"));
        }
        if let Some(map) = &self.map {
            parts.push(format!("map `{map}`"));
        }
        if let Some(program) = &self.program {
            parts.push(format!("program `{program}`"));
        }
        if !parts.is_empty() {
            let _ = write!(outer, "{}: ", parts.join(", ")); // writing to a String cannot fail
        }
        outer
    }
}

fn last_lines(text: &str) -> Vec<String> {
    let all: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let from = all.len().saturating_sub(KERNEL_LINES);
    let mut lines = Vec::new();
    if from > 0 {
        lines.push(format!("  | ... {from} earlier lines; --log shows them"));
    }
    lines.extend(all[from..].iter().map(|line| format!("  | {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::{Code, Diagnosis};

    #[test]
    fn one_line_names_file_section_offset_then_the_message() {
        let mut diagnosis =
            Diagnosis::new(Code::MAP_DEFINITION, "a map needs 16 bytes but 12 are left")
                .at("maps", 0x14);
        diagnosis.place.file = Some("count.o".into());
        assert_eq!(
            diagnosis.one_line(),
            "count.o: section `maps`, offset 0x14: a map needs 16 bytes but 12 are left"
        );
    }

    #[test]
    fn a_screen_has_at_most_25_lines_and_keeps_the_help() {
        let mut diagnosis = Diagnosis::new(Code::MAP_DEFINITION, "long").help("do this");
        diagnosis.kernel_text = Some("line\n".repeat(1000));
        for index in 0..100 {
            diagnosis = diagnosis.fact("fact", index);
        }
        let text = diagnosis.render();
        assert!(text.lines().count() <= 25, "{text}");
        assert!(text.ends_with("hint: do this"));
    }
}
