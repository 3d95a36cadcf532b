//! Blocks and their sizes (ISO 7816-3, clauses 11.3 and 11.4.2).

use super::*;

// Clause 11.3: the block frame.

#[test]
fn lrc_and_crc_as_seen_on_real_lines() {
    let ifs = Block {
        nad: 0,
        pcb: Pcb::Request(Supervisory::Ifs),
        inf: &[0xFE],
    };
    let mut out = [0; 259];
    let len = ifs.encode(Edc::Lrc, &mut out);
    assert_eq!(out[..len], [0x00, 0xC1, 0x01, 0xFE, 0x3E]);
    for bytes in [
        &[0x00, 0xC1, 0x01, 0xFE, 0x54, 0x4E][..],
        &[0x00, 0xE1, 0x01, 0xFE, 0x57, 0x75],
        &[0x00, 0x00, 0x05, 0x00, 0xA4, 0x00, 0x00, 0x00, 0xB8, 0xDA],
        &[0x00, 0x90, 0x00, 0x20, 0x6E],
    ] {
        let block = Block::decode(bytes, Edc::Crc).unwrap();
        let len = block.encode(Edc::Crc, &mut out);
        assert_eq!(&out[..len], bytes);
    }
}

#[test]
fn every_pcb_decodes_to_itself_or_not_at_all() {
    let known = (0..=255u8).filter(|&pcb| Pcb::decode(pcb).is_some());
    let expected: Vec<u8> = [I00, I01, I10, I11]
        .into_iter()
        .chain([R0, R0 | 1, R0 | 2, R1, R1 | 1, R1 | 2])
        .chain([RESYNCH, IFS, ABORT, WTX])
        .chain([RESYNCH, IFS, ABORT, WTX].map(|pcb| pcb | RESPONSE))
        .collect();
    assert!(known.clone().eq(expected));
    assert!(known.clone().all(|pcb| Pcb::decode(pcb).unwrap().encode() == pcb));
}

#[test]
fn a_block_must_be_as_long_as_len_says_and_len_is_never_255() {
    let good = block(I00, &[1, 2, 3]);
    assert!(Block::decode(&good, Edc::Lrc).is_ok());
    for cut in 0..good.len() {
        assert_eq!(Block::decode(&good[..cut], Edc::Lrc), Err(Invalid::Length));
    }
    let mut long = good.clone();
    long.push(0);
    assert_eq!(Block::decode(&long, Edc::Lrc), Err(Invalid::Length));
    assert!(Block::decode(&block(I00, &[7; 254]), Edc::Lrc).is_ok());
    assert_eq!(
        Block::decode(&block(I00, &[7; 255]), Edc::Lrc),
        Err(Invalid::Length)
    );
}

#[test]
fn information_fields_of_r_and_s_blocks() {
    let decode = |pcb, inf: &[u8]| Block::decode(&block(pcb, inf), Edc::Lrc).map(|_| ());
    for pcb in [R0, R1, RESYNCH, RESYNCH | RESPONSE, ABORT, ABORT | RESPONSE] {
        assert_eq!(decode(pcb, &[]), Ok(()));
        assert_eq!(decode(pcb, &[1]), Err(Invalid::Information));
    }
    for pcb in [IFS, IFS | RESPONSE] {
        assert_eq!(decode(pcb, &[1]), Ok(()));
        assert_eq!(decode(pcb, &[254]), Ok(()));
        for inf in [&[][..], &[0], &[255], &[32, 32]] {
            assert_eq!(decode(pcb, inf), Err(Invalid::Information));
        }
    }
    for pcb in [WTX, WTX | RESPONSE] {
        assert_eq!(decode(pcb, &[255]), Ok(()));
        assert_eq!(decode(pcb, &[]), Err(Invalid::Information));
    }
}

#[test]
fn the_card_answers_with_the_nibbles_of_nad_swapped() {
    let mut engine = Engine::new(Config {
        nad: 0x21,
        ..config()
    });
    let mut response = [0; 2];
    let mut play = Play::new(engine.exchange(&[0; 4], &mut response));
    assert_eq!(play.exchange.block()[0], 0x21);
    let with_nad = |nad: u8, pcb| {
        let mut block = block(pcb, &OK);
        block[0] = nad;
        *block.last_mut().unwrap() ^= nad;
        block
    };
    play.hears_bytes(&with_nad(0x21, I00));
    assert_eq!(play.exchange.block()[..2], [0x21, R0 | OTHER_ERROR]);
    play.hears_bytes(&with_nad(0x12, I00)).done(2);
}

// Clause 11.4.2: sizes.

#[test]
fn reserved_sizes_become_the_nearest_allowed() {
    for (given, used) in [(0, 32), (1, 1), (254, 254), (255, 254)] {
        assert_eq!(
            Engine::new(Config {
                ifsc: given,
                ..config()
            })
            .ifsc(),
            used
        );
    }
    let mut engine = with_ifsd(255);
    Play::new(engine.negotiate())
        .sends(IFS, &[254])
        .hears(IFS | RESPONSE, &[254])
        .done(0);
    assert_eq!(engine.ifsd(), 254);
}

/// FF begins a PPS request (clause 11.3.2.1).
#[test]
fn a_node_address_of_ff_is_taken_as_none() {
    for (nad, expected) in [(0xFF, 0), (0xFE, 0xFE)] {
        let engine = Engine::new(Config { nad, ..config() });
        assert_eq!(engine.config().nad, expected);
    }
}
