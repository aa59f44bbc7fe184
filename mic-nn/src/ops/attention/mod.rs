//! Multi-head attention on the token layout of linear layers.

mod passes;
mod right;

use candle_core::{Result, Tensor};

use super::attach::attach_with_result;
use super::cast::in_single;
use super::cpu::{Mat, Shared, dispatch, fresh, on_gpu, storage, tensor, view};
use super::math::Math;
use passes::{Saved, backward, forward};

const OP: &str = "attention";
const QKV: &str = "attention_qkv";

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
    in_single!([q, kv] => attention(q, kv, heads));
    let (&[b, n, c], &[kv_b, m, kv_c]) = (q.dims(), kv.dims()) else {
        candle_core::bail!(
            "{OP}: expected q (B, N, C) and kv (B, M, 2 C), got {:?} and {:?}",
            q.dims(),
            kv.dims()
        )
    };
    if kv_b != b || kv_c != 2 * c || q.dtype() != kv.dtype() || m == 0 {
        candle_core::bail!(
            "{OP}: expected q (B, N, C) and kv (B, M, 2 C) of one dtype, M > 0, got {:?} {:?} and {:?} {:?}",
            q.dims(),
            q.dtype(),
            kv.dims(),
            kv.dtype()
        )
    }
    check_heads(OP, c, heads)?;
    let sizes = Sizes {
        query_row: c,
        key_row: 2 * c,
        keys_at: 0,
        values_at: c,
        ..Sizes::new(b, n, m, c, heads)
    };
    let (q, kv) = (q.contiguous()?, kv.contiguous()?);
    on_gpu!(q => attention(&q, &kv, sizes.on_gpu()));
    dispatch!(OP, q.dtype(), T => attention_cpu::<T>(&q, &kv, sizes))
}

/// [`attention`] of tokens to each other, with queries, keys and values in one tensor.
///
/// `qkv` is (B, N, 3 C): queries in the first C channels, then keys, then values, each with heads
/// of D = C / heads neighbouring channels (the order of timm's `qkv` layer, which reshapes to
/// (B, N, 3, heads, D)). The result is (B, N, C). Neither pass copies a part of `qkv`.
///
/// # Errors
/// When the shape or dtype does not fit.
pub fn attention_qkv(qkv: &Tensor, heads: usize) -> Result<Tensor> {
    in_single!([qkv] => attention_qkv(qkv, heads));
    let &[b, n, channels] = qkv.dims() else {
        candle_core::bail!("{QKV}: expected qkv (B, N, 3 C), got {:?}", qkv.dims())
    };
    if channels % 3 != 0 || n == 0 {
        candle_core::bail!(
            "{QKV}: expected qkv (B, N, 3 C), N > 0, got {:?}",
            qkv.dims()
        )
    }
    let c = channels / 3;
    check_heads(QKV, c, heads)?;
    let sizes = Sizes {
        query_row: 3 * c,
        key_row: 3 * c,
        keys_at: c,
        values_at: 2 * c,
        ..Sizes::new(b, n, n, c, heads)
    };
    let qkv = qkv.contiguous()?;
    on_gpu!(qkv => attention_qkv(&qkv, sizes.on_gpu()));
    dispatch!(QKV, qkv.dtype(), T => attention_qkv_cpu::<T>(&qkv, sizes))
}

fn check_heads(op: &str, channels: usize, heads: usize) -> Result<()> {
    if heads == 0 || channels == 0 || !channels.is_multiple_of(heads) {
        candle_core::bail!("{op}: {channels} channels cannot be split into {heads} heads")
    }
    Ok(())
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
    /// Elements from one query to the next, and from one key to the next.
    query_row: usize,
    key_row: usize,
    /// Where keys and values begin in a row.
    keys_at: usize,
    values_at: usize,
}

