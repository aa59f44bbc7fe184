//! The program with a cache and a manifest of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{COMMIT, Hub};

/// A person's machine: cache, manifest, folder of weights.
pub struct Machine {
    pub folder: tempfile::TempDir,
    pub endpoint: String,
}

/// What the program said.
pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Panics unless the program was done.
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, 0, "{}\n{}", self.out, self.err);
        self
    }

    /// Panics unless the program failed with this code and its message has all these parts.
    #[track_caller]
    pub fn failed(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{}\n{}", self.out, self.err);
        for part in parts {
            assert!(self.err.contains(part), "no {part:?} in:\n{}", self.err);
        }
        assert!(!self.err.contains("panicked"), "{}", self.err);
    }
}

impl Machine {
    /// With a manifest of one file, `a.bin` of `owner/name`, called `a`.
    pub fn new(hub: &Hub, revision: &str, sha256: Option<&str>) -> Self {
        let sha256 = sha256.map_or(String::new(), |hash| format!("sha256 = \"{hash}\"\n"));
        Self::with(
            hub,
            &format!(
                "[[weights]]\nname = \"a\"\nrepository = \"owner/name\"\nrevision = \"{revision}\"\n\
                 file = \"a.bin\"\n{sha256}licence = \"MIT\"\nnetwork = \"whole\"\n"
            ),
        )
    }

    pub fn with(hub: &Hub, manifest: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest.toml"), manifest).unwrap();
        Self {
            folder,
            endpoint: hub.url(),
        }
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("hf")
    }

    pub fn cache(&self) -> PathBuf {
        self.home().join("hub")
    }

    pub fn ledger(&self) -> PathBuf {
        self.home().join("hub.mic-lock.toml")
    }

    /// The file of `owner/name` in the cache.
    pub fn snapshot(&self, file: &str) -> PathBuf {
        let folder = self.cache().join("models--owner--name/snapshots");
        folder.join(COMMIT).join(file)
    }

    pub fn blobs(&self) -> PathBuf {
        self.cache().join("models--owner--name/blobs")
    }

    /// Names of the files below the cache, locks apart.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.cache()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = std::fs::read_dir(&folder) else {
                continue;
            };
            for entry in entries {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true if !path.ends_with(".locks") => folders.push(path),
                    true => (),
                    false => {
                        let below = path.strip_prefix(self.cache()).unwrap();
                        found.push(below.display().to_string());
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// The program, not started.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mic-hub"));
        for name in [
            "HF_TOKEN",
            "HF_HUB_CACHE",
            "HUGGINGFACE_HUB_CACHE",
            "HF_HUB_OFFLINE",
            "TRANSFORMERS_OFFLINE",
            "HF_TOKEN_PATH",
            "HF_HUB_DOWNLOAD_TIMEOUT",
            "HTTP_PROXY",
            "http_proxy",
            "HTTPS_PROXY",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
            "NO_PROXY",
            "no_proxy",
        ] {
            command.env_remove(name);
        }
        command
            .current_dir(self.folder.path())
            .env("HF_HOME", self.home())
            .env("HF_ENDPOINT", &self.endpoint)
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// `weights` with this manifest and short waits.
    pub fn weights(&self, args: &[&str]) -> Command {
        let mut command = self.command(&["weights", "--manifest", "manifest.toml"]);
        command.args(["--pause", "0.01", "--attempts", "3"]);
        command.args(args);
        command
    }

    /// Fetches `a`.
    pub fn fetch(&self) -> Said {
        run(&mut self.weights(&["a"]))
    }

    pub fn read(&self, path: &Path) -> Vec<u8> {
        std::fs::read(path).unwrap()
    }
}

pub fn run(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
