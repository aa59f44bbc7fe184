//! Compiles the kernels with the machine's C++ compiler and launches them.

use std::collections::hash_map::DefaultHasher;
use std::env;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use half::bf16;
use libloading::Library;

use super::memory::{Argument, Buffer};
use super::sources;

/// How activations are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    F32,
    Bf16,
}

type Launcher = unsafe extern "C" fn(
    *const c_uint,
    c_int,
    *mut *mut c_void,
    *const usize,
    usize,
) -> *const c_char;

/// The compiled kernels for one storage type.
pub(crate) struct Emulator {
    library: Library,
    pub(crate) storage: Storage,
}

/// The kernels for both storage types; none, with a statement on the terminal, where there is no
/// C++ compiler.
pub(crate) fn emulators() -> &'static [Emulator] {
    static EMULATORS: OnceLock<Vec<Emulator>> = OnceLock::new();
    EMULATORS.get_or_init(|| {
        let Some(compiler) = compiler() else {
            // Not captured by the test harness.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no C++ compiler found (CXX, c++, g++, clang++); the CUDA kernels' \
                 arithmetic is not tested"
            );
            return Vec::new();
        };
        [Storage::F32, Storage::Bf16]
            .map(|storage| Emulator::build(&compiler, storage))
            .into()
    })
}

fn compiler() -> Option<String> {
    let given = env::var("CXX").ok();
    let known = ["c++", "g++", "clang++"].map(String::from);
    given.into_iter().chain(known).find(|name| {
        let version = Command::new(name).arg("--version").output();
        version.is_ok_and(|output| output.status.success())
    })
}

/// The unit with a launcher for every kernel.
fn unit() -> String {
    let mut unit = format!("#include \"emulation/cuda.hpp\"\n{}", sources::unit());
    for (file, text) in sources::files("cu") {
        let space = file.trim_end_matches(".cu");
        for kernel in sources::kernels(&text) {
            unit += &format!(
                "extern \"C\" const char* launch_{kernel}(const unsigned* dims, int reversed, \
                 void** arguments, const size_t* sizes, size_t count) {{\n    \
                 return emulation::launch(unit_{space}::{kernel}, dims, reversed, arguments, sizes, \
                 count);\n}}\n"
            );
        }
    }
    unit
}

