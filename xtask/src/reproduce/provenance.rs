//! Where and when numbers were made.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

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

fn seconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |duration| duration.as_secs())
}

/// `YYYY-MM-DD hh:mm:ss UTC` of seconds since 1970.
fn timestamp(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March end with the leap day; eras of 400 years are equally long.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
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

/// One argument, quoted where a shell would change it.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let hash = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { hash } else { hash + "+" })
}

fn machine() -> String {
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let memory = field("/proc/meminfo", "MemTotal")
        .and_then(|text| text.split(' ').next()?.parse::<f64>().ok())
        .map(|kib| format!("{:.0} GiB memory", kib / f64::from(1 << 20)));
    let system = format!("{} {}", std::env::consts::OS, std::env::consts::ARCH);
    let parts = [
        processor,
        Some(format!("{cores} cores")),
        memory,
        Some(system),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_the_calendar() {
        assert_eq!(timestamp(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(timestamp(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(timestamp(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(timestamp(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert_eq!(timestamp(1_735_689_599), "2024-12-31 23:59:59 UTC");
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
