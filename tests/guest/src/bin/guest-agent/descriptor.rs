//! A reader behind a file descriptor that another process has opened, and one that is reset.

use crate::actor::Actor;
use crate::echo::EchoReader;
use crate::path::{appear, reader};
use crate::sharing::{echo, plug, standalone, try_card};
use crate::simulated::{base_name, Simulated};
use crate::{argument, fact, hex, Result, LIMIT};
use nusb::MaybeFuture;
use pcsc_ccid::atr::Atr;
use pcsc_ccid::reader::{Protocol, Reader, ReaderOptions, Reset};
use pcsc_ccid::usb::{self, readers_from_fd, Opened};
use pcsc_client::{Context, Protocols, ReaderState, ShareMode, State};
use pcsc_sim::card::apps::{Echo, Several};
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use std::fs::File;
use std::process::Command;
use std::time::Duration;

/// The numbers of [`EchoReader`].
const ECHO: (u16, u16) = (0x234B, 0x0000);

/// The driver needs nothing but the descriptor.
pub fn scenario() -> Result<()> {
    let device = plug(EchoReader::with_card())?;
    // The process that opens the node: it may know more than the one that drives the reader.
    let context = standalone()?;
    appear(&context, "Gnuk", State::PRESENT)?;
    drop(context);
    let listing = usb::list()?;
    let known = listing
        .readers
        .iter()
        .find(|known| (known.identity.vendor_id, known.identity.product_id) == ECHO)
        .ok_or("the reader is not listed")?;
    let file = File::options().read(true).write(true).open(known.place.node())?;

    let (candidates, unusable) = readers_from_fd(file.into())?;
    fact("readers", candidates.len());
    fact("unusable", unusable.len());
    let candidate = candidates.first().ok_or("no reader")?;
    fact("identity", candidate.identity == known.identity);
    fact("place", candidate.place == known.place);
    fact("name", candidate.name_identity().base_name());
    let Opened { transport, .. } = candidate.open()?;
    let mut opened = Reader::open(
        transport,
        candidate.device(),
        &candidate.interface,
        ReaderOptions::default(),
    )?;
    let atr = opened.power_on(0, Reset::Cold)?.to_vec();
    fact("atr", hex(&atr));
    Atr::parse(&atr)?;
    opened.set_protocol(0, Protocol::T0)?;
    let mut response = [0; 258];
    let length = opened.transmit(0, &[0x80, 0x10, 0, 0], &mut response)?;
    fact("answer", hex(response.get(..length).unwrap_or_default()));
    // It is claimed, as by any other process.
    let context = standalone()?;
    let name = reader(&context, "Gnuk")?;
    fact("others", try_card(&context, &name));
    drop(opened);
    fact("others-then", try_card(&context, &name));
    drop(context);

    // The same by the resource manager's calls.
    let file = File::options().read(true).write(true).open(known.place.node())?;
    let context = Context::builder().usb_device(file.into()).establish()?;
    let names = context.list_readers_owned()?;
    fact("context-lists", names.len());
    let name = appear(&context, "Gnuk", State::PRESENT)?;
    fact("context-transmits", try_card(&context, &name));
    drop(context);
    Ok(device.unplug()?)
}

