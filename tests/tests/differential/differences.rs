//! The lines on which the libraries differ on purpose, each with its reason.

/// A line on which the libraries differ on purpose.
pub struct Difference {
    pub part: &'static str,
    pub stock: &'static str,
    pub ours: &'static str,
    /// For the reader of this file and of MATRIX.md.
    #[allow(dead_code)]
    reason: &'static str,
}

/// Shortens the list below.
const fn difference(
    part: &'static str,
    stock: &'static str,
    ours: &'static str,
    reason: &'static str,
) -> Difference {
    Difference {
        part,
        stock,
        ours,
        reason,
    }
}

pub const DIFFERENCES: &[Difference] = &[
    difference(
        "change",
        "event=0x2 cbAtr=0x0",
        "SCARD_E_UNKNOWN_READER",
        "an empty name matches stock's free slots, as long as there are any",
    ),
    difference(
        "change",
        "readers, k) = SCARD_E_INVALID_PARAMETER",
        "readers, k) = SCARD_E_TIMEOUT",
        "1.9.9 takes at most 16 readers; 2.5 and ours take any number",
    ),
    difference(
        "change",
        "current=0x100000000",
        "= SCARD_S_SUCCESS [ current=0x100000000",
        "a state has 32 bits; the rest of C's long says nothing",
    ),
    difference(
        "control",
        "CTL_ECHO, NULL, 4",
        "= SCARD_E_INVALID_PARAMETER",
        "stock passes NULL to the kernel, and loses its connection",
    ),
    difference(
        "control",
        "NULL, 300, &length) = SCARD_F_COMM_ERROR",
        "NULL, 300, &length) = SCARD_E_INSUFFICIENT_BUFFER",
        "stock passes NULL to the kernel, and loses its connection",
    ),
    difference(
        "control",
        "response, 100, &length)",
        "response, 100, &length) = SCARD_S_SUCCESS length=0x4",
        "ours still has its connection after the two above",
    ),
    difference(
        "fork",
        "SCardIsValidContext(context) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "a forked child is refused; with stock it shares its parent's connection and corrupts it",
    ),
    difference(
        "fork",
        "SCardListReaders(context, NULL, NULL, &length) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference("fork", "00\\03\\90", "= SCARD_E_INVALID_HANDLE", "as above"),
    difference(
        "fork",
        "SCardStatus(card, name, &length, &state, &protocol, atr, &atr_length) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference(
        "fork",
        "SCardCancel(context) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference(
        "fork",
        "SCardReleaseContext(context) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference(
        "fork",
        "00\\05",
        "00\\04",
        "the child's APDU did not reach the card",
    ),
    difference(
        "fork",
        // SCARD_W_SECURITY_VIOLATION, or SCARD_E_NO_SERVICE where the daemon is quicker.
        "response untouched",
        "= SCARD_S_SUCCESS",
        "the child's release did not end the parent's context",
    ),
    difference(
        "fork",
        "SCardReleaseContext(context) = SCARD_E_NO_SERVICE",
        "SCardReleaseContext(context) = SCARD_S_SUCCESS",
        "the child's release did not end the parent's context",
    ),
    difference(
        "lists",
        "SCardListReaderGroups(context, name, NULL) killed by Segmentation fault",
        "= SCARD_E_INVALID_PARAMETER",
        "stock does not check this pointer",
    ),
    difference(
        "no_daemon",
        "NULL, NULL, NULL) = SCARD_E_NO_SERVICE",
        "NULL, NULL, NULL) = SCARD_E_INVALID_PARAMETER",
        "ours looks at the pointer before it looks for the daemon",
    ),
    difference(
        "release",
        "SCardReleaseContext(context) killed by its alarm",
        "SCardReleaseContext(context) = SCARD_S_SUCCESS",
        "a release ends a wait in progress; stock waits for it for ever",
    ),
    difference(
        "release",
        "(nothing)",
        "SCardGetStatusChange = SCARD_E_CANCELLED",
        "as above, from the other thread",
    ),
    difference(
        "restart",
        "SCardIsValidContext(dead",
        "= SCARD_E_INVALID_HANDLE",
        "stock calls a context valid for ever after its daemon has gone",
    ),
];

/// After a reconnect of an exclusive connection as a shared one.
const STILL_HELD: Difference = difference(
    "sharing",
    "SCardEndTransaction(card, SCARD_LEAVE_CARD) = SCARD_S_SUCCESS",
    "SCardEndTransaction(card, SCARD_LEAVE_CARD) = SCARD_E_NOT_TRANSACTED",
    "pcscd still holds the card for a connection that is no longer exclusive",
);

/// The protocol that a connect returns with a sharing violation.
const REFUSED: Difference = difference(
    "sharing",
    "SCARD_E_SHARING_VIOLATION other_card 0 protocol=0x2",
    "SCARD_E_SHARING_VIOLATION other_card 0 protocol=0x0",
    "a connection that is refused has no protocol",
);

/// Differences between pcscd and this library that manages the readers itself.
pub const WITHOUT_DAEMON: &[Difference] = &[
    difference(
        "no_readers",
        "SCARD_E_TIMEOUT [ current=0x0 event=0x0",
        "SCARD_E_TIMEOUT [ current=0x0 event=0x10000",
        "1.9.9 does not tell how many readers came and went; 2.5 and ours do",
    ),
    difference(
        "change",
        "[ current=0x0 event=0x0 ",
        "[ current=0x0 event=0x30000 ",
        "as above",
    ),
    difference(
        "change",
        "SCARD_E_TIMEOUT [ current=0x70000 event=0x0 ",
        "SCARD_S_SUCCESS [ current=0x70000 event=0x30002 ",
        "as above, so that a caller learns what it has missed",
    ),
    difference(
        "cancel",
        "[ current=0x0 event=0x0 ",
        "[ current=0x0 event=0x30000 ",
        "as above",
    ),
    STILL_HELD,
    REFUSED,
    difference(
        "release",
        "event=0x10022",
        "event=0x22",
        "a child has its own view of the readers, and begins to count anew",
    ),
    difference(
        "fork",
        "= SCARD_S_SUCCESS other_card set",
        "= SCARD_E_SHARING_VIOLATION other_card 0",
        "the parent has the readers",
    ),
    difference(
        "fork",
        "SCardTransmit(other_card, (&g_rgSCardT1Pci), command, apdu(\"00000000\"), &receive_pci, response, \
         &length) = SCARD_S_SUCCESS",
        "= SCARD_E_INVALID_HANDLE",
        "as above",
    ),
    difference("fork", "00\\05", "00\\02", "no APDU of a child reached the card"),
    difference(
        "fork",
        "80C00000",
        "00\\03",
        "the child\'s release did not end the parent\'s context",
    ),
];

/// Differences between the test's handler and our driver with its simulated readers and cards.
pub const WITH_DRIVER: &[Difference] = &[
    difference(
        "sharing",
        "SCARD_S_SUCCESS length=0x2 response[2]=\\01\\02",
        "SCARD_E_NOT_TRANSACTED length=0x0",
        "the test's handler echoes a control request that is an Escape, and not allowed",
    ),
    difference(
        "transmit",
        "response[6]=\\00\\00\\00\\12\\90\\00",
        "response[6]=\\00\\00\\00\\0E\\90\\00",
        "the card's count: bytes that are no APDU do not come to its application",
    ),
    difference(
        "transmit",
        "response[6]=\\00\\00\\00S\\90\\00",
        "response[6]=\\00\\00\\00F\\90\\00",
        "nor do those of a protocol that the driver refuses",
    ),
    difference(
        "transmit",
        // The number of SCARD_PROTOCOL_RAW among those that the loop tries.
        "world!\\90\\00 for room 0x12C for 4 ",
        "SCARD_E_NOT_TRANSACTED length=0x0",
        "at TPDU level the driver must know the protocol, and raw is none",
    ),
    difference(
        "transmit",
        "(&g_rgSCardRawPci), command, apdu(\"00000000\"), &receive_pci, response, &length) = SCARD_S_SUCCESS \
         length=0xE",
        "SCARD_E_NOT_TRANSACTED length=0x0",
        "as above",
    ),
    difference(
        "transmit",
        "(&g_rgSCardRawPci), command, apdu(\"00000000\"), &receive_pci, response, &length) = \
         SCARD_E_NO_SMARTCARD",
        "SCARD_E_NOT_TRANSACTED",
        "as above",
    ),
    difference(
        "transmit",
        "command, 65548",
        "response[2]=g\\00",
        "this is no APDU to a card that looks at its length",
    ),
    difference(
        "transmit",
        "(&g_rgSCardT0Pci)",
        "(&g_rgSCardT0Pci), command, apdu(\"00000000\"), &receive_pci, response, &length) = SCARD_S_SUCCESS \
         length=0x2 response[2]=l\\0C",
        "a card with T=0 wants to know how much to send",
    ),
];

/// Differences between pcscd and our server, both with Debian's library.
pub const WITH_SERVER: &[Difference] = &[STILL_HELD, REFUSED];

/// Differences between pcscd and our server that depend on which of two processes is faster.
pub const WITH_SERVER_AT_TIMES: &[Difference] = &[
    difference(
        "control",
        "response, 100, &length) = SCARD_E_NO_SERVICE",
        "response, 100, &length) = SCARD_S_SUCCESS length=0x4 response[4]=\\18",
        "stock is out of step after the lines above: it reads an answer to bytes that it sent for another \
         call, or the daemon closes the connection before stock has sent this call",
    ),
    difference(
        "control",
        "response, 100, &length) = SCARD_S_SUCCESS length=0x4 response[4]=\\18",
        "response, 100, &length) = SCARD_E_NO_SERVICE",
        "as above",
    ),
    difference(
        "fork",
        "response untouched",
        "response untouched",
        "the child's release has ended the parent's context: pcscd closes the connection two seconds later, \
         our server at once, which a send finds first",
    ),
];

/// Differences between pcscd and our server, both with our driver and with Debian's library.
pub const WITH_SERVER_ON_DRIVER: &[Difference] = &[
    STILL_HELD,
    REFUSED,
    difference(
        "transmit",
        // The number of SCARD_PROTOCOL_RAW among those that the loop tries.
        "SCARD_E_NOT_TRANSACTED length=0x0 response untouched for room 0x12C for 4 ",
        "SCARD_S_SUCCESS length=0xE response[14]=Hello\\20world!\\90\\00 for room 0x12C for 4 ",
        "pcscd passes raw on to the driver, which refuses it at TPDU level; our server sends the APDU \
         over the connection's protocol",
    ),
    difference(
        "transmit",
        "(&g_rgSCardRawPci), command, apdu(\"00000000\"), &receive_pci, response, &length) \
         = SCARD_E_NOT_TRANSACTED",
        "(&g_rgSCardRawPci), command, apdu(\"00000000\"), &receive_pci, response, &length) \
         = SCARD_S_SUCCESS",
        "as above",
    ),
    difference(
        "transmit",
        "response[6]=\\00\\00\\00F\\90\\00",
        "response[6]=\\00\\00\\00N\\90\\00",
        "the card's count: as above",
    ),
];
