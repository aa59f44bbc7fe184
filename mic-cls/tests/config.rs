//! What a configuration means, and what is refused.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

#[path = "../../testdata/configuration.rs"]
mod configuration;

use std::path::{Path, PathBuf};

use mic_cls::Error;
use mic_cls::config::{Config, Evaluated, Gates, Selection};
use mic_cls::losses::DomainLoss;
use mic_cls::model::{BackboneConfig, ClassifierConfig};
use mic_cls::uda::{Gating, Options, Statistics, TeacherNorm, WeightedLosses};
use mic_core::Confidence;
use mic_core::augment::Gates as Open;
use mic_data::classification::{Published, Resizing, SourceConfig};
use mic_nn::models::vit::Pool;

use configuration::{check_keys_of_loading, read, refusal};

const VISDA: &str = r#"
[data.source]
kind = "visda2017"
root = "v"
domains = ["Synthetic"]
[data.target]
kind = "visda2017"
root = "v"
domains = ["Real"]
[mask]
"#;

#[test]
fn defaults_are_those_of_the_published_code() {
    let config = read(VISDA, &[]).unwrap();
    let BackboneConfig::Vit(vit) = &config.model.backbone else {
        panic!("{:?}", config.model.backbone);
    };
    assert_eq!(
        (vit.image_size, vit.dim, vit.pool),
        ((224, 224), 768, Pool::Class)
    );
    assert_eq!(config.model.bottleneck, Some(256));
    let method = &config.method;
    assert_eq!((method.mcc, method.trade_off), (Some(2.0), 1.0));
    assert_eq!(method.statistics, Statistics::EveryPass);
    let adversarial = method.adversarial.as_ref().unwrap();
    assert_eq!((adversarial.hidden, adversarial.entropy), (1024, false));
    assert_eq!(adversarial.loss, DomainLoss::Probabilities);
    assert_eq!(method.sharpness.unwrap().rho, 0.02);
    assert!(!method.sharpness.unwrap().trade_off);
    let mask = config.mask.as_ref().unwrap();
    assert_eq!((mask.block, mask.ratio, mask.alpha), (64, 0.7, 0.9));
    assert_eq!(mask.confidence, Confidence::MaxProbability);
    assert_eq!(mask.weighted, WeightedLosses::Ascent);
    assert_eq!(
        (mask.teacher_norm, mask.gates),
        (TeacherNorm::Batch, Gates::Run)
    );
    let optimizer = &config.optimizer;
    assert_eq!((optimizer.lr, optimizer.weight_decay), (0.002, 1e-3));
    assert_eq!((optimizer.momentum, optimizer.nesterov), (0.9, true));
    assert_eq!((optimizer.gamma, optimizer.power), (0.001, 0.75));
    assert!(optimizer.decay_all);
    let transform = &config.data.transform;
    assert_eq!(
        (transform.resize, transform.size, transform.flip),
        (256, 224, 0.5)
    );
    assert_eq!(transform.mean, [0.485, 0.456, 0.406]);
    assert_eq!(transform.std, [0.229, 0.224, 0.225]);
    assert_eq!(config.train.select, Selection::Top1);
    assert_eq!(config.train.evaluate, Evaluated::Student);
}

#[test]
fn the_backbone_learns_slowly_from_pretrained_weights_only() {
    let mult = |sets: &[&str]| read(VISDA, sets).unwrap().optimizer.backbone_lr_mult;
    assert_eq!(mult(&[]), 1.0);
    assert_eq!(mult(&["model.pretrained=a.pth"]), 0.1);
    assert_eq!(
        mult(&["model.pretrained=a.pth", "optimizer.backbone_lr_mult=0.5"]),
        0.5
    );
}

