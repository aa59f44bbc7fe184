//! Names and shapes of the published checkpoints, written out from their description, against those
//! of our networks: nothing is missing, nothing is left over.

#![allow(clippy::unwrap_used)] // helpers outside #[test] functions

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use mic_nn::models::mit::MitConfig;
use mic_nn::models::resnet::ResNetConfig;
use mic_nn::params::Store;
use mic_nn::weights::{Pickled, save_torch};
use mic_seg::Result;
use mic_seg::model::{
    DaformerHeadConfig, DeeplabHeadConfig, HrdaConfig, SegformerHeadConfig, Segmentor,
    SegmentorConfig,
};
use mic_seg::weights::{Form, Part, Unmatched, open};
use rand::SeedableRng;

const CLASSES: usize = 19;

#[derive(Default)]
struct Keys(BTreeMap<String, Vec<usize>>);

impl Keys {
    fn add(&mut self, name: String, shape: &[usize]) {
        assert!(self.0.insert(name, shape.to_vec()).is_none());
    }

    /// Weight and bias of this many outputs.
    fn layer(&mut self, name: &str, weight: &[usize]) {
        self.add(format!("{name}.weight"), weight);
        self.add(format!("{name}.bias"), &weight[..1]);
    }

    fn batch_norm(&mut self, name: &str, channels: usize) {
        self.layer(name, &[channels]);
        for part in ["running_mean", "running_var"] {
            self.add(format!("{name}.{part}"), &[channels]);
        }
        self.add(format!("{name}.num_batches_tracked"), &[]);
    }

    /// A convolution without bias, and its batch norm.
    fn module(&mut self, name: &str, weight: [usize; 4]) {
        self.add(format!("{name}.conv.weight"), &weight);
        self.batch_norm(&format!("{name}.bn"), weight[0]);
    }

    fn mit(&mut self, prefix: &str, dims: [usize; 4], depths: [usize; 4]) {
        let ratios = [8, 4, 2, 1];
        let mut inputs = 3;
        for (index, (dim, depth)) in dims.into_iter().zip(depths).enumerate() {
            let (stage, ratio) = (index + 1, ratios[index]);
            let side = if stage == 1 { 7 } else { 3 };
            let embed = format!("{prefix}patch_embed{stage}");
            self.layer(&format!("{embed}.proj"), &[dim, inputs, side, side]);
            self.layer(&format!("{embed}.norm"), &[dim]);
            for block in 0..depth {
                let at = |part: &str| format!("{prefix}block{stage}.{block}.{part}");
                self.layer(&at("norm1"), &[dim]);
                self.layer(&at("norm2"), &[dim]);
                self.layer(&at("attn.q"), &[dim, dim]);
                self.layer(&at("attn.kv"), &[2 * dim, dim]);
                self.layer(&at("attn.proj"), &[dim, dim]);
                if ratio > 1 {
                    self.layer(&at("attn.sr"), &[dim, dim, ratio, ratio]);
                    self.layer(&at("attn.norm"), &[dim]);
                }
                self.layer(&at("mlp.fc1"), &[4 * dim, dim]);
                self.layer(&at("mlp.dwconv.dwconv"), &[4 * dim, 1, 3, 3]);
                self.layer(&at("mlp.fc2"), &[dim, 4 * dim]);
            }
            self.layer(&format!("{prefix}norm{stage}"), &[dim]);
            inputs = dim;
        }
    }

    fn embeddings(&mut self, prefix: &str, dims: [usize; 4], width: usize) {
        for (level, dim) in dims.into_iter().enumerate() {
            self.layer(&format!("{prefix}.{level}.proj"), &[width, dim]);
        }
    }

    fn daformer(&mut self, prefix: &str, dims: [usize; 4]) {
        self.layer(&format!("{prefix}conv_seg"), &[CLASSES, 256, 1, 1]);
        self.embeddings(&format!("{prefix}embed_layers"), dims, 256);
        let fuse = format!("{prefix}fuse_layer");
        self.module(&format!("{fuse}.aspp_modules.0"), [256, 1024, 1, 1]);
        for branch in 1..4 {
            let at = format!("{fuse}.aspp_modules.{branch}");
            self.module(&format!("{at}.depthwise_conv"), [1024, 1, 3, 3]);
            self.module(&format!("{at}.pointwise_conv"), [256, 1024, 1, 1]);
        }
        self.module(&format!("{fuse}.bottleneck"), [256, 1024, 3, 3]);
    }

