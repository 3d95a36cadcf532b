//! Writes a record.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pcsc_ccid::internals::lock;
use pcsc_ccid::shared::{InterruptSource, Interrupter};
use pcsc_ccid::transport::{BulkPipe, Transport, TransportError};

use super::line::{digits, Setup, Transfer, CONTROL};
use super::parse::{FORMAT, VERSION};
use super::secrets::Secrets;
use super::RecordedDevice;
use crate::masked;

/// Writes the transfers of one reader. Clones write to the same record.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use pcsc_ccid::reader::{DeviceInfo, ReaderOptions, Reader};
/// use pcsc_sim::usb_record::{RecordedDevice, UsbRecord, UsbRecorder, UsbReplay};
/// use pcsc_sim::{SimDevice, SimHandle};
///
/// let device = SimDevice::named("scr3310").ok_or("no such model")?;
/// let recorded = RecordedDevice::of_model(device.model()).ok_or("no reader")?;
/// let recorder = UsbRecorder::new(&recorded, Vec::new())?;
/// let open = |transport| {
///     Reader::open(transport, DeviceInfo::default(), &recorded.interface, ReaderOptions::default())
/// };
/// let transport = recorder.transport(SimHandle::new(device).transport());
/// open(Box::new(transport) as Box<dyn pcsc_ccid::transport::Transport>)?;
///
/// let replay = UsbReplay::new(UsbRecord::parse(&recorder.output())?);
/// open(Box::new(replay.transport()))?;
/// replay.outcome()?;
/// # Ok(()) }
/// ```
pub struct UsbRecorder<W> {
    shared: Arc<Mutex<Writer<W>>>,
    bulk_out: u8,
    bulk_in: u8,
    interrupt_in: u8,
}

struct Writer<W> {
    out: W,
    /// The first failure. Nothing is written after it.
    failure: Option<io::Error>,
    secrets: Secrets,
    /// The transport's time of the first transfer.
    begin: Option<Duration>,
    /// The time of the last one since then, and when it was.
    last: Duration,
    last_at: Instant,
}

impl<W> Clone for UsbRecorder<W> {
    fn clone(&self) -> UsbRecorder<W> {
        UsbRecorder {
            shared: self.shared.clone(),
            ..*self
        }
    }
}

impl<W: Write + Send + 'static> UsbRecorder<W> {
    /// Begins a record.
    ///
    /// # Errors
    /// That of the first lines. A later one ends the record, see [`UsbRecorder::finish`].
    pub fn new(device: &RecordedDevice, mut out: W) -> io::Result<UsbRecorder<W>> {
        writeln!(out, "{FORMAT} {VERSION}")?;
        writeln!(
            out,
            "# by {} {}",
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION")
        )?;
        let identity = &device.identity;
        let [major, minor] = identity.release.to_be_bytes();
        let (vendor, product) = (identity.vendor_id, identity.product_id);
        writeln!(out, "device {vendor:04x}:{product:04x} {major:x}.{minor:02x}")?;
        for (name, string) in [
            ("manufacturer", &identity.manufacturer),
            ("product", &identity.product),
            ("interface-name", &identity.interface_name),
        ] {
            if let Some(string) = string {
                writeln!(out, "{name} {}", string.replace(char::is_control, "\u{FFFD}"))?;
            }
        }
        writeln!(
            out,
            "descriptors {}",
            digits(&masked::shown(&device.descriptors()))
        )?;
        out.flush()?;
        let interface = &device.interface;
        Ok(UsbRecorder {
            shared: Arc::new(Mutex::new(Writer {
                out,
                failure: None,
                secrets: Secrets::default(),
                begin: None,
                last: Duration::ZERO,
                last_at: Instant::now(),
            })),
            bulk_out: interface.bulk_out.unwrap_or_default(),
            bulk_in: interface.bulk_in.unwrap_or_default(),
            interrupt_in: interface.interrupt_in.map_or(0, |interrupt| interrupt.address),
        })
    }

    /// A transport whose transfers are recorded. Use one transport at a time: the record has one order, and
    /// what is hidden of a message depends on the one before it.
    pub fn transport<T: Transport>(&self, inner: T) -> RecordTransport<T, W> {
        RecordTransport {
            inner,
            recorder: self.clone(),
        }
    }

    /// An interrupt pipe whose messages are recorded.
    pub fn interrupts(&self, inner: Box<dyn InterruptSource>) -> Box<dyn InterruptSource> {
        Box::new(RecordWatch {
            inner,
            recorder: self.clone(),
        })
    }

    /// A copy of the writer in its present state.
    pub fn output(&self) -> W
    where
        W: Clone,
    {
        lock(&self.shared).out.clone()
    }

    /// Whether all was written.
    ///
    /// # Errors
    /// The first failure. The record ends before it.
    pub fn finish(&self) -> io::Result<()> {
        let mut writer = lock(&self.shared);
        match writer.failure.take() {
            Some(failure) => Err(failure),
            None => writer.out.flush(),
        }
    }
}

