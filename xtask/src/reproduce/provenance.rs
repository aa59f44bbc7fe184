//! Where and when numbers were made.

use mic_run::provenance::{commit, machine, seconds_now, shell_word, timestamp};

use super::results::Provenance;

impl Provenance {
    /// This process, on this machine, now.
    pub(super) fn here() -> Self {
        Self {
            command: command_line(std::env::args()),
            started: timestamp(seconds_now()),
            version: env!("CARGO_PKG_VERSION").into(),
            commit: commit(),
            machine: machine(),
        }
    }
}

/// A folder name for a run that starts now, such as `seg-20250131-235959`.
pub(super) fn folder_name(prefix: &str) -> String {
    let digits: String = timestamp(seconds_now())
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    format!("{prefix}-{}-{}", &digits[..8], &digits[8..])
}

/// The arguments as a shell would read them.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    // The program's own path says where it was built, not how to call it.
    let words = arguments.skip(1).map(|word| shell_word(&word));
    let words: Vec<String> = std::iter::once("cargo xtask".to_owned())
        .chain(words)
        .collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_named_by_the_time() {
        assert_eq!(folder_name("seg").len(), "seg-20250131-235959".len());
    }

    #[test]
    fn arguments_are_quoted_for_a_shell() {
        let arguments = ["/x/xtask", "a", "b c", "it's", "mask="].map(str::to_owned);
        assert_eq!(
            command_line(arguments.into_iter()),
            r"cargo xtask a 'b c' 'it'\''s' mask="
        );
    }
}
