//! A table of text, the same in the terminal and on a page.

/// A table of text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// One heading a column.
    pub headings: Vec<String>,
    /// Rows of as many cells.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and no row.
    pub fn new<'a>(headings: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            headings: headings.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    /// Rows as columns: a table with more columns than rows is narrower this way.
    pub fn transposed(&self) -> Self {
        let column = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index).cloned());
            cells.collect::<Vec<_>>()
        };
        let with_heading = |(index, heading): (usize, &String)| {
            let mut row = vec![heading.clone()];
            row.extend(column(index));
            row
        };
        let mut lines = self.headings.iter().enumerate().map(with_heading);
        Self {
            headings: lines.next().unwrap_or_default(),
            rows: lines.collect(),
        }
    }

    /// The table in columns of text, the first one aligned left, the others right.
    pub fn to_text(&self) -> String {
        let lines: Vec<&Vec<String>> = std::iter::once(&self.headings).chain(&self.rows).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(width).collect();
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            for (column, (cell, width)) in line.iter().zip(&widths).enumerate() {
                if column == 0 {
                    text += &format!("{cell:<width$}");
                } else {
                    text += &format!("  {cell:>width$}");
                }
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
            if number == 0 {
                let total = widths.iter().sum::<usize>() + 2 * (widths.len().max(1) - 1);
                text += &format!("{}\n", "-".repeat(total));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_columns_line_up() {
        let table = Table {
            headings: vec!["method".into(), "a".into()],
            rows: vec![
                vec!["x".into(), "1.0 ± 2.0".into()],
                vec!["yy".into(), "-".into()],
            ],
        };
        let expected =
            "method          a\n-----------------\nx       1.0 ± 2.0\nyy              -\n";
        assert_eq!(table.to_text(), expected);
    }
}
