//! `mic-seg data`: checking, counting, preparing and showing the images of a run.

use std::path::PathBuf;

use mic_data::check::{Report, Subject, Table, add_pictures, check_domains, check_set, thousands};
use mic_data::class_stats::{self, CachedStats};
use mic_data::datasets::FileSet;
use mic_data::files::write_rgb;
use mic_data::findings::Severity;
use mic_data::prepare::{Preparation, PreparedSet, prepare};
use mic_data::{LabelledSet, RareClassSampler, RcsConfig};

use crate::config::{Config, SetConfig, SetKind};
use crate::{Error, Result, sets};
use mic_run::cli::data::{CheckArgs, Checked, DataArgs, ShowArgs, Which, bar, threads};
use mic_run::cli::{message, note, print};

/// Check, count, prepare and show the images of a run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read all images and labels and tell what is wrong with them.
    ///
    /// Prints tables and findings and writes them with sample overlays to an HTML file. Exits with 1
    /// if there are errors: files that cannot be read, labels without image size or class, ids
    /// outside the label map. Label files of the target are never read.
    #[command(after_help = "Example:
  mic-seg data check --config my.toml --html check.html")]
    Check(CheckArgs),
    Stats(StatsArgs),
    Prepare(PrepareArgs),
    /// Draw images of a set, with their labels laid over them, on one PNG.
    #[command(after_help = "Example:
  mic-seg data show --config my.toml --of test --count 12 --out test.png")]
    Show(ShowArgs),
}

/// Count the pixels of each class in the source, as rare class sampling needs them.
///
/// The counts are kept beside the images (or in data.stats_cache), where training finds them; counts
/// that are there and not older than the labels are used.
#[derive(Debug, clap::Args)]
struct StatsArgs {
    #[command(flatten)]
    run: DataArgs,
    /// Also write the three JSON files (sample_class_stats.json, sample_class_stats_dict.json,
    /// samples_with_class.json) to this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Convert the labels of a published set to train ids and count their classes.
///
/// Writes *_labelTrainIds.png beside the published labels and three JSON files with class statistics
/// to the folder of the set. Labels that are done already are kept, so a stopped preparation goes
/// on. Training works without: it then converts labels as it reads them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-seg data prepare gta data/gta
  mic-seg data prepare cityscapes data/cityscapes --threads 8")]
struct PrepareArgs {
    /// The set.
    set: SetName,
    /// Its folder.
    root: PathBuf,
    /// Folder of the labels below it, if not labels, GT/LABELS or gtFine.
    #[arg(long, value_name = "DIR")]
    gt_dir: Option<PathBuf>,
    /// Folder for the statistics, if not that of the set.
    #[arg(short, long, value_name = "DIR")]
    out_dir: Option<PathBuf>,
    /// Threads; default: one for each processor.
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// Convert all labels anew.
    #[arg(long)]
    again: bool,
    /// No progress.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum SetName {
    Gta,
    Synthia,
    Cityscapes,
}

fn configuration(args: &DataArgs) -> Result<Config> {
    Config::from_file(&args.config, &args.sets)
}

pub(super) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Stats(args) => stats(args),
        Command::Prepare(args) => run_prepare(args),
        Command::Show(args) => show(args),
    }
}

/// A set opened with the labels that may be looked at.
enum Opened {
    Files(FileSet),
    Made(std::sync::Arc<dyn LabelledSet>),
}

impl Opened {
    fn open(set: &SetConfig, config: &Config, labelled: bool) -> Result<Self> {
        Ok(match sets::files(set, &config.classes, labelled)? {
            Some(files) => Self::Files(files),
            None => Self::Made(sets::labelled(set, &config.classes)?),
        })
    }

    fn subject(&self) -> Subject<'_> {
        match self {
            Self::Files(files) => Subject::Files(files),
            Self::Made(set) => Subject::Made(set.as_ref()),
        }
    }
}

fn check(args: &CheckArgs) -> Result<()> {
    let config = configuration(&args.run)?;
    let threads = args.run.threads();
    let mut report = Report::new(args.run.config.display().to_string());
    let data = &config.data;
    let sets = [Some(&data.source), data.target.as_ref(), data.test.as_ref()];
    let mut opened = Vec::new();
    for (place, set) in sets.into_iter().enumerate() {
        let Some(set) = set else {
            opened.push(None);
            continue;
        };
        // What cannot be opened is one more thing to tell; the other sets are checked all the same.
        match Opened::open(set, &config, place != 1) {
            Ok(set) => opened.push(Some(set)),
            Err(error) => {
                report.find(Severity::Error, None, message(&error));
                opened.push(None);
            }
        }
    }
    let subjects = opened.iter().map(|set| set.as_ref().map(Opened::subject));
    let subjects: Vec<Option<Subject<'_>>> = subjects.collect();
    for (set, subject) in sets.into_iter().zip(&subjects) {
        let (Some(set), Some(subject)) = (set, subject) else {
            continue;
        };
        note_size(&mut report, set, subject.len());
        let bar = args.run.bar(subject.len());
        let looked = || bar.inc(1);
        let key = &set.key;
        let stats = check_set(
            &mut report,
            key,
            *subject,
            &config.classes,
            threads,
            &looked,
        )?;
        bar.finish_and_clear();
        if let (Some(stats), Some(rcs)) = (stats, &data.pipeline.rcs)
            && set.key == data.source.key
            && let Err(error) = RareClassSampler::new(&stats, rcs)
        {
            let message = format!("data.rare_class_sampling: {error}");
            report.find(Severity::Error, None, message);
        }
        add_pictures(&mut report, key, *subject, &config.classes, args.samples);
    }
    if let [Some(source), Some(target), _] = subjects[..] {
        check_domains(&mut report, source, target);
    }
    Ok(args.conclude(&Checked {
        text: report.to_text(),
        html: report.to_html()?,
        errors: (!report.is_clean()).then(|| report.summary()),
    })?)
}

