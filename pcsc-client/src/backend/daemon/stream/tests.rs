//! Streams against a socket pair.

use super::*;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

fn pair() -> (Stream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    (
        Stream {
            socket: Descriptor::new(ours.into()),
            buffer: Vec::new(),
            unread: 0..0,
            to_skip: 0,
            uncertain: None,
            yields: Yields::default(),
        },
        theirs,
    )
}

fn soon() -> Option<Instant> {
    Some(Instant::now() + Duration::from_secs(60))
}

#[test]
fn bytes_to_skip_are_skipped_and_the_reply_goes_straight_to_its_buffers() {
    let (mut stream, mut daemon) = pair();
    stream.skip_next(8);
    stream.skip_next(8);
    daemon.write_all(b"ooooooooOOOOOOOOheadpay").unwrap();
    let (mut head, mut tail) = ([0; 4], [0; 8]);
    assert_eq!(stream.receive(&mut head, &mut tail, soon()).unwrap(), 3);
    assert_eq!((&head, &tail[..3]), (b"head", &b"pay"[..]));
    assert_eq!(stream.to_skip, 0);
}

#[test]
fn bytes_to_skip_may_have_arrived_already() {
    let (mut stream, mut daemon) = pair();
    daemon.write_all(b"eventooo").unwrap();
    stream.fill(8, soon()).unwrap();
    stream.skip_next(8);
    assert_eq!(stream.pending(), b"");
    daemon.write_all(b"next").unwrap();
    stream.fill(4, soon()).unwrap();
    assert_eq!(stream.pending(), b"next");
}

#[test]
fn an_answer_that_comes_once_or_twice_ends_at_its_mark() {
    const MARK: [u8; MARK_SIZE] = *b"mark-mark-12";
    for (answer, is_right) in [
        (&b"answer08"[..], true),
        (b"event-08answer08", true),
        (b"nonsense-of-19-bytes", false),
    ] {
        let (mut stream, mut daemon) = pair();
        stream.skip_up_to(8, MARK);
        daemon.write_all(&[answer, &MARK, b"head"].concat()).unwrap();
        let mut head = [0; 4];
        match stream.receive(&mut head, &mut [], soon()) {
            Ok(0) if is_right => assert_eq!(&head, b"head"),
            Err(StreamError::OutOfStep) if !is_right => (),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn more_bytes_are_skipped_than_one_read_takes() {
    let (mut stream, mut daemon) = pair();
    stream.skip_next(200);
    daemon.write_all(&[9; 200]).unwrap();
    daemon.write_all(b"head").unwrap();
    let mut head = [0; 4];
    assert_eq!(stream.receive(&mut head, &mut [0; 4], soon()).unwrap(), 0);
    assert_eq!(&head, b"head");
}

#[test]
fn pending_bytes_come_before_those_of_the_socket() {
    let (mut stream, mut daemon) = pair();
    stream.skip_next(2);
    daemon.write_all(b"xxabcdef").unwrap();
    stream.fill(3, soon()).unwrap();
    assert_eq!(stream.pending(), b"abcdef");
    stream.consume(1);
    daemon.write_all(b"gh").unwrap();
    let mut head = [0; 7];
    assert_eq!(stream.receive(&mut head, &mut [], soon()).unwrap(), 0);
    assert_eq!(&head, b"bcdefgh");
}

#[test]
fn the_end_and_the_deadline_are_distinguished() {
    let (mut stream, daemon) = pair();
    let past = Some(Instant::now());
    assert!(matches!(
        stream.receive(&mut [0; 4], &mut [], past),
        Err(StreamError::TimedOut)
    ));
    assert!(stream.is_open());
    drop(daemon);
    assert!(!stream.is_open());
    assert!(matches!(stream.fill(1, soon()), Err(StreamError::Closed)));
    assert!(matches!(
        stream.send(&mut [IoSlice::new(b"x")], soon),
        Err(StreamError::Closed)
    ));
}

#[test]
fn a_full_buffer_is_waited_for() {
    let (mut stream, mut daemon) = pair();
    let big = vec![7; 4 << 20];
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; 5 + (4 << 20)];
        daemon.read_exact(&mut all).unwrap();
        all
    });
    stream
        .send(&mut [IoSlice::new(b"begin"), IoSlice::new(&big)], soon)
        .unwrap();
    let all = reader.join().unwrap();
    assert_eq!(&all[..5], b"begin");
    assert!(all[5..].iter().all(|&byte| byte == 7));
}

#[test]
fn what_comes_behind_skipped_bytes_takes_no_read_of_its_own() {
    let (mut stream, mut daemon) = pair();
    // As many as one read skips, and fewer.
    for skip in [64, 8] {
        stream.skip_next(skip);
        let sent = [&vec![b'o'; skip][..], b"headpay"].concat();
        daemon.write_all(&sent).unwrap();
        let (mut head, mut tail) = ([0; 4], [0; 8]);
        let read = stream.receive_behind_skipped([&mut head, &mut tail]).unwrap();
        assert_eq!(read, Some(7), "behind {skip}");
        assert_eq!((&head, &tail[..3]), (b"head", &b"pay"[..]));
    }
}

#[test]
fn the_buffer_does_not_grow_by_what_was_consumed() {
    let (mut stream, mut daemon) = pair();
    for _ in 0..2 * Stream::ROOM / 300 {
        daemon.write_all(&[9; 300]).unwrap();
        stream.fill(300, soon()).unwrap();
        stream.consume(300);
    }
    assert_eq!(stream.buffer.len(), Stream::ROOM);
}
