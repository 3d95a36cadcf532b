//! Errors: the WinSCard codes, and causes with the details that a user needs to act.

use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

#[cfg(feature = "standalone")]
use pcsc_manager::StartError;
use pcsc_wire::Version;

macro_rules! errors {
    ($($name:ident = $code:ident: $text:literal;)+) => {
        /// A WinSCard return code other than success.
        ///
        /// The names and the values are those of the `pcsc` crate, so that programs match on them
        /// unchanged. See [`Failure`] for errors that carry their cause.
        #[repr(u32)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum Error {
            $(
                #[doc = concat!($text, " (`", stringify!($code), "`).")]
                #[error($text)]
                $name = pcsc_constants::$code,
            )+
        }

        const ALL: &[Error] = &[$(Error::$name),+];
    };
}

errors! {
    InternalError = SCARD_F_INTERNAL_ERROR: "An internal consistency check failed";
    Cancelled = SCARD_E_CANCELLED: "The call was cancelled";
    InvalidHandle = SCARD_E_INVALID_HANDLE: "The handle is not valid";
    InvalidParameter = SCARD_E_INVALID_PARAMETER: "A parameter could not be interpreted";
    InvalidTarget = SCARD_E_INVALID_TARGET: "The start-up information is missing or invalid";
    NoMemory = SCARD_E_NO_MEMORY: "There is not enough memory for this call";
    WaitedTooLong = SCARD_F_WAITED_TOO_LONG: "An internal timer has expired";
    InsufficientBuffer = SCARD_E_INSUFFICIENT_BUFFER: "The buffer is too small for the data";
    UnknownReader = SCARD_E_UNKNOWN_READER: "No reader has this name";
    Timeout = SCARD_E_TIMEOUT: "The time given has passed";
    SharingViolation = SCARD_E_SHARING_VIOLATION: "The card is in use by another connection";
    NoSmartcard = SCARD_E_NO_SMARTCARD: "There is no card in the reader";
    UnknownCard = SCARD_E_UNKNOWN_CARD: "No card has this name";
    CantDispose = SCARD_E_CANT_DISPOSE: "The card cannot be left in the way asked for";
    ProtoMismatch = SCARD_E_PROTO_MISMATCH: "The card does not offer any of the protocols asked for";
    NotReady = SCARD_E_NOT_READY: "The reader or the card is not ready for commands";
    InvalidValue = SCARD_E_INVALID_VALUE: "A parameter has a value that is not allowed";
    SystemCancelled = SCARD_E_SYSTEM_CANCELLED: "The system has cancelled the call";
    CommError = SCARD_F_COMM_ERROR: "The communication with the resource manager has failed";
    UnknownError = SCARD_F_UNKNOWN_ERROR: "An error of unknown origin has occurred";
    InvalidAtr = SCARD_E_INVALID_ATR: "The ATR is not a valid one";
    NotTransacted = SCARD_E_NOT_TRANSACTED: "The transaction or the exchange did not take place";
    ReaderUnavailable = SCARD_E_READER_UNAVAILABLE: "The reader is not available at the moment";
    Shutdown = SCARD_P_SHUTDOWN: "The call was ended to let the server exit";
    PciTooSmall = SCARD_E_PCI_TOO_SMALL: "The receive PCI buffer is too small";
    ReaderUnsupported = SCARD_E_READER_UNSUPPORTED: "The reader's driver is not supported";
    DuplicateReader = SCARD_E_DUPLICATE_READER: "The reader's name is not unique";
    CardUnsupported = SCARD_E_CARD_UNSUPPORTED: "The card is not supported";
    NoService = SCARD_E_NO_SERVICE: "The smart card resource manager is not running";
    ServiceStopped = SCARD_E_SERVICE_STOPPED: "The smart card resource manager has stopped or speaks another \
        protocol";
    UnsupportedFeature = SCARD_E_UNSUPPORTED_FEATURE: "The feature is not supported";
    IccInstallation = SCARD_E_ICC_INSTALLATION: "No primary provider is found for the card";
    IccCreateorder = SCARD_E_ICC_CREATEORDER: "The order of object creation is not supported";
    DirNotFound = SCARD_E_DIR_NOT_FOUND: "The directory is not on the card";
    FileNotFound = SCARD_E_FILE_NOT_FOUND: "The file is not on the card";
    NoDir = SCARD_E_NO_DIR: "The path is not a directory on the card";
    NoFile = SCARD_E_NO_FILE: "The path is not a file on the card";
    NoAccess = SCARD_E_NO_ACCESS: "Access to the file is denied";
    WriteTooMany = SCARD_E_WRITE_TOO_MANY: "The card has no room for the data";
    BadSeek = SCARD_E_BAD_SEEK: "The file position could not be set";
    InvalidChv = SCARD_E_INVALID_CHV: "The PIN is wrong";
    UnknownResMng = SCARD_E_UNKNOWN_RES_MNG: "A lower layer gave an unknown error";
    NoSuchCertificate = SCARD_E_NO_SUCH_CERTIFICATE: "The certificate does not exist";
    CertificateUnavailable = SCARD_E_CERTIFICATE_UNAVAILABLE: "The certificate could not be read";
    NoReadersAvailable = SCARD_E_NO_READERS_AVAILABLE: "No smart card reader is found";
    CommDataLost = SCARD_E_COMM_DATA_LOST: "Data was lost between reader and card; try again";
    NoKeyContainer = SCARD_E_NO_KEY_CONTAINER: "The key container is not on the card";
    ServerTooBusy = SCARD_E_SERVER_TOO_BUSY: "The resource manager is too busy for this call";
    UnsupportedCard = SCARD_W_UNSUPPORTED_CARD: "The reader cannot work with this card's ATR";
    UnresponsiveCard = SCARD_W_UNRESPONSIVE_CARD: "The card does not answer to reset";
    UnpoweredCard = SCARD_W_UNPOWERED_CARD: "The card is not powered";
    ResetCard = SCARD_W_RESET_CARD: "The card has been reset by another connection";
    RemovedCard = SCARD_W_REMOVED_CARD: "The card has been removed";
    SecurityViolation = SCARD_W_SECURITY_VIOLATION: "Access is denied by a security rule";
    WrongChv = SCARD_W_WRONG_CHV: "The PIN presented is wrong";
    ChvBlocked = SCARD_W_CHV_BLOCKED: "The PIN is blocked after too many tries";
    Eof = SCARD_W_EOF: "The end of the file on the card is reached";
    CancelledByUser = SCARD_W_CANCELLED_BY_USER: "The user has cancelled the dialogue";
    CardNotAuthenticated = SCARD_W_CARD_NOT_AUTHENTICATED: "No PIN was presented to the card";
    CacheItemNotFound = SCARD_W_CACHE_ITEM_NOT_FOUND: "The item is not in the cache";
    CacheItemStale = SCARD_W_CACHE_ITEM_STALE: "The item in the cache is too old";
    CacheItemTooBig = SCARD_W_CACHE_ITEM_TOO_BIG: "The item is too big for the cache";
}