impl Sizes {
    #[cfg(feature = "cuda")]
    fn on_gpu(&self) -> crate::cuda::AttentionSizes {
        crate::cuda::AttentionSizes {
            batch: self.batch,
            queries: self.queries,
            keys: self.keys,
            heads: self.heads,
            depth: self.depth,
            query_row: self.query_row,
            key_row: self.key_row,
            keys_at: self.keys_at,
            values_at: self.values_at,
        }
    }

    fn new(batch: usize, queries: usize, keys: usize, channels: usize, heads: usize) -> Self {
        // A tile of probabilities should stay in the second-level cache; tiles of one size.
        let tile = (32_768 / keys).clamp(32, 256);
        let tiles = queries.div_ceil(tile).max(1);
        Self {
            batch,
            queries,
            keys,
            channels,
            heads,
            depth: channels / heads,
            tile: queries.div_ceil(tiles).max(1),
            query_row: channels,
            key_row: 2 * channels,
            keys_at: 0,
            values_at: channels,
        }
    }

    fn scale<T: Math>(&self) -> T {
        T::of(1.0 / (self.depth as f64).sqrt())
    }

    fn tiles(&self) -> usize {
        self.queries.div_ceil(self.tile)
    }

    /// A head's elements of the queries of a tile, where a query has `row` elements: the first,
    /// and how many the tile spans.
    fn span(&self, row: usize, image: usize, head: usize, tile: Tile) -> (usize, usize) {
        let start = (image * self.queries + tile.first) * row + head * self.depth;
        (start, (tile.rows - 1) * row + self.depth)
    }

    /// A head's part of a tile of queries, of the result or of its gradient.
    fn rows_of<'a, T>(
        &self,
        data: &'a [T],
        row: usize,
        image: usize,
        head: usize,
        tile: Tile,
    ) -> Mat<'a, T> {
        let (start, len) = self.span(row, image, head, tile);
        Mat::strided(&data[start..start + len], tile.rows, self.depth, row)
    }

    /// A head's keys and values.
    fn keys_and_values<'a, T>(&self, kv: &'a [T], image: usize, head: usize) -> [Mat<'a, T>; 2] {
        let span = (self.keys - 1) * self.key_row + self.depth;
        [self.keys_at, self.values_at].map(|at| {
            let start = image * self.keys * self.key_row + at + head * self.depth;
            Mat::strided(
                &kv[start..start + span],
                self.keys,
                self.depth,
                self.key_row,
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
            let saved = Saved {
                q: &q,
                kv: &kv,
                log_sums: &log_sums,
                y: &y,
            };
            let mut dq = tracked.0.then(|| fresh(q.len()));
            let mut dkv = tracked.1.then(|| fresh(kv.len()));
            let [to_q, to_kv] = [&mut dq, &mut dkv].map(|d| d.as_deref_mut().map(Shared::new));
            backward::<T>(saved, &g, sizes, to_q, to_kv);
            Ok([
                dq.map(|dq| tensor(dq, saved_q.shape())),
                dkv.map(|dkv| tensor(dkv, saved_kv.shape())),
            ])
        },
    )
}

fn attention_qkv_cpu<T: Math>(qkv: &Tensor, sizes: Sizes) -> Result<Tensor> {
    let (output, log_sums) = {
        let qkv = view::<T>(QKV, qkv)?;
        forward::<T>(&qkv, &qkv, sizes)
    };
    let saved = qkv.detach();
    let shape = (sizes.batch, sizes.queries, sizes.channels);
    attach_with_result(QKV, [qkv], storage(output), shape, move |result, grad| {
        let qkv = view::<T>(QKV, &saved)?;
        let (y, g) = (view::<T>(QKV, result)?, view::<T>(QKV, grad)?);
        let inputs = Saved {
            q: &qkv,
            kv: &qkv,
            log_sums: &log_sums,
            y: &y,
        };
        let mut gradient = fresh(qkv.len());
        let shared = Some(Shared::new(&mut gradient));
        backward::<T>(inputs, &g, sizes, shared, shared);
        Ok([Some(tensor(gradient, saved.shape()))])
    })
}

#[cfg(test)]
mod tests;
