//! One client, and the thread that serves it.

mod calls;
mod handle;
mod requests;
#[cfg(test)]
pub mod scripted;
mod states;

use crate::shared::Shared;
pub use handle::Client;
use requests::Requests;

/// Serves a client until its connection ends.
pub fn serve(client: &Client, shared: &Shared) {
    let _end = Departure(client, shared);
    let end = Requests::new(client, shared).serve();
    log::debug!("{client} has ended: {end}");
}

/// Gives up what a client has when it is served no more, also after a panic.
struct Departure<'a>(&'a Client, &'a Shared);

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let Departure(client, shared) = self;
        // First, so that no event is sent to a client that is being ended.
        shared.waiters.remove(client.number);
        client.release();
        client.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffers::Buffers;
    use crate::contexts::Contexts;
    use crate::joined::Joined;
    use crate::limits::Limits;
    use crate::policy::{AccessPolicy, Rights};
    use crate::readers::Readers;
    use crate::source::Named;
    use crate::waiters::Waiters;
    use pcsc_process::Yields;
    use pcsc_wire::{
        Body, ConnectBody, Endian, EstablishBody, Header, ReaderEventsBody, RequestCode, Version,
        VersionBody, NAME_SIZE, READER_STATE_SIZE,
    };
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::AtomicU32;
    use std::sync::Arc;

    fn request<B: Body>(command: RequestCode, body: B) -> Vec<u8> {
        let mut bytes = vec![0; B::SIZE];
        body.emit(Endian::NATIVE, &mut bytes);
        [
            &Header::new(command, B::SIZE).to_bytes(Endian::NATIVE)[..],
            &bytes,
        ]
        .concat()
    }

    fn shared() -> Shared {
        let source = Arc::new(Named::new(&["Reader"])) as Arc<_>;
        Shared {
            readers: Readers::new(Joined::numbered([source]), AccessPolicy::default()),
            waiters: Waiters::default(),
            contexts: Contexts::default(),
            buffers: Buffers::default(),
            limits: Limits::default(),
            yields: Yields::default(),
            last_card: AtomicU32::new(0),
        }
    }

    #[test]
    fn looks_that_come_together_are_answered_together() {
        let shared = shared();
        let (mut stream, server) = UnixStream::pair().unwrap();
        let client = Client::new(7, String::new(), Rights::Full, server, &shared);
        let mut requests = Requests::new(&client, &shared);
        let look = |command| Header::new(command, 0).to_bytes(Endian::NATIVE).to_vec();
        let version = request(RequestCode::Version, VersionBody::new(Version::NEWEST));
        let looks = [
            version.clone(),
            look(RequestCode::GetReadersStateSize),
            look(RequestCode::GetReadersStateArray),
            look(RequestCode::GetReaderEvents),
            version.clone(),
        ];
        stream.write_all(&looks.concat()).unwrap();
        // Each answer is there once its request was served, unless it is held.
        stream.set_nonblocking(true).unwrap();
        let (size, table) = (4, 16 * READER_STATE_SIZE);
        let mut answer = vec![0; 2 * (size + table)];
        for held in &looks[1..] {
            requests.serve_one().unwrap();
            let nothing = stream.read(&mut answer).unwrap_err();
            assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "before {held:?}");
        }
        requests.serve_one().unwrap();
        let received = stream.read(&mut answer).unwrap();
        let before = VersionBody::SIZE + size;
        assert_eq!(
            received,
            before + table + ReaderEventsBody::SIZE + VersionBody::SIZE
        );
        assert_eq!(&answer[before..][..6], b"Reader");
        // What has not come whole is not waited for.
        let begun = [&looks[1], &version[..Header::SIZE]].concat();
        stream.write_all(&begun).unwrap();
        requests.serve_one().unwrap();
        stream.read_exact(&mut answer[..size]).unwrap();
        stream.write_all(&version[Header::SIZE..]).unwrap();
        requests.serve_one().unwrap();
        stream.read_exact(&mut answer[..VersionBody::SIZE]).unwrap();
    }

    #[test]
    fn an_end_sends_what_was_held_and_leaves_nothing_of_a_request() {
        let shared = shared();
        let (mut stream, server) = UnixStream::pair().unwrap();
        let client = Client::new(7, String::new(), Rights::Full, server, &shared);
        let mut requests = Requests::new(&client, &shared);
        let body = EstablishBody {
            scope: 2,
            context: 0x5050_5050,
            rv: 0,
        };
        let establish = request(RequestCode::EstablishContext, body);
        stream.write_all(&establish).unwrap();
        requests.serve_one().unwrap();
        assert!(requests.incoming.is_wiped());
        let mut answer = [0; EstablishBody::SIZE];
        stream.read_exact(&mut answer).unwrap();
        // A version of the wrong length ends the connection. The size before it is answered, although more
        // requests follow.
        let size = Header::new(RequestCode::GetReadersStateSize, 0).to_bytes(Endian::NATIVE);
        let version = Header::new(RequestCode::Version, 1).to_bytes(Endian::NATIVE);
        let requested = [&size[..], &version, &[0], &size].concat();
        stream.write_all(&requested).unwrap();
        requests.serve();
        client.close();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), 4);
    }

    #[test]
    fn a_client_that_is_refused_gets_the_answer_before_the_request_that_ends_it() {
        let shared = shared();
        let (mut stream, server) = UnixStream::pair().unwrap();
        let client = Client::new(7, String::new(), Rights::Nothing, server, &shared);
        let version = request(RequestCode::Version, VersionBody::new(Version::NEWEST));
        let size = Header::new(RequestCode::GetReadersStateSize, 0).to_bytes(Endian::NATIVE);
        stream.write_all(&[&version[..], &size].concat()).unwrap();
        Requests::new(&client, &shared).serve();
        client.close();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert_eq!(answer.len(), VersionBody::SIZE);
    }

    #[test]
    fn a_client_whose_thread_panics_gives_up_what_it_has() {
        let shared = shared();
        let (mut stream, server) = UnixStream::pair().unwrap();
        let client = Client::new(7, String::new(), Rights::Full, server, &shared);
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| serve(&client, &shared));
            let body = EstablishBody {
                scope: 2,
                context: 0,
                rv: 0,
            };
            stream
                .write_all(&request(RequestCode::EstablishContext, body))
                .unwrap();
            let mut answer = [0; EstablishBody::SIZE];
            stream.read_exact(&mut answer).unwrap();
            let context = EstablishBody::parse(&answer, Endian::NATIVE).unwrap().context;
            assert_eq!(shared.contexts.client(context), Some(7));
            let mut reader = [0; NAME_SIZE];
            reader[..6].copy_from_slice(b"Reader");
            let body = ConnectBody {
                context,
                reader,
                share: 2,
                protocols: 3,
                card: 0,
                active: 0,
                rv: 0,
            };
            // The source has no sessions, and panics.
            stream.write_all(&request(RequestCode::Connect, body)).unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            assert!(thread.join().is_err());
            assert_eq!(shared.contexts.client(context), None);
        });
    }
}
