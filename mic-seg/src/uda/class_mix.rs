//! ClassMix: the pixels of some source classes pasted onto a target image (DACS, sec. 3.2).

use candle_core::{Result, Tensor};
use rand::Rng;
use rand::seq::index;

/// The sorted distinct labels of a whole batch (U8, any shape). The ignore label counts as one.
pub fn distinct_classes(label: &Tensor) -> Result<Vec<u8>> {
    let mut seen = [false; 256];
    for value in label.flatten_all()?.to_vec1::<u8>()? {
        seen[usize::from(value)] = true;
    }
    Ok((0..=255u8).filter(|&c| seen[usize::from(c)]).collect())
}

/// The classes that are pasted, for each image of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ClassMix {
    /// Pasted labels by image.
    pub pasted: Vec<Vec<u8>>,
}

impl ClassMix {
    /// Draws half (rounded up) of the batch's distinct labels for each of `batch` images, without
    /// replacement. As in the reference, a drawn class may be absent from the image it is for, and
    /// the ignore label may be drawn.
    pub fn sample(rng: &mut impl Rng, distinct: &[u8], batch: usize) -> Self {
        let count = distinct.len().div_ceil(2);
        let pick = |_| {
            let chosen = index::sample(rng, distinct.len(), count);
            chosen.into_iter().map(|i| distinct[i]).collect()
        };
        Self {
            pasted: (0..batch).map(pick).collect(),
        }
    }

    /// Where source pixels are pasted: U8 (B, H, W), 1 = source, for source labels U8 (B, H, W).
    pub fn mask(&self, label: &Tensor) -> Result<Tensor> {
        let (b, h, w) = label.dims3()?;
        if b != self.pasted.len() {
            candle_core::bail!(
                "classes drawn for {} images, labels for {b}",
                self.pasted.len()
            )
        }
        let mut mask = label.flatten_all()?.to_vec1::<u8>()?;
        for (image, pasted) in mask.chunks_mut((h * w).max(1)).zip(&self.pasted) {
            let mut table = [0u8; 256];
            for &class in pasted {
                table[usize::from(class)] = 1;
            }
            for value in image {
                *value = table[usize::from(*value)];
            }
        }
        Tensor::from_vec(mask, (b, h, w), label.device())
    }
}

/// `mask` ? `source` : `target`, for a mask U8 (B, H, W) and images (B, C, H, W) or maps (B, H, W)
/// of any dtype.
pub fn mix(mask: &Tensor, source: &Tensor, target: &Tensor) -> Result<Tensor> {
    let mask = if source.rank() == 4 {
        mask.unsqueeze(1)?
            .broadcast_as(source.shape())?
            .contiguous()?
    } else {
        mask.clone()
    };
    mask.where_cond(source, target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use rand::SeedableRng;

    #[test]
    fn half_of_the_batch_classes_rounded_up_are_pasted() -> Result<()> {
        let label = Tensor::new(&[[[0u8, 1, 255]], [[0, 5, 5]]], &Device::Cpu)?;
        let distinct = distinct_classes(&label)?;
        assert_eq!(distinct, [0, 1, 5, 255]);
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let odd = ClassMix::sample(&mut rng, &distinct[..3], 4);
        for pasted in &odd.pasted {
            assert_eq!(pasted.len(), 2);
            assert_ne!(pasted[0], pasted[1]);
        }
        let drawn = ClassMix {
            pasted: vec![vec![1, 255], vec![0, 1]],
        };
        let mask = drawn.mask(&label)?;
        assert_eq!(mask.flatten_all()?.to_vec1::<u8>()?, [0, 1, 1, 1, 0, 0]);
        Ok(())
    }
}
