//! The lines of the table. All names of readers are in the reasons; all times in milliseconds.

use super::{Devices, Firmware, ModifyMessages as Messages, Quirk, QuirkChange, Quirks, Rule};
use crate::descriptor::{Features, Flavour};
use core::time::Duration;

const fn line(devices: Devices, change: QuirkChange, reason: &'static str) -> Quirk {
    let rule = Rule {
        devices,
        firmware: Firmware::Any,
        interface: None,
        change,
    };
    Quirk { rule, reason }
}

const fn of(vendor: u16, products: &'static [u16], change: fn(&mut Quirks), reason: &'static str) -> Quirk {
    line(
        Devices::Products(vendor, products),
        QuirkChange::Field(change),
        reason,
    )
}

const fn vendor(vendor: u16, change: fn(&mut Quirks), reason: &'static str) -> Quirk {
    line(Devices::Vendor(vendor), QuirkChange::Field(change), reason)
}

const fn flavour(flavour: Flavour, change: fn(&mut Quirks), reason: &'static str) -> Quirk {
    line(Devices::Flavour(flavour), QuirkChange::Field(change), reason)
}

const fn refuse(vendor: u16, products: &'static [u16], before: u16, reason: &'static str) -> Quirk {
    line(
        Devices::Products(vendor, products),
        QuirkChange::Refuse(reason),
        reason,
    )
    .before(before)
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

impl Quirk {
    const fn before(mut self, version: u16) -> Quirk {
        self.rule.firmware = Firmware::Before(version);
        self
    }

    const fn exactly(mut self, versions: &'static [u16]) -> Quirk {
        self.rule.firmware = Firmware::Exactly(versions);
        self
    }

    const fn interface(mut self, number: u8) -> Quirk {
        self.rule.interface = Some(number);
        self
    }
}

const ISO_MODE: &[u8] = &[0x1F, 0x01];
const GEMCORE_RATES: &[u32] = &[10753, 21505, 43011, 125_000];

/// The quirks, by family of readers.
#[rustfmt::skip]
pub const TABLE: &[Quirk] = &[
    // Speed.
    of(0x058F, &[0x9540], |q| q.max_data_rate_bps = Some(200_000),
        "Alcor AU9540 and AU9560 announce 688,172 bps and corrupt data above about 200,000"),
    of(0x0B97, &[0x7762, 0x7772], |q| {
            q.max_data_rate_bps = Some(9600);
            q.no_pps = true;
        },
        "O2Micro Oz776 cannot carry a PPS and works at the default rate only"),
    of(0x08E6, &[0x3479], |q| q.other_slots_rates = Some(GEMCORE_RATES),
        "GemCore POS Pro: the SAM slots know four rates and announce those of the first slot"),
    of(0x08E6, &[0x3480], |q| {
            q.other_slots_rates = Some(GEMCORE_RATES);
            q.blind_from = Some(0);
            q.empty_after_failure = true;
        },
        "GemCore SIM Pro before 2.00: the second slot knows four rates, and no slot notices cards")
        .before(0x0200),

    // Transfers.
    of(0x0B97, &[0x7762, 0x7772], |q| q.loses_whole_packets = true,
        "O2Micro Oz776 does not end a reply that fills its packets of 64 bytes"),

    // Time.
    of(0x072F, &[0x2200], |q| q.slow_first_answer = Some(ms(1000)),
        "ACS ACR122U answers the first GetSlotStatus after up to 1 s when no card is in its field"),
    of(0x09D8, &[0x0427, 0x0428], |q| q.slow_first_answer = Some(ms(1000)),
        "Elatec TWN4 answers the first GetSlotStatus after up to 1 s when no card is in its field"),
    of(0x04E6, &[0x5293, 0x5790, 0x5791, 0x5724], |q| q.slow_first_answer = Some(ms(400)),
        "SCM SCL011 and Identiv uTrust 3700 F, 3701 F and 4701 F take 350 ms for a GetSlotStatus"),
    of(0x0B81, &[0x0200], |q| {
            q.settle = ms(1000);
            q.slow_commands = Some(ms(60_000));
        },
        "id3 CL1356D starts its firmware after it is opened, and a command is given \
         60 s, as by libccid"),
    of(0x08E6, &[0x34D2], |q| q.exchange_extra = ms(300_000),
        "Thales Fusion NFC makes keys for minutes and asks for no extension"),

    // Sizes.
    of(0x09BE, &[0x0002], |q| q.max_ifsd = Some(254),
        "MySmartPad announces an IFSD that it does not have"),
    of(0x076B, &[0x3022, 0x6623], |q| q.max_ifsd = Some(254),
        "OMNIKEY 3121 and 6121 announce the room of a message, 492, for IFSD"),
    of(0x046A, &[0x0090], |q| q.max_ifsd = Some(254),
        "Cherry Smart Card Reader announces the room of a message, 492, for IFSD"),
    of(0x0529, &[0x0620], |q| q.added_features = Features::AUTOMATIC_IFSD,
        "SafeNet eToken 5110 SC, firmware 0.12 and 0.13, fails when IFSD is negotiated")
        .exactly(&[0x0012, 0x0013]),

    // Level of exchange.
    of(0x076B, &[0x3A21, 0x3031, 0x6632], |q| {
            q.no_pin_pad = true;
            q.chains_short_apdus = true;
        },
        "HID's chip in OMNIKEY 3x21, 6121 and AVIATOR announces a PIN pad that it has not and chains \
         what it announces as short APDUs"),
    of(0x046A, &[0x00A7], |q| {
            q.no_pin_pad = true;
            q.chains_short_apdus = true;
        },
        "Cherry SmartTerminal XX44 with HID's chip: likewise"),
    of(0x0BF8, &[0x1024], |q| {
            q.no_pin_pad = true;
            q.chains_short_apdus = true;
        },
        "Fujitsu D323 with HID's chip: likewise"),
    of(0x2F7C, &[0x6007], |q| q.chains_short_apdus = true,
        "Diebold Nixdorf PN7362au announces short APDUs and chains replies beyond 256 bytes"),
    of(0x046A, &[0x00A1], |q| q.chains_short_apdus = true,
        "Cherry KC 1000 SC, firmware 1.00, chains replies of T=1 beyond 128 bytes").exactly(&[0x0100]),
    of(0x0D46, &[0x3010], |q| {
            q.short_apdus_only = true;
            q.reader_direct = true;
        },
        "KOBIL TriB@nk announces extended APDUs and returns zeros for them; it takes Secoder commands"),
    of(0x0D46, &[0x4289], |q| q.reader_direct = true,
        "KOBIL mIDentity visual takes Secoder commands"),
    flavour(Flavour::IccdA, |q| q.power_cycle_at_open = true,
        "an ICCD token of version A is in no known state when it is opened"),
    flavour(Flavour::IccdB, |q| {
            q.power_cycle_at_open = true;
            q.chains_short_apdus = true;
        },
        "an ICCD token of version B is in no known state when it is opened, and may chain replies to \
         short APDUs"),

    // Power and presence.
    of(0x0D46, &[0x301D], |q| {
            q.power_off_first = true;
            q.info_apdus = true;
        },
        "KOBIL IDToken: its built-in German identity card needs power off before power on; the driver \
         answers for its firmware who it is"),
    of(0x0424, &[0x1202], |q| q.power_off_first = true,
        "Microchip SEC1210: the second interface keeps its card powered").interface(1),
    of(0x072F, &[0x8300], |q| q.blind_from = Some(2),
        "ACS ACR33U: its three SIM slots always say that a card is there"),
    of(0x08E6, &[0x4433], |q| q.iso_mode = Some(ISO_MODE),
        "GemPC433 is in EMV mode and refuses cards that are not"),
    of(0x046A, &[0x0005], |q| q.iso_mode = Some(ISO_MODE),
        "Cherry XX33 is in EMV mode and refuses cards that are not"),

    // PIN pads.
    of(0x03F0, &[0x1024, 0x0036], |q| q.no_pin_pad = true,
        "HP keyboards send the PIN to the host as key strokes as well"),
    of(0x04F2, &[0x1469], |q| q.no_pin_pad = true,
        "Chicony HP Skylab keyboard sends the PIN to the host as key strokes as well"),
    of(0x0BF8, &[0x1017], |q| q.no_pin_pad = true,
        "Fujitsu SmartCase keyboard sends the PIN to the host as key strokes as well"),
    of(0x0783, &[0x0006], |q| q.no_pin_pad = true,
        "C3PO LTC31 v2 announces a PIN pad that it has not"),
    of(0x25DD, &[0x3111], |q| q.no_pin_pad = true,
        "bit4id miniLector-EVO announces a PIN pad that it has not"),
    vendor(0x08E6, |q| {
            q.gemalto_escapes = true;
            q.allow_escape(1, &[0x02]);
            q.pin.modify_messages = Messages::AllIndices;
        },
        "Gemalto readers want all message indices in a PIN modification; Escape 02 names the firmware, \
         and 6A its features"),
    of(0x08E6, &[0x3478], |q| {
            q.load_messages = true;
            q.settle = ms(1000);
            q.pin.validation_key_only = true;
            q.pin.verify_messages = Some(1);
        },
        "GemPC PIN pad accepts one message and ends with a key only; its display's messages are loaded \
         by the host, after 1 s, as by libccid"),
    of(0x08E6, &[0x3478], |q| q.pin.sizes = Some((4, 8)),
        "GemPC PIN pad 1.00 takes 4 to 8 digits and does not say so").exactly(&[0x0100]),
    of(0x0982, &[0x0008], |q| {
            q.load_messages = true;
            q.settle = ms(1000);
            q.pin.validation_key_only = true;
            q.pin.verify_messages = Some(1);
            q.pin.sizes = Some((4, 8));
            q.pin.modify_messages = Messages::AllIndices;
        },
        "Covadis Vega-Alpha is a GemPC PIN pad inside"),
    of(0x08E6, &[0x5503], |q| q.allow_escape(6, &[0x52, 0xF8, 0x04, 0x01, 0x00]),
        "Gemalto Prox-DU: this Escape switches between antenna and contacts"),
    of(0x076B, &[0x5427], |q| q.any_escape_allowed = true,
        "OMNIKEY 5427 CK is configured with APDUs in Escapes, with no card in its field"),
    of(0x076B, &[0x3821], |q| q.pin.sizes = Some((1, 31)),
        "OMNIKEY 3821 takes 1 to 31 digits and does not say so"),
    of(0x413C, &[0x2100], |q| {
            q.pin.verify_messages = Some(0);
            q.pin.key_release = ms(250);
            q.pin.swaps_digits = true;
        },
        "Dell SK-3106 accepts no message, takes the Enter key still down for an answer, and swaps the \
         PIN's sizes"),
    of(0x413C, &[0x2101], |q| {
            q.pin.verify_messages = Some(0);
            q.pin.key_release = ms(250);
        },
        "Dell keyboard accepts no message and takes the Enter key still down for an answer"),
    of(0x04E6, &[0xE003], |q| {
            q.pin.modify_messages = Messages::NoneWithIndices;
            q.pin.append_pin = Some(&[0x80, 0x02, 0x00]);
        },
        "SCM SPR532 has no display and wants all message indices; it appends a PIN to a header only \
         after an Escape"),
    of(0x046A, &[0x003E], |q| {
            q.pin.modify_messages = Messages::NoneWithIndices;
            q.pin.validation_key_only = true;
            q.pin.sizes = Some((0, 25));
        },
        "Cherry ST-2000 has no display and wants all message indices; it takes up to 25 digits, ended \
         with a key"),
    of(0x046A, &[0x0010], |q| q.pin.modify_messages = Messages::Three,
        "Cherry XX44 spoils the command when a modification has fewer than three messages"),
    of(0x046A, &[0x00A1], |q| {
            q.pin.modify_messages = Messages::DefaultForNone;
            q.pin.sizes = Some((0, 32));
        },
        "Cherry KC 1000 SC refuses a modification without messages; it takes up to 32 digits"),

    // Firmware that is refused: what is wrong is mended in the version named.
    refuse(0x04E6, &[0xE001], 0x0516, "SCM SCR331 before 5.16"),
    refuse(0x04E6, &[0x5111], 0x0620, "SCM SCR331-DI before 6.20"),
    refuse(0x04E6, &[0xE003], 0x0510, "SCM SPR532 before 5.10"),
    refuse(0x04E6, &[0x5291], 0x0112, "SCM SCL010 before 1.12"),
    refuse(0x0D46, &[0x3001, 0x3002], 0x0037, "KOBIL KAAN Base and Advanced before 0.37"),
    refuse(0x09C3, &[0x0008], 0x0203, "ActivCard V2 before 2.03"),
    refuse(0x0DC3, &[0x1004], 0x0502, "Athena ASE IIIe before 5.02"),
    refuse(0x0DC3, &[0x1102], 0x0607, "Athena ASE IIIe KB before 6.07"),
    refuse(0x0DC3, &[0x0900], 0x0200, "Athena IDProtect Key before 2.00"),
    refuse(0x058F, &[0x9520], 0x0102, "Alcor AU9520 before 1.02"),
    refuse(0x072F, &[0x2200], 0x0206, "ACS ACR122U before 2.06"),
    refuse(0x08C3, &[0x0401, 0x0402], 0x5000, "Precise 200 MC and 250 MC before 50.00"),
    refuse(0x0B0C, &[0x0050], 0x0101, "Todos Argos Mini II before 1.01"),
    refuse(0x03F0, &[0x0036], 0x0124, "HP USB smart card keyboard before 1.24"),
    refuse(0x062D, &[0x0001], 0x0102, "THRC reader before 1.02"),
];
