//! What a run will take, from what was measured: earlier runs of the same configuration, else single
//! steps of the same network.

use std::path::Path;

use mic_run::folder::{CHECKPOINTS, METRICS, RUN};
use mic_run::provenance::machine;
use serde_json::Value;
use toml::Table;

use super::folder::json;
use super::program::{Program, value};
use super::select::{Chosen, PaperRun};

/// A quantity, and what it is based on; `None` where nothing is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Estimate {
    /// Hours.
    pub(super) hours: Option<f64>,
    /// Bytes of memory.
    pub(super) memory: Option<u64>,
    /// Bytes on the disk.
    pub(super) disk: Option<u64>,
    /// What hours and memory are based on.
    pub(super) basis: String,
    /// Whether hours and memory are the least that it can be.
    pub(super) at_least: bool,
}

/// A training step of a network, forward and backward pass with the optimiser, of which docs/performance.md
/// tells time and peak memory.
struct Measured {
    /// `model.backbone`.
    backbone: &'static str,
    /// `model.head`, where there are several.
    head: Option<&'static str>,
    /// Images of the step, their pixels.
    images: f64,
    pixels: f64,
    seconds: f64,
    mebibytes: u64,
    /// A checkpoint with teacher and optimiser, where one was measured.
    checkpoint: Option<u64>,
}

/// The machine of [`MEASURED`].
const WHERE: &str = "2 cores of an Intel Xeon, docs/performance.md";

const MEASURED: [Measured; 4] = [
    Measured {
        backbone: "mit_b5",
        head: Some("daformer"),
        images: 1.0,
        pixels: 512.0 * 512.0,
        seconds: 4.449,
        mebibytes: 4311,
        // docs/runs.md.
        checkpoint: Some(1_360_000_000),
    },
    Measured {
        backbone: "mit_b0",
        head: Some("daformer"),
        images: 1.0,
        pixels: 512.0 * 512.0,
        seconds: 1.998,
        mebibytes: 1675,
        checkpoint: None,
    },
    Measured {
        backbone: "vit_base_patch16_224",
        head: None,
        images: 8.0,
        pixels: 224.0 * 224.0,
        seconds: 3.334,
        mebibytes: 2227,
        checkpoint: None,
    },
    Measured {
        backbone: "resnet50",
        head: None,
        images: 1.0,
        pixels: 600.0 * 1200.0,
        seconds: 2.915,
        mebibytes: 1124,
        checkpoint: None,
    },
];

/// Iterations of a run.
pub(super) fn iterations(config: &Table) -> u64 {
    number(config, "train.iterations").unwrap_or(0.0) as u64
}

/// What a run will take.
pub(super) fn estimate(chosen: &Chosen, run: &PaperRun) -> Estimate {
    recorded(&chosen.out, run)
        .or_else(|| counted(chosen.program, run))
        .unwrap_or_else(|| Estimate {
            basis: "not estimated: no step of this network has been measured".into(),
            ..Estimate::default()
        })
}

fn number(config: &Table, path: &str) -> Option<f64> {
    let value = value(config, path)?;
    value
        .as_float()
        .or_else(|| Some(value.as_integer()? as f64))
}

fn text<'a>(config: &'a Table, path: &str) -> Option<&'a str> {
    value(config, path)?.as_str()
}

fn product(config: &Table, path: &str) -> Option<f64> {
    let sides = value(config, path)?.as_array()?;
    let sides: Option<Vec<f64>> = sides.iter().map(|s| Some(s.as_integer()? as f64)).collect();
    Some(sides?.iter().product())
}

