//! Several sets counted as one.

/// Sets, one after the other.
pub(crate) struct Joined<S> {
    sets: Vec<S>,
    /// Numbers of samples up to the end of each set.
    ends: Vec<usize>,
}

impl<S> Joined<S> {
    /// Joins sets of these lengths.
    pub(crate) fn new(sets: Vec<S>, len: impl Fn(&S) -> usize) -> Self {
        let ends = sets.iter().scan(0, |end, set| {
            *end += len(set);
            Some(*end)
        });
        Self {
            ends: ends.collect(),
            sets,
        }
    }

    /// Samples of all sets.
    pub(crate) fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The first set.
    pub(crate) fn first(&self) -> Option<&S> {
        self.sets.first()
    }

    /// The set that holds sample `index`, and the sample's index there.
    pub(crate) fn find(&self, index: usize) -> (&S, usize) {
        let set = self.ends.partition_point(|end| *end <= index);
        let start = set.checked_sub(1).map_or(0, |before| self.ends[before]);
        (&self.sets[set], index - start)
    }
}
