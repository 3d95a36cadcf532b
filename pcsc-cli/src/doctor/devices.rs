//! The devices on the USB that are no readers.

use std::fs;
use std::path::Path;

use crate::output::printable;

/// The folder in which the kernel describes them.
pub const DEVICES: &str = "/sys/bus/usb/devices";

/// The class of hubs (USB 2.0, clause 11.23.1).
const HUB: &str = "09";

/// Words in the names of smart card readers. A "card reader" alone is one for memory cards.
const WORDS: [&str; 6] = [
    "smart card",
    "smartcard",
    "chipcard",
    "nfc",
    "ccid",
    "security token",
];

/// A device on the USB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Vendor and product, such as 058f:9540.
    pub id: String,
    /// What it calls itself.
    pub name: String,
}

impl Device {
    /// Whether it calls itself a smart card reader.
    pub fn claims_to_be_a_reader(&self) -> bool {
        let name = self.name.to_lowercase();
        WORDS.iter().any(|word| name.contains(word))
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.id, self.name)
    }
}

/// The devices below `root`, a folder such as [`DEVICES`], but for hubs; in the order of their ids.
pub fn all(root: &Path) -> Vec<Device> {
    let entries = fs::read_dir(root).into_iter().flatten().flatten();
    let mut devices: Vec<Device> = entries.filter_map(|entry| device(&entry.path())).collect();
    devices.sort_by(|one, other| one.id.cmp(&other.id));
    devices
}

/// The device of a folder; `None` for a hub, and for an interface, which has no vendor.
fn device(folder: &Path) -> Option<Device> {
    let attribute = |name| {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        Some(printable(text.trim()))
    };
    if attribute("bDeviceClass").as_deref() == Some(HUB) {
        return None;
    }
    let names = [attribute("manufacturer"), attribute("product")];
    let names: Vec<String> = names
        .into_iter()
        .flatten()
        .filter(|name| !name.is_empty())
        .collect();
    Some(Device {
        id: format!("{}:{}", attribute("idVendor")?, attribute("idProduct")?),
        name: names.join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_listed_without_hubs_and_interfaces() {
        let root = std::env::temp_dir().join(format!("pcsc-cli-{}-devices", std::process::id()));
        let put = |folder: &str, attributes: &[(&str, &str)]| {
            fs::create_dir_all(root.join(folder)).expect("a folder");
            for (name, value) in attributes {
                fs::write(root.join(folder).join(name), format!("{value}\n")).expect("a file");
            }
        };
        put(
            "usb1",
            &[
                ("bDeviceClass", "09"),
                ("idVendor", "1d6b"),
                ("idProduct", "0002"),
            ],
        );
        put(
            "1-2",
            &[
                ("idVendor", "04cb"),
                ("idProduct", "0119"),
                ("product", "USB\x1B[1m Disk"),
            ],
        );
        let reader = [("manufacturer", "ACS"), ("product", "ACR38 SmartCard Reader")];
        put(
            "1-1",
            &[&[("idVendor", "072f"), ("idProduct", "9000")], &reader[..]].concat(),
        );
        put("1-1:1.0", &[("bInterfaceClass", "00")]);
        let found = all(&root);
        fs::remove_dir_all(&root).expect("our folder");
        let shown: Vec<String> = found.iter().map(Device::to_string).collect();
        assert_eq!(
            shown,
            ["04cb:0119 USB.[1m Disk", "072f:9000 ACS ACR38 SmartCard Reader"]
        );
        let claims: Vec<bool> = found.iter().map(Device::claims_to_be_a_reader).collect();
        assert_eq!(claims, [false, true]);
    }
}
