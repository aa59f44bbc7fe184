//! Every random choice of one scene, as plain data.

use serde::{Deserialize, Serialize};

use super::config::SceneConfig;
use super::look::Look;
use super::palette::Material;
use super::perspective::Perspective;

/// One street scene before it is drawn. Lengths are in image heights, columns from the left and
/// rows from the top, so changing `config.width` and `config.height` by one factor renders the same
/// scene at another size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SceneGraph {
    /// Size, style and which instances get boxes.
    pub config: SceneConfig,
    /// The ground plane.
    pub perspective: Perspective,
    /// Materials of ground and sky.
    pub surfaces: Surfaces,
    /// Clouds, painted on the sky.
    pub clouds: Vec<Cloud>,
    /// What lines the street, in the order of painting (far before near).
    pub blocks: Vec<Block>,
    /// What stands on the ground, in the order of painting (far before near).
    pub objects: Vec<Object>,
    /// The bonnet of the camera's car, if it is in the picture.
    pub hood: Option<Hood>,
    /// Light, haze and camera.
    pub look: Look,
}

/// Materials of ground and sky.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Surfaces {
    pub sky: Material,
    pub road: Material,
    /// The dashed centre line, if there is one; class road.
    pub marking: Option<Material>,
    pub sidewalk: Material,
    /// The kerb stone; class sidewalk.
    pub kerb: Material,
    pub grass: Material,
}

/// A cloud of three ellipses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Cloud {
    pub x: f32,
    pub y: f32,
    pub radius: f32,
    pub material: Material,
}

/// A stretch of what lines the street on one side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Block {
    /// 0 left, 1 right.
    pub side: u8,
    /// Distance of the far end from the vanishing column.
    pub from: f32,
    /// Distance of the near end from the vanishing column.
    pub to: f32,
    /// Stands on the horizon at the end of the street instead of beside the road.
    pub on_horizon: bool,
    /// What it is.
    pub kind: BlockKind,
}

/// What lines the street. Heights `above` count from the horizon at nearness 1, heights `height`
/// from the ground at nearness 1; `pitch` is along the street in metres.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum BlockKind {
    /// A facade with a grid of windows, and a roof strip if `roof` is there.
    Building {
        above: f32,
        storeys: u8,
        pitch: f32,
        facade: Material,
        window: Material,
        roof: Option<Material>,
    },
    /// Trees or bushes with a wavy top.
    Vegetation {
        above: f32,
        wave: f32,
        phase: f32,
        leaves: Material,
    },
    /// A wall with a coping.
    Wall {
        height: f32,
        stone: Material,
        coping: Material,
    },
    /// Bars with gaps; the gaps count as fence.
    Fence {
        height: f32,
        pitch: f32,
        bars: Material,
        gaps: Material,
    },
}

/// Something that stands on the ground.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Object {
    /// 0 at the horizon, 1 at the bottom row.
    pub nearness: f32,
    /// Column of its middle.
    pub x: f32,
    /// What it is.
    pub kind: ObjectKind,
}

/// What stands on the ground.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum ObjectKind {
    Pole(Pole),
    Tree(Tree),
    Car(Car),
    Wagon(Wagon),
    Person(Person),
    /// A person on a bicycle: two instances, rider and bicycle.
    Rider(Person, Bicycle),
    Bicycle(Bicycle),
}

/// A pole and what hangs on it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Pole {
    pub width: f32,
    pub height: f32,
    pub metal: Material,
    pub attachment: Attachment,
}

/// What hangs on a pole; `size` is the half-height.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Attachment {
    /// A street lamp's arm, class pole, towards the road.
    Arm { length: f32 },
    /// A round sign with a rim.
    Disc {
        size: f32,
        face: Material,
        rim: Material,
    },
    /// A square sign with a rim.
    Square {
        size: f32,
        face: Material,
        rim: Material,
    },
    /// A traffic light; `lit` is 0 red, 1 amber, 2 green.
    Light {
        size: f32,
        case: Material,
        lamps: [Material; 3],
        lit: u8,
    },
}

/// A tree; trunk and crown are vegetation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Tree {
    pub height: f32,
    pub crown: f32,
    pub leaves: Material,
    pub trunk: Material,
}

/// A car, seen from the side or from an end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Car {
    pub width: f32,
    pub height: f32,
    pub side_view: bool,
    /// Points right (side view) or shows its front (end view).
    pub forward: bool,
    pub paint: Material,
    pub glass: Material,
    pub tyres: Material,
    pub lamps: Material,
}

/// A bus or a truck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Wagon {
    pub width: f32,
    pub height: f32,
    pub side_view: bool,
    /// Points right (side view) or shows its front (end view).
    pub forward: bool,
    pub body: WagonBody,
    pub paint: Material,
    pub glass: Material,
    pub tyres: Material,
    pub lamps: Material,
}

/// What tells a bus from a truck.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WagonBody {
    /// A band of windows in the upper half.
    Bus,
    /// A plain box and a lower cab.
    Truck {
        /// The cab's paint.
        cab: Material,
    },
}

/// Colours of a person.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Clothes {
    pub coat: Material,
    pub legs: Material,
    pub skin: Material,
    pub hair: Material,
}

/// A person, on foot or on a bicycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Person {
    pub height: f32,
    pub stride: f32,
    pub clothes: Clothes,
}

/// A bicycle seen from the side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Bicycle {
    /// Radius of a wheel.
    pub wheel: f32,
    /// Points right.
    pub forward: bool,
    pub frame: Material,
    pub tyres: Material,
    /// What fills the wheels, as annotators fill them.
    pub spokes: Material,
}

/// The bonnet of the camera's own car, class ignore.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Hood {
    pub height: f32,
    pub paint: Material,
}
