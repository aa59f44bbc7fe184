//! Counting the values of a tensor into bins.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use crate::record::Histogram;
use crate::{Error, Result};

/// Bins of [`Counted::of`] that TensorBoard shows without loss.
pub const BINS: usize = 30;

/// A histogram of the finite values, and how many others there were.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    /// The finite values.
    pub histogram: Histogram,
    /// Values that are no number.
    pub nan: u64,
    /// Values that are infinite.
    pub infinite: u64,
}

/// The histograms of named tensors.
///
/// # Errors
/// Those of [`Counted::of`].
pub fn all(tensors: &[(String, Tensor)]) -> Result<Vec<Histogram>> {
    let of = |(name, tensor): &(String, Tensor)| Ok(Counted::of(name, tensor)?.histogram);
    tensors.iter().map(of).collect()
}

impl Counted {
    /// Counts `tensor` (any shape, on any device, read as f64 if it is that and as f32 otherwise)
    /// into [`BINS`] bins of equal width from the smallest to the largest finite value. Each bin
    /// holds values above its lower and up to its upper edge. Two passes over the values, one
    /// thread: about five nanoseconds a value.
    ///
    /// # Errors
    /// A tensor that cannot be copied from its device.
    pub fn of(name: &str, tensor: &Tensor) -> Result<Self> {
        let tensor = match tensor.dtype() {
            DType::F32 | DType::F64 => tensor.clone(),
            _ => tensor.to_dtype(DType::F32)?,
        };
        let tensor = tensor.to_device(&Device::Cpu)?.contiguous()?;
        let (storage, layout) = tensor.storage_and_layout();
        let start = layout.start_offset();
        let all = start..start + layout.shape().elem_count();
        match &*storage {
            Storage::Cpu(CpuStorage::F32(values)) => Ok(count(name, &values[all])),
            Storage::Cpu(CpuStorage::F64(values)) => Ok(count(name, &values[all])),
            _ => Err(Error::Run(format!(
                "tensor {name}: values of type {:?} cannot be counted",
                tensor.dtype()
            ))),
        }
    }
}

/// What one pass over the values finds out.
#[derive(Clone, Copy)]
struct Moments {
    low: f64,
    high: f64,
    finite: u64,
    nan: u64,
    sum: f64,
    squares: f64,
}

impl Moments {
    const NOTHING: Self = Self {
        low: f64::INFINITY,
        high: f64::NEG_INFINITY,
        finite: 0,
        nan: 0,
        sum: 0.0,
        squares: 0.0,
    };

    fn add(&mut self, value: f64) {
        if value.is_finite() {
            self.low = if value < self.low { value } else { self.low };
            self.high = if value > self.high { value } else { self.high };
            self.finite += 1;
            self.sum += value;
            self.squares += value * value;
        } else {
            self.nan += u64::from(value.is_nan());
        }
    }

    fn join(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            finite: self.finite + other.finite,
            nan: self.nan + other.nan,
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }
}

fn moments<T: Copy + Into<f64>>(values: &[T]) -> Moments {
    // Sums that do not wait for each other.
    let mut lanes = [Moments::NOTHING; 4];
    let (groups, rest) = values.as_chunks::<4>();
    for group in groups {
        for (lane, &value) in lanes.iter_mut().zip(group) {
            lane.add(value.into());
        }
    }
    rest.iter().for_each(|&value| lanes[0].add(value.into()));
    lanes.into_iter().fold(Moments::NOTHING, Moments::join)
}

fn count<T: Copy + Into<f64>>(name: &str, values: &[T]) -> Counted {
    let found = moments(values);
    let (range, edges, counts) = if found.finite == 0 {
        ((0.0, 0.0), Vec::new(), Vec::new())
    } else if found.low == found.high {
        let edges = vec![found.high];
        ((found.low, found.high), edges, vec![found.finite as f64])
    } else {
        let (low, high) = (found.low, found.high);
        ((low, high), edges(low, high), bins(values, low, high))
    };
    Counted {
        histogram: Histogram {
            name: name.to_owned(),
            range,
            moments: (found.finite as f64, found.sum, found.squares),
            edges,
            counts,
        },
        nan: found.nan,
        infinite: values.len() as u64 - found.finite - found.nan,
    }
}

