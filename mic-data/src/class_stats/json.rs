//! Class statistics in the three JSON files of the original's preparation tools:
//! `sample_class_stats.json` (a list of counts by class with the label file),
//! `sample_class_stats_dict.json` (the same by file) and `samples_with_class.json` (by class, the
//! files that show it). Classes without a pixel are left out everywhere.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use serde::de::{MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::ser::{CharEscape, Formatter, PrettyFormatter};

use crate::files::{DECODE_LIMIT, read_bytes, write_atomically};
use crate::{Error, Result};

/// Names of the three files.
pub const STATS_FILES: [&str; 3] = [
    "sample_class_stats.json",
    "sample_class_stats_dict.json",
    "samples_with_class.json",
];

/// The pixels of each class in one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The label file, with `/` between folders.
    pub file: String,
    /// By train id; only classes with pixels.
    pub counts: BTreeMap<u8, u64>,
}

/// Writes the three files into `folder`, each whole or not at all, the list (which readers look
/// for first) last. They are byte for byte what Python's `json.dump(..., indent=2)` makes.
///
/// # Errors
///
/// [`Error::Io`] if a file cannot be written.
pub fn write_entries(folder: &Path, entries: &[Entry]) -> Result<()> {
    let write = |name: &str, value: &dyn Fn(&mut Json<'_>) -> serde_json::Result<()>| {
        write_atomically(&folder.join(name), |file| {
            let mut json = serde_json::Serializer::with_formatter(file, Ascii::new());
            Ok(value(&mut json)?)
        })
    };
    write(STATS_FILES[1], &|json| {
        json.collect_map(entries.iter().map(|entry| (&entry.file, &entry.counts)))
    })?;
    write(STATS_FILES[2], &|json| json.collect_map(by_class(entries)))?;
    write(STATS_FILES[0], &|json| {
        let mut list = json.serialize_seq(Some(entries.len()))?;
        for entry in entries {
            list.serialize_element(entry)?;
        }
        SerializeSeq::end(list)
    })
}

/// Reads `sample_class_stats.json` in `folder` or, if it is not there,
/// `sample_class_stats_dict.json`.
///
/// # Errors
///
/// [`Error::Io`] if neither can be read, [`Error::Decode`] if it is no such file.
pub fn read_entries(folder: &Path) -> Result<Vec<Entry>> {
    let (list, dict) = (folder.join(STATS_FILES[0]), folder.join(STATS_FILES[1]));
    if list.exists() || !dict.exists() {
        return parse(&list);
    }
    let dict: BTreeMap<String, BTreeMap<u8, u64>> = parse(&dict)?;
    let entries = dict.into_iter();
    Ok(entries
        .map(|(file, counts)| Entry { file, counts })
        .collect())
}

fn parse<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    serde_json::from_slice(&read_bytes(path, DECODE_LIMIT)?).map_err(|error| Error::Decode {
        path: path.to_owned(),
        reason: format!("{error}; delete the file to have the classes counted again"),
    })
}

/// The files of each class, classes in the order of their first file.
fn by_class(entries: &[Entry]) -> Vec<(u8, Vec<(&str, u64)>)> {
    let mut classes: Vec<(u8, Vec<(&str, u64)>)> = Vec::new();
    for entry in entries {
        for (class, count) in &entry.counts {
            let sample = (entry.file.as_str(), *count);
            match classes.iter_mut().find(|(known, _)| known == class) {
                Some((_, files)) => files.push(sample),
                None => classes.push((*class, vec![sample])),
            }
        }
    }
    classes
}

impl Serialize for Entry {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.counts.len() + 1))?;
        for (class, count) in &self.counts {
            map.serialize_entry(class, count)?;
        }
        map.serialize_entry("file", &self.file)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_map(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Entry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("pixel counts by train id, and \"file\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Entry, A::Error> {
        use serde::de::Error as _;
        let (mut file, mut counts) = (None, BTreeMap::new());
        while let Some(key) = map.next_key::<String>()? {
            if key == "file" {
                file = Some(map.next_value()?);
            } else {
                let class = key.parse().map_err(|_| {
                    A::Error::custom(format!("key {key:?} is neither \"file\" nor a train id"))
                })?;
                counts.insert(class, map.next_value()?);
            }
        }
        let file = file.ok_or_else(|| A::Error::missing_field("file"))?;
        Ok(Entry { file, counts })
    }
}

type Json<'a> = serde_json::Serializer<&'a mut io::BufWriter<std::fs::File>, Ascii>;

/// Two spaces of indentation, and everything outside ASCII escaped.
struct Ascii(PrettyFormatter<'static>);

impl Ascii {
    fn new() -> Self {
        Self(PrettyFormatter::new())
    }
}

/// Hands calls on to the pretty formatter.
macro_rules! as_pretty {
    ($($name:ident($($arg:ident: $kind:ty),*);)*) => {
        $(fn $name<W: ?Sized + io::Write>(&mut self, writer: &mut W $(, $arg: $kind)*) -> io::Result<()> {
            self.0.$name(writer $(, $arg)*)
        })*
    };
}

impl Formatter for Ascii {
    as_pretty! {
        begin_array();
        end_array();
        begin_array_value(first: bool);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first: bool);
        begin_object_value();
        end_object_value();
        write_char_escape(escape: CharEscape);
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for c in fragment.chars() {
            if (' '..='~').contains(&c) {
                writer.write_all(&[c as u8])?;
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let entry = |file: &str, counts: &[(u8, u64)]| Entry {
            file: file.to_owned(),
            counts: counts.iter().copied().collect(),
        };
        vec![
            entry("gt/b.png", &[(2, 5), (10, 7)]),
            entry("gt/ä\"𝄞.png", &[(0, 1), (2, 3)]),
        ]
    }

    #[test]
    fn files_are_as_python_writes_them_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        write_entries(folder.path(), &entries()).unwrap();
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
        let list = "[\n  {\n    \"2\": 5,\n    \"10\": 7,\n    \"file\": \"gt/b.png\"\n  },\n  {\n    \
                    \"0\": 1,\n    \"2\": 3,\n    \"file\": \"gt/\\u00e4\\\"\\ud834\\udd1e.png\"\n  }\n]";
        assert_eq!(read(STATS_FILES[0]), list);
        let dict = "{\n  \"gt/b.png\": {\n    \"2\": 5,\n    \"10\": 7\n  },\n  \
                    \"gt/\\u00e4\\\"\\ud834\\udd1e.png\": {\n    \"0\": 1,\n    \"2\": 3\n  }\n}";
        assert_eq!(read(STATS_FILES[1]), dict);
        let by_class: serde_json::Value = serde_json::from_str(&read(STATS_FILES[2])).unwrap();
        assert_eq!(
            by_class["2"],
            serde_json::json!([["gt/b.png", 5], ["gt/ä\"𝄞.png", 3]])
        );
        assert_eq!(read_entries(folder.path()).unwrap(), entries());
        std::fs::remove_file(folder.path().join(STATS_FILES[0])).unwrap();
        let mut sorted = entries();
        sorted.sort_by(|a, b| a.file.cmp(&b.file));
        assert_eq!(read_entries(folder.path()).unwrap(), sorted);
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(STATS_FILES[0]);
        for text in [
            "[{\"0\": 1}]",
            "[{\"road\": 1, \"file\": \"a\"}]",
            "[",
            "{}",
            "[{\"0\": -1}]",
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read_entries(folder.path()).unwrap_err().to_string();
            assert!(
                error.contains(STATS_FILES[0]) && error.contains("delete"),
                "{error}"
            );
        }
    }
}
