//! Single ops against values recorded from PyTorch and torchvision
//! (`testdata/record/ops.py`).

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Shape, Tensor, Var};
use mic_nn::autograd::backward;
use mic_nn::init::from_name;
use mic_nn::ops::*;
use serde_json::Value;

struct Recorded {
    tensors: HashMap<String, Tensor>,
    header: HashMap<String, String>,
}

/// One case of an op with its options.
struct Case<'a> {
    recorded: &'a Recorded,
    name: String,
    options: Value,
    dtype: DType,
}

fn filled(name: &str, dims: &[usize]) -> Result<Tensor> {
    let count = dims.iter().product::<usize>();
    let flat = Tensor::from_vec(from_name(name, &Shape::from(count)), dims, &Device::Cpu)?;
    flat.to_dtype(DType::F64)? * 10.0
}

fn list(value: &Value) -> Vec<usize> {
    let entries = value.as_array().unwrap();
    entries
        .iter()
        .map(|v| v.as_u64().unwrap() as usize)
        .collect()
}

impl Recorded {
    fn open() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../testdata/recorded/ops.safetensors"
        );
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
        Self {
            tensors: candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).unwrap(),
            header: header.metadata().clone().unwrap(),
        }
    }

    fn get(&self, key: &str) -> &Tensor {
        let found = self.tensors.get(key);
        found.unwrap_or_else(|| panic!("ops.safetensors has no tensor {key}"))
    }

    /// Runs `f` for every case of an op, in both precisions, and compares what it returns and its
    /// gradients with the recorded ones.
    fn check(&self, op: &str, f: impl Fn(&Case<'_>, &[Tensor]) -> Result<Tensor>) -> Result<()> {
        let names = self.header.keys();
        let cases: Vec<&String> = names
            .filter(|name| name.split('.').next() == Some(op))
            .collect();
        assert!(!cases.is_empty(), "no cases of {op}");
        for name in cases {
            for dtype in [DType::F64, DType::F32] {
                let case = Case {
                    recorded: self,
                    name: name.clone(),
                    options: serde_json::from_str(&self.header[name]).unwrap(),
                    dtype,
                };
                case.check(&f)?;
            }
        }
        Ok(())
    }
}

impl Case<'_> {
    fn tensor(&self, key: &str) -> &Tensor {
        self.recorded.get(&format!("{}.{key}", self.name))
    }

    fn pair(&self, key: &str) -> (usize, usize) {
        let list = list(&self.options[key]);
        (list[0], list[1])
    }

    fn number(&self, key: &str) -> usize {
        self.options[key].as_u64().unwrap() as usize
    }

    fn pool(&self) -> Pool2dOptions {
        Pool2dOptions {
            kernel: self.pair("kernel"),
            stride: self.pair("stride"),
            padding: self.pair("padding"),
        }
    }

    fn close(&self, key: &str, ours: &Tensor) -> Result<()> {
        let theirs = self.tensor(key);
        assert_eq!(ours.dims(), theirs.dims(), "{}.{key}", self.name);
        let largest = |t: &Tensor| t.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>();
        let bound = if self.dtype == DType::F64 {
            1e-13
        } else {
            3e-6
        };
        let error = largest(&(ours.to_dtype(DType::F64)? - theirs)?)?;
        let scale = largest(theirs)?.max(1.0);
        assert!(error <= bound * scale, "{}.{key}: {error:e}", self.name);
        Ok(())
    }

    fn check(&self, f: impl Fn(&Self, &[Tensor]) -> Result<Tensor>) -> Result<()> {
        let shapes = self.options["shapes"].as_object().unwrap();
        // An op's first input comes first in the alphabet, too, save for `x`.
        let mut keys: Vec<&String> = shapes.keys().collect();
        keys.sort_by_key(|key| (*key != "x", *key));
        let vars = keys
            .iter()
            .map(|key| {
                let x = filled(&format!("{}.{key}", self.name), &list(&shapes[*key]))?;
                Var::from_tensor(&x.to_dtype(self.dtype)?)
            })
            .collect::<Result<Vec<_>>>()?;
        let inputs: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
        let y = f(self, &inputs)?;
        self.close("y", &y)?;
        let cotangent = filled(&self.name, y.dims())?.to_dtype(self.dtype)?;
        let gradients = backward(&(y * cotangent)?.sum_all()?)?;
        for (key, var) in keys.iter().zip(&vars) {
            self.close(&format!("d{key}"), gradients.get(var).unwrap())?;
        }
        Ok(())
    }
}

#[test]
fn pooling_is_pytorchs() -> Result<()> {
    let recorded = Recorded::open();
    recorded.check("max_pool2d", |case, x| max_pool2d(&x[0], &case.pool()))?;
    recorded.check("avg_pool2d", |case, x| {
        let include = case.options["count_include_pad"].as_bool().unwrap();
        avg_pool2d(&x[0], &case.pool(), include)
    })?;
    recorded.check("adaptive_avg_pool2d", |case, x| {
        adaptive_avg_pool2d(&x[0], case.pair("size"))
    })
}

#[test]
fn roi_align_is_torchvisions() -> Result<()> {
    let recorded = Recorded::open();
    recorded.check("roi_align", |case, x| {
        let options = RoiAlignOptions {
            output_size: case.pair("output_size"),
            spatial_scale: case.options["spatial_scale"].as_f64().unwrap(),
            sampling_ratio: case.number("sampling_ratio"),
            aligned: case.options["aligned"].as_bool().unwrap(),
        };
        let rois = case.recorded.get("rois").to_dtype(case.dtype)?;
        roi_align(&x[0], &rois, &options)
    })
}

