//! What runs in the guest's root: the commands, one after the other.

use super::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use pcsc_tests::stock;

/// The mount point of the folder that is shared with the host, for the commands' files.
pub(super) const SHARE: &str = "/lab";

/// A command for the guest, and its time limit.
#[derive(Debug, Clone)]
pub(super) struct Order {
    pub name: String,
    pub words: Vec<String>,
    pub limit: Duration,
}

/// The guest sees the host's files. This replaces those that change what PC/SC, its clients or udev do: a
/// test must give the same result whatever is installed and configured on the host.
///
/// - readers, drivers and options that an administrator has configured: pcscd gets libccid, as it is
///   packaged, and nothing else
/// - libraries and programs in /usr/local: LD_LIBRARY_PATH names the stock library, and /usr/local is last in
///   PATH
/// - udev rules: the kernel's events and device nodes need `50-udev-default.rules` alone. Others take time,
///   load the host's kernel modules, change who may open a reader, or suspend it: vhci-hcd resumes one port
///   at a time, and a second one is taken for unplugged
/// - OpenSC's configuration, and what programs have cached in a home folder
const HERMETIC: &str = r#"
hide() { [ ! -d "$1" ] || mount -t tmpfs none "$1"; }
hide /etc/reader.conf.d
hide /etc/opensc
mkdir -p /run/home /run/drivers
if [ -d /usr/lib/pcsc/drivers/ifd-ccid.bundle ]; then
    cp -rL /usr/lib/pcsc/drivers/ifd-ccid.bundle /run/drivers/
    sed -i '/<key>ifdDriverOptions/{n;s/0x[0-9A-Fa-f]*/0x0000/}' \
        /run/drivers/ifd-ccid.bundle/Contents/Info.plist
    mount --bind /run/drivers /usr/lib/pcsc/drivers
fi
cp /lib/udev/rules.d/50-udev-default.rules /run/
hide /etc/udev/rules.d
hide /lib/udev/rules.d
cp /run/50-udev-default.rules /lib/udev/rules.d/
[ ! -e /proc/sys/kernel/modprobe ] || echo /bin/false >/proc/sys/kernel/modprobe
"#;

/// Every command leaves its outputs, its exit status and its duration in seconds as files, and `ended` says
/// that all have been run.
/// udevd announces USB devices to its subscribers, which is how pcscd learns of a reader that is plugged in.
const HEAD: &str = r#"
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin
export HOME=/run/home LC_ALL=C RUST_BACKTRACE=1
mkdir /run/lab
run() {
    name=$1 seconds=$2 begin=$(date +%s)
    shift 2
    timeout -s KILL "$seconds" "$@" >"$share/$name.out" 2>"$share/$name.err" </dev/null
    echo $? >"$share/$name.status"
    echo $(($(date +%s) - begin)) >"$share/$name.seconds"
}
/lib/systemd/systemd-udevd --daemon --resolve-names=never 2>"$share/udevd"
udevadm trigger --action=add --subsystem-match=usb
udevadm settle --timeout=180
"#;

/// Writes the script `start` to `share`.
pub(super) fn write(share: &Path, orders: &[Order]) -> Result<(), Error> {
    let stock = quoted(&stock::folder().to_string_lossy());
    let mut script =
        format!("share={SHARE}\nexport LD_LIBRARY_PATH={stock}\n{{ {HERMETIC}}} 2>\"$share/hermetic\"{HEAD}");
    for order in orders {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if order.name.is_empty() || !order.name.bytes().all(usable) {
            return Err(Error::Failed(format!(
                "{:?} is no name for a command",
                order.name
            )));
        }
        // Writing to a String cannot fail.
        let _ = write!(script, "run {} {}", order.name, order.limit.as_secs().max(1));
        for word in &order.words {
            let _ = write!(script, " {}", quoted(word));
        }
        script.push('\n');
    }
    script.push_str(
        "dmesg >/run/lab/dmesg\ncp /run/lab/* $share/\necho yes >$share/ended\nsync\nbusybox poweroff -f\n",
    );
    fs::write(share.join("start"), script)?;
    Ok(())
}

/// One word for the shell.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}
