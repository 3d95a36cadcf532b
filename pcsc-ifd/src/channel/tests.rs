use super::*;
use pcsc_ccid::descriptor;
use pcsc_ccid::internals::lock;
use pcsc_ccid::reader::{DeviceInfo, Reader, ReaderOptions};
use pcsc_ccid::shared::{Notifications, OpenedReader};
use pcsc_ccid::transport::Transport;
use pcsc_sim::card::{apps::Several, Offer, Profile, SimCard};
use pcsc_sim::{Model, SimEvent, SimHandle};
use std::sync::Mutex;

const LONG: Duration = Duration::from_secs(60);

fn card() -> SimCard {
    SimCard::good(Profile::new(&[Offer::T1]), Box::new(Several::demo()))
}

fn channel(model: &str) -> (SimHandle, Channel) {
    let (handle, channel, _) = replaceable(model);
    (handle, channel)
}

/// A reader, and the device that is opened next.
fn replaceable(model: &str) -> (SimHandle, Channel, Arc<Mutex<SimHandle>>) {
    let device = pcsc_sim::SimDevice::named(model).unwrap();
    let configuration = Model::configuration_descriptor(&[device.model()], 4);
    let interface = descriptor::interfaces(&configuration).remove(0).unwrap();
    let handle = SimHandle::new(device);
    let current = Arc::new(Mutex::new(handle.clone()));
    let next = current.clone();
    let open = move |_| {
        let transport: Box<dyn Transport> = Box::new(lock(&next).transport());
        let reader = Reader::open(
            transport,
            DeviceInfo::default(),
            &interface,
            ReaderOptions::default(),
        );
        let reader = reader.map_err(SharedError::opening)?;
        Ok(OpenedReader::new(reader, Notifications::Pushed))
    };
    let reader = SharedReader::new(1, Box::new(open));
    let channel = Channel::open(model.to_owned(), reader, true).unwrap();
    (handle, channel, current)
}

/// A card is swapped faster than pcscd looks.
#[test]
fn a_card_that_was_swapped_between_two_looks_is_absent_for_a_while() {
    // The first gives power to a card by itself, so that its status shows no difference.
    for model in ["au9540", "gempc-express"] {
        let (handle, channel) = channel(model);
        let notify = || {
            while let Some(bytes) = handle.with(|device| device.interrupt_in()) {
                channel.reader.events().notify(&bytes);
            }
        };
        let look = || {
            channel.wait(0, LONG);
            channel.presence(0)
        };
        handle.insert(0, card());
        notify();
        assert_eq!(look(), abi::ICC_PRESENT, "{model}");
        channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
        handle.remove(0);
        notify();
        handle.insert(0, card());
        notify();
        // Whoever has looked first, the event thread sees it absent after its next wait, and not after
        // the one behind.
        for expected in [abi::ICC_NOT_PRESENT, abi::ICC_NOT_PRESENT, abi::ICC_PRESENT] {
            assert_eq!(look(), expected, "{model}");
        }
        channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
        // One that is seen to go and to come is not absent twice.
        handle.remove(0);
        notify();
        assert_eq!(look(), abi::ICC_NOT_PRESENT, "{model}");
        handle.insert(0, card());
        notify();
        assert_eq!(look(), abi::ICC_PRESENT, "{model}");
    }
}

