//! Tables of rules from the names of one library to those of another.

use super::error::{Error, Result};
use super::set::{Recipe, Weights};

/// A table of rules; the first that fits a name decides, names that none fits stay as they are.
///
/// In a pattern `{s}` stands for a number and a `*` at the end for the rest. In the new name `{s}`
/// is that number, `{s+1}` the next one, `{s-1}` the one before and `*` that rest:
///
/// ```
/// use mic_nn::weights::Rename;
///
/// let table = Rename::new().to("encoder.norm.{s}.*", "norm{s+1}.*").drop("classifier.*");
/// assert_eq!(table.name("encoder.norm.0.weight").as_deref(), Some("norm1.weight"));
/// assert_eq!(table.name("classifier.bias"), None);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Rename(Vec<Rule>);

#[derive(Clone, Debug)]
enum Rule {
    /// Another name.
    To(String, String),
    /// Another name, and without the last sizes, which are 1: 1x1 convolutions that are products.
    Squeeze(String, String),
    /// Several tensors, joined along the first dimension in this order.
    Join(Vec<String>, String),
    /// Parts along the first dimension: new names with the number of equal shares of each.
    Split(String, Vec<(String, usize)>),
    /// Another name, and that many equal parts of the second dimension from the last to the first.
    Reverse(String, String, usize),
    /// Left out.
    Drop(String),
}

impl Rename {
    /// No rules: every name stays.
    pub fn new() -> Self {
        Self::default()
    }

    fn with(mut self, rule: Rule) -> Self {
        self.0.push(rule);
        self
    }

    /// Gives names that fit `from` the name `to`.
    pub fn to(self, from: &str, to: &str) -> Self {
        self.with(Rule::To(from.into(), to.into()))
    }

    /// The same for 1x1 convolutions (O, I, 1, 1) that are matrices (O, I) here.
    pub fn squeeze(self, from: &str, to: &str) -> Self {
        self.with(Rule::Squeeze(from.into(), to.into()))
    }

    /// Joins tensors along their first dimension, such as the key's and the value's weights. Every
    /// pattern must have the same variables.
    pub fn join(self, from: &[&str], to: &str) -> Self {
        let from = from.iter().map(|&f| f.to_owned()).collect();
        self.with(Rule::Join(from, to.into()))
    }

    /// Splits a tensor along its first dimension; the numbers are shares.
    pub fn split(self, from: &str, to: &[(&str, usize)]) -> Self {
        let to = to
            .iter()
            .map(|&(name, share)| (name.to_owned(), share))
            .collect();
        self.with(Rule::Split(from.into(), to))
    }

    /// The same for layers whose inputs are `parts` concatenated maps of equal width, which are
    /// concatenated the other way round here: the parts of the weight's second dimension change
    /// places.
    pub fn reverse_inputs(self, from: &str, to: &str, parts: usize) -> Self {
        self.with(Rule::Reverse(from.into(), to.into(), parts))
    }

    /// Leaves out what fits `from`.
    pub fn drop(self, from: &str) -> Self {
        self.with(Rule::Drop(from.into()))
    }

