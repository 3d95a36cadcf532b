//! The handle of a further slot of a reader: a device path and the protocol.

use alloc::boxed::Box;
use alloc::vec::Vec;

use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, ScopedProtocol};
use uefi::proto::device_path::build::hardware::Controller;
use uefi::proto::device_path::build::DevicePathBuilder;
use uefi::proto::device_path::DevicePath;
use uefi::proto::usb::io::UsbIo;
use uefi::{Handle, Identify, Status};

use crate::entry::Instance;
use crate::firmware::{install_protocol, open_usb, uninstall_protocol};

/// A slot with a handle of its own.
pub struct Child {
    handle: Handle,
    instance: &'static Instance,
    path: Box<DevicePath>,
    /// Tells the firmware that the child uses the USB interface.
    usb: ScopedProtocol<UsbIo>,
}

impl Child {
    /// Makes a handle for a slot: a device path and the protocol.
    ///
    /// # Errors
    /// Of the boot services; there is no handle then.
    pub fn start(controller: Handle, instance: &'static Instance, slot: u8) -> Result<Child, Status> {
        let path = child_path(controller, slot)?;
        let interface = path.as_ffi_ptr().cast();
        // SAFETY: the interface is the GUID's, and `Child` keeps it.
        let handle = unsafe { boot::install_protocol_interface(None, &DevicePath::GUID, interface) }
            .map_err(|error| error.status())?;
        let remove_path = |status| {
            // SAFETY: installed just above in this function; no other code has used it.
            _ = unsafe { boot::uninstall_protocol_interface(handle, &DevicePath::GUID, interface) };
            status
        };
        install_protocol(Some(handle), instance).map_err(remove_path)?;
        let usb = open_usb(controller, Some(handle)).map_err(|status| {
            _ = uninstall_protocol(handle, instance);
            remove_path(status)
        })?;
        Ok(Child {
            handle,
            instance,
            path,
            usb,
        })
    }

    /// The slot's handle.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Takes the handle away; gives the instance, which is free now.
    ///
    /// # Errors
    /// Gives the child back where another driver still uses it. `Ok(None)` where the handle remains but the
    /// USB interface is gone: the instance's calls fail from then on.
    pub fn stop(self) -> Result<Option<&'static Instance>, (Child, Status)> {
        let Child {
            handle,
            instance,
            path,
            usb,
        } = self;
        let controller = usb.open_params().handle;
        drop(usb);
        let interface = path.as_ffi_ptr().cast();
        let removed = uninstall_protocol(handle, instance).and_then(|()| {
            // SAFETY: the path stays until the end of this function.
            unsafe { boot::uninstall_protocol_interface(handle, &DevicePath::GUID, interface) }
                .map_err(|error| error.status())
        });
        let Err(status) = removed else {
            return Ok(Some(instance));
        };
        match open_usb(controller, Some(handle)) {
            Ok(usb) => Err((
                Child {
                    handle,
                    instance,
                    path,
                    usb,
                },
                status,
            )),
            Err(_) => {
                core::mem::forget(path);
                Ok(None)
            }
        }
    }
}

/// The controller's device path with a controller node for the slot.
fn child_path(controller: Handle, slot: u8) -> Result<Box<DevicePath>, Status> {
    let params = OpenProtocolParams {
        handle: controller,
        agent: boot::image_handle(),
        controller: None,
    };
    // SAFETY: read at once; nothing removes the path meanwhile.
    let parent = unsafe { boot::open_protocol::<DevicePath>(params, OpenProtocolAttributes::GetProtocol) }
        .map_err(|error| error.status())?;
    let mut bytes = Vec::new();
    let mut builder = DevicePathBuilder::with_vec(&mut bytes);
    for node in parent.node_iter() {
        builder = builder.push(&node).map_err(|_| Status::OUT_OF_RESOURCES)?;
    }
    let node = Controller {
        controller_number: slot.into(),
    };
    let path = builder
        .push(&node)
        .and_then(DevicePathBuilder::finalize)
        .map_err(|_| Status::OUT_OF_RESOURCES)?;
    Ok(path.to_boxed())
}
