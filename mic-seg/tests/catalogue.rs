//! The paper's runs: their names, their order, and that each one's configuration is what its name
//! says.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

use std::path::Path;

use mic_data::datasets::{Margins, Published};
use mic_data::uda::Photometric;
use mic_run::config::{Catalogue, Evidence, Run};
use mic_seg::config::{
    Backbone, Config, Head, Images, Inference, Method, OptimizerKind, Schedule, SetConfig, SetKind,
    Threshold, catalogue,
};
use mic_seg::model::{AsppConfig, LayerConfig, ScaleAttention};

/// `EXPERIMENT NAME` a line, in order.
const RECORDED: &str = include_str!("../../testdata/recorded/catalogue/seg_runs.txt");
const PAPER: [&str; 6] = ["80", "81", "82", "83", "84", "85"];

fn open(run: &Run) -> Config {
    Config::from_file(Path::new(&run.name), &[]).unwrap_or_else(|error| panic!("{error}"))
}

fn runs(catalogue: &Catalogue, id: &str) -> Vec<Run> {
    catalogue.experiment(id).unwrap().runs()
}

fn domain(set: &SetConfig) -> &'static str {
    match &set.kind {
        SetKind::Published { part, .. } => match part {
            Published::Gta => "gta",
            Published::Synthia => "syn",
            Published::Cityscapes(_) => "cs",
            Published::Acdc(..) => "acdc",
            Published::DarkZurich(_) => "dzur",
        },
        other => panic!("{other:?}"),
    }
}

/// The number as the original's names have it: without its point.
fn number(value: f64) -> String {
    format!("{value}").replace('.', "")
}

/// What the original's rules call a run of this configuration.
fn name(config: &Config) -> String {
    let hrda = config.model.hrda.as_ref();
    let resolution = if hrda.is_some() { "HR" } else { "" };
    let test = config.data.test.as_ref().unwrap();
    let (source, target) = (domain(&config.data.source), domain(test));
    let mut parts = vec![format!("{source}{resolution}2{target}{resolution}")];
    let crop = config.data.pipeline.crop.unwrap();
    if crop != (512, 512) {
        parts.push(format!("{}x{}", crop.0, crop.1));
    }
    parts.push(method(config, source == target).into());
    if let Some(rcs) = &config.data.pipeline.rcs {
        let share = match rcs.min_crop_ratio {
            0.5 => String::new(),
            other => format!("-{}", number(other * 10.0)),
        };
        parts.push(format!("rcs{}{share}", number(rcs.class_temp)));
    }
    let target = config.data.target.as_ref();
    if target.is_some_and(|target| target.margins.is_some()) {
        parts.push("cpl2".into());
    }
    if let Method::Dacs(dacs) = &config.method
        && dacs.pseudo.ignore_bottom > 0
    {
        parts.push("cpl".into());
    }
    parts.extend(mask(config));
    if let Some(hrda) = hrda {
        let (crop, weight) = (hrda.crop.size.0, number(hrda.detail_loss));
        parts.push(format!("hrda1-{crop}-{weight}"));
    }
    let (head, backbone) = match &config.model.backbone {
        Backbone::Mit(5) => ("daformer_sepaspp", "mitb5"),
        Backbone::Resnet(101) => ("dlv2red", "r101v1c"),
        other => panic!("{other:?}"),
    };
    parts.push(head.into());
    if matches!(config.inference, Inference::Slide { .. }) {
        parts.push("sl".into());
    }
    parts.extend([backbone.into(), "poly10warm".to_owned()]);
    if let OptimizerKind::Sgd { .. } = config.optimizer.kind {
        parts.push(format!("sgd_{}", number(config.optimizer.lr)));
    }
    if config.optimizer.head_lr_mult != 10.0 {
        parts.push("pmF".into());
    }
    format!("{}_s{}", parts.join("_"), config.seed)
}

fn method(config: &Config, within_a_domain: bool) -> &'static str {
    match &config.method {
        Method::Supervised if within_a_domain => "dacs_srconly",
        Method::Supervised => "source-only",
        Method::Advseg(_) => "advseg",
        Method::Minent { .. } => "minent",
        Method::Dacs(dacs) => match (&dacs.feature_distance, dacs.pseudo.alpha) {
            (Some(_), 0.999) => "dacs_a999_fdthings",
            (None, 0.99) => "dacs",
            other => panic!("{other:?}"),
        },
    }
}

