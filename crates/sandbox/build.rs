//! Builds `src/init/init.rs`, which runs where there is no standard library, into the program
//! `init` and the library `enter.so`. Both are embedded in this crate.

use std::env;
use std::path::Path;
use std::process::Command;

const SOURCE: &str = "src/init/init.rs";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-changed=build.rs");
    build(
        "init",
        &[
            "--crate-type=bin",
            "--cfg=program",
            "-Crelocation-model=static",
        ],
        "-static",
    );
    build("enter.so", &["--crate-type=cdylib"], "-shared");
}

fn build(name: &str, how: &[&str], link: &str) {
    let var = |name: &str| env::var(name).unwrap_or_else(|_| panic!("Cargo sets {name}"));
    let out = Path::new(&var("OUT_DIR")).join(name);
    let mut command = Command::new(var("RUSTC"));
    command
        .args([
            "--edition=2024",
            "--crate-name=init",
            "-Cpanic=abort",
            "-Copt-level=s",
        ])
        .args(["-Cdebuginfo=0", "-Cstrip=symbols", "-Coverflow-checks=off"])
        .args([
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-Wl,--build-id=none",
        ])
        .arg(format!("-Clink-arg={link}"))
        .arg(format!("--target={}", var("TARGET")))
        .args(how)
        .arg("-o")
        .arg(&out)
        .arg(SOURCE);
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        command.arg(format!("-Clinker={linker}"));
    }
    let status = command
        .status()
        .unwrap_or_else(|error| panic!("run rustc: {error}"));
    assert!(status.success(), "rustc could not build {name}");
}
