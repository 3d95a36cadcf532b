//! Capabilities that Linux gives to the programs of a file.

use std::path::Path;

/// Whether a file has some.
pub fn has_some(file: &Path) -> bool {
    rustix::fs::getxattr(file, "security.capability", &mut [0_u8; 64][..]).is_ok()
}
