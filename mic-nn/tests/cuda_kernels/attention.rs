//! Attention.

use candle_core::Tensor;
use mic_nn::ops;

use super::emulator::{Emulator, emulators};
use super::memory::{Argument, Buffer, Struct};
use super::reference::{close, expected, rng, tolerance, values};

/// Batch, queries, keys, heads and elements of a head.
type Case = [usize; 5];

const CASES: [Case; 7] = [
    [1, 1, 1, 1, 1],
    [2, 5, 3, 2, 7],
    [1, 33, 65, 1, 32],
    [1, 40, 31, 2, 64],
    [2, 9, 50, 1, 33],
    [1, 17, 16, 2, 128],
    [1, 35, 19, 1, 80],
];

/// Where queries, keys and values lie.
struct Place<'a> {
    q: &'a Buffer,
    keys: &'a dyn Argument,
    values: &'a dyn Argument,
    rows: (usize, usize),
}

/// A place within a buffer.
struct Inside<'a>(&'a Buffer, usize);

impl Argument for Inside<'_> {
    fn value(&self) -> Vec<u8> {
        (self.0.address() + self.1 as u64).to_le_bytes().to_vec()
    }
    fn buffers(&self) -> Vec<&Buffer> {
        vec![self.0]
    }
}

struct Run<'a> {
    e: &'a Emulator,
    case: Case,
    rows: (usize, usize),
}

impl Run<'_> {
    fn sizes(&self) -> Struct<'static> {
        let [_, queries, keys, heads, depth] = self.case;
        let ints = [queries, keys, heads, depth, self.rows.0, self.rows.1];
        Struct::of_ints(&ints).float((depth as f32).sqrt().recip())
    }

    /// The suffix of the kernels, and queries or keys of a block.
    fn kind(&self) -> (usize, usize) {
        match self.case[4] {
            ..=32 => (32, 32),
            33..=64 => (64, 32),
            _ => (128, 16),
        }
    }

    fn launch(&self, kernel: &str, rows: usize, arguments: &[&dyn Argument]) {
        let [batch, _, _, heads, _] = self.case;
        let (depth, tile) = self.kind();
        let name = format!("attention_{kernel}_{depth}");
        self.e.launch(
            &name,
            [rows.div_ceil(tile), heads, batch],
            [tile * 8, 1],
            arguments,
        );
    }

    /// The result, and the three gradients written to `out`.
    fn all(&self, at: &Place<'_>, g: &Buffer, out: [&dyn Argument; 3]) -> Vec<f32> {
        let [batch, queries, keys, heads, depth] = self.case;
        let rows = batch * heads * queries;
        let y = self.e.room(rows * depth);
        let (log_sums, dots) = (Buffer::room(rows), Buffer::room(rows));
        let (q, k, v, sizes) = (at.q, at.keys, at.values, self.sizes());
        self.launch("forward", queries, &[q, k, v, &sizes, &y, &log_sums]);
        self.e.over(
            "attention_dots",
            rows,
            &[&y, g, &(rows as i64), &sizes, &dots],
        );
        let [dq, dk, dv] = out;
        let arguments: [&dyn Argument; 8] = [q, k, v, g, &log_sums, &dots, &sizes, dq];
        self.launch("backward_queries", queries, &arguments);
        let arguments: [&dyn Argument; 9] = [q, k, v, g, &log_sums, &dots, &sizes, dk, dv];
        self.launch("backward_keys", keys, &arguments);
        self.e.get(&y)
    }
}

#[test]
fn attention_to_other_tokens_agrees() {
    for e in emulators() {
        for (seed, case) in CASES.into_iter().enumerate() {
            let [batch, queries, keys, heads, depth] = case;
            let (c, rng) = (heads * depth, &mut rng(seed as u64));
            let q = values(rng, e.storage, batch * queries * c);
            let kv = values(rng, e.storage, batch * keys * 2 * c);
            let inputs = [
                (&q[..], &[batch, queries, c][..]),
                (&kv, &[batch, keys, 2 * c]),
            ];
            let op = |t: &[Tensor]| ops::attention(&t[0], &t[1], heads);
            let want = expected(rng, e.storage, &inputs, op);
            let (dq, dkv) = (e.room(q.len()), e.room(kv.len()));
            let (q, kv, g) = (e.put(&q), e.put(&kv), e.put(&want.g));
            let half = kv.content().len() / (batch * keys * 2);
            let run = Run {
                e,
                case,
                rows: (c, 2 * c),
            };
            let place = Place {
                q: &q,
                keys: &kv,
                values: &Inside(&kv, half),
                rows: run.rows,
            };
            assert_eq!(place.rows, (c, 2 * c));
            let y = run.all(&place, &g, [&dq, &dkv, &Inside(&dkv, half)]);
            let what = format!("attention {case:?}");
            close(&what, e.storage, &y, &want.y, tolerance(2e-6));
            let within = tolerance(1e-5).after_rounding();
            if keys > 1 {
                close(&what, e.storage, &e.get(&dq), &want.gradients[0], within);
            }
            close(&what, e.storage, &e.get(&dkv), &want.gradients[1], within);
        }
    }
}

#[test]
fn attention_within_one_tensor_agrees() {
    for e in emulators() {
        for (seed, mut case) in CASES.into_iter().enumerate() {
            case[2] = case[1];
            let [batch, tokens, _, heads, depth] = case;
            let (c, rng) = (heads * depth, &mut rng(seed as u64));
            let qkv = values(rng, e.storage, batch * tokens * 3 * c);
            let op = |t: &[Tensor]| ops::attention_qkv(&t[0], heads);
            let want = expected(rng, e.storage, &[(&qkv, &[batch, tokens, 3 * c])], op);
            let dqkv = e.room(qkv.len());
            let (qkv, g) = (e.put(&qkv), e.put(&want.g));
            let third = qkv.content().len() / (batch * tokens * 3);
            let run = Run {
                e,
                case,
                rows: (3 * c, 3 * c),
            };
            let place = Place {
                q: &qkv,
                keys: &Inside(&qkv, third),
                values: &Inside(&qkv, 2 * third),
                rows: run.rows,
            };
            let out: [&dyn Argument; 3] = [&dqkv, &Inside(&dqkv, third), &Inside(&dqkv, 2 * third)];
            let y = run.all(&place, &g, out);
            let what = format!("attention_qkv {case:?}");
            close(&what, e.storage, &y, &want.y, tolerance(2e-6));
            let within = tolerance(1e-5).after_rounding();
            close(&what, e.storage, &e.get(&dqkv), &want.gradients[0], within);
        }
    }
}
