//! Protocols of handles, by the boot services.

use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::usb::io::UsbIo;
use uefi::{Handle, Identify, Status};

use crate::abi::SmartCardReaderProtocol;
use crate::entry::Instance;

/// Opens the USB interface of `controller`, for the driver itself or for one of its children.
pub fn open_usb(controller: Handle, child: Option<Handle>) -> Result<ScopedProtocol<UsbIo>, Status> {
    let params = OpenProtocolParams {
        handle: controller,
        agent: boot::image_handle(),
        controller: Some(child.unwrap_or(controller)),
    };
    let attributes = match child {
        Some(_) => OpenProtocolAttributes::ByChildController,
        None => OpenProtocolAttributes::ByDriver,
    };
    // SAFETY: the firmware calls `stop` before the interface goes, and `stop` closes it.
    unsafe { boot::open_protocol(params, attributes) }.map_err(|error| error.status())
}

/// Installs a slot's protocol; on a new handle where there is none.
pub fn install_protocol(handle: Option<Handle>, instance: &'static Instance) -> Result<(), Status> {
    // SAFETY: the interface is the GUID's, and is never freed.
    unsafe {
        boot::install_protocol_interface(handle, &SmartCardReaderProtocol::GUID, instance.as_ptr().cast())
    }
    .map(drop)
    .map_err(|error| error.status())
}

/// Takes a slot's protocol off its handle.
pub fn uninstall_protocol(handle: Handle, instance: &'static Instance) -> Result<(), Status> {
    // SAFETY: programs that still have the pointer get errors, since the instance is never freed.
    unsafe {
        boot::uninstall_protocol_interface(handle, &SmartCardReaderProtocol::GUID, instance.as_ptr().cast())
    }
    .map_err(|error| error.status())
}
