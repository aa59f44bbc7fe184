//! Convolution by cuDNN: forward, and both gradients, with groups and dilation.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::cuda_backend::cudarc::cudnn::{
    ConvBackwardData, ConvBackwardFilter, ConvDescriptor, ConvForward, Cudnn, CudnnError,
    FilterDescriptor, TensorDescriptor, sys,
};
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{Error, Result, Storage, Tensor};

use super::gpu::{Floats, Gpu, storage_of};
use crate::ops::attach::attach;
use crate::ops::conv2d::axis::Axis;

const OP: &str = "conv2d";

/// Sizes of a convolution of (batch, groups * cin, H, W) to (batch, groups * cout, Ho, Wo).
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    groups: usize,
    cin: usize,
    cout: usize,
    y: Axis,
    x: Axis,
}

fn cudnn_error(error: CudnnError) -> Error {
    Error::Msg(format!("{OP}: cuDNN: {error}"))
}

/// The handle of this thread: handles do not move between threads.
fn handle(device: &CudaDevice) -> Result<Arc<Cudnn>> {
    thread_local! {
        static HANDLES: RefCell<HashMap<DeviceId, Arc<Cudnn>>> = RefCell::default();
    }
    HANDLES.with_borrow_mut(|handles| {
        if let Some(handle) = handles.get(&device.id()) {
            return Ok(handle.clone());
        }
        let handle = Cudnn::new(device.cuda_stream()).map_err(cudnn_error)?;
        handles.insert(device.id(), handle.clone());
        Ok(handle)
    })
}

/// What cuDNN has to know of a convolution.
struct Descriptors {
    conv: ConvDescriptor<f32>,
    x: TensorDescriptor<f32>,
    w: FilterDescriptor<f32>,
    y: TensorDescriptor<f32>,
}

impl Descriptors {
    fn new(cudnn: &Arc<Cudnn>, s: Sizes) -> Result<Self> {
        let ints = |sizes: [usize; 4]| sizes.map(|v| v as i32);
        let pair = |a: usize, b: usize| [a as i32, b as i32];
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NCHW;
        let make = || {
            let mut conv = cudnn.create_conv2d::<f32>(
                pair(s.y.padding, s.x.padding),
                pair(s.y.stride, s.x.stride),
                pair(s.y.dilation, s.x.dilation),
                sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION,
            )?;
            conv.set_group_count(s.groups as i32)?;
            // TF32, as PyTorch's default for convolutions.
            conv.set_math_type(sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH_ALLOW_CONVERSION)?;
            let image = |channels: usize, h: usize, w: usize| {
                cudnn.create_4d_tensor(format, ints([s.batch, s.groups * channels, h, w]))
            };
            let kernel = ints([s.groups * s.cout, s.cin, s.y.kernel, s.x.kernel]);
            Ok(Self {
                conv,
                x: image(s.cin, s.y.input, s.x.input)?,
                w: cudnn.create_4d_filter(format, kernel)?,
                y: image(s.cout, s.y.output, s.x.output)?,
            })
        };
        make().map_err(cudnn_error)
    }
}

/// Calls `f` with the elements of a contiguous tensor that owns its storage from the start.
fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&CudaSlice<f32>) -> Result<R>) -> Result<R> {
    // A view into the middle of a storage has no slice of its own.
    let tensor = match tensor.layout().start_offset() {
        0 => tensor.clone(),
        _ => tensor.force_contiguous()?,
    };
    let (guard, _) = tensor.storage_and_layout();
    let Storage::Cuda(storage) = &*guard else {
        candle_core::bail!("{OP}: expected all tensors on one CUDA device")
    };
    f(storage.as_cuda_slice::<f32>()?)
}

fn forward(gpu: &Gpu, x: &Tensor, w: &Tensor, s: Sizes) -> Result<Floats> {
    let d = Descriptors::new(&handle(&gpu.device)?, s)?;
    let call = ConvForward {
        conv: &d.conv,
        x: &d.x,
        w: &d.w,
        y: &d.y,
    };
    let algorithm = call.pick_algorithm().map_err(cudnn_error)?;
    let bytes = call.get_workspace_size(algorithm).map_err(cudnn_error)?;
    let mut workspace = gpu.room::<u8>(bytes)?;
    let mut y = gpu.floats(s.batch * s.groups * s.cout * s.y.output * s.x.output)?;
    with_slice(x, |x| {
        with_slice(w, |w| {
            // SAFETY: the descriptors are those of the buffers.
            unsafe {
                call.launch(
                    algorithm,
                    Some(&mut workspace.slice),
                    (1.0, 0.0),
                    x,
                    w,
                    &mut y.slice,
                )
            }
            .map_err(cudnn_error)
        })
    })?;
    Ok(y)
}

