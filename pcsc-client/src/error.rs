//! One error vocabulary: the WinSCard codes, and the causes that a person can act on.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

use pcsc_wire::Version;

macro_rules! errors {
    ($($name:ident = $code:literal: $text:literal;)+) => {
        /// A WinSCard return code other than success.
        ///
        /// The names and the values are those of the `pcsc` crate, so that programs match on them
        /// unchanged. See [`Failure`] for errors that carry their cause.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Error {
            $(#[doc = concat!($text, " (`", stringify!($code), "`).")] $name = $code,)+
        }

        const ALL: &[Error] = &[$(Error::$name),+];

        impl fmt::Display for Error {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Error::$name => $text,)+ })
            }
        }
    };
}

errors! {
    InternalError = 0x8010_0001: "An internal consistency check failed";
    Cancelled = 0x8010_0002: "The call was cancelled";
    InvalidHandle = 0x8010_0003: "The handle is not valid";
    InvalidParameter = 0x8010_0004: "A parameter could not be interpreted";
    InvalidTarget = 0x8010_0005: "The start-up information is missing or invalid";
    NoMemory = 0x8010_0006: "There is not enough memory for this call";
    WaitedTooLong = 0x8010_0007: "An internal timer has expired";
    InsufficientBuffer = 0x8010_0008: "The buffer is too small for the data";
    UnknownReader = 0x8010_0009: "No reader has this name";
    Timeout = 0x8010_000A: "The time given has passed";
    SharingViolation = 0x8010_000B: "The card is in use by another connection";
    NoSmartcard = 0x8010_000C: "There is no card in the reader";
    UnknownCard = 0x8010_000D: "No card has this name";
    CantDispose = 0x8010_000E: "The card cannot be left in the way asked for";
    ProtoMismatch = 0x8010_000F: "The card does not offer any of the protocols asked for";
    NotReady = 0x8010_0010: "The reader or the card is not ready for commands";
    InvalidValue = 0x8010_0011: "A parameter has a value that is not allowed";
    SystemCancelled = 0x8010_0012: "The system has cancelled the call";
    CommError = 0x8010_0013: "The communication with the resource manager has failed";
    UnknownError = 0x8010_0014: "An error of unknown origin has occurred";
    InvalidAtr = 0x8010_0015: "The ATR is not a valid one";
    NotTransacted = 0x8010_0016: "The transaction or the exchange did not take place";
    ReaderUnavailable = 0x8010_0017: "The reader is not available at the moment";
    Shutdown = 0x8010_0018: "The call was ended to let the server exit";
    PciTooSmall = 0x8010_0019: "The receive PCI buffer is too small";
    ReaderUnsupported = 0x8010_001A: "The reader's driver is not supported";
    DuplicateReader = 0x8010_001B: "The reader's name is not unique";
    CardUnsupported = 0x8010_001C: "The card is not supported";
    NoService = 0x8010_001D: "The smart card resource manager is not running";
    ServiceStopped = 0x8010_001E: "The smart card resource manager has stopped or speaks another protocol";
    UnsupportedFeature = 0x8010_001F: "The feature is not supported";
    IccInstallation = 0x8010_0020: "No primary provider is found for the card";
    IccCreateorder = 0x8010_0021: "The order of object creation is not supported";
    DirNotFound = 0x8010_0023: "The directory is not on the card";
    FileNotFound = 0x8010_0024: "The file is not on the card";
    NoDir = 0x8010_0025: "The path is not a directory on the card";
    NoFile = 0x8010_0026: "The path is not a file on the card";
    NoAccess = 0x8010_0027: "Access to the file is denied";
    WriteTooMany = 0x8010_0028: "The card has no room for the data";
    BadSeek = 0x8010_0029: "The file position could not be set";
    InvalidChv = 0x8010_002A: "The PIN is wrong";
    UnknownResMng = 0x8010_002B: "A lower layer gave an unknown error";
    NoSuchCertificate = 0x8010_002C: "The certificate does not exist";
    CertificateUnavailable = 0x8010_002D: "The certificate could not be read";
    NoReadersAvailable = 0x8010_002E: "No smart card reader is found";
    CommDataLost = 0x8010_002F: "Data was lost between reader and card; try again";
    NoKeyContainer = 0x8010_0030: "The key container is not on the card";
    ServerTooBusy = 0x8010_0031: "The resource manager is too busy for this call";
    UnsupportedCard = 0x8010_0065: "The reader cannot work with this card's ATR";
    UnresponsiveCard = 0x8010_0066: "The card does not answer to reset";
    UnpoweredCard = 0x8010_0067: "The card is not powered";
    ResetCard = 0x8010_0068: "The card has been reset by another connection";
    RemovedCard = 0x8010_0069: "The card has been removed";
    SecurityViolation = 0x8010_006A: "Access is denied by a security rule";
    WrongChv = 0x8010_006B: "The PIN presented is wrong";
    ChvBlocked = 0x8010_006C: "The PIN is blocked after too many tries";
    Eof = 0x8010_006D: "The end of the file on the card is reached";
    CancelledByUser = 0x8010_006E: "The user has cancelled the dialogue";
    CardNotAuthenticated = 0x8010_006F: "No PIN was presented to the card";
    CacheItemNotFound = 0x8010_0070: "The item is not in the cache";
    CacheItemStale = 0x8010_0071: "The item in the cache is too old";
    CacheItemTooBig = 0x8010_0072: "The item is too big for the cache";
}

