//! One device with a keyboard and two readers, as the OMNIKEY 5422 is two readers.

use crate::path::Host;
use crate::simulated::{base_name, Simulated};
use crate::{fact, hex, Result, LIMIT};
use pcsc_guest_tests::usbip::{Plugged, Speed};
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::{Model, SimDevice};

const PACE: u32 = 16;

/// The interfaces that are readers, each with the protocol of its card.
const INTERFACES: [(&str, Offer); 2] = [
    ("OMNIKEY 5422CL Smartcard Reader", Offer::T1),
    ("OMNIKEY 5422 Smartcard Reader", Offer::T0),
];

/// Both readers at once. Facts begin with the number of the reader.
pub fn scenario(host: &mut dyn Host) -> Result<()> {
    let models = (1..)
        .zip(INTERFACES)
        .map(|(number, (name, _))| model(number, name));
    let models = models.collect::<Result<Vec<_>>>()?;
    let names: Vec<_> = models.iter().map(base_name).collect();
    let mut device = Simulated::new(models.into_iter().map(SimDevice::new).collect(), PACE).with_keyboard();
    for (index, (name, offer)) in INTERFACES.iter().enumerate() {
        let mut profile = Profile::new(&[*offer]);
        profile.historical = name.bytes().filter(u8::is_ascii_digit).collect();
        let reader = device.reader(index).ok_or("no such reader")?;
        reader.insert(0, Box::new(SimCard::good(profile, Box::new(Echo))));
    }
    let device = Plugged::plug(device, Speed::Full)?;
    if !device.configured(LIMIT) {
        return Err("the kernel has not configured the device".into());
    }
    let parts: Vec<&str> = names.iter().map(String::as_str).collect();
    host.begin(&parts)?;
    let mut paths = Vec::new();
    for name in &names {
        paths.push(host.connect(name)?);
    }
    for (number, path) in paths.iter_mut().enumerate() {
        fact(&format!("{number}/reader"), path.reader());
        fact(&format!("{number}/atr"), hex(&path.atr()?));
        fact(&format!("{number}/protocol"), path.protocol().unwrap_or(u8::MAX));
    }
    // In turns: neither takes what is the other's.
    for length in [1, 60, 200, 255_u8] {
        for (number, path) in paths.iter_mut().enumerate() {
            let command = [0x80, 0xEE, 0, length, length];
            fact(&format!("{number}/echo-{length}"), hex(&path.transmit(&command)?));
        }
    }
    drop(paths);
    host.end();
    device.unplug()?;
    Ok(())
}

fn model(number: u8, name: &str) -> Result<Model> {
    let device = SimDevice::named("omnikey-3x21").ok_or("no such reader")?;
    let mut model = device.model().clone();
    model.identity.product_id = 0x5422;
    model.identity.product = Some("OMNIKEY 5422 Smartcard Reader".into());
    model.identity.interface_name = Some(name.into());
    model.number = number;
    Ok(model)
}
