//! Opening the sets of images that a configuration names.

use std::sync::Arc;

use mic_data::cache::{Cached, DiskCache, Kept};
use mic_data::class_stats::{CachedStats, StatsPlace};
use mic_data::datasets::{
    CamVid, FileSet, Folder, FolderConfig, ImageFolder, Selection, WithMargins, custom,
};
use mic_data::scenes::StreetScenes;
use mic_data::{ClassStats, Classes, LabelMap, LabelledSet, UnlabelledSet, WithoutLabels};

use crate::config::{Config, FolderSource, SetConfig, SetKind};
use crate::{Error, Result};

/// Opens a set with its labels, train ids of `classes`. Images come at their own size; files are
/// read when asked for.
///
/// # Errors
///
/// [`Error::Config`] names the table and the folder that is missing or empty, or the first image
/// without label.
pub fn labelled(set: &SetConfig, classes: &Classes) -> Result<Arc<dyn LabelledSet>> {
    Ok(match files(set, classes, true)? {
        Some(files) => Arc::new(files),
        None => scenes(set)?,
    })
}

/// Opens a set without its labels; label files need not be there.
///
/// # Errors
///
/// Those of [`labelled`], labels aside.
pub fn unlabelled(set: &SetConfig, classes: &Classes) -> Result<Arc<dyn UnlabelledSet>> {
    let opened: Arc<dyn UnlabelledSet> = match files(set, classes, false)? {
        Some(files) => Arc::new(files),
        None => Arc::new(WithoutLabels(scenes(set)?)),
    };
    Ok(match set.margins {
        Some(margins) => Arc::new(WithMargins::new(opened, margins)),
        None => opened,
    })
}

/// The files of a set, with or without those of the labels; `None` for sets that are no files.
///
/// # Errors
///
/// Those of [`labelled`].
pub fn files(set: &SetConfig, classes: &Classes, labelled: bool) -> Result<Option<FileSet>> {
    let opened = match &set.kind {
        SetKind::Scenes { .. } => return Ok(None),
        SetKind::CamVid { root, domain } => CamVid::open(root, *domain).map(CamVid::into_files),
        SetKind::Published { root, part, list } => {
            let list = list.clone();
            part.open(root, &Selection { list, labelled })
        }
        SetKind::Folder(folder) => open_folder(folder, classes, labelled),
    };
    // A set that cannot be opened is a fault of the table that names it.
    let opened = opened.map_err(|error| Error::Config(format!("{}: {error}", set.key)));
    let opened = opened?;
    Ok(Some(if labelled {
        opened
    } else {
        opened.without_labels()
    }))
}

/// The source of a run: as [`labelled`], its files behind `cache`, if there is one.
///
/// # Errors
///
/// Those of [`labelled`].
pub fn source(
    set: &SetConfig,
    classes: &Classes,
    cache: Option<&Arc<DiskCache>>,
) -> Result<Arc<dyn LabelledSet>> {
    let (Some(cache), Some(files)) = (cache, files(set, classes, true)?) else {
        return labelled(set, classes);
    };
    let label = files.samples().first();
    let label = label.and_then(|sample| sample.label.as_ref());
    let map = label.map_or(0, |label| label.map.fingerprint());
    let options = format!("{} {map:016x}", naming(set));
    let cached = Cached::new(files, Arc::clone(cache), kept(set), options);
    Ok(Arc::new(cached))
}

/// The target of a run: as [`unlabelled`], its files behind `cache`, if there is one.
///
/// # Errors
///
/// Those of [`unlabelled`].
pub fn target(
    set: &SetConfig,
    classes: &Classes,
    cache: Option<&Arc<DiskCache>>,
) -> Result<Arc<dyn UnlabelledSet>> {
    let opened = unlabelled(set, classes)?;
    let Some(cache) = cache else {
        return Ok(opened);
    };
    let options = format!("{} {:?}", naming(set), set.margins);
    let cached = Cached::new(opened, Arc::clone(cache), kept(set), options);
    Ok(Arc::new(cached))
}

/// The first step of the pipeline.
fn kept(set: &SetConfig) -> Kept {
    set.resize.map_or(Kept::AsDecoded, Kept::Within)
}