impl Error {
    /// The error of a code; [`Error::UnknownError`] for a code without a name.
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

/// Why a call failed, in more detail than its code. `Debug` prints, quoted, the text of `Display` and those
/// of the errors below it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// The connect to the socket failed.
    #[error("cannot connect to the resource manager at {}; {found}", path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
        /// What is at the path.
        found: Found,
    },
    /// The path does not fit a socket address.
    #[error(
        "the socket path {} has {} bytes, more than a socket address holds",
        path.display(),
        path.as_os_str().len()
    )]
    PathTooLong {
        /// The socket's path.
        path: PathBuf,
    },
    /// The daemon closed the connection before it answered anything. A refusal by its access control and by
    /// its limit of clients look alike.
    #[error(
        "the resource manager at {} closed the connection at once: access is refused (see Polkit's rule for \
         org.debian.pcsc-lite.access_pcsc), it has its maximum number of clients (pcscd --max-thread, 200 by \
         default), or it is ending",
        path.display()
    )]
    Refused {
        /// The socket's path.
        path: PathBuf,
    },
    /// No protocol version is spoken by both sides.
    #[error(
        "the resource manager at {} speaks protocol {theirs}, this library speaks {ours}",
        path.display()
    )]
    Version {
        /// The socket's path.
        path: PathBuf,
        /// The daemon's version.
        theirs: Version,
        /// The versions that this library speaks.
        ours: &'static str,
    },
    /// The daemon speaks protocol 4.2 in the form of pcsc-lite 1.6.5 to 1.8.3, with shorter reader names.
    #[error(
        "the resource manager at {} speaks protocol 4.2 with reader names of 100 bytes (pcsc-lite 1.6.5 to \
         1.8.3); this library needs pcsc-lite 1.8.4 or later",
        path.display()
    )]
    ShortNames {
        /// The socket's path.
        path: PathBuf,
    },
    /// The daemon closed the connection.
    #[error("the resource manager has closed the connection; establish a new context")]
    Closed,
    /// The connection failed.
    #[error("the connection to the resource manager failed; establish a new context")]
    Broken(#[source] io::Error),
    /// The daemon's answer does not conform to the protocol.
    #[error("the resource manager's answer does not conform to the protocol ({0}); establish a new context")]
    OutOfStep(&'static str),
    /// The daemon did not answer in time.
    #[error("the resource manager did not answer in time; the connection is closed")]
    Silent,
    /// This connection had failed before.
    #[error("the connection to the resource manager was lost earlier; establish a new context")]
    Lost,
    /// This process drove the readers itself, and has released them because a daemon is running now.
    #[error(
        "this process has released its readers because a resource manager is running now; establish a \
         new context"
    )]
    GivenBack,
    /// The readers of this process cannot be used.
    #[cfg(feature = "standalone")]
    #[error(transparent)]
    Start(#[from] StartError),
    /// The PC/SC library of the system cannot be loaded.
    #[error("the PC/SC library {} cannot be used: {reason}", path.display())]
    NoLibrary {
        /// Its path or name.
        path: PathBuf,
        /// What the loader reports.
        reason: String,
    },
    /// The PC/SC library of the system finds no resource manager.
    #[error("the PC/SC library {} finds no resource manager that runs", library.display())]
    NoSystemService {
        /// The library's path or name.
        library: PathBuf,
    },
    /// The library was built without this backend.
    #[error("this library was built without its feature {feature:?}")]
    NotIncluded {
        /// The cargo feature that includes it.
        feature: &'static str,
    },
    /// There is no such backend on this system.
    #[error("{reason}")]
    NotOnThisSystem {
        /// Why there is none.
        reason: &'static str,
    },
    /// The handle was made before this process was forked from its parent.
    #[error("the handle belongs to the parent process; a forked child establishes its own context")]
    Forked,
    /// A system call that is needed has failed.
    #[error("the operating system has refused a request")]
    System(#[source] io::Error),
}

impl Cause {
    /// The target of the log record: [`SETTING_LOG`] where the value of an environment variable is at fault.
    fn log_target(&self) -> &'static str {
        match self {
            #[cfg(feature = "standalone")]
            Cause::Start(StartError::Thread(_) | StartError::Usb(_) | StartError::ForkedFromDriver) => {
                module_path!()
            }
            #[cfg(feature = "standalone")]
            Cause::Start(_) => SETTING_LOG,
            Cause::NoLibrary { .. } | Cause::NotIncluded { .. } | Cause::NotOnThisSystem { .. } => {
                SETTING_LOG
            }
            _ => module_path!(),
        }
    }

    /// The cause and the system's error below it, for a line of text.
    pub fn chain(&self) -> impl fmt::Display + '_ {
        Chain(self)
    }

    /// Whether this process has no reader because its USB cannot be used.
    pub(crate) fn is_usb(&self) -> bool {
        match self {
            #[cfg(feature = "standalone")]
            Cause::Start(error) => matches!(error, StartError::Usb(_)),
            _ => false,
        }
    }

    /// Whether no daemon is there, rather than one that refuses or cannot be reached.
    pub(crate) fn is_absence(&self) -> bool {
        match self {
            Cause::Connect { found, .. } => !matches!(found, Found::Denied(_) | Found::Unknown),
            Cause::NoLibrary { .. } | Cause::NoSystemService { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.chain().to_string(), f)
    }
}

