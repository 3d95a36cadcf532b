//! A device that another program serves over TCP, as any USB/IP server does.

use super::port::Port;
use super::Speed;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;

/// USB/IP 1.1.1.
const VERSION: u16 = 0x0111;
/// OP_REQ_IMPORT and OP_REP_IMPORT.
const REQUEST: u16 = 0x8003;
const REPLY: u16 = 0x0003;
/// A bus identifier, padded with NULs.
const BUS_ID: usize = 32;
/// What follows the reply's header: the device's path, bus identifier, numbers and descriptor.
const DEVICE: usize = 256 + BUS_ID + 3 * 4 + 3 * 2 + 6;
/// Where the device's speed is there, in big-endian order: 2 for full speed, 3 for high speed.
const SPEED: usize = 256 + BUS_ID + 2 * 4;

/// A device on this kernel's bus. Dropping it takes it off, and waits until it is off.
#[derive(Debug)]
pub struct Imported {
    port: Port,
}

impl Imported {
    /// Imports the device with this bus identifier from a server.
    ///
    /// # Errors
    /// If the server does not answer or has no such device, or the kernel does not take the device.
    pub fn import(server: SocketAddr, bus_id: &str) -> io::Result<Self> {
        let mut socket = TcpStream::connect(server)?;
        socket.set_nodelay(true)?;
        let mut request = Vec::new();
        for word in [VERSION, REQUEST, 0, 0] {
            request.extend(word.to_be_bytes());
        }
        request.extend(bus_id.as_bytes());
        request.resize(8 + BUS_ID, 0);
        socket.write_all(&request)?;
        let mut header = [0; 8];
        socket.read_exact(&mut header)?;
        let [version, version_low, code, code_low, status @ ..] = header;
        let is_reply =
            [version, version_low] == VERSION.to_be_bytes() && [code, code_low] == REPLY.to_be_bytes();
        if !is_reply || status != [0; 4] {
            return Err(io::Error::other(format!(
                "the USB/IP server answers {header:02X?}"
            )));
        }
        let mut device = [0; DEVICE];
        socket.read_exact(&mut device)?;
        let speed = match device[SPEED..SPEED + 4] {
            [0, 0, 0, 2] => Speed::Full,
            [0, 0, 0, 3] => Speed::High,
            _ => return Err(io::Error::other("a device of a speed that is not known here")),
        };
        Ok(Self {
            port: Port::attach(socket.as_fd(), speed)?,
        })
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        // The kernel may have detached it with the end of its server. Drop cannot report an error.
        let number = self.port.number().ok().flatten();
        let _ = self.port.detach();
        let _ = self.port.wait_until_gone(number);
    }
}
