//! Flavours: several versions of one type in one program, told apart by what follows three underscores.
//!
//! ```text
//! task_struct___old   is   task_struct
//! ```

/// The name without its flavour.
///
/// Three underscores cut only between characters that are none, and the last such place counts.
pub fn essential_name(name: &str) -> &str {
    let bytes = name.as_bytes();
    let cut = bytes.windows(5).rposition(|window| {
        matches!(window, [before, b'_', b'_', b'_', after] if *before != b'_' && *after != b'_')
    });
    // The place is between two ASCII underscores' neighbours, so it is a character's boundary.
    cut.and_then(|position| name.get(..=position))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_three_underscores_between_other_characters_cut() {
        for (name, essential) in [
            ("task_struct", "task_struct"),
            ("task_struct___old", "task_struct"),
            ("a___b___c", "a___b"),
            ("a____b", "a____b"),
            ("a__b", "a__b"),
            ("___b", "___b"),
            ("a___", "a___"),
            ("", ""),
            ("ü___b", "ü"),
        ] {
            assert_eq!(essential_name(name), essential, "{name}");
        }
    }
}
