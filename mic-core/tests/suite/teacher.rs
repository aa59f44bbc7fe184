//! The teacher's update, storage and state.

use std::collections::HashMap;

use candle_core::{DType, Device, Module, Tensor, Var};
use candle_nn::{VarBuilder, VarMap};
use mic_core::{EmaTeacher, Error, momentum};

fn var(values: &[f32]) -> Var {
    Var::new(values, &Device::Cpu).unwrap()
}

fn values(tensors: &HashMap<String, Tensor>, name: &str) -> Vec<f32> {
    tensors[name].to_vec1().unwrap()
}

#[test]
fn momentum_follows_the_recorded_sequence() {
    let recorded = crate::golden::json("seg", "labels.json")["ema_alpha"].clone();
    let alpha = recorded["alpha"].as_f64().unwrap();
    let first = recorded["first_iter"].as_u64().unwrap();
    let sequence = recorded["sequence"].as_array().unwrap();
    assert!(!sequence.is_empty());
    for (step, expected) in (first..).zip(sequence) {
        // serde_json may be off in the last digit.
        let difference = momentum(step, alpha) - expected.as_f64().unwrap();
        assert!(
            difference.abs() < 1e-15,
            "step {step}: off by {difference:e}"
        );
    }
    assert_eq!(momentum(0, alpha), 0.0);
}

#[test]
fn step_0_copies_and_later_steps_average() {
    let student = var(&[1.0, 2.0, 3.0]);
    let mut teacher = EmaTeacher::new([("w".to_string(), student.clone())], 0.6).unwrap();
    let tensors = teacher.tensors();
    student
        .set(&Tensor::new(&[4f32, 5.0, 6.0], &Device::Cpu).unwrap())
        .unwrap();
    assert_eq!(values(&tensors, "w"), [1.0, 2.0, 3.0]);
    assert_eq!(teacher.update(0).unwrap(), 0.0);
    assert_eq!(values(&tensors, "w"), [4.0, 5.0, 6.0]);
    student
        .set(&Tensor::new(&[0f32, 1.0, 2.0], &Device::Cpu).unwrap())
        .unwrap();
    assert_eq!(teacher.update(1).unwrap(), 0.5);
    assert_eq!(values(&tensors, "w"), [2.0, 3.0, 4.0]);
    assert_eq!(teacher.update(2).unwrap(), 0.6);
    for (got, expected) in values(&tensors, "w").into_iter().zip([1.2f32, 2.2, 3.2]) {
        assert!((got - expected).abs() < 1e-6, "{got} is not {expected}");
    }
    assert_eq!(teacher.last_step(), Some(2));
}

#[test]
fn alpha_0_keeps_the_teacher_equal_to_the_student() {
    let student = var(&[1.0]);
    let mut teacher = EmaTeacher::new([("w".to_string(), student.clone())], 0.0).unwrap();
    for step in 0..3 {
        student
            .set(&Tensor::new(&[step as f32 + 0.3], &Device::Cpu).unwrap())
            .unwrap();
        teacher.update(step).unwrap();
        assert_eq!(values(&teacher.tensors(), "w"), [step as f32 + 0.3]);
    }
}

#[test]
fn every_layout_and_dtype_averages_alike() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        // A student that is a transposed view takes the path of other devices.
        let values = Tensor::arange(0f32, 6.0, &Device::Cpu)
            .unwrap()
            .to_dtype(dtype)
            .unwrap();
        let plain = values.reshape((2, 3)).unwrap();
        let view = values.reshape((3, 2)).unwrap().t().unwrap();
        for student in [plain, view] {
            let ours = student.zeros_like().unwrap();
            let pairs = vec![("w".to_string(), ours.clone(), student.clone())];
            let mut teacher = EmaTeacher::over(pairs, 0.9).unwrap();
            teacher.update_with_momentum(7, 0.75).unwrap();
            let expected: Vec<f64> = crate::golden::values(&student)
                .into_iter()
                .map(|x| 0.25 * x)
                .collect();
            assert_eq!(crate::golden::values(&ours), expected, "{dtype:?}");
            teacher.update(0).unwrap();
            assert_eq!(
                crate::golden::values(&ours),
                crate::golden::values(&student),
                "{dtype:?}"
            );
        }
    }
}