fn mask(config: &Config) -> Option<String> {
    let mask = config.mask.as_ref()?;
    let code = match (mask.mode.images, mask.mode.augment) {
        (Images::Mixed, false) => "sep",
        (Images::Mixed, true) => "spa",
        (Images::Source, false) => "sps",
        (Images::Source, true) => "spsa",
        (Images::Target, false) => "spt",
        (Images::Target, true) => "spta",
    };
    let alpha = mask
        .alpha
        .map_or(String::new(), |alpha| format!("a{}-", number(alpha)));
    let threshold = match mask.threshold {
        Threshold::Same => "",
        Threshold::None => "pN-",
        Threshold::Value(value) => panic!("{value}"),
    };
    let ratio = number(mask.ratio);
    Some(format!("m{}-{ratio}-{alpha}{threshold}{code}", mask.block))
}

#[test]
fn names_and_order_are_those_of_the_original() {
    let catalogue = catalogue().unwrap();
    let mut listed = Vec::new();
    for id in PAPER {
        listed.extend(
            runs(&catalogue, id)
                .iter()
                .map(|run| format!("{id} {}", run.name)),
        );
    }
    let recorded: Vec<&str> = RECORDED.lines().collect();
    assert_eq!(listed, recorded);
    let counts = PAPER.map(|id| runs(&catalogue, id).len());
    assert_eq!(counts, [12, 18, 12, 12, 45, 3]);
    assert!(catalogue.experiment("86").is_err());
}

#[test]
fn every_run_is_what_its_name_says() {
    let catalogue = catalogue().unwrap();
    let mut count = 0;
    for experiment in catalogue.experiments() {
        for run in experiment.runs() {
            assert_eq!(name(&open(&run)), run.name);
            count += 1;
        }
    }
    assert_eq!(count, 102 + 3 * 17);
}

/// What all runs share, and what goes with the resolution and the domains.
#[test]
fn what_names_do_not_say_is_as_published() {
    let catalogue = catalogue().unwrap();
    for file in catalogue
        .experiments()
        .iter()
        .flat_map(|e| &e.configurations)
    {
        let at = &file.file;
        let config = Config::from_file(Path::new(at), &[]).unwrap();
        let train = &config.train;
        assert_eq!(
            (train.iterations, train.batch, train.eval_every),
            (40_000, 2, 4_000),
            "{at}"
        );
        assert_eq!((train.accumulate, train.clip_norm), (1, None), "{at}");
        network(&config, at);
        sizes(&config, at);
        optimisation(&config, at);
        self_training(&config, at);
        if let Some(mask) = &config.mask {
            assert_eq!(mask.lambda, 1.0, "{at}");
        }
        let distorted = Photometric {
            source: at.contains("source_only"),
            target: false,
        };
        assert_eq!(
            config.data.pipeline.photometric_distortion, distorted,
            "{at}"
        );
        assert!(!config.colour.on_source, "{at}");
    }
}

fn network(config: &Config, at: &str) {
    let model = &config.model;
    let file = model.pretrained.as_ref().unwrap().file_name().unwrap();
    match &model.backbone {
        Backbone::Mit(_) => {
            let aspp = AsppConfig {
                dilations: vec![1, 6, 12, 18],
                separable: true,
                pool: false,
            };
            let head = Head::Daformer {
                embedding: LayerConfig::Mlp,
                last_embedding: LayerConfig::Mlp,
                fusion: LayerConfig::Aspp(aspp),
                adapter: None,
            };
            assert_eq!(model.head, head, "{at}");
            assert_eq!(
                (model.head_channels, model.dropout, model.drop_path),
                (256, 0.1, 0.1)
            );
            assert_eq!(file, "mit_b5.pth", "{at}");
        }
        _ => {
            let dilations = vec![6, 12];
            assert_eq!(model.head, Head::Deeplab { dilations }, "{at}");
            assert_eq!(file, "resnet101_v1c-e67eebb6.pth", "{at}");
        }
    }
    let Some(hrda) = &model.hrda else { return };
    assert_eq!(
        (hrda.crop.size, hrda.crop.divisible),
        ((512, 512), 8),
        "{at}"
    );
    assert_eq!(
        (hrda.context_scale, hrda.slide, hrda.overlap),
        (0.5, true, true),
        "{at}"
    );
    assert_eq!(hrda.attention, ScaleAttention::ClassWise, "{at}");
    assert_eq!(
        (hrda.detail_loss, hrda.context_loss, hrda.blur),
        (0.1, 0.0, false),
        "{at}"
    );
}

