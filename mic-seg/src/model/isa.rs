//! Interlaced sparse self-attention: attention among pixels of equal position in their cells, then
//! among the pixels of each cell (Huang et al., 2019).

use candle_core::{Result, Tensor};
use mic_nn::forward::Forward;
use mic_nn::init::Init;
use mic_nn::layers::{Conv2d, Conv2dConfig};
use mic_nn::ops;
use mic_nn::params::Scope;

use super::conv_module::ConvModule;

/// Options of an [`Isa`].
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
