//! The measured ops.

use mic_nn::autograd::backward;
use std::time::Instant;

use candle_core::{D, Device, Shape, Tensor, Var};
use mic_nn::init::from_name;
use mic_nn::ops::{self, Conv2dOptions};
use serde::Serialize;

/// Which op a case runs.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Conv2d,
    DepthwiseTokens,
    LayerNorm,
    Softmax,
    Gelu,
    BatchNorm,
    Bilinear,
}

/// One op at one size.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) channels_last: bool,
    /// Names and shapes of the inputs, filled from their names on both sides.
    pub(super) tensors: Vec<(String, Vec<usize>)>,
    pub(super) stride: usize,
    pub(super) padding: usize,
    pub(super) groups: usize,
    /// Height and width of a resized image.
    pub(super) size: [usize; 2],
}

fn case(name: impl Into<String>, kind: Kind, tensors: &[(&str, &[usize])]) -> Case {
    let tensors = tensors.iter().map(|(n, s)| (n.to_string(), s.to_vec()));
    Case {
        name: name.into(),
        kind,
        channels_last: kind.channels_last(),
        tensors: tensors.collect(),
        stride: 1,
        padding: 0,
        groups: 1,
        size: [0, 0],
    }
}

/// All cases, batch 2.
pub(super) fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for (inputs, outputs, side, kernel, stride) in [
        (64, 64, 128, 3, 1),
        (256, 256, 32, 3, 1),
        (256, 1024, 32, 1, 1),
        (3, 64, 256, 7, 2),
    ] {
        let name = format!("conv {kernel}x{kernel}/{stride} {inputs}->{outputs} @ {side}x{side}");
        let tensors: [(&str, &[usize]); 2] = [
            ("x", &[2, inputs, side, side]),
            ("w", &[outputs, inputs, kernel, kernel]),
        ];
        cases.push(Case {
            stride,
            padding: kernel / 2,
            ..case(name, Kind::Conv2d, &tensors)
        });
    }
    for (channels, side) in [(256, 128), (512, 64), (1280, 32), (2048, 16)] {
        for (layout, kind) in [("NCHW", Kind::Conv2d), ("tokens", Kind::DepthwiseTokens)] {
            let x = match kind {
                Kind::Conv2d => [2, channels, side, side],
                _ => [2, side, side, channels],
            };
            let name = format!("depthwise 3x3 {channels} @ {side}x{side}, {layout}");
            let tensors: [(&str, &[usize]); 2] = [("x", &x), ("w", &[channels, 1, 3, 3])];
            cases.push(Case {
                padding: 1,
                groups: channels,
                ..case(name, kind, &tensors)
            });
        }
    }
    let tokens: &[usize] = &[2, 4096, 256];
    let affine: [(&str, &[usize]); 3] = [("x", tokens), ("gamma", &[256]), ("beta", &[256])];
    cases.push(case("layer norm 2x4096x256", Kind::LayerNorm, &affine));
    cases.push(case("softmax 2x4096x256", Kind::Softmax, &[("x", tokens)]));
    cases.push(case("GELU 2x4096x256", Kind::Gelu, &[("x", tokens)]));
    let map: [(&str, &[usize]); 3] = [("x", &[2, 64, 128, 128]), ("gamma", &[64]), ("beta", &[64])];
    cases.push(case("batch norm 2x64x128x128", Kind::BatchNorm, &map));
    cases.push(Case {
        size: [256, 256],
        ..case(
            "bilinear 2x19x64x64 -> 256x256",
            Kind::Bilinear,
            &[("x", &[2, 19, 64, 64])],
        )
    });
    cases
}

/// The values of a tensor, from its name alone; see [`from_name`].
pub(super) fn fill(name: &str, dims: &[usize]) -> candle_core::Result<Tensor> {
    let count = dims.iter().product::<usize>();
    Tensor::from_vec(from_name(name, &Shape::from(count)), dims, &Device::Cpu)
}

impl Case {
    /// The inputs as variables.
    pub(super) fn inputs(&self) -> candle_core::Result<Vec<Var>> {
        let filled = self
            .tensors
            .iter()
            .map(|(n, s)| Var::from_tensor(&fill(n, s)?));
        filled.collect()
    }

    /// The op's result.
    pub(super) fn apply(&self, inputs: &[Var]) -> candle_core::Result<Tensor> {
        let input = |i: usize| match inputs.get(i) {
            Some(var) => Ok(var.as_tensor()),
            None => candle_core::bail!("{}: input {i} is missing", self.name),
        };
        let x = input(0)?;
        let options = Conv2dOptions {
            stride: (self.stride, self.stride),
            padding: (self.padding, self.padding),
            groups: self.groups,
            ..Conv2dOptions::default()
        };
        match self.kind {
            Kind::Conv2d => ops::conv2d(x, input(1)?, None, &options),
            Kind::DepthwiseTokens => ops::depthwise_conv2d_nhwc(x, input(1)?, None, &options),
            Kind::LayerNorm => ops::layer_norm(x, input(1)?, input(2)?, 1e-5),
            Kind::Softmax => ops::softmax(x, D::Minus1),
            Kind::Gelu => ops::gelu(x),
            Kind::BatchNorm => Ok(ops::batch_norm(x, input(1)?, input(2)?, 1e-5)?.0),
            Kind::Bilinear => ops::resize_bilinear(x, (self.size[0], self.size[1]), false),
        }
    }

    /// Seconds of one forward and backward pass, the output's gradient all ones.
    pub(super) fn time(&self, inputs: &[Var]) -> candle_core::Result<f64> {
        let start = Instant::now();
        let store = backward(&self.apply(inputs)?)?;
        let seconds = start.elapsed().as_secs_f64();
        drop(store);
        Ok(seconds)
    }

    /// The same op at a size that takes no time.
    #[cfg(test)]
    pub(super) fn shrunk(&self) -> Self {
        let mut small = self.clone();
        let sides = match (self.kind, self.channels_last) {
            (Kind::Conv2d | Kind::BatchNorm | Kind::Bilinear, _) => 2..4,
            (Kind::DepthwiseTokens, _) => 1..3,
            _ => 1..2,
        };
        for side in &mut small.tensors[0].1[sides] {
            *side = 8;
        }
        small.size = [16, 16];
        small
    }
}
