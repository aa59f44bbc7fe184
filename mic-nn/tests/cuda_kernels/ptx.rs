//! The kernels compile for real GPUs: PTX for compute capability 8.0 and 9.0, by NVIDIA's run-time
//! compiler, which needs neither a GPU nor a driver. Where its library is not found, the test says
//! so and checks nothing.

use std::env;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

use libloading::Library;

use super::sources;

type Program = *mut c_void;
type Strings = *const *const c_char;

/// NVRTC, and what has to stay loaded for it.
struct Nvrtc {
    library: Library,
    _builtins: Vec<Library>,
}

/// Folders in which the library may lie: MIC_NVRTC_DIR, those of the toolkit's environment and of
/// the loader, and the toolkits that `cargo xtask cuda-toolkit` makes.
fn folders() -> Vec<PathBuf> {
    let listed = |name: &str| env::var_os(name).map(|v| env::split_paths(&v).collect::<Vec<_>>());
    let mut folders = listed("MIC_NVRTC_DIR").unwrap_or_default();
    for root in listed("CUDA_HOME")
        .into_iter()
        .chain(listed("CUDA_PATH"))
        .flatten()
    {
        folders.extend([root.join("lib64"), root.join("lib")]);
    }
    folders.extend(listed("LD_LIBRARY_PATH").unwrap_or_default());
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    for version in ["13", "12"] {
        folders.push(target.join(format!("cuda-toolkit-{version}/lib64")));
    }
    folders.push("/usr/local/cuda/lib64".into());
    folders
}

/// The file in `folder` whose name begins like this, with links followed.
fn find(folder: &Path, start: &str) -> Option<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .ok()?
        .map(|f| f.ok().map(|f| f.path()))
        .collect::<Option<_>>()?;
    files.sort();
    let named = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with(start))
    };
    files.into_iter().find(named)?.canonicalize().ok()
}

impl Nvrtc {
    fn find() -> Option<Self> {
        let library = folders()
            .iter()
            .find_map(|folder| find(folder, "libnvrtc.so"))?;
        let folder = library.parent()?;
        // NVRTC looks for its functions by name; a library that is loaded already is found.
        let builtins = find(folder, "libnvrtc-builtins.so");
        // SAFETY: NVIDIA's libraries have no start-up code that needs anything from this process.
        let load = |path: &PathBuf| unsafe { Library::new(path) }.unwrap();
        Some(Self {
            _builtins: builtins.iter().map(load).collect(),
            library: load(&library),
        })
    }

    fn version(&self) -> (c_int, c_int) {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the type of nvrtcVersion.
        let status = unsafe {
            let f = self
                .library
                .get::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(b"nvrtcVersion")
                .unwrap();
            f(&mut major, &mut minor)
        };
        assert_eq!(status, 0);
        (major, minor)
    }

    /// The PTX of a source, or the compiler's messages.
    fn compile(
        &self,
        source: &str,
        headers: &[(String, String)],
        options: &[&str],
    ) -> Result<String, String> {
        let string = |s: &str| CString::new(s).unwrap();
        let texts: Vec<CString> = headers.iter().map(|h| string(&h.1)).collect();
        let names: Vec<CString> = headers.iter().map(|h| string(&h.0)).collect();
        let options: Vec<CString> = options.iter().map(|o| string(o)).collect();
        let pointers = |all: &[CString]| all.iter().map(|s| s.as_ptr()).collect::<Vec<_>>();
        let (texts, names, options) = (pointers(&texts), pointers(&names), pointers(&options));
        let (source, name) = (string(source), string("kernels.cu"));
        let mut program: Program = null_mut();
        // SAFETY: the types are those of nvrtc.h, the strings outlive the calls.
        unsafe {
            let create = self
                .library
                .get::<unsafe extern "C" fn(
                    *mut Program,
                    *const c_char,
                    *const c_char,
                    c_int,
                    Strings,
                    Strings,
                ) -> c_int>(b"nvrtcCreateProgram")
                .unwrap();
            let compile = self
                .library
                .get::<unsafe extern "C" fn(Program, c_int, Strings) -> c_int>(
                    b"nvrtcCompileProgram",
                )
                .unwrap();
            let destroy = self
                .library
                .get::<unsafe extern "C" fn(*mut Program) -> c_int>(b"nvrtcDestroyProgram")
                .unwrap();
            let count = headers.len() as c_int;
            assert_eq!(
                create(
                    &mut program,
                    source.as_ptr(),
                    name.as_ptr(),
                    count,
                    texts.as_ptr(),
                    names.as_ptr()
                ),
                0
            );
            let status = compile(program, options.len() as c_int, options.as_ptr());
            let log = self.text(program, b"nvrtcGetProgramLogSize", b"nvrtcGetProgramLog");
            let ptx = match status {
                0 => Ok(self.text(program, b"nvrtcGetPTXSize", b"nvrtcGetPTX")),
                _ => Err(log.clone()),
            };
            destroy(&mut program);
            // Warnings count: the kernels are meant to be free of them.
            if log.trim().is_empty() { ptx } else { Err(log) }
        }
    }

