//! The measured ops. The micro-benchmarks of `mic-nn` include this file as well.

use std::ops::Range;

use candle_core::{D, Device, Result, Shape, Tensor, Var};
use mic_nn::init::from_name;
use mic_nn::ops::{self, Conv2dOptions, CrossEntropyOptions, Pool2dOptions, RoiAlignOptions};
use serde::Serialize;

/// Which op a case runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    Conv2d,
    DepthwiseTokens,
    Linear,
    Attention,
    LayerNorm,
    Softmax,
    Gelu,
    Relu,
    Add,
    BatchNorm,
    BatchNormRelu,
    MaxPool,
    Bilinear,
    CrossEntropy,
    RoiAlign,
}

/// What an op takes besides tensors; each kind reads its own.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Settings {
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
    groups: usize,
    heads: usize,
    /// Height and width of the result.
    size: [usize; 2],
}

/// One op at one size.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// Names and shapes of the inputs, filled from their names on both sides.
    pub(super) tensors: Vec<(String, Vec<usize>)>,
    settings: Settings,
}

/// The label that counts for nothing.
const IGNORE: u32 = 255;

/// Regions of RoIAlign, of a map of stride 4.
const REGIONS: usize = 512;

fn case(name: impl Into<String>, kind: Kind, tensors: &[(&str, &[usize])]) -> Case {
    let tensors = tensors.iter().map(|(n, s)| (n.to_string(), s.to_vec()));
    Case {
        name: name.into(),
        kind,
        tensors: tensors.collect(),
        settings: Settings {
            kernel: 1,
            stride: 1,
            padding: 0,
            dilation: 1,
            groups: 1,
            heads: 1,
            size: [0, 0],
        },
    }
}

/// `2x64x128x128`.
fn sizes(dims: &[usize]) -> String {
    let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
    dims.join("x")
}

/// All cases: sizes of MiT-B5 with the DAFormer head, of ResNet-50, its pyramid and ViT-B/16.
pub(super) fn all() -> Vec<Case> {
    let mut cases = convolutions();
    cases.extend(depthwise());
    cases.extend(tokens());
    cases.extend(maps());
    cases
}

fn convolutions() -> Vec<Case> {
    let sizes = [
        (2, 64, 64, [128, 128], 3, 1),
        (2, 256, 256, [32, 32], 3, 1),
        (2, 256, 1024, [32, 32], 1, 1),
        (2, 3, 64, [256, 256], 7, 2),
        (8, 64, 64, [56, 56], 3, 1),
        (8, 256, 64, [56, 56], 1, 1),
        (8, 256, 512, [56, 56], 1, 2),
        (8, 128, 128, [28, 28], 3, 1),
        (8, 1024, 256, [14, 14], 1, 1),
        (8, 512, 512, [7, 7], 3, 1),
        (8, 3, 768, [224, 224], 16, 16),
        (1, 3, 64, [512, 512], 7, 4),
        (1, 1024, 256, [128, 128], 1, 1),
        (1, 256, 256, [75, 150], 3, 1),
    ];
    let case_of =
        |(batch, inputs, outputs, [h, w], kernel, stride): (usize, _, _, [_; 2], _, _)| {
            let name = format!("conv {kernel}x{kernel}/{stride} {inputs}->{outputs} @ {h}x{w}");
            let tensors: [(&str, &[usize]); 2] = [
                ("x", &[batch, inputs, h, w]),
                ("w", &[outputs, inputs, kernel, kernel]),
            ];
            let mut case = case(name + &suffix(batch), Kind::Conv2d, &tensors);
            case.settings.stride = stride;
            // Patches of a vision transformer do not overlap.
            case.settings.padding = if kernel == stride { 0 } else { kernel / 2 };
            case
        };
    sizes.into_iter().map(case_of).collect()
}

/// Batches other than 2.
fn suffix(batch: usize) -> String {
    match batch {
        2 => String::new(),
        _ => format!(", batch {batch}"),
    }
}

