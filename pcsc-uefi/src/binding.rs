//! EFI_DRIVER_BINDING_PROTOCOL and EFI_COMPONENT_NAME2_PROTOCOL: the firmware asks which USB interfaces are
//! readers, and has the driver start and stop them (UEFI specification, chapter "Protocols — UEFI Driver
//! Model").

use core::cell::RefCell;
use core::ffi::CStr;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicPtr, Ordering};

use alloc::boxed::Box;
use alloc::rc::Rc;
use alloc::string::String;
use alloc::vec::Vec;

use pcsc_ccid::names;
use uefi::boot::{self, ScopedProtocol, SearchType};
use uefi::proto::loaded_image::LoadedImage;
use uefi::proto::usb::io::UsbIo;
use uefi::{cstr16, CStr16, CString16, Handle, ResultExt, Status};
use uefi_raw::protocol::device_path::DevicePathProtocol;
use uefi_raw::protocol::driver::{ComponentName2Protocol, DriverBindingProtocol};

use crate::child::Child;
use crate::device::{self, Device};
use crate::entry::{Instance, Retired};
use crate::firmware::{install_protocol, open_usb, uninstall_protocol};
use crate::slot::{SharedDevice, Slot};

/// The least version of a driver that comes with a device, as opposed to one of the firmware's.
const VERSION: u32 = 0x10;
/// What the driver is called, and in which languages.
const NAME: &CStr16 = cstr16!("Smart card reader driver (CCID)");
const LANGUAGES: &CStr = c"en";

/// The installed driver. The firmware's callbacks carry no context of their own.
static DRIVER: AtomicPtr<Driver> = AtomicPtr::new(core::ptr::null_mut());

/// The driver: its protocols and the readers that it manages.
struct Driver {
    binding: DriverBindingProtocol,
    names: ComponentName2Protocol,
    readers: RefCell<Vec<Managed>>,
    retired: Retired,
}

/// A reader that was started. Fields are dropped in this order: nothing uses the USB interface when it is
/// closed.
struct Managed {
    controller: Handle,
    /// The reader's name without its numbers, for EFI_COMPONENT_NAME2_PROTOCOL.
    name: CString16,
    /// All names, which later readers must not have.
    slot_names: Vec<String>,
    device: SharedDevice,
    /// The protocol on the controller's own handle.
    first: &'static Instance,
    children: Vec<Child>,
    #[expect(dead_code, reason = "held open until the reader stops")]
    usb: ScopedProtocol<UsbIo>,
}

/// Installs the driver on this image's handle.
///
/// # Errors
/// Of the boot services; nothing is installed then.
pub fn install() -> uefi::Result {
    let image = boot::image_handle();
    let driver = Box::leak(Box::new(Driver {
        binding: DriverBindingProtocol {
            supported,
            start,
            stop,
            version: VERSION,
            image_handle: image.as_ptr(),
            driver_binding_handle: image.as_ptr(),
        },
        names: ComponentName2Protocol {
            get_driver_name,
            get_controller_name,
            supported_languages: LANGUAGES.as_ptr().cast(),
        },
        readers: RefCell::new(Vec::new()),
        retired: Retired::default(),
    }));
    DRIVER.store(driver, Ordering::Release);
    let binding = (&raw const driver.binding).cast();
    // SAFETY: the interface is the GUID's, and is leaked.
    unsafe { boot::install_protocol_interface(Some(image), &DriverBindingProtocol::GUID, binding)? };
    let names = (&raw const driver.names).cast();
    // SAFETY: as above.
    unsafe { boot::install_protocol_interface(Some(image), &ComponentName2Protocol::GUID, names) }
        .inspect_err(|_| {
            // SAFETY: installed just above in this function; no other code has used it.
            _ = unsafe { boot::uninstall_protocol_interface(image, &DriverBindingProtocol::GUID, binding) };
        })?;
    let mut loaded = boot::open_protocol_exclusive::<LoadedImage>(image)?;
    // SAFETY: `unload` stops the driver before the image goes.
    unsafe { loaded.set_unload(unload) };
    Ok(())
}

/// The installed driver.
fn driver() -> Option<&'static Driver> {
    // SAFETY: NULL, or the driver that `install` has leaked.
    unsafe { DRIVER.load(Ordering::Acquire).as_ref() }
}

/// Stops all readers and takes the driver's protocols away.
extern "efiapi" fn unload(image: Handle) -> Status {
    unload_driver(image).status()
}

