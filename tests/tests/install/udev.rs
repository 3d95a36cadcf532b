//! The udev rules, applied by udev to a USB device in a sysfs, a /dev and a user database of this test.

use super::{tree, SHORT};
use pcsc_tests::run;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Plugs a device into the namespace of this process, lets udev handle it, and prints who can open its node.
///
/// `$1`: the rules. `$2`: yes if the user and the group pcscd exist. `$3`, `$4`: vendor and product. `$5`:
/// the class of its interface, in octal.
const PLUG: &str = r#"
    export PATH=$PATH:/usr/sbin:/sbin SYSTEMD_DEVICE_VERIFY_SYSFS=0
    device=/devices/pci0000:00/0000:00:01.0/usb1/1-1
    node=/dev/bus/usb/001/002
    mount -t tmpfs none /run
    mount -t tmpfs none /mnt

    printf 'root:x:0:0::/root:/bin/sh\nseat:x:1001:1001::/:/bin/sh\n' >/mnt/passwd
    printf 'root:x:0:\nplugdev:x:46:\n' >/mnt/group
    if [ "$2" = yes ]; then
        echo 'pcscd:x:880:880::/:/bin/false' >>/mnt/passwd
        echo 'pcscd:x:880:' >>/mnt/group
    fi
    echo 'passwd: files' >/mnt/nsswitch.conf
    for file in passwd group nsswitch.conf; do mount --bind /mnt/$file /etc/$file; done

    mkdir -p /mnt/rules /etc/udev/rules.d
    cp "$1" /mnt/rules/70-tested.rules
    cp /usr/lib/udev/rules.d/73-seat-late.rules /mnt/rules
    mount --bind /mnt/rules /usr/lib/udev/rules.d
    mount -t tmpfs none /etc/udev/rules.d

    mkdir -p "/mnt/sys$device" /mnt/sys/bus/usb/devices /mnt/sys/class /mnt/sys/dev/char
    cd "/mnt/sys$device"
    printf 'MAJOR=189\nMINOR=1\nDEVNAME=bus/usb/001/002\nDEVTYPE=usb_device\n' >uevent
    ln -s ../../../../../bus/usb subsystem
    echo "$3" >idVendor
    echo "$4" >idProduct
    echo 0100 >bcdDevice
    {
        printf '\022\001\000\002\000\000\000\010\217\005\100\225\000\001\001\002\000\001'
        printf '\011\002\040\000\001\001\000\200\062'
        printf '\011\004\000\000\002\'"$5"'\000\000\000'
        printf '\007\005\202\002\100\000\000\007\005\001\002\100\000\000'
    } >descriptors
    ln -s "../..$device" /mnt/sys/dev/char/189:1
    ln -s "../../..$device" /mnt/sys/bus/usb/devices/1-1
    cd /

    mkdir -p /mnt/dev/bus/usb/001
    mknod -m 664 /mnt$node c 189 1
    mknod -m 666 /mnt/dev/null c 1 3
    mount --bind /mnt/sys /sys
    mount --bind /mnt/dev /dev

    # logind's word on who is at the seat.
    mkdir -p /run/systemd/seats
    printf 'ACTIVE=1\nACTIVE_UID=1001\n' >/run/systemd/seats/seat0

    # What RUN asks for is printed and not done; the second event finds what the first one has left.
    for action in add change; do
        udevadm test --action=$action "/sys$device" >/mnt/log 2>&1 || cat /mnt/log
        sed -n "s/^run: '\(.*\)'$/\1/p" /mnt/log | while read -r command; do
            case $command in
                /*) sh -c "$command" ;;
                *) udevadm test-builtin "$command" "/sys$device" >>/mnt/log 2>&1 ;;
            esac
        done
    done
    grep -i '70-tested.*\(unknown\|invalid\|fail\)' /mnt/log || :

    may_open() { # name, user, group
        setpriv --reuid "$2" --regid "$3" --clear-groups sh -c "test -r $node && test -w $node" && echo "$1"
        return 0
    }
    may_open daemon 880 880
    may_open daemons-group 1000 880
    may_open plugdev 1002 46
    may_open seat 1001 1001
    may_open stranger 1003 1003
"#;

/// Who can open a device's node once udev has handled it.
fn who_may_open(rules: &Path, pcscd_exists: bool, vendor: &str, product: &str, class: u8) -> Vec<String> {
    let mut command = Command::new("unshare");
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-e",
            "-c",
            PLUG,
            "sh",
        ])
        .arg(rules)
        .args([if pcscd_exists { "yes" } else { "no" }, vendor, product])
        .arg(format!("{class:03o}"));
    run(&mut command, SHORT)
        .stdout()
        .lines()
        .map(str::to_owned)
        .collect()
}

const CCID: u8 = 0x0B;
const VENDOR_SPECIFIC: u8 = 0xFF;
const HID: u8 = 0x03;

#[test]
fn a_readers_node_is_for_seat_group_and_daemon() {
    let folder = tempfile::tempdir().expect("a folder");
    let rules = |name: &str, text: &str| {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("a file of ours");
        file
    };
    // Newer releases of udev only print the changes and do not make them.
    let for_all = rules("for-all", "SUBSYSTEM==\"usb\", MODE=\"0666\"\n");
    if !who_may_open(&for_all, false, "058f", "9540", CCID).contains(&"stranger".to_owned()) {
        println!("SKIPPED: this release of udevadm test does not change the node");
        return;
    }

    let ours = tree("pcsc-ccid/udev/70-pcsc-ccid.rules");
    let all = ["daemon", "daemons-group", "plugdev", "seat"];
    for (vendor, product, class) in [("058f", "9540", CCID), ("04e6", "5111", VENDOR_SPECIFIC)] {
        assert_eq!(who_may_open(&ours, true, vendor, product, class), all);
        assert_eq!(
            who_may_open(&ours, false, vendor, product, class),
            ["plugdev", "seat"]
        );
    }
    // Only root may write to a device that is not a reader.
    assert_eq!(who_may_open(&ours, true, "058f", "9540", HID), [""; 0]);

    let text = fs::read_to_string(&ours).expect("the rules");
    let without_acl = rules(
        "without-acl",
        &text.replace("/usr/bin/setfacl", "/nonexistent/setfacl"),
    );
    assert_eq!(
        who_may_open(&without_acl, true, "058f", "9540", CCID),
        ["daemon", "plugdev", "seat"]
    );
}
