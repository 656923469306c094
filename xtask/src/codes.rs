//! `docs/CODES.md` from the tables of codes.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use twinbpf_object::diagnosis::{CODES, CodeRow};

const FILE: &str = "docs/CODES.md";

const HEAD: &str = "\
# Codes

Every error of twinbpf has a code that never changes its meaning. `twinbpf explain CODE` prints what stands here; this page is made from
the same tables by `cargo xtask codes`.

A code for a verdict of a verifier (V) also has the kernel's category. The word in parentheses says how a command ends: the exit status is
in the README.
";

/// The letters, and what their codes are about.
const GROUPS: &[(char, &str)] = &[
    ('O', "Object files"),
    ('L', "Linking"),
    ('M', "Maps"),
    ('P', "Programs, before a verifier sees them"),
    ('V', "Verdicts of a verifier"),
    ('A', "Attaching"),
    ('R', "Runs"),
    ('H', "The host around it"),
];

/// Writes the page, or compares it.
///
/// # Errors
///
/// If it cannot be written, or (comparing) differs.
pub(crate) fn run(is_check: bool) -> Result<String, String> {
    let path = page()?;
    let text = render();
    if !is_check {
        fs::write(&path, &text).map_err(|error| format!("{FILE}: {error}"))?;
        return Ok(format!("{FILE}: {} codes", CODES.len()));
    }
    match fs::read_to_string(&path) {
        Ok(found) if found == text => Ok(format!("{FILE} is what the tables say")),
        _ => Err(format!(
            "{FILE} is not what the tables say: run `cargo xtask codes`"
        )),
    }
}

fn page() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.map(|root| root.join(FILE))
        .ok_or_else(|| "xtask lies in the repository".to_owned())
}

fn render() -> String {
    let mut text = HEAD.to_owned();
    for (letter, title) in GROUPS {
        add(&mut text, &format!("\n## {letter}: {title}"));
        for row in CODES
            .iter()
            .filter(|row| row.code.as_str().starts_with(*letter))
        {
            add_row(&mut text, row);
        }
    }
    text
}

fn add_row(text: &mut String, row: &CodeRow) {
    let kind = words_of(&format!("{:?}", row.kind));
    add(text, &format!("\n### {}: {}\n", row.code, row.title));
    let Some(explanation) = row.code.explanation() else {
        add(text, &format!("({kind})"));
        return;
    };
    let category = explanation
        .category
        .map_or(String::new(), |category| format!("{}; ", category.name()));
    add(
        text,
        &format!("({category}{kind}) Cause: {}.\n", explanation.cause),
    );
    if !explanation.example.is_empty() {
        add(text, &format!("```c\n{}\n```\n", explanation.example));
    }
    add(text, &format!("What to do: {}.", explanation.help));
}

/// `bad object` from `BadObject`
fn words_of(name: &str) -> String {
    let mut words = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !words.is_empty() {
            words.push(' ');
        }
        words.push(letter.to_ascii_lowercase());
    }
    words
}

fn add(text: &mut String, line: &str) {
    // Writing into a string cannot fail.
    let _ = writeln!(text, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_what_the_tables_say() {
        if let Err(reason) = run(true) {
            assert_eq!(reason, "");
        }
    }

    #[test]
    fn every_code_is_on_the_page() {
        let text = render();
        for row in CODES {
            assert!(
                text.contains(&format!("### {}: ", row.code)),
                "{}",
                row.code
            );
        }
    }
}
