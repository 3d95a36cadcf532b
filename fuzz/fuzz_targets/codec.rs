//! The codec of the socket protocol, both directions: whatever the bytes, no panic; what is read is written
//! back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_wire::{
    Body, Command, Header, NameSize, Progress, ReaderState, ReaderStates, StateBatch, Version,
    VersionExchange,
};

fn round_trip<B: Body>(bytes: &[u8]) {
    if let Some(body) = B::parse(bytes) {
        let mut out = vec![0; B::SIZE];
        body.emit(&mut out);
        assert_eq!(out, &bytes[..B::SIZE]);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else {
        return;
    };
    // A client reads a daemon's replies.
    let version = Version {
        major: 4,
        minor: 3 + i32::from(choice & 3),
    };
    let batch = StateBatch {
        version,
        answered: version,
        slots: (choice & 4 != 0).then_some(usize::from(choice >> 5)),
        wait: choice & 8 != 0,
        events: choice & 16 != 0,
    };
    match batch.parse(bytes) {
        Progress::More(missing) => assert!(missing > 0),
        Progress::Done(parsed) => {
            assert!(parsed.consumed <= bytes.len());
            let states = ReaderStates::new(&bytes[parsed.states]);
            for reader in states.readers() {
                assert!(reader.atr.len() <= 33 && !reader.name.is_empty());
                assert_eq!(ReaderState::parse(&reader.to_bytes()), Some(reader));
            }
        }
        Progress::OutOfStep(_) => (),
    }
    let told = VersionExchange::new(version).to_bytes();
    match NameSize::parse(bytes, &told) {
        NameSize::More(missing) => assert!(missing > 0),
        NameSize::Long { consumed, .. } => assert!(bytes[..consumed].ends_with(&told)),
        NameSize::Short | NameSize::OutOfStep => (),
    }
    // A daemon reads a client's requests.
    if let Some(header) = Header::parse(bytes) {
        assert_eq!(header.to_bytes(), bytes[..Header::SIZE]);
        let body = &bytes[Header::SIZE..];
        match Command::from_code(header.command) {
            Some(Command::EstablishContext) => round_trip::<pcsc_wire::Establish>(body),
            Some(Command::ReleaseContext) => round_trip::<pcsc_wire::Release>(body),
            Some(Command::Connect) => round_trip::<pcsc_wire::Connect>(body),
            Some(Command::Reconnect) => round_trip::<pcsc_wire::Reconnect>(body),
            Some(Command::Disconnect) => round_trip::<pcsc_wire::Disconnect>(body),
            Some(Command::BeginTransaction) => round_trip::<pcsc_wire::BeginTransaction>(body),
            Some(Command::EndTransaction) => round_trip::<pcsc_wire::EndTransaction>(body),
            Some(Command::Transmit) => round_trip::<pcsc_wire::Transmit>(body),
            Some(Command::Control) => round_trip::<pcsc_wire::Control>(body),
            Some(Command::Status) => round_trip::<pcsc_wire::Status>(body),
            Some(Command::Cancel) => round_trip::<pcsc_wire::Cancel>(body),
            Some(Command::GetAttrib | Command::SetAttrib) => round_trip::<pcsc_wire::Attribute>(body),
            Some(Command::Version) => round_trip::<pcsc_wire::VersionExchange>(body),
            Some(Command::WaitReaderStateChange) => round_trip::<pcsc_wire::Event>(body),
            _ => (),
        }
    }
});
