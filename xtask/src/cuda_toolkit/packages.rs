//! The wheels, and fetching them.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use mic_run::cli::note;

/// The wheels of one version of CUDA. Versions are pinned: a later one of a part may need a later
/// driver.
pub(super) struct Release {
    nvrtc: &'static str,
    rest: &'static [&'static str],
}

const CUDA_12: Release = Release {
    nvrtc: "nvidia-cuda-nvrtc-cu12==12.9.86",
    rest: &[
        "nvidia-cuda-nvcc-cu12==12.9.86",
        "nvidia-cuda-cccl-cu12==12.9.27",
        "nvidia-cuda-runtime-cu12==12.9.79",
        "nvidia-cublas-cu12==12.9.1.4",
        "nvidia-curand-cu12==10.3.10.19",
        "nvidia-cudnn-cu12==9.19.0.56",
    ],
};

const CUDA_13: Release = Release {
    nvrtc: "nvidia-cuda-nvrtc==13.0.88",
    rest: &[
        "nvidia-cuda-nvcc==13.0.88",
        "nvidia-nvvm==13.0.88",
        "nvidia-cuda-crt==13.0.88",
        "nvidia-cuda-cccl==13.0.85",
        "nvidia-cuda-runtime==13.0.96",
        "nvidia-cublas==13.1.0.3",
        "nvidia-curand==10.4.0.35",
        "nvidia-cudnn-cu13==9.19.0.56",
    ],
};

impl Release {
    /// Of a major version, 12 or 13.
    pub(super) fn of(major: u32) -> Self {
        match major {
            12 => CUDA_12,
            _ => CUDA_13,
        }
    }

    /// All wheels, or the run-time compiler's alone.
    pub(super) fn packages(&self, nvrtc: bool) -> Vec<&'static str> {
        let rest = if nvrtc { &[] } else { self.rest };
        std::iter::once(self.nvrtc)
            .chain(rest.iter().copied())
            .collect()
    }
}

/// Fetches the packages to `root`/fetched, those that are not there yet, and unpacks all of them
/// together below `root`/wheels.
pub(super) fn fetch(python: &str, packages: &[&str], root: &Path) -> anyhow::Result<()> {
    let (fetched, wheels) = (root.join("fetched"), root.join("wheels"));
    // Written when all has been unpacked.
    let mark = fetched.join("unpacked");
    let wanted = packages.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|unpacked| unpacked == wanted) {
        return Ok(());
    }
    fs::create_dir_all(&fetched).with_context(|| format!("cannot make {}", fetched.display()))?;
    check_pip(python)?;
    for package in packages {
        // Written when the package is complete.
        let mark = fetched.join(format!(".{package}"));
        if mark.exists() {
            continue;
        }
        note(&format!("fetching {package}"));
        let place = ["--dest".as_ref(), fetched.as_os_str(), package.as_ref()];
        pip(python, &["download", "--only-binary", ":all:"], place).with_context(|| {
            format!(
                "pip could not fetch {package}; check the network (a proxy: HTTPS_PROXY; a mirror: \
                 PIP_INDEX_URL) and run the command again, it goes on where it stopped"
            )
        })?;
        fs::write(&mark, "").with_context(|| format!("cannot write {}", mark.display()))?;
    }
    note("unpacking");
    if wheels.exists() {
        fs::remove_dir_all(&wheels)
            .with_context(|| format!("cannot clear {}", wheels.display()))?;
    }
    let files =
        wheel_files(&fetched).with_context(|| format!("cannot read {}", fetched.display()))?;
    // In one go: pip does not add to folders that an earlier call has made.
    let place = ["--target".as_ref(), wheels.as_os_str()];
    let arguments = place.into_iter().chain(files.iter().map(|f| f.as_os_str()));
    pip(
        python,
        &["install", "--no-index", "--no-compile"],
        arguments,
    )
    .with_context(|| format!("pip could not unpack to {}", wheels.display()))?;
    fs::write(&mark, wanted).with_context(|| format!("cannot write {}", mark.display()))
}

fn wheel_files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "whl") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Runs pip; its last message is the error.
fn pip<'a>(
    python: &str,
    command: &[&str],
    arguments: impl IntoIterator<Item = &'a OsStr>,
) -> anyhow::Result<()> {
    let output = Command::new(python)
        .args(["-m", "pip"])
        .args(command)
        .args(["--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(arguments)
        .output()
        .with_context(|| format!("cannot start {python}"))?;
    if !output.status.success() {
        let messages = String::from_utf8_lossy(&output.stderr);
        let last = messages.lines().rfind(|l| !l.trim().is_empty());
        bail!("{}", last.unwrap_or("no message"));
    }
    Ok(())
}

fn check_pip(python: &str) -> anyhow::Result<()> {
    let output = match Command::new(python)
        .args(["-m", "pip", "--version"])
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            bail!("cannot start {python}: {error}; name a Python that has pip: --python PROGRAM")
        }
    };
    if !output.status.success() {
        bail!(
            "{python} has no pip; install it (python3-pip), or name another Python: --python PROGRAM"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_package_is_pinned() {
        for major in [12, 13] {
            let all = Release::of(major).packages(false);
            assert!(all.len() > 6);
            assert!(
                all.iter()
                    .all(|p| p.starts_with("nvidia-") && p.contains("=="))
            );
            assert_eq!(Release::of(major).packages(true), all[..1]);
        }
    }

    #[test]
    fn what_is_there_is_not_fetched_again() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("fetched")).unwrap();
        fs::write(folder.path().join("fetched/unpacked"), "a==1").unwrap();
        // Would fail, as there is no such program.
        fetch("no-such-python", &["a==1"], folder.path()).unwrap();
        assert!(fetch("no-such-python", &["a==1", "b==2"], folder.path()).is_err());
    }
}
