//! T=0 against a card that sends anything: every exchange ends, within its limits. A byte of choices, the
//! command APDU after its length, then what the card sends, each piece after its length.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pcsc_ccid::apdu::{self, CommandApdu};
use pcsc_ccid::t0::{
    Character, CharacterAction, DataDirection, StatusWordPolicy, T0Action, T0Error, T0Exchange, MAX_TPDU,
    MAX_TPDU_RESPONSE,
};

/// What the card sends, piece by piece; nothing at the end.
struct Card<'a>(&'a [u8]);

impl<'a> Card<'a> {
    fn piece(&mut self) -> &'a [u8] {
        let Some((&length, rest)) = self.0.split_first() else {
            return &[];
        };
        let (piece, rest) = rest.split_at(usize::from(length).min(rest.len()));
        self.0 = rest;
        piece
    }
}

/// One TPDU, character by character.
fn characters(
    card: &mut Card<'_>,
    header: [u8; 5],
    direction: DataDirection<'_>,
    answer: &mut [u8],
) -> Result<usize, T0Error> {
    let data = match direction {
        DataDirection::ToCard(data) => data,
        DataDirection::FromCard => &[],
    };
    let room = answer.len();
    let mut line = Character::new(header, direction, answer)?;
    let mut step = line.start();
    let mut sent = Vec::new();
    // The header, a NULL or a byte of the data each time, and SW1.
    for _ in 0..2 + usize::from(Character::MAX_NULLS) + 2 * MAX_TPDU_RESPONSE {
        let expect = match step {
            CharacterAction::Done(length) => {
                assert!((2..=room).contains(&length));
                return Ok(length);
            }
            CharacterAction::Failed(error) => {
                assert_eq!(line.on_bytes(&[0x90]), CharacterAction::Failed(T0Error::Over));
                return Err(error);
            }
            CharacterAction::Transfer { expect } => expect,
        };
        assert!((1..=MAX_TPDU_RESPONSE).contains(&expect));
        sent.extend_from_slice(line.outgoing());
        assert!(sent.starts_with(&header) && data.starts_with(&sent[5..]));
        step = match card.piece() {
            [] => line.on_timeout(),
            bytes => line.on_bytes(bytes),
        };
    }
    panic!("the TPDU does not end");
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&choices, bytes)) = bytes.split_first() else {
        return;
    };
    let mut card = Card(bytes);
    // Lengthened, so that a short input can have a long command.
    let mut command = card.piece().to_vec();
    if choices & 0x08 != 0 {
        let nc = u16::from(choices) << 4;
        command.truncate(4);
        command.push(0);
        command.extend(nc.to_be_bytes());
        command.resize(command.len() + usize::from(nc), 0x5A);
    }
    let Ok(parsed) = CommandApdu::parse(&command) else {
        return;
    };
    let policy = match choices & 0x01 {
        0 => StatusWordPolicy::Transparent,
        _ => StatusWordPolicy::Complete,
    };
    let by_characters = choices & 0x80 != 0;
    let mut response = vec![
        0;
        if choices & 0x40 == 0 {
            apdu::MAX_RESPONSE
        } else {
            20
        }
    ];
    let room = response.len();
    let wanted = parsed.ne.unwrap_or(0);
    let Ok(mut exchange) = T0Exchange::new(&command, parsed, policy, &mut response) else {
        return;
    };
    let mut action = exchange.start();
    // ENVELOPEs, GET RESPONSEs with a byte or more each, and each of them once more with the right length.
    for _ in 0..=command.len() / 255 + 1 + 2 * (wanted + 1) {
        match action {
            T0Action::Done(length) => {
                // A command of case 1 may be taken for one of case 2 that expects 256 bytes.
                let most = if command.len() == 4 { 256 } else { wanted };
                assert!((2..=room.min(most + 2)).contains(&length));
                return;
            }
            T0Action::Failed(_) => return,
            T0Action::Send => (),
        }
        assert!((5..=MAX_TPDU).contains(&exchange.tpdu().len()));
        action = if by_characters {
            let mut answer = [0; MAX_TPDU_RESPONSE];
            let (header, direction) = exchange.parts();
            match characters(&mut card, header, direction, &mut answer) {
                Ok(length) => exchange.on_response(&answer[..length]),
                Err(_) => return,
            }
        } else {
            exchange.on_response(card.piece())
        };
    }
    panic!("the exchange does not end");
});
