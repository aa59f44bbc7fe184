//! The process's peak memory, where the system tells it (Linux).

/// Forgets the peak so far, so that the next reading is of what follows.
pub fn reset_peak() {
    // Needs no privilege; where the file does not exist, readings are of the whole process.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Largest resident memory in bytes since the last reset.
pub fn peak() -> Option<u64> {
    status("VmHWM:")
}

/// Resident memory in bytes now.
pub fn resident() -> Option<u64> {
    status("VmRSS:")
}

/// Bytes as people read them, such as `1.4 GiB`.
pub fn readable(bytes: u64) -> String {
    let mib = bytes as f64 / f64::from(1 << 20);
    if mib < 1024.0 {
        format!("{mib:.0} MiB")
    } else {
        format!("{:.1} GiB", mib / 1024.0)
    }
}

fn status(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(field))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}
