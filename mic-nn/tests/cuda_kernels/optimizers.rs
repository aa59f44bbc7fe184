//! Optimisers and the teacher's average over lists of tensors.

use candle_core::{Device, Tensor, Var};
use mic_nn::autograd::backward;
use mic_nn::optim::{
    AdamW, AdamWConfig, Grads, GroupRules, Optimizer, Sam, SamConfig, Sgd, SgdConfig,
};

use super::emulator::{Emulator, emulators};
use super::memory::{Argument, Buffer, Struct, Table};
use super::reference::{close_single, flat, floats, rng, tensor, tolerance};

/// Elements of a block.
const CHUNK: usize = 4096;
/// Sizes of parameters: small ones, one that fills blocks, and one that does not.
const SIZES: [usize; 6] = [1, 7, CHUNK, 300, 2 * CHUNK + 5, 64];

/// The blocks of a list.
struct List {
    first_block: Buffer,
    counts: Buffer,
    blocks: usize,
}

impl List {
    fn new() -> Self {
        let mut first = vec![0];
        for size in SIZES {
            first.push(first[first.len() - 1] + size.div_ceil(CHUNK) as i32);
        }
        Self {
            blocks: first[SIZES.len()] as usize,
            first_block: Buffer::ints(&first),
            counts: Buffer::longs(&SIZES.map(|s| s as i64)),
        }
    }

    fn argument(&self) -> Struct<'_> {
        let list = Struct::default().pointer(Some(&self.first_block));
        list.pointer(Some(&self.counts)).int(SIZES.len() as i32)
    }

    fn launch(&self, e: &Emulator, kernel: &str, arguments: &[&dyn Argument]) {
        let list = self.argument();
        let all: Vec<&dyn Argument> = std::iter::once(&list as &dyn Argument)
            .chain(arguments.iter().copied())
            .collect();
        e.launch(kernel, [self.blocks, 1, 1], [256, 1], &all);
    }
}

/// The same parameters on both sides.
struct Both {
    vars: Vec<(String, Var)>,
    buffers: Vec<Buffer>,
    grads: Grads,
}

impl Both {
    fn new(seed: u64) -> Self {
        let rng = &mut rng(seed);
        let values: Vec<Vec<f32>> = SIZES.map(|size| floats(rng, size)).into();
        let var = |(i, v): (usize, &Vec<f32>)| {
            (
                format!("p{i}"),
                Var::from_tensor(&tensor((v, &[v.len()]))).unwrap(),
            )
        };
        let vars: Vec<_> = values.iter().enumerate().map(var).collect();
        let grads = Grads::new(&vars);
        let buffers = values.iter().map(|v| Buffer::floats(v)).collect();
        Self {
            vars,
            buffers,
            grads,
        }
    }

    /// New gradients on both sides.
    fn gradients(&mut self, seed: u64) -> Vec<Buffer> {
        let rng = &mut rng(100 + seed);
        self.grads.clear();
        let mut buffers = Vec::new();
        let mut total = Tensor::zeros((), candle_core::DType::F64, &Device::Cpu).unwrap();
        for (_, var) in &self.vars {
            let g = floats(rng, var.elem_count());
            let part = (var.as_tensor() * tensor((&g, var.dims()))).unwrap();
            total = (total + part.sum_all().unwrap()).unwrap();
            buffers.push(Buffer::floats(&g));
        }
        self.grads.accumulate(&backward(&total).unwrap()).unwrap();
        buffers
    }

    fn check(&self, what: &str) {
        for ((_, var), buffer) in self.vars.iter().zip(&self.buffers) {
            close_single(
                what,
                &buffer.read_floats(),
                &flat(var.as_tensor()),
                tolerance(2e-6),
            );
        }
    }
}

fn memory(parts: usize) -> Vec<Buffer> {
    SIZES
        .map(|size| Buffer::floats(&vec![0.0; parts * size]))
        .into()
}

#[test]
fn adamw_agrees() {
    let config = AdamWConfig {
        betas: (0.9, 0.99),
        eps: 1e-6,
    };
    let (lr, decay) = (0.02, 0.1);
    for e in emulators().iter().take(1) {
        let (mut both, list, memory) = (Both::new(1), List::new(), memory(2));
        let mut optimizer = AdamW::new(&both.vars, &GroupRules::uniform(lr, decay), config);
        for step in 1..4 {
            let grads = both.gradients(step);
            optimizer.step(&both.grads, &|lr| lr).unwrap();
            let k = step as i32;
            let factors = [
                1.0 - lr * decay,
                lr / (1.0 - 0.9f64.powi(k)),
                (1.0 - 0.99f64.powi(k)).sqrt().recip(),
            ];
            let factors: Vec<f32> = SIZES
                .iter()
                .flat_map(|_| factors.map(|f| f as f32))
                .collect();
            let constants = [0.9, 0.1, 0.99, 0.01, 1e-6];
            let constants = constants.iter().fold(Struct::default(), |s, &v| s.float(v));
            let (p, m, g) = (
                Table::new(&both.buffers),
                Table::new(&memory),
                Table::new(&grads),
            );
            list.launch(
                e,
                "adamw",
                &[&p, &m, &g, &Buffer::floats(&factors), &constants],
            );
            both.check("adamw");
        }
    }
}