impl std::error::Error for Error {}

impl Error {
    /// The error of a code; a code that no specification names is [`Error::UnknownError`].
    pub fn from_code(code: u32) -> Error {
        ALL.iter()
            .copied()
            .find(|error| *error as u32 == code)
            .unwrap_or(Error::UnknownError)
    }

    /// The WinSCard code, such as `0x8010001D`.
    pub fn code(self) -> u32 {
        self as u32
    }
}

/// Why a call failed, where there is more to say than its code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The connect to the socket failed.
    #[error("cannot connect to the resource manager at {}: {source}; {found}", path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
        /// What is at the path.
        found: Found,
    },
    /// The path does not fit a socket address.
    #[error("the socket path {} has {} bytes, more than a socket address holds", path.display(), path.as_os_str().len())]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The daemon closed the connection before it answered anything. A refusal by its access control and by its limit of
    /// clients look alike.
    #[error("the resource manager at {} closed the connection at once: access is refused (see Polkit's rule for org.debian.pcsc-lite.access_pcsc), it has as many clients as it takes (pcscd --max-thread, 200 by default), or it is just ending", path.display())]
    Refused {
        /// The socket's path.
        path: PathBuf,
    },
    /// No protocol version is spoken by both sides.
    #[error("the resource manager at {} speaks protocol {theirs}, this library speaks {ours}", path.display())]
    Version {
        /// The socket's path.
        path: PathBuf,
        /// The daemon's version.
        theirs: Version,
        /// The versions that this library speaks.
        ours: &'static str,
    },
    /// The daemon speaks protocol 4.2 in the form of pcsc-lite 1.6.5 to 1.8.3, with shorter reader names.
    #[error("the resource manager at {} speaks protocol 4.2 with reader names of 100 bytes (pcsc-lite 1.6.5 to 1.8.3); this library needs pcsc-lite 1.8.4 or later", path.display())]
    ShortNames {
        /// The socket's path.
        path: PathBuf,
    },
    /// The daemon closed the connection.
    #[error("the resource manager has closed the connection; establish a new context")]
    Closed,
    /// The connection failed.
    #[error("the connection to the resource manager failed: {0}; establish a new context")]
    Broken(io::Error),
    /// What came is not what the protocol foresees.
    #[error("the resource manager's answer makes no sense ({0}); establish a new context")]
    OutOfStep(&'static str),
    /// The daemon did not answer in time.
    #[error("the resource manager did not answer in time; the connection is given up")]
    Silent,
    /// This connection had failed before.
    #[error("the connection to the resource manager was lost earlier; establish a new context")]
    Lost,
    /// The readers that this process drove itself were given back, because a daemon has come.
    #[error("this process has given its readers back to the resource manager that is there now; establish a new context")]
    GivenBack,
    /// The USB cannot be used.
    #[error("the readers on the USB cannot be used: {0}")]
    Usb(io::Error),
    /// The parent of this process drives readers, and what it drives them with does not survive a fork. Not on Linux.
    #[error("the parent of this process drives the readers itself; a forked child cannot, before it executes a program")]
    ForkedFromDriver,
    /// No simulated reader has this name.
    #[error("there is no simulated reader called {0:?}")]
    UnknownModel(String),
    /// Nothing answers at the socket of simulated readers that another program plays.
    #[error("cannot connect to the simulated readers at {}: {source}", path.display())]
    Simulation {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The handle was made before this process was forked from its parent.
    #[error("the handle belongs to the parent process; a forked child establishes its own context")]
    Forked,
    /// The operating system refused what a call needs.
    #[error("the operating system refused: {0}")]
    System(io::Error),
}

impl Cause {
    /// The target of the log record: [`SETTING_LOG`] where the value of an environment variable is at fault.
    fn log_target(&self) -> &'static str {
        match self {
            Cause::UnknownModel(_) | Cause::Simulation { .. } => SETTING_LOG,
            _ => module_path!(),
        }
    }

    /// Whether this process has no reader because its USB cannot be used.
    pub(crate) fn is_usb(&self) -> bool {
        matches!(self, Cause::Usb(_))
    }

    /// Whether no daemon is there, rather than one that refuses or cannot be reached.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Cause::Connect { found, .. } if !matches!(found, Found::Denied(_) | Found::Unknown))
    }
}

