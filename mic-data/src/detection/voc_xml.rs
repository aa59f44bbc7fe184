//! One annotation file in the format of Pascal VOC.

use std::path::Path;

use roxmltree::{Document, Node, ParsingOptions};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Nodes beyond which a file is refused; an annotation has about ten an object.
const MAX_NODES: u32 = 1 << 20;

/// What becomes of objects that are marked as difficult.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difficult {
    /// Training leaves them out and evaluation passes over them.
    #[default]
    Ignore,
    /// They are left out.
    Drop,
    /// They are as good as others.
    Keep,
}

/// An annotation file.
#[derive(Clone, Debug, PartialEq)]
pub struct VocRecord {
    /// Name of the image file, if given.
    pub file_name: Option<String>,
    /// Width and height, if given.
    pub size: Option<(u32, u32)>,
    /// The objects in the order of the file.
    pub objects: Vec<VocObject>,
}

/// An object of an annotation file.
#[derive(Clone, Debug, PartialEq)]
pub struct VocObject {
    /// Its class.
    pub name: String,
    /// `[x1, y1, x2, y2]` as stored.
    pub corners: [f32; 4],
    /// Whether it is marked as difficult.
    pub difficult: bool,
}

/// Parses an annotation. `path` is for messages.
///
/// # Errors
///
/// [`Error::Decode`] for text that is no XML, has a document type or more than a million nodes, and
/// for missing elements and values that are no numbers.
pub fn parse_voc(text: &str, path: &Path) -> Result<VocRecord> {
    let decode = |reason: String| Error::Decode {
        path: path.to_owned(),
        reason,
    };
    let options = ParsingOptions {
        allow_dtd: false,
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(text, options)
        .map_err(|error| decode(format!("{error}; it is no XML or damaged, copy it again")))?;
    record(document.root_element()).map_err(decode)
}

fn record(root: Node) -> std::result::Result<VocRecord, String> {
    if !root.has_tag_name("annotation") {
        return Err(format!(
            "the outermost element is <{}>, not <annotation>",
            root.tag_name().name()
        ));
    }
    let size = match child(root, "size") {
        None => None,
        Some(size) => {
            let side = |key| -> std::result::Result<u32, String> {
                let value = number(size, key)?;
                // Some tools write whole numbers with a decimal point, or 0 for unknown.
                match (0.0..=1e6).contains(&value) && value.fract() == 0.0 {
                    true => Ok(value as u32),
                    false => Err(format!("<size> has the impossible <{key}> {value}")),
                }
            };
            let (width, height) = (side("width")?, side("height")?);
            (width > 0 && height > 0).then_some((width, height))
        }
    };
    let objects = root.children().filter(|node| node.has_tag_name("object"));
    let objects = objects.enumerate().map(|(place, node)| {
        object(node).map_err(|reason| format!("object {}: {reason}", place + 1))
    });
    Ok(VocRecord {
        file_name: child(root, "filename").map(|node| text(node).to_owned()),
        size,
        objects: objects.collect::<std::result::Result<_, _>>()?,
    })
}

fn object(node: Node) -> std::result::Result<VocObject, String> {
    let name = child(node, "name")
        .map(text)
        .filter(|name| !name.is_empty());
    let name = name.ok_or("there is no <name>")?;
    let bounds = child(node, "bndbox").ok_or("there is no <bndbox>")?;
    let mut corners = [0.0; 4];
    for (corner, key) in corners.iter_mut().zip(["xmin", "ymin", "xmax", "ymax"]) {
        let value = number(bounds, key)?;
        if value.abs() >= 1e7 {
            return Err(format!("<{key}> is {value}"));
        }
        *corner = value as f32;
    }
    let difficult = child(node, "difficult").map(text);
    Ok(VocObject {
        name: name.to_owned(),
        corners,
        difficult: !matches!(difficult, None | Some("" | "0")),
    })
}

fn child<'a, 'input>(node: Node<'a, 'input>, key: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.has_tag_name(key))
}

fn text<'a>(node: Node<'a, '_>) -> &'a str {
    node.text().unwrap_or_default().trim()
}

fn number(node: Node, key: &str) -> std::result::Result<f64, String> {
    let found = child(node, key).map(text);
    let found = found.ok_or_else(|| format!("there is no <{key}>"))?;
    let value = found.parse::<f64>().ok().filter(|value| value.is_finite());
    value.ok_or_else(|| format!("<{key}> is {found:?}, not a number"))
}
