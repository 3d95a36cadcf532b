//! A connection whose other end the test has.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use super::*;
use wire::{AttributeBody, ReleaseBody, TransmitBody};

/// A limit that is never reached.
const PATIENT: Duration = Duration::from_secs(60);

fn link(minor: i32, limit: Duration) -> (Link, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let version = Version { major: 4, minor };
    let link = Link {
        stream: Some(Stream::of(ours.into()).unwrap()),
        endian: Endian::NATIVE,
        version,
        answered: version,
        context: 1,
        slots: None,
        limit,
    };
    (link, theirs)
}

fn bytes<B: Body>(body: B) -> Vec<u8> {
    let mut bytes = vec![0; B::SIZE];
    body.emit(Endian::NATIVE, &mut bytes);
    bytes
}

#[test]
fn the_response_has_the_length_that_the_answer_announces() {
    let response = b"response";
    // The length that the daemon announces, the room, and what the call comes to.
    for (length, room, is_right) in [(8, 8, true), (8, 9, true), (9, 8, false), (7, 8, false)] {
        let (mut link, mut daemon) = link(4, PATIENT);
        let body = TransmitBody {
            card: 1,
            send_protocol: 2,
            send_pci_length: 16,
            send_length: 0,
            receive_protocol: 2,
            receive_pci_length: 16,
            receive_length: length,
            rv: 0,
        };
        daemon.write_all(&[&bytes(body)[..], response].concat()).unwrap();
        let mut answer = vec![0; room];
        let request = Request {
            command: RequestCode::Transmit,
            body,
            data: b"",
            answer: &mut answer,
            answer_length: |body: &TransmitBody| body.receive_length as usize,
        };
        let answered = link.exchange_payload(request, Deadline::Never);
        assert_eq!(answered.is_ok(), is_right, "{length} bytes, room for {room}");
        assert_eq!(
            link.stream.is_some(),
            is_right,
            "bytes of one answer are not taken for the next"
        );
        assert!(!is_right || &answer[..8] == response);
    }
}

#[test]
fn each_deadline_ends_a_call_with_its_own_code() {
    let body = ReleaseBody { context: 1, rv: 0 };
    let exchange = |deadline: &dyn Fn(&Link) -> Deadline| {
        let (mut link, _daemon) = link(4, Duration::ZERO);
        let deadline = deadline(&link);
        let answered = link.exchange(RequestCode::ReleaseContext, body, deadline);
        assert!(
            link.stream.is_none(),
            "an answer that comes late is of no other call"
        );
        answered.unwrap_err().error()
    };
    assert_eq!(exchange(&Link::limit), Error::CommError);
    assert_eq!(exchange(&|_| Some(Instant::now()).into()), Error::Timeout);
    let (mut link, daemon) = link(4, PATIENT);
    drop(daemon);
    let gone = link.exchange(RequestCode::ReleaseContext, body, Deadline::Never);
    assert_eq!(
        gone.unwrap_err().error(),
        Error::NoService,
        "the request is not sent"
    );
}

#[test]
fn the_code_of_an_attribute_that_was_set_is_the_daemons() {
    let (mut link, mut daemon) = link(4, PATIENT);
    let mut answer = AttributeBody {
        card: 1,
        id: 7,
        value: [0; wire::ATTRIBUTE_SIZE],
        length: 3,
        rv: 5,
    };
    answer.value[..3].copy_from_slice(b"key");
    daemon.write_all(&bytes(answer)).unwrap();
    assert_eq!(link.set_attribute(1, 7, b"key").unwrap(), 5);
    let mut request = vec![0; Header::SIZE + AttributeBody::SIZE];
    daemon.read_exact(&mut request).unwrap();
    answer.rv = 0;
    assert_eq!(request[Header::SIZE..], bytes(answer));
    let too_long = vec![0; wire::ATTRIBUTE_SIZE + 1];
    assert!(link.set_attribute(1, 7, &too_long).is_err());
}

#[test]
fn a_registration_ends_with_the_requests_of_its_version() {
    for (minor, commands) in [(3, &[0x14, 0x11][..]), (4, &[0x14])] {
        let (mut link, mut daemon) = link(minor, PATIENT);
        link.stop_waiting();
        let mut sent = vec![0; 100];
        let length = daemon.read(&mut sent).unwrap();
        let mut rest = &sent[..length];
        let mut found = Vec::new();
        while let Some(header) = Header::parse(rest, Endian::NATIVE) {
            found.push(header.command);
            rest = &rest[Header::SIZE + header.size as usize..];
        }
        assert_eq!(found, commands, "4.{minor}");
        // Its answer, and what marks its end, are no answer to the next request.
        let mark = VersionBody::new(link.version);
        let end = bytes(EventBody { timeout: 0, rv: 0 });
        daemon.write_all(&end).unwrap();
        if link.version.waits_with_body() {
            daemon.write_all(&bytes(mark)).unwrap();
        }
        let released = ReleaseBody { context: 1, rv: 9 };
        daemon.write_all(&bytes(released)).unwrap();
        let answer = link.exchange(RequestCode::ReleaseContext, released, Deadline::Never);
        assert_eq!(answer.unwrap(), released);
    }
}
