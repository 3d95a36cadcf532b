//! Random faults, on the contact and on the USB transfers, at every level of exchange and with both
//! protocols.
//!
//! Whatever happens, a call ends, with the card's answer or with an error, within [`CALL`] of the card's time
//! and, where transfers are damaged, [`WAIT`] for each that is; and after the faults a reset brings reader
//! and card back to work.
//!
//! A wrong answer is never returned where the fault can be detected. It cannot where a reply has no check of
//! its own (APDU levels; TPDUs of T=0; characters) and
//! - one of its data bytes is another: CCID has no check sum, since USB has one for each packet;
//! - its `dwLength` is a smaller number, for many readers append bytes to good replies;
//! - its `bChainParameter` ends the response early;
//! - its sequence number becomes that of a later command;
//! - its type or status becomes that of another reply of the same length (clause 6.2).
//!
//! So there, replies with one byte changed may make a wrong answer, but only the answer of the exchange that
//! they belong to. The answers to requests on the control pipe (ICCD) have no length but their own, so that
//! there a cut or a longer one is an answer too. Blocks of T=1 at TPDU level have a check of their own, and
//! there even those faults are found.
//!
//! On the contact, T=1 finds every fault of which there is one in a block, given a reader that looks at the
//! guard time after a block: else the LRC misses one character too many in 256. At character level the host
//! asks for as many characters as the block's LEN says, so that a smaller LEN cuts the block, and the LRC
//! misses that once in 256. T=0 finds late, unreadable and missing characters; a byte that has changed with
//! its parity right, or that comes twice, cannot be distinguished from another byte (ISO/IEC 7816-3, clause
//! 7.3); nor is a lost character detected where the one after it can be a procedure byte, so that the data of
//! these tests are below '60'.

#[path = "../common/mod.rs"]
mod common;
mod settings;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use common::{card, cases, named, open_through};
use pcsc_ccid::reader::{Protocol, Reader, ReaderError, Reset};
use pcsc_ccid::transport::Transport;
use pcsc_sim::card::{Behaviour, FaultKind, Faults};
use pcsc_sim::{Fault, FaultTransport};
use pcsc_sim::{SimHandle, SimTransport};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use settings::{Setting, SETTINGS};

/// What one call may take on the card's clock: minutes, where the fault is in the bytes of
/// the ATR that encode the waiting times.
const CALL: Duration = Duration::from_secs(600);
/// What each damaged transfer may add: the longest wait that there is, and an abort.
const WAIT: Duration = Duration::from_secs(305);

/// A random script.
#[derive(Debug, Clone)]
struct Script {
    setting: Setting,
    ta1: u8,
    behaviour: Behaviour,
    seed: u64,
    per_mille: u16,
    limit: u32,
    /// Which of the commands, in turn.
    commands: Vec<prop::sample::Index>,
}

fn scripts(settings: Vec<Setting>) -> impl Strategy<Value = Script> {
    let behaviours = prop::sample::select(vec![
        Behaviour::default(),
        Behaviour {
            wtx: 2,
            wtx_multiplier: 3,
            nulls: 3,
            ..Behaviour::default()
        },
        Behaviour {
            byte_by_byte: true,
            new_ifsc: Some(40),
            ..Behaviour::default()
        },
    ]);
    (
        prop::sample::select(settings),
        prop::sample::select(vec![0x11, 0x96]),
        behaviours,
        any::<u64>(),
        20u16..500,
        1u32..12,
        prop::collection::vec(any::<prop::sample::Index>(), 1..8),
    )
        .prop_map(
            |(setting, ta1, behaviour, seed, per_mille, limit, commands)| Script {
                setting,
                ta1,
                behaviour,
                seed,
                per_mille,
                limit,
                commands,
            },
        )
}

/// What came of the scripts.
#[derive(Default)]
struct Tally {
    answers: u32,
    wrong: u32,
    errors: BTreeMap<String, u32>,
    longest: Duration,
}

impl Tally {
    fn print(&self, what: &str) {
        println!(
            "{what}: {} right answers, {} wrong, longest call {:.1} s; {:?}",
            self.answers,
            self.wrong,
            self.longest.as_secs_f64(),
            self.errors
        );
    }

    fn error(&mut self, error: ReaderError) {
        *self.errors.entry(format!("{error:?}")).or_default() += 1;
    }

