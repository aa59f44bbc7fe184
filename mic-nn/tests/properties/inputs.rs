//! Random sizes, values and layouts.

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

/// A size of at least 1 and at most `most`: tiny, odd, prime, or beside a vector's width.
pub(crate) fn size(rng: &mut ChaCha8Rng, most: usize) -> usize {
    const SIZES: [usize; 24] = [
        1, 1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 23, 31, 32, 33, 63, 64, 65, 127, 255, 257,
    ];
    let fitting = SIZES.iter().filter(|s| **s <= most).count();
    SIZES[rng.random_range(0..fitting)]
}

/// One way to look at memory.
#[derive(Clone, Debug)]
enum Step {
    Permute(Vec<usize>),
    Narrow(usize, usize, usize),
    Expand(Vec<usize>),
}

impl Step {
    fn apply(&self, t: &Tensor) -> Result<Tensor> {
        match self {
            Self::Permute(order) => t.permute(order.as_slice()),
            Self::Narrow(dim, start, len) => t.narrow(*dim, *start, *len),
            Self::Expand(dims) => t.broadcast_as(dims.as_slice()),
        }
    }
}

/// An op's argument: a dense tensor in memory, and the view of it that the op gets.
#[derive(Clone)]
pub(crate) struct Input {
    pub(crate) name: &'static str,
    pub(crate) base: Vec<usize>,
    pub(crate) values: Vec<f64>,
    steps: Vec<Step>,
    /// Whether a gradient is asked for.
    pub(crate) tracked: bool,
}

/// Which layouts an argument may have.
#[derive(Clone, Copy, PartialEq)]
enum Layouts {
    /// Permuted, narrowed, expanded.
    All,
    /// Without expanded ones, whose equal elements make statistics degenerate.
    Distinct,
}

impl Input {
    /// Values of -2..2 in a random layout of `dims`.
    pub(crate) fn new(rng: &mut ChaCha8Rng, name: &'static str, dims: &[usize]) -> Self {
        Self::within(rng, name, dims, -2.0..2.0)
    }

    /// Values of a range in a random layout of `dims`.
    pub(crate) fn within(
        rng: &mut ChaCha8Rng,
        name: &'static str,
        dims: &[usize],
        range: std::ops::Range<f64>,
    ) -> Self {
        Self::draw(rng, name, dims, range, Layouts::All)
    }

    /// As [`Input::new`], with a place in memory of its own for every element.
    pub(crate) fn distinct(rng: &mut ChaCha8Rng, name: &'static str, dims: &[usize]) -> Self {
        Self::draw(rng, name, dims, -2.0..2.0, Layouts::Distinct)
    }

    /// No gradient is asked for.
    pub(crate) fn constant(self) -> Self {
        Self {
            tracked: false,
            ..self
        }
    }

    fn draw(
        rng: &mut ChaCha8Rng,
        name: &'static str,
        dims: &[usize],
        range: std::ops::Range<f64>,
        layouts: Layouts,
    ) -> Self {
        let mut base = dims.to_vec();
        let mut steps = Vec::new();
        // From the view that the op gets back to memory.
        for _ in 0..rng.random_range(0..=if dims.is_empty() { 0 } else { 2 }) {
            let dim = rng.random_range(0..base.len());
            match rng.random_range(0..if layouts == Layouts::All { 3 } else { 2 }) {
                0 => {
                    let mut order: Vec<usize> = (0..base.len()).collect();
                    for last in (1..order.len()).rev() {
                        order.swap(last, rng.random_range(0..=last));
                    }
                    let mut before = vec![0; base.len()];
                    for (&from, &size) in order.iter().zip(&base) {
                        before[from] = size;
                    }
                    steps.push(Step::Permute(order));
                    base = before;
                }
                1 => {
                    let (start, len) = (rng.random_range(0..3), base[dim]);
                    steps.push(Step::Narrow(dim, start, len));
                    base[dim] = start + len + rng.random_range(0..3);
                }
                _ => {
                    steps.push(Step::Expand(base.clone()));
                    base[dim] = 1;
                }
            }
        }
        steps.reverse();
        let count: usize = base.iter().product();
        // Rounded, so that both precisions start from the same numbers.
        let value = |_| f64::from(rng.random_range(range.clone()) as f32);
        Self {
            name,
            values: (0..count).map(value).collect(),
            base,
            steps,
            tracked: true,
        }
    }

    /// Elements of the view.
    pub(crate) fn len(&self) -> usize {
        self.tensors(DType::F32).unwrap().1.elem_count()
    }

    /// The dense tensor in memory, and the view of it. Both are tracked where a gradient is asked
    /// for.
    pub(crate) fn tensors(&self, dtype: DType) -> Result<(Tensor, Tensor)> {
        let dense = Tensor::from_vec(self.values.clone(), self.base.as_slice(), &Device::Cpu)?;
        let mut dense = dense.to_dtype(dtype)?;
        if self.tracked {
            dense = Var::from_tensor(&dense)?.into_inner();
        }
        let mut view = dense.clone();
        for step in &self.steps {
            view = step.apply(&view)?;
        }
        Ok((dense, view))
    }
}

impl std::fmt::Display for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.name, self.base)?;
        self.steps
            .iter()
            .try_for_each(|step| write!(f, " {step:?}"))
    }
}
