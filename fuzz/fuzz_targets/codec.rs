//! The codec of the socket protocol, both directions: whatever the bytes, no panic; what is read is written
//! back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_wire::{
    Body, Endian, Header, NameSize, Progress, ReaderStateRecord, ReaderStateRecords, RequestCode, StateBatch,
    Version, VersionBody,
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
            let states = ReaderStateRecords::new(&bytes[parsed.states], endian);
            for reader in states.readers() {
                assert!(reader.atr.len() <= 33 && !reader.name.is_empty());
                assert_eq!(
                    ReaderStateRecord::parse(&reader.to_bytes(endian), endian),
                    Some(reader)
                );
            }
        }
        Progress::OutOfStep(_) => (),
    }
    let told = VersionBody::new(version).to_bytes(endian);
    match NameSize::parse(bytes, &told) {
        NameSize::More(missing) => assert!(missing > 0),
        NameSize::Long { consumed, .. } => assert!(bytes[..consumed].ends_with(&told)),
        NameSize::Short | NameSize::OutOfStep => (),
    }
    // A daemon reads a client's requests.
    if let Some(header) = Header::parse(bytes, endian) {
        assert_eq!(header.to_bytes(endian), bytes[..Header::SIZE]);
        let body = &bytes[Header::SIZE..];
        match RequestCode::from_code(header.command) {
            Some(RequestCode::EstablishContext) => round_trip::<pcsc_wire::EstablishBody>(body, endian),
            Some(RequestCode::ReleaseContext) => round_trip::<pcsc_wire::ReleaseBody>(body, endian),
            Some(RequestCode::Connect) => round_trip::<pcsc_wire::ConnectBody>(body, endian),
            Some(RequestCode::Reconnect) => round_trip::<pcsc_wire::ReconnectBody>(body, endian),
            Some(RequestCode::Disconnect) => round_trip::<pcsc_wire::DisconnectBody>(body, endian),
            Some(RequestCode::BeginTransaction) => {
                round_trip::<pcsc_wire::BeginTransactionBody>(body, endian)
            }
            Some(RequestCode::EndTransaction) => round_trip::<pcsc_wire::EndTransactionBody>(body, endian),
            Some(RequestCode::Transmit) => round_trip::<pcsc_wire::TransmitBody>(body, endian),
            Some(RequestCode::Control) => round_trip::<pcsc_wire::ControlBody>(body, endian),
            Some(RequestCode::Status) => round_trip::<pcsc_wire::StatusBody>(body, endian),
            Some(RequestCode::Cancel) => round_trip::<pcsc_wire::CancelBody>(body, endian),
            Some(RequestCode::GetAttrib | RequestCode::SetAttrib) => {
                round_trip::<pcsc_wire::AttributeBody>(body, endian)
            }
            Some(RequestCode::Version) => round_trip::<pcsc_wire::VersionBody>(body, endian),
            Some(RequestCode::WaitReaderStateChange) => round_trip::<pcsc_wire::EventBody>(body, endian),
            _ => (),
        }
    }
});
