//! Simulated readers as USB devices of the virtual machine: the device's side of QEMU's `usb-redir`, over
//! `pcsc-sim`.

mod packet;

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use packet::{Request, Status, FIRST_HEADER, HEADER};
use pcsc_sim::SimDevice;

/// The string of the first interface: 1 is the manufacturer and 2 the product.
const INTERFACE_NAME: u8 = 3;
/// English, United States.
const LANGUAGES: [u8; 4] = [4, 3, 0x09, 0x04];

/// What happens to a device.
pub enum Input {
    /// A request of the virtual machine, with its identifier.
    Request(u64, Request),
    /// The device is plugged in, as it was in the beginning.
    Plug,
    /// The device is pulled out.
    Unplug,
    /// The device is pulled out once the host has all answers.
    Leave,
    /// Something is done to it.
    Change(Box<dyn FnOnce(&mut SimDevice) + Send>),
}

/// Makes the device anew each time that it is plugged in.
pub type Factory = Box<dyn Fn() -> SimDevice + Send>;

/// Serves a device until QEMU ends. `inputs` come from `sender`'s clones. Its clock goes `pace` times as fast
/// as the real one.
pub fn serve(
    listener: &UnixListener,
    make: Factory,
    sender: Sender<Input>,
    inputs: Receiver<Input>,
    pace: u32,
) {
    let (mut stream, _) = listener.accept().expect("QEMU");
    let reader = stream.try_clone().expect("a handle");
    thread::spawn(move || read_requests(reader, &sender));
    let mut port = Port {
        device: Some(make()),
        make,
        waiting: VecDeque::new(),
        interrupts: None,
        plugged: Instant::now(),
        pace,
        is_leaving: false,
    };
    let mut reply = packet::hello();
    reply.extend(port.connect());
    // Where QEMU has ended, its requests end too.
    while stream.write_all(&reply).is_ok() {
        let input = match port.ready_in() {
            Some(limit) => inputs.recv_timeout(limit),
            None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        reply.clear();
        match input {
            Ok(input) => port.handle(input, &mut reply),
            Err(RecvTimeoutError::Timeout) => (),
            Err(RecvTimeoutError::Disconnected) => return,
        }
        port.progress(&mut reply);
    }
}

/// Reads until QEMU closes the socket or the device has ended.
fn read_requests(mut stream: UnixStream, inputs: &Sender<Input>) {
    let mut size = FIRST_HEADER;
    let mut next = || -> io::Result<Input> {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header[..size])?;
        size = HEADER;
        let (kind, length, id) = packet::header(&header);
        let mut body = vec![0; length];
        stream.read_exact(&mut body)?;
        let request = packet::decode(kind, id, &body).expect("a whole packet");
        Ok(Input::Request(id, request))
    };
    while let Ok(input) = next() {
        if inputs.send(input).is_err() {
            return;
        }
    }
}

/// A port of the bus, with the device that is plugged into it.
struct Port {
    device: Option<SimDevice>,
    make: Factory,
    /// Bulk IN transfers that wait for data: identifier, endpoint, length.
    waiting: VecDeque<(u64, u8, usize)>,
    /// The endpoint of which interrupt transfers are wanted.
    interrupts: Option<u8>,
    plugged: Instant,
    pace: u32,
    /// [`Input::Leave`] came.
    is_leaving: bool,
}

impl Port {
    fn connect(&self) -> Vec<u8> {
        let Some(device) = &self.device else {
            return Vec::new();
        };
        packet::connect(&device.model().device_descriptor(), &configuration(device))
    }

    fn now(&self) -> Duration {
        self.plugged.elapsed() * self.pace
    }

    /// When a reply that the host waits for is due.
    fn ready_in(&self) -> Option<Duration> {
        let ready = self
            .device
            .as_ref()?
            .ready_at()
            .filter(|_| !self.waiting.is_empty())?;
        Some(ready.saturating_sub(self.now()) / self.pace)
    }

    fn handle(&mut self, input: Input, reply: &mut Vec<u8>) {
        let now = self.now();
        if let Some(device) = &mut self.device {
            device.advance(now.saturating_sub(device.now()));
        }
        match input {
            Input::Plug => {
                self.plugged = Instant::now();
                self.device = Some((self.make)());
                reply.extend(self.connect());
            }
            Input::Unplug => self.unplug(reply),
            Input::Leave => self.is_leaving = true,
            Input::Change(change) => {
                if let Some(device) = &mut self.device {
                    change(device);
                }
            }
            Input::Request(id, request) => self.request(id, request, reply),
        }
    }

    fn unplug(&mut self, reply: &mut Vec<u8>) {
        self.device = None;
        self.waiting.clear();
        self.interrupts = None;
        self.is_leaving = false;
        reply.extend(packet::disconnect());
    }

