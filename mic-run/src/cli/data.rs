//! What the data commands of all tasks have in common: their options and how they end.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::{note, print};
use crate::{Error, Result};

/// The images that a data command looks at: those of a run.
#[derive(Clone, Debug, clap::Args)]
pub struct DataArgs {
    /// The run's TOML file.
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Replace one value of the configuration; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub sets: Vec<String>,
    /// Threads; default: one for each processor.
    #[arg(long, value_name = "NUMBER")]
    pub threads: Option<usize>,
    /// No progress, only the result.
    #[arg(short, long)]
    pub quiet: bool,
}

impl DataArgs {
    /// Threads to read files with.
    pub fn threads(&self) -> usize {
        threads(self.threads)
    }

    /// Progress over `len` images.
    pub fn bar(&self, len: usize) -> ProgressBar {
        bar(len, self.quiet)
    }

    /// A line for people on standard error, unless `--quiet` was given.
    pub fn say(&self, line: &str) {
        if !self.quiet {
            note(line);
        }
    }
}

/// Options of `data check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// The images.
    #[command(flatten)]
    pub run: DataArgs,
    /// Where the page goes.
    #[arg(long, value_name = "FILE", default_value = "check.html")]
    pub html: PathBuf,
    /// Sample pictures of each set on the page.
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    pub samples: usize,
}

/// What a check has to say, in full.
#[derive(Clone, Debug)]
pub struct Checked {
    /// For standard output.
    pub text: String,
    /// The page.
    pub html: String,
    /// The number of findings in words, where there are errors among them.
    pub errors: Option<String>,
}

impl CheckArgs {
    /// Writes the page and prints the text.
    ///
    /// # Errors
    /// [`Error::Run`] for a file that cannot be written, and where the check found errors.
    pub fn conclude(&self, checked: &Checked) -> Result<()> {
        write_text(&self.html, &checked.html)?;
        print(&checked.text)?;
        let page = self.html.display();
        self.run
            .say(&format!("{page} shows this with sample pictures"));
        match &checked.errors {
            None => Ok(()),
            Some(summary) => Err(Error::Run(format!("the data check found {summary}"))),
        }
    }
}

/// Options of `data show`.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    /// The images.
    #[command(flatten)]
    pub run: DataArgs,
    /// Which set. The target is shown without labels.
    #[arg(long, value_enum, default_value = "source")]
    pub of: Which,
    /// Number of images, spread evenly over the set.
    #[arg(long, value_name = "NUMBER", default_value_t = 12)]
    pub count: usize,
    /// Images side by side.
    #[arg(long, value_name = "NUMBER", default_value_t = 4)]
    pub columns: usize,
    /// Largest side of an image on the sheet in pixels.
    #[arg(long, value_name = "PIXELS", default_value_t = 320)]
    pub tile: u32,
    /// The PNG.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

impl ShowArgs {
    /// The chosen set among `source`, `target` and `test`, with its table's name.
    ///
    /// # Errors
    /// [`Error::Usage`] where the configuration has no such table.
    pub fn choose<'a, S>(
        &self,
        source: &'a S,
        target: Option<&'a S>,
        test: Option<&'a S>,
    ) -> Result<(&'static str, &'a S)> {
        let (key, set) = match self.of {
            Which::Source => ("data.source", Some(source)),
            Which::Target => ("data.target", target),
            Which::Test => ("data.test", test),
        };
        let set =
            set.ok_or_else(|| Error::Usage(format!("{key} is missing: there is no such set")))?;
        Ok((key, set))
    }
}

/// A set of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Which {
    /// Labelled images that are trained on.
    Source,
    /// Images of the other domain.
    Target,
    /// Labelled images that evaluation reports on.
    Test,
}

/// The given number of threads, or one for each processor.
pub fn threads(given: Option<usize>) -> usize {
    given.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Progress over `len` things on standard error; nothing where `quiet`.
pub fn bar(len: usize, quiet: bool) -> ProgressBar {
    if quiet {
        ProgressBar::hidden()
    } else {
        ProgressBar::new(len as u64)
    }
}

/// Writes a file whose folder exists.
///
/// # Errors
/// [`Error::Run`] names the file.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|error| Error::Run(format!("cannot write {}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        show: ShowArgs,
    }

    #[test]
    fn the_set_is_chosen_by_name_and_missing_ones_are_told() {
        let choose = |of: &str, target: Option<&'static u8>| {
            let line = format!("p --config a.toml --out a.png --of {of}");
            let show = Program::parse_from(line.split(' ')).show;
            show.choose(&1, target, Some(&3))
                .map(|(key, set)| (key, *set))
        };
        assert_eq!(choose("source", None).unwrap(), ("data.source", 1));
        assert_eq!(choose("target", Some(&2)).unwrap(), ("data.target", 2));
        assert_eq!(choose("test", None).unwrap(), ("data.test", 3));
        let error = choose("target", None).unwrap_err().to_string();
        assert!(error.contains("data.target is missing"), "{error}");
    }

    #[test]
    fn errors_of_a_check_end_in_a_failure_after_everything_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let args = CheckArgs {
            run: DataArgs {
                config: "a.toml".into(),
                sets: Vec::new(),
                threads: None,
                quiet: true,
            },
            html: folder.path().join("check.html"),
            samples: 0,
        };
        let mut checked = Checked {
            text: String::new(),
            html: "page".into(),
            errors: None,
        };
        args.conclude(&checked).unwrap();
        checked.errors = Some("2 errors".into());
        let error = args.conclude(&checked).unwrap_err();
        assert!(matches!(&error, Error::Run(text) if text.contains("2 errors")));
        assert_eq!(std::fs::read_to_string(&args.html).unwrap(), "page");
    }
}
