//! The USB/IP devices themselves, seen by the kernel and by nusb: were these wrong, every other scenario
//! would be about nothing.

use crate::loopback::{Loopback, GIVE, KEEP, NUMBERS, REFUSE};
use crate::{fact, hex, Result, LIMIT};
use nusb::transfer::{
    Buffer, Bulk, Completion, ControlIn, ControlOut, ControlType, In, Interrupt, Out, Recipient,
};
use nusb::{DeviceInfo, Endpoint, Interface, MaybeFuture};
use pcsc_guest_tests::usbip::{Outcome, Plugged, Speed};
use std::time::{Duration, Instant};

/// How long to wait for what never comes.
const SHORT: Duration = Duration::from_millis(50);

/// Every kind of transfer, with every kind of end.
pub fn scenario() -> Result<()> {
    let [first, second] = ["0001", "0002"].map(plug);
    let (device, other) = (first?, second?);
    let found = [find("0001")?, find("0002")?];
    for info in &found {
        let strings = [
            info.manufacturer_string(),
            info.product_string(),
            info.serial_number(),
        ];
        fact("strings", strings.map(Option::unwrap_or_default).join("|"));
    }
    let [info, other_info] = found;
    fact("speed", format!("{:?} {:?}", info.speed(), other_info.speed()));

    let interface = claim(&info)?;
    control(&interface)?;
    interface.set_alt_setting(1).wait()?;
    fact("alternate", device.with(|function| function.alternate));
    let mut bulk_out = interface.endpoint::<Bulk, Out>(0x01)?;
    let mut bulk_in = interface.endpoint::<Bulk, In>(0x81)?;
    around(&mut bulk_out, &mut bulk_in)?;
    waiting(&device, &mut bulk_out, &mut bulk_in)?;
    failing(&device, &mut bulk_out, &mut bulk_in)?;

    let mut interrupt = interface.endpoint::<Interrupt, In>(0x82)?;
    interrupt.submit(Buffer::new(16));
    device.with(|function| function.interrupts.push_back(vec![7, 8, 9]));
    fact("interrupt", end(interrupt.wait_next_complete(LIMIT)));

    interrupt.submit(Buffer::new(16));
    bulk_in.submit(Buffer::new(64));
    device.unplug()?;
    fact("unplugged-bulk", end(bulk_in.wait_next_complete(LIMIT)));
    fact("unplugged-interrupt", end(interrupt.wait_next_complete(LIMIT)));
    fact(
        "unplugged-control",
        format!("{:?}", interface.control_in(vendor_in(4), LIMIT).wait()),
    );

    let interface = claim(&other_info)?;
    control(&interface)?;
    Ok(other.unplug()?)
}

fn plug(serial: &str) -> Result<Plugged<Loopback>> {
    let device = Plugged::plug(Loopback::new(serial), Speed::Full)?;
    if !device.configured(LIMIT) {
        return Err("the kernel has not configured the device".into());
    }
    Ok(device)
}

/// The device as nusb sees it.
fn find(serial: &str) -> Result<DeviceInfo> {
    let mut devices = nusb::list_devices().wait()?;
    let found = devices.find(|info| {
        (info.vendor_id(), info.product_id()) == NUMBERS && info.serial_number() == Some(serial)
    });
    found.ok_or_else(|| format!("nusb does not see device {serial}").into())
}

/// Claims the device's interface. The kernel chooses a configuration before it makes the interfaces that
/// belong to it.
fn claim(info: &DeviceInfo) -> Result<Interface> {
    let end = Instant::now() + LIMIT;
    let device = info.open().wait()?;
    loop {
        match device.claim_interface(0).wait() {
            Err(error) if error.kind() == nusb::ErrorKind::NotFound && Instant::now() < end => {
                std::thread::yield_now()
            }
            result => return Ok(result?),
        }
    }
}

fn vendor_in(length: u16) -> ControlIn {
    ControlIn {
        control_type: ControlType::Vendor,
        recipient: Recipient::Interface,
        request: GIVE,
        value: 0,
        index: 0,
        length,
    }
}

