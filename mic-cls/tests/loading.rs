//! The keys of `[data]` that say how images are read.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers outside #[test] functions

use mic_cls::Error;
use mic_cls::config::Config;

const VISDA: &str = r#"
[data.source]
kind = "visda2017"
root = "v"
domains = ["Synthetic"]
[data.target]
kind = "visda2017"
root = "v"
domains = ["Real"]
[mask]
"#;

fn read(text: &str, sets: &[&str]) -> Result<Config, Error> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::from_toml_str(text, "test.toml", &sets)
}

#[track_caller]
fn refusal(text: &str, sets: &[&str]) -> String {
    match read(text, sets) {
        Err(Error::Config(message)) => message,
        other => panic!("{sets:?}: {:?}", other.map(|config| config.raw)),
    }
}

#[test]
fn keys_of_loading_are_checked_and_named() {
    let given = [
        "skip_bad=3",
        "cache=kept",
        "loader_memory_mb=64",
        "loader_threads=0",
    ];
    let given = given.map(|set| format!("data.{set}"));
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let config = read(VISDA, &given).unwrap();
    let loading = &config.data.loading;
    assert_eq!(
        (loading.skip_bad, loading.cache.as_deref()),
        (3, Some("kept"))
    );
    assert_eq!(loading.loader().memory, 64 << 20);
    assert_eq!(loading.decode_limit_mb, 1024);
    let again = read(&config.to_toml().unwrap(), &[]).unwrap();
    assert_eq!(again.data.loading, *loading);
    let message = refusal("[data]\nskip_bad = \"all\"", &[]);
    assert!(
        message.contains("data.skip_bad = \"all\": expected"),
        "{message}"
    );
    for (set, part) in [
        ("data.loader_memory_mb=0", "data.loader_memory_mb = 0"),
        ("data.decode_limit_mb=-1", "data.decode_limit_mb = -1"),
        ("data.cache_limit_mb=1.5", "data.cache_limit_mb = 1.5"),
        ("data.skip_bed=1", "did you mean data.skip_bad?"),
        ("data.cash=x", "did you mean data.cache?"),
    ] {
        let message = refusal(VISDA, &[set]);
        assert!(message.contains(part), "{message}");
    }
}