/// The target of log records about environment variables whose value cannot be used. The user has set them, and
/// libpcsclite.so.1 writes these records to stderr even if no log was asked for.
pub const SETTING_LOG: &str = "pcsc_client::setting";

/// What is at a socket's path where a connect fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Found {
    /// No file.
    #[error("no such file is there; is pcscd running (systemctl status pcscd.socket)?")]
    Nothing,
    /// A socket that no process listens on, such as one that a daemon left behind.
    #[error("a stale socket is there, on which no process listens; is pcscd running (systemctl status pcscd.socket)?")]
    StaleSocket,
    /// A file of another kind.
    #[error("what is there is no stream socket but a {0}")]
    OtherFile(&'static str),
    /// Something that this process has no right to use.
    #[error("{0}")]
    Denied(Permissions),
    /// The error is not one of the file's.
    #[error("whether a daemon is there is not known")]
    Unknown,
}

/// Who may use a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    /// The socket, or the folder on the way to it that cannot be searched.
    pub path: PathBuf,
    /// Its owner's number.
    pub owner: u32,
    /// Its group's number.
    pub group: u32,
    /// Its mode.
    pub mode: u32,
}

impl fmt::Display for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} belongs to user {} and group {} and has mode {:04o}; this process is of user {}",
            self.path.display(),
            account(self.owner, "/etc/passwd"),
            account(self.group, "/etc/group"),
            self.mode & 0o7777,
            account(rustix::process::geteuid().as_raw(), "/etc/passwd"),
        )
    }
}

/// The name of a user or group in `/etc/passwd` or `/etc/group`; its number where it has none there.
fn account(number: u32, database: &str) -> String {
    let text = std::fs::read_to_string(database).unwrap_or_default();
    let names = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    };
    text.lines().find_map(names).unwrap_or_else(|| number.to_string())
}

/// A failed call: its code, and its cause where more is known.
///
/// ```
/// use pcsc_client::{Context, Error};
/// let failure = Context::builder().socket_path("/nonexistent/pcscd.comm").establish().unwrap_err();
/// assert_eq!(failure.error(), Error::NoService);
/// assert!(failure.to_string().contains("/nonexistent/pcscd.comm"));
/// ```
#[derive(Debug, Clone)]
pub struct Failure {
    code: u32,
    cause: Option<Arc<Cause>>,
    detail: Option<u32>,
}

impl Failure {
    /// A failure whose code says it all.
    pub(crate) fn plain(code: u32) -> Failure {
        Failure {
            code,
            cause: None,
            detail: None,
        }
    }

    /// A failure with a cause, which is logged here and nowhere else.
    pub(crate) fn because(error: Error, cause: Cause) -> Failure {
        log::error!(target: cause.log_target(), "{cause}");
        Failure::quiet(error, cause)
    }

    /// A failure with a cause that was logged before, or is the caller's own doing.
    pub(crate) fn quiet(error: Error, cause: Cause) -> Failure {
        Failure {
            code: error.code(),
            cause: Some(Arc::new(cause)),
            detail: None,
        }
    }

    /// With what the answer says besides its code.
    pub(crate) fn with_detail(mut self, detail: u32) -> Failure {
        self.detail = Some(detail);
        self
    }

    /// What the answer to a failed call says besides its code: the length in bytes of an answer that does not fit into
    /// the buffer, or the protocol of a connection that is not made. `None` without an answer.
    pub fn detail(&self) -> Option<u32> {
        self.detail
    }

    /// The code as the resource manager gave it, which may be one that [`Error`] has no name for.
    pub fn code(&self) -> u32 {
        self.code
    }

    /// The error that the code stands for.
    pub fn error(&self) -> Error {
        Error::from_code(self.code)
    }

    /// The cause, where it is known.
    pub fn cause(&self) -> Option<&Cause> {
        self.cause.as_deref()
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::plain(error.code())
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Error {
        failure.error()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cause() {
            Some(cause) => write!(f, "{}: {cause}", self.error()),
            None => self.error().fmt(f),
        }
    }
}

impl std::error::Error for Failure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause().map(|cause| cause as _)
    }
}

/// The result of a call that tells its cause.
pub type Outcome<T> = Result<T, Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_names_itself_and_unknown_codes_are_told() {
        for error in ALL {
            assert_eq!(Error::from_code(error.code()), *error);
        }
        for code in [0, 0x8010_0022, 0x8010_0032, 0x8010_0064, u32::MAX] {
            assert_eq!(Error::from_code(code), Error::UnknownError);
        }
    }
}
