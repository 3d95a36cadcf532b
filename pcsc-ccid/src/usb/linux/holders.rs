//! The processes and drivers that use a reader.

use super::super::error::Holder;
use super::sysfs;
use std::fs;
use std::path::Path;
use std::string::String;
use std::vec;
use std::vec::Vec;

/// The kernel's driver that is bound to the interface at `port`; otherwise the other processes that have
/// `node` open, as far as this user has permission to read their `/proc/PID/fd`.
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
    let name = |entry: &fs::DirEntry| {
        let mut descriptors = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        descriptors
            .find(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == node.as_os_str()))?;
        let name = fs::read(entry.path().join("comm")).ok()?;
        Some(String::from_utf8_lossy(&name).trim_end().into())
    };
    // Inserted in order: a sort of the standard library is several kilobytes of code.
    let mut found: Vec<(u32, String)> = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|pid| pid.parse().ok());
        if let (Some(pid), Some(name)) = (pid, name(&entry)) {
            let at = found.partition_point(|(other, _)| *other < pid);
            found.insert(at, (pid, name));
        }
    }
    let processes = found.into_iter();
    processes
        .map(|(pid, name)| Holder::Process { pid, name })
        .collect()
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
        // A child that another test is starting has the file open too.
        let holds = || {
            let mut holders = processes(&path).into_iter();
            holders.any(|holder| {
                matches!(&holder, Holder::Process { pid, name }
                    if *pid == std::process::id() && !name.is_empty())
            })
        };
        assert!(holds());
        drop(file);
        assert!(!holds());
        fs::remove_file(path).unwrap();
    }
}
