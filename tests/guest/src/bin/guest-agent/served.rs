//! Debian's clients on our server with the readers on the USB, and on its own pcscd with libccid: a reader is
//! plugged in and pulled out, and its card comes and goes, while they wait and in mid-APDU.
//!
//! Where libccid gives up a reader or a card by itself, the step is tried again (see [`crate::tries`]).

use crate::actor::Actor;
use crate::daemon::Pcscd;
use crate::echo::EchoReader;
use crate::quiet::one_line;
use crate::sharing::plug;
use crate::tries::Tries;
use crate::{argument, fact, Result, LIMIT};
use pcsc_client::State;
use pcsc_guest_tests::usbip::Plugged;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const SERVER: &str = "/run/share.comm";
const PCSCD: &str = "/run/pcscd/pcscd.comm";

/// What [`EchoReader`] is called.
const ECHO: &str = "Gnuk";
const PNP: &str = r"\\?PnP?\Notification";

// Bits of reader states.
const CHANGED: u32 = 0x02;
const UNKNOWN: u32 = 0x04;
const EMPTY: u32 = 0x10;
const PRESENT: u32 = 0x20;
const MUTE: u32 = 0x200;

const UNKNOWN_READER: u32 = 0x8010_0009;
const TIMEOUT: u32 = 0x8010_000A;

/// `SCARD_W_UNRESPONSIVE_CARD`, as a client prints it.
const UNRESPONSIVE: &str = "80100066";

/// Success.
const DONE: &str = "00000000";

/// Arguments: the stock library is number 5, the command `pcsc` number 7, the stock client number 10.
pub fn scenario() -> Result<()> {
    {
        let (_server, _) = Pcscd::start_share(&argument(7)?, Path::new(SERVER), "served")?;
        play("server", SERVER, Tries::ONE)?;
        unplugged_with_its_card()?;
    }
    let daemon = || Pcscd::start("served");
    let (_pcscd, context, _) = Tries::LIBCCID.start(daemon, &["433-Swap"], State::PRESENT)?;
    drop(context);
    play("pcscd", PCSCD, Tries::LIBCCID)
}

/// Everything that is compared.
fn play(side: &str, socket: &str, tries: Tries) -> Result<()> {
    let mut client = Client::start(side, socket, tries)?;
    client.fact("establish", "establish")?;

    let (device, reader, seen) = client.plug(None)?;
    tool(side, socket, "opensc-list", &["opensc-tool", "--list-readers"])?;
    tool(side, socket, "scan", &["pcsc_scan", "-r"])?;
    client.card_fact("connect", &format!("connect 2 3 {reader}"), &device, &reader)?;
    client.fact("transmit", "transmit 00010203")?;

    let seen = client.wait_while(&reader, seen, EMPTY, || device.with(|echo| echo.insert(false)))?;
    client.fact("card-out-transmit", "transmit 00010203")?;
    client.fact("card-out-status", "status")?;
    client.wait_while(&reader, seen, PRESENT, || device.with(|echo| echo.insert(true)))?;
    client.fact("card-in-transmit", "transmit 00010203")?;
    client.card_fact("card-in-reconnect", "reconnect 2 3 0", &device, &reader)?;
    client.fact("card-in-then", "transmit 00010203")?;

    // The reader goes in mid-APDU.
    let before = busy(&device);
    client.tell("transmit 00010203")?;
    fact(
        &client.named("mid-apdu"),
        device.wait_for(LIMIT, |echo| echo.commands > before),
    );
    device.unplug()?;
    client.hear_fact("mid-apdu-transmit")?;
    client.disappears()?;
    client.fact("gone-transmit", "transmit 00010203")?;
    client.fact("gone-status", "status")?;
    client.fact("gone-reconnect", "reconnect 2 3 0")?;
    client.fact("gone-disconnect", "disconnect 0")?;
    client.fact("gone-connect", &format!("connect 2 3 {reader}"))?;

    // It comes back while the client waits for any reader; its card goes, then the reader, in a wait again.
    let (device, reader, seen) = client.plug(Some("again-told"))?;
    client.card_fact(
        "again-connect",
        &format!("connect 2 3 {reader}"),
        &device,
        &reader,
    )?;
    client.fact("again-transmit", "transmit 00010203")?;
    // pcscd hangs if it notices the absence of a card while it is removing the reader.
    let seen = client.wait_while(&reader, seen, EMPTY, || device.with(|echo| echo.insert(false)))?;
    unplugged_in_a_wait(&mut client, "unplugged", &reader, seen, device)?;
    // A client is notified before the daemon has removed the connection.
    client.disappears()?;
    client.fact("unplugged-transmit", "transmit 00010203")?;

    // A program that ends by itself.
    let (device, reader, _) = client.plug(None)?;
    let before = busy(&device);
    let send = [
        "opensc-tool",
        "--reader",
        &reader,
        "--card-driver",
        "default",
        "-s",
        "00010203",
    ];
    let program = on(socket, &send)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    fact(
        &client.named("tool-mid-apdu"),
        device.wait_for(LIMIT, |echo| echo.commands > before),
    );
    device.unplug()?;
    let output = program.wait_with_output()?;
    let text = one_line(&[output.stdout, output.stderr].concat());
    fact(
        &client.named("tool"),
        format!("{:?} {text}", output.status.code()),
    );
    client.disappears()?;
    client.fact("release", "release")
}

