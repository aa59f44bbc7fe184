//! The classes of a task: names, colours, and the label that is no class.

use crate::{Error, Result, sample::IGNORE};

/// Class names and display colours by train id (0, 1, ...), and the label value to ignore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classes {
    names: Vec<String>,
    palette: Vec<[u8; 3]>,
}

impl Classes {
    /// Classes in the order of their train ids, each with its RGB colour.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for fewer than 2 or more than 255 classes, or a name given twice.
    pub fn new(classes: impl IntoIterator<Item = (String, [u8; 3])>) -> Result<Self> {
        let (names, palette): (Vec<String>, Vec<[u8; 3]>) = classes.into_iter().unzip();
        if !(2..=usize::from(IGNORE)).contains(&names.len()) {
            return Err(Error::Invalid(format!(
                "{} classes given; a task has 2 to {IGNORE} ({IGNORE} itself means ignored)",
                names.len()
            )));
        }
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                return Err(Error::Invalid(format!(
                    "class name {name:?} is given twice; names must differ"
                )));
            }
        }
        Ok(Self { names, palette })
    }

    /// The 19 evaluated classes of Cityscapes, also those of GTA, ACDC and Dark Zurich.
    pub fn cityscapes() -> Self {
        Self::from_table(&CITYSCAPES)
    }

    /// The 11 grouped classes of CamVid, in the order of the SegNet label files.
    pub fn camvid() -> Self {
        Self::from_table(&CAMVID)
    }

    fn from_table(table: &[(&str, [u8; 3])]) -> Self {
        Self {
            names: table.iter().map(|(name, _)| (*name).to_owned()).collect(),
            palette: table.iter().map(|(_, colour)| *colour).collect(),
        }
    }

    /// Number of classes, the ignored label not counted.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Always false: a task has at least two classes.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Names by train id.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// RGB colours by train id.
    pub fn palette(&self) -> &[[u8; 3]] {
        &self.palette
    }

    /// The label value that is no class ([`IGNORE`]).
    pub fn ignore(&self) -> u8 {
        IGNORE
    }
}

/// Train id order and colours of the Cityscapes benchmark.
const CITYSCAPES: [(&str, [u8; 3]); 19] = [
    ("road", [128, 64, 128]),
    ("sidewalk", [244, 35, 232]),
    ("building", [70, 70, 70]),
    ("wall", [102, 102, 156]),
    ("fence", [190, 153, 153]),
    ("pole", [153, 153, 153]),
    ("traffic light", [250, 170, 30]),
    ("traffic sign", [220, 220, 0]),
    ("vegetation", [107, 142, 35]),
    ("terrain", [152, 251, 152]),
    ("sky", [70, 130, 180]),
    ("person", [220, 20, 60]),
    ("rider", [255, 0, 0]),
    ("car", [0, 0, 142]),
    ("truck", [0, 0, 70]),
    ("bus", [0, 60, 100]),
    ("train", [0, 80, 100]),
    ("motorcycle", [0, 0, 230]),
    ("bicycle", [119, 11, 32]),
];

/// The colours are those of the CamVid data base's own colour key.
const CAMVID: [(&str, [u8; 3]); 11] = [
    ("sky", [128, 128, 128]),
    ("building", [128, 0, 0]),
    ("pole", [192, 192, 128]),
    ("road", [128, 64, 128]),
    ("pavement", [0, 0, 192]),
    ("tree", [128, 128, 0]),
    ("sign symbol", [192, 128, 128]),
    ("fence", [64, 64, 128]),
    ("car", [64, 0, 128]),
    ("pedestrian", [64, 64, 0]),
    ("bicyclist", [0, 128, 192]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_classes_pass_the_check_of_new() {
        for classes in [Classes::cityscapes(), Classes::camvid()] {
            let again = Classes::new(
                classes
                    .names()
                    .iter()
                    .cloned()
                    .zip(classes.palette().iter().copied()),
            );
            assert_eq!(again.unwrap(), classes);
        }
        assert_eq!(
            (Classes::cityscapes().len(), Classes::camvid().len()),
            (19, 11)
        );
    }

    #[test]
    fn unusable_class_lists_are_refused() {
        let named = |names: &[&str]| Classes::new(names.iter().map(|n| ((*n).to_owned(), [0; 3])));
        assert!(named(&["road"]).is_err());
        let error = named(&["road", "sky", "road"]).unwrap_err().to_string();
        assert!(error.contains("\"road\""), "{error}");
        assert!(Classes::new((0..256).map(|i| (i.to_string(), [0; 3]))).is_err());
    }
}
