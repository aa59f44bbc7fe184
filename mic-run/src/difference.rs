//! What differs between two configurations.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// A key whose values differ, or that only one side has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// The key with its tables, such as `train.lr` or `data.source[1].root`.
    pub key: String,
    /// The value on the left; `None` where the key is absent.
    pub left: Option<Value>,
    /// The value on the right; `None` where the key is absent.
    pub right: Option<Value>,
}

impl fmt::Display for Difference {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (left, right) = (shown(self.left.as_ref()), shown(self.right.as_ref()));
        write!(to, "{}: {left} -> {right}", self.key)
    }
}

/// A value as it stands in a configuration; a dash for none.
pub fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "-".into(), Value::to_string)
}

/// Differences key by key, in the order of the keys. Tables, and arrays of tables of one length,
/// are compared key by key; all else as a whole. `1` and `1.0` are the same.
pub fn differences(a: &Table, b: &Table) -> Vec<Difference> {
    let mut found = Vec::new();
    tables("", a, b, &mut found);
    found
}

fn tables(prefix: &str, a: &Table, b: &Table, found: &mut Vec<Difference>) {
    let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for key in keys {
        let path = join(prefix, key);
        match (a.get(key), b.get(key)) {
            (Some(left), Some(right)) => values(path, left, right, found),
            (left, right) => one_sided(path, left, right, found),
        }
    }
}

/// `prefix.key`, the key in quotes where TOML asks for them.
fn join(prefix: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let key = if !key.is_empty() && key.chars().all(bare) {
        key.to_owned()
    } else {
        Value::String(key.to_owned()).to_string()
    };
    match prefix {
        "" => key,
        prefix => format!("{prefix}.{key}"),
    }
}

fn values(path: String, left: &Value, right: &Value, found: &mut Vec<Difference>) {
    match (left, right) {
        (Value::Table(left), Value::Table(right)) => tables(&path, left, right, found),
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() && all_tables(a, b) => {
            for (index, (left, right)) in a.iter().zip(b).enumerate() {
                values(format!("{path}[{index}]"), left, right, found);
            }
        }
        _ if same(left, right) => {}
        _ => found.push(Difference {
            key: path,
            left: Some(left.clone()),
            right: Some(right.clone()),
        }),
    }
}

/// A key of one side; a table is told key by key, so that each line is short.
fn one_sided(
    path: String,
    left: Option<&Value>,
    right: Option<&Value>,
    found: &mut Vec<Difference>,
) {
    match left.or(right) {
        Some(Value::Table(table)) if !table.is_empty() => {
            for (key, value) in table {
                let side = |here: Option<&Value>| here.is_some().then_some(value);
                one_sided(join(&path, key), side(left), side(right), found);
            }
        }
        _ => found.push(Difference {
            key: path,
            left: left.cloned(),
            right: right.cloned(),
        }),
    }
}

fn all_tables(a: &[Value], b: &[Value]) -> bool {
    !a.is_empty() && a.iter().chain(b).all(Value::is_table)
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Integer(whole), Value::Float(real))
        | (Value::Float(real), Value::Integer(whole)) => *whole as f64 == *real,
        (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(a: &str, b: &str) -> Vec<String> {
        let found = differences(&a.parse().unwrap(), &b.parse().unwrap());
        found.iter().map(Difference::to_string).collect()
    }

    #[test]
    fn equal_configurations_do_not_differ() {
        let text = "seed = 0\n[train]\nlr = 6e-5\nsizes = [1, 2]\n[[data]]\nroot = 'a'\n";
        assert_eq!(told(text, text), [""; 0]);
        assert_eq!(told("a = 1\nb = nan", "b = nan\na = 1.0"), [""; 0]);
        assert_eq!(told("a = [1, 2.5]", "a = [1.0, 2.5]"), [""; 0]);
    }

    #[test]
    fn differences_name_the_key_with_its_tables() {
        let found = told(
            "seed = 0\n[train]\nlr = 1e-3\niterations = 10\n",
            "seed = 1\n[train]\nlr = 0.002\niterations = 10\n",
        );
        assert_eq!(found, ["seed: 0 -> 1", "train.lr: 0.001 -> 0.002"]);
        assert_eq!(
            told("[a]\n'b c' = 1", "[a]\n'b c' = 2"),
            ["a.\"b c\": 1 -> 2"]
        );
        assert_eq!(told("a = '1'", "a = 1"), ["a: \"1\" -> 1"]);
    }

    #[test]
    fn keys_of_one_side_have_a_dash_on_the_other() {
        let found = told("[mask]\nratio = 0.7\nblock = 64\n", "x = []\n[empty]\n");
        let wanted = [
            "empty: - -> {}",
            "mask.block: 64 -> -",
            "mask.ratio: 0.7 -> -",
            "x: - -> []",
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn arrays_of_tables_are_compared_one_by_one() {
        let found = told(
            "[[set]]\nroot = 'a'\n[[set]]\nroot = 'b'\n",
            "[[set]]\nroot = 'a'\n[[set]]\nroot = 'c'\n",
        );
        assert_eq!(found, ["set[1].root: \"b\" -> \"c\""]);
        let lengths = differences(&"a = [1]".parse().unwrap(), &"a = [1, 2]".parse().unwrap());
        assert_eq!(lengths.len(), 1);
        assert_eq!(lengths[0].key, "a");
    }
}
