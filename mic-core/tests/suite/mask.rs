//! Block masks against the recorded ones.

use crate::golden::{Golden, values};
use candle_core::Device;
use mic_core::{BlockMask, BlockMaskConfig};

#[test]
fn masks_of_all_cases() {
    let golden = Golden::open("seg", "block_mask");
    let cases = golden.config["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in 0..cases.len() {
        let spec = golden.numbers(&format!("case{case}.spec"));
        let [_, height, width, block] = spec[..] else {
            panic!("{spec:?}")
        };
        let (height, width) = (height as usize, width as usize);
        let ratio = golden.numbers(&format!("case{case}.ratio"))[0];
        let draws = golden.get(&format!("case{case}.rand"));
        let config = BlockMaskConfig {
            block: block as usize,
            ratio,
        };
        let (_, _, rows, columns) = draws.dims4().unwrap();
        assert_eq!(
            config.grid(height, width).unwrap(),
            (rows, columns),
            "case {case}"
        );
        let mask = BlockMask::from_uniforms(draws, ratio, height, width).unwrap();
        golden.check_within(
            &format!("case{case}.mask"),
            &mask.mask(&Device::Cpu).unwrap(),
            0.0,
        );
    }
}

#[test]
fn a_masked_image() {
    let golden = Golden::open("seg", "block_mask");
    let config: BlockMaskConfig = serde_json::from_value(golden.config["image"].clone()).unwrap();
    let images = golden.get("image.input");
    let (_, _, height, width) = images.dims4().unwrap();
    let mask =
        BlockMask::from_uniforms(golden.get("image.rand"), config.ratio, height, width).unwrap();
    golden.check_within("image.output", &mask.apply(images).unwrap(), 0.0);

    // Views, other dtypes and tensors inside a gradient graph take other paths to the same result.
    let view = images
        .transpose(2, 3)
        .unwrap()
        .contiguous()
        .unwrap()
        .transpose(2, 3)
        .unwrap();
    golden.check_within("image.output", &mask.apply(&view).unwrap(), 0.0);
    let double = mask
        .apply(&images.to_dtype(candle_core::DType::F64).unwrap())
        .unwrap();
    golden.check_within("image.output", &double, 0.0);
    let var = candle_core::Var::from_tensor(images).unwrap();
    let masked = mask.apply(&var).unwrap();
    golden.check_within("image.output", &masked, 0.0);
    let gradients = masked.sum_all().unwrap().backward().unwrap();
    let visible = mask
        .mask(&Device::Cpu)
        .unwrap()
        .broadcast_as(images.dims())
        .unwrap();
    assert_eq!(values(gradients.get(&var).unwrap()), values(&visible));
}
