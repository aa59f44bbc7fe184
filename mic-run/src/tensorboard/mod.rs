//! Event files that TensorBoard opens.
//!
//! | tag | what | step |
//! | --- | --- | --- |
//! | `train/<scalar>`, `train/lr`, `train/seconds` | means over windows of steps (the rate: the last) | steps done |
//! | `evaluation/<score>`, `evaluation/seconds` | scores of an evaluation | steps done |
//! | `<score>/<class>`, such as `IoU/road` | scores of classes that occur | steps done |
//! | the picture's or the tensor's name | pictures and histograms | steps done |
//!
//! A run that goes on after `n` steps begins another file, which tells TensorBoard to forget what
//! an earlier one holds beyond step `n`.

mod crc;
mod file;
mod proto;
mod window;

use std::path::Path;
use std::time::Duration;

use crate::record::{Evaluation, Event, Histogram, Picture, StepRecord};
use crate::watch::Watch;
use crate::{Error, Result, png};
use file::{EventFile, now};
use window::Window;

/// Steps of a window by default.
const EVERY: u64 = 10;
const FLUSH: Duration = Duration::from_secs(5);

/// Writes an event file for TensorBoard.
#[derive(Debug)]
pub struct TensorBoard {
    file: EventFile,
    every: u64,
    window: Window,
    error: Option<Error>,
}

impl TensorBoard {
    /// Creates the next event file of `folder`, and the folder where it is missing.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn open(folder: &Path) -> Result<Self> {
        Ok(Self {
            file: EventFile::create(folder)?,
            every: EVERY,
            window: Window::default(),
            error: None,
        })
    }

    /// Writes the scalars of steps as means over `every` steps (10 unless said otherwise; 0 is 1).
    #[must_use]
    pub fn every(mut self, every: u64) -> Self {
        self.every = every.max(1);
        self
    }

    fn step(&mut self, record: &StepRecord) -> Result<()> {
        self.window.add(record);
        let done = record.step + 1;
        if !done.is_multiple_of(self.every) {
            return Ok(());
        }
        self.close_window(done)?;
        self.file.flush_after(FLUSH)
    }

    fn close_window(&mut self, done: u64) -> Result<()> {
        if self.window.steps() == 0 {
            return Ok(());
        }
        let means = self.window.take();
        let values = means.iter().map(|(tag, value)| proto::scalar(tag, *value));
        self.file
            .write(proto::summary(now(), done, values.collect()))
    }

    fn evaluation(&mut self, evaluation: &Evaluation) -> Result<()> {
        let mut values = vec![proto::scalar("evaluation/seconds", evaluation.seconds)];
        for (name, score) in &evaluation.scores {
            let score = score.map(|score| proto::scalar(&format!("evaluation/{name}"), score));
            values.extend(score);
        }
        for (name, scores) in &evaluation.class_scores {
            for (class, score) in evaluation.classes.iter().zip(scores) {
                let score = score.map(|score| proto::scalar(&format!("{name}/{class}"), score));
                values.extend(score);
            }
        }
        self.file
            .write(proto::summary(now(), evaluation.step, values))?;
        self.file.flush()
    }

    fn happened(&mut self, event: &Event) -> Result<()> {
        match event {
            Event::Step(record) => self.step(record),
            Event::Evaluation(evaluation) => self.evaluation(evaluation),
            Event::Start { step, .. } => {
                self.window.clear();
                if *step > 0 {
                    // What was measured after `step` steps stays; the next step is done again.
                    self.file.write(proto::session_start(now(), step + 1))?;
                }
                self.file.flush()
            }
            Event::Stop { step, .. } => {
                self.close_window(*step)?;
                self.file.flush()
            }
            Event::Checkpoint { .. } | Event::Note { .. } => Ok(()),
        }
    }

    /// Does something unless something went wrong before: a torn record makes the rest unreadable.
    fn try_to(&mut self, write: impl FnOnce(&mut Self) -> Result<()>) {
        if self.error.is_none() {
            self.error = write(self).err();
        }
    }
}

impl Watch for TensorBoard {
    fn event(&mut self, event: &Event) {
        self.try_to(|board| board.happened(event));
    }

    fn pictures(&mut self, done: u64, pictures: &[Picture]) {
        self.try_to(|board| {
            for picture in pictures {
                let bytes = png::encode(picture)?;
                let image = proto::image(&picture.name, picture.width, picture.height, &bytes);
                board.file.write(proto::summary(now(), done, vec![image]))?;
            }
            board.file.flush()
        });
    }

    fn histograms(&mut self, done: u64, histograms: &[Histogram]) {
        self.try_to(|board| {
            let values = histograms.iter().map(proto::histogram).collect();
            board.file.write(proto::summary(now(), done, values))
        });
    }

    fn flush(&mut self) {
        self.try_to(|board| board.file.flush());
    }

    fn finish(&mut self) -> Result<()> {
        self.flush();
        self.error.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_error_is_kept_and_told_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut board = TensorBoard::open(folder.path()).unwrap();
        let bad = Picture {
            name: "bad".into(),
            width: 2,
            height: 2,
            rgb: vec![0; 3],
        };
        board.pictures(1, std::slice::from_ref(&bad));
        board.event(&Event::Step(StepRecord::default()));
        assert!(board.finish().unwrap_err().to_string().contains("bad"));
    }

    #[test]
    fn a_folder_that_is_a_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        std::fs::write(&path, "").unwrap();
        let error = TensorBoard::open(&path).unwrap_err().to_string();
        assert!(error.contains("taken"), "{error}");
    }
}
