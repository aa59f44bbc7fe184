//! Checkpoints of other programs: recorded ones give the recorded logits, all forms start a training,
//! and ours are read by PyTorch.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers outside #[test] functions; what is skipped is told

#[path = "../../testdata/golden.rs"]
mod golden;
mod recorded;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use candle_core::{DType, Device, Tensor};
use golden::{Golden, values};
use image::{GrayImage, Luma, Rgb, RgbImage};
use mic_data::files::{write_grey, write_rgb};
use mic_nn::forward::Forward;
use mic_nn::weights::{self as files, Pickled, save_torch};
use mic_run::train::Session;
use mic_seg::config::Config;
use mic_seg::model::{Segmentor, SegmentorConfig};
use mic_seg::train::{Setup, Start, Trained, run};
use mic_seg::weights::{Form, Layout, Loaded, Part, Unmatched, export, open};
use mic_seg::{Error, Result};
use recorded::fresh;
use serde_json::Value;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testdata/recorded/segmentors")
}

fn expected() -> Golden {
    Golden::read(folder().join("expected.safetensors"))
}

/// The recorded image batch.
fn image(expected: &Golden) -> Result<Tensor> {
    let bytes = expected.get("image").to_dtype(DType::F32)?;
    Ok(bytes.affine(0.25, -2.0)?)
}

/// `[model]` of one of the recorded networks.
fn model(expected: &Golden, which: &str) -> String {
    let shape = expected.metadata(which);
    let mit = |shape: &Value, dims: &str, heads: &str| {
        let list = |key: &str| serde_json::to_string(&shape[key]).unwrap();
        format!(
            "backbone = \"custom\"\nmit = {{ embed_dims = {}, depths = {}, num_heads = {}, \
             sr_ratios = {} }}\n",
            list(dims),
            list("depths"),
            list(heads),
            list("sr_ratios")
        )
    };
    match which {
        "hub" => format!(
            "{}head = \"segformer\"\nhead_channels = {}\n",
            mit(&shape, "hidden_sizes", "num_attention_heads"),
            shape["decoder_hidden_size"]
        ),
        _ => format!(
            "{}head_channels = {}\ndilations = {}\n",
            mit(&shape["backbone"], "embed_dims", "num_heads"),
            shape["channels"],
            shape["dilations"]
        ),
    }
}

/// A configuration with the recorded classes, for the images of [`leaves`] below `root`.
fn config(expected: &Golden, which: &str, root: &Path, more: &str) -> String {
    let classes = expected.metadata("classes");
    let set = |name: &str, labels: &str| {
        format!(
            "[data.{name}]\nkind = \"folder\"\nroot = {:?}\n{labels}",
            root.display().to_string()
        )
    };
    let labels = "labels = \"labels\"\nlabel_map = { 0 = \"leaf\", 1 = \"fruit\", 2 = \"soil\" }\n\
                  images = \"images\"\n";
    format!(
        "method.kind = \"supervised\"\n[data]\nclasses = \"custom\"\nclass_names = {classes}\n\
         crop = [32, 32]\nloader_threads = 0\n{}{}[optimizer]\nlr = 1e-9\nwarmup = 0\n[train]\n\
         iterations = 1\neval_every = 0\n[model]\ndropout = 0.0\ndrop_path = 0.0\n{}{more}",
        set("source", labels),
        set("test", labels),
        model(expected, which)
    )
}

/// Two labelled images.
fn leaves(root: &Path) {
    for (index, name) in ["a", "b"].into_iter().enumerate() {
        let image = RgbImage::from_fn(64, 48, |x, y| Rgb([x as u8 * 4, y as u8 * 5, 90]));
        let label =
            GrayImage::from_fn(64, 48, |x, _| Luma([((x as usize / 16 + index) % 3) as u8]));
        for inner in ["images", "labels"] {
            std::fs::create_dir_all(root.join(inner)).unwrap();
        }
        write_rgb(&root.join(format!("images/{name}.png")), &image).unwrap();
        write_grey(&root.join(format!("labels/{name}.png")), &label).unwrap();
    }
}

fn parse(text: &str) -> Result<Config> {
    Config::from_toml_str(text, "test.toml", &[])
}