    /// Holds a call to its bound of card time.
    fn timed<T: Damage, R>(
        &mut self,
        handle: &SimHandle,
        reader: &mut Reader<T>,
        call: impl FnOnce(&mut Reader<T>) -> R,
    ) -> Result<R, TestCaseError> {
        let now = || handle.with(|device| device.now());
        let (begin, struck) = (now(), reader.transport().transfers_struck());
        let result = call(reader);
        let took = now() - begin;
        let struck = reader.transport().transfers_struck() - struck;
        self.longest = self.longest.max(took);
        prop_assert!(took <= CALL + WAIT * struck as u32, "{:?}", took);
        Ok(result)
    }
}

/// How many transfers were damaged so far.
trait Damage: Transport {
    fn transfers_struck(&self) -> usize;
}

impl Damage for SimTransport {
    fn transfers_struck(&self) -> usize {
        0
    }
}

impl Damage for FaultTransport<SimTransport> {
    fn transfers_struck(&self) -> usize {
        self.struck().len()
    }
}

/// Resets until it works, as an application would.
fn reset<T: Damage>(
    tally: &mut Tally,
    handle: &SimHandle,
    reader: &mut Reader<T>,
    protocol: Protocol,
    tries: u32,
) -> Result<bool, TestCaseError> {
    for _ in 0..tries {
        let result = tally.timed(handle, reader, |reader| {
            reader.power_on(0, Reset::Cold)?;
            reader.set_protocol(0, protocol)
        })?;
        match result {
            Ok(()) => return Ok(true),
            Err(error) => tally.error(error),
        }
    }
    Ok(false)
}

/// Plays a script. `may_be_wrong` is asked after each exchange whether a fault that cannot be detected has
/// struck in it.
fn play<T: Damage>(
    script: &Script,
    tally: &mut Tally,
    handle: &SimHandle,
    reader: &mut Reader<T>,
    mut may_be_wrong: impl FnMut(&mut Reader<T>) -> bool,
) -> Result<(), TestCaseError> {
    let protocol = script.setting.protocol;
    let exchanges = script.setting.exchanges();
    let goes_on = script.seed % 2 == 0;
    let mut response = vec![0; 65_538];
    let mut is_ready = reset(tally, handle, reader, protocol, 20)?;
    for index in &script.commands {
        let (command, expected) = index.get(&exchanges);
        for _ in 0..20 {
            if !is_ready {
                is_ready = reset(tally, handle, reader, protocol, 20)?;
            }
            may_be_wrong(reader);
            match tally.timed(handle, reader, |reader| {
                reader.transmit(0, command, &mut response)
            })? {
                Ok(length) if response[..length] == expected[..] => {
                    tally.answers += 1;
                    break;
                }
                Ok(length) => {
                    prop_assert!(
                        may_be_wrong(reader),
                        "to {} bytes {:02X?}: {} bytes {:02X?} instead of {}",
                        command.len(),
                        &command[..command.len().min(8)],
                        length,
                        &response[..length.min(16)],
                        expected.len()
                    );
                    tally.wrong += 1;
                    is_ready = false;
                }
                Err(error) => {
                    tally.error(error);
                    // Some applications try again at once, others reset.
                    let has_power = !matches!(error, ReaderError::NotPowered | ReaderError::NoCard);
                    is_ready = error == ReaderError::CardReset || (goes_on && has_power);
                }
            }
        }
    }
    Ok(())
}

/// The faults are over: one reset, and everything works.
fn check_recovery<T: Damage>(
    script: &Script,
    tally: &mut Tally,
    handle: &SimHandle,
    reader: &mut Reader<T>,
) -> Result<(), TestCaseError> {
    let mut response = vec![0; 65_538];
    tally.timed(handle, reader, |reader| reader.presence(0))?.ok();
    tally
        .timed(handle, reader, |reader| {
            reader.power_on(0, Reset::Cold).map(|_| ())
        })?
        .map_err(|error| TestCaseError::fail(format!("no reset afterwards: {error:?}")))?;
    reader
        .set_protocol(0, script.setting.protocol)
        .map_err(|error| TestCaseError::fail(format!("no protocol afterwards: {error:?}")))?;
    for (command, expected) in script.setting.exchanges() {
        match reader.transmit(0, &command, &mut response) {
            Ok(length) => prop_assert_eq!(&response[..length], &expected[..]),
            Err(error) => prop_assert!(false, "no answer afterwards: {:?}", error),
        }
    }
    Ok(())
}

