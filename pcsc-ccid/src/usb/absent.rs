//! Systems whose USB this driver does not support: there is no reader, and the type of a device has no value.

use super::candidate::{Candidate, Place};
use super::error::{Holder, Refusal};
use super::listing::Scan;
use super::pipe::{self, Completion};
use super::signal::Signal;
use crate::shared::Interrupter;
use crate::transport::TransportError;
use std::convert::Infallible;
use std::format;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::vec::Vec;

/// Whether an endpoint can be opened several times.
pub(super) const SHARES_ENDPOINTS: bool = false;

/// Whether the system has a USB that this driver can use.
pub(super) fn is_present() -> bool {
    false
}

fn unsupported() -> io::Error {
    let system = std::env::consts::OS;
    let reason =
        format!("this driver does not know the USB of {system}; there, programs use readers through pcscd");
    io::Error::new(io::ErrorKind::Unsupported, reason)
}

/// Fails.
pub(super) fn scan(_known: &[Candidate], _has_waited: &dyn Fn(Place) -> bool) -> io::Result<Scan> {
    Err(unsupported())
}

/// Whether the failure may be temporary.
pub(super) fn is_transient(_: &io::Error) -> bool {
    false
}

/// The processes that use a reader.
pub(super) fn holders(_port: &str, _node: &Path) -> Vec<Holder> {
    Vec::new()
}

/// A device, open or not, its interface, and its endpoints: there is none.
#[derive(Debug, Clone)]
pub(super) struct Absent(Infallible);

pub(super) type Source = Absent;
pub(super) type Claim = Absent;
pub(super) type Control = Absent;
pub(super) type BulkOut = Absent;
pub(super) type BulkIn = Absent;
pub(super) type InterruptIn = Absent;

impl Absent {
    pub(super) fn open(&self, _place: Place) -> Result<Absent, Refusal> {
        match self.0 {}
    }

    pub(super) fn claim(&self, _interface: u8) -> Result<Claim, Refusal> {
        match self.0 {}
    }

    pub(super) fn number(&self) -> u8 {
        match self.0 {}
    }

    pub(super) fn set_alternate(&self, _alternate: u8) -> Result<(), Refusal> {
        match self.0 {}
    }

    pub(super) fn bulk_out(&self, _address: u8, _signal: &Arc<Signal>) -> Result<BulkOut, Refusal> {
        match self.0 {}
    }

    pub(super) fn bulk_in(&self, _address: u8, _signal: &Arc<Signal>) -> Result<BulkIn, Refusal> {
        match self.0 {}
    }

    pub(super) fn interrupt_in(&self, _address: u8, _signal: &Arc<Signal>) -> Result<InterruptIn, Refusal> {
        match self.0 {}
    }

    pub(super) fn control(&self, _signal: &Arc<Signal>) -> Control {
        match self.0 {}
    }

    pub(super) fn send(
        &mut self,
        _interface: u8,
        _request: u8,
        _value: u16,
        _data: &[u8],
        _timeout: Duration,
    ) -> Result<(), TransportError> {
        match self.0 {}
    }

    pub(super) fn receive(
        &mut self,
        _interface: u8,
        _request: u8,
        _value: u16,
        _into: &mut [u8],
        _timeout: Duration,
    ) -> Result<usize, TransportError> {
        match self.0 {}
    }
}

impl pipe::Pipe for Absent {
    fn submit(&mut self, _buffer: Vec<u8>) {
        match self.0 {}
    }

    fn is_pending(&self) -> bool {
        match self.0 {}
    }

    fn try_complete(&mut self) -> Option<Completion> {
        match self.0 {}
    }

    fn complete(
        &mut self,
        _deadline: Option<Instant>,
        _is_cancellable: bool,
    ) -> Result<Completion, TransportError> {
        match self.0 {}
    }

    fn cancel(&mut self) {
        match self.0 {}
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        match self.0 {}
    }

    fn max_packet_size(&self) -> usize {
        match self.0 {}
    }

    fn is_gone(&self, _within: Duration) -> bool {
        match self.0 {}
    }
}

/// The system's hotplug events.
#[derive(Debug)]
pub(super) struct Events(Infallible);

impl Events {
    pub(super) fn new() -> io::Result<Events> {
        Err(unsupported())
    }

    pub(super) fn stopper(&self) -> Interrupter {
        match self.0 {}
    }

    pub(super) fn wait(&mut self, _needs_rescan: bool) -> io::Result<bool> {
        match self.0 {}
    }
}