/// A network filled from `file`, and what was found there.
fn filled(file: &Path, config: &str) -> Result<(Segmentor, Loaded)> {
    let shape = SegmentorConfig::of(&parse(config)?)?;
    let store = fresh();
    Segmentor::new(&shape, &store.root())?;
    let loaded = open(file)?.fill(&shape, &store, Part::Network, Unmatched::Refuse)?;
    let frozen = store.frozen_copy()?;
    Ok((Segmentor::new(&shape, &frozen.root())?, loaded))
}

#[track_caller]
fn assert_near(what: &str, ours: &Tensor, expected: &Tensor) {
    assert_eq!(ours.dims(), expected.dims(), "{what}");
    let (ours, expected) = (values(ours), values(expected));
    let largest = expected.iter().fold(0f64, |m, v| m.max(v.abs()));
    let off = ours.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let off = off.fold(0f64, f64::max) / largest;
    assert!(off < 2e-5, "{what}: {off:e}");
}

#[test]
fn networks_of_others_give_their_logits() -> Result<()> {
    let expected = expected();
    let root = Path::new("leaves");
    for (which, file, form) in [
        ("daformer", "training.pth", Form::Training),
        ("hub", "hub.safetensors", Form::SegformerHub),
    ] {
        let (net, loaded) = filled(&folder().join(file), &config(&expected, which, root, ""))?;
        assert_eq!(loaded.form, form);
        assert!(loaded.report.exact(), "{loaded}");
        let logits = net.forward(&image(&expected)?, &Forward::eval())?.logits;
        let key = match which {
            "hub" => "hub.logits",
            _ => "training.logits",
        };
        assert_near(file, &logits, expected.get(key));
    }
    let told = filled(
        &folder().join("training.pth"),
        &config(&expected, "daformer", root, ""),
    )?
    .1
    .to_string();
    for part in [
        "a checkpoint of a training run",
        "tensors matched",
        "ema_model: 1",
        "imnet_model: 1",
        "mic: 1",
    ] {
        assert!(told.contains(part), "{told}");
    }
    Ok(())
}

/// The names of SegFormer's authors for a network under ours.
fn authors(name: &str, tensor: Tensor) -> Result<(String, Tensor)> {
    let level = |rest: &str| {
        let (number, rest) = rest.split_once('.').unwrap();
        format!(
            "decode_head.linear_c{}.{rest}",
            number.parse::<usize>().unwrap() + 1
        )
    };
    Ok(match name.strip_prefix("decode_head.linear_c.") {
        Some(rest) => (level(rest), tensor),
        None if name == "decode_head.linear_fuse.conv.weight" => {
            let mut parts = tensor.chunk(4, 1)?;
            parts.reverse();
            (name.to_owned(), Tensor::cat(&parts, 1)?)
        }
        None => (name.to_owned(), tensor),
    })
}

fn torch_file(path: &Path, tensors: impl IntoIterator<Item = (String, Tensor)>, key: &str) {
    let tensors = tensors.into_iter();
    let tensors = tensors.map(|(name, tensor)| (name, Pickled::Tensor(tensor)));
    let state = Pickled::OrderedDict(tensors.collect());
    let file = match key {
        "" => state,
        key => Pickled::Dict(vec![(key.into(), state)]),
    };
    save_torch(path, &file).unwrap();
}

#[test]
fn segformers_of_the_authors_are_read() -> Result<()> {
    let expected = expected();
    let found = open(&folder().join("hub.safetensors"))?;
    let ours = found.weights().tensors().unwrap();
    let theirs = ours
        .into_iter()
        .map(|(name, tensor)| authors(&name, tensor));
    let mut theirs = theirs.collect::<Result<Vec<_>>>()?;
    // What this head keeps and never uses.
    for (name, shape) in [("weight", vec![3, 128, 1, 1]), ("bias", vec![3])] {
        let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
        theirs.push((format!("decode_head.conv_seg.{name}"), tensor));
    }
    let at = tempfile::tempdir().unwrap();
    let file = at.path().join("segformer.pth");
    torch_file(&file, theirs, "state_dict");
    let text = config(&expected, "hub", Path::new("leaves"), "");
    let (net, loaded) = filled(&file, &text)?;
    assert_eq!(loaded.form, Form::SegformerAuthors);
    let logits = net.forward(&image(&expected)?, &Forward::eval())?.logits;
    assert_near("authors", &logits, expected.get("hub.logits"));
    Ok(())
}

