//! What to do about a program or a driver that keeps a reader.

use std::fs;
use std::path::Path;

use pcsc_ccid::usb::Holder;

/// The kernel's USB drivers.
const DRIVERS: &str = "/sys/bus/usb/drivers";

/// What frees a reader that these use.
pub fn advice(holders: &[Holder]) -> String {
    advice_by(Path::new(DRIVERS), holders)
}

fn advice_by(drivers: &Path, holders: &[Holder]) -> String {
    let Some(holder) = holders.first() else {
        return "The superuser may see which process it is: sudo pcsc doctor".into();
    };
    let name = match holder {
        Holder::Driver(name) => {
            let module = module(drivers, name);
            return format!(
                "As root: modprobe -r {module}; and so that it stays away: \
                 echo blacklist {module} >/etc/modprobe.d/pcsc-{module}.conf"
            );
        }
        Holder::Process { name, .. } => name.as_str(),
        _ => "",
    };
    match name {
        "pcscd" => "Go through pcscd: leave out --backend standalone and PCSCLITE_BACKEND.".into(),
        "scdaemon" => {
            "gpgconf --kill scdaemon. To share the reader with GnuPG, run pcsc share or pcscd and put \
             disable-ccid into ~/.gnupg/scdaemon.conf."
                .into()
        }
        _ if is_virtual_machine(name) => "Detach the reader from the virtual machine.".into(),
        _ => "End that program. To share readers between programs, run pcsc share or pcscd.".into(),
    }
}

/// Whether a process of this name is a virtual machine. The kernel keeps 15 bytes of a name.
fn is_virtual_machine(name: &str) -> bool {
    let starts = [
        "qemu",
        "VirtualBox",
        "VBox",
        "vmware",
        "gnome-boxes",
        "cloud-hyperviso",
    ];
    starts.iter().any(|start| name.starts_with(start))
}

/// The module of a driver, which may have another name. A driver that is built in has none.
fn module(drivers: &Path, name: &str) -> String {
    let link = fs::read_link(drivers.join(name).join("module")).unwrap_or_default();
    let module = link
        .file_name()
        .map(|module| module.to_string_lossy().into_owned());
    module.unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_is_about_what_keeps_the_reader() {
        let folder = std::env::temp_dir().join(format!("pcsc-cli-{}-drivers", std::process::id()));
        fs::create_dir_all(folder.join("usbserial_generic")).expect("a folder");
        let link = folder.join("usbserial_generic/module");
        std::os::unix::fs::symlink("../../../../module/usbserial", link).expect("a link");
        let driver = |name: &str| advice_by(&folder, &[Holder::Driver(name.into())]);
        let (linked, other) = (driver("usbserial_generic"), driver("pn533_usb"));
        fs::remove_dir_all(&folder).expect("our folder");
        assert!(linked.contains("modprobe -r usbserial;"), "{linked}");
        assert!(
            other.contains("modprobe -r pn533_usb;") && other.contains("blacklist pn533_usb"),
            "{other}"
        );
    }

    #[test]
    fn a_virtual_machine_is_known_by_its_name() {
        for name in ["qemu-system-x86", "VirtualBoxVM", "VBoxHeadless", "vmware-vmx"] {
            assert!(is_virtual_machine(name), "{name}");
        }
        assert!(!is_virtual_machine("scdaemon"));
    }
}
