//! Short runs of every method over every kind of network, from configuration to prediction.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

mod tiny;

use std::collections::{BTreeSet, HashMap};

use candle_core::{DType, Device, Tensor};
use image::RgbImage;
use mic_run::train::Session;
use mic_seg::config::Config;
use mic_seg::evaluate::evaluate;
use mic_seg::model::CropBox;
use mic_seg::train::{Setup, Start, Trained, run};
use mic_seg::uda::{Crops, Draws, Options};
use mic_seg::{Result, weights};
use tiny::NETWORK;

fn text(more: &str) -> String {
    let set = |name: &str, domain: &str, split: &str| {
        format!(
            "[data.{name}]\nkind = \"scenes\"\ndomain = \"{domain}\"\nsplit = \"{split}\"\n\
             count = 3\nsize = [64, 64]\n"
        )
    };
    let sets = set("source", "source", "train")
        + &set("target", "target", "train")
        + &set("test", "target", "test");
    format!(
        "{NETWORK}{more}\n[data]\ncrop = [64, 64]\nloader_threads = 0\n{sets}[optimizer]\nlr = \
         1e-3\nwarmup = 0\n[train]\niterations = 2\neval_every = 0\n"
    )
}

const MASK: &str = "[mask]\nblock = 16\n";
const HRDA: &str = "[model.hrda]\ncrop = [32, 32]\n";

fn train(more: &str, sets: &[&str]) -> Result<Trained> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let config = Config::from_toml_str(&text(more), "test.toml", &sets)?;
    let setup = Setup::new(&config)?;
    run(&config, &setup, Start::default(), Session::default())
}

fn logged(trained: &Trained) -> BTreeSet<String> {
    let scalars = &trained.outcome.steps.last().unwrap().scalars;
    assert!(scalars.values().all(|v| v.is_finite()), "{scalars:?}");
    scalars.keys().cloned().collect()
}

#[test]
fn every_method_trains_and_predicts() -> Result<()> {
    for (kind, losses) in [
        ("supervised", vec![]),
        ("dacs", vec!["mix.decode.loss_seg"]),
        (
            "advseg",
            vec!["G_trg.loss.main", "D_src.loss.main", "D_trg.loss.main"],
        ),
        ("minent", vec!["ent.loss.main"]),
    ] {
        for mask in ["", MASK] {
            for hrda in ["", HRDA] {
                let kind = format!("method.kind={kind}");
                let small = "method.discriminator_channels=4";
                let trained = train(&format!("{hrda}{mask}"), &[&kind, small])?;
                let logged = logged(&trained);
                let has = |key: &str| logged.contains(key);
                for loss in losses.iter().chain(&["decode.loss_seg"]) {
                    assert!(has(loss), "{kind}: no {loss}");
                }
                assert_eq!(has("masked.decode.loss_seg"), !mask.is_empty(), "{kind}");
                assert_eq!(has("decode.hr.loss_seg"), !hrda.is_empty(), "{kind}");
                let hidden = has("masked.decode.hr.loss_seg");
                assert_eq!(hidden, !(mask.is_empty() || hrda.is_empty()), "{kind}");
                let label = trained.predictor()?.predict(&RgbImage::new(50, 70))?;
                assert_eq!(label.dimensions(), (50, 70));
            }
        }
    }
    Ok(())
}

#[test]
fn every_mask_mode_and_teacher_works_with_every_method() -> Result<()> {
    for kind in ["supervised", "dacs", "advseg", "minent"] {
        for mode in ["separate", "separateaug", "separatesrcaug", "separatetrg"] {
            let sets = [
                format!("method.kind={kind}"),
                format!("mask.mode={mode}"),
                "mask.alpha=0".into(),
                "mask.pseudo_threshold=none".into(),
                "method.discriminator_channels=4".into(),
            ];
            let sets: Vec<&str> = sets.iter().map(String::as_str).collect();
            let trained = train(&format!("{HRDA}{MASK}"), &sets)?;
            assert!(logged(&trained).contains("masked.decode.loss_seg"));
        }
    }
    Ok(())
}

#[test]
fn the_feature_distance_sees_one_or_both_scales() -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("backbone.safetensors");
    let first = train("", &["method.kind=supervised"])?;
    let backbone = first.weights().into_iter();
    let backbone = backbone
        .filter_map(|(name, tensor)| Some((name.strip_prefix("backbone.")?.to_owned(), tensor)));
    weights::write(&file, &backbone.collect::<Vec<_>>(), HashMap::new())?;
    let pretrained = format!("model.pretrained={}", file.display());
    let distance = |features: &str| -> Result<f64> {
        let features = format!("model.hrda.features={features}");
        let sets = [
            &pretrained,
            &features,
            "method.feature_distance=1",
            "method.feature_distance_classes=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]",
            "method.feature_distance_min_ratio=0",
            "train.iterations=1",
            "model.drop_path=0.9",
        ];
        let trained = train(HRDA, &sets)?;
        let first = &trained.outcome.steps[0].scalars;
        Ok(first["src.loss_imnet_feat_dist"])
    };
    let (context, all) = (distance("context")?, distance("all")?);
    assert!(context > 0.0 && all > context, "{context}, {all}");
    Ok(())
}

