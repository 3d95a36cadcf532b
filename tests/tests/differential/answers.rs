//! What the two libraries make of answers that pcscd does not give: any code, any number, from a daemon of
//! the test's that both can speak to.

use std::time::Duration;

use pcsc_tests::scripted::{Answer, Scripted};
use pcsc_tests::{artifacts, client, run};
use pcsc_wire::{
    AttributeBody, BeginTransactionBody, Body, ConnectBody, ControlBody, DisconnectBody, EndTransactionBody,
    Endian, EstablishBody, ReconnectBody, ReleaseBody, RequestCode, StatusBody, TransmitBody,
};

use super::{compare_lines, program};

/// What to do to an answer, with a number.
type Change = fn(&mut Vec<u8>, u32);

/// The protocol of Debian's library.
const MINOR: i32 = 4;

/// What both libraries print for a daemon that answers requests of a kind with these bytes.
fn compare(kind: RequestCode, change: Change, number: u32) {
    let [stock, ours] = [false, true].map(|is_ours| {
        let daemon = Scripted::with(MINOR, move |code, mut answer, _| {
            if code == kind {
                change(&mut answer, number);
            }
            Answer::Send(answer)
        });
        let mut command = client(program());
        command
            .arg("answers")
            .env("PCSCLITE_CSOCK_NAME", daemon.path())
            .env("PCSCLITE_NO_BLOCKING", "1");
        if is_ours {
            command.env("LD_LIBRARY_PATH", artifacts::library_folder());
        }
        let text = run(&mut command, Duration::from_secs(60)).stdout();
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    });
    println!("{kind:?} with {number:#x}");
    compare_lines("answers", &stock, &ours, &[], &[]);
}

/// An answer's return code, which ends its body, in place of what follows it.
fn fail<B: Body>(answer: &mut Vec<u8>, code: u32) {
    answer.truncate(B::SIZE - 4);
    answer.extend(code.to_ne_bytes());
}

/// The answer to a connect, as pcscd refuses one.
fn refuse(answer: &mut [u8], code: u32) {
    change::<ConnectBody>(answer, |body| (body.card, body.rv) = (0, code));
}

/// An answer's numbers in front of its return code.
fn change<B: Body>(answer: &mut [u8], change: impl FnOnce(&mut B)) {
    let mut body = B::parse(answer, Endian::NATIVE).expect("a whole body");
    change(&mut body);
    body.emit(Endian::NATIVE, answer);
}

#[test]
fn every_code_for_every_call() {
    let kinds: [(RequestCode, Change); 12] = [
        (RequestCode::EstablishContext, fail::<EstablishBody>),
        (RequestCode::ReleaseContext, fail::<ReleaseBody>),
        (RequestCode::Connect, |answer, code| refuse(answer, code)),
        (RequestCode::Reconnect, fail::<ReconnectBody>),
        (RequestCode::Disconnect, fail::<DisconnectBody>),
        (RequestCode::BeginTransaction, fail::<BeginTransactionBody>),
        (RequestCode::EndTransaction, fail::<EndTransactionBody>),
        (RequestCode::Status, fail::<StatusBody>),
        (RequestCode::Transmit, fail::<TransmitBody>),
        (RequestCode::Control, fail::<ControlBody>),
        (RequestCode::GetAttrib, fail::<AttributeBody>),
        (RequestCode::SetAttrib, fail::<AttributeBody>),
    ];
    // SCARD_F_INTERNAL_ERROR, INSUFFICIENT_BUFFER, SHARING_VIOLATION, NO_SERVICE, RESET_CARD, and no codes.
    for code in [
        0x8010_0001,
        0x8010_0008,
        0x8010_000B,
        0x8010_001D,
        0x8010_0068,
        1,
        0xFFFF_FFFF,
    ] {
        for (kind, fail) in kinds {
            match (kind, code) {
                // The beginning of a transaction waits until it meets none.
                (RequestCode::BeginTransaction, 0x8010_000B) => (),
                // Stock takes this one for its own.
                (RequestCode::Status, 0x8010_0008) => (),
                _ => compare(kind, fail, code),
            }
        }
    }
}

#[test]
fn numbers_that_no_daemon_gives() {
    for number in [0, 1, 7, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF] {
        compare(
            RequestCode::Connect,
            |answer, number| change::<ConnectBody>(answer, |body| body.active = number),
            number,
        );
        compare(
            RequestCode::Reconnect,
            |answer, number| change::<ReconnectBody>(answer, |body| body.active = number),
            number,
        );
        compare(
            RequestCode::Transmit,
            |answer, number| {
                change::<TransmitBody>(answer, |body| {
                    (body.receive_protocol, body.receive_pci_length) = (number, number);
                });
            },
            number,
        );
    }
    for number in [0, 3, 4, 263, 264] {
        compare(
            RequestCode::GetAttrib,
            |answer, number| change::<AttributeBody>(answer, |body| body.length = number),
            number,
        );
    }
}
