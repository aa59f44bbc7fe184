//! Room on a disk.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Bytes that this user may still write where `path` is or will be; `None` where the system does not
/// say.
pub(super) fn free(path: &Path) -> Option<u64> {
    let path = path.canonicalize().ok().or_else(|| {
        let mut above = path.ancestors().skip(1);
        above.find_map(|above| match above.as_os_str().is_empty() {
            true => std::env::current_dir().ok(),
            false => above.canonicalize().ok(),
        })
    })?;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: the path ends in 0, and the system fills the structure if it returns 0.
    let found = unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    // Their types differ between systems.
    #[allow(clippy::unnecessary_cast)]
    Some((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_not_there_yet_has_the_room_of_the_one_above() {
        assert!(free(Path::new("none/of/these")).is_some_and(|bytes| bytes > 0));
        assert!(free(Path::new("/")).is_some());
    }
}
