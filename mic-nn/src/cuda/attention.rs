//! Attention.

use candle_core::{Result, Tensor};

use super::gpu::{Floats, Gpu};
use super::source::ATTENTION;
use super::value::Value;
use crate::ops::attach::attach_with_result;

/// Sizes of an attention; all in elements.
#[derive(Clone, Copy)]
pub(crate) struct AttentionSizes {
    pub(crate) batch: usize,
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) heads: usize,
    /// Channels of a head.
    pub(crate) depth: usize,
    /// From one query to the next, and from one key to the next.
    pub(crate) query_row: usize,
    pub(crate) key_row: usize,
    /// Where keys and values begin in their row.
    pub(crate) keys_at: usize,
    pub(crate) values_at: usize,
}

impl AttentionSizes {
    fn value(&self) -> Value {
        let scale = (self.depth as f64).sqrt().recip();
        let ints = [
            self.queries,
            self.keys,
            self.heads,
            self.depth,
            self.query_row,
            self.key_row,
        ];
        Value::ints(&ints).float(scale as f32)
    }

    /// The suffix of the kernels, and queries or keys of a block.
    fn kind(&self, op: &str) -> Result<(&'static str, usize)> {
        match self.depth {
            ..=32 => Ok(("32", 32)),
            33..=64 => Ok(("64", 32)),
            65..=128 => Ok(("128", 16)),
            depth => candle_core::bail!("{op}: heads of {depth} channels, on CUDA at most 128"),
        }
    }

    fn launch(
        &self,
        gpu: &Gpu,
        op: &str,
        kernel: &str,
        rows: usize,
        arguments: &[Value],
    ) -> Result<()> {
        let (suffix, tile) = self.kind(op)?;
        let name = format!("attention_{kernel}_{suffix}");
        let grid = [rows.div_ceil(tile), self.heads, self.batch];
        gpu.launch(ATTENTION, &name, grid, [8 * tile, 1], arguments)
    }

    /// The result and, for the backward pass, the logarithms of the sums.
    fn forward(&self, gpu: &Gpu, op: &str, q: &Tensor, kv: &Tensor) -> Result<(Floats, Floats)> {
        let rows = self.batch * self.heads * self.queries;
        let (y, log_sums) = (gpu.floats(rows * self.depth)?, gpu.floats(rows)?);
        let arguments = [
            gpu.at(q)?,
            gpu.after(kv, self.keys_at)?,
            gpu.after(kv, self.values_at)?,
            self.value(),
            y.at(),
            log_sums.at(),
        ];
        self.launch(gpu, op, "forward", self.queries, &arguments)?;
        Ok((y, log_sums))
    }

    /// Writes the gradients of the queries to `dq`, of keys and values to `dkv`; `[y, g]` are the
    /// result and its gradient.
    fn backward(
        &self,
        gpu: &Gpu,
        op: &str,
        [q, kv, y, g]: [&Tensor; 4],
        log_sums: &Floats,
        (dq, dkv): (&Floats, &Floats),
    ) -> Result<()> {
        let rows = self.batch * self.heads * self.queries;
        let dots = gpu.floats(rows)?;
        let arguments = [
            gpu.at(y)?,
            gpu.at(g)?,
            Value::long(rows),
            self.value(),
            dots.at(),
        ];
        gpu.over(ATTENTION, "attention_dots", rows, &arguments)?;
        let saved = || -> Result<[Value; 7]> {
            Ok([
                gpu.at(q)?,
                gpu.after(kv, self.keys_at)?,
                gpu.after(kv, self.values_at)?,
                gpu.at(g)?,
                log_sums.at(),
                dots.at(),
                self.value(),
            ])
        };
        let mut arguments = Vec::from(saved()?);
        arguments.push(dq.at());
        self.launch(gpu, op, "backward_queries", self.queries, &arguments)?;
        let mut arguments = Vec::from(saved()?);
        arguments.extend([dkv.from(self.keys_at), dkv.from(self.values_at)]);
        self.launch(gpu, op, "backward_keys", self.keys, &arguments)
    }
}

/// Attention of contiguous `q` (B, N, C) to `kv` (B, M, 2 C).
pub(crate) fn attention(q: &Tensor, kv: &Tensor, sizes: AttentionSizes) -> Result<Tensor> {
    const OP: &str = "attention";
    let gpu = Gpu::of(OP, q)?;
    let (y, log_sums) = sizes.forward(&gpu, OP, q, kv)?;
    let (saved_q, saved_kv) = (q.detach(), kv.detach());
    attach_with_result(OP, [q, kv], y.storage(), q.shape(), move |y, g| {
        let (dq, dkv) = (
            gpu.floats(saved_q.elem_count())?,
            gpu.floats(saved_kv.elem_count())?,
        );
        sizes.backward(
            &gpu,
            OP,
            [&saved_q, &saved_kv, y, g],
            &log_sums,
            (&dq, &dkv),
        )?;
        Ok([
            Some(dq.tensor(saved_q.shape())),
            Some(dkv.tensor(saved_kv.shape())),
        ])
    })
}

/// Attention within contiguous `qkv` (B, N, 3 C).
pub(crate) fn attention_qkv(qkv: &Tensor, sizes: AttentionSizes) -> Result<Tensor> {
    const OP: &str = "attention_qkv";
    let gpu = Gpu::of(OP, qkv)?;
    let (y, log_sums) = sizes.forward(&gpu, OP, qkv, qkv)?;
    let saved = qkv.detach();
    let shape = (sizes.batch, sizes.queries, sizes.heads * sizes.depth);
    attach_with_result(OP, [qkv], y.storage(), shape, move |y, g| {
        let gradient = gpu.floats(saved.elem_count())?;
        let tensors = [&saved, &saved, y, g];
        sizes.backward(&gpu, OP, tensors, &log_sums, (&gradient, &gradient))?;
        Ok([Some(gradient.tensor(saved.shape()))])
    })
}
