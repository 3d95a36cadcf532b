//! Links the driver as a boot service driver: the firmware keeps the code and data of such an image after its
//! entry point has returned (UEFI specification, section 2.1).

fn main() {
    println!("cargo::rustc-link-arg-bin=smartcard-driver=/subsystem:efi_boot_service_driver");
    println!("cargo::rerun-if-changed=build.rs");
}
