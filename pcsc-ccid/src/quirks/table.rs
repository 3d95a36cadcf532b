//! The lines. All names of readers are in the reasons; all times in milliseconds.

use super::{Devices, Effect, Effect::*, Firmware, ModifyMessages as Messages, Quirk};
use crate::descriptor::{Features, Flavour};

const fn of(
    vendor: u16,
    products: &'static [u16],
    effects: &'static [Effect],
    reason: &'static str,
) -> Quirk {
    Quirk {
        devices: Devices::Products(vendor, products),
        firmware: Firmware::Any,
        interface: None,
        effects,
        reason,
    }
}

const fn vendor(vendor: u16, effects: &'static [Effect], reason: &'static str) -> Quirk {
    Quirk {
        devices: Devices::Vendor(vendor),
        ..of(vendor, &[], effects, reason)
    }
}

const fn flavour(flavour: Flavour, effects: &'static [Effect], reason: &'static str) -> Quirk {
    Quirk {
        devices: Devices::Flavour(flavour),
        ..of(0, &[], effects, reason)
    }
}

const fn refuse(vendor: u16, product: &'static [u16], before: u16, reason: &'static str) -> Quirk {
    of(vendor, product, &[Refuse], reason).before(before)
}

impl Quirk {
    const fn before(self, version: u16) -> Quirk {
        Quirk {
            firmware: Firmware::Before(version),
            ..self
        }
    }

    const fn exactly(self, versions: &'static [u16]) -> Quirk {
        Quirk {
            firmware: Firmware::Exactly(versions),
            ..self
        }
    }

    const fn interface(self, number: u8) -> Quirk {
        Quirk {
            interface: Some(number),
            ..self
        }
    }
}

const ISO_MODE: Effect = IsoMode(&[0x1F, 0x01]);
const GEMCORE_RATES: Effect = OtherSlotsRates(&[10753, 21505, 43011, 125_000]);

