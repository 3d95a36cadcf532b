//! The log: pcscd's `log_msg` where the program has it, else standard error.
//!
//! Commands and responses are never logged: a PIN may be in them.

use crate::settings;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::fmt;
use std::io::Write;
use std::sync::OnceLock;

/// The priority of a line, with pcscd's values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Normal operation.
    Info = 1,
    /// A reader that cannot be used.
    Critical = 3,
}

/// `void log_msg(const int priority, const char *fmt, ...)`.
type LogMsg = unsafe extern "C" fn(c_int, *const c_char, ...);

/// Logs a line if the settings enable its level. Control characters are removed.
pub fn log(level: Level, line: fmt::Arguments<'_>) {
    let settings = settings::get();
    let is_wanted = match level {
        Level::Info => settings.log_info,
        Level::Critical => settings.log_critical,
    };
    if !is_wanted {
        return;
    }
    let mut text = format!("pcsc-ccid: {line}");
    text.retain(|c| !c.is_control());
    let Some(log_msg) = daemon() else {
        // Logging must not fail because stderr is closed.
        let _ = writeln!(std::io::stderr(), "{text}");
        return;
    };
    if let Ok(text) = CString::new(text) {
        // SAFETY: pcscd's function of this name and type; the format takes one string, which lives on.
        unsafe { log_msg(level as c_int, c"%s".as_ptr(), text.as_ptr()) };
    }
}

/// pcscd's logging function. None in another program.
fn daemon() -> Option<LogMsg> {
    static FOUND: OnceLock<Option<LogMsg>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let log_msg = symbol(c"log_msg")?;
        // Another program may have a function called log_msg. pcscd has this one as well.
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