/// Trains one step of next to nothing from what `key` names.
fn started(text: &str, key: &str, file: &Path) -> Result<Trained> {
    let set = format!("{key}={:?}", file.display().to_string());
    let config = Config::from_toml_str(text, "test.toml", &[set])?;
    let setup = Setup::new(&config)?;
    run(&config, &setup, Start::default(), Session::default())
}

#[test]
fn training_starts_from_every_form() -> Result<()> {
    let expected = expected();
    let at = tempfile::tempdir().unwrap();
    let root = at.path().join("leaves");
    leaves(&root);
    let path = |name: &str| at.path().join(name);
    // Encoders alone, bare and wrapped, with the classifier of images; a published part.
    let training = files::load(&folder().join("training.pth")).unwrap();
    let student = training.clone().below("model.");
    let encoder = student.clone().below("backbone.").tensors().unwrap();
    let classifier = Tensor::zeros((5, 8), DType::F32, &Device::Cpu)?;
    let with_classifier = |name: &str| {
        let classifier = (name.to_owned(), classifier.clone());
        encoder.clone().into_iter().chain([classifier])
    };
    torch_file(&path("flat.pth"), with_classifier("head.weight"), "");
    torch_file(
        &path("wrapped.pth"),
        with_classifier("head.weight"),
        "model",
    );
    let published = training.retain(|name| name.starts_with("model."));
    torch_file(
        &path("published.pth"),
        published.tensors().unwrap(),
        "state_dict",
    );
    torch_file(&path("plain.pth"), student.tensors().unwrap(), "state_dict");
    let hub = files::load(&folder().join("hub.safetensors")).unwrap();
    let whole = hub.clone().retain(|name| name.starts_with("segformer."));
    let alone = whole.clone().strip("segformer.").tensors().unwrap();
    files::save(
        &path("mit.safetensors"),
        &Vec::from_iter(alone),
        &HashMap::new(),
    )
    .unwrap();

    let daformer = config(&expected, "daformer", &root, "");
    let segformer = config(&expected, "hub", &root, "");
    let recorded = folder();
    let same = |trained: &Trained, file: &Path, head: bool| -> Result<()> {
        let (ours, theirs) = (trained.weights(), open(file)?);
        let names = theirs
            .weights()
            .names()
            .filter(|n| head || n.starts_with("backbone."));
        let names: Vec<&str> = names
            .filter(|n| !n.contains("running") && !n.contains("batches"))
            .collect();
        assert!(names.len() > 20);
        for name in names {
            let theirs = values(&theirs.weights().tensor(name).unwrap());
            let ours = values(&ours[name]);
            let off = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs());
            assert!(
                off.fold(0f64, f64::max) < 1e-6,
                "{}: {name}",
                file.display()
            );
        }
        Ok(())
    };
    for (text, file) in [
        (&daformer, path("flat.pth")),
        (&daformer, path("wrapped.pth")),
        (&daformer, path("published.pth")),
        (&daformer, path("plain.pth")),
        (&daformer, recorded.join("training.pth")),
        (&segformer, recorded.join("hub.safetensors")),
        (&segformer, path("mit.safetensors")),
    ] {
        same(&started(text, "model.pretrained", &file)?, &file, false)?;
    }
    for (text, file) in [
        (&daformer, path("published.pth")),
        (&daformer, path("plain.pth")),
        (&daformer, recorded.join("training.pth")),
        (&segformer, recorded.join("hub.safetensors")),
    ] {
        same(&started(text, "train.init_from", &file)?, &file, true)?;
    }
    // An encoder is not a network.
    let message = match started(&daformer, "train.init_from", &path("flat.pth")) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("a network without head"),
    };
    for part in [
        "flat.pth",
        "decode_head.conv_seg.weight",
        "model.pretrained",
    ] {
        assert!(message.contains(part), "{message}");
    }
    Ok(())
}

