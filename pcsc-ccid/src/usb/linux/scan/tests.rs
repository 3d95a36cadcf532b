use super::*;
use crate::usb::linux::tests::{candidate, composite, configuration, interface, Tree, DEVICE};
use std::fs;
use std::vec::Vec;

/// A system with one device, whose second and third interfaces are readers, and no udev.
struct System {
    devices: Tree,
    nodes: Tree,
    udev: Tree,
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
        let udev = Tree::new(&format!("{name}-udev"));
        System { devices, nodes, udev }
    }

    fn scan(&self, known: &[Candidate]) -> Scan {
        self.scan_after(true, known)
    }

    /// Scans, with or without the time for which readers are waited for being over.
    fn scan_after(&self, has_waited: bool, known: &[Candidate]) -> Scan {
        let roots = Roots {
            devices: self.devices.root(),
            nodes: self.nodes.root(),
            udev: self.udev.root(),
        };
        roots.scan(known, &|_| has_waited).unwrap()
    }
}

fn places(readers: &[Candidate]) -> Vec<(u8, u8)> {
    let place = |reader: &Candidate| (reader.place.address, reader.place.interface);
    readers.iter().map(place).collect()
}

#[test]
fn readers_that_are_not_known_have_arrived() {
    let system = System::new("arrived");
    let found = system.scan(&[]);
    assert_eq!(places(&found.arrived), [(17, 1), (17, 2)]);
    assert_eq!(found.arrived[1].port, "3-1.4:2.2");
    let found = system.scan(&[candidate(17)]);
    assert_eq!(places(&found.arrived), [(17, 1)]);
    assert!(found.gone.is_empty() && found.notices.is_empty() && !found.is_partial);
}

#[test]
fn a_known_reader_stays_though_its_node_may_not_be_opened_any_more() {
    let system = System::new("rights");
    fs::remove_dir_all(system.nodes.root()).unwrap();
    let found = system.scan(&[candidate(17)]);
    assert!(found.gone.is_empty() && found.arrived.is_empty());
    let reasons: Vec<_> = found.notices.iter().map(|notice| notice.reason).collect();
    // The interface of the other reader.
    assert_eq!(reasons, [NoticeReason::NoNode]);
}

#[test]
fn a_known_reader_is_gone_with_its_interface() {
    let system = System::new("gone");
    let known = system.scan(&[]).arrived;
    fs::remove_dir_all(system.devices.root().join("3-1.4:2.1")).unwrap();
    let found = system.scan(&known);
    assert_eq!(found.gone, [known[0].place]);
    assert!(found.arrived.is_empty());
}

#[test]
fn a_device_that_comes_back_is_another_one() {
    let system = System::new("again");
    system.devices.put("3-1.4", &[("devnum", b"18\n")]);
    system.nodes.put("003", &[("018", b"")]);
    let found = system.scan(&[candidate(17)]);
    assert_eq!(found.gone, [candidate(17).place]);
    assert_eq!(places(&found.arrived), [(18, 1), (18, 2)]);
}

#[test]
fn a_reader_in_another_configuration_is_another_one() {
    let system = System::new("configuration");
    let known = Candidate {
        port: "3-1.4:1.2".into(),
        ..candidate(17)
    };
    let found = system.scan(&[known]);
    assert_eq!(found.gone, [candidate(17).place]);
    assert_eq!(places(&found.arrived), [(17, 1), (17, 2)]);
}

#[test]
fn a_known_reader_that_is_being_reset_stays() {
    let system = System::new("reset");
    system.devices.put("3-1.4", &[("devnum", b"0\n")]);
    let found = system.scan(&[candidate(17)]);
    assert!(found.gone.is_empty() && found.arrived.is_empty());
    assert!(found.is_partial);
}

#[test]
fn a_known_reader_whose_address_cannot_be_read_stays() {
    let system = System::new("address");
    fs::remove_file(system.devices.root().join("3-1.4/devnum")).unwrap();
    let found = system.scan(&[candidate(17)]);
    assert!(found.gone.is_empty() && found.arrived.is_empty());
    assert!(!found.is_partial);
}

#[test]
fn a_system_without_usb_is_an_error() {
    let roots = Roots {
        devices: Path::new("/nonexistent"),
        nodes: Path::new("/nonexistent"),
        udev: Path::new("/nonexistent"),
    };
    assert!(roots.scan(&[], &|_| true).is_err());
}

#[test]
fn a_reader_is_listed_once_the_kernel_has_read_its_name() {
    let system = System::new("name");
    let mut reader = interface(1, 0x0B, &[0x01, 0x81], true);
    reader[8] = 4;
    let descriptors = [&DEVICE[..], &configuration(2, &[reader])].concat();
    system.devices.device("3-1.4", &descriptors, b"2\n");
    let found = system.scan_after(false, &[]);
    assert!(found.arrived.is_empty());
    assert_eq!(found.pending.len(), 1);
    // A reader without a name is listed after the wait.
    let found = system.scan_after(true, &[]);
    assert_eq!(
        (found.arrived[0].interface_name.as_deref(), found.pending.len()),
        (None, 0)
    );
    system.devices.put("3-1.4:2.1", &[("interface", b"CCID\n")]);
    let found = system.scan_after(false, &[]);
    assert_eq!(found.arrived[0].interface_name.as_deref(), Some("CCID"));
    assert!(found.pending.is_empty());
}

#[test]
fn a_reader_is_listed_once_udev_has_decided() {
    let system = System::new("word");
    system.udev.put("", &[("control", b"")]);
    let found = system.scan_after(false, &[candidate(17)]);
    assert_eq!((found.arrived.len(), found.pending.len()), (0, 1));
    let found = system.scan_after(true, &[]);
    assert_eq!((found.arrived.len(), found.pending.len()), (2, 0));
    system.udev.put("data", &[("c189:272", b"E:PCSCLITE_IGNORE=1\n")]);
    let found = system.scan_after(false, &[candidate(17)]);
    assert!(found.arrived.is_empty() && found.gone.is_empty() && found.pending.is_empty());
    let reasons: Vec<_> = found.notices.iter().map(|notice| notice.reason).collect();
    assert_eq!(reasons, [NoticeReason::Ignored]);
}

#[test]
fn readers_that_are_not_ready_are_waited_for() {
    const REASON: NoticeReason = NoticeReason::Permission;
    for ((decision, obstacle, lacks_name), before, after) in [
        ((Decision::Allow, None, false), Verdict::List, Verdict::List),
        ((Decision::Allow, None, true), Verdict::Wait, Verdict::List),
        ((Decision::Pending, None, false), Verdict::Wait, Verdict::List),
        // The permissions of the user at the seat are set after udev's decision.
        (
            (Decision::Allow, Some(REASON), false),
            Verdict::Wait,
            Verdict::Refuse(REASON),
        ),
        (
            (Decision::Pending, Some(REASON), true),
            Verdict::Wait,
            Verdict::Refuse(REASON),
        ),
        (
            (Decision::Ignore, Some(REASON), true),
            Verdict::Refuse(NoticeReason::Ignored),
            Verdict::Refuse(NoticeReason::Ignored),
        ),
    ] {
        let verdicts = [false, true].map(|has_waited| verdict(decision, obstacle, lacks_name, has_waited));
        assert_eq!(
            verdicts,
            [before, after],
            "{decision:?} {obstacle:?} {lacks_name}"
        );
    }
}
