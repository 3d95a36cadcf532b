//! A shared device: time, events, notifications.

use super::*;
use crate::reader::{SimEvent, SimHandle};
use pcsc_ccid::shared::InterruptSource;
use pcsc_ccid::transport::{Transport, TransportError};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const STATUS: [u8; 10] = [0x65, 0, 0, 0, 0, 0, 7, 0, 0, 0];
const SECOND: Duration = Duration::from_secs(1);

/// A handle of a reader whose card takes 3000 etu for an answer, with power, and a command under way.
fn under_way() -> SimHandle {
    let handle = SimHandle::new(SimDevice::named("omnikey-5321").unwrap());
    let behaviour = Behaviour {
        work: 3000,
        ..Behaviour::default()
    };
    handle.insert(0, card(&[Offer::T0], None, behaviour));
    let mut transport = handle.transport();
    transport
        .send(&message(0x62, 0, 0, [1, 0, 0], &[]), SECOND)
        .unwrap();
    transport.receive(&mut [0; 300], SECOND).unwrap();
    let select = message(0x6F, 0, 4, [0, 0, 0], &[0, 0xA4, 4, 0, 1, 0xA0]);
    transport.send(&select, SECOND).unwrap();
    handle
}

fn receive(handle: &SimHandle, timeout: Duration) -> Result<Vec<u8>, TransportError> {
    let mut buffer = [0; 300];
    let length = handle.transport().receive(&mut buffer, timeout)?;
    Ok(buffer[..length].to_vec())
}

#[test]
fn a_wait_takes_the_devices_time_and_none_of_ours() {
    let handle = under_way();
    let begun = handle.transport().now();
    let short = Duration::from_millis(10);
    assert_eq!(receive(&handle, short), Err(TransportError::Timeout));
    assert_eq!(handle.transport().now(), begun + short);
    assert_eq!(receive(&handle, SECOND).unwrap()[7], 0);
    assert!(handle.transport().now() < begun + SECOND);
    assert_eq!(
        receive(&handle, Duration::from_secs(86_400)),
        Err(TransportError::Timeout)
    );
    handle.transport().pause(SECOND).unwrap();
    assert!(handle.transport().now() > begun + Duration::from_secs(86_400));
}

#[test]
fn a_device_that_has_waited_without_end_still_answers() {
    let handle = under_way();
    receive(&handle, SECOND).unwrap();
    handle.transport().pause(Duration::MAX).unwrap();
    let select = message(0x6F, 0, 5, [0, 0, 0], &[0, 0xA4, 4, 0, 1, 0xA0]);
    handle.transport().send(&select, SECOND).unwrap();
    assert_eq!(receive(&handle, SECOND).unwrap()[6], 5);
}

#[test]
fn things_happen_in_the_middle_of_a_wait() {
    let at = |handle: &SimHandle| handle.transport().now() + Duration::from_millis(20);
    let handle = under_way();
    handle.schedule(at(&handle), SimEvent::Remove(0));
    assert_eq!(receive(&handle, SECOND).unwrap()[7..9], [0x42, 0xFE]);
    let handle = under_way();
    handle.schedule(at(&handle), SimEvent::Unplug);
    assert_eq!(receive(&handle, SECOND), Err(TransportError::Gone));
    assert_eq!(handle.transport().pause(SECOND), Err(TransportError::Gone));
    let handle = under_way();
    handle.schedule(at(&handle), SimEvent::Cancel);
    assert_eq!(receive(&handle, SECOND), Err(TransportError::Cancelled));
    assert_eq!(receive(&handle, SECOND).unwrap()[7], 0, "the next wait works");
    handle.schedule(
        at(&handle),
        SimEvent::Insert(0, Box::new(good(&[Offer::T0], None))),
    );
    assert_eq!(receive(&handle, SECOND), Err(TransportError::Timeout));
    handle.transport().send(&STATUS, SECOND).unwrap();
    assert_eq!(
        receive(&handle, SECOND).unwrap()[7],
        1,
        "a new card, without power"
    );
    handle.schedule(at(&handle), SimEvent::Cancel);
    assert_eq!(handle.transport().pause(SECOND), Err(TransportError::Cancelled));
}

#[test]
fn a_watch_waits_for_what_the_device_notifies() {
    let handle = SimHandle::new(SimDevice::named("scr3310").unwrap());
    let mut watch = handle.watch();
    let interrupt = watch.interrupter();
    let (seen, sights) = mpsc::channel();
    let watcher = thread::spawn(move || loop {
        let mut bytes = Vec::new();
        let result = watch.next(None, &mut |message| bytes = message.to_vec());
        let is_last = result.is_err();
        seen.send(result.map(|()| bytes)).unwrap();
        if is_last {
            return watch;
        }
    });
    handle.insert(0, good(&[Offer::T0], None));
    assert_eq!(sights.recv(), Ok(Ok(vec![0x50, 0x03])));
    handle.remove(0);
    assert_eq!(sights.recv(), Ok(Ok(vec![0x50, 0x02])));
    interrupt();
    assert_eq!(sights.recv(), Ok(Err(TransportError::Cancelled)));
    let mut watch = watcher.join().unwrap();
    let mut next = |deadline| watch.next(deadline, &mut |_| ());
    // One wait was interrupted.
    assert_eq!(
        next(Some(std::time::Instant::now())),
        Err(TransportError::Timeout)
    );
    interrupt();
    assert_eq!(next(None), Err(TransportError::Cancelled));
    handle.unplug();
    assert_eq!(next(None), Err(TransportError::Gone));
}
