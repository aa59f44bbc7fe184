//! Hubs and machines that fail: a message that says what to do, and a cache as it was.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::program::{Machine, run};
use common::{COMMIT, Fault, Hub, noise};

fn machine(seed: u32) -> (Hub, Machine, Vec<u8>, String) {
    let hub = Hub::start();
    let bytes = noise(100_000, seed);
    let hash = hub.put("owner/name", "a.bin", &bytes);
    let machine = Machine::new(&hub, COMMIT, None);
    (hub, machine, bytes, hash)
}

fn status(code: u16) -> Fault {
    Fault::Status(code, Vec::new())
}

#[test]
fn no_hub_at_the_address() {
    let (_hub, mut machine, ..) = machine(1);
    // A port that nobody listens at.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    machine.endpoint = format!("http://127.0.0.1:{port}");
    let said = machine.fetch();
    said.failed(
        1,
        &[
            "cannot be reached",
            "refused",
            "HF_ENDPOINT",
            "HF_HUB_OFFLINE=1",
        ],
    );
    assert_eq!(said.err.matches("trying again").count(), 2);
    assert!(machine.files().is_empty());
    machine.endpoint = "http://no.such.host.invalid".into();
    machine
        .fetch()
        .failed(1, &["cannot be reached", "no.such.host.invalid"]);
    machine.endpoint = "nonsense".into();
    machine.fetch().failed(2, &["nonsense", "HF_ENDPOINT"]);
    assert!(machine.files().is_empty());
}

#[test]
fn refusals_say_what_to_do() {
    let (hub, machine, ..) = machine(2);
    let code = |code: &str| vec![("X-Error-Code", code.to_owned())];
    for (fault, told) in [
        (
            status(401),
            vec!["401", "put a token", "HF_TOKEN", "owner/name"],
        ),
        (
            Fault::Status(403, vec![("X-Error-Message", "gated".into())]),
            vec!["403", "gated", "accept its terms at", "owner/name"],
        ),
        (status(404), vec!["404", "manifest"]),
        (
            Fault::Status(404, code("RepoNotFound")),
            vec!["no repository owner/name", "renamed or removed"],
        ),
        (
            Fault::Status(404, code("RevisionNotFound")),
            vec!["has no revision", COMMIT, "commits/main"],
        ),
        (
            Fault::Status(404, code("EntryNotFound")),
            vec!["has no file a.bin", "tree/"],
        ),
        (
            Fault::Status(429, vec![("Retry-After", "3600".into())]),
            vec!["429", "3600 s", "HF_TOKEN"],
        ),
        (status(400), vec!["400", "try again later"]),
        (
            Fault::Foreign,
            vec!["does not answer as the Hub does", "log-in page"],
        ),
    ] {
        hub.heads([fault]);
        machine.fetch().failed(1, &told);
        assert!(machine.files().is_empty(), "{told:?}");
        assert!(!machine.ledger().exists());
        // Each is asked once: to ask again helps nobody.
        assert_eq!(hub.log().len(), 1, "{told:?}");
    }
    hub.heads([status(401)]);
    let said = run(machine.weights(&["a"]).env("HF_TOKEN", "old"));
    said.failed(1, &["the token is wrong or expired", "settings/tokens"]);
    machine.fetch().done();
}

