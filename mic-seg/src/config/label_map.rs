//! Label maps: from the ids or colours in label files to classes.

use mic_data::label_map::Unlisted;
use mic_data::{Classes, IGNORE, LabelMap};

use super::raw::RawLabelMap;
use crate::Result;
use mic_run::config::check::{one_of, refuse};
use mic_run::config::nearest;

pub(super) fn label_map(key: &str, raw: &RawLabelMap, classes: &Classes) -> Result<LabelMap> {
    let table = match raw {
        RawLabelMap::Published(name) if name == "binary" => {
            if classes.len() != 2 {
                let expected = "a map for the classes of the run; a binary mask has 2";
                return refuse(
                    key,
                    format!("{name:?} for {} classes", classes.len()),
                    expected,
                );
            }
            return Ok(LabelMap::binary());
        }
        RawLabelMap::Published(name) => {
            let published = [
                (
                    "cityscapes",
                    (LabelMap::cityscapes(), Classes::cityscapes()),
                ),
                ("synthia", (LabelMap::synthia(), Classes::cityscapes())),
                ("camvid", (LabelMap::camvid(), Classes::camvid())),
            ];
            let (map, wanted) = one_of(key, name, &published)?;
            if classes.names() != wanted.names() {
                let expected = "the map of the classes in data.classes, or a table of its own";
                return refuse(key, format!("{name:?}"), expected);
            }
            return Ok(map);
        }
        RawLabelMap::Table(table) => table,
    };
    let mut ids = Vec::new();
    let mut colours = Vec::new();
    let mut unlisted = Unlisted::Refuse;
    for (value, name) in table {
        let train = train_id(&format!("{key}.{value}"), name, classes)?;
        if value == "other" {
            if train != IGNORE {
                let expected = "\"ignore\", the only meaning that values without a line can have";
                return refuse(&format!("{key}.other"), format!("{name:?}"), expected);
            }
            unlisted = Unlisted::Ignore;
        } else if let Some(colour) = parse_colour(value) {
            colours.push((colour, train));
        } else if let Ok(id) = value.parse::<u16>() {
            ids.push((id, train));
        } else {
            let expected = "keys that are ids of the label files (0 to 65535), colours in them \
                            (\"#rrggbb\"), or \"other\"";
            return refuse(key, format!("{{ {value:?} = {name:?} }}"), expected);
        }
    }
    match (ids.is_empty(), colours.is_empty()) {
        (_, true) => Ok(LabelMap::new(key, ids, unlisted)),
        (true, false) => Ok(LabelMap::by_colour(key, colours, unlisted)),
        (false, false) => refuse(
            key,
            "a table of ids and colours",
            "one of both: label files hold either ids or colours",
        ),
    }
}

/// An RGB colour written `#rrggbb`.
pub(super) fn parse_colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#')?;
    if digits.len() != 6 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let [_, r, g, b] = u32::from_str_radix(digits, 16).ok()?.to_be_bytes();
    Some([r, g, b])
}

fn train_id(key: &str, name: &str, classes: &Classes) -> Result<u8> {
    if name == "ignore" {
        return Ok(IGNORE);
    }
    let names = || classes.names().iter().map(String::as_str);
    match names().zip(0u8..).find(|(known, _)| *known == name) {
        Some((_, id)) => Ok(id),
        None => {
            let hint = match nearest(name, names()) {
                Some(near) => format!("; did you mean {near:?}?"),
                None => String::new(),
            };
            let listed: Vec<&str> = names().collect();
            let listed = listed.join(", ");
            let expected = format!("\"ignore\" or a class of the run ({listed}){hint}");
            refuse(key, format!("{name:?}"), expected)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_six_hexadecimal_digits() {
        assert_eq!(parse_colour("#804080"), Some([128, 64, 128]));
        assert_eq!(parse_colour("#FFa001"), Some([255, 160, 1]));
        for wrong in ["804080", "#80408", "#8040800", "#80408g", "#+12345", ""] {
            assert_eq!(parse_colour(wrong), None, "{wrong:?}");
        }
    }
}
