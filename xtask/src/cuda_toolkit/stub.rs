//! A stand-in for the driver's library, which comes with the driver alone: enough to link.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

/// What every function of the stub returns: `CUDA_ERROR_STUB_LIBRARY`.
const STUB_LIBRARY: u32 = 34;

/// Makes `lib64/stubs/libcuda.so` with every function that `include/cuda.h` declares.
///
/// Its name inside is the driver's, `libcuda.so.1`: a program that was linked with it loads the real
/// one.
pub(super) fn make(root: &Path) -> anyhow::Result<()> {
    let header = root.join("include/cuda.h");
    let text =
        fs::read_to_string(&header).with_context(|| format!("cannot read {}", header.display()))?;
    let folder = root.join("lib64/stubs");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let source = folder.join("cuda.c");
    let code = functions(&text)
        .iter()
        .fold(String::new(), |mut code, name| {
            let _ = writeln!(code, "int {name}(void) {{ return {STUB_LIBRARY}; }}");
            code
        });
    fs::write(&source, code).with_context(|| format!("cannot write {}", source.display()))?;
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let output = Command::new(&compiler)
        .args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"])
        .arg(folder.join("libcuda.so"))
        .arg(&source)
        .output();
    match output {
        Err(error) => {
            bail!("cannot start the C compiler {compiler}: {error}; install one, or set CC")
        }
        Ok(output) if !output.status.success() => {
            bail!(
                "{compiler}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            )
        }
        Ok(_) => Ok(()),
    }
}

/// The names in a header that can be functions of the driver: `cu`, an upper-case letter, and so on.
fn functions(header: &str) -> BTreeSet<&str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let function = |name: &&str| {
        let rest = name.strip_prefix("cu").and_then(|r| r.chars().next());
        rest.is_some_and(|c| c.is_ascii_uppercase())
    };
    header.split(|c| !word(c)).filter(function).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_with_their_versions() {
        let header = "#define cuMemAlloc cuMemAlloc_v2\nCUresult CUDAAPI cuInit(unsigned int f);\n\
                      typedef int cudaStream; CUresult cuda_x(custom c);";
        let found: Vec<&str> = functions(header).into_iter().collect();
        assert_eq!(found, ["cuInit", "cuMemAlloc", "cuMemAlloc_v2"]);
    }
}
