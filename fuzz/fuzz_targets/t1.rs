//! T=1 against a card that sends anything: every exchange ends, within its limits.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::t1::{Action, Config, Engine};

fuzz_target!(|bytes: &[u8]| {
    let mut engine = Engine::new(Config::default());
    let mut response = [0; 600];
    let command = [0x5A; 300];
    let mut exchange = engine.exchange(&command, &mut response);
    let mut action = exchange.start();
    let mut rest = bytes;
    for _ in 0..100_000 {
        match action {
            Action::Done(length) => {
                assert!((2..=600).contains(&length));
                return;
            }
            Action::Failed(_) => return,
            Action::Send { .. } => (),
        }
        let sent = exchange.block().len();
        assert!((4..=259).contains(&sent));
        action = match rest.split_first() {
            None => exchange.on_timeout(),
            Some((0xFF, more)) => {
                rest = more;
                exchange.on_parity_error()
            }
            Some((&length, more)) => {
                let (block, more) = more.split_at(usize::from(length).min(more.len()));
                rest = more;
                // A right check byte, so that the fuzzer gets behind it.
                let sum = block.iter().fold(0, |sum, byte| sum ^ byte);
                exchange.on_block(&[block, &[sum]].concat())
            }
        };
    }
    panic!("the exchange does not end");
});
