//! Where, when and how numbers were made.

use std::fs;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// What is needed to make the numbers of a run again: the contents of `run.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// The program, such as `mic-seg`.
    pub program: String,
    /// Its version.
    pub version: String,
    /// The commit of the working folder, with `+` for uncommitted changes; `None` outside git.
    pub commit: Option<String>,
    /// Processor, cores, memory, system.
    pub machine: String,
    /// Seed of every random stream.
    pub seed: u64,
    /// The processes that trained, in order.
    pub starts: Vec<Start>,
}

/// A process that began to train.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The first step that it did.
    pub step: u64,
    /// When, in UTC.
    pub time: String,
    /// How it was called.
    pub command: String,
    /// Its process number.
    pub process: u32,
}

impl Start {
    /// This process, now.
    pub fn now(step: u64) -> Self {
        Self {
            step,
            time: timestamp(seconds_now()),
            command: command_line(),
            process: std::process::id(),
        }
    }
}

impl Provenance {
    /// This program on this machine, not started.
    pub fn here(program: &str, seed: u64) -> Self {
        Self {
            program: program.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            commit: commit(),
            machine: machine(),
            seed,
            starts: Vec::new(),
        }
    }
}

/// Seconds since 1970.
pub fn seconds_now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |duration| duration.as_secs())
}

/// `YYYY-MM-DD hh:mm:ss UTC` of seconds since 1970.
pub fn timestamp(seconds: u64) -> String {
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

/// This process's command line as a shell would read it, the program by its name.
fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    // The program's own path says where it was built, not how to call it.
    let name = std::path::Path::new(&program).file_name();
    let name = name.map_or(program.clone(), |name| name.to_string_lossy().into_owned());
    let words = words.map(|word| shell_word(&word));
    std::iter::once(name)
        .chain(words)
        .collect::<Vec<_>>()
        .join(" ")
}

/// One argument, quoted where a shell would change it.
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The short hash of the working folder's commit, with `+` for uncommitted changes.
pub fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let hash = git(&["rev-parse", "--short", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    Some(if changed.is_empty() { hash } else { hash + "+" })
}

/// Processor, cores, memory and system, as far as they are known.
pub fn machine() -> String {
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
    }

    #[test]
    fn arguments_are_quoted_for_a_shell() {
        let words = ["a", "b c", "it's", "mask=", ""].map(shell_word);
        assert_eq!(words.join(" "), r"a 'b c' 'it'\''s' mask= ''");
    }
}
