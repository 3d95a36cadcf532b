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
    /// Nothing answers at the socket's path.
    #[error("cannot connect to the resource manager at {}: {source}; is pcscd running (systemctl status pcscd.socket)?", path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The path does not fit a socket address.
    #[error("the socket path {} has {} bytes, more than a socket address holds", path.display(), path.as_os_str().len())]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The daemon closed the connection before it answered anything: its access control says no.
    #[error("the resource manager at {} closed the connection at once: access is refused (see Polkit's rule for org.debian.pcsc-lite.access_pcsc), or it is just ending", path.display())]
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
    /// The handle was made before this process was forked from its parent.
    #[error("the handle belongs to the parent process; a forked child establishes its own context")]
    Forked,
    /// The operating system refused what a call needs.
    #[error("the operating system refused: {0}")]
    System(io::Error),
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
}

impl Failure {
    /// A failure whose code says it all.
    pub(crate) fn plain(code: u32) -> Failure {
        Failure { code, cause: None }
    }

    /// A failure with a cause, which is logged here and nowhere else.
    pub(crate) fn because(error: Error, cause: Cause) -> Failure {
        log::error!("{cause}");
        Failure::quiet(error, cause)
    }

    /// A failure with a cause that was logged before, or is the caller's own doing.
    pub(crate) fn quiet(error: Error, cause: Cause) -> Failure {
        Failure {
            code: error.code(),
            cause: Some(Arc::new(cause)),
        }
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
