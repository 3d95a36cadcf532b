//! The C API's types and numbers, under the names of `winscard.h` (PC/SC part 5 and part 3).
//!
//! Types and numbers only: no C library is behind this module. It replaces `pcsc_sys` for programs that use
//! the `pcsc` crate.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]

/// C's `DWORD`: 32 bits on macOS and Windows.
#[cfg(any(windows, target_os = "macos"))]
pub type DWORD = u32;
/// C's `DWORD`: an `unsigned long`.
#[cfg(not(any(windows, target_os = "macos")))]
pub type DWORD = std::os::raw::c_ulong;

/// C's `LONG`: 32 bits on macOS and Windows.
#[cfg(any(windows, target_os = "macos"))]
pub type LONG = i32;
/// C's `LONG`: a `long`. Return codes are positive where it has 64 bits, negative where it has 32.
#[cfg(not(any(windows, target_os = "macos")))]
pub type LONG = std::os::raw::c_long;

/// A context's handle: a number as wide as a pointer on Windows.
#[cfg(windows)]
pub type SCARDCONTEXT = usize;
/// A context's handle.
#[cfg(not(windows))]
pub type SCARDCONTEXT = LONG;

/// C's `ULONG`.
pub type ULONG = DWORD;
/// A card's handle.
pub type SCARDHANDLE = SCARDCONTEXT;

/// Defines the return codes, of the type that C has.
macro_rules! codes {
    ($($name:ident = $code:literal $(, $text:literal)?;)+) => {
        $(
            /// A return code. [`Error`](crate::Error) has the meaning of each.
            pub const $name: LONG = pcsc_constants::$name as LONG;
        )+
    };
}

/// Defines the other constants: numbers of type [`DWORD`], and sizes of type `usize`.
macro_rules! constants {
    ($($(#$doc:tt)+ $kind:ident { $($name:ident = $value:expr,)+ })+) => {
        $(constants!(@group [$(#$doc)+] $kind { $($name)+ });)+
    };
    (@group $docs:tt $kind:ident { $($name:ident)+ }) => {
        $(constants!(@one $docs $kind $name);)+
    };
    (@one [$(#$doc:tt)+] u32 $name:ident) => {
        $(#$doc)+
        pub const $name: DWORD = pcsc_constants::$name as DWORD;
    };
    (@one [$(#$doc:tt)+] usize $name:ident) => {
        $(#$doc)+
        pub const $name: usize = pcsc_constants::$name;
    };
}

pcsc_constants::for_each_code!(codes);
pcsc_constants::for_each_constant!(constants);

/// A length: the library allocates the buffer.
pub const SCARD_AUTOALLOCATE: DWORD = DWORD::MAX;

/// The control code of a reader's function `code` (C's `SCARD_CTL_CODE`).
pub const fn SCARD_CTL_CODE(code: DWORD) -> DWORD {
    if cfg!(windows) {
        // The device type FILE_DEVICE_SMARTCARD, and a function of it.
        (0x31 << 16) + (code << 2)
    } else {
        pcsc_constants::control_code(0) as DWORD + code
    }
}