#[test]
fn misfits_name_tensors_shapes_and_remedies() -> Result<()> {
    let expected = expected();
    let daformer = config(&expected, "daformer", Path::new("leaves"), "");
    let training = folder().join("training.pth");
    let refused = |text: &str, file: &Path, parts: &[&str]| {
        let message = match filled(file, text) {
            Err(Error::Run(message)) => message,
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("{parts:?} was not refused"),
        };
        for part in parts {
            assert!(message.contains(part), "no {part}: {message}");
        }
    };
    let four = daformer.replace("\"soil\"]", "\"soil\",\"sky\"]");
    refused(
        &four,
        &training,
        &[
            "training.pth",
            "decode_head.conv_seg.weight: the file has [3, 4, 1, 1], the model [4, 4, 1, 1]",
            "3 classes, the configuration 4",
            "--without-head",
        ],
    );
    let wide = daformer.replace("head_channels = 4", "head_channels = 5");
    refused(
        &wide,
        &training,
        &["the file has [4], the model [5]", "model.head_channels"],
    );
    let hrda = format!("{daformer}[model.hrda]\ncrop = [32, 32]\n");
    refused(&hrda, &training, &["one resolution", "remove [model.hrda]"]);
    let segformer = config(&expected, "hub", Path::new("leaves"), "");
    refused(&segformer, &training, &["missing", "unexpected"]);
    // The file has more than the network.
    let shallow = daformer.replace("depths = [1,2]", "depths = [1,1]");
    assert_ne!(shallow, daformer);
    refused(&shallow, &training, &["unexpected (backbone.block2.1."]);

    // Where it is asked for, the rest stays as it was.
    let shape = SegmentorConfig::of(&parse(&four)?)?;
    let store = fresh();
    Segmentor::new(&shape, &store.root())?;
    let loaded = open(&training)?.fill(&shape, &store, Part::Network, Unmatched::Allow)?;
    assert_eq!(loaded.report.reshaped.len(), 2, "{loaded}");
    assert!(loaded.report.missing.is_empty() && loaded.report.matched > 40);
    Ok(())
}

fn mic_seg(at: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_mic-seg"))
        .args(args)
        .current_dir(at)
        .output()
        .unwrap()
}

#[track_caller]
fn done(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{errors}");
    (out, errors)
}

#[test]
fn the_program_evaluates_and_predicts_with_checkpoints_of_others() {
    let expected = expected();
    let at = tempfile::tempdir().unwrap();
    leaves(&at.path().join("leaves"));
    let training = folder().join("training.pth");
    let checkpoint = ["--checkpoint", training.to_str().unwrap()];
    let write = |name: &str, text: &str| std::fs::write(at.path().join(name), text).unwrap();
    let text = config(&expected, "daformer", Path::new("leaves"), "");
    write("network.toml", &text);
    write("four.toml", &text.replace("\"soil\"]", "\"soil\",\"sky\"]"));
    let call = |command: &str, more: &[&str]| {
        let args: Vec<&str> = [command]
            .iter()
            .chain(&checkpoint)
            .chain(more)
            .copied()
            .collect();
        mic_seg(at.path(), &args)
    };
    let (table, told) = done(&call("eval", &["--config", "network.toml"]));
    assert!(table.contains("leaf") && table.contains("mean"), "{table}");
    assert!(told.contains("a checkpoint of a training run"), "{told}");
    let predict = ["--config", "network.toml", "--out", "out", "leaves/images"];
    let (lines, _) = done(&call("predict", &predict));
    assert_eq!(lines.lines().count(), 2);
    assert!(at.path().join("out/a_id.png").is_file());

    let refused = |output: Output, code: i32, parts: &[&str]| {
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{errors}");
        for part in parts {
            assert!(errors.contains(part), "{errors}");
        }
    };
    refused(call("eval", &[]), 2, &["training.pth", "--config FILE"]);
    let four = ["--config", "four.toml"];
    refused(call("eval", &four), 1, &["3 classes, the configuration 4"]);
    let (_, told) = done(&call(
        "eval",
        &["--config", "four.toml", "--allow-unmatched"],
    ));
    assert!(told.contains("2 of another shape"), "{told}");
    refused(
        call("export", &["--out", "a.pth"]),
        2,
        &["training.pth", "classes"],
    );
}

/// A run of one step in `at`/run.
fn trained(at: &Path, text: &str) {
    std::fs::write(at.join("run.toml"), text).unwrap();
    done(&mic_seg(
        at,
        &["train", "--config", "run.toml", "--out", "run", "--quiet"],
    ));
}

