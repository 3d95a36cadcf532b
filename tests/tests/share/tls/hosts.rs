//! Three hosts with readers, each on a network of its own, and one server that joins them.

use std::collections::HashSet;
use std::ffi::{CStr, CString};
use std::time::Instant;

use pcsc_client::{Card, Context, Protocols, ReaderState, ShareMode, State};
use pcsc_tests::{atr, Network, Share};

use super::certificates::Authority;
use super::{list, transmit, PATIENCE};

const HOSTS: [&str; 3] = ["a", "b", "c"];
const READERS: usize = 8;

/// The hosts' networks, and the one that has a cable to each of them.
fn networks() -> Result<(Network, Vec<Network>), String> {
    let middle = Network::new()?;
    let mut networks = Vec::new();
    for (number, host) in HOSTS.iter().enumerate() {
        let network = Network::new()?;
        let [ours, theirs] = [1, 2].map(|end| format!("192.0.2.{}/30", 4 * number + end));
        middle.connect(&network, &format!("to-{host}"), [&ours, &theirs])?;
        networks.push(network);
    }
    Ok((middle, networks))
}

/// The readers of a host in the list.
fn of_host(list: &[String], host: &str) -> usize {
    let label = format!("({host})");
    list.iter().filter(|name| name.contains(&label)).count()
}

/// Waits until the list has this number of the hosts' readers.
#[track_caller]
fn wait_until(context: &Context, expected: [usize; 3]) {
    let deadline = Instant::now() + PATIENCE;
    let mut known = [ReaderState::new(pcsc_client::PNP_NOTIFICATION(), State::UNAWARE)];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let list = list(context);
        let now = HOSTS.map(|host| of_host(&list, host));
        if now == expected {
            return;
        }
        assert!(!left.is_zero(), "{now:?} instead of {expected:?}: {list:?}");
        // A host that vanishes is noticed by a look at its readers.
        let moment = left.min(std::time::Duration::from_secs(1));
        let _ = context.get_status_change(moment, &mut known);
        known[0].sync_current_state();
    }
}

fn connect(context: &Context, name: &CStr) -> Card {
    context.connect(name, ShareMode::Shared, Protocols::ANY).unwrap()
}

#[test]
fn a_host_that_is_lost_does_not_disturb_the_others() {
    let (middle, networks) = match networks() {
        Ok(made) => made,
        Err(why) => {
            println!("SKIPPED: three hosts need networks of their own: {why}");
            return;
        }
    };
    let authority = Authority::new();
    let mut arguments = authority.issue("desk").arguments();
    arguments.extend(["--server-ca".into(), authority.file()]);
    let mut hosts: Vec<Share> = Vec::new();
    for (number, network) in networks.iter().enumerate() {
        let address = format!("192.0.2.{}", 4 * number + 2);
        let at = format!("{address}:7340");
        let mut own = authority.issue_at(HOSTS[number], &address).arguments();
        own.extend(["--listen-tls", &at, "--client-ca", &authority.file()].map(String::from));
        own.extend(["--allow-cert", "desk"].map(String::from));
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        hosts.push(Share::start_on(network, READERS, &own));
        arguments.push(format!("{}=tls://{at}", HOSTS[number]));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let joined = Share::start_on(&middle, 0, &arguments);
    let context = joined.context();
    wait_until(&context, [READERS; 3]);
    let names = list(&context);
    assert_eq!(
        names.iter().collect::<HashSet<_>>().len(),
        3 * READERS,
        "{names:?}"
    );

    // An event and an APDU of each host's last reader.
    let mut cards: Vec<Card> = Vec::new();
    let mut states = Vec::new();
    for (number, host) in HOSTS.iter().enumerate() {
        let label = format!("({host})");
        let name = names.iter().rfind(|name| name.contains(&label)).unwrap();
        let name = CString::new(name.as_str()).unwrap();
        let mut state = [ReaderState::new(name.clone(), State::EMPTY)];
        hosts[number].reader(READERS - 1).insert(atr::T1);
        context.get_status_change(PATIENCE, &mut state).unwrap();
        assert!(state[0].event_state().contains(State::PRESENT), "{host}");
        cards.push(connect(&context, &name));
        assert_eq!(
            transmit(&cards[number]).unwrap(),
            b"Hello world!\x90\x00",
            "{host}"
        );
        states.push(name);
    }

    // One host dies.
    hosts[0].kill();
    wait_until(&context, [0, READERS, READERS]);
    // One is cut off: no packet says so.
    middle.ip("link set to-b down").unwrap();
    wait_until(&context, [0, 0, READERS]);
    // The third one has not noticed: its connection holds, and its card was not reset.
    assert_eq!(transmit(&cards[2]).unwrap(), b"Hello world!\x90\x00");
    assert!(transmit(&cards[0]).is_err() && transmit(&cards[1]).is_err());

    middle.ip("link set to-b up").unwrap();
    hosts[0].restart();
    wait_until(&context, [READERS; 3]);
    assert_eq!(list(&context), names, "the names of before");
    hosts[0].reader(READERS - 1).insert(atr::T1);
    let mut state = [ReaderState::new(states[0].clone(), State::EMPTY)];
    context.get_status_change(PATIENCE, &mut state).unwrap();
    for name in &states[..2] {
        assert_eq!(
            transmit(&connect(&context, name)).unwrap(),
            b"Hello world!\x90\x00"
        );
    }
    assert_eq!(transmit(&cards[2]).unwrap(), b"Hello world!\x90\x00");
}