fn unload_driver(image: Handle) -> uefi::Result {
    let driver = driver().ok_or(Status::NOT_FOUND)?;
    for handle in boot::locate_handle_buffer(SearchType::AllHandles)?.iter() {
        // Most handles are none of this driver's, which is an error here.
        _ = boot::disconnect_controller(*handle, Some(image), None);
    }
    let is_idle = driver
        .readers
        .try_borrow()
        .is_ok_and(|readers| readers.is_empty());
    if !is_idle {
        return Err(Status::ACCESS_DENIED.into());
    }
    let names = (&raw const driver.names).cast();
    let binding = (&raw const driver.binding).cast();
    // SAFETY: no reader is managed, so that no call is in progress.
    unsafe {
        boot::uninstall_protocol_interface(image, &ComponentName2Protocol::GUID, names)?;
        boot::uninstall_protocol_interface(image, &DriverBindingProtocol::GUID, binding)
    }
}

/// The handle that a callback was given.
fn handle(raw: uefi_raw::Handle) -> Result<Handle, Status> {
    // SAFETY: the firmware gives valid handles.
    unsafe { Handle::from_ptr(raw) }.ok_or(Status::INVALID_PARAMETER)
}

unsafe extern "efiapi" fn supported(
    _this: *const DriverBindingProtocol,
    controller: uefi_raw::Handle,
    _remaining: *const DevicePathProtocol,
) -> Status {
    let checked = handle(controller)
        .and_then(|controller| open_usb(controller, None))
        .map(|mut usb| device::is_reader(&mut usb));
    match checked {
        Ok(true) => Status::SUCCESS,
        Ok(false) => Status::UNSUPPORTED,
        // EFI_ALREADY_STARTED and EFI_ACCESS_DENIED are the answers then.
        Err(status) => status,
    }
}

unsafe extern "efiapi" fn start(
    _this: *const DriverBindingProtocol,
    controller: uefi_raw::Handle,
    _remaining: *const DevicePathProtocol,
) -> Status {
    let started = handle(controller).and_then(|controller| {
        let driver = driver().ok_or(Status::NOT_READY)?;
        let mut readers = driver
            .readers
            .try_borrow_mut()
            .map_err(|_| Status::ACCESS_DENIED)?;
        let managed = Managed::start(controller, &readers, &driver.retired)?;
        readers.push(managed);
        Ok(())
    });
    started.err().unwrap_or(Status::SUCCESS)
}

unsafe extern "efiapi" fn stop(
    _this: *const DriverBindingProtocol,
    controller: uefi_raw::Handle,
    number_of_children: usize,
    child_handles: *const uefi_raw::Handle,
) -> Status {
    let children = match (number_of_children, child_handles.is_null()) {
        (0, _) => &[],
        (_, true) => return Status::INVALID_PARAMETER,
        // SAFETY: not NULL, so that many handles, as the firmware promises.
        (count, false) => unsafe { core::slice::from_raw_parts(child_handles, count) },
    };
    let stopped = handle(controller).and_then(|controller| {
        let driver = driver().ok_or(Status::DEVICE_ERROR)?;
        let mut readers = driver
            .readers
            .try_borrow_mut()
            .map_err(|_| Status::DEVICE_ERROR)?;
        let index = readers
            .iter()
            .position(|reader| reader.controller == controller)
            .ok_or(Status::DEVICE_ERROR)?;
        if number_of_children > 0 {
            return readers[index].stop_children(children, &driver.retired);
        }
        readers[index].stop(&driver.retired)?;
        readers.remove(index);
        Ok(())
    });
    stopped.err().unwrap_or(Status::SUCCESS)
}

