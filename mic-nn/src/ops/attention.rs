//! Multi-head attention on the token layout of linear layers.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::attach::attach_with_result;
use super::cpu::{Mat, Shared, dispatch, gemm, storage, tensor, view};
use super::math::{Math, accumulate, max, sum};
use super::simd::vectorized;

const OP: &str = "attention";

/// `softmax(q k^T / sqrt(D)) v` for every head, heads concatenated (Vaswani et al., 2017, eq. 1).
///
/// `q` is (B, N, C) with heads of D = C / heads neighbouring channels; `kv` is (B, M, 2 C), keys
/// in the first C channels and values in the others, heads alike. The result is (B, N, C).
///
/// The probabilities exist only for a tile of queries at a time; the backward pass computes them
/// again from `q`, `kv` and one number a query and head (the logarithm of the softmax's sum).
///
/// # Errors
/// When the shapes or dtypes do not fit.
pub fn attention(q: &Tensor, kv: &Tensor, heads: usize) -> Result<Tensor> {
    let (b, n, c) = q.dims3()?;
    let (kv_b, m, kv_c) = kv.dims3()?;
    if kv_b != b || kv_c != 2 * c || q.dtype() != kv.dtype() || m == 0 {
        candle_core::bail!(
            "{OP}: expected q (B, N, C) and kv (B, M, 2 C) of one dtype, M > 0, got {:?} {:?} and {:?} {:?}",
            q.dims(),
            q.dtype(),
            kv.dims(),
            kv.dtype()
        )
    }
    if heads == 0 || c == 0 || c % heads != 0 {
        candle_core::bail!("{OP}: {c} channels cannot be split into {heads} heads")
    }
    let sizes = Sizes::new(b, n, m, c, heads);
    let (q, kv) = (q.contiguous()?, kv.contiguous()?);
    dispatch!(OP, q.dtype(), T => attention_cpu::<T>(&q, &kv, sizes))
}

#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    channels: usize,
    heads: usize,
    /// Channels a head.
    depth: usize,
    /// Queries whose probabilities exist at a time.
    tile: usize,
}

impl Sizes {
    fn new(batch: usize, queries: usize, keys: usize, channels: usize, heads: usize) -> Self {
        // A tile of probabilities should stay in the second-level cache.
        let tile = (32_768 / keys).clamp(32, 256) / 16 * 16;
        Self {
            batch,
            queries,
            keys,
            channels,
            heads,
            depth: channels / heads,
            tile: tile.min(queries.max(1)),
        }
    }

    fn scale<T: Math>(&self) -> T {
        T::of(1.0 / (self.depth as f64).sqrt())
    }

    fn tiles(&self) -> usize {
        self.queries.div_ceil(self.tile)
    }

    /// Where a head's query, result or their gradients begin, for the query `row`.
    fn query_start(&self, image: usize, head: usize, row: usize) -> usize {
        (image * self.queries + row) * self.channels + head * self.depth
    }

    /// Elements that `rows` queries of a head span in (B, N, C).
    fn query_span(&self, rows: usize) -> usize {
        (rows - 1) * self.channels + self.depth
    }

    /// A head's part of some rows of a (B, N, C) tensor.
    fn queries_of<'a, T>(
        &self,
        data: &'a [T],
        image: usize,
        head: usize,
        tile: Tile,
    ) -> Mat<'a, T> {
        let start = self.query_start(image, head, tile.first);
        let data = &data[start..start + self.query_span(tile.rows)];
        Mat::strided(data, tile.rows, self.depth, self.channels)
    }

    /// A head's keys and values.
    fn keys_and_values<'a, T>(&self, kv: &'a [T], image: usize, head: usize) -> [Mat<'a, T>; 2] {
        let span = (self.keys - 1) * 2 * self.channels + self.depth;
        [0, self.channels].map(|offset| {
            let start = image * self.keys * 2 * self.channels + offset + head * self.depth;
            Mat::strided(
                &kv[start..start + span],
                self.keys,
                self.depth,
                2 * self.channels,
            )
        })
    }

    fn tile_at(&self, index: usize) -> Tile {
        let first = index * self.tile;
        Tile {
            first,
            rows: self.tile.min(self.queries - first),
        }
    }
}

#[derive(Clone, Copy)]
struct Tile {
    first: usize,
    rows: usize,
}

