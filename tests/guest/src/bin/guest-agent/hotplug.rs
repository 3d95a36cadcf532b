//! Readers that are plugged in and pulled out, on four ports at once, with this process as their driver.

use crate::path::{self, appear};
use crate::quiet::{settle, threads_at_last};
use crate::sharing::{echo, plug, standalone};
use crate::simulated::{base_name, Simulated};
use crate::{fact, Result, LIMIT};
use pcsc_client::{Context, Error, Protocols, ReaderState, ShareMode, State};
use pcsc_guest_tests::usbip::Plugged;
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Behaviour, Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// How often each of them is plugged in.
const ROUNDS: usize = 50;

/// Readers of characters, of TPDUs, and of APDUs; each has a name of its own.
const READERS: [&str; 4] = ["oz776", "scr3310", "omnikey-3x21", "yubikey"];

/// What happens to the reader, and what its clients saw.
type Seen = BTreeMap<String, usize>;

/// Plugs every reader in and pulls it out in turn: while no program uses it, in mid-APDU, while it is looked
/// at, and between two APDUs.
pub fn scenario() -> Result<()> {
    let context = standalone()?;
    // QEMU's reader stays, and is open before anything is counted.
    appear(&context, "433-Swap", State::PRESENT)?;
    // Events of earlier scenarios must be over: an enumeration of the bus holds files open.
    settle()?;
    let before = resources()?;
    let results = thread::scope(|scope| {
        let threads: Vec<_> = READERS
            .map(|model| scope.spawn(move || rounds(model).map_err(|error| format!("{model}: {error}"))))
            .into();
        threads
            .into_iter()
            .map(|thread| thread.join())
            .collect::<Vec<_>>()
    });
    let mut all = Seen::new();
    for result in results {
        for (name, count) in result.map_err(|_| "a thread panicked")?? {
            *all.entry(name).or_default() += count;
        }
    }
    for (name, count) in all {
        fact(&name, count);
    }
    // The thread of a reader that is gone ends on its own.
    let end = Instant::now() + LIMIT;
    let [files, threads] = loop {
        let now = resources()?;
        let none_left = now.iter().zip(before).all(|(now, before)| *now <= before);
        if none_left || Instant::now() > end {
            break now;
        }
        thread::sleep(Duration::from_millis(20));
    };
    fact("files-left", files.saturating_sub(before[0]));
    fact("threads-left", threads.saturating_sub(before[1]));
    let names = context.list_readers_owned()?;
    fact("readers-left", format!("{names:?}"));
    drop(context);
    fact("threads-at-the-end", threads_at_last(std::process::id())?);
    Ok(())
}

/// How many file descriptors and threads this process has.
fn resources() -> Result<[usize; 2]> {
    let count = |folder| Ok::<_, std::io::Error>(fs::read_dir(folder)?.count());
    Ok([count("/proc/self/fd")?, count("/proc/self/task")?])
}

fn rounds(model: &str) -> Result<Seen> {
    let context = standalone()?;
    let device = SimDevice::named(model).ok_or("no such reader")?;
    let name = base_name(device.model());
    let mut seen = Seen::new();
    for round in 0..ROUNDS {
        let kind = ["idle", "mid-apdu", "looked-at", "connected"][round % 4];
        let wtx = if kind == "mid-apdu" { u32::MAX } else { 0 };
        let device = plug(with_card(model, wtx)?)?;
        let explain = |what: &'static str| {
            move |error: Box<dyn std::error::Error>| format!("round {round}, {kind}, {what}: {error}")
        };
        let reader = match kind {
            "looked-at" => path::reader(&context, &name),
            _ => appear(&context, &name, State::PRESENT),
        };
        let reader = reader.map_err(explain("listing"))?;
        let outcome = match kind {
            "idle" => idle(&context, device, &reader).map_err(explain("use"))?,
            "mid-apdu" => mid_apdu(&context, device, &reader).map_err(explain("use"))?,
            "connected" => connected(&context, device, &reader).map_err(explain("use"))?,
            _ => {
                device.unplug()?;
                "gone".into()
            }
        };
        *seen.entry(format!("{kind}/{outcome}")).or_default() += 1;
        path::gone(&context, &name)?;
    }
    Ok(seen)
}