#[test]
fn exported_checkpoints_hold_the_network_under_the_published_names() -> Result<()> {
    let expected = expected();
    let at = tempfile::tempdir().unwrap();
    leaves(&at.path().join("leaves"));
    let text = config(&expected, "daformer", Path::new("leaves"), "");
    let text = text
        .replace("method.kind = \"supervised\"", "method.kind = \"dacs\"")
        .replace(
            "[optimizer]",
            "[data.target]\nkind = \"folder\"\nroot = \"leaves/images\"\n[optimizer]",
        );
    trained(at.path(), &text);
    let path = |name: &str| at.path().join(name);
    let ours = open(&path("run"))?.weights().tensors().unwrap();
    let call = |more: &[&str]| {
        let args: Vec<&str> = ["export", "--checkpoint", "run"]
            .iter()
            .chain(more)
            .copied()
            .collect();
        mic_seg(at.path(), &args)
    };
    let (told, _) = done(&call(&["--out", "published.pth"]));
    let count = format!("published.pth: {} tensors, 3 classes", ours.len());
    assert!(told.contains(&count), "{told}");
    done(&call(&["--out", "plain.safetensors", "--names", "plain"]));
    done(&call(&["--out", "teacher.pt", "--names", "training"]));
    for (file, form) in [
        ("published.pth", Form::Training),
        ("plain.safetensors", Form::Segmentor),
        ("teacher.pt", Form::Training),
    ] {
        let found = open(&path(file))?;
        assert_eq!(
            (found.form(), found.weights().len()),
            (form, ours.len()),
            "{file}"
        );
        for (name, tensor) in &ours {
            let read = found.weights().tensor(name).unwrap();
            assert_eq!(
                (read.dtype(), read.dims()),
                (tensor.dtype(), tensor.dims()),
                "{name}"
            );
            assert_eq!(values(&read), values(tensor), "{file}: {name}");
        }
    }
    let teacher = files::load(&path("teacher.pt"))
        .unwrap()
        .below("ema_model.");
    assert_eq!(teacher.len(), ours.len());
    let about = files::Checkpoint::open(&path("published.pth")).unwrap();
    assert_eq!(about.metadata()["meta/CLASSES"], "a tuple of 3");
    assert_eq!(about.metadata()["meta/PALETTE"], "a list of 3");
    // What was exported is what another program reads.
    done(&mic_seg(
        at.path(),
        &[
            "eval",
            "--checkpoint",
            "published.pth",
            "--config",
            "run.toml",
        ],
    ));
    let message = export(&path("run"), &path("a.onnx"), Layout::Published).unwrap_err();
    assert!(message.to_string().contains(".pth"), "{message}");
    check_in_torch(&at, &expected)
}

/// `torch.load(weights_only=True)`, `load_state_dict(strict=True)` and a forward pass in PyTorch,
/// where that is installed.
fn check_in_torch(at: &tempfile::TempDir, expected: &Golden) -> Result<()> {
    let python = std::env::var("MIC_PYTHON").unwrap_or_else(|_| "python3".into());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/read_exported.py");
    let image = image(expected)?;
    let path = |name: &str| at.path().join(name);
    files::save(
        &path("image.safetensors"),
        &[("image".into(), image.clone())],
        &HashMap::new(),
    )
    .unwrap();
    std::fs::write(
        path("shape.json"),
        expected.metadata("daformer").to_string(),
    )
    .unwrap();
    let called = Command::new(&python).arg(script).arg(at.path()).output();
    let Ok(called) = called else {
        println!("skipped: {python} cannot be started; set MIC_PYTHON");
        return Ok(());
    };
    if called.status.code() == Some(3) {
        println!(
            "skipped: {python} lacks torch or safetensors; set MIC_PYTHON to one that has them"
        );
        return Ok(());
    }
    let errors = String::from_utf8_lossy(&called.stderr);
    assert!(called.status.success(), "{errors}");
    let text = std::fs::read_to_string(path("run.toml")).unwrap();
    let (net, _) = {
        // The data are beside the file.
        let text = text.replace(
            "root = \"leaves",
            &format!("root = \"{}/leaves", at.path().display()),
        );
        filled(&path("published.pth"), &text)?
    };
    let ours = net.forward(&image, &Forward::eval())?.logits;
    let theirs = candle_core::safetensors::load(path("logits.safetensors"), &Device::Cpu)?;
    assert_near("PyTorch", &ours, &theirs["logits"]);
    Ok(())
}
