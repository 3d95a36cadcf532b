use super::*;
use crate::bus::{Bus, FixedBus};

fn slot(reader: &VpcdReader) -> Box<dyn Slot> {
    reader.found().slots.remove(0).0
}

#[test]
fn a_list_names_models_and_ports() {
    let listed = |list| {
        let bus = FixedBus::of_models(list, Default::default())?;
        let names: Vec<_> = bus
            .initial()
            .into_iter()
            .map(|found| (found.name, found.slots.len()))
            .collect();
        Ok::<_, StartError>(names)
    };
    let vpcd = |slots| (NAME.to_owned(), slots);
    let octsim = listed("octsim").unwrap().remove(0);
    // Port 0 stands for any, so that this test needs none of its own.
    assert_eq!(listed("vpcd:0").unwrap(), [vpcd(1)]);
    assert_eq!(listed("vpcd:0,0,0").unwrap(), [vpcd(3)]);
    assert_eq!(listed("vpcd:0,vpcd:127.0.0.1:0").unwrap(), [vpcd(1), vpcd(1)]);
    assert_eq!(
        listed("octsim,vpcd:0,0,octsim,vpcd:[::1]:0").unwrap(),
        [octsim.clone(), vpcd(2), octsim, vpcd(1)]
    );
    for list in [
        "vpcd:",
        "vpcd:x",
        "vpcd:65536",
        "vpcd:0,",
        "0",
        "octsim,0",
        "vpcdx",
        "vpcd:host:1",
        "vpcd:0,-1",
    ] {
        assert!(listed(list).is_err(), "{list}");
    }
    let address = |text: &str| VpcdReader::parse(text, [].into_iter()).unwrap().ports[0].address;
    assert_eq!(address("vpcd"), "127.0.0.1:35963".parse().unwrap());
    assert_eq!(address("vpcd:1234"), "127.0.0.1:1234".parse().unwrap());
    assert_eq!(address("vpcd:0.0.0.0:1234"), "0.0.0.0:1234".parse().unwrap());
}

#[test]
fn a_port_that_another_process_has_is_a_busy_reader_until_it_is_free() {
    let first = VpcdReader::new([Port::default_address(0)]);
    let address = first.open().unwrap()[0];
    let second = VpcdReader::new([address]);
    let mut slot = slot(&second);
    assert_eq!(slot.presence(), Err(SlotError::Busy));
    drop(first);
    assert_eq!(slot.presence(), Ok(Presence::Absent));
    // An address that this machine does not have.
    let mut elsewhere = self::slot(&VpcdReader::new(["192.0.2.1:0".parse().unwrap()]));
    assert_eq!(elsewhere.presence(), Err(SlotError::Communication));
}

#[test]
fn the_first_look_waits_for_a_card() {
    let mut port = Port::new(Port::default_address(0));
    port.first_card = Duration::from_secs(60);
    let reader = VpcdReader {
        ports: vec![Arc::new(port)],
    };
    let address = reader.open().unwrap()[0];
    let mut slot = slot(&reader);
    let card = std::thread::spawn(move || std::net::TcpStream::connect(address));
    assert_eq!(slot.presence(), Ok(Presence::Present));
    let card = card.join().unwrap();
    assert_eq!(slot.presence(), Ok(Presence::Present));
    drop(card);
    assert_eq!(slot.presence(), Ok(Presence::Absent));
    let card = std::net::TcpStream::connect(address);
    assert_eq!(slot.presence(), Ok(Presence::Replaced));
    drop(card);
}
