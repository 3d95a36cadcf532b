//! Files that the arguments name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Opens a file to be read; `-` is standard input.
pub fn open(file: &Path) -> io::Result<Box<dyn Read>> {
    Ok(match file.as_os_str() == "-" {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(file)?),
    })
}
