//! Processes that want the same reader: with a daemon, without one, and after one of them has been killed.

use crate::actor::Actor;
use crate::daemon::Pcscd;
use crate::echo::EchoReader;
use crate::path::{appear, reader};
use crate::quiet::{one_line, opensc};
use crate::simulated::Simulated;
use crate::tries::Tries;
use crate::{fact, hex, Result, LIMIT};
use pcsc_client::{BackendKind, Card, Choice, Context, Error, Protocols, ShareMode, State};
use pcsc_guest_tests::usbip::{Plugged, Speed, UsbFunction};
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Behaviour, Offer, Profile, SimCard};
use pcsc_sim::SimDevice;
use std::ffi::CStr;
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;

/// What [`EchoReader`] is called.
const ECHO: &str = "Gnuk";

/// A command that both kinds of cards echo in part.
const COMMAND: &str = "80 ec 00 00 04 01 02 03 04 00";

/// Puts a device on the bus.
pub fn plug<F: UsbFunction + 'static>(function: F) -> Result<Plugged<F>> {
    let device = Plugged::plug(function, Speed::Full)?;
    if !device.configured(LIMIT) {
        return Err("the kernel has not configured the reader".into());
    }
    Ok(device)
}

/// A context without a daemon.
pub fn standalone() -> Result<Context> {
    Ok(Context::builder()
        .choose_backend(Choice::Standalone)
        .establish()?)
}

/// Connects, and echoes a command: the response, or the error's name.
pub fn try_card(context: &Context, name: &CStr) -> String {
    let connect = context.connect(name, ShareMode::Shared, Protocols::ANY);
    match connect.and_then(|card| echo(&card)) {
        Ok(response) => hex(&response),
        Err(error) => format!("{error:?}"),
    }
}

/// Has a card echo a command.
pub fn echo(card: &Card) -> std::result::Result<Vec<u8>, Error> {
    let command: Vec<u8> = COMMAND
        .split(' ')
        .filter_map(|byte| u8::from_str_radix(byte, 16).ok())
        .collect();
    let mut buffer = [0; pcsc_client::MAX_BUFFER_SIZE];
    Ok(card.transmit(&command, &mut buffer)?.to_vec())
}

/// A second process finds the reader in use, and gets it once the first one is gone, however it went.
pub fn two_processes() -> Result<()> {
    let device = plug(EchoReader::with_card())?;
    let context = standalone()?;
    let name = appear(&context, ECHO, State::PRESENT)?;
    drop(context);

    for end in ["released", "killed", "killed-in-mid-apdu"] {
        let (mut first, mut second) = (Actor::start()?, Actor::start()?);
        fact(&format!("{end}/first"), first.ask("establish")?);
        first.ask(&format!("connect {ECHO}"))?;
        fact(
            &format!("{end}/first-transmit"),
            first.ask(&format!("transmit {COMMAND}"))?,
        );
        second.ask("establish")?;
        fact(&format!("{end}/second-lists"), second.ask("list")?.contains(ECHO));
        fact(
            &format!("{end}/second-connects"),
            second.ask(&format!("connect {ECHO}"))?,
        );
        match end {
            "released" => {
                let output = opensc(&["env"], &["--reader", &name.to_string_lossy(), "--atr"])?;
                let log = one_line(&output.stderr);
                fact(
                    "log",
                    log.replace(&format!("(process {})", first.id()), "(process FIRST)"),
                );
                first.ask("release")?;
            }
            "killed" => first.kill()?,
            _ => {
                let commands = device.with(|reader| {
                    reader.busy = true;
                    reader.commands
                });
                first.tell(&format!("transmit {COMMAND}"))?;
                fact(
                    "mid-apdu",
                    device.wait_for(LIMIT, |reader| reader.commands > commands),
                );
                first.kill()?;
                device.with(|reader| reader.busy = false);
            }
        }
        fact(
            &format!("{end}/second-then"),
            second.ask(&format!("connect {ECHO}"))?,
        );
        fact(
            &format!("{end}/second-transmit"),
            second.ask(&format!("transmit {COMMAND}"))?,
        );
    }
    device.unplug()?;
    for model in ["oz776", "scr3310", "omnikey-3x21", "yubikey"] {
        killed_while_the_card_works(model)?;
    }
    Ok(())
}