/// The reader sends no notification in this test: the failed exchange alone wakes pcscd's event thread.
#[test]
fn a_card_that_an_exchange_has_missed_is_absent_once() {
    // The first gives power to a card by itself.
    for model in ["au9540", "gempc-express"] {
        let (handle, channel) = channel(model);
        handle.insert(0, card());
        channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
        channel.set_protocol(0, abi::PROTOCOL_T1).unwrap();
        assert_eq!(channel.presence(0), abi::ICC_PRESENT);

        let soon = handle.with(|device| device.now()) + Duration::from_millis(1);
        handle.schedule(soon, SimEvent::Remove(0));
        let command = [0x80, 0xEE, 0, 100, 100];
        let missed = channel.transmit(0, 1, &command, &mut [0; 258]);
        assert_eq!(missed, Err(abi::ICC_NOT_PRESENT), "{model}");
        handle.insert(0, card());

        let begin = Instant::now();
        channel.wait(0, LONG);
        assert_eq!(channel.presence(0), abi::ICC_NOT_PRESENT, "{model}");
        channel.wait(0, LONG);
        assert!(begin.elapsed() < LONG, "{model}: not woken");
        assert_eq!(channel.presence(0), abi::ICC_PRESENT, "{model}");
        let begin = Instant::now();
        channel.wait(0, Duration::from_millis(20));
        assert!(begin.elapsed() >= Duration::from_millis(20), "{model}: no news");
        channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
        channel.set_protocol(0, abi::PROTOCOL_T1).unwrap();
        assert_eq!(
            channel.transmit(0, 1, &command, &mut [0; 258]),
            Ok(102),
            "{model}"
        );
    }
}

/// As after a reset of the device by another process: it is there again at once, under the same name.
#[test]
fn a_reader_that_was_reset_is_opened_again_and_its_card_is_another_one() {
    let (handle, channel, current) = replaceable("gempc-express");
    handle.insert(0, card());
    assert_eq!(channel.presence(0), abi::ICC_PRESENT);
    channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
    channel.set_protocol(0, abi::PROTOCOL_T1).unwrap();

    let again = SimHandle::new(pcsc_sim::SimDevice::named("gempc-express").unwrap());
    again.insert(0, card());
    *lock(&current) = again;
    handle.unplug();
    let transmit = || channel.transmit(0, 1, &[0x80, 0xEE, 0, 100, 100], &mut [0; 258]);
    assert_eq!(transmit(), Err(abi::NO_SUCH_DEVICE));
    // The loss is an event. Its card is not used before pcscd has seen that it is another one.
    for expected in [abi::ICC_NOT_PRESENT, abi::ICC_NOT_PRESENT, abi::ICC_PRESENT] {
        assert!(transmit().is_err());
        channel.wait(0, LONG);
        assert_eq!(channel.presence(0), expected);
    }
    channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
    channel.set_protocol(0, abi::PROTOCOL_T1).unwrap();
    assert_eq!(transmit(), Ok(102));
}

#[test]
fn a_reader_that_pcscd_says_is_gone_is_used_no_more() {
    let (handle, channel) = channel("gempc-express");
    handle.insert(0, card());
    assert_eq!(channel.presence(0), abi::ICC_PRESENT);
    channel.set_attribute(abi::TAG_DEVICE_REMOVED, &[1]).unwrap();
    channel.wait(0, LONG);
    assert_eq!(channel.presence(0), abi::ICC_NOT_PRESENT);
    assert_eq!(
        channel.transmit(0, 1, &[0; 5], &mut [0; 258]),
        Err(abi::NO_SUCH_DEVICE)
    );
    assert_eq!(channel.control(0, 0, &[], &mut []), Err(abi::NO_SUCH_DEVICE));
}

#[test]
fn a_reader_whose_last_slot_was_closed_is_opened_again_when_it_is_needed() {
    let (handle, channel, current) = replaceable("gempc-express");
    handle.insert(0, card());
    assert_eq!(channel.presence(0), abi::ICC_PRESENT);
    *lock(&current) = SimHandle::new(pcsc_sim::SimDevice::named("gempc-express").unwrap());
    channel.close_slot(0);
    assert_eq!(
        channel.presence(0),
        abi::ICC_NOT_PRESENT,
        "the device that is opened next is empty"
    );
}