    /// # Safety
    /// The symbols are a pair of functions that give the size of a text and the text.
    unsafe fn text(&self, program: Program, size: &[u8], get: &[u8]) -> String {
        let mut len = 0usize;
        // SAFETY: the caller's promise.
        unsafe {
            let size = self
                .library
                .get::<unsafe extern "C" fn(Program, *mut usize) -> c_int>(size)
                .unwrap();
            let get = self
                .library
                .get::<unsafe extern "C" fn(Program, *mut c_char) -> c_int>(get)
                .unwrap();
            assert_eq!(size(program, &mut len), 0);
            let mut buffer = vec![0u8; len + 1];
            assert_eq!(get(program, buffer.as_mut_ptr().cast()), 0);
            CStr::from_ptr(buffer.as_ptr().cast())
                .to_string_lossy()
                .into_owned()
        }
    }
}

/// Largest shared memory of a block that needs no opt-in.
const SHARED: usize = 48 * 1024;

#[test]
fn every_kernel_compiles_to_ptx() {
    let Some(nvrtc) = Nvrtc::find() else {
        // Not captured by the test harness.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: libnvrtc.so was not found (MIC_NVRTC_DIR, CUDA_HOME, LD_LIBRARY_PATH, \
             target/cuda-toolkit-*); `cargo xtask cuda-toolkit` fetches it"
        );
        return;
    };
    let headers: Vec<_> = [sources::files("cuh"), sources::files("cu")].concat();
    let kernels: Vec<String> = sources::files("cu")
        .iter()
        .flat_map(|f| sources::kernels(&f.1))
        .collect();
    // The four are compiled side by side.
    std::thread::scope(|scope| {
        for capability in ["80", "90"] {
            for bf16 in [false, true] {
                let (nvrtc, headers, kernels) = (&nvrtc, &headers, &kernels);
                scope.spawn(move || check(nvrtc, headers, kernels, capability, bf16));
            }
        }
    });
}

fn check(
    nvrtc: &Nvrtc,
    headers: &[(String, String)],
    kernels: &[String],
    capability: &str,
    bf16: bool,
) {
    let arch = format!("--gpu-architecture=compute_{capability}");
    let mut options = vec![arch.as_str(), "--std=c++17"];
    options.extend(bf16.then_some("-DMIC_BF16"));
    let ptx = nvrtc.compile(&sources::unit(), headers, &options);
    let ptx = ptx.unwrap_or_else(|log| panic!("NVRTC {:?}, {options:?}:\n{log}", nvrtc.version()));
    assert!(
        ptx.contains(&format!(".target sm_{capability}")),
        "{}",
        &ptx[..400]
    );
    for kernel in kernels {
        let entry = format!(".visible .entry {kernel}(");
        let start = ptx
            .find(&entry)
            .unwrap_or_else(|| panic!("no entry {kernel}"));
        let body = &ptx[start..];
        let body = &body[..body.find("\n}").unwrap()];
        let shared: usize = body.lines().filter_map(shared_bytes).sum();
        assert!(
            shared <= SHARED,
            "{kernel}: {shared} bytes of shared memory"
        );
    }
}

/// The size of a shared array that a line of PTX declares.
fn shared_bytes(line: &str) -> Option<usize> {
    let rest = line.trim().strip_prefix(".shared")?;
    rest.split_once('[')?.1.split_once(']')?.0.parse().ok()
}