#[test]
fn nms_is_torchvisions() -> Result<()> {
    let recorded = Recorded::open();
    let get = |key: &str| recorded.get(&format!("nms.{key}"));
    let (boxes, scores, classes) = (get("boxes"), get("scores"), get("classes"));
    let cases = recorded
        .header
        .keys()
        .filter(|name| name.starts_with("nms."));
    let mut count = 0;
    for name in cases {
        let options: Value = serde_json::from_str(&recorded.header[name]).unwrap();
        let threshold = options["threshold"].as_f64().unwrap();
        let rule = NmsRule::Modern;
        for dtype in [DType::F32, DType::F64] {
            let (boxes, scores) = (boxes.to_dtype(dtype)?, scores.to_dtype(dtype)?);
            let kept = [
                ("y", nms(&boxes, &scores, threshold, rule)?),
                (
                    "batched",
                    batched_nms(&boxes, &scores, classes, threshold, rule)?,
                ),
            ];
            for (key, kept) in kept {
                let theirs = recorded.get(&format!("{name}.{key}")).to_vec1::<i64>()?;
                let ours = kept.to_dtype(DType::I64)?.to_vec1::<i64>()?;
                assert_eq!(ours, theirs, "{name}.{key}");
            }
        }
        count += 1;
    }
    assert!(count > 0);
    Ok(())
}

#[test]
fn ops_by_index_are_pytorchs() -> Result<()> {
    let recorded = Recorded::open();
    recorded.check("top_k", |case, x| {
        let (values, indices) = top_k(&x[0], case.number("k"))?;
        let ours = indices.to_dtype(DType::I64)?.flatten_all()?;
        let theirs = case.tensor("index").flatten_all()?;
        assert_eq!(ours.to_vec1::<i64>()?, theirs.to_vec1::<i64>()?);
        Ok(values)
    })?;
    let dim = |case: &Case<'_>| case.number("dim");
    recorded.check("gather", |case, x| {
        gather(&x[0], dim(case), case.tensor("index"))
    })?;
    recorded.check("index_select", |case, x| {
        index_select(&x[0], dim(case), case.tensor("index"))
    })?;
    recorded.check("scatter_add", |case, x| {
        scatter_add(&x[0], dim(case), case.tensor("index"), &x[1])
    })
}

#[test]
fn products_are_pytorchs() -> Result<()> {
    let recorded = Recorded::open();
    recorded.check("conv2d", |case, x| {
        let options = Conv2dOptions {
            stride: case.pair("stride"),
            padding: case.pair("padding"),
            dilation: case.pair("dilation"),
            groups: case.number("groups"),
        };
        conv2d(&x[0], &x[1], Some(&x[2]), &options)
    })?;
    recorded.check("linear", |_, x| linear(&x[0], &x[1], Some(&x[2])))?;
    recorded.check("attention", |case, x| {
        attention_qkv(&x[0], case.number("heads"))
    })?;
    // The same with queries apart from keys and values.
    recorded.check("attention", |case, x| {
        let c = x[0].dim(2)? / 3;
        let (q, kv) = (x[0].narrow(2, 0, c)?, x[0].narrow(2, c, 2 * c)?);
        attention(&q, &kv, case.number("heads"))
    })
}

#[test]
fn norms_and_elementary_functions_are_pytorchs() -> Result<()> {
    let recorded = Recorded::open();
    let eps = |case: &Case<'_>| case.options["eps"].as_f64().unwrap();
    recorded.check("layer_norm", |case, x| {
        layer_norm(&x[0], &x[1], &x[2], eps(case))
    })?;
    recorded.check("group_norm", |case, x| {
        group_norm(&x[0], case.number("groups"), &x[1], &x[2], eps(case))
    })?;
    recorded.check("batch_norm", |case, x| {
        Ok(batch_norm(&x[0], &x[1], &x[2], eps(case))?.0)
    })?;
    recorded.check("softmax", |case, x| softmax(&x[0], case.number("dim")))?;
    recorded.check("gelu", |_, x| gelu(&(&x[0] * 4.0)?))?;
    recorded.check("relu", |_, x| relu(&(&x[0] * 4.0)?))?;
    recorded.check("sigmoid", |_, x| sigmoid(&(&x[0] * 4.0)?))
}

#[test]
fn resizing_and_dropout_are_pytorchs() -> Result<()> {
    let recorded = Recorded::open();
    recorded.check("bilinear", |case, x| {
        let corners = case.options["align_corners"].as_bool().unwrap();
        resize_bilinear(&x[0], case.pair("size"), corners)
    })?;
    recorded.check("nearest", |case, x| {
        resize_nearest(&x[0], case.pair("size"))
    })?;
    recorded.check("dropout", |case, x| {
        let recorded = case.tensor("keep");
        let flags = recorded.flatten_all()?.to_vec1::<u8>()?;
        let keep: Vec<bool> = flags.iter().map(|&flag| flag != 0).collect();
        let rate = case.options["rate"].as_f64().unwrap();
        match (recorded.rank(), x[0].rank()) {
            (1, _) => drop_path(&x[0], &keep, rate),
            (2, 4) => dropout2d(&x[0], &keep, rate),
            _ => dropout(&x[0], &keep, rate),
        }
    })
}
