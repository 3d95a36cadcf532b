//! The arguments of the server.

use std::path::PathBuf;
use std::time::Duration;

use super::global::{meaning, refused};
use super::seconds;

const OFFERED: &str = "Offer only the readers with such names";

const SHARE: &str = "\
A SOURCE is one of
  usb               the readers on the USB
  daemon:PATH       the readers of another daemon, of any version, by its socket; it may start later
  tls://HOST:PORT   the readers of another host, where pcsc share --listen-tls runs; it may start later
  sim:[MODEL,...]   simulated readers of these models; without a model, the bundled one
  sim:vpcd:PORT     a reader whose card is a program that connects to this port, as to vsmartcard's vpcd
  sim:replay:FILE   the reader in a record of pcsc sim record --usb

The readers of several sources are one list. Readers of the first source keep their names. The names of the \
others contain (source 2) and so on: a name does not depend on the sources that are there at the moment. \
LABEL=SOURCE puts (LABEL) there instead, and with an empty label nothing. Labels must differ.

Clients are all programs with a libpcsclite of pcsc-lite 1.8.4 to 2.5. They find the server where \
PCSCLITE_CSOCK_NAME names its socket, and without it where the socket is pcscd's. Those on this project's \
library find the user's socket, too.

  pcsc share &
  PCSCLITE_CSOCK_NAME=$XDG_RUNTIME_DIR/pcsc/pcscd.comm pcsc_scan

The server writes a line to standard error when it starts, with its socket and its sources, and warnings \
later; -v shows more.

SIGTERM and SIGINT end the server, with exit code 0: its clients are disconnected, and its socket is \
removed; its lock, a file beside the socket, stays. A socket that systemd \
passes (LISTEN_FDS) is used instead of one of its own; --socket, --owner, --group and --mode then have no \
effect.

By default only the user who runs the server, and root, are served. A refused program gets \
SCARD_W_SECURITY_VIOLATION, and the log says which user it was. In a GLOB, * stands for any text and ? for \
one character; --reader is one, too, and offers the readers that match. A reader that is not offered is in \
no list, and SCardConnect to its name returns SCARD_E_UNKNOWN_READER. --owner, --group and --mode set \
who can open the socket. Of those who can, only the users and groups that are allowed are served: \
--owner nobody needs --allow-user nobody.

Other hosts: TLS 1.3, and both ends need a certificate. That of a source has to be for HOST; --allow-cert \
compares whole names, without wildcards. Each host with readers runs a server, and one that joins them runs \
another: nothing else is needed between them. For one user, ssh -R of a socket is simpler; docs/hosts.md has \
both.

  pcsc share --listen-tls 0.0.0.0:7340 --cert a.pem --key a.key --client-ca ca.pem --allow-cert desk
  pcsc share usb a=tls://a.example:7340 --cert desk.pem --key desk.key --server-ca ca.pem

A context of a program is one client. Beyond --max-clients, and beyond a quarter of them for a user other \
than root and the server's or for the certificates with one name, a client is disconnected at once; beyond \
--max-cards SCardConnect fails with SCARD_E_NO_MEMORY. A message has at most 65,548 bytes of data, and a \
longer one ends the connection.";

/// Share readers with all programs: serve pcscd's protocol, without pcscd
///
/// The socket is that of --socket, or PCSCLITE_CSOCK_NAME. By default it is pcscd's for root, and
/// $XDG_RUNTIME_DIR/pcsc/pcscd.comm for a user. A socket that another server serves is not replaced.
#[derive(Debug, clap::Args)]
#[command(after_help = SHARE, args = refused(&["backend", "json"]))]
#[command(arg = meaning("socket", "Where to listen"), arg = meaning("reader", OFFERED).value_name("GLOB"))]
pub struct Share {
    /// The readers to share
    #[arg(value_name = "SOURCE", default_value = "usb")]
    pub sources: Vec<String>,

    /// End when there was no client for this number of seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, allow_negative_numbers = true)]
    pub auto_exit: Option<Duration>,

    /// Serve this user, by name or number; can be repeated
    #[arg(long, value_name = "USER")]
    pub allow_user: Vec<String>,

    /// Serve the members of this group, by name or number; can be repeated
    #[arg(long, value_name = "GROUP")]
    pub allow_group: Vec<String>,

    /// Let this user see readers and cards come and go, and use none; can be repeated
    #[arg(long, value_name = "USER")]
    pub watch_user: Vec<String>,

    /// Let the members of this group do the same; can be repeated
    #[arg(long, value_name = "GROUP")]
    pub watch_group: Vec<String>,

    /// Do not offer the readers with such names, which are unknown to clients; can be repeated
    #[arg(long, value_name = "GLOB")]
    pub hide: Vec<String>,

    /// Refuse SCardControl: PIN pads, and the reader's own commands
    #[arg(long)]
    pub no_control: bool,

    /// Serve this number of contexts of programs at a time
    #[arg(long, value_name = "NUMBER", default_value_t = 2000, value_parser = count)]
    pub max_clients: usize,

    /// Let each context have this number of connections to cards
    #[arg(long, value_name = "NUMBER", default_value_t = 200, value_parser = count)]
    pub max_cards: usize,

    /// Disconnect a program that takes longer to send the rest of a request, or to read an answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30")]
    pub patience: Duration,

    /// The permissions of the socket, in octal digits [default: 0600, or 0666 if others are allowed]
    #[arg(long, value_name = "MODE", value_parser = octal)]
    pub mode: Option<u32>,

    /// The user that the socket belongs to, by name or number; root alone can choose another one
    #[arg(long, value_name = "USER")]
    pub owner: Option<String>,

    /// The group that the socket belongs to, by name or number
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    #[command(flatten)]
    pub tls: Tls,
}

/// Clients and sources on other hosts.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Other hosts")]
pub struct Tls {
    /// Serve clients on other hosts, too, over TLS; can be repeated
    #[arg(long, value_name = "ADDRESS:PORT", requires_all = ["cert", "client_ca"])]
    pub listen_tls: Vec<String>,

    /// This host's certificate, for its clients and for tls:// sources
    #[arg(long, value_name = "PEM", requires = "key")]
    pub cert: Option<PathBuf>,

    /// The private key of the certificate
    #[arg(long, value_name = "PEM", requires = "cert")]
    pub key: Option<PathBuf>,

    /// The authorities that issue the certificates of clients. A client without such a certificate is refused
    #[arg(long, value_name = "PEM", requires = "listen_tls")]
    pub client_ca: Option<PathBuf>,

    /// Serve only clients whose certificate has this DNS name; can be repeated
    #[arg(long, value_name = "NAME", requires = "listen_tls")]
    pub allow_cert: Vec<String>,

    /// The authorities that issue the certificates of tls:// sources
    #[arg(long, value_name = "PEM", requires = "cert")]
    pub server_ca: Option<PathBuf>,
}

/// How many, 1 or more.
fn count(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| "it is a whole number, 1 or more".into())
}

/// Permissions in octal digits.
fn octal(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| "permissions are octal digits, 0777 at most".into())
}
