//! What the firmware takes from an answer to reset (ISO 7816-3 clause 8).

/// The values that the parameters are made of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct AtrParameters {
    /// TS is '3F'.
    pub inverse: bool,
    /// Protocols in the order in which TD bytes name them; T=0 where none does.
    pub protocols: Vec<u8>,
    /// Fi and Di.
    pub ta1: Option<u8>,
    /// Extra guard time.
    pub tc1: Option<u8>,
    /// Specific mode.
    pub ta2: Option<u8>,
    /// T=0: waiting time integer.
    pub tc2: Option<u8>,
    /// T=1: IFSC, BWI and CWI, and the error detection code.
    pub ifsc: Option<u8>,
    pub bwi_cwi: Option<u8>,
    pub edc: Option<u8>,
    /// How long it is by its own account; `None` before its interface bytes are whole.
    pub length: Option<usize>,
    /// TCK is there and right, or not required.
    pub is_sound: bool,
}

impl AtrParameters {
    /// Reads as far as the bytes go.
    pub fn read(atr: &[u8]) -> AtrParameters {
        let mut said = AtrParameters {
            inverse: atr.first() == Some(&0x3F),
            ..AtrParameters::default()
        };
        let Some(&t0) = atr.get(1) else {
            return said;
        };
        let mut at = 2;
        let mut present = t0;
        let mut group = 1;
        let mut protocol = 0;
        let mut global = false;
        loop {
            let mut bytes = [None; 4];
            for (bit, byte) in bytes.iter_mut().enumerate() {
                if present & (0x10 << bit) != 0 {
                    *byte = atr.get(at).copied();
                    at += 1;
                }
            }
            let [ta, tb, tc, td] = bytes;
            match (group, protocol) {
                (1, _) => (said.ta1, said.tc1) = (ta, tc),
                (2, _) => (said.ta2, said.tc2) = (ta, tc),
                (_, 1) => {
                    said.ifsc = said.ifsc.or(ta);
                    said.bwi_cwi = said.bwi_cwi.or(tb);
                    said.edc = said.edc.or(tc);
                }
                _ => (),
            }
            let Some(td) = td else {
                break;
            };
            protocol = td & 0x0F;
            global |= protocol == 15;
            if protocol != 15 && !said.protocols.contains(&protocol) {
                said.protocols.push(protocol);
            }
            present = td;
            group += 1;
        }
        if at > atr.len() {
            return said;
        }
        let needs_tck = group > 1 && (said.protocols != [0] || global);
        let end = at + usize::from(t0 & 0x0F);
        said.length = Some(end + usize::from(needs_tck));
        said.is_sound = match needs_tck {
            false => atr.len() >= end,
            true => atr.len() > end && atr[1..=end].iter().fold(0, |sum, byte| sum ^ byte) == 0,
        };
        if said.protocols.is_empty() {
            said.protocols.push(0);
        }
        said
    }
}
