//! The program's side of the socket: orders, the list of readers, and slots.

use std::io::{self, BufRead, BufReader, Read};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::message::{decode_answer, RequestError, SlotRequest, ANSWER_HEADER, MAX_LINE};
use super::send::send_all;

/// How long a server may take to answer. It is in memory at once, unless the server is stopped. The command
/// `settle` has a limit of its own, which is to be less.
const ANSWER: Duration = Duration::from_secs(30);

/// Sends one command. Returns its value, or the server's reason against it.
///
/// # Errors
/// If the socket cannot be reached, or breaks, or with [`io::ErrorKind::TimedOut`] if nothing answers in 30
/// seconds.
pub fn order(path: &Path, command: &str) -> io::Result<Result<String, String>> {
    let stream = connect(path, command)?;
    stream.set_read_timeout(Some(ANSWER))?;
    let mut answer = String::new();
    BufReader::new(stream)
        .take(MAX_LINE)
        .read_line(&mut answer)
        .map_err(timed_out)?;
    let answer = answer.trim_end();
    if let Some(reason) = answer.strip_prefix("error ") {
        return Ok(Err(reason.to_owned()));
    }
    match answer.strip_prefix("ok") {
        Some(value) => Ok(Ok(value.trim_start().to_owned())),
        None => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Connects, and says what for.
fn connect(path: &Path, purpose: &str) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    send_all(&stream, format!("{purpose}\n").as_bytes())?;
    Ok(stream)
}

/// Connects to the watch of a slot. Each byte that is sent asks, and is answered by a
/// [`SlotChange`](super::message::SlotChange) when there may be something new.
///
/// # Errors
/// If the socket cannot be reached.
pub fn watch(path: &Path, reader: u8, slot: u8) -> io::Result<UnixStream> {
    connect(path, &format!("watch {reader}/{slot}"))
}

/// A reader behind the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListedReader {
    /// Its number.
    pub number: u8,
    /// How many slots it has.
    pub slots: u8,
    /// Its name.
    pub name: String,
}

/// The readers that are there, and those that are plugged in.
pub struct ReaderList {
    stream: BufReader<UnixStream>,
}

impl ReaderList {
    /// Connects. Returns the readers that are there.
    ///
    /// # Errors
    /// If the socket cannot be reached, or the answer makes no sense or does not come.
    pub fn connect(path: &Path) -> io::Result<(ReaderList, Vec<ListedReader>)> {
        ReaderList::connect_within(path, ANSWER)
    }

    pub(super) fn connect_within(
        path: &Path,
        limit: Duration,
    ) -> io::Result<(ReaderList, Vec<ListedReader>)> {
        let mut list = ReaderList {
            stream: BufReader::new(connect(path, "readers")?),
        };
        list.stream.get_ref().set_read_timeout(Some(limit))?;
        let mut readers = Vec::new();
        loop {
            match list.line().map_err(timed_out)?.as_deref() {
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some("") => {
                    // From here on lines come when readers do.
                    list.stream.get_ref().set_read_timeout(None)?;
                    return Ok((list, readers));
                }
                Some(line) => readers.push(ListedReader::parse(line)?),
            }
        }
    }

    /// What ends the wait of [`ReaderList::wait`], from any thread.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn stopper(&self) -> io::Result<Stopper> {
        self.stream.get_ref().try_clone().map(Stopper)
    }

    /// Waits for a reader to be plugged in. `None` after a stop, and when the server is gone.
    pub fn wait(&mut self) -> Option<ListedReader> {
        let line = self.line().ok().flatten()?;
        ListedReader::parse(&line).ok()
    }

    fn line(&mut self) -> io::Result<Option<String>> {
        let mut line = String::new();
        let length = self.stream.by_ref().take(MAX_LINE).read_line(&mut line)?;
        Ok((length > 0).then(|| line.trim_end().to_owned()))
    }
}

/// Ends the wait of a [`ReaderList`] or of a [`SlotClient`].
pub struct Stopper(UnixStream);

impl Stopper {
    /// Ends the wait in progress and every later one.
    pub fn stop(&self) {
        // It may have ended before.
        let _ = self.0.shutdown(Shutdown::Both);
    }
}

impl ListedReader {
    pub(super) fn line(&self) -> String {
        // A name has no line breaks: it would be two readers.
        format!(
            "{} {} {}\n",
            self.number,
            self.slots,
            self.name.replace('\n', " ")
        )
    }

    fn parse(line: &str) -> io::Result<ListedReader> {
        let mut words = line.splitn(3, ' ');
        let mut number = || words.next()?.parse().ok();
        let parsed = number().zip(number());
        match (parsed, words.next()) {
            (Some((number, slots)), Some(name)) => Ok(ListedReader {
                number,
                slots,
                name: name.to_owned(),
            }),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// A connection to a slot, which has the slot to itself until it is dropped.
pub struct SlotClient(UnixStream);

impl SlotClient {
    /// Connects.
    ///
    /// # Errors
    /// If the socket cannot be reached.
    pub fn connect(path: &Path, reader: u8, slot: u8) -> io::Result<SlotClient> {
        connect(path, &format!("slot {reader}/{slot}")).map(SlotClient)
    }

    /// A connection that the test has made.
    #[cfg(test)]
    pub(super) fn of(stream: UnixStream) -> SlotClient {
        SlotClient(stream)
    }

    /// What ends the wait of [`SlotClient::ask`], from any thread.
    ///
    /// # Errors
    /// If there are too many open files.
    pub fn stopper(&self) -> io::Result<Stopper> {
        self.0.try_clone().map(Stopper)
    }

    /// Ends the connection. Dropping it is not enough where a child of `fork` has it too.
    pub fn close(self) {
        // It may have ended before.
        let _ = self.0.shutdown(Shutdown::Both);
    }

    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// If the connection breaks, or with [`io::ErrorKind::TimedOut`] at the deadline. It is of no use then.
    pub fn ask(
        &mut self,
        request: &SlotRequest<'_>,
        deadline: Instant,
    ) -> io::Result<Result<Vec<u8>, RequestError>> {
        self.0.set_write_timeout(Some(left(deadline)?))?;
        send_all(&self.0, &request.encode()).map_err(timed_out)?;
        let mut header = [0; ANSWER_HEADER];
        self.receive(&mut header, deadline)?;
        let (result, length) = decode_answer(header).ok_or(io::ErrorKind::InvalidData)?;
        let mut data = vec![0; length];
        self.receive(&mut data, deadline)?;
        Ok(result.map(|()| data))
    }

    /// The socket's time limit is for one read. It begins anew after a part of the answer, and after a
    /// signal.
    fn receive(&mut self, mut bytes: &mut [u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            self.0.set_read_timeout(Some(left(deadline)?))?;
            match self.0.read(bytes) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(length) => bytes = &mut bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(timed_out(error)),
            }
        }
        Ok(())
    }
}

/// How long it is to the deadline. Not 0, which a socket takes for no limit.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(io::ErrorKind::TimedOut.into()),
        false => Ok(left),
    }
}

/// A socket's time-out, which has the error of a socket that does not block.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::WouldBlock => io::ErrorKind::TimedOut.into(),
        _ => error,
    }
}
