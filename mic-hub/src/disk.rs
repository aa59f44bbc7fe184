//! Room on a disk.

use std::io::ErrorKind;
use std::path::Path;

use crate::Error;

/// Bytes that this user may still write where `path` is; `None` where the system does not say.
pub(crate) fn free(path: &Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
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

/// The error of a write of `need` more bytes to `path`: room is a matter of its own.
pub(crate) fn failed(path: &Path, need: u64, source: std::io::Error) -> Error {
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            Error::DiskFull {
                path: path.to_owned(),
                need,
                free: path.parent().and_then(free),
            }
        }
        _ => Error::Io {
            path: path.to_owned(),
            source,
        },
    }
}