fn sizes(config: &Config, at: &str) {
    let high = config.model.hrda.is_some();
    let expected = |set: &SetConfig| match (domain(set), high) {
        ("gta", false) => (1280, 720),
        ("gta", true) => (2560, 1440),
        ("syn", false) => (1280, 760),
        ("syn", true) => (2560, 1520),
        ("cs", false) => (1024, 512),
        ("cs", true) => (2048, 1024),
        (_, false) => (960, 540),
        (_, true) => (1920, 1080),
    };
    let data = &config.data;
    let test = data.test.as_ref().unwrap();
    for set in [Some(&data.source), data.target.as_ref(), Some(test)]
        .into_iter()
        .flatten()
    {
        assert_eq!(set.resize, Some(expected(set)), "{at}: {}", set.key);
    }
    let side = if high { 1024 } else { 512 };
    assert_eq!(data.pipeline.crop, Some((side, side)), "{at}");
    assert_eq!(
        (data.pipeline.cat_max_ratio, data.pipeline.flip),
        (Some(0.75), 0.5),
        "{at}"
    );
    assert_eq!(
        data.pipeline.normalise.mean,
        [123.675, 116.28, 103.53],
        "{at}"
    );
    assert_eq!(data.pipeline.normalise.std, [58.395, 57.12, 57.375], "{at}");
    match config.inference {
        Inference::Whole => assert!(!high, "{at}"),
        Inference::Slide { window, stride, .. } => {
            assert_eq!(
                (high, window, stride),
                (true, (1024, 1024), (512, 512)),
                "{at}"
            );
        }
    }
    if let Some(rcs) = &data.pipeline.rcs {
        let ratio = if high { 2.0 } else { 0.5 };
        let options = (rcs.min_pixels, rcs.class_temp, rcs.min_crop_ratio);
        assert_eq!(options, (3000, 0.01, ratio), "{at}");
    }
}

fn optimisation(config: &Config, at: &str) {
    let optimizer = &config.optimizer;
    let poly = Schedule::Poly {
        power: 1.0,
        warmup: 1500,
        warmup_ratio: 1e-6,
    };
    assert_eq!(optimizer.schedule, poly, "{at}");
    let adversarial = matches!(config.method, Method::Advseg(_) | Method::Minent { .. });
    match optimizer.kind {
        OptimizerKind::AdamW { betas } => {
            assert!(!adversarial, "{at}");
            assert_eq!((optimizer.lr, optimizer.weight_decay), (6e-5, 0.01), "{at}");
            assert_eq!(
                (betas, optimizer.head_lr_mult),
                ([0.9, 0.999], 10.0),
                "{at}"
            );
        }
        OptimizerKind::Sgd { momentum } => {
            assert!(adversarial, "{at}");
            assert_eq!(
                (optimizer.lr, optimizer.weight_decay),
                (0.0025, 5e-4),
                "{at}"
            );
            assert_eq!((momentum, optimizer.head_lr_mult), (0.9, 1.0), "{at}");
        }
    }
}

fn self_training(config: &Config, at: &str) {
    let colour = &config.colour;
    assert_eq!(
        (colour.jitter, colour.jitter_threshold, colour.blur),
        (0.2, 0.2, true),
        "{at}"
    );
    let target = config.data.target.as_ref();
    let margins = target.and_then(|target| target.margins);
    let adverse = target.is_some_and(|target| matches!(domain(target), "acdc" | "dzur"));
    let pseudo = match &config.method {
        Method::Supervised => return,
        Method::Advseg(options) => {
            assert_eq!(
                (options.lambda, options.discriminator_lr),
                (0.001, 1e-4),
                "{at}"
            );
            assert_eq!(options.discriminator_channels, 64, "{at}");
            options.pseudo
        }
        Method::Minent { lambda, pseudo } => {
            assert_eq!(*lambda, 0.001, "{at}");
            *pseudo
        }
        Method::Dacs(dacs) => {
            if let Some(distance) = &dacs.feature_distance {
                assert_eq!((distance.lambda, distance.min_ratio), (0.005, 0.75), "{at}");
                assert_eq!(
                    distance.classes,
                    [6, 7, 11, 12, 13, 14, 15, 16, 17, 18],
                    "{at}"
                );
                let high = config.model.hrda.is_some();
                let v1 = !adverse && !high;
                let rows = (dacs.pseudo.ignore_top, dacs.pseudo.ignore_bottom);
                assert_eq!(rows, if v1 { (15, 120) } else { (0, 0) }, "{at}");
                let v2 = Margins {
                    top: 30,
                    bottom: 240,
                    left: 30,
                    right: 30,
                };
                assert_eq!(margins, (!adverse && high).then_some(v2), "{at}");
                assert!(config.data.pipeline.rcs.is_some(), "{at}");
            }
            dacs.pseudo
        }
    };
    assert_eq!(pseudo.threshold, 0.968, "{at}");
    if !matches!(&config.method, Method::Dacs(d) if d.feature_distance.is_some()) {
        assert_eq!(
            (pseudo.ignore_top, pseudo.ignore_bottom, margins),
            (0, 0, None),
            "{at}"
        );
        assert!(config.data.pipeline.rcs.is_none(), "{at}");
    }
    if !matches!(config.method, Method::Dacs(_)) {
        assert_eq!(pseudo.alpha, 0.999, "{at}");
    }
}