fn attention_cpu<T: Math>(q: &Tensor, kv: &Tensor, sizes: Sizes) -> Result<Tensor> {
    let (output, log_sums) = {
        let (q, kv) = (view::<T>(OP, q)?, view::<T>(OP, kv)?);
        forward::<T>(&q, &kv, sizes)
    };
    let tracked = (q.track_op(), kv.track_op());
    let (saved_q, saved_kv) = (q.detach(), kv.detach());
    attach_with_result(
        OP,
        [q, kv],
        storage(output),
        q.shape(),
        move |result, grad| {
            let (q, kv) = (view::<T>(OP, &saved_q)?, view::<T>(OP, &saved_kv)?);
            let (y, g) = (view::<T>(OP, result)?, view::<T>(OP, grad)?);
            let (dq, dkv) = backward::<T>(&q, &kv, &log_sums, &y, &g, sizes, tracked);
            Ok([
                dq.map(|dq| tensor(dq, saved_q.shape())),
                dkv.map(|dkv| tensor(dkv, saved_kv.shape())),
            ])
        },
    )
}

/// The result (B, N, C) and the logarithms of the softmax's sums (B, heads, N).
fn forward<T: Math>(q: &[T], kv: &[T], s: Sizes) -> (Vec<T>, Vec<T>) {
    let mut output = vec![T::zero(); q.len()];
    let mut log_sums = vec![T::zero(); s.batch * s.heads * s.queries];
    let (out, sums) = (Shared::new(&mut output), Shared::new(&mut log_sums));
    let tiles = s.tiles();
    (0..s.batch * s.heads * tiles)
        .into_par_iter()
        .for_each_init(Vec::new, |scores, task| {
            let (group, tile) = (task / tiles, s.tile_at(task % tiles));
            let (image, head) = (group / s.heads, group % s.heads);
            let queries = s.queries_of(q, image, head, tile);
            let [keys, values] = s.keys_and_values(kv, image, head);
            scores.resize(tile.rows * s.keys, T::zero());
            gemm(
                scores,
                s.keys,
                T::zero(),
                s.scale::<T>(),
                queries,
                keys.t(),
                false,
            );
            let first = group * s.queries + tile.first;
            let start = s.query_start(image, head, tile.first);
            // SAFETY: a task owns its queries' sums and, in its strided rows, the head's columns.
            let (sums, out) = unsafe {
                (
                    sums.slice(first..first + tile.rows),
                    out.slice(start..start + s.query_span(tile.rows)),
                )
            };
            let mut scales = [T::zero(); 256];
            vectorized(
                #[inline(always)]
                || {
                    for (row, scores) in scores.chunks_exact_mut(s.keys).enumerate() {
                        let largest = max(scores);
                        for p in scores.iter_mut() {
                            *p = (*p - largest).exp_fast();
                        }
                        let total = sum(
                            [&*scores],
                            #[inline(always)]
                            |[p]| p,
                        );
                        sums[row] = largest + total.ln();
                        scales[row] = T::one() / total;
                    }
                },
            );
            let scores = Mat::new(scores, tile.rows, s.keys);
            gemm(out, s.channels, T::zero(), T::one(), scores, values, false);
            vectorized(
                #[inline(always)]
                || {
                    for (row, scale) in scales[..tile.rows].iter().enumerate() {
                        for o in &mut out[row * s.channels..][..s.depth] {
                            *o *= *scale;
                        }
                    }
                },
            );
        });
    (output, log_sums)
}

/// Buffers of one task of the backward pass.
#[derive(Default)]
struct Scratch<T> {
    probabilities: Vec<T>,
    gradients: Vec<T>,
}