/// Plays random scripts with damaged USB transfers.
fn on_usb(what: &str, settings: Vec<Setting>, kinds: &'static [Fault], may_be_wrong: fn(&[Fault]) -> bool) {
    let tally = RefCell::new(Tally::default());
    let result = TestRunner::new(cases(256)).run(&scripts(settings), |script| {
        let tally = &mut *tally.borrow_mut();
        let (handle, reader) = open_through(named(script.setting.reader), |transport| {
            FaultTransport::new(transport, script.seed, script.per_mille, 0, kinds)
        });
        let mut reader = reader.unwrap();
        let profile = card(
            Some(script.ta1),
            script.setting.offers(),
            script.behaviour.clone(),
        );
        handle.insert(0, profile);
        reader.transport().set_limit(script.limit);
        let mut seen = 0;
        play(&script, tally, &handle, &mut reader, |reader| {
            let struck = reader.transport().struck();
            let new = struck.get(seen..).unwrap_or(&[]);
            seen = struck.len();
            may_be_wrong(new)
        })?;
        reader.transport().set_limit(0);
        check_recovery(&script, tally, &handle, &mut reader)
    });
    tally.borrow().print(what);
    result.unwrap();
}

/// All but single bytes changed.
const DETECTABLE: &[Fault] = &[
    Fault::Short,
    Fault::Long,
    Fault::Late,
    Fault::Duplicated,
    Fault::Reordered,
    Fault::Lost,
    Fault::Stalled,
    Fault::Unheard,
];

fn bulk_settings() -> Vec<Setting> {
    let mut settings = SETTINGS.to_vec();
    settings.retain(|setting| !matches!(setting.reader, "ibank2key" | "starsign"));
    settings
}

#[test]
fn transfers_damaged_in_ways_that_show() {
    on_usb("transfers", bulk_settings(), DETECTABLE, |_| false);
}

fn control_settings() -> Vec<Setting> {
    let mut settings = SETTINGS.to_vec();
    settings.retain(|setting| matches!(setting.reader, "ibank2key" | "starsign"));
    settings
}

#[test]
fn requests_damaged_in_ways_that_show() {
    const KINDS: &[Fault] = &[Fault::Lost, Fault::Stalled, Fault::Unheard];
    on_usb("requests", control_settings(), KINDS, |_| false);
}

/// The answer to a request has no length but its own.
#[test]
fn requests_damaged_in_ways_that_nobody_can_tell() {
    on_usb(
        "unchecked requests",
        control_settings(),
        FaultTransport::<SimTransport>::ALL,
        |struck| {
            struck
                .iter()
                .any(|fault| matches!(fault, Fault::Corrupted | Fault::Short | Fault::Long))
        },
    );
}

#[test]
fn transfers_damaged_in_any_way_around_checked_blocks() {
    let mut settings = SETTINGS.to_vec();
    settings.retain(Setting::is_checked);
    on_usb(
        "checked transfers",
        settings,
        FaultTransport::<SimTransport>::ALL,
        |_| false,
    );
}

#[test]
fn transfers_damaged_in_ways_that_nobody_can_tell() {
    on_usb(
        "unchecked transfers",
        bulk_settings(),
        FaultTransport::<SimTransport>::ALL,
        |struck| struck.contains(&Fault::Corrupted),
    );
}

/// Plays random scripts with damage on the contact.
fn on_the_contact(what: &str, protocol: Protocol, kinds: &'static [FaultKind]) {
    let tally = RefCell::new(Tally::default());
    let mut settings = SETTINGS.to_vec();
    settings.retain(|setting| setting.protocol == protocol && !setting.cuts_blocks());
    let result = TestRunner::new(cases(256)).run(&scripts(settings), |script| {
        let tally = &mut *tally.borrow_mut();
        let (handle, reader) = open_through(named(script.setting.reader), |transport| transport);
        let mut reader = reader.unwrap();
        let profile = card(
            Some(script.ta1),
            script.setting.offers(),
            script.behaviour.clone(),
        );
        handle.insert(0, profile);
        let faults = |faults| {
            handle.with(|device| {
                if let Some(contact) = device.contact(0) {
                    contact.set_faults(faults);
                }
            });
        };
        faults(Some(Faults::new(
            script.seed,
            script.per_mille,
            script.limit,
            kinds,
        )));
        play(&script, tally, &handle, &mut reader, |_| false)?;
        faults(None);
        check_recovery(&script, tally, &handle, &mut reader)
    });
    tally.borrow().print(what);
    result.unwrap();
}

#[test]
fn a_bad_contact_under_t0() {
    on_the_contact("T=0 contact", Protocol::T0, Faults::DETECTABLE_BY_T0);
}

#[test]
fn a_bad_contact_under_t1() {
    on_the_contact("T=1 contact", Protocol::T1, Faults::ALL);
}
