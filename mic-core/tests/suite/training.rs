//! The parts together, on a small convolutional model.

use candle_core::{D, DType, Device, Module, Tensor};
use candle_nn::{AdamW, Conv2d, Conv2dConfig, Optimizer, VarBuilder, VarMap, conv2d};
use mic_core::{
    BlockMaskConfig, Confidence, EmaTeacher, PseudoLabelConfig, PseudoLabels, masked_consistency,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::golden::values;

struct Net(Conv2d, Conv2d);

impl Net {
    fn new(vars: VarBuilder) -> Self {
        let same = Conv2dConfig {
            padding: 1,
            ..Default::default()
        };
        Self(
            conv2d(3, 6, 3, same, vars.pp("a")).unwrap(),
            conv2d(6, 3, 3, same, vars.pp("b")).unwrap(),
        )
    }

    fn forward(&self, images: &Tensor) -> Tensor {
        let hidden = self.0.forward(images).unwrap().relu().unwrap();
        self.1.forward(&hidden).unwrap()
    }
}

struct Setup {
    vars: VarMap,
    student: Net,
    teacher: Net,
    ema: EmaTeacher,
    images: Tensor,
}

/// Student and teacher with the same weights, drawn from a fixed seed, and random images.
fn setup() -> Setup {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let mut random = |shape: &[usize], scale: f32| {
        let count = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|_| scale * rng.random_range(-1.0..1.0))
            .collect();
        Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
    };
    let vars = VarMap::new();
    let student = Net::new(VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu));
    let mut named: Vec<_> = vars.data().lock().unwrap().clone().into_iter().collect();
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for (_, var) in &named {
        var.set(&random(var.dims(), 0.5)).unwrap();
    }
    let ema = EmaTeacher::new(named, 0.9).unwrap();
    let tensors = VarBuilder::from_tensors(ema.tensors(), DType::F32, &Device::Cpu);
    let images = random(&[2, 3, 16, 16], 1.0);
    Setup {
        vars,
        student,
        teacher: Net::new(tensors),
        ema,
        images,
    }
}

fn label(setup: &Setup, confidence: Confidence) -> PseudoLabels {
    let logits = setup.teacher.forward(&setup.images);
    PseudoLabelConfig::new(confidence)
        .label(&logits, None)
        .unwrap()
}

#[test]
fn gradients_reach_the_student_and_never_the_teacher() {
    let setup = setup();
    let pseudo = label(&setup, Confidence::MaxProbability);
    assert!(!pseudo.label.track_op() && !pseudo.weight.track_op());
    let mask = BlockMaskConfig {
        block: 4,
        ratio: 0.5,
    };
    let mask = mask
        .sample(&mut ChaCha8Rng::seed_from_u64(1), 2, 16, 16)
        .unwrap();
    let masked = mask.apply(&setup.images).unwrap();
    let loss = masked_consistency(&setup.student.forward(&masked), &pseudo).unwrap();
    let gradients = loss.backward().unwrap();
    for (name, var) in setup.vars.data().lock().unwrap().iter() {
        let gradient = values(
            gradients
                .get(var)
                .unwrap_or_else(|| panic!("{name} has none")),
        );
        assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
        assert!(
            gradient.iter().any(|g| g.abs() > 1e-4),
            "{name}: {gradient:?}"
        );
    }
    for (name, tensor) in setup.ema.tensors() {
        assert!(gradients.get(&tensor).is_none(), "{name}");
    }
}

#[test]
fn the_student_sees_nothing_of_hidden_pixels() {
    let setup = setup();
    let mask = BlockMaskConfig {
        block: 4,
        ratio: 0.5,
    };
    let mask = mask
        .sample(&mut ChaCha8Rng::seed_from_u64(1), 2, 16, 16)
        .unwrap();
    let visible = mask.mask(&Device::Cpu).unwrap();
    let noise = setup
        .images
        .broadcast_mul(&(1.0 - &visible).unwrap())
        .unwrap();
    let other = (&setup.images + (noise * 3.0).unwrap()).unwrap();
    assert_ne!(values(&other), values(&setup.images));
    let predict = |images: &Tensor| values(&setup.student.forward(&mask.apply(images).unwrap()));
    assert_eq!(predict(&other), predict(&setup.images));
}

#[test]
fn training_on_the_consistency_loss_alone_raises_the_agreement_with_the_teacher() {
    let setup = setup();
    let pseudo = label(&setup, Confidence::None);
    let mask = BlockMaskConfig {
        block: 4,
        ratio: 0.3,
    };
    let mask = mask
        .sample(&mut ChaCha8Rng::seed_from_u64(2), 2, 16, 16)
        .unwrap();
    let masked = mask.apply(&setup.images).unwrap();
    let agreement = || {
        let predicted = setup.student.forward(&masked).argmax(1).unwrap();
        let same = predicted
            .to_dtype(DType::U8)
            .unwrap()
            .eq(&pseudo.label)
            .unwrap();
        let same = same.to_dtype(DType::F64).unwrap().mean(D::Minus1).unwrap();
        same.mean_all().unwrap().to_scalar::<f64>().unwrap()
    };
    let start = agreement();
    let mut optimizer = AdamW::new_lr(setup.vars.all_vars(), 0.02).unwrap();
    let mut losses = Vec::new();
    for _ in 0..60 {
        let logits = setup.student.forward(&masked);
        let loss = masked_consistency(&logits, &pseudo).unwrap();
        optimizer.backward_step(&loss).unwrap();
        losses.push(values(&loss)[0]);
    }
    assert!(losses[59] < 0.7 * losses[0], "{losses:?}");
    assert!(agreement() > start + 0.05, "{start} to {}", agreement());
}

#[test]
fn a_batch_that_the_teacher_is_unsure_of_has_no_say() {
    let setup = setup();
    let pseudo = label(&setup, Confidence::ShareAbove(1.0));
    assert_eq!(pseudo.confidence, 0.0);
    let logits = setup.student.forward(&setup.images);
    let loss = masked_consistency(&logits, &pseudo).unwrap();
    assert_eq!(values(&loss), [0.0]);
    let gradients = loss.backward().unwrap();
    for var in setup.vars.all_vars() {
        assert!(
            values(gradients.get(&var).unwrap())
                .iter()
                .all(|&g| g == 0.0)
        );
    }
}
