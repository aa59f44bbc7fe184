//! The parts that pages have in common.

use std::fmt::Write;

use super::table::Table;

const STYLE: &str = include_str!("style.css");

/// A whole page without any outside reference, for a browser or a phone, light or dark.
/// `head` goes into its head, such as `<meta>` elements; `body` is its body.
pub fn document(title: &str, head: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n{head}\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
}

/// Text for the inside of an element or an attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// A table; `-` alone becomes a dash, and a minus sign is as wide as a digit.
pub fn grid(class: &str, table: &Table) -> String {
    let mut html = format!("<div class=\"scroll\"><table class=\"{class}\">\n<thead><tr>");
    for heading in &table.headings {
        let _ = write!(html, "<th scope=\"col\">{}</th>", escape(heading));
    }
    html += "</tr></thead>\n<tbody>\n";
    for row in &table.rows {
        html += "<tr>";
        for (column, cell) in row.iter().enumerate() {
            // U+2212 and U+2013 are as wide as the digits beside them.
            let cell = match escape(cell) {
                cell if cell == "-" => "\u{2013}".into(),
                cell if column > 0 && cell.starts_with('-') => cell.replacen('-', "\u{2212}", 1),
                cell => cell,
            };
            let _ = match column {
                0 => write!(html, "<th scope=\"row\">{cell}</th>"),
                _ => write!(html, "<td>{cell}</td>"),
            };
        }
        html += "</tr>\n";
    }
    html + "</tbody></table></div>\n"
}

/// A chart under its title.
pub fn card(title: &str, svg: &str) -> String {
    format!(
        "<div class=\"chart\"><h3>{}</h3>{svg}</div>\n",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(escape("\"a\" <'&"), "&quot;a&quot; &lt;&#39;&amp;");
        assert!(document("<a>", "", "").contains("<title>&lt;a&gt;</title>"));
    }

    #[test]
    fn minus_signs_and_dashes_are_as_wide_as_digits() {
        let mut table = Table::new(["a", "b", "c"]);
        table.rows.push(vec!["-1".into(), "-1".into(), "-".into()]);
        let html = grid("x", &table);
        assert!(html.contains("<th scope=\"row\">-1</th><td>\u{2212}1</td><td>\u{2013}</td>"));
    }
}
