//! Reading `events.jsonl` quickly.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::Path;

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};

use super::story::Story;
use crate::record::Event;
use crate::{Error, Result};

/// How a line of a step begins.
const STEP: &[u8] = br#"{"event":"step","#;

impl Story {
    /// The story in a file of events; an empty one if there is no such file. Torn lines and
    /// unknown events are passed over and counted.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut story = Self::default();
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(story),
            file => file.map_err(Error::io(path))?,
        };
        let mut lines = BufReader::with_capacity(1 << 18, file);
        let mut line = Vec::new();
        loop {
            line.clear();
            if lines
                .read_until(b'\n', &mut line)
                .map_err(Error::io(path))?
                == 0
            {
                return Ok(story);
            }
            let line = line.trim_ascii();
            if !line.is_empty() && !story.line(line) {
                story.unread += 1;
            }
        }
    }

    /// Whether the line could be read.
    fn line(&mut self, line: &[u8]) -> bool {
        // Nearly all lines are steps, and a format that needs no copies reads them fast.
        if line.starts_with(STEP)
            && let Ok(step) = serde_json::from_slice::<StepLine<'_>>(line)
        {
            self.step_line(&step);
            return true;
        }
        let event = serde_json::from_slice::<Event>(line);
        event.map(|event| self.tell(&event)).is_ok()
    }

    fn step_line(&mut self, line: &StepLine<'_>) {
        let number = |value: Option<f64>| value.unwrap_or(f64::NAN);
        self.step(line.step, number(line.lr), number(line.seconds));
        let mut expected = 0;
        for (name, value) in &line.scalars.0 {
            self.scalar(&mut expected, line.step, name, number(*value));
        }
    }
}

/// A step whose names are part of the line.
#[derive(Deserialize)]
struct StepLine<'a> {
    step: u64,
    #[serde(borrow)]
    scalars: Named<'a>,
    lr: Option<f64>,
    seconds: Option<f64>,
}

struct Named<'a>(Vec<(&'a str, Option<f64>)>);

impl<'de: 'a, 'a> Deserialize<'de> for Named<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Named<'de>;

            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("named numbers")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(16);
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                Ok(Named(pairs))
            }
        }
        from.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::StepRecord;

    fn read(text: &[u8]) -> Story {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("events.jsonl");
        std::fs::write(&path, text).unwrap();
        Story::read(&path).unwrap()
    }

    #[test]
    fn steps_are_read_as_they_were_told() {
        let step = |step| {
            Event::Step(StepRecord {
                step,
                scalars: [
                    ("a \"b\"".to_owned(), step as f64 / 3.0),
                    ("none".to_owned(), f64::NAN),
                ]
                .into(),
                lr: 0.1,
                seconds: 0.25,
            })
        };
        let events: Vec<Event> = (0..20).map(step).collect();
        let lines = events
            .iter()
            .map(|e| serde_json::to_string(e).unwrap() + "\n");
        let read = read(lines.collect::<String>().as_bytes());
        let mut told = Story::default();
        events.iter().for_each(|event| told.tell(event));
        assert_eq!(format!("{read:?}"), format!("{told:?}"));
        assert_eq!(read.curve("none").unwrap().lost, 20);
    }

    #[test]
    fn torn_and_unknown_lines_are_passed_over() {
        let text =
            b"\n{\"event\":\"step\",\"step\":0,\"scalars\":{},\"lr\":null,\"seconds\":1.0}\n\
            {\"event\":\"eclipse\",\"step\":7}\n\xff\xfe\n\
            {\"event\":\"note\",\"step\":1,\"text\":\"n\"}\n\
            {\"event\":\"step\",\"step\":1,\"sca";
        let story = read(text);
        assert_eq!((story.done, story.unread), (1, 3));
        assert_eq!(story.notes, [(1, "n".to_owned())]);
    }

    #[test]
    fn a_run_without_events_has_an_empty_story() {
        let folder = tempfile::tempdir().unwrap();
        let story = Story::read(&folder.path().join("none")).unwrap();
        assert_eq!(story.done, 0);
    }
}