/// A reader with a card that requests this number of waiting time extensions before it answers.
fn with_card(model: &str, wtx: u32) -> Result<Simulated> {
    let device = SimDevice::named(model).ok_or("no such reader")?;
    let behaviour = Behaviour {
        wtx,
        wtx_multiplier: 1,
        work: 1_000,
        ..Behaviour::default()
    };
    let card = SimCard::new(Profile::new(&[Offer::T1]), behaviour, Box::new(Echo));
    let mut simulated = Simulated::new(vec![device], 4);
    simulated.insert(0, card);
    Ok(simulated)
}

/// The reader goes while another thread waits for its card: the thread is notified.
fn idle(context: &Context, device: Plugged<Simulated>, reader: &CStr) -> Result<String> {
    let mut states = [ReaderState::new(reader, State::UNAWARE)];
    context.get_status_change(Duration::ZERO, &mut states)?;
    let [state] = &mut states;
    state.sync_current_state();
    let (told, unplugged) = thread::scope(|scope| {
        let waits = scope.spawn(|| context.get_status_change(LIMIT, &mut states));
        let unplugged = device.unplug();
        (waits.join(), unplugged)
    });
    unplugged?;
    match told.map_err(|_| "the client panicked")? {
        // It was gone before the thread began to wait.
        Err(Error::UnknownReader) => return Ok("unknown+changed".into()),
        told => told?,
    }
    let [state] = &states;
    let names: Vec<_> = [
        (State::UNKNOWN, "unknown"),
        (State::UNAVAILABLE, "unavailable"),
        (State::IGNORE, "ignore"),
        (State::CHANGED, "changed"),
        (State::PRESENT, "present"),
        (State::EMPTY, "empty"),
    ]
    .into_iter()
    .filter(|(bit, _)| state.event_state().contains(*bit))
    .map(|(_, name)| name)
    .collect();
    Ok(names.join("+"))
}

/// The reader goes while its card works on a command.
fn mid_apdu(context: &Context, device: Plugged<Simulated>, reader: &CStr) -> Result<String> {
    let card = context.connect(reader, ShareMode::Shared, Protocols::ANY)?;
    let before = device.with(heard);
    let (result, unplugged) = thread::scope(|scope| {
        let transmit = scope.spawn(|| echo(&card));
        let is_working = device.wait_for(LIMIT, |simulated| heard(simulated) > before);
        let unplugged = device.unplug();
        (transmit.join(), unplugged.map(|()| is_working))
    });
    if !unplugged? {
        return Err("the command has not come to the card".into());
    }
    let first = outcome(result.map_err(|_| "the client panicked")?);
    Ok(format!("{first}+{}", outcome(echo(&card))))
}

/// The reader goes between two commands.
fn connected(context: &Context, device: Plugged<Simulated>, reader: &CStr) -> Result<String> {
    let card = context.connect(reader, ShareMode::Shared, Protocols::ANY)?;
    let first = outcome(echo(&card));
    device.unplug()?;
    Ok(format!("{first}+{}", outcome(echo(&card))))
}

fn heard(simulated: &mut Simulated) -> u64 {
    let contact = simulated.reader(0).and_then(|reader| reader.contact(0));
    contact.map_or(0, |contact| contact.tally().to_card)
}

fn outcome(result: std::result::Result<Vec<u8>, Error>) -> String {
    match result {
        Ok(response) if response == [1, 2, 3, 4, 0x90, 0] => "answered".into(),
        Ok(response) => format!("{response:?}"),
        Err(error) => format!("{error:?}"),
    }
}
