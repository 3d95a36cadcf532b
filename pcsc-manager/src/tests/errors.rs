//! What a client gets for each error of the driver.

use super::*;

const RESET: u32 = 1;
const UNPOWER: u32 = 2;
const CARD: ConnectionHandle = 1;

/// A slot with a card, whose calls fail if an error is set.
#[derive(Clone, Default)]
struct Failing(Arc<Mutex<Option<SlotError>>>);

impl Failing {
    fn answer<T>(&self, answer: T) -> Result<T, SlotError> {
        lock(&self.0).map_or(Ok(answer), Err)
    }
}

impl Slot for Failing {
    fn presence(&mut self) -> Result<Presence, SlotError> {
        Ok(Presence::Present)
    }

    fn power_up(&mut self, _warm: bool, _deadline: Option<Instant>) -> Result<Powered, SlotError> {
        self.answer(Powered {
            atr: ATR.into(),
            offered: 2,
            first: 2,
        })
    }

    fn power_down(&mut self) -> Result<(), SlotError> {
        Ok(())
    }

    fn set_protocol(&mut self, _protocol: u32, _deadline: Option<Instant>) -> Result<(), SlotError> {
        self.answer(())
    }

    fn transmit(&mut self, _: &[u8], _: &mut [u8], _: Option<Instant>) -> Result<usize, SlotError> {
        self.answer(2)
    }

    fn control(&mut self, _: u32, _: &[u8], _: &mut [u8], _: Option<Instant>) -> Result<usize, SlotError> {
        self.answer(2)
    }

    fn get_attribute(&mut self, _: u32, _: &mut [u8]) -> Result<usize, SlotError> {
        self.answer(2)
    }

    fn set_attribute(&mut self, _: u32, _: &[u8]) -> Result<(), SlotError> {
        self.answer(())
    }
}

const ALL: [SlotError; 11] = [
    SlotError::NoDevice,
    SlotError::NoCard,
    SlotError::Mute,
    SlotError::ProtocolUnsupported,
    SlotError::Unsupported,
    SlotError::BufferTooSmall,
    SlotError::TimedOut,
    SlotError::NotStarted,
    SlotError::Busy,
    SlotError::Reset,
    SlotError::Communication,
];

/// Makes a call with a reader whose driver fails, once for each error. `prepare` is called with the
/// connection before that. `special` has what each error becomes, if it is not `other`.
fn expect(
    what: &str,
    prepare: impl Fn(&ManagedReader),
    call: impl Fn(&ManagedReader) -> Result<(), CallError>,
    special: &[(SlotError, CallError)],
    other: CallError,
) {
    let with = |error| {
        let slot = Failing::default();
        let watch = Arc::<ManagerBench>::default();
        let reader = reader("R", slot.clone(), watch);
        reader.poll();
        reader.connect(CARD, SHARED, ANY, None, &|| false).unwrap();
        prepare(&reader);
        *lock(&slot.0) = error;
        call(&reader)
    };
    assert_eq!(with(None), Ok(()), "{what}");
    for error in ALL {
        let found = special.iter().find(|(special, _)| *special == error);
        let expected = found.map_or(other, |(_, expected)| *expected);
        assert_eq!(with(Some(error)), Err(expected), "{what}: {error:?}");
    }
}

const TOO_SMALL: (SlotError, CallError) = (
    SlotError::BufferTooSmall,
    CallError::InsufficientBuffer { needed: 0 },
);
const NO_DEVICE: (SlotError, CallError) = (SlotError::NoDevice, CallError::ReaderUnavailable);
const UNSUPPORTED: (SlotError, CallError) = (SlotError::Unsupported, CallError::UnsupportedFeature);
const TIMED_OUT: (SlotError, CallError) = (SlotError::TimedOut, CallError::Timeout);
const NOT_STARTED: (SlotError, CallError) = (SlotError::NotStarted, CallError::Timeout);

#[test]
fn errors_of_an_exchange_a_control_request_and_an_attribute() {
    let nothing = |_: &ManagedReader| ();
    expect(
        "transmit",
        nothing,
        |reader| reader.transmit(CARD, 2, &[0; 4], &mut [0; 2], None).map(drop),
        &[
            NO_DEVICE,
            (SlotError::NoCard, CallError::NoSmartcard),
            TOO_SMALL,
            (SlotError::Reset, CallError::ResetCard),
            TIMED_OUT,
            NOT_STARTED,
        ],
        CallError::NotTransacted,
    );
    expect(
        "control",
        nothing,
        |reader| reader.control(CARD, 0, &[], &mut [0; 2], None).map(drop),
        &[NO_DEVICE, UNSUPPORTED, TOO_SMALL, TIMED_OUT, NOT_STARTED],
        CallError::NotTransacted,
    );
    expect(
        "get an attribute",
        nothing,
        |reader| reader.get_attribute(CARD, 1, &mut [0; 2]).map(drop),
        &[UNSUPPORTED, TOO_SMALL],
        CallError::NotTransacted,
    );
    expect(
        "set an attribute",
        nothing,
        |reader| reader.set_attribute(CARD, 1, &[]),
        &[UNSUPPORTED],
        CallError::NotTransacted,
    );
}

#[test]
fn errors_of_a_reset() {
    expect(
        "end a transaction",
        |reader| reader.begin(CARD, None, &|| false).unwrap(),
        |reader| reader.end_transaction(CARD, RESET),
        &[(SlotError::NoCard, CallError::RemovedCard), NO_DEVICE],
        CallError::NotTransacted,
    );
    expect(
        "reconnect",
        |_| (),
        |reader| reader.reconnect(CARD, SHARED, ANY, RESET, None).map(drop),
        &[
            (SlotError::NoCard, CallError::NoSmartcard),
            NO_DEVICE,
            TIMED_OUT,
            NOT_STARTED,
        ],
        CallError::UnresponsiveCard,
    );
}

#[test]
fn errors_of_a_connection() {
    let connect = |reader: &ManagedReader| reader.connect(CARD, SHARED, ANY, None, &|| false).map(drop);
    expect(
        "power up",
        |reader| reader.disconnect(CARD, UNPOWER, &|| false).unwrap(),
        connect,
        &[NO_DEVICE, TIMED_OUT, NOT_STARTED],
        CallError::UnpoweredCard,
    );
    expect(
        "choose a protocol",
        |reader| reader.disconnect(CARD, RESET, &|| false).unwrap(),
        connect,
        &[
            (SlotError::NoCard, CallError::NoSmartcard),
            TIMED_OUT,
            NOT_STARTED,
        ],
        CallError::UnresponsiveCard,
    );
}