impl<W: Write> Writer<W> {
    /// Writes a line; `now` is the transport's time, `None` for the interrupt pipe, which has no clock.
    fn note(&mut self, now: Option<Duration>, transfer: &Transfer) {
        let time = match now {
            Some(now) => now.saturating_sub(*self.begin.get_or_insert(now)),
            None => self.last + self.last_at.elapsed(),
        };
        // The two clocks differ in simulations.
        self.last = time.max(self.last);
        self.last_at = Instant::now();
        if self.failure.is_some() {
            return;
        }
        let line = format!("{} {}\n", self.last.as_micros(), transfer.text());
        // A line at a time: a program that is killed leaves whole lines.
        let written = self
            .out
            .write_all(line.as_bytes())
            .and_then(|()| self.out.flush());
        self.failure = written.err();
    }
}

/// A decorator that records what goes by.
pub struct RecordTransport<T, W> {
    inner: T,
    recorder: UsbRecorder<W>,
}

impl<T: Transport, W: Write + Clone + Send + 'static> RecordTransport<T, W> {
    /// See [`UsbRecorder::output`].
    pub fn output(&self) -> W {
        self.recorder.output()
    }
}

impl<T: Transport, W: Write + Send + 'static> RecordTransport<T, W> {
    fn note(&self, transfer: impl FnOnce(&UsbRecorder<W>, &mut Secrets) -> Transfer) {
        let now = self.inner.now();
        let mut writer = lock(&self.recorder.shared);
        let transfer = transfer(&self.recorder, &mut writer.secrets);
        writer.note(Some(now), &transfer);
    }
}

impl<T: Transport, W: Write + Send + 'static> Transport for RecordTransport<T, W> {
    fn send(&mut self, message: &[u8], timeout: Duration) -> Result<(), TransportError> {
        let result = self.inner.send(message, timeout);
        self.note(|recorder, secrets| Transfer::Out {
            endpoint: recorder.bulk_out,
            setup: None,
            data: masked::hide(message, secrets.in_message(message)),
            result,
        });
        result
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> Result<usize, TransportError> {
        let result = self.inner.receive(buffer, timeout);
        let result = result.map(|length| length.min(buffer.len()));
        self.note(|recorder, secrets| {
            let result = result.map(|length| buffer[..length].to_vec());
            if let Ok(reply) = &result {
                secrets.on_reply(reply);
            }
            Transfer::In {
                endpoint: recorder.bulk_in,
                setup: None,
                result,
            }
        });
        result
    }

    fn control_out(
        &mut self,
        request: u8,
        value: u16,
        data: &[u8],
        timeout: Duration,
    ) -> Result<(), TransportError> {
        let result = self.inner.control_out(request, value, data, timeout);
        self.note(|_, secrets| Transfer::Out {
            endpoint: CONTROL,
            setup: Some(Setup { request, value }),
            data: masked::hide(data, secrets.in_request(request, value, data)),
            result,
        });
        result
    }

    fn control_in(
        &mut self,
        request: u8,
        value: u16,
        buffer: &mut [u8],
        timeout: Duration,
    ) -> Result<usize, TransportError> {
        let result = self.inner.control_in(request, value, buffer, timeout);
        let result = result.map(|length| length.min(buffer.len()));
        self.note(|_, _| Transfer::In {
            endpoint: CONTROL,
            setup: Some(Setup { request, value }),
            result: result.map(|length| buffer[..length].to_vec()),
        });
        result
    }

    fn clear_halt(&mut self) -> Result<(), TransportError> {
        let result = self.inner.clear_halt();
        self.note(|_, _| Transfer::ClearHalt(result));
        result
    }

    fn clear_halt_of(&mut self, pipe: BulkPipe) -> Result<(), TransportError> {
        let result = self.inner.clear_halt_of(pipe);
        self.note(|_, _| Transfer::ClearHalt(result));
        result
    }

    /// Not a transfer: the replay passes the time that the driver asks for.
    fn pause(&mut self, time: Duration) -> Result<(), TransportError> {
        self.inner.pause(time)
    }

    fn now(&self) -> Duration {
        self.inner.now()
    }
}

struct RecordWatch<W> {
    inner: Box<dyn InterruptSource>,
    recorder: UsbRecorder<W>,
}

impl<W: Write + Send + 'static> InterruptSource for RecordWatch<W> {
    fn next(
        &mut self,
        deadline: Option<Instant>,
        receive: &mut dyn FnMut(&[u8]),
    ) -> Result<(), TransportError> {
        let recorder = &self.recorder;
        let note = |result: Result<&[u8], TransportError>| {
            lock(&recorder.shared).note(
                None,
                &Transfer::In {
                    endpoint: recorder.interrupt_in,
                    setup: None,
                    result: result.map(<[u8]>::to_vec),
                },
            );
        };
        // Before the driver reacts to it.
        let result = self.inner.next(deadline, &mut |message| {
            note(Ok(message));
            receive(message);
        });
        match result {
            // The host's own doing.
            Ok(()) | Err(TransportError::Timeout | TransportError::Cancelled) => (),
            Err(error) => note(Err(error)),
        }
        result
    }

    fn interrupter(&self) -> Interrupter {
        self.inner.interrupter()
    }
}
