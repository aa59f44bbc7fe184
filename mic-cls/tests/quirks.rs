//! The options that turn what is peculiar in the published code into what one would expect.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

#[path = "../../testdata/golden.rs"]
mod golden;
mod support;

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::Tensor;
use golden::values;
use image::{Rgb, RgbImage};
use mic_cls::Result;
use mic_cls::config::Config;
use mic_cls::sets::Sets;
use mic_cls::train::{run, step};
use mic_cls::uda::{Adaptation, Draws, Options, TeacherNorm};
use mic_run::train::Session;
use support::{NoDrops, SIDE, backbones, batch, images, method, options, same, state};

fn after_a_step(options: Options) -> Result<HashMap<String, Tensor>> {
    let mut method = method(&backbones()[1], options, 1);
    step(&mut method, 3, 0, &batch(0))?;
    Ok(state(&method))
}

/// Weight decay is no part of the step upwards: without a gradient that depends on it the difference
/// after one step is the decay alone, `-lr (1 + momentum) decay weight`.
#[test]
fn everything_decays_unless_norms_and_biases_should_not() -> Result<()> {
    let with = |decay: f64, all: bool| {
        let mut options = options("sdat", true);
        options.sgd.weight_decay = decay;
        options.sgd.decay_all = all;
        after_a_step(options)
    };
    let first = state(&method(&backbones()[1], options("sdat", true), 1));
    let (none, all, some) = (with(0.0, true)?, with(0.1, true)?, with(0.1, false)?);
    let mut vectors = 0;
    for (name, start) in &first {
        let parameter = name.starts_with("model.") && !name.contains("running_");
        if !parameter || name.ends_with("num_batches_tracked") {
            continue;
        }
        let lr = if name.contains("backbone.") { 0.1 } else { 1.0 } * 0.02;
        let expected: Vec<f64> = values(start)
            .iter()
            .zip(values(&none[name]))
            .map(|(start, moved)| moved - lr * 1.9 * 0.1 * start)
            .collect();
        for (ours, expected) in values(&all[name]).iter().zip(expected) {
            assert!((ours - expected).abs() < 2e-6, "{name}: {ours}, {expected}");
        }
        let vector = start.rank() == 1;
        vectors += usize::from(vector && values(start).iter().any(|v| *v != 0.0));
        let untouched = if vector { &none } else { &all };
        assert!(same(&some[name], &untouched[name]), "{name}");
    }
    assert!(vectors > 5, "norms and biases were looked at: {vectors}");
    Ok(())
}

/// With running statistics the labels of an image no longer depend on those beside it.
#[test]
fn a_teacher_with_running_statistics_sees_each_image_alone() -> Result<()> {
    let mut logits = Vec::new();
    for phase in [0.5, 4.5] {
        let mut options = options("sdat", true);
        options.masked.as_mut().unwrap().teacher_norm = TeacherNorm::Running;
        let mut method = method(&backbones()[1], options, 1);
        let mut batch = batch(0);
        let target = [images(1, SIDE, 0.3), images(4, SIDE, phase)];
        batch.target = Some(Tensor::cat(&target, 0)?);
        let draws = Draws::sample(method.options(), 3, 0, (5, SIDE, SIDE))?;
        let mut tap = |name: &str, tensor: &Tensor| {
            if name == "teacher.logits" {
                logits.push(values(&tensor.get(0).unwrap()));
            }
        };
        method.step(0, &batch, &draws, &NoDrops, Some(&mut tap))?;
    }
    let change = logits[0].iter().zip(&logits[1]).map(|(a, b)| (a - b).abs());
    assert!(change.fold(0.0, f64::max) < 1e-6);
    Ok(())
}

/// The published reversal ignores the length of the run; another unit of time makes it rise sooner.
#[test]
fn gradient_reversal_rises_as_told() -> Result<()> {
    let after_two = |steps: usize| -> Result<(Adaptation, HashMap<String, Tensor>)> {
        let mut options = options("cdan", false);
        let adversary = options.adversary.as_mut().unwrap();
        adversary.reversal.max_iters = steps;
        let mut method = method(&backbones()[1], options, 1);
        // The first coefficient is 0 either way.
        for number in 0..2 {
            step(&mut method, 3, number, &batch(number))?;
        }
        let state = state(&method);
        Ok((method, state))
    };
    let ((slow, slow_state), (fast, fast_state)) = (after_two(1000)?, after_two(10)?);
    for method in [&slow, &fast] {
        assert_eq!(method.adversary().unwrap().reversals(), 2);
    }
    let key = "model.bottleneck.0.weight";
    assert!(!same(&slow_state[key], &fast_state[key]));
    // The discriminator's own gradient keeps its size.
    let key = "model_D.6.weight";
    assert!(same(&slow_state[key], &fast_state[key]));
    Ok(())
}

/// What stands for the classes of a target list cannot change a single bit of a run.
#[test]
fn classes_of_the_target_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (domain, shade) in [("source", 20u8), ("target", 90)] {
        for number in 0..8u32 {
            let image = RgbImage::from_fn(20, 20, |x, y| {
                let wave = ((x * 7 + y * 13 + number * 29) % 60) as u8;
                let mut pixel = [shade + wave; 3];
                pixel[number as usize % 2] = 190 + wave;
                Rgb(pixel)
            });
            let file = at.join(format!("{domain}/{number}.png"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            image.save(file).unwrap();
        }
    }
    let list = |name: &str, class: fn(usize) -> usize| {
        let lines = (0..8).map(|number| format!("{number}.png {}\n", class(number)));
        fs::write(at.join(name), lines.collect::<String>()).unwrap();
    };
    list("source.txt", |number| number % 2);
    list("true.txt", |number| number % 2);
    list("wrong.txt", |number| (number / 3 + 1) % 2);
    let weights = |target: &str| {
        let config = configuration(at, target);
        let sets = Sets::open(&config).unwrap();
        let trained = run(&config, &sets, None, Session::default()).unwrap();
        state(&trained.adaptation)
    };
    let (right, wrong) = (weights("true.txt"), weights("wrong.txt"));
    assert!(right.len() > 20);
    for (name, tensor) in &right {
        assert!(same(tensor, &wrong[name]), "{name}");
    }
}

fn configuration(at: &Path, target: &str) -> Config {
    let set = |domain: &str, list: &str| {
        format!(
            "[data.{domain}]\nkind = \"list\"\nlist = {:?}\nroot = {:?}\n\
             class_names = [\"red\", \"green\"]\n",
            at.join(list),
            at.join(domain)
        )
    };
    let text = format!(
        "[model]\nbackbone = \"lenet\"\nbottleneck = 4\n[data]\nsize = 20\nresize = 22\n\
         loader_threads = 0\n{}{}[method]\ndiscriminator = 4\n[mask]\nblock = 5\n\
         [train]\niterations = 4\nbatch = 4\neval_every = 0\n",
        set("source", "source.txt"),
        set("target", target)
    );
    Config::from_toml_str(&text, "test.toml", &[]).unwrap()
}