fn depthwise() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |kind, batch: usize, channels: usize, side: usize, dilation: usize| {
        let (x, layout) = match kind {
            Kind::DepthwiseTokens => ([batch, side, side, channels], "tokens"),
            _ => ([batch, channels, side, side], "NCHW"),
        };
        let dilated = match dilation {
            1 => String::new(),
            _ => format!(" dilation {dilation}"),
        };
        let name = format!("depthwise 3x3{dilated} {channels} @ {side}x{side}, {layout}");
        let tensors: [(&str, &[usize]); 2] = [("x", &x), ("w", &[channels, 1, 3, 3])];
        let mut case = case(name + &suffix(batch), kind, &tensors);
        case.settings.padding = dilation;
        case.settings.dilation = dilation;
        case.settings.groups = channels;
        cases.push(case);
    };
    for (channels, side) in [(256, 128), (512, 64), (1280, 32), (2048, 16)] {
        add(Kind::Conv2d, 2, channels, side, 1);
        add(Kind::DepthwiseTokens, 2, channels, side, 1);
    }
    add(Kind::Conv2d, 1, 1024, 128, 6);
    cases
}

/// Ops on (B, N, C).
fn tokens() -> Vec<Case> {
    let mut cases = Vec::new();
    for (b, n, inputs, outputs) in [
        (8, 197, 768, 2304),
        (8, 197, 768, 3072),
        (8, 197, 3072, 768),
        (1, 16384, 64, 256),
        (1, 4096, 128, 512),
        (1, 1024, 320, 1280),
        (1, 1024, 1280, 320),
    ] {
        let x = [b, n, inputs];
        let name = format!("linear {} -> {outputs}", sizes(&x));
        let tensors: [(&str, &[usize]); 3] =
            [("x", &x), ("w", &[outputs, inputs]), ("bias", &[outputs])];
        cases.push(case(name, Kind::Linear, &tensors));
    }
    for (b, n, m, c, heads) in [
        (8, 197, 197, 768, 12),
        (1, 16384, 256, 64, 1),
        (1, 4096, 256, 128, 2),
        (1, 1024, 256, 320, 5),
        (1, 256, 256, 512, 8),
    ] {
        let q = [b, n, c];
        let name = format!("attention {}, {m} keys, {heads} heads", sizes(&q));
        let mut case = case(name, Kind::Attention, &[("x", &q), ("kv", &[b, m, 2 * c])]);
        case.settings.heads = heads;
        cases.push(case);
    }
    for x in [[2, 4096, 256], [8, 197, 768]] {
        let affine: [(&str, &[usize]); 3] = [("x", &x), ("gamma", &x[2..]), ("beta", &x[2..])];
        let name = format!("layer norm {}", sizes(&x));
        cases.push(case(name, Kind::LayerNorm, &affine));
    }
    for (name, kind, x) in [
        ("softmax", Kind::Softmax, [2, 4096, 256]),
        ("GELU", Kind::Gelu, [2, 4096, 256]),
        ("GELU", Kind::Gelu, [8, 197, 3072]),
    ] {
        cases.push(case(format!("{name} {}", sizes(&x)), kind, &[("x", &x)]));
    }
    let x = [2, 4096, 256];
    let two: [(&str, &[usize]); 2] = [("x", &x), ("branch", &x)];
    cases.push(case(format!("add {}", sizes(&x)), Kind::Add, &two));
    cases
}

