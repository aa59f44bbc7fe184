use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use super::*;

fn content(seed: f32) -> Content {
    let tensor = |n: usize| {
        let values: Vec<f32> = (0..n).map(|i| seed + i as f32 * 0.25).collect();
        Tensor::from_vec(values, n, &Device::Cpu).unwrap()
    };
    let named = |names: &[(&str, usize)]| {
        names
            .iter()
            .map(|(name, n)| ((*name).to_owned(), tensor(*n)))
            .collect::<Vec<_>>()
    };
    let mut training = named(&[("optimizer.a.exp_avg", 7)]);
    let count = Tensor::new(3i64, &Device::Cpu).unwrap();
    training.push(("optimizer.a.step".into(), count));
    Content {
        weights: named(&[("model.a", 7), ("model.b", 130), ("ema_model.a", 7)]),
        training,
    }
}

fn manifest(step: u64) -> Manifest {
    let progress = Progress {
        step,
        best: Some(Best { step, score: 0.5 }),
        ..Progress::default()
    };
    Manifest::new("mic-test", 7, "seed = 7\n", progress)
}

fn keep(last: usize) -> Keep {
    Keep {
        last,
        every: 0,
        best: false,
    }
}

fn save(at: &Path, last: usize, step: u64) -> crate::Result<Written> {
    let mut writer = Writer::new(at, keep(last))?;
    assert!(
        writer
            .begin(&content(step as f32), manifest(step))
            .is_none()
    );
    writer.wait().unwrap()
}

#[track_caller]
fn same(found: &Content, wanted: &Content) {
    for (found, wanted) in [
        (&found.weights, &wanted.weights),
        (&found.training, &wanted.training),
    ] {
        assert_eq!(found.len(), wanted.len());
        for (name, tensor) in wanted {
            let (_, read) = found.iter().find(|(n, _)| n == name).unwrap();
            assert_eq!((read.dims(), read.dtype()), (tensor.dims(), tensor.dtype()));
            let values = |t: &Tensor| {
                let t = t.to_dtype(DType::F64).unwrap().flatten_all().unwrap();
                t.to_vec1::<f64>().unwrap()
            };
            assert_eq!(values(read), values(tensor), "{name}");
        }
    }
}

#[test]
fn a_checkpoint_comes_back_as_it_was() {
    let at = tempfile::tempdir().unwrap();
    let written = save(at.path(), 2, 40).unwrap();
    let size = |entry: fs::DirEntry| entry.metadata().unwrap().len();
    let entries = fs::read_dir(&written.path).unwrap();
    let total: u64 = entries.map(|entry| size(entry.unwrap())).sum();
    assert_eq!((written.step, written.bytes), (40, total));
    let found = newest(at.path()).unwrap().unwrap();
    assert!(found.skipped.is_empty());
    let mut wanted = manifest(40);
    wanted.files = found.checkpoint.manifest().files.clone();
    assert_eq!(found.checkpoint.manifest(), &wanted);
    same(&found.checkpoint.content().unwrap(), &content(40.0));
}

#[test]
fn a_snapshot_does_not_follow_later_steps() {
    let at = tempfile::tempdir().unwrap();
    let live = content(1.0);
    let mut writer = Writer::new(at.path(), keep(1)).unwrap();
    writer.begin(&live, manifest(1));
    for (_, tensor) in &live.weights {
        tensor
            .slice_set(&tensor.zeros_like().unwrap(), 0, 0)
            .unwrap();
    }
    writer.wait().unwrap().unwrap();
    let found = newest(at.path()).unwrap().unwrap();
    same(&found.checkpoint.content().unwrap(), &content(1.0));
}

#[test]
fn old_ones_go_and_an_interrupted_one_is_cleared_away() {
    let at = tempfile::tempdir().unwrap();
    for step in [10, 20, 30] {
        save(at.path(), 2, step).unwrap();
    }
    let steps = || -> Vec<u64> {
        let all = find(at.path()).unwrap();
        all.into_iter().map(|(step, _)| step).collect()
    };
    assert_eq!(steps(), [20, 30]);
    let part = at.path().join(".part-00000040");
    fs::create_dir(&part).unwrap();
    fs::write(part.join(WEIGHTS), "half").unwrap();
    save(at.path(), 2, 40).unwrap();
    assert!(!part.exists());
    assert_eq!(steps(), [30, 40]);
}

