//! Greets the card in a reader that Android, or another program, has opened: all that is used is the file
//! descriptor. An app on Android sees neither /dev/bus/usb nor /sys, has no udev, and asks the user for each
//! device.
//!
//! The side of Kotlin, with `greet` behind a function of the Java Native Interface (the crate `jni` makes
//! one):
//!
//! ```kotlin
//! external fun greet(fileDescriptor: Int): String
//!
//! // After UsbManager.requestPermission, and not in the main thread.
//! fun onReader(manager: UsbManager, reader: UsbDevice) {
//!     val connection = manager.openDevice(reader)
//!     println(greet(connection.fileDescriptor))
//!     connection.close()
//! }
//! ```
//!
//! The manifest has `<uses-feature android:name="android.hardware.usb.host"/>`. With an intent filter for
//! `USB_DEVICE_ATTACHED` and `<usb-device class="11"/>` in its list of devices, Android starts the app for
//! each smart card reader.
//!
//! On Linux, from a shell that may open the node: `android 3<>/dev/bus/usb/001/002`

/// Android, and Linux.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod usb_host {
    use std::os::fd::BorrowedFd;

    use pcsc_client::{Context, Failure, Protocols, ShareMode, MAX_BUFFER_SIZE};

    const SELECT: &[u8] = b"\x00\xA4\x04\x00\x0A\xA0\x00\x00\x00\x62\x03\x01\x0C\x06\x01";
    const HELLO: &[u8] = b"\x00\x00\x00\x00";

    /// What the card in the device's first reader answers. `device` stays open, and is the caller's to close.
    pub fn greet(device: BorrowedFd<'_>) -> Result<String, Failure> {
        // The context closes its own descriptor of the device.
        let device = device
            .try_clone_to_owned()
            .map_err(|_| pcsc_client::Error::NoMemory)?;
        let context = Context::builder().usb_device(device).establish()?;
        let readers = context.list_readers_owned()?;
        let reader = readers.first().ok_or(pcsc_client::Error::NoReadersAvailable)?;
        let card = context.connect(reader, ShareMode::Exclusive, Protocols::ANY)?;
        let mut answer = [0; MAX_BUFFER_SIZE];
        card.transmit(SELECT, &mut answer)?;
        let answer = card.transmit(HELLO, &mut answer)?;
        let text = answer.strip_suffix(&[0x90, 0x00]).unwrap_or(answer);
        Ok(format!(
            "{}: {}",
            reader.to_string_lossy(),
            String::from_utf8_lossy(text)
        ))
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn main() -> std::process::ExitCode {
    // SAFETY: the shell has opened it for this program, which closes it nowhere. If it has not, the call
    // fails.
    let device = unsafe { std::os::fd::BorrowedFd::borrow_raw(3) };
    match usb_host::greet(device) {
        Ok(greeting) => {
            println!("{greeting}");
            std::process::ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("android: {failure}");
            std::process::ExitCode::FAILURE
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn main() {
    eprintln!("android: only Linux and Android give a device's file descriptor to a program");
}