/// Ops on (B, C, H, W).
fn maps() -> Vec<Case> {
    let mut cases = Vec::new();
    for x in [
        [2, 64, 128, 128],
        [8, 64, 112, 112],
        [8, 256, 56, 56],
        [8, 2048, 7, 7],
        [1, 1024, 128, 128],
    ] {
        let affine: [(&str, &[usize]); 3] = [("x", &x), ("gamma", &x[1..2]), ("beta", &x[1..2])];
        let name = format!("batch norm {}", sizes(&x));
        cases.push(case(name, Kind::BatchNorm, &affine));
    }
    for x in [[8, 64, 112, 112], [1, 256, 128, 128]] {
        let affine: [(&str, &[usize]); 3] = [("x", &x), ("gamma", &x[1..2]), ("beta", &x[1..2])];
        let name = format!("batch norm and ReLU {}", sizes(&x));
        cases.push(case(name, Kind::BatchNormRelu, &affine));
    }
    let x = [8, 256, 56, 56];
    cases.push(case(
        format!("ReLU {}", sizes(&x)),
        Kind::Relu,
        &[("x", &x)],
    ));
    for x in [[2, 64, 128, 128], [8, 64, 112, 112]] {
        let name = format!("max pool 3x3/2 {}", sizes(&x));
        let mut case = case(name, Kind::MaxPool, &[("x", &x)]);
        case.settings.kernel = 3;
        case.settings.stride = 2;
        case.settings.padding = 1;
        cases.push(case);
    }
    for (x, size) in [
        ([2, 19, 64, 64], [256, 256]),
        ([1, 19, 128, 128], [512, 512]),
        ([1, 256, 16, 16], [128, 128]),
    ] {
        let name = format!("bilinear {} -> {}", sizes(&x), sizes(&size));
        let mut case = case(name, Kind::Bilinear, &[("x", &x)]);
        case.settings.size = size;
        cases.push(case);
    }
    let x = [2, 19, 512, 512];
    let name = format!("cross-entropy {}, a fifth ignored", sizes(&x));
    cases.push(case(name, Kind::CrossEntropy, &[("x", &x)]));
    let x = [1, 256, 150, 300];
    let name = format!("RoIAlign 7x7 {}, {REGIONS} regions", sizes(&x));
    let mut regions = case(name, Kind::RoiAlign, &[("x", &x)]);
    regions.settings.size = [7, 7];
    cases.push(regions);
    cases
}

/// The values of a tensor, from its name alone; see [`from_name`].
pub(super) fn fill(name: &str, dims: &[usize]) -> Result<Tensor> {
    let count = dims.iter().product::<usize>();
    Tensor::from_vec(from_name(name, &Shape::from(count)), dims, &Device::Cpu)
}

/// Labels (B, H, W) in runs of seven pixels, each fifth run ignored.
fn labels(dims: [usize; 3], classes: usize) -> Result<Tensor> {
    let label = |i: usize| match i / 7 % 5 {
        0 => IGNORE as u8,
        _ => (i / 7 * 13 % classes.max(1)) as u8,
    };
    let count = dims.iter().product();
    Tensor::from_vec(
        (0..count).map(label).collect::<Vec<u8>>(),
        &dims,
        &Device::Cpu,
    )
}

/// Regions (K, 5) of the first image: its index and x1, y1, x2, y2 in an image of 600x1200.
fn regions() -> Result<Tensor> {
    let region = |i: usize| {
        let (x, y) = (i * 37 % 1000, i * 53 % 450);
        [0, x, y, x + 20 + i * 29 % 300, y + 20 + i * 31 % 200].map(|value| value as f32)
    };
    let values = (0..REGIONS).flat_map(region).collect::<Vec<f32>>();
    Tensor::from_vec(values, (REGIONS, 5), &Device::Cpu)
}

/// A case with its tensors.
pub(super) struct Prepared<'a> {
    case: &'a Case,
    /// The inputs that get gradients.
    pub(super) inputs: Vec<Var>,
    /// The input that gets none: labels or regions.
    constant: Option<Tensor>,
}