/// What tells the names of a set's images apart from those that another set gives the same files.
fn naming(set: &SetConfig) -> String {
    match &set.kind {
        SetKind::Scenes { .. } => String::new(),
        SetKind::CamVid { root, .. } | SetKind::Published { root, .. } => {
            format!("{}", root.display())
        }
        SetKind::Folder(FolderSource {
            images,
            image_suffix,
            list,
            patterns,
            ..
        }) => format!("{images:?} {image_suffix:?} {list:?} {patterns:?}"),
    }
}

/// Class statistics of the source, from the files that an earlier run or the original's tools left
/// beside it if they still fit, else counted with `threads` threads and kept there. `counted` is
/// called after every image that is counted.
///
/// # Errors
///
/// Those of [`labelled`], and, without `data.skip_bad`, of the first label that cannot be read.
pub fn source_stats(
    config: &Config,
    threads: usize,
    counted: &(dyn Fn() + Sync),
) -> Result<CachedStats> {
    let (source, classes) = (&config.data.source, config.classes.len());
    let Some(files) = files(source, &config.classes, true)? else {
        let scenes = scenes(source)?;
        return Ok(CachedStats {
            stats: ClassStats::count_with(scenes.as_ref(), classes, threads, counted)?,
            read_from: None,
            notes: Vec::new(),
            bad: Vec::new(),
        });
    };
    let cache = config.data.stats_cache.as_deref();
    let (in_root, selection) = match &source.kind {
        // Where the original's tools put them; those of a part of the set must not replace them.
        SetKind::Published { part, list, .. } => (
            part.keeps_stats_in_root() && list.is_none(),
            format!("{part:?} {list:?}"),
        ),
        SetKind::Folder(FolderSource {
            images,
            labels,
            image_suffix,
            label_suffix,
            list,
            patterns,
            ..
        }) => {
            let chosen = (images, labels, image_suffix, label_suffix, list, patterns);
            (false, format!("{chosen:?}"))
        }
        SetKind::CamVid { domain, .. } => (false, format!("{domain:?}")),
        SetKind::Scenes { .. } => (false, String::new()),
    };
    let place = StatsPlace::of(&files, classes, in_root, &selection, cache);
    let loading = &config.data.loading;
    let past_bad = loading.skip_bad > 0;
    let stats = place.load_or_count(&files, classes, threads, counted, past_bad);
    Ok(stats.map_err(|error| loading.advise(error))?)
}

fn scenes(set: &SetConfig) -> Result<Arc<dyn LabelledSet>> {
    let SetKind::Scenes {
        scene,
        split,
        count,
        seed,
    } = &set.kind
    else {
        return Err(Error::Config(format!("{}: no built-in scenes", set.key)));
    };
    let scenes = StreetScenes::new(scene.clone(), *seed, *split, *count);
    let scenes = scenes.map_err(|error| Error::Config(format!("{}: {error}", set.key)))?;
    Ok(Arc::new(scenes))
}

fn open_folder(
    folder: &FolderSource,
    classes: &Classes,
    labelled: bool,
) -> mic_data::Result<FileSet> {
    let map = folder
        .map
        .clone()
        .unwrap_or_else(|| LabelMap::train_ids(classes.len()));
    if let Some((images, labels)) = &folder.patterns {
        let labels = labels.as_ref().filter(|_| labelled);
        return custom::open_pattern(&folder.root, images, labels.map(|labels| (labels, map)));
    }
    let config = FolderConfig {
        images: folder.images.clone(),
        // A list may name the labels itself.
        labels: folder.labels.clone().unwrap_or_else(|| folder.root.clone()),
        image_suffix: folder.image_suffix.clone(),
        label_suffix: folder.label_suffix.clone(),
        map,
    };
    if let Some(list) = &folder.list {
        return custom::open_list(list, &folder.root, &config, labelled);
    }
    if labelled {
        Folder::open(config).map(Folder::into_files)
    } else {
        ImageFolder::open(&config.images, &config.image_suffix).map(ImageFolder::into_files)
    }
}
