//! What threads that share a reader learn of its cards.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use common::liar::Liar;
use common::{card, identity, interface, named};
use pcsc_ccid::reader::{Options, Presence, Reader};
use pcsc_ccid::shared::{Notifications, OpenedReader, SharedError, SharedReader};
use pcsc_ccid::transport;
use pcsc_sim::card::{Behaviour, Offer};
use pcsc_sim::Handle;

const GET_SLOT_STATUS: u8 = 0x65;
/// Messages of the interrupt pipe about the first slot (CCID 1.1, clause 6.3.1).
const EMPTY: [u8; 2] = [0x50, 0b10];
const PRESENT: [u8; 2] = [0x50, 0b11];

#[test]
fn a_swap_is_reported_by_the_poll_after_one_that_failed() {
    let device = named("scr3310");
    let (interface, identity) = (interface(device.model()), identity(device.model()));
    let handle = Handle::new(device);
    handle.insert(0, card(None, &[Offer::T0], Behaviour::default()));
    let fails = Arc::new(AtomicBool::new(false));
    let (at, is_asked) = (handle.clone(), fails.clone());
    let open = move |_| {
        let is_asked = is_asked.clone();
        let liar = Liar::new(at.transport(), move |command, reply| {
            let is_status = command.first() == Some(&GET_SLOT_STATUS);
            match is_status && is_asked.swap(false, Ordering::Relaxed) {
                true => Err(transport::Error::Timeout),
                false => Ok(reply),
            }
        });
        let reader = Reader::open(
            Box::new(liar) as _,
            identity.clone(),
            &interface,
            Options::default(),
        );
        Ok(OpenedReader {
            reader: reader.map_err(SharedError::opening)?,
            notifications: Notifications::Pushed,
            cancel: None,
            senders: Vec::new(),
        })
    };
    let shared = SharedReader::new(1, Box::new(open));
    assert_eq!(shared.presence(0), Ok(Presence::Present));
    shared.events().notify(&EMPTY);
    shared.events().notify(&PRESENT);
    fails.store(true, Ordering::Relaxed);
    assert!(matches!(shared.presence(0), Err(SharedError::Reader(_))));
    assert_eq!(shared.presence(0), Ok(Presence::Replaced));
    assert_eq!(shared.presence(0), Ok(Presence::Present));
}
