//! The network.

use candle_core::Tensor;
use mic_nn::forward::Forward;
use mic_nn::models::fpn::Fpn;
use mic_nn::models::resnet::ResNet;
use mic_nn::params::Scope;

use super::DetectorConfig;
use crate::Result;
use crate::batch::Pass;
use crate::boxes::{Size, to_rois};
use crate::roi::{BoxHead, Detections, Regions, RoiLosses, post_process, sample_regions};
use crate::rpn::{Rpn, Weighting};
use crate::sada::{DomainHeads, DomainInput, DomainLosses};
use crate::sampler::Picks;
use crate::tap::Tap;

/// Backbone, pyramid, proposals, region heads and, for training, domain heads. Parameters are named
/// as in the reference's checkpoints.
pub struct Detector {
    body: ResNet,
    fpn: Fpn,
    rpn: Rpn,
    head: BoxHead,
    domain: Option<DomainHeads>,
    config: DetectorConfig,
}

/// How a pass of the student is trained.
#[derive(Clone, Copy)]
pub struct PassOptions<'a> {
    /// Its name, the first part of sites and taps.
    pub name: &'a str,
    /// Weighting of the losses by confidence.
    pub weighting: Weighting,
    /// Whether the domain heads take part.
    pub domain: bool,
    /// Random choices.
    pub picks: &'a dyn Picks,
}

/// The losses of a pass, unweighted.
pub struct Losses {
    /// Classes of regions.
    pub classifier: Tensor,
    /// Boxes of regions.
    pub box_reg: Tensor,
    /// Objectness of anchors.
    pub objectness: Tensor,
    /// Boxes of anchors.
    pub rpn_box_reg: Tensor,
    /// The domain heads', if they took part.
    pub domain: Option<DomainLosses>,
}

impl Losses {
    /// The losses with the reference's names.
    pub fn named(&self) -> Vec<(&'static str, &Tensor)> {
        let mut named = vec![
            ("loss_classifier", &self.classifier),
            ("loss_box_reg", &self.box_reg),
            ("loss_objectness", &self.objectness),
            ("loss_rpn_box_reg", &self.rpn_box_reg),
        ];
        if let Some(domain) = &self.domain {
            named.extend([
                ("loss_da_image", &domain.image),
                ("loss_da_instance", &domain.instance),
                ("loss_da_consistency", &domain.consistency),
            ]);
        }
        named
    }
}

