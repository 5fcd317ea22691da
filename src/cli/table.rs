//! Tables with aligned columns.

/// The alignment of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Formats rows of cells under headings. Columns that are empty in every row are left out.
pub(super) fn aligned(headings: &[(&str, Side)], rows: &[Vec<String>]) -> Vec<String> {
    let shown: Vec<usize> = (0..headings.len())
        .filter(|column| rows.iter().any(|row| !row[*column].is_empty()))
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells
            .chain([headings[column].0.len()])
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: &[&str]| {
        let padded = shown.iter().map(|column| match headings[*column].1 {
            Side::Left => format!("{:<1$}", cells[*column], widths[*column]),
            Side::Right => format!("{:>1$}", cells[*column], widths[*column]),
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let first = line(
        &headings
            .iter()
            .map(|(heading, _)| *heading)
            .collect::<Vec<_>>(),
    );
    let rest = rows
        .iter()
        .map(|row| line(&row.iter().map(String::as_str).collect::<Vec<_>>()));
    [first].into_iter().chain(rest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_empty_ones_vanish() {
        let headings = [
            ("NAME", Side::Left),
            ("N", Side::Right),
            ("CAUSE", Side::Left),
            ("END", Side::Left),
        ];
        let row = |cells: [&str; 4]| cells.map(str::to_owned).to_vec();
        let lines = aligned(
            &headings,
            &[row(["a", "5", "", "x"]), row(["längst", "12", "", ""])],
        );
        assert_eq!(lines, ["NAME     N  END", "a        5  x", "längst  12"]);
    }
}
