//! What `pcsc doctor` finds.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use pcsc_tests::in_namespace;

use super::*;

/// `pcsc doctor` on a machine whose /run/pcscd is this folder and whose /sys has these folders; `prepare` is
/// a script that runs before. Gives its exit code and text.
fn doctor(run_pcscd: &Path, folders: &str, prepare: &str) -> (Option<i32>, String) {
    doctor_with(run_pcscd, folders, prepare, "")
}

/// [`doctor`] with options.
fn doctor_with(run_pcscd: &Path, folders: &str, prepare: &str, options: &str) -> (Option<i32>, String) {
    let mut command = in_namespace(run_pcscd, folders, "sh");
    command.args(["-c", &format!("{prepare}\nexec \"$0\" doctor {options}")]);
    command.arg(artifacts::binary("pcsc-cli", "pcsc"));
    for name in ["PCSCLITE_BACKEND", "PCSCLITE_CSOCK_NAME", "LD_LIBRARY_PATH"] {
        command.env_remove(name);
    }
    let output = run(&mut command, LIMIT);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

#[test]
fn a_doctor_finds_what_keeps_a_daemon_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pcscd.comm");
    let (code, text) = doctor(folder.path(), "", ":");
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &[
            "note daemon",
            "is installed",
            "systemctl enable --now pcscd.socket",
            "the USB is not visible",
        ],
    );
    has(
        &text,
        &["libpcsclite.so.1 is of pcsc-lite", "No reader can be used."],
    );

    drop(UnixListener::bind(&socket).expect("a socket"));
    let (code, text) = doctor(folder.path(), "", ":");
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &[
            "BAD  daemon",
            "a socket that a daemon left behind",
            "systemctl restart pcscd.socket",
        ],
    );

    // Where the library would not go, nothing is examined.
    let (code, text) = doctor_with(folder.path(), USB, ":", "--backend standalone");
    assert_eq!(code, Some(3), "{text}");
    assert!(
        text.contains("/dev/bus/usb is missing") && !text.contains("daemon  "),
        "{text}"
    );
    let (code, text) = doctor_with(folder.path(), USB, ":", "--backend daemon");
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("BAD  daemon") && !text.contains("USB"), "{text}");

    // Listening, but not for this user.
    fs::remove_file(&socket).expect("our socket");
    let _listener = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o600)).expect("our socket");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
    let program = artifacts::binary("pcsc-cli", "pcsc");
    let copy = folder.path().join("pcsc");
    fs::copy(program, &copy).expect("a copy that others may run");
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command
        .arg(&copy)
        .args(["doctor", "--backend", "daemon", "--socket"])
        .arg(&socket);
    let output = run(&mut command, LIMIT);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(6), "{text}");
    has(
        &text,
        &[
            "BAD  daemon",
            "may not be used",
            "has mode 0600",
            "Join the group",
        ],
    );
    assert!(!text.contains("USB"), "{text}");
}

#[test]
fn a_doctor_finds_that_a_daemon_refuses_its_clients() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("pcscd.comm");
    let listener = UnixListener::bind(&socket).expect("a socket");
    // As pcscd does when Polkit refuses: it closes the connection at once.
    let refusing = std::thread::spawn(move || drop(listener.accept()));
    let (code, text) = doctor(folder.path(), "", ":");
    assert_eq!(code, Some(6), "{text}");
    has(
        &text,
        &[
            "BAD  daemon",
            "access is refused",
            "Polkit",
            "org.debian.pcsc-lite.access_pcsc",
        ],
    );
    assert!(!text.contains("USB"), "{text}");
    refusing.join().expect("no panic");
}

#[test]
fn a_doctor_finds_what_is_wrong_with_the_usb() {
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

    // A reader as /sys shows it, with a node for root alone.
    let model = pcsc_sim::model("au9540").expect("a model");
    let mut descriptors = vec![18, 1, 0, 2, 0, 0, 0, 64, 0x8F, 5, 0x40, 0x95, 0, 1, 1, 2, 0, 1];
    descriptors.extend(pcsc_sim::Model::configuration_descriptor(&[&model], 4));
    let file = folder.path().join("descriptors");
    fs::write(&file, descriptors).expect("a file");
    fs::copy(artifacts::binary("pcsc-cli", "pcsc"), folder.path().join("pcsc")).expect("a copy");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("our folder");
    let script = |node: &str| {
        format!(
            "cd /sys/bus/usb/devices && mkdir 1-1 1-1:1.0
             put() {{ echo \"$2\" >$1; }}
             put 1-1/busnum 1; put 1-1/devnum 4; put 1-1/dev 189:3; put 1-1/idVendor 058f
             put 1-1/idProduct 9540; put 1-1/bcdDevice 0100; put 1-1/bConfigurationValue 1
             put 1-1/product 'EMV Smartcard Reader'; cp {} 1-1/descriptors
             put 1-1:1.0/bInterfaceClass 0b; put 1-1:1.0/bInterfaceNumber 00
             {node}
             exec setpriv --reuid 65534 --regid 65534 --clear-groups /run/pcscd/pcsc doctor",
            file.display()
        )
    };
    let (code, text) = doctor(folder.path(), USB, &script(":"));
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "BAD  USB",
            "058f:9540 EMV Smartcard Reader",
            "/dev/bus/usb/001/004 does not exist",
        ],
    );
    let node = "mkdir -p /dev/bus/usb/001; : >/dev/bus/usb/001/004; chmod 600 /dev/bus/usb/001/004";
    let node = format!("mount -t tmpfs none /mnt; mkdir -p /dev/bus; mount -t tmpfs none /dev/bus; {node}");
    let (code, text) = doctor(folder.path(), USB, &script(&node));
    assert_eq!(code, Some(3), "{text}");
    has(
        &text,
        &[
            "BAD  USB",
            "058f:9540 EMV Smartcard Reader at 1-1:1.0: no permission for /dev/bus/usb/001/004",
        ],
    );
    has(&text, &[r#"SUBSYSTEM=="usb", ATTR{idVendor}=="058f""#]);
}

#[test]
fn a_doctor_looks_at_cards() {
    let pcscd = Pcscd::start(1);
    let examine = || {
        let output = run(&mut pcsc(&pcscd, &["doctor"]), LIMIT);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The library would not go there.
        assert!(!text.contains("USB"), "{text}");
        text
    };
    let text = examine();
    has(
        &text,
        &[
            "ok   daemon",
            "speaks protocol",
            "works; no card is in it",
            "1 reader can be used. No card answers.",
        ],
    );
    pcscd.reader(0).insert(atr::T1);
    has(
        &examine(),
        &[
            "the card answers (T=1",
            "All is well: 1 reader can be used, and 1 card answers.",
        ],
    );
    pcscd.reader(0).remove();
    pcscd.reader(0).mute(true);
    pcscd.reader(0).insert(atr::T1);
    has(
        &examine(),
        &["BAD  card", "does not answer to reset", "No card answers."],
    );
}
