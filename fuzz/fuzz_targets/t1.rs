//! T=1 against a card that sends anything: every exchange ends, within its limits, and so does the next
//! one. A byte of choices and the card's information field size, then what the card sends, each block after
//! its length and without its check.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::t1::{Block, Config, Edc, Engine, T1Action, MAX_BLOCK};

/// A block that is read is written back.
fn block(bytes: &[u8], edc: Edc) {
    if let Ok(block) = Block::decode(bytes, edc) {
        let mut out = [0; MAX_BLOCK];
        let length = block.encode(edc, &mut out);
        assert_eq!(&out[..length], bytes);
    }
}

/// Runs one exchange to its end; gives what is left of the card's blocks.
fn exchange<'a>(engine: &mut Engine, mut rest: &'a [u8], choices: u8) -> &'a [u8] {
    let edc = engine.config().edc;
    let command = [0x5A; 300];
    let mut response = [0; 600];
    let mut exchange = if choices & 0x04 == 0 {
        engine.exchange(&command, &mut response)
    } else {
        engine.negotiate()
    };
    let shortest = if choices & 0x04 == 0 { 2 } else { 0 };
    let mut action = exchange.start();
    for _ in 0..100_000 {
        match action {
            T1Action::Done(length) => {
                assert!((shortest..=600).contains(&length));
                return rest;
            }
            T1Action::Failed(_) => return rest,
            T1Action::Send { wait } => assert!(wait > 0),
        }
        let sent = exchange.block();
        assert!((3 + edc.size()..=MAX_BLOCK).contains(&sent.len()));
        Block::decode(sent, edc).expect("what is sent is a block");
        action = match rest.split_first() {
            None => exchange.on_timeout(),
            Some((0xFF, more)) => {
                rest = more;
                exchange.on_parity_error()
            }
            Some((&length, more)) => {
                let (bytes, more) = more.split_at(usize::from(length).min(more.len()));
                rest = more;
                // A right check, so that the fuzzer gets behind it.
                let whole = [bytes, &edc.compute(bytes)[..edc.size()]].concat();
                block(&whole, edc);
                exchange.on_block(&whole)
            }
        };
    }
    panic!("the exchange does not end");
}

fuzz_target!(|bytes: &[u8]| {
    block(bytes, Edc::Lrc);
    block(bytes, Edc::Crc);
    let [choices, ifsc, rest @ ..] = bytes else {
        return;
    };
    let config = Config {
        edc: if choices & 0x01 == 0 { Edc::Lrc } else { Edc::Crc },
        nad: if choices & 0x02 == 0 { 0 } else { 0x21 },
        ifsc: *ifsc,
        ..Config::default()
    };
    let mut engine = Engine::new(config);
    let rest = exchange(&mut engine, rest, *choices);
    exchange(&mut engine, rest, 0);
    assert!((1..=254).contains(&engine.ifsc()) && (1..=254).contains(&engine.ifsd()));
});
