//! `--set key.path=value`.

use toml::{Table, Value};

use super::check::required;
use crate::{Error, Result};

/// Puts `key.path=value` into `table`. The value is TOML; what is no TOML is a string, so bare
/// words need no quotes. An empty value removes the key.
pub(super) fn apply(table: &mut Table, set: &str) -> Result<()> {
    let (path, value) = set.split_once('=').ok_or_else(|| {
        Error::Usage(format!(
            "--set {set}: expected key=value, such as train.iterations=500"
        ))
    })?;
    let (path, value) = (path.trim(), value.trim());
    let keys: Vec<&str> = path.split('.').map(str::trim).collect();
    if keys.iter().any(|key| key.is_empty()) {
        return Err(Error::Usage(format!(
            "--set {set}: expected names joined by dots before the `=`, such as mask.ratio"
        )));
    }
    let (last, tables) = required("--set", keys.split_last().as_ref(), "no key").copied()?;
    let mut inner = table;
    for key in tables {
        inner = inner
            .entry(*key)
            .or_insert_with(|| Value::Table(Table::new()))
            .as_table_mut()
            .ok_or_else(|| {
                Error::Usage(format!(
                    "--set {set}: {key} is a value, not a table with keys of its own"
                ))
            })?;
    }
    if value.is_empty() {
        inner.remove(*last);
    } else {
        inner.insert((*last).to_owned(), parse(value));
    }
    Ok(())
}

fn parse(text: &str) -> Value {
    // A line of its own, so that a comment sign or a line break cannot hide a part of the value.
    let line = format!("value = {text}");
    match line.parse::<Table>() {
        Ok(mut table) if table.len() == 1 && !text.contains(['#', '\n']) => table
            .remove("value")
            .unwrap_or_else(|| Value::String(text.into())),
        _ => Value::String(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_toml_or_bare_words() {
        for (text, expected) in [
            ("3", Value::Integer(3)),
            ("1e-3", Value::Float(1e-3)),
            ("true", Value::Boolean(true)),
            ("\"3\"", Value::String("3".into())),
            ("dacs", Value::String("dacs".into())),
            ("sdat", Value::String("sdat".into())),
            ("some/folder #2", Value::String("some/folder #2".into())),
            ("[8, 4]", Value::Array(vec![8.into(), 4.into()])),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn keys_are_set_added_and_removed() {
        let mut table: Table = "[mask]\nratio = 0.7\nalpha = 0.9".parse().unwrap();
        apply(&mut table, "mask.ratio = 0.5").unwrap();
        apply(&mut table, "mask.alpha=").unwrap();
        apply(&mut table, "train.batch=2").unwrap();
        let expected: Table = "[mask]\nratio = 0.5\n[train]\nbatch = 2".parse().unwrap();
        assert_eq!(table, expected);
        for (wrong, part) in [
            ("mask.ratio", "key=value"),
            ("mask..ratio=1", "joined by dots"),
            ("mask.ratio.x=1", "not a table"),
        ] {
            let error = apply(&mut table, wrong).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
