//! Colour jitter and blur against the recorded ones.

use crate::golden::{Golden, values};
use candle_core::{Device, Tensor};
use mic_core::augment::{
    ColorJitter, GaussianBlur, JitterOp, Normalization, Sharing, Strong, StrongConfig,
    gaussian_taps, hsv_to_rgb, kernel_size, rgb_to_hsv,
};

fn golden() -> Golden {
    Golden::open("seg", "strong_transform")
}

fn normalization(golden: &Golden) -> Normalization {
    let triple = |key: &str| -> [f32; 3] {
        golden
            .get(key)
            .to_vec1::<f32>()
            .unwrap()
            .try_into()
            .unwrap()
    };
    Normalization {
        mean: triple("mean"),
        std: triple("std"),
    }
}

fn jitter(golden: &Golden, prefix: &str) -> ColorJitter {
    let factor = |name: &str| {
        golden
            .get(&format!("{prefix}.{name}_factor"))
            .to_vec1::<f32>()
            .unwrap()
    };
    let order = golden.numbers(&format!("{prefix}.order"));
    ColorJitter {
        brightness: factor("brightness"),
        contrast: factor("contrast"),
        saturation: factor("saturation"),
        hue: factor("hue"),
        order: order
            .into_iter()
            .map(|code| op(golden, code as usize))
            .collect(),
    }
}

fn op(golden: &Golden, code: usize) -> JitterOp {
    let op = JitterOp::ALL[code];
    let name = golden.config["order_codes"][code.to_string()]
        .as_str()
        .unwrap();
    assert_eq!(format!("{op:?}").to_lowercase(), name);
    op
}

#[test]
fn single_operations() {
    let golden = golden();
    let input = golden.get("input01");
    let batch = input.dim(0).unwrap();
    for (code, name) in golden.config["order_codes"].as_object().unwrap() {
        let name = name.as_str().unwrap();
        let factors = golden
            .get(&format!("op.{name}_factor"))
            .to_vec1::<f32>()
            .unwrap();
        let neutral = vec![f32::NAN; batch];
        let mut jitter = ColorJitter {
            brightness: neutral.clone(),
            contrast: neutral.clone(),
            saturation: neutral.clone(),
            hue: neutral,
            order: vec![op(&golden, code.parse().unwrap())],
        };
        match name {
            "brightness" => jitter.brightness = factors,
            "contrast" => jitter.contrast = factors,
            "saturation" => jitter.saturation = factors,
            _ => jitter.hue = factors,
        }
        let out = jitter.apply(input, &Normalization::UNIT).unwrap();
        golden.check(&format!("op.{name}"), &out);
    }
}

#[test]
fn hsv_there_and_back() {
    let golden = golden();
    let colours = |key: &str| {
        let (_, _, height, width) = golden.get(key).dims4().unwrap();
        let values = golden.numbers(key);
        let plane = height * width;
        (0..values.len() / 3).map(move |i| {
            let at = i / plane * 3 * plane + i % plane;
            [0, 1, 2].map(|channel| values[at + channel * plane] as f32)
        })
    };
    // Hue counts as far as saturation and value make it visible, saturation as far as value does.
    let atol = golden.atol("op.hsv").unwrap() as f32;
    for (rgb, expected) in colours("input01").zip(colours("op.hsv")) {
        let [hue, saturation, value] = rgb_to_hsv(rgb);
        let turns = hue - expected[0] / std::f32::consts::TAU;
        let turns = turns - turns.round();
        let errors = [
            turns * std::f32::consts::TAU * saturation * value,
            (saturation - expected[1]) * value,
            value - expected[2],
        ];
        assert!(
            errors.iter().all(|e| e.abs() <= atol),
            "{rgb:?}: {errors:?}"
        );
    }
    let atol = golden.atol("op.hsv_to_rgb").unwrap() as f32;
    for ([hue, saturation, value], expected) in colours("op.hsv").zip(colours("op.hsv_to_rgb")) {
        let rgb = hsv_to_rgb([hue / std::f32::consts::TAU, saturation, value]);
        for (a, b) in rgb.iter().zip(expected) {
            assert!((a - b).abs() <= atol, "{rgb:?} is not {expected:?}");
        }
    }
}

#[test]
fn complete_jitter() {
    let golden = golden();
    let norm = normalization(&golden);
    let cases = golden.config["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let case = case.as_str().unwrap();
        let out = jitter(&golden, case)
            .apply(golden.get("input"), &norm)
            .unwrap();
        golden.check(&format!("{case}.out"), &out);
    }
}

