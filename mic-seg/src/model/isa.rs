//! Interlaced sparse self-attention: attention among pixels of equal position in their cells, then
//! among the pixels of each cell (Huang et al., 2019).

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::init::Init;
use mic_nn::layers::{Conv2d, Conv2dConfig};
use mic_nn::ops;
use mic_nn::params::Scope;

use super::conv_module::ConvModule;

/// Options of an `Isa`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsaConfig {
    /// Channels of queries and keys.
    pub channels: usize,
    /// Height and width of a cell in positions.
    pub cell: (usize, usize),
}

/// Attention among all positions of a map: `softmax(q k^T / sqrt(C)) v`, then a 1x1 convolution.
struct Relation {
    query: ConvModule,
    key: ConvModule,
    value: Conv2d,
    output: ConvModule,
    scale: f64,
}

impl Relation {
    fn new(scope: &Scope, channels: usize, inner: usize) -> Result<Self> {
        let project =
            |name: &str, outputs| ConvModule::square(&scope.sub(name), channels, outputs, (1, 1));
        let init = Init::torch_default(channels);
        let value = Conv2dConfig {
            bias: Some(init),
            ..Conv2dConfig::same(1, init)
        };
        Ok(Self {
            key: project("key_project", inner)?,
            query: project("query_project", inner)?,
            value: Conv2d::new(&scope.sub("value_project"), channels, channels, &value)?,
            output: project("output_project", channels)?,
            scale: 1.0 / (inner as f64).sqrt(),
        })
    }

    fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let (b, c, h, w) = x.dims4()?;
        let query = self.query.forward(x, mode)?.flatten_from(2)?; // (B, C', N)
        let key = self.key.forward(x, mode)?.flatten_from(2)?;
        let value = self.value.forward(x)?.flatten_from(2)?;
        let similarity = (query.t()?.contiguous()?.matmul(&key.contiguous()?)? * self.scale)?;
        let share = ops::softmax(&similarity, 2)?; // (B, N, N), rows sum to 1
        let context = value.contiguous()?.matmul(&share.t()?.contiguous()?)?;
        self.output.forward(&context.reshape((b, c, h, w))?, mode)
    }
}

/// (B, Cin, H, W) to (B, Cout, H, W).
pub(super) struct Isa {
    input: ConvModule,
    global: Relation,
    local: Relation,
    cell: (usize, usize),
}

impl Isa {
    /// Declares `in_conv`, `global_relation` and `local_relation` below `scope`.
    pub(super) fn new(
        config: &IsaConfig,
        scope: &Scope,
        inputs: usize,
        outputs: usize,
    ) -> Result<Self> {
        let relation = |name: &str| Relation::new(&scope.sub(name), outputs, config.channels);
        Ok(Self {
            input: ConvModule::square(&scope.sub("in_conv"), inputs, outputs, (1, 1))?,
            global: relation("global_relation")?,
            local: relation("local_relation")?,
            cell: config.cell,
        })
    }

    /// Maps that do not consist of whole cells are padded with zeros on both sides.
    pub(super) fn forward(&self, x: &Tensor, mode: &Forward) -> Result<Tensor> {
        let x = self.input.forward(x, mode)?;
        let (b, c, h, w) = x.dims4()?;
        let (ch, cw) = self.cell;
        let (rows, columns) = (h.div_ceil(ch), w.div_ceil(cw));
        let (pad_h, pad_w) = (rows * ch - h, columns * cw - w);
        let x = x.pad_with_zeros(2, pad_h / 2, pad_h - pad_h / 2)?;
        let x = x.pad_with_zeros(3, pad_w / 2, pad_w - pad_w / 2)?;
        // One map a position in the cell, of all cells.
        let x = x.reshape(vec![b, c, rows, ch, columns, cw])?;
        let x = x.permute(vec![0, 3, 5, 1, 2, 4])?.contiguous()?;
        let x = x.reshape((b * ch * cw, c, rows, columns))?;
        let x = self.global.forward(&x, mode)?;
        // One map a cell.
        let x = x.reshape(vec![b, ch, cw, c, rows, columns])?;
        let x = x.permute(vec![0, 4, 5, 3, 1, 2])?.contiguous()?;
        let x = x.reshape((b * rows * columns, c, ch, cw))?;
        let x = self.local.forward(&x, mode)?;
        let x = x.reshape(vec![b, rows, columns, c, ch, cw])?;
        let x = x.permute(vec![0, 3, 1, 4, 2, 5])?.contiguous()?;
        let x = x.reshape((b, c, rows * ch, columns * cw))?;
        x.narrow(2, pad_h / 2, h)?
            .narrow(3, pad_w / 2, w)?
            .contiguous()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};
    use mic_nn::params::Store;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    type Map = Vec<Vec<Vec<f32>>>; // channel, row, column

