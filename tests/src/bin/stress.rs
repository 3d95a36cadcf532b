//! A client of the stress test: `stress SOCKET READER MINOR FATE` uses the card in READER in transactions, as
//! a client of protocol 4.MINOR, until a line comes from its standard input. Then it does what FATE says,
//! answers with a line, and waits to be killed: `transaction` stops in a transaction with a command in
//! progress, `message` in the middle of a message in a transaction. At the end of the input it disconnects
//! and ends.
//!
//! Each time a call, or a round of calls, takes longer than all before, both times are printed, in
//! microseconds.

use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use pcsc_constants::{SCARD_E_SHARING_VIOLATION, SCARD_SHARE_SHARED, SCARD_W_RESET_CARD};
use pcsc_tests::WireClient;
use pcsc_wire::{
    BeginTransactionBody, Body, DisconnectBody, EndTransactionBody, ReconnectBody, ReleaseBody, RequestCode,
};
use rustix::event::{poll, PollFd, PollFlags, Timespec};

/// The pause of a client whose reader another one has in a transaction.
const PAUSE: Duration = Duration::from_millis(1);
/// The longest wait for the beginning of a transaction. It is there for a transaction that is never ended.
const BEGIN_LIMIT: Duration = Duration::from_secs(60);
const ECHO: [u8; 8] = [0x80, 0xEC, 0, 0, 3, 1, 2, 3];
const ECHOED: [u8; 5] = [1, 2, 3, 0x90, 0];

struct Client {
    wire: WireClient,
    context: u32,
    longest_call: Duration,
    longest_round: Duration,
}

impl Client {
    fn timed<T>(&mut self, call: impl FnOnce(&mut WireClient) -> T) -> T {
        let start = Instant::now();
        let result = call(&mut self.wire);
        self.longest_call = self.longest_call.max(start.elapsed());
        result
    }

    fn call<B: Body>(&mut self, command: RequestCode, body: B) -> B {
        self.timed(|wire| wire.call(command, body))
    }

    fn transmit(&mut self, card: i32) {
        // A client that has a transaction is not disturbed.
        let answer = self.timed(|wire| wire.transmit(card, &ECHO));
        assert_eq!(answer, (0, ECHOED.to_vec()), "a command in a transaction");
    }

    fn connect(&mut self, reader: &str) -> i32 {
        let context = self.context;
        let connected = self.timed(|wire| wire.connect_card(context, reader, SCARD_SHARE_SHARED));
        assert_eq!(connected.rv, 0, "{reader}");
        connected.card
    }

    fn begin(&mut self, card: i32) {
        let deadline = Instant::now() + BEGIN_LIMIT;
        loop {
            assert!(
                Instant::now() < deadline,
                "no transaction begins within {BEGIN_LIMIT:?}"
            );
            match self
                .call(
                    RequestCode::BeginTransaction,
                    BeginTransactionBody { card, rv: 0 },
                )
                .rv
            {
                0 => return,
                // Another client has a transaction.
                SCARD_E_SHARING_VIOLATION => std::thread::sleep(PAUSE),
                // Another client has ended in its transaction.
                SCARD_W_RESET_CARD => self.reconnect(card),
                rv => panic!("begin: {rv:#X}"),
            }
        }
    }

    fn reconnect(&mut self, card: i32) {
        let body = ReconnectBody {
            card,
            share: SCARD_SHARE_SHARED,
            protocols: 3,
            initialization: 0,
            active: 0,
            rv: 0,
        };
        match self.call(RequestCode::Reconnect, body).rv {
            0 => (),
            SCARD_E_SHARING_VIOLATION => std::thread::sleep(PAUSE),
            rv => panic!("reconnect: {rv:#X}"),
        }
    }

    fn end(&mut self, card: i32) {
        let body = EndTransactionBody {
            card,
            disposition: 0,
            rv: 0,
        };
        assert_eq!(self.call(RequestCode::EndTransaction, body).rv, 0, "end");
    }

    fn round(&mut self, reader: &str) {
        let card = self.connect(reader);
        for _ in 0..3 {
            self.begin(card);
            (0..3).for_each(|_| self.transmit(card));
            self.end(card);
        }
        let body = DisconnectBody {
            card,
            disposition: 0,
            rv: 0,
        };
        assert_eq!(self.call(RequestCode::Disconnect, body).rv, 0, "disconnect");
    }

    fn die(&mut self, reader: &str, fate: &str) {
        let card = self.connect(reader);
        self.begin(card);
        self.transmit(card);
        match fate {
            "transaction" => self.wire.ask_transmit(card, &ECHO),
            _ => self.wire.send(&[20, 0, 0]).expect("the connection stands"),
        }
    }
}

/// Whether there is something to read.
fn is_told() -> bool {
    let input = std::io::stdin();
    let now = Timespec::default();
    poll(&mut [PollFd::new(&input, PollFlags::IN)], Some(&now)) == Ok(1)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, reader, minor, fate] = arguments.as_slice() else {
        panic!("usage: stress SOCKET READER MINOR FATE");
    };
    let mut wire = WireClient::connect(Path::new(socket), minor.parse().expect("a number"));
    let context = wire.establish();
    let mut client = Client {
        wire,
        context,
        longest_call: Duration::ZERO,
        longest_round: Duration::ZERO,
    };
    let mut output = std::io::stdout();
    while !is_told() {
        let before = (client.longest_call, client.longest_round);
        let start = Instant::now();
        client.round(reader);
        client.longest_round = client.longest_round.max(start.elapsed());
        let after = (client.longest_call, client.longest_round);
        if after != before {
            writeln!(output, "{} {}", after.0.as_micros(), after.1.as_micros()).expect("the test reads");
        }
    }
    if std::io::stdin().read(&mut [0]).expect("the input of the test") == 0 {
        let body = ReleaseBody { context, rv: 0 };
        assert_eq!(client.call(RequestCode::ReleaseContext, body).rv, 0, "release");
        return;
    }
    client.die(reader, fate);
    writeln!(output, "ready").expect("the test reads");
    loop {
        std::thread::park();
    }
}
