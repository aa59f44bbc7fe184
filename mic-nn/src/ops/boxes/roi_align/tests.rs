use super::*;
use crate::autograd::backward;
use crate::gradcheck::{max_relative_error, wave};
use crate::ops::{BoxSize, LevelMapping, MultiLevelRoiAlign, multi_level_roi_align};
use candle_core::{DType, Device, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The definition, sample by sample.
fn plain(map: &Tensor, rois: &[[f64; 5]], o: &RoiAlignOptions) -> Result<Vec<f64>> {
    let (_, c, h, w) = map.dims4()?;
    let data = map.flatten_all()?.to_vec1::<f64>()?;
    let at = |n: usize, c: usize, y: f64, x: f64| {
        if y < -1.0 || y > h as f64 || x < -1.0 || x > w as f64 {
            return 0.0;
        }
        let place = |v: f64, size: usize| {
            let v = v.clamp(0.0, (size - 1) as f64);
            let low = v.floor() as usize;
            (low, (low + 1).min(size - 1), v - v.floor())
        };
        let ((y0, y1, fy), (x0, x1, fx)) = (place(y, h), place(x, w));
        let value = |y: usize, x: usize| data[((n * map.dims()[1] + c) * h + y) * w + x];
        let mix = |a: f64, b: f64, f: f64| a * (1.0 - f) + b * f;
        mix(
            mix(value(y0, x0), value(y0, x1), fx),
            mix(value(y1, x0), value(y1, x1), fx),
            fy,
        )
    };
    let (rows, cols) = o.output_size;
    let mut out = Vec::new();
    for &[image, x1, y1, x2, y2] in rois {
        let side = |low: f64, high: f64, bins: usize| {
            let shift = if o.aligned { 0.5 } else { 0.0 };
            let mut length = (high - low) * o.spatial_scale;
            if !o.aligned {
                length = length.max(1.0);
            }
            let bin = length / bins as f64;
            let samples = match o.sampling_ratio {
                0 => bin.ceil().max(0.0) as usize,
                n => n,
            };
            (low * o.spatial_scale - shift, bin, samples)
        };
        let ((top, bh, ny), (left, bw, nx)) = (side(y1, y2, rows), side(x1, x2, cols));
        for n in 0..c * rows * cols {
            let (channel, row, col) = (n / (rows * cols), n / cols % rows, n % cols);
            let mut sum = 0.0;
            for s in 0..ny * nx {
                let y = top + bh * (row as f64 + ((s / nx) as f64 + 0.5) / ny as f64);
                let x = left + bw * (col as f64 + ((s % nx) as f64 + 0.5) / nx as f64);
                sum += at(image as usize, channel, y, x);
            }
            out.push(sum / ((ny * nx).max(1) as f64));
        }
    }
    Ok(out)
}

fn draw(rng: &mut ChaCha8Rng, images: usize, side: f64) -> [f64; 5] {
    let mut coordinate = || rng.random_range(-0.4 * side..1.4 * side);
    let (x1, y1, x2, y2) = (coordinate(), coordinate(), coordinate(), coordinate());
    let image = rng.random_range(0..images) as f64;
    // Now and then an inverted region.
    if rng.random_range(0..5) == 0 {
        [image, x1, y1, x2, y2]
    } else {
        [image, x1.min(x2), y1.min(y2), x1.max(x2), y1.max(y2)]
    }
}

fn tensor_of(rois: &[[f64; 5]]) -> Result<Tensor> {
    let flat: Vec<f64> = rois.iter().flatten().copied().collect();
    // A strided view.
    let rois = Tensor::from_vec(flat, (rois.len(), 5), &Device::Cpu)?;
    rois.t()?.contiguous()?.t()
}

fn close(ours: &Tensor, expected: &[f64]) -> Result<()> {
    let ours = ours.flatten_all()?.to_vec1::<f64>()?;
    assert_eq!(ours.len(), expected.len());
    for (o, e) in ours.iter().zip(expected) {
        assert!((o - e).abs() < 1e-9, "{o} {e}");
    }
    Ok(())
}

#[test]
fn matches_the_definition_on_random_regions_and_views() -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(13);
    for case in 0..60 {
        let options = RoiAlignOptions {
            output_size: (rng.random_range(1..5), rng.random_range(1..5)),
            spatial_scale: [1.0, 0.5, 0.25][case % 3],
            sampling_ratio: case / 3 % 4,
            aligned: case % 2 == 0,
        };
        let (h, w) = (rng.random_range(1..22), rng.random_range(1..22));
        let x = wave(&[2, 3, h, w], 1.0, 1.3, 0.2)?;
        let rois: Vec<_> = (0..rng.random_range(0..7))
            .map(|_| draw(&mut rng, 2, h.max(w) as f64 / options.spatial_scale))
            .collect();
        let expected = plain(&x, &rois, &options)?;
        let last = x.permute((0, 2, 3, 1))?.contiguous()?;
        let view = last.permute((0, 3, 1, 2))?;
        let rois = tensor_of(&rois)?;
        close(&roi_align(&view, &rois, &options)?, &expected)?;
        let f = |x: &[Tensor]| roi_align(&x[0], &rois, &options);
        let error = max_relative_error(&[x], 40, f)?;
        assert!(error < 1e-6, "{options:?}: {error}");
    }
    Ok(())
}