impl Managed {
    /// Opens the reader and installs the protocol for each of its slots.
    fn start(controller: Handle, others: &[Managed], retired: &Retired) -> Result<Managed, Status> {
        let mut usb = open_usb(controller, None)?;
        // SAFETY: `usb` is closed after the device, by the order of fields, or at the end of this function.
        let (device, base) = unsafe { Device::open(NonNull::from(&mut *usb))? };
        let in_use = others
            .iter()
            .flat_map(|reader| &reader.slot_names)
            .map(String::as_str);
        let number = names::free_number(in_use).ok_or(Status::OUT_OF_RESOURCES)?;
        let slot_names: Vec<String> = (0..device.slots())
            .map(|slot| names::name(&base, number, slot))
            .collect();
        let device: SharedDevice = Rc::new(RefCell::new(Some(device)));
        let instance =
            |slot: u8, name: &String| retired.instance(Slot::new(device.clone(), slot, name.clone()));
        let first = instance(0, slot_names.first().ok_or(Status::DEVICE_ERROR)?);
        install_protocol(Some(controller), first).inspect_err(|_| retired.keep(first))?;
        let mut children = Vec::new();
        let mut failed = None;
        for (name, slot) in slot_names.iter().zip(0..).skip(1) {
            let instance = instance(slot, name);
            match Child::start(controller, instance, slot) {
                Ok(child) => children.push(child),
                Err(status) => {
                    retired.keep(instance);
                    failed = Some(status);
                    break;
                }
            }
        }
        let mut managed = Managed {
            controller,
            name: CString16::try_from(base.as_str()).unwrap_or_default(),
            slot_names,
            device,
            first,
            children,
            usb,
        };
        if let Some(status) = failed {
            let handles: Vec<_> = managed
                .children
                .iter()
                .map(|child| child.handle().as_ptr())
                .collect();
            managed.stop_children(&handles, retired)?;
            managed.stop(retired)?;
            return Err(status);
        }
        Ok(managed)
    }

    /// Takes the protocol away and closes the reader.
    fn stop(&mut self, retired: &Retired) -> Result<(), Status> {
        if !self.children.is_empty() {
            return Err(Status::DEVICE_ERROR);
        }
        uninstall_protocol(self.controller, self.first)?;
        // Instances stay, for programs that still have their pointers; the reader goes now.
        let mut device = self.device.try_borrow_mut().map_err(|_| Status::DEVICE_ERROR)?;
        drop(device.take());
        retired.keep(self.first);
        Ok(())
    }

    /// Takes the protocol off some children's handles.
    fn stop_children(&mut self, handles: &[uefi_raw::Handle], retired: &Retired) -> Result<(), Status> {
        let mut failed = None;
        for raw in handles {
            let Some(index) = self
                .children
                .iter()
                .position(|child| child.handle().as_ptr() == *raw)
            else {
                continue;
            };
            let child = self.children.remove(index);
            match child.stop() {
                Ok(instance) => instance.into_iter().for_each(|instance| retired.keep(instance)),
                Err((child, status)) => {
                    self.children.push(child);
                    failed = Some(status);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

/// Whether the caller wants one of the languages that there are.
///
/// # Safety
/// `language` is NULL or a C string.
unsafe fn check_language(language: *const u8) -> Result<(), Status> {
    if language.is_null() {
        return Err(Status::INVALID_PARAMETER);
    }
    // SAFETY: not NULL, so a C string, as the caller promises.
    match unsafe { CStr::from_ptr(language.cast()) } == LANGUAGES {
        true => Ok(()),
        false => Err(Status::UNSUPPORTED),
    }
}

unsafe extern "efiapi" fn get_driver_name(
    _this: *const ComponentName2Protocol,
    language: *const u8,
    name: *mut *const u16,
) -> Status {
    // SAFETY: as the protocol's callers promise.
    if let Err(status) = unsafe { check_language(language) } {
        return status;
    }
    if name.is_null() {
        return Status::INVALID_PARAMETER;
    }
    // SAFETY: not NULL, so writable, as the protocol's callers promise.
    unsafe { name.write(NAME.as_ptr().cast()) };
    Status::SUCCESS
}

unsafe extern "efiapi" fn get_controller_name(
    _this: *const ComponentName2Protocol,
    controller: uefi_raw::Handle,
    child: uefi_raw::Handle,
    language: *const u8,
    name: *mut *const u16,
) -> Status {
    // SAFETY: as the protocol's callers promise.
    if let Err(status) = unsafe { check_language(language) } {
        return status;
    }
    if name.is_null() || controller.is_null() {
        return Status::INVALID_PARAMETER;
    }
    let Some(readers) = driver().and_then(|driver| driver.readers.try_borrow().ok()) else {
        return Status::UNSUPPORTED;
    };
    let found = readers
        .iter()
        .filter(|reader| reader.controller.as_ptr() == controller)
        .find(|reader| {
            child.is_null()
                || reader
                    .children
                    .iter()
                    .any(|known| known.handle().as_ptr() == child)
        });
    match found {
        Some(reader) => {
            // SAFETY: not NULL, so writable, as the protocol's callers promise. The name lives until `stop`.
            unsafe { name.write(reader.name.as_ptr().cast()) };
            Status::SUCCESS
        }
        None => Status::UNSUPPORTED,
    }
}
