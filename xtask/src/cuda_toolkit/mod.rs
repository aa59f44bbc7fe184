//! `cargo xtask cuda-toolkit`: a CUDA toolkit for a machine that has none, from the wheels that
//! NVIDIA publishes on PyPI.
//!
//! Needs a Python with pip, a C compiler and a network. What has been fetched is not fetched again:
//! an interrupted run goes on where it stopped.

mod layout;
mod packages;
mod stub;

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use mic_run::cli::note;

use packages::Release;

/// What to fetch, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// CUDA's major version. The wheels of 12 have no nvcc: with them kernels compile at run time
    /// and programs link, but building candle takes an nvcc of 12 from NVIDIA's installer.
    #[arg(long, value_name = "12|13", default_value_t = 13, value_parser = clap::value_parser!(u32).range(12..=13))]
    cuda: u32,
    /// Folder of the toolkit [default: target/cuda-toolkit-VERSION].
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Python interpreter that has pip.
    #[arg(long, value_name = "PROGRAM", default_value = "python3")]
    python: String,
    /// Only the run-time compiler: enough to compile mic-nn's own kernels in its tests.
    #[arg(long)]
    nvrtc: bool,
    /// Compute capability to build candle's kernels for. Those of 80 run on 8.0 and all later ones;
    /// 90 means Hopper alone.
    #[arg(long, value_name = "CAP", default_value_t = 80)]
    compute_cap: u32,
}

/// Makes the toolkit and returns the lines that set its environment in a shell.
///
/// # Errors
/// A Python without pip, a wheel that cannot be fetched, a folder that cannot be written, or a
/// missing C compiler; the message says which.
pub fn make(args: &Args) -> anyhow::Result<String> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("the toolkit's wheels are for Linux on x86-64; elsewhere install CUDA from NVIDIA");
    }
    let release = Release::of(args.cuda);
    let root = match &args.folder {
        Some(folder) => folder.clone(),
        None => target_folder().join(format!("cuda-toolkit-{}", args.cuda)),
    };
    std::fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    let root = std::path::absolute(&root)?;
    packages::fetch(&args.python, &release.packages(args.nvrtc), &root)?;
    layout::link(&root.join("wheels/nvidia"), &root)?;
    if !args.nvrtc {
        stub::make(&root)?;
    }
    let has_nvcc = root.join("bin/nvcc").exists();
    if !args.nvrtc && !has_nvcc {
        note(&format!(
            "note: the wheels of CUDA {} have no nvcc, which building candle needs: put one of that \
             version on PATH (NVIDIA's installer, or a distribution's package), or take --cuda 13",
            args.cuda
        ));
    }
    Ok(environment(&root, args.compute_cap))
}

fn target_folder() -> PathBuf {
    let given = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    given.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target"))
}

fn environment(root: &Path, compute_cap: u32) -> String {
    let root = root.display();
    let mut lines = String::new();
    for name in [
        "CUDA_HOME",
        "CUDA_PATH",
        "CUDA_ROOT",
        "CUDA_TOOLKIT_ROOT_DIR",
    ] {
        let _ = writeln!(lines, "export {name}='{root}'");
    }
    let _ = writeln!(lines, "export PATH='{root}/bin':\"$PATH\"");
    // The driver's own library is found at run time; the stub is for the linker alone.
    let _ = writeln!(
        lines,
        "export LIBRARY_PATH='{root}/lib64:{root}/lib64/stubs'${{LIBRARY_PATH:+:$LIBRARY_PATH}}"
    );
    let _ = writeln!(
        lines,
        "export LD_LIBRARY_PATH='{root}/lib64'${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}"
    );
    let _ = writeln!(lines, "export CUDA_COMPUTE_CAP={compute_cap}");
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_folder_everywhere() {
        let lines = environment(Path::new("/a b"), 80);
        assert_eq!(lines.lines().count(), 8);
        assert!(lines.lines().all(|l| l.starts_with("export ")));
        assert!(lines.contains("export CUDA_HOME='/a b'\n"));
        assert!(lines.contains("'/a b/lib64:/a b/lib64/stubs'"));
    }

    #[test]
    fn a_python_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let args = Args {
            cuda: 13,
            folder: Some(folder.path().join("toolkit")),
            python: "no-such-python".into(),
            nvrtc: true,
            compute_cap: 80,
        };
        let error = format!("{:#}", make(&args).unwrap_err());
        assert!(error.contains("no-such-python"), "{error}");
        assert!(error.contains("--python"), "{error}");
    }
}
