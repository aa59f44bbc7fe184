//! A configuration that can be run.

use std::path::PathBuf;

use mic_data::Classes;
use mic_run::RunOptions;

use super::label_map::parse_colour;
use super::raw::{RawConfig, RawData, RawTrain};
use super::{
    ColourOptions, DataConfig, Images, Inference, MaskOptions, Method, ModelConfig, OptimizerConfig,
};
use crate::model::SegmentorConfig;
use crate::{Error, Result};
use mic_run::config::check::{at_least_one, not_negative, one_of, refuse};
use mic_run::config::to_toml;

/// A checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// As written, with every default filled in.
    pub raw: RawConfig,
    /// Seed of every random stream of the run.
    pub seed: u64,
    /// Names and colours of the classes, 2 to 255.
    pub classes: Classes,
    /// The network.
    pub model: ModelConfig,
    /// The images.
    pub data: DataConfig,
    /// The training method.
    pub method: Method,
    /// Colour changes of the student's images.
    pub colour: ColourOptions,
    /// Masked image consistency.
    pub mask: Option<MaskOptions>,
    /// Optimiser and schedule.
    pub optimizer: OptimizerConfig,
    /// How trained networks see whole images.
    pub inference: Inference,
    /// Length and evaluation.
    pub train: TrainConfig,
    /// What the run writes and when it stops.
    pub run: RunOptions,
}

/// Length and evaluation of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainConfig {
    /// Iterations, at least 1.
    pub iterations: u64,
    /// Images of each domain in a batch, at least 1.
    pub batch: usize,
    /// Iterations between evaluations; 0 evaluates at the end only.
    pub eval_every: u64,
    /// Batches whose gradients are averaged into one step, at least 1.
    pub accumulate: usize,
    /// Largest norm of the gradient, above 0.
    pub clip_norm: Option<f64>,
    /// A checkpoint whose weights to start from.
    pub init_from: Option<PathBuf>,
    /// Whether it fills the head, too.
    pub init_head: bool,
}

impl RawConfig {
    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the key, what was found and what is allowed.
    pub fn check(self) -> Result<Config> {
        let classes = classes(&self.data)?;
        let config = Config {
            seed: self.seed,
            model: ModelConfig::check(&self.model)?,
            data: DataConfig::check(&self, &classes)?,
            method: Method::check(&self, classes.len())?,
            colour: ColourOptions::check(&self.method)?,
            mask: mask(&self)?,
            optimizer: OptimizerConfig::check(&self.optimizer)?,
            inference: Inference::check(&self.inference, self.data.crop)?,
            train: TrainConfig::check(&self.train)?,
            run: run_options(&self)?,
            classes,
            raw: self,
        };
        config.check_mask()?;
        config.check_network()?;
        Ok(config)
    }
}

impl Config {
    /// The configuration as TOML, with every default filled in; reading it gives this
    /// configuration again.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a number does not fit into TOML (a seed above 2^63 - 1).
    pub fn to_toml(&self) -> Result<String> {
        Ok(to_toml(&self.raw)?)
    }

    /// What only backbone, head and detail crop together tell.
    fn check_network(&self) -> Result<()> {
        let network = SegmentorConfig::of(self).and_then(|network| {
            self.check_detail_grid(network.stride())?;
            Ok(network.check()?)
        });
        network.map_err(|error| match error {
            Error::Config(message) => Error::Config(message),
            other => Error::Config(format!("the tables of model do not fit together: {other}")),
        })?;
        let (Some(hrda), Some(crop)) = (&self.model.hrda, self.data.pipeline.crop) else {
            return Ok(());
        };
        let (height, width) = hrda.crop.size;
        if width <= crop.0 as usize && height <= crop.1 as usize {
            return Ok(());
        }
        let expected = format!("not larger than data.crop, [{}, {}]", crop.0, crop.1);
        refuse("model.hrda.crop", format!("[{width}, {height}]"), expected)
    }

    /// Detail crops begin and end where logits do, which are `stride` pixels apart.
    fn check_detail_grid(&self, stride: f64) -> Result<()> {
        let Some(hrda) = &self.model.hrda else {
            return Ok(());
        };
        let (step, (height, width)) = (hrda.crop.divisible, hrda.crop.size);
        if step as f64 % stride != 0.0 {
            let expected = format!(
                "a multiple of {stride}, the distance in pixels of the logits of this backbone and \
                 head"
            );
            return refuse("model.hrda.crop_divisible", step, expected);
        }
        if [height, width].iter().all(|side| side.is_multiple_of(step)) {
            return Ok(());
        }
        let expected = format!("multiples of model.hrda.crop_divisible, {step}");
        refuse("model.hrda.crop", format!("[{width}, {height}]"), expected)
    }

