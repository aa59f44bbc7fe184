//! What a run folder says about a run besides its events.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::folder::{CONFIG, EVENTS, METRICS, RUN};
use crate::{Error, Result};

/// The files of a run folder. A missing one is `None`; a damaged one is told in `damaged`, because
/// the others are still worth showing.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) folder: PathBuf,
    /// The folder's name.
    pub(crate) name: String,
    /// `config.toml` as it is.
    pub(crate) config_text: Option<String>,
    pub(crate) config: Option<toml::Table>,
    /// `run.json`.
    pub(crate) run: Option<Value>,
    /// `metrics.json`.
    pub(crate) metrics: Option<Value>,
    pub(crate) damaged: Vec<String>,
}

impl Facts {
    /// # Errors
    /// A folder that is none.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::Usage(format!(
                "there is no run folder {}; name the folder of a run",
                folder.display()
            )));
        }
        let mut facts = Self {
            folder: folder.to_owned(),
            name: name(folder),
            ..Self::default()
        };
        facts.config_text = facts.text(CONFIG);
        facts.config = facts.parsed(CONFIG, |text| text.parse::<toml::Table>().ok());
        facts.run = facts.parsed(RUN, |text| serde_json::from_str(text).ok());
        facts.metrics = facts.parsed(METRICS, |text| serde_json::from_str(text).ok());
        facts.damaged.dedup();
        Ok(facts)
    }

    fn text(&mut self, file: &str) -> Option<String> {
        match fs::read_to_string(self.folder.join(file)) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.damaged.push(format!("{file} cannot be read: {error}"));
                None
            }
        }
    }

    fn parsed<T>(&mut self, file: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let text = self.text(file)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            self.damaged.push(format!("{file} is damaged"));
        }
        parsed
    }

    /// Whether there is anything of a run in the folder.
    pub(crate) fn is_run(folder: &Path) -> bool {
        let files = [RUN, EVENTS];
        files.iter().any(|file| folder.join(file).is_file())
    }

    /// A value of `run.json` that is a text or a number.
    pub(crate) fn run_value(&self, key: &str) -> Option<String> {
        shown(self.run.as_ref()?.get(key)?)
    }

    /// Command line and time of every start.
    pub(crate) fn starts(&self) -> Vec<(String, String)> {
        let starts = self.run.as_ref().and_then(|run| run.get("starts"));
        let starts = starts.and_then(Value::as_array).into_iter().flatten();
        let text = |start: &Value, key: &str| start.get(key).and_then(shown).unwrap_or_default();
        starts
            .map(|start| (text(start, "command"), text(start, "time")))
            .collect()
    }

    /// Steps of the whole run.
    pub(crate) fn total(&self) -> Option<u64> {
        let config = self.config.as_ref();
        let train = config.and_then(|config| config.get("train")).or_else(|| {
            // A task without such a table has its length at the top.
            config.and_then(|config| config.get("iterations"))
        })?;
        let value = train.get("iterations").unwrap_or(train);
        value.as_integer().and_then(|steps| steps.try_into().ok())
    }
}

/// The last part of the folder's path, also of `.`.
fn name(folder: &Path) -> String {
    let whole = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let last = whole
        .file_name()
        .map(|name| name.to_string_lossy().into_owned());
    last.unwrap_or_else(|| whole.display().to_string())
}

/// A text, a number, a truth value or a list of them.
pub(crate) fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null | Value::Object(_) => None,
        Value::String(text) => Some(text.clone()),
        Value::Array(values) => {
            let parts: Option<Vec<String>> = values.iter().map(shown).collect();
            parts.map(|parts| parts.join(", "))
        }
        other => Some(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_do_not_hide_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        put("config.toml", "[train]\niterations = 40\n");
        put("run.json", "{\"seed\": 3, \"starts\"");
        let facts = Facts::read(folder.path()).unwrap();
        assert_eq!(facts.total(), Some(40));
        assert_eq!(facts.damaged, ["run.json is damaged"]);
        assert_eq!(facts.run_value("seed"), None);
        put(
            "run.json",
            r#"{"seed": 3, "starts": [{"command": "a b", "time": "now"}]}"#,
        );
        let facts = Facts::read(folder.path()).unwrap();
        assert_eq!(facts.run_value("seed").as_deref(), Some("3"));
        assert_eq!(facts.starts(), [("a b".to_owned(), "now".to_owned())]);
    }

    #[test]
    fn a_folder_that_is_none_is_named() {
        let error = Facts::read(Path::new("/no/such/run")).unwrap_err();
        assert!(error.to_string().contains("/no/such/run"), "{error}");
    }
}
