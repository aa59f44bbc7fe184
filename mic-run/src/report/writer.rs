//! Drawing `report.html`, once or again and again while a run goes on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mic_nn::files::write_whole;

use super::facts::Facts;
use super::run::{Gallery, page};
use super::story::Story;
use crate::folder::{EVENTS, REPORT};
use crate::record::{Event, Picture};
use crate::watch::Watch;
use crate::{Error, Result};

/// Least time between two drawings by default.
const EVERY: Duration = Duration::from_secs(10);
/// Drawn anew after so many times that, even if no evaluation came.
const WITHOUT_EVALUATION: u32 = 6;

/// Draws `report.html` of a run from the files in its folder.
///
/// # Errors
/// A folder without a run, events that cannot be read, a page that cannot be written.
pub fn write(run_folder: &Path) -> Result<()> {
    let facts = Facts::read(run_folder)?;
    if !Facts::is_run(run_folder) {
        return Err(Error::Usage(format!(
            "there is no run in {}: it has neither run.json nor events.jsonl",
            run_folder.display()
        )));
    }
    let story = Story::read(&run_folder.join(EVENTS))?;
    put(&facts, &story, &mut Gallery::default())
}

fn put(facts: &Facts, story: &Story, gallery: &mut Gallery) -> Result<()> {
    let path = facts.folder.join(REPORT);
    let page = page(facts, story, gallery);
    write_whole(&path, |file| file.write_all(page.as_bytes())).map_err(Error::io(&path))
}

/// Keeps `report.html` up to date while a run goes on: at the start, at evaluations (but not more
/// often than every 10 s), every minute without one, and at the end. All but the last are drawn by
/// another thread from a copy of what has been told; a step costs well under a microsecond.
#[derive(Debug)]
pub struct ReportWriter {
    folder: PathBuf,
    story: Story,
    every: Duration,
    /// Something new is worth showing.
    wanted: bool,
    drawn: Option<Instant>,
    drawing: Option<JoinHandle<Result<()>>>,
    gallery: Arc<Mutex<Gallery>>,
    error: Option<Error>,
}

impl ReportWriter {
    /// Goes on from the events in the folder, if there are any. To be opened after the files of an
    /// overwritten run are gone.
    ///
    /// # Errors
    /// Events that cannot be read.
    pub fn open(run_folder: &Path) -> Result<Self> {
        Ok(Self {
            folder: run_folder.to_owned(),
            story: Story::read(&run_folder.join(EVENTS))?,
            every: EVERY,
            wanted: true,
            drawn: None,
            drawing: None,
            gallery: Arc::default(),
            error: None,
        })
    }

    /// Draws at most every `every` (10 s unless said otherwise).
    #[must_use]
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    fn draw_if_due(&mut self) {
        let due = self.drawn.is_none_or(|drawn| {
            let passed = drawn.elapsed();
            let least = match self.wanted {
                true => self.every,
                false => self.every * WITHOUT_EVALUATION,
            };
            passed >= least
        });
        let busy = self
            .drawing
            .as_ref()
            .is_some_and(|drawing| !drawing.is_finished());
        if due && !busy {
            self.draw();
        }
    }

    /// Starts a drawing; the one before is done.
    fn draw(&mut self) {
        self.join();
        self.drawn = Some(Instant::now());
        self.wanted = false;
        let (folder, story) = (self.folder.clone(), self.story.clone());
        let gallery = Arc::clone(&self.gallery);
        let drawing = thread::Builder::new().name("report".into()).spawn(move || {
            let mut gallery = gallery.lock().unwrap_or_else(PoisonError::into_inner);
            put(&Facts::read(&folder)?, &story, &mut gallery)
        });
        match drawing {
            Ok(drawing) => self.drawing = Some(drawing),
            Err(error) => self.keep(Err(Error::io(&self.folder)(error))),
        }
    }

    fn join(&mut self) {
        let Some(drawing) = self.drawing.take() else {
            return;
        };
        let lost = |_| Err(Error::Run("drawing the report failed".into()));
        let drawn = drawing.join().unwrap_or_else(lost);
        self.keep(drawn);
    }

    fn keep(&mut self, done: Result<()>) {
        if let Err(error) = done {
            self.error.get_or_insert(error);
        }
    }
}

