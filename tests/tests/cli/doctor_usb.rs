//! What `pcsc doctor` finds on the USB, as a staged /sys shows it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use pcsc_sim::Model;
use pcsc_tests::scripted::{Script, Scripted};

use super::doctor::doctor;
use super::*;

/// A device at port 1-1, whose node is /dev/bus/usb/001/004.
struct Staged {
    vendor: u16,
    product: u16,
    release: &'static str,
    name: &'static str,
    /// `bInterfaceClass` of its interface.
    class: u8,
    descriptors: Vec<u8>,
}

impl Staged {
    /// A simulated reader.
    fn reader(model: &str) -> Staged {
        let model = pcsc_sim::model(model).expect("a model");
        let mut descriptors = model.device_descriptor().to_vec();
        descriptors.extend(Model::configuration_descriptor(&[&model], 4));
        Staged {
            vendor: model.identity.vendor_id,
            product: model.identity.product_id,
            release: "0700",
            name: "EMV Smartcard Reader",
            class: 0x0B,
            descriptors,
        }
    }

    /// The script that puts it into /sys. `folder` keeps its descriptors.
    fn script(&self, folder: &Path) -> String {
        let file = folder.join("descriptors");
        fs::write(&file, &self.descriptors).expect("a file");
        let Staged {
            vendor,
            product,
            release,
            name,
            class,
            ..
        } = self;
        format!(
            "cd /sys/bus/usb/devices && mkdir 1-1 1-1:1.0
             put() {{ echo \"$2\" >$1; }}
             put 1-1/busnum 1; put 1-1/devnum 4; put 1-1/dev 189:3; put 1-1/bDeviceClass 00
             put 1-1/idVendor {vendor:04x}; put 1-1/idProduct {product:04x}; put 1-1/bcdDevice {release}
             put 1-1/bConfigurationValue 1; put 1-1/product '{name}'; cp {} 1-1/descriptors
             put 1-1:1.0/bInterfaceClass {class:02x}; put 1-1:1.0/bInterfaceNumber 00
             mkdir -p /dev/bus; mount -t tmpfs none /dev/bus
             mkdir -p /dev/bus/usb/001; : >/dev/bus/usb/001/004; chmod 600 /dev/bus/usb/001/004\n",
            file.display()
        )
    }
}

/// What doctor finds with this device, after another script, and with the daemon that listens in `folder`.
fn found(folder: &Path, device: &Staged, prepare: &str) -> (Option<i32>, String) {
    let script = device.script(folder);
    doctor(
        folder,
        &format!("{USB} bus/usb/drivers/pn533_usb"),
        &format!("{script}{prepare}"),
    )
}

/// A daemon with this number of readers, in its folder.
fn daemon(folder: &Path, readers: usize) -> Scripted {
    let script = Script {
        readers,
        ..Script::new(4)
    };
    Scripted::start_at(&folder.join("pcscd.comm"), script)
}

#[test]
fn a_container_without_devices_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, text) = doctor(folder.path(), USB, ":");
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "/dev/bus/usb is missing",
            "docker run --device /dev/bus/usb",
            "no reader is plugged in",
        ],
    );
}

#[test]
fn a_reader_without_permission_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    copy_program(artifacts::binary("pcsc-cli", "pcsc"), folder.path());
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
    let as_nobody = "exec setpriv --reuid 65534 --regid 65534 --clear-groups /run/pcscd/pcsc doctor";
    let device = Staged::reader("au9540");
    let (code, text) = found(
        folder.path(),
        &device,
        &format!("rm -r /dev/bus/usb/001\n{as_nobody}"),
    );
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "BAD  USB      reader 058f:9540 EMV Smartcard Reader: /dev/bus/usb/001/004 does not exist",
            "-> udevadm trigger",
        ],
    );
    let (code, text) = found(folder.path(), &device, as_nobody);
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "BAD  USB      058f:9540 EMV Smartcard Reader at 1-1:1.0: no permission for /dev/bus/usb/001/004",
            r#"SUBSYSTEM=="usb", ATTR{idVendor}=="058f""#,
        ],
    );
}

#[test]
fn a_reader_to_record_is_chosen_among_those_on_the_usb() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Staged::reader("au9540");
    // Chosen by a part of its name in either case, or by its port; a part of its port is none.
    for (reader, is_chosen) in [("ALCOR", true), ("1-1", true), ("1-1:1.0", true), ("1", false)] {
        let record = format!("exec \"$0\" sim record --usb -r {reader} /nonexistent/record true");
        let (_, text) = found(folder.path(), &device, &record);
        assert_eq!(
            text.contains("/nonexistent/record cannot be written"),
            is_chosen,
            "{reader}: {text}"
        );
    }
    let record = "exec \"$0\" sim record --usb -r nobody /dev/null true";
    let (code, text) = found(folder.path(), &device, record);
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "pcsc: No reader matches \"nobody\".\n      Choose one with --reader, by its name or USB port:\n\
             \x20       Alcor Micro AU9540 at 1-1:1.0\n",
        ],
    );
    let (code, text) = doctor(folder.path(), USB, record);
    assert_eq!(code, Some(3), "{text}");
    has(&text, &["pcsc: No reader is connected.\n      Plug one in"]);
    let (code, text) = doctor(folder.path(), "", record);
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &[
            "pcsc: The readers on the USB cannot be used: ",
            "\n      pcsc doctor finds out why",
        ],
    );
}

