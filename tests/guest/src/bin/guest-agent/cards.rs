//! Cards that are inserted and removed, in a reader that notifies and in one that is polled.

use crate::path::appear;
use crate::sharing::{plug, standalone};
use crate::simulated::{base_name, Simulated};
use crate::{fact, Result};
use pcsc_client::State;
use pcsc_sim::card::apps::Echo;
use pcsc_sim::card::{Offer, Profile, SimCard};
use pcsc_sim::SimDevice;

pub fn scenario() -> Result<()> {
    for model in ["scr3310", "rutoken-lite"] {
        let device = SimDevice::named(model).ok_or("no such reader")?;
        let base = base_name(device.model());
        let device = plug(Simulated::new(vec![device], 1))?;
        let context = standalone()?;
        for round in 0..3 {
            appear(&context, &base, State::EMPTY)?;
            device.with(|simulated| {
                simulated.insert(0, SimCard::good(Profile::new(&[Offer::T0]), Box::new(Echo)));
            });
            appear(&context, &base, State::PRESENT)?;
            device.with(|simulated| simulated.remove(0));
            appear(&context, &base, State::EMPTY)?;
            fact(&format!("{model}/{round}"), "in and out");
        }
        drop(context);
        device.unplug()?;
    }
    Ok(())
}