/// The gradients of q and kv, as far as they are asked for.
fn backward<T: Math>(
    q: &[T],
    kv: &[T],
    log_sums: &[T],
    y: &[T],
    g: &[T],
    s: Sizes,
    (want_q, want_kv): (bool, bool),
) -> (Option<Vec<T>>, Option<Vec<T>>) {
    let mut dq = vec![T::zero(); if want_q { q.len() } else { 0 }];
    let mut dkv = vec![T::zero(); if want_kv { kv.len() } else { 0 }];
    // Keys and values gather gradients from all queries. Where there are few heads, their tiles
    // are dealt to several tasks with a sum each; the sums are added in order.
    let groups = s.batch * s.heads;
    let shares = 8usize.div_ceil(groups.max(1)).clamp(1, s.tiles().max(1));
    let tiles_a_share = s.tiles().div_ceil(shares);
    let part = s.keys * s.depth;
    let mut partials = vec![
        T::zero();
        if want_kv {
            groups * shares * 2 * part
        } else {
            0
        }
    ];
    let (shared_q, shared_p) = (Shared::new(&mut dq), Shared::new(&mut partials));
    (0..groups * shares)
        .into_par_iter()
        .for_each_init(Scratch::default, |scratch, task| {
            let (group, share) = (task / shares, task % shares);
            let (image, head) = (group / s.heads, group % s.heads);
            let [keys, values] = s.keys_and_values(kv, image, head);
            // SAFETY: a task owns its partial sums.
            let partial = unsafe {
                let len = if want_kv { 2 * part } else { 0 };
                shared_p.slice(task * len..(task + 1) * len)
            };
            let tiles = share * tiles_a_share..((share + 1) * tiles_a_share).min(s.tiles());
            for tile in tiles.map(|index| s.tile_at(index)) {
                let queries = s.queries_of(q, image, head, tile);
                let gradient = s.queries_of(g, image, head, tile);
                let Scratch {
                    probabilities,
                    gradients,
                } = scratch;
                probabilities.resize(tile.rows * s.keys, T::zero());
                gradients.resize(tile.rows * s.keys, T::zero());
                gemm(
                    probabilities,
                    s.keys,
                    T::zero(),
                    s.scale::<T>(),
                    queries,
                    keys.t(),
                    false,
                );
                gemm(
                    gradients,
                    s.keys,
                    T::zero(),
                    T::one(),
                    gradient,
                    values.t(),
                    false,
                );
                let result = s.queries_of(y, image, head, tile);
                let sums = &log_sums[group * s.queries + tile.first..][..tile.rows];
                vectorized(
                    #[inline(always)]
                    || {
                        for row in 0..tile.rows {
                            let (y, g) = (
                                &result.data[row * s.channels..],
                                &gradient.data[row * s.channels..],
                            );
                            let dot = sum(
                                [&y[..s.depth], &g[..s.depth]],
                                #[inline(always)]
                                |[y, g]| y * g,
                            );
                            let log_sum = sums[row];
                            let p = &mut probabilities[row * s.keys..][..s.keys];
                            let d = &mut gradients[row * s.keys..][..s.keys];
                            for (p, d) in p.iter_mut().zip(d) {
                                *p = (*p - log_sum).exp_fast();
                                *d = *p * (*d - dot);
                            }
                        }
                    },
                );
                let probabilities = Mat::new(&probabilities[..], tile.rows, s.keys);
                let scores = Mat::new(&gradients[..], tile.rows, s.keys);
                if want_q {
                    let start = s.query_start(image, head, tile.first);
                    // SAFETY: a task owns the head's columns of its queries.
                    let dq = unsafe { shared_q.slice(start..start + s.query_span(tile.rows)) };
                    gemm(
                        dq,
                        s.channels,
                        T::zero(),
                        s.scale::<T>(),
                        scores,
                        keys,
                        false,
                    );
                }
                if want_kv {
                    let (dk, dv) = partial.split_at_mut(part);
                    gemm(
                        dk,
                        s.depth,
                        T::one(),
                        s.scale::<T>(),
                        scores.t(),
                        queries,
                        false,
                    );
                    gemm(
                        dv,
                        s.depth,
                        T::one(),
                        T::one(),
                        probabilities.t(),
                        gradient,
                        false,
                    );
                }
            }
        });
    if want_kv {
        gather(&mut dkv, &partials, shares, s);
    }
    (want_q.then_some(dq), want_kv.then_some(dkv))
}

