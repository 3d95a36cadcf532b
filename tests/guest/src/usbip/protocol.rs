//! The codec of USB/IP's messages. Numbers are big-endian; a header has 48 bytes.

/// The size of every header.
pub(super) const HEADER: usize = 48;

/// The longest transfer that is accepted. usbfs allows 16 MiB for all transfers together.
const MAX_TRANSFER: u32 = 16 << 20;

const SUBMIT: u32 = 1;
const UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;

/// A request of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// A transfer.
    Submit(Submit),
    /// Cancels the transfer `victim`.
    Unlink { sequence: u32, victim: u32 },
}

/// A transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Submit {
    pub(super) sequence: u32,
    /// The endpoint's address; bit 7 is the direction, on the control endpoint too.
    pub(super) endpoint: u8,
    /// The length of the data, or of the host's buffer.
    pub(super) length: usize,
    /// The setup packet, for the control endpoint.
    pub(super) setup: [u8; 8],
}

impl Submit {
    /// How many bytes follow the header.
    pub(super) fn follows(&self) -> usize {
        if self.endpoint & 0x80 == 0 {
            self.length
        } else {
            0
        }
    }
}

/// The status of a transfer, as the kernel's error numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Done,
    /// EPIPE
    Stalled,
    /// EOVERFLOW
    Overflow,
}

impl Status {
    fn number(self) -> i32 {
        match self {
            Self::Done => 0,
            Self::Stalled => -libc::EPIPE,
            Self::Overflow => -libc::EOVERFLOW,
        }
    }
}

fn word(header: &[u8; HEADER], index: usize) -> u32 {
    let mut bytes = [0; 4];
    let at = header.get(4 * index..).unwrap_or_default();
    for (to, from) in bytes.iter_mut().zip(at) {
        *to = *from;
    }
    u32::from_be_bytes(bytes)
}

/// Decodes a header. None for an unknown command and for isochronous transfers.
pub(super) fn request(header: &[u8; HEADER]) -> Option<Request> {
    let sequence = word(header, 1);
    match word(header, 0) {
        SUBMIT => {
            let number = u8::try_from(word(header, 4)).ok().filter(|number| *number < 16)?;
            let direction = if word(header, 3) == 0 { 0 } else { 0x80 };
            let length = Some(word(header, 6)).filter(|length| *length <= MAX_TRANSFER)?;
            // The number of packets: 0 or -1 except for isochronous transfers.
            if !matches!(word(header, 8), 0 | u32::MAX) {
                return None;
            }
            let (_, setup) = header.split_last_chunk()?;
            Some(Request::Submit(Submit {
                sequence,
                endpoint: number | direction,
                length: usize::try_from(length).ok()?,
                setup: *setup,
            }))
        }
        UNLINK => Some(Request::Unlink {
            sequence,
            victim: word(header, 5),
        }),
        _ => None,
    }
}

/// The reply to a transfer. `length` is the number of bytes transferred, `data` the data of an IN transfer.
pub(super) fn submitted(sequence: u32, status: Status, length: usize, data: &[u8], reply: &mut Vec<u8>) {
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    header(
        [RET_SUBMIT, sequence, 0, 0, 0, number(status.number()), length],
        reply,
    );
    reply.extend_from_slice(data);
}

/// The reply to an unlink request: whether the transfer was still pending. If so it gets no reply of its own.
pub(super) fn unlinked(sequence: u32, waited: bool, reply: &mut Vec<u8>) {
    let status = if waited { -libc::ECONNRESET } else { 0 };
    header([RET_UNLINK, sequence, 0, 0, 0, number(status), 0], reply);
}

fn number(status: i32) -> u32 {
    u32::from_be_bytes(status.to_be_bytes())
}

fn header(words: [u32; 7], reply: &mut Vec<u8>) {
    let end = reply.len() + HEADER;
    for word in words {
        reply.extend_from_slice(&word.to_be_bytes());
    }
    reply.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(words: [u32; 10], setup: [u8; 8]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        for (to, word) in header.chunks_mut(4).zip(words) {
            to.copy_from_slice(&word.to_be_bytes());
        }
        header[40..].copy_from_slice(&setup);
        header
    }

    #[test]
    fn a_transfer_has_its_direction_in_the_address() {
        let header = bytes(
            [1, 7, 0x0001_0002, 1, 2, 0x200, 271, 0, 0, 0],
            [1, 2, 3, 4, 5, 6, 7, 8],
        );
        let submit = Submit {
            sequence: 7,
            endpoint: 0x82,
            length: 271,
            setup: [1, 2, 3, 4, 5, 6, 7, 8],
        };
        assert_eq!(submit.follows(), 0);
        assert_eq!(request(&header), Some(Request::Submit(submit)));
        let Some(Request::Submit(out)) = request(&bytes([1, 8, 0, 0, 2, 0, 271, 0, u32::MAX, 0], [0; 8]))
        else {
            panic!("a transfer");
        };
        assert_eq!((out.endpoint, out.follows()), (2, 271));
    }

    #[test]
    fn an_unlink_names_its_victim() {
        let header = bytes([2, 9, 0, 0, 0, 7, 0, 0, 0, 0], [0; 8]);
        assert_eq!(
            request(&header),
            Some(Request::Unlink {
                sequence: 9,
                victim: 7
            })
        );
    }

    #[test]
    fn what_no_device_can_serve_is_refused() {
        for words in [
            [0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            [3, 1, 0, 0, 0, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 16, 0, 0, 0, 0, 0],
            [1, 1, 0, 0, 1, 0, u32::MAX, 0, 0, 0],
            [1, 1, 0, 0, 1, 0, 8, 0, 2, 0],
        ] {
            assert_eq!(request(&bytes(words, [0; 8])), None, "{words:?}");
        }
    }

    #[test]
    fn replies_are_48_bytes_and_data() {
        let mut reply = Vec::new();
        submitted(0x0102_0304, Status::Stalled, 0, &[], &mut reply);
        assert_eq!(reply.len(), HEADER);
        assert_eq!(reply[..8], [0, 0, 0, 3, 1, 2, 3, 4]);
        assert_eq!(reply[20..24], [0xFF, 0xFF, 0xFF, 0xE0]);
        reply.clear();
        submitted(5, Status::Done, 2, b"ab", &mut reply);
        assert_eq!(
            (reply.len(), &reply[24..28], &reply[48..]),
            (50, &[0, 0, 0, 2][..], &b"ab"[..])
        );
        reply.clear();
        unlinked(6, true, &mut reply);
        assert_eq!(
            (reply.len(), &reply[20..24]),
            (HEADER, &[0xFF, 0xFF, 0xFF, 0x98][..])
        );
    }
}