    fn check_mask(&self) -> Result<()> {
        let Some(mask) = &self.mask else {
            return Ok(());
        };
        if mask.mode.images == Images::Mixed && self.train.batch != 2 {
            let mode = self.raw.mask.as_ref().map_or("", |mask| &mask.mode);
            let expected = format!(
                "2, as mask.mode = {mode:?} masks one source and one target image; or choose \
                 \"separatetrgaug\""
            );
            return refuse("train.batch", self.train.batch, expected);
        }
        if let Some(crop) = self.data.pipeline.crop {
            return mask.check_fits(crop, "data.crop");
        }
        let target = self.data.target.as_ref();
        for set in target.into_iter().chain([&self.data.source]) {
            let masked = match mask.mode.images {
                Images::Mixed => true,
                Images::Source => set.key == "data.source",
                Images::Target => set.key == "data.target",
            };
            if let (true, Some(size)) = (masked, set.known_size()) {
                mask.check_fits(size, &set.key)?;
            }
        }
        Ok(())
    }
}

fn mask(raw: &RawConfig) -> Result<Option<MaskOptions>> {
    let Some(mask) = &raw.mask else {
        return Ok(None);
    };
    let mut mask = MaskOptions::check(mask)?;
    // Without a target there is only one batch to mask, whatever the mode says.
    if raw.method.kind == "supervised" {
        mask.mode.images = Images::Source;
    }
    Ok(Some(mask))
}

fn run_options(raw: &RawConfig) -> Result<RunOptions> {
    let run = raw.run.checked()?;
    if raw.train.accumulate > 1 && raw.method.kind == "advseg" {
        let expected = "1 with method.kind = \"advseg\", whose discriminator learns at every batch";
        return refuse("train.accumulate", raw.train.accumulate, expected);
    }
    Ok(run)
}

impl TrainConfig {
    fn check(raw: &RawTrain) -> Result<Self> {
        Ok(Self {
            iterations: at_least_one("train.iterations", raw.iterations)?,
            batch: at_least_one("train.batch", raw.batch as u64)? as usize,
            eval_every: raw.eval_every,
            accumulate: at_least_one("train.accumulate", raw.accumulate as u64)? as usize,
            clip_norm: Some(not_negative("train.clip_norm", raw.clip_norm)?).filter(|n| *n > 0.0),
            init_from: raw.init_from.as_ref().map(PathBuf::from),
            init_head: init_head(raw)?,
        })
    }
}

fn init_head(raw: &RawTrain) -> Result<bool> {
    if !raw.init_head && raw.init_from.is_none() {
        let expected = "true, as there is no train.init_from whose head could be left out";
        return refuse("train.init_head", false, expected);
    }
    Ok(raw.init_head)
}

fn classes(raw: &RawData) -> Result<Classes> {
    let lists = [
        ("cityscapes", Some(Classes::cityscapes())),
        ("camvid", Some(Classes::camvid())),
        ("custom", None),
    ];
    let names = &raw.class_names;
    if let Some(built_in) = one_of("data.classes", &raw.classes, &lists)? {
        if !names.is_empty() {
            let expected = format!(
                "no names with data.classes = {:?}; set data.classes = \"custom\" for a list of \
                 your own",
                raw.classes
            );
            return refuse("data.class_names", format!("{names:?}"), expected);
        }
        return with_palette(raw, built_in);
    }
    if let Some(reserved) = names.iter().find(|n| n.is_empty() || *n == "ignore") {
        let expected = "names that are not empty and not \"ignore\", which means no class";
        return refuse("data.class_names", format!("{reserved:?}"), expected);
    }
    let colours = (0..).map(colour);
    let classes = Classes::new(names.iter().cloned().zip(colours))
        .map_err(|error| Error::Config(format!("data.class_names: {error}")))?;
    with_palette(raw, classes)
}

/// The classes with the colours of `data.palette`, if there are any.
fn with_palette(raw: &RawData, classes: Classes) -> Result<Classes> {
    if raw.palette.is_empty() {
        return Ok(classes);
    }
    if raw.palette.len() != classes.len() {
        let expected = format!("one for each of the {} classes", classes.len());
        return refuse(
            "data.palette",
            format!("{} colours", raw.palette.len()),
            expected,
        );
    }
    let colours = raw.palette.iter().map(|text| match parse_colour(text) {
        Some(colour) => Ok(colour),
        None => refuse(
            "data.palette",
            format!("{text:?}"),
            "colours like \"#804080\"",
        ),
    });
    let colours: Vec<[u8; 3]> = colours.collect::<Result<_>>()?;
    Classes::new(classes.names().iter().cloned().zip(colours))
        .map_err(|error| Error::Config(format!("data.palette: {error}")))
}

/// A display colour for a class without one: hues a golden section of the circle apart, so that
/// neighbouring ids differ most, in three brightnesses.
fn colour(index: usize) -> [u8; 3] {
    let hue = (index as f64 * 0.618_033_988_75).fract() * 6.0;
    let value = [230.0, 170.0, 110.0][index % 3];
    // The distance on the colour wheel from red, green and blue.
    [0.0, 4.0, 2.0].map(|shift: f64| {
        let distance = ((hue + shift) % 6.0 - 3.0).abs() - 1.0;
        (value * (0.15 + 0.85 * distance.clamp(0.0, 1.0))).round() as u8
    })
}
