//! The path of this library.

use std::ffi::{c_void, CStr, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The file that this code was loaded from, as the dynamic linker names it.
pub fn library_path() -> Option<PathBuf> {
    let address = library_path as *const c_void;
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `found` is written or left zero, which is a valid value of its type.
    let (result, found) = unsafe { (libc::dladdr(address, found.as_mut_ptr()), found.assume_init()) };
    if result == 0 || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: not NULL, so a C string of the dynamic linker's, which lives as long as this code is loaded.
    let name = unsafe { CStr::from_ptr(found.dli_fname) };
    Some(OsStr::from_bytes(name.to_bytes()).into())
}
