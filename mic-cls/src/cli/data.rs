//! `mic-cls data`: checking, counting and showing the images of a run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mic_data::check::{Report, Table, thousands};
use mic_data::classification::{
    ClassSubject, ClassifiedSet, LookedAt, SourceConfig, add_class_pictures, check_class_set,
    check_shared, class_table,
};
use mic_data::datasets::{FileSet, ImageFolder};
use mic_data::files::write_rgb;
use mic_data::findings::Severity;
use mic_run::cli::data::{CheckArgs, Checked, DataArgs, ShowArgs, Which, write_text};
use mic_run::cli::{json, message, print};
use serde::Serialize;

use crate::config::{Config, SetConfig};
use crate::sets::{self, Sets};
use crate::{Error, Result, train};

/// Faulty lines of a list that are told one by one.
const LISTED_FAULTS: usize = 10;

/// Check, count and show the images of a run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read all images and tell what is wrong with them.
    ///
    /// Prints tables and findings and writes them with sample pictures to an HTML file. Exits with 1
    /// if there are errors: files that cannot be read, lists with wrong lines, a class that one
    /// domain has and another lacks, a source class without images, fewer images than a batch.
    /// Classes of the target are never counted.
    #[command(after_help = "Example:
  mic-cls data check --config my.toml --html check.html")]
    Check(CheckArgs),
    Stats(StatsArgs),
    /// Draw images of a set on one PNG.
    #[command(after_help = "Example:
  mic-cls data show --config my.toml --of test --count 12 --out test.png")]
    Show(ShowArgs),
}

/// Count the images of each class, in the source and in the test images.
///
/// Reads lists and folders, but no image. Classes of the target are not counted.
#[derive(Debug, clap::Args)]
struct StatsArgs {
    #[command(flatten)]
    run: DataArgs,
    /// Write the counts to this file, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(super) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Stats(args) => stats(args),
        Command::Show(args) => show(args),
    }
}

fn configuration(args: &DataArgs) -> Result<Config> {
    Config::from_file(&args.config, &args.sets)
}

/// A set opened with the classes that may be looked at.
enum Opened {
    Classified(Arc<dyn ClassifiedSet>),
    WithoutClasses(Arc<dyn ClassifiedSet>),
    Files(FileSet),
}

impl Opened {
    fn open(set: &SetConfig, labelled: bool) -> Result<Self> {
        if let SourceConfig::Images { root, suffix } = &set.images {
            let files = ImageFolder::open(root, suffix);
            let files = files.map_err(|error| Error::Config(format!("{}: {error}", set.key)))?;
            return Ok(Self::Files(files.into_files()));
        }
        let opened = sets::labelled(set)?;
        Ok(match labelled {
            true => Self::Classified(opened),
            false => Self::WithoutClasses(opened),
        })
    }

    fn subject(&self) -> ClassSubject<'_> {
        match self {
            Self::Classified(set) => ClassSubject::Classified(set),
            Self::WithoutClasses(set) => ClassSubject::WithoutClasses(set),
            Self::Files(files) => ClassSubject::Files(files),
        }
    }
}

fn check(args: &CheckArgs) -> Result<()> {
    let config = configuration(&args.run)?;
    let mut report = Report::new(args.run.config.display().to_string());
    let data = &config.data;
    let mut all: Vec<(LookedAt, Opened)> = Vec::new();
    let target = data.target.iter().map(|set| (set, false));
    let test = data.test.iter().map(|set| (set, true));
    for (set, labelled) in [(&data.source, true)].into_iter().chain(target).chain(test) {
        // What cannot be opened is one more thing to tell; the other sets are checked all the same.
        let opened = match Opened::open(set, labelled) {
            Ok(opened) => opened,
            Err(error) => {
                tell_unopened(&mut report, set, &error);
                continue;
            }
        };
        let subject = opened.subject();
        let bar = args.run.bar(subject.len());
        let looked = || bar.inc(1);
        let threads = args.run.threads();
        let seen = check_class_set(&mut report, &set.key, subject, threads, &looked)?;
        bar.finish_and_clear();
        add_class_pictures(&mut report, &set.key, subject, args.samples);
        all.push((seen, opened));
    }
    if let Some(((source, first), others)) = all.split_first()
        && source.key == data.source.key
    {
        for (other, second) in others {
            let (first, second) = (first.subject(), second.subject());
            check_shared(&mut report, (source, first), (other, second));
        }
        if let Opened::Classified(set) = first {
            let seen: Vec<&LookedAt> = all.iter().map(|(seen, _)| seen).collect();
            report.tables.push(class_table(set.class_names(), &seen));
        }
    }
    if report.is_clean() {
        tell_training_fault(&mut report, &config);
    }
    Ok(args.conclude(&Checked {
        text: report.to_text(),
        html: report.to_html()?,
        errors: (!report.is_clean()).then(|| report.summary()),
    })?)
}

