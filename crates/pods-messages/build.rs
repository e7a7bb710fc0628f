//! Compiles `proto-schemas/` with a compiler written in Rust, so that no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../proto-schemas";
    println!("cargo:rerun-if-changed={root}");
    let files = protox::compile(["pods/v1/wakeup.proto"], [root])?;
    prost_build::Config::new().compile_fds(files)?;
    Ok(())
}
