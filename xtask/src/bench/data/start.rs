//! How soon and in how much memory a large set yields its first batch: a process for each number.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use mic_data::{LoaderConfig, OrderedLoader, PipelineConfig, UdaPipeline};
use serde::{Deserialize, Serialize};

use super::cases;
use super::files::{Files, Sizes};
use crate::bench::memory::resident;
use crate::bench::report::Report;

/// What a process measured of itself.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Start {
    /// From opening the set to the first batch.
    seconds: f64,
    /// The most resident memory of the process, in bytes.
    peak: u64,
}

/// Opens a list of photos, or a folder of frames if there are labels, and takes the first batch.
///
/// # Errors
/// When a file cannot be read, or the system does not tell the memory (it is not Linux).
pub(super) fn of_this_process(
    images: PathBuf,
    labels: Option<PathBuf>,
    list: Option<PathBuf>,
    threads: usize,
    tiny: bool,
) -> anyhow::Result<Start> {
    let clock = Instant::now();
    let config = LoaderConfig::new(threads);
    match (labels, list) {
        (Some(labels), _) => {
            let size = if tiny { 32 } else { 512 };
            let options = PipelineConfig {
                source_resize: Some(if tiny { (128, 72) } else { (1280, 720) }),
                crop: Some((size, size)),
                ..PipelineConfig::default()
            };
            let set = Arc::new(cases::frames(images, labels)?);
            let pipeline = UdaPipeline::new(set, None, options, None, 1)?;
            let mut loader = OrderedLoader::with_config(0, &config, move |s| pipeline.batch(s));
            loader.next().context("the loader is empty")??;
        }
        (None, Some(list)) => {
            let pipeline = cases::classification(list, images, 32)?;
            let mut loader = OrderedLoader::with_config(0, &config, move |s| pipeline.batch(s));
            loader.next().context("the loader is empty")??;
        }
        (None, None) => bail!("neither labels nor a list"),
    }
    Ok(Start {
        seconds: clock.elapsed().as_secs_f64(),
        peak: resident("VmHWM")?,
    })
}

/// Measures a list and a folder of `count` images.
pub(super) fn table(
    files: &Files,
    sizes: &Sizes,
    count: usize,
    threads: usize,
    tiny: bool,
    report: &mut Report,
) -> anyhow::Result<()> {
    report.line(format_args!("\n## The first batch of {count} images\n"))?;
    report.line("| set | s to the first batch | peak MiB of the process |")?;
    report.line("| --- | --- | --- |")?;
    let [images, labels] = files.link_frames(sizes, count)?;
    let list = files.list_photos(sizes, count)?;
    let photos = files.photos();
    let cases: [(&str, &Path, &str, &Path); 2] = [
        (
            "folder of frames with labels, batch 2",
            &images,
            "--labels",
            &labels,
        ),
        ("list of photos, batch 32", &photos, "--list", &list),
    ];
    for (title, images, option, path) in cases {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["bench", "data-start", "--images"])
            .arg(images);
        command.arg(option).arg(path);
        command.args(["--threads", &threads.to_string()]);
        command.args(tiny.then_some("--tiny"));
        let output = command.output().context("no process for the first batch")?;
        if !output.status.success() {
            bail!(
                "{title}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        }
        let start: Start = serde_json::from_slice(&output.stdout)?;
        let (seconds, mib) = (start.seconds, start.peak >> 20);
        report.line(format_args!("| {title} | {seconds:.2} | {mib} |"))?;
    }
    Ok(())
}