/// The reader goes while a client waits for its card to go.
fn unplugged_with_its_card() -> Result<()> {
    let mut client = Client::start("server-alone", SERVER, Tries::ONE)?;
    client.fact("establish", "establish")?;
    let (device, reader, seen) = client.plug(None)?;
    client.fact("connect", &format!("connect 2 3 {reader}"))?;
    unplugged_in_a_wait(&mut client, "unplugged", &reader, seen, device)?;
    client.disappears()?;
    client.fact("unplugged-transmit", "transmit 00010203")
}

/// Pulls the reader out while the client waits for a change of its state, and waits until the client has
/// got the event. A wait that begins when the reader is gone fails.
fn unplugged_in_a_wait(
    client: &mut Client,
    name: &str,
    reader: &str,
    seen: u32,
    device: Plugged<EchoReader>,
) -> Result<()> {
    client.tell(&watch(reader, seen))?;
    device.unplug()?;
    let mut told = client.told()?;
    let end = loop {
        match told {
            (0, state) if state & UNKNOWN != 0 => break "told".to_owned(),
            (0, state) => told = client.watch(reader, state)?,
            (UNKNOWN_READER, _) => break "told".to_owned(),
            (code, state) => break format!("{code:08X} {state:x}"),
        }
    };
    fact(&client.named(name), end);
    Ok(())
}

/// From now on the card asks for time. Returns how many commands it has been given.
fn busy(device: &Plugged<EchoReader>) -> usize {
    device.with(|echo| {
        (echo.busy, echo.asks_for_time) = (true, true);
        echo.commands
    })
}

/// A program of Debian's on a daemon.
fn on(socket: &str, words: &[&str]) -> Command {
    let mut command = Command::new(words[0]);
    command
        .args(&words[1..])
        .env("PCSCLITE_CSOCK_NAME", socket)
        .stdin(Stdio::null());
    command
}

/// What a program prints, as a fact.
fn tool(side: &str, socket: &str, name: &str, words: &[&str]) -> Result<()> {
    let output = on(socket, words).output()?;
    let text = one_line(&[output.stdout, output.stderr].concat());
    fact(
        &format!("{side}/{name}"),
        format!("{:?} {text}", output.status.code()),
    );
    Ok(())
}

fn watch(reader: &str, seen: u32) -> String {
    format!("watch {} {:x} {reader}", LIMIT.as_millis(), seen & !CHANGED)
}

/// A process on Debian's library, which makes the calls that it is sent.
struct Client {
    side: String,
    process: Actor,
    tries: Tries,
}

