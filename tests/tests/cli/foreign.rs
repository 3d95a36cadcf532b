//! A daemon on a machine of the other byte order, as behind a socket that ssh forwards.

use pcsc_client::Attribute;
use pcsc_tests::scripted::{Answer, Script, Scripted};
use pcsc_wire::{Body, Endian, RequestCode as Call};

use super::*;

/// A daemon of this byte order, whose driver says F 372, D 1, 4 MHz and so on.
fn daemon(endian: Endian) -> Scripted {
    let value = |id: u32| match id {
        id if id == Attribute::CurrentF as u32 => 372,
        id if id == Attribute::CurrentD as u32 => 1,
        id if id == Attribute::CurrentClk as u32 => 4000,
        id if id == Attribute::Maxinput as u32 => 261,
        id if id == Attribute::VendorIfdVersion as u32 => 0x0523_0000,
        id if id == Attribute::ChannelId as u32 => 0x0020_0302,
        _ => 0,
    };
    Scripted::start(Script {
        endian,
        intercept: Some(Box::new(move |call, mut answer, _| {
            if call == Call::GetAttrib {
                let mut body = pcsc_wire::AttributeBody::parse(&answer, endian).expect("an attribute");
                endian.write_u32(&mut body.value[..4], value(body.id));
                body.emit(endian, &mut answer);
            }
            Answer::Send(answer)
        })),
        ..Script::new(4)
    })
}

#[test]
fn numbers_of_a_driver_are_read_in_the_order_of_its_machine() {
    for endian in [Endian::NATIVE, Endian::NATIVE.other()] {
        let daemon = daemon(endian);
        let text = |command: &str| run(&mut pcsc_at(daemon.path(), &[command]), LIMIT).stdout();
        has(
            &text("atr"),
            &["speed in use: 10752 bit/s (F 372, D 1, 4000 kHz)"],
        );
        has(
            &text("features"),
            &[
                "CHANNEL_ID: USB 003/002",
                "MAXINPUT: 261 bytes",
                "VENDOR_IFD_VERSION: 5.23",
            ],
        );
        has(&text("list"), &["device 003/002"]);
    }
}
