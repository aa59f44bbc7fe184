//! Colour jitter, blur, block masks and class mixing, whose CPU side is not in this crate: compared
//! with plain loops in F64.

use rand::Rng;
use rand::seq::SliceRandom;

use super::emulator::emulators;
use super::memory::{Buffer, Struct};
use super::reference::{close, floats, rng, tolerance, values};

/// HSV of a colour as the definition has it: (hue in sixths, saturation, value).
fn hsv([r, g, b]: [f64; 3]) -> [f64; 3] {
    let value = r.max(g).max(b);
    let delta = value - r.min(g).min(b);
    let sixths = match () {
        () if delta == 0.0 => 0.0,
        () if r == value => (g - b) / delta,
        () if g == value => 2.0 + (b - r) / delta,
        () => 4.0 + (r - g) / delta,
    };
    [sixths.rem_euclid(6.0), delta / (value + 1e-6), value]
}

/// The usual table of six sectors.
fn rgb([sixths, saturation, value]: [f64; 3]) -> [f64; 3] {
    let sixths = sixths.rem_euclid(6.0);
    let (sector, part) = (sixths.floor(), sixths.fract());
    let p = value * (1.0 - saturation);
    let q = value * (1.0 - part * saturation);
    let t = value * (1.0 - (1.0 - part) * saturation);
    match sector as u32 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}

fn jittered(mut color: [f64; 3], order: &[i32], factors: [f64; 4]) -> [f64; 3] {
    for &op in order {
        color = match op {
            0 => color.map(|x| (x + factors[0] - 1.0).clamp(0.0, 1.0)),
            1 => color.map(|x| (x * factors[1]).clamp(0.0, 1.0)),
            2 => {
                let [hue, saturation, value] = hsv(color);
                rgb([hue, (saturation * factors[2]).clamp(0.0, 1.0), value])
            }
            _ => {
                let [hue, saturation, value] = hsv(color);
                rgb([hue + 6.0 * factors[3], saturation, value])
            }
        };
    }
    color
}

#[test]
fn color_jitter_agrees() {
    let (mean, std) = ([123.675, 116.28, 103.53], [58.395, 57.12, 57.375]);
    for e in emulators() {
        for (seed, pixels) in [1, 37, 300, 513].into_iter().enumerate() {
            let (rng, batch) = (&mut rng(seed as u64), 2);
            let x = values(rng, e.storage, batch * 3 * pixels);
            let mut order = [0, 1, 2, 3];
            order.shuffle(rng);
            let ranges = [0.8f32..1.2, 0.8..1.2, 0.8..1.2, -0.2..0.2];
            let factors: Vec<f32> = ranges
                .into_iter()
                .flat_map(|range| [rng.random_range(range.clone()), rng.random_range(range)])
                .collect();
            let mut want = vec![0f64; x.len()];
            for image in 0..batch {
                let factor = |op: usize| f64::from(factors[op * batch + image]);
                for pixel in 0..pixels {
                    let at = |c: usize| (image * 3 + c) * pixels + pixel;
                    let color = [0, 1, 2].map(|c| (f64::from(x[at(c)]) * std[c] + mean[c]) / 255.0);
                    let color = jittered(color, &order, [0, 1, 2, 3].map(factor));
                    for c in 0..3 {
                        want[at(c)] = (color[c] * 255.0 - mean[c]) / std[c];
                    }
                }
            }
            let mut jitter = order.iter().fold(Struct::default(), |s, &op| s.int(op));
            let members: [fn(f64, f64) -> f64; 4] = [
                |_, std| std / 255.0,
                |mean, _| mean / 255.0,
                |_, std| 255.0 / std,
                |mean, std| -mean / std,
            ];
            for member in members {
                for c in 0..3 {
                    jitter = jitter.float(member(mean[c], std[c]) as f32);
                }
            }
            let (x, factors, y) = (e.put(&x), Buffer::floats(&factors), e.room(x.len()));
            e.planes(
                "color_jitter",
                batch,
                pixels,
                &[&x, &factors, &jitter, &(pixels as i32), &y],
            );
            close(
                "color_jitter",
                e.storage,
                &e.get(&y),
                &want,
                tolerance(1e-5),
            );
        }
    }
}

fn reflected(i: isize, n: usize) -> usize {
    let last = n as isize - 1;
    (last - (last - i.abs()).abs()) as usize
}

