//! The driver's bundle, loaded by pcscd.

use super::{files, install, is_empty, path};
use pcsc_client::ctl_code;
use pcsc_tests::Pcscd;
use std::fs;
use tempfile::TempDir;

#[test]
fn pcscd_loads_the_driver_from_its_bundle() {
    let prefix = TempDir::new().expect("a folder");
    let prefix = prefix.path();
    let (drop, udev) = (prefix.join("drivers"), prefix.join("rules.d"));
    let at = [
        "--prefix",
        path(prefix),
        "--dropdir",
        path(&drop),
        "--udevdir",
        path(&udev),
    ];
    let said = install(&[&["--driver"], &at[..]].concat()).stdout();
    assert!(said.contains("PCSCLITE_HP_DROPDIR"), "{said}");
    let expected = [
        "drivers/ifd-pcsc-rs.bundle/Contents/Info.plist",
        "drivers/ifd-pcsc-rs.bundle/Contents/Linux/libpcsc_ifd_handler.so",
        "lib/pcsc-rs/driver.manifest",
        "rules.d/70-pcsc-ccid.rules",
    ];
    assert_eq!(files(prefix), expected);

    // Vendor, product and name of each reader, in three lists of one length.
    let plist = drop.join("ifd-pcsc-rs.bundle/Contents/Info.plist");
    let text = fs::read_to_string(&plist).expect("a property list");
    let list = |key: &str| -> Vec<&str> {
        let (_, rest) = text.split_once(&format!("<key>{key}</key>")).expect("a key");
        let (array, _) = rest.split_once("</array>").expect("a list");
        let strings = array.split("<string>").skip(1);
        strings
            .map(|text| text.split("</string>").next().unwrap_or(""))
            .collect()
    };
    let (vendors, products, names) = (list("ifdVendorID"), list("ifdProductID"), list("ifdFriendlyName"));
    assert!(vendors.len() > 500 && vendors.len() == products.len() && vendors.len() == names.len());
    let alcor = names
        .iter()
        .position(|name| *name == "Alcor Micro AU9540")
        .expect("a name");
    assert_eq!((vendors[alcor], products[alcor]), ("0x058F", "0x9540"));

    // The user's settings in it have effect: commands to the reader itself are announced only if allowed.
    for (options, announced) in [("0x0000", false), ("0x0001", true)] {
        let text = text.replacen(
            "<string>0x0000</string>",
            &format!("<string>{options}</string>"),
            1,
        );
        fs::write(&plist, text).expect("our file");
        let pcscd = Pcscd::start_installed(&["omnikey-3x21:card=t1"], &drop);
        let card = pcscd.connect(0);
        let mut answer = [0; 100];
        let features = card.control(ctl_code(3400), &[], &mut answer).expect("features");
        assert_eq!(
            features.chunks(6).any(|tlv| tlv[0] == 0x13),
            announced,
            "{options}"
        );
        let log = pcscd.log();
        assert!(
            !log.contains("No bundle files") && !log.contains("not defined"),
            "{log}"
        );
    }

    install(&[&["--driver", "--uninstall"], &at[..]].concat()).stdout();
    assert!(is_empty(prefix), "{:?}", files(prefix));
}
