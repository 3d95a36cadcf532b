//! What the agent can do.

use crate::daemon::Pcscd;
use crate::echo::EchoReader;
use crate::path::{self, Daemon, Driver, Path};
use crate::tries::Tries;
use crate::{
    actor, bench, bus, cards, checks, clients, descriptor, fact, foreign, hex, hotplug, quiet, readers,
    sharing, Result, LIMIT,
};
use pcsc_client::{Error, State};
use std::thread;

/// What libccid calls a reader with the numbers of [`EchoReader`].
const ECHO: &str = "Gnuk";

type Scenario = fn() -> Result<()>;

/// The scenario of that name.
pub fn find(name: &str) -> Option<Scenario> {
    Some(match name {
        "actor" => actor::scenario,
        "bus" => bus::scenario,
        "qemu-libccid" => qemu_libccid,
        "qemu-driver" => qemu_driver,
        "echo-libccid" => echo_libccid,
        "readers-libccid" => readers_libccid,
        "readers-driver" => readers_driver,
        "bench" => bench::scenario,
        "cards" => cards::scenario,
        "clients" => clients::scenario,
        "commands" => crate::commands::scenario,
        "doctor" => crate::doctor::scenario,
        "identical" => crate::identical::scenario,
        "foreign" => foreign::scenario,
        "hotplug" => hotplug::scenario,
        "served" => crate::served::scenario,
        "versions" => crate::versions::scenario,
        "two-processes" => sharing::two_processes,
        "daemon-comes" => sharing::daemon_comes_and_goes,
        "idle" => quiet::idle,
        "permission" => quiet::permission,
        "fork" => quiet::fork,
        "descriptor" => descriptor::scenario,
        "descriptor-alone" => descriptor::alone,
        "reset" => descriptor::reset,
        "composite-libccid" => || crate::composite::scenario(&mut path::Stock::default()),
        "composite-driver" => || crate::composite::scenario(&mut path::Bus),
        "unplugged-driver" => crate::unplugged::scenario,
        "system-libccid" => crate::system::libccid,
        "system-bundle" => crate::system::bundle,
        "unprivileged" => crate::unprivileged::scenario,
        _ => return None,
    })
}

/// QEMU's reader and card, through Debian's pcscd and libccid.
fn qemu_libccid() -> Result<()> {
    let daemon = || Pcscd::start("qemu-libccid");
    let (_pcscd, context, _) = Tries::LIBCCID.start(daemon, &["433-Swap"], State::PRESENT)?;
    let mut path = Daemon::connect(&context, "433-Swap")?;
    fact("reader", path.reader());
    checks::emulated_card(&mut path)
}

/// The same reader and card, through our driver.
fn qemu_driver() -> Result<()> {
    let mut path = Driver::connect("433-Swap")?;
    fact("reader", path.reader());
    checks::emulated_card(&mut path)
}

/// A reader over USB/IP, through Debian's pcscd and libccid: plugged in before and after pcscd has started,
/// and unplugged in mid-APDU.
fn echo_libccid() -> Result<()> {
    let device = sharing::plug(EchoReader::with_card())?;
    let daemon = || Pcscd::start("echo-libccid");
    let (_pcscd, context, _) = Tries::LIBCCID.start(daemon, &[ECHO], State::PRESENT)?;
    let mut path = Daemon::connect(&context, ECHO)?;
    fact("reader", path.reader());
    fact("atr", hex(&path.atr()?));
    let before = readers::exchanges(&device.log());
    for length in [0, 1, 5, 63, 64, 200, 249] {
        let mut command = vec![0x80, 0x10, 0x00, 0x00, length];
        command.extend(0..length);
        fact(&format!("echo-{length}"), hex(&path.transmit(&command)?));
    }
    fact("transfers", readers::exchanges(&device.log()) - before);
    // What the driver asked of the reader before the first command: the first byte of each message.
    let log = device.log();
    let sent = log
        .iter()
        .filter(|transfer| transfer.endpoint == 0x01)
        .filter_map(|transfer| transfer.data.first());
    fact(
        "messages",
        hex(&sent
            .copied()
            .take_while(|kind| *kind != 0x6F)
            .collect::<Vec<u8>>()),
    );

    device.with(|reader| reader.insert(false));
    path::appear(&context, ECHO, State::EMPTY)?;
    fact("removed", outcome(&transmit(path.card())));
    drop(path);
    let insert = |is_in| device.with(|reader| reader.insert(is_in));
    let mut path = Tries::LIBCCID.insert(&context, ECHO, insert)?;
    fact("inserted", hex(&path.transmit(b"\x00\x01\x02\x03")?));

    let commands = device.with(|reader| {
        (reader.busy, reader.asks_for_time) = (true, true);
        reader.commands
    });
    let (started, unplugged, transmit) = thread::scope(|scope| {
        let transmit = scope.spawn(|| transmit(path.card()));
        let started = device.wait_for(LIMIT, |reader| reader.commands > commands);
        (started, device.unplug(), transmit.join())
    });
    fact("mid-apdu", started);
    unplugged?;
    fact(
        "unplugged",
        outcome(&transmit.map_err(|_| "the client panicked")?),
    );

    let make = || Ok(EchoReader::with_card());
    let (device, _) = Tries::LIBCCID.plug(&context, ECHO, make)?;
    let mut path = Daemon::connect(&context, ECHO)?;
    fact("plugged-again", hex(&path.transmit(b"\x00\x01\x02\x03")?));
    device.unplug()?;
    Ok(())
}

/// The simulated readers, through Debian's pcscd and libccid.
fn readers_libccid() -> Result<()> {
    readers::all(&mut path::Stock::default())
}

/// The simulated readers, through our driver.
fn readers_driver() -> Result<()> {
    readers::all(&mut path::Bus)
}

/// A command that the card echoes.
fn transmit(card: &pcsc_client::Card) -> std::result::Result<Vec<u8>, Error> {
    let mut buffer = [0; pcsc_client::MAX_BUFFER_SIZE];
    Ok(card.transmit(&[0x80, 0x10, 0, 0], &mut buffer)?.to_vec())
}

/// The response, or the error's name.
fn outcome(result: &std::result::Result<Vec<u8>, Error>) -> String {
    match result {
        Ok(response) => hex(response),
        Err(error) => format!("{error:?}"),
    }
}
