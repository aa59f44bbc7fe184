//! Spelling help: the word a typing error stood for.

/// The candidate nearest to `word` by edits of one letter, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let ranked = candidates.into_iter().map(|c| (edits(word, c), c));
    let (distance, best) = ranked.min_by_key(|(distance, _)| *distance)?;
    let longer = word.chars().count().max(best.chars().count());
    (distance <= longer.div_ceil(3)).then_some(best)
}

/// Fewest insertions, deletions and replacements of a letter that turn `a` into `b`.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_are_counted() {
        for (a, b, expected) in [
            ("", "abc", 3),
            ("ratio", "ratio", 0),
            ("rato", "ratio", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(edits(a, b), expected, "{a} -> {b}");
            assert_eq!(edits(b, a), expected, "{b} -> {a}");
        }
    }

    #[test]
    fn far_words_are_not_suggested() {
        let keys = ["block", "ratio", "lambda"];
        assert_eq!(nearest("blok", keys), Some("block"));
        assert_eq!(nearest("colour", keys), None);
        assert_eq!(nearest("x", []), None);
    }
}