#[test]
fn blur() {
    let golden = golden();
    for (extent, size) in golden
        .numbers("kernel_size.extent")
        .into_iter()
        .zip(golden.numbers("kernel_size.size"))
    {
        assert_eq!(
            kernel_size(extent as usize),
            size as usize,
            "extent {extent}"
        );
    }
    let cases = golden.config["sigmas"].as_array().unwrap().len();
    assert!(cases > 0);
    for case in 0..cases {
        let key = |name: &str| format!("blur.{case}.{name}");
        let sigma = golden.numbers(&key("sigma"))[0];
        let sides: Vec<usize> = golden
            .numbers(&key("size"))
            .into_iter()
            .map(|side| side as usize)
            .collect();
        let taps: Vec<Vec<f32>> = sides
            .iter()
            .zip(golden.numbers(&key("kernel_size")))
            .map(|(&side, size)| {
                assert_eq!(kernel_size(side), size as usize);
                gaussian_taps(size as usize, sigma)
            })
            .collect();
        let whole =
            |taps: &[f32]| -> Vec<f32> { taps.iter().skip(1).rev().chain(taps).copied().collect() };
        let (down, across) = (whole(&taps[0]), whole(&taps[1]));
        let kernel: Vec<f32> = down
            .iter()
            .flat_map(|d| across.iter().map(move |a| d * a))
            .collect();
        golden.check(&key("kernel"), &Tensor::new(kernel, &Device::Cpu).unwrap());

        // The crop is a view that is not contiguous.
        let crop = golden.get("input").narrow(2, 0, sides[0]).unwrap();
        let crop = crop.narrow(3, 0, sides[1]).unwrap();
        golden.check(&key("out"), &GaussianBlur { sigma }.apply(&crop).unwrap());
    }
}

#[test]
fn jitter_and_blur_of_a_batch_and_of_a_mixed_image() {
    let golden = golden();
    let norm = normalization(&golden);
    let blur = vec![GaussianBlur {
        sigma: golden.numbers("combined.sigma")[0],
    }];
    let draw = |key: &str| golden.config[key].as_f64().unwrap();
    let gates = StrongConfig::default().gates(draw("u_color_jitter"), draw("u_blur"));
    let blur = if gates.blur { blur } else { Vec::new() };
    let jitter = |key: &str| match gates.jitter {
        true => vec![jitter(&golden, key)],
        false => Vec::new(),
    };

    let batch = Strong {
        jitter: jitter("combined.batch"),
        blur: blur.clone(),
    };
    golden.check(
        "combined.batch.out",
        &batch.apply(golden.get("input"), &norm).unwrap(),
    );

    let image = |index| golden.get("input").narrow(0, index, 1).unwrap();
    let mask = golden
        .get("mix.mask")
        .broadcast_as(image(0).dims())
        .unwrap();
    let mixed = mask.where_cond(&image(0), &image(1)).unwrap();
    golden.check("combined.mix_only.out", &mixed);
    let off = Strong {
        jitter: Vec::new(),
        blur: Vec::new(),
    };
    golden.check("combined.mix_only.out", &off.apply(&mixed, &norm).unwrap());
    let strong = Strong {
        jitter: jitter("combined.mix"),
        blur,
    };
    golden.check("combined.mix.out", &strong.apply(&mixed, &norm).unwrap());
}

#[test]
fn parameters_per_image_change_each_image_alone() {
    let golden = golden();
    let norm = normalization(&golden);
    let images = golden.get("input");
    let config = StrongConfig::default();
    let gates = config.gates(1.0, 1.0);
    let mut rng = <rand_chacha::ChaCha8Rng as rand::SeedableRng>::seed_from_u64(3);
    let count = images.dim(0).unwrap();
    let strong = config
        .sample(&mut rng, count, gates, Sharing::PerImage)
        .unwrap();
    assert!(count > 1);
    assert_ne!(strong.blur[0], strong.blur[1]);
    let together = strong.apply(images, &norm).unwrap();
    for index in 0..count {
        let alone = Strong {
            jitter: vec![strong.jitter[index].clone()],
            blur: vec![strong.blur[index]],
        };
        let alone = alone
            .apply(&images.narrow(0, index, 1).unwrap(), &norm)
            .unwrap();
        assert_eq!(
            values(&alone),
            values(&together.narrow(0, index, 1).unwrap())
        );
    }
}

/// Numbers of the specification's fixture: mean, mean magnitude and single elements.
#[test]
fn sine_image() {
    let wave: Vec<f32> = (0..3 * 64 * 64)
        .map(|i| (0.013 * f64::from(i)).sin() as f32)
        .collect();
    let image = Tensor::from_vec(wave, (1, 3, 64, 64), &Device::Cpu).unwrap();
    let jitter = ColorJitter {
        brightness: vec![1.13],
        contrast: vec![0.87],
        saturation: vec![1.17],
        hue: vec![-0.11],
        order: [2, 0, 3, 1].map(|code| JitterOp::ALL[code]).to_vec(),
    };
    let check = |out: Tensor, mean: f64, magnitude: f64, elements: [(usize, f64); 5]| {
        let values = values(&out);
        let count = values.len() as f64;
        assert!((values.iter().sum::<f64>() / count - mean).abs() < 2e-6);
        assert!((values.iter().map(|x| x.abs()).sum::<f64>() / count - magnitude).abs() < 2e-6);
        for (index, expected) in elements {
            assert!(
                (values[index] - expected).abs() < 5e-6,
                "[{index}] {}",
                values[index]
            );
        }
    };
    check(
        jitter.apply(&image, &Normalization::IMAGENET).unwrap(),
        0.2326776,
        0.5979906,
        [
            (0, 0.243188),
            (1, 0.232253),
            (4096, -0.059925),
            (6144, -0.918657),
            (12287, 0.725172),
        ],
    );
    check(
        GaussianBlur { sigma: 0.7 }.apply(&image).unwrap(),
        0.0128078,
        0.5466344,
        [
            (0, 0.327844),
            (1, 0.334073),
            (4096, -0.190221),
            (6144, -0.821796),
            (12287, 0.685983),
        ],
    );
}