/// Adds up the partial sums and writes them to their places in (B, M, 2 C).
fn gather<T: Math>(dkv: &mut [T], partials: &[T], shares: usize, s: Sizes) {
    let part = s.keys * s.depth;
    dkv.par_chunks_mut(2 * s.channels)
        .enumerate()
        .for_each(|(row, out)| {
            let (image, key) = (row / s.keys, row % s.keys);
            vectorized(
                #[inline(always)]
                || {
                    for (index, out) in out.chunks_exact_mut(s.depth).enumerate() {
                        let (which, head) = (index / s.heads, index % s.heads);
                        for share in 0..shares {
                            let task = (image * s.heads + head) * shares + share;
                            let start = task * 2 * part + which * part + key * s.depth;
                            accumulate(out, &partials[start..start + s.depth]);
                        }
                    }
                },
            );
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::autograd::backward;
    use crate::gradcheck::{max_relative_error, wave};
    use candle_core::{D, DType, Var};

    fn plain(q: &Tensor, kv: &Tensor, heads: usize) -> Result<Tensor> {
        let ((b, n, c), m) = (q.dims3()?, kv.dim(1)?);
        let split = |t: &Tensor, n: usize| {
            t.reshape((b, n, heads, c / heads))?
                .transpose(1, 2)?
                .contiguous()
        };
        let (q, k) = (split(q, n)?, split(&kv.narrow(2, 0, c)?, m)?);
        let v = split(&kv.narrow(2, c, c)?, m)?;
        let scores = (q.matmul(&k.t()?)? / ((c / heads) as f64).sqrt())?.exp()?;
        let p = scores.broadcast_div(&scores.sum_keepdim(D::Minus1)?)?;
        p.matmul(&v)?.transpose(1, 2)?.reshape((b, n, c))
    }

    #[test]
    fn agrees_with_the_formula_in_single_precision() -> Result<()> {
        // Several tiles of queries, the last one short.
        for (b, n, m, c, heads) in [(2, 300, 200, 12, 3), (1, 5, 1, 4, 1), (3, 33, 40, 8, 8)] {
            let (q, kv) = (
                wave(&[b, n, c], 2.0, 1.37, 0.2)?,
                wave(&[b, m, 2 * c], 2.0, 0.61, 1.0)?,
            );
            let (q64, kv64) = (Var::from_tensor(&q)?, Var::from_tensor(&kv)?);
            let want = plain(&q64, &kv64, heads)?;
            let cotangent = wave(&[b, n, c], 1.0, 0.31, 0.5)?;
            let want_grads = backward(&(&want * &cotangent)?.sum_all()?)?;
            let q32 = Var::from_tensor(&q.to_dtype(DType::F32)?)?;
            let kv32 = Var::from_tensor(&kv.to_dtype(DType::F32)?)?;
            let y = attention(&q32, &kv32, heads)?;
            let grads = backward(&(&y * cotangent.to_dtype(DType::F32)?)?.sum_all()?)?;
            let error = |a: &Tensor, b: &Tensor| -> Result<f64> {
                (a.to_dtype(DType::F64)? - b)?.abs()?.max_all()?.to_scalar()
            };
            assert!(error(&y, &want)? < 1e-5);
            for (a, b) in [(&q32, &q64), (&kv32, &kv64)] {
                let (a, b) = (grads.get(a).unwrap(), want_grads.get(b).unwrap());
                assert!(error(a, b)? < 3e-5, "{}", error(a, b)?);
            }
        }
        Ok(())
    }

    #[test]
    fn gradients_match_differences() -> Result<()> {
        let all = [
            wave(&[2, 7, 6], 1.0, 1.37, 0.2)?,
            wave(&[2, 5, 12], 1.0, 0.61, 1.0)?,
        ];
        for heads in [1, 2, 3] {
            let error = max_relative_error(&all, 120, |t| attention(&t[0], &t[1], heads))?;
            assert!(error < 1e-6, "{error}");
            let error = max_relative_error(&all[..1], 84, |t| attention(&t[0], &all[1], heads))?;
            assert!(error < 1e-6, "{error}");
            let error = max_relative_error(&all[1..], 120, |t| attention(&all[0], &t[0], heads))?;
            assert!(error < 1e-6, "{error}");
        }
        Ok(())
    }

    #[test]
    fn views_and_large_scores_work() -> Result<()> {
        let q = (wave(&[6, 7, 2], 30.0, 1.37, 0.2)?)
            .t()?
            .transpose(0, 2)?
            .transpose(1, 2)?;
        let q = q.contiguous()?.reshape((2, 7, 6))?;
        let kv = wave(&[2, 12, 5], 30.0, 0.61, 1.0)?.transpose(1, 2)?;
        let y = attention(&q.to_dtype(DType::F32)?, &kv.to_dtype(DType::F32)?, 2)?;
        let want = attention(&q, &kv.contiguous()?, 2)?;
        let error = (y.to_dtype(DType::F64)? - want)?
            .abs()?
            .max_all()?
            .to_scalar::<f64>()?;
        assert!(error < 1e-3, "{error}");
        Ok(())
    }

    #[test]
    fn misuse_is_named() -> Result<()> {
        let (q, kv) = (
            wave(&[2, 3, 4], 1.0, 1.0, 0.0)?,
            wave(&[2, 3, 8], 1.0, 1.0, 0.0)?,
        );
        let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(message(attention(&q, &q, 2)).contains("kv (B, M, 2 C)"));
        assert!(message(attention(&q, &kv, 3)).contains("4 channels cannot be split into 3 heads"));
        let empty = Tensor::zeros((2, 0, 4), DType::F64, q.device())?;
        assert_eq!(attention(&empty, &kv, 2)?.dims(), [2, 0, 4]);
        Ok(())
    }
}
