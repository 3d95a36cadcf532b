//! The models that `pcscd` has names for: those that its bundle lists for a vendor and a product.
//!
//! known.txt has a line for each, `VVVVPPPP NAME`, in ascending order; a name may end in a space, as one
//! does. It is packed at compile time to two thirds of its size: neighbours are mostly of one vendor, whose
//! name they begin with.

use alloc::string::String;

const LISTED: &[u8] = include_bytes!("known.txt");
#[allow(
    clippy::large_const_arrays,
    reason = "the length of MODELS is computed from it, so that it cannot be a static"
)]
const PACKED: ([u8; LISTED.len()], usize) = pack(LISTED);
/// For each model, in the order of the list: vendor and product (big endian), how many bytes of its name are
/// those of the name before it, how many follow, and these.
static MODELS: [u8; PACKED.1] = match PACKED.0.first_chunk() {
    Some(models) => *models,
    None => panic!("more bytes than there are"),
};

/// The packed list, and its length. A line that is none does not compile.
const fn pack(text: &[u8]) -> ([u8; LISTED.len()], usize) {
    let mut packed = [0; LISTED.len()];
    let (mut length, mut line) = (0, 0);
    // The first name follows none.
    let (mut before, mut before_end) = (0, 0);
    while line < text.len() {
        assert!(text[line + 8] == b' ', "a space follows the numbers");
        let name = line + 9;
        let mut end = name;
        while text[end] != b'\n' {
            end += 1;
        }
        let mut shared = 0;
        while name + shared < end
            && before + shared < before_end
            && text[name + shared] == text[before + shared]
        {
            shared += 1;
        }
        let mut byte = 0;
        while byte < 4 {
            packed[length + byte] = digit(text[line + 2 * byte]) << 4 | digit(text[line + 2 * byte + 1]);
            byte += 1;
        }
        let rest = end - name - shared;
        // Both are below the size of a reader's name, 128.
        packed[length + 4] = shared as u8;
        packed[length + 5] = rest as u8;
        length += 6;
        let mut at = 0;
        while at < rest {
            packed[length + at] = text[name + shared + at];
            at += 1;
        }
        length += rest;
        (before, before_end) = (name, end);
        line = end + 1;
    }
    (packed, length)
}

const fn digit(hexadecimal: u8) -> u8 {
    match hexadecimal {
        b'0'..=b'9' => hexadecimal - b'0',
        b'A'..=b'F' => hexadecimal - b'A' + 10,
        _ => panic!("no hexadecimal digit"),
    }
}

/// The model's name, if a bundle lists the device.
pub fn model(vendor: u16, product: u16) -> Option<String> {
    let mut listed = Models::all();
    while let Some(numbers) = listed.advance() {
        if numbers == (vendor, product) {
            return Some(listed.name);
        }
    }
    None
}

/// All listed models, as vendor, product and name, in ascending order: what a bundle of this driver lists.
pub fn models() -> impl Iterator<Item = (u16, u16, String)> {
    let mut listed = Models::all();
    core::iter::from_fn(move || {
        let (vendor, product) = listed.advance()?;
        Some((vendor, product, listed.name.clone()))
    })
}

/// A position in the list.
struct Models {
    rest: &'static [u8],
    /// The name of the model that was read last.
    name: String,
}

impl Models {
    fn all() -> Models {
        Models {
            rest: &MODELS,
            name: String::new(),
        }
    }

    /// Reads the next model. Returns its vendor and product.
    fn advance(&mut self) -> Option<(u16, u16)> {
        let (&[v1, v0, p1, p0, shared, length], rest) = self.rest.split_first_chunk()?;
        let (end, rest) = rest.split_at_checked(length.into())?;
        self.rest = rest;
        self.name.truncate(shared.into());
        // Names are ASCII.
        self.name.extend(end.iter().map(|byte| char::from(*byte)));
        Some((u16::from_be_bytes([v1, v0]), u16::from_be_bytes([p1, p0])))
    }
}
