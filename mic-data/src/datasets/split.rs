//! The splits of published sets.

/// A split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// For training.
    Train,
    /// For evaluation during development.
    Val,
    /// Whose labels the benchmarks keep to themselves.
    Test,
}

impl Split {
    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}
