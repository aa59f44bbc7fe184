//! `mic-det data`: checking, preparing and showing the images of a run.

use std::path::PathBuf;

use mic_data::check::{Report, Table, thousands};
use mic_data::detection::{
    Conversion, DetectionImages, DetectionSet, check_detection, check_detection_domains,
    convert_cityscapes,
};
use mic_data::files::write_rgb;
use mic_data::findings::Severity;
use mic_run::cli::data::{CheckArgs, Checked, DataArgs, ShowArgs, Which, bar, threads};
use mic_run::cli::{message, print};
use rayon::prelude::*;

use crate::config::Config;
use crate::pictures::{annotated_samples, image_samples};
use crate::sets::{annotated, images, test_set};
use crate::{Error, Result};

/// Check, prepare and show the images of a run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Read all images and annotations and tell what is wrong with them.
    ///
    /// Prints tables and findings and writes them with sample images to an HTML file. Exits with 1
    /// if there are errors: files that cannot be read, images of another size than annotated, labels
    /// that are no class. Of the target only the images are looked at.
    #[command(after_help = "Example:
  mic-det data check --config my.toml --html check.html")]
    Check(CheckArgs),
    Prepare(PrepareArgs),
    /// Draw images of a set, with their boxes, on one PNG.
    #[command(after_help = "Example:
  mic-det data show --config my.toml --of test --count 12 --out test.png")]
    Show(ShowArgs),
}

/// Write the COCO files of Cityscapes or Foggy Cityscapes.
///
/// ROOT is the folder of all data sets, with cityscapes/gtFine in it; the files go to
/// cityscapes/annotations or foggy_cityscapes/annotations. Boxes are those of the published
/// conversion. A preparation that was stopped goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  mic-det data prepare cityscapes data
  mic-det data prepare foggy-cityscapes data --beta 0.02")]
struct PrepareArgs {
    /// The set.
    set: SetName,
    /// Folder of all data sets.
    root: PathBuf,
    /// Folder with gtFine, if it is not cityscapes below ROOT.
    #[arg(long, value_name = "DIR")]
    labels: Option<PathBuf>,
    /// Density of the fog, as in the names of the images.
    #[arg(long, value_name = "BETA", default_value = "0.02")]
    beta: String,
    /// Threads; default: one for each processor.
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// No progress.
    #[arg(short, long)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SetName {
    Cityscapes,
    FoggyCityscapes,
}

fn configuration(args: &DataArgs) -> Result<Config> {
    Config::from_file(&args.config, &args.sets)
}

pub(super) fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Check(args) => check(args),
        Command::Prepare(args) => prepare(args),
        Command::Show(args) => show(args),
    }
}

fn check(args: &CheckArgs) -> Result<()> {
    let config = configuration(&args.run)?;
    let data = &config.data;
    let threads = args.run.threads();
    let mut report = Report::new(args.run.config.display().to_string());
    // What cannot be opened is one more thing to tell; the other sets are checked all the same.
    let source = opened_or_told(annotated(&data.source, None, threads), &mut report);
    if let Some(source) = &source {
        check_annotated(&mut report, &data.source.key, source.as_ref(), args)?;
    }
    if let Some(set) = &data.target {
        let opened = images(set, data.target_usable_only, threads);
        if let Some(target) = opened_or_told(opened, &mut report) {
            check_images(&mut report, &set.key, target.as_ref());
            let samples = image_samples(target.as_ref(), &set.key, args.samples);
            report.pictures.extend(samples);
            if let Some(source) = &source {
                let shared = check_detection_domains(source.as_ref(), target.as_ref());
                report.findings.extend(shared.findings);
            }
        }
    }
    if let Some(set) = &data.test {
        let opened = match &source {
            Some(source) => test_set(set, ("the source", source.class_names())),
            None => annotated(set, None, threads),
        };
        if let Some(test) = opened_or_told(opened, &mut report) {
            check_annotated(&mut report, &set.key, test.as_ref(), args)?;
        }
    }
    Ok(args.conclude(&Checked {
        text: report.to_text(),
        html: report.to_html()?,
        errors: (!report.is_clean()).then(|| report.summary()),
    })?)
}

fn opened_or_told<T>(opened: Result<T>, report: &mut Report) -> Option<T> {
    opened
        .map_err(|error| report.find(Severity::Error, None, message(&error)))
        .ok()
}

fn check_annotated(
    report: &mut Report,
    key: &str,
    set: &dyn DetectionSet,
    args: &CheckArgs,
) -> Result<()> {
    let found = check_detection(set, args.run.threads())?;
    let title = format!("{key}: boxes in {} images", thousands(found.samples as u64));
    report.add(title, found);
    let samples = annotated_samples(set, key, args.samples);
    report.pictures.extend(samples);
    Ok(())
}

/// Whether all images can be read.
fn check_images(report: &mut Report, key: &str, set: &dyn DetectionImages) {
    report.tables.push(Table {
        title: key.to_owned(),
        head: vec!["images".into()],
        rows: vec![vec![thousands(set.len() as u64)]],
        colours: Vec::new(),
    });
    let unreadable = (0..set.len()).into_par_iter().filter_map(|index| {
        let error = set.get(index).err()?;
        Some(error.to_string())
    });
    for message in unreadable.collect::<Vec<_>>() {
        report.find(Severity::Error, None, message);
    }
}

fn prepare(args: &PrepareArgs) -> Result<()> {
    let clear = args.root.join("cityscapes");
    let (folder, fog) = match args.set {
        SetName::Cityscapes => (clear.clone(), None),
        SetName::FoggyCityscapes => {
            if args.beta.parse::<f64>().is_err() {
                return Err(Error::Config(format!(
                    "--beta {:?}: expected a number as in the names of the images, such as 0.02",
                    args.beta
                )));
            }
            (args.root.join("foggy_cityscapes"), Some(args.beta.clone()))
        }
    };
    let conversion = Conversion {
        root: args.labels.clone().unwrap_or(clear),
        output: folder.join("annotations"),
        fog,
        threads: threads(args.threads),
    };
    let bar = bar(0, args.quiet);
    let written = convert_cityscapes(&conversion, &|done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let mut text = String::new();
    for (path, images, objects) in written? {
        let (images, objects) = (thousands(images as u64), thousands(objects as u64));
        text += &format!("{}: {images} images, {objects} objects\n", path.display());
    }
    Ok(print(&text)?)
}

fn show(args: &ShowArgs) -> Result<()> {
    let config = configuration(&args.run)?;
    let data = &config.data;
    let (key, set) = args.choose(&data.source, data.target.as_ref(), data.test.as_ref())?;
    let threads = args.run.threads();
    let mut report = Report::new(key);
    report.pictures = match args.of {
        Which::Target => image_samples(images(set, false, threads)?.as_ref(), key, args.count),
        _ => annotated_samples(annotated(set, None, threads)?.as_ref(), key, args.count),
    };
    let sheet = report.contact_sheet(args.columns, args.tile)?;
    let sheet = sheet.ok_or_else(|| {
        Error::Run(format!(
            "{key}: none of the images can be shown; see mic-det data check"
        ))
    })?;
    write_rgb(&args.out, &sheet)?;
    let count = report.pictures.len();
    args.run
        .say(&format!("{count} images in {}", args.out.display()));
    Ok(())
}
