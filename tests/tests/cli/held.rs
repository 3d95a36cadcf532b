//! A transaction that another program begins while `pcsc` is connected.

use std::sync::atomic::{AtomicBool, Ordering};

use pcsc_constants::SCARD_E_SHARING_VIOLATION;
use pcsc_tests::scripted::{Answer, Scripted};
use pcsc_wire::RequestCode as Call;

use super::*;

/// A daemon on which another program begins a transaction after the first APDU, and never ends it.
fn held_after_an_apdu() -> Scripted {
    let is_held = AtomicBool::new(false);
    Scripted::with(4, move |call, mut answer, _| {
        let waits = [
            Call::BeginTransaction,
            Call::Transmit,
            Call::Reconnect,
            Call::Status,
        ]
        .contains(&call);
        if waits && is_held.load(Ordering::SeqCst) {
            if call == Call::Transmit {
                answer.truncate(<pcsc_wire::TransmitBody as pcsc_wire::Body>::SIZE);
            }
            // The return code is the last field of each body.
            let at = answer.len() - 4;
            answer[at..].copy_from_slice(&SCARD_E_SHARING_VIOLATION.to_ne_bytes());
        } else if call == Call::Transmit {
            is_held.store(true, Ordering::SeqCst);
        }
        Answer::Send(answer)
    })
}

#[test]
fn an_apdu_does_not_wait_longer_for_a_transaction_than_asked() {
    for next in ["00B00000", "reset"] {
        let daemon = held_after_an_apdu();
        // The scripted card answers with the command itself.
        let arguments = ["apdu", "--timeout", "0.2", "00A400009000=", next];
        let output = run(&mut pcsc_at(daemon.path(), &arguments), LIMIT);
        assert!(!output.timed_out, "{next}: it waits for ever");
        assert_eq!(output.status.code(), Some(5), "{next}: {output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text.matches("90 00 (success)").count(), 1, "{next}: {text}");
        has(
            &String::from_utf8_lossy(&output.stderr),
            &["Another program holds the card in a transaction, which did not end within 0.2 seconds."],
        );
    }
}

#[test]
fn what_auto_sends_is_in_the_same_transaction() {
    // 61XX is answered with GET RESPONSE, which is sent though the other program waits.
    let calls = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = calls.clone();
    let daemon = Scripted::with(4, move |call, mut answer, _| {
        let mut seen = seen.lock().expect("the test's lock");
        if call == Call::Transmit {
            let is_first = !seen.contains(&Call::Transmit);
            let at = answer.len() - 2;
            answer[at..].copy_from_slice(if is_first { &[0x61, 0x05] } else { &[0x90, 0x00] });
        }
        if [Call::BeginTransaction, Call::Transmit, Call::EndTransaction].contains(&call) {
            seen.push(call);
        }
        Answer::Send(answer)
    });
    let output = run(
        &mut pcsc_at(daemon.path(), &["apdu", "--auto", "00CA00009000"]),
        LIMIT,
    );
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let calls = calls.lock().expect("the test's lock");
    let expected = [
        Call::BeginTransaction,
        Call::Transmit,
        Call::Transmit,
        Call::EndTransaction,
    ];
    assert_eq!(*calls, expected);
}