#[test]
fn methods_have_their_parts() {
    for (kind, adversary, mcc, sharpness) in [
        ("source_only", false, false, false),
        ("cdan", true, false, false),
        ("cdan_mcc", true, true, false),
        ("cdan_sdat", true, false, true),
        ("sdat", true, true, true),
    ] {
        let config = read(VISDA, &[&format!("method.kind={kind}")]).unwrap();
        let options = Options::of(&config);
        let parts = (options.adversary.is_some(), options.mcc.is_some());
        assert_eq!(parts, (adversary, mcc), "{kind}");
        assert_eq!(options.ascent.is_some(), sharpness, "{kind}");
        assert!(options.masked.is_some());
        let bare = read(VISDA, &[&format!("method.kind={kind}"), "mask="]).unwrap();
        assert!(Options::of(&bare).masked.is_none());
        assert_eq!(bare.data.target.is_some(), kind != "source_only");
    }
}

#[test]
fn the_seed_decides_about_colours_unless_each_step_does() {
    let gating = |sets: &[&str]| {
        let options = Options::of(&read(VISDA, sets).unwrap());
        options.masked.unwrap().gating
    };
    let open = |jitter, blur| Gating::Run(Open { jitter, blur });
    assert_eq!(gating(&[]), open(true, true));
    assert_eq!(gating(&["seed=1"]), open(false, true));
    assert_eq!(gating(&["seed=4"]), open(true, false));
    assert_eq!(gating(&["seed=1", "mask.gates=step"]), Gating::Step);
}

#[test]
fn sets_of_images_are_read() {
    let source = |text: &str| read(text, &[]).unwrap().data.source.images;
    let alone = "method.kind = \"source_only\"\n[data.source]\n";
    let with = |keys: &str| source(&format!("{alone}{keys}"));
    assert_eq!(
        with("kind = \"folder\"\nroot = \"a\""),
        SourceConfig::Folders {
            root: "a".into(),
            classes: None
        }
    );
    let names = vec!["x".to_owned(), "y".to_owned()];
    assert_eq!(
        with("kind = \"list\"\nlist = \"l.txt\"\nclass_names = [\"x\", \"y\"]"),
        SourceConfig::List {
            list: "l.txt".into(),
            root: ".".into(),
            classes: names
        }
    );
    let SourceConfig::Published { set, domains, .. } =
        with("kind = \"office_home\"\nroot = \"o\"\ndomains = [\"Ar\", \"Pr\"]")
    else {
        panic!("not published");
    };
    assert_eq!((set, domains.len()), (Published::OfficeHome, 2));
}

#[test]
fn the_resolved_file_reads_the_same() {
    let sets = ["train.batch=2", "model.pool=mean", "run.keep_last=3"];
    let config = read(VISDA, &sets).unwrap();
    let names = ["a".to_owned(), "b".to_owned()];
    let config = config.with_classes(&names).unwrap();
    let again = read(&config.to_toml().unwrap(), &[]).unwrap();
    assert_eq!(again.raw, config.raw);
    assert_eq!(again.data.classes, names);
    let other = again.with_classes(&names[..1]).unwrap_err().to_string();
    assert!(other.contains("data.classes"), "{other}");
}

#[test]
fn typing_errors_are_named_with_what_was_meant() {
    for (sets, part) in [
        (
            ["mask.blok=3"],
            "unknown key mask.blok; did you mean mask.block?",
        ),
        (["metod.kind=sdat"], "did you mean method?"),
        (["data.target.rot=a"], "did you mean data.target.root?"),
        (["method.kind=sdta"], "did you mean \"sdat\"?"),
        (["model.backbone=resnet11"], "did you mean \"resnet18\"?"),
        (
            ["data.source.kind=visda2071"],
            "did you mean \"visda2017\"?",
        ),
        (
            ["data.source.domains=[\"Sinthetic\"]"],
            "did you mean \"Synthetic\"?",
        ),
        (["run.keep_lst=1"], "did you mean run.keep_last?"),
    ] {
        let message = refusal(VISDA, &sets);
        assert!(message.contains(part), "{sets:?}: {message}");
    }
}

