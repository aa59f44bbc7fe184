//! Reading configurations in the tests of a task, whose `Config` and `Error` stand beside this module.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used, unreachable_pub)]

use super::{Config, Error};

/// The configuration of a text with what is set on top.
pub fn read(text: &str, sets: &[&str]) -> Result<Config, Error> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::from_toml_str(text, "test.toml", &sets)
}

/// The message of a configuration that is refused as one.
#[track_caller]
pub fn refusal(text: &str, sets: &[&str]) -> String {
    match read(text, sets) {
        Err(Error::Config(message)) => message,
        Err(other) => panic!("{sets:?}: another kind of error: {other:?}"),
        Ok(_) => panic!("{sets:?} was accepted"),
    }
}

/// The keys of `[data]` that say how images are read are checked and named, in a text without them.
#[track_caller]
pub fn check_keys_of_loading(text: &str) {
    let given = [
        "skip_bad=3",
        "cache=kept",
        "loader_memory_mb=64",
        "loader_threads=0",
    ];
    let given = given.map(|set| format!("data.{set}"));
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let config = read(text, &given).unwrap();
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
        let message = refusal(text, &[set]);
        assert!(message.contains(part), "{message}");
    }
}