/// Why a set cannot be opened: of a list all wrong lines.
fn tell_unopened(report: &mut Report, set: &SetConfig, error: &Error) {
    let faults = set.images.list_faults();
    if faults.is_empty() {
        report.find(Severity::Error, None, message(error));
        return;
    }
    let key = &set.key;
    for fault in faults.iter().take(LISTED_FAULTS) {
        report.find(Severity::Error, None, format!("{key}: {fault}"));
    }
    if let Some(more @ 1..) = faults.len().checked_sub(LISTED_FAULTS) {
        let message = format!("{key}: {more} more lines are wrong");
        report.find(Severity::Error, None, message);
    }
}

/// What training with these sets would refuse.
fn tell_training_fault(report: &mut Report, config: &Config) {
    let checked = Sets::open(config).and_then(|sets| train::check(config, &sets));
    if let Err(error) = checked {
        report.find(Severity::Error, None, message(&error));
    }
}

/// What `--json` writes.
#[derive(Serialize)]
struct Stats<'a> {
    /// Images of each set by class.
    classes: BTreeMap<&'a str, BTreeMap<&'a str, u64>>,
    /// Images of each set, those of the target among them.
    images: BTreeMap<&'a str, usize>,
}

fn stats(args: &StatsArgs) -> Result<()> {
    let config = configuration(&args.run)?;
    let data = &config.data;
    let source = sets::labelled(&data.source)?;
    let names = source.class_names();
    let mut rows: Vec<LookedAt> = vec![count(&data.source, source.as_ref())];
    if let Some(set) = &data.target {
        let opened = Opened::open(set, false)?;
        rows.push(LookedAt::new(&set.key, opened.subject().len(), None));
    }
    if let Some(set) = &data.test {
        let opened = sets::test_set(set, ("the source", names))?;
        rows.push(count(set, opened.as_ref()));
    }
    if let Some(path) = &args.json {
        let classes = rows.iter().filter_map(|set| {
            let counts = names
                .iter()
                .map(String::as_str)
                .zip(set.counts.clone()?)
                .collect();
            Some((set.key.as_str(), counts))
        });
        let images = rows.iter().map(|set| (set.key.as_str(), set.images));
        let stats = Stats {
            classes: classes.collect(),
            images: images.collect(),
        };
        write_text(path, &json(&stats)?)?;
    }
    let shown: Vec<&LookedAt> = rows.iter().collect();
    let images = Table {
        title: args.run.config.display().to_string(),
        head: ["set", "images"].map(str::to_owned).to_vec(),
        rows: rows
            .iter()
            .map(|set| vec![set.key.clone(), thousands(set.images as u64)])
            .collect(),
        colours: Vec::new(),
    };
    let text = images.to_text() + "\n" + &class_table(names, &shown).to_text();
    Ok(print(&text)?)
}

fn count(set: &SetConfig, images: &dyn ClassifiedSet) -> LookedAt {
    LookedAt::new(&set.key, images.len(), Some(sets::class_counts(images)))
}

fn show(args: &ShowArgs) -> Result<()> {
    let config = configuration(&args.run)?;
    let data = &config.data;
    let (key, set) = args.choose(&data.source, data.target.as_ref(), data.test.as_ref())?;
    let opened = Opened::open(set, args.of != Which::Target)?;
    let mut report = Report::new(key);
    add_class_pictures(&mut report, key, opened.subject(), args.count);
    let sheet = report.contact_sheet(args.columns, args.tile)?;
    let sheet = sheet.ok_or_else(|| {
        Error::Run(format!(
            "{key}: none of the images can be shown; see mic-cls data check"
        ))
    })?;
    write_rgb(&args.out, &sheet)?;
    let count = report.pictures.len();
    args.run
        .say(&format!("{count} images in {}", args.out.display()));
    Ok(())
}
