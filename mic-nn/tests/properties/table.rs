//! All differentiable ops with the shapes that they take.

use candle_core::{Device, Result, Tensor};
use mic_nn::ops::*;

/// An op on its floating-point arguments, everything else fixed.
pub(crate) struct Op {
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) call: fn(&[Tensor]) -> Result<Tensor>,
}

/// A tensor that an op takes.
#[derive(Clone)]
pub(crate) struct Argument {
    pub(crate) name: &'static str,
    /// Letter and size of every dimension. A capital letter, or one that another argument has as
    /// well, is a size that cannot change alone.
    pub(crate) dims: Vec<(char, usize)>,
}

impl Argument {
    pub(crate) fn shape(&self) -> Vec<usize> {
        self.dims.iter().map(|(_, size)| *size).collect()
    }
}

/// Reads `"x b3 C8, gamma C8"`.
fn arguments(text: &'static str) -> Vec<Argument> {
    let dim = |word: &str| (word.chars().next().unwrap(), word[1..].parse().unwrap());
    let argument = |text: &'static str| {
        let mut words = text.split_whitespace();
        Argument {
            name: words.next().unwrap(),
            dims: words.map(dim).collect(),
        }
    };
    text.split(',').map(argument).collect()
}

/// Labels 0 for all pixels of logits (B, C, ...).
fn labels(logits: &Tensor) -> Result<Tensor> {
    let mut dims = logits.dims().to_vec();
    if dims.len() > 1 {
        dims.remove(1);
    }
    Tensor::zeros(dims, candle_core::DType::U32, &Device::Cpu)
}

/// The second places of a dimension.
fn index(shape: impl Into<candle_core::Shape>) -> Result<Tensor> {
    Tensor::ones(shape, candle_core::DType::U32, &Device::Cpu)
}

fn regions(like: &Tensor) -> Result<Tensor> {
    let rois = [[0f32, 0.5, 1.0, 4.0, 5.0], [1.0, 0.0, 0.0, 3.0, 3.0]];
    Tensor::new(&rois, &Device::Cpu)?.to_dtype(like.dtype())
}

fn pyramid() -> MultiLevelRoiAlign {
    MultiLevelRoiAlign {
        output_size: (2, 2),
        spatial_scales: vec![1.0, 0.5],
        sampling_ratio: 2,
        aligned: false,
        mapping: LevelMapping::modern(),
    }
}

const KEEP: [bool; 2] = [true, false];
const POOL: Pool2dOptions = Pool2dOptions {
    kernel: (2, 3),
    stride: (2, 1),
    padding: (1, 1),
};
const GROUPED: Conv2dOptions = Conv2dOptions {
    stride: (2, 1),
    padding: (1, 2),
    dilation: (1, 2),
    groups: 2,
};
const SAME: Conv2dOptions = Conv2dOptions {
    stride: (1, 1),
    padding: (1, 1),
    dilation: (1, 1),
    groups: 1,
};

