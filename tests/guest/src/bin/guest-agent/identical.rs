//! Four readers of one model, identified by their ports, and by their serial numbers where they have some, in
//! whatever order they were plugged in.

use crate::daemon::Pcscd;
use crate::doctor::pcsc;
use crate::path;
use crate::sharing::{plug, standalone};
use crate::simulated::Simulated;
use crate::tries::Tries;
use crate::{fact, Result, LIMIT};
use pcsc_client::{Context, ReaderInfo, State};
use pcsc_guest_tests::usbip::Plugged;
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use std::thread;
use std::time::{Duration, Instant};

const MODEL: &str = "scr3310";

/// The order in which they are plugged in, by number, and whether they have serial numbers.
const ROUNDS: [([u8; 4], bool); 3] = [([0, 1, 2, 3], false), ([2, 0, 3, 1], false), ([3, 1, 0, 2], true)];

pub fn scenario() -> Result<()> {
    let context = standalone()?;
    let plugged = Four::plug(ROUNDS[0].0, ROUNDS[0].1)?;
    plugged.check("first", &context)?;
    plugged.unplug()?;
    path::gone(&context, "SCR")?;
    // The same context sees them come back.
    let plugged = Four::plug(ROUNDS[1].0, ROUNDS[1].1)?;
    plugged.check("again", &context)?;
    // The command drives the readers itself, which this process has to give back.
    drop(context);
    plugged.check_command("again", "standalone")?;
    plugged.unplug()?;

    let plugged = Four::plug(ROUNDS[2].0, ROUNDS[2].1)?;
    plugged.check_command("serials", "standalone")?;
    let daemon = || Pcscd::start("identical");
    let names = ["433-Swap", "SN-0000", "SN-0001", "SN-0002", "SN-0003"];
    let (_pcscd, context, _) = Tries::LIBCCID.start(daemon, &names, State::PRESENT)?;
    plugged.check("daemon", &context)?;
    plugged.check_command("daemon", "daemon")?;
    plugged.unplug()
}

/// The readers, each with its number.
struct Four {
    readers: Vec<(u8, Plugged<Simulated>)>,
    has_serials: bool,
}

impl Four {
    fn plug(order: [u8; 4], has_serials: bool) -> Result<Four> {
        let mut readers = Vec::new();
        for number in order {
            let mut device = Simulated::new(vec![SimDevice::named(MODEL).ok_or("no such reader")?], 16);
            if has_serials {
                device = device.with_serial(&serial(number));
            }
            let mut profile = Profile::new(&[Offer::T1]);
            profile.historical = card(number).into();
            device.insert(0, SimCard::good(profile, Box::new(Echo)));
            // On the first port that is free.
            readers.push((number, plug(device)?));
        }
        Ok(Four { readers, has_serials })
    }

    /// What a context finds.
    fn check(&self, round: &str, context: &Context) -> Result<()> {
        self.tell_truth(round)?;
        let readers = present(context)?;
        let mut found: Vec<String> = readers
            .iter()
            .map(|reader| {
                let port = reader.identity.port.as_deref().unwrap_or("none");
                format!("{port}={}", card_of(&reader.atr))
            })
            .collect();
        found.sort();
        fact(&format!("{round}/readers"), found.join(" "));
        Ok(())
    }

    /// Which card is at which port.
    fn tell_truth(&self, round: &str) -> Result<()> {
        let mut truth = Vec::new();
        for (number, device) in &self.readers {
            let port = device.port()?.ok_or("the kernel has no such device")?;
            truth.push(format!("{port}={}", card(*number)));
        }
        truth.sort();
        fact(&format!("{round}/plugged"), truth.join(" "));

        Ok(())
    }

    /// What `pcsc` finds.
    fn check_command(&self, round: &str, backend: &str) -> Result<()> {
        self.tell_truth(round)?;
        let json = pcsc(&["list", "--json", "--backend", backend])?;
        let mut listed = Vec::new();
        let mut atr = "";
        // QEMU's reader is on another bus, and has another card.
        for line in json.split(" | ") {
            match line.trim().split_once(": ") {
                Some(("\"atr\"", value)) => atr = value.trim_matches(['"', ',']),
                Some(("\"port\"", value)) => {
                    let bytes: Vec<u8> = (0..atr.len())
                        .step_by(2)
                        .filter_map(|at| u8::from_str_radix(atr.get(at..at + 2)?, 16).ok())
                        .collect();
                    listed.push(format!("{}={}", value.trim_matches(['"', ',']), card_of(&bytes)));
                }
                _ => (),
            }
        }
        listed.retain(|reader| reader.contains("=card-"));
        listed.sort();
        fact(&format!("{round}/list"), listed.join(" "));

        // By what is printed on a reader, or else by its place.
        let mut found = Vec::new();
        for (number, device) in &self.readers {
            let way = match self.has_serials {
                true => serial(*number),
                false => device.port()?.ok_or("the kernel has no such device")?,
            };
            found.push(format!("{way}={}", chosen(&way, backend)?));
        }
        found.sort();
        let way = if self.has_serials { "by-serial" } else { "by-port" };
        fact(&format!("{round}/{way}"), found.join(" "));
        Ok(())
    }

    fn unplug(self) -> Result<()> {
        for (_, device) in self.readers {
            device.unplug()?;
        }
        Ok(())
    }
}

/// The card that `pcsc` finds in the reader that `--reader` names.
fn chosen(reader: &str, backend: &str) -> Result<String> {
    let text = pcsc(&["atr", "--reader", reader, "--backend", backend])?;
    let name = text
        .split_once("historical bytes \"")
        .and_then(|(_, rest)| rest.split('"').next());
    Ok(name.ok_or(text.clone())?.into())
}

/// Waits for four readers with cards.
fn present(context: &Context) -> Result<Vec<ReaderInfo>> {
    let end = Instant::now() + LIMIT;
    loop {
        let readers = context.readers()?;
        let has_card = |reader: &&ReaderInfo| {
            reader.state.contains(State::PRESENT) && reader.name.to_string_lossy().contains("SCR")
        };
        let with_card: Vec<ReaderInfo> = readers.iter().filter(has_card).cloned().collect();
        if with_card.len() == 4 && with_card.iter().all(|reader| !reader.atr.is_empty()) {
            return Ok(with_card);
        }
        if Instant::now() > end {
            return Err(format!("the readers are {readers:?}").into());
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The historical bytes of a reader's card.
fn card(number: u8) -> String {
    format!("card-{number}")
}

fn serial(number: u8) -> String {
    format!("SN-000{number}")
}

/// The card of an ATR.
fn card_of(atr: &[u8]) -> String {
    let text = String::from_utf8_lossy(atr);
    let at = text.find("card-").unwrap_or(0);
    text[at..].chars().take(6).collect()
}
