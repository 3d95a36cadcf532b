//! The log: pcscd's own where it is there, else the standard error.
//!
//! What goes to a card or comes from it is never logged: a PIN may be in it.

use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

/// How much a line matters; the values are pcscd's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// What there is to know.
    Info = 1,
    /// A reader that does not work, and why.
    Critical = 3,
}

/// `void log_msg(const int priority, const char *fmt, ...)`.
type LogMsg = unsafe extern "C" fn(c_int, *const c_char, ...);

/// Logs a line, if the user wants such lines.
pub fn log(level: Level, line: fmt::Arguments<'_>) {
    if !crate::settings::get().logs(level) {
        return;
    }
    let mut text = format!("pcsc-ccid: {line}");
    text.retain(|c| !c.is_control());
    let Some(log_msg) = daemon() else {
        // A closed stderr is no reason to fail.
        let _ = writeln!(std::io::stderr(), "{text}");
        return;
    };
    if let Ok(text) = CString::new(text) {
        // SAFETY: pcscd's function of this name and type; the format takes one string, which lives on.
        unsafe { log_msg(level as c_int, c"%s".as_ptr(), text.as_ptr()) };
    }
}

/// pcscd's function, if pcscd is what runs this: it exports its functions for handlers.
fn daemon() -> Option<LogMsg> {
    static FOUND: OnceLock<Option<LogMsg>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let log_msg = symbol(c"log_msg")?;
        // A program that happens to have a function of that name has not this one too.
        symbol(c"log_xxd")?;
        // SAFETY: a program with both functions is pcscd, whose log_msg has this type in all its versions.
        Some(unsafe { std::mem::transmute::<*mut c_void, LogMsg>(log_msg) })
    })
}

fn symbol(name: &CStr) -> Option<*mut c_void> {
    // SAFETY: the name is a C string.
    let address = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

/// The path of the file that this code is in.
pub fn own_file() -> Option<std::path::PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let address = own_file as *const c_void;
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: `found` is written or left zero, which is a valid value of its type.
    let (result, found) = unsafe { (libc::dladdr(address, found.as_mut_ptr()), found.assume_init()) };
    if result == 0 || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: not NULL, so the loader's C string, which lives as long as this code is loaded.
    let name = unsafe { CStr::from_ptr(found.dli_fname) };
    Some(std::ffi::OsStr::from_bytes(name.to_bytes()).into())
}
