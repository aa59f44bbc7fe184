//! `events.jsonl`: one event a line.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::record::Event;
use crate::watch::Watch;
use crate::{Error, Result};

/// How long a line may stay in memory.
const FLUSH: Duration = Duration::from_secs(2);

/// Appends events to a file.
pub struct EventLog {
    path: PathBuf,
    file: BufWriter<File>,
    flushed: Instant,
    error: Option<io::Error>,
}

impl EventLog {
    /// A new file in place of an older one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).map_err(Error::io(path))?;
        Ok(Self::over(path, file))
    }

    /// Goes on with a file after `done` steps: what a killed process wrote beyond them is removed,
    /// as the steps will be done again. A missing file is begun.
    ///
    /// # Errors
    /// A file that cannot be read or written.
    pub fn resume(path: &Path, done: u64) -> Result<Self> {
        let old = match File::open(path) {
            Ok(file) => Some(BufReader::new(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::io(path)(error)),
        };
        mic_nn::files::write_whole(path, |file| {
            let mut new = BufWriter::new(file);
            for line in old.into_iter().flat_map(|old| old.split(b'\n')) {
                let line = line?;
                // A torn line, or one of another program, has no place in the record.
                let event = serde_json::from_slice::<Event>(&line);
                if event.is_ok_and(|event| event.done() <= done) {
                    new.write_all(&line)?;
                    new.write_all(b"\n")?;
                }
            }
            new.flush()
        })
        .map_err(Error::io(path))?;
        let file = OpenOptions::new().append(true).open(path);
        Ok(Self::over(path, file.map_err(Error::io(path))?))
    }

    fn over(path: &Path, file: File) -> Self {
        Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 16, file),
            flushed: Instant::now(),
            error: None,
        }
    }

    fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.file, event)?;
        self.file.write_all(b"\n")?;
        let step = matches!(event, Event::Step(_));
        if !step || self.flushed.elapsed() >= FLUSH {
            self.file.flush()?;
            self.flushed = Instant::now();
        }
        Ok(())
    }
}

impl Watch for EventLog {
    fn event(&mut self, event: &Event) {
        if self.error.is_none() {
            self.error = self.write(event).err();
        }
    }

    fn flush(&mut self) {
        if self.error.is_none() {
            self.error = self.file.flush().err();
        }
    }

    fn finish(&mut self) -> Result<()> {
        let flushed = self.file.flush().err();
        match self.error.take().or(flushed) {
            None => Ok(()),
            Some(error) => Err(Error::io(&self.path)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Evaluation, StepRecord};

    fn step(step: u64) -> Event {
        Event::Step(StepRecord {
            step,
            ..StepRecord::default()
        })
    }

    fn events(path: &Path) -> Vec<Event> {
        let text = std::fs::read_to_string(path).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    fn steps(path: &Path) -> Vec<u64> {
        events(path).iter().map(Event::done).collect()
    }

    #[test]
    fn a_resumed_log_forgets_what_will_be_done_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut log = EventLog::create(&path).unwrap();
        (0..5).for_each(|n| log.event(&step(n)));
        log.event(&Event::Evaluation(Evaluation {
            step: 3,
            ..Evaluation::default()
        }));
        log.finish().unwrap();
        // Killed in the middle of a line.
        let mut file = OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(br#"{"event":"step","step":5,"sc"#).unwrap();

        let mut log = EventLog::resume(&path, 3).unwrap();
        log.event(&step(3));
        log.finish().unwrap();
        assert_eq!(steps(&path), [1, 2, 3, 3, 4]);
        let evaluation = |event: &&Event| matches!(event, Event::Evaluation(_));
        assert_eq!(events(&path).iter().filter(evaluation).count(), 1);
    }

    #[test]
    fn a_log_that_was_lost_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        let mut log = EventLog::resume(&path, 7).unwrap();
        log.event(&step(7));
        log.finish().unwrap();
        assert_eq!(steps(&path), [8]);
    }
}