/// An error and those below it, each once, from the top.
struct Chain<'a>(&'a (dyn std::error::Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let below = match self.0.downcast_ref() {
            // What was found at the socket says the same as the system's error, and more.
            Some(Cause::Connect { found, .. }) if *found != Found::Unknown => None,
            _ => self.0.source(),
        };
        match below {
            Some(source) => write!(f, ": {}", Chain(source)),
            None => Ok(()),
        }
    }
}

/// The target of log records about environment variables whose value cannot be used. Since the user has set
/// them, libpcsclite.so.1 writes these records to stderr even if no log is enabled.
pub const SETTING_LOG: &str = "pcsc_client::setting";

/// What is at a socket's path where a connect fails.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Found {
    /// No file.
    #[error("no such file is there; is pcscd running (systemctl status pcscd.socket)?")]
    Nothing,
    /// A socket that no process listens on, such as one that a daemon left behind.
    #[error(
        "a stale socket is there, on which no process listens; is pcscd running (systemctl status \
         pcscd.socket)?"
    )]
    StaleSocket,
    /// A file of another kind.
    #[error("there is a {0}, not a stream socket")]
    OtherFile(&'static str),
    /// A file that this process has no permission to use.
    #[error("{0}")]
    Denied(Permissions),
    /// The error does not concern the file.
    #[error("it is not known whether a daemon is running")]
    Unknown,
}

