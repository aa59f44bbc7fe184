//! From a scene graph to pixels.

use image::{GrayImage, RgbImage};

use super::boxes::{self, InstanceBox};
use super::canvas::Canvas;
use super::draw;
use super::graph::SceneGraph;
use super::shade;
use crate::{Error, Result};

/// Blocks and objects that a graph may have; the drawn ones have about twenty.
const MOST_THINGS: usize = 2000;

/// A rendered scene. All maps have the image's size, row by row.
#[derive(Clone, Debug)]
pub struct Scene {
    /// RGB, 8 bits a channel.
    pub image: RgbImage,
    /// Cityscapes train ids, 255 for pixels without a class.
    pub label: GrayImage,
    /// Visible things, far to near.
    pub boxes: Vec<InstanceBox>,
    /// The thing at each pixel, 0 for none; also those too small or too hidden for a box.
    pub instances: Vec<u16>,
    /// Distance at each pixel, about metres, 250 for the sky. Things are flat and upright.
    pub depth: Vec<f32>,
}

/// Draws a scene graph. A pure function: no randomness is left.
///
/// # Errors
/// If the graph's configuration does not pass its check, or the graph has over 2000 things.
pub fn render(graph: &SceneGraph) -> Result<Scene> {
    graph.config.check()?;
    let things = graph.blocks.len() + graph.objects.len() + graph.clouds.len();
    if things > MOST_THINGS {
        return Err(Error::Invalid(format!(
            "scene graph has {things} clouds, blocks and objects: expected at most {MOST_THINGS}"
        )));
    }
    let (width, height) = (graph.config.width, graph.config.height);
    let perspective = &graph.perspective;
    let mut canvas = Canvas::new(width as usize, height as usize);
    draw::sky(&mut canvas, &graph.surfaces, &graph.clouds);
    draw::ground(&mut canvas, perspective, &graph.surfaces);
    for block in &graph.blocks {
        draw::block(&mut canvas, perspective, block);
    }
    for shadow in &graph.look.shadows {
        draw::shadow(&mut canvas, perspective, shadow);
    }
    for object in &graph.objects {
        draw::object(&mut canvas, perspective, object, graph.look.contact_light);
    }
    if let Some(hood) = &graph.hood {
        draw::hood(&mut canvas, hood);
    }

    let class_of: Vec<u8> = canvas.parts.iter().map(|p| p.class.id()).collect();
    let labels = canvas.cover.iter().map(|&p| class_of[usize::from(p)]);
    let (instances, boxes) = boxes::instances(&canvas, &graph.config);
    let (pixels, depth) = shade::shade(&canvas, perspective, &graph.look);
    let lost = || Error::Invalid(format!("scene of {width}x{height} lost pixels"));
    Ok(Scene {
        image: RgbImage::from_raw(width, height, pixels).ok_or_else(lost)?,
        label: GrayImage::from_raw(width, height, labels.collect()).ok_or_else(lost)?,
        boxes,
        instances,
        depth,
    })
}