/// What an experiment varies, row by row: mode, block, ratio, own teacher's momentum, threshold.
#[test]
fn experiments_vary_what_they_are_about() {
    let catalogue = catalogue().unwrap();
    let rows = |id: &str| -> Vec<Config> {
        let runs = runs(&catalogue, id);
        runs.iter()
            .filter(|run| run.name.ends_with("_s0"))
            .map(open)
            .collect()
    };
    let modes = |id: &str| -> Vec<String> {
        let configs = rows(id);
        configs
            .iter()
            .map(|c| c.raw.mask.as_ref().unwrap().mode.clone())
            .collect()
    };
    let trg = "separatetrgaug";
    assert_eq!(modes("80"), [trg, trg, "separate", "separate"]);
    assert_eq!(modes("81"), [trg; 6]);
    assert_eq!(
        modes("82"),
        [
            "separatesrcaug",
            "separateaug",
            "separatesrc",
            "separatetrg"
        ]
    );
    assert_eq!(modes("83"), ["separatetrg", trg, trg, trg]);
    assert_eq!(modes("85"), ["separatesrc"]);
    let parts: Vec<_> = rows("83")
        .into_iter()
        .map(|config| {
            let mask = config.mask.unwrap();
            (mask.block, mask.ratio, mask.alpha, mask.threshold)
        })
        .collect();
    let same = Threshold::Same;
    let expected = [
        (32, 0.7, None, same),
        (32, 0.0, None, same),
        (32, 0.7, Some(0.0), same),
        (32, 0.7, None, Threshold::None),
    ];
    assert_eq!(parts, expected);
    let grid: Vec<(usize, f64)> = rows("84")
        .into_iter()
        .map(|config| config.mask.map(|mask| (mask.block, mask.ratio)).unwrap())
        .collect();
    let blocks = [16, 32, 64, 128].into_iter();
    let all = blocks.flat_map(|block| [0.3, 0.5, 0.7, 0.9].map(|ratio| (block, ratio)));
    let expected: Vec<_> = all.filter(|cell| *cell != (32, 0.7)).collect();
    assert_eq!(grid, expected);
    let supervised = &rows("85")[0];
    assert_eq!(supervised.method, Method::Supervised);
    assert!(supervised.data.pipeline.rcs.is_none());
}

/// The shipped configuration of the original is the first of experiment 80 with seed 2.
#[test]
fn published_figures_say_where_they_are_from() {
    let catalogue = catalogue().unwrap();
    let first = &catalogue.experiment("80").unwrap().configurations[0];
    assert_eq!(
        (first.file.as_str(), first.published),
        ("gta2cs_mic_hrda", Some(75.9))
    );
    for experiment in catalogue.experiments() {
        for row in &experiment.configurations {
            assert_eq!(
                row.published.is_some(),
                row.evidence.is_some(),
                "{}",
                row.file
            );
            let synthia = row.source == "SYNTHIA" && row.published.is_some();
            assert_eq!(
                synthia,
                row.note.as_deref() == Some("16 classes"),
                "{}",
                row.file
            );
        }
    }
    let zurich = &catalogue.experiment("80").unwrap().configurations[3];
    assert_eq!(zurich.evidence, Some(Evidence::Transcription));
    let seeded = catalogue.run(&format!("{}_s2", first.name)).unwrap();
    assert_eq!(open(&seeded).seed, 2);
}