fn input_gradient(gpu: &Gpu, g: &Tensor, w: &Tensor, s: Sizes) -> Result<Floats> {
    let d = Descriptors::new(&handle(&gpu.device)?, s)?;
    let call = ConvBackwardData {
        conv: &d.conv,
        dx: &d.x,
        w: &d.w,
        dy: &d.y,
    };
    let algorithm = call.pick_algorithm().map_err(cudnn_error)?;
    let bytes = call.get_workspace_size(algorithm).map_err(cudnn_error)?;
    let mut workspace = gpu.room::<u8>(bytes)?;
    let mut dx = gpu.floats(s.batch * s.groups * s.cin * s.y.input * s.x.input)?;
    with_slice(w, |w| {
        with_slice(g, |g| {
            // SAFETY: the descriptors are those of the buffers.
            unsafe {
                call.launch(
                    algorithm,
                    Some(&mut workspace.slice),
                    (1.0, 0.0),
                    &mut dx.slice,
                    w,
                    g,
                )
            }
            .map_err(cudnn_error)
        })
    })?;
    Ok(dx)
}

fn weight_gradient(gpu: &Gpu, x: &Tensor, g: &Tensor, s: Sizes) -> Result<Floats> {
    let d = Descriptors::new(&handle(&gpu.device)?, s)?;
    let call = ConvBackwardFilter {
        conv: &d.conv,
        x: &d.x,
        dw: &d.w,
        dy: &d.y,
    };
    let algorithm = call.pick_algorithm().map_err(cudnn_error)?;
    let bytes = call.get_workspace_size(algorithm).map_err(cudnn_error)?;
    let mut workspace = gpu.room::<u8>(bytes)?;
    let mut dw = gpu.floats(s.groups * s.cout * s.cin * s.y.kernel * s.x.kernel)?;
    with_slice(x, |x| {
        with_slice(g, |g| {
            // SAFETY: the descriptors are those of the buffers.
            unsafe {
                call.launch(
                    algorithm,
                    Some(&mut workspace.slice),
                    (1.0, 0.0),
                    x,
                    &mut dw.slice,
                    g,
                )
            }
            .map_err(cudnn_error)
        })
    })?;
    Ok(dw)
}

/// Convolution of contiguous `x` (B, groups * cin, H, W) with `w` (groups * cout, cin, kh, kw).
pub(crate) fn conv2d(
    x: &Tensor,
    w: &Tensor,
    bias: Option<&Tensor>,
    groups: usize,
    (y_axis, x_axis): (Axis, Axis),
) -> Result<Tensor> {
    let gpu = Gpu::of(OP, x)?;
    let sizes = Sizes {
        batch: x.dim(0)?,
        groups,
        cin: w.dim(1)?,
        cout: w.dim(0)? / groups,
        y: y_axis,
        x: x_axis,
    };
    let channels = w.dim(0)?;
    let shape = (sizes.batch, channels, y_axis.output, x_axis.output);
    let mut y = forward(&gpu, x, w, sizes)?.tensor(shape);
    if let Some(bias) = bias {
        y = y.broadcast_add(&bias.detach().reshape((1, channels, 1, 1))?)?;
    }
    let needs = [Some(x), Some(w), bias].map(|t| t.is_some_and(Tensor::track_op));
    let (saved_x, saved_w) = (x.detach(), w.detach());
    let with_bias = bias.is_some();
    let backward = move |g: &Tensor| -> Result<Vec<Option<Tensor>>> {
        let mut gradients = vec![None; 2 + usize::from(with_bias)];
        if needs[0] {
            gradients[0] = Some(input_gradient(&gpu, g, &saved_w, sizes)?.tensor(saved_x.shape()));
        }
        if needs[1] {
            gradients[1] = Some(weight_gradient(&gpu, &saved_x, g, sizes)?.tensor(saved_w.shape()));
        }
        if needs[2] {
            gradients[2] = Some(g.sum((0, 2, 3))?);
        }
        Ok(gradients)
    };
    let inputs: Vec<&Tensor> = [x, w].into_iter().chain(bias).collect();
    attach(OP, inputs, storage_of(&y)?, shape, backward)
}
