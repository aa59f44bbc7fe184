//! The cache beside that of Python's `huggingface_hub`. MIC_PYTHON names an interpreter that has it;
//! without one the tests say so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

mod common;

use std::process::Command;

use common::program::Machine;
use common::{COMMIT, Hub, noise};

/// What a Python program prints, with the machine's cache and Hub; `None` without the package.
fn python(machine: &Machine, program: &str) -> Option<String> {
    let interpreter = std::env::var("MIC_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&interpreter)
        .args(["-c", "import huggingface_hub"])
        .output();
    if !has.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {interpreter} has no huggingface_hub; set MIC_PYTHON to one that has");
        return None;
    }
    let output = Command::new(&interpreter)
        .args(["-c", program])
        .env("HF_HOME", machine.home())
        .env("HF_ENDPOINT", &machine.endpoint)
        .env("HF_HUB_DISABLE_TELEMETRY", "1")
        .env("HF_HUB_DISABLE_XET", "1")
        .env_remove("HF_HUB_OFFLINE")
        .env_remove("HF_HUB_CACHE")
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{}", text(output.stderr));
    Some(text(output.stdout).trim().to_owned())
}

#[test]
fn python_finds_what_was_fetched() {
    for revision in [COMMIT, "main"] {
        let hub = Hub::start();
        hub.put("owner/name", "a.bin", &noise(100_000, 1));
        let machine = Machine::new(&hub, revision, None);
        machine.fetch().done();
        hub.log();
        let program = format!(
            "import huggingface_hub as h
print(h.try_to_load_from_cache('owner/name', 'a.bin', revision='{revision}'))
print(h.hf_hub_download('owner/name', 'a.bin', revision='{revision}', local_files_only=True))
print(h.hf_hub_download('owner/name', 'a.bin', revision='{revision}'))
info = h.scan_cache_dir()
print(len(info.warnings), [(r.repo_id, [v.commit_hash for v in r.revisions]) for r in info.repos])"
        );
        let Some(said) = python(&machine, &program) else {
            return;
        };
        let lines: Vec<&str> = said.lines().collect();
        let path = machine.snapshot("a.bin");
        for line in &lines[..3] {
            assert_eq!(*line, path.to_str().unwrap(), "{said}");
        }
        assert_eq!(lines[3], format!("0 [('owner/name', ['{COMMIT}'])]"));
        // Nothing was fetched again.
        assert!(
            !hub.log()
                .iter()
                .any(|request| request.path.starts_with("/cdn/"))
        );
    }
}

#[test]
fn what_python_fetched_is_found() {
    let hub = Hub::start();
    let hash = hub.put("owner/name", "a.bin", &noise(100_000, 2));
    let machine = Machine::new(&hub, "main", Some(&hash));
    let program = "import huggingface_hub as h; print(h.hf_hub_download('owner/name', 'a.bin'))";
    let Some(said) = python(&machine, program) else {
        return;
    };
    assert_eq!(said, machine.snapshot("a.bin").to_str().unwrap());
    hub.log();
    let said = machine.fetch().done();
    assert!(said.out.contains("in the cache, unchanged"), "{}", said.out);
    assert!(
        !hub.log()
            .iter()
            .any(|request| request.path.starts_with("/cdn/"))
    );
}