/// From a finished run of the same configuration below the folder, with whatever seed.
fn recorded(out: &Path, run: &PaperRun) -> Option<Estimate> {
    let entries = std::fs::read_dir(out).ok()?;
    let of_it = |name: &str| {
        let rest = name.strip_prefix(run.configuration.name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("_s"))
    };
    let mut folders: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(of_it))
        .map(|entry| entry.path())
        .filter(|folder| folder.join(METRICS).is_file())
        .collect();
    folders.sort();
    let folder = folders.pop()?;
    let metrics = json(&folder.join(METRICS))?;
    let seconds = metrics.get("seconds_per_step")?.as_f64()?;
    let evaluations = metrics.get("evaluations").and_then(Value::as_array);
    let measuring: f64 = evaluations
        .into_iter()
        .flatten()
        .filter_map(|e| e.get("seconds")?.as_f64())
        .sum();
    let from = json(&folder.join(RUN));
    let from = from.as_ref().and_then(|run| run.get("machine")?.as_str());
    let here = machine();
    let place = match from {
        Some(from) if from == here => "on this machine".into(),
        Some(from) => format!("on another machine ({from})"),
        None => "on an unknown machine".into(),
    };
    let name = folder.file_name()?.to_string_lossy().into_owned();
    Some(Estimate {
        hours: Some((iterations(&run.config) as f64 * seconds + measuring) / 3600.0),
        memory: metrics.get("peak_memory_bytes").and_then(Value::as_u64),
        disk: Some(size(&folder)).filter(|bytes| *bytes > 0),
        basis: format!("{seconds:.3} s a step of {name} {place}"),
        at_least: false,
    })
}

/// Bytes of the checkpoints of a run.
fn size(folder: &Path) -> u64 {
    let files = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten();
        entries
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<_>>()
    };
    let checkpoints = files(&folder.join(CHECKPOINTS));
    let all = checkpoints.iter().flat_map(|checkpoint| files(checkpoint));
    all.filter_map(|file| Some(file.metadata().ok()?.len()))
        .sum()
}

/// From a measured step of the same network and the passes of an iteration.
fn counted(program: Program, run: &PaperRun) -> Option<Estimate> {
    let config = &run.config;
    let (backbone, head) = (text(config, "model.backbone")?, text(config, "model.head"));
    let measured = MEASURED
        .iter()
        .find(|m| m.backbone == backbone && (m.head.is_none() || m.head == head))?;
    let images = images(program, config)?;
    let pixels = pixels(program, config)?;
    let one = measured.seconds / measured.images * pixels / measured.pixels;
    let kept = number(config, "run.keep_last").unwrap_or(2.0) + 2.0;
    Some(Estimate {
        hours: Some(iterations(config) as f64 * images * one / 3600.0),
        memory: Some(measured.mebibytes << 20),
        disk: measured
            .checkpoint
            .map(|bytes| (kept * bytes as f64) as u64),
        basis: format!(
            "{images:.0} images of {:.2} megapixels through the student a step, at the pace of a \
             measured step ({:.2} s for {:.0} of {:.2}; {WHERE}); without teachers, data, measuring",
            pixels / 1e6,
            measured.seconds,
            measured.images,
            measured.pixels / 1e6
        ),
        at_least: true,
    })
}

/// Images that an iteration takes through the student, forward and backward; `None` for methods whose
/// passes are not counted here.
fn images(program: Program, config: &Table) -> Option<f64> {
    let batch = number(config, "train.batch")?;
    let masked = if value(config, "mask").is_some() {
        1.0
    } else {
        0.0
    };
    let passes = match (program, text(config, "method.kind")?) {
        (Program::Seg | Program::Det, "supervised" | "source_only" | "oracle") => 1.0 + masked,
        // Source and mixed images.
        (Program::Seg, "dacs") => 2.0 + masked,
        // Source and target together, twice: the second time at the sharpened weights.
        (Program::Cls, "sdat") => 2.0 * (2.0 + masked),
        (Program::Cls, _) => 2.0 + masked,
        (Program::Det, "sada") => 2.0 + masked,
        _ => return None,
    };
    Some(batch * passes)
}

/// Pixels of one image as the network sees it.
fn pixels(program: Program, config: &Table) -> Option<f64> {
    match program {
        Program::Seg => {
            // HRDA sees its context and one detail crop, which are of this size both.
            let detail = product(config, "model.hrda.crop").map(|pixels| 2.0 * pixels);
            detail.or_else(|| product(config, "data.crop"))
        }
        Program::Cls => Some(224.0 * 224.0),
        Program::Det => {
            let side = value(config, "data.min_sizes")?
                .as_array()?
                .first()?
                .as_integer()?;
            // Cityscapes is twice as wide as high.
            Some(2.0 * (side as f64).powi(2))
        }
    }
}
