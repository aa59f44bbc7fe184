//! Path patterns: `*` for any part of a name, `?` for one character, `**` for any folders.

use crate::{Error, Result};

/// A pattern for paths with `/` between folders. The text that its wildcards stand for carries over
/// to another pattern, which is how an image finds its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    /// `?`
    One,
    /// `*`
    Some,
    /// `**/`: no folder, or some with their slashes.
    Folders,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an empty or absolute pattern, and for `**` that is not a folder of
    /// its own.
    pub fn parse(text: &str) -> Result<Self> {
        let wrong = |why: &str| Error::Invalid(format!("pattern {text:?}: {why}"));
        if text.is_empty() || text.starts_with('/') {
            return Err(wrong(
                "a path below the root is needed, such as \"*/images/*.png\"",
            ));
        }
        let chars: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut at = 0;
        while at < chars.len() {
            if chars[at..].starts_with(&['*', '*']) {
                let begins = at == 0 || chars[at - 1] == '/';
                if !begins || chars.get(at + 2) != Some(&'/') {
                    return Err(wrong("** stands for whole folders: write **/"));
                }
                parts.push(Part::Folders);
                at += 3;
                continue;
            }
            parts.push(match chars[at] {
                '*' => Part::Some,
                '?' => Part::One,
                other => Part::Char(other),
            });
            at += 1;
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// The pattern as written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What the wildcards stand for in `path`, in their order; `None` if it does not match. Of
    /// several ways to match, the one whose earlier wildcards are shortest.
    pub fn captures(&self, path: &str) -> Option<Vec<String>> {
        let path: Vec<char> = path.chars().collect();
        let mut taken = Vec::new();
        // Work grows with the power of the wildcards in the worst case; refused pairs are
        // remembered, so that it stays a product.
        let mut refused = vec![false; (self.parts.len() + 1) * (path.len() + 1)];
        self.walk(0, 0, &path, &mut taken, &mut refused).then(|| {
            taken
                .iter()
                .map(|(a, b)| path[*a..*b].iter().collect())
                .collect()
        })
    }

    fn walk(
        &self,
        part: usize,
        at: usize,
        path: &[char],
        taken: &mut Vec<(usize, usize)>,
        refused: &mut [bool],
    ) -> bool {
        let place = part * (path.len() + 1) + at;
        if refused[place] {
            return false;
        }
        let matched = match self.parts.get(part) {
            None => at == path.len(),
            Some(Part::Char(c)) => {
                path.get(at) == Some(c) && self.walk(part + 1, at + 1, path, taken, refused)
            }
            Some(wildcard) => {
                let name_end = path[at..].iter().position(|c| *c == '/');
                let name_end = name_end.map_or(path.len(), |length| at + length);
                let ends: Vec<usize> = match wildcard {
                    Part::Folders => std::iter::once(at)
                        .chain((at..path.len()).filter(|i| path[*i] == '/').map(|i| i + 1))
                        .collect(),
                    Part::One => (at + 1..=name_end).take(1).collect(),
                    _ => (at..=name_end).collect(),
                };
                ends.into_iter().any(|end| {
                    taken.push((at, end));
                    let matched = self.walk(part + 1, end, path, taken, refused);
                    if !matched {
                        taken.pop();
                    }
                    matched
                })
            }
        };
        refused[place] = !matched;
        matched
    }

    /// The path in which the wildcards are replaced by what those of another pattern stood for.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] if the two patterns have other wildcards.
    pub fn fill(&self, other: &Self, captures: &[String]) -> Result<String> {
        if self.wildcards() != other.wildcards() {
            return Err(Error::Invalid(format!(
                "patterns {:?} and {:?} must have the same wildcards in the same order, as what \
                 they stand for in an image's path makes its label's path",
                other.text, self.text
            )));
        }
        let mut captures = captures.iter();
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Char(c) => filled.push(*c),
                _ => filled.extend(captures.next().map(String::as_str)),
            }
        }
        Ok(filled)
    }

    fn wildcards(&self) -> Vec<&Part> {
        let wildcard = |part: &&Part| !matches!(part, Part::Char(_));
        self.parts.iter().filter(wildcard).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn captures(pattern: &str, path: &str) -> Option<Vec<String>> {
        Pattern::parse(pattern).unwrap().captures(path)
    }

    #[test]
    fn wildcards_match_and_capture() {
        let some = |parts: &[&str]| Some(parts.iter().map(|p| (*p).to_owned()).collect());
        assert_eq!(captures("a/*.png", "a/x1.png"), some(&["x1"]));
        assert_eq!(captures("a/*.png", "a/b/x1.png"), None);
        assert_eq!(
            captures("*/rgb/*_?.png", "r1/rgb/x_7.png"),
            some(&["r1", "x", "7"])
        );
        assert_eq!(captures("**/*.png", "x.png"), some(&["", "x"]));
        assert_eq!(captures("**/*.png", "a/b/x.png"), some(&["a/b/", "x"]));
        assert_eq!(captures("a/**/c.png", "a/b/d/c.png"), some(&["b/d/"]));
        assert_eq!(captures("*", "a/b"), None);
        assert_eq!(captures("?.png", ".png"), None);
        let long = format!("{}b", "a".repeat(200));
        assert_eq!(captures("*a*a*a*a*a*a*a*a*c", &long), None);
    }

    #[test]
    fn labels_take_the_text_of_the_wildcards() {
        let image = Pattern::parse("**/rgb/*.jpg").unwrap();
        let label = Pattern::parse("**/mask/*_m.png").unwrap();
        let found = image.captures("x/y/rgb/07.jpg").unwrap();
        assert_eq!(label.fill(&image, &found).unwrap(), "x/y/mask/07_m.png");
        let other = Pattern::parse("mask/*.png").unwrap();
        let error = other.fill(&image, &found).unwrap_err().to_string();
        assert!(error.contains("same wildcards"), "{error}");
    }

    #[test]
    fn unusable_patterns_are_refused() {
        for text in ["", "/a/*.png", "a**/b", "a/**"] {
            assert!(Pattern::parse(text).is_err(), "{text:?}");
        }
    }
}
