//! Debian's own library.

use std::path::{Path, PathBuf};

/// The file behind the distribution's libpcsclite.so.1, wherever its links lead.
///
/// # Panics
/// If it is not installed.
#[track_caller]
pub fn library() -> PathBuf {
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    [multiarch.as_str(), "/usr/lib64", "/usr/lib"]
        .iter()
        .find_map(|folder| Path::new(folder).join("libpcsclite.so.1").canonicalize().ok())
        .expect("libpcsclite.so.1 is not installed: run scripts/setup")
}

/// Its folder, for LD_LIBRARY_PATH: the loader may find another libpcsclite in /usr/local.
/// `STOCK_LIBRARY_FOLDER` names the folder of another version to run the programs with.
///
/// # Panics
/// If it is not installed.
#[track_caller]
pub fn folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("STOCK_LIBRARY_FOLDER") {
        return folder.into();
    }
    let library = library();
    library.parent().unwrap_or(&library).to_owned()
}
