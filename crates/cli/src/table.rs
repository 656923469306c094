//! Columns of text.

/// Rows as aligned columns, two blanks apart, each line indented by two; the last column is not padded.
pub(crate) fn render<const N: usize>(heading: [&str; N], rows: &[[String; N]]) -> String {
    let heading = heading.map(str::to_owned);
    let all = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| {
        all()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let lines = all().map(|row| {
        let cells = row.iter().zip(widths);
        let padded: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("  {}", padded.join("  ").trim_end())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["my_map".to_owned(), "array".to_owned()],
            ["m".to_owned(), "hash".to_owned()],
        ];
        assert_eq!(
            super::render(["NAME", "TYPE"], &rows),
            "  NAME    TYPE\n  my_map  array\n  m       hash"
        );
    }
}
