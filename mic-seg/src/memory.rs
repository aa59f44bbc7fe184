//! The process's peak memory, where the system tells it (Linux).

/// Forgets the peak so far, so that the next reading is of what follows.
pub fn reset_peak() {
    // Needs no privilege; where the file does not exist, readings are of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Largest resident memory in bytes since the last reset.
pub fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