impl Client {
    fn start(side: &str, socket: &str, tries: Tries) -> Result<Client> {
        let mut command = Command::new(argument(10)?);
        command.arg(argument(5)?).env("PCSCLITE_CSOCK_NAME", socket);
        Ok(Client {
            side: side.to_owned(),
            process: Actor::of(command)?,
            tries,
        })
    }

    fn named(&self, name: &str) -> String {
        format!("{}/{name}", self.side)
    }

    fn tell(&mut self, call: &str) -> Result<()> {
        self.process.tell(call)
    }

    /// Makes a call, whose results are a fact.
    fn fact(&mut self, name: &str, call: &str) -> Result<()> {
        self.tell(call)?;
        self.hear_fact(name)
    }

    /// The results of the call in progress as a fact.
    fn hear_fact(&mut self, name: &str) -> Result<()> {
        let results = self.process.hear()?;
        fact(&self.named(name), results);
        Ok(())
    }

    /// Waits until the process sleeps in a call, and not in the read of its next line from descriptor 0.
    fn wait_until_in_call(&self) -> Result<()> {
        let end = Instant::now() + LIMIT;
        while Instant::now() < end {
            let call = std::fs::read_to_string(format!("/proc/{}/syscall", self.process.id()))?;
            // The number of the system call, then its arguments.
            if call.split(' ').nth(1).is_some_and(|first| first != "0x0") {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Err("the client makes no call".into())
    }

    /// Makes a call that needs a card which answers. Its results are a fact.
    fn card_fact(
        &mut self,
        name: &str,
        call: &str,
        device: &Plugged<EchoReader>,
        reader: &str,
    ) -> Result<()> {
        let mut tries = self.tries;
        let results = loop {
            let results = self.process.ask(call)?;
            if !is_given_up(&results) || !tries.again(self.named(name)) {
                break results;
            }
            self.reinsert(device, reader, 0)?;
        };
        fact(&self.named(name), results);
        Ok(())
    }

    /// Takes the card out, and puts it in again. Returns the reader's state.
    fn reinsert(&mut self, device: &Plugged<EchoReader>, reader: &str, seen: u32) -> Result<u32> {
        let seen = self.wait_while(reader, seen, EMPTY, || device.with(|echo| echo.insert(false)))?;
        self.wait_while(reader, seen, PRESENT, || device.with(|echo| echo.insert(true)))
    }

    /// Plugs a reader with a card in, and waits until both can be used: the reader, its name, which is a
    /// fact, and its state. If `told` is given the client waits for any reader meanwhile; the code is a fact
    /// of that name.
    fn plug(&mut self, told: Option<&str>) -> Result<(Plugged<EchoReader>, String, u32)> {
        let mut tries = self.tries;
        let (device, reader) = loop {
            if told.is_some() {
                let known = self.names()?.len();
                let wait = format!("watch {} {:x} {PNP}", tries.limit().as_millis(), known << 16);
                self.tell(&wait)?;
                self.wait_until_in_call()?;
            }
            let device = plug(EchoReader::with_card())?;
            let code = told.map(|_| self.told()).transpose()?.map_or(0, |(code, _)| code);
            let reader = self.appears(tries.limit())?;
            // A reader that libccid has given up causes no event.
            if (code == TIMEOUT || reader.is_none()) && tries.again(self.named("plug")) {
                device.unplug()?;
                self.wait_for_names(LIMIT, |names| find(names).is_none())?;
                continue;
            }
            if let Some(name) = told {
                fact(&self.named(name), format!("{code:08X}"));
            }
            break (device, reader.ok_or("the reader is not in the list")?);
        };
        fact(&self.named("appears"), &reader);
        let mut seen = self.wait(&reader, 0, PRESENT)?;
        while seen & MUTE != 0 && tries.again(self.named("card")) {
            seen = self.reinsert(&device, &reader, seen)?;
        }
        Ok((device, reader, seen))
    }

    /// The code and the event state of the wait in progress.
    fn told(&mut self) -> Result<(u32, u32)> {
        let results = self.process.hear()?;
        let mut words = results.split(' ');
        let mut number = || u32::from_str_radix(words.next().unwrap_or_default(), 16);
        Ok((number()?, number()?))
    }

    /// Waits for a change of a reader's state.
    fn watch(&mut self, reader: &str, seen: u32) -> Result<(u32, u32)> {
        self.tell(&watch(reader, seen))?;
        self.told()
    }

    /// Waits until a reader's state has these bits. Returns the state.
    fn wait(&mut self, reader: &str, seen: u32, bits: u32) -> Result<u32> {
        self.wait_while(reader, seen, bits, || ())
    }

    /// The same, and does something while the call is in progress.
    fn wait_while(&mut self, reader: &str, seen: u32, bits: u32, then: impl FnOnce()) -> Result<u32> {
        self.tell(&watch(reader, seen))?;
        then();
        loop {
            match self.told()? {
                (0, state) if state & bits == bits => return Ok(state),
                (0, state) => self.tell(&watch(reader, state))?,
                (code, state) => return Err(format!("{code:08X} {state:x} instead of {bits:x}").into()),
            }
        }
    }

    fn names(&mut self) -> Result<Vec<String>> {
        let results = self.process.ask("list")?;
        let names = results.split_once(' ').map_or("", |(_, names)| names);
        Ok(names
            .split('|')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect())
    }

    /// Waits until the reader is in the list, by the notification of new readers. `None` if it does not come
    /// within `limit`.
    fn appears(&mut self, limit: Duration) -> Result<Option<String>> {
        self.wait_for_names(limit, |names| find(names).is_some())?;
        Ok(find(&self.names()?).cloned())
    }

    /// Waits until it is not any more.
    fn disappears(&mut self) -> Result<()> {
        if !self.wait_for_names(LIMIT, |names| find(names).is_none())? {
            return Err("the reader stays in the list".into());
        }
        let names = self.names()?;
        fact(&self.named("left"), names.len());
        Ok(())
    }

    /// Whether the list becomes so within `limit`.
    fn wait_for_names(&mut self, limit: Duration, is_it: impl Fn(&[String]) -> bool) -> Result<bool> {
        let end = Instant::now() + limit;
        loop {
            let names = self.names()?;
            if is_it(&names) {
                return Ok(true);
            }
            if Instant::now() > end {
                return Ok(false);
            }
            // pcsc-lite 1.9 compares with the list at the beginning of the call, not with the program's
            // state: a change before that is no event.
            self.tell(&format!("watch 500 {:x} {PNP}", names.len() << 16))?;
            match self.told()? {
                (0 | TIMEOUT, _) => (),
                (code, _) => return Err(format!("{code:08X} in a wait for readers, of {names:?}").into()),
            }
        }
    }
}

/// Whether libccid may have given up the card in a call that selects a protocol, or pcscd has powered it off.
///
/// pcsc-lite 1.9 powers a card off if nobody uses it for 5 s after it was put in, and `SCardReconnect` says
/// only at its end that it does. The power-off makes the selection fail, or resets its result to no protocol
/// in a call that succeeds.
fn is_given_up(results: &str) -> bool {
    let mut words = results.split(' ');
    match (words.next(), words.next()) {
        (Some(UNRESPONSIVE), _) => true,
        (Some(DONE), protocol) => protocol == Some("0"),
        _ => false,
    }
}

/// The reader in a list of names.
fn find(names: &[String]) -> Option<&String> {
    names.iter().find(|name| name.contains(ECHO))
}

#[cfg(test)]
mod tests {
    use super::is_given_up;

    #[test]
    fn a_card_without_a_protocol_is_given_up() {
        assert!(is_given_up("80100066 0"));
        assert!(is_given_up("00000000 0"));
        assert!(!is_given_up("00000000 1"));
        assert!(!is_given_up("00000000 2"));
        assert!(!is_given_up("80100069 0"));
    }
}
