//! The bundle's Info.plist: the USB devices that pcscd gives to this handler, and their names.

#![forbid(unsafe_code)]

use pcsc_ccid::names;
use std::fmt::Write;

/// The bundle's folder, in pcscd's folder of drivers.
pub const BUNDLE: &str = "ifd-pcsc-rs.bundle";
/// The library in Contents/Linux of the bundle.
pub const LIBRARY: &str = "libpcsc_ifd_handler.so";

/// The text of Contents/Info.plist. The three lists correspond line by line: vendor, product and name of a
/// reader.
pub fn text() -> String {
    let mut text = String::from(HEAD);
    let strings = [
        ("CFBundleExecutable", LIBRARY),
        // Not libccid's CCIDCLASSDRIVER: so pcscd prefers this one, and where it fails falls back to libccid.
        ("CFBundleName", "PCSCRS"),
        ("CFBundleIdentifier", "org.pcsc-rs.ifd"),
        ("CFBundleShortVersionString", env!("CARGO_PKG_VERSION")),
        ("ifdCapabilities", "0x00000000"),
        ("ifdProtocolSupport", "0x00000001"),
        ("ifdVersionNumber", "0x00000001"),
        ("ifdLogLevel", "0x0003"),
        ("ifdDriverOptions", "0x0000"),
    ];
    for (key, value) in strings {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\t<key>{key}</key>\n\t<string>{value}</string>");
    }
    let number = |number: u16| format!("0x{number:04X}");
    array(
        &mut text,
        "ifdVendorID",
        names::models().map(|(vendor, _, _)| number(vendor)),
    );
    array(
        &mut text,
        "ifdProductID",
        names::models().map(|(_, product, _)| number(product)),
    );
    array(
        &mut text,
        "ifdFriendlyName",
        names::models().map(|(_, _, name)| escaped(&name)),
    );
    text.push_str("</dict>\n</plist>\n");
    text
}

const HEAD: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<!-- ifdLogLevel: 1 errors, 2 information; the sum is both. The environment variable PCSC_IFD_LOG_LEVEL comes
     first. ifdDriverOptions, the sum of: 1 clients may send commands to the reader itself (Escape), 4 use
     readers whose firmware is known to have faults, and one of 16 power cards up at 3 V first, 32 at 1.8 V,
     48 at the reader's choice instead of 5 V, in readers that leave that to the driver.
     PCSC_IFD_DRIVER_OPTIONS comes first. -->
<dict>
"#;

fn array(text: &mut String, key: &str, values: impl Iterator<Item = String>) {
    let _ = writeln!(text, "\t<key>{key}</key>\n\t<array>");
    for value in values {
        let _ = writeln!(text, "\t\t<string>{value}</string>");
    }
    text.push_str("\t</array>\n");
}

/// pcscd's parser undoes this one only.
fn escaped(name: &str) -> String {
    name.replace('&', "&amp;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_lists_are_equally_long_and_names_are_escaped() {
        assert_eq!(escaped("A & B"), "A &amp; B");
        let text = text();
        let length = |key: &str| {
            let (_, list) = text
                .split_once(&format!("<key>{key}</key>\n\t<array>\n"))
                .unwrap();
            list.split_once("\t</array>").unwrap().0.lines().count()
        };
        let lists = ["ifdVendorID", "ifdProductID", "ifdFriendlyName"];
        assert_eq!(lists.map(length), [names::models().count(); 3]);
    }
}
