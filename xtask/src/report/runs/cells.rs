//! A table whose cells may be marked or shaded.

use std::fmt::Write;

use mic_run::report::page::escape;

/// A table.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells {
    pub(super) headings: Vec<String>,
    pub(super) rows: Vec<Vec<Cell>>,
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cell {
    pub(super) text: String,
    /// Something went wrong there; the text says what.
    pub(super) marked: bool,
    /// 0 to 100: how dark.
    pub(super) shade: Option<f64>,
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self {
            text: text.into(),
            ..Self::default()
        }
    }
}

impl Cell {
    pub(super) fn marked(text: impl Into<String>) -> Self {
        Self {
            marked: true,
            ..Self::from(text.into())
        }
    }

    pub(super) fn shaded(text: impl Into<String>, shade: f64) -> Self {
        Self {
            shade: Some(shade),
            ..Self::from(text.into())
        }
    }
}

impl Cells {
    pub(super) fn new<T: Into<String>>(headings: impl IntoIterator<Item = T>) -> Self {
        Self {
            headings: headings.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// For a page.
    pub(super) fn html(&self, class: &str) -> String {
        let mut html = format!("<div class=\"scroll\"><table class=\"{class}\">\n<thead><tr>");
        for heading in &self.headings {
            let _ = write!(html, "<th scope=\"col\">{}</th>", escape(heading));
        }
        html += "</tr></thead>\n<tbody>\n";
        for row in &self.rows {
            html += "<tr>";
            for (column, cell) in row.iter().enumerate() {
                let text = escape(&cell.text);
                let _ = match (column, cell.marked, cell.shade) {
                    (0, ..) => write!(html, "<th scope=\"row\">{text}</th>"),
                    (_, true, _) => write!(html, "<td class=\"fallen\">{text}</td>"),
                    (_, _, Some(v)) => write!(html, "<td style=\"--v: {v:.0}\">{text}</td>"),
                    _ => write!(html, "<td>{text}</td>"),
                };
            }
            html += "</tr>\n";
        }
        html + "</tbody></table></div>\n"
    }

    /// For a text file.
    pub(super) fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = line(self.headings.iter().map(|h| plain(h)).collect());
        text += &line(self.headings.iter().map(|_| "---".to_owned()).collect());
        for row in &self.rows {
            let cells = row.iter().map(|cell| match cell.marked {
                true => format!("**{}**", plain(&cell.text)),
                false => plain(&cell.text),
            });
            text += &line(cells.collect());
        }
        text
    }
}

fn plain(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_and_shades_are_shown() {
        let mut cells = Cells::new(["a|b", "c"]);
        cells.rows.push(vec!["<x>".into(), Cell::marked("0.0")]);
        cells.rows.push(vec!["y".into(), Cell::shaded("1.0", 50.2)]);
        let html = cells.html("heat");
        assert!(html.contains("&lt;x&gt;") && html.contains("class=\"fallen\">0.0"));
        assert!(html.contains("--v: 50\">1.0"), "{html}");
        let markdown = cells.markdown();
        assert!(markdown.starts_with("| a\\|b | c |\n| --- | --- |\n"));
        assert!(markdown.contains("| <x> | **0.0** |"), "{markdown}");
    }
}