    fn daformer_attention(&mut self, prefix: &str, dims: [usize; 4]) {
        self.layer(&format!("{prefix}conv_seg"), &[CLASSES, 256, 1, 1]);
        self.embeddings(&format!("{prefix}embed_layers"), dims, 256);
        self.module(&format!("{prefix}fuse_layer"), [256, 1024, 1, 1]);
    }

    fn segformer(&mut self, prefix: &str, dims: [usize; 4]) {
        self.layer(&format!("{prefix}conv_seg"), &[CLASSES, 128, 1, 1]);
        self.embeddings(&format!("{prefix}linear_c"), dims, 768);
        self.module(&format!("{prefix}linear_fuse"), [768, 4 * 768, 1, 1]);
        self.layer(&format!("{prefix}linear_pred"), &[CLASSES, 768, 1, 1]);
    }

    fn deeplab(&mut self, prefix: &str) {
        for branch in 0..2 {
            let name = format!("{prefix}aspp_modules.{branch}.conv");
            self.layer(&name, &[CLASSES, 2048, 3, 3]);
        }
    }

    fn resnet101(&mut self, prefix: &str) {
        let stem = [(0, [32, 3, 3, 3]), (3, [32, 32, 3, 3]), (6, [64, 32, 3, 3])];
        for (place, weight) in stem {
            self.add(format!("{prefix}stem.{place}.weight"), &weight);
            self.batch_norm(&format!("{prefix}stem.{}", place + 1), weight[0]);
        }
        let mut inputs = 64;
        for (index, depth) in [3, 4, 23, 3].into_iter().enumerate() {
            let planes = 64 << index;
            for block in 0..depth {
                let at = |part: &str| format!("{prefix}layer{}.{block}.{part}", index + 1);
                let convs = [
                    [planes, inputs, 1, 1],
                    [planes, planes, 3, 3],
                    [4 * planes, planes, 1, 1],
                ];
                for (number, weight) in (1..).zip(convs) {
                    self.add(at(&format!("conv{number}.weight")), &weight);
                    self.batch_norm(&at(&format!("bn{number}")), weight[0]);
                }
                if block == 0 {
                    self.add(at("downsample.0.weight"), &[4 * planes, inputs, 1, 1]);
                    self.batch_norm(&at("downsample.1"), 4 * planes);
                }
                inputs = 4 * planes;
            }
        }
    }
}

const WIDE: [usize; 4] = [64, 128, 320, 512];
/// Channels and depths of MiT-B0 to B5.
const MITS: [([usize; 4], [usize; 4]); 6] = [
    ([32, 64, 160, 256], [2, 2, 2, 2]),
    (WIDE, [2, 2, 2, 2]),
    (WIDE, [3, 4, 6, 3]),
    (WIDE, [3, 4, 18, 3]),
    (WIDE, [3, 8, 27, 3]),
    (WIDE, [3, 6, 40, 3]),
];

fn store(model: &SegmentorConfig) -> Result<Store> {
    let rng = rand_chacha::ChaCha8Rng::seed_from_u64(0);
    let store = Store::trainable(rng, DType::F32, &Device::Cpu);
    Segmentor::new(model, &store.root())?;
    Ok(store)
}

fn check(model: &SegmentorConfig, keys: Keys) -> Result<()> {
    let ours = store(model)?.state().into_iter();
    let ours: BTreeMap<_, _> = ours.map(|(name, t)| (name, t.dims().to_vec())).collect();
    let theirs: Vec<_> = keys.0.into_iter().collect();
    assert_eq!(ours.into_iter().collect::<Vec<_>>(), theirs);
    Ok(())
}