/// Every op of `mic_nn::ops` that has a gradient.
pub(crate) fn ops() -> Vec<Op> {
    type Call = fn(&[Tensor]) -> Result<Tensor>;
    let table: Vec<(&str, &str, Call)> = vec![
        ("relu", "x a2 b3 c5", |t| relu(&t[0])),
        ("gelu", "x a2 b3 c5", |t| gelu(&t[0])),
        ("sigmoid", "x a2 b3 c5", |t| sigmoid(&t[0])),
        ("gradient_reversal", "x a2 b3 c5", |t| {
            gradient_reversal(&t[0], 0.5)
        }),
        ("add", "a a2 b3 c5, b a2 b3 c5", |t| add(&t[0], &t[1])),
        ("drop_path", "x B2 b3 c5", |t| drop_path(&t[0], &KEEP, 0.5)),
        ("add_drop_path", "residual B2 b3 c5, branch B2 b3 c5", |t| {
            add_drop_path(&t[0], &t[1], &KEEP, 0.5)
        }),
        (
            "add_layer_scale",
            "residual b2 n3 c5, branch b2 n3 c5, gamma c5",
            |t| add_layer_scale(&t[0], &t[1], &t[2], None),
        ),
        ("dropout", "x A2 B3", |t| {
            dropout(&t[0], &[true, false, true, true, false, true], 0.5)
        }),
        ("dropout2d", "x B1 C2 h3 w5", |t| {
            dropout2d(&t[0], &KEEP, 0.5)
        }),
        ("softmax", "x a2 b3 c5", |t| softmax(&t[0], 1)),
        ("layer_norm", "x a2 b3 c8, gamma c8, beta c8", |t| {
            layer_norm(&t[0], &t[1], &t[2], 1e-5)
        }),
        ("batch_norm", "x b2 c3 h4 w5, gamma c3, beta c3", |t| {
            Ok(batch_norm(&t[0], &t[1], &t[2], 1e-5)?.0)
        }),
        (
            "batch_norm_eval",
            "x b2 c3 h4 w5, gamma c3, beta c3, running_mean c3, running_var c3",
            // The statistics are constants.
            |t| {
                batch_norm_eval(
                    &t[0],
                    &t[1],
                    &t[2],
                    &t[3].detach(),
                    &t[4].detach().abs()?,
                    1e-5,
                )
            },
        ),
        ("batch_norm_relu", "x b2 c3 h4 w5, gamma c3, beta c3", |t| {
            Ok(batch_norm_relu(&t[0], &t[1], &t[2], 1e-5)?.0)
        }),
        (
            "batch_norm_add_relu",
            "x b2 c3 h4 w5, residual b2 c3 h4 w5, gamma c3, beta c3",
            |t| Ok(batch_norm_add_relu(&t[0], &t[1], &t[2], &t[3], 1e-5)?.0),
        ),
        (
            "batch_norm_relu_eval",
            "x b2 c3 h4 w5, gamma c3, beta c3, running_mean c3, running_var c3",
            |t| {
                let (mean, var) = (t[3].detach(), t[4].detach().abs()?);
                batch_norm_relu_eval(&t[0], &t[1], &t[2], &mean, &var, 1e-5)
            },
        ),
        (
            "batch_norm_add_relu_eval",
            "x b2 c3 h4 w5, residual b2 c3 h4 w5, gamma c3, beta c3, running_mean c3, running_var c3",
            |t| {
                let (mean, var) = (t[4].detach(), t[5].detach().abs()?);
                batch_norm_add_relu_eval(&t[0], &t[1], &t[2], &t[3], &mean, &var, 1e-5)
            },
        ),
        ("group_norm", "x b2 c4 h3 w5, gamma c4, beta c4", |t| {
            group_norm(&t[0], 2, &t[1], &t[2], 1e-5)
        }),
        ("linear", "x a2 b3 i8, w o4 i8, bias o4", |t| {
            linear(&t[0], &t[1], Some(&t[2]))
        }),
        ("attention", "q b2 n3 C8, kv b2 m5 D16", |t| {
            attention(&t[0], &t[1], 2)
        }),
        ("attention_qkv", "qkv b2 n3 E24", |t| {
            attention_qkv(&t[0], 2)
        }),
        ("conv2d", "x b2 C4 h7 w9, w O6 I2 k3 l2, bias O6", |t| {
            conv2d(&t[0], &t[1], Some(&t[2]), &GROUPED)
        }),
        (
            "depthwise_conv2d_nhwc",
            "x b2 h7 w6 c5, w c5 I1 k3 l2, bias c5",
            |t| depthwise_conv2d_nhwc(&t[0], &t[1], Some(&t[2]), &SAME),
        ),
        ("swap_last", "x b2 r3 c5", |t| swap_last(&t[0])),
        ("map_to_tokens", "x b2 c3 h4 w5", |t| map_to_tokens(&t[0])),
        ("tokens_to_map", "x b2 N12 c5", |t| {
            tokens_to_map(&t[0], 3, 4)
        }),
        ("patchify", "x b2 N24 c5", |t| patchify(&t[0], 4, 6, 2)),
        (
            "prepend_tokens",
            "tokens b2 n3 c5, prefix O1 p2 c5, positions O1 n3 c5",
            |t| prepend_tokens(&t[0], &t[1], &t[2]),
        ),
        ("narrow_tokens", "x b2 n4 c5", |t| {
            narrow_tokens(&t[0], 1, 2)
        }),
        ("mean_tokens", "x b2 n4 c5", |t| mean_tokens(&t[0], 1)),
        ("resize_tokens_bicubic", "x b2 N12 c5", |t| {
            resize_tokens_bicubic(&t[0], (3, 4), (5, 6), &BicubicOptions::default())
        }),
        ("resize_bilinear", "x b2 c3 h4 w5", |t| {
            resize_bilinear(&t[0], (7, 3), false)
        }),
        ("resize_nearest", "x b2 c3 h4 w5", |t| {
            resize_nearest(&t[0], (7, 3))
        }),
        ("max_pool2d", "x b2 c3 h4 w5", |t| max_pool2d(&t[0], &POOL)),
        ("avg_pool2d", "x b2 c3 h4 w5", |t| {
            avg_pool2d(&t[0], &POOL, false)
        }),
        ("adaptive_avg_pool2d", "x b2 c3 h4 w5", |t| {
            adaptive_avg_pool2d(&t[0], (2, 3))
        }),
        ("global_avg_pool2d", "x b2 c3 h4 w5", |t| {
            global_avg_pool2d(&t[0])
        }),
        ("roi_align", "features b2 c3 h8 w8", |t| {
            let options = RoiAlignOptions {
                output_size: (2, 2),
                spatial_scale: 1.0,
                sampling_ratio: 2,
                aligned: false,
            };
            roi_align(&t[0], &regions(&t[0])?, &options)
        }),
        (
            "multi_level_roi_align",
            "fine b2 c3 h8 w8, coarse b2 c3 y4 x4",
            |t| multi_level_roi_align(&t[..2], &regions(&t[0])?, &pyramid()),
        ),
        ("gather", "x b2 n4 c5", |t| {
            gather(&t[0], 1, &index((2, 3, 5))?)
        }),
        ("index_select", "x b2 n4 c5", |t| {
            index_select(&t[0], 1, &index(3)?)
        }),
        ("scatter_add", "x b2 n4 c5, source d2 m3 e5", |t| {
            scatter_add(&t[0], 1, &index((2, 3, 5))?, &t[1])
        }),
        ("top_k", "x b2 n3 c5", |t| Ok(top_k(&t[0], 2)?.0)),
        ("cross_entropy", "logits b2 c3 h4 w5", |t| {
            cross_entropy(&t[0], &labels(&t[0])?, &CrossEntropyOptions::default())
        }),
        ("entropy", "logits b2 c3 h4 w5", |t| entropy(&t[0], true)),
        (
            "binary_cross_entropy_with_logits",
            "x a2 b3, t a2 b3",
            |t| binary_cross_entropy_with_logits(&t[0], &t[1], Reduction::Mean),
        ),
        ("kl_divergence", "x a2 b3, t a2 b3", |t| {
            kl_divergence(&t[0], &t[1].abs()?, Reduction::BatchMean)
        }),
        ("smooth_l1", "x a2 b3, t a2 b3", |t| {
            smooth_l1(&t[0], &t[1], 0.5, Reduction::Sum)
        }),
    ];
    let op = |(name, shapes, call)| Op {
        name,
        arguments: arguments(shapes),
        call,
    };
    table.into_iter().map(op).collect()
}