    fn request(&mut self, id: u64, request: Request, reply: &mut Vec<u8>) {
        let Some(device) = &mut self.device else {
            // Was under way when the device was pulled out.
            return;
        };
        match request {
            Request::Reset => self.waiting.clear(),
            // One configuration, and no alternate settings.
            Request::Configuration(value) => {
                reply.extend(packet::configuration_status(id, value.unwrap_or(1)));
            }
            Request::AltSetting(interface, value) => {
                reply.extend(packet::alt_setting_status(id, interface, value.unwrap_or(0)));
            }
            Request::Interrupts(endpoint, wanted) => {
                self.interrupts = wanted.then_some(endpoint);
                reply.extend(packet::interrupt_status(id, endpoint));
            }
            Request::Cancel(victim) => {
                let found = self.waiting.iter().position(|(waiting, ..)| *waiting == victim);
                if let Some((id, endpoint, _)) = found.and_then(|index| self.waiting.remove(index)) {
                    reply.extend(packet::bulk_end(id, endpoint, Status::Cancelled, 0, &[]));
                }
            }
            Request::Control { setup, data } => {
                let (status, answer) = match control(device, setup, &data) {
                    Some(answer) => (Status::Success, answer),
                    None => (Status::Stall, Vec::new()),
                };
                reply.extend(packet::control_end(id, setup, status, &answer));
            }
            Request::BulkOut { endpoint, data } => {
                let (status, length) = match device.bulk_out(&data) {
                    Ok(()) => (Status::Success, data.len()),
                    Err(_) => (Status::Stall, 0),
                };
                reply.extend(packet::bulk_end(id, endpoint, status, length, &[]));
            }
            Request::BulkIn { endpoint, max } => self.waiting.push_back((id, endpoint, max)),
            Request::Other => (),
        }
    }

    /// Sends what the device has for the host.
    fn progress(&mut self, reply: &mut Vec<u8>) {
        let now = self.now();
        let Some(device) = &mut self.device else {
            return;
        };
        device.advance(now.saturating_sub(device.now()));
        while let Some(&(id, endpoint, max)) = self.waiting.front() {
            match device.bulk_in(max) {
                Ok(None) => break,
                Ok(Some(data)) => {
                    reply.extend(packet::bulk_end(id, endpoint, Status::Success, data.len(), &data));
                }
                Err(_) => reply.extend(packet::bulk_end(id, endpoint, Status::Stall, 0, &[])),
            }
            self.waiting.pop_front();
        }
        if let Some(endpoint) = self.interrupts {
            while let Some(message) = device.interrupt_in() {
                reply.extend(packet::interrupt(endpoint, &message));
            }
        }
        if self.is_leaving && device.ready_at().is_none() {
            self.unplug(reply);
        }
    }
}

fn configuration(device: &SimDevice) -> Vec<u8> {
    pcsc_sim::Model::configuration_descriptor(&[device.model()], INTERFACE_NAME)
}

/// A request on the control pipe: the class's, or one of the standard ones that QEMU passes on (USB 2.0,
/// clause 9.4). `None` is a stall.
fn control(device: &mut SimDevice, setup: [u8; 8], data: &[u8]) -> Option<Vec<u8>> {
    let [kind, request, value, value_high, _, _, low, high] = setup;
    let length = usize::from(u16::from_le_bytes([low, high]));
    let wide = u16::from_le_bytes([value, value_high]);
    let mut answer = match (kind, request) {
        (0x21, _) => device.control_out(request, wide, data).ok().map(|()| Vec::new()),
        (0xA1, _) => device.control_in(request, wide, length).ok(),
        // GET_STATUS, and CLEAR_FEATURE(ENDPOINT_HALT); nothing halts here.
        (0x80..=0x82, 0) => Some(vec![0, 0]),
        (0x02, 1) => Some(Vec::new()),
        (0x80, 6) => match (value_high, value) {
            (1, _) => Some(device.model().device_descriptor().to_vec()),
            (2, 0) => Some(configuration(device)),
            (3, 0) => Some(LANGUAGES.to_vec()),
            (3, 1) => string(device.model().identity.manufacturer.as_deref()),
            (3, 2) => string(device.model().identity.product.as_deref()),
            (3, INTERFACE_NAME) => string(device.model().identity.interface_name.as_deref()),
            _ => None,
        },
        _ => None,
    }?;
    answer.truncate(length);
    Some(answer)
}

/// A string descriptor (clause 9.6.7).
fn string(text: Option<&str>) -> Option<Vec<u8>> {
    let text: Vec<u8> = text?
        .encode_utf16()
        .take(126)
        .flat_map(u16::to_le_bytes)
        .collect();
    let length = u8::try_from(text.len() + 2).ok()?;
    Some([&[length, 3], text.as_slice()].concat())
}
