//! Prints the bundle's Info.plist, for an installation.

#![forbid(unsafe_code)]

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(pcsc_ifd_handler::info_plist::text().as_bytes())
}
