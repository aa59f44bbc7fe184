//! Fetching from a Hub that works: into the shared cache, verified, resumed, offline.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::program::{Machine, run};
use common::{COMMIT, Fault, Hub, noise, sha256};

#[test]
fn a_file_comes_into_the_shared_cache_and_is_not_fetched_twice() {
    let hub = Hub::start();
    let bytes = noise(300_000, 1);
    let hash = hub.put("owner/name", "a.bin", &bytes);
    let machine = Machine::new(&hub, COMMIT, Some(&hash));
    let said = machine.fetch().done();
    assert!(said.out.contains(&hash) && said.out.contains("as the manifest has it"));
    assert!(said.out.contains("licence: MIT") && said.out.contains(COMMIT));
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
    let target = fs::read_link(machine.snapshot("a.bin")).unwrap();
    assert_eq!(target.to_str().unwrap(), format!("../../blobs/{hash}"));
    assert_eq!(
        machine.files(),
        [
            format!("models--owner--name/blobs/{hash}"),
            format!("models--owner--name/snapshots/{COMMIT}/a.bin"),
        ]
    );
    assert!(!machine.ledger().exists());
    hub.log();
    // A pinned file that is there needs no Hub.
    let said = machine.fetch().done();
    assert!(said.out.contains("in the cache, unchanged"), "{}", said.out);
    assert!(hub.log().is_empty());
}

#[test]
fn the_token_goes_to_the_hub_and_to_nobody_else() {
    let hub = Hub::start();
    let hash = hub.put("owner/name", "a.bin", &noise(10_000, 2));
    let machine = Machine::new(&hub, COMMIT, Some(&hash));
    run(machine.weights(&["a"]).env("HF_TOKEN", "hf_secret")).done();
    let log = hub.log();
    assert!(log.iter().any(|request| request.path.starts_with("/cdn/")));
    for request in log {
        let token = request.header("authorization");
        match request.path.starts_with("/cdn/") {
            true => assert_eq!(token, None),
            false => assert_eq!(token, Some("Bearer hf_secret")),
        }
    }
}

#[test]
fn a_renamed_repository_is_found() {
    let hub = Hub::start();
    let bytes = noise(10_000, 3);
    hub.put("new/name", "a.bin", &bytes);
    hub.rename("owner/name", "new/name");
    let machine = Machine::new(&hub, COMMIT, None);
    machine.fetch().done();
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
}

#[test]
fn a_branch_counts_as_not_pinned_and_its_first_download_is_recorded() {
    let hub = Hub::start();
    let hash = hub.put("owner/name", "a.bin", &noise(10_000, 4));
    let machine = Machine::new(&hub, "main", None);
    let said = machine.fetch().done();
    assert!(said.out.contains("NOT PINNED") && said.out.contains("was recorded"));
    let ledger = fs::read_to_string(machine.ledger()).unwrap();
    assert!(ledger.contains(&hash) && ledger.contains(COMMIT));
    let reference = machine.cache().join("models--owner--name/refs/main");
    assert_eq!(fs::read_to_string(reference).unwrap(), COMMIT);
    let said = machine.fetch().done();
    assert!(said.out.contains("it is the one recorded"), "{}", said.out);

    // The branch moves: refused before a byte is fetched, and nothing is replaced.
    let files = machine.files();
    let other = hub.put("owner/name", "a.bin", &noise(10_000, 5));
    hub.log();
    let said = machine.fetch();
    said.failed(
        1,
        &[
            "has changed on the Hub",
            &hash,
            &other,
            "remove its entry",
            "mic-lock.toml",
        ],
    );
    assert!(
        !hub.log()
            .iter()
            .any(|request| request.path.starts_with("/cdn/"))
    );
    assert_eq!(machine.files(), files);

    // Without the entry it is accepted.
    fs::remove_file(machine.ledger()).unwrap();
    machine.fetch().done();
    assert_eq!(sha256(&machine.read(&machine.snapshot("a.bin"))), other);
}

#[test]
fn broken_connections_go_on_where_they_broke() {
    let hub = Hub::start();
    let bytes = noise(500_000, 6);
    hub.put("owner/name", "a.bin", &bytes);
    hub.bodies([Fault::Cut(100_000), Fault::Cut(50_000), Fault::Cut(1)]);
    let machine = Machine::new(&hub, COMMIT, None);
    machine.fetch().done();
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
    let log = hub.log();
    let bodies = log
        .iter()
        .filter(|r| r.method == "GET" && r.path.starts_with("/cdn/"));
    let ranges: Vec<_> = bodies.map(|request| request.header("range")).collect();
    assert_eq!(ranges[0], None);
    assert_eq!(ranges[1], Some("bytes=100000-499999"));
    assert_eq!(ranges[3], Some("bytes=150001-499999"));
}