    fn store() -> Store {
        Store::trainable(ChaCha8Rng::seed_from_u64(0), DType::F32, &Device::Cpu)
    }

    fn image(c: usize, h: usize, w: usize) -> Result<Tensor> {
        let values: Vec<f32> = (0..c * h * w).map(|i| (0.7 * i as f32).sin()).collect();
        Tensor::from_vec(values, (1, c, h, w), &Device::Cpu)
    }

    fn rows(x: &Tensor) -> Result<Map> {
        x.squeeze(0)?.to_vec3()
    }

    /// Attention among the pixels at `places`, which replaces them.
    fn attend(relation: &Relation, map: &mut Map, places: &[(usize, usize)]) -> Result<()> {
        let pick = |plane: &Vec<Vec<f32>>| places.iter().map(|&(y, x)| plane[y][x]).collect();
        let pixels: Vec<Vec<f32>> = map.iter().map(pick).collect();
        let pixels = Tensor::new(pixels, &Device::Cpu)?
            .unsqueeze(0)?
            .unsqueeze(3)?;
        let attended = rows(&relation.forward(&pixels, &Forward::eval())?)?;
        for (plane, attended) in map.iter_mut().zip(attended) {
            for (&(y, x), value) in places.iter().zip(attended) {
                plane[y][x] = value[0];
            }
        }
        Ok(())
    }

    #[test]
    fn a_relation_is_scaled_dot_product_attention() -> Result<()> {
        let store = store();
        let relation = Relation::new(&store.root(), 3, 2)?;
        store.fill_from_names()?;
        let (x, eval) = (image(3, 1, 4)?, Forward::eval());
        let plain = |x: Tensor| -> Result<Vec<Vec<f32>>> { x.squeeze(0)?.squeeze(1)?.to_vec2() };
        let query = plain(relation.query.forward(&x, &eval)?)?;
        let key = plain(relation.key.forward(&x, &eval)?)?;
        let value = plain(relation.value.forward(&x)?)?;
        let mut context = vec![vec![0f32; 4]; 3];
        for i in 0..4 {
            let dot = |j: usize| query[0][i] * key[0][j] + query[1][i] * key[1][j];
            let weight: Vec<f32> = (0..4).map(|j| (dot(j) / 2f32.sqrt()).exp()).collect();
            let total: f32 = weight.iter().sum();
            for (c, context) in context.iter_mut().enumerate() {
                context[i] = (0..4).map(|j| weight[j] / total * value[c][j]).sum();
            }
        }
        let context = Tensor::new(context, &Device::Cpu)?.reshape((1, 3, 1, 4))?;
        let expected = relation.output.forward(&context, &eval)?;
        let worst = (relation.forward(&x, &eval)? - expected)?
            .abs()?
            .max_all()?;
        assert!(worst.to_scalar::<f32>()? < 1e-6);
        Ok(())
    }

    #[test]
    fn equal_positions_attend_first_and_cells_then() -> Result<()> {
        let store = store();
        let config = IsaConfig {
            channels: 4,
            cell: (2, 3),
        };
        let isa = Isa::new(&config, &store.root(), 2, 3)?;
        store.fill_from_names()?;
        // 5 x 7 becomes 6 x 9: nothing before the rows, one column before the others.
        let x = image(2, 5, 7)?;
        let input = rows(&isa.input.forward(&x, &Forward::eval())?)?;
        let mut map = vec![vec![vec![0f32; 9]; 6]; 3];
        for (plane, input) in map.iter_mut().zip(&input) {
            for (line, input) in plane.iter_mut().zip(input) {
                line[1..8].copy_from_slice(input);
            }
        }
        for (dy, dx) in (0..2).flat_map(|y| (0..3).map(move |x| (y, x))) {
            let places = (0..3).flat_map(|y| (0..3).map(move |x| (2 * y + dy, 3 * x + dx)));
            attend(&isa.global, &mut map, &places.collect::<Vec<_>>())?;
        }
        for (cy, cx) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))) {
            let places = (0..2).flat_map(|y| (0..3).map(move |x| (2 * cy + y, 3 * cx + x)));
            attend(&isa.local, &mut map, &places.collect::<Vec<_>>())?;
        }
        let ours = rows(&isa.forward(&x, &Forward::eval())?)?;
        for (ours, expected) in ours.iter().zip(&map) {
            for (ours, expected) in ours.iter().zip(&expected[..5]) {
                for (a, b) in ours.iter().zip(&expected[1..8]) {
                    assert!((a - b).abs() < 1e-6, "{a} {b}");
                }
            }
        }
        Ok(())
    }
}
