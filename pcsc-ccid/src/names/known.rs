//! The models that `pcscd` has names for: those that its bundle lists for a vendor and a product.

/// A line for each model, `VVVVPPPP NAME`, in ascending order. A name may end in a space, as one does.
const LISTED: &str = include_str!("known.txt");

/// The model's name, if a bundle lists the device.
pub fn model(vendor: u16, product: u16) -> Option<&'static str> {
    models().find_map(|listed| ((listed.0, listed.1) == (vendor, product)).then_some(listed.2))
}

/// All listed models, as vendor, product and name, in ascending order: what a bundle of this driver lists.
pub fn models() -> impl Iterator<Item = (u16, u16, &'static str)> {
    LISTED.lines().filter_map(|line| {
        let (numbers, name) = line.split_once(' ')?;
        let numbers = u32::from_str_radix(numbers, 16).ok()?;
        Some(((numbers >> 16) as u16, numbers as u16, name))
    })
}