#[test]
fn blur_agrees() {
    for e in emulators() {
        for (seed, (h, w, radius)) in [(1, 1, 0), (2, 9, 1), (13, 7, 3), (30, 21, 6), (7, 40, 6)]
            .into_iter()
            .enumerate()
        {
            let (rng, planes) = (&mut rng(seed as u64), 3);
            let x = values(rng, e.storage, planes * h * w);
            let taps: Vec<f32> = (0..=radius)
                .map(|d| (-0.3 * (d * d) as f32).exp() / 3.0)
                .collect();
            let tap = |d: isize| f64::from(taps[d.unsigned_abs()]);
            let reach = -(radius as isize)..=radius as isize;
            let place = |p: usize, y: usize, x: usize| (p * h + y) * w + x;
            // Each pass on what the pass before it left, as stored.
            let pass = |from: &[f32], rows: bool| -> Vec<f64> {
                let mut out = vec![0f64; from.len()];
                for (i, out) in out.iter_mut().enumerate() {
                    let (p, y, x) = (i / (h * w), i / w % h, i % w);
                    for d in reach.clone() {
                        let at = match rows {
                            true => place(p, y, reflected(x as isize + d, w)),
                            false => place(p, reflected(y as isize + d, h), x),
                        };
                        *out += tap(d) * f64::from(from[at]);
                    }
                }
                out
            };
            let (input, kernel) = (e.put(&x), Buffer::floats(&taps));
            let (middle, y) = (e.room(x.len()), e.room(x.len()));
            let [r, h, w] = [radius, h, w].map(|v| v as i32);
            let pixels = (h * w) as usize;
            e.planes(
                "gaussian_blur_rows",
                planes,
                pixels,
                &[&input, &kernel, &r, &h, &w, &middle],
            );
            e.planes(
                "gaussian_blur_columns",
                planes,
                pixels,
                &[&middle, &kernel, &r, &h, &w, &y],
            );
            let rows = e.get(&middle);
            close(
                "blur of rows",
                e.storage,
                &rows,
                &pass(&x, true),
                tolerance(1e-6),
            );
            close(
                "blur",
                e.storage,
                &e.get(&y),
                &pass(&rows, false),
                tolerance(1e-6),
            );
        }
    }
}

#[test]
fn block_masks_agree() {
    for e in emulators() {
        for (seed, (h, w, rows, columns)) in
            [(1, 1, 1, 1), (8, 8, 2, 4), (17, 30, 5, 7), (135, 33, 17, 4)]
                .into_iter()
                .enumerate()
        {
            let (rng, batch, channels) = (&mut rng(seed as u64), 2, 3);
            let x = values(rng, e.storage, batch * channels * h * w);
            let draws: Vec<f32> = (0..batch * rows * columns).map(|_| rng.random()).collect();
            let block = |i: usize, blocks: usize, n: usize| {
                ((i as f32 * (blocks as f32 / n as f32)) as usize).min(blocks - 1)
            };
            let visible = |i: usize| {
                let (image, y, x) = (i / (channels * h * w), i / w % h, i % w);
                let at = (image * rows + block(y, rows, h)) * columns + block(x, columns, w);
                draws[at] > 0.7
            };
            let one = |(i, &v): (usize, &f32)| if visible(i) { f64::from(v) } else { 0.0 };
            let want: Vec<f64> = x.iter().enumerate().map(one).collect();
            let (input, draws, y) = (e.put(&x), Buffer::floats(&draws), e.room(x.len()));
            let [c, height, width, r, k] = [channels, h, w, rows, columns].map(|v| v as i32);
            let ratio = 0.7f32;
            let planes = batch * channels;
            e.planes(
                "block_mask",
                planes,
                h * w,
                &[&input, &draws, &ratio, &c, &height, &width, &r, &k, &y],
            );
            close("block_mask", e.storage, &e.get(&y), &want, tolerance(0.0));
        }
    }
}

#[test]
fn class_mixing_agrees() {
    for e in emulators() {
        for (seed, pixels) in [1, 255, 700].into_iter().enumerate() {
            let (rng, batch, channels) = (&mut rng(seed as u64), 3, 2);
            let labels: Vec<u8> = (0..batch * pixels)
                .map(|_| rng.random_range(0..6))
                .collect();
            let table: Vec<u8> = (0..batch * 256).map(|_| rng.random_range(0..2)).collect();
            let other: Vec<u8> = (0..batch * pixels).map(|_| rng.random()).collect();
            let source = values(rng, e.storage, batch * channels * pixels);
            let target = floats(rng, source.len());
            let target = e.get(&e.put(&target));
            let picked = |i: usize| table[i / pixels * 256 + usize::from(labels[i])] == 1;
            let (label, other_label) = (Buffer::bytes(&labels), Buffer::bytes(&other));
            let (mask, mixed) = (Buffer::unset(batch * pixels), Buffer::unset(batch * pixels));
            let n = pixels as i32;
            e.planes(
                "class_mix_mask",
                batch,
                pixels,
                &[&label, &Buffer::bytes(&table), &n, &mask],
            );
            e.planes(
                "class_mix_labels",
                batch,
                pixels,
                &[&mask, &label, &other_label, &1i32, &n, &mixed],
            );
            for (i, (mask, mixed)) in mask.content().into_iter().zip(mixed.content()).enumerate() {
                assert_eq!(mask == 1, picked(i));
                assert_eq!(mixed, if picked(i) { labels[i] } else { other[i] });
            }
            let y = e.room(source.len());
            let arguments: [&dyn super::memory::Argument; 6] = [
                &mask,
                &e.put(&source),
                &e.put(&target),
                &(channels as i32),
                &n,
                &y,
            ];
            e.planes("class_mix", batch * channels, pixels, &arguments);
            for (i, got) in e.get(&y).into_iter().enumerate() {
                let pixel = i / (channels * pixels) * pixels + i % pixels;
                assert_eq!(got, if picked(pixel) { source[i] } else { target[i] });
            }
        }
    }
}
