//! Maps, tokens and patches.

use mic_nn::ops;

use crate::array::Array;
use crate::case::{Case, Tolerance, check};
use crate::inputs::{Input, size};

#[test]
fn swap_last() {
    check("swap_last", 30, Tolerance::default(), |rng| {
        let shape = [3, 65, 65].map(|most| size(rng, most));
        Case::new(
            "",
            vec![Input::new(rng, "x", &shape)],
            |t| ops::swap_last(&t[0]),
            move |a| {
                let [b, rows, cols] = shape;
                Array::build([b, cols, rows], |[n, c, r]| a[0].at([n, r, c]))
            },
        )
    });
}

#[test]
fn map_to_tokens() {
    check("map_to_tokens", 30, Tolerance::default(), |rng| {
        let shape = [3, 33, 9, 17].map(|most| size(rng, most));
        Case::new(
            "",
            vec![Input::new(rng, "x", &shape)],
            |t| ops::map_to_tokens(&t[0]),
            move |a| {
                let [b, c, h, w] = shape;
                Array::build([b, h * w, c], |[n, i, c]| a[0].at([n, c, i / w, i % w]))
            },
        )
    });
}

#[test]
fn tokens_to_map() {
    check("tokens_to_map", 30, Tolerance::default(), |rng| {
        let [b, c, h, w] = [3, 33, 9, 17].map(|most| size(rng, most));
        Case::new(
            format!("map {h}x{w}"),
            vec![Input::new(rng, "x", &[b, h * w, c])],
            move |t| ops::tokens_to_map(&t[0], h, w),
            move |a| Array::build([b, c, h, w], |[n, c, y, x]| a[0].at([n, y * w + x, c])),
        )
    });
}

#[test]
fn patchify() {
    check("patchify", 40, Tolerance::default(), |rng| {
        let [b, c, h, w] = [3, 17, 17, 17].map(|most| size(rng, most));
        let r = size(rng, h.min(w));
        Case::new(
            format!("map {h}x{w}, patches of {r}"),
            vec![Input::new(rng, "x", &[b, h * w, c])],
            move |t| ops::patchify(&t[0], h, w, r),
            move |a| {
                let patches = w / r;
                Array::build([b, h / r * patches, r * r * c], |[n, patch, i]| {
                    let y = patch / patches * r + i / c / r;
                    let x = patch % patches * r + i / c % r;
                    a[0].at([n, y * w + x, i % c])
                })
            },
        )
    });
}