fn edges(low: f64, high: f64) -> Vec<f64> {
    // In halves, because the span itself can be beyond f64.
    let width = (high / 2.0 - low / 2.0) / (BINS as f64 / 2.0);
    let inner = (1..BINS).map(|i| (low + i as f64 * width).min(high));
    inner.chain([high]).collect()
}

fn bins<T: Copy + Into<f64>>(values: &[T], low: f64, high: f64) -> Vec<f64> {
    // Neighbours often fall into one bin: with a table each, no count waits for the one before.
    const TABLES: usize = 4;
    let half = low / 2.0;
    let scale = BINS as f64 / (high / 2.0 - half);
    let mut counts = [[0u64; BINS]; TABLES];
    let (groups, rest) = values.as_chunks::<TABLES>();
    for group in groups {
        for (table, &value) in counts.iter_mut().zip(group) {
            count_one(table, value.into(), half, scale);
        }
    }
    for &value in rest {
        count_one(&mut counts[0], value.into(), half, scale);
    }
    let all = |bin: usize| counts.iter().map(|table| table[bin]).sum::<u64>() as f64;
    (0..BINS).map(all).collect()
}

fn count_one(table: &mut [u64; BINS], value: f64, half: f64, scale: f64) {
    if value.is_finite() {
        // Among subnormal numbers this can be no number, which counts into the first bin.
        let place = (value / 2.0 - half) * scale;
        // Rounded up without a call, which the oldest processors of the kind would need.
        let below = place as i32;
        let on_edge = i32::from(f64::from(below) >= place);
        table[(below - on_edge).clamp(0, BINS as i32 - 1) as usize] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f64]) -> Counted {
        Counted::of("w", &Tensor::new(values, &Device::Cpu).unwrap()).unwrap()
    }

    #[test]
    fn values_are_counted_up_to_the_upper_edge() {
        let values: Vec<f64> = (0..=BINS).map(|i| i as f64).collect();
        let counted = of(&values);
        let histogram = &counted.histogram;
        assert_eq!(histogram.range, (0.0, 30.0));
        assert_eq!(histogram.edges.len(), BINS);
        assert_eq!(histogram.edges.last(), Some(&30.0));
        assert_eq!(histogram.counts[0], 2.0, "0 and 1");
        assert!(histogram.counts[1..].iter().all(|&count| count == 1.0));
        let squares = values.iter().map(|v| v * v).sum();
        assert_eq!(histogram.moments, (31.0, 465.0, squares));
    }

    #[test]
    fn what_is_not_finite_is_counted_apart() {
        let counted = of(&[1.0, f64::NAN, f64::INFINITY, 2.0, f64::NEG_INFINITY]);
        assert_eq!((counted.nan, counted.infinite), (1, 2));
        assert_eq!(counted.histogram.moments.0, 2.0);
        assert_eq!(counted.histogram.counts.iter().sum::<f64>(), 2.0);
        let nothing = of(&[f64::NAN]);
        assert_eq!(nothing.histogram.counts, [0.0; 0]);
        assert_eq!(nothing.histogram.range, (0.0, 0.0));
    }

    #[test]
    fn equal_and_extreme_values_lose_nothing() {
        let equal = of(&[0.5; 4]);
        assert_eq!(equal.histogram.edges, [0.5]);
        assert_eq!(equal.histogram.counts, [4.0]);
        for values in [
            [-f64::MAX, f64::MAX, 0.0],
            [5e-324, 1e-323, 0.0],
            [1e300, 1e300 + 1e285, 1e300],
        ] {
            let histogram = of(&values).histogram;
            assert_eq!(histogram.counts.iter().sum::<f64>(), 3.0, "{values:?}");
            assert!(histogram.edges.is_sorted(), "{values:?}");
        }
    }

    #[test]
    fn views_and_other_types_are_read_as_they_are() {
        let all = Tensor::new(&[[1f32, 2.0], [3.0, 4.0]], &Device::Cpu).unwrap();
        let row = all.narrow(0, 1, 1).unwrap();
        assert_eq!(Counted::of("r", &row).unwrap().histogram.range, (3.0, 4.0));
        let column = all.narrow(1, 0, 1).unwrap();
        assert_eq!(
            Counted::of("c", &column).unwrap().histogram.range,
            (1.0, 3.0)
        );
        let half = all.to_dtype(DType::BF16).unwrap();
        assert_eq!(Counted::of("h", &half).unwrap().histogram.moments.1, 10.0);
    }
}
