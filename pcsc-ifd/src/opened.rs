//! A reader whose device is open: what a [`Channel`](crate::channel::Channel) is made of.

#![forbid(unsafe_code)]

use crate::events::Events;
use crate::watcher::Watcher;
use pcsc_ccid::descriptor::Interface;
use pcsc_ccid::reader;
use pcsc_ccid::transport::Transport;
use std::sync::Arc;

/// The transport of a USB reader or of a simulated one.
pub type AnyTransport = Box<dyn Transport>;

/// A reader whose interface is claimed.
pub struct OpenedReader {
    /// Carries its commands.
    pub transport: AnyTransport,
    /// Its descriptors.
    pub interface: Interface,
    /// Its numbers and strings.
    pub identity: reader::DeviceInfo,
    /// The device name that it was opened by.
    pub name: String,
    /// Its card events.
    pub events: Arc<Events>,
    /// The thread that reads the interrupt pipe. None for a simulated reader and for one that has to be
    /// polled.
    pub watcher: Option<Watcher>,
    /// Cancels the current exchange, from any thread.
    pub cancel: Option<Box<dyn Fn() + Send + Sync>>,
}