/// A copy of a published set that is not whole should be so on purpose.
fn note_size(report: &mut Report, set: &SetConfig, count: usize) {
    let SetKind::Published {
        part, list: None, ..
    } = &set.kind
    else {
        return;
    };
    if let Some(published) = part.published().filter(|published| *published != count) {
        let message = format!(
            "{}: {count} images, as published the set has {published}",
            set.key
        );
        report.find(Severity::Note, None, message);
    }
}

fn stats(args: &StatsArgs) -> Result<()> {
    let config = configuration(&args.run)?;
    let bar = args.run.bar(0);
    let CachedStats {
        stats,
        read_from,
        notes,
        ..
    } = sets::source_stats(&config, args.run.threads(), &|| bar.inc(1))?;
    bar.finish_and_clear();
    if !args.run.quiet {
        notes.iter().for_each(|text| note(text));
        if let Some(folder) = &read_from {
            note(&format!("class statistics read from {}", folder.display()));
        }
    }
    if let Some(out) = &args.out {
        let files = sets::files(&config.data.source, &config.classes, true)?;
        let files = files.ok_or_else(|| {
            Error::Config("--out: data.source is made of no files that could be listed".into())
        })?;
        std::fs::create_dir_all(out)
            .map_err(|error| Error::Run(format!("cannot write {}: {error}", out.display())))?;
        class_stats::write_entries(out, &class_stats::entries(&files, &stats))?;
    }
    let default = RcsConfig::default();
    let rcs = config.data.pipeline.rcs.as_ref().unwrap_or(&default);
    let sampler = RareClassSampler::new(&stats, rcs);
    if let (Err(error), true) = (&sampler, config.data.pipeline.rcs.is_some()) {
        note(&format!("data.rare_class_sampling: {error}"));
    }
    let totals = stats.totals();
    let all: u64 = totals.iter().sum();
    let rows = config
        .classes
        .names()
        .iter()
        .enumerate()
        .map(|(class, name)| {
            let images = stats
                .counts()
                .iter()
                .filter(|counts| counts[class] > 0)
                .count();
            let probability = sampler.as_ref().ok().and_then(|sampler| {
                let place = sampler
                    .classes()
                    .iter()
                    .position(|id| usize::from(*id) == class)?;
                Some(format!("{:.5}", sampler.probabilities()[place]))
            });
            vec![
                name.clone(),
                thousands(totals[class]),
                format!("{:.4}", 100.0 * totals[class] as f64 / all.max(1) as f64),
                thousands(images as u64),
                probability.unwrap_or_else(|| "-".into()),
            ]
        });
    let table = Table {
        title: format!(
            "{} images of {}",
            stats.names().len(),
            config.data.source.key
        ),
        head: ["class", "pixels", "%", "images", "drawn"]
            .map(str::to_owned)
            .to_vec(),
        rows: rows.collect(),
        colours: Vec::new(),
    };
    Ok(print(&table.to_text())?)
}

fn run_prepare(args: &PrepareArgs) -> Result<()> {
    let preparation = Preparation {
        set: match args.set {
            SetName::Gta => PreparedSet::Gta,
            SetName::Synthia => PreparedSet::Synthia,
            SetName::Cityscapes => PreparedSet::Cityscapes,
        },
        root: args.root.clone(),
        labels: args.gt_dir.clone(),
        out: args.out_dir.clone(),
        threads: threads(args.threads),
        again: args.again,
    };
    let bar = bar(0, args.quiet);
    let prepared = prepare(&preparation, &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let prepared = prepared?;
    Ok(print(&format!(
        "{} labels: {} converted, {} were done already; class statistics of {} in {}\n",
        prepared.labels,
        prepared.converted,
        prepared.labels - prepared.converted,
        prepared.counted,
        prepared.out.display()
    ))?)
}

fn show(args: &ShowArgs) -> Result<()> {
    let config = configuration(&args.run)?;
    let data = &config.data;
    let (key, set) = args.choose(&data.source, data.target.as_ref(), data.test.as_ref())?;
    let opened = Opened::open(set, &config, args.of != Which::Target)?;
    let mut report = Report::new(key);
    add_pictures(
        &mut report,
        key,
        opened.subject(),
        &config.classes,
        args.count,
    );
    let sheet = report.contact_sheet(args.columns, args.tile)?;
    let sheet = sheet.ok_or_else(|| {
        Error::Run(format!(
            "{key}: none of the images can be shown; see mic-seg data check"
        ))
    })?;
    write_rgb(&args.out, &sheet)?;
    let count = report.pictures.len();
    args.run
        .say(&format!("{count} images in {}", args.out.display()));
    Ok(())
}
