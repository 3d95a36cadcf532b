//! The handshake: agrees on a protocol version with the daemon, and remembers it for the next context.

use std::io::IoSlice;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::connect::{connect, connect_by};
use super::link::Link;
use super::stream::{Stream, StreamError};
use crate::backend::hash::{hash, NOTHING};
use crate::backend::values::SessionOptions;
use crate::error::{Cause, Error, Failure, Outcome};
use pcsc_wire::{
    name_size_requests, Body, Endian, EstablishBody, Header, NameSize, RequestCode, Version, VersionBody,
};

const SPOKEN: &str = "4.2 to 4.6";

/// Connects to the daemon at `path` and establishes a context, within the limit of `options`.
pub fn establish(path: &Path, options: &SessionOptions) -> Outcome<Link> {
    let deadline = Instant::now() + options.limit;
    let mut dialect = remembered(path).unwrap_or(Dialect {
        endian: Endian::NATIVE,
        version: Version::NEWEST,
    });
    let (mut is_swapped, mut is_raised) = (false, false);
    // Each turn is a connection, at most three.
    loop {
        match introduce(path, options, dialect, deadline)? {
            Reply::Established(link) => return Ok(link),
            // The remembered version is older than the daemon's, which has accepted it. The daemon speaks the
            // old version on this connection, so a new connection is made.
            Reply::Newer(version) if !is_raised => {
                is_raised = true;
                dialect.version = version;
                // Already here: if the next connection fails, the context after it begins with the right
                // version.
                remember(path, dialect);
            }
            Reply::Newer(theirs) => return Err(mismatch(path, theirs)),
            // A daemon of a machine with the other byte order reads the command's number as another one,
            // which is unknown, and closes the connection. A daemon with another reason closes the next
            // connection too.
            Reply::Closed if !is_swapped => {
                is_swapped = true;
                dialect.endian = dialect.endian.other();
            }
            // The caller's connector has the reason, and logs it.
            Reply::Closed if options.connector.is_some() => {
                return Err(Failure::quiet(Error::SecurityViolation, refused(path)))
            }
            Reply::Closed => return Err(first_answer_missing(path, StreamError::Closed)),
        }
    }
}

/// How a daemon writes its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Dialect {
    endian: Endian,
    version: Version,
}

enum Reply {
    Established(Link),
    /// The daemon's version, which is newer than the one asked for.
    Newer(Version),
    /// The end of the connection in place of an answer.
    Closed,
}

fn introduce(path: &Path, options: &SessionOptions, dialect: Dialect, deadline: Instant) -> Outcome<Reply> {
    let Dialect { endian, version: ask } = dialect;
    let (scope, limit) = (options.scope, options.limit);
    let mut stream = match &options.connector {
        Some(connector) => connect_by(connector, path)?,
        None => connect(path, limit)?,
    };
    let Some(mut answer) = exchange(&mut stream, path, dialect, Some(scope), deadline)? else {
        return Ok(Reply::Closed);
    };
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
        answer = exchange(&mut stream, path, Dialect { endian, version }, again, deadline)?
            .ok_or_else(|| first_answer_missing(path, StreamError::Closed))?;
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
    remember(path, Dialect { endian, version });
    Ok(Reply::Established(Link {
        stream: Some(stream),
        endian,
        version,
        answered: answer.version.version(),
        context,
        slots: answer.slots,
        limit,
    }))
}

struct Answer {
    version: VersionBody,
    establish: Option<EstablishBody>,
    slots: Option<usize>,
}

