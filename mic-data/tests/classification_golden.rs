//! The transforms of classification against numbers recorded from the reference.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use candle_core::{Device, Tensor};
use image::RgbImage;
use mic_data::classification::{ImageTransform, Resizing, TrainTransform};
use mic_data::transform::Crop;

#[path = "../../testdata/golden.rs"]
mod golden;
use golden::Golden;

fn rgb(golden: &Golden, key: &str) -> RgbImage {
    let tensor = golden.get(key);
    let (height, width, _) = tensor.dims3().unwrap();
    let pixels = tensor.flatten_all().unwrap().to_vec1().unwrap();
    RgbImage::from_raw(width as u32, height as u32, pixels).unwrap()
}

fn tensor(image: &RgbImage) -> Tensor {
    let shape = (image.height() as usize, image.width() as usize, 3);
    Tensor::from_slice(image.as_raw(), shape, &Device::Cpu).unwrap()
}

fn planes(transform: &ImageTransform, image: &RgbImage, flip: bool) -> Tensor {
    let (width, height) = image.dimensions();
    let mut data = vec![0f32; image.len()];
    transform
        .tables()
        .write(image, flip, (width, height), &mut data);
    Tensor::from_vec(data, (3, height as usize, width as usize), &Device::Cpu).unwrap()
}

fn atol(golden: &Golden, key: &str) -> f64 {
    let relative = golden
        .metadata("tolerance_rel_to_max_abs")
        .as_f64()
        .unwrap();
    let largest = golden
        .numbers(key)
        .iter()
        .fold(0.02f64, |most, v| most.max(v.abs()));
    relative * largest
}

#[test]
fn images_become_those_of_the_reference() {
    let golden = Golden::open("cls", "transforms");
    let mut cases = 0;
    while golden.find(&format!("case{cases}.image")).is_some() {
        let key = |name: &str| format!("case{cases}.{name}");
        let image = rgb(&golden, &key("image"));
        let resized = rgb(&golden, &key("resized"));
        let centre = rgb(&golden, &key("center_crop"));
        assert_eq!(resized.width(), resized.height());
        let transform = ImageTransform {
            resize: resized.width(),
            size: centre.width(),
            ..ImageTransform::default()
        };
        transform.check().unwrap();

        let squash = ImageTransform {
            evaluation: Resizing::Squash,
            size: resized.width(),
            ..transform.clone()
        };
        let out = squash.apply_evaluation(&image);
        golden.check_within(&key("resized"), &tensor(&out), 0.0);

        let out = transform.apply_evaluation(&image);
        golden.check_within(&key("center_crop"), &tensor(&out), 0.0);
        let normalised = planes(&transform, &out, false);
        let name = key("val_tensor");
        golden.check_within(&name, &normalised, atol(&golden, &name));

        let corners = golden.numbers(&key("crop_box"));
        let [y, x, height, width] = corners[..] else {
            panic!("{corners:?} is no box");
        };
        let crop = Crop {
            x: x as u32,
            y: y as u32,
            width: width as u32,
            height: height as u32,
        };
        let drawn = TrainTransform { crop, flip: true };
        let out = transform.apply(&image, &drawn);
        golden.check_within(&key("random_resized_crop"), &tensor(&out), 0.0);
        let normalised = planes(&transform, &out, drawn.flip);
        let name = key("train_tensor");
        golden.check_within(&name, &normalised, atol(&golden, &name));

        let centred = ImageTransform {
            train: Resizing::CentreCrop,
            ..transform
        };
        let drawn = centred.sample(&mut mic_data::rng::stream(1, "image", 0));
        let out = centred.apply(&image, &drawn);
        golden.check_within(&key("center_crop"), &tensor(&out), 0.0);
        cases += 1;
    }
    assert!(cases > 0, "no case in {}", golden.path.display());
}

#[test]
fn the_evaluation_image_of_real_size_is_that_of_the_reference() {
    let image = RgbImage::from_fn(300, 200, |x, y| {
        image::Rgb([
            (37 * x + 91 * y) as u8,
            (53 * x + 17 * y + 40) as u8,
            (3 * x * x + 29 * y) as u8,
        ])
    });
    let transform = ImageTransform::default();
    let out = planes(&transform, &transform.apply_evaluation(&image), false);
    let out = out.to_vec3::<f32>().unwrap();
    let means = [0.065_343_8, 0.195_925_5, 0.414_870_8];
    for (plane, mean) in out.iter().zip(means) {
        let sum: f64 = plane.iter().flatten().map(|v| f64::from(*v)).sum();
        assert!((sum / 50176.0 - mean).abs() < 1e-6, "{}", sum / 50176.0);
    }
    let pixel = |y: usize, x: usize| [0, 1, 2].map(|c| out[c][y][x]);
    let near = |a: [f32; 3], b: [f32; 3]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
    assert!(near(pixel(0, 0), [-1.295_915_8, 2.095_938_4, 0.531_067_7]));
    assert!(near(
        pixel(100, 50),
        [-0.953_420_6, -1.422_969_1, 1.088_801_9]
    ));
}
