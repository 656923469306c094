//! Text from a diagnosis: one line for logs, one screen for people.
//!
//! The screen shows the cause, then the source lines that matter in the order in which they ran, each with what happens there,
//! then facts, and last what to do next:
//!
//! ```text
//! error[V010]: oob.bpf.o: program `oob`: reading 1 byte at offset 23 of the packet, where 14 bytes are proven (EACCES)
//!   --> oob.bpf.c:10:10, insn 6: r1 = *(u8 *)(r1 +23)
//!    8 | struct iphdr *ip = data + sizeof(*eth);
//!      | r1 comes from here, insn 3: r1 = *(u32 *)(r1 +76)
//!   10 | if (ip->protocol == 17) return XDP_DROP;
//!      |         ^
//!   verifier: invalid access to packet, off=23 size=1, R1(id=0,off=23,r=14)
//! hint: compare the end of what is read with data_end first
//! ```

use std::fmt::Write as _;

use super::{Diagnosis, Place, Related, SourceLine};

/// A screen: longer texts are cut, with a line that says so.
const SCREEN_LINES: usize = 24;

/// Longer lines are broken between words.
const SCREEN_COLUMNS: usize = 100;

/// Lines of the kernel's own words that a screen shows where nothing better is known.
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

    /// At most 24 lines: the cause first, then the lines it is about, facts, and what to do next.
    pub fn render(&self) -> String {
        let mut lines = Vec::new();
        let title = format!("error[{}]: {}", self.code, self.one_line());
        wrap(&mut lines, &title, "  ");
        self.add_places(&mut lines);
        for fact in &self.facts {
            wrap(
                &mut lines,
                &format!("  {}: {}", fact.label, fact.value),
                "    ",
            );
        }
        let mut hints = Vec::new();
        for help in &self.help {
            wrap(&mut hints, &format!("hint: {help}"), "      ");
        }
        hints.truncate(SCREEN_LINES / 2);
        self.add_kernel_text(&mut lines);
        let room = SCREEN_LINES.saturating_sub(hints.len());
        if lines.len() > room {
            let left_out = lines.len() + 1 - room;
            lines.truncate(room.saturating_sub(1));
            lines.push(format!(
                "  ... {left_out} more lines; --json has everything"
            ));
        }
        lines.extend(hints);
        lines.join("\n")
    }

    /// The instruction, and the source lines that matter in the order in which they ran.
    fn add_places(&self, lines: &mut Vec<String>) {
        let source = self.place.source.as_ref();
        let parts: Vec<String> = [
            source.map(location),
            self.place.insn.as_ref().map(insn_text),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !parts.is_empty() {
            wrap(lines, &format!("  --> {}", parts.join(", ")), "      ");
        }
        let mut shown: Option<&SourceLine> = None;
        for related in &self.related {
            add_related(lines, related, shown);
            shown = related.source.as_ref().or(shown);
        }
        let Some(source) = source.filter(|source| !source.text.trim().is_empty()) else {
            return;
        };
        if shown.is_none_or(|shown| !is_same_line(shown, source)) {
            lines.push(clip(format!("{}{}", gutter(source), source.text.trim())));
        }
        if let Some(caret) = caret(source) {
            lines.push(caret);
        }
    }

    /// The kernel's last words if nobody has explained them, else how many there are.
    fn add_kernel_text(&self, lines: &mut Vec<String>) {
        let Some(text) = &self.kernel_text else {
            return;
        };
        let all: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let is_explained =
            self.category.is_some() || self.facts.iter().any(|fact| fact.label == "verifier");
        let wanted = if is_explained { 0 } else { KERNEL_LINES };
        let from = all.len().saturating_sub(wanted);
        if from > 0 {
            lines.push(format!(
                "  log: {from} lines of the verifier; --log shows them"
            ));
        }
        lines.extend(all[from..].iter().map(|line| clip(format!("  | {line}"))));
    }
}

fn add_related(lines: &mut Vec<String>, related: &Related, shown: Option<&SourceLine>) {
    let insn = related.insn.as_ref().map(insn_text);
    let words = match insn {
        Some(insn) => format!("{}, {insn}", related.label),
        None => related.label.clone(),
    };
    let source = related.source.as_ref();
    match source.filter(|source| !source.text.trim().is_empty()) {
        Some(source) => {
            if shown.is_none_or(|shown| !is_same_line(shown, source)) {
                lines.push(clip(format!("{}{}", gutter(source), source.text.trim())));
            }
            wrap(lines, &format!("{EMPTY_GUTTER}{words}"), EMPTY_GUTTER);
        }
        None => wrap(lines, &format!("  {words}"), "    "),
    }
}

fn is_same_line(one: &SourceLine, other: &SourceLine) -> bool {
    (&one.file, one.line) == (&other.file, other.line)
}