#[test]
fn a_model_over_the_teacher_sees_updates_and_records_no_graph() {
    let map = VarMap::new();
    let build = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    let student = candle_nn::linear(2, 1, build).unwrap();
    let variables: Vec<_> = map
        .data()
        .lock()
        .unwrap()
        .iter()
        .map(|(n, v)| (n.clone(), v.clone()))
        .collect();
    let mut ema = EmaTeacher::new(variables.clone(), 0.9).unwrap();
    let build = VarBuilder::from_tensors(ema.tensors(), DType::F32, &Device::Cpu);
    let teacher = candle_nn::linear(2, 1, build).unwrap();
    let input = Tensor::new(&[[1f32, 2.0]], &Device::Cpu).unwrap();
    let predict =
        |model: &candle_nn::Linear| crate::golden::values(&model.forward(&input).unwrap());
    let before = predict(&student);
    assert_eq!(predict(&teacher), before);
    for (_, variable) in &variables {
        variable
            .set(&(variable.as_tensor() + 1.0).unwrap())
            .unwrap();
    }
    assert_eq!(predict(&teacher), before);
    ema.update(0).unwrap();
    assert_ne!(predict(&student), before);
    assert_eq!(predict(&teacher), predict(&student));
    assert!(!teacher.forward(&input).unwrap().track_op());
    assert!(student.forward(&input).unwrap().track_op());
}

#[test]
fn buffers_are_handed_out_but_never_averaged() {
    let student = var(&[1.0]);
    let buffer = Tensor::new(&[5f32], &Device::Cpu).unwrap();
    let mut teacher = EmaTeacher::new([("w".to_string(), student.clone())], 0.5)
        .unwrap()
        .with_buffers([("running_mean".to_string(), buffer.clone())])
        .unwrap();
    buffer
        .slice_set(&Tensor::new(&[9f32], &Device::Cpu).unwrap(), 0, 0)
        .unwrap();
    teacher.update(0).unwrap();
    assert_eq!(values(&teacher.tensors(), "running_mean"), [5.0]);
    let twice = teacher.with_buffers([("w".to_string(), buffer)]);
    assert!(matches!(twice, Err(Error::Input(_))));
}

#[test]
fn a_restored_teacher_continues_the_same() {
    let student = var(&[1.0, -2.0]);
    let new = || EmaTeacher::new([("w".to_string(), student.clone())], 0.9).unwrap();
    let mut first = new();
    first.update(0).unwrap();
    student
        .set(&Tensor::new(&[3f32, 8.0], &Device::Cpu).unwrap())
        .unwrap();
    first.update(1).unwrap();
    let state = first.state();
    let mut second = new();
    let seen = second.tensors();
    second.restore(&state).unwrap();
    assert_eq!(values(&seen, "w"), [2.0, 3.0]);
    assert_eq!(second.last_step(), Some(1));
    first.update(2).unwrap();
    second.update(2).unwrap();
    assert_eq!(values(&seen, "w"), values(&first.tensors(), "w"));

    let mut wrong = state.clone();
    wrong.tensors[0].0 = "v".into();
    let message = second.restore(&wrong).unwrap_err().to_string();
    assert!(message.contains("tensor v"), "{message}");
    wrong.tensors.clear();
    let message = second.restore(&wrong).unwrap_err().to_string();
    assert!(message.contains("lacks the tensor w"), "{message}");
    wrong
        .tensors
        .push(("w".into(), Tensor::new(&[1f32], &Device::Cpu).unwrap()));
    let message = second.restore(&wrong).unwrap_err().to_string();
    assert!(
        message.contains("[1]") && message.contains("[2]"),
        "{message}"
    );
    assert_eq!(values(&seen, "w"), values(&first.tensors(), "w"));
}

#[test]
fn pairs_that_cannot_work_are_refused() {
    let student = var(&[1.0, 2.0]);
    let tensor = |values: &[f32]| Tensor::new(values, &Device::Cpu).unwrap();
    let one = |teacher: Tensor| vec![("w".to_string(), teacher, student.as_tensor().clone())];
    let twice = [one(tensor(&[0.0, 0.0])), one(tensor(&[0.0, 0.0]))].concat();
    let integers = Tensor::new(&[1u32, 2], &Device::Cpu).unwrap();
    for (pairs, part) in [
        (Vec::new(), "no parameters"),
        (twice, "occurs twice"),
        (one(tensor(&[1.0])), "differ for w"),
        (
            one(tensor(&[1.0, 2.0]).to_dtype(DType::F64).unwrap()),
            "differ for w",
        ),
        (one(student.as_tensor().clone()), "records gradients"),
        (one(student.as_detached_tensor()), "share the storage of w"),
        (
            vec![("w".into(), integers.copy().unwrap(), integers)],
            "only float",
        ),
    ] {
        let message = EmaTeacher::over(pairs, 0.9).err().unwrap().to_string();
        assert!(message.contains(part), "{message}");
    }
    let error = EmaTeacher::over(one(tensor(&[0.0, 0.0])), 1.5)
        .err()
        .unwrap();
    assert!(matches!(error, Error::Config(_)), "{error}");
}
