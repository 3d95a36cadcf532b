//! The processes and drivers that use a reader.

use super::super::error::Holder;
use super::sysfs;
use std::fs;
use std::path::Path;
use std::vec;
use std::vec::Vec;

/// The kernel's driver that is bound to the interface at `port`; or else the other processes that have `node`
/// open, as far as the user may look.
pub(in crate::usb) fn holders(port: &str, node: &Path) -> Vec<Holder> {
    match sysfs::driver(port) {
        Some(driver) if driver != "usbfs" => vec![Holder::Driver(driver)],
        _ => {
            let mut holders = processes(node);
            // This process has the node open too, from the attempt that has just failed.
            let own = std::process::id();
            holders.retain(|holder| !matches!(holder, Holder::Process { pid, .. } if *pid == own));
            holders
        }
    }
}

/// The processes that have `node` open, in the order of their ids.
fn processes(node: &Path) -> Vec<Holder> {
    let mut holders: Vec<Holder> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let mut descriptors = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
            descriptors.find(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == node))?;
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            Some(Holder::Process {
                pid,
                name: name.trim_end().into(),
            })
        })
        .collect();
    holders.sort_by_key(|holder| match holder {
        Holder::Process { pid, .. } => *pid,
        Holder::Driver(_) => 0,
    });
    holders
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::fs::File;

    #[test]
    fn the_process_that_has_a_file_open_is_named() {
        let path = std::env::temp_dir().join(format!("pcsc-ccid-{}-held", std::process::id()));
        let file = File::create(&path).unwrap();
        let path = path.canonicalize().unwrap();
        let holders = processes(&path);
        assert!(
            matches!(holders.as_slice(), [Holder::Process { pid, name }]
                if *pid == std::process::id() && !name.is_empty()),
            "{holders:?}"
        );
        drop(file);
        assert_eq!(processes(&path), []);
        fs::remove_file(path).unwrap();
    }
}