fn control(interface: &Interface) -> Result<()> {
    let out = |request, data| ControlOut {
        control_type: ControlType::Vendor,
        recipient: Recipient::Interface,
        request,
        value: 0,
        index: 0,
        data,
    };
    let data: Vec<u8> = (0..=255).chain(0..44).collect();
    interface.control_out(out(KEEP, &data), LIMIT).wait()?;
    fact(
        "control-whole",
        interface.control_in(vendor_in(300), LIMIT).wait()? == data,
    );
    fact(
        "control-more",
        interface.control_in(vendor_in(1000), LIMIT).wait()? == data,
    );
    fact(
        "control-less",
        hex(&interface.control_in(vendor_in(4), LIMIT).wait()?),
    );
    fact(
        "control-refused",
        format!("{:?}", interface.control_out(out(REFUSE, &[]), LIMIT).wait()),
    );
    fact(
        "control-after",
        hex(&interface.control_in(vendor_in(4), LIMIT).wait()?),
    );
    Ok(())
}

/// Transfers of many lengths, there and back.
fn around(bulk_out: &mut Endpoint<Bulk, Out>, bulk_in: &mut Endpoint<Bulk, In>) -> Result<()> {
    for length in [0, 1, 63, 64, 65, 512, 4096, 65_536] {
        let data: Vec<u8> = (0..=255).cycle().take(length).collect();
        let sent = bulk_out.transfer_blocking(data.clone().into(), LIMIT);
        let back = bulk_in.transfer_blocking(Buffer::new(65_536), LIMIT);
        let equal = back.status.is_ok() && back.buffer.get(..back.actual_len) == Some(&data);
        fact(&format!("bulk-{length}"), format!("{} {equal}", sent.actual_len));
    }
    Ok(())
}

/// Transfers that wait: for ever, until data comes, until a device is ready.
fn waiting(
    device: &Plugged<Loopback>,
    bulk_out: &mut Endpoint<Bulk, Out>,
    bulk_in: &mut Endpoint<Bulk, In>,
) -> Result<()> {
    fact(
        "waits-for-ever",
        end(Some(bulk_in.transfer_blocking(Buffer::new(64), SHORT))),
    );
    let unlinked = device
        .log()
        .iter()
        .filter(|transfer| transfer.outcome == Outcome::Unlinked)
        .count();
    fact("unlinked", unlinked);

    for _ in 0..3 {
        bulk_in.submit(Buffer::new(64));
    }
    for byte in 1..=3 {
        bulk_out.transfer_blocking(vec![byte; 3].into(), LIMIT).status?;
    }
    let order: Vec<_> = (0..3).map(|_| end(bulk_in.wait_next_complete(LIMIT))).collect();
    fact("order", order.join(" "));

    let start = Instant::now();
    device.with(|function| function.hold = Some(start + SHORT));
    bulk_out
        .transfer_blocking(b"late".to_vec().into(), LIMIT)
        .status?;
    let late = bulk_in.transfer_blocking(Buffer::new(64), LIMIT);
    fact(
        "late",
        format!("{} {}", end(Some(late)), start.elapsed() >= SHORT),
    );
    Ok(())
}

/// Transfers that the device refuses, or whose buffer is too small.
fn failing(
    device: &Plugged<Loopback>,
    bulk_out: &mut Endpoint<Bulk, Out>,
    bulk_in: &mut Endpoint<Bulk, In>,
) -> Result<()> {
    device.with(|function| function.halt = true);
    fact(
        "halts",
        end(Some(bulk_in.transfer_blocking(Buffer::new(64), LIMIT))),
    );
    bulk_out
        .transfer_blocking(b"kept".to_vec().into(), LIMIT)
        .status?;
    fact(
        "still-halted",
        end(Some(bulk_in.transfer_blocking(Buffer::new(64), LIMIT))),
    );
    bulk_in.clear_halt().wait()?;
    fact("cleared", hex(&device.with(|function| function.cleared.clone())));
    fact(
        "after-halt",
        end(Some(bulk_in.transfer_blocking(Buffer::new(64), LIMIT))),
    );

    bulk_out.transfer_blocking(vec![0; 100].into(), LIMIT).status?;
    fact(
        "too-much",
        end(Some(bulk_in.transfer_blocking(Buffer::new(64), LIMIT))),
    );
    Ok(())
}

/// How a transfer towards the host has ended: its data, or the error's name.
fn end(completion: Option<Completion>) -> String {
    match completion {
        None => "nothing".into(),
        Some(Completion {
            status: Err(error), ..
        }) => format!("{error:?}"),
        Some(Completion {
            buffer, actual_len, ..
        }) => hex(buffer.get(..actual_len).unwrap_or_default()),
    }
}
