//! One endpoint of an open device.

use super::super::pipe::{Completion, Pipe};
use super::super::signal::Signal;
use super::reactor::{self, Reactor, Role};
use crate::transport::TransportError;
use pcsc_usbfs::{Transfer, TransferKind};
use rustix::io::Errno;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// One endpoint, with the transfer that it uses again and again.
#[derive(Debug)]
pub(in crate::usb) struct UsbfsPipe {
    reactor: Arc<Reactor>,
    role: Role,
    signal: Arc<Signal>,
    token: usize,
    endpoint: u8,
    max_packet_size: usize,
    /// The transfer, while the kernel does not own it.
    idle: Option<Transfer>,
}

impl UsbfsPipe {
    /// A pipe that only the thread of `signal` waits for.
    pub(super) fn new(
        reactor: &Arc<Reactor>,
        signal: &Arc<Signal>,
        kind: TransferKind,
        endpoint: u8,
        max_packet_size: usize,
    ) -> UsbfsPipe {
        let token = reactor.reserve(signal);
        UsbfsPipe {
            reactor: reactor.clone(),
            role: match kind {
                TransferKind::Interrupt => Role::Watch,
                TransferKind::Bulk | TransferKind::Control => Role::Exchange,
            },
            signal: signal.clone(),
            token,
            endpoint,
            max_packet_size,
            idle: Some(Transfer::new(kind, endpoint, token)),
        }
    }

    /// Takes the buffer out of a transfer that has ended.
    fn finish(&mut self, (mut transfer, result): (Transfer, Result<(), TransportError>)) -> Completion {
        let length = transfer.actual_length();
        let mut buffer = transfer.take_buffer();
        match self.endpoint {
            // The length of a control transfer does not include the setup packet.
            0 => buffer.truncate(8 + length),
            0x80.. => buffer.truncate(length),
            // What was sent stays whole, since the caller wipes it.
            _ => (),
        }
        self.idle = Some(transfer);
        Completion { buffer, result }
    }
}

impl Drop for UsbfsPipe {
    fn drop(&mut self) {
        // The slot of a transfer that the kernel still owns is not reused.
        if self.idle.is_some() {
            self.reactor.free(self.token);
        }
    }
}

impl Pipe for UsbfsPipe {
    fn submit(&mut self, buffer: Vec<u8>) {
        let Some(mut transfer) = self.idle.take() else {
            return;
        };
        transfer.set_buffer(buffer);
        // A refused transfer ends with its error, so that callers get errors in one place, from `complete`.
        if let Err((transfer, errno)) = self.reactor.device().submit(transfer) {
            self.reactor.end(transfer, Err(reactor::error(errno)));
        }
    }

    fn is_pending(&self) -> bool {
        self.idle.is_none()
    }

    fn try_complete(&mut self) -> Option<Completion> {
        let ended = self.reactor.take_ended(self.token)?;
        Some(self.finish(ended))
    }

    fn complete(
        &mut self,
        deadline: Option<Instant>,
        is_cancellable: bool,
    ) -> Result<Completion, TransportError> {
        let token = self.token;
        let take = |reactor: &Reactor| reactor.take_ended(token);
        let ended = self
            .reactor
            .wait(self.role, &self.signal, deadline, is_cancellable, take)?;
        Ok(self.finish(ended))
    }

    fn cancel(&mut self) {
        self.reactor.device().cancel(self.token);
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        match self.reactor.device().clear_halt(self.endpoint) {
            Ok(()) => Ok(()),
            Err(Errno::NODEV) => Err(TransportError::Gone),
            Err(_) => Err(TransportError::Fault),
        }
    }

    fn max_packet_size(&self) -> usize {
        self.max_packet_size
    }

    fn is_gone(&self, within: Duration) -> bool {
        self.reactor.is_gone(within)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fd::OwnedFd;
    use std::vec;

    /// A reactor over a file descriptor on which nothing ever ends.
    fn reactor() -> (Arc<Reactor>, OwnedFd) {
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        (Reactor::new(reader).unwrap(), writer)
    }

    #[test]
    fn a_pipe_whose_device_refuses_ends_with_the_error() {
        let (reactor, _writer) = reactor();
        let mut pipe = UsbfsPipe::new(&reactor, &Arc::default(), TransferKind::Bulk, 0x82, 64);
        for _ in 0..3 {
            pipe.submit(vec![0; 64]);
            assert!(pipe.is_pending());
            // No device: ENOTTY.
            assert_eq!(pipe.wait(None).unwrap().result, Err(TransportError::Fault));
            assert!(!pipe.is_pending());
        }
        assert_eq!(pipe.clear_halt(), Err(TransportError::Fault));
        assert!(pipe.reclaim().unwrap().is_none());
    }

    #[test]
    fn places_of_pipes_are_used_again() {
        let (reactor, _writer) = reactor();
        for _ in 0..5 {
            let signal = Arc::default();
            let pipe = |endpoint| UsbfsPipe::new(&reactor, &signal, TransferKind::Bulk, endpoint, 64);
            let pipes = [0x01, 0x82, 0x83].map(pipe);
            assert_eq!(pipes.map(|pipe| pipe.token), [0, 1, 2]);
        }
    }
}
