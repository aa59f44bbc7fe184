//! The kernels' sources, and PTX made of them.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use candle_core::cuda_backend::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};
use candle_core::{Error, Result};
use parking_lot::Mutex;

/// A file of kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source {
    /// Its name, which is also that of the module on the device.
    pub(super) name: &'static str,
    text: &'static str,
}

macro_rules! sources {
    ($($constant:ident $file:literal),* $(,)?) => {
        $(
            #[doc = concat!("`kernels/", $file, ".cu`.")]
            pub(super) const $constant: Source = Source {
                name: $file,
                text: include_str!(concat!("../../kernels/", $file, ".cu")),
            };
        )*
    };
}

sources! {
    ATTENTION "attention",
    AVG_POOL "avg_pool",
    BATCH_NORM "batch_norm",
    CROSS_ENTROPY "cross_entropy",
    DEPTHWISE_CONV "depthwise_conv",
    GELU "gelu",
    GROUP_NORM "group_norm",
    LAYER_NORM "layer_norm",
    MAX_POOL "max_pool",
    RELU "relu",
    RESIZE "resize",
    ROI_ALIGN "roi_align",
    SOFTMAX "softmax",
    SUM_ROWS "sum_rows",
}

/// PTX by source and architecture.
type Compiled = Mutex<HashMap<(&'static str, &'static str), Arc<str>>>;

const COMMON: &str = include_str!("../../kernels/common.cuh");

impl Source {
    /// The text with what it includes.
    fn unit(self) -> String {
        self.text.replace("#include \"common.cuh\"", COMMON)
    }

    /// PTX for a virtual architecture such as `compute_80`: from this process's memory, from the
    /// cache on disk, or compiled.
    pub(super) fn ptx(self, arch: &'static str) -> Result<Arc<str>> {
        static COMPILED: OnceLock<Compiled> = OnceLock::new();
        let mut compiled = COMPILED.get_or_init(Mutex::default).lock();
        if let Some(ptx) = compiled.get(&(self.name, arch)) {
            return Ok(ptx.clone());
        }
        let ptx: Arc<str> = self.cached_or_compiled(arch)?.into();
        compiled.insert((self.name, arch), ptx.clone());
        Ok(ptx)
    }

    fn cached_or_compiled(self, arch: &'static str) -> Result<String> {
        let unit = self.unit();
        let file = cache().map(|folder| {
            let mut hasher = DefaultHasher::new();
            (&unit, arch, env!("CARGO_PKG_VERSION")).hash(&mut hasher);
            folder.join(format!("{}-{arch}-{:016x}.ptx", self.name, hasher.finish()))
        });
        if let Some(ptx) = file.as_ref().and_then(|f| fs::read_to_string(f).ok()) {
            return Ok(ptx);
        }
        let options = CompileOptions {
            arch: Some(arch),
            options: vec!["--std=c++17".into()],
            name: Some(format!("{}.cu", self.name)),
            ..Default::default()
        };
        let ptx = compile_ptx_with_opts(&unit, options)
            .map_err(|error| {
                let name = self.name;
                Error::Msg(format!(
                    "cannot compile the CUDA kernels {name} for {arch}: {error}"
                ))
            })?
            .to_src();
        if let Some(file) = file {
            keep(&file, &ptx);
        }
        Ok(ptx)
    }
}

/// Where PTX is kept between runs: MIC_KERNEL_CACHE, or the user's cache folder.
fn cache() -> Option<PathBuf> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    let home = || folder("HOME").map(|home| home.join(".cache"));
    folder("MIC_KERNEL_CACHE").or_else(|| {
        Some(
            folder("XDG_CACHE_HOME")
                .or_else(home)?
                .join("mic-nn/kernels"),
        )
    })
}

/// Writes the file whole or not at all. A cache that cannot be written costs time alone.
fn keep(file: &std::path::Path, ptx: &str) {
    let fresh = file.with_extension(format!("{}.tmp", std::process::id()));
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| fs::write(&fresh, ptx));
    if let Err(error) = written.and_then(|()| fs::rename(&fresh, file)) {
        tracing::debug!(
            "cannot keep compiled kernels in {}: {error}",
            file.display()
        );
    }
}
