//! The host's files and programs.

use std::path::{Path, PathBuf};

use super::error::Error;

/// A path that can stand in an option of QEMU's, where a comma ends it.
pub(super) fn option(path: &Path) -> Result<&str, Error> {
    let text = path.to_str().filter(|text| !text.contains(','));
    text.ok_or_else(|| Error::Failed(format!("{}: no path for QEMU", path.display())))
}

/// The path of a program in a folder of PATH, or in one for the programs of administrators.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(more);
    folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file()))
}
