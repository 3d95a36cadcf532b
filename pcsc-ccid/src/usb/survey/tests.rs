use super::*;
use crate::usb::tree::{candidate, composite, Tree};
use std::fs;
use std::vec::Vec;

/// A system with one device, whose second and third interfaces are readers.
struct System {
    devices: Tree,
    nodes: Tree,
}

impl System {
    fn new(name: &str) -> System {
        let devices = Tree::new(&format!("{name}-devices"));
        devices.device("3-1.4", &composite(), b"2\n");
        for interface in ["3-1.4:2.1", "3-1.4:2.2"] {
            devices.interface(interface, "0b", None);
        }
        let nodes = Tree::new(&format!("{name}-nodes"));
        nodes.put("003", &[("017", b"")]);
        System { devices, nodes }
    }

    fn look(&self, known: &[Candidate]) -> Seen {
        let roots = Roots {
            devices: self.devices.root(),
            nodes: self.nodes.root(),
        };
        roots.look(known).unwrap()
    }
}

fn places(readers: &[Candidate]) -> Vec<(u8, u8)> {
    let place = |reader: &Candidate| (reader.place.address, reader.place.interface);
    readers.iter().map(place).collect()
}

#[test]
fn readers_that_are_not_known_have_arrived() {
    let system = System::new("arrived");
    let seen = system.look(&[]);
    assert_eq!(places(&seen.arrived), [(17, 1), (17, 2)]);
    assert_eq!(seen.arrived[1].port, "3-1.4:2.2");
    let seen = system.look(&[candidate(17)]);
    assert_eq!(places(&seen.arrived), [(17, 1)]);
    assert!(seen.gone.is_empty() && seen.notices.is_empty() && !seen.is_partial);
}

#[test]
fn a_known_reader_stays_though_its_node_may_not_be_opened_any_more() {
    let system = System::new("rights");
    fs::remove_dir_all(system.nodes.root()).unwrap();
    let seen = system.look(&[candidate(17)]);
    assert!(seen.gone.is_empty() && seen.arrived.is_empty());
    let reasons: Vec<_> = seen.notices.iter().map(|notice| notice.reason).collect();
    // That of the other one.
    assert_eq!(reasons, [Reason::NoNode]);
}

#[test]
fn a_known_reader_is_gone_with_its_interface() {
    let system = System::new("gone");
    let known = system.look(&[]).arrived;
    fs::remove_dir_all(system.devices.root().join("3-1.4:2.1")).unwrap();
    let seen = system.look(&known);
    assert_eq!(seen.gone, [known[0].place]);
    assert!(seen.arrived.is_empty());
}

#[test]
fn a_device_that_comes_back_is_another_one() {
    let system = System::new("again");
    system.devices.put("3-1.4", &[("devnum", b"18\n")]);
    system.nodes.put("003", &[("018", b"")]);
    let seen = system.look(&[candidate(17)]);
    assert_eq!(seen.gone, [candidate(17).place]);
    assert_eq!(places(&seen.arrived), [(18, 1), (18, 2)]);
}

#[test]
fn a_reader_in_another_configuration_is_another_one() {
    let system = System::new("configuration");
    let known = Candidate {
        port: "3-1.4:1.2".into(),
        ..candidate(17)
    };
    let seen = system.look(&[known]);
    assert_eq!(seen.gone, [candidate(17).place]);
    assert_eq!(places(&seen.arrived), [(17, 1), (17, 2)]);
}

#[test]
fn a_known_reader_that_is_being_reset_stays() {
    let system = System::new("reset");
    system.devices.put("3-1.4", &[("devnum", b"0\n")]);
    let seen = system.look(&[candidate(17)]);
    assert!(seen.gone.is_empty() && seen.arrived.is_empty());
    assert!(seen.is_partial);
}

#[test]
fn a_known_reader_whose_address_is_not_to_be_read_stays() {
    let system = System::new("address");
    fs::remove_file(system.devices.root().join("3-1.4/devnum")).unwrap();
    let seen = system.look(&[candidate(17)]);
    assert!(seen.gone.is_empty() && seen.arrived.is_empty());
    assert!(!seen.is_partial);
}

#[test]
fn a_system_without_usb_does_not_tell() {
    let roots = Roots {
        devices: Path::new("/nonexistent"),
        nodes: Path::new("/nonexistent"),
    };
    assert!(roots.look(&[]).is_err());
}