#[test]
fn a_checkpoint_without_training_state_is_read() {
    let at = tempfile::tempdir().unwrap();
    let weights = Content {
        training: Vec::new(),
        ..content(1.0)
    };
    let mut writer = Writer::new(at.path(), keep(1)).unwrap();
    writer.begin(&weights, manifest(1));
    let written = writer.wait().unwrap().unwrap();
    same(&open(&written.path).unwrap().content().unwrap(), &weights);
}

#[test]
fn other_versions_and_other_folders_are_refused() {
    let at = tempfile::tempdir().unwrap();
    let written = save(at.path(), 1, 5).unwrap();
    let state = written.path.join(STATE);
    let text = fs::read_to_string(&state).unwrap();
    let newer = text.replacen("\"format\": 1", "\"format\": 2", 1);
    assert_ne!(newer, text);
    fs::write(&state, newer).unwrap();
    let error = open(&written.path).unwrap_err().to_string();
    assert!(
        error.contains("layout 2") && error.contains("--init-from"),
        "{error}"
    );
    fs::write(&state, "{}").unwrap();
    let error = newest(at.path()).unwrap_err().to_string();
    assert!(
        error.contains("no checkpoint") && error.contains("--overwrite"),
        "{error}"
    );
    let empty = at.path().join("step-00000009");
    fs::create_dir(&empty).unwrap();
    let error = open(&empty).unwrap_err().to_string();
    assert!(error.contains("it is no checkpoint"), "{error}");
}

/// Numbers that look random, the same in every run of the test.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }
}

/// Flips bits, truncates, lengthens, empties, swaps and removes files of the newer of two
/// checkpoints. Every damage is either found, and the older checkpoint is used, or has changed
/// nothing that is read.
#[test]
fn no_damage_goes_unnoticed() {
    let at = tempfile::tempdir().unwrap();
    save(at.path(), 2, 10).unwrap();
    let newer = save(at.path(), 2, 20).unwrap().path;
    let older = folder(at.path(), 10);
    let names = [WEIGHTS, TRAINING, STATE];
    let read = |folder: &Path| names.map(|name| fs::read(folder.join(name)).unwrap());
    let (whole, other) = (read(&newer), read(&older));
    let mut numbers = Numbers(1);
    let (mut found, mut harmless) = (0, 0);
    for round in 0..200 {
        for (name, bytes) in names.iter().zip(&whole) {
            fs::write(newer.join(name), bytes).unwrap();
        }
        let file = numbers.below(names.len());
        let path = newer.join(names[file]);
        let mut bytes = whole[file].clone();
        match round % 6 {
            0 | 1 => {
                for _ in 0..=numbers.below(3) {
                    let at = numbers.below(bytes.len());
                    bytes[at] ^= 1 << numbers.below(8);
                }
                fs::write(&path, bytes).unwrap();
            }
            2 => {
                bytes.truncate(numbers.below(bytes.len()));
                fs::write(&path, bytes).unwrap();
            }
            3 => {
                bytes.extend((0..=numbers.below(50)).map(|n| n as u8));
                fs::write(&path, bytes).unwrap();
            }
            4 => {
                // The file of another checkpoint, or another file of this one.
                let from = numbers.below(names.len());
                let foreign = if from == file { &other } else { &whole };
                fs::write(&path, &foreign[from]).unwrap();
            }
            _ => fs::remove_file(&path).unwrap(),
        }
        let newest = newest(at.path()).unwrap().unwrap();
        let step = newest.checkpoint.manifest().progress.step;
        let content_of = newest.checkpoint.content().unwrap();
        if step == 20 {
            harmless += 1;
            same(&content_of, &content(20.0));
            assert!(newest.skipped.is_empty());
        } else {
            found += 1;
            same(&content_of, &content(10.0));
            let reason = newest.skipped[0].to_string();
            assert!(reason.contains("step-00000020"), "{reason}");
        }
    }
    // White space in the manifest is all that may change unnoticed.
    assert!(found >= 180, "{found} found, {harmless} harmless");
    // The folder of one step under the name of another.
    fs::remove_dir_all(&newer).unwrap();
    fs::rename(&older, &newer).unwrap();
    let error = open(&newer).unwrap_err().to_string();
    assert!(error.contains("it holds step 10"), "{error}");
}