#[test]
fn recomputation_changes_nothing_but_memory() -> Result<()> {
    let resnet = "[model.resnet]\ndepths = [1, 1]\nstem_channels = 8\nwidth = 4\nstrides = [1, 2]\n\
                  dilations = [1, 1]\n";
    for backbone in ["custom", "custom_resnet"] {
        let backbone = format!("model.backbone={backbone}");
        let weights = |recompute: &str| -> Result<_> {
            let sets = [backbone.as_str(), recompute];
            Ok(train(&format!("{resnet}{HRDA}{MASK}"), &sets)?.weights())
        };
        let plain = weights("model.recompute=false")?;
        let again = weights("model.recompute=true")?;
        for (name, tensor) in &plain {
            let values = |t: &Tensor| -> candle_core::Result<Vec<f64>> {
                t.flatten_all()?.to_dtype(DType::F64)?.to_vec1()
            };
            let difference = values(tensor)?.into_iter().zip(values(&again[name])?);
            let worst = difference.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // A ResNet adds up some gradients in another order.
            assert!(worst < 1e-6, "{backbone}: {name} differs by {worst}");
        }
    }
    Ok(())
}

#[test]
fn windows_of_the_image_size_are_the_image() -> Result<()> {
    let trained = train("", &["method.kind=supervised"])?;
    let image = RgbImage::from_fn(64, 64, |x, y| {
        image::Rgb([(4 * x) as u8, (3 * y) as u8, 90])
    });
    let whole = trained.predictor()?.logits(&image)?;
    let slide = "[inference]\nmode = \"slide\"\n";
    let trained = train(slide, &["method.kind=supervised"])?;
    let windows = trained.predictor()?.logits(&image)?;
    let difference = (whole - windows)?.abs()?.max_all()?.to_scalar::<f32>()?;
    assert_eq!(difference, 0.0);
    let wide = RgbImage::from_fn(150, 80, |x, y| image::Rgb([x as u8, y as u8, 90]));
    let label = trained.predictor()?.predict(&wide)?;
    assert_eq!(label.dimensions(), (150, 80));
    let setup = Setup::new(trained.config())?;
    let test = setup.test().unwrap();
    let metrics = evaluate(
        &trained.predictor()?,
        test.as_ref(),
        &trained.config().classes,
    )?;
    assert!(metrics.aacc.is_some());
    Ok(())
}

#[test]
fn every_pass_draws_its_own_detail_crop() -> Result<()> {
    let label = Tensor::zeros((2, 64, 64), DType::U8, &Device::Cpu)?;
    let crops = |sets: &[&str]| -> Result<Vec<Crops>> {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let config = Config::from_toml_str(&text(&format!("{HRDA}{MASK}")), "test.toml", &sets)?;
        let options = Options::of(&config);
        let crops = |step| Ok(Draws::sample(&options, 7, step, &label)?.crops);
        (0..64).map(crops).collect()
    };
    let drawn = crops(&["method.kind=dacs"])?;
    let all = |pick: fn(&Crops) -> Option<CropBox>| -> Vec<_> {
        let boxes = drawn.iter().filter_map(pick);
        boxes.map(|crop| crop.bounds()).collect()
    };
    let (source, mixed, masked) = (all(|c| c.source), all(|c| c.mixed), all(|c| c.masked));
    for boxes in [&source, &mixed, &masked] {
        assert_eq!(boxes.len(), 64);
        let different: BTreeSet<_> = boxes.iter().collect();
        // Four rows and four columns to choose from.
        assert!(different.len() > 8, "{different:?}");
    }
    assert!(source != mixed && mixed != masked && source != masked);
    assert!(drawn.iter().all(|crops| crops.target.is_none()));
    let minent = crops(&["method.kind=minent"])?;
    assert!(
        minent
            .iter()
            .all(|c| c.target.is_some() && c.mixed.is_none())
    );
    // The same passes draw the same crops, whatever else a method draws.
    let again: Vec<_> = minent
        .iter()
        .filter_map(|c| c.source)
        .map(|c| c.bounds())
        .collect();
    assert_eq!(again, source);
    Ok(())
}
