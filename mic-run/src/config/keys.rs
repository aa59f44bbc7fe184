//! Unknown keys, reported with the known key that was probably meant.

use serde::Serialize;
use toml::{Table, Value};

use super::nearest;
use crate::{Error, Result};

/// The keys that a configuration file may have.
#[derive(Clone, Debug)]
pub struct KnownKeys {
    known: Table,
    /// Names of tables whose keys are the user's own.
    open: &'static [&'static str],
}

impl KnownKeys {
    /// The keys of a configuration in which every optional key is present. The keys of tables named
    /// in `open`, at any depth, are the user's own.
    ///
    /// # Errors
    /// A configuration that TOML cannot express.
    pub fn of(full: &impl Serialize, open: &'static [&'static str]) -> Result<Self> {
        let known = Table::try_from(full)
            .map_err(|error| Error::Usage(format!("cannot list the known keys: {error}")))?;
        Ok(Self { known, open })
    }

    /// Refuses the first key of `table` that is not known; `origin` stands for the file in the
    /// message.
    ///
    /// # Errors
    /// That key, with the known one that was probably meant.
    pub fn check(&self, table: &Table, origin: &str) -> Result<()> {
        self.compare(table, &self.known, "", origin)
    }

    fn compare(&self, table: &Table, known: &Table, path: &str, origin: &str) -> Result<()> {
        for (key, value) in table {
            match known.get(key) {
                None => return Err(unknown(key, known, path, origin)),
                Some(Value::Table(_)) if self.open.contains(&key.as_str()) => {}
                Some(Value::Table(inner)) => {
                    if let Value::Table(value) = value {
                        self.compare(value, inner, &format!("{path}{key}."), origin)?;
                    }
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn unknown(key: &str, known: &Table, path: &str, origin: &str) -> Error {
    let names = || known.keys().map(String::as_str);
    let help = match nearest(key, names()) {
        Some(near) => format!("did you mean {path}{near}?"),
        None => {
            let listed: Vec<&str> = names().collect();
            let table = path.trim_end_matches('.');
            let place = if table.is_empty() {
                "the top level".to_owned()
            } else {
                format!("[{table}]")
            };
            format!("{place} has {}", listed.join(", "))
        }
    };
    Error::Usage(format!("{origin}: unknown key {path}{key}; {help}"))
}
