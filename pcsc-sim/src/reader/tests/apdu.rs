//! Short and extended APDU level, automatic parameters and PPS.

use super::*;

const T1_PARAMETERS: [u8; 7] = [0x11, 0x10, 0x00, 0x45, 0x00, 0xFE, 0x00];

fn echo(length: usize) -> (Vec<u8>, Vec<u8>) {
    let data: Vec<u8> = (0..length).map(|at| (at * 7) as u8).collect();
    let mut command = vec![0x80, 0xEC, 0, 0];
    match u8::try_from(length) {
        Ok(short) => command.push(short),
        Err(_) => {
            command.push(0);
            command.extend((length as u16).to_be_bytes());
        }
    }
    command.extend(&data);
    command.extend(if length < 256 { &[0][..] } else { &[0, 0] });
    (command, [&data[..], &[0x90, 0x00]].concat())
}

#[test]
fn short_apdus_over_both_protocols() {
    for offer in [Offer::T0, Offer::T1] {
        let mut bench = Bench::with_card("omnikey-5321", good(&[offer], Some(0x13)));
        assert_eq!(bench.power_on()[0], 0x3B);
        for length in [1, 100, 255] {
            let (command, response) = echo(length);
            let reply = bench.say(&message(0x6F, 0, 2, [0, 0, 0], &command));
            assert_eq!(reply[7..10], [0x00, 0x81, 0x00]);
            assert_eq!(reply[10..], response);
        }
        let reply = bench.say(&message(0x6F, 0, 3, [0, 0, 0], &[0, 0xA4, 4, 0, 9, 1]));
        assert_eq!(reply[7..], [0x40, 10, 0], "Lc is wrong");
    }
}

#[test]
fn an_extended_apdu_goes_and_comes_in_parts() {
    let mut bench = Bench::with_card("omnikey-3x21", good(&[Offer::T1], Some(0x13)));
    bench.power_on();
    bench.say(&message(0x61, 0, 1, [1, 0, 0], &T1_PARAMETERS));
    let (command, response) = echo(700);
    // 271 bytes a message: 261 of data.
    let parts: Vec<&[u8]> = command.chunks(261).collect();
    assert_eq!(parts.len(), 3);
    for (part, level) in [(parts[0], 1), (parts[1], 3)] {
        assert_eq!(
            bench.say(&message(0x6F, 0, 2, [0, level, 0], part)),
            [0x80, 0, 0, 0, 0, 0, 2, 0x00, 0x81, 0x10]
        );
    }
    let first = bench.say_to_the_end(&message(0x6F, 0, 3, [0, 2, 0], parts[2]));
    assert_eq!((first[9], first.len()), (1, 271));
    let second = bench.say(&message(0x6F, 0, 4, [0, 0x10, 0], &[]));
    assert_eq!((second[9], second.len()), (3, 271));
    let last = bench.say(&message(0x6F, 0, 5, [0, 0x10, 0], &[]));
    assert_eq!(last[9], 2);
    assert_eq!([&first[10..], &second[10..], &last[10..]].concat(), response);
    for level in [2, 3, 0x10, 7] {
        let reply = bench.say(&message(0x6F, 0, 6, [0, level, 0], &[1]));
        assert_eq!(reply[7..10], [0x40, 8, 0], "nothing was begun");
    }
}

#[test]
fn an_abort_drops_the_parts_of_a_command() {
    let mut bench = Bench::with_card("omnikey-3x21", good(&[Offer::T1], Some(0x13)));
    bench.power_on();
    let part = bench.say(&message(0x6F, 0, 2, [0, 1, 0], &[0x80, 0xEC]));
    assert_eq!(part[9], 0x10);
    bench.device.control_out(0x01, 0x0600, &[]).unwrap();
    bench.say(&message(0x72, 0, 6, [0; 3], &[]));
    let reply = bench.say(&message(0x6F, 0, 7, [0, 2, 0], &[0, 0]));
    assert_eq!(reply[7..10], [0x40, 8, 0], "nothing was begun");
}

#[test]
fn a_card_that_refuses_the_rate_is_told_by_the_parameters() {
    let behaviour = Behaviour {
        pps: crate::card::PpsBehaviour::RefuseRate,
        ..Behaviour::default()
    };
    let mut bench = Bench::with_card("scr3310", card(&[Offer::T1], Some(0x95), behaviour));
    bench.power_on();
    let mut fast = T1_PARAMETERS;
    fast[0] = 0x95;
    assert_eq!(
        bench.say(&message(0x61, 0, 1, [1, 0, 0], &fast))[7..11],
        [0x00, 0x81, 0x01, 0x11]
    );
}
