use std::collections::HashMap;
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use mic_nn::autograd::backward;
use mic_nn::optim::{AdamW, AdamWConfig, Grads, GroupRules, Optimizer};

use super::*;
use crate::checkpoint::{Content, newest};
use crate::folder::Opening;
use crate::learner::{NonFinite, Stepped};
use crate::record::BadSample;

/// A weight vector that follows a moving target, with a running mean that a failed step spoils.
struct Toy {
    weights: Vec<(String, Var)>,
    optimizer: AdamW,
    running: f64,
    before: f64,
    /// The steps whose loss is NaN.
    bad: Vec<u64>,
    /// The score of an evaluation.
    score: fn(u64) -> Option<f64>,
    /// Steps with the samples that they cannot read, and what is known of those.
    unreadable: Vec<(u64, usize)>,
    known: Vec<BadSample>,
    told: usize,
    /// Asked to stop after this step.
    stop_after: Option<(u64, StopRequest)>,
}

#[derive(Debug, thiserror::Error)]
enum ToyError {
    #[error(transparent)]
    Run(#[from] Error),
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
    #[error(transparent)]
    NonFinite(#[from] NonFinite),
}

impl Toy {
    fn new() -> Self {
        let start = Tensor::new(&[1f32, -2.0, 0.5], &Device::Cpu).unwrap();
        let weights = vec![("w".to_owned(), Var::from_tensor(&start).unwrap())];
        let rules = GroupRules::uniform(0.05, 0.01);
        Self {
            optimizer: AdamW::new(&weights, &rules, AdamWConfig::default()),
            weights,
            running: 0.0,
            before: 0.0,
            bad: Vec::new(),
            unreadable: Vec::new(),
            known: Vec::new(),
            told: 0,
            score: |done| Some(1.0 / (1.0 + done as f64)),
            stop_after: None,
        }
    }

    fn values(&self) -> Vec<f32> {
        self.weights[0].1.to_vec1().unwrap()
    }
}

impl Learner for Toy {
    type Error = ToyError;

    fn step(&mut self, step: u64) -> Result<Stepped, ToyError> {
        self.before = self.running;
        for (_, index) in self.unreadable.iter().filter(|(when, _)| *when == step) {
            if self.known.iter().all(|known| known.index != *index) {
                self.known.push(BadSample {
                    set: "source".into(),
                    index: *index,
                    reason: format!("cannot decode {index}.png"),
                });
            }
        }
        let at = (step as f64).sin();
        let loss = (self.weights[0].1.as_tensor() - at)?.sqr()?.sum_all()?;
        let mut value = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        if self.bad.contains(&step) {
            value = f64::NAN;
        }
        self.running = 0.9 * self.running + 0.1 * value;
        if !value.is_finite() {
            return Err(NonFinite {
                name: "loss".into(),
                value,
                tensors: NonFinite::among([("w", self.weights[0].1.as_tensor())]),
            }
            .into());
        }
        let mut grads = Grads::new(&self.weights);
        grads.accumulate(&backward(&loss)?)?;
        self.optimizer.step(&grads, &|base| base)?;
        if let Some((last, request)) = &self.stop_after
            && *last == step
        {
            request.request();
        }
        Ok(Stepped {
            scalars: [("loss".to_owned(), value)].into(),
            lr: 0.05,
        })
    }

    fn non_finite(error: &ToyError) -> Option<&NonFinite> {
        match error {
            ToyError::NonFinite(found) => Some(found),
            _ => None,
        }
    }

    fn new_bad_samples(&mut self) -> Vec<BadSample> {
        let new = self.known[self.told..].to_vec();
        self.told = self.known.len();
        new
    }

    fn restore_bad_samples(&mut self, known: &[BadSample]) {
        self.known = known.to_vec();
        self.told = known.len();
    }

    fn undo(&mut self) -> Result<(), ToyError> {
        self.running = self.before;
        Ok(())
    }

    fn evaluate(&mut self, done: u64) -> Result<Option<Evaluation>, ToyError> {
        Ok(Some(Evaluation {
            main: "score".into(),
            scores: [("score".to_owned(), (self.score)(done))].into(),
            ..Evaluation::default()
        }))
    }

    fn content(&self) -> Result<Content, ToyError> {
        let mut training = self.optimizer.state()?;
        let running = Tensor::new(self.running, &Device::Cpu)?;
        training.push(("running".into(), running));
        let weights = vec![("model.w".into(), self.weights[0].1.as_detached_tensor())];
        Ok(Content { weights, training })
    }

    fn restore(&mut self, content: &HashMap<String, Tensor>, _done: u64) -> Result<(), ToyError> {
        let mut state = content.clone();
        self.weights[0].1.set(&state.remove("model.w").unwrap())?;
        self.running = state.remove("running").unwrap().to_scalar()?;
        self.optimizer.load_state(&state)?;
        Ok(())
    }
}

fn plan(iterations: u64) -> Plan {
    Plan {
        program: "mic-test".into(),
        config: "seed = 3\n".into(),
        seed: 3,
        iterations,
        eval_every: 10,
        options: RunOptions {
            checkpoint_every: 7,
            ..RunOptions::default()
        },
    }
}

/// Collects the events of a run.
#[derive(Default)]
struct Notes(Vec<Event>);

impl Watch for Notes {
    fn event(&mut self, event: &Event) {
        self.0.push(event.clone());
    }
}

impl Notes {
    fn texts(&self) -> Vec<&str> {
        let notes = self.0.iter().filter_map(|event| match event {
            Event::Note { text, .. } => Some(text.as_str()),
            _ => None,
        });
        notes.collect()
    }
}

fn folder(at: &Path, opening: Opening) -> RunFolder {
    let mut folder = RunFolder::check(at, opening).unwrap();
    folder.begin().unwrap();
    folder
        .put_text(crate::folder::CONFIG, "seed = 3\n")
        .unwrap();
    folder
}

fn run(
    toy: &mut Toy,
    plan: &Plan,
    folder: Option<&RunFolder>,
    progress: Progress,
    notes: &mut Notes,
) -> Result<Outcome, ToyError> {
    let stop = toy.stop_after.as_ref().map(|(_, request)| request.clone());
    let session = Session {
        folder,
        watchers: vec![notes],
        stop: stop.unwrap_or_default(),
        progress,
    };
    train(toy, plan, session)
}

/// A fresh learner where the newest checkpoint left one.
fn resumed(folder: &RunFolder) -> (Toy, Progress) {
    let found = newest(&folder.join(CHECKPOINTS)).unwrap().unwrap();
    let mut toy = Toy::new();
    let progress = found.checkpoint.manifest().progress.clone();
    let content = found.checkpoint.content().unwrap().named();
    toy.restore(&content, progress.step).unwrap();
    (toy, progress)
}

#[test]
fn a_stopped_run_ends_like_one_that_was_not() {
    let at = tempfile::tempdir().unwrap();
    let mut whole = Toy::new();
    let wanted = run(
        &mut whole,
        &plan(40),
        None,
        Progress::default(),
        &mut Notes::default(),
    );
    let wanted = wanted.unwrap();
    assert_eq!(wanted.ending, Ending::Finished);

    let mut first = Toy::new();
    first.stop_after = Some((17, StopRequest::default()));
    let out = folder(at.path(), Opening::New);
    let outcome = run(
        &mut first,
        &plan(40),
        Some(&out),
        Progress::default(),
        &mut Notes::default(),
    );
    assert_eq!(outcome.unwrap().ending, Ending::Stopped);
    drop(out);

    let out = folder(at.path(), Opening::Resume);
    let (mut second, progress) = resumed(&out);
    assert_eq!(progress.step, 18);
    let outcome = run(
        &mut second,
        &plan(40),
        Some(&out),
        progress,
        &mut Notes::default(),
    )
    .unwrap();
    assert_eq!(second.values(), whole.values());
    assert_eq!(second.running, whole.running);
    let scores = |outcome: &Outcome| -> Vec<(u64, Option<f64>)> {
        let all = outcome.progress.evaluations.iter();
        all.map(|e| (e.step, e.main_score())).collect()
    };
    assert_eq!(scores(&outcome), scores(&wanted));
    assert_eq!(scores(&outcome).len(), 4);
    // The weights of the end, without another copy on the disk.
    assert!(out.join(crate::folder::WEIGHTS).is_file());
}

#[test]
fn a_loss_that_is_no_number_stops_the_run_and_leaves_its_state() {
    let at = tempfile::tempdir().unwrap();
    let out = folder(at.path(), Opening::New);
    let mut toy = Toy::new();
    toy.bad = vec![12];
    let mut notes = Notes::default();
    let error = run(
        &mut toy,
        &plan(40),
        Some(&out),
        Progress::default(),
        &mut notes,
    );
    let error = error.unwrap_err().to_string();
    for part in [
        "step 12",
        "loss is NaN",
        "weights and inputs are finite",
        "step-00000012",
    ] {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
    assert!(matches!(notes.0.last(), Some(Event::Stop { step: 12, .. })));
    let (saved, progress) = resumed(&out);
    assert_eq!((saved.values(), progress.step), (toy.values(), 12));
    assert!(saved.running.is_finite());
}

#[test]
fn bad_steps_are_left_out_as_often_as_allowed() {
    let mut toy = Toy::new();
    toy.bad = vec![3, 12, 20];
    let mut plan = plan(30);
    plan.options.skip_non_finite = 2;
    let mut notes = Notes::default();
    let error = run(&mut toy, &plan, None, Progress::default(), &mut notes).unwrap_err();
    assert!(error.to_string().contains("step 20"), "{error}");
    let left_out = notes
        .texts()
        .iter()
        .filter(|text| text.contains("left out"))
        .count();
    assert_eq!(left_out, 2);

    plan.options.skip_non_finite = 3;
    let mut toy = Toy::new();
    toy.bad = vec![3, 12, 20];
    let outcome = run(
        &mut toy,
        &plan,
        None,
        Progress::default(),
        &mut Notes::default(),
    )
    .unwrap();
    assert_eq!(outcome.progress.skipped, [3, 12, 20]);
    assert_eq!(outcome.steps.len(), 27);
    assert!(toy.running.is_finite());
}

#[test]
fn patience_ends_a_run_that_no_longer_improves() {
    let mut toy = Toy::new();
    toy.score = |done| Some(if done == 20 { 0.9 } else { 0.5 });
    let mut plan = plan(100);
    plan.options.early_stop = 2;
    let outcome = run(
        &mut toy,
        &plan,
        None,
        Progress::default(),
        &mut Notes::default(),
    )
    .unwrap();
    assert_eq!(
        (outcome.ending, outcome.progress.step),
        (Ending::EarlyStop, 40)
    );
    assert_eq!(
        outcome.progress.best,
        Some(Best {
            step: 20,
            score: 0.9
        })
    );
}

#[test]
fn the_best_and_the_last_checkpoints_stay() {
    let at = tempfile::tempdir().unwrap();
    let out = folder(at.path(), Opening::New);
    let mut toy = Toy::new();
    toy.score = |done| Some(if done == 20 { 0.9 } else { 0.5 });
    run(
        &mut toy,
        &plan(60),
        Some(&out),
        Progress::default(),
        &mut Notes::default(),
    )
    .unwrap();
    let all = crate::checkpoint::find(&out.join(CHECKPOINTS)).unwrap();
    let steps: Vec<u64> = all.iter().map(|(step, _)| *step).collect();
    assert_eq!(steps, [20, 56, 60]);
}

#[test]
fn a_checkpoint_that_cannot_be_written_warns_or_stops() {
    for stop in [false, true] {
        let at = tempfile::tempdir().unwrap();
        let out = folder(at.path(), Opening::New);
        let mut plan = plan(13);
        plan.options.keep_best = false;
        if stop {
            plan.options.on_write_error = "stop".into();
        }
        // A file where the checkpoint's folder would be made.
        let checkpoints = out.join(CHECKPOINTS);
        fs::create_dir_all(&checkpoints).unwrap();
        fs::write(checkpoints.join("step-00000007"), "in the way").unwrap();
        let mut notes = Notes::default();
        let result = run(
            &mut Toy::new(),
            &plan,
            Some(&out),
            Progress::default(),
            &mut notes,
        );
        if stop {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("checkpoint of step 7"), "{error}");
            assert!(error.contains("unchanged"), "{error}");
        } else {
            assert_eq!(result.unwrap().ending, Ending::Finished);
            let warned = |text: &&str| text.contains("training goes on");
            assert!(notes.texts().iter().any(warned), "{:?}", notes.texts());
        }
    }
}

#[test]
fn bad_samples_are_told_once_and_known_after_a_restart() {
    let unreadable = vec![(2, 7), (3, 7), (4, 1), (19, 7), (20, 3)];
    let at = tempfile::tempdir().unwrap();
    let mut first = Toy::new();
    first.unreadable = unreadable.clone();
    first.stop_after = Some((17, StopRequest::default()));
    let out = folder(at.path(), Opening::New);
    let mut notes = Notes::default();
    let begin = Progress::default();
    run(&mut first, &plan(40), Some(&out), begin, &mut notes).unwrap();
    let bad = |index: usize| {
        format!("left out, as it cannot be used: source sample {index}: cannot decode {index}.png")
    };
    assert_eq!(notes.texts(), [bad(7), bad(1)]);
    drop(out);

    let out = folder(at.path(), Opening::Resume);
    let (mut second, progress) = resumed(&out);
    second.unreadable = unreadable;
    let mut notes = Notes::default();
    let outcome = run(&mut second, &plan(40), Some(&out), progress, &mut notes).unwrap();
    assert_eq!(notes.texts(), [bad(3)]);
    let listed = outcome.progress.bad_samples.iter().map(|bad| bad.index);
    assert!(listed.eq([7, 1, 3]));
}
