//! A report as one HTML file that needs no other.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::ImageEncoder;
use image::codecs::jpeg::JpegEncoder;

use super::report::{Picture, Report, Table};
use crate::findings::Severity;
use crate::{Error, Result};

/// Findings of one severity that are listed.
const MOST: usize = 200;

/// Narrow screens get one column of pictures, and tables that scroll by themselves.
const STYLE: &str = "
:root { color-scheme: light dark; --line: #8885; --bad: #c62828; --warn: #b26a00; --good: #2e7d32 }
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --warn: #ffb74d; --good: #81c784 } }
* { box-sizing: border-box }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 0 auto; padding: 1rem }
h1 { font-size: 1.4rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 2rem }
.sum { font-weight: 600 } .error { color: var(--bad) } .warning { color: var(--warn) }
.clean { color: var(--good) }
ul { padding-left: 0; list-style: none }
li { border-top: 1px solid var(--line); padding: .5rem 0; overflow-wrap: anywhere }
li b { text-transform: uppercase; font-size: .75rem; margin-right: .4rem }
code { font-size: .9em }
.wide { overflow-x: auto } table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .6rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left }
i { display: inline-block; width: .9em; height: .9em; margin-right: .5em; vertical-align: -.1em;
  border: 1px solid var(--line) }
.pictures { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)) }
figure { margin: 0 } img { width: 100%; height: auto; display: block }
figcaption { font-size: .85rem; overflow-wrap: anywhere }
";

impl Report {
    /// One page: findings, tables, pictures (as JPEG).
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if a picture cannot be encoded (it has no pixel).
    pub fn to_html(&self) -> Result<String> {
        let title = escape(&self.title);
        let state = if self.is_clean() { "clean" } else { "error" };
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n\
             <p class=\"sum {state}\">{}</p>\n",
            self.summary()
        );
        if !self.findings.is_empty() {
            page.push_str("<h2>Findings</h2>\n<ul>\n");
            for severity in [Severity::Error, Severity::Warning, Severity::Note] {
                self.list(severity, &mut page);
            }
            page.push_str("</ul>\n");
        }
        for table in &self.tables {
            page.push_str(&table.to_html());
        }
        if !self.pictures.is_empty() {
            page.push_str("<h2>Samples</h2>\n<div class=\"pictures\">\n");
            for picture in &self.pictures {
                page.push_str(&picture.to_html()?);
            }
            page.push_str("</div>\n");
        }
        page.push_str("</body></html>\n");
        Ok(page)
    }

    fn list(&self, severity: Severity, page: &mut String) {
        let (findings, more) = self.first(severity, MOST);
        let mark = format!("<b class=\"{severity}\">{severity}</b>");
        for finding in findings {
            let file = finding.file.as_ref();
            let file = file.map_or(String::new(), |path| {
                format!("<code>{}</code><br>", escape(&path.display().to_string()))
            });
            let _ = writeln!(page, "<li>{mark}{file}{}</li>", escape(&finding.message));
        }
        if more > 0 {
            let _ = writeln!(page, "<li>{mark}... and {more} more of these</li>");
        }
    }
}

impl Table {
    fn to_html(&self) -> String {
        let row = |cells: &[String], tag: &str, colour: Option<&[u8; 3]>| {
            let mut line = "<tr>".to_owned();
            for (column, cell) in cells.iter().enumerate() {
                let swatch = colour
                    .filter(|_| column == 0)
                    .map_or(String::new(), |[r, g, b]| {
                        format!("<i style=\"background:#{r:02x}{g:02x}{b:02x}\"></i>")
                    });
                let _ = write!(line, "<{tag}>{swatch}{}</{tag}>", escape(cell));
            }
            line + "</tr>\n"
        };
        let mut html = format!(
            "<h2>{}</h2>\n<div class=\"wide\"><table>\n{}",
            escape(&self.title),
            row(&self.head, "th", None)
        );
        for (index, cells) in self.rows.iter().enumerate() {
            html.push_str(&row(cells, "td", self.colours.get(index)));
        }
        html + "</table></div>\n"
    }
}

impl Picture {
    fn to_html(&self) -> Result<String> {
        let (width, height) = self.image.dimensions();
        let mut jpeg = Vec::new();
        JpegEncoder::new_with_quality(&mut jpeg, 85)
            .write_image(&self.image, width, height, image::ExtendedColorType::Rgb8)
            .map_err(|error| Error::Invalid(format!("picture {:?}: {error}", self.caption)))?;
        let caption = escape(&self.caption);
        Ok(format!(
            "<figure><img width=\"{width}\" height=\"{height}\" alt=\"{caption}\" \
             src=\"data:image/jpeg;base64,{}\"><figcaption>{caption}</figcaption></figure>\n",
            STANDARD.encode(&jpeg)
        ))
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_page_tell_everything_and_markup_is_escaped() {
        let mut report = Report::new("a <b>.toml");
        report.find(Severity::Warning, None, "5 < 6 & \"7\"");
        report.find(Severity::Error, Some("x/y.png".into()), "cut short");
        for index in 0..25 {
            report.find(Severity::Note, None, format!("note {index}"));
        }
        report.tables.push(Table {
            title: "pixels".into(),
            head: vec!["class".into(), "n".into()],
            rows: vec![vec!["road".into(), "12".into()]],
            colours: vec![[128, 64, 128]],
        });
        let text = report.to_text();
        let at = |part: &str| {
            text.find(part)
                .unwrap_or_else(|| panic!("{part:?}: {text}"))
        };
        assert!(at("error: x/y.png: cut short") < at("warning: 5 < 6"));
        at("and 5 more");
        at("  road   12");
        at("1 error, 1 warning, 25 notes");
        assert!(!report.is_clean());
        let page = report.to_html().unwrap();
        for part in [
            "a &lt;b&gt;.toml",
            "5 &lt; 6 &amp; &quot;7&quot;",
            "#804080",
            "note 24",
        ] {
            assert!(page.contains(part), "{part:?}: {page}");
        }
    }
}
