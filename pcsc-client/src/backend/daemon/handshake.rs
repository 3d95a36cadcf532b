//! The handshake: agrees on a protocol version with the daemon, and remembers it for the next context.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::IoSlice;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::connect::connect;
use super::link::Link;
use super::stream::{Stream, StreamError};
use crate::error::{Cause, Error, Failure, Outcome};
use pcsc_wire::{name_size_requests, Body, Command, Establish, Header, NameSize, Version, VersionExchange};

const SPOKEN: &str = "4.2 to 4.6";

/// Connects to the daemon and establishes a context, within `limit`.
pub fn establish(path: &Path, scope: u32, limit: Duration) -> Outcome<Link> {
    let deadline = Instant::now() + limit;
    let ask = remembered(path).unwrap_or(Version::NEWEST);
    match introduce(path, scope, ask, limit, deadline)? {
        Reply::Established(link) => Ok(link),
        // The remembered version is older than the daemon's, which has accepted it. The daemon speaks the old
        // version on this connection, so a new connection is made.
        Reply::Newer(version) => {
            remember(path, version);
            match introduce(path, scope, version, limit, deadline)? {
                Reply::Established(link) => Ok(link),
                Reply::Newer(theirs) => Err(mismatch(path, theirs)),
            }
        }
    }
}

enum Reply {
    Established(Link),
    Newer(Version),
}

fn introduce(path: &Path, scope: u32, ask: Version, limit: Duration, deadline: Instant) -> Outcome<Reply> {
    let mut stream = connect(path, limit)?;
    let mut answer = exchange(&mut stream, path, ask, Some(scope), deadline)?;
    let mut version = ask;
    let answered = answer.version.version();
    if answer.version.rv != 0 {
        // A refusal carries the daemon's own version, and the connection stays usable. The daemon may even
        // have established the context.
        version = answered;
        if !version.is_spoken() || version == ask {
            return Err(mismatch(path, version));
        }
        log::info!("{} speaks protocol {version}", path.display());
        let first = answer.establish;
        let again = first.is_none_or(|establish| establish.rv != 0).then_some(scope);
        answer = exchange(&mut stream, path, version, again, deadline)?;
        answer.establish = answer.establish.or(first);
        if answer.version.rv != 0 {
            return Err(mismatch(path, answer.version.version()));
        }
    } else if answered > ask && answered.is_spoken() {
        return Ok(Reply::Newer(answered));
    } else if answered < ask && answered.is_spoken() {
        version = answered;
    }
    let context = match answer.establish {
        Some(establish) if establish.rv == 0 => establish.context,
        Some(establish) => return Err(Failure::plain(establish.rv)),
        None => return Err(Error::InternalError.into()),
    };
    remember(path, version);
    Ok(Reply::Established(Link {
        stream: Some(stream),
        version,
        answered: answer.version.version(),
        context,
        slots: answer.slots,
        limit,
    }))
}

struct Answer {
    version: VersionExchange,
    establish: Option<Establish>,
    slots: Option<usize>,
}

/// Sends VERSION and, with a scope, ESTABLISH_CONTEXT in one write. In 4.2 it also asks for the states, to
/// find out the size of reader names.
fn exchange(
    stream: &mut Stream,
    path: &Path,
    version: Version,
    scope: Option<u32>,
    deadline: Instant,
) -> Outcome<Answer> {
    let mut request = [0; 4 * Header::SIZE + 2 * VersionExchange::SIZE + Establish::SIZE];
    let mut length = VersionExchange::new(version).emit_request(Command::Version, &mut request);
    if let Some(scope) = scope {
        let body = Establish {
            scope,
            context: 0,
            rv: 0,
        };
        length += body.emit_request(Command::EstablishContext, &mut request[length..]);
    }
    if version.has_unknown_name_size() {
        let more = name_size_requests(version);
        request[length..length + more.len()].copy_from_slice(&more);
        length += more.len();
    }
    let no_answer = |error| first_answer_missing(path, error);
    let deadline = Some(deadline);
    stream
        .send(&mut [IoSlice::new(&request[..length])], || deadline)
        .map_err(no_answer)?;

    let mut head = [0; VersionExchange::SIZE];
    stream.receive(&mut head, &mut [], deadline).map_err(no_answer)?;
    let answer = VersionExchange::parse(&head).ok_or_else(|| Failure::from(Error::InternalError))?;
    let mut establish = None;
    if scope.is_some() {
        let mut body = [0; Establish::SIZE];
        stream.receive(&mut body, &mut [], deadline).map_err(no_answer)?;
        establish = Establish::parse(&body);
    }
    let slots = if version.has_unknown_name_size() {
        Some(slots(stream, path, &head, deadline)?)
    } else {
        None
    };
    Ok(Answer {
        version: answer,
        establish,
        slots,
    })
}

/// The number of states, if their names have 128 bytes. `version` is the daemon's answer to VERSION.
fn slots(
    stream: &mut Stream,
    path: &Path,
    version: &[u8; VersionExchange::SIZE],
    deadline: Option<Instant>,
) -> Outcome<usize> {
    loop {
        match NameSize::parse(stream.pending(), version) {
            NameSize::More(missing) => stream
                .fill(stream.pending().len() + missing, deadline)
                .map_err(|error| first_answer_missing(path, error))?,
            NameSize::Long { slots, consumed } => {
                stream.consume(consumed);
                return Ok(slots);
            }
            NameSize::Short => {
                let path = path.to_owned();
                return Err(Failure::because(
                    Error::ServiceStopped,
                    Cause::ShortNames { path },
                ));
            }
            NameSize::OutOfStep => {
                let cause = Cause::OutOfStep("reader states without an end");
                return Err(Failure::because(Error::ServiceStopped, cause));
            }
        }
    }
}

fn first_answer_missing(path: &Path, error: StreamError) -> Failure {
    match error {
        StreamError::Closed => Failure::because(
            Error::SecurityViolation,
            Cause::Refused {
                path: path.to_owned(),
            },
        ),
        other => Failure::because(Error::NoService, other.into()),
    }
}

fn mismatch(path: &Path, theirs: Version) -> Failure {
    let cause = Cause::Version {
        path: path.to_owned(),
        theirs,
        ours: SPOKEN,
    };
    Failure::because(Error::ServiceStopped, cause)
}

/// The versions of known daemons, by a hash of the socket's path, so that later contexts need one round trip.
///
/// Each entry has the hash, and in its low byte the minor version; 0 is a free entry. There is no lock, since
/// one that another thread holds at the time of a fork would block the child. A wrong or missing version
/// costs one more round trip.
static VERSIONS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

fn entry(path: &Path) -> (&'static AtomicU64, u64) {
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    let hash = hasher.finish();
    (&VERSIONS[(hash >> 8) as usize % VERSIONS.len()], hash & !0xFF)
}

fn remembered(path: &Path) -> Option<Version> {
    let (entry, hash) = entry(path);
    let found = entry.load(Ordering::Relaxed);
    let version = Version {
        major: Version::NEWEST.major,
        minor: (found & 0xFF) as i32,
    };
    (found & !0xFF == hash && version.is_spoken()).then_some(version)
}

fn remember(path: &Path, version: Version) {
    let (entry, hash) = entry(path);
    entry.store(hash | (version.minor as u64 & 0xFF), Ordering::Relaxed);
}