#[test]
fn wrong_values_are_refused_with_the_key() {
    for (set, parts) in [
        ("train.batch=1", ["train.batch = 1", "batch norm"]),
        ("train.iterations=0", ["train.iterations = 0", "at least 1"]),
        ("mask.ratio=1.5", ["mask.ratio = 1.5", "from 0 to 1"]),
        ("mask.ratio=nan", ["mask.ratio", "from 0 to 1"]),
        ("mask.block=500", ["mask.block = 500", "data.size = 224"]),
        ("mask.block=0", ["mask.block = 0", "at least 1"]),
        (
            "mask.color_jitter=0.7",
            ["mask.color_jitter", "at most 0.5"],
        ),
        (
            "mask.pseudo_label_weight=share",
            ["mask.pseudo_label_weight", "\"prob\""],
        ),
        (
            "method.temperature=0",
            ["method.temperature = 0", "above 0"],
        ),
        ("method.rho=-1", ["method.rho = -1", "at least 0"]),
        ("optimizer.lr=0", ["optimizer.lr = 0", "above 0"]),
        (
            "optimizer.momentum=1",
            ["optimizer.momentum = 1", "below 1"],
        ),
        (
            "data.size=225",
            ["data.size = 225", "multiple of the patches"],
        ),
        ("data.resize=100", ["data.resize = 100", "data.size = 224"]),
        ("data.std=[0, 1, 1]", ["data.std = 0", "above 0"]),
        ("data.target=", ["data.target is missing", "source_only"]),
        (
            "data.source.root=",
            ["data.source.root is missing", "the folder"],
        ),
        (
            "data.source.domains=[]",
            ["data.source.domains is missing", "Synthetic"],
        ),
        (
            "data.source.kind=images",
            ["data.source.kind", "for data.target"],
        ),
        ("model.backbone=vit", ["model.vit is missing", "the table"]),
        ("model.pool=average", ["model.pool", "\"class\""]),
        ("run.keep_last=0", ["run.keep_last is 0", "at least 1"]),
        ("train.evaluate=best", ["train.evaluate", "\"teacher\""]),
    ] {
        let message = refusal(VISDA, &[set]);
        for part in parts {
            assert!(message.contains(part), "{set}: {message}");
        }
    }
    let teacher = refusal(VISDA, &["mask=", "train.evaluate=teacher"]);
    assert!(teacher.contains("there is no teacher"), "{teacher}");
    let table = refusal(
        VISDA,
        &["model.backbone=resnet", "model.resnet.depths=[1, 0]"],
    );
    assert!(table.contains("model.resnet.depths = [1, 0]"), "{table}");
}

fn configs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/cls")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(files_below(&path));
        } else if path.file_name().unwrap() != "catalogue.toml" {
            files.push(path);
        }
    }
    files.sort();
    files
}