/// All that is known of readers that are not what they say.
#[rustfmt::skip]
pub static TABLE: &[Quirk] = &[
    // Speed.
    of(0x058F, &[0x9540], &[MaxDataRate(200_000)], "Alcor AU9540 and AU9560 announce 688,172 bps and corrupt data above about 200,000"),
    of(0x0B97, &[0x7762, 0x7772], &[MaxDataRate(9600), NoPps], "O2Micro Oz776 cannot carry a PPS and works at the default rate only"),
    of(0x08E6, &[0x3479], &[GEMCORE_RATES], "GemCore POS Pro: the SAM slots know four rates and announce those of the first slot"),
    of(0x08E6, &[0x3480], &[GEMCORE_RATES, Blind(0), EmptyAfterFailure], "GemCore SIM Pro before 2.00: the second slot knows four rates, and no slot notices cards").before(0x0200),

    // Transfers.
    of(0x0B97, &[0x7762, 0x7772], &[LosesWholePackets], "O2Micro Oz776 does not end a reply that fills its packets of 64 bytes"),

    // Time.
    of(0x072F, &[0x2200], &[SlowFirstAnswer(1000)], "ACS ACR122U answers the first GetSlotStatus after up to 1 s when no card is in its field"),
    of(0x09D8, &[0x0427, 0x0428], &[SlowFirstAnswer(1000)], "Elatec TWN4 answers the first GetSlotStatus after up to 1 s when no card is in its field"),
    of(0x04E6, &[0x5293, 0x5790, 0x5791, 0x5724], &[SlowFirstAnswer(400)], "SCM SCL011 and Identiv uTrust 3700 F, 3701 F and 4701 F take 350 ms for a GetSlotStatus"),
    of(0x0B81, &[0x0200], &[Settle(1000), SlowCommands(60_000)], "id3 CL1356D starts its firmware after it is opened, and its commands have no bound worth the name"),
    of(0x08E6, &[0x34D2], &[SlowExchanges(300_000)], "Thales Fusion NFC makes keys for minutes and asks for no extension"),

    // Sizes.
    of(0x09BE, &[0x0002], &[MaxIfsd(254)], "MySmartPad announces an IFSD that it does not have"),
    of(0x076B, &[0x3022, 0x6623], &[MaxIfsd(254)], "OMNIKEY 3121 and 6121 announce the room of a message, 492, for IFSD"),
    of(0x046A, &[0x0090], &[MaxIfsd(254)], "Cherry Smart Card Reader announces the room of a message, 492, for IFSD"),
    of(0x0529, &[0x0620], &[AddFeatures(Features::AUTOMATIC_IFSD)], "SafeNet eToken 5110 SC, firmware 0.12 and 0.13, fails when IFSD is negotiated").exactly(&[0x0012, 0x0013]),

    // Level of exchange.
    of(0x076B, &[0x3A21, 0x3031, 0x6632], &[NoPinPad, ChainsShortApdus], "HID's chip in OMNIKEY 3x21, 6121 and AVIATOR announces a PIN pad that it has not and chains what it announces as short APDUs"),
    of(0x046A, &[0x00A7], &[NoPinPad, ChainsShortApdus], "Cherry SmartTerminal XX44 with HID's chip: likewise"),
    of(0x0BF8, &[0x1024], &[NoPinPad, ChainsShortApdus], "Fujitsu D323 with HID's chip: likewise"),
    of(0x2F7C, &[0x6007], &[ChainsShortApdus], "Diebold Nixdorf PN7362au announces short APDUs and chains replies beyond 256 bytes"),
    of(0x046A, &[0x00A1], &[ChainsShortApdus], "Cherry KC 1000 SC, firmware 1.00, chains replies of T=1 beyond 128 bytes").exactly(&[0x0100]),
    of(0x0D46, &[0x3010], &[ShortApdusOnly, ReaderDirect], "KOBIL TriB@nk announces extended APDUs and returns zeros for them; it takes Secoder commands"),
    of(0x0D46, &[0x4289], &[ReaderDirect], "KOBIL mIDentity visual takes Secoder commands"),
    flavour(Flavour::IccdA, &[PowerCycleAtOpen], "an ICCD token of version A is in no known state when it is opened"),
    flavour(Flavour::IccdB, &[PowerCycleAtOpen, ChainsShortApdus], "an ICCD token of version B is in no known state when it is opened, and may chain replies to short APDUs"),

    // Power and presence.
    of(0x0D46, &[0x301D], &[PowerOffFirst, InfoApdus], "KOBIL IDToken: its built-in German identity card needs power off before power on; the driver answers for its firmware who it is"),
    of(0x0424, &[0x1202], &[PowerOffFirst], "Microchip SEC1210: the second interface keeps its card powered").interface(1),
    of(0x072F, &[0x8300], &[Blind(2)], "ACS ACR33U: its three SIM slots always say that a card is there"),
    of(0x08E6, &[0x4433], &[ISO_MODE], "GemPC433 is in EMV mode and refuses cards that are not"),
    of(0x046A, &[0x0005], &[ISO_MODE], "Cherry XX33 is in EMV mode and refuses cards that are not"),

    // Without contacts.
    of(0x04E6, &[0x5111, 0x5120, 0x5121, 0x512C], &[Contactless(1)], "SCM SCR331-DI, SDI010 and SDI011: the second slot has an antenna and commands of its own"),
    of(0x08E6, &[0x5503, 0x5504], &[Contactless(0)], "Gemalto Prox-DU and Prox-SU: interface 1 is the antenna").interface(1),
    of(0x076B, &[0x5422, 0x5412, 0x5432], &[Contactless(0)], "OMNIKEY 5422 and 5122: interface 0 is the antenna").interface(0),
    of(0x096E, &[0x060D], &[Contactless(0)], "Feitian R502: interface 0 is the antenna").interface(0),
    of(0x072F, &[0x221A, 0x223B, 0x2259, 0x2303, 0x2301, 0x226B], &[Contactless(0)], "ACS ACR1251, 1252, 1552, 1581 and WalletMate: interface 0 is the antenna").interface(0),
    of(0x072F, &[0x2200], &[Contactless(0)], "ACS ACR122U has an antenna only"),
    of(0x2947, &[0x0112], &[Contactless(0)], "Kapelse KAP-eCV: interface 0 is the antenna, and the only CCID one").interface(0),
    of(0x04E6, &[0x5291, 0x5292, 0x5293, 0x5790, 0x5791], &[Contactless(0)], "SCM SCL010, SCL01x, SCL011 and Identiv uTrust 3700 F, 3701 F have an antenna only"),

    // PIN pads.
    of(0x03F0, &[0x1024, 0x0036], &[NoPinPad], "HP keyboards send the PIN to the host as key strokes as well"),
    of(0x04F2, &[0x1469], &[NoPinPad], "Chicony HP Skylab keyboard sends the PIN to the host as key strokes as well"),
    of(0x0BF8, &[0x1017], &[NoPinPad], "Fujitsu SmartCase keyboard sends the PIN to the host as key strokes as well"),
    of(0x0783, &[0x0006], &[NoPinPad], "C3PO LTC31 v2 announces a PIN pad that it has not"),
    of(0x25DD, &[0x3111], &[NoPinPad], "bit4id miniLector-EVO announces a PIN pad that it has not"),
    vendor(0x08E6, &[GemaltoEscapes, EscapeAllowed(1, &[0x02]), ModifyMessages(Messages::AllIndices)], "Gemalto readers want all message indices in a PIN modification; Escape 02 names the firmware, and 6A its features"),
    of(0x08E6, &[0x3478], &[LoadMessages, ValidationKeyOnly, VerifyMessages(1)], "GemPC PIN pad accepts one message and ends with a key only; its display's messages are loaded by the host"),
    of(0x08E6, &[0x3478], &[PinSizes(4, 8)], "GemPC PIN pad 1.00 takes 4 to 8 digits and does not say so").exactly(&[0x0100]),
    of(0x0982, &[0x0008], &[LoadMessages, ValidationKeyOnly, VerifyMessages(1), PinSizes(4, 8), ModifyMessages(Messages::AllIndices)], "Covadis Vega-Alpha is a GemPC PIN pad inside"),
    of(0x08E6, &[0x5503], &[EscapeAllowed(6, &[0x52, 0xF8, 0x04, 0x01, 0x00])], "Gemalto Prox-DU: this Escape switches between antenna and contacts"),
    of(0x076B, &[0x5427], &[AnyEscapeAllowed], "OMNIKEY 5427 CK is configured with APDUs in Escapes, with no card in its field"),
    of(0x076B, &[0x3821], &[PinSizes(1, 31)], "OMNIKEY 3821 takes 1 to 31 digits and does not say so"),
    of(0x413C, &[0x2100], &[VerifyMessages(0), KeyRelease(250), SwapsDigits], "Dell SK-3106 accepts no message, takes the Enter key still down for an answer, and swaps the PIN's sizes"),
    of(0x413C, &[0x2101], &[VerifyMessages(0), KeyRelease(250)], "Dell keyboard accepts no message and takes the Enter key still down for an answer"),
    of(0x04E6, &[0xE003], &[ModifyMessages(Messages::NoneWithIndices), AppendPin(&[0x80, 0x02, 0x00])], "SCM SPR532 has no display and wants all message indices; it appends a PIN to a header only after an Escape"),
    of(0x046A, &[0x003E], &[ModifyMessages(Messages::NoneWithIndices), ValidationKeyOnly, PinSizes(0, 25)], "Cherry ST-2000 has no display and wants all message indices; it takes up to 25 digits, ended with a key"),
    of(0x046A, &[0x0010], &[ModifyMessages(Messages::Three)], "Cherry XX44 spoils the command when a modification has fewer than three messages"),
    of(0x046A, &[0x00A1], &[ModifyMessages(Messages::DefaultForNone), PinSizes(0, 32)], "Cherry KC 1000 SC refuses a modification without messages; it takes up to 32 digits"),

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