#[test]
fn levels_are_pooled_in_the_order_of_regions() -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(14);
    let options = MultiLevelRoiAlign {
        output_size: (3, 2),
        spatial_scales: vec![0.5, 0.25, 0.125],
        sampling_ratio: 2,
        aligned: true,
        mapping: LevelMapping {
            size: 16.0,
            level: 4.0,
            first: 3,
            epsilon: 1e-6,
            box_size: BoxSize::Continuous,
        },
    };
    let maps = [(20, 24), (10, 12), (5, 6)];
    let maps = maps.map(|(h, w)| wave(&[2, 3, h, w], 1.0, 1.3, 0.2));
    let maps: Vec<Tensor> = maps.into_iter().collect::<Result<_>>()?;
    let rois: Vec<[f64; 5]> = (0..20).map(|_| draw(&mut rng, 2, 40.0)).collect();
    let mut expected = Vec::new();
    let mut seen = [0; 3];
    for roi in &rois {
        let area = (roi[3] - roi[1]) * (roi[4] - roi[2]);
        let level = (4.0 + (area.sqrt() / 16.0).log2()).floor() - 3.0;
        let level = level.clamp(0.0, 2.0) as usize;
        seen[level] += 1;
        let single = RoiAlignOptions {
            output_size: (3, 2),
            spatial_scale: options.spatial_scales[level],
            sampling_ratio: 2,
            aligned: true,
        };
        expected.extend(plain(&maps[level], &[*roi], &single)?);
    }
    assert!(seen.iter().all(|&count| count > 0));
    let rois = tensor_of(&rois)?;
    close(&multi_level_roi_align(&maps, &rois, &options)?, &expected)?;
    let error = max_relative_error(&maps, 60, |m| multi_level_roi_align(m, &rois, &options))?;
    assert!(error < 1e-7, "{error}");
    // No regions at all: an empty result, and gradients that are zero.
    let none = rois.narrow(0, 0, 0)?;
    let vars = maps
        .iter()
        .map(Var::from_tensor)
        .collect::<Result<Vec<_>>>()?;
    let maps: Vec<Tensor> = vars.iter().map(|v| v.as_tensor().clone()).collect();
    let y = multi_level_roi_align(&maps, &none, &options)?;
    assert_eq!(y.dims(), [0, 3, 3, 2]);
    let grads = backward(&y.sum_all()?)?;
    for var in &vars {
        if let Some(grad) = grads.get(var) {
            assert_eq!(grad.abs()?.sum_all()?.to_scalar::<f64>()?, 0.0);
        }
    }
    Ok(())
}

#[test]
fn huge_regions_cost_no_more_than_the_map() -> Result<()> {
    let x = wave(&[1, 1, 6, 5], 1.0, 1.3, 0.2)?.to_dtype(DType::F32)?;
    let rois = Tensor::new(&[[0f32, -1e12, -1e12, 1e12, 1e12]], &Device::Cpu)?;
    for aligned in [false, true] {
        let options = RoiAlignOptions {
            output_size: (7, 7),
            spatial_scale: 1.0,
            sampling_ratio: 0,
            aligned,
        };
        let y = roi_align(&x, &rois, &options)?.flatten_all()?;
        assert!(y.to_vec1::<f32>()?.iter().all(|v| v.is_finite()));
    }
    Ok(())
}

#[test]
fn misuse_is_named() -> Result<()> {
    let message = |r: Result<Tensor>| r.err().map(|e| e.to_string()).unwrap_or_default();
    let good = RoiAlignOptions {
        output_size: (2, 2),
        spatial_scale: 1.0,
        sampling_ratio: 2,
        aligned: true,
    };
    let x = Tensor::zeros((2, 3, 4, 5), DType::F32, &Device::Cpu)?;
    let run = |rois: &Tensor| message(roi_align(&x, rois, &good));
    let roi = |v: [f32; 5]| Tensor::new(&[v], &Device::Cpu);
    let fine = roi([1., 0., 0., 2., 2.])?;
    assert_eq!(run(&fine), "");
    assert!(run(&roi([2., 0., 0., 2., 2.])?).contains("rois[0] is of image 2"));
    assert!(run(&roi([0.5, 0., 0., 2., 2.])?).contains("of image 0.5"));
    assert!(run(&roi([0., 0., f32::NAN, 2., 2.])?).contains("expected finite numbers"));
    assert!(run(&fine.narrow(1, 0, 4)?).contains("rois is [1, 4], expected (K, 5)"));
    assert!(run(&fine.to_dtype(DType::F64)?).contains("rois is F64, expected F32"));
    assert!(run(Var::from_tensor(&fine)?.as_tensor()).contains("expected detached rois"));
    let empty = RoiAlignOptions {
        output_size: (0, 2),
        ..good
    };
    assert!(message(roi_align(&x, &fine, &empty)).contains("output size (0, 2)"));
    assert!(message(roi_align(&x.squeeze(0)?.get(0)?, &fine, &good)).contains("(B, C, H, W)"));
    assert!(message(roi_align(&x.narrow(2, 0, 0)?, &fine, &good)).contains("at least one pixel"));
    assert!(message(roi_align(&x.to_dtype(DType::U8)?, &fine, &good)).contains("U8"));

    let mut levels = MultiLevelRoiAlign {
        output_size: (2, 2),
        spatial_scales: vec![1.0, 0.5],
        sampling_ratio: 2,
        aligned: true,
        mapping: LevelMapping::modern(),
    };
    let run =
        |maps: &[Tensor], o: &MultiLevelRoiAlign| message(multi_level_roi_align(maps, &fine, o));
    assert!(run(&[], &levels).contains("no feature maps"));
    assert!(run(std::slice::from_ref(&x), &levels).contains("1 feature maps and 2 scales"));
    let other = x.narrow(1, 0, 2)?;
    assert!(run(&[x.clone(), other], &levels).contains("features[1] is [2, 2, 4, 5]"));
    levels.spatial_scales[0] = f64::INFINITY;
    assert!(run(&[x.clone(), x.clone()], &levels).contains("times the scale inf is not finite"));
    Ok(())
}