#[test]
fn sgd_agrees() {
    let (lr, decay) = (0.05, 0.01);
    for e in emulators().iter().take(1) {
        for (momentum, nesterov) in [(0.0, false), (0.9, false), (0.9, true)] {
            let (mut both, list, memory) = (Both::new(2), List::new(), memory(1));
            let config = SgdConfig { momentum, nesterov };
            let mut optimizer = Sgd::new(&both.vars, &GroupRules::uniform(lr, decay), config);
            for step in 0..3 {
                let grads = both.gradients(step);
                optimizer.step(&both.grads, &|lr| lr).unwrap();
                let factors: Vec<f32> = SIZES
                    .iter()
                    .flat_map(|_| [lr as f32, decay as f32])
                    .collect();
                let factors = Buffer::floats(&factors);
                let (p, g) = (Table::new(&both.buffers), Table::new(&grads));
                let table = Table::new(&memory);
                let none: Option<&Buffer> = None;
                let u: &dyn Argument = if momentum == 0.0 { &none } else { &table };
                let (m, n) = (momentum as f32, i32::from(nesterov));
                list.launch(e, "sgd", &[&p, u, &g, &factors, &m, &n]);
                both.check("sgd");
            }
        }
    }
}

#[test]
fn sam_agrees_and_restores_to_the_bit() {
    for e in emulators().iter().take(1) {
        for adaptive in [false, true] {
            let (mut both, list) = (Both::new(3), List::new());
            let rho = 0.5;
            let mut sam = Sam::new(&both.vars, SamConfig { rho, adaptive });
            let grads = both.gradients(1);
            let before: Vec<Vec<u8>> = both.buffers.iter().map(Buffer::content).collect();
            let want = sam.ascend(&mut both.grads).unwrap();
            let saved: Vec<Buffer> = SIZES.map(Buffer::room).into();
            let (p, g, s) = (
                Table::new(&both.buffers),
                Table::new(&grads),
                Table::new(&saved),
            );
            let flag = i32::from(adaptive);
            let (partials, norm) = (Buffer::unset(8 * list.blocks), Buffer::doubles(&[f64::NAN]));
            list.launch(e, "sam_squares", &[&p, &g, &flag, &partials]);
            let blocks = list.blocks as i32;
            e.launch(
                "sam_norm",
                [1, 1, 1],
                [256, 1],
                &[&partials, &blocks, &norm],
            );
            let got = norm.read_doubles()[0];
            assert!((got / want - 1.0).abs() < 1e-12, "{got} {want}");
            list.launch(e, "sam_ascend", &[&p, &s, &g, &norm, &rho, &flag]);
            both.check("sam");
            list.launch(e, "sam_restore", &[&p, &s]);
            for (buffer, before) in both.buffers.iter().zip(&before) {
                assert!(buffer.content() == *before);
            }
            // A norm that is no number moves nothing.
            let norm = Buffer::doubles(&[f64::INFINITY]);
            list.launch(e, "sam_ascend", &[&p, &s, &g, &norm, &rho, &flag]);
            assert!(
                both.buffers
                    .iter()
                    .zip(&before)
                    .all(|(b, before)| b.content() == *before)
            );
        }
    }
}

#[test]
fn the_average_agrees() {
    for e in emulators().iter().take(1) {
        let (list, teacher, student) = (List::new(), Both::new(4), Both::new(5));
        let momentum = 0.999;
        let (t, s) = (Table::new(&teacher.buffers), Table::new(&student.buffers));
        let (keep, rest) = (momentum as f32, (1.0 - momentum) as f32);
        list.launch(e, "ema", &[&t, &s, &keep, &rest]);
        for ((_, teacher), ((_, student), buffer)) in teacher
            .vars
            .iter()
            .zip(student.vars.iter().zip(&teacher.buffers))
        {
            let kept = (teacher.as_tensor() * momentum).unwrap();
            let mixed = (kept + (student.as_tensor() * (1.0 - momentum)).unwrap()).unwrap();
            close_single("ema", &buffer.read_floats(), &flat(&mixed), tolerance(1e-6));
        }
    }
}
