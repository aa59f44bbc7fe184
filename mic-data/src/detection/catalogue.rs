//! Where the reference expects its data sets.

/// A data set of the reference with COCO annotations. Paths are below the folder of all data sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CatalogueEntry {
    /// The reference's name.
    pub name: &'static str,
    /// Folder of the images.
    pub images: &'static str,
    /// Annotation file.
    pub annotations: &'static str,
}

const fn entry(
    name: &'static str,
    images: &'static str,
    annotations: &'static str,
) -> CatalogueEntry {
    CatalogueEntry {
        name,
        images,
        annotations,
    }
}

/// The names of the reference for data sets with boxes.
pub const CATALOGUE: &[CatalogueEntry] = &[
    entry(
        "cityscapes_fine_instanceonly_seg_train_cocostyle",
        "cityscapes/leftImg8bit",
        "cityscapes/annotations/instancesonly_filtered_gtFine_train_poly.json",
    ),
    entry(
        "cityscapes_fine_instanceonly_seg_val_cocostyle",
        "cityscapes/leftImg8bit",
        "cityscapes/annotations/instancesonly_filtered_gtFine_val_poly.json",
    ),
    entry(
        "cityscapes_fine_instanceonly_seg_test_cocostyle",
        "cityscapes/leftImg8bit",
        "cityscapes/annotations/instancesonly_filtered_gtFine_test_poly.json",
    ),
    entry(
        "foggy_cityscapes_fine_instanceonly_seg_train_cocostyle",
        "foggy_cityscapes/leftImg8bit_foggy",
        "foggy_cityscapes/annotations/foggy_instancesonly_filtered_gtFine_train_poly.json",
    ),
    entry(
        "foggy_cityscapes_fine_instanceonly_seg_val_cocostyle",
        "foggy_cityscapes/leftImg8bit_foggy",
        "foggy_cityscapes/annotations/foggy_instancesonly_filtered_gtFine_val_poly.json",
    ),
    entry(
        "sim10k_cocostyle",
        "sim10k/JPEGImages",
        "sim10k/car_instances.json",
    ),
    entry(
        "kitti_cocostyle",
        "kitti/training/image_2",
        "kitti/annotations/caronly_training.json",
    ),
    entry(
        "cityscapes_car_train_cocostyle",
        "cityscapes/images",
        "cityscapes/annotations/caronly_filtered_gtFine_train.json",
    ),
    entry(
        "cityscapes_car_val_cocostyle",
        "cityscapes/images",
        "cityscapes/annotations/caronly_filtered_gtFine_val.json",
    ),
    entry(
        "clipart_cocostyle",
        "clipart/JPEGImages",
        "clipart/instances.json",
    ),
    entry(
        "watercolor_train_cocostyle",
        "watercolor/JPEGImages",
        "watercolor/instances_train.json",
    ),
    entry(
        "watercolor_val_cocostyle",
        "watercolor/JPEGImages",
        "watercolor/instances_test.json",
    ),
    entry(
        "voc_2007_train_watercolor_cocostyle",
        "voc/VOC2007/JPEGImages",
        "voc/annotations/pascal_train2007.json",
    ),
    entry(
        "voc_2007_val_watercolor_cocostyle",
        "voc/VOC2007/JPEGImages",
        "voc/annotations/pascal_val2007.json",
    ),
    entry(
        "voc_2012_train_watercolor_cocostyle",
        "voc/VOC2012/JPEGImages",
        "voc/annotations/pascal_train2012.json",
    ),
    entry(
        "voc_2012_val_watercolor_cocostyle",
        "voc/VOC2012/JPEGImages",
        "voc/annotations/pascal_val2012.json",
    ),
    entry(
        "voc_2007_train_cocostyle",
        "voc/VOC2007/JPEGImages",
        "voc/VOC2007/Annotations/pascal_train2007.json",
    ),
    entry(
        "voc_2007_val_cocostyle",
        "voc/VOC2007/JPEGImages",
        "voc/VOC2007/Annotations/pascal_val2007.json",
    ),
    entry(
        "voc_2007_test_cocostyle",
        "voc/VOC2007/JPEGImages",
        "voc/VOC2007/Annotations/pascal_test2007.json",
    ),
    entry(
        "voc_2012_train_cocostyle",
        "voc/VOC2012/JPEGImages",
        "voc/VOC2012/Annotations/pascal_train2012.json",
    ),
    entry(
        "voc_2012_val_cocostyle",
        "voc/VOC2012/JPEGImages",
        "voc/VOC2012/Annotations/pascal_val2012.json",
    ),
    entry(
        "coco_2017_train",
        "coco/train2017",
        "coco/annotations/instances_train2017.json",
    ),
    entry(
        "coco_2017_val",
        "coco/val2017",
        "coco/annotations/instances_val2017.json",
    ),
    entry(
        "coco_2014_train",
        "coco/train2014",
        "coco/annotations/instances_train2014.json",
    ),
    entry(
        "coco_2014_val",
        "coco/val2014",
        "coco/annotations/instances_val2014.json",
    ),
];

/// The entry of a name.
pub fn catalogue(name: &str) -> Option<&'static CatalogueEntry> {
    CATALOGUE.iter().find(|entry| entry.name == name)
}