#[test]
fn a_raw_exchange_chooses_a_protocol_once_and_needs_a_reader_that_takes_apdus() {
    const RAW: Dword = 2;
    let transmit = |channel: &Channel| channel.transmit(0, RAW, &[0x80, 0xEE, 0, 100, 100], &mut [0; 258]);
    let (handle, by_apdu) = channel("au9540");
    handle.insert(0, card());
    by_apdu.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
    assert_eq!(transmit(&by_apdu), Ok(102));
    let sent = || handle.with(|device| device.counters().bulk_out);
    let before = sent();
    assert_eq!(transmit(&by_apdu), Ok(102));
    assert_eq!(sent() - before, 1, "the exchange alone");
    // T=0, which a client has chosen, stays.
    let both = Profile::new(&[Offer::T0, Offer::T1]);
    handle.insert(0, SimCard::good(both, Box::new(Several::demo())));
    by_apdu.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
    by_apdu.set_protocol(0, abi::PROTOCOL_T0).unwrap();
    let before = sent();
    assert_eq!(transmit(&by_apdu), Ok(102));
    assert_eq!(sent() - before, 1, "the exchange alone");
    let (handle, by_tpdu) = channel("gempc-express");
    handle.insert(0, card());
    by_tpdu.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
    assert_eq!(transmit(&by_tpdu), Err(abi::PROTOCOL_NOT_SUPPORTED));
}

/// The wait has a deadline far away, which a reader that cannot be opened shortens.
#[test]
fn a_reader_that_was_lost_is_looked_for_again_and_again() {
    let (handle, channel) = channel("gempc-express");
    handle.unplug();
    assert_ne!(channel.presence(0), abi::ICC_PRESENT);
    let begin = Instant::now();
    channel.wait(0, LONG);
    channel.wait(0, LONG);
    assert!(begin.elapsed() < LONG);
}

/// The card is mute at the speed that it announces. The driver resets it to use a lower speed.
#[test]
fn a_card_that_the_driver_has_reset_gets_no_command_before_pcscd_knows() {
    let (handle, channel) = channel("gempc-express");
    let frail = pcsc_sim::card::named::make("frail", &Arc::default()).unwrap();
    handle.insert(0, frail);
    channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
    channel.set_protocol(0, abi::PROTOCOL_T0).unwrap();
    let transmit = || channel.transmit(0, 0, &[0x80, 0xEE, 0, 100, 100], &mut [0; 258]);
    let sent = || handle.with(|device| device.counters().bulk_out);
    assert_eq!(transmit(), Err(abi::COMMUNICATION_ERROR), "it is reset");
    let before = sent();
    assert_eq!(transmit(), Err(abi::COMMUNICATION_ERROR));
    assert_eq!(sent(), before, "nothing was sent");
    for expected in [abi::ICC_NOT_PRESENT, abi::ICC_PRESENT] {
        channel.wait(0, LONG);
        assert_eq!(channel.presence(0), expected);
    }
    channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
    channel.set_protocol(0, abi::PROTOCOL_T0).unwrap();
    assert_eq!(transmit(), Ok(102));
}

/// pcscd powers a card up without having asked for it, where a client connects before the event thread looks.
#[test]
fn a_card_that_was_powered_and_swapped_is_absent_once() {
    let (handle, channel) = channel("gempc-express");
    handle.insert(0, card());
    channel.power(0, abi::POWER_UP, &mut [0; 33]).unwrap();
    handle.remove(0);
    handle.insert(0, card());
    assert_eq!(channel.presence(0), abi::ICC_NOT_PRESENT);
}

#[test]
fn commands_to_the_reader_that_the_settings_forbid_fail_as_ones_that_it_refuses() {
    use pcsc_ccid::part10::{Feature, VENDOR_IFD_EXCHANGE};

    let (_, channel) = channel("gempc-express");
    for code in [VENDOR_IFD_EXCHANGE, Feature::MctReaderDirect.code()] {
        let answer = channel.control(0, code.into(), &[0], &mut [0; 16]);
        assert_eq!(answer, Err(abi::COMMUNICATION_ERROR), "{code:X}");
    }
    let unknown = channel.control(0, (VENDOR_IFD_EXCHANGE + 77).into(), &[0], &mut [0; 16]);
    assert_eq!(unknown, Err(abi::ERROR_NOT_SUPPORTED));
}