#[test]
fn a_killed_download_goes_on_in_the_next_process() {
    let hub = Hub::start();
    let bytes = noise(2_000_000, 7);
    let hash = hub.put("owner/name", "a.bin", &bytes);
    let machine = Machine::new(&hub, COMMIT, Some(&hash));
    hub.slow(50_000, Duration::from_millis(25));
    let mut child = machine.weights(&["a"]).spawn().unwrap();
    let partial = machine.blobs().join(format!("{hash}.mic.incomplete"));
    let began = Instant::now();
    let length = || fs::metadata(&partial).map_or(0, |found| found.len());
    while length() < 300_000 && began.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let there = length();
    assert!((300_000..2_000_000).contains(&there), "{there}");
    // No program takes the part for the file.
    assert!(!machine.snapshot("a.bin").exists());
    assert!(!machine.blobs().join(&hash).exists());
    hub.fast();
    hub.log();
    let said = machine.fetch().done();
    assert!(
        said.err
            .contains(&format!("going on at {there} of 2000000")),
        "{}",
        said.err
    );
    assert!(said.out.contains("were there"), "{}", said.out);
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
    assert!(!partial.exists());
    let range = format!("bytes={there}-1999999");
    let log = hub.log();
    assert!(
        log.iter()
            .any(|request| request.header("range") == Some(&range))
    );
}

#[test]
fn a_damaged_part_is_fetched_anew() {
    let hub = Hub::start();
    let bytes = noise(200_000, 8);
    let hash = hub.put("owner/name", "a.bin", &bytes);
    let machine = Machine::new(&hub, COMMIT, Some(&hash));
    fs::create_dir_all(machine.blobs()).unwrap();
    let partial = machine.blobs().join(format!("{hash}.mic.incomplete"));
    fs::write(&partial, noise(150_000, 9)).unwrap();
    let said = machine.fetch().done();
    assert!(said.err.contains("fetching the whole file"), "{}", said.err);
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
    // A part that is longer than the file.
    fs::remove_dir_all(machine.cache()).unwrap();
    fs::create_dir_all(machine.blobs()).unwrap();
    fs::write(&partial, noise(250_000, 9)).unwrap();
    machine.fetch().done();
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
}

#[test]
fn servers_without_ranges_send_the_whole_file_again() {
    let hub = Hub::start();
    let bytes = noise(200_000, 10);
    hub.put("owner/name", "a.bin", &bytes);
    hub.bodies([Fault::Cut(150_000), Fault::WholeFile, Fault::WholeFile]);
    let machine = Machine::new(&hub, COMMIT, None);
    machine.fetch().done();
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
}

#[test]
fn the_cache_alone_serves_offline() {
    let hub = Hub::start();
    let bytes = noise(10_000, 11);
    hub.put("owner/name", "a.bin", &bytes);
    let machine = Machine::new(&hub, "main", None);
    let said = run(machine.weights(&["a"]).env("HF_HUB_OFFLINE", "1"));
    said.failed(
        1,
        &["not in the cache", "HF_HUB_OFFLINE", "models--owner--name"],
    );
    machine.fetch().done();
    hub.log();
    let said = run(machine.weights(&["a"]).env("HF_HUB_OFFLINE", "1")).done();
    assert!(said.out.contains("in the cache"));
    assert!(hub.log().is_empty());
    // A cached file that was changed is told, not used.
    let blob = fs::canonicalize(machine.snapshot("a.bin")).unwrap();
    fs::write(&blob, noise(10_000, 12)).unwrap();
    let said = run(machine.weights(&["a"]).env("HF_HUB_OFFLINE", "1"));
    said.failed(1, &["is not what it should be"]);
    // With a Hub it is mended.
    machine.fetch().done();
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
}

#[test]
fn a_hub_that_is_down_does_not_keep_a_cached_branch_from_its_use() {
    let hub = Hub::start();
    hub.put("owner/name", "a.bin", &noise(10_000, 13));
    let machine = Machine::new(&hub, "main", None);
    machine.fetch().done();
    hub.heads([Fault::Status(503, Vec::new())]);
    let said = machine.fetch().done();
    assert!(
        said.err.contains("taking what the cache has"),
        "{}",
        said.err
    );
}

#[test]
fn two_processes_fetch_a_file_once() {
    let hub = Hub::start();
    let bytes = noise(1_000_000, 14);
    let hash = hub.put("owner/name", "a.bin", &bytes);
    let machine = Machine::new(&hub, COMMIT, Some(&hash));
    hub.slow(100_000, Duration::from_millis(40));
    let children: Vec<_> = (0..2)
        .map(|_| machine.weights(&["a"]).spawn().unwrap())
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
    let log = hub.log();
    let bodies = log
        .iter()
        .filter(|r| r.method == "GET" && r.path.starts_with("/cdn/"));
    assert_eq!(bodies.count(), 1);
}

#[test]
fn the_list_says_what_is_there_and_asks_nobody() {
    let hub = Hub::start();
    hub.put("owner/name", "a.bin", &noise(10_000, 15));
    let machine = Machine::new(&hub, "main", None);
    let list = || {
        let said = run(&mut machine.weights(&["--list"])).done();
        let line = said
            .out
            .lines()
            .find(|line| line.starts_with("a "))
            .unwrap();
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(list(), ["a", "owner/name", "no", "MIT"]);
    assert!(hub.log().is_empty());
    machine.fetch().done();
    assert_eq!(list(), ["a", "owner/name", "no", "cache", "MIT"]);
    let began = Instant::now();
    run(&mut machine.command(&["weights", "--list"])).done();
    assert!(began.elapsed() < Duration::from_secs(2));
}