impl Detector {
    /// Declares the network's parameters below `scope`.
    ///
    /// # Errors
    /// A configuration that [`DetectorConfig::check`] refuses.
    pub fn new(config: &DetectorConfig, scope: &Scope) -> Result<Self> {
        config.check()?;
        let (channels, conventions) = (config.channels, config.conventions);
        let backbone = scope.sub("backbone");
        let body = ResNet::new(&config.body, &backbone.sub("body"))?;
        let fpn = Fpn::new(&config.pyramid(), &backbone.sub("fpn"))?;
        let rpn_scope = scope.sub("rpn");
        let rpn = Rpn::new(
            &config.rpn,
            &config.anchors,
            channels,
            conventions,
            &rpn_scope,
        )?;
        let box_scope = scope.sub("roi_heads").sub("box");
        let strides = &config.anchors.strides;
        let head = BoxHead::new(&config.roi, channels, strides, conventions, &box_scope)?;
        let domain = config.domain.as_ref().map(|domain| {
            let (levels, features) = (config.anchors.sizes.len(), config.roi.hidden);
            let scope = scope.sub("da_heads");
            DomainHeads::new(domain, levels, channels, features, head.pool(), &scope)
        });
        Ok(Self {
            body,
            fpn,
            rpn,
            domain: domain.transpose()?,
            head,
            config: config.clone(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &DetectorConfig {
        &self.config
    }

    /// The pyramid's maps for images (B, 3, H, W), finest first.
    ///
    /// # Errors
    /// Images of another shape or dtype.
    pub fn features(&self, image: &Tensor, mode: &Forward) -> Result<Vec<Tensor>> {
        Ok(self.fpn.forward(&self.body.forward(image, mode)?)?)
    }

    /// What is found in each of the images (B, 3, H, W), whose sizes without padding are `sizes`.
    ///
    /// # Errors
    /// Images of another shape or dtype, or another number of sizes.
    pub fn detect(&self, image: &Tensor, sizes: &[Size]) -> Result<Vec<Detections>> {
        let (_, _, height, width) = image.dims4()?;
        let maps = self.features(image, &Forward::eval())?;
        let predictions = self.rpn.predict(&maps)?;
        let grid = self.rpn.grid(&predictions, (height, width))?;
        let proposals = self.rpn.test_proposals(&predictions, &grid, sizes)?;
        if proposals.iter().all(|p| p.boxes.is_empty()) {
            return Ok(vec![Detections::default(); sizes.len()]);
        }
        let rois = to_rois(proposals.iter().map(|p| p.boxes.as_slice()))?;
        let (logits, offsets) = self.head.predict(&self.head.features(&maps, &rois)?)?;
        let mut first = 0;
        let mut found = Vec::with_capacity(sizes.len());
        for (proposals, &size) in proposals.iter().zip(sizes) {
            let boxes = &proposals.boxes;
            let rows = |tensor: &Tensor| tensor.narrow(0, first, boxes.len());
            let (logits, offsets) = (rows(&logits)?, rows(&offsets)?);
            let (roi, conventions) = (&self.config.roi, self.config.conventions);
            found.push(post_process(
                roi,
                conventions,
                boxes,
                &logits,
                &offsets,
                size,
            )?);
            first += boxes.len();
        }
        Ok(found)
    }

    /// The losses of one pass of the student over images of which more or less is known.
    ///
    /// # Errors
    /// A pass whose parts do not fit together.
    pub fn losses(
        &self,
        pass: &Pass,
        options: &PassOptions,
        mode: &Forward,
        tap: &mut Tap,
    ) -> Result<Losses> {
        let PassOptions {
            name,
            weighting,
            picks,
            ..
        } = *options;
        let padded = pass.check()?;
        let maps = self.features(&pass.image, mode)?;
        let predictions = self.rpn.predict(&maps)?;
        let grid = self.rpn.grid(&predictions, padded)?;
        let (sizes, known) = (&pass.sizes, &pass.known);
        let proposals = self
            .rpn
            .train_proposals(&predictions, &grid, sizes, known)?;
        for (image, proposals) in proposals.iter().enumerate() {
            let name = format!("{name}.proposals.img{image}");
            tap.show_boxes(&format!("{name}.boxes"), &proposals.boxes)?;
            tap.show_numbers(&format!("{name}.objectness"), &proposals.objectness)?;
        }
        let rpn = self
            .rpn
            .losses(&maps, &grid, pass, weighting, name, picks, tap)?;

        let (roi, conventions) = (&self.config.roi, self.config.conventions);
        let regions = sample_regions(roi, conventions, &proposals, pass, name, picks, tap)?;
        for (image, regions) in regions.iter().enumerate() {
            let name = format!("{name}.rois.img{image}");
            tap.show_boxes(&format!("{name}.boxes"), &regions.boxes)?;
            tap.show_labels(&format!("{name}.labels"), &regions.labels)?;
        }
        let rois = to_rois(regions.iter().map(|r| r.boxes.as_slice()))?;
        let features = self.head.features(&maps, &rois)?;
        let (logits, offsets) = self.head.predict(&features)?;
        let losses = RoiLosses::of(roi, &regions, &logits, &offsets, weighting)?;

        let domain = match &self.domain {
            Some(heads) if options.domain => {
                let source_images: Vec<bool> = regions.iter().map(|r| r.labelled).collect();
                let input = DomainInput {
                    maps: &maps,
                    rois: &rois,
                    features: &features,
                    source_images: &source_images,
                    source_rois: &of_rows(&regions),
                };
                Some(heads.losses(&input, mode, tap)?)
            }
            _ => None,
        };
        Ok(Losses {
            classifier: losses.classifier,
            box_reg: losses.box_reg,
            objectness: rpn.objectness,
            rpn_box_reg: rpn.box_reg,
            domain,
        })
    }
}

/// Whether each region is of a labelled image.
fn of_rows(regions: &[Regions]) -> Vec<bool> {
    let rows = regions.iter();
    rows.flat_map(|r| std::iter::repeat_n(r.labelled, r.boxes.len()))
        .collect()
}
