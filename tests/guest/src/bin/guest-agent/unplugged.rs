//! A reader that is unplugged while our driver waits for an answer, and plugged in again.

use crate::echo::EchoReader;
use crate::path::{Driver, Path};
use crate::{fact, hex, Result, LIMIT};
use pcsc_ccid::reader::ReaderError;
use pcsc_ccid::usb::{Changes, Hotplug};
use pcsc_guest_tests::usbip::{Plugged, Speed};
use std::thread;
use std::time::{Duration, Instant};

/// How soon a call that waits must end. The rest is for a busy machine: the APDU itself would have a minute.
const AT_ONCE: Duration = Duration::from_secs(20);

/// What the driver calls a reader with the numbers of [`EchoReader`].
const NAME: &str = "Gnuk";

const COMMAND: [u8; 4] = [0x80, 0x10, 0, 0];

/// Twice, so that what was unplugged once is not the worse for it.
pub fn scenario() -> Result<()> {
    for round in ["first", "again"] {
        let (mut hotplug, _) = Hotplug::new()?;
        let device = Plugged::plug(EchoReader::with_card(), Speed::Full)?;
        wait(&mut hotplug, |changes| !changes.arrived.is_empty())?;
        let mut path = Driver::connect(NAME)?;
        fact(&format!("{round}/reader"), path.reader());
        fact(&format!("{round}/echo"), hex(&path.transmit(&COMMAND)?));
        let commands = device.with(|reader| {
            reader.busy = true;
            reader.commands
        });
        let (started, unplugged, (ended, result)) = thread::scope(|scope| {
            let call = scope.spawn(|| {
                let result = path.transmit(&COMMAND);
                (Instant::now(), outcome(result))
            });
            let started = device.wait_for(LIMIT, |reader| reader.commands > commands);
            let unplugged = Instant::now();
            let detached = device.unplug();
            let ended = call.join().map_err(|_| "the driver panicked")?;
            detached?;
            Ok::<_, Box<dyn std::error::Error>>((started, unplugged, ended))
        })?;
        fact(&format!("{round}/mid-apdu"), started);
        fact(&format!("{round}/unplugged"), result);
        let took = ended.saturating_duration_since(unplugged);
        eprintln!("{round}: {took:?} after the plug was pulled");
        fact(&format!("{round}/at-once"), took < AT_ONCE);
        let begin = Instant::now();
        fact(&format!("{round}/after"), outcome(path.transmit(&COMMAND)));
        fact(&format!("{round}/after-at-once"), begin.elapsed() < AT_ONCE);
        // The same reader plugged in again must not be taken for the one that has not quite gone.
        wait(&mut hotplug, |changes| !changes.gone.is_empty())?;
    }
    Ok(())
}

fn wait(hotplug: &mut Hotplug, is_it: impl Fn(&Changes) -> bool) -> Result<()> {
    loop {
        let changes = hotplug.wait()?.ok_or("nobody watches the readers")?;
        if is_it(&changes) {
            return Ok(());
        }
    }
}

/// The response, or the driver's error by its name.
fn outcome(result: Result<Vec<u8>>) -> String {
    match result {
        Ok(response) => hex(&response),
        Err(error) => match error.downcast_ref::<ReaderError>() {
            Some(error) => format!("{error:?}"),
            None => error.to_string(),
        },
    }
}