    /// The rules of this table, then those of `other`.
    pub fn then(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The new name of a tensor; of one that is split, the first part's. `None` if it is left out.
    pub fn name(&self, name: &str) -> Option<String> {
        for rule in &self.0 {
            match rule {
                Rule::To(from, to) | Rule::Squeeze(from, to) | Rule::Reverse(from, to, _) => {
                    if let Some(found) = fit(from, name) {
                        return Some(fill(to, &found));
                    }
                }
                Rule::Join(from, to) => {
                    if let Some(found) = from.iter().find_map(|from| fit(from, name)) {
                        return Some(fill(to, &found));
                    }
                }
                Rule::Split(from, to) => {
                    if let Some(found) = fit(from, name) {
                        return to.first().map(|(to, _)| fill(to, &found));
                    }
                }
                Rule::Drop(from) => {
                    if fit(from, name).is_some() {
                        return None;
                    }
                }
            }
        }
        Some(name.to_owned())
    }
}

/// What the variables of a pattern stand for in a name.
struct Fitted {
    numbers: Vec<(String, u64)>,
    rest: String,
}

fn fit(pattern: &str, name: &str) -> Option<Fitted> {
    let (mut pattern, mut name) = (pattern, name);
    let mut numbers = Vec::new();
    while !pattern.is_empty() {
        if pattern == "*" {
            return Some(Fitted {
                numbers,
                rest: name.to_owned(),
            });
        }
        if let Some(variable) = pattern.strip_prefix('{') {
            let (variable, after) = variable.split_once('}')?;
            let digits = name.bytes().take_while(u8::is_ascii_digit).count();
            numbers.push((variable.to_owned(), name[..digits].parse().ok()?));
            (pattern, name) = (after, &name[digits..]);
        } else {
            let end = pattern.find(['{', '*']).unwrap_or(pattern.len()).max(1);
            name = name.strip_prefix(&pattern[..end])?;
            pattern = &pattern[end..];
        }
    }
    name.is_empty().then(|| Fitted {
        numbers,
        rest: String::new(),
    })
}

fn fill(template: &str, fitted: &Fitted) -> String {
    let mut name = template.replace('*', &fitted.rest);
    for (variable, number) in &fitted.numbers {
        name = name.replace(&format!("{{{variable}}}"), &number.to_string());
        name = name.replace(&format!("{{{variable}+1}}"), &(number + 1).to_string());
        let before = number.saturating_sub(1).to_string();
        name = name.replace(&format!("{{{variable}-1}}"), &before);
    }
    name
}

impl Weights {
    /// Applies a table. Joined and split tensors are made when they are read.
    ///
    /// # Errors
    /// A part of a joined tensor that is missing or of another shape; a tensor that cannot be
    /// split; two tensors of one name. Names the tensors.
    pub fn rename(&self, table: &Rename) -> Result<Self> {
        let mut entries: Vec<(String, Recipe)> = Vec::new();
        // Joined tensors stand where their first part stood.
        let mut joins: Vec<(String, usize, Vec<Option<Recipe>>)> = Vec::new();
        for (name, recipe) in &self.entries {
            let fitting = table
                .0
                .iter()
                .find_map(|rule| rule.fit(name).map(|f| (rule, f)));
            let Some((rule, (part, fitted))) = fitting else {
                entries.push((name.clone(), recipe.clone()));
                continue;
            };
            match rule {
                Rule::Drop(_) => {}
                Rule::To(_, to) => entries.push((fill(to, &fitted), recipe.clone())),
                Rule::Squeeze(_, to) => {
                    let mut shape = recipe.shape();
                    while shape.len() > 2 && shape.last() == Some(&1) {
                        shape.pop();
                    }
                    let recipe = Recipe::Reshaped(Box::new(recipe.clone()), shape);
                    entries.push((fill(to, &fitted), recipe));
                }
                Rule::Split(_, to) => {
                    entries.extend(split(name, recipe, to, &fitted)?);
                }
                Rule::Reverse(_, to, parts) => {
                    entries.push((fill(to, &fitted), reverse(name, recipe, *parts)?));
                }
                Rule::Join(from, to) => {
                    let joined = fill(to, &fitted);
                    let known = joins.iter().position(|(name, ..)| *name == joined);
                    let known = known.unwrap_or_else(|| {
                        joins.push((joined.clone(), entries.len(), vec![None; from.len()]));
                        entries.push((joined, Recipe::Joined(Vec::new(), Vec::new())));
                        joins.len() - 1
                    });
                    joins[known].2[part] = Some(recipe.clone());
                }
            }
        }
        for (name, place, parts) in joins {
            entries[place].1 = join(&name, parts)?;
        }
        let mut names: Vec<&str> = entries.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Rename(format!(
                "two tensors would be named {}",
                twice[0]
            )));
        }
        let mut renamed = self.clone();
        renamed.entries = entries;
        Ok(renamed)
    }
}

impl Rule {
    /// The variables, and which of the rule's patterns fits.
    fn fit(&self, name: &str) -> Option<(usize, Fitted)> {
        match self {
            Self::To(from, _)
            | Self::Squeeze(from, _)
            | Self::Split(from, _)
            | Self::Reverse(from, ..)
            | Self::Drop(from) => fit(from, name).map(|fitted| (0, fitted)),
            Self::Join(from, _) => {
                let mut from = from.iter().enumerate();
                from.find_map(|(part, from)| fit(from, name).map(|fitted| (part, fitted)))
            }
        }
    }
}

fn join(name: &str, parts: Vec<Option<Recipe>>) -> Result<Recipe> {
    let count = parts.len();
    let parts: Vec<Recipe> = parts.into_iter().flatten().collect();
    if parts.len() != count {
        return Err(Error::Rename(format!(
            "{name} is joined from {count} tensors, but only {} are there",
            parts.len()
        )));
    }
    let shapes: Vec<Vec<usize>> = parts.iter().map(Recipe::shape).collect();
    let tail = |shape: &Vec<usize>| shape.get(1..).map(<[usize]>::to_vec);
    let first = shapes.first().and_then(tail);
    if first.is_none() || shapes.iter().any(|shape| tail(shape) != first) {
        return Err(Error::Rename(format!(
            "{name} is joined from tensors of shapes {shapes:?}; expected shapes that differ in \
             the first size only"
        )));
    }
    let mut shape = shapes[0].clone();
    shape[0] = shapes.iter().map(|shape| shape[0]).sum();
    Ok(Recipe::Joined(parts, shape))
}

