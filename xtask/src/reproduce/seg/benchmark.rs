//! The data pairs that segmentation's comparison can run on.

use std::path::PathBuf;

/// A source and a target domain, with the configuration file that names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Benchmark {
    /// Built-in scenes: the source style and the target style.
    Scenes,
    /// CamVid by day and at dusk.
    CamVid {
        /// The folder with `train/`, `trainannot/` and so on.
        root: PathBuf,
    },
}

impl Benchmark {
    /// The pair that the command line names.
    ///
    /// # Errors
    ///
    /// Domains that make no pair, or a folder that is missing or not wanted.
    pub fn new(source: &str, target: &str, root: Option<PathBuf>) -> Result<Self, String> {
        match (source, target, root) {
            ("scenes", "scenes", None) => Ok(Self::Scenes),
            ("scenes", "scenes", Some(_)) => Err(
                "--data-root: the built-in scenes need no data; leave it out, or add --source \
                 camvid:day --target camvid:dusk"
                    .into(),
            ),
            ("camvid:day", "camvid:dusk", None) => Err(
                "--source camvid:day: needs --data-root DIR, the folder of CamVid with train/, \
                 trainannot/, val/, valannot/, test/ and testannot/"
                    .into(),
            ),
            ("camvid:day", "camvid:dusk", Some(root)) if root.is_dir() => Ok(Self::CamVid { root }),
            ("camvid:day", "camvid:dusk", Some(root)) => Err(format!(
                "--data-root {}: there is no such folder",
                root.display()
            )),
            _ => Err(format!(
                "--source {source} --target {target}: expected scenes and scenes (the default), \
                 or camvid:day and camvid:dusk"
            )),
        }
    }

    /// Name and text of the configuration file.
    pub fn config(&self) -> (&'static str, &'static str) {
        match self {
            Self::Scenes => (
                "configs/seg/miniature.toml",
                include_str!("../../../../configs/seg/miniature.toml"),
            ),
            Self::CamVid { .. } => (
                "configs/seg/miniature_camvid.toml",
                include_str!("../../../../configs/seg/miniature_camvid.toml"),
            ),
        }
    }

    /// Overrides that every run needs.
    pub fn overrides(&self) -> Vec<String> {
        match self {
            Self::Scenes => Vec::new(),
            Self::CamVid { root } => {
                let root = toml::Value::String(root.display().to_string());
                let sets = ["source", "target", "test"];
                sets.map(|set| format!("data.{set}.root={root}")).to_vec()
            }
        }
    }

    /// What the target training images are called as a labelled set.
    pub const fn target_domain(&self) -> &'static str {
        match self {
            Self::Scenes => "target",
            Self::CamVid { .. } => "dusk-train",
        }
    }

    /// A heading.
    pub const fn title(&self) -> &'static str {
        match self {
            Self::Scenes => "MIC for segmentation, in miniature: synthetic street scenes",
            Self::CamVid { .. } => "MIC for segmentation, in miniature: CamVid, day to dusk",
        }
    }

    /// What the images are, for numbers of images of the three sets.
    pub fn data(&self, source: usize, target: usize, test: usize) -> String {
        let kind = match self {
            Self::Scenes => "synthetic street scenes that the program draws",
            Self::CamVid { .. } => "real driving frames of CamVid, day as source, dusk as target",
        };
        format!(
            "{kind} ({source} labelled source images, {target} target images without labels, \
             {test} target images to test on)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_make_no_sense_are_explained() {
        let error = |source, target, root: Option<&str>| {
            Benchmark::new(source, target, root.map(PathBuf::from)).unwrap_err()
        };
        assert!(error("camvid:day", "camvid:dusk", None).contains("--data-root DIR"));
        assert!(error("camvid:day", "camvid:dusk", Some("/no/where")).contains("/no/where"));
        assert!(error("scenes", "camvid:dusk", None).contains("expected scenes and scenes"));
        assert!(error("scenes", "scenes", Some("/")).contains("need no data"));
    }

    #[test]
    fn folders_become_toml_strings() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("12");
        std::fs::create_dir(&root).unwrap();
        let benchmark = Benchmark::new("camvid:day", "camvid:dusk", Some(root)).unwrap();
        let sets = benchmark.overrides();
        assert_eq!(sets.len(), 3);
        assert!(sets[0].starts_with("data.source.root=\"") && sets[0].ends_with("/12\""));
    }
}
