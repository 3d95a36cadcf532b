//! What runs in the guest's root: the commands, one after the other.

use super::{Error, Order, SHARE};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Every command leaves its outputs and its exit status as files, and `ended` says that all have been run. udevd announces USB
/// devices to whoever listens, which is how pcscd learns of a reader that is plugged in. Devices that nobody uses are not suspended, as
/// libccid's rules for udev would have it: the virtual host controller takes a device that wakes for a new one.
const HEAD: &str = r#"
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C RUST_BACKTRACE=1
mkdir /run/lab
echo 'SUBSYSTEM=="usb", TEST=="power/control", ATTR{power/control}="on"' >/etc/udev/rules.d/99-no-suspend.rules
run() {
    name=$1 seconds=$2
    shift 2
    timeout -s KILL "$seconds" "$@" >"$share/$name.out" 2>"$share/$name.err" </dev/null
    echo $? >"$share/$name.status"
}
/lib/systemd/systemd-udevd --daemon --resolve-names=never 2>"$share/udevd"
udevadm trigger --action=add --subsystem-match=usb
udevadm settle --timeout=60
"#;

/// Writes the script `start` to `share`.
pub(super) fn write(share: &Path, orders: &[Order]) -> Result<(), Error> {
    let mut script = format!("share={SHARE}{HEAD}");
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