/// The card goes on working after its process was killed, and its answer comes to the next one.
fn killed_while_the_card_works(model: &str) -> Result<()> {
    let device = SimDevice::named(model).ok_or("no such reader")?;
    let behaviour = Behaviour {
        wtx: 20,
        wtx_multiplier: 1,
        work: 1_000,
        ..Behaviour::default()
    };
    let card = SimCard::new(Profile::new(&[Offer::T1]), behaviour, Box::new(Echo));
    let mut simulated = Simulated::new(vec![device], 1);
    simulated.insert(0, card);
    let base = crate::simulated::base_name(SimDevice::named(model).ok_or("no such reader")?.model());
    let device = plug(simulated)?;
    let heard = |reader: &mut Simulated| {
        let contact = reader.reader(0).and_then(|reader| reader.contact(0));
        contact.map_or(0, |contact| contact.tally().to_card)
    };

    let context = standalone()?;
    appear(&context, &base, State::PRESENT)?;
    drop(context);
    let mut first = Actor::start()?;
    first.ask("establish")?;
    first.ask(&format!("connect {base}"))?;
    let mut tries = 3;
    let is_working = loop {
        let before = device.with(heard);
        first.tell(&format!("transmit {COMMAND}"))?;
        // The command, and two answers to requests for time.
        let is_working = device.wait_for(LIMIT / 3, |reader| heard(reader) > before + 14 + 10);
        tries -= 1;
        if is_working || tries == 0 {
            break is_working;
        }
        // The card has a time to answer in, which goes on while a busy machine does not let it.
        eprintln!(
            "{model}: the card was late, and is tried again: {}",
            first.hear()?
        );
        first.ask("disconnect")?;
        first.ask(&format!("connect {base}"))?;
    };
    fact(&format!("{model}/mid-apdu"), is_working);
    first.kill()?;
    let context = standalone()?;
    let name = appear(&context, &base, State::PRESENT)?;
    fact(&format!("{model}/after"), try_card(&context, &name));
    fact(&format!("{model}/again"), try_card(&context, &name));
    drop(context);
    device.unplug()?;
    Ok(())
}

/// pcscd is started while this process drives the readers, and stopped again.
pub fn daemon_comes_and_goes() -> Result<()> {
    let device = plug(EchoReader::with_card())?;
    let automatic = || Context::builder().choose_backend(Choice::Automatic).establish();
    let kind = |context: &Context| match context.backend() {
        BackendKind::Daemon { .. } => "daemon",
        BackendKind::Standalone => "standalone",
        _ => "other",
    };
    // A daemon has left its socket behind, which is cleaned up.
    let stale = Path::new("/run/pcscd/pcscd.comm");
    fs::create_dir_all(stale.parent().ok_or("no folder")?)?;
    drop(UnixListener::bind(stale)?);
    let first = automatic()?;
    fact("without-daemon", kind(&first));
    fs::remove_file(stale)?;
    let other = automatic()?;
    fact("without-socket", kind(&other));
    fact("without-socket-old-context", format!("{:?}", first.is_valid()));
    drop(other);
    let name = appear(&first, ECHO, State::PRESENT)?;
    let card = first.connect(&name, ShareMode::Shared, Protocols::ANY)?;
    fact("without-daemon-transmit", hex(&echo(&card)?));

    let (pcscd, _) = Pcscd::start("daemon-comes")?;
    let second = automatic()?;
    fact("card-in-use", kind(&second));
    fact("card-in-use-transmit", hex(&echo(&card)?));
    fact("card-in-use-other", try_card(&second, &name));
    drop(card);
    let third = automatic()?;
    fact("card-not-in-use", kind(&third));
    fact("old-context", format!("{:?}", first.is_valid()));
    fact("old-context-connects", try_card(&first, &name));
    drop((first, second, third));
    // It was started while the reader was in use, and looks for readers when one is plugged in.
    device.unplug()?;
    let context = automatic()?;
    let make = || Ok(EchoReader::with_card());
    let (device, name) = Tries::LIBCCID.plug(&context, ECHO, make)?;
    fact("with-daemon", kind(&context));
    fact("with-daemon-transmit", try_card(&context, &name));

    // The daemon has the reader.
    let forced = standalone()?;
    // Numbers may differ: pcscd has seen readers go.
    let same = reader(&forced, ECHO)?;
    fact("claimed-by-daemon-listed", true);
    fact("claimed-by-daemon-connects", try_card(&forced, &same));
    fact("daemon-undisturbed", try_card(&context, &name));
    drop(pcscd);
    fact("daemon-gone", format!("{:?}", context.is_valid()));
    fact("forced-after-daemon", try_card(&forced, &same));
    drop((forced, context));

    let context = automatic()?;
    fact("after-daemon", kind(&context));
    let again = appear(&context, ECHO, State::PRESENT)?;
    fact("after-daemon-transmit", try_card(&context, &again));
    drop(context);
    device.unplug()?;
    Ok(())
}
