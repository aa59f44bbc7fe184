//! Colour of every pixel: material, texture, light and haze, then the camera.

use super::canvas::{Canvas, Distance};
use super::look::Look;
use super::noise::{Field, fields};
use super::perspective::{FARTHEST, Perspective};

/// Distance at which half of all haze is reached, in metres.
const HALF_HAZE: f32 = 60.0;
/// Share of the horizon's colour in the sky at the horizon, and how it falls off upwards.
const SKY_GLOW: f32 = 0.8;

/// Image bytes (RGB, row by row) and depths of a painted canvas.
pub(super) fn shade(
    canvas: &Canvas,
    perspective: &Perspective,
    look: &Look,
) -> (Vec<u8>, Vec<f32>) {
    let (mut colours, depth) = surfaces(canvas, perspective, look);
    if look.blur > 0.0 {
        blur(&mut colours, canvas.width, look.blur.min(1.0 / 3.0));
    }
    (develop(&colours, canvas, look), depth)
}

/// Depth and haze of a pixel by where its part gets its distance.
#[derive(Clone, Copy, Default)]
struct Air {
    depth: f32,
    haze: f32,
}

impl Air {
    fn at(depth: f32, look: &Look) -> Self {
        Self {
            depth,
            haze: look.haze * depth / (depth + HALF_HAZE),
        }
    }
}

/// Colours under light and haze, and depths.
fn surfaces(canvas: &Canvas, perspective: &Perspective, look: &Look) -> (Vec<[f32; 3]>, Vec<f32>) {
    let (width, height) = (canvas.width, canvas.height);
    let pixel = canvas.pixel();
    let textures = fields(height as u32);
    let along: [Vec<Air>; 2] = [0, 1].map(|side| {
        let column = |x: usize| {
            let away = ((x as f32 + 0.5) * pixel - perspective.vanishing).abs();
            let nearness = perspective.block_nearness(side, away);
            Air::at(Perspective::depth(nearness), look)
        };
        (0..width).map(column).collect()
    });
    let light: Vec<f32> = (0..width)
        .map(|x| 1.0 + look.side_light * (2.0 * (x as f32 + 0.5) / width as f32 - 1.0))
        .collect();
    let mut colours = vec![[0.0; 3]; width * height];
    let mut depths = vec![0.0; width * height];
    for y in 0..height {
        let row = (y as f32 + 0.5) * pixel;
        let ground = Air::at(Perspective::depth(perspective.nearness(row).max(0.0)), look);
        let height_share = (row / perspective.horizon).clamp(0.0, 1.0);
        let sky = Air {
            depth: FARTHEST,
            haze: SKY_GLOW * height_share * height_share,
        };
        let mut x = 0;
        while x < width {
            // A run of pixels of one part shares all lookups but the texture's.
            let id = canvas.cover[y * width + x];
            let run = canvas.cover[y * width + x..(y + 1) * width]
                .iter()
                .take_while(|&&p| p == id)
                .count();
            let part = &canvas.parts[usize::from(id)];
            let material = &part.material;
            let (texture, mask) = textures.row(material.field, material.offset, y);
            let start = usize::from(material.offset[0]);
            for x in x..x + run {
                let i = y * width + x;
                let mut bright = light[x];
                let air = match part.distance {
                    Distance::Sky => {
                        bright = 1.0;
                        sky
                    }
                    Distance::Ground => {
                        bright *= f32::from(canvas.ground_light[i]) * (1.0 / 255.0);
                        ground
                    }
                    Distance::Block(side) => along[side][x],
                    Distance::Metres(depth) => Air::at(depth, look),
                };
                bright *= 1.0 + material.amplitude * texture[(x + start) & mask];
                depths[i] = air.depth;
                let clear = bright * (1.0 - air.haze);
                for c in 0..3 {
                    colours[i][c] = material.colour[c] * clear + look.haze_colour[c] * air.haze;
                }
            }
            x += run;
        }
    }
    (colours, depths)
}

/// A 3-tap blur along rows, then columns; the border repeats.
fn blur(colours: &mut [[f32; 3]], width: usize, side: f32) {
    let middle = 1.0 - 2.0 * side;
    let mix = |a: [f32; 3], b: [f32; 3], c: [f32; 3]| {
        [0, 1, 2].map(|i| side * (a[i] + c[i]) + middle * b[i])
    };
    for row in colours.chunks_exact_mut(width) {
        let mut before = row[0];
        for x in 0..width {
            let here = row[x];
            row[x] = mix(before, here, row[(x + 1).min(width - 1)]);
            before = here;
        }
    }
    let height = colours.len() / width;
    let mut before = colours[..width].to_vec();
    for y in 0..height {
        let (head, tail) = colours.split_at_mut((y + 1) * width);
        let here = &mut head[y * width..];
        for x in 0..width {
            let this = here[x];
            let below = tail.get(x).copied().unwrap_or(this);
            here[x] = mix(before[x], this, below);
            before[x] = this;
        }
    }
}

/// Exposure, sensor noise and tone curve, to bytes.
fn develop(colours: &[[f32; 3]], canvas: &Canvas, look: &Look) -> Vec<u8> {
    let width = canvas.width;
    // The sensor's grain is a pixel at every size.
    let white = fields(canvas.height as u32);
    let mut bytes = vec![0; 3 * colours.len()];
    for (y, (line, out)) in colours
        .chunks_exact(width)
        .zip(bytes.chunks_exact_mut(3 * width))
        .enumerate()
    {
        for c in 0..3 {
            let offset = look.noise_offsets[c];
            let (noise, mask) = white.row(Field::White, offset, y);
            let start = usize::from(offset[0]);
            for (x, colour) in line.iter().enumerate() {
                let v = colour[c] * look.gain[c] + look.noise * noise[(x + start) & mask];
                let v = v.clamp(0.0, 1.0);
                let v = v + look.tone * v * (1.0 - v);
                out[3 * x + c] = (255.0 * v + 0.5) as u8;
            }
        }
    }
    bytes
}
