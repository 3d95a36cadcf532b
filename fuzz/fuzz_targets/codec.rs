//! The codec of the socket protocol, both directions: whatever the bytes, no panic; what is read is written
//! back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_wire::{
    Body, Command, Endian, Header, NameSize, Progress, ReaderState, ReaderStates, StateBatch, Version,
    VersionExchange,
};

fn round_trip<B: Body>(bytes: &[u8], endian: Endian) {
    if let Some(body) = B::parse(bytes, endian) {
        let mut out = vec![0; B::SIZE];
        body.emit(endian, &mut out);
        assert_eq!(out, &bytes[..B::SIZE]);
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choice, bytes)) = bytes.split_first() else {
        return;
    };
    let endian = if choice & 0x80 == 0 {
        Endian::Little
    } else {
        Endian::Big
    };
    // A client reads a daemon's replies.
    let version = Version {
        major: 4,
        minor: 3 + i32::from(choice & 3),
    };
    let batch = StateBatch {
        endian,
        version,
        answered: version,
        slots: (choice & 4 != 0).then_some(usize::from(choice >> 5 & 3)),
        wait: choice & 8 != 0,
        events: choice & 16 != 0,
    };
    match batch.parse(bytes) {
        Progress::More(missing) => assert!(missing > 0),
        Progress::Done(parsed) => {
            assert!(parsed.consumed <= bytes.len());
            let states = ReaderStates::new(&bytes[parsed.states], endian);
            for reader in states.readers() {
                assert!(reader.atr.len() <= 33 && !reader.name.is_empty());
                assert_eq!(ReaderState::parse(&reader.to_bytes(endian), endian), Some(reader));
            }
        }
        Progress::OutOfStep(_) => (),
    }
    let told = VersionExchange::new(version).to_bytes(endian);
    match NameSize::parse(bytes, &told) {
        NameSize::More(missing) => assert!(missing > 0),
        NameSize::Long { consumed, .. } => assert!(bytes[..consumed].ends_with(&told)),
        NameSize::Short | NameSize::OutOfStep => (),
    }
    // A daemon reads a client's requests.
    if let Some(header) = Header::parse(bytes, endian) {
        assert_eq!(header.to_bytes(endian), bytes[..Header::SIZE]);
        let body = &bytes[Header::SIZE..];
        match Command::from_code(header.command) {
            Some(Command::EstablishContext) => round_trip::<pcsc_wire::Establish>(body, endian),
            Some(Command::ReleaseContext) => round_trip::<pcsc_wire::Release>(body, endian),
            Some(Command::Connect) => round_trip::<pcsc_wire::Connect>(body, endian),
            Some(Command::Reconnect) => round_trip::<pcsc_wire::Reconnect>(body, endian),
            Some(Command::Disconnect) => round_trip::<pcsc_wire::Disconnect>(body, endian),
            Some(Command::BeginTransaction) => round_trip::<pcsc_wire::BeginTransaction>(body, endian),
            Some(Command::EndTransaction) => round_trip::<pcsc_wire::EndTransaction>(body, endian),
            Some(Command::Transmit) => round_trip::<pcsc_wire::Transmit>(body, endian),
            Some(Command::Control) => round_trip::<pcsc_wire::Control>(body, endian),
            Some(Command::Status) => round_trip::<pcsc_wire::Status>(body, endian),
            Some(Command::Cancel) => round_trip::<pcsc_wire::Cancel>(body, endian),
            Some(Command::GetAttrib | Command::SetAttrib) => round_trip::<pcsc_wire::Attribute>(body, endian),
            Some(Command::Version) => round_trip::<pcsc_wire::VersionExchange>(body, endian),
            Some(Command::WaitReaderStateChange) => round_trip::<pcsc_wire::Event>(body, endian),
            _ => (),
        }
    }
});
