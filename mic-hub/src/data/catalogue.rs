//! What is known of the data sets.

use mic_data::classification;
use mic_data::datasets::{Published, Split};

use crate::{Error, Result};

/// A data set and where to get it.
#[derive(Clone, Copy, Debug)]
pub struct DataSet {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Its folder below that of all data sets.
    pub folder: &'static str,
    /// The page to get it from.
    pub page: &'static str,
    /// Whether its page asks for an account or for a form to be filled in.
    pub account: bool,
    /// Under which conditions it may be used.
    pub licence: &'static str,
    /// Which archives to take, and how they must lie in the folder.
    pub layout: &'static str,
    /// The command that prepares it; none is needed where this is empty.
    pub prepare: &'static str,
    /// What is checked.
    pub parts: &'static [Part],
}

/// A part of a data set that can be checked.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Images for segmentation. Labels are opened only where `labels` says so: those of sets that
    /// are targets stay closed.
    Segmentation {
        /// Which.
        set: Published,
        /// Whether there are labels.
        labelled: bool,
        /// Whether labels may be opened.
        labels: bool,
        /// Width and height of all images, where they are alike.
        size: Option<(u32, u32)>,
    },
    /// Images of classes.
    Classification {
        /// Which set.
        set: classification::Published,
        /// Which domain.
        domain: &'static str,
        /// Images as published; `None` where the list decides.
        count: Option<usize>,
    },
    /// Digits in IDX files.
    Digits {
        /// Name in front of the files.
        set: &'static str,
        /// `train` or `test`.
        split: &'static str,
        /// Images as published.
        count: usize,
    },
    /// Images with boxes: a name of [`mic_data::detection::CATALOGUE`].
    Detection(&'static str),
}

const fn segmentation(
    set: Published,
    (labelled, labels): (bool, bool),
    size: Option<(u32, u32)>,
) -> Part {
    Part::Segmentation {
        set,
        labelled,
        labels,
        size,
    }
}

const fn visda(domain: &'static str, count: usize) -> Part {
    Part::Classification {
        set: classification::Published::VisDa2017,
        domain,
        count: Some(count),
    }
}

const fn office_home(domain: &'static str, count: usize) -> Part {
    Part::Classification {
        set: classification::Published::OfficeHome,
        domain,
        count: Some(count),
    }
}

const fn domain_net(domain: &'static str) -> Part {
    Part::Classification {
        set: classification::Published::DomainNet,
        domain,
        count: None,
    }
}

const fn digits(set: &'static str, split: &'static str, count: usize) -> Part {
    Part::Digits { set, split, count }
}

const OPEN: (bool, bool) = (true, true);
const CLOSED: (bool, bool) = (true, false);
const NONE: (bool, bool) = (false, false);
const FULL_HD: Option<(u32, u32)> = Some((1920, 1080));
const CITYSCAPES: Option<(u32, u32)> = Some((2048, 1024));