/// Sends VERSION and, with a scope, ESTABLISH_CONTEXT in one write. In 4.2 it also asks for the states, to
/// find out the size of reader names. `None` if the daemon closes the connection in place of an answer.
fn exchange(
    stream: &mut Stream,
    path: &Path,
    Dialect { endian, version }: Dialect,
    scope: Option<u32>,
    deadline: Instant,
) -> Outcome<Option<Answer>> {
    let mut request = [0; 4 * Header::SIZE + 2 * VersionBody::SIZE + EstablishBody::SIZE];
    let mut length = VersionBody::new(version).emit_request(RequestCode::Version, endian, &mut request);
    if let Some(scope) = scope {
        let body = EstablishBody {
            scope,
            context: 0,
            rv: 0,
        };
        length += body.emit_request(RequestCode::EstablishContext, endian, &mut request[length..]);
    }
    if version.has_unknown_name_size() {
        let more = name_size_requests(version, endian);
        request[length..length + more.len()].copy_from_slice(&more);
        length += more.len();
    }
    let deadline = Some(deadline);
    // The result is looked at after the read: a daemon that refuses closes at once, and the write may fail
    // before its reason is read.
    let sent = stream.send(&mut [IoSlice::new(&request[..length])], || deadline);

    let mut answers = [0; VersionBody::SIZE + EstablishBody::SIZE];
    let expected = match scope {
        Some(_) => &mut answers[..],
        None => &mut answers[..VersionBody::SIZE],
    };
    match sent.and_then(|()| stream.receive(expected, &mut [], deadline)) {
        Ok(_) => (),
        Err(StreamError::Closed) => return Ok(None),
        Err(error) => return Err(first_answer_missing(path, error)),
    }
    let answer = VersionBody::parse(&answers, endian).ok_or_else(|| Failure::from(Error::InternalError))?;
    let establish = scope.and_then(|_| EstablishBody::parse(&answers[VersionBody::SIZE..], endian));
    let slots = if version.has_unknown_name_size() {
        Some(slots(stream, path, &answer.to_bytes(endian), deadline)?)
    } else {
        None
    };
    Ok(Some(Answer {
        version: answer,
        establish,
        slots,
    }))
}

/// The number of states, if their names have 128 bytes. `version` is the daemon's answer to VERSION.
fn slots(
    stream: &mut Stream,
    path: &Path,
    version: &[u8; VersionBody::SIZE],
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
        StreamError::Closed => Failure::because(Error::SecurityViolation, refused(path)),
        other => Failure::because(Error::NoService, other.into()),
    }
}

fn refused(path: &Path) -> Cause {
    Cause::Refused {
        path: path.to_owned(),
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

/// The dialects of known daemons, by a hash of the socket's path, so that later contexts need one round trip.
///
/// Each entry has the hash, and in its low byte the minor version and [`OTHER_ENDIAN`]; 0 is a free entry.
/// There is no lock, since one that another thread holds at the time of a fork would block the child. A wrong
/// or missing entry costs more round trips.
static DIALECTS: [AtomicU64; 16] = [const { AtomicU64::new(0) }; 16];

/// The byte order is not that of this machine.
const OTHER_ENDIAN: u64 = 0x80;

fn entry(path: &Path) -> (&'static AtomicU64, u64) {
    let hash = hash(NOTHING, path.as_os_str().as_bytes());
    (&DIALECTS[(hash >> 8) as usize % DIALECTS.len()], hash & !0xFF)
}

fn remembered(path: &Path) -> Option<Dialect> {
    let (entry, hash) = entry(path);
    // `Relaxed`: the word has all that is shared.
    let found = entry.load(Ordering::Relaxed);
    let endian = match found & OTHER_ENDIAN {
        0 => Endian::NATIVE,
        _ => Endian::NATIVE.other(),
    };
    let version = Version {
        major: Version::NEWEST.major,
        minor: (found & 0x7F) as i32,
    };
    (found & !0xFF == hash && version.is_spoken()).then_some(Dialect { endian, version })
}

fn remember(path: &Path, dialect: Dialect) {
    let (entry, hash) = entry(path);
    let endian = match dialect.endian {
        Endian::NATIVE => 0,
        _ => OTHER_ENDIAN,
    };
    entry.store(
        hash | endian | (dialect.version.minor as u64 & 0x7F),
        Ordering::Relaxed,
    );
}