fn split(
    name: &str,
    recipe: &Recipe,
    to: &[(String, usize)],
    fitted: &Fitted,
) -> Result<Vec<(String, Recipe)>> {
    let shares: usize = to.iter().map(|(_, share)| share).sum();
    let shape = recipe.shape();
    let rows = shape.first().copied().unwrap_or(0);
    if shares == 0 || rows == 0 || rows % shares != 0 {
        return Err(Error::Rename(format!(
            "{name} of shape {shape:?} cannot be split into {shares} equal parts"
        )));
    }
    let share_rows = rows / shares;
    let mut start = 0;
    let part = |(to, share): &(String, usize)| {
        let rows = share * share_rows;
        let part = Recipe::Rows(Box::new(recipe.clone()), start, rows);
        start += rows;
        (fill(to, fitted), part)
    };
    Ok(to.iter().map(part).collect())
}

fn reverse(name: &str, recipe: &Recipe, parts: usize) -> Result<Recipe> {
    let shape = recipe.shape();
    let inputs = shape.get(1).copied().unwrap_or(0);
    if parts == 0 || inputs == 0 || inputs % parts != 0 {
        return Err(Error::Rename(format!(
            "the inputs of {name} of shape {shape:?} are not {parts} equal parts"
        )));
    }
    Ok(Recipe::Reversed(Box::new(recipe.clone()), parts))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use candle_core::{Device, Tensor};

    use super::*;

    fn weights(entries: &[(&str, &[f32], &[usize])]) -> Weights {
        let tensor = |values: &[f32], shape: &[usize]| {
            Tensor::from_slice(values, shape, &Device::Cpu).unwrap()
        };
        let entries = entries
            .iter()
            .map(|(n, v, s)| (n.to_string(), tensor(v, s)));
        Weights::from(entries.collect::<HashMap<_, _>>())
    }

    #[test]
    fn tensors_are_joined_split_and_squeezed() {
        let table = Rename::new()
            .join(&["{b}.key.*", "{b}.value.*"], "{b}.kv.*")
            .split("{b}.in_*", &[("{b}.q.*", 1), ("{b}.pair.*", 2)])
            .squeeze("{b}.conv.*", "{b}.fc.*");
        let given = weights(&[
            ("0.value.weight", &[3.0, 4.0], &[1, 2]),
            ("0.key.weight", &[1.0, 2.0], &[1, 2]),
            ("0.in_bias", &[1.0, 2.0, 3.0], &[3]),
            ("0.conv.weight", &[5.0, 6.0], &[2, 1, 1, 1]),
            ("other", &[0.0], &[1]),
        ]);
        let renamed = given.rename(&table).unwrap();
        let read = |name: &str| {
            let tensor = renamed.tensor(name).unwrap();
            assert_eq!(Some(tensor.dims().to_vec()), renamed.shape(name));
            (
                tensor.dims().to_vec(),
                tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap(),
            )
        };
        assert_eq!(read("0.kv.weight"), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(read("0.q.bias"), (vec![1], vec![1.0]));
        assert_eq!(read("0.pair.bias"), (vec![2], vec![2.0, 3.0]));
        assert_eq!(read("0.fc.weight"), (vec![2, 1], vec![5.0, 6.0]));
        assert_eq!(read("other").1, [0.0]);
    }

    #[test]
    fn inputs_change_places_and_numbers_move_both_ways() {
        let table = Rename::new().reverse_inputs("fuse{s}.*", "fuse.{s-1}.*", 2);
        let given = weights(&[(
            "fuse1.weight",
            &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0],
            &[2, 4, 1],
        )]);
        let tensor = given.rename(&table).unwrap();
        let tensor = tensor.tensor("fuse.0.weight").unwrap();
        assert_eq!(tensor.dims(), [2, 4, 1]);
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values, [3.0, 4.0, 1.0, 2.0, 7.0, 8.0, 5.0, 6.0]);
        let thirds = Rename::new().reverse_inputs("fuse{s}.*", "f", 3);
        let message = given.rename(&thirds).unwrap_err().to_string();
        assert!(
            message.contains("fuse1.weight") && message.contains("3 equal"),
            "{message}"
        );
    }

    #[test]
    fn rules_that_do_not_fit_name_the_tensors() {
        let message = |table: Rename, given: &[(&str, &[f32], &[usize])]| {
            weights(given).rename(&table).unwrap_err().to_string()
        };
        let lone = message(
            Rename::new().join(&["k", "v"], "kv"),
            &[("k", &[1.0], &[1])],
        );
        assert!(
            lone.contains("kv is joined from 2 tensors, but only 1"),
            "{lone}"
        );
        let halves = message(
            Rename::new().split("qkv", &[("q", 1), ("kv", 2)]),
            &[("qkv", &[1.0, 2.0], &[2])],
        );
        assert!(
            halves.contains("qkv of shape [2] cannot be split into 3"),
            "{halves}"
        );
        let same = message(
            Rename::new().to("a", "b"),
            &[("a", &[1.0], &[1]), ("b", &[1.0], &[1])],
        );
        assert!(same.contains("two tensors would be named b"), "{same}");
        let widths = message(
            Rename::new().join(&["k", "v"], "kv"),
            &[("k", &[1.0], &[1, 1]), ("v", &[1.0, 2.0], &[1, 2])],
        );
        assert!(widths.contains("[[1, 1], [1, 2]]"), "{widths}");
    }
}
