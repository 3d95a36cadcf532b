//! Lists the readers on the USB. With a number, opens the reader of that line, asks for its slot's status,
//! powers its card on and shows the messages both ways; with `watch`, shows readers as they come and go.

use pcsc_ccid::message::{CommandMessage, Voltage, HEADER_SIZE};
use pcsc_ccid::shared::Notifications;
use pcsc_ccid::transport::Transport;
use pcsc_ccid::usb::{self, Candidate, Hotplug, Opened};
use std::error::Error;
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1) {
        None => list(),
        Some(word) if word == "watch" => watch(),
        Some(number) => talk(number.parse()?),
    }
}

fn list() -> Result<(), Box<dyn Error>> {
    let listing = usb::list()?;
    for (number, reader) in listing.readers.iter().enumerate() {
        println!("{number}: {}", line(reader));
    }
    for notice in listing.notices {
        println!("{notice}");
    }
    Ok(())
}

fn line(reader: &Candidate) -> String {
    let interface = &reader.interface;
    let interrupt = interface.interrupt_in.map(|interrupt| interrupt.address);
    format!(
        "{} at {}, {}, pipes {:02X?} {:02X?} {interrupt:02X?}",
        reader.name_identity().base_name(),
        reader.port,
        reader.place.node().display(),
        interface.bulk_out,
        interface.bulk_in,
    )
}

fn talk(number: usize) -> Result<(), Box<dyn Error>> {
    let listing = usb::list()?;
    let reader = listing.readers.get(number).ok_or("there is no such reader")?;
    println!("{}", line(reader));
    let Opened {
        mut transport,
        notifications,
        ..
    } = reader.open()?;
    if let Notifications::Interrupts(mut pipe) = notifications {
        let deadline = Instant::now() + Duration::from_millis(300);
        pipe.next(Some(deadline), &mut |message| println!("! {message:02X?}"))
            .ok();
    }
    for (seq, command) in [
        CommandMessage::GetSlotStatus,
        CommandMessage::IccPowerOn(Voltage::Automatic),
        CommandMessage::IccPowerOff,
    ]
    .iter()
    .enumerate()
    {
        let mut message = [0; HEADER_SIZE];
        let length = command.encode(0, seq as u8, &mut message).ok_or("too long")?;
        println!("> {:02X?}", &message[..length]);
        transport.send(&message[..length], Duration::from_secs(1))?;
        let mut answer = vec![0; interface_limit(reader)];
        let length = transport.receive(&mut answer, Duration::from_secs(5))?;
        println!("< {:02X?}", &answer[..length]);
    }
    Ok(())
}

fn interface_limit(reader: &Candidate) -> usize {
    reader.interface.descriptor.max_message_length.clamp(271, 65_556) as usize
}

fn watch() -> Result<(), Box<dyn Error>> {
    let (mut hotplug, listing) = Hotplug::new()?;
    for reader in &listing.readers {
        println!("= {}", line(reader));
    }
    while let Some(changes) = hotplug.wait()? {
        for place in changes.gone {
            println!("- {}", place.node().display());
        }
        for reader in &changes.arrived {
            println!("+ {}", line(reader));
        }
        for notice in changes.notices {
            println!("? {notice}");
        }
    }
    Ok(())
}
