//! What hostile clients cost the server.

use std::os::unix::net::UnixStream;

use pcsc_constants::SCARD_SHARE_SHARED;
use pcsc_tests::{Share, Usage, WireClient};
use pcsc_wire::{ConnectBody, EstablishBody, RequestCode, TransmitBody, MAX_PAYLOAD};

const CLIENTS: usize = 200;
const READER: &str = "Gemalto GemPC Express 00 00";

/// The memory that the server has taken since, in kilobytes.
fn more(share: &Share, before: Usage) -> u64 {
    Usage::of(share.pid()).memory.saturating_sub(before.memory)
}

#[test]
fn clients_cost_no_more_memory_than_the_limits_let_them() {
    let most = CLIENTS.to_string();
    let share = Share::start_with(&["sim:gempc-express", "--max-clients", &most, "--max-cards", "3"]);
    let before = Usage::of(share.pid());

    // Contexts without end on one connection.
    let mut client = WireClient::connect(&share.socket(), 4);
    let body = EstablishBody {
        scope: 2,
        context: 0,
        rv: 0,
    };
    for _ in 0..20_000 {
        assert_eq!(client.call(RequestCode::EstablishContext, body).rv, 0);
    }
    let contexts = more(&share, before);
    println!("20,000 contexts on one connection: {contexts} kB");
    assert!(contexts < 1024, "{contexts} kB");
    drop(client);

    // As many connections as there may be, each with a command whose end does not come.
    let mut clients: Vec<WireClient> = Vec::new();
    while clients.len() < CLIENTS {
        // The one before may still have its place.
        let mut client = WireClient::open(&share.socket());
        let asked = pcsc_wire::VersionBody::new(pcsc_wire::Version::NEWEST);
        client.ask(RequestCode::Version, asked);
        if client.try_receive(12).is_err() {
            continue;
        }
        let context = client.establish();
        let ConnectBody { card, rv, .. } = client.connect_card(context, READER, SCARD_SHARE_SHARED);
        assert_eq!(rv, 0);
        let body = TransmitBody {
            card,
            send_protocol: 2,
            send_pci_length: 16,
            send_length: MAX_PAYLOAD as u32,
            receive_protocol: 3,
            receive_pci_length: 16,
            receive_length: u32::MAX,
            rv: 0,
        };
        client.ask(RequestCode::Transmit, body);
        client.send(&[0; 60_000]).expect("the connection stands");
        clients.push(client);
    }
    let each = more(&share, before) / CLIENTS as u64;
    println!("a client with an unfinished command of {MAX_PAYLOAD} bytes: {each} kB");
    assert!(each < 120, "{each} kB for each client");

    // Further ones cost nothing.
    let full = Usage::of(share.pid());
    let refused: Vec<UnixStream> = (0..1000)
        .map(|_| UnixStream::connect(share.socket()).expect("a server"))
        .collect();
    assert!(WireClient::open(&share.socket()).is_closed());
    let now = Usage::of(share.pid());
    assert!(
        now.threads <= full.threads && now.descriptors <= full.descriptors,
        "{now:?}"
    );
    let further = more(&share, full);
    println!("1,000 clients too many: {further} kB");
    assert!(further < 1024, "{further} kB");
    drop(refused);
}
