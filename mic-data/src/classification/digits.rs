//! Built-in handwritten digits: two small real domains, to try things on without any file.
//!
//! Sources and licences are in `assets/digits/README.md` of this crate: a sample of MNIST (CC BY-SA
//! 3.0) and the UCI optical digits (CC BY 4.0).

use serde::{Deserialize, Serialize};

use super::idx::{IdxArray, IdxSet, read_idx_bytes};
use super::published::Split;
use crate::Result;

/// A built-in set of digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Digits {
    /// A sample of MNIST: 2,000 training and 1,000 test images of 28 x 28.
    Mnist,
    /// UCI optical digits: 1,200 training and 597 test images of 8 x 8.
    OptDigits,
}

macro_rules! files {
    ($stem:literal) => {
        (
            include_bytes!(concat!(
                "../../assets/digits/",
                $stem,
                "-images-idx3-ubyte.gz"
            )),
            include_bytes!(concat!(
                "../../assets/digits/",
                $stem,
                "-labels-idx1-ubyte.gz"
            )),
        )
    };
}

impl Digits {
    /// The sets with their names.
    pub const ALL: [(&'static str, Self); 2] =
        [("mnist", Self::Mnist), ("optdigits", Self::OptDigits)];

    /// The images of a part.
    ///
    /// # Errors
    ///
    /// None but damage in the program itself.
    pub fn open(self, split: Split) -> Result<IdxSet> {
        let (stem, (images, classes)): (&str, (&[u8], &[u8])) = match (self, split) {
            (Self::Mnist, Split::Train) => ("mnist-train", files!("mnist-train")),
            (Self::Mnist, Split::Test) => ("mnist-test", files!("mnist-test")),
            (Self::OptDigits, Split::Train) => ("optdigits-train", files!("optdigits-train")),
            (Self::OptDigits, Split::Test) => ("optdigits-test", files!("optdigits-test")),
        };
        let array = |bytes: &[u8], what: &str| -> Result<IdxArray> {
            read_idx_bytes(bytes, format!("built-in {stem} {what}").as_ref())
        };
        let names = (0..10).map(|digit| digit.to_string()).collect();
        let (images, classes) = (array(images, "images")?, array(classes, "labels")?);
        IdxSet::new(stem, images, classes, names)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample::ClassifiedSet;
    use super::*;

    #[test]
    fn sizes_are_as_documented_and_every_digit_is_there() {
        let cases = [
            (Digits::Mnist, Split::Train, 2000, 28),
            (Digits::Mnist, Split::Test, 1000, 28),
            (Digits::OptDigits, Split::Train, 1200, 8),
            (Digits::OptDigits, Split::Test, 597, 8),
        ];
        for (digits, split, count, side) in cases {
            let set = digits.open(split).unwrap();
            assert_eq!(set.len(), count);
            let image = set.pixels(count - 1).unwrap();
            assert_eq!(image.dimensions(), (side, side));
            let mut counts = [0; 10];
            for index in 0..count {
                counts[set.class(index) as usize] += 1;
            }
            // No digit is much rarer than the others.
            assert!(counts.iter().all(|n| n * 20 > count), "{counts:?}");
        }
    }

    #[test]
    fn ones_are_thinner_than_zeros_in_both_domains() {
        for (name, digits) in Digits::ALL {
            let set = digits.open(Split::Test).unwrap();
            let ink = |class: u32| {
                let of_class = (0..set.len()).filter(|index| set.class(*index) == class);
                let sums: Vec<f64> = of_class
                    .map(|index| {
                        let pixels = set.pixels(index).unwrap().into_raw();
                        pixels.iter().map(|p| f64::from(*p)).sum::<f64>()
                    })
                    .collect();
                sums.iter().sum::<f64>() / sums.len() as f64
            };
            assert!(ink(1) < ink(0), "{name}: labels do not fit the images");
        }
    }
}
