//! Built-in street scenes: labelled images made from a seed, for trying out and testing
//! segmentation and detection across a domain gap without any data on disk.
//!
//! A [`SceneGraph`] holds every random choice of one image as plain data; [`render`] turns it into
//! a [`Scene`]: image, label map in Cityscapes train ids, instance boxes and depth. All lengths
//! are in image heights, so one graph renders at any size. [`StreetScenes`] is a whole data set,
//! [`SceneObjects`] one for detection, clear or in [`Fog`].
//!
//! The *source* style is clean and flat, like a game. The *target* style has other colours,
//! textures, light, haze, blur and sensor noise, and some of its classes look alike locally and are
//! told apart by shape and place: road and sidewalk, wall and building, truck and bus, person and
//! rider. All arithmetic is `+ - * /` and `sqrt` on `f32`, so results are the same on every machine.

mod boxes;
mod canvas;
mod class;
mod config;
mod draw;
mod fog;
mod graph;
mod layout;
mod look;
mod noise;
mod objects;
mod palette;
mod perspective;
mod placement;
mod render;
mod set;
mod shade;

pub use boxes::InstanceBox;
pub use class::{Class, NAMES, PALETTE};
pub use config::{SceneConfig, Style};
pub use fog::Fog;
pub use graph::{
    Attachment, Bicycle, Block, BlockKind, Car, Clothes, Cloud, Hood, Object, ObjectKind, Person,
    Pole, SceneGraph, Surfaces, Tree, Wagon, WagonBody,
};
pub use look::{Look, Shadow};
pub use noise::Field;
pub use objects::{SceneObjects, SceneObjectsConfig};
pub use palette::Material;
pub use perspective::{Perspective, Verge};
pub use render::{Scene, render};
pub use set::{Split, StreetScenes};
