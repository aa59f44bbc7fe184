//! The classes a scene can contain, with Cityscapes' train ids, names and colours.

use serde::{Deserialize, Serialize};

/// A class that the generator paints. The discriminant is the Cityscapes train id.
///
/// Train (16) and motorcycle (17) never occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Class {
    Road = 0,
    Sidewalk = 1,
    Building = 2,
    Wall = 3,
    Fence = 4,
    Pole = 5,
    TrafficLight = 6,
    TrafficSign = 7,
    Vegetation = 8,
    Terrain = 9,
    Sky = 10,
    Person = 11,
    Rider = 12,
    Car = 13,
    Truck = 14,
    Bus = 15,
    Bicycle = 18,
    /// The bonnet of the camera's own car: 255, counted by no loss and no metric.
    Ignore = 255,
}

impl Class {
    /// All classes that occur, without [`Class::Ignore`], by train id.
    pub const ALL: [Self; 17] = [
        Self::Road,
        Self::Sidewalk,
        Self::Building,
        Self::Wall,
        Self::Fence,
        Self::Pole,
        Self::TrafficLight,
        Self::TrafficSign,
        Self::Vegetation,
        Self::Terrain,
        Self::Sky,
        Self::Person,
        Self::Rider,
        Self::Car,
        Self::Truck,
        Self::Bus,
        Self::Bicycle,
    ];

    /// The classes that have instance boxes.
    pub const THINGS: [Self; 6] = [
        Self::Person,
        Self::Rider,
        Self::Car,
        Self::Truck,
        Self::Bus,
        Self::Bicycle,
    ];

    /// The Cityscapes train id.
    pub const fn id(self) -> u8 {
        self as u8
    }
}

/// Names of the 19 Cityscapes train ids.
pub const NAMES: [&str; 19] = [
    "road",
    "sidewalk",
    "building",
    "wall",
    "fence",
    "pole",
    "traffic light",
    "traffic sign",
    "vegetation",
    "terrain",
    "sky",
    "person",
    "rider",
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
];

/// Cityscapes' display colours of the 19 train ids, RGB.
pub const PALETTE: [[u8; 3]; 19] = [
    [128, 64, 128],
    [244, 35, 232],
    [70, 70, 70],
    [102, 102, 156],
    [190, 153, 153],
    [153, 153, 153],
    [250, 170, 30],
    [220, 220, 0],
    [107, 142, 35],
    [152, 251, 152],
    [70, 130, 180],
    [220, 20, 60],
    [255, 0, 0],
    [0, 0, 142],
    [0, 0, 70],
    [0, 60, 100],
    [0, 80, 100],
    [0, 0, 230],
    [119, 11, 32],
];
