//! Several sets counted as one.

/// Numbers of samples up to the end of each set.
pub(crate) fn ends(lens: impl Iterator<Item = usize>) -> Vec<usize> {
    lens.scan(0, |end, len| {
        *end += len;
        Some(*end)
    })
    .collect()
}

/// The set that holds sample `index`, and the sample's index there.
pub(crate) fn locate(ends: &[usize], index: usize) -> (usize, usize) {
    let set = ends.partition_point(|end| *end <= index);
    let start = set.checked_sub(1).map_or(0, |before| ends[before]);
    (set, index - start)
}