#[test]
fn passing_failures_are_tried_again() {
    let (hub, machine, ..) = machine(3);
    hub.heads([status(500), status(503)]);
    hub.bodies([status(502), status(504)]);
    let said = machine.fetch().done();
    assert_eq!(said.err.matches("trying again").count(), 4, "{}", said.err);
    fs::remove_dir_all(machine.home()).unwrap();
    hub.heads([status(500), status(502), status(503)]);
    machine
        .fetch()
        .failed(1, &["503", "status.huggingface.co", "HF_HUB_OFFLINE=1"]);
    assert!(machine.files().is_empty());
    // The Hub says how long to wait.
    hub.heads([Fault::Status(429, vec![("Retry-After", "1".into())])]);
    let began = Instant::now();
    machine.fetch().done();
    assert!(began.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_wrong_hash_leaves_nothing() {
    let (hub, machine, _, hash) = machine(4);
    hub.bodies([Fault::Corrupt]);
    machine.fetch().failed(
        1,
        &[
            "is not what it should be",
            &hash,
            "the Hub says",
            "nothing was kept",
        ],
    );
    assert!(machine.files().is_empty(), "{:?}", machine.files());
    machine.fetch().done();
}

#[test]
fn another_hash_than_the_manifests_is_refused_before_a_byte_comes() {
    let (hub, _, _, hash) = machine(5);
    let machine = Machine::new(&hub, COMMIT, Some(&"0".repeat(64)));
    machine
        .fetch()
        .failed(1, &["the manifest says 0000", &hash]);
    assert!(machine.files().is_empty());
    assert!(
        !hub.log()
            .iter()
            .any(|request| request.path.starts_with("/cdn/"))
    );
}

#[test]
fn a_file_that_stays_truncated_is_given_up_and_can_be_resumed() {
    let (hub, machine, bytes, hash) = machine(6);
    hub.bodies([
        Fault::Cut(60_000),
        Fault::Cut(0),
        Fault::Cut(0),
        Fault::Cut(0),
    ]);
    let said = machine.fetch();
    said.failed(
        1,
        &[
            "stopped at 60000 of 100000",
            "3 times in a row",
            "goes on from there",
        ],
    );
    let partial = format!("models--owner--name/blobs/{hash}.mic.incomplete");
    assert_eq!(machine.files(), [partial]);
    hub.log();
    machine.fetch().done();
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
    let log = hub.log();
    assert!(
        log.iter()
            .any(|r| r.header("range") == Some("bytes=60000-99999"))
    );
}

#[test]
fn silence_counts_as_a_broken_connection() {
    let (hub, machine, bytes, _) = machine(7);
    hub.bodies([Fault::Stall(30_000)]);
    let began = Instant::now();
    run(machine.weights(&["a"]).env("HF_HUB_DOWNLOAD_TIMEOUT", "1")).done();
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let (_hub, machine, _, hash) = machine(8);
    fs::create_dir_all(machine.blobs()).unwrap();
    // The device that is always full stands for the disk.
    let partial = machine.blobs().join(format!("{hash}.mic.incomplete"));
    std::os::unix::fs::symlink("/dev/full", &partial).unwrap();
    machine
        .fetch()
        .failed(1, &["is full", "100000 bytes", "HF_HOME", "half-written"]);
    assert!(machine.files().is_empty(), "{:?}", machine.files());
    machine.fetch().done();
}

#[test]
fn a_cache_that_cannot_be_written_is_named() {
    let (_hub, machine, ..) = machine(9);
    fs::create_dir_all(machine.home()).unwrap();
    fs::write(machine.cache(), "a file").unwrap();
    machine.fetch().failed(1, &["cannot access", "hub"]);
}

#[test]
fn a_revision_that_is_gone() {
    let (hub, ..) = machine(10);
    let machine = Machine::new(&hub, &"f".repeat(40), None);
    machine
        .fetch()
        .failed(1, &["has no revision", "ffffffff", "--manifest"]);
    assert!(machine.files().is_empty());
}

#[test]
fn a_proxy_is_used_and_named_when_it_fails() {
    let (hub, mut machine, bytes, _) = machine(11);
    machine.endpoint = "http://hub.invalid".into();
    // The server plays the proxy as well, for the Hub and for the server of the bytes.
    let said = run(machine
        .weights(&["a"])
        .env("HTTP_PROXY", hub.url())
        .env("http_proxy", hub.url()));
    said.done();
    assert_eq!(machine.read(&machine.snapshot("a.bin")), bytes);
    assert!(
        hub.log()
            .iter()
            .any(|request| request.path.starts_with("http://hub.invalid/"))
    );
    fs::remove_dir_all(machine.home()).unwrap();
    hub.heads([status(407), status(407), status(407)]);
    let proxy = format!("http://me:secret@127.0.0.1:{}", hub.port);
    let said = run(machine
        .weights(&["a"])
        .env("HTTP_PROXY", &proxy)
        .env("http_proxy", &proxy));
    said.failed(1, &["the proxy asks for a user", "407", &hub.url()]);
    assert!(!said.err.contains("secret"));
    assert!(machine.files().is_empty());
    let said = run(machine
        .weights(&["a"])
        .env("HTTP_PROXY", "http://127.0.0.1:9")
        .env("http_proxy", "http://127.0.0.1:9"));
    said.failed(
        1,
        &["cannot be reached", "names the proxy http://127.0.0.1:9"],
    );
}

#[test]
fn wrong_usage_is_told() {
    let (_hub, machine, ..) = machine(12);
    let weights = |args: &[&str]| run(&mut machine.weights(args));
    weights(&["b"]).failed(2, &["no weights \"b\"", "known are a"]);
    weights(&["--run", "nothing"]).failed(2, &["no weights are listed for the run"]);
    weights(&["a", "--from", "x"]).failed(2, &["is on the Hub"]);
    run(&mut machine.command(&["weights", "--pause=-1", "--list"])).failed(2, &["--pause -1"]);
    weights(&["a", "--all"]).failed(2, &["cannot be used with"]);
    fs::write(
        machine.folder.path().join("run.toml"),
        "[model]\npretrained = \"weights/c.pth\"",
    )
    .unwrap();
    weights(&["--run", "run.toml"]).failed(2, &["no weights \"c.pth\""]);
    fs::write(machine.folder.path().join("bare.toml"), "[model]\n").unwrap();
    let said = weights(&["--run", "bare.toml"]).done();
    assert!(said.err.contains("needs no file"), "{}", said.err);
    fs::create_dir_all(machine.home()).unwrap();
    fs::write(machine.ledger(), "nonsense").unwrap();
    weights(&["a"]).failed(2, &["mic-lock.toml is damaged", "mend or remove"]);
}
