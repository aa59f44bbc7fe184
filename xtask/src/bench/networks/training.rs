//! Our side of a training step.

use candle_core::{DType, Device, Result, Tensor, Var};
use mic_nn::autograd::backward;
use mic_nn::forward::Forward;
use mic_nn::models::fpn::{Fpn, FpnConfig};
use mic_nn::models::mit::MitConfig;
use mic_nn::models::resnet::{ResNet, ResNetConfig};
use mic_nn::models::vit::{Vit, VitConfig};
use mic_nn::ops::{CrossEntropyOptions, cross_entropy};
use mic_nn::optim::{AdamW, AdamWConfig, Grads, GroupRules, Optimizer, Sgd, SgdConfig};
use mic_nn::params::{Scope, Store};
use mic_seg::model::{DaformerHeadConfig, Segmentor, SegmentorConfig, separable_aspp};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use super::classifier;
use super::detector;
use super::iteration::{self, Step};
use super::{Architecture, Network, OptimizerRule};
use crate::bench::cases::fill;

/// The loss of a pass through a network on its batch.
type Loss = Box<dyn Fn(&Forward) -> Result<Tensor>>;

/// A network, its optimiser and a batch.
pub(in crate::bench) struct Training {
    step: Step,
}

impl Training {
    /// Builds the network with weights from their names.
    ///
    /// # Errors
    /// A network that cannot be built.
    pub(in crate::bench) fn new(network: &Network) -> Result<Self> {
        if let Architecture::Iteration(iteration) = &network.architecture {
            let step = iteration::step(iteration, network)?;
            return Ok(Self { step });
        }
        if let Architecture::Classifier(iteration) = &network.architecture {
            let step = classifier::step(iteration, network)?;
            return Ok(Self { step });
        }
        if let Architecture::Detector(iteration) = &network.architecture {
            let step = detector::step(iteration, network)?;
            return Ok(Self { step });
        }
        let store = Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu);
        let loss = network.loss(&store)?;
        store.fill_from_names()?;
        let parameters = store.vars();
        let mut grads = Grads::new(&parameters);
        let mut optimizer = network.optimizer.optimizer(&parameters);
        let step = move |recompute| {
            grads.clear();
            let mode = Forward::batch_statistics().recomputing(recompute);
            let loss = loss(&mode)?;
            grads.accumulate(&backward(&loss)?)?;
            optimizer.step(&grads, &|lr| lr)?;
            Ok(vec![f64::from(loss.to_scalar::<f32>()?)])
        };
        Ok(Self {
            step: Box::new(step),
        })
    }

    /// Forward pass, loss, backward pass and a step of the optimiser. Returns the loss; of a whole
    /// iteration everything that it logs.
    ///
    /// # Errors
    /// Those of the network.
    pub(in crate::bench) fn step(&mut self, recompute: bool) -> Result<Vec<f64>> {
        (self.step)(recompute)
    }
}

impl OptimizerRule {
    /// Learning rate and weight decay.
    pub(super) fn rates(self) -> (f64, f64) {
        match self {
            Self::AdamW { lr, weight_decay }
            | Self::Sgd {
                lr, weight_decay, ..
            } => (lr, weight_decay),
        }
    }

    fn optimizer(self, parameters: &[(String, Var)]) -> Box<dyn Optimizer> {
        match self {
            Self::AdamW { lr, weight_decay } => {
                let rules = GroupRules::uniform(lr, weight_decay);
                Box::new(AdamW::new(parameters, &rules, AdamWConfig::default()))
            }
            Self::Sgd {
                lr,
                momentum,
                weight_decay,
            } => {
                let rules = GroupRules::uniform(lr, weight_decay);
                let config = SgdConfig {
                    momentum,
                    ..SgdConfig::default()
                };
                Box::new(Sgd::new(parameters, &rules, config))
            }
        }
    }
}

impl Network {
    fn loss(&self, store: &Store) -> Result<Loss> {
        let image = (fill("image", &self.image)? * 10.0)?;
        let scope = &store.root();
        match &self.architecture {
            Architecture::Segmentor {
                backbone,
                channels,
                dilations,
            } => {
                let head = DaformerHeadConfig {
                    embed: *channels,
                    channels: *channels,
                    fusion: separable_aspp(dilations),
                    dropout: 0.0,
                    ..DaformerHeadConfig::new(&backbone.embed_dims, self.classes)
                };
                segmentor(backbone.clone(), head, scope, image)
            }
            Architecture::Resnet(config) => self.resnet(config, scope, image),
            Architecture::Vit(config) => self.vit(config, scope, image),
            Architecture::Pyramid(config) => pyramid(config, scope, image),
            Architecture::Iteration(_)
            | Architecture::Classifier(_)
            | Architecture::Detector(_) => {
                candle_core::bail!("an iteration has several losses")
            }
        }
    }

    fn resnet(&self, config: &ResNetConfig, scope: &Scope, image: Tensor) -> Result<Loss> {
        let net = ResNet::new(config, scope)?;
        let labels = image_labels(self.image[0], self.classes)?;
        let options = CrossEntropyOptions::default();
        Ok(Box::new(move |mode| {
            cross_entropy(&net.classify(&image, mode)?, &labels, &options)
        }))
    }

    fn vit(&self, config: &VitConfig, scope: &Scope, image: Tensor) -> Result<Loss> {
        let net = Vit::new(config, scope)?;
        let labels = image_labels(self.image[0], self.classes)?;
        let options = CrossEntropyOptions::default();
        Ok(Box::new(move |mode| {
            cross_entropy(&net.forward(&image, mode)?, &labels, &options)
        }))
    }
}

fn segmentor(
    backbone: MitConfig,
    head: DaformerHeadConfig,
    scope: &Scope,
    image: Tensor,
) -> Result<Loss> {
    let labels = pixel_labels(&image, head.classes)?;
    let net = Segmentor::new(&SegmentorConfig::new(backbone, head), scope)?;
    let options = CrossEntropyOptions::default();
    Ok(Box::new(move |mode| {
        cross_entropy(&net.encode_decode(&image, mode)?, &labels, &options)
    }))
}

fn pyramid(config: &ResNetConfig, scope: &Scope, image: Tensor) -> Result<Loss> {
    let body = ResNet::new(config, &scope.sub("body"))?;
    let fpn = Fpn::new(&FpnConfig::new(&config.channels()), &scope.sub("fpn"))?;
    Ok(Box::new(move |mode| {
        let levels = fpn.forward(&body.forward(&image, mode)?)?;
        let means = levels.iter().map(Tensor::mean_all);
        Tensor::stack(&means.collect::<Result<Vec<_>>>()?, 0)?.sum_all()
    }))
}

/// Labels (B) of images.
fn image_labels(batch: usize, classes: usize) -> Result<Tensor> {
    let labels = (0..batch).map(|i| ((i * 131 + 7) % classes.max(1)) as u32);
    Tensor::from_vec(labels.collect::<Vec<u32>>(), batch, &Device::Cpu)
}

/// Labels (B, H, W) of an image batch in runs of seven pixels.
fn pixel_labels(image: &Tensor, classes: usize) -> Result<Tensor> {
    let (batch, _, height, width) = image.dims4()?;
    let labels = (0..batch * height * width).map(|i| (i / 7 * 13 % classes.max(1)) as u8);
    Tensor::from_vec(
        labels.collect::<Vec<u8>>(),
        (batch, height, width),
        &Device::Cpu,
    )
}
