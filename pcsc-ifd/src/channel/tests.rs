use super::*;
use pcsc_ccid::descriptor;
use pcsc_ccid::reader::{DeviceInfo, Options, Reader};
use pcsc_ccid::shared::sync::lock;
use pcsc_ccid::shared::{Notifications, OpenedReader};
use pcsc_ccid::transport::Transport;
use pcsc_sim::card::{apps::Several, Offer, Profile, SimCard};
use pcsc_sim::{Event, Handle, Model};
use std::sync::Mutex;

const LONG: Duration = Duration::from_secs(10);

fn card() -> SimCard {
    SimCard::good(Profile::new(&[Offer::T1]), Box::new(Several::demo()))
}

fn channel(model: &str) -> (Handle, Channel) {
    let (handle, channel, _) = replaceable(model);
    (handle, channel)
}

/// A reader, and the device that is opened next.
fn replaceable(model: &str) -> (Handle, Channel, Arc<Mutex<Handle>>) {
    let device = pcsc_sim::Device::named(model).unwrap();
    let configuration = Model::configuration_descriptor(&[device.model()], 4);
    let interface = descriptor::interfaces(&configuration).remove(0).unwrap();
    let handle = Handle::new(device);
    let current = Arc::new(Mutex::new(handle.clone()));
    let next = current.clone();
    let open = move |_| {
        let transport: Box<dyn Transport> = Box::new(lock(&next).transport());
        let reader = Reader::open(transport, DeviceInfo::default(), &interface, Options::default());
        Ok(OpenedReader {
            reader: reader.map_err(SharedError::opening)?,
            notifications: Notifications::Pushed,
            cancel: None,
            senders: Vec::new(),
        })
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
        handle.schedule(soon, Event::Remove(0));
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

    let again = Handle::new(pcsc_sim::Device::named("gempc-express").unwrap());
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
    channel.set_removed();
    channel.wait(0, LONG);
    assert_eq!(channel.presence(0), abi::ICC_NOT_PRESENT);
    assert_eq!(
        channel.transmit(0, 1, &[0; 5], &mut [0; 258]),
        Err(abi::NO_SUCH_DEVICE)
    );
    assert_eq!(channel.control(0, 0, &[], &mut []), Err(abi::NO_SUCH_DEVICE));
}
