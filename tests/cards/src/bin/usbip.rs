//! A USB token with an OpenPGP card: `usbd-ccid`, the CCID device that security tokens have as their
//! firmware, as a USB/IP device on port 3240 of the loopback interface.

use littlefs2::const_ram_storage;
use littlefs2::fs::{Allocation, Filesystem};
use littlefs2_core::{path, DynFilesystem};
use trussed::pipe::{ServiceEndpoint, TrussedChannel};
use trussed::service::Service;
use trussed::types::CoreContext;
use trussed_usbip::usb::Options;
use trussed_usbip::{Builder, Client, Platform, Store, Syscall};
use virtual_cards::dispatch::{Backend, Contexts, Dispatch, BACKENDS};

/// The token's only application.
struct Token {
    openpgp: opcard::Card<Client<Dispatch>>,
}

impl trussed_usbip::Apps<'_, Dispatch> for Token {
    type Data = ();

    fn new(
        _service: &mut Service<Platform, Dispatch>,
        endpoints: &mut Vec<ServiceEndpoint<'static, Backend, Contexts>>,
        syscall: Syscall,
        (): (),
    ) -> Self {
        static CHANNEL: TrussedChannel = TrussedChannel::new();
        let (requester, responder) = CHANNEL.split().expect("split once");
        let context = CoreContext::new(path!("opcard").into());
        endpoints.push(ServiceEndpoint::new(responder, context, BACKENDS));
        let client = Client::new(requester, syscall, None);
        Token {
            openpgp: opcard::Card::new(client, opcard::Options::default()),
        }
    }

    fn with_ccid_apps<T>(&mut self, run: impl FnOnce(&mut [&mut dyn apdu_dispatch::App]) -> T) -> T {
        run(&mut [&mut self.openpgp])
    }
}

const_ram_storage!(Ram, 512 * 128);

/// An empty file system, which lives as long as the process.
fn file_system() -> &'static dyn DynFilesystem {
    let storage = Box::leak(Box::new(Ram::new()));
    Filesystem::format(storage).expect("storage in memory");
    let allocation = Box::leak(Box::new(Allocation::new()));
    Box::leak(Box::new(
        Filesystem::mount(allocation, storage).expect("a formatted storage"),
    ))
}

fn main() {
    let store = Store {
        ifs: file_system(),
        efs: file_system(),
        vfs: file_system(),
    };
    let options = Options {
        manufacturer: Some("Nitrokey"),
        product: Some("Nitrokey 3"),
        serial_number: Some("TEST"),
        vid: 0x20A0,
        pid: 0x42B2,
    };
    Builder::with_default_usb_classes(options)
        .dispatch(Dispatch::new())
        .build::<Token>()
        .exec(Platform::new(store), ());
}