impl Watch for ReportWriter {
    fn event(&mut self, event: &Event) {
        self.story.tell(event);
        self.wanted |= matches!(event, Event::Evaluation(_) | Event::Start { .. });
        self.draw_if_due();
    }

    fn pictures(&mut self, _done: u64, _pictures: &[Picture]) {
        self.wanted = true;
    }

    fn finish(&mut self) -> Result<()> {
        self.draw();
        self.join();
        self.error.take().map_or(Ok(()), Err)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::lock::Lock;
    use crate::pictures::PictureFiles;
    use crate::runs::sample;

    fn read(folder: &Path) -> String {
        fs::read_to_string(folder.join("report.html")).unwrap()
    }

    fn picture() -> Picture {
        Picture {
            name: "test/a".into(),
            width: 1030,
            height: 2,
            rgb: vec![7; 1030 * 2 * 3],
        }
    }

    #[test]
    fn the_page_has_every_section_once_and_no_outside_reference() {
        let folder = tempfile::tempdir().unwrap();
        sample::run(folder.path(), 0.5);
        let mut files = PictureFiles::new(folder.path());
        files.pictures(10, &[picture()]);
        files.finish().unwrap();
        write(folder.path()).unwrap();
        let page = read(folder.path());
        for id in [
            "what",
            "scores",
            "classes",
            "curves",
            "pictures",
            "time",
            "notes",
            "configuration",
        ] {
            assert_eq!(page.matches(&format!("id=\"{id}\"")).count(), 1, "{id}");
        }
        for part in [
            "mic-test train &lt;x&gt;",
            "a &lt;note&gt;",
            "Collapsed: train (40.0 at best, now 1.0)",
            "iterations = 20",
            "width=\"344\" height=\"1\"",
            "1.0 GiB",
            "Waiting for data",
        ] {
            assert!(page.contains(part), "{part}");
        }
        let address = page.find("data:image/png;base64,").unwrap();
        let length = page[address..].find('"').unwrap();
        let text = page[..address].to_owned() + &page[address + length..];
        for outside in [
            "http:", "https:", "//", "@import", "url(", "<script", "<link",
        ] {
            assert!(!text.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_watched_run_is_drawn_as_its_files_would_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        sample::run(path, 0.5);
        write(path).unwrap();
        let from_files = read(path);
        fs::remove_file(path.join("events.jsonl")).unwrap();
        let mut writer = ReportWriter::open(path).unwrap().every(Duration::ZERO);
        for event in sample::events(0.5) {
            writer.event(&event);
        }
        writer.finish().unwrap();
        assert_eq!(read(path), from_files);
    }

    #[test]
    fn the_page_of_a_running_run_loads_itself_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        sample::run(path, 0.5);
        let lock = Lock::take(path).unwrap();
        let mut writer = ReportWriter::open(path).unwrap();
        writer.event(&Event::Start {
            step: 10,
            time: 0.0,
            command: "again".into(),
        });
        writer.finish().unwrap();
        let page = read(path);
        assert!(page.contains("http-equiv=\"refresh\"") && page.contains("state running"));
        assert!(page.contains("10 of 20 steps") && page.contains("left</span>"));
        drop(lock);
        write(path).unwrap();
        assert!(!read(path).contains("refresh"));
    }

    #[test]
    fn what_is_missing_or_damaged_does_not_hide_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        let refused = write(path).unwrap_err().to_string();
        assert!(refused.contains("no run in"), "{refused}");
        fs::write(path.join("run.json"), "{\"seed\":").unwrap();
        write(path).unwrap();
        assert!(read(path).contains("run.json is damaged"));
        fs::create_dir(path.join("pictures")).unwrap();
        fs::write(path.join("pictures/a-7.png"), "no picture").unwrap();
        write(path).unwrap();
        assert!(read(path).contains("step 7"));
    }

    #[test]
    fn a_page_that_cannot_be_written_is_told_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let gone = folder.path().join("gone");
        let mut writer = ReportWriter::open(&gone).unwrap();
        writer.event(&sample::events(0.5)[0]);
        let error = writer.finish().unwrap_err().to_string();
        assert!(error.contains("gone"), "{error}");
    }
}