impl Emulator {
    fn build(compiler: &str, storage: Storage) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cuda_kernels");
        fs::create_dir_all(&folder).unwrap();
        let unit = unit();
        let mut hasher = DefaultHasher::new();
        (&unit, compiler, sources::files("cu"), sources::files("cuh")).hash(&mut hasher);
        let emulation = sources::folder().join("emulation/cuda.hpp");
        fs::read(emulation).unwrap().hash(&mut hasher);
        let name = format!("{:016x}-{storage:?}", hasher.finish());
        let library = folder.join(format!("{name}.so"));
        if !library.exists() {
            compile(compiler, storage, &unit, &folder.join(&name), &library);
        }
        // SAFETY: the library was made from the sources above; loading it runs no code of theirs.
        let library = unsafe { Library::new(&library) }.unwrap();
        Self { library, storage }
    }

    /// Activations of the storage type.
    pub(crate) fn put(&self, values: &[f32]) -> Buffer {
        match self.storage {
            Storage::F32 => Buffer::floats(values),
            Storage::Bf16 => {
                let halves: Vec<u16> = values
                    .iter()
                    .map(|&v| bf16::from_f32(v).to_bits())
                    .collect();
                Buffer::halves(&halves)
            }
        }
    }

    /// Room for activations.
    pub(crate) fn room(&self, count: usize) -> Buffer {
        Buffer::unset(match self.storage {
            Storage::F32 => 4 * count,
            Storage::Bf16 => 2 * count,
        })
    }

    /// What activations became.
    pub(crate) fn get(&self, buffer: &Buffer) -> Vec<f32> {
        match self.storage {
            Storage::F32 => buffer.read_floats(),
            Storage::Bf16 => {
                let halves = buffer.read_halves();
                halves
                    .iter()
                    .map(|&h| bf16::from_bits(h).to_f32())
                    .collect()
            }
        }
    }

    /// Runs a kernel, twice: with blocks and threads in one order and in the opposite one.
    ///
    /// Panics when the emulation finds fault with the launch, when something outside a buffer was
    /// written, or when the two orders differ in a bit.
    pub(crate) fn launch(
        &self,
        kernel: &str,
        grid: [usize; 3],
        block: [usize; 2],
        arguments: &[&dyn Argument],
    ) {
        let name = format!("launch_{kernel}");
        // SAFETY: all launchers have this type.
        let launcher = unsafe { self.library.get::<Launcher>(name.as_bytes()) };
        let launcher = launcher.unwrap_or_else(|e| panic!("no kernel {kernel}: {e}"));
        let dims = [grid[0], grid[1], grid[2], block[0], block[1], 1].map(|d| d as c_uint);
        let mut values: Vec<Vec<u8>> = arguments.iter().map(|a| a.value()).collect();
        let sizes: Vec<usize> = values.iter().map(Vec::len).collect();
        // Copies with the alignment of every member.
        let mut aligned: Vec<Vec<u64>> = values
            .iter_mut()
            .map(|v| {
                v.resize(v.len().next_multiple_of(8), 0);
                let word = |b: &[u8]| u64::from_le_bytes(b.try_into().unwrap());
                v.chunks_exact(8).map(word).collect()
            })
            .collect();
        let buffers: Vec<&Buffer> = arguments.iter().flat_map(|a| a.buffers()).collect();
        let mut run = |reversed: c_int| {
            let mut pointers: Vec<*mut c_void> =
                aligned.iter_mut().map(|v| v.as_mut_ptr().cast()).collect();
            // SAFETY: the emulation checks number and sizes of the arguments; buffers live until
            // the end of this function, and what is written around them is found below.
            let error = unsafe {
                launcher(
                    dims.as_ptr(),
                    reversed,
                    pointers.as_mut_ptr(),
                    sizes.as_ptr(),
                    sizes.len(),
                )
            };
            if !error.is_null() {
                // SAFETY: a string constant of the library.
                panic!(
                    "{kernel}: {}",
                    unsafe { CStr::from_ptr(error) }.to_string_lossy()
                );
            }
            for (i, buffer) in buffers.iter().enumerate() {
                assert!(buffer.guarded(), "{kernel}: wrote outside of buffer {i}");
            }
        };
        let before: Vec<Vec<u8>> = buffers.iter().map(|b| b.content()).collect();
        run(1);
        let reversed: Vec<Vec<u8>> = buffers.iter().map(|b| b.content()).collect();
        for (buffer, content) in buffers.iter().zip(&before) {
            buffer.restore(content);
        }
        run(0);
        for (i, (buffer, reversed)) in buffers.iter().zip(&reversed).enumerate() {
            assert!(
                buffer.content() == *reversed,
                "{kernel}: buffer {i} depends on the order of threads"
            );
        }
    }

    /// A one-dimensional launch of at least `count` threads.
    pub(crate) fn over(&self, kernel: &str, count: usize, arguments: &[&dyn Argument]) {
        self.launch(kernel, [count.div_ceil(256), 1, 1], [256, 1], arguments);
    }

    /// A launch over planes and their pixels.
    pub(crate) fn planes(
        &self,
        kernel: &str,
        planes: usize,
        pixels: usize,
        arguments: &[&dyn Argument],
    ) {
        let grid = [planes, pixels.div_ceil(256), 1];
        self.launch(kernel, grid, [256, 1], arguments);
    }
}

fn compile(compiler: &str, storage: Storage, unit: &str, stem: &Path, library: &Path) {
    let source = stem.with_extension("cpp");
    fs::write(&source, unit).unwrap();
    // Several test processes may build at once.
    let fresh = PathBuf::from(format!("{}.{}", library.display(), std::process::id()));
    let mut command = Command::new(compiler);
    command
        .args(["-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared"])
        .args([
            "-U_FORTIFY_SOURCE",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-Wno-unknown-pragmas",
            "-I",
        ])
        .arg(sources::folder());
    if storage == Storage::Bf16 {
        command.arg("-DMIC_BF16");
    }
    let output = command.arg(&source).arg("-o").arg(&fresh).output().unwrap();
    let messages = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{compiler}: {messages}");
    fs::rename(&fresh, library).unwrap();
}
