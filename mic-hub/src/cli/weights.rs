//! `mic-hub weights`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mic_run::cli::{note, print};

use super::list;
use crate::convert::{Source, convert, is_done, report_text};
use crate::digest;
use crate::fetch::How;
use crate::manifest::{Entry, HubFile, Origin, PageFile};
use crate::progress::Progress;
use crate::text::bytes;
use crate::{Error, Fetched, Fetcher, Manifest, Result, Settings};

/// Fetch pretrained weights into the Hub's cache and convert them.
///
/// Files are verified while they come, and again each time they are taken from the cache. A download
/// that was interrupted goes on where it stopped. Without names the list of weights is shown.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fetch weights --list
  cargo xtask fetch weights mit-b5
  cargo xtask fetch weights --run gta2cs_mic_hrda
  cargo xtask fetch weights --run configs/cls/visda_vit/mic.toml
  cargo xtask fetch weights resnet101-v1c --from ~/Downloads/resnet101_v1c-e67eebb6.pth")]
pub(super) struct Args {
    /// Names of weights, such as mit-b5.
    names: Vec<String>,
    /// What a run starts from: its name, such as gta2cs_mic_hrda, or its configuration file.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["names", "all"])]
    run: Option<String>,
    /// Everything that is on the Hub.
    #[arg(long, conflicts_with = "names")]
    all: bool,
    /// Show what is known, under which licence, and what is there.
    #[arg(long)]
    list: bool,
    /// Folder of the converted files.
    #[arg(long, value_name = "DIR", default_value = "weights")]
    out: PathBuf,
    /// The file of weights that are not on the Hub.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "all", "list"])]
    from: Option<PathBuf>,
    /// Fetch, but convert nothing.
    #[arg(long)]
    no_convert: bool,
    /// Another list of weights, of the form of mic-hub/manifest.toml.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Tries in a row that bring nothing before a download is given up.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    attempts: u32,
    /// Wait before the second try; every further one waits twice as long.
    #[arg(long, value_name = "SECONDS", default_value_t = 1.0)]
    pause: f64,
    /// No progress.
    #[arg(short, long)]
    quiet: bool,
}

/// Folders of configurations.
const TASKS: [&str; 3] = ["seg", "cls", "det"];

struct Job {
    fetcher: Fetcher,
    args: Args,
}

pub(super) fn run(args: Args) -> Result<()> {
    let manifest = match &args.manifest {
        Some(file) => Manifest::read(file)?,
        None => Manifest::built_in()?,
    };
    let pause = Duration::try_from_secs_f64(args.pause).map_err(|error| {
        Error::Usage(format!("--pause {}: {error}; expected seconds", args.pause))
    })?;
    let fetcher = Fetcher::new(Settings {
        attempts: args.attempts,
        pause,
        ..Settings::from_env()
    })?;
    let entries = chosen(&args, &manifest)?;
    let none = entries.is_empty();
    if none && args.run.is_some() {
        return Ok(());
    }
    if args.list || none {
        print(&list::text(&manifest, &fetcher, &args.out)?)?;
        if none && !args.list {
            note("\nname what to fetch, or --run RUN, or --all");
        }
        return Ok(());
    }
    if args.from.is_some() && entries.len() != 1 {
        return Err(Error::Usage("--from is the file of one NAME".into()));
    }
    let job = Job { fetcher, args };
    let mut failed = None;
    for entry in entries {
        if let Err(error) = job.entry(entry) {
            // The rest may come all the same.
            if let Some(before) = failed.replace(error) {
                note(&format!("error: {}", mic_run::cli::message(&before)));
            }
        }
    }
    failed.map_or(Ok(()), Err)
}

fn chosen<'a>(args: &Args, manifest: &'a Manifest) -> Result<Vec<&'a Entry>> {
    if args.all {
        let on_hub = |entry: &&Entry| matches!(entry.origin, Origin::Hub(_));
        return Ok(manifest.entries.iter().filter(on_hub).collect());
    }
    if let Some(run) = &args.run {
        return match config_of(run) {
            Some(file) => for_config(&file, manifest, &args.out),
            None => manifest.for_run(run),
        };
    }
    args.names.iter().map(|name| manifest.find(name)).collect()
}

/// The configuration that a run is named after: a file, or a name of the folder `configs`, with or
/// without the seed.
fn config_of(run: &str) -> Option<PathBuf> {
    if run.ends_with(".toml") {
        return Some(run.into());
    }
    let seed = |(_, seed): &(&str, &str)| seed.bytes().all(|byte| byte.is_ascii_digit());
    let name = run
        .rsplit_once("_s")
        .filter(seed)
        .map_or(run, |(name, _)| name);
    let files = TASKS.iter().flat_map(|task| {
        let file = |name: &str| Path::new("configs").join(task).join(format!("{name}.toml"));
        [file(run), file(name)]
    });
    files.into_iter().find(|file| file.is_file())
}

