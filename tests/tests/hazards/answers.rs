//! Answers that come in an unusual order, end early, or are invalid.

use super::*;

#[test]
fn an_event_may_come_anywhere_among_the_replies() {
    for minor in 2..=6 {
        for place in 0..5 {
            let before = move |command| match (place, command) {
                (0, RequestCode::GetReadersStateSize | RequestCode::GetReadersState) => true,
                (0, RequestCode::WaitReaderStateChange) => (4..=5).contains(&minor),
                (1, RequestCode::GetReadersStateArray) => true,
                (2, RequestCode::GetReaderEvents) => true,
                (3, RequestCode::Version) => true,
                _ => false,
            };
            let daemon = Scripted::with(minor, move |command, answer, waits| {
                if *waits && before(command) {
                    *waits = false;
                    return Answer::Send([vec![0; EVENT_SIZE], answer].concat());
                }
                Answer::Send(answer)
            });
            let context = daemon.context();
            let mut states = [
                ReaderState::new(pcsc_client::PNP_NOTIFICATION(), State::UNAWARE),
                ReaderState::new(READER, State::PRESENT),
            ];
            for _ in 0..3 {
                let waited = context.get_status_change(Duration::from_millis(20), &mut states);
                assert_eq!(waited, Err(Error::Timeout), "4.{minor}, place {place}");
                assert_eq!(states[1].event_count(), 1);
                assert_eq!(context.list_readers_owned().unwrap(), [READER.to_owned()]);
            }
        }
    }
}

#[test]
fn the_table_may_grow_between_its_size_and_itself() {
    let daemon = Scripted::with(6, |command, mut answer, _| {
        if command == RequestCode::GetReadersStateArray {
            let state = answer[..READER_STATE_SIZE].to_vec();
            answer.extend(
                state
                    .iter()
                    .enumerate()
                    .map(|(at, byte)| if at == 10 { b'7' } else { *byte }),
            );
        }
        Answer::Send(answer)
    });
    let context = daemon.context();
    for _ in 0..3 {
        let names = context.list_readers_owned().unwrap();
        assert_eq!((names.len(), names[1].to_bytes()), (2, &b"Scripted 07"[..]));
    }
}

#[test]
fn a_daemon_may_die_at_every_byte_of_every_answer() {
    for minor in 2..=6 {
        let complete = Scripted::start(Script::new(minor));
        assert_eq!(all_calls(&complete.context()), Ok(()));
        let commands = [
            RequestCode::Version,
            RequestCode::EstablishContext,
            RequestCode::Connect,
            RequestCode::Reconnect,
            RequestCode::BeginTransaction,
            RequestCode::EndTransaction,
            RequestCode::Transmit,
            RequestCode::Control,
            RequestCode::Status,
            RequestCode::GetAttrib,
            RequestCode::Disconnect,
            RequestCode::GetReadersState,
            RequestCode::GetReadersStateSize,
            RequestCode::GetReadersStateArray,
            RequestCode::WaitReaderStateChange,
        ];
        for command in commands {
            for cut in [0, 1, 3, 4, 7, 8, 11, 12, 31, 32, 41, 183, 184, 200, 279, 2943] {
                let cuts = Arc::new(AtomicUsize::new(0));
                let counted = cuts.clone();
                let daemon = Scripted::with(minor, move |served, mut answer, _| {
                    if served != command || answer.len() <= cut {
                        return Answer::Send(answer);
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    answer.truncate(cut);
                    Answer::SendThenClose(answer)
                });
                let error = match daemon.establish() {
                    Ok(context) => {
                        let result = all_calls(&context);
                        if result.is_err() {
                            assert_eq!(context.list_readers_owned(), Err(Error::NoService));
                            assert_eq!(context.is_valid(), Err(Error::InvalidHandle));
                        }
                        result.err()
                    }
                    Err(failure) => Some(failure.error()),
                };
                if cuts.load(Ordering::SeqCst) == 0 {
                    assert_eq!(error, None, "{command:?} of 4.{minor} cut at {cut}");
                    continue;
                }
                // In 4.2 the handshake asks for the states.
                let is_first = matches!(command, RequestCode::Version | RequestCode::EstablishContext)
                    || (minor == 2 && command == RequestCode::GetReadersState);
                let expected = if is_first {
                    Error::SecurityViolation
                } else {
                    Error::CommError
                };
                // The answer to VERSION also marks the end of the states.
                assert!(
                    error == Some(expected) || (is_first && error == Some(Error::CommError)),
                    "{command:?} of 4.{minor} cut at {cut}: {error:?}"
                );
            }
        }
    }
}

#[test]
fn invalid_answers_end_the_context_and_nothing_else() {
    let cases: [(i32, RequestCode, usize, u32); 9] = [
        (6, RequestCode::GetReadersStateSize, 0, 0),
        (6, RequestCode::GetReadersStateSize, 0, u32::MAX),
        (6, RequestCode::GetReadersStateSize, 0, i32::MAX as u32),
        (4, RequestCode::Transmit, 24, u32::MAX),
        (4, RequestCode::Transmit, 24, 65),
        (4, RequestCode::Transmit, 24, 9),
        (4, RequestCode::Control, 16, 1 << 31),
        (4, RequestCode::Control, 16, 65),
        (4, RequestCode::Control, 16, 3),
    ];
    for (minor, command, at, value) in cases {
        let daemon = Scripted::with(minor, move |served, mut answer, _| {
            if served == command {
                answer[at..at + 4].copy_from_slice(&number(endian(), value));
            }
            Answer::Send(answer)
        });
        let context = daemon.context();
        assert_eq!(
            all_calls(&context),
            Err(Error::CommError),
            "{command:?} {value:#x}"
        );
        assert_eq!(context.list_readers_owned(), Err(Error::NoService));
        assert!(daemon.establish().is_ok());
    }

    // An attribute longer than its field, an ATR longer than an ATR, a name without an end.
    let daemon = Scripted::with(4, |command, mut answer, _| {
        match command {
            RequestCode::GetAttrib => answer[272..276].copy_from_slice(&[0xFF; 4]),
            RequestCode::GetReadersState => {
                answer[176..180].copy_from_slice(&number(endian(), 34));
                answer[READER_STATE_SIZE..READER_STATE_SIZE + 128].fill(b'n');
            }
            _ => (),
        }
        Answer::Send(answer)
    });
    let context = daemon.context();
    let card = connect(&context).unwrap();
    assert_eq!(card.get_attribute_owned(Attribute::AtrString).unwrap().len(), 264);
    assert!(card.status2_owned().unwrap().atr().is_empty());
    assert_eq!(context.list_readers_owned().unwrap()[1].to_bytes(), [b'n'; 128]);
}

#[test]
fn unusual_reader_names_are_passed_on() {
    let daemon = Scripted::start(Script::new(6));
    daemon.change(|readers| {
        readers[1] = pcsc_tests::scripted::Reader {
            name: "\u{fc}\u{1F4B3} ".into(),
            ..reader(1)
        };
    });
    let context = daemon.context();
    let names = context.list_readers_owned().unwrap();
    assert!(context
        .connect(&names[1], ShareMode::Shared, Protocols::ANY)
        .is_ok());
    let long = std::ffi::CString::new(vec![b'x'; 5000]).unwrap();
    let connected = context
        .connect(&long, ShareMode::Shared, Protocols::ANY)
        .map(drop);
    assert_eq!(connected, Err(Error::UnknownReader));
}