fn insn_text((index, text): &(u32, String)) -> String {
    format!("insn {index}: {text}")
}

/// `file:line:column`, as far as known.
fn location(source: &SourceLine) -> String {
    match (source.line, source.column) {
        (0, _) => source.text.trim().to_owned(),
        (line, 0) => format!("{}:{line}", source.file),
        (line, column) => format!("{}:{line}:{column}", source.file),
    }
}

const EMPTY_GUTTER: &str = "       | ";

fn gutter(source: &SourceLine) -> String {
    match source.line {
        0 => EMPTY_GUTTER.to_owned(),
        line => format!("  {line:>4} | "),
    }
}

/// A mark below the column. Text is shown without its indentation, so the mark moves with it.
fn caret(source: &SourceLine) -> Option<String> {
    let column = usize::try_from(source.column).ok()?.checked_sub(1)?;
    let start = source.text.len() - source.text.trim_start().len();
    let before = source.text.get(start..column)?;
    let width = before.chars().count();
    (width + EMPTY_GUTTER.len() < SCREEN_COLUMNS)
        .then(|| format!("{EMPTY_GUTTER}{}^", " ".repeat(width)))
}

/// A line that ends at the screen's edge.
fn clip(line: String) -> String {
    match line.char_indices().nth(SCREEN_COLUMNS) {
        None => line,
        Some(_) => {
            let kept: String = line.chars().take(SCREEN_COLUMNS - 4).collect();
            format!("{kept} ...")
        }
    }
}

/// Adds a text, broken between words where it meets the screen's edge.
fn wrap(lines: &mut Vec<String>, text: &str, indentation: &str) {
    for (number, whole) in text.lines().enumerate() {
        let mut line = match number {
            0 => String::new(),
            _ => indentation.to_owned(),
        };
        let mut columns = line.chars().count();
        for word in whole.split_inclusive(' ') {
            let width = word.trim_end().chars().count();
            if columns + width > SCREEN_COLUMNS && columns > indentation.len() {
                lines.push(line.trim_end().to_owned());
                line = indentation.to_owned();
                columns = indentation.len();
            }
            line.push_str(word);
            columns += word.chars().count();
        }
        lines.push(line.trim_end().to_owned());
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

#[cfg(test)]
mod tests {
    use super::super::{Category, Code, Diagnosis, Related, SourceLine};

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
    fn a_screen_has_at_most_24_lines_and_keeps_the_help() {
        let mut diagnosis = Diagnosis::new(Code::MAP_DEFINITION, "long").help("do this");
        diagnosis.kernel_text = Some("line\n".repeat(1000));
        for index in 0..100 {
            diagnosis = diagnosis.fact("fact", index);
        }
        let text = diagnosis.render();
        assert!(text.lines().count() <= 24, "{text}");
        assert!(text.ends_with("hint: do this"));
    }

    fn line(line: u32, column: u32, text: &str) -> SourceLine {
        SourceLine {
            file: "a.bpf.c".into(),
            line,
            column,
            text: text.into(),
        }
    }

    #[test]
    fn places_are_shown_in_the_order_they_ran_with_a_mark_at_the_column() {
        let mut diagnosis = Diagnosis::new(Code::NULL_NOT_TESTED, "used before a test");
        diagnosis.category = Some(Category::RegisterType);
        diagnosis.kernel_text = Some("one\ntwo\n".into());
        diagnosis.place.insn = Some((6, "r1 = *(u64 *)(r0 +0)".into()));
        diagnosis.place.source = Some(line(7, 9, "\treturn *value;"));
        diagnosis.related.push(Related {
            label: "r0 comes from here".into(),
            insn: Some((5, "call 1".into())),
            source: Some(line(6, 0, "\tvalue = lookup();")),
        });
        let expected = "\
error[V001]: used before a test
  --> a.bpf.c:7:9, insn 6: r1 = *(u64 *)(r0 +0)
     6 | value = lookup();
       | r0 comes from here, insn 5: call 1
     7 | return *value;
       |        ^
  log: 2 lines of the verifier; --log shows them";
        assert_eq!(diagnosis.render(), expected);
    }

    #[test]
    fn long_lines_are_broken_between_words_and_nothing_is_lost() {
        let words = "word ".repeat(60);
        let text = Diagnosis::new(Code::MAP_DEFINITION, words.trim()).render();
        assert!(text.lines().count() > 1);
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
        assert_eq!(text.matches("word").count(), 60);
    }

    #[test]
    fn odd_columns_and_letters_do_no_harm() {
        for (column, text) in [(u32::MAX, "short"), (2, "é"), (1, ""), (3, "\t\tx")] {
            let mut diagnosis = Diagnosis::new(Code::NULL_NOT_TESTED, "x");
            diagnosis.place.source = Some(line(1, column, text));
            assert!(diagnosis.render().starts_with("error[V001]"));
        }
    }
}