/// Who may use a file.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Permissions {
    /// The socket, or the folder on the way to it that cannot be searched.
    pub path: PathBuf,
    /// Its owner's number.
    pub owner: u32,
    /// Its group's number.
    pub group: u32,
    /// Its mode.
    pub mode: u32,
    /// The effective user of this process.
    pub user: u32,
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
            account(self.user, "/etc/passwd"),
        )
    }
}

/// The name of a user or group in `/etc/passwd` or `/etc/group`; its number where it has none there.
fn account(number: u32, database: &str) -> String {
    let text = std::fs::read(database).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let names = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        (fields.nth(1)?.parse() == Ok(number)).then_some(name)
    };
    text.lines().find_map(names).unwrap_or_else(|| number.to_string())
}

/// A failed call: its code, and its cause where more is known.
///
/// It is displayed with its cause and what is below that, so that [`source`](std::error::Error::source) has
/// nothing to add: error reporters that print a chain print each part once.
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
    /// A failure without a cause.
    pub(crate) fn plain(code: u32) -> Failure {
        Failure {
            code,
            cause: None,
            detail: None,
        }
    }

    /// A failure with a cause, which is logged here and nowhere else.
    pub(crate) fn because(error: Error, cause: Cause) -> Failure {
        log::error!(target: cause.log_target(), "{}", cause.chain());
        Failure::quiet(error, cause)
    }

    /// A failure with a cause that was logged before, or that the caller itself has brought about.
    pub(crate) fn quiet(error: Error, cause: Cause) -> Failure {
        Failure {
            code: error.code(),
            cause: Some(Arc::new(cause)),
            detail: None,
        }
    }

    /// Adds the detail of the answer.
    pub(crate) fn with_detail(mut self, detail: u32) -> Failure {
        self.detail = Some(detail);
        self
    }

    /// A number in the answer to a failed call, besides its code: the length in bytes of an answer that does
    /// not fit into the buffer, or the protocol of a connection that is not made. `None` without an answer.
    pub fn detail(&self) -> Option<u32> {
        self.detail
    }

    /// The code as the resource manager gave it, which may be one that [`Error`] has no name for.
    pub fn code(&self) -> u32 {
        self.code
    }

    /// The error with this code.
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
            Some(cause) => write!(f, "{}: {}", self.error(), cause.chain()),
            None => write!(f, "{}", self.error()),
        }
    }
}

impl std::error::Error for Failure {}

/// The result of a call whose failure has a cause.
pub type Outcome<T> = Result<T, Failure>;

#[cfg(test)]
mod tests;
