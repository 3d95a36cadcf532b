//! Windows.

/// Whether this program has more rights than the user who started it: there is no such thing as a setuid
/// program.
pub fn is_privileged() -> bool {
    false
}