/// The weights that a configuration names.
fn for_config<'a>(file: &Path, manifest: &'a Manifest, out: &Path) -> Result<Vec<&'a Entry>> {
    let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
    let table: toml::Table = text
        .parse()
        .map_err(|error| Error::Usage(format!("{}: {error}", file.display())))?;
    let model = table.get("model").and_then(|model| model.get("pretrained"));
    let Some(named) = model.and_then(toml::Value::as_str) else {
        note(&format!(
            "{} names no model.pretrained: it starts from random weights and needs no file",
            file.display()
        ));
        return Ok(Vec::new());
    };
    let name = Path::new(named).file_name().unwrap_or_default();
    let entry = manifest.find(&name.to_string_lossy())?;
    let ours = out.join(&entry.saves);
    if Path::new(named) != ours {
        note(&format!(
            "{} names {named}; the same weights will be in {} (--set model.pretrained={})",
            file.display(),
            ours.display(),
            ours.display()
        ));
    }
    Ok(vec![entry])
}

impl Job {
    fn entry(&self, entry: &Entry) -> Result<()> {
        match (&entry.origin, &self.args.from) {
            (Origin::Hub(file), None) => self.hub(entry, file),
            (Origin::Hub(file), Some(_)) => Err(Error::Usage(format!(
                "{} is on the Hub ({}); --from is for weights that are not",
                entry.name, file.repository
            ))),
            (Origin::Page(page), Some(path)) => self.local(entry, page, path),
            (Origin::Page(page), None) => self.elsewhere(entry, page),
        }
    }

    fn hub(&self, entry: &Entry, file: &HubFile) -> Result<()> {
        let progress = Progress::new(self.args.quiet);
        let fetched = self.fetcher.fetch(file, &|event| progress.hear(event))?;
        print(&self.told(entry, file, &fetched))?;
        self.convert(
            entry,
            &fetched.path,
            &Source {
                place: &file.repository,
                commit: &fetched.commit,
                sha256: &fetched.sha256,
                licence: &entry.licence,
            },
        )
    }

    fn told(&self, entry: &Entry, file: &HubFile, fetched: &Fetched) -> String {
        let how = match fetched.how {
            How::Cached => "in the cache, unchanged".into(),
            How::Downloaded { resumed, took } => {
                let new = fetched.size.saturating_sub(resumed);
                let speed = (new as f64 / took.as_secs_f64().max(1e-3)) as u64;
                let rest = match resumed {
                    0 => String::new(),
                    resumed => format!(" ({} were there)", bytes(resumed)),
                };
                format!(
                    "fetched in {:.1} s, {}/s{rest}",
                    took.as_secs_f64(),
                    bytes(speed)
                )
            }
        };
        let trust = match (&file.sha256, file.pinned()) {
            (Some(_), _) => "as the manifest has it".to_owned(),
            (None, true) => "as the Hub has it for this commit".to_owned(),
            (None, false) => format!(
                "NOT PINNED: {} is a branch and no SHA-256 is known beforehand; {} in {}",
                file.revision,
                match fetched.recorded {
                    true => "this first one was recorded",
                    false => "it is the one recorded",
                },
                self.fetcher.ledger().display()
            ),
        };
        format!(
            "{}: {file}, {}\n  licence: {}\n  commit: {}\n  SHA-256: {}, {trust}\n  {how}\n  {}\n",
            entry.name,
            bytes(fetched.size),
            entry.licence,
            fetched.commit,
            fetched.sha256,
            fetched.path.display()
        )
    }

    fn local(&self, entry: &Entry, page: &PageFile, path: &Path) -> Result<()> {
        let sha256 = digest::of(path)?;
        if let Some(expected) = &page.sha256
            && !sha256.starts_with(expected.as_str())
        {
            return Err(Error::WrongHash {
                file: path.display().to_string(),
                expected: format!("{expected}..."),
                found: sha256,
                source_of_truth: format!("the name that {} has on its page", page.file),
            });
        }
        let known = match page.sha256 {
            Some(_) => "as its page has it",
            None => "which nobody publishes: only its shape is checked",
        };
        print(&format!(
            "{}: {}\n  licence: {}\n  SHA-256: {sha256}, {known}\n",
            entry.name,
            path.display(),
            entry.licence
        ))?;
        self.convert(
            entry,
            path,
            &Source {
                place: &page.page,
                commit: "",
                sha256: &sha256,
                licence: &entry.licence,
            },
        )
    }

    fn elsewhere(&self, entry: &Entry, page: &PageFile) -> Result<()> {
        let out = self.args.out.join(&entry.saves);
        if out.is_file() {
            return Ok(print(&format!("{}: {}\n", entry.name, out.display()))?);
        }
        Err(Error::Usage(format!(
            "{} is not on the Hub; get {} from {} (licence: {}) and name it: cargo xtask fetch weights \
             {} --from FILE",
            entry.name, page.file, page.page, entry.licence, entry.name
        )))
    }

    fn convert(&self, entry: &Entry, file: &Path, source: &Source) -> Result<()> {
        if self.args.no_convert {
            return Ok(());
        }
        if entry.network.as_it_is() {
            return Ok(print(
                "  a whole network, which eval and predict read as it is: --checkpoint with the path \
                 above\n",
            )?);
        }
        let out = self.args.out.join(&entry.saves);
        if is_done(&out, source.sha256) {
            return Ok(print(&format!(
                "  {}: converted from it before\n",
                out.display()
            ))?);
        }
        let report = convert(entry.network, file, &out, source)?;
        Ok(print(&format!(
            "  {}: converted\n{}",
            out.display(),
            report_text(&report)
        ))?)
    }
}