impl Case {
    /// Python packages besides torch that PyTorch's side needs.
    #[allow(
        dead_code,
        reason = "not every program that includes this file needs it"
    )]
    pub(super) fn needs(&self) -> &'static [&'static str] {
        match self.kind {
            Kind::RoiAlign => &["torchvision"],
            _ => &[],
        }
    }

    /// Makes the tensors.
    pub(super) fn prepare(&self) -> Result<Prepared<'_>> {
        let filled = self
            .tensors
            .iter()
            .map(|(n, s)| Var::from_tensor(&fill(n, s)?));
        let constant = match (self.kind, self.tensors.first().map(|(_, dims)| &dims[..])) {
            (Kind::CrossEntropy, Some(&[b, c, h, w])) => Some(labels([b, h, w], c)?),
            (Kind::RoiAlign, _) => Some(regions()?),
            _ => None,
        };
        Ok(Prepared {
            case: self,
            inputs: filled.collect::<Result<_>>()?,
            constant,
        })
    }

    /// The same op at a size that takes no time.
    #[allow(
        dead_code,
        reason = "not every program that includes this file needs it"
    )]
    pub(super) fn tiny(&self) -> Self {
        let mut small = self.clone();
        let sides: Range<usize> = match self.kind {
            Kind::Linear | Kind::Attention | Kind::LayerNorm => 1..2,
            Kind::Softmax | Kind::Gelu | Kind::Add => 1..2,
            Kind::DepthwiseTokens => 1..3,
            _ => 2..4,
        };
        let data =
            |(name, _): &&mut (String, Vec<usize>)| ["x", "kv", "branch"].contains(&&name[..]);
        for (_, dims) in small.tensors.iter_mut().filter(data) {
            dims[sides.clone()].fill(16);
        }
        if self.kind == Kind::Bilinear {
            small.settings.size = [32, 32];
        }
        small
    }
}

impl Prepared<'_> {
    fn constant(&self) -> Result<&Tensor> {
        match &self.constant {
            Some(constant) => Ok(constant),
            None => candle_core::bail!("{}: labels or regions are missing", self.case.name),
        }
    }

    /// The op's result.
    pub(super) fn apply(&self) -> Result<Tensor> {
        let input = |i: usize| match self.inputs.get(i) {
            Some(var) => Ok(var.as_tensor()),
            None => candle_core::bail!("{}: input {i} is missing", self.case.name),
        };
        let x = input(0)?;
        let set = &self.case.settings;
        let pair = |n: usize| (n, n);
        let conv = Conv2dOptions {
            stride: pair(set.stride),
            padding: pair(set.padding),
            dilation: pair(set.dilation),
            groups: set.groups,
        };
        let pool = Pool2dOptions {
            kernel: pair(set.kernel),
            stride: pair(set.stride),
            padding: pair(set.padding),
        };
        match self.case.kind {
            Kind::Conv2d => ops::conv2d(x, input(1)?, None, &conv),
            Kind::DepthwiseTokens => ops::depthwise_conv2d_nhwc(x, input(1)?, None, &conv),
            Kind::Linear => ops::linear(x, input(1)?, Some(input(2)?)),
            Kind::Attention => ops::attention(x, input(1)?, set.heads),
            Kind::LayerNorm => ops::layer_norm(x, input(1)?, input(2)?, 1e-5),
            Kind::Softmax => ops::softmax(x, D::Minus1),
            Kind::Gelu => ops::gelu(x),
            Kind::Relu => ops::relu(x),
            Kind::Add => ops::add(x, input(1)?),
            Kind::BatchNorm => Ok(ops::batch_norm(x, input(1)?, input(2)?, 1e-5)?.0),
            Kind::BatchNormRelu => Ok(ops::batch_norm_relu(x, input(1)?, input(2)?, 1e-5)?.0),
            Kind::MaxPool => ops::max_pool2d(x, &pool),
            Kind::Bilinear => ops::resize_bilinear(x, (set.size[0], set.size[1]), false),
            Kind::CrossEntropy => {
                let options = CrossEntropyOptions {
                    ignore: Some(IGNORE),
                    ..CrossEntropyOptions::default()
                };
                ops::cross_entropy(x, self.constant()?, &options)
            }
            Kind::RoiAlign => {
                let options = RoiAlignOptions {
                    output_size: (set.size[0], set.size[1]),
                    spatial_scale: 0.25,
                    sampling_ratio: 2,
                    aligned: false,
                };
                ops::roi_align(x, self.constant()?, &options)
            }
        }
    }
}
