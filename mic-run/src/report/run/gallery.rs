//! Sample pictures at several steps.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::classes::spread;
use crate::pictures::{self, PictureFile};
use crate::report::base64;
use crate::report::page::escape;
use crate::{Error, Result, png};

/// Most things shown, and most steps of each.
const NAMES: usize = 8;
const STEPS: usize = 6;
/// A picture is at most this wide on the page.
const WIDEST: u32 = 512;
/// Bytes of all pictures on the page.
const BUDGET: usize = 12 << 20;

/// Pictures as they stand on the page, kept from one drawing to the next.
#[derive(Debug, Default)]
pub(in crate::report) struct Gallery {
    kept: HashMap<PathBuf, Kept>,
}

#[derive(Debug)]
struct Kept {
    /// When the file was written and how long it is: another file has taken the name otherwise.
    version: (Option<SystemTime>, u64),
    width: u32,
    height: u32,
    /// A `data:` address.
    address: String,
}

impl Gallery {
    /// The section, or nothing where there are no pictures. A picture that cannot be read is said
    /// to be so in its place.
    pub(super) fn section(&mut self, run_folder: &Path) -> String {
        let files = match pictures::list(run_folder) {
            Ok(files) => files,
            Err(error) => {
                let error = escape(&error.to_string());
                return format!(
                    "<section id=\"pictures\"><p class=\"scope\">{error}</p></section>"
                );
            }
        };
        let mut names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        names.dedup();
        if names.is_empty() {
            return String::new();
        }
        let mut html = "<section id=\"pictures\">\n<h2>Pictures</h2>\n".to_owned();
        if names.len() > NAMES {
            let _ = writeln!(
                html,
                "<p class=\"soft\">{NAMES} of {}; all are in the folder pictures.</p>",
                names.len()
            );
        }
        let mut shown = Vec::new();
        let mut bytes = 0;
        for name in names.into_iter().take(NAMES) {
            let of_name: Vec<&PictureFile> = files.iter().filter(|f| f.name == name).collect();
            let _ = write!(
                html,
                "<h3>{}</h3>\n<div class=\"pictures steps\">",
                escape(name)
            );
            for place in spread(of_name.len(), STEPS) {
                let file = of_name[place];
                let figure = self.figure(file);
                bytes += figure.len();
                if bytes <= BUDGET {
                    html += &figure;
                }
                shown.push(file.path.clone());
            }
            html += "</div>\n";
        }
        if bytes > BUDGET {
            html += "<p class=\"soft\">The other pictures would make the page too large.</p>\n";
        }
        self.kept.retain(|path, _| shown.contains(path));
        html + "</section>"
    }

    fn figure(&mut self, file: &PictureFile) -> String {
        let caption = format!("step {}", file.step);
        match self.kept(file) {
            Ok(Kept {
                width,
                height,
                address,
                ..
            }) => format!(
                "<figure><img alt=\"{} at {caption}\" width=\"{width}\" height=\"{height}\" \
                 src=\"{address}\"><figcaption>{caption}</figcaption></figure>",
                escape(&file.name)
            ),
            Err(error) => format!(
                "<figure><p class=\"soft\">{}</p><figcaption>{caption}</figcaption></figure>",
                escape(&error.to_string())
            ),
        }
    }

    fn kept(&mut self, file: &PictureFile) -> Result<&Kept> {
        let about = fs::metadata(&file.path).map_err(Error::io(&file.path))?;
        let version = (about.modified().ok(), about.len());
        let fresh = self
            .kept
            .get(&file.path)
            .is_some_and(|kept| kept.version == version);
        if !fresh {
            let picture = png::shrink(png::read(&file.path, &file.name)?, WIDEST);
            let kept = Kept {
                version,
                width: picture.width,
                height: picture.height,
                address: format!(
                    "data:image/png;base64,{}",
                    base64::encode(&png::encode(&picture)?)
                ),
            };
            self.kept.insert(file.path.clone(), kept);
        }
        let kept = self.kept.get(&file.path);
        kept.ok_or_else(|| Error::damaged(&file.path, "the picture was lost"))
    }
}