/// Runs the example for Android in a mount namespace without nodes, /sys and udev, on a descriptor opened
/// outside.
pub fn alone() -> Result<()> {
    /// Mounts something empty over each, and executes the example with standard input, the device, as number
    /// 3.
    const SCRIPT: &str = "
        for folder in /sys /run /dev/bus; do
            mount -t tmpfs none $folder
        done
        test -z \"$(ls -A /sys; ls -A /dev/bus; ls -d /run/udev 2>/dev/null)\" && echo hidden
        exec \"$1\" 3<&0 </dev/null";

    let model = SimDevice::named("scr3310").ok_or("no such reader")?;
    let (base, numbers) = (
        base_name(model.model()),
        (
            model.model().identity.vendor_id,
            model.model().identity.product_id,
        ),
    );
    let device = plug(Simulated::new(vec![model], 1))?;
    let card = SimCard::good(Profile::new(&[Offer::T1]), Box::new(Several::demo()));
    device.with(|simulated| simulated.insert(0, card));
    // The kernel lists the interface some time after it has configured the device.
    reader(&standalone()?, &base)?;
    let listing = usb::list()?;
    let mut readers = listing.readers.iter();
    let known = readers
        .find(|known| (known.identity.vendor_id, known.identity.product_id) == numbers)
        .ok_or("the reader is not listed")?;
    let file = File::options().read(true).write(true).open(known.place.node())?;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-euc", SCRIPT, "sh", &argument(9)?])
        .stdin(file)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    fact("hidden", lines.next() == Some("hidden"));
    fact("printed", lines.collect::<Vec<_>>().join(" / "));
    fact(
        "errors",
        String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', " / "),
    );
    fact("status", output.status);
    Ok(device.unplug()?)
}

/// The device is reset while a process has a card, and between two uses.
pub fn reset() -> Result<()> {
    // No transfer goes on where a reader is polled, and nothing fails when it is reset.
    let polled = SimDevice::named("rutoken-lite").ok_or("no such reader")?;
    let (base, numbers) = (
        base_name(polled.model()),
        (
            polled.model().identity.vendor_id,
            polled.model().identity.product_id,
        ),
    );
    let polled = plug(Simulated::new(vec![polled], 1))?;
    let context = standalone()?;
    appear(&context, &base, State::EMPTY)?;
    let card = SimCard::good(Profile::new(&[Offer::T1]), Box::new(Echo));
    polled.with(|simulated| simulated.insert(0, card));
    reset_in_use(&context, "polled", &base, numbers)?;
    polled.unplug()?;

    let device = plug(EchoReader::default())?;
    appear(&context, "Gnuk", State::EMPTY)?;
    device.with(|reader| reader.insert(true));
    reset_in_use(&context, "notifies", "Gnuk", ECHO)?;
    // The next process can use it as well.
    drop(context);
    let mut actor = Actor::start()?;
    actor.ask("establish")?;
    fact("next", actor.ask("connect Gnuk")?);
    fact("next-transmits", actor.ask("transmit 80 10 00 00")?);
    drop(actor);

    device.unplug()?;
    let device = plug(EchoReader::with_card())?;
    let context = standalone()?;
    let name = appear(&context, "Gnuk", State::PRESENT)?;
    fact("plugged-again", try_card(&context, &name));
    Ok(device.unplug()?)
}

/// The card has lost its power, and counts as another one. It has come after its reader: a client's count of
/// 0 says nothing, and what happens before it waits would be missed, as under pcscd.
fn reset_in_use(context: &Context, kind: &str, name: &str, numbers: (u16, u16)) -> Result<()> {
    let name = appear(context, name, State::PRESENT)?;
    let info = nusb::list_devices()
        .wait()?
        .find(|info| (info.vendor_id(), info.product_id()) == numbers)
        .ok_or("nusb does not see the reader")?;
    let card = context.connect(&name, ShareMode::Shared, Protocols::ANY)?;
    fact(&format!("{kind}/before"), hex(&echo(&card)?));
    let mut states = [ReaderState::new(&*name, State::UNAWARE)];
    context.get_status_change(Duration::ZERO, &mut states)?;
    states.iter_mut().for_each(ReaderState::sync_current_state);
    info.open().wait()?.reset().wait()?;
    context.get_status_change(LIMIT, &mut states)?;
    let after = echo(&card).map(|answer| hex(&answer));
    fact(&format!("{kind}/reset"), format!("{after:?}"));
    drop(card);
    let name = appear(context, &name.to_string_lossy(), State::PRESENT)?;
    fact(&format!("{kind}/then"), try_card(context, &name));
    Ok(())
}
