//! Answers to commands that are empty, too short, or too early.

use super::*;

#[test]
fn an_answer_without_a_status_word_is_none() {
    for name in ["omnikey-5321", "au9540", "omnikey-3x21", "gempc-express"] {
        for protocol in [Protocol::T0, Protocol::T1] {
            for length in [0usize, 1] {
                let (handle, reader) = open_through(named(name), |transport| {
                    Liar::new(transport, move |command, reply| {
                        // The read below, in whatever it is wrapped.
                        let is_it =
                            command[0] == EXCHANGE && command.windows(2).any(|two| two == [0x80, 0xEE]);
                        Ok(match is_it {
                            true => with_data(&reply, &[0x90][..length], length as u32),
                            false => reply,
                        })
                    })
                });
                let mut reader = reader.unwrap();
                handle.insert(0, card(None, offers(protocol), Behaviour::default()));
                power_up(&mut reader, protocol).unwrap();
                let result = transmit(&mut reader, &read(9));
                // A block that is damaged is asked for again.
                let is_repeated = name == "gempc-express" && protocol == Protocol::T1;
                match is_repeated {
                    true => assert_eq!(result, Ok(pattern(9))),
                    false => assert!(result.is_err(), "{name} {protocol:?} {length}: {result:02X?}"),
                }
            }
        }
    }
}

#[test]
fn empty_answers_of_iccd_b() {
    let device = named("starsign").with(Oddities {
        empty_blocks: true,
        ..Oddities::default()
    });
    let (handle, reader) = open_through(device, |transport| transport);
    let mut reader = reader.unwrap();
    handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
    assert!(matches!(
        reader.power_on(0, Reset::Cold),
        Err(ReaderError::Malformed(_) | ReaderError::Slot(SlotErrorCode::Mute))
    ));
    assert!(reader.atr(0).is_empty());
}

/// Parts without data do not end an answer, but a reader that gives no others has none.
#[test]
fn an_answer_of_empty_parts_comes_to_an_end() {
    for (empty, expected) in [(8, Ok(vec![0x90, 0])), (9, Err(ReaderError::WrongReply))] {
        let (handle, reader) = open_through(named("au9540"), |transport| {
            let mut parts = 0;
            Liar::new(transport, move |command, reply| {
                if command[0] != EXCHANGE {
                    return Ok(reply);
                }
                parts += 1;
                let is_last = parts > empty;
                let data: &[u8] = if is_last { &[0x90, 0] } else { &[] };
                let mut bytes = with_data(&reply, data, data.len() as u32);
                let chain = match parts {
                    _ if is_last => 0x02,
                    1 => 0x01,
                    _ => 0x03,
                };
                bytes[0] = 0x80;
                bytes[7..10].copy_from_slice(&[0, 0, chain]);
                Ok(bytes)
            })
        });
        let mut reader = reader.unwrap();
        handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
        power_up(&mut reader, Protocol::T1).unwrap();
        assert_eq!(transmit(&mut reader, &read(9)), expected, "{empty} empty parts");
    }
}

/// A card that refuses the first part of a command, and a reader that gives something else instead of asking
/// for the next.
#[test]
fn a_command_in_parts_that_is_answered_too_early() {
    let echoed = [&[0x5A; 100][..], &[0x90, 0]].concat();
    for (answer, expected) in [
        (&[0x6A, 0x80][..], Ok(vec![0x6A, 0x80])),
        // An empty answer asks for the next part, though it does not say so.
        (&[], Ok(echoed)),
        (&[0x6A], Err(ReaderError::WrongReply)),
        (&[0x01, 0x6A, 0x80], Err(ReaderError::WrongReply)),
    ] {
        let mut model = named("au9540").model().clone();
        model.descriptor.max_message_length = 64;
        let (handle, reader) = open_through(pcsc_sim::SimDevice::new(model), |transport| {
            Liar::new(transport, move |command, reply| {
                if command[0] != EXCHANGE || command[8] != 0x01 {
                    return Ok(reply);
                }
                let mut bytes = with_data(&reply, answer, answer.len() as u32);
                bytes[7..10].copy_from_slice(&[0, 0, 0]);
                Ok(bytes)
            })
        });
        let mut reader = reader.unwrap();
        handle.insert(0, card(None, &[Offer::T1], Behaviour::default()));
        power_up(&mut reader, Protocol::T1).unwrap();
        let update = [&[0x80, 0xEC, 0, 0, 100][..], &[0x5A; 100]].concat();
        assert_eq!(transmit(&mut reader, &update), expected, "{answer:02X?}");
    }
}
