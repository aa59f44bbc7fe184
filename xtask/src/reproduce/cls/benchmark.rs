//! The domains that classification's comparison can run on.

use std::path::{Path, PathBuf};

use crate::reproduce::task::Pair;

/// Two domains of handwritten digits, both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Benchmark {
    /// A sample of MNIST and the UCI digits, built in.
    BuiltIn,
    /// MNIST and USPS as IDX files.
    Files {
        /// Their folder.
        root: PathBuf,
    },
}

/// The file of a part of a set, plain or gzipped.
fn file(root: &Path, set: &str, part: &str, what: &str) -> Result<PathBuf, String> {
    let name = format!("{set}-{part}-{what}-ubyte");
    let found = [format!("{name}.gz"), name.clone()]
        .map(|name| root.join(name))
        .into_iter()
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        format!(
            "--data-root {}: it holds neither {name}.gz nor {name}; expected MNIST and USPS as \
             {{mnist,usps}}-{{train,test}}-{{images-idx3,labels-idx1}}-ubyte, each plain or with .gz",
            root.display()
        )
    })
}

const PARTS: [&str; 2] = ["train", "test"];

impl Benchmark {
    /// The built-in digits, or those of a folder.
    ///
    /// # Errors
    ///
    /// The first file that the folder lacks.
    pub fn new(root: Option<PathBuf>) -> Result<Self, String> {
        let Some(root) = root else {
            return Ok(Self::BuiltIn);
        };
        for set in ["mnist", "usps"] {
            for part in PARTS {
                for what in ["images-idx3", "labels-idx1"] {
                    file(&root, set, part, what)?;
                }
            }
        }
        Ok(Self::Files { root })
    }

    /// Both directions.
    pub fn pairs(&self) -> Vec<Pair> {
        let other = match self {
            Self::BuiltIn => ("optdigits", "UCI digits"),
            Self::Files { .. } => ("usps", "USPS"),
        };
        let mnist = ("mnist", "MNIST");
        [(mnist, other), (other, mnist)]
            .map(|(source, target)| Pair {
                key: format!("{}2{}", source.0, target.0),
                label: format!("{} to {}", source.1, target.1),
                overrides: self.overrides(source.0, target.0),
            })
            .to_vec()
    }

    fn overrides(&self, source: &str, target: &str) -> Vec<String> {
        let sets = [
            ("source", source, PARTS[0]),
            ("target", target, PARTS[0]),
            ("test", target, PARTS[1]),
        ];
        let chosen = sets.into_iter().flat_map(|(key, set, part)| match self {
            Self::BuiltIn => vec![format!("data.{key}.set={set}")],
            Self::Files { root } => {
                let path = |what: &str| {
                    // They were there when the command line was read.
                    let path = file(root, set, part, what).unwrap_or_default();
                    toml::Value::String(path.display().to_string())
                };
                vec![
                    format!("data.{key}.images={}", path("images-idx3")),
                    format!("data.{key}.labels={}", path("labels-idx1")),
                ]
            }
        });
        chosen.collect()
    }

    /// Name and text of the configuration file.
    pub const fn config(&self) -> (&'static str, &'static str) {
        match self {
            Self::BuiltIn => (
                "configs/cls/miniature.toml",
                include_str!("../../../../configs/cls/miniature.toml"),
            ),
            Self::Files { .. } => (
                "configs/cls/digits_mnist2usps.toml",
                include_str!("../../../../configs/cls/digits_mnist2usps.toml"),
            ),
        }
    }

    /// A heading.
    pub const fn title(&self) -> &'static str {
        match self {
            Self::BuiltIn => "MIC for classification, in miniature: built-in handwritten digits",
            Self::Files { .. } => "MIC for classification, in miniature: MNIST and USPS",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_without_the_files_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_owned();
        let error = Benchmark::new(Some(root.clone())).unwrap_err();
        assert!(error.contains("mnist-train-images-idx3-ubyte"), "{error}");
        for set in ["mnist", "usps"] {
            for part in PARTS {
                for what in ["images-idx3", "labels-idx1"] {
                    let gz = if set == "usps" { ".gz" } else { "" };
                    let name = format!("{set}-{part}-{what}-ubyte{gz}");
                    std::fs::write(root.join(name), "").unwrap();
                }
            }
        }
        let pairs = Benchmark::new(Some(root)).unwrap().pairs();
        assert_eq!(
            (pairs[0].key.as_str(), pairs[1].label.as_str()),
            ("mnist2usps", "USPS to MNIST")
        );
        let test = "usps-test-images-idx3-ubyte.gz\"";
        assert!(pairs[0].overrides[4].ends_with(test), "{pairs:?}");
    }

    #[test]
    fn directions_of_the_built_in_digits_are_opposite() {
        let pairs = Benchmark::BuiltIn.pairs();
        assert_eq!(
            pairs[1].overrides,
            [
                "data.source.set=optdigits",
                "data.target.set=mnist",
                "data.test.set=mnist"
            ]
        );
    }
}