#[test]
fn a_device_that_is_no_ccid_reader_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    // Of the class, without the class descriptor.
    let mut device = Staged::reader("au9540");
    let at = device
        .descriptors
        .windows(2)
        .position(|bytes| bytes == [54, 0x21]);
    let at = at.expect("a class descriptor");
    device.descriptors.drain(at..at + 54);
    device.descriptors[20] -= 54;
    let (code, text) = found(folder.path(), &device, "");
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "BAD  USB      reader 058f:9540 EMV Smartcard Reader: interface 0: ",
            "Its maker's driver may know it.",
        ],
    );

    // Of another class. The second one is for memory cards.
    for (name, expected) in [
        (
            "ACR38 SmartCard Reader",
            "BAD  USB      072f:9000 ACR38 SmartCard Reader is no CCID reader\n",
        ),
        (
            "Flash Card Reader",
            "no device is of the class CCID; what is there is 072f:9000 Flash Card Reader\n",
        ),
    ] {
        let device = Staged {
            vendor: 0x072F,
            product: 0x9000,
            name,
            class: 0,
            ..Staged::reader("au9540")
        };
        let (code, text) = found(folder.path(), &device, "");
        assert_eq!(code, Some(3), "{text}");
        has(
            &text,
            &[expected, "its maker's driver for pcscd", "No reader can be used."],
        );
    }
}

#[test]
fn firmware_that_the_driver_refuses_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Staged {
        release: "0610",
        ..Staged::reader("scr331-di")
    };
    let (_, text) = found(folder.path(), &device, "");
    let expected =
        "at 1-1:1.0: the driver refuses its firmware, which is known not to work: SCM SCR331-DI before 6.20";
    has(
        &text,
        &[
            "BAD  USB      04e6:5111",
            expected,
            "Update the reader's firmware",
        ],
    );
    let _daemon = daemon(folder.path(), 0);
    let (code, text) = found(folder.path(), &device, "");
    assert_eq!(code, Some(3), "{text}");
    has(&text, &[expected]);
}

#[test]
fn a_server_of_the_user_without_readers_is_explained_as_this_process_sees_the_usb() {
    let folder = tempfile::tempdir().expect("a folder");
    let [system, own] = ["system", "user/pcsc"].map(|name| folder.path().join(name));
    fs::create_dir_all(&system).expect("a folder");
    fs::create_dir_all(&own).expect("a folder");
    let _server = daemon(&own, 0);
    let prepare = format!(
        "rm -r /dev/bus/usb/001; export XDG_RUNTIME_DIR={}/user",
        folder.path().display()
    );
    let (code, text) = found(&system, &Staged::reader("au9540"), &prepare);
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "pcsc share answers at",
            "BAD  USB      reader 058f:9540 EMV Smartcard Reader: /dev/bus/usb/001/004 does not exist",
            "BAD  reader   the daemon runs, and lists no reader",
        ],
    );
}

#[test]
fn a_daemon_without_readers_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let device = Staged::reader("au9540");
    let name = "058f:9540 EMV Smartcard Reader at 1-1:1.0";
    {
        let _daemon = daemon(folder.path(), 1);
        let (code, text) = found(folder.path(), &device, "");
        assert_eq!(code, Some(0), "{text}");
        has(
            &text,
            &[
                &format!("ok   USB      {name} is there; the daemon drives it"),
                "All is well",
            ],
        );
    }

    let _daemon = daemon(folder.path(), 0);
    let (code, text) = doctor(folder.path(), USB, "");
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "no reader is plugged in",
            "BAD  reader   the daemon runs, and lists no reader",
            "No reader can be used.",
        ],
    );

    // pcscd has no driver, or one that does not start.
    let not_listed = format!("BAD  USB      {name} is there, and the daemon does not list it");
    for (drivers, advice) in [
        ("", "If it is pcscd, it has no driver: apt install libccid"),
        (
            "mkdir /usr/lib/pcsc/drivers/ifd-ccid.bundle",
            "If it is pcscd: systemctl restart pcscd",
        ),
    ] {
        let drivers =
            format!("mkdir -p /usr/lib/pcsc/drivers; mount -t tmpfs none /usr/lib/pcsc/drivers; {drivers}");
        let (code, text) = found(folder.path(), &device, &drivers);
        assert_eq!(code, Some(3), "{text}");
        has(&text, &[&not_listed, advice]);
    }

    // Another program has the device open. It ends with pcsc, which is its parent.
    let other = "cp \"$(command -v sleep)\" /run/scdaemon
         setpriv --pdeathsig KILL /run/scdaemon 600 5</dev/bus/usb/001/004 >/dev/null 2>&1 &
         until [ \"$(cat /proc/$!/comm)\" = scdaemon ]; do sleep 0.01; done
         echo \"PID $!\"";
    let (code, text) = found(folder.path(), &device, other);
    assert_eq!(code, Some(3), "{text}");
    let pid = text
        .lines()
        .find_map(|line| line.strip_prefix("PID "))
        .expect("its number");
    has(
        &text,
        &[
            &format!("BAD  USB      {name}: the reader is in use by scdaemon (process {pid})"),
            "gpgconf --kill scdaemon",
        ],
    );

    // A driver of the kernel.
    let bound = "ln -s ../../drivers/pn533_usb 1-1:1.0/driver";
    let (code, text) = found(folder.path(), &device, bound);
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            &format!("BAD  USB      {name}: the reader is in use by the kernel's driver pn533_usb"),
            "modprobe -r pn533_usb",
        ],
    );
}
