//! Detection: source-only, SADA, SADA with MIC, on built-in street scenes from clear air to fog.

mod methods;
mod pictures;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use mic_det::config::{Config, SetConfig};
use mic_det::draw::class_colour;
use mic_det::evaluate::evaluate;
use mic_det::sets::{self, Sets};
use mic_det::train::{self, Trained};
use mic_run::record::Evaluation;
use mic_run::train::{Outcome, Session};

use super::gate::Gate;
use super::method::Method;
use super::results::{ClassEntry, Measure, Results};
use super::task::{self, Against, Pair, Scored, Start, Summary, Task};
use crate::failure::Failure;
use pictures::Pictures;

/// The comparison of detection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Det;

const FILE: &str = "configs/det/miniature.toml";
const TEXT: &str = include_str!("../../../../configs/det/miniature.toml");

impl Task for Det {
    type Config = Config;
    type Trained = Trained;

    fn name(&self) -> &'static str {
        "det"
    }

    fn title(&self) -> String {
        "MIC for detection, in miniature".into()
    }

    fn file(&self) -> (&'static str, &'static str) {
        (FILE, TEXT)
    }

    fn pairs(&self) -> Vec<Pair> {
        vec![Pair::default()]
    }

    fn warmup(&self) -> Option<Method> {
        Some(methods::warmup())
    }

    fn methods(&self) -> Vec<Method> {
        methods::all()
    }

    fn comparisons(&self) -> &'static [Against] {
        &[
            Against {
                method: None,
                baseline: "source-only",
            },
            Against {
                method: Some("mic"),
                baseline: "sada",
            },
            Against {
                method: Some("mic"),
                baseline: "ratio-0",
            },
        ]
    }

    fn gate(&self) -> Gate {
        Gate {
            order: &[("source-only", 0.0), ("oracle", 0.2)],
            every_seed: true,
        }
    }

    fn measures(&self) -> Vec<Measure> {
        vec![
            Measure::new("AP50", "AP50"),
            Measure::new("AP", "AP"),
            Measure::new("AR100", "AR100"),
            Measure::new("teacher_AP50", "teacher AP50"),
        ]
    }

    fn class_measure(&self) -> &'static str {
        "AP50"
    }

    fn loss(&self) -> &'static str {
        "loss_classifier"
    }

    fn scalar_title(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "loss_classifier" => "classes of regions, source images",
            "loss_box_reg" => "boxes of regions, source images",
            "loss_objectness" => "objectness of anchors, source images",
            "loss_rpn_box_reg" => "boxes of anchors, source images",
            "loss_da_image" => "domain of places",
            "loss_da_instance" => "domain of regions",
            "loss_da_consistency" => "difference of both domain heads",
            "loss_classifier_mask" => "classes of regions, masked target images",
            "loss_objectness_mask" => "objectness of anchors, masked target images",
            _ => return None,
        })
    }

    fn reading(&self, results: &Results) -> Vec<String> {
        let mut lines = vec![
            "AP50 is COCO's average precision at an overlap of 0.5, in per cent, on held-out scenes in \
             fog; AP is the mean over overlaps from 0.5 to 0.95, AR100 recall. Teacher AP50 is the \
             same of the teacher; a dash is a method without one."
                .to_owned(),
        ];
        lines.extend(task::block_masks(results));
        lines
    }

    fn paper_scale(&self) -> String {
        "The paper's run needs Cityscapes and Foggy Cityscapes (2,975 images of each for training, 500 \
         to test on), Detectron's R-50.pkl, and 60,000 iterations of one image of each domain at \
         800 x 1600: configs/det/cityscapes2foggy_mic.toml. Published: AP50 47.6 with MIC, SADA \
         without it 44.0."
            .into()
    }

    fn config(&self, overrides: &[String]) -> Result<Config, Failure> {
        Config::from_toml_str(TEXT, FILE, overrides).map_err(Failure::of)
    }

    fn check(&self, config: &Config) -> Result<(), Failure> {
        let sets = Sets::open(config).map_err(Failure::of)?;
        train::check(config, &sets).map_err(Failure::of)
    }

    fn summary(&self, config: &Config) -> Result<Summary, Failure> {
        let test = test_config(config)?;
        let set = sets::annotated(test, None, 1).map_err(Failure::of)?;
        // As written: methods without use for the target leave it out of the checked sets.
        let raw = &config.raw.data;
        let source = raw.source.count.unwrap_or(0);
        let target = raw.target.as_ref().and_then(|set| set.count).unwrap_or(0);
        let class = |(name, label): (&String, u32)| ClassEntry {
            name: name.clone(),
            colour: class_colour(label),
        };
        Ok(Summary {
            iterations: config.train.iterations,
            classes: set.class_names().iter().zip(1..).map(class).collect(),
            data: format!(
                "built-in street scenes ({source} annotated clear source images, {target} target \
                 images in fog without annotations, {} in fog to test on)",
                set.len()
            ),
            table: task::table(&config.raw)?,
        })
    }

    fn train(
        &self,
        config: &Config,
        start: Option<Start<'_, Trained>>,
        session: Session<'_>,
    ) -> Result<Trained, Failure> {
        let mut config = config.clone();
        Start::set(start, &mut config.train.init_from);
        let sets = Sets::open(&config).map_err(Failure::of)?;
        train::run(&config, &sets, None, session).map_err(Failure::of)
    }

    fn outcome<'a>(&self, trained: &'a Trained) -> &'a Outcome {
        &trained.outcome
    }

    fn save(&self, trained: &Trained, path: &Path) -> Result<(), Failure> {
        let state = trained.adaptation.student().store.state();
        let saved = mic_nn::weights::save(path, &state, &HashMap::new());
        saved.map_err(|error| Failure::Run(error.into()))
    }

    fn scored(&self, evaluation: &Evaluation) -> Result<Scored> {
        evaluation
            .main_score()
            .context("there are no test images")?;
        let classes = evaluation.class_scores.get("AP50");
        let own = |measure: &Measure| {
            let score = evaluation.scores.get(&measure.key).copied().flatten()?;
            Some((measure.key.clone(), score))
        };
        Ok(Scored {
            scores: self.measures().iter().filter_map(own).collect(),
            classes: classes.cloned().unwrap_or_default(),
        })
    }

    fn further(&self, config: &Config, trained: &Trained) -> Result<BTreeMap<String, f64>> {
        let Some(teacher) = trained.adaptation.teacher() else {
            return Ok(BTreeMap::new());
        };
        let test = config.data.test.as_ref();
        let test = test.context("the configuration has no test images")?;
        let test = sets::annotated(test, None, 1)?;
        let (model, transform) = (teacher.model(), &config.data.transform);
        let metrics = evaluate(model, transform, &test, 1, &|_| {})?;
        let ap50 = metrics.coco.all.ap50;
        Ok(ap50
            .map(|ap50| ("teacher_AP50".to_owned(), ap50))
            .into_iter()
            .collect())
    }

    fn pictures(&self, config: &Config) -> Result<Box<dyn task::Pictures<Trained> + '_>> {
        let test = config.data.test.as_ref();
        let test = test.context("the configuration has no test images")?;
        let test = sets::annotated(test, None, 1)?;
        Ok(Box::new(Pictures::new(
            &test,
            config.data.transform.clone(),
        )?))
    }
}

fn test_config(config: &Config) -> Result<&SetConfig, Failure> {
    let missing =
        || Failure::Usage("data.test is missing: it is what methods are compared on".into());
    config.data.test.as_ref().ok_or_else(missing)
}