#[test]
fn names_and_shapes_are_the_published_ones() -> Result<()> {
    for (number, (dims, depths)) in MITS.into_iter().enumerate() {
        let mit = MitConfig::variant(number)?;
        let mut keys = Keys::default();
        keys.mit("backbone.", dims, depths);
        keys.daformer("decode_head.", dims);
        let head = DaformerHeadConfig::new(&mit.embed_dims, CLASSES);
        let model = SegmentorConfig::new(mit.clone(), head);
        check(&model, keys)?;
        if number != 5 {
            continue;
        }
        let mut keys = Keys::default();
        keys.mit("backbone.", dims, depths);
        keys.daformer("decode_head.head.", dims);
        keys.daformer_attention("decode_head.scale_attention.", dims);
        check(&model.with_hrda(HrdaConfig::new((512, 512))), keys)?;
        let mut keys = Keys::default();
        keys.mit("backbone.", dims, depths);
        keys.segformer("decode_head.", dims);
        let head = SegformerHeadConfig::new(&mit.embed_dims, CLASSES);
        check(&SegmentorConfig::new(mit, head), keys)?;
    }
    let head = DeeplabHeadConfig {
        in_channels: 2048,
        dilations: vec![6, 12],
        classes: CLASSES,
    };
    let model = SegmentorConfig::new(ResNetConfig::v1c(101)?, head);
    let mut keys = Keys::default();
    keys.resnet101("backbone.");
    keys.deeplab("decode_head.");
    check(&model, keys)?;
    let mut keys = Keys::default();
    keys.resnet101("backbone.");
    keys.deeplab("decode_head.head.");
    keys.deeplab("decode_head.scale_attention.");
    check(&model.with_hrda(HrdaConfig::new((512, 512))), keys)
}

/// Files of these names, values by their position, as training writes and as is published.
#[test]
fn files_of_these_names_fill_every_tensor() -> Result<()> {
    let (dims, depths) = MITS[0];
    let mut keys = Keys::default();
    keys.mit("backbone.", dims, depths);
    keys.daformer("decode_head.head.", dims);
    keys.daformer_attention("decode_head.scale_attention.", dims);
    let mit = MitConfig::variant(0)?;
    let head = DaformerHeadConfig::new(&mit.embed_dims, CLASSES);
    let model = SegmentorConfig::new(mit, head).with_hrda(HrdaConfig::new((512, 512)));
    let folder = tempfile::tempdir().unwrap();
    let values: HashMap<String, Tensor> = keys
        .0
        .iter()
        .enumerate()
        .map(|(position, (name, shape))| {
            let value = Tensor::full(position as f32, shape.as_slice(), &Device::Cpu)?;
            let counter = name.ends_with("tracked");
            let dtype = if counter { DType::I64 } else { DType::F32 };
            Ok((name.clone(), value.to_dtype(dtype)?))
        })
        .collect::<Result<_>>()?;
    let tensor = |(name, tensor): (String, &Tensor)| (name, Pickled::Tensor(tensor.clone()));
    let below = |prefix: &str| {
        let named = values
            .iter()
            .map(|(name, t)| tensor((format!("{prefix}{name}"), t)));
        named.collect::<Vec<_>>()
    };
    let backbone = values
        .iter()
        .filter(|(name, _)| name.starts_with("backbone."));
    let imagenet = backbone.map(|(name, t)| tensor((format!("imnet_model.{name}"), t)));
    let student = below("model.");
    let others = below("ema_model.").into_iter().chain(imagenet);
    let training: Vec<_> = student.iter().cloned().chain(others).collect();
    let without = student
        .iter()
        .filter(|(name, _)| !name.ends_with("tracked"));
    let without: Vec<_> = without.cloned().collect();
    for (file, state, form) in [
        ("training.pth", training, Form::Training),
        ("published.pth", student, Form::Training),
        ("without_counters.pth", without, Form::Training),
        ("plain.pth", below(""), Form::Segmentor),
        ("wrapped.pth", below("module."), Form::Segmentor),
    ] {
        let path = folder.path().join(file);
        let state = Pickled::OrderedDict(state);
        save_torch(&path, &Pickled::Dict(vec![("state_dict".into(), state)])).unwrap();
        let store = store(&model)?;
        let found = open(&path)?;
        assert_eq!(found.form(), form, "{file}");
        let loaded = found.fill(&model, &store, Part::Network, Unmatched::Refuse)?;
        assert!(loaded.report.exact(), "{file}: {loaded}");
        for (name, tensor) in store.params() {
            let all = tensor.flatten_all()?.to_vec1::<f32>()?;
            let expected = values[&name].flatten_all()?.to_vec1::<f32>()?;
            assert_eq!(all, expected, "{file}: {name}");
        }
        std::fs::remove_file(&path).unwrap();
    }
    Ok(())
}