/// All data sets that runs of the paper use.
pub const DATA_SETS: &[DataSet] = &[
    DataSet {
        name: "gta",
        title: "GTA5 (Playing for Data): 24,966 rendered street scenes with labels",
        folder: "gta",
        page: "https://download.visinf.tu-darmstadt.de/data/from_games/",
        account: false,
        licence: "research and education; the game's maker keeps its rights",
        layout: "unpack 01_images.zip to 10_images.zip and 01_labels.zip to 10_labels.zip: \
                 images/00001.png, labels/00001.png",
        prepare: "mic-seg data prepare gta {root}",
        parts: &[segmentation(Published::Gta, OPEN, None)],
    },
    DataSet {
        name: "synthia",
        title: "SYNTHIA-RAND-CITYSCAPES: 9,400 rendered street scenes with labels",
        folder: "synthia",
        page: "https://synthia-dataset.net/downloads/",
        account: false,
        licence: "CC BY-NC-SA 3.0: not commercial",
        layout: "unpack SYNTHIA_RAND_CITYSCAPES.rar: RGB/0000000.png, GT/LABELS/0000000.png",
        prepare: "mic-seg data prepare synthia {root}",
        parts: &[segmentation(Published::Synthia, OPEN, Some((1280, 760)))],
    },
    DataSet {
        name: "cityscapes",
        title: "Cityscapes: 5,000 street scenes of German cities with labels",
        folder: "cityscapes",
        page: "https://www.cityscapes-dataset.com/downloads/",
        account: true,
        licence: "Cityscapes' own: not commercial",
        layout: "unpack leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip: \
                 leftImg8bit/train/aachen/*.png, gtFine/train/aachen/*.png",
        prepare: "mic-seg data prepare cityscapes {root}",
        parts: &[
            segmentation(Published::Cityscapes(Split::Train), CLOSED, CITYSCAPES),
            segmentation(Published::Cityscapes(Split::Val), OPEN, CITYSCAPES),
        ],
    },
    DataSet {
        name: "acdc",
        title: "ACDC: 4,006 street scenes in fog, night, rain and snow, with labels",
        folder: "acdc",
        page: "https://acdc.vision.ee.ethz.ch/download",
        account: true,
        licence: "ACDC's own: not commercial",
        layout: "unpack rgb_anon_trainvaltest.zip and gt_trainval.zip: \
                 rgb_anon/fog/train/GOPR0475/*.png, gt/fog/train/GOPR0475/*.png",
        prepare: "",
        parts: &[
            segmentation(Published::Acdc(Split::Train, None), CLOSED, FULL_HD),
            segmentation(Published::Acdc(Split::Val, None), OPEN, FULL_HD),
        ],
    },
    DataSet {
        name: "dark-zurich",
        title: "Dark Zurich: 2,416 street scenes at night, 50 of them more with labels",
        folder: "dark_zurich",
        page: "https://www.trace.ethz.ch/publications/2019/GCMA_UIoU/",
        account: false,
        licence: "research, not commercial",
        layout: "unpack Dark_Zurich_train_anon.zip, Dark_Zurich_val_anon.zip and \
                 Dark_Zurich_test_anon_withoutGt.zip: rgb_anon/train/night/*/*.png, rgb_anon/val/, \
                 gt/val/",
        prepare: "",
        parts: &[
            segmentation(Published::DarkZurich(Split::Train), NONE, FULL_HD),
            segmentation(Published::DarkZurich(Split::Val), OPEN, FULL_HD),
        ],
    },
    DataSet {
        name: "visda-2017",
        title: "VisDA-2017: 152,397 renderings and 55,388 photographs of 12 classes",
        folder: "visda-2017",
        page: "https://github.com/VisionLearningGroup/taskcv-2017-public/tree/master/classification",
        account: false,
        licence: "see the page; the photographs are from COCO",
        layout: "unpack train.tar and validation.tar: train/aeroplane/*.png, \
                 validation/aeroplane/*.jpg",
        prepare: "",
        parts: &[visda("Synthetic", 152_397), visda("Real", 55_388)],
    },
    DataSet {
        name: "office-home",
        title: "Office-Home: 15,588 pictures of 65 classes in four styles",
        folder: "office-home",
        page: "https://www.hemanthdv.org/officeHomeDataset.html",
        account: false,
        licence: "research, not commercial",
        layout: "unpack OfficeHomeDataset_10072016.zip: Art/Alarm_Clock/*.jpg, Clipart/, Product/, \
                 Real World/",
        prepare: "",
        parts: &[
            office_home("Ar", 2_427),
            office_home("Cl", 4_365),
            office_home("Pr", 4_439),
            office_home("Rw", 4_357),
        ],
    },
    DataSet {
        name: "domainnet",
        title: "DomainNet (cleaned): pictures of 345 classes in six styles",
        folder: "domainnet",
        page: "https://ai.bu.edu/M3SDA/",
        account: false,
        licence: "see the page: fair use, research",
        layout: "unpack the six archives of the cleaned version beside each other, and their lists \
                 into image_list/: clipart/*/*.jpg, image_list/clipart_train.txt",
        prepare: "",
        parts: &[
            domain_net("c"),
            domain_net("i"),
            domain_net("p"),
            domain_net("q"),
            domain_net("r"),
            domain_net("s"),
        ],
    },
    DataSet {
        name: "digits",
        title: "MNIST and USPS: handwritten digits",
        folder: "digits",
        page: "https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass.html (usps, mnist)",
        account: false,
        licence: "MNIST: CC BY-SA 3.0; USPS: none is stated",
        layout: "IDX files, plain or with .gz: mnist-train-images-idx3-ubyte, \
                 mnist-train-labels-idx1-ubyte, mnist-test-*, usps-train-*, usps-test-*",
        prepare: "",
        parts: &[
            digits("mnist", "train", 60_000),
            digits("mnist", "test", 10_000),
            digits("usps", "train", 7_291),
            digits("usps", "test", 2_007),
        ],
    },
    DataSet {
        name: "foggy-cityscapes",
        title: "Foggy Cityscapes: Cityscapes with simulated fog, for detection",
        folder: "foggy_cityscapes",
        page: "https://www.cityscapes-dataset.com/downloads/",
        account: true,
        licence: "Cityscapes' own: not commercial",
        layout: "unpack leftImg8bit_trainvaltest_foggy.zip: leftImg8bit_foggy/train/aachen/*.png; and \
                 the annotations, made from gtFine: annotations/foggy_instancesonly_filtered_gtFine_\
                 train_poly.json",
        prepare: "",
        parts: &[
            Part::Detection("foggy_cityscapes_fine_instanceonly_seg_train_cocostyle"),
            Part::Detection("foggy_cityscapes_fine_instanceonly_seg_val_cocostyle"),
            Part::Detection("cityscapes_fine_instanceonly_seg_train_cocostyle"),
        ],
    },
];

/// The data set of a name.
///
/// # Errors
/// No such data set: lists the names.
pub fn find(name: &str) -> Result<&'static DataSet> {
    let found = DATA_SETS
        .iter()
        .find(|set| set.name == name || set.folder == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = DATA_SETS.iter().map(|set| set.name).collect();
        Error::Usage(format!(
            "there is no data set {name:?}; known are {}",
            names.join(", ")
        ))
    })
}