#[test]
fn every_file_reads() {
    let files = files_below(&configs());
    assert!(files.len() > 80, "{}", files.len());
    for file in files {
        Config::from_file(&file, &[]).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// The paper's runs: iterations, batch, crop, temperature, seed, weight of pseudo-labels.
#[test]
fn the_papers_runs_have_their_values() {
    let open = |name: &str| Config::from_file(&configs().join(name), &[]).unwrap();
    let prob = Some(Confidence::MaxProbability);
    let (centre, random) = (Resizing::CentreCrop, Resizing::Default);
    for (name, iterations, batch, crop, temperature, seed, weight) in [
        ("visda_vit/mic.toml", 15_000, 32, centre, 2.0, 0, prob),
        (
            "office_home_vit/ar2cl_mic.toml",
            30_000,
            24,
            random,
            2.0,
            0,
            prob,
        ),
        (
            "office_home_vit/rw2pr_mic.toml",
            30_000,
            24,
            random,
            2.0,
            0,
            prob,
        ),
        (
            "visda_resnet101/mic.toml",
            30_000,
            32,
            centre,
            3.0,
            2,
            Some(Confidence::None),
        ),
        ("visda_mae/sdat.toml", 15_000, 32, centre, 2.0, 1, None),
    ] {
        let config = open(name);
        assert_eq!(
            (config.train.iterations, config.train.batch),
            (iterations, batch),
            "{name}"
        );
        assert_eq!(config.data.transform.train, crop, "{name}");
        assert_eq!(
            (config.method.mcc, config.seed),
            (Some(temperature), seed),
            "{name}"
        );
        assert_eq!(config.method.sharpness.unwrap().rho, 0.02, "{name}");
        assert_eq!(
            config.mask.as_ref().map(|mask| mask.confidence),
            weight,
            "{name}"
        );
        assert_eq!(config.train.eval_every, 1000, "{name}");
        let optimizer = &config.optimizer;
        assert_eq!(
            (optimizer.lr, optimizer.backbone_lr_mult),
            (0.002, 0.1),
            "{name}"
        );
        if let Some(mask) = &config.mask {
            assert_eq!(
                (mask.block, mask.ratio, mask.alpha),
                (64, 0.7, 0.9),
                "{name}"
            );
            assert_eq!(
                (mask.jitter, mask.jitter_threshold, mask.blur),
                (0.2, 0.2, true)
            );
        }
    }
    assert_eq!(open("visda_vit/cdan.toml").optimizer.lr, 0.01);
    assert_eq!(
        open("visda_vit/cdan_sdat.toml")
            .method
            .sharpness
            .unwrap()
            .rho,
        0.005
    );
    for classes in [12, 65] {
        let config = open("visda_resnet101/mic.toml");
        assert_eq!(ClassifierConfig::of(&config, classes).features(), 256);
    }
}

#[test]
fn there_is_a_file_for_every_pair_of_office_home_and_every_method() {
    let domains = ["Ar", "Cl", "Pr", "Rw"];
    let mut count = 0;
    for source in domains {
        for target in domains.into_iter().filter(|target| *target != source) {
            for method in [
                "source_only",
                "cdan",
                "cdan_mcc",
                "cdan_sdat",
                "sdat",
                "mic",
            ] {
                let pair = format!("{source}2{target}").to_lowercase();
                let file = configs().join(format!("office_home_vit/{pair}_{method}.toml"));
                let config = Config::from_file(&file, &[]).unwrap();
                let domain = |images: &SourceConfig| match images {
                    SourceConfig::Published { domains, .. } => domains.clone(),
                    other => panic!("{other:?}"),
                };
                assert_eq!(
                    domain(&config.data.source.images),
                    [source],
                    "{}",
                    file.display()
                );
                let test = config.data.test.unwrap();
                assert_eq!(domain(&test.images), [target]);
                assert_eq!(config.mask.is_some(), method == "mic");
                count += 1;
            }
        }
    }
    assert_eq!(count, 72);
}

#[test]
fn runs_have_the_names_and_the_order_of_the_original() {
    let catalogue = mic_cls::config::catalogue().unwrap();
    let names = |id: &str| -> Vec<String> {
        let runs = catalogue.experiment(id).unwrap().runs();
        runs.into_iter().map(|run| run.name).collect()
    };
    let tail = "cdan_mcc_sdat_masking_m64-07-a09-plw-cj02-02-b_vit";
    let pairs = [
        "ar2cl", "ar2pr", "ar2rw", "cl2ar", "cl2pr", "cl2rw", "pr2ar", "pr2cl", "pr2rw", "rw2ar",
        "rw2cl", "rw2pr",
    ];
    let office = pairs.iter().map(|pair| format!("office_{pair}_{tail}"));
    let first = [format!("visda_syn2real_{tail}")];
    let expected: Vec<String> = first.into_iter().chain(office).collect();
    assert_eq!(names("1"), expected);
    assert_eq!(
        names("2"),
        ["visda_syn2real_cdan_mcc_sdat_masking_m64-07-a09-cj02-02-b_resnet101"]
    );
    assert_eq!(names("3"), ["visda_syn2real_cdan_mcc_sdat_mae_s1"]);
    assert_eq!(names("baselines").len(), 14);
    for experiment in catalogue.experiments() {
        for run in experiment.runs() {
            let config = Config::from_file(Path::new(&run.name), &[]).unwrap();
            let seed = if run.name.ends_with("_s1") {
                1
            } else if run.name.contains("resnet101") {
                2
            } else {
                0
            };
            assert_eq!(config.seed, seed, "{}", run.name);
            assert_eq!(
                config.mask.is_some(),
                run.name.contains("masking"),
                "{}",
                run.name
            );
        }
    }
}

#[test]
fn keys_of_loading_are_checked_and_named() {
    check_keys_of_loading(VISDA);
}
